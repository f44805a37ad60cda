"""What goes between the parts of the pipeline: names of effects, decisions, rows of every call, what ends runs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from stategraph.agent.facts import Place as Where
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.ports import ToolBatch
from stategraph.errors import ConfigurationError, HandlerError
from stategraph.governance.actions import Reason
from stategraph.governance.approval.preview import preview
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.context import Principal
from stategraph.governance.gates.agents import ActionHost
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.pipeline.effect_keys import effect_key
from stategraph.governance.registry import Registry
from stategraph.governance.visible_text import visible, visible_line
from stategraph.testing import script
from stategraph.workers.ledger.machine import EffectState
from tests.governance.executing.kit import ANN, BOB, STRICT, World, asked, session
from tests.governance.executing.test_agents import APPROVE, THREAD, Place, calls, place, results

__all__ = ["place"]


# Names of effects.


@pytest.mark.parametrize(
    ("template", "one", "other"),
    [
        ("mail:{a}:{b}", {"a": "1:2", "b": "3"}, {"a": "1", "b": "2:3"}),
        ("mail:{a}{b}", {"a": 1, "b": 23}, {"a": 12, "b": 3}),
        ("mail:{a}", {"a": 1}, {"a": "1"}),
        ("mail:{a}", {"a": None}, {"a": "None"}),
        ("mail:{a}", {"a": ["x, y"]}, {"a": ["x", "y"]}),
    ],
)
def test_two_lists_of_values_never_make_one_key(template: str, one: Any, other: Any) -> None:
    assert effect_key(template, one) != effect_key(template, other)
    assert effect_key(template, one) == effect_key(template, json.loads(json.dumps(one)))


def test_a_key_names_what_it_needs_and_formats_what_it_says() -> None:
    assert effect_key("charge:{order}", {"order": "7"}) == 'charge:{order}["7"]'
    assert effect_key("{day:>3}", {"day": 5}) == effect_key("{day:>3}", {"day": "  5"})
    assert effect_key("{at[0]}", {"at": [4, 5]}) == "{at[0]}[4]"
    with pytest.raises(ValueError, match="needs the argument 'order'"):
        effect_key("charge:{order}", {})


# Calls under one id.


def test_a_refused_call_is_not_answered_with_the_result_of_another_one_under_its_id(office: World, act: Any) -> None:
    assert act(office.executor(), asked("send_mail", to="ann")).reason == Reason.APPROVAL_REQUIRED
    (request,) = office.approvals.newest("acme")
    office.approvals.vote("acme", request.id, BOB, "approve")
    assert act(office.executor(), asked("send_mail", to="ann")).content == "sent to ann"
    other = act(office.executor(STRICT), asked("send_mail", to="eve"))
    assert (other.status, other.reason) == ("rejected", "mail_is_off")
    assert "Another call with this id, and other arguments, is committed" in other.content
    assert "sent to ann" not in other.content
    same = act(office.executor(STRICT), asked("send_mail", to="ann"))
    assert (same.status, same.content) == ("completed", "sent to ann")


# Where it is called.


def test_a_sync_action_is_refused_in_the_thread_of_a_running_loop(office: World) -> None:
    executor = office.executor()

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"await executor\.act"):
            executor.act_sync(asked("look_up", order="7"))
        outcome = await asyncio.to_thread(executor.act_sync, asked("look_up", order="7"))
        assert outcome.content == "7: on its way"

    asyncio.run(main())
    assert office.office.done == [("look_up", "7")]


def test_calls_of_a_host_end_before_the_batch_does_if_one_fails(office: World) -> None:
    ended: list[str] = []

    async def slow(order: str) -> str:
        """Wait."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append(order)
            raise
        return order

    async def quick(order: str) -> str:
        """Do it."""
        return order

    registry = Registry(*(offer(each, Traits(source="office", risk="read")) for each in (slow, quick)))
    host = ActionHost(office.executor(None, registry=registry), context=session())
    batch_calls = [ToolCall(name=name, args={"order": name}, id=name, type="tool_call") for name in ("slow", "quick")]

    async def early(result: Any) -> None:
        raise HandlerError("the reader is gone")

    async def node(state: Any, config: RunnableConfig) -> Any:
        at = Where("support", "support", "tools", {})
        with pytest.raises(HandlerError):
            await host.execute(ToolBatch(at, batch_calls, config), early)
        assert ended == ["slow"]
        return {}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    asyncio.run(graph.ainvoke({"messages": []}))
    assert ended == ["slow"]


# Decisions are told once.


@pytest.mark.anyio
async def test_one_refund_is_decided_about_in_as_many_rows_as_decide_something_new(place: Place) -> None:
    run, first = await place.run(calls(("refund", {"order": "7", "cents": 500})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, second = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([APPROVE], THREAD)
    assert results(run) == [("refunded 500", "success")]
    assert len(first.log.of("policy.decided")) == 1
    assert len(second.log.of("policy.decided")) == 1  # another process decides anew, before it carries it out
    assert first.log.of("policy.decided")[0].data["point"] == "pre_tool_call"


def test_a_decision_that_the_log_could_not_take_is_told_when_it_is_made_again(office: World, act: Any) -> None:
    executor = office.executor()
    office.log.full = True
    assert act(executor, asked("refund", order="7", cents=500)).reason == Reason.AUDIT_UNAVAILABLE
    office.log.full = False
    act(executor, asked("refund", order="7", cents=500))
    act(executor, asked("refund", order="7", cents=500))
    act(executor, asked("refund", order="7", cents=600))
    assert [each.data["rule"] for each in office.log.of("policy.decided")] == ["refunds", "refunds"]


# Every call leaves a row.


@pytest.mark.parametrize(
    "arguments",
    [
        {"order": "7", "cents": float("nan")},
        {"order": "7", "cents": float("inf")},
        {"order": b"\xff", "cents": 5},
        {"order": "\ud800", "cents": 5},
        {"order": object(), "cents": 5},
        {"order": "7", "cents": 10**400},
        {"order": {1: {2}}, "cents": 5},
    ],
)
def test_arguments_that_are_no_json_are_refused_and_leave_a_row(
    office: World, act: Any, tmp_path: Any, arguments: Any
) -> None:
    outcome = act(office.executor(), asked("refund", **arguments))
    assert outcome.status == "rejected"
    (rejected,) = office.log.of("action.rejected")
    assert rejected.data["reason"] == outcome.reason
    json.dumps(rejected.data, allow_nan=False)
    with AuditLog(f"sqlite:///{tmp_path / 'audit.db'}") as log:
        log.record_sync(rejected, durable=True)
    assert office.office.done == []


@pytest.mark.anyio
async def test_a_call_that_cannot_be_read_leaves_a_row(place: Place) -> None:
    good = script.call("look_up", {"order": "7"}, id="good")
    message = script.reply("", good, script.call("refund", '{"order": ', id="bad"))
    run, made = await place.run(message, "Done.")
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (rejected,) = made.log.of("action.rejected")
    assert (rejected.call_id, rejected.capability_id) == ("bad", "refund")
    assert rejected.data["reason"] == Reason.ARGUMENTS_INVALID
    assert "cannot be read" in rejected.data["message"]
    assert made.office.done == [("look_up", "7")]


def test_a_tool_nodes_call_that_cannot_be_read_leaves_a_row(office: World) -> None:
    gate = ToolCallGate(office.executor(), context=session())

    def look_up(order: str) -> str:
        """Look an order up."""
        return office.office.look_up(order)

    node = ToolNode([look_up], wrap_tool_call=gate.wrap)
    graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()
    good = [ToolCall(name="look_up", args={"order": n}, id=n, type="tool_call") for n in "12"]
    bad = [invalid_tool_call(name="refund", args="{", id="bad", error="cut off")]
    state = graph.invoke({"messages": [AIMessage("", tool_calls=good, invalid_tool_calls=bad)]})
    assert sum(isinstance(each, ToolMessage) for each in state["messages"]) == 2
    (rejected,) = office.log.of("action.rejected")
    assert rejected.call_id == "bad" and "cut off" in rejected.data["message"]


# What people see.


@pytest.mark.parametrize(
    "character", ["\u202e", "\u2066", "\u200b", "\x1b", "\x07", "\u2028", "\ufeff", "\U000e0041", "\ufe0f"]
)
def test_what_is_invisible_is_written_out(character: str) -> None:
    shown = preview({f"to{character}": f"a{character}b", "body": "zeile 1\nline 2 \u00fc \u4e2d"})
    assert character not in json.dumps(shown, ensure_ascii=False)
    assert shown["body"] == "zeile 1\nline 2 \u00fc \u4e2d"
    (name,) = shown.keys() - {"body"}
    assert "\\" in name and "\\" in str(shown[name])
    assert "\n" not in visible_line("a\nb") and visible("a\nb") == "a\nb"


@pytest.mark.anyio
async def test_a_question_and_the_log_show_what_is_invisible_and_the_call_is_as_it_was(place: Place) -> None:
    to = "ann\u202emoc.elpmaxe@"
    run, first = await place.run(calls(("send_mail", {"to": to})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (question,) = run.get_interrupts()
    assert question.payload["action_requests"][0]["arguments"] == {"to": r"ann\u202emoc.elpmaxe@"}
    assert all("\u202e" not in json.dumps(dict(each.data), ensure_ascii=False) for each in first.log.events)
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([APPROVE], THREAD)
    assert made.office.done == [("send_mail", to, "")]


@pytest.mark.anyio
async def test_a_question_and_the_log_show_what_is_invisible_in_votes(place: Place) -> None:
    run, first = await place.run(calls(("refund", {"order": "7", "cents": 9000})))  # needs two people
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    eve = Principal("acme", "eve\u202e", frozenset({"security"}))
    run, _ = await place.run("Done.", context=session(ANN, approver=eve))
    await run.resume([APPROVE], THREAD)
    (question,) = run.get_interrupts()
    assert question.payload["action_requests"][0]["approval"]["approved_by"] == [r"eve\u202e"]
    (waiting,) = first.approvals.newest("acme")
    first.approvals.vote("acme", waiting.id, eve, "approve", "as\x1b[2J agreed")  # replaces that vote
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([APPROVE], THREAD)
    (granted,) = made.log.of("approval.granted")
    shown = {"approver": r"eve\u202e", "word": "approve", "comment": r"as\u001b[2J agreed"}
    assert shown in granted.data["votes"]


# What ends a run.


@pytest.mark.parametrize("error", [HandlerError("the reader is gone"), LimitReachedError("max_tokens", 5, 6)])
@pytest.mark.parametrize("kind", ["agent", "function"])
def test_what_ends_the_run_within_an_action_is_no_result(office: World, act: Any, error: Any, kind: Any) -> None:
    office.office.raises = error
    made = offer(office.office.send_mail, Traits(source="office", risk="external"))
    made = replace(
        made, capability=made.capability.model_copy(update={"kind": kind, "id": f"{kind}:office/send_mail@1"})
    )
    executor = office.executor(None, registry=Registry(made))
    with pytest.raises(type(error)):
        act(executor, asked("send_mail", to="ann"))
    goes_on = kind == "agent"
    assert office.log.types == ["action.started", "action.failed" if goes_on else "action.in_doubt"]
    row = office.ledger.book.read("acme", office.log.events[0].data["effect"])
    assert row is not None and row.state is (EffectState.FAILED if goes_on else EffectState.IN_DOUBT)
    office.office.raises = None
    again = act(executor, asked("send_mail", to="ann"))
    assert again.status == ("completed" if goes_on else "in_doubt")
