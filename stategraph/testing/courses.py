"""Call a graph until its thread has ended: with its input, with answers to its interrupts, with None after a crash."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.testing.recorder import stable

#: Calls of a graph until it must have come to its end.
MOST_CALLS: Final = 1_000


class DivergedError(AssertionError):
    """A graph came to another state after a crash than without one."""


@dataclass(slots=True)
class Course:
    """The calls of a graph, from its input to its end.

    Attributes:
        inputs: The graph's input.
        answers: Answers to its interrupts, in their order.
        answered: Numbers of answers by the ids of interrupts: what a crash may have lost is answered the same again.
    """

    inputs: object
    answers: Sequence[object] = ()
    answered: dict[str, int] = field(default_factory=dict)

    def next_input(self, snapshot: Any) -> object:
        """Return what the graph is called with next.

        Args:
            snapshot: The state of its thread, which has not ended.

        Raises:
            DivergedError: It asks more than there are answers.
        """
        if snapshot.created_at is None:
            return self.inputs
        return self._answer(snapshot.interrupts) if snapshot.interrupts else None

    def _answer(self, interrupts: Sequence[Any]) -> object:
        from stategraph.types import Command

        for each in interrupts:
            self.answered.setdefault(each.id, len(self.answered))
        if len(self.answered) > len(self.answers):
            raise DivergedError(
                f"The graph asks {interrupts[-1].value!r}, and there are {len(self.answers)} answers: give one more"
            )
        return Command(resume={each.id: self.answers[self.answered[each.id]] for each in interrupts})


def has_ended(snapshot: Any) -> bool:
    """Return whether the thread of a state has nothing left to do."""
    return snapshot.created_at is not None and not snapshot.interrupts and not snapshot.next


Calls = Generator[tuple[str, tuple[Any, ...], dict[str, Any]], Any, object]
"""Yields methods of a graph to call, is sent what they return, and returns the state in the end."""


def calls(course: Course, config: Mapping[str, Any], durability: str) -> Calls:
    """Take a graph to its end, and return its state in the form of `stable`.

    Args:
        course: What it is called with.
        config: Names the thread.
        durability: When it stores its steps.

    Raises:
        DivergedError: It does not end, or asks more than there are answers.
    """
    for _ in range(MOST_CALLS):
        snapshot = yield "get_state", (config,), {}
        if has_ended(snapshot):
            return stable(snapshot.values)
        yield "invoke", (course.next_input(snapshot), config), {"durability": durability}
    raise DivergedError(f"The graph did not come to its end in {MOST_CALLS} calls")
