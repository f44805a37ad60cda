"""The words for when nodes start, and how several that run beside each other end; see `docs/dataflow.md`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ("Branch", "FanOut", "Join", "Scheduling", "fail_fast", "first_success", "quorum", "settle", "until")

Scheduling = Literal["barrier", "dataflow"]
"""The time at which the nodes begin that a step starts: when all of the step have run, or when their own inputs are
there."""

Join = Literal["all", "any", "all_selected"]
"""The way in which the edges that lead to a node start it: once all have been taken, by each of them, or once all that
were selected have been."""


class Branch(NamedTuple):
    """A branch of a fan-out that has ended well.

    Attributes:
        node: Its node.
        update: The keys of the state that it has written, with what it wrote last.
    """

    node: str
    update: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FanOut:
    """A rule for branches that run beside each other: when the run goes on, and what failures of them mean.

    Make one with `fail_fast`, `settle`, `quorum`, `first_success` or `until`.

    Attributes:
        kind: The function that made it.
        enough: How many branches have to end well.
        predicate: Whether a branch that has ended well is enough by itself.
    """

    kind: Literal["fail_fast", "settle", "quorum", "until"]
    enough: int | None = None
    predicate: Callable[[Branch], bool] | None = None


def fail_fast() -> FanOut:
    """Stop all branches when one fails, and raise its error: what a step does without a policy."""
    return FanOut("fail_fast")


def settle(at_least: int | None = None) -> FanOut:
    """Let all branches end; a failure stops none of them.

    Args:
        at_least: The run goes on if so many have ended well, without those that have failed. None: all have to.
            If there are fewer, the errors are raised as an `ExceptionGroup`, once all have ended.

    Raises:
        ValueError: The number is below 1.
    """
    return FanOut("settle", None if at_least is None else _positive("settle", at_least))


def quorum(n: int) -> FanOut:
    """Go on as soon as `n` branches have ended well, and cancel the others.

    When so many cannot be reached any more, the errors are raised as an `ExceptionGroup`.

    Raises:
        ValueError: The number is below 1.
    """
    return FanOut("quorum", _positive("quorum", n))


def first_success() -> FanOut:
    """Go on as soon as one branch has ended well, and cancel the others: `quorum(1)`."""
    return FanOut("quorum", 1)


def until(predicate: Callable[[Branch], bool]) -> FanOut:
    """Go on as soon as a branch has ended well of which a function says so, and cancel the others.

    Args:
        predicate: Called with each branch that has ended well. If it never says so, the run goes on when all have
            ended; if some have failed then, their errors are raised as an `ExceptionGroup`. It is asked again in a
            run that goes on after a crash, so it should depend on the branch alone.
    """
    return FanOut("until", predicate=predicate)


def _positive(name: str, number: int) -> int:
    if number < 1:
        raise ValueError(f"{name} takes a number of branches from 1; found {number}")
    return number
