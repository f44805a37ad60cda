"""Versions of channels: what each step gives, and who has seen which.

Rules
-----
* Every channel that a step changes gets the step's version. A node has seen the versions of its triggers when it ran;
  a channel newer than that starts it.
* Versions are kept to be stored and to plan the first step of a run that continues. A run that stores nothing may
  leave them as they are; one that stores at its end may put those of steps of one task off until then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from stategraph.core import deltas
from stategraph.core.checkpoint import Versions
from stategraph.core.program import Program

NextVersion = Callable[[Any, None], Any]
"""Gives the version after the highest one in use (None: there is none yet)."""

MOST_OPEN = 1_000
"""Steps whose versions may be put off; a run may take steps without end."""

OpenStep = tuple[str, Sequence[str], Collection[str], Collection[str], Collection[str]]
"""A step without a version: what ran, what started it, and what it changed, as arguments of `Versioning.give`."""


def count_up(current: int | None, _: None) -> int:
    """Return the version after another one in runs without a saver: 1, 2, 3, ..."""
    return 1 if current is None else current + 1


class Versioning:
    """Gives the channels of one run their versions.

    Attributes:
        by_channel: The version of each channel that was ever written.
        seen: For each node, and other readers, the versions that it has seen.
        moved: The last version of each channel that got one since this was emptied.
        is_fixed: Whether no step gets a version, as the state is only looked at.
        open: The steps that have no version yet, oldest first; None if nothing is stored.
    """

    __slots__ = ("_highest", "_program", "_rule", "by_channel", "is_fixed", "moved", "open", "seen")

    def __init__(
        self, program: Program, checkpoint: Mapping[str, Any], rule: NextVersion | None, *, stored: bool
    ) -> None:
        """Take over the versions of a checkpoint, those of its channels in place.

        Args:
            program: The compiled graph.
            checkpoint: The checkpoint.
            rule: The saver's version rule; None leaves versions alone, for looking at a state without running it.
            stored: Whether the run stores anything.
        """
        by_channel: Versions = checkpoint["channel_versions"]
        self.by_channel = by_channel
        # What a node has seen is replaced and never changed, so that a checkpoint may hold it, too.
        self.seen: dict[str, Versions] = {node: dict(seen) for node, seen in checkpoint["versions_seen"].items()}
        # The graph may have had other channels when the checkpoint was made.
        self.moved: Versions = {name: by_channel[name] for name in by_channel if name in program.specs}
        self.open: list[OpenStep] | None = [] if stored else None
        self._program = program
        self._rule = rule
        self.is_fixed = rule is None
        # Not asked for to look only: a thread seeded by hand may have versions that cannot be compared.
        self._highest = max(by_channel.values()) if by_channel and rule is not None else None

    # -- a step ----------------------------------------------------------

    def note_run(self, node: str, triggers: Iterable[str]) -> None:
        """Note that a node has seen what started it as it is now."""
        versions, seen = self.by_channel, self.seen
        mine = seen.get(node)
        mine = {} if mine is None else mine.copy()
        for name in triggers:
            if name in versions:
                mine[name] = versions[name]
        seen[node] = mine

    def give(self, updated: Collection[str], emptied: Iterable[str], lowered: Iterable[str]) -> None:
        """Give the channels that a step changed a version.

        Args:
            updated: Those that have a value.
            emptied: Those that have none now, or have been used up.
            lowered: The signals of the step before. What was not raised again is gone.
        """
        rule, versions = self._rule, self.by_channel
        if rule is None:
            return
        version = rule(self._highest, None)
        given = dict.fromkeys(updated, version)
        for names in (emptied, lowered):
            for name in names:
                given[name] = version
        versions.update(given)
        self.moved.update(given)
        # A version that starts no node is given again, as LangGraph does.
        self._highest = version if updated else max(versions.values(), default=None)

    def catch_up(self) -> None:
        """Give the steps that have no version yet theirs, in order."""
        if self.open:
            for node, triggers, updated, emptied, lowered in self.open:
                self.note_run(node, triggers)
                self.give(updated, emptied, lowered)
            self.open.clear()

    def bump(self, names: Iterable[str], stored: Mapping[str, object]) -> None:
        """Give channels a version that is not stored yet, and start no node by it.

        Args:
            names: The channels.
            stored: The versions of the last stored checkpoint.
        """
        moved = deltas.bumps(names, self.by_channel, stored, self._rule or count_up)
        if not moved:
            return
        self.seen = deltas.seen_with_bumps(self.seen, moved, self._program.triggers)  # type: ignore[assignment]
        for name, (_, version) in moved.items():
            self.by_channel[name] = version
        self._highest = max(self.by_channel.values())

    # -- who has seen what -----------------------------------------------

    def null_version(self) -> Any:
        """Return the version before every version, or None if nothing was ever written."""
        for version in self.by_channel.values():
            return type(version)()
        return None

    def has_news(self, reader: str, names: Iterable[str]) -> bool:
        """Return whether one of some channels is newer than what a reader has seen; without an entry: nothing."""
        self.catch_up()
        versions, seen, null = self.by_channel, self.seen.get(reader), self.null_version()
        return any(seen is None or versions.get(name, null) > seen.get(name, null) for name in names)

    def mark_all_seen(self, reader: str) -> None:
        """Note that a reader has seen every channel as it is now."""
        self.catch_up()
        self.note_run(reader, self._program.specs)

    def changed_since_seen_by(self, reader: str) -> bool:
        """Return whether any channel is newer than what a reader has seen."""
        self.catch_up()
        null = self.null_version()
        seen = self.seen.get(reader, {})
        return any(version > seen.get(name, null) for name, version in self.by_channel.items())
