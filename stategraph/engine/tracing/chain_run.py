"""One traced run of a chain: its start, its children, and its end, told to the callback handlers that listen.

`start` and `astart` return None if there are no listeners. Then nothing is built, and `quiet_config` makes the
config that the callee sees. Everything else about a traced run is the same for sync and async: the events, their
handlers and their order are decided here without awaiting, and the two thin bodies only differ in how they send them.

A node may keep large payloads out of its traces. The replaced payload goes to tracers alone; handlers that feed a
stream or other code see the real values.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.utils.uuid import uuid7

from stategraph.engine.config import context as run_context
from stategraph.engine.config import runnable_config as run_config
from stategraph.engine.config.quiet_manager import Quiet
from stategraph.engine.tracing import telling
from stategraph.engine.tracing.children import (
    AsyncLateCallbackManager,
    AsyncLateRun,
    LateCallbackManager,
    LateManager,
    SyncLateRun,
    late_child_manager,
)
from stategraph.engine.tracing.graph_runs import GraphRunHandler
from stategraph.engine.tracing.stream_handler import StreamFeed
from stategraph.policies import TracePolicy

logger = logging.getLogger(__name__)

Transform = Callable[[Any], Any]
_AnyManager = TypeVar("_AnyManager")
_Manager = TypeVar("_Manager", CallbackManager, AsyncCallbackManager)
_RunManager = TypeVar("_RunManager", CallbackManagerForChainRun, AsyncCallbackManagerForChainRun)

RECORD_AS_IS: Final = TracePolicy()
"""The policy that changes nothing."""


def quiet_config(config: RunnableConfig, kind: type[Quiet]) -> RunnableConfig:
    """Make the config of what an unobserved run calls: as the run's own, without its name and id.

    Args:
        config: The run's.
        kind: Its callback manager's class, which depends on how the run is called.
    """
    child = config.copy()
    child.pop("run_name", None)
    child.pop("run_id", None)
    callbacks = child.get("callbacks")
    child["callbacks"] = callbacks.of_kind(kind) if isinstance(callbacks, Quiet) else kind(config.get("run_id"))
    return child


def recorded_payload(value: object, transform: Transform | None) -> object:
    """Apply a trace transform. One that raises is logged, and the value is recorded as it is."""
    if transform is None:
        return value
    try:
        return transform(value)
    except Exception:
        logger.exception("%r failed on a payload to be traced; the payload is recorded as it is", transform)
        return value


class ChainRun(Generic[_RunManager]):
    """A run that was started and has listeners: a context in which it executes, and whose end is reported.

    Attributes:
        manager: The langchain-core manager of the run.
        output: What the run succeeds with; set before the context is left.
    """

    __slots__ = ("_is_direct", "_process_outputs", "_takes_turns", "manager", "output")

    def __init__(
        self, manager: _RunManager, policy: TracePolicy, *, is_direct: bool = False, takes_turns: bool = True
    ) -> None:
        """Args: is_direct: Its handlers are told without langchain-core; takes_turns: Others go on before its end."""
        self.manager: _RunManager = manager
        self.output: object = None
        self._process_outputs = policy.process_outputs
        self._is_direct = is_direct
        self._takes_turns = takes_turns

    def __enter__(self: ChainRun[CallbackManagerForChainRun]) -> None:
        pass

    def __exit__(
        self: ChainRun[CallbackManagerForChainRun],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for manager, event, payload in self._endings(error):
            if self._is_direct:
                telling.tell(manager.handlers, event, payload, **_place(manager))
            else:
                getattr(manager, event)(payload)

    async def __aenter__(self: ChainRun[AsyncCallbackManagerForChainRun]) -> None:
        pass

    async def __aexit__(
        self: ChainRun[AsyncCallbackManagerForChainRun],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aend(error)

    async def aend(self: ChainRun[AsyncCallbackManagerForChainRun], error: BaseException | None) -> None:
        """Tell of the run's end, or of its failure; a cancellation keeps nobody from being told."""
        for manager, event, payload in self._endings(error):
            rest: Awaitable[object] | None
            if not self._is_direct or (self._takes_turns and event is telling.ERROR):
                rest = getattr(manager, event)(payload)
            elif self._takes_turns:
                rest = telling.in_a_task(manager.handlers, event, payload, **_place(manager))
            else:
                rest = telling.begin(manager.handlers, event, payload, **_place(manager))
            if rest is not None:
                await rest

    def child_config(self, config: RunnableConfig, tag: str | None = None) -> RunnableConfig:
        """Copy a config so that calls with it become children of this run.

        Args:
            config: The config of the run.
            tag: Put on the direct children alone.
        """
        child = config.copy()
        child["callbacks"] = late_child_manager(self.manager, tag)
        # They named this run, not its children.
        child.pop("run_name", None)
        child.pop("run_id", None)
        return child

    def context(self, config: RunnableConfig) -> Context:
        """Make a context for the children: `config` is the running config and this run the tracer's parent."""
        context = run_context.config_context(config, _traced(self.manager))
        for handler in self.manager.handlers:
            if isinstance(handler, GraphRunHandler):
                context.run(handler.enter, self.manager.run_id)
        return context

    def _endings(self, error: BaseException | None) -> list[tuple[_RunManager, str, object]]:
        """Return who is told of the end, by which event, and what."""
        manager, output = self.manager, self.output
        if error is not None:
            return [(manager, telling.ERROR, error)]
        if self._process_outputs is None:
            return [(manager, telling.END, output)]
        recorded = recorded_payload(output, self._process_outputs)
        if recorded is output:
            return [(manager, telling.END, output)]
        # Tracers first: a cancellation between the two leaves no trace open.
        others, tracers = _split(manager)
        return [(tracers, telling.END, recorded), (others, telling.END, output)]


class UnheardRun(ChainRun[Any]):
    """A run of which nobody is told: only what is called in it is heard."""

    __slots__ = ()

    def context(self, config: RunnableConfig) -> Context:
        """Make a context for the children, in which `config` is the running config."""
        return run_context.config_context(config)

    def _endings(self, error: BaseException | None) -> list[tuple[Any, str, object]]:
        return []


def _place(run: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun) -> dict[str, Any]:
    """Return what handlers are told of a run with every event."""
    return {"run_id": run.run_id, "parent_run_id": run.parent_run_id, "tags": run.tags}


def start(
    config: RunnableConfig,
    payload: object,
    *,
    name: str,
    tags: Sequence[str] | None = None,
    policy: TracePolicy = RECORD_AS_IS,
) -> ChainRun[CallbackManagerForChainRun] | None:
    """Start a run.

    Args:
        config: Its callbacks, tags, metadata and run id describe the run, and its `run_name` goes before `name`.
        payload: The input to report.
        name: What the run is called.
        tags: Further tags.
        policy: What tracers record instead of the payloads.

    Returns:
        The run, or None if there are no listeners.
    """
    called = config.get("run_name") or name
    manager = _of_child(config, called, tags, policy, LateCallbackManager)
    if type(manager) is SyncLateRun:
        return UnheardRun(manager, policy)
    if manager is None:
        manager = _heard(config, tags, CallbackManager, run_config.get_callback_manager_for_config)
        if manager is None:
            return None
        if not _is_told_directly(type(manager), manager.handlers, policy):
            runs: list[CallbackManagerForChainRun] = []
            for listeners, reported, told in _beginnings(manager, payload, policy, config, name):
                runs.append(listeners.on_chain_start(None, reported, **told))
            return ChainRun(_with_handlers(runs[0], manager), policy)
        manager = _started(manager, CallbackManagerForChainRun, config)
    telling.tell(
        manager.handlers, telling.START, None, payload, **_place(manager), metadata=manager.metadata, name=called
    )
    return ChainRun(manager, policy, is_direct=True)


async def astart(
    config: RunnableConfig,
    payload: object,
    *,
    name: str | None,
    tags: Sequence[str] | None = None,
    policy: TracePolicy = RECORD_AS_IS,
    takes_turns: bool = True,
) -> ChainRun[AsyncCallbackManagerForChainRun] | None:
    """Start an async run; see `start`.

    Args:
        config: See `start`.
        payload: See `start`.
        name: See `start`.
        tags: See `start`.
        policy: See `start`.
        takes_turns: Whether what runs beside it goes on before its end is told, as langchain-core has it. False if
            nothing does.
    """
    called = config.get("run_name") or name
    manager = _of_child(config, called, tags, policy, AsyncLateCallbackManager, takes_turns)
    if type(manager) is AsyncLateRun:
        return UnheardRun(manager, policy, takes_turns=takes_turns)
    if manager is None:
        manager = _heard(config, tags, AsyncCallbackManager, run_config.get_async_callback_manager_for_config)
        if manager is None:
            return None
        if not _is_told_directly(type(manager), manager.handlers, policy, takes_turns):
            runs: list[AsyncCallbackManagerForChainRun] = []
            for listeners, reported, told in _beginnings(manager, payload, policy, config, name):
                runs.append(await listeners.on_chain_start(None, reported, **told))
            return ChainRun(_with_handlers(runs[0], manager), policy)
        manager = _started(manager, AsyncCallbackManagerForChainRun, config)
    rest = telling.begin(
        manager.handlers,
        telling.START,
        None,
        payload,
        run_id=manager.run_id,
        parent_run_id=manager.parent_run_id,
        tags=manager.tags,
        metadata=manager.metadata,
        name=called,
    )
    if rest is not None:
        await rest
    return ChainRun(manager, policy, is_direct=True, takes_turns=takes_turns)


def _of_child(
    config: RunnableConfig,
    name: str | None,
    tags: Sequence[str] | None,
    policy: TracePolicy,
    kind: type[LateManager],
    takes_turns: bool = False,
) -> Any:
    """Return the manager of a run, made in one step of what it is a child of; None if it is to be made otherwise.

    It is a `LateRun` if the only handler wants to be told nothing of the run itself.
    """
    callbacks = config.get("callbacks")
    if type(callbacks) is not kind or (handlers := callbacks.unmade_handlers) is None:
        return None
    if not _is_told_directly(callbacks.ordinary, handlers, policy, takes_turns):
        return None
    all_tags, metadata = config.get("tags") or (), config.get("metadata")
    described = (config.get("run_id"), [*all_tags, *tags] if tags else all_tags, metadata)
    if len(handlers) == 1 and telling.is_own_feed(cast(Any, type(handlers[0]))):
        feed = cast(StreamFeed, handlers[0])
        if not feed.hears_chain(name, metadata):
            return callbacks.late_run(callbacks, *described)
    return callbacks.start(*described)


def _is_told_directly(
    kind: type, handlers: Sequence[BaseCallbackHandler], policy: TracePolicy, takes_turns: bool = False
) -> bool:
    """Return whether handlers of a manager may be told without langchain-core, and all of them the same."""
    if policy.process_inputs is not None or not telling.is_ordinary(kind):
        return False
    if kind is CallbackManager:
        return True
    # Where others run beside the run, what handlers hear of both is in the order of turns that langchain-core takes: it
    # takes one for each event, and for each handler one more. Only one that is told alone has no order with others.
    if takes_turns and (
        len(handlers) != 1 or (handlers[0].run_inline and not isinstance(handlers[0], GraphRunHandler))
    ):
        return False
    for handler in handlers:
        kind_of_handler: Any = type(handler)
        if _feeds_others(kind_of_handler):
            return False
    return True


@lru_cache(1024)
def _feeds_others(kind: type) -> bool:
    """Return whether handlers of a class feed streams that are not ours.

    The order of events in these is seen from outside: it stays as it is.
    """
    return _StreamingCallbackHandler in kind.__mro__ and not telling.is_own_feed(kind)


def _started(manager: Any, kind: Any, config: RunnableConfig) -> Any:
    """Return the manager of a run that starts, which nobody has been told of."""
    return kind(
        run_id=config.get("run_id") or uuid7(),
        handlers=manager.handlers,
        inheritable_handlers=manager.inheritable_handlers,
        parent_run_id=manager.parent_run_id,
        tags=manager.tags,
        inheritable_tags=manager.inheritable_tags,
        metadata=manager.metadata,
        inheritable_metadata=manager.inheritable_metadata,
    )


def _heard(
    config: RunnableConfig,
    tags: Sequence[str] | None,
    kind: type[_Manager],
    make: Callable[[RunnableConfig, Sequence[str] | None], _Manager],
) -> _Manager | None:
    """Return the manager of a run, made by `make` and of the class `kind`; None if there are no listeners."""
    callbacks = config.get("callbacks")
    # The run around may have a manager that is used as it is, and no handler in it.
    if (isinstance(callbacks, (kind, Quiet)) and not callbacks.handlers) or not run_config.has_listeners(config):
        return None
    manager = make(config, tags)
    return manager if manager.handlers else None


def _beginnings(
    manager: _AnyManager, payload: object, policy: TracePolicy, config: RunnableConfig, name: str | None
) -> list[tuple[_AnyManager, object, dict[str, Any]]]:
    """Return who is told of the beginning, what, and under which id and name; the first of them makes the run."""
    recorded, run_id = recorded_payload(payload, policy.process_inputs), config.get("run_id")
    called = config.get("run_name") or name
    if recorded is payload:
        return [(manager, payload, {"run_id": run_id, "name": called})]
    # Tracers last: a cancellation between the two leaves no trace open.
    others, tracers = _split(manager)
    told = {"run_id": run_id or uuid7(), "name": called}
    return [(others, payload, told), (tracers, recorded, told)]


def _with_handlers(run: _RunManager, manager: CallbackManager | AsyncCallbackManager) -> _RunManager:
    run.handlers = manager.handlers
    return run


def _split(manager: _AnyManager) -> tuple[_AnyManager, _AnyManager]:
    """Split a manager's handlers between two copies of it: those that see payloads as they are, and the tracers."""
    others, tracers = copy.copy(manager), copy.copy(manager)
    everyone: list[BaseCallbackHandler] = cast(Any, manager).handlers
    cast(Any, others).handlers = [handler for handler in everyone if not _is_tracer(handler)]
    cast(Any, tracers).handlers = [handler for handler in everyone if _is_tracer(handler)]
    return others, tracers


def _is_tracer(handler: BaseCallbackHandler) -> bool:
    from langchain_core.tracers.base import BaseTracer  # 130 ms; loaded already by the code that made the handler

    # A tracer that taps a stream feeds its consumer, which asked for the real values.
    return isinstance(handler, BaseTracer) and not taps_streams(handler)


def taps_streams(handler: BaseCallbackHandler) -> bool:
    """Tell whether langchain-core's own streaming handlers are among the bases of `handler`.

    Having methods of that name does not count: handlers that export traces have them as well.
    """
    return _StreamingCallbackHandler in type(handler).__mro__


def _traced(manager: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun) -> object:
    """Return the run as the LangSmith tracer recorded it, or None if none of the handlers is that tracer."""
    tracers = sys.modules.get("langchain_core.tracers.langchain")
    if tracers is not None:
        for handler in manager.handlers:
            if isinstance(handler, tracers.LangChainTracer):
                return handler.run_map.get(str(manager.run_id))
    return None
