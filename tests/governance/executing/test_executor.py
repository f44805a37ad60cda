"""Actions through the pipeline, without a graph: what is carried out, what is refused, and what is known afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stategraph.governance.actions import Reason
from stategraph.governance.approval.desk import ApprovalDesk
from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.context import Budget
from stategraph.governance.errors import ActionRejected, AuditUnavailable
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.policy.combination import Policies
from stategraph.workers.ledger.effects import EffectFailed
from stategraph.workers.ledger.machine import EffectState
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.port import StoreUnavailableError
from tests.governance.executing.kit import ASK, BOB, CLEO, STRICT, Log, World, asked, policy, session


def test_what_the_policy_allows_is_claimed_executed_and_told(office: World, act: Any) -> None:
    outcome = act(office.executor(), asked("refund", order="7", cents=50))
    assert (outcome.status, outcome.content, outcome.reason) == ("completed", "refunded 50", None)
    assert outcome.capability_id == "function:office/refund@1"
    assert outcome.duration_ms > 0
    assert office.office.done == [("refund", "7", 50)]
    assert office.log.types == ["action.started", "action.completed"]
    started, completed = office.log.events
    assert office.log.durable == [started.id]
    assert started.data["arguments"] == {"order": "7", "cents": 50}
    assert (started.tenant, started.principal, started.call_id) == ("acme", "acme/ann", "call-1")
    assert completed.decision == "allow"
    row = office.ledger.book.read("acme", started.data["effect"])
    assert row is not None
    assert row.state is EffectState.COMMITTED


def test_reading_is_told_and_not_claimed(office: World, act: Any) -> None:
    assert act(office.executor(), asked("look_up", order="7")).content == "7: on its way"
    assert office.log.types == ["action.started", "action.completed"]
    assert office.log.durable == []
    assert office.ledger.book.read("acme", office.log.events[0].data["effect"]) is None


@pytest.mark.parametrize(
    ("capability", "args", "reason", "told"),
    [
        ("fly", {}, Reason.CAPABILITY_UNKNOWN, "fly"),
        ("refund", {"order": "7"}, Reason.ARGUMENTS_INVALID, "'cents' is a required property"),
        ("refund", {"order": "7", "cents": "5"}, Reason.ARGUMENTS_INVALID, "cents: '5' is not of type 'integer'"),
        ("drop_all", {}, "denied_by_default", "Do not call it again with these arguments"),
        ("send_mail", {"to": "eve"}, "mail_is_off", "send_mail"),
    ],
)
def test_what_is_refused_did_not_begin_and_the_model_is_told_why(
    office: World, act: Any, capability: str, args: Any, reason: str, told: str
) -> None:
    outcome = act(office.executor(STRICT), asked(capability, **args))
    assert (outcome.status, outcome.reason) == ("rejected", reason)
    assert outcome.content.startswith(f"Not executed ({reason}): ")
    assert told in outcome.content
    assert office.office.done == []
    assert office.log.types[-1] == "action.rejected"
    assert "action.started" not in office.log.types


@pytest.mark.parametrize("cents", [2**64, -(2**63) - 1, 10**5000], ids=["large", "small", "huge"])
@pytest.mark.parametrize("text", [None, ASK])
def test_arguments_that_nothing_can_store_are_refused(office: World, act: Any, text: str | None, cents: int) -> None:
    outcome = act(office.executor(text), asked("refund", order="7", cents=cents))
    assert (outcome.status, outcome.reason) == ("rejected", "arguments_invalid")
    assert "a whole number has more than 64 bits" in outcome.content
    assert office.office.done == [] and office.log.types == ["action.rejected"]
    (row,) = office.log.events
    assert row.data["arguments"]["cents"] == f"a whole number of {cents.bit_length():,} bits"


@pytest.mark.parametrize("levels", [101, 300, 900, 20_000])
@pytest.mark.parametrize("text", [None, ASK])
def test_arguments_that_are_nested_too_deeply_are_refused(
    office: World, act: Any, text: str | None, levels: int
) -> None:
    nested: Any = {}
    for _ in range(levels):
        nested = [nested]
    outcome = act(office.executor(text), asked("refund", order=nested, cents=1))
    assert (outcome.status, outcome.reason) == ("rejected", "arguments_invalid")
    assert "they are nested more than 100 levels deep" in outcome.content
    assert office.office.done == [] and office.log.types == ["action.rejected"]


def test_arguments_that_hold_themselves_are_refused(office: World, act: Any) -> None:
    circle: list[Any] = []
    circle += [circle, circle]
    outcome = act(office.executor(None), asked("refund", order=circle, cents=1))
    assert (outcome.status, outcome.reason) == ("rejected", "arguments_invalid")


def test_refusals_are_raised_where_the_host_wants_it(office: World, act: Any) -> None:
    with pytest.raises(ActionRejected) as raised:
        act(office.executor(STRICT, on_error="raise"), asked("send_mail", to="eve"))
    assert raised.value.reason == "mail_is_off"
    assert office.log.types[-1] == "action.rejected"


def test_without_a_policy_everything_that_is_seen_may_be_done(office: World, act: Any) -> None:
    assert act(office.executor(None), asked("drop_all")).status == "completed"


def test_a_log_that_cannot_store_keeps_what_is_more_than_reading_from_beginning(office: World, act: Any) -> None:
    office.log.full = True
    outcome = act(office.executor(None), asked("refund", order="7", cents=50))
    assert (outcome.status, outcome.reason) == ("rejected", Reason.AUDIT_UNAVAILABLE)
    assert office.office.done == []
    office.log.full = False
    again = act(office.executor(None), asked("refund", order="7", cents=50))
    assert again.status == "completed"


@pytest.mark.parametrize("away", ["approvals", "ledger"])
def test_a_database_that_is_away_keeps_an_action_from_beginning(
    office: World, act: Any, away: str, caplog: pytest.LogCaptureFixture
) -> None:
    executor = office.executor()
    cents = 500 if away == "approvals" else 50
    store = office.approvals if away == "approvals" else office.ledger.book

    def fails(*args: Any, **named: Any) -> Any:
        raise StoreUnavailableError("it is away")

    store.request = store.claim = store.read = store.of_call = fails  # type: ignore[union-attr]
    outcome = act(executor, asked("refund", order="7", cents=cents))
    assert (outcome.status, outcome.reason) == ("rejected", Reason.STORE_UNAVAILABLE)
    assert "it is away" in caplog.text
    assert office.office.done == []
    assert office.log.types[-1] == "action.rejected"


def test_a_call_that_was_carried_out_is_not_carried_out_again(office: World, act: Any) -> None:
    executor = office.executor()
    first = act(executor, asked("refund", order="7", cents=50))
    again = act(office.executor(), asked("refund", order="7", cents=50))
    assert (again.status, again.content) == (first.status, first.content)
    assert office.office.done == [("refund", "7", 50)]
    assert office.log.events[-1].data["replayed"] is True
    # Not even where the policy would refuse it by now: it has happened.
    refused = act(office.executor(ASK.replace("write: allow", "write: deny")), asked("refund", order="7", cents=50))
    assert (refused.status, refused.content) == ("completed", "refunded 50")


def test_a_call_that_was_torn_off_is_in_doubt_and_stays_so(office: World, act: Any) -> None:
    office.office.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        act(office.executor(None), asked("send_mail", to="ann"))
    assert office.log.types == ["action.started", "action.in_doubt"]
    office.office.raises = None
    outcome = act(office.executor(None), asked("send_mail", to="ann"))
    assert (outcome.status, outcome.reason) == ("in_doubt", Reason.IN_DOUBT)
    # Stored before it is answered: a process killed then would leave no event of it, and nobody calls again.
    assert (office.log.types[-1], office.log.durable[-1]) == ("action.in_doubt", office.log.events[-1].id)
    assert "Do not call it again" in outcome.content
    assert office.office.done == []


def test_what_is_idempotent_may_be_repeated(office: World, act: Any) -> None:
    office.office.raises = KeyboardInterrupt()
    executor = office.executor(None, traits={"idempotent": True})
    with pytest.raises(KeyboardInterrupt):
        act(executor, asked("send_mail", to="ann"))
    office.office.raises = None
    assert act(executor, asked("send_mail", to="ann")).content == "sent to ann"


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (ValueError("no such address"), "failed", Reason.FAILED),
        (ConnectionResetError("gone"), "in_doubt", Reason.IN_DOUBT),
        (TimeoutError(), "in_doubt", Reason.IN_DOUBT),
        (EffectFailed("refused"), "failed", Reason.FAILED),
    ],
)
def test_an_error_says_whether_it_may_have_happened(
    office: World, act: Any, raised: Exception, status: str, reason: str
) -> None:
    office.office.raises = raised
    outcome = act(office.executor(None), asked("send_mail", to="ann"))
    assert (outcome.status, outcome.reason) == (status, reason)
    office.office.raises = None
    again = act(office.executor(None), asked("send_mail", to="ann"))
    assert again.status == status
    assert office.office.done == []


def test_an_effect_with_a_key_happens_once_whatever_the_call(office: World, act: Any) -> None:
    executor = office.executor(None, traits={"effect_key": "mail:{to}"})
    assert act(executor, asked("send_mail", "call-1", to="ann")).status == "completed"
    assert act(executor, asked("send_mail", "call-2", to="ann")).content == "sent to ann"
    assert act(executor, asked("send_mail", "call-3", to="bob")).content == "sent to bob"
    assert [done[1] for done in office.office.done] == ["ann", "bob"]
    office.office.raises = ValueError("who knows")
    assert act(executor, asked("send_mail", "call-4", to="cleo")).status == "in_doubt"


def test_a_time_limit_stops_a_call_and_leaves_it_in_doubt(office: World) -> None:
    stopped = []

    async def slow(to: str) -> str:
        """Take long."""
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(to)
        return ""

    from stategraph.governance.capabilities.functions import Traits, offer
    from stategraph.governance.registry import Registry

    registry = Registry(offer(slow, Traits(source="office", risk="write", timeout_s=1.0)))
    outcome = asyncio.run(office.executor(None, registry=registry).act(asked("slow", to="ann")))
    assert (outcome.status, outcome.reason) == ("in_doubt", Reason.IN_DOUBT)
    assert "did not return within 1 s" in outcome.content
    assert stopped == ["ann"]


def test_a_cancelled_call_is_in_doubt_and_told(office: World) -> None:
    began = asyncio.Event()

    async def slow(to: str) -> str:
        """Take long."""
        began.set()
        await asyncio.Event().wait()
        return ""

    from stategraph.governance.capabilities.functions import Traits, offer
    from stategraph.governance.registry import Registry

    executor = office.executor(None, registry=Registry(offer(slow, Traits(source="office", risk="write"))))

    async def main() -> None:
        task = asyncio.ensure_future(executor.act(asked("slow", to="ann")))
        await asyncio.wait_for(began.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert office.log.types == ["action.started", "action.in_doubt"]
    assert asyncio.run(executor.act(asked("slow", to="ann"))).status == "in_doubt"


# Approval, where nobody can be asked by pausing.


def test_what_needs_approval_waits_and_is_carried_out_once_when_it_is_approved(office: World, act: Any) -> None:
    executor = office.executor()
    waits = act(executor, asked("refund", order="7", cents=500))
    assert (waits.status, waits.reason) == ("rejected", Reason.APPROVAL_REQUIRED)
    (request,) = office.approvals.newest("acme")
    assert request.id in waits.content
    assert request.preview == {"order": "7", "cents": 500}
    assert act(executor, asked("refund", order="7", cents=500)).status == "rejected"
    assert len(office.approvals.newest("acme")) == 1
    office.approvals.vote("acme", request.id, BOB, "approve")
    done = act(executor, asked("refund", order="7", cents=500))
    assert done.status == "completed"
    assert office.office.done == [("refund", "7", 500)]
    found = office.approvals.get("acme", request.id)
    assert found is not None
    assert found.state is ApprovalState.CONSUMED
    assert "approval.consumed" in office.log.types
    # The very call again is known; another call of the same needs approval of its own.
    assert act(executor, asked("refund", order="7", cents=500)).status == "completed"
    assert act(executor, asked("refund", "call-2", order="7", cents=500)).reason == Reason.APPROVAL_REQUIRED
    assert office.office.done == [("refund", "7", 500)]


def test_a_denial_holds_and_its_comment_is_told(office: World, act: Any) -> None:
    executor = office.executor()
    act(executor, asked("refund", order="7", cents=500))
    (request,) = office.approvals.newest("acme")
    office.approvals.vote("acme", request.id, BOB, "deny", "ask the customer first")
    denied = act(executor, asked("refund", order="7", cents=500))
    assert (denied.status, denied.reason) == ("rejected", Reason.APPROVAL_DENIED)
    assert "'bob' denied it: ask the customer first" in denied.content
    assert len(office.approvals.newest("acme")) == 1


@pytest.mark.parametrize(("word", "type"), [("approve", "approval.granted"), ("deny", "approval.denied")])
def test_a_vote_by_the_store_is_told_once_with_the_approver_as_principal(
    office: World, act: Any, word: Any, type: str
) -> None:
    act(office.executor(), asked("refund", order="7", cents=500))
    (request,) = office.approvals.newest("acme")
    office.approvals.vote("acme", request.id, BOB, word)
    act(office.executor(), asked("refund", order="7", cents=500))
    act(office.executor(), asked("refund", order="7", cents=500))
    (told,) = office.log.of(type)
    assert (told.principal, told.capability_id) == ("acme/bob", "function:office/refund@1")
    assert (told.decision, told.run_id, told.call_id) == ("escalate", "run-1", "call-1")
    assert told.data["requesters"] == ["ann"]
    if word == "approve":
        types = office.log.types
        assert types.index("approval.granted") < types.index("approval.consumed") < types.index("action.started")


def test_a_decision_that_the_desk_told_is_not_told_again(office: World, act: Any) -> None:
    act(office.executor(), asked("refund", order="7", cents=500))
    (request,) = office.approvals.newest("acme")
    desk = ApprovalDesk(office.approvals, office.log)
    office.log.full = True
    with pytest.raises(AuditUnavailable):
        desk.vote_sync(request.id, BOB, "approve")
    office.log.full = False
    assert asyncio.run(desk.vote(request.id, BOB, "deny")).state is ApprovalState.DENIED
    act(office.executor(), asked("refund", order="7", cents=500))
    (denied,) = office.log.of("approval.denied")
    assert (denied.principal, denied.decision) == ("acme/bob", "escalate")


def test_a_grant_that_the_log_could_not_take_is_told_when_the_action_is_asked_for_again(
    office: World, act: Any
) -> None:
    act(office.executor(), asked("refund", order="7", cents=500))
    (request,) = office.approvals.newest("acme")
    office.log.full = True
    with pytest.raises(AuditUnavailable):
        ApprovalDesk(office.approvals, office.log).vote_sync(request.id, BOB, "approve")
    assert act(office.executor(), asked("refund", order="7", cents=500)).reason == Reason.AUDIT_UNAVAILABLE
    office.log.full = False
    assert act(office.executor(), asked("refund", order="7", cents=500)).status == "completed"
    assert len(office.log.of("approval.granted")) == 1


@pytest.mark.parametrize("is_approved", [False, True])
def test_a_request_is_superseded_when_a_tighter_policy_denies_its_action(
    office: World, act: Any, is_approved: bool
) -> None:
    act(office.executor(), asked("send_mail", to="ann"))
    (request,) = office.approvals.newest("acme")
    if is_approved:
        office.approvals.vote("acme", request.id, BOB, "approve")
    denied = act(office.executor(STRICT), asked("send_mail", to="ann"))
    assert (denied.status, denied.reason) == ("rejected", "mail_is_off")
    assert [each.state for each in office.approvals.newest("acme")] == [ApprovalState.SUPERSEDED]
    assert len(office.log.of("approval.granted")) == is_approved
    (superseded,) = office.log.of("approval.superseded")
    assert (superseded.data["approval"], superseded.data["different"]) == (request.id, ["policy"])
    assert office.log.events[-1].decision == "deny"
    act(office.executor(), asked("send_mail", to="ann"))
    assert [each.state for each in office.approvals.newest("acme")][:1] == [ApprovalState.REQUESTED]
    assert office.office.done == []


def test_without_a_store_nothing_that_needs_approval_is_done(office: World, act: Any) -> None:
    outcome = act(office.executor(approvals=None), asked("refund", order="7", cents=500))
    assert (outcome.status, outcome.reason) == ("rejected", Reason.APPROVAL_UNAVAILABLE)


def test_an_approver_who_lost_the_role_does_not_count(office: World, act: Any) -> None:
    roles: dict[str, list[str] | None] = {"bob": ["security"], "cleo": ["security"]}
    executor = office.executor(directory=lambda tenant, user: roles.get(user))
    act(executor, asked("refund", order="7", cents=9000))
    (request,) = office.approvals.newest("acme")
    office.approvals.vote("acme", request.id, BOB, "approve")
    office.approvals.vote("acme", request.id, CLEO, "approve")
    roles["cleo"] = None
    assert act(executor, asked("refund", order="7", cents=9000)).reason == Reason.APPROVAL_REQUIRED
    assert [each.state for each in office.approvals.newest("acme")] == ["requested", "superseded"]
    superseded = office.log.of("approval.superseded")[-1]
    assert superseded.data["different"] == ["approvers"]
    assert office.office.done == []


def test_contexts_choose_policies_by_name(office: World, act: Any) -> None:
    policies = Policies({"plain": policy(), "mail": policy(STRICT)}, ["plain"])
    executor = ActionExecutor(office.office.registry(), policies, office.approvals, audit=office.log)
    both = session(policies=("plain", "mail"))
    assert act(executor, asked("send_mail", context=both, to="eve")).reason == "mail_is_off"
    assert act(executor, asked("send_mail", to="eve")).reason == Reason.APPROVAL_REQUIRED
    missing = session(policies=("plain", "gone"))
    assert "no policy 'gone'" in act(executor, asked("look_up", context=missing, order="7")).content
    other = session(policies=("gone",))
    assert "no policy 'gone'" in act(office.executor(), asked("look_up", context=other, order="7")).content
    assert "no policy 'gone'" in act(office.executor(None), asked("look_up", context=other, order="7")).content


def test_a_budget_of_actions_holds_and_what_is_refused_does_not_count(office: World, act: Any) -> None:
    ledger = SqlBudgetLedger(open_database(f"sqlite:///{office.folder / 'budgets.db'}"))
    executor = office.executor(budgets=RunBudget(ledger, wait_s=0.0))
    limited = replace(session(), budget=Budget(tool_calls=2, on_limit="deny"))
    told = [
        act(executor, asked(name, f"call-{n}", limited, **args))
        for n, (name, args) in enumerate(
            [
                ("look_up", {"order": "1"}),
                ("drop_all", {}),
                ("look_up", {"order": "2"}),
                ("look_up", {"order": "3"}),
            ]
        )
    ]
    assert [each.reason for each in told] == [None, "denied_by_default", None, Reason.BUDGET_EXCEEDED]
    assert office.office.done == [("look_up", "1"), ("look_up", "2")]
    ledger.close()


def test_secrets_do_not_reach_the_log_or_the_store(office: World, act: Any) -> None:
    class Hide:
        def clean(self, value: Any, /) -> Any:
            text = str(value)
            return value if "hunter2" not in text else {"hidden": True} if isinstance(value, dict) else "hidden"

    office.office.raises = ValueError("hunter2 is wrong")
    outcome = act(office.executor(None, redactor=Hide()), asked("send_mail", to="ann", body="hunter2"))
    assert "hunter2" not in str(outcome.content)
    assert all("hunter2" not in str(event.data) for event in office.log.events)
    assert isinstance(office.log, Log)
