"""One traced run of a chain: its start, its children, and its end, told to the callback handlers that listen.

`start` and `astart` return None if there are no listeners. Then nothing is built, and `quiet_config` makes the
config that the callee sees. Everything else about a traced run is the same for sync and async: the events, their
handlers and their order are decided here without awaiting, and the two thin bodies only differ in how they send them.

A node may keep large payloads out of its traces. The replaced payload goes to tracers alone; handlers that feed a
stream or other code see the real values.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import sys
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.callbacks import manager as callback_managers
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.utils.uuid import uuid7

from stategraph.engine.config import context as run_context
from stategraph.engine.config import runnable_config as run_config
from stategraph.engine.config.quiet_manager import Quiet
from stategraph.engine.tracing.graph_runs import GraphRunHandler
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


def child_manager(run: Any, tag: str | None = None) -> Any:
    """Return the manager of a child, like the run manager's `get_child`, in one step: a node's run has three to six.

    Args:
        run: The manager of a chain's run.
        tag: Put on the direct children alone.

    Returns:
        A sync or async callback manager, as the run's.
    """
    kind = _CHILD_KINDS.get(type(run))
    if kind is None:
        return run.get_child(tag)
    handlers: list[BaseCallbackHandler] = []
    for handler in run.inheritable_handlers:
        if handler not in handlers:
            handlers.append(handler)
    inherited = [own for own in run.inheritable_tags if own != tag]
    metadata = dict(run.inheritable_metadata)
    return kind(
        handlers=handlers,
        inheritable_handlers=handlers.copy(),
        parent_run_id=run.run_id,
        tags=inherited.copy() if tag is None else [*inherited, tag],
        inheritable_tags=inherited,
        metadata=metadata,
        inheritable_metadata=metadata.copy(),
    )


_CHILD_KINDS: Final[dict[type, type[CallbackManager] | type[AsyncCallbackManager]]] = {
    CallbackManagerForChainRun: CallbackManager,
    AsyncCallbackManagerForChainRun: AsyncCallbackManager,
}


class ChainRun(Generic[_RunManager]):
    """A run that was started and has listeners: a context in which it executes, and whose end is reported.

    Attributes:
        manager: The langchain-core manager of the run.
        output: What the run succeeds with; set before the context is left.
    """

    __slots__ = ("_process_outputs", "manager", "output")

    def __init__(self, manager: _RunManager, policy: TracePolicy) -> None:
        self.manager: _RunManager = manager
        self.output: object = None
        self._process_outputs = policy.process_outputs

    def __enter__(self: ChainRun[CallbackManagerForChainRun]) -> None:
        pass

    def __exit__(
        self: ChainRun[CallbackManagerForChainRun],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _, tell, payload in self._endings(error):
            tell(payload)

    async def __aenter__(self: ChainRun[AsyncCallbackManagerForChainRun]) -> None:
        pass

    async def __aexit__(
        self: ChainRun[AsyncCallbackManagerForChainRun],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for manager, tell, payload in self._endings(error):
            if error is None and _is_heard_by_one(manager):
                await _tell_end(manager, payload)
            else:
                await tell(payload)

    def child_config(self, config: RunnableConfig, tag: str | None = None) -> RunnableConfig:
        """Copy a config so that calls with it become children of this run.

        Args:
            config: The config of the run.
            tag: Put on the direct children alone.
        """
        child = config.copy()
        child["callbacks"] = child_manager(self.manager, tag)
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

    def _endings(self, error: BaseException | None) -> list[tuple[_RunManager, Callable[..., Any], object]]:
        """Return who is told of the end by which method, and what."""
        manager, output = self.manager, self.output
        if error is not None:
            return [(manager, manager.on_chain_error, error)]
        recorded = recorded_payload(output, self._process_outputs)
        if recorded is output:
            return [(manager, manager.on_chain_end, output)]
        # Tracers first: a cancellation between the two leaves no trace open.
        others, tracers = _split(manager)
        return [(tracers, tracers.on_chain_end, recorded), (others, others.on_chain_end, output)]


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
    manager = _heard(config, tags, CallbackManager, run_config.get_callback_manager_for_config)
    if manager is None:
        return None
    runs: list[CallbackManagerForChainRun] = []
    for listeners, reported, told in _beginnings(manager, payload, policy, config, name):
        runs.append(listeners.on_chain_start(None, reported, **told))
    return ChainRun(_with_handlers(runs[0], manager), policy)


async def astart(
    config: RunnableConfig,
    payload: object,
    *,
    name: str | None,
    tags: Sequence[str] | None = None,
    policy: TracePolicy = RECORD_AS_IS,
) -> ChainRun[AsyncCallbackManagerForChainRun] | None:
    """Start an async run; see `start`."""
    manager = _heard(config, tags, AsyncCallbackManager, run_config.get_async_callback_manager_for_config)
    if manager is None:
        return None
    runs: list[AsyncCallbackManagerForChainRun] = []
    for listeners, reported, told in _beginnings(manager, payload, policy, config, name):
        if _is_heard_by_one(listeners):
            runs.append(await _tell_start(listeners, reported, **told))
        else:
            runs.append(await listeners.on_chain_start(None, reported, **told))
    return ChainRun(_with_handlers(runs[0], manager), policy)


# -- one listener ----------------------------------------------------------
#
# langchain-core gathers what it tells to handlers: for each event of an async run an asyncio task or two, which costs
# more than everything else about the event. A single handler can be told in place. It gets a separate context as it
# would in a task, and an ending it is being told survives the run's cancellation as it does there.


def _is_heard_by_one(manager: AsyncCallbackManager | AsyncCallbackManagerForChainRun) -> bool:
    handlers = manager.handlers
    if len(handlers) != 1 or type(manager) not in _ASYNC_KINDS or _tell_one is None:
        return False
    # The order of events that feed a stream, or run inline, is seen from outside: leave it as it is.
    if isinstance(handlers[0], GraphRunHandler):
        return True
    return not handlers[0].run_inline and not taps_streams(handlers[0])


_ASYNC_KINDS: Final = frozenset((AsyncCallbackManager, AsyncCallbackManagerForChainRun))
_tell_one: Final[Any] = getattr(callback_managers, "_ahandle_event_for_handler", None)


async def _tell_start(
    manager: AsyncCallbackManager, payload: object, run_id: UUID | None, name: str | None
) -> AsyncCallbackManagerForChainRun:
    run = AsyncCallbackManagerForChainRun(
        run_id=run_id or uuid7(),
        handlers=manager.handlers,
        inheritable_handlers=manager.inheritable_handlers,
        parent_run_id=manager.parent_run_id,
        tags=manager.tags,
        inheritable_tags=manager.inheritable_tags,
        metadata=manager.metadata,
        inheritable_metadata=manager.inheritable_metadata,
    )
    telling = _tell_one(
        run.handlers[0],
        "on_chain_start",
        "ignore_chain",
        None,
        payload,
        run_id=run.run_id,
        parent_run_id=run.parent_run_id,
        tags=run.tags,
        metadata=run.metadata,
        name=name,
    )
    await run_context.await_in_context(copy_context(), telling)
    return run


async def _tell_end(run: AsyncCallbackManagerForChainRun, output: object) -> None:
    telling = _tell_one(
        run.handlers[0],
        "on_chain_end",
        "ignore_chain",
        output,
        run_id=run.run_id,
        parent_run_id=run.parent_run_id,
        tags=run.tags,
    )
    await asyncio.shield(asyncio.get_running_loop().create_task(telling))


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
