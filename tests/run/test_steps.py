"""From what agents do to steps, and from facts to events: one at a time, without models and graphs."""

from __future__ import annotations

import asyncio
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolCall, ToolMessage

from stategraph.agent import facts
from stategraph.agent.facts import ModelCall, Place, ToolAnswered
from stategraph.agent.reporting import ToolLog, ToolProgress
from stategraph.errors import HandlerError
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.listener import RunListener
from stategraph.run.events.step_list import StepList
from stategraph.run.events.steps import StepTracker
from stategraph.testing.clock import FakeClock

AT = Place("a", "Anna", "agent=a", {"thread_id": "t"})


def tracker(*, several: bool = False) -> StepTracker:
    ids, clock = count(), count(100)
    steps = StepList(
        "r", new_id=lambda prefix: f"{prefix}{next(ids)}", now_ms=lambda: next(clock), several_agents=several
    )
    return StepTracker(steps)


def model_call(at: Place = AT, **about: Any) -> ModelCall:
    return ModelCall(at, "openai", "m", [HumanMessage("hi")], 1, **about)


def call(number: int = 1, name: str = "n", **args: Any) -> ToolCall:
    return ToolCall(name=name, args=args, id=f"c{number}")


def fragment(**parts: Any) -> AIMessageChunk:
    whole = {"id": None, "name": None, "args": None, "index": 0, "type": "tool_call_chunk", **parts}
    return AIMessageChunk("", tool_call_chunks=[whole])  # type: ignore[list-item]


def told(rows: Any) -> list[tuple[str, Any]]:
    """Events in short: opened and closed steps by their kind, deltas by what they say."""
    shown: list[tuple[str, Any]] = []
    for event, data in rows:
        match str(event):
            case "on_run_step":
                shown.append(("open", data["type"]))
            case "on_run_step_closed":
                shown.append(("close", (data["type"], data["status"])))
            case "on_message_delta" | "on_reasoning_delta":
                (part,) = data["delta"]["content"]
                shown.append((part["type"], part[part["type"]]))
            case "on_run_step_delta":
                shown.append(("fragment", data["delta"]["tool_calls"][0]))
            case other:
                shown.append((other, data))
    return shown


def said(*chunks: Any) -> list[tuple[str, Any]]:
    """What the pieces of one answer come to."""
    steps, about = tracker(), model_call()
    return told(row for chunk in chunks for row in steps.chunk(about, chunk))


MESSAGE = "message_creation"


# -- pieces of an answer -------------------------------------------------


def test_text_goes_into_one_message_piece_by_piece() -> None:
    assert said(*map(AIMessageChunk, ("a", "", "b"))) == [("open", MESSAGE), ("text", "a"), ("text", "b")]


def test_reasoning_and_text_have_a_message_each() -> None:
    thought = AIMessageChunk("", additional_kwargs={"reasoning_content": "hm"})
    assert said(thought, AIMessageChunk("so"), thought) == [
        ("open", MESSAGE),
        ("think", "hm"),
        ("close", (MESSAGE, "completed")),
        ("open", MESSAGE),
        ("text", "so"),
        ("close", (MESSAGE, "completed")),
        ("open", MESSAGE),
        ("think", "hm"),
    ]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a<think>b</think>c"], [("text", "a"), ("think", "b"), ("text", "c")]),
        (["<think>b</think>"], [("think", "b")]),
        (
            ["<think>b", "c", "d</think>", "e"],
            [("think", "<think>b"), ("think", "c"), ("think", "d</think>"), ("text", "e")],
        ),
        (["a</think>"], [("text", "a</think>")]),
        (["<think>a", "<think>b</think>", "c"], [("think", "<think>a"), ("think", "<think>b</think>"), ("text", "c")]),
    ],
)
def test_tags_around_reasoning_are_understood(pieces: list[str], expected: list[Any]) -> None:
    rows = said(*map(AIMessageChunk, pieces))
    assert [row for row in rows if row[0] in ("text", "think")] == expected


def test_a_message_takes_the_providers_id_from_an_empty_first_piece() -> None:
    steps, about = tracker(), model_call()
    list(steps.chunk(about, AIMessageChunk("", id="provider")))
    list(steps.chunk(about, AIMessageChunk("", id="later")))
    ((_, opened), _) = steps.chunk(about, AIMessageChunk("a", id="other"))
    assert opened["stepDetails"]["message_creation"]["message_id"] == "provider"
    thought = AIMessageChunk("", additional_kwargs={"reasoning_content": "hm"})
    _, (_, second), _ = steps.chunk(about, thought)
    assert second["stepDetails"]["message_creation"]["message_id"].startswith("msg_")


def test_the_fragments_of_a_call_are_passed_on_behind_its_step() -> None:
    rows = said(fragment(id="c1", name="n", args=""), fragment(args='{"x"'), fragment(args=": 1}", index=None))
    assert rows == [
        ("open", MESSAGE),
        ("close", (MESSAGE, "completed")),
        ("open", "tool_calls"),
        ("fragment", {"args": "", "type": "tool_call_chunk", "name": "n", "id": "c1", "index": 0}),
        ("fragment", {"args": '{"x"', "type": "tool_call_chunk", "index": 0}),
        ("fragment", {"args": ": 1}", "type": "tool_call_chunk"}),
    ]


def test_a_provider_that_repeats_id_and_name_in_every_fragment_opens_one_step() -> None:
    rows = said(fragment(id="c1", name="n", args="{"), fragment(id="c1", name="n", args="}"))
    assert [row for row in rows if row == ("open", "tool_calls")] == [("open", "tool_calls")]
    assert len([row for row in rows if row[0] == "fragment"]) == 2


def test_a_fragment_that_names_a_call_opens_its_step_also_if_the_call_was_not_put_together() -> None:
    other = {"id": "c2", "name": "m", "args": "", "index": 1, "type": "tool_call_chunk"}
    chunk = fragment(id="c1", name="n", args="{}").model_copy(update={"tool_call_chunks": [other]})
    steps = tracker()
    list(steps.chunk(model_call(), chunk))
    step: Any = steps.steps.get(steps.step_id(AT, "c2"))
    assert step["stepDetails"]["tool_calls"] == [{"id": "c2", "name": "m", "args": {}, "type": "tool_call"}]


def test_a_fragment_that_belongs_to_no_call_is_not_passed_on_as_one_of_a_message() -> None:
    steps, about = tracker(), model_call()
    list(steps.chunk(about, AIMessageChunk("Hel")))
    assert told(steps.chunk(about, fragment(args="{"))) == []
    assert told(steps.chunk(about, AIMessageChunk("lo"))) == [("text", "lo")]


def test_text_that_arrives_while_a_call_is_written_is_part_of_no_message() -> None:
    rows = said(AIMessageChunk("a"), fragment(id="c1", name="n", args=""), AIMessageChunk("b"))
    assert [row for row in rows if row[0] == "text"] == [("text", "a")]


def test_a_call_ends_the_reasoning_before_it() -> None:
    thought = AIMessageChunk("", additional_kwargs={"reasoning_content": "hm"})
    rows = said(thought, fragment(id="c1", name="n", args=""))
    assert rows[:5] == [
        ("open", MESSAGE),
        ("think", "hm"),
        ("close", (MESSAGE, "completed")),
        ("open", MESSAGE),
        ("close", (MESSAGE, "completed")),
    ]


def test_the_end_of_an_answer_closes_its_message_and_opens_steps_for_calls_that_have_none() -> None:
    steps, about = tracker(), model_call()
    list(steps.chunk(about, AIMessageChunk("a")))
    rows = told(steps.end(about, AIMessage("a", tool_calls=[call(1), call(2)])))
    assert rows == [("close", (MESSAGE, "completed")), ("open", "tool_calls"), ("open", "tool_calls")]
    assert [steps.steps.is_open(steps.step_id(AT, each)) for each in ("c1", "c2")] == [True, True]
    assert steps.tool_call_steps.keys() == {"c1", "c2"}


def test_calls_that_cannot_be_read_have_steps_too() -> None:
    steps, about = tracker(), model_call()
    broken: Any = [
        {"id": call_id, "name": name, "args": "{", "error": "no", "type": "invalid_tool_call"}
        for call_id, name in (("c8", "n"), ("c9", None))
    ]
    rows = list(steps.end(about, AIMessage("", tool_calls=[call(1)], invalid_tool_calls=broken)))
    details = [data["stepDetails"] for event, data in rows if str(event) == "on_run_step"]
    shown = [each["tool_calls"] for each in details if each["type"] == "tool_calls"]
    assert [[(each["id"], each["name"]) for each in calls] for calls in shown[-2:]] == [[("c8", "n")], [("c9", "")]]
    assert told(rows).count(("open", "tool_calls")) == 3
    assert steps.step_id(AT, "c8")
    assert steps.step_id(AT, "c9")


def test_an_answer_that_is_given_up_closes_all_its_steps_as_failed() -> None:
    steps, about = tracker(), model_call()
    list(steps.chunk(about, fragment(id="c1", name="n", args="")))
    list(steps.chunk(about, fragment(id="c2", name="n", args="", index=1)))
    assert told(steps.fail(about)) == [("close", ("tool_calls", "failed"))] * 2
    assert told(steps.fail(about)) == []
    assert told(steps.fail(model_call())) == []


def test_two_calls_of_models_at_once_have_lanes_of_their_own() -> None:
    steps, one, other = tracker(), model_call(), model_call(Place("b", "Ben", "agent=b", {}))
    rows = [
        row
        for about, text in ((one, "1"), (other, "2"), (one, "3"))
        for row in steps.chunk(about, AIMessageChunk(text))
    ]
    first, second, third = [data["id"] for event, data in rows if event == "on_message_delta"]
    assert first == third != second


# -- tools ---------------------------------------------------------------


def test_calls_are_numbered_by_tool_and_asking_again_gives_the_same_number() -> None:
    steps = tracker()
    steps.number(AT, AIMessage("", tool_calls=[call(1), call(2), call(3, "other")]))
    assert [steps.turn(AT, each) for each in (call(1), call(2), call(3, "other"), call(1))] == [0, 1, 0, 0]
    assert steps.turn(AT, call(4)) == 2
    assert steps.turn(Place("b", "Ben", "n", {}), call(1)) == 3


def test_a_result_completes_its_call_and_closes_its_step() -> None:
    steps, about = tracker(), model_call()
    answer = AIMessage("", tool_calls=[call(1, x="ä")])
    list(steps.end(about, answer))
    steps.number(AT, answer)
    step_id = steps.step_id(AT, "c1")
    fact = ToolAnswered(AT, call(1, x="ä"), ToolMessage("full", tool_call_id="c1"), "shown", "denied")
    (completed, result), (closed, end) = steps.answer(fact)
    assert (completed, closed) == ("on_run_step_completed", "on_run_step_closed")
    shown = result["result"]
    assert shown["tool_call"] == {
        "id": "c1",
        "name": "n",
        "args": '{"x":"ä"}',
        "output": "shown",
        "progress": 1,
        "outcome": "denied",
    }
    assert (shown["id"], shown["index"], shown["type"]) == (step_id, 0, "tool_call")
    assert (end["id"], end["status"]) == (step_id, "completed")
    plain = ToolAnswered(AT, call(2), ToolMessage("x", tool_call_id="c2"), "x")
    ((_, unknown),) = steps.answer(plain)
    assert unknown["result"]["id"] == ""
    assert "outcome" not in unknown["result"]["tool_call"]


def test_the_steps_of_an_answer_are_numbered_within_it() -> None:
    steps, about = tracker(), model_call()
    rows = [*steps.chunk(about, AIMessageChunk("a")), *steps.end(about, AIMessage("a", tool_calls=[call(1), call(2)]))]
    assert [data["stepIndex"] for event, data in rows if event == "on_run_step"] == [0, 1, 2]
    later = [data for event, data in steps.chunk(model_call(), AIMessageChunk("b")) if event == "on_run_step"]
    assert [(data["index"], data["stepIndex"]) for data in later] == [(3, 0)]


def test_what_another_process_is_told_is_what_waits_and_the_number_of_each_tool() -> None:
    steps, about = tracker(), model_call()
    answer = AIMessage("", tool_calls=[call(1), call(2), call(3, "m")])
    list(steps.end(about, answer))
    steps.number(AT, AIMessage("", tool_calls=[*answer.tool_calls, call(4)]))
    steps.recalled(AT, "c1")
    memory = steps.memory()
    assert [step["stepDetails"]["tool_calls"][0]["id"] for step in memory["steps"]] == ["c2", "c3"]
    assert memory["tool_calls"] == [["a", each, steps.step_id(AT, each)] for each in ("c2", "c3")]
    # A call that has no step yet has its number already; one whose step is closed needs none.
    assert memory["turns"] == [["a", "c2", 1], ["a", "c3", 0], ["a", "c4", 2]]
    assert memory["turns_of_tool"] == {"n": 3, "m": 1}
    fresh = tracker()
    fresh.number(AT, AIMessage("", tool_calls=[call(7), call(8, "k")]))
    fresh.recall(memory)
    assert [fresh.turn(AT, call(number)) for number in (2, 4)] == [1, 2]
    assert fresh.turn(AT, call(9)) == 3
    assert fresh.turn(AT, call(10, "k")) == 1
    assert fresh.step_id(AT, "c2") == steps.step_id(AT, "c2")


def test_a_completion_that_was_told_elsewhere_is_told_no_more() -> None:
    steps, about = tracker(), model_call()
    list(steps.end(about, AIMessage("", tool_calls=[call(1)])))
    steps.recalled(AT, "c1")
    steps.recalled(AT, "unknown")
    assert not steps.steps.is_open(steps.step_id(AT, "c1"))
    assert told(steps.sweep("cancelled")) == []


def test_steps_say_whose_they_are_where_there_are_several_agents() -> None:
    place = Place("a", "Anna", "agent=a", {}, group_id=3)
    steps = tracker(several=True)
    ((_, opened), _) = steps.chunk(model_call(place), AIMessageChunk("a"))
    assert (opened["agentId"], opened["groupId"], opened["runId"]) == ("a", 3, "r")
    assert (opened["index"], opened["stepIndex"], opened["status"], opened["usage"]) == (0, 0, "in_progress", None)
    ((_, closed),) = steps.sweep("failed")
    assert (closed["agentId"], closed["groupId"], closed["status"]) == ("a", 3, "failed")
    assert closed["closed_at"] > closed["created_at"]
    assert steps.steps.get(opened["id"])["status"] == "failed"  # type: ignore[index]
    ((_, alone), _) = tracker().chunk(model_call(), AIMessageChunk("a"))
    assert "agentId" not in alone
    assert "groupId" not in alone


def test_forgetting_starts_indices_again() -> None:
    steps = tracker()
    list(steps.chunk(model_call(), AIMessageChunk("a")))
    steps.number(AT, AIMessage("", tool_calls=[call(1)]))
    steps.clear()
    assert list(steps.steps) == []
    assert steps.turn(AT, call(1)) == 0
    ((_, opened), _) = steps.chunk(model_call(), AIMessageChunk("a"))
    assert opened["index"] == 0


# -- summaries -----------------------------------------------------------

FIGURES = {"model": "m", "provider": "p", "messagesToRefineCount": 4, "summaryVersion": 1}


def test_a_summary_is_a_step_that_starts_grows_and_is_whole() -> None:
    summaries = tracker().summaries
    (opened, step), (started, figures) = summaries.open(AT, FIGURES)
    assert (opened, started) == ("on_run_step", "on_summarize_start")
    assert figures == {"agentId": "a", **FIGURES}
    assert step["summary"] == {"type": "summary", "model": "m", "provider": "p"}
    assert step["stepDetails"]["message_creation"]["message_id"] == step["id"]
    ((_, delta),) = summaries.text(AT, "so far")
    assert delta["id"] == step["id"]
    assert delta["delta"]["summary"]["content"] == [{"type": "text", "text": "so far"}]
    rows = list(summaries.close(AT, {"type": "summary", "tokenCount": 7}, None))
    assert [str(event) for event, _ in rows] == ["on_run_step_completed", "on_run_step_closed", "on_summarize_complete"]
    whole = rows[2][1]["summary"]
    assert whole == rows[0][1]["result"]["summary"]
    assert whole["tokenCount"] == 7
    kept = summaries._steps.get(step["id"])
    assert kept is not None
    assert kept["summary"] == whole
    assert whole["boundary"] == {"messageId": step["id"], "contentIndex": step["index"]}
    completed = rows[0][1]["result"]["completed_at"]
    assert whole["createdAt"] == f"1970-01-01T00:00:00.{completed}Z"


def test_a_summary_that_failed_says_why() -> None:
    summaries = tracker().summaries
    list(summaries.open(AT, FIGURES))
    (_, closed), (over, why) = summaries.close(AT, None, "no model")
    assert (closed["status"], str(over)) == ("failed", "on_summarize_complete")
    assert (why["error"], why["agentId"]) == ("no model", "a")


def test_a_summary_says_when_it_was_made_to_the_millisecond() -> None:
    steps = StepTracker(StepList("r", new_id=lambda prefix: prefix, now_ms=lambda: 1_700_000_000_123))
    list(steps.summaries.open(AT, FIGURES))
    *_, (_, over) = steps.summaries.close(AT, {"type": "summary"}, None)
    assert over["summary"]["createdAt"] == "2023-11-14T22:13:20.123Z"


def test_a_summary_that_was_cut_off_is_written_no_more() -> None:
    for over in (lambda steps: list(steps.sweep("cancelled")), lambda steps: steps.clear()):
        steps = tracker()
        list(steps.summaries.open(AT, FIGURES))
        over(steps)
        with pytest.raises(KeyError):
            list(steps.summaries.text(AT, "late"))


# -- facts ---------------------------------------------------------------


class Heard:
    """A listener, and the events that its handlers were told."""

    def __init__(self, **handlers: Any) -> None:
        self.events: list[tuple[str, Any, Any]] = []
        self.registry = EventHandlerRegistry(handlers)
        for event in (
            *("on_tool_progress", "on_tool_log", "on_agent_log", "on_tool_start", "on_tool_end", "on_context_usage"),
            *("on_run_step", "on_run_step_completed", "on_run_step_closed", "on_message_delta"),
            *("on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"),
        ):
            if event not in handlers:
                self.registry.register(
                    event, lambda event, data, metadata, graph: self.events.append((event, data, metadata))
                )
        self.tracker = tracker()
        self.graph: Any = SimpleNamespace(
            tracker=self.tracker, handler_registry=self.registry, agents=[SimpleNamespace(id="a", name="Anna")]
        )
        self.listener = RunListener("r", self.graph)
        self.listener.begin([HumanMessage("hi", id="m0")])

    async def hear(self, *told: Any) -> None:
        for fact in told:
            await self.listener.hear(fact)

    def of(self, event: str) -> list[Any]:
        return [data for name, data, _ in self.events if name == event]


@pytest.mark.anyio
async def test_what_a_tool_reports_is_told_whole_with_its_step_and_call() -> None:
    heard = Heard()
    about, made = model_call(), call(1)
    await heard.hear(
        facts.ModelStarted(about),
        facts.ModelEnded(about, AIMessage("", tool_calls=[made]), 0.5),
        facts.ToolReported(AT, made, ToolProgress(1, 3, "working")),
        facts.ToolReported(AT, made, ToolLog("info", {"a": 1}, "name")),
        facts.ToolReported(AT, call(9, "other"), ToolProgress(2)),
    )
    step_id = heard.tracker.step_id(AT, "c1")
    known = {"id": step_id, "toolCallId": "c1", "name": "n"}
    assert heard.of("on_tool_progress") == [
        {**known, "progress": 1, "total": 3, "message": "working"},
        {"id": "", "toolCallId": "c9", "name": "other", "progress": 2, "total": None, "message": None},
    ]
    assert heard.of("on_tool_log") == [{**known, "level": "info", "logger": "name", "data": {"a": 1}}]


@pytest.mark.anyio
async def test_metadata_says_where_something_arose_and_each_handler_has_its_own() -> None:
    heard = Heard()
    await heard.hear(facts.ModelStarted(model_call(traced_as="azure")), facts.ModelStarted(model_call()))
    one, other = (metadata for _, _, metadata in heard.events)
    assert one == other
    assert one is not other
    assert one == {
        "thread_id": "t",
        "run_id": "r",
        "agentId": "a",
        "activeAgentId": "a",
        "activeAgentName": "Anna",
        "rootAgentId": "a",
        "rootAgentName": "Anna",
    }
    about = model_call(traced_as="azure")
    await heard.hear(facts.ModelStarted(about), facts.ModelEnded(about, AIMessage("x"), 1.0))
    (_, _, end) = next(row for row in heard.events if row[0] == "on_chat_model_end")
    assert (end["ls_provider"], end["ls_model_name"]) == ("azure", "m")
    plain = model_call()
    await heard.hear(facts.ModelStarted(plain), facts.ModelEnded(plain, AIMessage("x"), 1.0))
    (_, _, end) = [row for row in heard.events if row[0] == "on_chat_model_end"][-1]
    assert end["ls_provider"] == "openai"


@pytest.mark.anyio
async def test_the_end_of_a_call_is_logged_with_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    about = model_call(instruction_tokens=7, tool_schema_tokens=4)
    await heard.hear(facts.ModelStarted(about), facts.ModelEnded(about, AIMessage("x", usage_metadata=usage), 1.236))
    (line,) = heard.of("on_agent_log")
    assert (line["level"], line["scope"], line["runId"], line["agentId"]) == ("debug", "graph", "r", "a")
    assert line["message"] == "LLM call complete (1.24s)"
    assert line["data"] == {
        **usage,
        "elapsedSeconds": 1.24,
        "instructionTokens": 7,
        "toolSchemaTokens": 4,
        "messageCount": 1,
    }


@pytest.mark.anyio
async def test_details_are_logged_only_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    detail = facts.Logged(AT, "debug", "s", "detail", None, detail=True)
    others = [
        facts.Logged(AT, "info", "s", "info", None, detail=True),
        facts.Logged(AT, "debug", "s", "plain", None, detail=False),
    ]
    await heard.hear(detail, *others)
    assert [line["message"] for line in heard.of("on_agent_log")] == ["info", "plain"]
    assert all("data" not in line for line in heard.of("on_agent_log"))
    monkeypatch.setenv("AGENT_DEBUG_LOGGING", "true")
    await heard.hear(detail)
    assert heard.of("on_agent_log")[-1]["message"] == "detail"


@pytest.mark.anyio
async def test_an_answer_aside_is_told_and_is_no_part_of_the_conversation() -> None:
    heard = Heard()
    aside = model_call(off_record=True)
    await heard.hear(
        facts.ModelStarted(aside),
        facts.ModelStreamed(aside, AIMessageChunk("x")),
        facts.ModelEnded(aside, AIMessage("x"), 1.0),
    )
    assert [event for event, _, _ in heard.events] == [
        "on_chat_model_start",
        "on_chat_model_stream",
        "on_chat_model_end",
    ]
    assert heard.listener.produced == []
    assert heard.listener.partial == {}


@pytest.mark.anyio
async def test_a_failed_answer_is_no_longer_written_and_its_steps_are_closed() -> None:
    heard = Heard()
    about = model_call()
    await heard.hear(facts.ModelStarted(about), facts.ModelStreamed(about, AIMessageChunk("x")))
    assert [pieces for _, pieces in heard.listener.partial.values()] == [[AIMessageChunk("x")]]
    await heard.hear(facts.ModelFailed(about, ValueError("no")))
    assert heard.listener.partial == {}
    assert [step["status"] for step in heard.of("on_run_step_closed")] == ["failed"]


@pytest.mark.anyio
async def test_results_are_kept_once_also_when_they_were_told_before() -> None:
    heard = Heard()
    about, made, result = model_call(), call(1), ToolMessage("x", tool_call_id="c1")
    injected = HumanMessage("by the host")
    await heard.hear(
        facts.ModelStarted(about),
        facts.ModelEnded(about, AIMessage("", tool_calls=[made], id="m1"), 1.0),
        facts.ToolAnswered(AT, made, result, "x"),
        facts.ToolRecalled(AT, made, ToolMessage("again", tool_call_id="c1")),
        facts.Injected(AT, [injected]),
    )
    assert [message.content for message in heard.listener.produced] == ["", "x", "by the host"]
    other = Heard()
    await other.hear(facts.ToolRecalled(AT, made, result))
    assert other.listener.produced == [result]


@pytest.mark.anyio
async def test_callbacks_are_called_with_the_graph_and_named_when_they_fail() -> None:
    heard = Heard()
    seen: list[Any] = []

    async def later(graph: Any, output: Any) -> None:
        seen.append(("end", graph is heard.graph, output))

    heard.listener.callbacks = {
        "handle_tool_start": lambda graph, made: seen.append(("start", graph is heard.graph, made["id"])),
        "handle_tool_end": later,
        "handle_tool_error": lambda graph, error, call_id: seen.append(("error", str(error), call_id)),
    }
    made = call(1, x=1)
    await heard.hear(
        facts.ToolStarted(AT, made), facts.ToolEnded(AT, made, "output"), facts.ToolFailed(AT, made, ValueError("no"))
    )
    assert seen == [("start", True, "c1"), ("end", True, "output"), ("error", "no", "c1")]
    assert heard.of("on_tool_start") == [{"input": {"input": '{"x":1}'}}]
    assert heard.of("on_tool_end") == [{"output": "output", "input": {"input": '{"x":1}'}}]

    def fail(*about: Any) -> None:
        raise KeyError("mine")

    heard.listener.callbacks = {"handle_tool_start": fail}
    with pytest.raises(HandlerError, match="The callback 'handle_tool_start' failed: KeyError"):
        await heard.hear(facts.ToolStarted(AT, made))


@pytest.mark.anyio
async def test_a_handler_that_fails_fails_the_run_except_for_what_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: str, *about: Any) -> None:
        raise ValueError("mine")

    heard = Heard(on_message_delta=fail, on_run_step_closed=fail)
    about = model_call()
    with pytest.raises(HandlerError, match="of 'on_message_delta' failed: ValueError: mine") as raised:
        await heard.hear(facts.ModelStarted(about), facts.ModelStreamed(about, AIMessageChunk("x")))
    assert isinstance(raised.value.__cause__, ValueError)
    await heard.listener.sweep("failed")
    (record,) = caplog.records
    assert record.getMessage().startswith("Run 'r' is still running. The handler")
    assert record.exc_info is not None


@pytest.mark.anyio
async def test_what_handlers_cost_is_counted_the_most_expensive_first() -> None:
    clock = FakeClock()
    costs = iter([1.0, 5.0, 2.0])

    def take(event: str, *about: Any) -> None:
        clock.advance(next(costs))

    heard = Heard(on_tool_start=take, on_tool_end=take)
    with clock.for_runs():
        for event in ("on_tool_start", "on_tool_end", "on_tool_start"):
            assert await heard.listener.emit(event, {}, AT)
        assert not await heard.listener.emit("on_nothing", {}, AT)
    dear, cheap = heard.listener.statistics()
    assert (dear.event, dear.calls, dear.total_s, dear.longest_s) == ("on_tool_end", 1, 5.0, 5.0)
    assert (cheap.event, cheap.calls, cheap.total_s, cheap.longest_s) == ("on_tool_start", 2, 3.0, 2.0)


@pytest.mark.anyio
async def test_a_run_goes_on_with_its_own_steps_and_with_no_others() -> None:
    before = Heard()
    before.listener.remember = True
    about = model_call()
    await before.hear(facts.ModelStarted(about), facts.ModelEnded(about, AIMessage("", tool_calls=[call(1)]), 1.0))
    memory: Any = before.listener.memory()
    assert (memory["run"], memory["last_input"]) == ("r", "m0")

    def taken(memory: Any, *, began: bool = False) -> Any:
        heard = Heard()
        if not began:
            heard.listener = RunListener("r", heard.graph)
        heard.listener.recall(memory)
        return heard.listener.last_input_id, [step["id"] for step in heard.tracker.steps]

    own = [step["id"] for step in memory["steps"]]
    assert own
    assert taken(memory) == ("m0", own)
    assert taken({**memory, "run": "other"}) == (None, [])
    assert taken({**memory, "format": 0}) == (None, [])
    assert taken({**memory, "count": 0}, began=True) == ("m0", [])
    # It paused before anything was told: what went in is known all the same.
    assert taken({**memory, "count": 0, "steps": []}) == ("m0", [])
    assert taken({**memory, "last_input": "m9"}, began=True) == ("m0", [])
    before.listener.remember = False
    assert before.listener.memory() is None


# -- steps of agents in another process ----------------------------------


def test_steps_that_another_process_opened_are_found_by_their_calls() -> None:
    there, here = tracker(), tracker()
    rows = list(there.end(model_call(), AIMessage("", tool_calls=[call(1), call(2)])))
    for event, data in rows:
        here.follow(str(event), data, "a")
    assert here.tool_call_steps == there.tool_call_steps
    assert list(here.tool_call_steps) == ["c1", "c2"]
    assert here.step_id(Place("b", "Ben", "agent=b", {}), "c1") == ""
    ((event, closed),) = there.steps.close(there.steps.get(there.step_id(AT, "c1")), "completed")
    here.follow(str(event), closed, "a")
    assert not here.steps.is_open(here.step_id(AT, "c1"))
    assert here.steps.is_open(here.step_id(AT, "c2"))
    here.follow(str(event), {**closed, "id": "unknown"}, "a")
    assert here.tool_call_steps == there.tool_call_steps
    bare = {"id": "s", "index": 9, "type": "tool_calls", "stepDetails": {"type": "tool_calls"}}
    here.follow("on_run_step", bare, "a")
    assert here.steps.get("s") == bare


def test_the_end_of_a_step_that_is_told_late_takes_no_call_from_the_newest_step() -> None:
    there, here = tracker(), tracker()
    rows = [row for _ in range(2) for row in there.end(model_call(), AIMessage("", tool_calls=[call(1)]))]
    first, second = (row for row in rows if row[1].get("type") == "tool_calls")
    late = there.steps.close(there.steps.get(first[1]["id"]), "completed")
    for event, data in (first, second, *late):
        here.follow(str(event), data, "a")
    assert here.step_id(AT, "c1") == second[1]["id"]
    assert not here.steps.is_open(first[1]["id"])


class FullLog:
    """A log that takes events again when a test says so."""

    def __init__(self) -> None:
        self.is_full = True
        self.waiting, self.has_room = asyncio.Event(), asyncio.Event()
        self.kept: list[str] = []

    def put(self, event: str, data: Any, metadata: Any) -> None:
        self.kept.append(event)

    async def room(self) -> None:
        self.waiting.set()
        await self.has_room.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("arose_here", [True, False])
async def test_a_handler_is_called_when_readers_have_caught_up(arose_here: bool) -> None:
    heard = Heard()
    log: Any = FullLog()
    heard.listener = RunListener("r", heard.graph, log)
    telling = heard.listener.emit if arose_here else heard.listener.tell
    task = asyncio.ensure_future(telling("on_tool_start", {"x": 1}, None))
    await asyncio.wait_for(log.waiting.wait(), 10)
    assert heard.events == []
    log.has_room.set()
    await asyncio.wait_for(task, 10)
    log.is_full = False
    log.waiting.clear()
    await telling("on_tool_end", {"x": 2}, None)
    await telling("on_nothing", {}, None)
    assert heard.events == [("on_tool_start", {"x": 1}, None), ("on_tool_end", {"x": 2}, None)]
    assert not log.waiting.is_set()
    assert log.kept == (["on_tool_start", "on_tool_end", "on_nothing"] if arose_here else [])


@pytest.mark.anyio
async def test_events_of_another_process_reach_handlers_where_no_event_is_kept() -> None:
    heard = Heard()
    await heard.listener.tell("on_tool_start", {}, {"agentId": "a"})
    assert heard.events == [("on_tool_start", {}, {"agentId": "a"})]


def test_a_listener_stores_no_steps_unless_its_thread_is_kept() -> None:
    heard = Heard()
    assert heard.listener.memory() is None
    heard.listener.remember = True
    assert heard.listener.memory() is not None


def test_what_comes_after_the_newest_message_that_went_in_is_of_the_run() -> None:
    heard = Heard()
    heard.listener.produced.append(HumanMessage("of the run before"))
    heard.listener.begin([HumanMessage("first", id="m1"), HumanMessage("newest", id="m2")])
    assert heard.listener.last_input_id == "m2"
    assert heard.listener.produced == []
    heard.listener.begin([])
    assert heard.listener.last_input_id is None
    assert list(heard.listener.sent) == []


def test_a_listener_that_heard_of_no_turn_knows_of_nothing_that_went_in() -> None:
    listener = RunListener("r", Heard().graph)
    assert (list(listener.sent), listener.last_input_id, listener.produced) == ([], None, [])
    assert (listener.partial, listener.contexts, listener.callbacks, listener.observe) == ({}, {}, {}, None)


@pytest.mark.anyio
async def test_what_a_handler_returns_counts_for_the_tools_of_the_host_alone() -> None:
    given: list[Any] = []
    heard = Heard(on_tool_start=lambda *about: ["ignored"], on_tool_execute=lambda *about: ["results"])
    request = SimpleNamespace(resolve=given.append)
    await heard.listener.emit("on_tool_start", request, AT)
    await heard.listener.emit("on_tool_execute", request, AT)
    assert given == [["results"]]
