"""Entry points: the account of a thread, and two of them beside each other, with a graph or with a saver alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_THREAD_ID
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.pump import Procedure
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.config.runnable_config import ensure_config, merge_configs
from stategraph.engine.state import snapshots
from stategraph.engine.state.account import accounting, comparing, reading
from stategraph.engine.state.account.accounting import STEPS, Asked
from stategraph.engine.state.account.comparing import Comparison
from stategraph.engine.state.account.explanation import Explanation
from stategraph.engine.state.account.facts import as_json as as_json
from stategraph.engine.state.account.shown import Redact
from stategraph.errors import ConfigurationError

Thread = RunnableConfig | str
"""The id of a thread, or a config that names it, and perhaps a checkpoint, or the namespace of a nested graph."""


class ExplainOptions(TypedDict, total=False):
    """Options of an account; see `StateGraphEngine.explain`."""

    steps: int
    subgraphs: bool
    redact: Redact | None


class DiffOptions(TypedDict, total=False):
    """Options of a comparison; see `StateGraphEngine.diff`."""

    redact: Redact | None


async def aexplain_stored(
    saver: Any,
    thread: Thread,
    *,
    graph: Any = None,
    steps: int = STEPS,
    subgraphs: bool = True,
    redact: Redact | None = None,
    errors: bool = True,
) -> Explanation:
    """Return the account of a thread of a saver, with a graph if there is one; the graph's own saver is not asked.

    Args:
        saver: The saver.
        thread: The thread; a namespace in its config is that of the graph.
        graph: The graph; None, or one of an installed LangGraph: it is told from checkpoints alone.
        steps: The most steps that are looked at.
        subgraphs: Whether the graphs inside of tasks are accounted for.
        redact: The host's own redaction.
        errors: Whether texts of errors are told, and not only their classes.
    """
    asked = Asked(saver, redact, _positive(steps), subgraphs, errors=errors)
    return await pump.arun(accounting.explained(_own(graph), asked, config_of(thread)))


async def adiff_stored(
    saver: Any, one: Thread, other: Thread, *, graph: Any = None, redact: Redact | None = None
) -> Comparison:
    """Return two threads or checkpoints of a saver beside each other, with a graph if there is one."""
    asked = Asked(saver, redact)
    return await pump.arun(comparing.compared(_own(graph), asked, config_of(one), config_of(other)))


def config_of(thread: Thread) -> RunnableConfig:
    """Return the config of a thread that is given by its id or as a config.

    Raises:
        ConfigurationError: It is neither, or names no thread.
    """
    if isinstance(thread, str):
        config: Any = reading.place(thread, "")
        return config  # type: ignore[no-any-return]
    if isinstance(thread, Mapping) and thread.get(CONF, {}).get(CONFIG_KEY_THREAD_ID) is not None:
        return thread
    raise ConfigurationError(
        f"{thread!r:.100} names no thread: pass its id, or a config such as {{'configurable': {{'thread_id': '1'}}}}"
    )


def _own(graph: Any) -> CompiledGraph | None:
    """Return a graph of this engine; None for any other, as that of an installed LangGraph, which plans for itself."""
    return graph if hasattr(graph, "program") else None


def _positive(steps: int) -> int:
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ConfigurationError(f"steps is {steps!r}; expected a whole number above 0")
    return steps


_Place = tuple[CompiledGraph | None, Saver, RunnableConfig]


def _place(graph: CompiledGraph, thread: Thread) -> _Place:
    """Return the graph, or nested graph, that a config addresses, its saver, and the config to ask that with."""
    config = config_of(thread)
    saver = snapshots.saver_of(graph, config)
    below = snapshots.addressed_subgraph(graph, config, saver)
    if below is not None:
        return _own(below[0]), saver, below[1]
    config = ensure_config(merge_configs(graph.config, config) if graph.config else config)
    config = graph.own_checkpoint_config(config)
    conf: dict[str, Any] = {**config[CONF], CONFIG_KEY_THREAD_ID: str(config[CONF][CONFIG_KEY_THREAD_ID])}
    is_unknown = bool(conf.get("checkpoint_ns")) and "__pregel_checkpointer" not in conf
    return (None if is_unknown else graph), saver, {**config, CONF: conf}


def explained_by(graph: CompiledGraph, thread: Thread, options: ExplainOptions) -> Procedure[Explanation]:
    """Return the account of a thread's last run, or of the one that led to a checkpoint."""
    own, saver, config = _place(graph, thread)
    steps = _positive(options.get("steps", STEPS))
    asked = Asked(saver, options.get("redact"), steps, options.get("subgraphs", True))
    explanation: Explanation = yield from accounting.explained(own, asked, config)
    return explanation


def compared_by(graph: CompiledGraph, one: Thread, other: Thread, options: DiffOptions) -> Procedure[Comparison]:
    """Return two checkpoints, runs or threads beside each other."""
    own, saver, config = _place(graph, one)
    asked = Asked(saver, options.get("redact"))
    comparison: Comparison = yield from comparing.compared(own, asked, config, _place(graph, other)[2])
    return comparison
