"""Rules that let a call begin or not, without clock or I/O.

- What a call takes is known when it has ended. Until then the most that it may take is held for it.
- A call may begin if what was taken and what is held is below each limit. So a run takes at most the limit and what
  its last call takes, however many calls are under way: all others were below the limit together.
- A limit that is reached by what was taken is reached. One that is reached only with what is held may turn out not to
  be, as calls seldom take the most: the call waits until another has ended.
- Calls are counted when they begin, so nothing has to be held for them, and their limits are never exceeded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TypeAlias

from stategraph.agent.limits.amounts import UsageTotals
from stategraph.agent.settings.limits import LimitName

Allowed: TypeAlias = Mapping[LimitName, int | float]
"""The values of a run's limits, by their names."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The most that a call may take that is under way.

    Attributes:
        input_tokens: Tokens that it reads.
        output_tokens: Tokens that it writes.
        cost: US dollars.
    """

    input_tokens: float = math.inf
    output_tokens: float = math.inf
    cost: Decimal = Decimal("Infinity")


NOTHING = Hold(0, 0, Decimal(0))
UNKNOWN = Hold()


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit that is reached.

    Attributes:
        name: The limit.
        allowed: What it allows.
        used: What was taken.
    """

    name: LimitName
    allowed: int | float
    used: int | float


class Verdict(Enum):
    """Decision about a call if no limit is reached."""

    BEGIN = "begin"
    WAIT = "wait"


def model_call(
    allowed: Allowed, taken: UsageTotals, elapsed_s: float, holds: Collection[Hold] = ()
) -> Verdict | Reached:
    """Decide about a call of a model.

    Args:
        allowed: The limits.
        taken: What the run has taken, the calls that are under way counted.
        elapsed_s: Seconds that the run has executed.
        holds: What is held for calls that are under way.

    Returns:
        Whether it may begin, has to wait until another call has ended, or which limit is reached.
    """
    verdict = Verdict.BEGIN
    for name, limit in allowed.items():
        if name == LimitName.TOOL_CALLS:
            continue
        used = used_of(name, taken, elapsed_s)
        if used >= _exact(name, limit):
            return Reached(name, limit, float(used) if name == LimitName.COST else used)  # type: ignore[arg-type]
        if holds and used + _held(name, holds) >= _exact(name, limit):  # type: ignore[operator]
            verdict = Verdict.WAIT
    return verdict


def tool_calls(allowed: Allowed, taken: UsageTotals, elapsed_s: float, wanted: int) -> tuple[int, Reached | None]:
    """Decide about the calls of tools of one answer.

    Args:
        allowed: The limits.
        taken: What the run has taken.
        elapsed_s: Seconds that the run has executed.
        wanted: The number of calls.

    Returns:
        How many of them may begin, and the limit that the others would exceed; None if all may.
    """
    for name in (LimitName.WALL_TIME, LimitName.TOOL_CALLS):
        limit = allowed.get(name)
        if limit is None:
            continue
        if name == LimitName.WALL_TIME:
            if elapsed_s >= limit:
                return 0, Reached(name, limit, elapsed_s)
        elif taken.tool_calls + wanted > limit:
            return max(0, int(limit) - taken.tool_calls), Reached(name, limit, taken.tool_calls)
    return wanted, None


def used_of(name: LimitName, taken: UsageTotals, elapsed_s: float) -> int | float | Decimal:
    """Return what a run has taken of a limit."""
    match name:
        case LimitName.MODEL_CALLS:
            return taken.model_calls
        case LimitName.TOOL_CALLS:
            return taken.tool_calls
        case LimitName.INPUT_TOKENS:
            return taken.input_tokens
        case LimitName.OUTPUT_TOKENS:
            return taken.output_tokens
        case LimitName.TOTAL_TOKENS:
            return taken.total_tokens
        case LimitName.COST:
            return taken.cost or Decimal(0)
        case LimitName.WALL_TIME:
            return elapsed_s


def _held(name: LimitName, holds: Collection[Hold]) -> float | Decimal:
    """Return what is held of a limit; of calls and time nothing is."""
    match name:
        case LimitName.INPUT_TOKENS:
            return sum(each.input_tokens for each in holds)
        case LimitName.OUTPUT_TOKENS:
            return sum(each.output_tokens for each in holds)
        case LimitName.TOTAL_TOKENS:
            return sum(each.input_tokens + each.output_tokens for each in holds)
        case LimitName.COST:
            return sum((each.cost for each in holds), Decimal(0))
    return 0


def _exact(name: LimitName, limit: int | float) -> int | float | Decimal:
    """Return a limit as it was written: a tenth of a dollar is a tenth."""
    return Decimal(str(limit)) if name == LimitName.COST else limit
