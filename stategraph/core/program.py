"""A compiled graph as plain data: what the machine reads on every step.

Rules
-----
* A program never changes once built; a run only reads it.
* Everything that can be known before a run starts (who a channel triggers,
  which channels react to the end of a step) is a table here, so that no step
  ever loops over all nodes or all channels.
* What a node *does* is opaque to the core: ``Node.body`` belongs to the
  driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stategraph.constants import MISSING, PULL, TAG_HIDDEN, TASKS
from stategraph.core import deltas
from stategraph.core.channels import (
    reacts_to_consume,
    reacts_to_empty_update,
    reacts_to_finish,
)
from stategraph.core.channels.barrier import NamedBarrierValue
from stategraph.core.channels.base import AnyChannel
from stategraph.core.channels.binop import BinaryOperatorAggregate, ChangedAggregate
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue
from stategraph.core.channels.untracked import UntrackedValue
from stategraph.core.flow import Flow
from stategraph.core.views import Keys, Layout

Mapper = Callable[[Any], Any]
"""Turns values that were read into what a node, or a router, is given."""

ManagedValues = Mapping[str, Any]
"""Managed values by name: anything with ``get(task) -> value``."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a program.

    Attributes:
        name: Unique within the program.
        triggers: Channels whose update starts the node, sorted.
        reads: Channels and managed values the node's input is made of; a
            single string means the bare value of that channel.
        mapper: Turns the read values into the node's input, or None.
        tags: Tags given to the node's runs.
        runs: False for a node without anything to execute.
        error_handler: Node to start when this one fails, or None.
        has_subgraphs: Whether the node holds a graph with checkpoints of its own.
        body: The driver's record of how to execute the node.
        copies: Returns what the node writes for a dict that it is given, if that is all it does: no code of an author
            runs. None for any other node.
    """

    name: str
    triggers: tuple[str, ...]
    reads: Keys | str
    mapper: Mapper | None
    tags: tuple[str, ...]
    runs: bool
    error_handler: str | None
    has_subgraphs: bool
    body: Any
    copies: Callable[[dict[str, Any]], list[tuple[str, Any]]] | None = None
    hidden: bool = field(init=False)
    """Whether streams leave this node out."""
    path: tuple[str, str] = field(init=False)
    """The path of the tasks that an update of a channel starts."""
    path_key: str = field(init=False)
    """That path as savers store it."""
    id_part: str = field(init=False)
    """What the node adds to the ids of these tasks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", TAG_HIDDEN in self.tags)
        object.__setattr__(self, "path", (PULL, self.name))
        object.__setattr__(self, "path_key", f"~{PULL}, {self.name}")  # as `task.path_key` spells it
        object.__setattr__(self, "id_part", "".join((self.name, PULL, *self.triggers)))


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled graph.

    Attributes:
        nodes: Nodes by name.
        specs: Empty channels by name, the templates a run thaws its state from.
        managed: Managed values by name: anything with ``get(task) -> value``.
        triggers: For each channel the nodes its update starts.
        starts: The same, for a step that starts one node: the node, or None for a channel that takes a closer look,
            as it may start several.
        entry: The node that a run's input starts, if it only copies what it is given; None if there is more to it.
        due: Nodes that a channel may start without having been written, as it has a value from the beginning.
        input_channels: Where the input of a run is written.
        reacts_to_empty: Channels to tell of a step that did not write them.
        reacts_to_finish: Channels to tell that nothing is left to run.
        reacts_to_consume: Channels to tell that a node they triggered has run.
        untracked: Channels that never reach a checkpoint.
        signals: Channels that only start nodes: written in one step, gone after
            the next, read by no node.
        cells: Channels whose attribute ``value`` is what nodes read.
        layouts: What is known of the keys that nodes read together.
        loses: Channels that may lose their value again in a later step.
        last_values: Those of them that simply hold the last value written.
        deltas: Channels that are stored as the writes they received.
        replayable: Templates of the channels whose value may be missing from a
            checkpoint, because they are, or were, stored as their writes.
        flow: What is known of the edges, if nodes start without a barrier.
    """

    nodes: Mapping[str, Node]
    specs: Mapping[str, AnyChannel]
    managed: ManagedValues
    triggers: Mapping[str, tuple[str, ...]]
    starts: Mapping[str, Node | None]
    entry: Node | None
    due: tuple[str, ...]
    input_channels: str | Sequence[str]
    reacts_to_empty: frozenset[str]
    reacts_to_finish: tuple[str, ...]
    reacts_to_consume: frozenset[str]
    untracked: frozenset[str]
    signals: frozenset[str]
    cells: frozenset[str]
    layouts: Mapping[Keys, Layout]
    loses: frozenset[str]
    last_values: frozenset[str]
    deltas: frozenset[str]
    replayable: Mapping[str, AnyChannel]
    flow: Flow | None = None


def build(
    nodes: Mapping[str, Node],
    specs: Mapping[str, AnyChannel],
    managed: ManagedValues,
    input_channels: str | Sequence[str],
) -> Program:
    """Index nodes and channels into a program.

    Args:
        nodes: Nodes by name.
        specs: Channel templates by name.
        managed: Managed values by name.
        input_channels: The channel, or the list of channels, a run's input goes to.

    Returns:
        The program.
    """
    triggers: dict[str, list[str]] = {}
    starts: dict[str, Node | None] = {}
    for node in nodes.values():
        for channel in node.triggers:
            triggers.setdefault(channel, []).append(node.name)
            starts[channel] = node if node.runs and channel not in starts else None
    starts[TASKS] = None
    # Asked of each kind of channel once: a graph has a channel for every node, but few kinds.
    kinds = {type(channel) for channel in specs.values()}

    def where(holds: Callable[[type[AnyChannel]], bool]) -> list[str]:
        chosen = {kind for kind in kinds if holds(kind)}
        return [name for name, channel in specs.items() if type(channel) in chosen] if chosen else []

    cells = frozenset(where(lambda kind: kind in _CELLS))
    empty, finish, consume = map(where, (reacts_to_empty_update, reacts_to_finish, reacts_to_consume))
    return Program(
        nodes=nodes,
        specs=specs,
        managed=managed,
        triggers={channel: tuple(names) for channel, names in triggers.items()},
        starts=starts,
        entry=None if consume or not isinstance(input_channels, str) else _entry(starts.get(input_channels)),
        due=_due(nodes, specs),
        input_channels=input_channels,
        reacts_to_empty=frozenset(empty),
        reacts_to_finish=tuple(finish),
        reacts_to_consume=frozenset(consume),
        untracked=frozenset(where(lambda kind: issubclass(kind, UntrackedValue))),
        signals=_signals(nodes, specs, input_channels),
        cells=cells,
        layouts={k: Layout.of(k, cells, managed) for k in {n.reads for n in nodes.values()} if isinstance(k, Keys)},
        loses=frozenset((*empty, *finish, *consume)),
        last_values=frozenset(where(lambda kind: kind is LastValue)),
        deltas=deltas.names(specs),
        replayable={name: specs[name] for name in where(lambda kind: issubclass(kind, deltas.REPLAYABLE))},
    )


def _entry(node: Node | None) -> Node | None:
    """Return the node that a run's input starts, if it copies just that, and nobody is told of it."""
    if node is None or node.copies is None or node.mapper is not None or not node.hidden:
        return None
    return node if node.triggers == (node.reads,) else None


_EMPTY_AT_FIRST = (LastValue, EphemeralValue, NamedBarrierValue)


def _due(nodes: Mapping[str, Node], specs: Mapping[str, AnyChannel]) -> tuple[str, ...]:
    def has_value(name: str) -> bool:
        channel = specs.get(name)
        return (
            channel is not None
            and type(channel) not in _EMPTY_AT_FIRST
            and channel.from_checkpoint(MISSING).is_available()
        )

    return tuple(node.name for node in nodes.values() if any(map(has_value, node.triggers)))


_CELLS = (LastValue, BinaryOperatorAggregate, ChangedAggregate)


def _signals(
    nodes: Mapping[str, Node],
    specs: Mapping[str, AnyChannel],
    input_channels: str | Sequence[str],
) -> frozenset[str]:
    """Find the unguarded ephemeral channels that no node reads and no input goes to."""
    found = {k for k, c in specs.items() if type(c) is EphemeralValue and not c.guard}
    if found:
        found.difference_update((input_channels,) if isinstance(input_channels, str) else input_channels)
        for reads in {node.reads for node in nodes.values()}:
            found.difference_update((reads,) if isinstance(reads, str) else reads)
    return frozenset(found)
