"""Agents that act through a gate: they pause for people, go on elsewhere, and do once what was approved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import InvalidAnswerError
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.labels import SqlLabels
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.executing.kit import ANN, ASK, BOB, CLEO, FLOW, STRICT, World, session, world

pytestmark = pytest.mark.anyio

THREAD: Any = {"configurable": {"thread_id": "t"}}
APPROVE, REJECT = {"type": "approve"}, {"type": "reject", "message": "not today"}


def calls(*wanted: tuple[str, dict[str, Any]]) -> Any:
    return script.reply("", *(script.call(name, args, id=f"call_{n}") for n, (name, args) in enumerate(wanted, 1)))


def ask() -> str:
    """Ask the user."""
    return str(interrupt({"ask": "what now?"}))


def tools_of(made: World) -> list[BaseTool]:
    office = made.office
    return [tool(each) for each in (office.look_up, office.send_mail, office.refund, office.drop_all, ask)]


class Place:
    """Worlds in one folder, one after the other, as processes are, and one saver."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack, self.saver = folder, stack, in_memory_saver()
        self.clock_now = 1_000_000.0

    def world(self) -> World:
        return self.stack.enter_context(world(self.folder, lambda: self.clock_now))

    async def run(
        self,
        *replies: Any,
        context: RuntimeSessionContext | None = None,
        text: str = ASK,
        human_in_the_loop: bool = True,
        gated: bool = True,
        tools: Sequence[BaseTool] = (),
        **options: Any,
    ) -> tuple[Run, World]:
        """A run in a process of its own, and its world."""
        made = self.world()
        if tools:
            offers = [offer(each, Traits(source="office", risk="write"), in_place=True) for each in tools]
            options.setdefault("registry", Registry(*offers))
        executor = made.executor(text, **options)
        model = ScriptedChatModel(replies=list(replies))
        agent = {"agent_id": "support", "model": model, "tools": [*(tools or tools_of(made))]}
        run = await Run.create(
            {
                "run_id": "r",
                "graph_config": {"agents": [agent], "compile_options": {"checkpointer": self.saver}},
                "human_in_the_loop": {"enabled": human_in_the_loop},
                "tool_gates": [ActionGate(executor)] if gated else [],
                "session": Session(context or session()),
            }
        )
        return run, made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def results(run: Run) -> list[tuple[str, str]]:
    return [(each.content, each.status) for each in run.get_run_messages() if isinstance(each, ToolMessage)]


BATCH = calls(
    ("look_up", {"order": "7"}),
    ("send_mail", {"to": "ann@example.com", "body": "hello"}),
    ("refund", {"order": "7", "cents": 500}),
    ("drop_all", {}),
)


async def test_all_calls_of_an_answer_are_asked_about_together_and_answered_after_a_restart(place: Place) -> None:
    run, first = await place.run(BATCH)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (asked,) = run.get_interrupts()
    requests = asked.payload["action_requests"]
    assert asked.payload["type"] == "tool_approval"
    assert [(each["tool_call_id"], each["name"], each["arguments"]) for each in requests] == [
        ("call_2", "send_mail", {"to": "ann@example.com", "body": "hello"}),
        ("call_3", "refund", {"order": "7", "cents": 500}),
    ]
    assert requests[1]["description"] == "large_refund"
    assert requests[1]["approval"]["approvers"] == ["role:security"]
    assert first.office.done == []  # nothing runs before all are decided about

    bob = session(ANN, approver=BOB)
    run, second = await place.run("Done.", context=bob)
    await run.resume([APPROVE, REJECT], THREAD)
    denied = "Not executed (approval_denied): 'bob' denied it: not today."
    texts = results(run)
    assert texts[:2] == [("7: on its way", "success"), ("sent to ann@example.com", "success")]
    assert texts[2][0].startswith(denied)
    assert texts[3][0].startswith("Not executed (denied_by_default): ")
    assert [each[1] for each in texts] == ["success", "success", "error", "error"]
    assert second.office.done == [("look_up", "7"), ("send_mail", "ann@example.com", "hello")]
    told = [*first.log.types, *second.log.types]
    assert told.count("approval.requested") == 2
    assert told.count("approval.consumed") == told.count("approval.granted") == told.count("approval.denied") == 1
    (granted,) = second.log.of("approval.granted")
    assert (granted.principal, granted.capability_id) == ("acme/bob", "function:office/send_mail@1")
    assert (granted.decision, granted.data["requesters"]) == ("escalate", ["ann"])
    assert told.count("action.started") == told.count("action.completed") == 2
    assert told.count("action.rejected") == 2


async def test_an_answer_that_a_tighter_policy_overtakes_leaves_no_request_open(place: Place) -> None:
    run, _ = await place.run(calls(("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, second = await place.run("Done.", context=session(ANN, approver=BOB), text=STRICT)
    await run.resume([APPROVE], THREAD)
    assert results(run)[0][0].startswith("Not executed (mail_is_off): ")
    assert [str(each.state) for each in second.approvals.newest("acme")] == ["superseded"]
    assert second.office.done == []


async def test_the_requester_may_not_approve_and_the_question_stays_open(place: Place) -> None:
    ask = calls(("send_mail", {"to": "ann"}))
    run, _ = await place.run(ask)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    with pytest.raises(InvalidAnswerError, match="may not approve it without another person"):
        await run.resume([APPROVE], THREAD)
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([APPROVE], THREAD)
    assert made.office.done == [("send_mail", "ann", "")]


async def test_the_user_of_a_chat_may_approve_where_the_host_says_so(place: Place) -> None:
    run, _ = await place.run(calls(("send_mail", {"to": "ann"})), self_approval=True)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, made = await place.run("Done.", self_approval=True)
    await run.resume([APPROVE], THREAD)
    assert made.office.done == [("send_mail", "ann", "")]


async def test_two_people_are_asked_one_after_the_other(place: Place) -> None:
    run, _ = await place.run(calls(("refund", {"order": "7", "cents": 9000})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([APPROVE], THREAD)
    (asked,) = run.get_interrupts()
    assert asked.payload["action_requests"][0]["approval"]["approved_by"] == ["bob"]
    assert made.office.done == []
    with pytest.raises(InvalidAnswerError, match="none of those who may decide"):
        run, _ = await place.run("Done.", context=session(ANN, approver=ANN.__class__("acme", "dan")))
        await run.resume([APPROVE], THREAD)
    run, made = await place.run("Done.", context=session(ANN, approver=CLEO))
    await run.resume([APPROVE], THREAD)
    assert run.get_interrupts() == []
    assert made.office.done == [("refund", "7", 9000)]


async def test_edited_arguments_are_decided_about_anew(place: Place) -> None:
    run, _ = await place.run(calls(("refund", {"order": "7", "cents": 500}), ("send_mail", {"to": "eve", "body": "x"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    mail = {"name": "send_mail", "args": {"to": "ann", "body": "x"}}
    edits = [
        {"type": "edit", "edited_action": {"name": "refund", "args": {"order": "7", "cents": 9000}}},
        {"type": "edit", "edited_action": mail},
    ]
    await run.resume({"decisions": edits}, THREAD)
    (asked,) = run.get_interrupts()  # for so much two people are needed
    assert [each["arguments"] for each in asked.payload["action_requests"]] == [{"order": "7", "cents": 9000}]
    assert made.office.done == []
    run, made = await place.run("Done.", context=session(ANN, approver=CLEO))
    await run.resume([APPROVE], THREAD)
    assert sorted(made.office.done) == [("refund", "7", 9000), ("send_mail", "ann", "x")]


async def test_a_person_may_answer_in_place_of_the_tool(place: Place) -> None:
    run, _ = await place.run(calls(("send_mail", {"to": "eve"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([{"type": "respond", "message": "I called her instead."}], THREAD)
    assert results(run) == [("I called her instead.", "success")]
    assert made.office.done == []


async def test_what_was_approved_elsewhere_goes_on_whoever_resumes(place: Place) -> None:
    run, made = await place.run(calls(("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (request,) = made.approvals.newest("acme")
    made.approvals.vote("acme", request.id, BOB, "approve")
    run, made = await place.run("Done.")
    await run.resume([APPROVE], THREAD)
    assert made.office.done == [("send_mail", "ann", "")]


# Held while the world changes.


async def test_a_policy_that_was_tightened_meanwhile_denies(place: Place) -> None:
    run, _ = await place.run(calls(("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    run, made = await place.run("Done.", context=session(ANN, approver=BOB), text=STRICT)
    await run.resume([APPROVE], THREAD)
    assert results(run)[0][0].startswith("Not executed (mail_is_off): ")
    assert made.office.done == []


async def test_a_policy_that_changed_meanwhile_asks_anew(place: Place) -> None:
    run, _ = await place.run(calls(("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    changed = ASK.replace("args.cents > 100", "args.cents > 50")
    run, made = await place.run("Done.", context=session(ANN, approver=BOB), text=changed)
    await run.resume([APPROVE], THREAD)
    assert len(run.get_interrupts()) == 1
    assert made.office.done == []
    assert made.log.of("approval.superseded")[0].data["different"] == ["policy"]
    run, made = await place.run("Done.", context=session(ANN, approver=BOB), text=changed)
    await run.resume([APPROVE], THREAD)
    assert made.office.done == [("send_mail", "ann", "")]
    states = [str(each.state) for each in made.approvals.newest("acme")]
    assert sorted(states) == ["consumed", "superseded"]


async def test_a_capability_that_changed_meanwhile_asks_anew_and_one_that_is_gone_is_refused(place: Place) -> None:
    run, _ = await place.run(calls(("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    bob = session(ANN, approver=BOB)
    run, made = await place.run("Done.", context=bob, traits={"description": "Sends a mail to anyone"})
    await run.resume([APPROVE], THREAD)
    assert len(run.get_interrupts()) == 1
    assert "capability" in made.log.of("approval.superseded")[0].data["different"]
    run, made = await place.run("Done.", context=bob, registry=Registry())
    await run.resume([APPROVE], THREAD)
    assert results(run)[0][0].startswith("Not executed (capability_unknown): ")


async def test_an_approval_that_expired_before_the_restart_is_asked_for_again(place: Place) -> None:
    run, made = await place.run(calls(("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (request,) = made.approvals.newest("acme")
    made.approvals.vote("acme", request.id, BOB, "approve")
    place.clock_now += 16 * 60
    run, made = await place.run("Done.", context=session(ANN, approver=BOB))
    await run.resume([APPROVE], THREAD)
    assert len(run.get_interrupts()) == 1
    assert made.office.done == []
    assert "approval.expired" in made.log.types


async def test_what_a_model_has_read_counts_for_its_later_calls_in_another_process_too(place: Place) -> None:
    mail = calls(("send_mail", {"to": "ann"}))
    before, after = (
        place.stack.enter_context(closing(SqlLabels.from_url(f"sqlite:///{place.folder / 'labels.db'}"))) for _ in "ab"
    )
    run, first = await place.run(mail, calls(("look_up", {"order": "7"})), "Read it.", text=FLOW, labels=before)
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    assert first.office.done == [("send_mail", "ann", ""), ("look_up", "7")]
    run, second = await place.run(mail, "Done.", text=FLOW, labels=after)
    await run.process_stream({"messages": [("user", "now send it")]}, THREAD)
    assert results(run)[-1][0].startswith("Not executed (secret_read_before): ")
    assert second.office.done == []


async def test_two_equal_calls_of_one_answer_need_an_approval_each(place: Place) -> None:
    run, made = await place.run(calls(("send_mail", {"to": "ann"}), ("send_mail", {"to": "ann"})))
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    (asked,) = run.get_interrupts()
    ids = {each["tool_call_id"]: each["approval"]["id"] for each in asked.payload["action_requests"]}
    made.approvals.vote("acme", ids["call_1"], BOB, "approve")
    made.approvals.supersede("acme", ids["call_2"])
    bob = session(ANN, approver=BOB)
    run, made = await place.run("Done.", context=bob)
    await run.resume([APPROVE, APPROVE], THREAD)
    (asked,) = run.get_interrupts()
    assert [each["tool_call_id"] for each in asked.payload["action_requests"]] == ["call_2"]
    assert made.office.done == []
    run, made = await place.run("Done.", context=bob)
    await run.resume([REJECT], THREAD)
    assert made.office.done == [("send_mail", "ann", "")]
