"""A checkpoint of an earlier version of a graph, brought up by the chain of its migrations.

Rules
-----
* Nothing is stored, and what the saver returned is not changed: the next checkpoint of a run holds the result.
* What a migration changed gets a version of its own, as savers store a channel's value under its version; who had seen
  the value before, has seen the new one, so that nothing is started by it.
* A task keeps the id and the namespace that it had. Its questions, what is recorded of it and the state of a graph
  inside it are found by these, whatever its node is called today.
* Channels that are stored as their writes (deltas) are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from stategraph.constants import (
    CONF,
    CONFIG_KEY_THREAD_ID,
    END,
    MISSING,
    NO_WRITES,
    NULL_TASK_ID,
    START,
    TASKS,
)
from stategraph.core.checkpoint import VERSION_CHANNEL, VERSION_KEY, Values, Versions
from stategraph.core.program import Program
from stategraph.core.state.versioning import NextVersion
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.engine.compile.versions import BroughtUp, GraphVersionError
from stategraph.graph.versions import places
from stategraph.graph.versions.migration import Chain, Migration
from stategraph.types import Send

_ROOT: Final = "__root__"


_Write: TypeAlias = tuple[str, str, Any]
"""A task, a channel, and what it has written there."""


class _Packet(NamedTuple):
    """A `Send` that waits.

    Attributes:
        value: It.
        place: Its place among those that wait, when they were stored.
        name: The name that its node had.
    """

    value: Any
    place: int
    name: str


class GraphVersions:
    """The versions of a graph; what the engine asks to bring a checkpoint up.

    Attributes:
        chain: Its migrations.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    @property
    def current(self) -> str:
        """The version of the graph itself."""
        return self.chain.current

    @property
    def marks(self) -> Mapping[str, Any]:
        """Entries of the metadata of each checkpoint: the version."""
        return {VERSION_KEY: self.chain.current}

    def bring_up(self, saved: CheckpointTuple, program: Program, next_version: NextVersion) -> BroughtUp | None:
        """Bring a checkpoint up to the graph's version; None if it is of that version, or nothing was written yet.

        Raises:
            GraphVersionError: It is of a version from which no migration leads here, or one failed.
        """
        version = version_of(saved)
        thread = f"Thread {saved.config[CONF].get(CONFIG_KEY_THREAD_ID)!r}"
        for _, channel, written_by in saved.pending_writes or ():
            if channel == VERSION_CHANNEL and not self.chain.reaches(written_by):
                self.chain.path(written_by, thread)  # a later version has gone on with it
        if version == self.current or not saved.checkpoint["channel_versions"]:
            return None
        path = self.chain.path(version, thread)
        if not path:
            return None
        stored, migration = _Stored(saved, program), path[0]
        try:
            for migration in path:
                stored.take_in(migration.before)
                stored.migrate(migration)
            stored.take_in(self.current)
            return stored.result(next_version)
        except GraphVersionError:
            raise
        except Exception as error:
            raise GraphVersionError(
                f"{thread}, checkpoint {saved.checkpoint['id']}: {_lower(migration.name)} failed: "
                f"{type(error).__name__}: {error}. Nothing was changed; mend the migration, and the thread goes on"
            ) from error


def version_of(saved: CheckpointTuple) -> str | None:
    """Return the version of the graph that made a checkpoint; None if it had none."""
    version = saved.metadata.get(VERSION_KEY)
    return None if version is None else str(version)


def is_state(channel: str) -> bool:
    """Return whether a channel holds a key of the state, rather than what starts a node."""
    return channel == _ROOT or not channel.startswith((places.BRANCH, places.JOIN, "__"))


class _Stored:
    """A checkpoint that is being migrated: copies of what a saver returned."""

    def __init__(self, saved: CheckpointTuple, program: Program) -> None:
        checkpoint = saved.checkpoint
        self._saved = saved
        self._program = program
        self._values: Values = dict(checkpoint["channel_values"])
        self._versions: Versions = dict(checkpoint["channel_versions"])
        self._seen: dict[str, Versions] = {name: dict(seen) for name, seen in checkpoint["versions_seen"].items()}
        # What tasks have written in the form of the version that the rest has now, and what a later one has written.
        self._pending: list[_Write] = []
        self._later: dict[str, list[_Write]] = {}
        written_by = {str(task): by for task, channel, by in saved.pending_writes or () if channel == VERSION_CHANNEL}
        for task, channel, value in saved.pending_writes or ():
            if channel != VERSION_CHANNEL:
                by = written_by.get(str(task))
                place = self._pending if by is None else self._later.setdefault(by, [])
                place.append((str(task), channel, value))
        # Channels whose value is not stored, and the nodes by their names of today, with those that they had.
        self._changed: set[str] = set()
        self._names: dict[str, list[str]] = {}
        self._dropped: list[str] = []
        # Keys that a migration has made, and the newest version of a channel.
        self._made: set[str] = set()
        self._newest = max(checkpoint["channel_versions"].values())
        # The packets that wait, with their place and the name of their node as they were stored.
        packets = self._values.get(TASKS) or ()
        self._packets = [
            _Packet(each, place, each.node if isinstance(each, Send) else "") for place, each in enumerate(packets)
        ]

    # -- one migration ---------------------------------------------------

    def take_in(self, version: str) -> None:
        """Add what tasks have written in the form of a version, which the rest has now."""
        self._pending += self._later.pop(version, ())

    def migrate(self, migration: Migration) -> None:
        """Apply a migration."""
        if migration.keys:
            self._rename_keys(migration)
        if migration.nodes:
            self._rename_nodes(migration.nodes)
        if migration.sent is not None:
            self._resend(migration.sent)
        if migration.state is not None:
            self._replace(migration)
        if migration.updates is not None:
            self._pending = list(_rewritten(self._pending, migration.updates))
        if isinstance(entry := self._values.get(START), dict):
            self._rename_input(migration, entry)

    def _rename_input(self, migration: Migration, entry: Values) -> None:
        """Migrate an input that a run has not taken in yet, which is an update of the state."""
        new: Values = {}
        for key, value in entry.items():
            if (name := migration.keys.get(key, key)) is not None:
                new[name] = value
        if migration.updates is not None:
            new = dict(migration.updates(new))
        self._values[START] = new

    def _rename_keys(self, migration: Migration) -> None:
        for old in migration.keys:
            self._check_whole(old, migration)
        self._move({old: new for old, new in migration.keys.items() if old in self._versions})
        # A task that has written nothing else has ended, all the same.
        self._pending = [
            (task, channel, value)
            if (key := migration.keys.get(channel, channel)) == channel
            else (task, NO_WRITES, None)
            if key is None
            else (task, key, value)
            for task, channel, value in self._pending
        ]

    def _replace(self, migration: Migration) -> None:
        assert migration.state is not None
        before = {
            name: value for name, value in self._values.items() if is_state(name) and name not in self._program.deltas
        }
        if not before:
            return  # no input has been taken in yet
        after = migration.state(dict(before))
        if not isinstance(after, Mapping):
            raise TypeError(f"`state` returned a {type(after).__name__}; expected a dict of values by state key")
        for name in after:
            self._check_whole(name, migration)
            if not isinstance(name, str) or not is_state(name):
                raise ValueError(f"`state` returned the key {name!r}; expected keys of the state")
        for name in before:
            if name not in after:
                del self._values[name]
                self._versions.pop(name, None)
                self._changed.discard(name)
        self._made |= after.keys() - before.keys()
        for name, value in after.items():
            self._values[name] = value
            self._versions.setdefault(name, self._newest)
            # Whether it is the same value cannot be told: it may have been changed in place.
            self._changed.add(name)

    def _check_whole(self, key: str, migration: Migration) -> None:
        if key in self._program.deltas:
            raise GraphVersionError(
                f"{migration.name} changes '{key}', whose value is stored as its changes (deltas) and is not migrated: "
                "leave it as it is, or store it in full"
            )

    # -- nodes -----------------------------------------------------------

    def _rename_nodes(self, nodes: Mapping[str, str]) -> None:
        taken = {old: self._names.pop(old, [old]) for old in nodes}
        for old, before in taken.items():
            if (new := nodes[old]) == END:
                self._dropped += before
            else:
                # One that the graph had under this name before may wait as well.
                others = self._names.get(new) or ([] if new in nodes else [new])
                self._names[new] = [*before, *others]
        for old in [name for name in self._seen if name in nodes]:
            seen = self._seen.pop(old)
            if nodes[old] != END:
                self._seen[nodes[old]] = {**self._seen.get(nodes[old], {}), **seen}
        self._rename_channels(nodes)
        self._packets = [
            each._replace(value=_sent_to(each.value, nodes))
            for each in self._packets
            if not (isinstance(each.value, Send) and nodes.get(each.value.node) == END)
        ]
        self._pending = list(_renamed_writes(self._pending, nodes))

    def _rename_channels(self, nodes: Mapping[str, str]) -> None:
        renamed = {old: new for old in self._versions if (new := places.renamed_channel(old, nodes)) != old}
        self._move(renamed)
        for new in renamed.values():
            if new in self._values and places.is_join(new):
                self._values[new] = _renamed_barrier(self._values[new], nodes)

    def _move(self, names: Mapping[str, str | None]) -> None:
        """Rename channels; those without a new name are dropped."""
        self._changed -= names.keys()
        taken = {old: (self._versions.pop(old), self._values.pop(old, MISSING)) for old in names}
        seen_of = {old: [(each, each.pop(old)) for each in self._seen.values() if old in each] for old in names}
        for old, new in names.items():
            if new is None:
                continue
            version, value = taken[old]
            self._versions[new] = max(version, self._versions.get(new, version))
            for each, version_seen in seen_of[old]:
                each[new] = max(version_seen, each.get(new, version_seen))
            if value is not MISSING:
                self._values[new] = value
            self._changed.add(new)

    def _resend(self, sent: Callable[[str, Any], object]) -> None:
        def resent(value: object) -> object:
            if not isinstance(value, Send):
                return value
            return Send(value.node, sent(value.node, value.arg), timeout=value.timeout)

        self._packets = [each._replace(value=resent(each.value)) for each in self._packets]
        self._pending = [
            (task, channel, resent(value) if channel == TASKS else value) for task, channel, value in self._pending
        ]

    # -- the result ------------------------------------------------------

    def result(self, next_version: NextVersion) -> BroughtUp:
        """Return the checkpoint as it is now."""
        if TASKS in self._values:
            packets = [each.value for each in self._packets]
            if packets != self._values[TASKS]:
                self._values[TASKS] = packets
                self._changed.add(TASKS)
        if unknown := sorted(name for name in self._made & self._values.keys() if name not in self._program.specs):
            raise KeyError(f"`state` returned {unknown[0]!r}, which is no key of the graph's state")
        step = places.Step(self._saved, self._names, {task for task, _, _ in self._pending} - {NULL_TASK_ID})
        waiting = [(each.value.node, each.place, each.name) for each in self._packets if isinstance(each.value, Send)]
        tasks = {**step.nodes(self._program), **step.packets(waiting)}
        gone = step.dropped(self._dropped, {each.place for each in self._packets})
        changed = self._changed & (self._values.keys() | self._versions.keys())
        self._give_versions(changed, next_version)
        checkpoint: Any = {
            **self._saved.checkpoint,
            "channel_values": self._values,
            "channel_versions": self._versions,
            "versions_seen": self._seen,
            "updated_channels": None,
        }
        pending = [write for write in self._pending if write[0] not in gone]
        saved = self._saved._replace(
            checkpoint=checkpoint, pending_writes=None if self._saved.pending_writes is None else pending
        )
        return BroughtUp(saved, frozenset(changed), tasks)

    def _give_versions(self, changed: Iterable[str], next_version: NextVersion) -> None:
        if not changed:
            return
        new = next_version(self._newest, None)
        for name in changed:
            old = self._versions.get(name)
            self._versions[name] = new
            for seen in self._seen.values():
                if name in seen and seen[name] == old:
                    seen[name] = new


def _renamed_barrier(value: object, nodes: Mapping[str, str]) -> object:
    """Return the content of a join, the names of nodes that have run, with those of today."""
    if isinstance(value, set | frozenset):
        return type(value)(new for name in value if (new := nodes.get(name, name)) != END)
    if isinstance(value, tuple) and value and isinstance(value[0], set | frozenset):
        return (_renamed_barrier(value[0], nodes), *value[1:])
    return value


def _sent_to(packet: object, nodes: Mapping[str, str]) -> object:
    if isinstance(packet, Send) and packet.node in nodes:
        return Send(nodes[packet.node], packet.arg, timeout=packet.timeout)
    return packet


def _renamed_writes(pending: Iterable[_Write], nodes: Mapping[str, str]) -> Iterator[_Write]:
    """Yield recorded writes, those that start a node under its new name."""
    for task, channel, value in pending:
        new = places.renamed_channel(channel, nodes)
        if new is None or (isinstance(value, Send) and nodes.get(value.node) == END):
            yield task, NO_WRITES, None  # the task has ended, all the same
        elif channel == TASKS:
            yield task, channel, _sent_to(value, nodes)
        else:
            yield task, new, nodes.get(value, value) if new.startswith(places.JOIN) else value


def _rewritten(pending: Iterable[_Write], updates: Callable[[Values], Mapping[str, object]]) -> Iterator[_Write]:
    """Yield recorded writes, those to the state as a migration would have them.

    A key that a task has written twice begins another update, as each is one of its own.
    """
    by_task: dict[str, list[Values]] = {}
    for task, channel, value in pending:
        if not is_state(channel):
            yield task, channel, value
            continue
        of_task = by_task.setdefault(task, [{}])
        if channel in of_task[-1]:
            of_task.append({})
        of_task[-1][channel] = value
    for task, of_task in by_task.items():
        if task != NULL_TASK_ID:
            yield task, NO_WRITES, None  # it has ended, whatever is left of its updates
        for update in of_task:
            for key, value in updates(update).items():
                yield task, key, value


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
