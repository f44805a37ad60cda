"""A compiled graph as its runs know it: a frozen record, made once and used by every run until the graph is changed.

Rules
-----
* A run reads nothing of a graph but this record; it never calls the object that callers hold.
* Nothing here refers to that object, so that a graph nobody uses any more is freed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_CHECKPOINTER, NS_END, NS_SEP
from stategraph.core.program import Program
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.versions import Versions
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.scheduling import FanOut
from stategraph.stream_parts import StreamMode
from stategraph.types import All, CachePolicy, Checkpointer, Command, RetryPolicy

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore


class OutputCheck(Protocol):
    """Checks the output of a run against the schema that its graph declares."""

    def __call__(self, values: object) -> Any:
        """Return the output as an instance of the schema.

        Raises:
            ValueError: It does not fit.
        """


class CommandCheck(Protocol):
    """Checks what a command that is the input of a run writes, against the schema that its graph declares."""

    def __call__(self, command: Command[Any]) -> Command[Any]:
        """Return the command as it is to be taken.

        Raises:
            ValueError: A part of its update, or of what it sends, does not fit.
        """


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """All that a run needs of a graph.

    Attributes:
        name: The name in traces, logs and drawings.
        program: The graph as the core reads it.
        nodes: The nodes by name.
        channels: Channels and managed values by name.
        output_channels: The channels that make up the output.
        stream_channels: The channels shown as the state; a string for the bare value of one.
        stream_mode: The mode of `stream` unless its caller names others.
        stream_eager: Whether chunks leave while nodes still run, in every mode.
        interrupt_before: Nodes to pause before; "*" for all.
        interrupt_after: Nodes to pause after; "*" for all.
        step_timeout: Limit of one superstep in seconds, or None.
        debug: Whether every step is printed.
        strict: Whether what would be ignored, or change when stored, is an error.
        checkpointer: The graph's own saver, or what stands for one.
        trusting: Tells a saver which classes it may bring back; returns the saver to use. None: it needs no telling.
        migrate: Brings a checkpoint of an older format or graph layout up to date, in place.
        versions: Brings checkpoints of earlier versions of the graph up to its own; None if it has no version.
        store: The long-term memory of nodes, or None.
        cache: Where results of nodes are cached, or None.
        retry_policy: For nodes without their own.
        cache_policy: For nodes without their own, or None.
        context_schema: The type of a run's context, or None.
        config: Defaults for the config of every run, or None.
        output_mapper: Coerces outputs in v2 streams, or None.
        state_mapper: Coerces states in v2 streams, or None.
        fan_outs: Rules for branches that run beside each other, with the nodes of these.
        output_check: Checks the output of a run that has ended; None for no check.
        command_check: Checks the command that a run is given; None for no check.
        setups: What runs have worked out of the options of their calls; see `runs.run_setup`.
    """

    name: str
    program: Program
    nodes: Mapping[str, PregelNode]
    channels: Mapping[str, Any]
    output_channels: str | Sequence[str]
    stream_channels: str | Sequence[str]
    stream_mode: StreamMode
    stream_eager: bool
    interrupt_before: All | Sequence[str]
    interrupt_after: All | Sequence[str]
    step_timeout: float | None
    debug: bool
    strict: bool
    checkpointer: Checkpointer
    trusting: Callable[[Any], Any] | None
    migrate: Callable[[Any], None]
    versions: Versions | None
    store: BaseStore | None
    cache: BaseCache[Any] | None
    retry_policy: Sequence[RetryPolicy]
    cache_policy: CachePolicy[Any] | None
    context_schema: type[Any] | None
    config: RunnableConfig | None
    output_mapper: Callable[[Any], Any] | None
    state_mapper: Callable[[Any], Any] | None
    fan_outs: tuple[tuple[frozenset[str], FanOut], ...] = ()
    output_check: OutputCheck | None = None
    command_check: CommandCheck | None = None
    setups: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def saver_of(self, conf: Mapping[str, Any]) -> BaseCheckpointSaver[Any] | None:
        """Return the saver of a run: its parent's if it has one, else the graph's own.

        Args:
            conf: What is `configurable` in the run's config.

        Raises:
            RuntimeError: If a root graph was compiled with ``checkpointer=True``.
        """
        if self.checkpointer is False:
            return None
        saver: BaseCheckpointSaver[Any] | None
        if CONFIG_KEY_CHECKPOINTER in conf:
            saver = conf[CONFIG_KEY_CHECKPOINTER]
        elif self.checkpointer is True:
            raise RuntimeError("checkpointer=True cannot be used for root graphs.")
        else:
            saver = self.checkpointer
        if saver is None or self.trusting is None:
            return saver
        return self.trusting(saver)  # type: ignore[no-any-return]

    def own_config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config of a subgraph with one history per thread: no task ids in its namespace."""
        if self.checkpointer is not True:
            return config
        ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
        stable = NS_SEP.join(part.split(NS_END)[0] for part in ns.split(NS_SEP))
        return patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: stable})

    def may_lose(self, keys: str | Sequence[str]) -> bool:
        """Return whether one of these channels can lose its value again, so that the last chunk differs from it."""
        return not self.program.loses.isdisjoint((keys,) if isinstance(keys, str) else keys)
