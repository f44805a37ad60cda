"""The question whether a tree of runs may take more than its budget, and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypedDict

from stategraph.agent.tools.tool_runner import stores
from stategraph.engine.config.context import get_config
from stategraph.engine.tasks.interrupts import answers_so_far as answers_so_far
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import InvalidAnswerError
from stategraph.governance.budget.port import Asked, Tree
from stategraph.governance.context import LARGEST_LIMITS, as_amount

BUDGET_REACHED: Final = "budget_reached"


class BudgetQuestion(TypedDict):
    """The payload of an interrupt: a budget is used up, and a person may raise it.

    Attributes:
        type: The kind of question.
        unit: The unit, by its field of `Budget`.
        cap: What is allowed, in that unit.
        spent: What was taken.
        rootRunId: The run at the root of the tree, all of which shares the budget.
    """

    type: Literal["budget_reached"]
    unit: str
    cap: float
    spent: float
    rootRunId: str


def may_ask() -> bool:
    """Return whether the code that asks is a node whose state is stored, so that it can wait for a person."""
    try:
        return stores(get_config())
    except RuntimeError:
        return False


def question_of(tree: Tree, asked: Asked) -> BudgetQuestion:
    """Return the payload of a question."""
    return BudgetQuestion(
        type=BUDGET_REACHED, unit=str(asked.unit), cap=asked.cap, spent=asked.spent, rootRunId=tree.root_run_id
    )


def ask(tree: Tree, asked: Asked) -> float | None:
    """Ask a person whether a tree may take more. An answer that makes no sense is asked again, with what is wrong.

    Returns:
        What is allowed from now on; None: what waits for it is refused.

    Raises:
        GraphInterrupt: There is no answer yet.
    """
    question = question_of(tree, asked)
    answer = interrupt(dict(question))
    while True:
        try:
            return read_answer(question, answer)
        except InvalidAnswerError as error:
            answer = interrupt({**question, "problem": str(error)})


def read_answer(question: BudgetQuestion, answer: object) -> float | None:
    """Read a person's answer.

    Args:
        question: What was asked.
        answer: `{"type": "raise", "to": ...}`, more than the cap and within `LARGEST_LIMITS`, or `{"type": "end"}`.

    Returns:
        What is allowed from now on; None: no more.

    Raises:
        InvalidAnswerError: It is something else.
    """
    if isinstance(answer, Mapping):
        if answer.get("type") == "end":
            return None
        to = as_amount(question["unit"], answer.get("to"))
        if answer.get("type") == "raise" and to is not None and to > question["cap"]:
            return to
    found = _shown(answer)
    raise InvalidAnswerError(
        f"The answer about the budget of {question['unit']} is {found}; expected {{'type': 'raise', 'to': n}} with n "
        f"above {question['cap']:g} and up to {LARGEST_LIMITS[question['unit']]:g}, or {{'type': 'end'}}"
    )


def _shown(answer: object) -> str:
    try:
        return repr(answer)[:100]
    except ValueError:  # a whole number of more digits than Python prints
        return f"a {type(answer).__name__} with a number that is too large"
