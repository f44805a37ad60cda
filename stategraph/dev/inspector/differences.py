"""The differences of two states as JSON for a page; which there are is told by `stategraph.engine.state.account`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stategraph.dev.inspector.values import Json, Shown, is_message, message_shown
from stategraph.engine.state.account import differences
from stategraph.engine.state.account.differences import MOST as MOST


@dataclass(frozen=True, slots=True)
class Difference(differences.Difference):
    """A place whose value is not the same."""

    def to_json(self) -> Json:
        """Return it as JSON: values as `Shown`, messages as `message_shown`, texts of several lines as `lines`."""
        told: Json = {"path": self.path, "kind": self.kind}
        for side, value in self.sides().items():
            told[side] = {"message": message_shown(value)} if is_message(value) else Shown.of(value).to_json()
        if lines := self.lines():
            told["lines"] = lines
        return told


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of two states.

    Attributes:
        found: The first of them.
        more: Whether there are more.
    """

    found: Sequence[Difference]
    more: bool

    @classmethod
    def of(cls, old: Mapping[str, Any], new: Mapping[str, Any]) -> Differences:
        """Compare two states, as JSON; a value that is null is as good as one that is not there."""
        told = differences.Differences.of(old, new)
        return cls([Difference(each.path, each.kind, each.old, each.new) for each in told.found], told.more)

    def to_json(self) -> Json:
        """Return them as JSON."""
        return {"found": [each.to_json() for each in self.found], "more": self.more}
