"""The writes that started each task.

Rules
-----
* A channel starts a node if it is newer than what the node has seen. Those that wrote it are the tasks of the steps
  since the node last ran; of an edge or a router, of the step before, as such a channel is gone after one step.
* In a window of tasks without a barrier the tasks that led to one are known.
* Of a node's writes those of its commands come first, then its plain edges, then its routers. So it is known which of
  these led to another node, unless both a command and a router may, and no edge stands between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stategraph.constants import START, TASKS
from stategraph.core import deltas, status
from stategraph.engine.state.account.behind import Behind, Planned, has_all, is_trigger
from stategraph.engine.state.account.facts import Cause, Source, Way
from stategraph.engine.state.account.outline import BRANCH, Outline

_COMMAND = "Command"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A write of an earlier step."""

    step: int
    task: Planned | None
    way: Way
    value: Any
    checkpoint_id: str


@dataclass(slots=True)
class Ledger:
    """The writes of a run so far, by channel.

    Attributes:
        outline: What is known of the graph.
    """

    outline: Outline
    _step: int = 0
    _entries: dict[str, list[_Entry]] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def take(self, behind: Behind, made: Iterable[Planned], source: str) -> None:
        """Note what made the next checkpoint.

        Args:
            behind: What came after the one before.
            made: The tasks whose writes were applied, in that order.
            source: What made it: `loop`, `input`, `update` or `fork`.
        """
        made = list(made)
        for channel, value in behind.commanded:
            self._add(channel, _Entry(self._step, None, "command", value, behind.stored.id))
        for task in made:
            way: Way = "update" if source == "update" else "unknown"
            for channel, value in task.writes:
                if channel not in status.CONTROL:
                    self._add(channel, _Entry(self._step, task, way, value, behind.stored.id))
        for task in made:
            self._last[task.node] = self._step
        self._step += 1

    def note_update(self, channels: Iterable[str], checkpoint_id: str) -> None:
        """Note the channels of an update from outside of which nothing is recorded; after `take`."""
        for channel in channels:
            self._add(channel, _Entry(self._step - 1, None, "update", None, checkpoint_id))

    def _add(self, channel: str, entry: _Entry) -> None:
        self._entries.setdefault(channel, []).append(entry)

    def of(self, behind: Behind, task: Planned) -> tuple[Cause, ...]:
        """Return what started a task behind a checkpoint."""
        if task.kind == "call":
            return (Cause("", sources=tuple(_made_by("call", cause, behind) for cause in task.causes)),)
        if task.kind == "handler":
            failed = [task.failed] if task.failed is not None else []
            return (Cause("", sources=tuple(_made_by("failure", each, behind) for each in failed)),)
        if task.kind == "packet":
            return (self._packet(behind, task),)
        return (*self._due(behind, task), *self._within(behind, task))

    def _packet(self, behind: Behind, task: Planned) -> Cause:
        if task.causes:
            return Cause(TASKS, sources=tuple(_made_by("send", cause, behind) for cause in task.causes))
        sent = [entry for entry in self._entries.get(TASKS, ()) if entry.step == self._step - 1]
        commanded = [value for channel, value in behind.commanded if channel == TASKS]
        version = str(behind.stored.saved.checkpoint["channel_versions"].get(TASKS, ""))
        if commanded:
            return Cause(TASKS, version, sources=(Source("command", via=_COMMAND),))
        if task.index >= len(sent):
            return Cause(TASKS, version, sources=(Source("unknown"),))
        return Cause(TASKS, version, sources=(self._source(sent[task.index], TASKS, task.node, "send"),))

    def _due(self, behind: Behind, task: Planned) -> Iterator[Cause]:
        """Yield the channels of before the checkpoint that started a task."""
        if not task.is_due or task.kind != "node":
            return
        checkpoint: Mapping[str, Any] = behind.stored.saved.checkpoint
        versions = checkpoint["channel_versions"]
        seen = deltas.seen_without_bumps(checkpoint["versions_seen"]).get(task.node, {})
        commanded = {channel for channel, _ in behind.commanded}
        values = checkpoint["channel_values"]
        for channel in task.triggers:
            if channel in self.outline.joins and not has_all(values.get(channel), self.outline.joins[channel]):
                continue
            if channel in commanded:
                yield Cause(channel, sources=(Source("command", via=_COMMAND),))
            elif channel in values and versions.get(channel) != seen.get(channel):
                sources = tuple(self._sources(channel, task.node))
                told = sources or (Source("input" if channel == START else "unknown"),)
                yield Cause(channel, str(versions.get(channel, "")), str(seen.get(channel, "")), told)

    def _sources(self, channel: str, node: str) -> Iterator[Source]:
        first = self._last.get(node, 0)
        if channel.startswith(BRANCH) and node not in self.outline.deferred:
            first = self._step - 1
        known: set[tuple[str, str]] = set()
        for entry in self._entries.get(channel, ()):
            if entry.step < first:
                continue
            source = self._source(entry, channel, node, "unknown")
            if (source.task_id, source.way) not in known:
                known.add((source.task_id, source.way))
                yield source

    def _within(self, behind: Behind, task: Planned) -> Iterator[Cause]:
        """Yield the channels by which tasks of the same window started a task."""
        if task.kind != "node":
            return
        for channel in task.triggers:
            sources = [
                self._source(_Entry(0, cause, "unknown", value, behind.stored.id), channel, task.node, "unknown")
                for cause in task.causes
                for value in [next((value for name, value in cause.writes if name == channel), _NONE)]
                if value is not _NONE
            ]
            if sources:
                yield Cause(channel, sources=tuple(sources))

    def _source(self, entry: _Entry, channel: str, target: str, way: Way) -> Source:
        task = entry.task
        if entry.way == "command":
            return Source("command", checkpoint_id=entry.checkpoint_id, via=_COMMAND)
        if entry.way == "update":
            node = "" if task is None else task.node
            return Source("update", node, "" if task is None else task.id, entry.checkpoint_id)
        if task is None:
            return Source("unknown")
        if way == "unknown":
            way, via = way_of(self.outline, task, channel, target)
        else:
            via = ""
        return Source(way, task.node, task.id, entry.checkpoint_id, via)


_NONE = object()


def _made_by(way: Way, task: Planned, behind: Behind) -> Source:
    return Source(way, task.node, task.id, behind.stored.id)


def way_of(outline: Outline, task: Planned, channel: str, target: str) -> tuple[Way, str]:
    """Return how a task led to a node by a write to a channel, and by which router."""
    if channel in outline.joins:
        return "join", ""
    if not is_trigger(channel):
        return ("input" if channel == START else "channel"), ""
    if not outline.is_known:
        return "unknown", ""
    fixed = [name for name in outline.fixed.get(task.node, ()) if is_trigger(name)]
    if channel in fixed:
        return "edge", ""
    routers = outline.routers_to(task.node, target)
    if not routers:
        return "command", _COMMAND
    written = [name for name, _ in task.writes if is_trigger(name)]
    if fixed:
        # The edges stand between what commands and what routers have written.
        between = written.index(fixed[0]) if fixed[0] in written else 0
        if written.index(channel) < between:
            return "command", _COMMAND
    elif outline.commands.get(task.node):
        return "router", " or ".join([*routers, "a Command"])
    return "router", " or ".join(routers)


def leads_to(outline: Outline, task: Planned) -> list[str]:
    """Return the nodes that the writes of a task trigger, or send packets to, each once."""
    found: dict[str, None] = {}
    for channel, value in task.writes:
        if channel == TASKS:
            if isinstance(node := getattr(value, "node", None), str):
                found[node] = None
            continue
        started = outline.started_by(channel)
        if not started and channel.startswith(BRANCH):
            started = [channel[len(BRANCH) :]]
        found.update(dict.fromkeys(started))
    return list(found)
