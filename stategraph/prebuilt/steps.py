"""Steps that a sync and an async node take in different ways, in procedures that are written once.

A procedure is a generator: it decides, yields steps, and is sent what came of them; see
`stategraph.engine.config.procedures`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from stategraph.engine.config.procedures import adrive, drive

T = TypeVar("T")


class Step(NamedTuple):
    """Something to do.

    Attributes:
        now: Does it and returns its result.
        later: Returns what to await for its result.
    """

    now: Callable[[], object]
    later: Callable[[], Awaitable[object]]


Steps: TypeAlias = Generator[Step, Any, T]


def take(steps: Steps[T]) -> T:
    """Take the steps of a procedure and return its result.

    Raises:
        BaseException: What the procedure raises.
    """
    return drive(steps, _now)


async def atake(steps: Steps[T]) -> T:
    """Take the steps of a procedure, awaiting each, and return its result."""
    return await adrive(steps, _later)


def _now(step: Step) -> object:
    return step.now()


def _later(step: Step) -> Awaitable[object]:
    return step.later()
