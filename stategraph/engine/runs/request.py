"""The request of a run, and the checkpoint that it means: values that are complete before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from langchain_core.runnables import RunnableConfig

from stategraph.engine.config.runtime import RunControl
from stategraph.engine.runs import lineage, replay
from stategraph.engine.streams.projection import Format
from stategraph.types import Durability


class Request(NamedTuple):
    """What a caller asked for, with defaults filled in.

    A named tuple, as the other records of a run are: one is made in a fifth of the time of a frozen dataclass, and
    a graph that runs as a node makes five of them.

    Attributes:
        input: The input, a ``Command``, or None to continue.
        config: The complete config: the graph's, the caller's and the ambient one.
        context: The run's context, not coerced yet.
        format: Which chunks the caller gets and how.
        output_keys: Channels that make up the output.
        interrupt_before: Nodes to pause before; "*" for all.
        interrupt_after: Nodes to pause after; "*" for all.
        durability: When checkpoints are stored, or None for the default.
        control: The switch that drains the run, or None for a new one.
    """

    input: Any
    config: RunnableConfig
    context: Any
    format: Format
    output_keys: str | Sequence[str]
    interrupt_before: Literal["*"] | Sequence[str]
    interrupt_after: Literal["*"] | Sequence[str]
    durability: Durability | None
    control: RunControl | None


class Lookup(NamedTuple):
    """Which checkpoint a run starts from.

    Attributes:
        config: Addresses it.
        how: By its id, the last one before a replayed parent's, or the latest.
        replay: Remembers which namespaces a replay has visited; None otherwise.
        ns: The namespace it is in, if that is not the run's own.
        lineage: What the latest one has to agree with; None if there is nothing.
    """

    config: RunnableConfig
    how: Literal["id", "replay", "latest"]
    replay: replay.ReplayState | None = None
    ns: str | None = None
    lineage: lineage.Lineage | None = None
