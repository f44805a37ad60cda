"""What an agent's model is sent, and what an answer or a refusal teaches for the next call."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.context import context_window
from stategraph.agent.context.calibration import HIGHEST_RATIO, Calibration
from stategraph.agent.context.context_state import ContextState, Correction, Summary
from stategraph.agent.context.context_window import Fitting, Instructions, Window
from stategraph.agent.context.handoff import Outlook
from stategraph.agent.context.trimming import TrimSettings
from stategraph.agent.messages.compaction import FadingTier
from stategraph.agent.ports import AgentContext


def words(message: BaseMessage) -> int:
    """A counter: so many words, and one for the message."""
    return 1 + len(str(message.content).split())


COUNTING = AgentContext(token_counter=words)
SYSTEM = SystemMessage("be very kind")


def talk(count: int, length: int = 9) -> list[AnyMessage]:
    """So many messages of ten tokens, a person's and a model's in turn."""
    text = " ".join(["word"] * length)
    return [(HumanMessage if index % 2 == 0 else AIMessage)(text, id=f"m{index}") for index in range(count)]


def fitting(size: int, **more: Any) -> Fitting:
    return Fitting(TrimSettings(size, reserve_ratio=0.0), schema_tokens=more.pop("schema_tokens", 0), **more)


def outlook(messages: list[AnyMessage]) -> Outlook:
    return Outlook(SYSTEM, messages, ())


def prompt(
    messages: list[AnyMessage],
    size: int = 1_000,
    context_state: ContextState | None = None,
    context: AgentContext = COUNTING,
    **more: Any,
) -> Any:
    window = Window(fitting(size, **more))
    return window, window.prompt(
        outlook(messages), ContextState() if context_state is None else context_state, context, "a"
    )


def reported(read: int, written: int, **about: Any) -> AIMessage:
    usage: Any = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    return AIMessage("fine", usage_metadata=usage, **about)


# -- what is sent --------------------------------------------------------


def test_all_is_sent_where_nobody_counts_or_the_size_is_not_known() -> None:
    messages = talk(5)
    for window, context in ((Window(None), COUNTING), (Window(fitting(10)), AgentContext())):
        whole = window.prompt(outlook(messages), ContextState(), context, "a")
        assert whole.whole == [SYSTEM, *messages]
        assert whole.trimmed is None
        assert list(whole.log) == []
        assert not whole.empty
        assert whole.context_state == ContextState()
        assert whole.instructions == whole.corrected == Instructions(0, 0, 0, None)
        assert (whole.settings, whole.said) == (None, 0)


def test_the_newest_messages_that_fit_are_sent_after_the_instructions() -> None:
    messages = talk(8)
    _, chosen = prompt(messages, 40)
    assert chosen.whole[0] is SYSTEM
    assert 0 < len(chosen.history) < 8
    assert list(chosen.history) == messages[8 - len(chosen.history) :]
    assert chosen.instructions.total == words(SYSTEM)
    assert chosen.said == 40


def test_a_summary_is_sent_in_place_of_what_it_covers() -> None:
    summary = Summary("They said hi.", 20, 1, "m3")
    _, chosen = prompt(talk(6), context_state=ContextState(summary=summary))
    system, told, *rest = chosen.whole
    assert system is SYSTEM
    assert told.content.startswith("<summary>\nThey said hi.\n</summary>\n\nThis summary stands for")
    assert [message.id for message in rest] == ["m4", "m5"]
    assert chosen.instructions.summary == 20
    assert chosen.instructions.total == 20 + words(SYSTEM)


def test_a_corrected_size_holds_until_the_host_says_another() -> None:
    corrected = ContextState(size=Correction(1_000, 30))
    _, small = prompt(talk(8), 1_000, corrected)
    assert small.settings.max_context_tokens == 30
    assert len(small.history) < 8
    _, large = prompt(talk(8), 900, corrected)
    assert large.settings.max_context_tokens == 900
    assert len(large.history) == 8


def test_counts_of_the_host_are_believed_for_messages_that_were_not_counted() -> None:
    context = AgentContext(token_counter=words, token_counts={"m0": 500, "m1": 7})
    _, chosen = prompt(talk(3), 1_000, ContextState(counts={"m1": 9}), context)
    assert dict(chosen.context_state.counts) == {"m0": 500, "m1": 9, "m2": 10}


def test_results_that_only_the_host_has_counted_are_counted_again() -> None:
    messages = [*talk(1), result_of("look", 1, "a b c"), result_of("look", 2, "a b c"), result_of("look", 3, "a b c")]
    context = AgentContext(token_counter=words, token_counts={"r1": 1, "r2": 1, "r3": 90})
    for known, counts in (
        ({}, {"m0": 10, "r1": 4, "r2": 4, "r3": 90}),
        ({"m0": 2, "r1": 2}, {"m0": 2, "r1": 2, "r2": 4, "r3": 90}),
        ({"m0": 2, "r1": 2, "r2": 2, "r3": 2}, {"m0": 2, "r1": 2, "r2": 2, "r3": 2}),
        ({"r1": 2}, {"m0": 10, "r1": 4, "r2": 4, "r3": 90}),
    ):
        _, chosen = prompt(messages, 1_000, ContextState(counts=known), context)
        assert dict(chosen.context_state.counts) == counts


def test_instructions_and_tools_are_counted_once_for_a_counter() -> None:
    counted: list[str] = []

    def counter(message: BaseMessage) -> int:
        counted.append(str(message.content))
        return words(message)

    window = Window(fitting(1_000))
    for system in (SYSTEM, SYSTEM, SystemMessage("be brief")):
        window.prompt(Outlook(system, talk(1), ()), ContextState(), AgentContext(token_counter=counter), "a")
    assert counted.count("be very kind") == 1
    assert counted.count("be brief") == 1


def test_another_counter_counts_instructions_and_tools_for_itself() -> None:
    @tool
    def look(at: str) -> str:
        """Look at something."""
        return at

    window = Window(Fitting(TrimSettings(10_000), shown=(look,)))
    for each in (7, 50, 7):
        counting = AgentContext(token_counter=lambda message, each=each: each)
        chosen = window.prompt(outlook(talk(1)), ContextState(), counting, "a")
        assert (chosen.instructions.system, chosen.instructions.tools) == (each, math.ceil(each * 1.4))
        assert chosen.instructions.by_tool == {"look": math.ceil(each * 1.4)}
        assert chosen.context_state.counts == {"m0": each}
    bare = window.prompt(Outlook(None, talk(1), ()), ContextState(), counting, "a")
    assert (bare.system, bare.instructions.system, bare.instructions.summary) == (None, 0, 0)
    assert bare.whole == talk(1)


@pytest.mark.parametrize(("summarise", "used"), [(None, False), (True, True), (False, False)])
def test_a_caller_may_say_that_messages_can_be_summarised(summarise: bool | None, used: bool) -> None:
    window = Window(fitting(1_000))
    chosen = window.prompt(outlook(talk(2)), ContextState(), COUNTING, "a", summarise=summarise)
    assert chosen.settings is not None
    assert chosen.settings.summarise is used


# -- what an answer teaches ----------------------------------------------


def test_reported_tokens_are_kept_for_the_next_call_and_the_answer_has_its_count() -> None:
    _, chosen = prompt(talk(3), context_state=ContextState(rejected=2))
    after = context_window.answered(chosen, reported(44, 6, id="new"))
    assert after.reported == (44, 0)
    assert after.counts == {**chosen.context_state.counts, "new": 6}
    assert after.rejected == 0


@pytest.mark.parametrize("answer", [reported(44, 0, id="new"), reported(44, 6)], ids=["no tokens", "no id"])
def test_an_answer_without_tokens_or_without_an_id_has_no_count(answer: AIMessage) -> None:
    _, chosen = prompt(talk(3))
    assert context_window.answered(chosen, answer).counts == chosen.context_state.counts


def test_an_answer_without_usage_ends_a_row_of_refusals_all_the_same() -> None:
    _, chosen = prompt(talk(3), context_state=ContextState(rejected=2, reported=(1, 0)))
    after = context_window.answered(chosen, AIMessage("fine", id="new"))
    assert (after.reported, after.rejected) == (None, 0)
    assert after.counts == chosen.context_state.counts


def test_nothing_is_learned_where_nobody_counts() -> None:
    whole = Window(None).prompt(outlook(talk(2)), ContextState(), COUNTING, "a")
    assert context_window.answered(whole, reported(1, 1, id="new")) is whole.context_state
    assert context_window.rejected(whole, ValueError("prompt is too long: 900 tokens > 400 maximum")) is None


# -- what a refusal teaches ----------------------------------------------

REFUSAL = ValueError("prompt is too long: 900 tokens > 400 maximum")


def test_a_refusal_says_how_large_the_context_is() -> None:
    _, chosen = prompt(talk(8), 1_000)
    after = context_window.rejected(chosen, REFUSAL)
    assert after is not None
    assert after.size == Correction(1_000, 400)
    assert (after.reported, after.rejected) == ((900, 0), 1)
    assert chosen.refused_by(REFUSAL)


def test_other_errors_teach_nothing_and_refusals_are_recovered_a_few_times_in_a_row() -> None:
    _, chosen = prompt(talk(8), 1_000)
    assert context_window.rejected(chosen, ValueError("out of order")) is None
    assert not chosen.refused_by(ValueError("out of order"))
    for before, again in ((0, True), (1, True), (2, False)):
        refused = replace(chosen, context_state=replace(chosen.context_state, rejected=before))
        after = context_window.rejected(refused, REFUSAL)
        assert (after is not None) is again
        assert after is None or after.rejected == before + 1


def test_a_context_that_instructions_would_fill_is_not_tried() -> None:
    _, chosen = prompt(talk(2), 1_000, schema_tokens=450)
    assert context_window.rejected(chosen, REFUSAL) is None


# -- what is told --------------------------------------------------------


def test_figures_tell_what_fills_the_context() -> None:
    call = AIMessage("", id="call", tool_calls=[{"id": "c", "name": "n", "args": {}}])
    messages = [*talk(2), call, ToolMessage("a b c", tool_call_id="c", name="n", id="r")]
    window, chosen = prompt(messages, 1_000, schema_tokens=50, initial_summary_tokens=3)
    figures = window.figures(chosen, words)
    assert figures["contextBudget"] == 1_000
    assert figures["effectiveInstructionTokens"] == 50 + words(SYSTEM)
    assert figures["calibrationRatio"] == 1.0
    breakdown = figures["breakdown"]
    start_of_the_answer = 3
    sent = sum(map(words, chosen.history)) + start_of_the_answer
    assert breakdown["messageTokens"] == sent
    assert breakdown["messageCount"] == len(chosen.history)
    assert breakdown["availableForMessages"] == 1_000 - 50 - words(SYSTEM)
    assert (breakdown["maxContextTokens"], breakdown["toolSchemaTokens"]) == (1_000, 50)
    assert (breakdown["systemMessageTokens"], breakdown["summaryTokens"]) == (words(SYSTEM), 3)
    assert figures["remainingContextTokens"] == 1_000 - 50 - words(SYSTEM) - sent
    tools = [message for message in chosen.history if isinstance(message, ToolMessage) or message is call]
    assert breakdown["toolMessageTokens"] == sum(map(words, tools))
    assert breakdown["toolMessageTokenCounts"]["n"] == 4


@pytest.mark.parametrize(
    ("size", "schema", "advice", "too_much"),
    [
        (8, 0, "Please increase the context window size or make your message shorter.", False),
        (60, 100, "Tool definitions (100 tokens, 0 tools) exceed maxContextTokens (60).", True),
        (3, 0, "Instructions (4 tokens) exceed maxContextTokens (3).", True),
    ],
)
def test_a_conversation_of_which_nothing_fits_is_refused_with_the_reason(
    size: int, schema: int, advice: str, too_much: bool
) -> None:
    window, chosen = prompt(talk(1), size, schema_tokens=schema)
    assert chosen.empty
    error, row = window.refusal(chosen)
    said = json.loads(str(error))
    assert said["type"] == "empty_messages"
    assert advice in said["info"]
    assert "messageTokens:       10 (1 messages)" in said["info"]
    assert (row.level, row.data and row.data["instructionsExceedBudget"]) == ("error", too_much)
    with pytest.raises(type(error), match="empty_messages"):
        window.check(chosen)


def test_a_conversation_that_has_not_begun_is_not_refused() -> None:
    window, chosen = prompt([], 1)
    assert not chosen.empty
    window.check(chosen)


# -- what is kept between calls ------------------------------------------


def test_what_is_kept_names_the_messages_that_were_there() -> None:
    messages = [*talk(8), HumanMessage("last")]
    _, chosen = prompt(messages, 40)
    kept = chosen.context_state
    assert (kept.newest, kept.oldest) == ("m7", chosen.history[0].id)
    assert set(kept.counts) == {f"m{index}" for index in range(8)}
    _, whole = prompt(talk(2))
    assert (whole.context_state.newest, whole.context_state.oldest) == ("m1", None)


def test_a_report_is_compared_with_the_messages_that_were_sent() -> None:
    _, chosen = prompt(talk(8), 40)
    sent = 10 * len(chosen.history)
    assert 0 < sent < 80
    answer = reported(words(SYSTEM) + 2 * sent, 5, id="m8")
    _, after = prompt([*talk(8), answer], 40, context_window.answered(chosen, answer))
    learned = after.context_state.calibration
    assert (learned.ratio, learned.sent, learned.reported) == (2.0, sent, 2 * sent)
    # Without the message that was kept as the oldest, all of those that were there then count.
    edited = [message for message in talk(8) if message.id != chosen.history[0].id]
    _, other = prompt([*edited, answer], 40, context_window.answered(chosen, answer))
    assert other.context_state.calibration.sent == 70


def test_nothing_is_learned_from_a_report_where_the_newest_message_of_then_is_gone() -> None:
    for newest, sent in (("m1", 20), ("m0", 10), ("gone", 0), (None, 0)):
        kept = ContextState(counts={"m0": 10, "m1": 10}, newest=newest, reported=(40, 1))
        _, chosen = prompt(talk(3), context_state=kept)
        assert chosen.context_state.calibration.sent == sent


def test_a_calibration_of_the_host_counts_until_there_is_one_of_the_thread() -> None:
    context = AgentContext(token_counter=words, calibration_ratio=2.0)
    window, chosen = prompt(talk(3), context=context)
    assert chosen.context_state.calibration.ratio == 2.0
    assert window.figures(chosen, words)["breakdown"]["messageTokens"] == 2 * 3 * 10 + 2 * 3
    learned = ContextState(calibration=Calibration(ratio=1.5, sent=10, reported=15))
    assert prompt(talk(3), context_state=learned, context=context)[1].context_state.calibration.ratio == 1.5
    _, bounded = prompt(talk(3), context=AgentContext(token_counter=words, calibration_ratio=99.0))
    assert bounded.context_state.calibration.ratio == HIGHEST_RATIO


def test_how_far_results_are_shortened_is_the_hosts_word_at_the_beginning_of_a_conversation() -> None:
    given, own = FadingTier(2), FadingTier(1)
    context = AgentContext(token_counter=words, fading_tiers={"a": given, "b": FadingTier(3)})
    for context_state, tier in (
        (ContextState(), given),
        (ContextState(tier=own), given),
        (ContextState(tier=own, newest="m0"), own),
        (ContextState(tier=own, summary=Summary("s", 1, 1, "m0")), own),
    ):
        assert prompt(talk(3), context_state=context_state, context=context)[1].context_state.tier == tier
    _, other = prompt(talk(3), context_state=ContextState(tier=own), context=COUNTING)
    assert other.context_state.tier == own


def test_the_tokens_of_tools_are_corrected_by_what_a_provider_reports() -> None:
    messages = talk(4)
    as_counted = words(SYSTEM) + 100 + int(30 * HIGHEST_RATIO)
    for more, corrected in ((15, None), (16, Correction(100, 116))):
        _, first = prompt(messages[:3], schema_tokens=100)
        answered = context_window.answered(first, reported(as_counted + more, 5, id="m3"))
        window, after = prompt(messages, context_state=answered, schema_tokens=100)
        assert after.context_state.tools == corrected
        assert after.context_state.reported is None
        told = window.figures(after, words)["breakdown"]["toolSchemaTokens"]
        assert told == (100 if corrected is None else 116)
        assert after.instructions.tools == 100
        _, later = prompt(messages, context_state=after.context_state, schema_tokens=100)
        assert later.instructions.tools == told
        _, other = prompt(messages, context_state=after.context_state, schema_tokens=90)
        assert other.instructions.tools == 90


def test_corrected_tokens_are_shared_out_to_the_tools() -> None:
    @tool
    def look(at: str) -> str:
        """Look at something."""
        return at

    @tool
    def find(what: str, where: str) -> str:
        """Find something somewhere."""
        return what + where

    def tools(context_state: ContextState) -> Any:
        window, chosen = prompt(talk(3), context_state=context_state, shown=(look, find), schema_tokens=None)
        return window.figures(chosen, words)["breakdown"]

    counted = tools(ContextState())
    assert counted["toolCount"] == 2
    assert set(counted["toolTokenCounts"]) == {"look", "find"}
    assert sum(counted["toolTokenCounts"].values()) == counted["toolSchemaTokens"] > 0
    known = counted["toolSchemaTokens"]
    doubled = tools(ContextState(tools=Correction(known, 2 * known)))
    assert doubled["toolTokenCounts"] == {name: 2 * count for name, count in counted["toolTokenCounts"].items()}
    window, chosen = prompt(talk(3), shown=(look, find), schema_tokens=50)
    assert "toolTokenCounts" not in window.figures(chosen, words)["breakdown"]
    window, chosen = prompt(talk(3), schema_tokens=50)
    assert window.figures(chosen, words)["breakdown"]["toolTokenCounts"] == {}


# -- what calls and results take -----------------------------------------


def call_of(name: str, number: int, text: str = "") -> AIMessage:
    return AIMessage(text, id=f"call{number}", tool_calls=[{"id": f"c{number}", "name": name, "args": {}}])


def result_of(name: str | None, number: int, text: str) -> ToolMessage:
    return ToolMessage(text, tool_call_id=f"c{number}", name=name, id=f"r{number}")


def test_the_share_of_tools_is_told_by_tool() -> None:
    messages = [
        *talk(1),
        call_of("look", 1),
        result_of("look", 1, "a b c"),
        call_of("look", 2, "I look again."),
        result_of("look", 2, "d e"),
        call_of("find", 3),
        result_of(None, 3, "f"),
    ]
    window, chosen = prompt(messages)
    breakdown = window.figures(chosen, words)["breakdown"]
    # A call with words for the person is an answer, not a part of its tools' share.
    assert breakdown["toolMessageTokens"] == 1 + 4 + 3 + 1 + 2
    assert breakdown["toolMessageTokenCounts"] == {"look": 7, "unknown_tool": 2}
    assert "toolMessageTokenCounts" not in window.figures(prompt(talk(2))[1], words)["breakdown"]


def test_the_share_of_tools_is_never_more_than_all_messages() -> None:
    messages = [*talk(1, 1), call_of("look", 1), result_of("look", 1, "a b c d e f g"), result_of("see", 1, "a")]
    window, chosen = prompt(messages, context=AgentContext(token_counter=words))
    much = replace(chosen, context_state=replace(chosen.context_state, counts={"r1": 60}))
    figures = window.figures(much, words)["breakdown"]
    assert figures["toolMessageTokens"] == figures["messageTokens"]
    assert sum(figures["toolMessageTokenCounts"].values()) <= figures["messageTokens"]


def test_a_summary_of_the_conversation_is_told_in_place_of_the_initial_one() -> None:
    summary = Summary("They said hi.", 20, 1, "m3")
    window, chosen = prompt(talk(6), context_state=ContextState(summary=summary), initial_summary_tokens=3)
    assert window.figures(chosen, words)["breakdown"]["summaryTokens"] == 20


def test_tools_that_are_half_of_the_instructions_are_not_most_of_them() -> None:
    for schema, said in ((4, "Instructions (8 tokens) exceed"), (5, "Tool definitions (5 tokens, 0 tools) exceed")):
        window, chosen = prompt(talk(1), 7, schema_tokens=schema)
        assert said in json.loads(str(window.refusal(chosen)[0]))["info"]
    window, chosen = prompt(talk(1), 8, schema_tokens=4)
    error, row = window.refusal(chosen)
    assert "Please increase" in str(error)
    assert row.data is not None
    assert row.data["messageCount"] == 1
    assert "availableForMessages: 0" in str(error)
    assert "summaryTokens:       0" in str(error)
