"""The question whether a run may take more than its limit, and its answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict, cast

from pydantic import AfterValidator, Field

from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.settings import validation
from stategraph.agent.settings.field_types import Number, WholeNumber
from stategraph.agent.settings.limits import LimitName
from stategraph.agent.settings.validation import Settings
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import ConfigurationError, InvalidAnswerError

LIMIT_REACHED: Final = "limit_reached"


class LimitQuestion(TypedDict):
    """The payload of an interrupt: a limit is reached, and a person may raise it.

    Attributes:
        type: The kind of question.
        limit: The limit, by its field of `RunLimits`.
        allowed: What it allows, in the unit of that field.
        used: What the run has used of it.
        agentId: The agent that would go on.
    """

    type: Literal["limit_reached"]
    limit: str
    allowed: int | float
    used: int | float
    agentId: str


def _whole(number: int | float) -> int | float:
    """Return a number as an int if it is whole: it may have come as JSON from where all numbers are floats."""
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return int(number) if number == int(number) else number


class RaiseLimit(Settings):
    """The run goes on.

    Attributes:
        to: What the limit allows from now on, in its unit: more than it has allowed. A whole number is an int.
    """

    type: Literal["raise"] = "raise"
    to: Annotated[WholeNumber | Number, AfterValidator(_whole)] = Field(gt=0)


class EndRun(Settings):
    """The turn ends with what there is."""

    type: Literal["end"] = "end"


LimitAnswer: TypeAlias = RaiseLimit | EndRun

_KINDS: Mapping[object, type[Settings]] = {"raise": RaiseLimit, "end": EndRun}


def check_answer(payload: Mapping[str, Any], answer: object) -> None:
    """See whether an answer fits the question that a person saw.

    Raises:
        InvalidAnswerError: It does not, or does not raise the limit.
    """
    read = read_answer(payload, answer)
    if isinstance(read, RaiseLimit) and read.to <= payload["allowed"]:
        raise InvalidAnswerError(
            f"The answer about the limit {payload['limit']} allows {read.to:g}, which is no more than before; "
            f"expected {_expected(payload)}"
        )


def _expected(payload: Mapping[str, Any]) -> str:
    return f"{{'type': 'raise', 'to': n}} with n above {payload['allowed']:g}, or {{'type': 'end'}}"


def read_answer(payload: Mapping[str, Any], answer: object) -> LimitAnswer:
    """Read a person's answer to a `limit_reached`.

    It may allow less than the limit does by now: other agents ask at the same time, and their answers may come first.

    Args:
        payload: The question.
        answer: `{"type": "raise", "to": ...}` or `{"type": "end"}`, also as a value.

    Raises:
        InvalidAnswerError: It is something else.
    """
    word = answer.get("type") if isinstance(answer, Mapping) else getattr(answer, "type", None)
    kind = _KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        found = repr(word) if word is not None else f"of type {type(answer).__name__} without a 'type'"
        raise InvalidAnswerError(
            f"The answer about the limit {payload['limit']} is {found}; expected {_expected(payload)}"
        )
    try:
        return cast("LimitAnswer", validation.checked(kind, answer))
    except ConfigurationError as error:
        raise InvalidAnswerError(f"The answer about the limit {payload['limit']} is incomplete: {error}") from None


async def ask(reached: LimitReachedError, agent_id: str) -> tuple[LimitName, int | float] | None:
    """Ask a person whether a run may go on, from inside of a node whose state is stored.

    Question and answer are tasks of the engine, whose results are stored: a node that runs again finds what it asked
    and what was said, also if by then another limit is reached first, as other agents went on meanwhile.

    Args:
        reached: The limit.
        agent_id: The agent that would go on.

    Returns:
        The limit and what it allows now; None: the turn ends.

    Raises:
        GraphInterrupt: There is no answer yet.
    """
    limit, allowed, used = await start_task(noted, ((str(reached.limit), reached.allowed, reached.used), {}))
    answer = await start_task(answered, ((limit, allowed, used, agent_id), {}))
    return None if answer is None else (LimitName(limit), answer)


async def noted(limit: str, allowed: int | float, used: int | float) -> list[str | int | float]:
    """Return what a question is about."""
    return [limit, allowed, used]


async def answered(limit: str, allowed: int | float, used: int | float, agent_id: str) -> int | float | None:
    """Ask a person, and return what the limit allows now; None if the turn ends."""
    question = LimitQuestion(type=LIMIT_REACHED, limit=limit, allowed=allowed, used=used, agentId=agent_id)
    payload = dict(question)
    answer = interrupt(payload, response_schema=Annotated[Any, AfterValidator(partial(read_answer, payload))])
    return answer.to if isinstance(answer, RaiseLimit) else None
