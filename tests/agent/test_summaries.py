"""What a summary is to stand for."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.llm.summaries import newest_turn, span
from stategraph.agent.settings.inputs import RetainRecent

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
