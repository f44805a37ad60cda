"""The record of outputs: marks on the messages that gave them, and on what models were told about others.

- The result of a call, or else the answer itself, is marked with the agent, the member of its output type, and where in
  what the model gave the value is. The value is read from there: nothing is stored twice.
- What an agent's model is told about an answer that is no valid output is marked too, so tries are counted wherever a
  run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from stategraph.agent.messages import history, truncation
from stategraph.agent.output import texts
from stategraph.agent.output.output_type import Form, Found
from stategraph.agent.output.schemas import VALUE
from stategraph.agent.state import turn_of

ACCEPTED: Final = "output"
"""The mark of an output."""

REFUSED: Final = "output_refused"
"""The mark of what a model was told about an answer that is none."""


UNUSED: Final = "output_unused"
"""The mark of the result of a call that was not needed."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output in a conversation.

    Attributes:
        agent_id: Whose.
        name: The member of the agent's output type.
        given: The value as the model gave it, JSON.
        place: The position of the answer that gave it.
        until: The position of the message that marks it.
    """

    agent_id: str
    name: str
    given: object
    place: int
    until: int


def accepted(agent_id: str, found: Found) -> dict[str, object]:
    """Return the mark of an output, to be added to a message's `additional_kwargs`."""
    return {ACCEPTED: {"agentId": agent_id, "type": found.name, "form": found.form}}


def refused(agent_id: str, number: int) -> dict[str, object]:
    """Return the mark of what a model is told about an answer that is no valid output, the so many-th."""
    return {REFUSED: {"agentId": agent_id, "number": number}}


def unused(agent_id: str) -> dict[str, object]:
    """Return the mark of the result of a call that was not needed, as there is an output or none is wanted."""
    return {UNUSED: {"agentId": agent_id}}


def correction(text: str, agent_id: str, number: int, message_id: str) -> HumanMessage:
    """Return the message that tells a model what was wrong; it belongs to the turn and does not begin one."""
    marks = {"role": "user", "isMeta": True, "source": "output", **refused(agent_id, number)}
    return HumanMessage(content=text, id=message_id, additional_kwargs=marks)


def refusals(messages: Sequence[AnyMessage], agent_id: str) -> int:
    """Return how many answers of an agent were refused in this turn since its last output.

    Args:
        messages: The conversation.
        agent_id: The agent.
    """
    for message in reversed(turn_of(messages)):
        if _is_of(message, REFUSED, agent_id):
            return int(message.additional_kwargs[REFUSED]["number"])
        if _is_of(message, ACCEPTED, agent_id):
            break
    return 0


def is_given(messages: Sequence[AnyMessage], agent_id: str) -> bool:
    """Return whether the last answer of a conversation gave the output of an agent."""
    for message in reversed(messages):
        if _is_of(message, ACCEPTED, agent_id):
            return True
        if isinstance(message, AIMessage):
            break
    return False


def outputs(messages: Sequence[AnyMessage]) -> list[Output]:
    """Return the outputs that a conversation has, in the order of the answers that gave them.

    Args:
        messages: Messages, for example those of a turn. A result whose call is not among them is left out.
    """
    return sorted(_outputs(messages), key=lambda each: each.place)


def in_words(messages: Sequence[AnyMessage], but_of: str | None = None) -> Sequence[AnyMessage]:
    """Return a conversation as others are told it: without tries, and outputs of calls as texts of their agents.

    Args:
        messages: The conversation. It is not changed.
        but_of: The agent whose outputs and tries stay as they are; None: none.

    Returns:
        The same object if there is nothing to change.
    """
    marked = [_agent_of(message) not in (None, but_of) for message in messages]
    if not any(marked):
        return messages
    given = {each.until: each.given for each in outputs(messages)}
    told: list[AnyMessage] = []
    for place, end in _exchanges(messages):
        message = messages[place]
        others = [each for each in range(place + 1, end) if marked[each]]
        if others and isinstance(message, AIMessage):
            told += _exchange(messages, place, end, others, given)
        elif not marked[place]:
            told += messages[place:end]
        elif told and isinstance(told[-1], AIMessage):
            told.pop()  # the answer that a message is about
    return told


def _exchanges(messages: Sequence[AnyMessage]) -> Iterator[tuple[int, int]]:
    """Yield the place of each message, and that behind the results that follow it."""
    place = 0
    while place < len(messages):
        end = place + 1
        while end < len(messages) and isinstance(messages[end], ToolMessage):
            end += 1
        yield place, end
        place = end


def _exchange(
    messages: Sequence[AnyMessage], place: int, end: int, others: Sequence[int], given: Mapping[int, object]
) -> Iterator[AnyMessage]:
    """Yield an answer without some of its calls, the results of the others, and the output that it gave."""
    answer = cast("AIMessage", messages[place])
    gone = {cast("ToolMessage", messages[each]).tool_call_id for each in others}
    called = {call["id"] or "" for call in (*answer.tool_calls, *answer.invalid_tool_calls)}
    kept = history.with_calls(answer, called - gone)
    texts_given = [truncation.compact_json(given[each]) for each in others if each in given]
    if called - gone:
        yield kept
        yield from (messages[each] for each in range(place + 1, end) if each not in others)
        yield from (AIMessage(content=text) for text in texts_given)
    elif text := "\n\n".join(each for each in (truncation.text_of(kept.content).strip(), *texts_given) if each):
        yield AIMessage(content=text, id=answer.id)


def _agent_of(message: AnyMessage) -> str | None:
    """Return the agent whose output, or try of one, a message marks; None if it is no such mark."""
    marks = message.additional_kwargs
    if isinstance(message, AIMessage) or not marks:
        return None  # an answer in words is told as it is
    found = marks.get(ACCEPTED) or marks.get(REFUSED) or marks.get(UNUSED)
    return str(found["agentId"]) if isinstance(found, Mapping) else None


def _outputs(messages: Sequence[AnyMessage]) -> Iterator[Output]:
    calls: dict[str | None, tuple[int, Any]] = {}
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage):
            calls |= {call["id"]: (place, call["args"]) for call in message.tool_calls}
        mark = message.additional_kwargs.get(ACCEPTED)
        if not isinstance(mark, Mapping):
            continue
        if not isinstance(message, ToolMessage):
            given = _in_text(truncation.text_of(message.content), mark["form"])
            yield Output(mark["agentId"], mark["type"], given, place, place)
        elif message.tool_call_id in calls:
            where, given = calls[message.tool_call_id]
            value = given.get(VALUE) if mark["form"] == "value" else given
            yield Output(mark["agentId"], mark["type"], value, where, place)


def _in_text(text: str, form: Form) -> object:
    if form == "text":
        return texts.without_thought(text).strip()
    data = texts.json_in(text)
    return data.get(VALUE) if form == "value" and isinstance(data, Mapping) else data


def _is_of(message: AnyMessage, mark: str, agent_id: str) -> bool:
    found = message.additional_kwargs.get(mark)
    return isinstance(found, Mapping) and found.get("agentId") == agent_id
