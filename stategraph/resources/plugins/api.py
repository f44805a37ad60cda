"""Names for authors of plug-ins.

    from stategraph.resources.plugins import Plugin, PluginContext

    class Weather(Plugin):
        permissions = {"tools", "network"}

        async def start(self, context: PluginContext) -> None:
            context.add_tool(self.forecast)

        async def forecast(self, city: str) -> dict[str, Json]:
            "Return the forecast of a city."

A plug-in may run in the host's process, in one of its own or in a sandbox: what goes in and out of its functions is
JSON, also where nothing would be copied. This module imports nothing that is slow: a plug-in's process loads it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

#: What crosses between a plug-in and its host: texts, numbers, booleans, None, lists and mappings of these.
Json: TypeAlias = Any

Function: TypeAlias = Callable[..., Json]


class ConfigModel(Protocol):
    """A Pydantic model, or what looks like its class."""

    def model_validate(self, obj: Json, /) -> Json:
        """Return a checked configuration."""

    def model_json_schema(self) -> dict[str, Json]:
        """Return its JSON Schema."""


class PluginContext(Protocol):
    """Way of a plug-in to its host, given to it when it starts.

    Attributes:
        name: Its name in the declaration.
        config: Its configuration: an object of its `Config`, or the mapping as it was declared.
        log: A logger; the host shows what it says under the plug-in's name.
    """

    name: str
    config: Json
    log: logging.Logger

    def add_tool(
        self,
        function: Function,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Json] | None = None,
    ) -> None:
        """Register a tool for agents.

        Args:
            function: Sync or async; takes the arguments by name, and returns JSON.
            name: Its name; None: that of the function.
            description: For the model; None: the function's docstring.
            parameters: JSON Schema of the arguments; None: made of the function's annotations.

        Raises:
            PluginPermissionError: Without the permission `tools`.
            ConfigurationError: A tool of this name is registered already.
        """

    def add_controller(self, kind: str, reconcile: Function, finalize: Function | None = None) -> None:
        """Register a controller of a custom kind.

        Args:
            kind: The kind.
            reconcile: Takes a resource as a mapping (`metadata`, `spec`, `status`), and returns a mapping with any of
                `conditions`, `status` and `requeueAfter` (seconds).
            finalize: Takes a resource that is being deleted, and returns true when nothing of it is left. None: there
                is nothing to clean up.

        Raises:
            PluginPermissionError: Without the permission `controllers`.
        """

    def add_hook(self, event: str, function: Function, *, pattern: str | None = None) -> None:
        """Register a hook of runs, see `stategraph.run.hooks`.

        Args:
            event: Such as `PreToolUse`.
            function: Takes the hook's input as JSON, and returns a mapping or None.
            pattern: A regular expression on the names of tools; None: all.

        Raises:
            PluginPermissionError: Without the permission `hooks`.
        """

    def subscribe(self, topic: str, function: Function) -> None:
        """Call a function with the topic and the event, for each event of a topic such as `agent.reconciled`.

        Args:
            topic: A topic; `*` stands for any one part of it.
            function: What it raises is logged.

        Raises:
            PluginPermissionError: Without the permission `events:subscribe`.
        """

    def publish(self, topic: str, event: Mapping[str, Json]) -> None:
        """Publish an event under `plugin.<name>.<topic>`. May be called from any thread.

        Raises:
            PluginPermissionError: Without the permission `events:publish`.
        """


class Plugin:
    """Base class of plug-ins. One object is made each time that a plug-in starts, without arguments.

    Attributes:
        permissions: What it needs, see `stategraph.resources.plugins.permissions`; it does not start with less.
        Config: A Pydantic model of its configuration; None: see `config_schema`.
        config_schema: JSON Schema of its configuration; None: any mapping.
    """

    permissions: ClassVar[frozenset[str] | set[str]] = frozenset(("tools",))
    Config: ClassVar[ConfigModel | None] = None
    config_schema: ClassVar[Mapping[str, Json] | None] = None

    async def start(self, context: PluginContext) -> None:
        """Register what it offers, and open what it needs. What it raises keeps it from starting."""

    async def health(self) -> None:
        """Return if it is well; raise otherwise. Called every 30 seconds, with a time limit."""

    async def stop(self) -> None:
        """Close what it has opened."""


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A tool that a plug-in registered.

    Attributes:
        name: Its name.
        description: For the model.
        parameters: JSON Schema of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class HookOffer:
    """A hook that a plug-in registered.

    Attributes:
        name: Its number among the plug-in's hooks.
        event: When it is called.
        pattern: A regular expression on names of tools; None: all.
    """

    name: str
    event: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """Everything that a plug-in registered.

    Attributes:
        tools: Tools, by name.
        controllers: Kinds that it reconciles, and for each if it also finalizes.
        hooks: Hooks of runs.
        topics: Topics that it listens to.
        config_schema: JSON Schema of its configuration; None: any mapping.
    """

    tools: Mapping[str, ToolOffer] = field(default_factory=dict)
    controllers: Mapping[str, bool] = field(default_factory=dict)
    hooks: tuple[HookOffer, ...] = ()
    topics: tuple[str, ...] = ()
    config_schema: Mapping[str, Json] | None = None

    def as_data(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "tools": [[each.name, each.description, dict(each.parameters)] for each in self.tools.values()],
            "controllers": dict(self.controllers),
            "hooks": [[each.name, each.event, each.pattern] for each in self.hooks],
            "topics": list(self.topics),
            "config_schema": None if self.config_schema is None else dict(self.config_schema),
        }

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Offers:
        """Return what `as_data` wrote.

        Raises:
            ValueError: The data have another form.
        """
        try:
            tools = [ToolOffer(str(name), str(text), dict(schema)) for name, text, schema in data["tools"]]
            return cls(
                {each.name: each for each in tools},
                {str(kind): bool(finalizes) for kind, finalizes in data["controllers"].items()},
                tuple(HookOffer(str(name), str(event), pattern) for name, event, pattern in data["hooks"]),
                tuple(map(str, data["topics"])),
                data["config_schema"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"what a plug-in registered cannot be read: {type(error).__name__}: {error}") from error
