"""A node of a compiled graph: what it reads, what it does, what it writes, and under which policies.

`PregelNode` is a record; the engine executes it. `NodeBuilder` spells such a record for graphs that are written in
channels rather than in states.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Self, cast

from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.engine.compile.functions import RunnableCallable, RunnableLike, RunnableSeq, coerce_to_runnable
from stategraph.engine.compile.protocol import AnyGraph, AnyRunnable
from stategraph.engine.compile.subgraphs import find_subgraph
from stategraph.engine.compile.write import ChannelWrite, ChannelWriteEntry, FastWriter, reader
from stategraph.engine.config.node_limits import NodeLimits
from stategraph.engine.config.runnable_config import ensure_config, merge_configs
from stategraph.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy


class ChannelRead(Runnable[Any, Any]):
    """A step that answers a part of the state instead of its input."""

    def __init__(
        self,
        channel: str | list[str],
        *,
        fresh: bool = False,
        mapper: Callable[[Any], Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        """Say what to read.

        Args:
            channel: One channel for its bare value, or a list for a dict.
            fresh: Whether the task's own writes are applied first.
            mapper: Applied to what was read.
            tags: Kept for readers.
        """
        self.channel = channel
        self.fresh = fresh
        self.mapper = mapper
        self.tags = tags

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Name the step after what it reads."""
        channels = self.channel if isinstance(self.channel, str) else ",".join(self.channel)
        return super().get_name(suffix, name=name or f"ChannelRead<{channels}>")

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Read the state of the task whose config this is."""
        return self.do_read(config or ensure_config(), select=self.channel, fresh=self.fresh, mapper=self.mapper)

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Like `invoke`."""
        return self.invoke(input, config)

    @staticmethod
    def do_read(
        config: RunnableConfig,
        *,
        select: str | list[str],
        fresh: bool = False,
        mapper: Callable[[Any], object] | None = None,
    ) -> Any:
        """Read the state from inside a task.

        Raises:
            RuntimeError: The config is not that of a task.
        """
        state = reader(config)(select, fresh)
        return mapper(state) if mapper is not None else state


def _same(input: object) -> object:
    return input


DEFAULT_BOUND: Final[AnyRunnable] = RunnableCallable(_same)
"""The work of a node that does nothing."""


class PregelNode:
    """A node of a compiled graph.

    Attributes:
        channels: What the node gets: one channel for its bare value, or a list for a dict.
        triggers: Channels whose change starts the node.
        mapper: Turns what was read into the node's input, or None.
        writers: What writes the result, in order.
        bound: The work.
        retry_policy: The first policy that matches a failure decides; None or empty for the graph's.
        cache_policy: Whether and how results are cached; None for the graph's.
        timeout: Limits of one attempt, or None.
        limits: How many attempts run at a time and begin in a period, or None.
        tags: Given to the node's runs.
        metadata: Given to the node's runs.
        trace_policy: What tracers get to see of the payloads, or None for everything.
        is_error_handler: Whether the node handles the failures of others.
        error_handler_node: The node that handles this one's failure, or None.
    """

    channels: str | list[str]
    triggers: list[str]
    mapper: Callable[[Any], Any] | None
    writers: list[AnyRunnable]
    bound: AnyRunnable
    retry_policy: Sequence[RetryPolicy] | None
    cache_policy: CachePolicy[Any] | None
    timeout: TimeoutPolicy | None
    limits: NodeLimits | None
    tags: Sequence[str] | None
    metadata: Mapping[str, Any] | None
    trace_policy: TracePolicy | None
    is_error_handler: bool
    error_handler_node: str | None

    def __init__(
        self,
        *,
        channels: str | list[str],
        triggers: Sequence[str],
        mapper: Callable[[Any], Any] | None = None,
        writers: list[AnyRunnable] | None = None,
        tags: list[str] | None = None,
        metadata: Mapping[str, object] | None = None,
        trace_policy: TracePolicy | None = None,
        bound: AnyRunnable | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        is_error_handler: bool = False,
        error_handler_node: str | None = None,
        subgraphs: Sequence[AnyGraph] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        limits: NodeLimits | None = None,
    ) -> None:
        """Record a node; see the class for the meaning of each part.

        `subgraphs` None means: look for them in `bound`. A bare `timeout` is a limit on one attempt, in seconds.
        """
        self.channels = channels
        self.triggers = list(triggers)
        self.mapper = mapper
        self.writers = writers if writers is not None else []
        self.bound = DEFAULT_BOUND if bound is None else bound
        self.retry_policy = (retry_policy,) if isinstance(retry_policy, RetryPolicy) else retry_policy
        self.cache_policy = cache_policy
        self.timeout = TimeoutPolicy.coerce(timeout)
        self.limits = limits
        self.tags = tags
        self.metadata = metadata
        self.trace_policy = trace_policy
        self.is_error_handler = is_error_handler
        self.error_handler_node = error_handler_node
        self._subgraphs = subgraphs
        self._chain: tuple[tuple[AnyRunnable, ...], AnyRunnable] | None = None

    @property
    def subgraphs(self) -> Sequence[AnyGraph]:
        """The graphs that the node runs, looked for on first use."""
        if self._subgraphs is None:
            self._subgraphs = _look_for_subgraphs(self.bound)
        return self._subgraphs

    @subgraphs.setter
    def subgraphs(self, value: Sequence[AnyGraph]) -> None:
        self._subgraphs = value

    def copy(self, update: dict[str, Any]) -> PregelNode:
        """Return a node with some parts replaced, named as in the constructor."""
        parts: dict[str, Any] = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        parts["subgraphs"] = self._subgraphs
        return PregelNode(**{**parts, **update})

    @property
    def flat_writers(self) -> list[AnyRunnable]:
        """The writers, with plain channel writes at the end of the list merged into one."""
        writers = list(self.writers)
        while len(writers) > 1:
            before, last = writers[-2:]
            if type(before) is not ChannelWrite or type(last) is not ChannelWrite:
                break
            writers[-2:] = [ChannelWrite([*before.writes, *last.writes])]
        return writers

    @property
    def fast_writers(self) -> tuple[FastWriter, ...] | None:
        """The writers for the inner loop; None if one of them is a foreign Runnable and has to be invoked."""
        writers = self.flat_writers
        # By attribute, not by class: an instance check against an abstract class costs more than all the rest.
        for writer in writers:
            if not hasattr(writer, "write_into"):
                return None
        return cast(tuple[FastWriter, ...], tuple(writers))

    @property
    def node(self) -> AnyRunnable | None:
        """Work and writers as one Runnable, for a run that is traced; None if there is nothing to run."""
        parts = (self.bound, *self.writers)
        if self._chain is not None and self._chain[0] == parts:
            return self._chain[1]
        steps = [*(() if self.bound is DEFAULT_BOUND else (self.bound,)), *self.flat_writers]
        if not steps:
            return None
        chain = steps[0] if len(steps) == 1 else RunnableSeq(*steps, trace_policy=self.trace_policy)
        self._chain = (parts, chain)
        return chain

    @property
    def input_cache_key(self) -> tuple[Callable[[Any], Any] | None, tuple[str, ...]]:
        """Nodes with equal keys get equal inputs within a step."""
        return self.mapper, (self.channels,) if isinstance(self.channels, str) else tuple(self.channels)

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Do the work alone, without reading or writing state."""
        return self.bound.invoke(input, self._config(config), **kwargs)

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Like `invoke`."""
        return await self.bound.ainvoke(input, self._config(config), **kwargs)

    def stream(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Iterator[Any]:
        """Like `invoke`, yielding the items that the work yields."""
        return self.bound.stream(input, self._config(config), **kwargs)

    def astream(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> AsyncIterator[Any]:
        """Like `stream`."""
        return self.bound.astream(input, self._config(config), **kwargs)

    def _config(self, config: RunnableConfig | None) -> RunnableConfig:
        own = {"metadata": dict(self.metadata or {}), "tags": list(self.tags or ())}
        return merge_configs(cast(RunnableConfig, own), config)


def _look_for_subgraphs(bound: AnyRunnable) -> Sequence[AnyGraph]:
    if bound is DEFAULT_BOUND:
        return ()
    try:
        found = find_subgraph(bound)
    except Exception:
        # Looking runs properties of foreign objects; even if they raise, the node itself is fine.
        return ()
    return () if found is None else (found,)


class NodeBuilder:
    """Spells a node of a graph of channels, one method call for each part."""

    __slots__ = (
        "_bound",
        "_cache_policy",
        "_channels",
        "_metadata",
        "_retry_policy",
        "_tags",
        "_timeout",
        "_triggers",
        "_writes",
    )

    _bound: AnyRunnable
    _cache_policy: CachePolicy[Any] | None
    _channels: str | list[str]
    _metadata: dict[str, Any]
    _retry_policy: list[RetryPolicy]
    _tags: list[str]
    _timeout: TimeoutPolicy | None
    _triggers: list[str]
    _writes: list[ChannelWriteEntry]

    def __init__(self) -> None:
        """Begin with a node that reads, does and writes nothing."""
        self._bound = DEFAULT_BOUND
        self._cache_policy = None
        self._channels = []
        self._metadata = {}
        self._retry_policy = []
        self._tags = []
        self._timeout = None
        self._triggers = []
        self._writes = []

    def subscribe_only(self, channel: str) -> Self:
        """Start on changes of one channel and get its bare value.

        Raises:
            ValueError: The node reads other channels already.
        """
        if self._channels:
            raise ValueError(
                f"Cannot subscribe to '{channel}' only: the node already reads {self._channels!r}. "
                "Use subscribe_to for several channels"
            )
        self._channels = channel
        self._triggers.append(channel)
        return self

    def subscribe_to(self, *channels: str, read: bool = True) -> Self:
        """Start on changes of any of these channels and get a dict of values.

        Args:
            *channels: The channels.
            read: False to leave them out of the dict.

        Raises:
            ValueError: The node gets the bare value of one channel.
        """
        listed = self._listed(channels)
        if read:
            listed.extend(channels)
        self._triggers.extend(channels)
        return self

    def read_from(self, *channels: str) -> Self:
        """Add channels to the dict without starting on their changes.

        Raises:
            ValueError: The node gets the bare value of one channel.
        """
        self._listed(channels).extend(channels)
        return self

    def _listed(self, channels: tuple[str, ...]) -> list[str]:
        if isinstance(self._channels, str):
            raise ValueError(
                f"Cannot add {channels!r}: the node gets the bare value of '{self._channels}', "
                "and a bare value has no room for other channels. Use subscribe_to for all of them"
            )
        return self._channels

    def do(self, node: RunnableLike[Any, Any]) -> Self:
        """Add work, done after the work added before."""
        work = coerce_to_runnable(node, name=None, trace=True)
        self._bound = work if self._bound is DEFAULT_BOUND else RunnableSeq(self._bound, work)
        return self

    def write_to(self, *channels: str | ChannelWriteEntry, **kwargs: object) -> Self:
        """Add writes.

        Args:
            *channels: Channels that get the result as it is, or entries.
            **kwargs: For a channel, a function of the result, or a constant.
        """
        self._writes.extend(ChannelWriteEntry(item) if isinstance(item, str) else item for item in channels)
        for channel, item in kwargs.items():
            entry = ChannelWriteEntry(channel, mapper=item) if callable(item) else ChannelWriteEntry(channel, item)
            self._writes.append(entry)
        return self

    def meta(self, *tags: str, **metadata: object) -> Self:
        """Add tags and metadata for the node's runs."""
        self._tags.extend(tags)
        self._metadata.update(metadata)
        return self

    def add_retry_policies(self, *policies: RetryPolicy) -> Self:
        """Add retry policies; the first that matches a failure decides."""
        self._retry_policy.extend(policies)
        return self

    def add_cache_policy(self, policy: CachePolicy[Any]) -> Self:
        """Cache the node's results."""
        self._cache_policy = policy
        return self

    def set_timeout(self, timeout: float | timedelta | TimeoutPolicy | None) -> Self:
        """Limit each attempt; a bare number is in seconds."""
        self._timeout = TimeoutPolicy.coerce(timeout)
        return self

    def build(self) -> PregelNode:
        """Build the node as specified so far."""
        node = PregelNode(
            bound=self._bound,
            writers=[ChannelWrite(self._writes)],
            channels=self._channels,
            triggers=self._triggers,
            metadata=self._metadata,
            tags=self._tags,
        )
        node.cache_policy, node.retry_policy, node.timeout = self._cache_policy, self._retry_policy, self._timeout
        return node
