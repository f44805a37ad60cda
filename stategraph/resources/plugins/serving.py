"""A plug-in where it runs: its object, what it registered, and calls into it.

The same code serves a plug-in in the host's process and in one of its own, so that both behave alike.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import ormsgpack

from stategraph import import_paths
from stategraph.errors import ConfigurationError
from stategraph.resources.plugins import configuration, permissions
from stategraph.resources.plugins.api import Function, HookOffer, Json, Offers, Plugin, ToolOffer
from stategraph.resources.plugins.errors import PluginPermissionError, PluginStartError

_MOST_OFFERS: Final = 1000


def plain(value: Json, what: str) -> Json:
    """Return a value as another process would get it.

    Args:
        value: JSON: texts, numbers, lists, mappings; also dataclasses, which become mappings.
        what: What it is, for the message.

    Raises:
        TypeError: It is something else.
    """
    try:
        return ormsgpack.unpackb(ormsgpack.packb(value))
    except (ormsgpack.MsgpackEncodeError, ormsgpack.MsgpackDecodeError) as error:
        raise TypeError(f"{what} is no JSON: {error}; it is a value of type {type(value).__name__}") from error


def matches(pattern: str, topic: str) -> bool:
    """Return true if a topic is one that a pattern names, in which `*` stands for any one part."""
    wanted, found = pattern.split("."), topic.split(".")
    return len(wanted) == len(found) and all(one in ("*", other) for one, other in zip(wanted, found, strict=True))


class Served:
    """A plug-in that runs here; the `PluginContext` that it is given.

    Args:
        name: Its name.
        granted: Its permissions.
        publish: Takes its events, in any thread.
    """

    def __init__(self, name: str, granted: frozenset[str], publish: Callable[[str, dict[str, Json]], None]) -> None:
        self.name = name
        self.config: Json = {}
        self.log = logging.getLogger(f"stategraph.plugin.{name}")
        self._granted = granted
        self._publish = publish
        self._tools: dict[str, tuple[ToolOffer, Function]] = {}
        self._controllers: dict[str, tuple[Function, Function | None]] = {}
        self._hooks: dict[str, tuple[HookOffer, Function]] = {}
        self._topics: list[tuple[str, Function]] = []
        self._plugin: Plugin | None = None

    async def begin(self, target: str, config: Mapping[str, Json]) -> Offers:
        """Import and start the plug-in.

        Args:
            target: `package.module:Class`, which the host has checked.
            config: Its configuration, with secrets in place.

        Raises:
            PluginPermissionError: It needs, or registers, what it may not.
            PluginStartError: It cannot be imported, is no plug-in, or its configuration is wrong.
            Exception: What its `start` raised.
        """
        found = import_paths.imported(target, f"The plug-in '{self.name}'", PluginStartError)
        if not (isinstance(found, type) and issubclass(found, Plugin)):
            raise PluginStartError(
                f"Plugin '{self.name}': {target!r} is no subclass of stategraph.resources.plugins.Plugin"
            )
        permissions.check_needed(self.name, found.permissions, self._granted)
        self.config = configuration.checked(self.name, found, config)
        self._plugin = found()
        await self._plugin.start(self)
        return self._offers(found)

    def _offers(self, cls: type[Plugin]) -> Offers:
        schema = cls.config_schema if cls.Config is None else cls.Config.model_json_schema()
        return Offers(
            {name: offer for name, (offer, _) in self._tools.items()},
            {kind: finalize is not None for kind, (_, finalize) in self._controllers.items()},
            tuple(offer for offer, _ in self._hooks.values()),
            tuple(topic for topic, _ in self._topics),
            schema,
        )

    # What the plug-in registers: see `PluginContext`.

    def add_tool(
        self,
        function: Function,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Json] | None = None,
    ) -> None:
        """Register a tool for agents."""
        name = name or function.__name__
        self._check("tool", name, self._tools)
        text = description if description is not None else inspect.getdoc(function) or ""
        if parameters is None:
            arguments = _arguments_of(function, name)
            schema = arguments.model_json_schema()
            function = _validated(function, arguments)
        else:
            schema = plain(dict(parameters), f"The schema of the tool '{name}'")
        self._tools[name] = ToolOffer(name, text, schema), function

    def add_controller(self, kind: str, reconcile: Function, finalize: Function | None = None) -> None:
        """Register a controller of a custom kind."""
        self._check("controller", kind, self._controllers)
        self._controllers[kind] = reconcile, finalize

    def add_hook(self, event: str, function: Function, *, pattern: str | None = None) -> None:
        """Register a hook of runs."""
        name = f"{event}-{len(self._hooks) + 1}"
        self._check("hook", event, self._hooks)
        self._hooks[name] = HookOffer(name, event, pattern), function

    def subscribe(self, topic: str, function: Function) -> None:
        """Call a function for each event of a topic."""
        self._check("subscription", topic, self._topics)
        self._topics.append((topic, function))

    def publish(self, topic: str, event: Mapping[str, Json]) -> None:
        """Publish an event under `plugin.<name>.<topic>`."""
        if "events:publish" not in self._granted:
            raise PluginPermissionError(
                f"Plugin '{self.name}' published '{topic}' without the permission 'events:publish'"
            )
        self._publish(topic, plain(dict(event), f"The event '{topic}'"))

    def _check(self, kind: str, name: str, known: Json) -> None:
        permissions.check_registered(self.name, kind, name, self._granted)
        if isinstance(known, dict) and name in known:
            raise ConfigurationError(f"Plugin '{self.name}' registered the {kind} '{name}' twice")
        if len(known) >= _MOST_OFFERS:
            raise ConfigurationError(f"Plugin '{self.name}' registered more than {_MOST_OFFERS} of the kind '{kind}'")

    # Calls.

    async def call(self, kind: str, name: str, payload: Json) -> Json:
        """Call a function that the plug-in registered.

        Args:
            kind: `tool`, `reconcile`, `finalize`, `hook` or `health`.
            name: The tool, the kind of a controller, or the hook; empty for `health`.
            payload: The arguments of a tool by name; for the others the only argument.

        Raises:
            LookupError: It did not.
            Exception: What the function raised.
        """
        if kind == "health":
            assert self._plugin is not None
            await self._plugin.health()
            return None
        function = self._function(kind, name)
        if kind == "tool":
            result = await _called(function, **payload)
        else:
            result = await _called(function, payload)
        return plain(result, f"What the {kind} '{name}' returned")

    def _function(self, kind: str, name: str) -> Function:
        found: Function | None = None
        if kind == "tool" and name in self._tools:
            found = self._tools[name][1]
        elif kind in ("reconcile", "finalize") and name in self._controllers:
            found = self._controllers[name][kind == "finalize"]
        elif kind == "hook" and name in self._hooks:
            found = self._hooks[name][1]
        if found is None:
            raise LookupError(f"plugin '{self.name}' has no {kind} '{name}'")
        return found

    async def hear(self, topic: str, event: Json) -> None:
        """Tell the plug-in an event; what its functions raise is logged."""
        for pattern, function in list(self._topics):
            if matches(pattern, topic):
                try:
                    await _called(function, topic, event)
                except Exception:  # any error of the plug-in's code
                    self.log.exception("failed to handle an event of the topic '%s'", topic)

    async def end(self) -> None:
        """Stop the plug-in."""
        if self._plugin is not None:
            await self._plugin.stop()


async def _called(function: Function, *args: Any, **named: Any) -> Any:
    """Call a function; a sync one in a thread, so that others can be called meanwhile."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **named)
    result = await _in_thread(partial(function, *args, **named))
    return await result if inspect.isawaitable(result) else result


async def _in_thread(function: Callable[[], Json]) -> Json:
    """Run a function in a thread that keeps no process from ending, however long it takes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Json] = loop.create_future()

    def tell(settle: Callable[[Json], None], outcome: Json) -> None:
        if not future.done():
            settle(outcome)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Json], None], Json] = future.set_result, function()
        except StopIteration as error:  # cannot be raised in a future
            outcome = future.set_exception, RuntimeError(f"StopIteration: {error}")
        except BaseException as error:  # reported through the future
            outcome = future.set_exception, error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, *outcome)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="plugin call", daemon=True).start()
    return await future


def _arguments_of(function: Function, name: str) -> Json:
    """Return a Pydantic model of a function's arguments."""
    import pydantic  # 0.1 s, for plug-ins that let it make schemas

    fields: dict[str, Json] = {}
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise ConfigurationError(f"The annotations of the tool '{name}' cannot be read: {error}") from error
    for each in signature.parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise ConfigurationError(
                f"The tool '{name}' takes '{each}', which cannot be described; name its arguments, or pass 'parameters'"
            )
        annotation = Json if each.annotation is each.empty else each.annotation
        fields[each.name] = (annotation, ... if each.default is each.empty else each.default)
    return pydantic.create_model(f"{name}_arguments", __config__=pydantic.ConfigDict(extra="forbid"), **fields)


def _validated(function: Function, arguments: Json) -> Function:
    """Return a function that checks its arguments first."""
    names = list(arguments.model_fields)

    if inspect.iscoroutinefunction(function):

        async def call(**named: Any) -> Any:
            checked = arguments.model_validate(named)
            return await function(**{each: getattr(checked, each) for each in names})

        return call

    def call_sync(**named: Any) -> Any:
        checked = arguments.model_validate(named)
        return function(**{each: getattr(checked, each) for each in names})

    return call_sync
