"""The action on its way through the pipeline, and what the pipeline works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import anyio.to_thread
from langchain_core.runnables import RunnableConfig

from stategraph.governance.actions import ActionOutcome, ActionRequest
from stategraph.governance.approval.port import Approval, ApprovalStore
from stategraph.governance.approval.voting import Directory
from stategraph.governance.audit.event import AuditSink
from stategraph.governance.budget.port import Reservation
from stategraph.governance.capability import Capability
from stategraph.governance.labels import LabelStore
from stategraph.governance.pipeline.effect_keys import effect_key
from stategraph.governance.pipeline.outside import Budgeting, Metrics, Redacting, Selecting
from stategraph.governance.pipeline.told import Told
from stategraph.governance.policy.points import Evaluation
from stategraph.governance.registry import Registry
from stategraph.prebuilt.steps import Step
from stategraph.workers.ledger.effects import EffectLedger

T = TypeVar("T")


class Execution(NamedTuple):
    """A way to execute an action, given its arguments.

    Attributes:
        now: Executes it and returns a `Ran`.
        later: Returns what to await for one.
    """

    now: Callable[[Mapping[str, Any]], Any]
    later: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Ran:
    """Result of an execution.

    Attributes:
        content: For the model: a text, or a list of content blocks.
        artifact: Data that is kept with it and not sent to the model.
        kept: All that came of it, in the form of the way in by which the action came; None: that is all.
        error: The tool's error, where the way in made a result of it; None: it returned.
    """

    content: Any
    artifact: Any = None
    kept: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """Parts that the pipeline works with; one that is None is left out.

    Attributes:
        registry: The capabilities.
        policies: Returns the policy of a context, given the names that it has.
        approvals: Keeps requests for approval.
        ledger: Claims effects.
        audit: Takes events.
        redactor: Hides secrets in what people and models are shown of errors and arguments.
        budgets: Admits actions to the budgets of trees of runs.
        metrics: Counts actions.
        resources: Returns facts of the host about what is acted on, for policies.
        directory: Knows the roles that approvers have now.
        self_approval: Whether the requester may approve where a policy names no approvers.
        on_error: `answer`: a refusal is a result for the model. `raise`: it is raised as `ActionRejected`.
        labels: Carries labels of information flow along conversations.
        told: The decisions that the log was told.
    """

    registry: Registry
    policies: Selecting | None = None
    approvals: ApprovalStore | None = None
    ledger: EffectLedger | None = None
    audit: AuditSink | None = None
    redactor: Redacting | None = None
    budgets: Budgeting | None = None
    metrics: Metrics | None = None
    resources: Callable[[ActionRequest, Capability], Mapping[str, Any]] | None = None
    directory: Directory | None = None
    self_approval: bool = False
    on_error: Literal["answer", "raise"] = "answer"
    labels: LabelStore | None = None
    told: Told = field(default_factory=Told)


@dataclass(frozen=True, slots=True)
class Action:
    """An action on its way.

    Attributes:
        request: As it was asked for.
        asked: The arguments that are asked for: those of the request, or as a person has edited them.
        arguments: As it is to be executed: those, validated, and as the policy changes them.
        execution: How to execute it; None: as its capability is executed.
        config: Of the task that it is part of; None: outside of a graph.
        asks: Whether a person may be asked by pausing the task.
        siblings: Ids of the calls of the same answer, whose approvals are their own.
        capability: What it was resolved to.
        evaluation: What the policy made of it; None: there is no policy.
        approval: The approval that it has used up; None: it needed none.
        reservation: What is held of a budget for it; None: nothing.
        ran: Its result; None: it was not executed.
        replayed: Whether that is the result of an earlier execution of the same call.
        elapsed_ms: How long that took; None: it was not executed.
    """

    request: ActionRequest
    asked: Mapping[str, Any]
    arguments: Mapping[str, Any]
    execution: Execution | None = None
    config: RunnableConfig | None = None
    asks: bool = False
    siblings: frozenset[str] = frozenset()
    capability: Capability | None = None
    evaluation: Evaluation | None = None
    approval: Approval | None = None
    reservation: Reservation | None = None
    ran: Ran | None = None
    replayed: bool = False
    elapsed_ms: float | None = None

    @property
    def found(self) -> Capability:
        """The capability, once it is resolved."""
        assert self.capability is not None
        return self.capability

    @property
    def key(self) -> str:
        """The name of the effect: what the capability says, or the call."""
        capability, request = self.found, self.request
        name = capability.id.rpartition("@")[0]
        if capability.effect_key is not None:
            return f"{name}:{effect_key(capability.effect_key, self.arguments)}"
        # A task of a graph is the same when it runs again, in whichever run; elsewhere ids of calls are the run's.
        owner = request.run.scope if request.place else request.run.run_id
        return f"call:{owner}:{request.place}:{request.call_id}:{name}"

    @property
    def unnamed(self) -> str | None:
        """Problem of arguments that do not name the effect; None: they name it."""
        if self.found.effect_key is None:
            return None
        try:
            effect_key(self.found.effect_key, self.arguments)
        except ValueError as error:
            return str(error)
        return None


class Carried(NamedTuple):
    """An action at its end.

    Attributes:
        outcome: The outcome.
        ran: All that came of its execution, this one or an earlier one; None: it was not executed.
    """

    outcome: ActionOutcome
    ran: Ran | None


Blocking: TypeAlias = Callable[[], T]


def blocking(act: Callable[..., Any], *args: Any) -> Step:
    """Return a step that blocks, which an async caller takes in a thread and finishes also if it is cancelled."""
    work = partial(act, *args) if args else act
    return Step(work, partial(anyio.to_thread.run_sync, work))
