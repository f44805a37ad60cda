"""Actions: requests, outcomes, and the codes with which one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from stategraph.governance.context import RuntimeSessionContext


class Reason(StrEnum):
    """Codes of refusals, as models, audit rows and metrics have them; a policy's own reasons stand beside these."""

    CAPABILITY_UNKNOWN = "capability_unknown"
    CAPABILITY_NOT_SELECTED = "capability_not_selected"
    CAPABILITY_GONE = "capability_gone"
    CAPABILITY_CHANGED = "capability_changed"
    CAPABILITY_QUARANTINED = "capability_quarantined"
    CAPABILITY_NOT_A_TOOL = "capability_not_a_tool"
    VIEW_CHANGED = "view_changed"
    ARGUMENTS_INVALID = "arguments_invalid"
    CALL_ID_REUSED = "call_id_reused"
    POLICY_DENIED = "policy_denied"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_UNAVAILABLE = "approval_unavailable"
    APPROVAL_REQUIRED = "approval_required"
    BUDGET_EXCEEDED = "budget_exceeded"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    UNDER_WAY = "under_way"
    IN_DOUBT = "in_doubt"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RunRef:
    """The run of an action.

    Attributes:
        run_id: The run.
        thread_id: Its thread; None: none.
        root_run_id: The run at the root of its tree; None: it is the root.
    """

    run_id: str
    thread_id: str | None = None
    root_run_id: str | None = None

    @property
    def root(self) -> str:
        """The run at the root of the tree."""
        return self.root_run_id or self.run_id

    @property
    def scope(self) -> str:
        """The thread, or the run where there is none: within it an action may be asked for again."""
        return self.thread_id or self.run_id


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """An action that is asked for.

    Attributes:
        capability: The id of a capability, or the name by which a model called it.
        arguments: Its arguments, as JSON.
        call_id: The id of the call, which is unique within the run, or within `place` where that is given.
        run: The run.
        context: Who acts, with what.
        place: Where in the run, such as the namespace of a task: models use some ids of calls again.
        view_digest: The digest of the capabilities that the model was shown; None: not known.
        labels: Labels of information flow of what the model had read.
    """

    capability: str
    arguments: Mapping[str, Any]
    call_id: str
    run: RunRef
    context: RuntimeSessionContext
    place: str = ""
    view_digest: str | None = None
    labels: frozenset[str] = field(default_factory=frozenset)


ActionStatus = Literal["completed", "failed", "rejected", "in_doubt", "answered"]


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """Result of an action.

    Attributes:
        status: `completed`: it was executed. `failed`: it was executed and raised. `rejected`: it never began.
            `in_doubt`: it began, and nobody knows how it ended. `answered`: a person answered in its place.
        content: The result for the model: content of a tool message.
        reason: The code of a refusal or failure; None: it went well.
        capability_id: What was used; None: nothing was found under the name.
        artifact: Data that is kept with the result and not sent to the model.
        verdict: The policy's verdict, as `stategraph.governance.policy.verdict.Verdict`; None: none was made.
        duration_ms: How long the execution took; None: it was not executed.
    """

    status: ActionStatus
    content: Any
    reason: str | None = None
    capability_id: str | None = None
    artifact: Any = None
    verdict: Any = None
    duration_ms: float | None = None
