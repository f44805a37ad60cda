"""Ways around the pipeline, and ends that would be told wrongly: each of them is closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stategraph.governance.capabilities.functions import Traits, offer
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.gates.tool_results import Handled
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.registry import Registry
from stategraph.workers.registry.port import StoreUnavailableError
from tests.governance.executing.kit import ASK, CLEO, World, asked, session

FREE = ASK.replace("external: escalate", "external: allow").replace("destructive: deny", "destructive: allow")
MASK = FREE.replace(
    "  rules:",
    "  rules:\n    - {name: mask, at: [post_tool_call], then: {decision: allow, labels: [secret]}}",
)


class Unreachable:
    """Labels whose database went away after they were read."""

    def read(self, tenant: str, conversation: str) -> frozenset[str]:
        return frozenset()

    def add(self, tenant: str, conversation: str, labels: Any) -> None:
        raise StoreUnavailableError("labels.db is away")


# What was executed is never told as if nothing had been done.


@pytest.mark.parametrize("options", [{}, {"ledger": None}])
@pytest.mark.parametrize("traits", [{}, {"effect_key": "mail:{to}"}])
def test_an_executed_action_is_told_as_one_where_labels_cannot_be_stored(
    office: World, act: Any, options: Any, traits: Any
) -> None:
    registry = Registry(offer(office.office.send_mail, Traits(source="office", risk="external", **traits)))
    made = office.executor(MASK, registry=registry, labels=Unreachable(), **options)
    outcome = act(made, asked("send_mail", to="ann"))
    assert office.office.done == [("send_mail", "ann", "")]
    assert outcome.status == "completed"
    assert outcome.content.startswith("It was executed. Its result is not shown (store_unavailable)")
    assert office.log.types[-1] == "action.completed"


def test_an_executed_action_is_told_as_one_where_its_review_cannot_be_recorded(office: World, act: Any) -> None:
    record = office.log.record_sync

    def recording(event: Any, /, *, durable: bool = False) -> None:
        office.log.full = event.type == "policy.decided"
        record(event, durable=durable)

    office.log.record_sync = recording  # type: ignore[method-assign]
    outcome = act(office.executor(MASK, ledger=None), asked("send_mail", to="ann"))
    assert office.office.done == [("send_mail", "ann", "")]
    assert outcome.status == "completed"
    assert outcome.content.startswith("It was executed. Its result is not shown (audit_unavailable)")


def test_facts_of_the_host_that_cannot_be_had_deny(office: World, act: Any) -> None:
    def failing(request: Any, capability: Any) -> Any:
        raise LookupError("the directory is away, its password is hunter2")

    outcome = act(office.executor(FREE, resources=failing), asked("send_mail", to="ann"))
    assert (outcome.status, outcome.reason) == ("rejected", "runtime_error:policy_invocation_failed")
    assert "hunter2" not in outcome.content
    assert office.log.types == ["action.rejected"]


def test_facts_of_the_host_that_are_gone_by_the_review_keep_the_result_back(office: World, act: Any) -> None:
    def once(request: Any, capability: Any) -> Any:
        if office.office.done:
            raise LookupError("the directory is away")
        return {}

    # They are asked for where a policy says something about results.
    outcome = act(office.executor(MASK, resources=once), asked("send_mail", to="ann"))
    assert outcome.status == "completed"
    assert outcome.content.startswith("It was executed. Its result is not shown (runtime_error:policy_invocation")
    assert office.log.types == ["action.started", "action.completed"]


def test_an_effect_that_cannot_be_named_does_not_begin(office: World, act: Any) -> None:
    registry = Registry(offer(office.office.send_mail, Traits(source="office", risk="external", effect_key="m:{body}")))
    outcome = act(office.executor(FREE, registry=registry), asked("send_mail", to="ann"))
    assert (outcome.status, outcome.reason) == ("rejected", "arguments_invalid")
    assert "'body'" in outcome.content
    assert office.office.done == []
    assert act(office.executor(FREE, registry=registry), asked("send_mail", to="ann", body="x")).status == "completed"


def test_an_audit_log_that_fails_inside_of_a_tool_does_not_undo_its_effect(office: World, act: Any) -> None:
    done = []

    def pay(order: str) -> str:
        """Pay."""
        done.append(order)
        raise AuditUnavailable("a log of the tool's own is full")

    registry = Registry(offer(pay, Traits(source="office", risk="write", effect_key="pay:{order}")))
    made = office.executor(FREE, registry=registry)
    first = act(made, asked("pay", "call-1", order="7"))
    assert (first.status, first.reason) == ("in_doubt", "in_doubt")
    assert act(made, asked("pay", "call-2", order="7")).status == "in_doubt"
    assert done == ["7"]


@pytest.mark.anyio
@pytest.mark.parametrize("at", ["policy.decided", "action.completed"])
async def test_the_end_of_an_executed_action_is_told_where_the_caller_is_cancelled(office: World, at: str) -> None:
    entered, goes_on, record = asyncio.Event(), asyncio.Event(), office.log.record_sync

    async def recording(event: Any, /, *, durable: bool = False) -> None:
        if event.type == at:
            entered.set()
            await goes_on.wait()
        record(event, durable=durable)

    office.log.record = recording  # type: ignore[method-assign]
    acting = asyncio.create_task(office.executor(MASK).act(asked("send_mail", to="ann")))
    await asyncio.wait_for(entered.wait(), 60)
    acting.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.wait([acting], timeout=60)
    assert acting.cancelled()
    assert office.log.types[-1] == "action.completed"


@pytest.mark.parametrize("risk", ["write", "destructive"])
def test_the_id_of_an_executed_call_says_nothing_of_another_capability(office: World, act: Any, risk: Any) -> None:
    def archive(id: int) -> str:
        """Archive."""
        return "archived"

    def delete(id: int) -> str:
        """Delete."""
        return "deleted"

    offers = (offer(each, Traits(source="office", risk=risk)) for each in (archive, delete))
    made = office.executor(FREE, registry=Registry(*offers))
    assert act(made, asked("archive", id=1)).content == "archived"
    assert act(made, asked("delete", id=1)).content == "deleted"
    strict = office.executor(ASK, registry=Registry(offer(delete, Traits(source="office", risk="destructive"))))
    assert act(strict, asked("delete", "call-2", id=1)).status == "rejected"


# The pass that a gate gives the tool which it executes is for that very action.


def nesting(office: World, text: str, other: Any, done: list[Any]) -> Any:
    """Return an executor with a tool that asks for something else under the id of its own call."""

    async def mail(to: str) -> str:
        """Mail."""
        done.append(to)
        return str((await holder[0].act(other)).content) if len(done) == 1 else "done again"

    registry = Registry(offer(mail, Traits(source="office", risk="external")))
    holder = [office.executor(text, registry=registry, ledger=None)]
    return holder[0]


@pytest.mark.anyio
async def test_other_arguments_under_the_id_of_the_call_pass_the_pipeline(office: World) -> None:
    done: list[Any] = []
    rule = "    - {name: known, at: [pre_tool_call], when: 'args.to == \"eve\"', then: {decision: deny}}"
    text = FREE.replace("  rules:", f"  rules:\n{rule}")
    outcome = await nesting(office, text, asked("mail", to="eve"), done).act(asked("mail", to="ann"))
    assert done == ["ann"]
    assert "Not executed (policy_denied)" in outcome.content


@pytest.mark.anyio
async def test_another_caller_under_the_id_of_the_call_passes_the_pipeline(office: World) -> None:
    done: list[Any] = []
    other = asked("mail", context=replace(session(), policies=("unknown",)), to="ann")
    outcome = await nesting(office, FREE, other, done).act(asked("mail", to="ann"))
    assert done == ["ann"]
    assert "There is no policy" in outcome.content


@pytest.mark.anyio
async def test_the_pass_ends_with_the_action(office: World) -> None:
    done: list[Any] = []
    left: list[asyncio.Task[Any]] = []
    over = asyncio.Event()
    request = asked("mail", to="ann")

    async def again() -> Any:
        await over.wait()
        return await holder[0].act(request)

    async def mail(to: str) -> str:
        """Mail."""
        done.append(to)
        if not left:
            left.append(asyncio.create_task(again()))
        return f"sent to {to}"

    registry = Registry(offer(mail, Traits(source="office", risk="external")))
    holder = [office.executor(FREE, registry=registry)]
    assert (await holder[0].act(request)).content == "sent to ann"
    over.set()
    assert (await left[0]).content == "sent to ann"
    assert done == ["ann"]  # the ledger knew the result


# Approvals.


class Raced:
    """Approvals with which something else happens just before one is used up.

    Args:
        store: The approvals.
        before: What happens.
    """

    def __init__(self, store: Any, before: Any) -> None:
        self._store = store
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def consume(self, *given: str) -> bool:
        self._before()
        return bool(self._store.consume(*given))


@pytest.mark.parametrize("ledger", [True, False])
def test_two_executions_of_one_call_at_once_use_an_approval_once(office: World, ledger: bool) -> None:
    request = asked("send_mail", to="ann")
    options = {} if ledger else {"ledger": None}
    other = office.executor(**options)
    assert other.act_sync(request).reason == "approval_required"
    (waiting,) = office.approvals.newest("acme")
    office.approvals.vote("acme", waiting.id, CLEO, "approve")
    raced = Raced(office.approvals, lambda: other.act_sync(request))
    office.executor(**{**options, "approvals": raced}).act_sync(request)
    assert office.office.done == [("send_mail", "ann", "")]


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), ([0], [False]), ({"a": 1}, {"a": True})])
def test_a_change_of_the_policy_reaches_the_tool_whatever_python_calls_equal(before: Any, after: Any) -> None:
    call = {"name": "anything", "args": {"given": before}, "id": "1", "type": "tool_call"}
    seen = []
    handled = Handled(Request(call, {}, {}), lambda request: seen.append(request.tool_call["args"]))
    handled.execution.now({"given": after})
    assert json.dumps(seen) == json.dumps([{"given": after}])


# Calls beside each other.


class Runtime:
    """Values of a run, as a tool node has them."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.context = session()


class Request:
    """A call of a tool node."""

    def __init__(self, call: Any, state: Any, config: Any) -> None:
        self.tool_call, self.state, self.runtime = call, state, Runtime(config)

    def override(self, *, tool_call: Any) -> Any:
        return Request(tool_call, self.state, self.runtime.config)


@pytest.fixture
def slow(office: World) -> Iterator[tuple[World, asyncio.Event, asyncio.Event]]:
    entered, goes_on = asyncio.Event(), asyncio.Event()
    record = office.log.record_sync

    async def recording(event: Any, /, *, durable: bool = False) -> None:
        if not entered.is_set():
            entered.set()
            await goes_on.wait()
        record(event, durable=durable)

    office.log.record = recording  # type: ignore[method-assign]
    yield office, entered, goes_on


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_leaves_those_beside_it_alone(slow: Any) -> None:
    office, entered, goes_on = slow
    text = FREE.replace("  rules:", "  rules:\n    - {name: told, at: [pre_tool_call], then: {decision: warn}}")
    gate = ToolCallGate(office.executor(text))
    calls: Any = [{"name": "send_mail", "args": {"to": to}, "id": to, "type": "tool_call"} for to in ("ann", "bob")]
    state, config = [AIMessage("", tool_calls=calls)], {"configurable": {"__pregel_scratchpad": object()}}

    async def handler(request: Any) -> Any:
        return office.office.send_mail(**request.tool_call["args"])

    first, second = (asyncio.create_task(gate.awrap(Request(call, state, config), handler)) for call in calls)
    await asyncio.wait_for(entered.wait(), 60)
    second.cancel()
    await asyncio.wait([second], timeout=60)
    goes_on.set()
    await asyncio.wait_for(first, 60)
    assert second.cancelled()
    assert office.office.done == [("send_mail", "ann", "")]
