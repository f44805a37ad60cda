"""Messages in the event stream: a stream for each answer of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage

from stategraph.constants import START
from stategraph.engine.streams.events.conversation import MessagesTransformer
from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.transformer import ProtocolEvent, StreamTransformer
from stategraph.graph.reducers import add_messages
from stategraph.graph.state import StateGraph
from stategraph.testing import Fault, Gate, Hold, ScriptedChatModel, ScriptedModelError, Text, call, reply
from tests.engine.events_kit import AsyncReader, Reader, SyncReader, event

ASKED = {"messages": [HumanMessage("hi", id="asked")]}


class Talk(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@pytest.fixture(params=["sync", "async"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    if request.param == "sync":
        yield SyncReader()
    else:
        with asyncio.Runner() as runner:
            yield AsyncReader(runner)


def talk(*nodes: Any) -> Any:
    builder = StateGraph(Talk)
    for position, node in enumerate(nodes):
        builder.add_node(f"n{position}", node)
        builder.add_edge(f"n{position - 1}" if position else START, f"n{position}")
    return builder.compile()


def asks(reader: Reader, *replies: Any) -> Any:
    """A node that asks a model, in the way of the reader."""
    model = ScriptedChatModel(replies=list(replies))

    def node(state: Talk) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def anode(state: Talk) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return anode if reader.is_async else node


def says(*messages: Any) -> Any:
    def node(state: Talk) -> Any:
        return {"messages": list(messages)}

    return node


def test_each_answer_is_a_stream_with_its_node(reader: Reader) -> None:
    graph = talk(asks(reader, "one two"), asks(reader, "three"))
    messages = reader.read(reader.open(graph, ASKED).run.messages)
    assert [message.node for message in messages] == ["n0", "n1"]
    assert [reader.answer(message).text for message in messages] == ["one two", "three"]


def test_words_arrive_while_the_model_speaks(reader: Reader) -> None:
    gate = Gate()
    graph = talk(asks(reader, reply(Text("one "), Hold(gate), Text("two"))))
    message = reader.next_of(reader.open(graph, ASKED).run.messages)()
    words = reader.next_of(message.text)
    assert words() == "one "
    assert not message.done
    gate.open()
    assert words() == "two"
    assert reader.answer(message).text == "one two"


def test_a_message_is_read_while_others_read_the_run(reader: Reader) -> None:
    reader.open(talk(asks(reader, "one two three")), ASKED)
    seen = []
    for name, item in reader.interleave("messages", "values"):
        seen.append(reader.answer(item).text if name == "messages" else len(item["messages"]))
    assert seen == [1, "one two three", 2]


def test_calls_of_tools_are_part_of_the_answer(reader: Reader) -> None:
    graph = talk(asks(reader, reply(call("look", {"at": "sky"}, id="c1"))))
    (message,) = reader.read(reader.open(graph, ASKED).run.messages)
    (made,) = reader.answer(message).tool_calls
    assert (made["name"], made["args"], made["id"]) == ("look", {"at": "sky"}, "c1")


def test_messages_in_one_piece_are_shown_complete_and_results_of_tools_not(reader: Reader) -> None:
    graph = talk(says(AIMessage("whole", id="w"), ToolMessage("result", tool_call_id="c", id="t")))
    (message,) = reader.read(reader.open(graph, ASKED).run.messages)
    assert (message.message_id, message.done, reader.answer(message).text) == ("w", True, "whole")


def test_what_a_model_streamed_is_not_shown_again_when_its_node_returns_it(reader: Reader) -> None:
    assert len(reader.read(reader.open(talk(asks(reader, "once")), ASKED).run.messages)) == 1


def test_messages_of_nested_runs_are_on_their_handles(reader: Reader) -> None:
    run = reader.open(talk(talk(asks(reader, "inside")), says(AIMessage("outside", id="o"))), ASKED).run
    seen = []
    for name, item in reader.interleave("subgraphs", "messages"):
        if name == "subgraphs":
            seen += [reader.answer(message).text for message in reader.read(item.messages)]
        else:
            seen.append(reader.answer(item).text)
    assert seen == ["inside", "outside"]
    assert run._mux._events._closed


def test_a_model_that_fails_fails_the_message_with_the_run(reader: Reader) -> None:
    graph = talk(asks(reader, reply(Text("one "), Fault("gone"))))
    run = reader.open(graph, ASKED).run
    message = reader.next_of(run.messages)()
    with pytest.raises(ScriptedModelError):
        reader.answer(message)
    with pytest.raises(ScriptedModelError):
        reader.get("output")


def test_words_can_be_changed_ahead_of_the_message(reader: Reader) -> None:
    class Shouting(StreamTransformer):
        before_builtins = True

        def init(self) -> dict[str, Any]:
            return {}

        def process(self, event: ProtocolEvent) -> bool:
            if event["method"] == "messages":
                piece, _ = event["params"]["data"]
                if piece["event"] == "content-block-delta":
                    piece["delta"]["text"] = piece["delta"]["text"].upper()
            return True

    run = reader.open(talk(asks(reader, "one two")), ASKED, transformers=[Shouting]).run
    message = reader.next_of(run.messages)()
    words = reader.next_of(message.text)
    assert [words().strip(), words().strip()] == ["ONE", "TWO"]
    reader.abort()


# -- event by event ----------------------------------------------------------------


def projected(*payloads: Any, namespace: tuple[str, ...] = (), end: BaseException | None = None) -> list[Any]:
    mux = StreamMux(factories=[MessagesTransformer])
    mux.bind_pump(lambda: False)
    messages = iter(mux.extensions["messages"])
    for payload, run_id in payloads:
        mux.push(event("messages", (payload, {"langgraph_node": "n", "run_id": run_id}), *namespace))
    transformer = mux.transformer_by_key("messages")
    assert isinstance(transformer, MessagesTransformer)
    finished = {run_id for payload, run_id in payloads if payload == FINISH}
    assert finished.isdisjoint({*transformer._by_run, *transformer._ignored_runs}), "kept although it is finished"
    if end is not None:
        transformer.fail(end)
    mux.close()
    assert not transformer._by_run
    assert not transformer._ignored_runs
    return list(messages)


START_, FINISH = {"event": "message-start", "message_id": "m"}, {"event": "message-finish"}


def test_pieces_go_to_the_message_of_their_run() -> None:
    def piece(text: str) -> Any:
        return {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": text}}

    pieces = (piece("a"), "1"), (piece("b"), "2"), (piece("c"), "1")
    first, second = projected((START_, "1"), (START_, "2"), *pieces, (FINISH, "1"), (FINISH, "2"))
    assert (str(first.text), str(second.text)) == ("ac", "b")
    assert (first.message_id, first.node) == ("m", "n")
    (unnamed,) = projected(({"event": "message-start"}, "1"), (FINISH, "1"))
    assert unnamed.message_id is None


def test_what_is_no_answer_is_left_out() -> None:
    tool = {"event": "message-start", "role": "tool"}
    assert projected((tool, "1"), (FINISH, "1"), (AIMessageChunk("piece"), "2"), (FINISH, "3")) == []
    assert projected((ToolMessage("result", tool_call_id="c"), "1")) == []
    assert projected((START_, "1"), namespace=("inner:1",)) == []


def test_unfinished_messages_end_with_the_error_of_the_run() -> None:
    (message,) = projected((START_, "1"), end=KeyError("gone"))
    with pytest.raises(KeyError, match="gone"):
        message.output  # noqa: B018
