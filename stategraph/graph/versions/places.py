"""Tasks of a step under an earlier version of a graph: their ids, and names of nodes in channels that start them.

Ids of tasks are made of the names of nodes and of what starts them (`stategraph.core.plan`). What may have started a
node then is known from the graph of today, and from the joins that were ever written; the id under which something is
recorded tells which of these it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_THREAD_ID,
    END,
    NS_END,
    NS_SEP,
    PULL,
    PUSH,
    START,
    TASKS,
)
from stategraph.core.program import Program
from stategraph.core.task import IdMaker
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.engine.compile.versions import GraphVersionError
from stategraph.graph.writer import branch_channel, join_channel
from stategraph.types import Send

BRANCH: Final = branch_channel("")
JOIN: Final = "join:"
_MOST_JOINS: Final = 8
"""Edges from several nodes to one, of which every combination is tried to find a task's earlier id."""

Place: TypeAlias = tuple[str, str]
"""The id and the namespace of a task."""

Triggers: TypeAlias = tuple[str, ...]


class Step:
    """The step behind a checkpoint, as an earlier version of the graph has planned it."""

    def __init__(self, saved: CheckpointTuple, names: Mapping[str, Sequence[str]], recorded: Collection[str]) -> None:
        """Look at a checkpoint.

        Args:
            saved: The checkpoint, as it is stored.
            names: For nodes that were renamed, the names that they had.
            recorded: The ids of tasks that something is recorded of.
        """
        conf, checkpoint = saved.config[CONF], saved.checkpoint
        self._thread_id = conf.get(CONFIG_KEY_THREAD_ID)
        self._ns = conf.get(CONFIG_KEY_CHECKPOINT_NS, "")
        self._ids = IdMaker(checkpoint["id"], checkpoint["v"])
        self._number = saved.metadata.get("step", -1) + 1
        self._joins = [name for name in checkpoint["channel_versions"] if name.startswith(JOIN)]
        self._packets: Sequence[Any] = checkpoint["channel_values"].get(TASKS) or ()
        self._names = names
        self._recorded = recorded

    def nodes(self, program: Program) -> dict[str, Place]:
        """Return by today's ids the places of the tasks that channels start, where they have changed.

        Raises:
            GraphVersionError: Several nodes that have become one wait.
        """
        found: dict[str, Place] = {}
        for node in program.nodes.values():
            if node.name != START:
                today = self._place(node.name, node.triggers)
                if (before := self._before(node.name, node.triggers)) != today:
                    found[today[0]] = before
        return found

    def _before(self, node: str, triggers: Triggers) -> Place:
        names = self._names.get(node, [node])
        known = self._known_triggers(triggers)
        places = [
            (name, place)
            for name in names
            for place in self._candidates(name, [each for each in known if _ends_in(each, name)])
        ]
        waiting = [(name, place) for name, place in places if place[0] in self._recorded]
        if len(waiting) > 1:
            both = ", ".join(sorted(repr(name) for name, _ in waiting))
            raise GraphVersionError(
                f"{both} have become the node '{node}', and in thread {self._thread_id!r} more "
                "than one of them waits: one node cannot go on for both. Let the thread end with the earlier version, "
                "or drop one with END"
            )
        return (waiting or places)[0][1]

    def packets(self, packets: Iterable[tuple[str, int, str]]) -> dict[str, Place]:
        """Return the same for the tasks of packets.

        Args:
            packets: The node of each, its place when it was stored, and the name that its node had.
        """
        found: dict[str, Place] = {}
        for index, (node, index_before, name) in enumerate(packets):
            today, before = self._of_packet(node, index), self._of_packet(name, index_before)
            if before != today:
                found[today[0]] = before
        return found

    def dropped(self, nodes: Iterable[str], kept_packets: Collection[int]) -> set[str]:
        """Return the ids of tasks that there are no more: those of removed nodes, and of packets that are not kept."""
        gone = {place[0] for name in nodes for place in self._candidates(name, [])}
        for index, packet in enumerate(self._packets):
            if isinstance(packet, Send) and index not in kept_packets:
                gone.add(self._of_packet(packet.node, index)[0])
        return gone

    def _candidates(self, name: str, known: Sequence[Triggers]) -> list[Place]:
        """Return the places that the task of a node may have had, the likeliest first.

        Args:
            name: The node's name then.
            known: What may have started it, as the graph of today tells.
        """
        into = [channel for channel in self._joins if _names_in(channel)[-1] == name][:_MOST_JOINS]
        tried = [
            tuple(sorted((branch_channel(name), *some)))
            for size in range(len(into), -1, -1)
            for some in itertools.combinations(into, size)
        ]
        return list(dict.fromkeys(self._place(name, each) for each in (*known, *tried)))

    def _known_triggers(self, triggers: Triggers) -> list[Triggers]:
        """Return what may have started a node before, as far as its triggers of today tell."""
        choices = [
            [
                _channel_of(channel, names)
                for names in itertools.product(*(self._names.get(name, [name]) for name in _names_in(channel)))
            ]
            for channel in triggers
        ]
        return [tuple(sorted(each)) for each in itertools.product(*choices)]

    def _place(self, name: str, triggers: Triggers) -> Place:
        return self._made(name, f"{name}{PULL}{''.join(triggers)}")

    def _of_packet(self, name: str, index: int) -> Place:
        return self._made(name, f"{name}{PUSH}{index}")

    def _made(self, name: str, what: str) -> Place:
        ns = f"{self._ns}{NS_SEP}{name}" if self._ns else name
        task_id = self._ids.make(f"{ns}{self._number}{what}")
        return task_id, f"{ns}{NS_END}{task_id}"


# -- names in channels ---------------------------------------------------------


def _names_in(channel: str) -> list[str]:
    """Return the nodes that a trigger names, the one that it starts last."""
    if channel.startswith(BRANCH):
        return [channel.removeprefix(BRANCH)]
    if channel.startswith(JOIN):
        starts, _, end = channel.removeprefix(JOIN).rpartition(":")
        return [*starts.split("+"), end]
    return []


def _channel_of(channel: str, names: Sequence[str]) -> str:
    if channel.startswith(BRANCH):
        return branch_channel(names[0])
    return join_channel(names[:-1], names[-1]) if channel.startswith(JOIN) else channel


def _ends_in(triggers: Sequence[str], name: str) -> bool:
    return all(not (names := _names_in(each)) or names[-1] == name for each in triggers)


def renamed_channel(channel: str, nodes: Mapping[str, str]) -> str | None:
    """Return what a trigger is called once nodes are; None if it started a node that there is no more."""
    names = _names_in(channel)
    if not names or not any(name in nodes for name in names):
        return channel
    new = [nodes.get(name, name) for name in names]
    if new[-1] == END:
        return None
    return _channel_of(channel, [*(name for name in new[:-1] if name != END), new[-1]])


def is_join(channel: str) -> bool:
    """Return whether a channel starts a node when all of several others have run."""
    return channel.startswith(JOIN)
