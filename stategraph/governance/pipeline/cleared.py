"""The standing of an action before it is carried out, in a form that can be stored with a waiting run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from stategraph.governance.actions import ActionStatus


@dataclass(frozen=True, slots=True)
class Cleared:
    """Standing of an action before it is carried out, in a form that can be stored.

    Attributes:
        call_id: The call.
        kind: `pass`: it may be carried out, if it still may then. `wait`: a person has to decide. `answer`: it is not
            carried out, and this is its result.
        arguments: Its arguments, as a person has edited them; without what the policy changes.
        approval: The id of the request; None: it needs none.
        asked: What people are shown of it, where it waits.
        text: The result for the model, where it is answered.
        status: The status of that.
        reason: The code of a refusal.
    """

    call_id: str
    kind: Literal["pass", "wait", "answer"]
    arguments: dict[str, Any]
    approval: str | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    status: ActionStatus = "rejected"
    reason: str | None = None
