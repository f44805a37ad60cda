"""The question to people about the actions of one answer that wait: shown, and its answers held against what is so.

A decision that may not be made, or an edit that does not fit the capability's schema, is refused at the answer, before
anything is written: the question stays open and can be answered again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from stategraph.engine.tasks.interrupts import is_answered
from stategraph.errors import InvalidAnswerError, mark_invalid_resume
from stategraph.governance.approval import voting
from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.approval.port import Approval, VoteWord
from stategraph.governance.approval.preview import restored
from stategraph.governance.errors import ActionRejected
from stategraph.governance.pipeline import decisions, votes
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.governance.pipeline.beside import Turn
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.prebuilt.steps import Steps
from stategraph.run import questions
from stategraph.run.questions import Edit, Reject, Respond, Review


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that waits.

    Attributes:
        action: The action, with the arguments that it is asked about with.
        cleared: Its standing, with what people are shown of it.
        row: The request as it is now; None: it is gone.
        original: The arguments of which people are shown a preview; None: the action is refused by now.
    """

    action: Action
    cleared: Cleared
    row: Approval | None
    original: dict[str, Any] | None

    @property
    def is_open(self) -> bool:
        """True if nobody has decided about it."""
        return self.row is not None and self.row.state is ApprovalState.REQUESTED

    def edited(self, given: Mapping[str, Any]) -> Any:
        """Return the arguments that an edit asks for, with what the preview had left out put back."""
        return given if self.original is None else restored(given, self.cleared.asked["arguments"], self.original)


def waiting(services: Services, actions: Sequence[Action], cleared: Sequence[Cleared]) -> Steps[list[Asked]]:
    """Return the actions that wait, as they are now."""
    quiet = replace(services, audit=None)
    found = []
    for action, each in zip(actions, cleared, strict=True):
        if each.kind == "wait":
            assert each.approval is not None
            action = replace(action, asked=each.arguments)
            store = votes.store_of(services)
            row = yield blocking(store.get, action.request.context.tenant, each.approval)
            found.append(Asked(action, each, row, (yield from _original(quiet, action))))
    return found


def _original(services: Services, action: Action) -> Steps[dict[str, Any] | None]:
    try:
        return dict((yield from decisions.again(services, action)).arguments)
    except decisions.Refused:
        return None


def ask(services: Services, asked: Sequence[Asked], turn: Turn) -> dict[str, Review]:
    """Ask about actions in one interrupt; return the decisions by call id: none if all were made elsewhere.

    Raises:
        GraphInterrupt: There is no answer yet.
        InvalidAnswerError: An answer does not count; the question stays open.
        GovernanceError: Another action of the task has come.
    """
    if not any(each.is_open for each in asked) and not is_answered():
        return {}
    turn.check()
    payload = {
        "type": questions.TOOL_APPROVAL,
        "action_requests": [
            {
                "tool_call_id": each.action.request.call_id,
                "args": each.cleared.asked["arguments"],
                **each.cleared.asked,
            }
            for each in asked
        ],
        "review_configs": [
            {
                "action_name": each.cleared.asked["name"],
                "tool_call_id": each.action.request.call_id,
                "allowed_decisions": list(questions.REVIEWS),
            }
            for each in asked
        ],
    }
    by_call = {each.action.request.call_id: each for each in asked}
    try:
        decided: dict[str, Review] = questions.ask(payload, partial(_read, services, by_call))
    except ValidationError as error:
        said = next((each["ctx"]["error"] for each in error.errors() if "error" in each.get("ctx", {})), None)
        if not isinstance(said, InvalidAnswerError):
            raise
        mark_invalid_resume(said)
        raise said from None
    return decided


def _read(
    services: Services, asked: Mapping[str, Asked], payload: Mapping[str, Any], answer: object
) -> dict[str, Review]:
    """Read the decisions, and refuse those that do not count."""
    decided = questions.read_decisions(payload, answer)
    for call_id, review in decided.items():
        each = asked[call_id]
        if each.row is None or not each.is_open:
            continue  # it was decided elsewhere meanwhile, and that counts
        if (why := voting.objection(each.row, votes.voter_of(each.action), _word(review))) is not None:
            raise InvalidAnswerError(f"The decision about the call {call_id} does not count: {why}")
        if isinstance(review, Edit) and each.original is not None:
            _check_edit(services, each, review)
    return decided


def _check_edit(services: Services, asked: Asked, review: Edit) -> None:
    """Hold edited arguments against the schema of the capability, as it is now.

    Raises:
        InvalidAnswerError: They do not fit.
    """
    whole = asked.edited(review.updated_input)
    edited = replace(asked.action, asked=whole, arguments=whole, capability=None, evaluation=None)
    try:
        decisions.validate(services, decisions.resolve(services, edited))
    except ActionRejected as refusal:
        raise InvalidAnswerError(
            f"The edit of the call {asked.action.request.call_id} cannot be carried out: {refusal}"
        ) from None


def _word(review: Review) -> VoteWord:
    return "deny" if isinstance(review, Reject | Respond) else "approve"
