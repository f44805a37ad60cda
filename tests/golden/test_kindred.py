"""Cases of the same kinds that have no recording here, as the behaviour of the original was described."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.testing import Failure, FakeOpenAIServer, Reply, Text, Think, call, reply
from tests.golden.rig import Rig
from tests.golden.scenarios import DEFINITIONS, PARIS, get_weather, human


def play(act: Callable[[Rig], Awaitable[None]]) -> Rig:
    """Play a case, and give the rig that saw it."""

    async def played() -> Rig:
        async with FakeOpenAIServer() as server, openai.DefaultAsyncHttpxClient() as client:
            rig = Rig(server, client)
            await asyncio.wait_for(act(rig), timeout=30)
            return rig

    return asyncio.run(played())


def story(rig: Rig) -> list[str]:
    """The events of steps, a line each: kind and index of the step, and what became of it."""
    known: dict[str, str] = {}
    told: list[str] = []
    for row in rig.recording()["events"]:
        data = row["data"]
        match row["event"]:
            case "on_run_step":
                kind = "tools" if data["type"] == "tool_calls" else "message"
                known[data["id"]] = f"{kind} {data['index']}"
                content_type = data["stepDetails"].get("message_creation", {}).get("content_type")
                told.append(f"open {known[data['id']]}{f' {content_type}' if content_type else ''}")
            case "on_run_step_closed":
                told.append(f"close {known[data['id']]} {data['status']}")
            case "on_message_delta":
                told.append(f"{known[data['id']]} says {data['delta']['content'][0]['text']}")
            case "on_reasoning_delta":
                told.append(f"{known[data['id']]} thinks {data['delta']['content'][0]['think']}")
            case "on_run_step_completed":
                result = data["result"]
                told.append(f"{known[result['id']]} gives {result['tool_call']['output']}")
            case _:
                pass
    return told


def test_reasoning_before_a_call_and_after_its_result_has_messages_of_its_own() -> None:
    async def act(rig: Rig) -> None:
        rig.script("m", reply(Think("Hm."), PARIS), Reply((Think("So."), Text("Sunny."))))
        run = await rig.create("run-d2", rig.agent("agent_d", tools=[get_weather]), customHandlers=rig.handlers())
        await rig.process(run, human("weather?"))

    assert story(play(act)) == [
        "open message 0 think",
        "message 0 thinks Hm.",
        "close message 0 completed",
        "open message 1",
        "close message 1 completed",
        "open tools 2",
        "tools 2 gives Sunny in Paris",
        "close tools 2 completed",
        "open message 3 think",
        "message 3 thinks So.",
        "close message 3 completed",
        "open message 4 text",
        "message 4 says Sunny.",
        "close message 4 completed",
    ]


def test_tags_of_one_chunk_are_taken_off_and_the_rest_is_text() -> None:
    async def act(rig: Rig) -> None:
        rig.script("m", Reply((Text("<think>hm</think>Yes."), Text(" Sure."))))
        run = await rig.create("run-d4", rig.agent("agent_d"), customHandlers=rig.handlers())
        await rig.process(run, human("?"))
        rig.keep(messages=run.get_run_messages())

    rig = play(act)
    assert story(rig) == [
        "open message 0 think",
        "message 0 thinks hm",
        "close message 0 completed",
        "open message 1 text",
        "message 1 says Yes.",
        "message 1 says  Sure.",
        "close message 1 completed",
    ]
    assert rig.final["messages"][0]["content"] == "<think>hm</think>Yes. Sure."


def test_arguments_that_break_off_are_not_completed_but_told_to_the_model() -> None:
    async def act(rig: Rig) -> None:
        rig.script("m", reply(call("get_weather", '{"city":"Par', id="call_1")), "Done.")
        run = await rig.create("run-e5", rig.agent("agent_e", tools=[get_weather]), customHandlers=rig.handlers())
        await rig.process(run, human("?"))

    rig = play(act)
    (result,) = [line for line in story(rig) if line.startswith("tools 1 gives")]
    assert "The arguments are not a JSON object" in result
    assert '"city":"Par' in result
    assert rig.recording()["requests"][1]["messages"][-1]["tool_call_id"] == "call_1"


def test_early_results_of_the_host_complete_in_the_order_in_which_they_come() -> None:
    def execute(batch: Any) -> None:
        results = [{"toolCallId": each["id"], "content": each["args"]["city"]} for each in batch["toolCalls"]]
        for result in reversed(results):
            batch.on_result(result)
        batch.resolve(results)

    async def act(rig: Rig) -> None:
        rig.script("m", reply(PARIS, call("get_weather", id="call_2", city="Rome")), "Done.")
        handlers = rig.handlers(on_execute=execute)
        run = await rig.create("run-c2", rig.agent("agent_c", toolDefinitions=DEFINITIONS), customHandlers=handlers)
        await rig.process(run, human("?"))

    rig = play(act)
    assert [line for line in story(rig) if "tools" in line] == [
        "open tools 1",
        "open tools 2",
        "tools 2 gives Rome",
        "close tools 2 completed",
        "tools 1 gives Paris",
        "close tools 1 completed",
    ]
    answered = [message["tool_call_id"] for message in rig.recording()["requests"][1]["messages"][3:]]
    assert answered == ["call_1", "call_2"]


def test_an_artifact_is_for_the_host_and_not_for_front_ends_or_models() -> None:
    @tool(response_format="content_and_artifact")
    async def make_file() -> tuple[str, dict[str, Any]]:
        """Makes a file."""
        return "visible text", {"files": [{"id": "f1"}]}

    async def act(rig: Rig) -> None:
        rig.script("m", reply(call("make_file", id="call_1")), "Done.")
        run = await rig.create("run-b4", rig.agent("agent_b", tools=[make_file]), customHandlers=rig.handlers())
        await rig.process(run, human("?"))

    rig = play(act)
    rows = {row["event"]: row["data"] for row in rig.recording()["events"]}
    assert rows["on_tool_end"]["output"]["artifact"] == {"files": [{"id": "f1"}]}
    assert rows["on_run_step_completed"]["result"]["tool_call"]["output"] == "visible text"
    assert "f1" not in str(rows["on_run_step_completed"])
    assert "f1" not in str(rig.recording()["requests"])


def test_another_model_answers_as_if_nothing_had_happened() -> None:
    async def act(rig: Rig) -> None:
        rig.script("m", Failure(500, "out of order"))
        rig.script("m2", "Hello there.")
        spare = {"provider": "openAI", "clientOptions": rig.client_options("m2")}
        agent = rig.agent("agent_h", clientOptions={"fallbacks": [spare]})
        run = await rig.create("run-h6", agent, customHandlers=rig.handlers())
        await rig.process(run, human("hi"))

    rig = play(act)
    told = ["open message 0 text", "message 0 says Hello ", "message 0 says there.", "close message 0 completed"]
    assert story(rig) == told
    assert rig.final["run1"]["returned"] == [{"type": "text", "text": "Hello there."}]


def test_a_run_without_a_thread_of_its_own_starts_anew_each_time() -> None:
    async def act(rig: Rig) -> None:
        rig.script("m", "One.", "Two.")
        run = await rig.create("run-a4", rig.agent("agent_a"), customHandlers=rig.handlers())
        await rig.process(run, human("first"))
        await rig.process(run, human("second"), key="run2")

    rig = play(act)
    assert [line for line in story(rig) if line.startswith("open")] == ["open message 0 text"] * 2
    assert [message["content"] for message in rig.recording()["requests"][1]["messages"][1:]] == ["second"]
    assert rig.final["run2"]["returned"] == [{"type": "text", "text": "Two."}]
    assert rig.aggregator.content_parts == [{"type": "text", "text": "One.Two."}]


def test_a_run_on_a_kept_thread_knows_what_was_said_and_brings_only_what_is_new() -> None:
    async def act(rig: Rig) -> None:
        rig.script("m", "One.", "Two.")
        saver = in_memory_saver()
        for number, text in enumerate(("first", "second")):
            graph = {"agents": [rig.agent("agent_n")], "compileOptions": {"checkpointer": saver}}
            run = await rig.create(f"run-n{number}", graph=graph, customHandlers=rig.handlers())
            await rig.process(run, [HumanMessage(text)], key=f"run{number}")

    rig = play(act)
    sent = [message["content"] for message in rig.recording()["requests"][1]["messages"][1:]]
    assert sent == ["first", "One.", "second"]
    assert [message["content"] for message in rig.final["run1"]["runMessages"]] == ["Two."]
