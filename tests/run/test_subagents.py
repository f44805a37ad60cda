"""Agents as tools: their context, events, results, pauses, ends, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import interrupt
from stategraph.agent.graphs import assemble
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.ports import AgentContext, Halt
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.errors import AbortError, ConfigurationError, HandlerError
from stategraph.run.abort import AbortController
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command
from tests.conftest import Driver
from tests.run.hosting import THREAD, WEATHER, Host, ask, calls, get_weather, sunny

pytestmark = pytest.mark.anyio


def delegate(kind: str = "helper", task: str = "Do it.", call_id: str = "call_1") -> script.ToolCall:
    return script.call("subagent", {"description": task, "subagent_type": kind}, id=call_id)


def helper(*replies: Any, kind: str = "helper", how: Mapping[str, Any] | None = None, **agent: Any) -> dict[str, Any]:
    """Settings of a subagent whose model answers in turn."""
    inputs = {"agent_id": f"{kind}_agent", "model": ScriptedChatModel(replies=list(replies)), **agent}
    return {"type": kind, "description": f"The {kind}.", "agent_inputs": inputs, **(how or {})}


def requests(settings: Mapping[str, Any]) -> list[Any]:
    return settings["agent_inputs"]["model"].requests


async def run_with(
    replies: list[Any], *subagents: Any, host: Host | None = None, agent: Mapping[str, Any] | None = None, **config: Any
) -> Run:
    """A run of an agent with subagents."""
    boss = {"agent_id": "boss", "model": ScriptedChatModel(replies=replies), "subagent_configs": subagents}
    graph = {"agents": [{**boss, **(agent or {})}], "compile_options": config.pop("compile_options", {})}
    handlers = {} if host is None else host.handlers()
    return await Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": handlers, **config})


def said(run: Run) -> list[Any]:
    return [message.content for message in run.get_run_messages()]


def updates(host: Host) -> list[tuple[str, str]]:
    """Who did what: the type of a subagent and the phase, repeated phases once."""
    told = [(data["subagentType"], data["phase"]) for event, data in host.rows if event == "on_subagent_update"]
    return [row for number, row in enumerate(told) if not number or told[number - 1] != row]


async def test_a_subagent_works_on_its_own_and_its_answer_is_the_result() -> None:
    host = Host()
    one = helper(calls(("get_weather", {"city": "Rome"})), "Sunny there.", tools=[get_weather], instructions="Help.")
    run = await run_with([script.reply("I ask.", delegate(task="Rome?")), "It is sunny."], one, host=host)
    await run.process_stream(ask("How is Rome?"), THREAD)
    assert said(run) == ["I ask.", "Sunny there.", "It is sunny."]
    first, second = requests(one)
    assert [(each.type, each.content) for each in first.messages] == [("system", "Help."), ("human", "Rome?")]
    assert [each.type for each in second.messages] == ["system", "human", "ai", "tool"]
    assert [part and part["type"] for part in host.content.content_parts] == ["text", "tool_call", "text"]
    assert host.content.content_parts[1]["tool_call"]["output"] == "Sunny there."  # type: ignore[index]


async def test_what_a_subagent_does_is_told_as_updates_of_its_call() -> None:
    host = Host()
    one = helper(calls(("get_weather", {"city": "Rome"})), "Sunny there.", tools=[get_weather])
    run = await run_with([script.reply(delegate()), "Done."], one, host=host)
    await run.process_stream(ask(), THREAD)
    phases = [phase for _, phase in updates(host)]
    assert phases[:2] == ["start", "run_step"]
    assert phases[-3:] == ["message_delta", "run_step_closed", "stop"]
    assert "run_step_completed" in phases
    told = [data for event, data in host.rows if event == "on_subagent_update"]
    about = {key: told[0][key] for key in ("runId", "parentRunId", "parentToolCallId", "depth", "parentAgentId")}
    assert about == {
        "runId": "r",
        "parentRunId": "r",
        "parentToolCallId": "call_1",
        "depth": 1,
        "parentAgentId": "boss",
    }
    (name,) = {each["subagentRunId"] for each in told}
    assert name.startswith("r_sub_")
    steps = [each["data"] for each in told if each["phase"] == "run_step"]
    assert [step["index"] for step in steps] == [0, 1, 2]
    assert {(step["agentId"], step["runId"]) for step in steps} == {("helper_agent", name)}
    own = [data for event, data in host.rows if event == "on_run_step"]
    assert [step["index"] for step in own] == [0, 1, 2]
    events = [event for event, _ in host.rows]
    assert events.index("on_tool_start") < events.index("on_subagent_update") < events.index("on_run_step_completed")


async def test_usage_of_subagents_is_counted_in() -> None:
    deep = helper(script.reply("Deep.", usage=(100, 10)), kind="deep")
    one = helper(
        script.reply(delegate("deep"), usage=(20, 2)),
        script.reply("Sub.", usage=(30, 3)),
        how={"allow_nested": True},
        subagent_configs=[deep],
    )
    usages: list[int] = []
    host = Host(on_chat_model_end=lambda data: usages.append(data["output"].usage_metadata["input_tokens"]))
    replies = [script.reply(delegate(), usage=(1, 1)), script.reply("Done.", usage=(2, 2))]
    run = await run_with(replies, one, host=host, compile_options={"checkpointer": InMemorySaver()})
    await run.process_stream(ask(), THREAD)
    assert usages == [1, 20, 100, 30, 2]
    state = await run.graph.compiled.aget_state(THREAD)  # type: ignore[arg-type]
    assert state.values["usage"] == {"input_tokens": 153, "output_tokens": 18, "total_tokens": 171}


async def test_subagents_have_subagents() -> None:
    host = Host()
    deep = helper("Deep.", kind="deep")
    one = helper(script.reply(delegate("deep")), "Sub.", how={"allow_nested": True}, subagent_configs=[deep])
    run = await run_with([script.reply(delegate()), "Done."], one, host=host)
    await run.process_stream(ask(), THREAD)
    assert said(run)[1:] == ["Sub.", "Done."]
    told = [data for event, data in host.rows if event == "on_subagent_update"]
    (inner,) = [each for each in told if each["subagentType"] == "deep" and each["phase"] == "start"]
    (outer,) = [each for each in told if each["subagentType"] == "helper" and each["phase"] == "start"]
    assert (inner["depth"], inner["parentRunId"]) == (2, outer["subagentRunId"])
    assert [each["subagentType"] for each in inner["ancestry"]] == ["helper", "deep"]
    assert updates(host)[-1] == ("helper", "stop")


@pytest.mark.parametrize(
    ("how", "agent", "why"), [({}, {}, "allow_nested"), ({"allow_nested": True}, {"max_subagent_depth": 1}, "max_sub")]
)
async def test_subagents_of_subagents_are_left_out_unless_they_are_wanted(
    how: Any, agent: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    policies = {"subagent": ToolPolicy(max_result_chars=9)}
    one = helper("Sub.", how=how, subagent_configs=[helper("Deep.", kind="deep")], tool_policies=policies)
    run = await run_with([script.reply(delegate()), "Done."], one, agent=agent)
    await run.process_stream(ask(), THREAD)
    assert f"left out: see {why}" in caplog.text
    assert requests(one)[0].tools == ()


async def test_several_subagents_work_side_by_side() -> None:
    meeting = asyncio.Barrier(2)

    async def meet() -> str:
        """Wait for the other one."""
        async with asyncio.timeout(10):
            await meeting.wait()
        return "met"

    both = [helper(calls(("meet", {})), f"{kind} met.", kind=kind, tools=[meet]) for kind in ("left", "right")]
    reply = script.reply(delegate("left", call_id="c1"), delegate("right", call_id="c2"))
    for options in ({}, {"checkpointer": InMemorySaver()}):
        for each in both:
            each["agent_inputs"]["model"] = ScriptedChatModel(replies=[calls(("meet", {})), f"{each['type']} met."])
        host = Host()
        run = await run_with([reply, "Done."], *both, host=host, compile_options=options)
        await run.process_stream(ask(), THREAD)
        assert said(run)[1:] == ["left met.", "right met.", "Done."]
        names = {data["subagentRunId"] for event, data in host.rows if event == "on_subagent_update"}
        assert len(names) == 2


async def test_the_output_of_a_subagent_is_the_result_and_none_of_the_runs() -> None:
    schema = {"title": "Place", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    host = Host()
    one = helper("Rome", '{"city": "Rome"}', output_type=schema, output_mode="prompt")
    run = await run_with([script.reply(delegate()), "Done."], one, host=host)
    await run.process_stream(ask(), THREAD)
    assert said(run)[1:] == ['{"city":"Rome"}', "Done."]
    assert not [event for event, _ in host.rows if "output" in event]
    assert len(requests(one)) == 2


# Waiting for persons.


def confirm(what: str) -> str:
    """Ask a person."""
    return f"{what}: {interrupt(what)}"


async def test_a_subagent_waits_for_a_person_and_goes_on_in_another_run() -> None:
    saver = InMemorySaver()
    one = helper(calls(("confirm", {"what": "really?"})), "Confirmed.", tools=[confirm])
    boss = ScriptedChatModel(replies=[script.reply(delegate()), "Done."])

    async def again() -> tuple[Run, Host]:
        host = Host()
        options = {"checkpointer": saver}
        return await run_with([], one, host=host, agent={"model": boss}, compile_options=options), host

    run, before = await again()
    await run.process_stream(ask(), THREAD)
    assert [each.payload for each in run.get_interrupts()] == ["really?"]
    assert updates(before)[-1] == ("helper", "run_step_delta")
    run, after = await again()
    await run.resume("yes", THREAD)
    assert said(run)[1:] == ["Confirmed.", "Done."]
    assert updates(after)[0] == ("helper", "run_step_completed")
    assert updates(after)[-1] == ("helper", "stop")
    assert len(requests(one)) == 2
    assert [each.content for each in requests(one)[1].messages] == ["Do it.", "", "really?: yes"]
    opened = [d["data"]["id"] for e, d in before.rows if e == "on_subagent_update" and d["phase"] == "run_step"]
    done = [d["data"]["result"]["id"] for e, d in after.rows if e == "on_subagent_update" and "completed" in d["phase"]]
    assert done == opened[-1:]


async def test_several_subagents_wait_and_are_answered_one_after_the_other() -> None:
    kinds = ("left", "right")
    both = [helper(calls(("confirm", {"what": kind})), f"{kind} ok.", kind=kind, tools=[confirm]) for kind in kinds]
    reply = script.reply(delegate("left", call_id="c1"), delegate("right", call_id="c2"))
    run = await run_with([reply, "Done."], *both, compile_options={"checkpointer": InMemorySaver()})
    await run.process_stream(ask(), THREAD)
    waiting = {each.payload: each.interrupt_id for each in run.get_interrupts()}
    assert waiting.keys() == {"left", "right"}
    await run.resume({waiting["right"]: "yes"}, THREAD)
    assert [each.payload for each in run.get_interrupts()] == ["left"]
    await run.resume("no", THREAD)
    assert said(run)[1:] == ["left ok.", "right ok.", "Done."]
    assert [len(requests(each)) for each in both] == [2, 2]


async def test_a_persons_approval_is_asked_for_in_a_subagent() -> None:
    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda _: {"decision": "ask"}, pattern="weather")
    one = helper(calls(("get_weather", {"city": "Rome"})), "Sub.", tools=[get_weather])
    run = await run_with([script.reply(delegate()), "Done."], one, hooks=hooks, human_in_the_loop={"enabled": True})
    await run.process_stream(ask(), THREAD)
    (waiting,) = run.get_interrupts()
    payload: Any = waiting.payload
    assert payload["action_requests"][0]["name"] == "get_weather"
    assert payload["subagent"]["subagent_type"] == "helper"
    assert payload["subagent"]["parent_tool_call_id"] == "call_1"
    await run.resume([{"type": "reject", "reason": "no"}], THREAD)
    assert said(run)[1:] == ["Sub.", "Done."]
    assert requests(one)[1].messages[-1].content == "Blocked: no"


async def test_a_subagent_goes_on_from_its_last_step_after_its_process_has_died() -> None:
    saver, done, copies = InMemorySaver(), [], []

    def first() -> str:
        """Work."""
        done.append("first")
        return "1"

    def second() -> str:
        """Work more."""
        done.append("second")
        copies.append(deepcopy((saver.storage, saver.writes, saver.blobs)))
        return "2"

    one = helper(calls(("first", {})), calls(("second", {})), "Sub.", tools=[first, second])
    boss = ScriptedChatModel(replies=[script.reply(delegate()), "Done."])
    run = await run_with([], one, agent={"model": boss}, compile_options={"checkpointer": saver})
    await run.process_stream(ask(), {**THREAD, "durability": "sync"})
    left = InMemorySaver()
    left.storage, left.writes, left.blobs = copies[0]
    one["agent_inputs"]["model"] = ScriptedChatModel(replies=["Sub again."])
    boss = ScriptedChatModel(replies=["Done again."])
    host = Host()
    run = await run_with([], one, host=host, agent={"model": boss}, compile_options={"checkpointer": left})
    await run.resume(None, THREAD)
    assert done == ["first", "second", "second"]
    assert said(run)[1:] == ["Sub again.", "Done again."]
    assert [each.content for each in requests(one)[0].messages] == ["Do it.", "", "1", "", "2"]
    assert ("helper", "start") not in updates(host)


# Ends.


async def test_an_abort_stops_subagents_and_leaves_a_thread_that_goes_on() -> None:
    begun, controller = asyncio.Event(), AbortController()

    async def hang() -> str:
        """Hang."""
        begun.set()
        await asyncio.Event().wait()
        return ""

    host = Host()
    one = helper(calls(("hang", {})), tools=[hang])
    boss = ScriptedChatModel(replies=[script.reply(delegate()), "Anew."])
    options = {"checkpointer": InMemorySaver()}
    run = await run_with([], one, host=host, agent={"model": boss}, compile_options=options)
    work = run.start(ask(), {**THREAD, "signal": controller.signal})
    async with asyncio.timeout(10):
        await begun.wait()
    controller.abort("enough")
    with pytest.raises(AbortError):
        await work
    assert updates(host)[-2:] == [("helper", "run_step_closed"), ("helper", "error")]
    last = [data for event, data in host.rows if event == "on_subagent_update"][-1]
    assert last["data"] == {"message": "cancelled"}
    closed = [data["status"] for event, data in host.rows if event == "on_run_step_closed"]
    assert closed == ["completed", "cancelled"]
    await run.process_stream(ask("again"), THREAD)
    assert said(run) == ["Anew."]
    assert [each.type for each in boss.requests[1].messages] == ["human", "ai", "tool", "human"]


async def test_a_subagent_that_fails_is_told_to_its_caller() -> None:
    host = Host()
    run = await run_with([script.reply(delegate()), "Sorry."], helper(LookupError("away")), host=host)
    await run.process_stream(ask(), THREAD)
    assert said(run)[1:] == ["Error: away\n Please fix your mistakes.", "Sorry."]
    assert updates(host)[-1] == ("helper", "error")


async def test_a_handler_that_fails_in_a_subagent_fails_the_run() -> None:
    def fail(data: Any) -> None:
        if data["phase"] == "message_delta":
            raise ValueError("broken")

    run = await run_with([script.reply(delegate()), "Done."], helper("Sub."), host=Host(on_subagent_update=fail))
    with pytest.raises(HandlerError, match="on_subagent_update"):
        await run.process_stream(ask(), THREAD)


async def test_policies_hold_for_subagents() -> None:
    async def hang() -> str:
        """Hang."""
        await asyncio.Event().wait()
        return ""

    host = Host()
    policies = {"subagent": ToolPolicy(max_result_chars=300), "slow": ToolPolicy(timeout_s=0.05)}
    slow = helper(calls(("hang", {})), kind="slow", how={"tool_name": "slow"}, tools=[hang])
    reply = script.reply(delegate(), script.call("slow", {"description": "Wait."}, id="c2"))
    run = await run_with([reply, "Done."], helper("long " * 500), slow, host=host, agent={"tool_policies": policies})
    await run.process_stream(ask(), THREAD)
    first, second = (each for each in run.get_run_messages() if isinstance(each, ToolMessage))
    assert 200 < len(first.content) <= 300
    assert "'slow' did not return within 0.05 s" in str(second.content)
    assert [row for row in updates(host) if row[0] == "slow"][-1] == ("slow", "error")


async def test_a_turn_that_a_gate_ends_in_a_subagent_ends_for_it() -> None:
    class Gate:
        def before(self, request: Any, /) -> Any:
            return Halt("quota", AIMessage("No more.")) if request.at.within is not None else request

        def after(self, request: Any, answer: AIMessage, /) -> AIMessage:
            return answer

    run = await run_with([script.reply(delegate()), "Done."], helper(), model_gates=[Gate()])
    await run.process_stream(ask(), THREAD)
    assert said(run)[1:] == ["No more.\n\nThe agent was stopped: quota", "Done."]
    assert run.get_halt_reason() is None


@pytest.mark.parametrize("on_limit", ["end", "raise"])
async def test_limits_of_the_run_hold_in_subagents(on_limit: str) -> None:
    one = helper(calls(("get_weather", {"city": "Rome"})), "Never.", tools=[get_weather])
    limits = {"model_calls": 2, "on_limit": on_limit}
    run = await run_with([script.reply(delegate()), "Never."], one, limits=limits)
    if on_limit == "raise":
        with pytest.raises(LimitReachedError, match="model_calls=2"):
            await run.process_stream(ask(), THREAD)
    else:
        await run.process_stream(ask(), THREAD)
        assert "The agent was stopped: model_calls_limit" in said(run)[1]
        assert run.get_halt_reason() == "model_calls_limit"
    assert len(requests(one)) == 1


@pytest.mark.parametrize("turns", [1, 2, 3, 8])
async def test_a_subagent_has_so_many_turns(turns: int) -> None:
    endless = [calls(("get_weather", {"city": "Rome"}))] * 20
    one = helper(*endless, tools=[get_weather], how={"max_turns": turns})
    run = await run_with([script.reply(delegate()), "Done."], one)
    await run.process_stream(ask(), THREAD)
    assert f"has used all of its turns (max_turns={turns})" in said(run)[1]
    assert len(requests(one)) == turns


async def test_a_subagent_that_ends_with_its_last_turn_has_an_answer() -> None:
    replies = [calls(("get_weather", {"city": "Rome"})), "Sunny."]
    one = helper(*replies, tools=[get_weather], how={"max_turns": 2})
    run = await run_with([script.reply(delegate()), "Done."], one)
    await run.process_stream(ask(), THREAD)
    assert said(run)[1] == "Sunny."


# Ways to call.


async def test_tools_of_the_host_are_executed_for_subagents() -> None:
    asked: list[Any] = []

    def execute(data: Any) -> None:
        asked.append((data["agentId"], data["callerCapabilityProjection"]["directToolNames"], data["toolCalls"][0]))
        sunny(data)

    one = helper(calls(("get_weather", {"city": "Rome"})), "Sub.", tool_definitions=[WEATHER])
    host = Host(on_tool_execute=execute)
    run = await run_with([script.reply(delegate()), "Done."], one, host=host)
    await run.process_stream(ask(), THREAD)
    ((agent_id, names, call),) = asked
    assert (agent_id, names) == ("helper_agent", ["get_weather"])
    assert call["stepId"].startswith("step_")
    assert requests(one)[1].messages[-1].content == "Sunny in Rome"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"subagent_type": "helper"}, "'description' is missing"),
        ({"description": "x", "subagent_type": "nobody"}, "'subagent_type' is 'nobody'; expected one of helper"),
        ({"description": "x", "subagent_type": ["helper"]}, "expected one of helper"),
    ],
)
async def test_calls_that_name_no_subagent_or_task_are_told_to_the_model(arguments: Any, problem: str) -> None:
    run = await run_with([script.reply(script.call("subagent", arguments, id="c")), "Done."], helper("Sub."))
    await run.process_stream(ask(), THREAD)
    assert problem in said(run)[1]


async def test_a_copy_of_the_caller_and_a_tool_of_its_own() -> None:
    model = ScriptedChatModel(replies=[script.reply(script.call("think", {"description": "Think."}, id="c")), "A", "B"])
    copy = {"type": "self", "description": "Think in peace.", "self": True, "tool_name": "think"}
    run = await run_with([], copy, agent={"model": model, "tools": [get_weather]})
    await run.process_stream(ask(), THREAD)
    assert said(run)[1:] == ["A", "B"]
    assert [request.tools for request in model.requests] == [
        ("get_weather", "think"),
        ("get_weather",),
        ("get_weather", "think"),
    ]


def test_graphs_of_agents_run_subagents_by_themselves(driver: Driver) -> None:
    one = helper(calls(("confirm", {"what": "sure?"})), "Sub.", tools=[confirm])
    boss = {"agent_id": "boss", "model": ScriptedChatModel(replies=[script.reply(delegate()), "Done."])}
    inputs = AgentInputs.of({**boss, "subagent_configs": [one]})
    graph = assemble.build([inputs])[1].compile(checkpointer=InMemorySaver())
    waiting = driver.invoke(graph, ask(), THREAD, context=AgentContext(context={"user": 1}))
    assert waiting["__interrupt__"][0].value == "sure?"
    result = driver.invoke(graph, Command(resume="yes"), THREAD, context=AgentContext(context={"user": 1}))
    assert [each.content for each in result["messages"]] == ["hi", "", "Sub.", "Done."]
    assert result["messages"][2].additional_kwargs["subagent_usage"]["total_tokens"] == 0


async def test_hooks_see_subagents_start_and_stop_and_may_refuse_them() -> None:
    seen: list[Any] = []

    def start(happened: Mapping[str, Any]) -> dict[str, Any] | None:
        seen.append(("start", happened["parentAgentId"], happened["agentType"], happened["task"]))
        return {"decision": "deny", "reason": "busy"} if happened["task"] == "No." else None

    hooks = HookRegistry()
    hooks.register("SubagentStart", start, pattern="^helper$")
    hooks.register("SubagentStop", lambda told: seen.append(("stop", told["agentId"], len(told["messages"]))))
    reply = script.reply(delegate(), delegate(task="No.", call_id="c2"))
    run = await run_with([reply, "Done."], helper("Sub."), hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert said(run)[1:] == ["Sub.", "Blocked: busy", "Done."]
    assert seen == [
        ("start", "boss", "helper", "Do it."),
        ("start", "boss", "helper", "No."),
        ("stop", "helper_agent", 2),
    ]


@pytest.mark.parametrize(
    ("subagents", "agent", "problem"),
    [
        ([{"type": "x", "description": "X"}], {}, "needs either 'agent_inputs' or 'self'"),
        ([helper("a") | {"self": True}], {}, "needs either 'agent_inputs' or 'self'"),
        ([helper("a"), helper("b")], {}, "several subagents of the type 'helper'"),
        ([helper("a", how={"tool_name": "t"}), helper("b", how={"tool_name": "t"})], {}, "called by 't'"),
        ([helper("a", how={"tool_name": "get_weather"})], {"tools": [get_weather]}, "by a tool and by a subagent"),
        ([helper("a", how={"tool_name": "no spaces"})], {}, "tool_name"),
        ([helper("a", agent_id="done")], {}, "No agent can have the id 'done'"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(subagents: Any, agent: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        await run_with([], *subagents, agent=agent)
