"""The one result of a call: read from a tool's output, kept with a waiting run, and given back."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolCall, ToolMessage

from stategraph import fields
from stategraph.agent.ports import Remarks
from stategraph.agent.tools import tool_batch, tool_result
from stategraph.agent.tools.tool_result import Result
from stategraph.errors import GraphBubbleUp, GraphInterrupt
from stategraph.types import Command, Interrupt

CALL = ToolCall(name="look", args={"at": "sky"}, id="c1", type="tool_call")


def message(text: str, call_id: str = "c1", **about: Any) -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id, **about)


def as_it_is(_: ToolCall, made: ToolMessage) -> ToolMessage:
    return made


def read(output: object) -> Result:
    return tool_result.read(CALL, output, as_it_is)


def updates(command: Command[Any]) -> dict[str, Any]:
    return dict(fields.update_items(command.update))


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("blue", "blue"),
        ("", ""),
        ({"sky": "blue"}, '{"sky":"blue"}'),
        (None, "null"),
        ([], "[]"),
        (["blue", "grey"], '["blue","grey"]'),
        ((1, 2), "[1,2]"),
        (message("blue"), "blue"),
        ([message("blue")], "blue"),
        ([message("first"), message("second")], "first"),
        ([message("of another call", "c2"), message("blue")], "blue"),
        (message("of another call", "c2"), "Done."),
        (Command(update={"seen": 1}), "Done."),
        ([Command(update={"seen": 1}), message("blue")], "blue"),
        (Command(update={"messages": [message("of another call", "c2"), message("blue")]}), "blue"),
        (Command(update={"messages": message("alone")}), "Done."),
        (Command(update={"messages": None}), "Done."),
        (Command(update={"notes": [message("no message")]}), "Done."),
    ],
)
def test_an_output_becomes_one_message(output: object, text: str) -> None:
    result = read(output)
    assert result.message is not None
    assert (result.message.content, result.message.tool_call_id, result.carrier) == (text, "c1", None)
    assert (result.call, result.shown, result.outcome) == (CALL, None, None)


def test_a_list_with_something_else_among_messages_is_a_value() -> None:
    made = read([message("blue"), "grey"]).message
    assert made is not None
    assert (made.name, made.status) == ("look", "success")
    assert made.content[0] == "["
    assert '"grey"' in made.content


def test_a_message_that_was_made_for_an_output_has_the_tools_name() -> None:
    made = read("blue").message
    assert made is not None
    assert (made.name, made.status) == ("look", "success")
    nameless = tool_result.read(ToolCall(name="look", args={}, id=None), "blue", as_it_is).message
    assert nameless is not None
    assert nameless.tool_call_id == ""


def test_the_result_is_taken_out_of_its_command() -> None:
    other = message("of another call", "c2")
    command = Command(update={"seen": 1, "messages": [other, message("blue")], "notes": 2})
    result = read(command)
    (rest,) = result.commands
    assert updates(rest) == {"seen": 1, "messages": [other], "notes": 2}
    assert [type(each).__name__ for each in result.outputs] == ["ToolMessage", "Command"]
    assert updates(command)["messages"] == [other, message("blue")]


def test_a_command_to_another_graph_carries_the_result_there() -> None:
    person = HumanMessage("hi", id="h")
    leading = Command(graph=Command.PARENT, goto="other", update={"messages": [person, message("gone")], "seen": 1})
    result = read([Command(update={"notes": 1}), leading])
    assert result.message == message("gone")
    assert result.carrier == 1
    first, second = result.outputs
    assert isinstance(first, Command)
    assert updates(first) == {"notes": 1}
    assert isinstance(second, Command)
    assert (second.graph, second.goto) == (Command.PARENT, "other")
    assert updates(second) == {"messages": [message("gone"), person], "seen": 1}


def test_a_command_to_another_graph_without_a_result_needs_none_here() -> None:
    leading = Command(graph=Command.PARENT, goto="other")
    result = read(leading)
    assert (result.message, result.carrier) == (None, None)
    assert result.outputs == [leading]
    both = read([leading, message("blue")])
    assert (both.message, both.carrier) == (message("blue"), None)


def test_a_message_is_made_fit_to_be_sent() -> None:
    def shouted(call: ToolCall, made: ToolMessage) -> ToolMessage:
        assert call is CALL
        return message(str(made.content).upper())

    result = tool_result.read(CALL, "blue", shouted)
    assert result.message == message("BLUE")


def test_a_reworded_handoff_still_says_where_it_leads() -> None:
    own = message("gone", name="to_other", additional_kwargs={"leads": "other", "mark": 1})
    leading = Command(graph=Command.PARENT, update={"messages": [own]})
    result = read(leading)
    reworded = result.reworded(message("away", name="look", additional_kwargs={"mark": 2})).message
    assert reworded is not None
    assert (reworded.content, reworded.name) == ("away", "to_other")
    assert reworded.additional_kwargs == {"leads": "other", "mark": 2}
    assert result.reworded(own).message is own
    new = message("away", name="look")
    assert read(message("blue", name="see")).reworded(new).message is new


@pytest.mark.parametrize("remarks", [(), (None,), (Remarks(("careful",), (HumanMessage("n"),), "stop"), None)])
def test_a_result_is_restored_from_what_is_stored(remarks: Any) -> None:
    result = Result(
        CALL, message("gone"), (Command(graph=Command.PARENT),), "seen", "done", (HumanMessage("i"),), remarks, 0
    )
    assert Result.restored(CALL, result.stored()) == result


def test_a_result_of_a_version_with_one_gate_or_none_is_restored() -> None:
    remarks = Remarks(("careful",), (), None)
    stored = Result(CALL, message("blue")).stored()
    assert Result.restored(CALL, {**stored, "remarks": remarks.stored()}).remarks == (remarks,)
    del stored["remarks"]
    assert Result.restored(CALL, stored) == Result(CALL, message("blue"))


@pytest.mark.parametrize(
    ("error", "said"), [("no sky", "no sky"), (ValueError("no sky"), "no sky"), (ValueError(), "ValueError")]
)
def test_a_failure_is_worded_for_the_model_and_for_a_person(error: Any, said: str) -> None:
    result = tool_result.failed(CALL, error)
    assert result.message is not None
    assert (result.message.content, result.message.status) == (f"Error: {said}\n Please fix your mistakes.", "error")
    assert (result.message.name, result.message.tool_call_id) == ("look", "c1")
    assert result.shown == f"Error processing tool: {said}"


def test_a_text_that_cannot_be_encoded_is_mended() -> None:
    made = tool_result.answered(CALL, "\ud83d", "success").message
    assert made is not None
    assert (made.content, made.status) == ("\ufffd", "success")


# Results of several calls.


def test_results_of_calls_that_have_ended_are_returned_in_order() -> None:
    assert tool_batch.ended([1, 2, 3]) == [1, 2, 3]
    assert tool_batch.ended([]) == []


def test_what_calls_wait_for_is_raised_as_one() -> None:
    one, two = (GraphInterrupt((Interrupt(value=text, id=text),)) for text in ("one", "two"))
    with pytest.raises(GraphInterrupt) as raised:
        tool_batch.ended([1, one])
    assert raised.value is one
    with pytest.raises(GraphInterrupt) as raised:
        tool_batch.ended([one, 1, two])
    assert [each.value for each in raised.value.args[0]] == ["one", "two"]
    leading = GraphBubbleUp("elsewhere")
    with pytest.raises(GraphBubbleUp) as left:
        tool_batch.ended([one, leading, two])
    assert left.value is leading


def test_a_wait_is_returned_and_an_error_is_raised() -> None:
    wait = GraphBubbleUp()

    def fail(error: Exception) -> int:
        raise error

    assert tool_batch.caught(lambda: 3) == 3
    assert tool_batch.caught(lambda: fail(wait)) is wait
    with pytest.raises(ValueError, match="broken"):
        tool_batch.caught(lambda: fail(ValueError("broken")))
