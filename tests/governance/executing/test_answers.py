"""Answers of people in runs: which question one is for, what is refused at the answer, and going on without one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from stategraph import Command
from stategraph.constants import INTERRUPT
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import InvalidAnswerError
from stategraph.governance.actions import Reason
from stategraph.governance.capabilities.functions import Traits, offer
from stategraph.governance.executor import action_of
from stategraph.governance.registry import Registry
from stategraph.prebuilt.steps import atake
from stategraph.workers.ledger.effects import EffectFailed
from tests.governance.executing.kit import ANN, BOB, World, asked, session
from tests.governance.executing.test_agents import APPROVE, REJECT, THREAD, Place, calls, place, results

__all__ = ["place"]

MINE = session(ANN, approver=BOB)


def edit(**args: Any) -> Any:
    return {"type": "edit", "edited_action": {"name": "refund", "args": args}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"order": "7", "cents": "many"}, "'many' is not of type 'integer'"),
        ({"order": "7"}, "'cents' is a required property"),
        ({"order": "7", "cents": float("nan")}, "cents"),
    ],
)
async def test_an_edit_that_does_not_fit_is_refused_at_the_answer_and_the_question_stays_open(
    place: Place, args: Any, said: str
) -> None:
    run, _ = await place.run(calls(("refund", {"order": "7", "cents": 500})), context=MINE)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    with pytest.raises(InvalidAnswerError, match=said):
        await run.resume([edit(**args)], THREAD)
    run, made = await place.run("Done.", context=MINE)  # in another process
    with pytest.raises(InvalidAnswerError, match=said):
        await run.resume([edit(**args)], THREAD)
    assert [str(each.state) for each in made.approvals.newest("acme")] == ["requested"]
    run, made = await place.run("Done.", context=MINE)
    await run.resume([edit(order="7", cents=300)], THREAD)
    assert made.office.done == [("refund", "7", 300)]
    assert results(run) == [("refunded 300", "success")]


@pytest.mark.anyio
@pytest.mark.parametrize("word", ["approve", "deny"])
async def test_what_was_decided_elsewhere_goes_on_without_an_answer(place: Place, word: Any) -> None:
    run, made = await place.run(calls(("send_mail", {"to": "ann"})), human_in_the_loop=False)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, made = await place.run("Done.", human_in_the_loop=False)
    await run.resume(config=THREAD)  # too early: it is asked again
    assert len(run.get_interrupts()) == 1
    (request,) = made.approvals.newest("acme")
    made.approvals.vote("acme", request.id, BOB, word)
    run, made = await place.run("Done.", human_in_the_loop=False)
    await run.resume(config=THREAD)
    assert made.office.done == ([("send_mail", "ann", "")] if word == "approve" else [])
    assert run.get_interrupts() == []


@pytest.mark.anyio
async def test_a_question_that_nobody_can_answer_elsewhere_needs_an_answer(place: Place) -> None:
    run, _ = await place.run(calls(("ask", {})), gated=False)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    with pytest.raises(InvalidAnswerError, match="without an answer"):
        await run.resume(config=THREAD)


@pytest.mark.anyio
async def test_people_are_told_who_asks_by_which_agent_and_under_which_rule(place: Place) -> None:
    run, _ = await place.run(calls(("refund", {"order": "7", "cents": 500})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (question,) = run.get_interrupts()
    shown = question.payload["action_requests"][0]["approval"]
    assert (shown["requesters"], shown["agent"], shown["rule"]) == (["ann"], "support", "refunds")


def act(office: World, call_id: str, **options: Any) -> Any:
    return office.executor(**options).act(asked("refund", call_id, MINE, order=call_id, cents=500))


def graph_of(node: Any) -> Any:
    return StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(InMemorySaver())


@pytest.mark.parametrize("first", ["plain", "governed"])
@pytest.mark.parametrize("then", ["plain", "governed"])
@pytest.mark.parametrize("named", [False, True])
def test_an_answer_counts_for_the_question_that_was_asked_in_whichever_order_the_node_asks(
    office: World, first: str, then: str, named: bool
) -> None:
    heard: list[Any] = []
    orders = [first, then, then, then, then]

    async def node(state: Any) -> Any:
        async def plain() -> None:
            heard.append(interrupt({"ask": "plain"}))

        async def governed() -> None:
            assert (await act(office, "1")).status == "completed"

        steps = {"plain": plain, "governed": governed}
        begin = orders.pop(0)
        await steps.pop(begin)()
        for step in steps.values():
            await step()
        return {}

    graph = graph_of(node)
    answers = {"plain": "yes, plain", "approval": [APPROVE]}

    async def main() -> Any:
        state = await graph.ainvoke({"messages": []}, THREAD)
        while state.get(INTERRUPT):
            (one,) = state[INTERRUPT]
            answer = answers["approval" if "action_requests" in one.value else "plain"]
            try:
                state = await graph.ainvoke(Command(resume={one.id: answer} if named else answer), THREAD)
            except RuntimeError as error:  # the question before still waits: the engine takes no answer without an id
                assert "must specify the interrupt id" in str(error)
                state = await graph.ainvoke(Command(resume={one.id: answer}), THREAD)
        return state

    assert not asyncio.run(main()).get(INTERRUPT)
    assert set(heard) == {"yes, plain"}
    assert office.office.done == [("refund", "1", 500)]


def test_questions_beside_each_other_are_answered_each_by_its_own_answer(office: World) -> None:
    heard: list[Any] = []
    orders = [False, True, False]

    async def node(state: Any) -> Any:
        async def plain() -> None:
            heard.append(interrupt({"ask": "plain"}))

        works = [plain(), act(office, "1")]
        if orders.pop():
            works.reverse()
        ends = await asyncio.gather(*works, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return {}

    graph = graph_of(node)

    async def main() -> Any:
        state = await graph.ainvoke({"messages": []}, THREAD)
        while state.get(INTERRUPT) and orders:
            answers = {
                one.id: [REJECT] if "action_requests" in one.value else {"type": "approve"} for one in state[INTERRUPT]
            }
            state = await graph.ainvoke(Command(resume=answers), THREAD)
        return state

    asyncio.run(main())
    assert office.office.done == []  # the approval was an answer to the plain question
    assert heard[-1:] in ([], [{"type": "approve"}])


def test_two_calls_of_one_answer_with_one_id_are_both_refused(office: World) -> None:
    executor = office.executor()
    requests = [
        asked("refund", "1", MINE, order="7", cents=500),
        asked("refund", "1", MINE, order="8", cents=500),
        asked("look_up", "2", MINE, order="7"),
    ]
    cleared = asyncio.run(atake(executor.clearing([action_of(each, None) for each in requests])))
    assert [each.kind for each in cleared] == ["answer", "answer", "pass"]
    assert [each.reason for each in cleared] == [Reason.CALL_ID_REUSED, Reason.CALL_ID_REUSED, None]
    assert "2 calls of this answer have the id '1'" in cleared[0].text
    assert office.approvals.newest("acme") == []
    assert office.log.types.count("action.rejected") == 2


ALL_ASK = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: all}
spec: {defaults: {read: escalate, write: escalate, destructive: escalate, external: escalate}}
"""


@pytest.mark.parametrize(("name", "args"), [("look_up", {"order": "7"}), ("send_mail", {"to": "ann"})])
@pytest.mark.parametrize("with_ledger", [False, True])
def test_an_approval_is_for_one_dispatch_whatever_the_risk(
    office: World, name: str, args: Any, with_ledger: bool
) -> None:
    options: dict[str, Any] = {} if with_ledger else {"ledger": None}
    idempotent = {"idempotent": name == "send_mail" and not with_ledger}
    executor = office.executor(ALL_ASK, traits=idempotent, **options)
    assert executor.act_sync(asked(name, "1", MINE, **args)).reason == Reason.APPROVAL_REQUIRED
    (request,) = office.approvals.newest("acme")
    office.approvals.vote("acme", request.id, BOB, "approve")
    assert executor.act_sync(asked(name, "1", MINE, **args)).status == "completed"
    again = executor.act_sync(asked(name, "1", MINE, **args))
    assert len(office.office.done) == 1
    replayed = with_ledger and name == "send_mail"
    assert again.status == ("completed" if replayed else "rejected")
    assert len(office.approvals.newest("acme")) == (1 if replayed else 2)


def test_an_action_that_may_be_tried_again_needs_another_approval(office: World) -> None:
    executor = office.executor(ALL_ASK)
    executor.act_sync(asked("send_mail", "1", MINE, to="ann"))
    office.approvals.vote("acme", office.approvals.newest("acme")[0].id, BOB, "approve")
    office.office.raises = EffectFailed("later", retryable=True)
    assert executor.act_sync(asked("send_mail", "1", MINE, to="ann")).status == "failed"
    office.office.raises = None
    assert executor.act_sync(asked("send_mail", "1", MINE, to="ann")).reason == Reason.APPROVAL_REQUIRED
    assert office.office.done == []


@pytest.mark.parametrize("risk", ["read", "write"])
def test_an_action_that_pauses_in_the_middle_goes_on_under_its_approval(office: World, risk: Any) -> None:
    def question() -> str:
        """Ask."""
        return str(interrupt({"ask": "plain"}))

    registry = Registry(offer(question, Traits(source="office", risk=risk)))

    async def node(state: Any) -> Any:
        outcome = await office.executor(ALL_ASK, registry=registry).act(asked("question", "1", MINE))
        assert outcome.content == "blue"
        return {}

    graph = graph_of(node)

    async def main() -> list[str]:
        shown = []
        state = await graph.ainvoke({"messages": []}, THREAD)
        while state.get(INTERRUPT):
            (one,) = state[INTERRUPT]
            shown.append("approval" if "action_requests" in one.value else "plain")
            state = await graph.ainvoke(Command(resume=[APPROVE] if shown[-1] == "approval" else "blue"), THREAD)
        return shown

    assert asyncio.run(main()) == ["approval", "plain"]
    assert [str(each.state) for each in office.approvals.newest("acme")] == ["consumed"]
