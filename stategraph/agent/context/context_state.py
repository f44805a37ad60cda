"""State of an agent's context, kept from one call of its model to the next.

- It is kept in the graph's state, as JSON by the agent's id: so a paused run goes on with it in another process, a
  thread's next turn starts from it, and going back in a thread's history goes back in it as well. JSON, because
  checkpointers that allow no classes must take it.
- Messages are named by id, not by position: other agents add to a conversation, hosts edit it, summaries shorten it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Self

from langchain_core.messages import AnyMessage, SystemMessage

from stategraph.agent.context import kept_counts
from stategraph.agent.context.calibration import Calibration
from stategraph.agent.messages.fading_tier import FadingTier


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary that replaces the beginning of a conversation.

    Attributes:
        text: The summary.
        tokens: Its tokens in every call, with the words around it.
        version: How many summaries of the conversation there were, this one included.
        covers: The id of the newest message that it stands for.
    """

    text: str
    tokens: int
    version: int
    covers: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A number of tokens that turned out to be another.

    Attributes:
        said: What was said or counted, for which this holds: nothing is known about another number.
        tokens: The number to use in its place.
    """

    said: int
    tokens: int


@dataclass(frozen=True, slots=True)
class ContextState:
    """State that one call leaves for the next.

    Attributes:
        counts: Tokens of messages by id, before the ratio.
        calibration: The calibration of the counts by reported usage.
        tier: How far tool results are shortened.
        newest: The newest message at the last call; None before the first.
        oldest: The oldest message that was kept then; None if all were.
        reported: Input and output tokens of the last call, until they are learned from.
        tools: Tokens of the tools' descriptions by reported usage; None: as counted.
        size: How large the context is, as a provider's refusal says; None: as the host says.
        summary: Of what came before.
        summarised_at: How many messages there were after the last summary.
        failed_after: The message of a person after which a summary could not be made; empty: there was none. None: no
            summary failed.
        wanted: Whether a summary is to be made before the next call.
        rejected: How often in a row a provider found the context too long.
        writes: How often it was written: of two, the later one has more.
        levels: The counts that are stored apart, see `kept_counts`.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    tier: FadingTier = field(default_factory=FadingTier)
    newest: str | None = None
    oldest: str | None = None
    reported: tuple[int, int] | None = None
    tools: Correction | None = None
    size: Correction | None = None
    summary: Summary | None = None
    summarised_at: int = 0
    failed_after: str | None = None
    wanted: bool = False
    rejected: int = 0
    writes: int = 0
    levels: tuple[Mapping[str, int], ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return a context state from the JSON in a state; unknown fields, as of a later version, are ignored."""
        known = _known(cls, stored)
        if (found := known.get("calibration")) is not None and found["deviation"] is None:
            known["calibration"] = {**found, "deviation": math.inf}
        for name, kind in _PARTS.items():
            if known.get(name) is not None:
                known[name] = kind(**_known(kind, known[name]))
        if known.get("reported") is not None:
            known["reported"] = tuple(known["reported"])
        return cls(**known)

    @classmethod
    def of_agent(cls, state: Mapping[str, Any], agent_id: str) -> ContextState:
        """Return the context state of an agent in a state of its graph."""
        stored = (state.get("windows") or {}).get(agent_id)
        if stored is None:
            return _INITIAL
        found, levels = cls.of(stored), kept_counts.levels_of(state, agent_id)
        if not levels:
            return found
        return replace(found, counts=kept_counts.together(found.counts, levels), levels=levels)

    def update(self, agent_id: str) -> dict[str, Any]:
        """Return the update that stores the context state of an agent in the state of its graph."""
        front, written = kept_counts.spread(self.counts, self.levels)
        stored = replace(self, counts=front, levels=()).stored()
        update: dict[str, Any] = {"windows": {agent_id: stored}}
        for key, counts in written.items():
            update[key] = {agent_id: {"writes": stored["writes"], "counts": counts}}
        return update

    def stored(self) -> dict[str, Any]:
        """Return the context state as JSON, without the fields that still have their initial values."""
        left: dict[str, Any] = {}
        for name, empty in _EMPTY.items():
            value = getattr(self, name)
            if value != empty:
                # Not all of it by `asdict`, which copies the counts of all messages one by one.
                left[name] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        left["writes"] = self.writes + 1
        if (calibration := left.get("calibration")) is not None and calibration["deviation"] == math.inf:
            # JSON has no infinity.
            calibration["deviation"] = None
        if self.reported is not None:
            left["reported"] = list(self.reported)
        return left


_PARTS: Mapping[str, type[Any]] = {
    "calibration": Calibration,
    "tier": FadingTier,
    "tools": Correction,
    "size": Correction,
    "summary": Summary,
}


def _known(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: stored[each.name] for each in fields(kind) if each.name in stored and each.compare}


_INITIAL = ContextState()
"""Before the first call, and where tokens are not counted: one for all, as so many fields take long to make."""

_EMPTY = {each.name: getattr(_INITIAL, each.name) for each in fields(ContextState) if each.compare}


def covered(messages: Sequence[AnyMessage], summary: Summary | None) -> int:
    """Return how many of the first messages a summary covers; 0 if the newest of them is no longer there."""
    for index in range(len(messages) - 1, -1, -1) if summary is not None else ():
        if messages[index].id == summary.covers:  # type: ignore[union-attr]
            return index + 1
    return 0


def uncovered(messages: Sequence[AnyMessage], summary: Summary | None) -> Sequence[AnyMessage]:
    """Return the messages that no summary covers, after a leading system message, which is always kept."""
    end = covered(messages, summary)
    if end and isinstance(messages[0], SystemMessage):
        return [messages[0], *messages[end:]]
    return messages[end:] if end else messages
