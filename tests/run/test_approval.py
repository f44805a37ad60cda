"""A person decides about tool calls, and answers questions of tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError, InvalidAnswerError, UnknownInterruptError
from stategraph.run.abort import AbortController
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.questions import Question, ask_user_question
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command
from tests.run.hosting import THREAD, WEATHER, Host, ask, calls, get_weather, requests_of, run_of, sunny

pytestmark = pytest.mark.anyio

HITL = {"human_in_the_loop": {"enabled": True}}
ONE = (script.reply("Checking.", script.call("get_weather", {"city": "Rome"}, id="call_1")), "Done.")
TWO = (calls(("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})), "Done.")


def asking(**output: Any) -> HookRegistry:
    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda happened: {"decision": "ask", "reason": "needs approval", **output})
    return hooks


async def paused(*replies: Any, host: Host | None = None, hooks: HookRegistry | None = None, **config: Any) -> Run:
    host = host or Host(on_tool_execute=sunny)
    agent = {"tool_definitions": [WEATHER]}
    run = await run_of(*replies, host=host, agent=agent, hooks=hooks or asking(), **HITL, **config)
    assert await run.process_stream(ask("weather?"), THREAD) == []
    return run


async def test_a_call_that_needs_approval_pauses_the_run_with_its_step_open() -> None:
    host = Host(on_tool_execute=sunny)
    run = await paused(*ONE, host=host)
    waiting = run.get_interrupt()
    assert waiting is not None
    assert waiting.payload == {
        "type": "tool_approval",
        "hook_session_id": "r",
        "action_requests": [
            {
                "tool_call_id": "call_1",
                "name": "get_weather",
                "arguments": {"city": "Rome"},
                "description": "needs approval",
            }
        ],
        "review_configs": [
            {
                "action_name": "get_weather",
                "tool_call_id": "call_1",
                "allowed_decisions": ["approve", "reject", "edit", "respond"],
            }
        ],
    }
    assert (waiting.thread_id, waiting.checkpoint_ns) == ("t", "")
    assert waiting.checkpoint_id
    assert "on_tool_execute" not in [event for event, _ in host.rows]
    assert host.steps()[-1] == ("on_run_step", (1, "tool_calls"))
    assert run.graph.get_run_steps()[1]["status"] == "in_progress"


async def test_a_run_in_another_process_lists_the_steps_that_the_one_before_had_closed() -> None:
    saver = in_memory_saver()
    run = await paused(*ONE, compile_options={"checkpointer": saver})
    before = run.graph.get_run_steps()
    assert [step["status"] for step in before] == ["completed", "in_progress"]
    host, agent = Host(on_tool_execute=sunny), {"tool_definitions": [WEATHER]}
    options = {"compile_options": {"checkpointer": saver}, "skip_cleanup": True}
    other = await run_of("Done.", host=host, agent=agent, **options, **HITL)
    await other.resume([{"type": "approve"}], THREAD)
    after = other.graph.get_run_steps()
    assert [step["id"] for step in after[:2]] == [step["id"] for step in before]
    assert after[0] == before[0]
    assert [step["status"] for step in after] == ["completed"] * 3
    assert [step["index"] for step in after] == [0, 1, 2]


@pytest.mark.parametrize(
    ("decision", "output"),
    [({"type": "approve"}, "Sunny in Rome"), ({"type": "reject", "reason": "no way"}, "Blocked: no way")],
)
async def test_a_run_without_hooks_goes_on_with_what_another_one_asked(decision: Any, output: str) -> None:
    saver = in_memory_saver()
    await paused(*ONE, compile_options={"checkpointer": saver})
    host, agent = Host(on_tool_execute=sunny), {"tool_definitions": [WEATHER]}
    run = await run_of("Done.", host=host, agent=agent, compile_options={"checkpointer": saver}, **HITL)
    await run.resume([decision], THREAD)
    result, answer = run.get_run_messages()[-2:]
    assert isinstance(result, ToolMessage)
    assert (result.content, answer.content) == (output, "Done.")
    assert ("on_tool_execute" in [event for event, _ in host.rows]) == (decision["type"] == "approve")


@pytest.mark.parametrize(
    ("decision", "output", "status", "arguments"),
    [
        ({"type": "approve"}, "Sunny in Rome", "success", '{"city":"Rome"}'),
        ({"type": "reject", "reason": "no way"}, "Blocked: no way", "error", '{"city":"Rome"}'),
        ({"type": "reject"}, "Blocked: A person rejected this call.", "error", '{"city":"Rome"}'),
        ({"type": "edit", "updatedInput": {"city": "Bonn"}}, "Sunny in Bonn", "success", '{"city":"Bonn"}'),
        ({"type": "edit", "updated_input": {"city": "Bonn"}}, "Sunny in Bonn", "success", '{"city":"Bonn"}'),
        ({"type": "respond", "responseText": "Rain."}, "Rain.", "success", '{"city":"Rome"}'),
    ],
)
async def test_a_decision_settles_the_call_under_the_same_step(
    decision: Any, output: str, status: str, arguments: str
) -> None:
    host = Host(on_tool_execute=sunny)
    run = await paused(*ONE, host=host)
    step_id = run.graph.tool_call_step_ids["call_1"]
    before = len(host.rows)
    parts = await run.resume([decision], THREAD)
    result = run.get_run_messages()[1]
    assert isinstance(result, ToolMessage)
    assert (result.content, result.status) == (output, status)
    (completed,) = [data["result"] for event, data in host.rows[before:] if event == "on_run_step_completed"]
    assert (completed["id"], completed["index"]) == (step_id, 0)
    assert (completed["tool_call"]["args"], completed["tool_call"]["output"]) == (arguments, output)
    opened = [data["index"] for event, data in host.rows[before:] if event == "on_run_step"]
    assert opened == [2]
    assert [part["type"] for part in parts or ()] == ["text", "tool_call", "text"]
    assert [type(message) for message in run.get_run_messages()] == [AIMessage, ToolMessage, AIMessage]
    assert run.get_interrupts() == []
    executed = "on_tool_execute" in [event for event, _ in host.rows]
    assert executed == (decision["type"] in ("approve", "edit"))


@pytest.mark.parametrize(
    "answer",
    [
        [{"type": "approve"}, {"type": "reject", "reason": "far"}],
        {"call_2": {"type": "reject", "reason": "far"}, "call_1": {"type": "approve"}},
    ],
)
async def test_calls_of_one_answer_are_asked_about_together_and_decided_each_for_itself(answer: Any) -> None:
    run = await paused(*TWO)
    (waiting,) = run.get_interrupts()
    assert [each["tool_call_id"] for each in waiting.payload["action_requests"]] == ["call_1", "call_2"]
    await run.resume(answer, THREAD)
    results = [message.content for message in run.get_run_messages() if isinstance(message, ToolMessage)]
    assert results == ["Sunny in Rome", "Blocked: far"]


async def test_one_request_may_be_answered_by_a_bare_decision_and_by_the_interrupts_id() -> None:
    for wrap in (
        lambda run: {"type": "approve"},
        lambda run: {run.get_interrupt().interrupt_id: [{"type": "approve"}]},
    ):
        run = await paused(*ONE)
        await run.resume(wrap(run), THREAD)
        assert run.get_run_messages()[1].content == "Sunny in Rome"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([{"type": "aprove"}, {"type": "approve"}], "call_1 of 'get_weather' is 'aprove'; allowed: approve, reject"),
        ([{"type": "approve"}], "2 tool calls wait for approval .* and 1 decisions were given"),
        ({"call_1": {"type": "approve"}}, "no decision about call_2"),
        (
            {"call_1": {"type": "approve"}, "call_2": {"type": "approve"}, "x": {}},
            "decisions about x, which do not wait",
        ),
        ("yes", "is str; expected a list of decisions"),
        ([{"type": "approve"}, {"type": "edit"}], "call_2 .* is incomplete: .*updated_input"),
        ([{"type": "approve"}, {"type": "respond", "text": "x"}], "call_2 .* is incomplete"),
        ([{"type": "approve"}, "approve"], "of type str without a 'type'"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open(answer: Any, problem: str) -> None:
    host = Host(on_tool_execute=sunny)
    run = await paused(*TWO, host=host)
    before = len(host.rows)
    with pytest.raises(InvalidAnswerError, match=problem):
        await run.resume(answer, THREAD)
    with pytest.raises(InvalidAnswerError, match=problem):
        await run.process_stream(Command(resume=answer), THREAD)
    assert len(host.rows) == before
    assert run.get_interrupt() is not None
    await run.resume([{"type": "approve"}, {"type": "approve"}], THREAD)
    assert [type(message) for message in run.get_run_messages()] == [AIMessage, ToolMessage, ToolMessage, AIMessage]


async def test_an_answer_given_to_the_graph_itself_is_checked_as_well_and_not_used_up() -> None:
    run = await paused(*ONE)
    (waiting,) = run.get_interrupts()
    with pytest.raises(ValueError, match="'maybe'; allowed: approve"):
        await run._execute(Command(resume={waiting.interrupt_id: [{"type": "maybe"}]}), THREAD, {})
    assert run.get_interrupts() == [waiting]
    await run.resume([{"type": "approve"}], THREAD)
    assert run.get_run_messages()[1].content == "Sunny in Rome"


async def test_a_hook_may_limit_what_a_person_decides() -> None:
    run = await paused(*ONE, hooks=asking(allowed_decisions=["approve", "reject"]))
    waiting = run.get_interrupt()
    assert waiting is not None
    assert waiting.payload["review_configs"][0]["allowed_decisions"] == ["approve", "reject"]
    with pytest.raises(InvalidAnswerError, match="'edit'; allowed: approve, reject"):
        await run.resume([{"type": "edit", "updatedInput": {}}], THREAD)


async def test_hooks_are_called_once_for_a_call_however_often_its_node_runs() -> None:
    seen: list[str] = []
    hooks = HookRegistry()

    def once(happened: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(happened["hook_event_name"])
        return {"decision": "ask", "updated_input": {"city": "Bonn"}}

    for event in ("RunStart", "UserPromptSubmit", "Stop"):
        hooks.register(event, lambda happened: seen.append(happened["hook_event_name"]))
    hooks.register("PreToolUse", {"hooks": [once], "once": True})
    run = await paused(*ONE, hooks=hooks)
    assert seen == ["RunStart", "UserPromptSubmit", "PreToolUse"]
    await run.resume([{"type": "approve"}], THREAD)
    assert seen == ["RunStart", "UserPromptSubmit", "PreToolUse", "Stop"]
    assert run.get_run_messages()[1].content == "Sunny in Bonn"


async def test_a_call_that_a_hook_allows_does_not_run_before_its_sibling_is_decided() -> None:
    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda happened: {"decision": "ask"} if happened["turn"] else None)
    host = Host(on_tool_execute=sunny)
    run = await paused(*TWO, host=host, hooks=hooks)
    assert "on_tool_execute" not in [event for event, _ in host.rows]
    await run.resume([{"type": "reject"}], THREAD)
    requests = [data["toolCalls"] for event, data in host.rows if event == "on_tool_execute"]
    assert [[call["id"] for call in each] for each in requests] == [["call_1"]]


# Questions of tools.


@tool
def ask_user(question: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Asks."""
    answer = ask_user_question({"question": question, "options": [{"label": "Yes", "value": "yes"}]})
    return f"User said: {answer['answer']}"


async def question_run(host: Host | None = None, *replies: Any) -> Run:
    replies = replies or (calls(("ask_user", {"question": "Proceed?"})), "Great.")
    return await run_of(*replies, host=host, agent={"tools": [ask_user, get_weather]}, **HITL)


@pytest.mark.parametrize("answer", [{"answer": "yes"}, "yes"])
async def test_a_tool_asks_and_runs_again_with_the_answer(answer: Any) -> None:
    host = Host()
    run = await question_run(host)
    assert await run.process_stream(ask(), THREAD) == []
    waiting = run.get_interrupt()
    assert waiting is not None
    assert waiting.payload == {
        "type": "ask_user_question",
        "question": {"question": "Proceed?", "options": [{"label": "Yes", "value": "yes"}]},
    }
    with pytest.raises(InvalidAnswerError, match=r"expected \{'answer': ...\} or a text"):
        await run.resume(["yes"], THREAD)
    await run.resume(answer, THREAD)
    assert run.get_run_messages()[1].content == "User said: yes"
    kinds = [event for event, _ in host.rows if event.startswith("on_tool_")]
    assert kinds == ["on_tool_start", "on_tool_start", "on_tool_end"]


async def test_several_questions_at_once_are_answered_by_their_ids() -> None:
    @tool
    def survey(tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Asks two things."""
        given = ask_user_question(
            [Question(id="a", question="A?", header="First"), {"id": "b", "question": "B?", "multiSelect": True}],
            tool_call_id=tool_call_id,
        )
        return f"{given['a']} {given['b']}"

    run = await run_of(calls(("survey", {})), "Thanks.", agent={"tools": [survey]}, **HITL)
    await run.process_stream(ask(), THREAD)
    waiting = run.get_interrupt()
    assert waiting is not None
    assert waiting.payload == {
        "type": "ask_user_question",
        "question": {"question": "A?"},
        "questions": [
            {"question": "A?", "id": "a", "header": "First"},
            {"question": "B?", "multiSelect": True, "id": "b"},
        ],
        "tool_call_id": "call_1",
    }
    with pytest.raises(InvalidAnswerError, match="answers to a, b"):
        await run.resume({"a": 1}, THREAD)
    await run.resume({"a": 1, "b": 2}, THREAD)
    assert run.get_run_messages()[1].content == "1 2"


async def test_a_question_that_makes_no_sense_is_told_to_the_model() -> None:
    @tool
    def survey() -> str:
        """Asks badly."""
        return str(ask_user_question([{"question": "A?"}, {"question": "B?"}]))

    run = await run_of(calls(("survey", {})), "Sorry.", agent={"tools": [survey]}, **HITL)
    await run.process_stream(ask(), THREAD)
    assert "each with a unique id" in run.get_run_messages()[1].content
    with pytest.raises(ConfigurationError, match="did you mean 'question'"):
        ask_user_question({"questions": "A?"})


# Around it.


async def test_what_waits_for_approval_does_not_run_without_where_the_hooks_are_missing() -> None:
    saver = in_memory_saver()
    await paused(*ONE, compile_options={"checkpointer": saver})
    host = Host(on_tool_execute=sunny)
    agent, options = {"tool_definitions": [WEATHER]}, {"checkpointer": saver}
    careless = await run_of("Fine.", host=host, agent=agent, compile_options=options)
    with pytest.raises(ConfigurationError, match="human_in_the_loop enabled"):
        await careless.resume([{"type": "reject", "reason": "no"}], THREAD)
    forgetful = await run_of("Fine.", host=host, agent=agent, compile_options=options, **HITL)
    await forgetful.resume([{"type": "reject", "reason": "no"}], THREAD)
    assert forgetful.get_run_messages()[1].content == "Blocked: no"
    assert "on_tool_execute" not in [event for event, _ in host.rows]


async def test_a_finished_run_cannot_be_resumed_nor_one_that_stores_nothing() -> None:
    run = await paused(*ONE)
    await run.resume([{"type": "approve"}], THREAD)
    with pytest.raises(UnknownInterruptError):
        await run.resume([{"type": "approve"}], THREAD)
    run = await run_of("Hello.")
    await run.process_stream(ask())
    with pytest.raises(ConfigurationError, match="checkpointer"):
        await run.resume("x")


@pytest.mark.parametrize("breakpoints", [{"interrupt_before": ["done"]}, {"interrupt_after": ["a"]}])
async def test_a_run_that_waits_at_a_breakpoint_goes_on_without_an_answer(breakpoints: Any) -> None:
    options = {"checkpointer": in_memory_saver(), **breakpoints}
    host = Host()
    run = await run_of("Hello.", host=host, compile_options=options)
    assert await run.process_stream(ask(), THREAD) == []
    assert run.get_interrupts() == []
    parts = await run.resume(None, THREAD)
    assert parts == [{"type": "text", "text": "Hello."}]


async def test_a_new_turn_on_a_thread_that_waits_is_a_turn_of_its_own() -> None:
    saver = in_memory_saver()
    await paused(*ONE, compile_options={"checkpointer": saver})
    tools = {"tool_definitions": [WEATHER]}
    second = await run_of("New.", run_id="r2", agent=tools, compile_options={"checkpointer": saver})
    await second.process_stream(ask("never mind"), THREAD)
    (request,) = requests_of(second)
    # What was said before the question stays, and the model knows that its call did not run.
    assert [message.content for message in request.messages] == [
        "weather?",
        "Checking.",
        "The call did not finish: the run was stopped before it had a result.",
        "never mind",
    ]
    state = await second.graph.compiled.aget_state(THREAD)
    assert [message.content for message in state.values["messages"]][1::3] == ["Checking.", "New."]
    with pytest.raises(UnknownInterruptError):
        await second.resume([{"type": "approve"}], THREAD)


async def test_results_beside_a_question_that_is_never_answered_are_known_to_the_next_turn() -> None:
    @tool
    def pay(to: str) -> str:
        """Has an effect."""
        return f"paid {to}"

    @tool
    def choose() -> str:
        """Asks."""
        return str(ask_user_question("Which?")["answer"])

    options = {"compile_options": {"checkpointer": in_memory_saver()}, "agent": {"tools": [pay, choose]}}
    first = await run_of(calls(("pay", {"to": "ada"}), ("choose", {})), **options)
    await first.process_stream(ask(), THREAD)
    second = await run_of("New.", run_id="r2", **options)
    await second.process_stream(ask("never mind"), THREAD)
    (request,) = requests_of(second)
    told = {message.tool_call_id: message.content for message in request.messages if isinstance(message, ToolMessage)}
    assert told["call_1"] == "paid ada"
    assert "did not finish" in told["call_2"]


async def test_an_abort_after_a_resume_leaves_a_valid_thread() -> None:
    saver, controller = in_memory_saver(), AbortController()
    await paused(*ONE, compile_options={"checkpointer": saver})
    host = Host(on_tool_execute=lambda data: controller.abort())
    elsewhere = await run_of(
        "unused",
        host=host,
        agent={"tool_definitions": [WEATHER]},
        hooks=asking(),
        compile_options={"checkpointer": saver},
        **HITL,
    )
    with pytest.raises(AbortError):
        await elsewhere.resume([{"type": "approve"}], {**THREAD, "signal": controller.signal})
    kept = [(type(message), message.content) for message in elsewhere.get_run_messages()]
    assert kept[0] == (AIMessage, "Checking.")
    assert kept[1][0] is ToolMessage
    state = await elsewhere.graph.compiled.aget_state(THREAD)
    assert [type(message) for message in state.values["messages"][1:]] == [AIMessage, ToolMessage]
    assert host.steps()[-1] == ("on_run_step_closed", "cancelled")


async def test_questions_of_several_tools_are_all_shown_and_answered_by_id_also_one_after_the_other() -> None:
    two = calls(("ask_user", {"question": "A?"}), ("ask_user", {"question": "B?"}))
    run = await question_run(None, two, "Great.")
    await run.process_stream(ask(), THREAD)
    first, second = run.get_interrupts()
    assert [each.payload["question"]["question"] for each in (first, second)] == ["A?", "B?"]
    with pytest.raises(UnknownInterruptError, match=first.interrupt_id):
        await run.resume("yes", THREAD)
    await run.resume({second.interrupt_id: "b"}, THREAD)
    assert [each.interrupt_id for each in run.get_interrupts()] == [first.interrupt_id]
    await run.resume({first.interrupt_id: "a"}, THREAD)
    results = [message.content for message in run.get_run_messages() if isinstance(message, ToolMessage)]
    assert results == ["User said: a", "User said: b"]


async def test_agents_that_run_side_by_side_wait_each_for_its_own_answer_also_elsewhere() -> None:
    saver, host = in_memory_saver(), Host()

    async def two_agents(*replies: Any) -> Run:
        agents = [
            {"agent_id": name, "model": ScriptedChatModel(replies=[*each]), "tools": [get_weather]}
            for name, each in zip(("left", "right"), replies, strict=True)
        ]
        graph = {"type": "multi-agent", "agents": agents, "compile_options": {"checkpointer": saver}}
        settings = {"run_id": "r", "graph_config": graph, "custom_handlers": host.handlers(), **HITL}
        return await Run.create({**settings, "hooks": asking()})

    run = await two_agents(
        [calls(("get_weather", {"city": "Rome"}, "l1"))], [calls(("get_weather", {"city": "Oslo"}, "r1"))]
    )
    await run.process_stream(ask(), THREAD)
    first, second = run.get_interrupts()
    asked = {each.payload["action_requests"][0]["tool_call_id"]: each for each in (first, second)}
    assert set(asked) == {"l1", "r1"}
    # One at a time, each in a run of its own.
    run = await two_agents(["Left done."], [])
    await run.resume({asked["l1"].interrupt_id: [{"type": "approve"}]}, THREAD)
    assert [each.interrupt_id for each in run.get_interrupts()] == [asked["r1"].interrupt_id]
    run = await two_agents([], ["Right done."])
    await run.resume([{"type": "reject", "reason": "cold"}], THREAD)
    assert run.get_interrupts() == []
    said = {str(message.content) for message in run.get_run_messages()}
    assert {"Sunny in Rome", "Blocked: cold", "Left done.", "Right done."} <= said
    opened = [data["id"] for event, data in host.rows if event == "on_run_step"]
    closed = [data["id"] for event, data in host.rows if event == "on_run_step_closed"]
    assert sorted(opened) == sorted(closed)
    indices = [data["index"] for event, data in host.rows if event == "on_run_step"]
    assert sorted(indices) == list(range(len(indices)))


async def test_what_hooks_said_about_calls_holds_when_a_tool_s_question_is_answered() -> None:
    """Also without approvals: else a call would run twice, or get another one's result."""
    ran: list[str] = []
    consulted: list[str] = []

    @tool
    def note(text: str) -> str:
        """Notes a text."""
        ran.append(text)
        return f"noted {text}"

    @tool
    def choose() -> str:
        """Asks."""
        return str(ask_user_question("Which?")["answer"])

    def fickle(happened: Mapping[str, Any]) -> dict[str, Any]:
        consulted.append(happened["toolUseId"])
        return {"decision": "deny" if consulted.count(happened["toolUseId"]) > 1 else "allow"}

    hooks = HookRegistry()
    hooks.register("PreToolUse", fickle, pattern="note")
    three = calls(("note", {"text": "one"}), ("note", {"text": "two"}), ("choose", {}))
    options = {"compile_options": {"checkpointer": in_memory_saver()}, "agent": {"tools": [note, choose]}}
    run = await run_of(three, "Done.", hooks=hooks, **options)
    await run.process_stream(ask(), THREAD)
    await run.resume("that", THREAD)
    results = [message for message in run.get_run_messages() if isinstance(message, ToolMessage)]
    assert [(each.tool_call_id, each.content) for each in results] == [
        ("call_1", "noted one"),
        ("call_2", "noted two"),
        ("call_3", "that"),
    ]
    assert sorted(ran) == ["one", "two"]
    assert consulted == ["call_1", "call_2"]
