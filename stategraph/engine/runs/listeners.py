"""The run's callback manager: made only if somebody listens, once per run.

Who listens: callback handlers of the config or the environment, and the stream
modes that are fed by callbacks (``messages`` and ``tools``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
)

# A run takes in what the environment and the context ask for even if it is nested; the engine's own function, for what
# runs within it, leaves a manager as it is.
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config
from langchain_core.utils.uuid import uuid7

from stategraph.constants import CONF, CONFIG_KEY_STREAM_MESSAGES_V2, CONFIG_KEY_TASK_ID, NS_SEP
from stategraph.engine.config.runnable_config import has_listeners, is_traced_inside
from stategraph.engine.runs.execution import Execution
from stategraph.engine.streams import messages
from stategraph.engine.streams.modes import display_of
from stategraph.engine.tracing import graph_runs, telling
from stategraph.engine.tracing.chain_run import taps_streams
from stategraph.engine.tracing.graph_callbacks import (
    get_async_graph_callback_manager_for_config,
    get_sync_graph_callback_manager_for_config,
)
from stategraph.engine.tracing.graph_runs import GraphRun
from stategraph.engine.tracing.stream_handler import StreamFeed


class Makers(NamedTuple):
    """Makes the callbacks of a sync, or of an async run.

    Attributes:
        manager: Makes the manager that a run starts with.
        graph_callbacks: Makes the one that hears of pauses and resumptions.
        kind: The class of the manager that a run starts with.
        run: The class of the manager of a run that has started.
    """

    manager: Callable[..., Any]
    graph_callbacks: Callable[..., Any]
    kind: type[BaseCallbackManager]
    run: type[Any]


SYNC: Final = Makers(
    get_callback_manager_for_config,
    get_sync_graph_callback_manager_for_config,
    CallbackManager,
    CallbackManagerForChainRun,
)
ASYNC: Final = Makers(
    get_async_callback_manager_for_config,
    get_async_graph_callback_manager_for_config,
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
)
_INTEGRATION: Final = {"ls_integration": "langgraph"}
"""What tells tracers which library a run belongs to; a caller's own word for it goes before this."""


def needed(execution: Execution) -> bool:
    """Return whether anybody would hear the run's callbacks."""
    return bool(display_of(execution.outlet.own_modes).feeds) or has_listeners(execution.plan.config)


def _prepare(execution: Execution, manager: Any) -> Any:
    """Leave out handlers that are not for this run; say what made it."""
    v1_messages = "messages" in execution.outlet.own_modes and execution.plan.setup.form.version != "v2"
    root = CONFIG_KEY_TASK_ID not in execution.plan.config[CONF]

    def stays(handler: Any) -> bool:
        if v1_messages and isinstance(handler, messages.StreamMessagesHandlerV2):
            return False
        # A graph with a thread of its own starts its namespaces anew, so a caller's
        # handler that follows one graph only would take its events for its own.
        return not (root and isinstance(handler, StreamFeed) and not handler.subgraphs)

    manager.handlers = [h for h in manager.handlers if stays(h)]
    manager.inheritable_handlers = [h for h in manager.inheritable_handlers if stays(h)]
    if "ls_integration" not in manager.metadata:
        manager.add_metadata(_INTEGRATION)
    return manager


def attach(execution: Execution, makers: Makers, run_manager: Any) -> None:
    """Have the run heard by those who listen to graphs, and add the handlers that feed its own stream modes."""
    form, config = execution.plan.setup.form, execution.plan.config
    execution.graph_callbacks = makers.graph_callbacks(config, run_id=run_manager.run_id)
    outlet = execution.outlet
    blocks = form.version == "v2" and bool(execution.plan.config[CONF].get(CONFIG_KEY_STREAM_MESSAGES_V2))
    handlers = [feed(outlet.put, form.subgraphs, blocks) for feed in display_of(outlet.own_modes).feeds]
    for handler in handlers:
        handler.parent_ns = tuple(execution.plan.ns.split(NS_SEP)) if execution.plan.ns else ()
    execution.streams_nodes = any(map(_taps_streams, run_manager.handlers))
    run_manager.inheritable_handlers.extend(handlers)


def _taps_streams(handler: Any) -> bool:
    return taps_streams(handler) and not isinstance(handler, StreamFeed)


def start(execution: Execution, makers: Makers) -> Any:
    """Start the run for its listeners; returns its run manager, which an async run awaits."""
    config, spec = execution.plan.config, execution.plan.spec
    manager, run_id = _prepare(execution, makers.manager(config)), config.get("run_id")
    if observers := graph_runs.hearing(manager.handlers):
        run_id = run_id or uuid7()
        execution.observe(observers, run_id)
        for observer in observers:
            observer.on_graph_start(GraphRun(run_id, spec.name, spec.nodes))
    return manager.on_chain_start(None, execution.plan.input, name=config.get("run_name", spec.name), run_id=run_id)


def start_unheard(execution: Execution, makers: Makers) -> Any:
    """Start a run that only its own stream modes listen to, which are told of what is inside of it.

    Returns:
        The manager of the run, as `start` would make it; None if somebody else may listen.
    """
    config = execution.plan.config
    if config["callbacks"] or has_listeners(config) or is_traced_inside() or not telling.is_ordinary(makers.kind):
        return None
    tags, metadata = config["tags"], {**config["metadata"]}
    metadata.setdefault("ls_integration", _INTEGRATION["ls_integration"])
    return makers.run(
        run_id=config.get("run_id") or uuid7(),
        handlers=[],
        inheritable_handlers=[],
        tags=tags.copy(),
        inheritable_tags=tags.copy(),
        metadata=metadata,
        inheritable_metadata=metadata.copy(),
    )


def hears_the_end(makers: Makers, run_manager: Any) -> bool:
    """Return whether anybody is to be told that a run has ended well; not of a run that nobody listens to (None)."""
    return run_manager is not None and (bool(run_manager.handlers) or not telling.is_ordinary(makers.kind))
