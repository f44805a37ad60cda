"""What a summary is to stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.agent import Summarising
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.context_window import Instructions, Prompt
from stategraph.agent.context.trimming import Trimmed, TrimSettings, TrimState
from stategraph.agent.llm.summaries import due, newest_turn, span
from stategraph.agent.settings.inputs import RetainRecent
from stategraph.agent.settings.usage import SummaryTrigger

SIZE = 1000


def count(message: AnyMessage) -> int:
    return len(str(message.content))


def turn(number: int, rounds: int = 0, tokens: int = 10) -> list[AnyMessage]:
    """A question, rounds of a call and its result, and an answer; each takes so many tokens."""
    text = "x" * tokens
    messages: list[AnyMessage] = [HumanMessage(text, id=f"q{number}")]
    for each in range(rounds):
        call = {"name": "look", "args": {}, "id": f"{number}.{each}", "type": "tool_call"}
        messages += [AIMessage(text, tool_calls=[call]), ToolMessage(text, tool_call_id=f"{number}.{each}")]
    return [*messages, AIMessage(text)]


def test_the_newest_turns_stay() -> None:
    messages = [*turn(1), *turn(2), *turn(3)]
    assert span(messages, RetainRecent(turns=2), count, SIZE) == (0, 2)
    assert span(messages, RetainRecent(turns=1), count, SIZE) == (0, 4)


def test_nothing_stays_if_the_host_wants_so() -> None:
    assert span(turn(1), RetainRecent(turns=0), count, SIZE) == (0, 2)


def test_older_turns_stay_only_as_far_as_they_fit_and_the_newest_in_any_case() -> None:
    messages = [*turn(1), *turn(2), *turn(3)]
    assert span(messages, RetainRecent(turns=3, tokens=45), count, SIZE) == (0, 2)
    assert span(messages, RetainRecent(turns=3, tokens=5), count, SIZE) == (0, 4)


def test_a_leading_system_message_is_no_part_of_a_summary() -> None:
    messages = [SystemMessage("s"), *turn(1), *turn(2), *turn(3)]
    assert span(messages, RetainRecent(turns=2), count, SIZE) == (1, 3)


def test_a_message_that_no_person_wrote_leads_no_turn() -> None:
    told = HumanMessage("told", additional_kwargs={"isMeta": True})
    messages = [*turn(1), *turn(2), told, *turn(3)]
    assert span(messages, RetainRecent(turns=2), count, SIZE) == (0, 2)
    assert newest_turn([*turn(1), told]) == "q1"


def test_there_is_nothing_to_summarise_in_a_single_question() -> None:
    assert span([HumanMessage("x" * 5000)], RetainRecent(), count, SIZE) == (0, 0)
    assert span([SystemMessage("s"), HumanMessage("x" * 5000)], RetainRecent(), count, SIZE) == (1, 1)


def test_a_single_turn_is_summarised_up_to_between_two_rounds_of_tools() -> None:
    messages = turn(1, rounds=10, tokens=50)
    first, end = span(messages, RetainRecent(), count, SIZE)
    assert (first, isinstance(messages[end], AIMessage), isinstance(messages[end - 1], ToolMessage)) == (0, True, True)
    # 16 % of the context is left, and no round more than that takes.
    assert sum(map(count, messages[end:])) == 250
    assert sum(map(count, messages[end + 2 :])) < 160


def test_the_newest_turn_stays_whole_where_an_older_one_fills_the_context() -> None:
    messages = [*turn(1, rounds=10, tokens=50), *turn(2)]
    _, end = span(messages, RetainRecent(turns=2), count, SIZE)
    assert isinstance(messages[end], AIMessage)
    assert end < len(messages) - 2


def test_a_round_of_parallel_calls_is_not_split() -> None:
    calls = [{"name": "look", "args": {}, "id": str(each), "type": "tool_call"} for each in range(4)]
    results = [ToolMessage("x" * 100, tool_call_id=str(each)) for each in range(4)]
    messages: list[AnyMessage] = [HumanMessage("q"), AIMessage("", tool_calls=calls), *results]
    assert span(messages, RetainRecent(), count, SIZE) == (0, 0)


def test_without_a_person_everything_is_summarised() -> None:
    assert span([AIMessage("a"), AIMessage("b")], RetainRecent(), count, SIZE) == (0, 2)


def test_the_limit_of_what_stays_is_inclusive() -> None:
    messages = [*turn(1), *turn(2), *turn(3)]
    assert span(messages, RetainRecent(turns=3, tokens=40), count, SIZE) == (0, 2)
    assert span(messages, RetainRecent(turns=3, tokens=39), count, SIZE) == (0, 4)


def test_a_turn_is_summarised_as_far_as_enough_of_it_is_left() -> None:
    messages = turn(1, rounds=3, tokens=10)  # question, call, result, call, result, call, result, answer
    assert span(messages, RetainRecent(tokens=10), count, SIZE) == (0, 7)
    assert span(messages, RetainRecent(tokens=11), count, SIZE) == (0, 5)
    assert span(messages, RetainRecent(tokens=30), count, SIZE) == (0, 5)
    assert span(messages, RetainRecent(tokens=50), count, SIZE) == (0, 3)
    assert span(messages, RetainRecent(tokens=51), count, SIZE) == (0, 0)
    assert span(messages, RetainRecent(), count, 100) == (0, 5)  # 16 of 100 stay
    assert span(messages, RetainRecent(), count, 1) == (0, 7)  # at least one does
    after = [*messages, *turn(2)]
    assert span(after, RetainRecent(turns=2), count, 130) == (0, 7)  # the newer turn is left, and counts
    assert span(after, RetainRecent(turns=2), count, 200) == (0, 5)


def test_a_turn_whose_messages_take_nothing_is_summarised_up_to_none() -> None:
    assert span(turn(1, rounds=3, tokens=0), RetainRecent(), count, 1) == (0, 0)


def test_a_newest_turn_without_an_id_has_an_empty_one() -> None:
    assert newest_turn([*turn(1), HumanMessage("q")]) == ""
    assert newest_turn([AIMessage("a")]) == ""
    assert newest_turn([*turn(1), *turn(2)]) == "q2"


HOW = Summarising((), "Summarise.", "Go on.", retain=RetainRecent(turns=1))


def prompt(messages: list[AnyMessage], *, left_out: int = 1, tokens: int = 900, **state: Any) -> Prompt:
    """A prompt of 1000 tokens, 100 of them instructions, that leaves out messages."""
    kept, rest = tuple(messages[left_out:]), tuple(messages[:left_out])
    trimmed = Trimmed(kept, rest, {}, TrimState(), tokens, 0, None, SIZE, 100, ())
    settings, instructions = TrimSettings(max_context_tokens=SIZE), Instructions(60, 30, 10, None)
    made = Prompt(None, None, (), messages, (), ContextState(**state), trimmed, settings=settings)
    return replace(made, corrected=instructions)


TURNS = [*turn(1), *turn(2), *turn(3)]


@pytest.mark.parametrize(
    ("given", "how", "expected"),
    [
        (prompt(TURNS), HOW, True),
        (prompt(TURNS, left_out=0), HOW, False),
        (replace(prompt(TURNS), trimmed=None), HOW, False),
        (replace(prompt(TURNS), settings=None), HOW, False),
        (replace(prompt(TURNS), corrected=Instructions(1000, 0, 0, None)), HOW, False),
        (replace(prompt(TURNS), corrected=Instructions(999, 0, 0, None)), HOW, True),
        (prompt(TURNS, summarised_at=6), HOW, False),
        (prompt(TURNS, summarised_at=5), HOW, True),
        (prompt(TURNS, failed_after="q3"), HOW, False),
        (prompt(TURNS, failed_after="q2"), HOW, True),
        (prompt(turn(1)), HOW, False),  # a single turn, and nowhere to part it
        (prompt([SystemMessage("s"), *turn(1)]), HOW, False),
        (prompt(turn(1)), replace(HOW, retain=RetainRecent(turns=0)), True),
        (prompt(TURNS), replace(HOW, trigger=SummaryTrigger("messages_to_refine", 2)), False),
        (prompt(TURNS, left_out=2), replace(HOW, trigger=SummaryTrigger("messages_to_refine", 2)), True),
        (prompt(TURNS, tokens=400), replace(HOW, trigger=SummaryTrigger("token_ratio", 0.5)), True),
        (prompt(TURNS, tokens=399), replace(HOW, trigger=SummaryTrigger("token_ratio", 0.5)), False),
        (prompt(TURNS, tokens=800), replace(HOW, trigger=SummaryTrigger("remaining_tokens", 100)), True),
        (prompt(TURNS, tokens=799), replace(HOW, trigger=SummaryTrigger("remaining_tokens", 100)), False),
    ],
)
def test_a_summary_is_due_where_messages_are_left_out_and_there_is_something_to_summarise(
    given: Prompt, how: Summarising, expected: bool
) -> None:
    assert due(how, given) is expected


def test_what_a_summary_may_stand_for_depends_on_the_tokens_of_messages_as_they_are_known() -> None:
    messages = [message.model_copy(update={"id": f"m{index}"}) for index, message in enumerate(turn(1, rounds=3))]
    counts = {str(message.id): 100 for message in messages}
    assert due(HOW, prompt(messages, counts=counts))
    assert not due(HOW, prompt(messages, counts={}))
