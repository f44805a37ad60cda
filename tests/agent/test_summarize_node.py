"""The node that has a model summarise what does not fit: what the model is asked, and what comes of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable

from stategraph.agent.agent import Agent, Route, Summarising
from stategraph.agent.context.calibration import Calibration
from stategraph.agent.context.context_state import ContextState, Correction, Summary
from stategraph.agent.context.context_window import Fitting, summary_message
from stategraph.agent.context.trimming import TrimSettings
from stategraph.agent.facts import Logged, ModelStreamed, SummaryEnded, SummaryStarted, SummaryStreamed
from stategraph.agent.llm.summarize import SummarizeNode
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.inputs import RetainRecent
from stategraph.agent.settings.usage import SummaryTrigger
from stategraph.engine.config.runtime import Runtime
from tests.agent.recording_listener import RecordingListener


class Model(Runnable[Any, Any]):
    """Answers by a function of the messages."""

    def __init__(self, answer: Callable[[list[Any]], str]) -> None:
        self.answer = answer
        self.asked: list[list[Any]] = []

    def invoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        self.asked.append(list(input))
        return AIMessageChunk(content=self.answer(input))

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        return self.invoke(input)

    async def astream(self, input: Any, config: Any = None, **_: Any) -> AsyncIterator[Any]:
        yield self.invoke(input)

    def texts(self) -> list[list[str]]:
        return [[each.content for each in asked] for asked in self.asked]


def counter(message: AnyMessage) -> int:
    return len(str(message.content))


TURNS: list[AnyMessage] = [
    *(HumanMessage("q1", id="q1"), AIMessage("a1", id="a1"), HumanMessage("q2", id="q2"), AIMessage("a2", id="a2")),
    *(HumanMessage("q3", id="q3"), AIMessage("a3", id="a3")),
]
HOW = Summarising((), "Summarise.", "Go on.", retain=RetainRecent(turns=1))


def summarise(
    answer: Callable[[list[Any]], str],
    messages: list[AnyMessage] = TURNS,
    how: Summarising = HOW,
    listener: RecordingListener | None = None,
    *,
    sync: bool = False,
    memory: Any = None,
    counting: Any = counter,
    **state: Any,
) -> tuple[Model, dict[str, Any]]:
    """Run the node; return the model and the update."""
    model = Model(answer)
    fitting = Fitting(TrimSettings(max_context_tokens=1000))
    flags = {"offers_tools": True, "plain_text": False, "tool_end": False}
    agent = Agent(id="writer", name="Writer", routes=(), fitting=fitting, **flags)
    node = SummarizeNode(agent, replace(how, routes=(Route(model, "p", "m"),)))
    given: Any = {"messages": messages, "windows": {"writer": ContextState(**state).stored()}, "memory": memory}
    runtime: Any = Runtime(context=AgentContext(token_counter=counting, listener=listener))
    if sync:
        return model, node.call(given, {}, runtime)
    return model, asyncio.run(node.acall(given, {}, runtime))


def stored(update: dict[str, Any]) -> ContextState:
    return ContextState.of(update["windows"]["writer"])


def notes(_: list[Any]) -> str:
    return " notes "


def fails(_: list[Any]) -> str:
    raise LookupError("no key-123")


WORDS = len(str(summary_message("notes").content))


@pytest.mark.parametrize("sync", [True, False])
def test_a_summary_stands_for_what_it_covers_and_what_was_learned_of_the_context_stays(sync: bool) -> None:
    before: dict[str, Any] = {
        "calibration": Calibration(1.5, 3),
        "tools": Correction(1, 2),
        "size": Correction(3, 4),
        "rejected": 2,
        "writes": 7,
        "counts": {"q1": 5},
        "newest": "a3",
        "oldest": "q2",
        "reported": (1, 2),
        "wanted": True,
        "failed_after": "q1",
    }
    model, update = summarise(notes, sync=sync, **before)
    assert model.texts() == [["q1", "a1", "q2", "a2", "Summarise."]]
    assert update.keys() == {"windows"}
    assert stored(update) == ContextState(
        calibration=Calibration(1.5),
        tools=Correction(1, 2),
        size=Correction(3, 4),
        rejected=2,
        writes=9,
        summary=Summary("notes", WORDS, 1, "a2"),
        summarised_at=2,
    )


def test_tokens_of_a_summary_are_counted_even_without_a_counter_of_the_host() -> None:
    _, update = summarise(notes, counting=None)
    summary = stored(update).summary
    assert summary is not None and 0 < summary.tokens < WORDS


def test_a_summary_goes_on_from_the_one_before() -> None:
    model, update = summarise(notes, summary=Summary("old notes", 9, 3, "a1"))
    asked = "Go on.\n\n<previous-summary>\nold notes\n</previous-summary>"
    assert model.texts() == [["q2", "a2", asked]]
    assert stored(update).summary == Summary("notes", WORDS, 4, "a2")
    model, update = summarise(notes, how=replace(HOW, initial="from before"))
    assert model.texts()[0][-1] == "Go on.\n\n<previous-summary>\nfrom before\n</previous-summary>"
    assert stored(update).summary == Summary("notes", WORDS, 2, "a2")


def test_no_conversation_begins_with_an_answer() -> None:
    model, _ = summarise(notes, summary=Summary("old notes", 9, 1, "q1"))
    assert model.texts()[0][:2] == ["What was said before this is left out.", "a1"]


def test_a_summary_covers_up_to_the_newest_message_that_can_be_named() -> None:
    unnamed = [*TURNS[:3], AIMessage("a2"), *TURNS[4:]]
    _, update = summarise(notes, unnamed)
    summary = stored(update).summary
    assert summary is not None and summary.covers == "q2"
    _, update = summarise(notes, [HumanMessage("q1"), AIMessage("a1"), *TURNS[4:]])
    assert (stored(update).summary, stored(update).failed_after) == (None, "q3")


@pytest.mark.parametrize("answer", [fails, lambda _: " "])
@pytest.mark.parametrize("sync", [True, False])
def test_a_summary_that_cannot_be_made_is_not_tried_again_in_the_turn(
    answer: Callable[[list[Any]], str], sync: bool
) -> None:
    old = Summary("old notes", 9, 1, "a1")
    _, update = summarise(answer, sync=sync, summary=old, wanted=True, counts={"q3": 5})
    assert stored(update) == ContextState(counts={"q3": 5}, summary=old, failed_after="q3", writes=2)
    _, update = summarise(answer, TURNS[:4], replace(HOW, retain=RetainRecent(turns=0)), sync=sync)
    assert stored(update).failed_after == "q2"


@pytest.mark.parametrize("sync", [True, False])
def test_where_there_is_nothing_to_summarise_no_model_is_asked(sync: bool) -> None:
    model, update = summarise(notes, TURNS[:1], sync=sync, wanted=True, counts={"q1": 5})
    assert model.asked == []
    assert stored(update) == ContextState(counts={"q1": 5}, writes=2)


# Messages that are too long for the model that summarises.


def takes(most: int) -> Callable[[list[Any]], str]:
    """A model that takes so many messages, the request among them."""

    def answer(asked: list[Any]) -> str:
        if len(asked) > most:
            raise ValueError("This model's maximum context length is 10 tokens, and you requested 20 tokens")
        return f"notes of {asked[0].content} to {asked[-2].content}"

    return answer


def many(number: int) -> list[AnyMessage]:
    return [HumanMessage(f"q{each}", id=f"q{each}") for each in range(number)]


ALL = replace(HOW, retain=RetainRecent(turns=0))


def test_what_is_too_long_is_summarised_in_two_parts_the_second_going_on_from_the_first() -> None:
    model, update = summarise(takes(3), many(4), ALL)
    assert [len(asked) for asked in model.asked] == [5, 3, 3]
    assert model.texts()[1][-1] == "Summarise."
    assert "notes of q0 to q1" in model.texts()[2][-1]
    summary = stored(update).summary
    assert summary is not None
    assert (summary.text, summary.covers) == ("notes of q2 to q3", "q3")


def test_parts_are_parted_three_times_and_no_more() -> None:
    model, update = summarise(takes(2), many(8), ALL)
    assert [len(asked) for asked in model.asked] == [9, 5, 3, 2, 2, 3, 2, 2, 5, 3, 2, 2, 3, 2, 2]
    assert stored(update).summary is not None
    model, update = summarise(takes(2), many(16), ALL)
    assert [len(asked) for asked in model.asked] == [17, 9, 5, 3]
    assert stored(update).summary is None


def test_one_message_is_not_parted_and_neither_is_a_result_from_its_call() -> None:
    model, update = summarise(takes(1), many(1), ALL)
    assert [len(asked) for asked in model.asked] == [2]
    calls = [{"name": "look", "args": {}, "id": str(each), "type": "tool_call"} for each in range(2)]
    results = [ToolMessage(f"r{each}", tool_call_id=str(each), id=f"r{each}") for each in range(2)]
    conversation: list[AnyMessage] = [*many(1), AIMessage("a", tool_calls=calls, id="a"), *results]
    model, update = summarise(takes(4), conversation, ALL)
    assert model.texts()[1][:-1] == ["q0"]
    assert model.texts()[2][:-1] == ["What was said before this is left out.", "a", "r0", "r1"]
    assert stored(update).summary is None


def test_an_error_of_another_kind_is_no_reason_to_part_messages() -> None:
    model, _ = summarise(fails, many(4), ALL)
    assert len(model.asked) == 1


# With a listener.


def test_a_summary_is_told_from_its_start_to_its_end() -> None:
    listener = RecordingListener()
    how = replace(HOW, trigger=SummaryTrigger("token_ratio", 0.5), initial="from before")
    _, update = summarise(notes, how=how, listener=listener)
    assert [type(each).__name__ for each in listener.heard] == [
        *("SummaryStarted", "ModelStarted", "ModelStreamed", "SummaryStreamed", "ModelEnded", "SummaryEnded", "Logged")
    ]
    started, _, streamed, piece, _, ended, logged = listener.heard
    assert isinstance(started, SummaryStarted) and isinstance(streamed, ModelStreamed)
    assert isinstance(piece, SummaryStreamed) and isinstance(ended, SummaryEnded) and isinstance(logged, Logged)
    assert started.trigger == "token_ratio"
    assert started.figures == {"provider": "p", "model": "m", "messagesToRefineCount": 4, "summaryVersion": 2}
    assert (streamed.call.off_record, streamed.call.history) == (True, 4)
    assert (piece.text, piece.at.node) == (" notes ", "summarize=writer")
    assert ended.summary == {
        "type": "summary",
        "content": [{"type": "text", "text": "notes"}],
        "tokenCount": WORDS,
        "summaryVersion": 2,
        "coverage": {"retainedFromMessageId": "q3"},
        "provider": "p",
        "model": "m",
    }
    assert (ended.left, ended.error) == (2, None)
    assert (logged.level, logged.scope, logged.message) == ("info", "summarize", "Summary persisted")
    assert "memory" not in update


def test_a_summary_says_from_which_message_of_a_person_on_all_is_kept() -> None:
    def kept(messages: list[AnyMessage]) -> Any:
        listener = RecordingListener()
        summarise(notes, [*TURNS[:4], *messages], listener=listener)
        (ended,) = [each for each in listener.heard if isinstance(each, SummaryEnded)]
        assert ended.summary is not None
        return ended.summary.get("coverage")

    told = HumanMessage("told", id="t", additional_kwargs={"isMeta": True})
    assert kept([HumanMessage("q3"), AIMessage("a3", id="a3")]) == {"retainedFromMessageId": "a3"}
    assert kept([HumanMessage("q3"), told, AIMessage("a3", id="a3")]) == {"retainedFromMessageId": "a3"}
    assert kept([HumanMessage("q3")]) is None


@pytest.mark.parametrize(
    ("answer", "why", "more"),
    [
        (fails, "No summary could be made: LookupError", ": no key-123"),
        (lambda _: " ", "The summary is empty", ""),
    ],
)
def test_a_summary_that_cannot_be_made_is_told_with_the_reason(
    answer: Callable[[list[Any]], str], why: str, more: str
) -> None:
    listener = RecordingListener()
    summarise(answer, listener=listener)
    started, *_, ended, logged = listener.heard
    assert isinstance(started, SummaryStarted) and started.trigger == "default"
    assert isinstance(ended, SummaryEnded) and isinstance(logged, Logged)
    on = "; the run continues with the messages that fit"
    assert (ended.summary, ended.error) == (None, why + on)
    assert (logged.level, logged.scope, logged.message) == ("warn", "summarize", why + more + on)


def test_what_a_listener_remembers_is_given_back_and_kept() -> None:
    listener = RecordingListener()
    _, update = summarise(notes, listener=listener, memory={"n": 1})
    assert (listener.recalled, update.get("memory")) == ([{"n": 1}], None)
    listener.remembers = {"n": 2}
    _, update = summarise(notes, listener=listener)
    assert (listener.recalled, update["memory"]) == ([{"n": 1}], {"n": 2})
    assert stored(update).summary is not None
    _, update = summarise(notes, memory={"n": 1})
    assert "memory" not in update
