"""The plan of a run: all that its caller, its graph and the run around it decide before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CACHE,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_TASK_ID,
    NS_END,
    NS_SEP,
)
from stategraph.core.task import Task
from stategraph.core.views import Keys
from stategraph.engine.config import environment
from stategraph.engine.config.environment import Environment
from stategraph.engine.config.runnable_config import DEFAULT_RECURSION_LIMIT, patch_configurable
from stategraph.engine.config.runtime import (
    RunControl,
    Runtime,
    adopt_runtime,
    coerce_context,
    new_runtime,
    run_runtime,
    server_info_from,
)
from stategraph.engine.spec import GraphSpec
from stategraph.engine.streams.projection import Format
from stategraph.types import All, Durability

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore


class Shown(NamedTuple):
    """The chunks of a run that its caller asked for; None means the graph's default."""

    stream_mode: str | Sequence[str] | None = None
    print_mode: str | Sequence[str] = ()
    version: Literal["v1", "v2"] = "v1"
    subgraphs: bool = False
    debug: bool | None = None


class Options(NamedTuple):
    """The options of a run, as its caller gave them; None means the graph's default."""

    shown: Shown = Shown()
    context: Any = None
    output_keys: str | Sequence[str] | None = None
    interrupt_before: All | Sequence[str] | None = None
    interrupt_after: All | Sequence[str] | None = None
    durability: Durability | None = None
    control: RunControl | None = None


class RunPlan(NamedTuple):
    """A run, decided: nothing here changes while it is executed.

    A named tuple, as one is made in a fifth of the time of a frozen dataclass, and each graph that runs as a node makes
    one.

    Attributes:
        spec: The graph.
        options: The options that its caller gave.
        environment: Its surroundings: clock, ids, runner of tasks, sinks of facts.
        input: The input, a ``Command``, or None to continue.
        config: The complete config, in the run's namespace.
        ns: The namespace of the run's graph within the thread; "" for a root.
        nested: Whether the run is a node of another run.
        parent: The task whose node the run is; None if it is no node, or that of another engine.
        form: Which chunks the caller gets and how.
        output_keys: The channels that make up the output.
        interrupt_before: Nodes to pause before; "*" for all.
        interrupt_after: Nodes to pause after; "*" for all.
        durability: When checkpoints are stored.
        saver: Where they are stored, or None.
        store: The long-term memory of its nodes, or None.
        cache: Where results of nodes are cached, or None.
        max_concurrency: The most tasks to run at once, or None for the default.
        runtime: What its nodes' runtimes have in common.
    """

    spec: GraphSpec
    options: Options
    environment: Environment
    input: object
    config: RunnableConfig
    ns: str
    nested: bool
    parent: Task | None
    form: Format
    output_keys: str | Keys
    interrupt_before: All | Sequence[str]
    interrupt_after: All | Sequence[str]
    durability: Durability
    saver: BaseCheckpointSaver[Any] | None
    store: BaseStore | None
    cache: BaseCache[Any] | None
    max_concurrency: int | None
    runtime: Runtime[Any]

    @property
    def control(self) -> RunControl:
        """The switch that drains the run."""
        control = self.runtime.control
        return control if control is not None else RunControl()

    @property
    def keeps_history(self) -> bool:
        """True if the run's checkpoints are looked for when it has ended well, unlike those of a task's graph."""
        return not self.nested or NS_END not in self.ns

    @property
    def stores_steps(self) -> bool:
        """True if what tasks write is stored as soon as they end."""
        return self.saver is not None and self.durability != "exit"

    @property
    def leaves_nothing(self) -> bool:
        """True if nothing is left to store or to wait for, if the run has ended well."""
        return self.saver is None or (self.durability == "exit" and not self.keeps_history)


def decide(
    spec: GraphSpec,
    input: object,
    config: RunnableConfig,
    options: Options,
    form: Format,
    keys: str | Sequence[str],
) -> RunPlan:
    """Decide how a graph is run.

    Args:
        spec: The graph.
        input: Its input, a ``Command``, or None to continue.
        config: The complete config: the graph's, the caller's and the ambient one.
        options: The caller's options.
        form: Which chunks the caller gets and how.
        keys: The channels that make up the output.

    Raises:
        TypeError: If the recursion limit is no number.
        ValueError: If it is below 1, `max_concurrency` is no whole number from 1 on, or there is a saver but nothing
            in the config to name a thread.
        RuntimeError: If a root graph was compiled with ``checkpointer=True``.
    """
    limit, conf = config["recursion_limit"], config[CONF]
    if limit is not DEFAULT_RECURSION_LIMIT:
        _check_limit(limit)
    saver = spec.saver_of(conf)
    if saver is not None and not conf:
        raise ValueError(
            "Checkpointer requires one or more of the following 'configurable' "
            "keys: thread_id, checkpoint_ns, checkpoint_id"
        )
    pad = conf.get(CONFIG_KEY_SCRATCHPAD)
    parent, nested = pad if isinstance(pad, Task) else None, CONFIG_KEY_TASK_ID in conf
    if spec.checkpointer is True:
        config = spec.own_config(config)
    placed = _placed(config, parent, nested) if parent is not None or conf.get(CONFIG_KEY_CHECKPOINT_NS) else config
    outer: Any = conf.get(CONFIG_KEY_RUNTIME)
    store = outer.store if CONFIG_KEY_RUNTIME in conf else spec.store
    # By position: so many names take as long again to pass as all that is passed to make.
    return RunPlan(
        spec,
        options,
        environment.current(),
        input,
        placed,
        placed[CONF].get(CONFIG_KEY_CHECKPOINT_NS, ""),
        nested,
        parent,
        form,
        keys if isinstance(keys, (str, Keys)) else Keys(keys),
        options.interrupt_before or spec.interrupt_before,
        options.interrupt_after or spec.interrupt_after,
        options.durability or conf.get(CONFIG_KEY_DURABILITY, "async"),
        saver,
        store,
        conf.get(CONFIG_KEY_CACHE, spec.cache),
        None if (most := config.get("max_concurrency")) is None else _limit_of(most),
        _runtime(spec, options, placed, outer, store),
    )


def _check_limit(limit: Any) -> None:
    if not isinstance(limit, (int, float)):
        raise TypeError(f"recursion_limit is {limit!r}, of type {type(limit).__name__}; expected a whole number")
    if limit < 1:
        raise ValueError("recursion_limit must be at least 1")


def _placed(config: RunnableConfig, parent: Task | None, nested: bool) -> RunnableConfig:
    """Give the run its namespace: a task's second and later graphs get a number."""
    conf = config[CONF]
    if parent is not None:
        if count := parent.subgraph_counter():
            ns = f"{conf[CONFIG_KEY_CHECKPOINT_NS]}{NS_SEP}{count}"
            config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: ns})
    elif not nested and conf.get(CONFIG_KEY_CHECKPOINT_NS):
        config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: "", CONFIG_KEY_CHECKPOINT_ID: None})
    return config


def _limit_of(value: Any) -> int:
    """Check `max_concurrency`."""
    if isinstance(value, int) and value >= 1:
        return value
    raise ValueError(f"max_concurrency is {value!r}; expected a whole number from 1 on, or None for the default")


def _runtime(
    spec: GraphSpec, options: Options, config: RunnableConfig, outer: Any, store: BaseStore | None
) -> Runtime[Any]:
    if outer is None and options.context is None and options.control is None:
        return new_runtime(store, _to_nobody, server_info_from(config))
    if (
        type(outer) is Runtime
        and outer.stream_writer is _to_nobody
        and options.context is None
        and options.control is None
    ):
        # Made by the run around this one, which has read the same config: there is nothing to add.
        return outer
    context = options.context
    return run_runtime(
        adopt_runtime(outer),
        context=None if context is None else coerce_context(spec.context_schema, context),
        store=store,
        stream_writer=_to_nobody,
        server_info=server_info_from(config),
        control=options.control,
    )


def _to_nobody(_: Any) -> None:
    """Drop what nodes write where nobody reads; not the default, which would leave the caller's writer in place."""
