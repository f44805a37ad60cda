"""The plan of a run: all that its caller, its graph and the run around it decide before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
from stategraph.engine.config import environment
from stategraph.engine.config.environment import SYSTEM, Environment
from stategraph.engine.config.run_config import UNASKED
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
from stategraph.engine.runs.run_setup import RunSetup
from stategraph.engine.spec import GraphSpec
from stategraph.types import Durability

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore


class Given(NamedTuple):
    """All that the caller of a run gave besides its input, its config and the options of its setup.

    Attributes:
        context: The context of nodes, or None.
        durability: When checkpoints are stored; None for the default.
        control: A switch to drain the run with, or None.
    """

    context: Any = None
    durability: Durability | None = None
    control: RunControl | None = None


NOTHING: Final = Given()
"""Nothing, which is what most callers give."""


def given_by(context: Any, durability: Durability | None, control: RunControl | None) -> Given:
    """Put together what a caller gave; mostly it is nothing."""
    if context is None and durability is None and control is None:
        return NOTHING
    return Given(context, durability, control)


@dataclass(slots=True, eq=False)
class RunPlan:
    """A run, decided: nothing here changes while it is executed.

    Not a frozen dataclass, which takes five times as long to make, nor a named tuple, whose attributes take ten times
    as long to read: a run asks its plan some 60 times.

    Attributes:
        spec: The graph.
        setup: What the options of its caller have decided.
        given: What else its caller gave.
        environment: Its surroundings: clock, ids, runner of tasks, sinks of facts.
        input: The input, a ``Command``, or None to continue.
        config: The complete config, in the run's namespace.
        ns: The namespace of the run's graph within the thread; "" for a root.
        nested: Whether the run is a node of another run.
        parent: The task whose node the run is; None if it is no node, or that of another engine.
        durability: When checkpoints are stored.
        saver: Where they are stored, or None.
        store: The long-term memory of its nodes, or None.
        cache: Where results of nodes are cached, or None.
        max_concurrency: The most tasks to run at once, or None for the default.
        runtime: What its nodes' runtimes have in common.
    """

    spec: GraphSpec
    setup: RunSetup
    given: Given
    environment: Environment
    input: object
    config: RunnableConfig
    ns: str
    nested: bool
    parent: Task | None
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
    def owns_limits(self) -> bool:
        """True if the caller gave `GraphLimits`, so that what they come to is decided in this run."""
        return self.given.control is not None and self.given.control.limited

    @property
    def asks_nothing(self) -> bool:
        """True if it stores nothing, its config asks nothing, and its surroundings are the machine's own."""
        return self.config is UNASKED and self.saver is None and self.environment is SYSTEM

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


def decide(spec: GraphSpec, setup: RunSetup, input: object, config: RunnableConfig, given: Given) -> RunPlan:
    """Decide how a graph is run.

    Args:
        spec: The graph.
        setup: What the caller's options have decided.
        input: Its input, a ``Command``, or None to continue.
        config: The complete config: the graph's, the caller's and the ambient one.
        given: What else the caller gave.

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
    outer: Any = None
    parent, nested, ns, durability, store, cache = None, False, "", given.durability, spec.store, spec.cache
    if conf:
        pad, outer, nested = conf.get(CONFIG_KEY_SCRATCHPAD), conf.get(CONFIG_KEY_RUNTIME), CONFIG_KEY_TASK_ID in conf
        parent = pad if isinstance(pad, Task) else None
        if CONFIG_KEY_RUNTIME in conf:
            store = outer.store
        cache = conf.get(CONFIG_KEY_CACHE, cache)
        durability = durability or conf.get(CONFIG_KEY_DURABILITY)
        if spec.checkpointer is True:
            config = spec.own_config(config)
        if parent is not None or conf.get(CONFIG_KEY_CHECKPOINT_NS):
            config = _placed(config, parent, nested)
        ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    # By position: so many names take as long again to pass as all that is passed to make.
    return RunPlan(
        spec,
        setup,
        given,
        environment.current(),
        input,
        config,
        ns,
        nested,
        parent,
        durability or "async",
        saver,
        store,
        cache,
        None if (most := config.get("max_concurrency")) is None else _limit_of(most),
        _runtime(spec, given, config, outer, store),
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
    spec: GraphSpec, given: Given, config: RunnableConfig, outer: Any, store: BaseStore | None
) -> Runtime[Any]:
    if outer is None and given.context is None and given.control is None:
        return new_runtime(store, _to_nobody, server_info_from(config))
    if type(outer) is Runtime and outer.stream_writer is _to_nobody and given.context is None and given.control is None:
        # Made by the run around this one, which has read the same config: there is nothing to add.
        return outer
    context = given.context
    return run_runtime(
        adopt_runtime(outer),
        context=None if context is None else coerce_context(spec.context_schema, context),
        store=store,
        stream_writer=_to_nobody,
        server_info=server_info_from(config),
        control=given.control,
    )


def _to_nobody(_: Any) -> None:
    """Drop what nodes write where nobody reads; not the default, which would leave the caller's writer in place."""
