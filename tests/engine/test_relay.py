"""What the caller of a remote graph gets of each part of the server's stream."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph_sdk.schema import StreamPart

from stategraph.engine.compile.protocol import StreamProtocol
from stategraph.engine.remote.relay import Modes, Relay, RemoteException, choose_modes
from stategraph.errors import GraphInterrupt, ParentCommand
from stategraph.types import Command, Interrupt

ASKED = {"__interrupt__": [{"value": "sure?", "id": "i"}]}


def listening(*modes: Any) -> tuple[StreamProtocol, RunnableConfig]:
    """Return the stream of a surrounding graph, and the config that holds it."""
    stream = StreamProtocol(lambda chunk: None, set(modes))
    return stream, {"configurable": {"__pregel_stream": stream}}


@pytest.mark.parametrize(
    ("asked", "sent", "wanted", "single"),
    [
        (None, ("updates",), ("updates",), True),
        ([], ("updates",), ("updates",), True),
        ("values", ("values", "updates"), ("values",), True),
        (["values"], ("values", "updates"), ("values",), False),
        (["updates", "values"], ("updates", "values"), ("updates", "values"), False),
        ("messages", ("messages-tuple", "updates"), ("messages",), True),
        ("messages-tuple", ("messages-tuple", "updates"), ("messages",), True),
        (["events", "values"], ("values", "updates"), ("events", "values"), False),
    ],
)
@pytest.mark.parametrize("config", [None, {}, {"configurable": {}}], ids=["no config", "empty", "no stream"])
def test_the_server_is_asked_for_what_the_caller_wants_and_for_updates(
    asked: Any, sent: Any, wanted: Any, single: bool, config: Any
) -> None:
    assert choose_modes(asked, config) == Modes(sent, wanted, single, None)


def test_the_server_is_asked_for_what_the_surrounding_graph_streams_too() -> None:
    stream, config = listening("values", "messages", "custom")
    modes = choose_modes("tasks", config)
    assert modes == Modes(("tasks", "custom", "messages-tuple", "values", "updates"), ("tasks",), True, stream)


def relay(asked: Any = "updates", ns: str | None = None, *, subgraphs: bool = False, version: str = "v1") -> Relay:
    config: RunnableConfig | None = None if ns is None else {"configurable": {"checkpoint_ns": ns}}
    return Relay.of(choose_modes(asked, None), config, subgraphs=subgraphs, version=version)


@pytest.mark.parametrize(
    ("config", "ns"),
    [
        (None, ()),
        ({}, ()),
        ({"configurable": {"checkpoint_ns": ""}}, ()),
        ({"configurable": {"checkpoint_ns": "a:1|b:2"}}, ("a:1", "b:2")),
    ],
)
def test_a_stream_is_below_the_task_that_its_config_names(config: Any, ns: Any) -> None:
    assert Relay.of(choose_modes(None, None), config, subgraphs=False, version="v1").caller_ns == ns


@pytest.mark.parametrize(
    ("how", "event", "data", "chunks"),
    [
        ({}, "updates", {"n": 1}, ({"n": 1},)),
        ({}, "values", {"n": 1}, ()),
        ({}, "updates|a:1", {"n": 1}, ()),
        ({}, "metadata", {"run_id": "r"}, ()),
        ({"asked": ["updates"]}, "updates", {"n": 1}, (StreamPart("updates", {"n": 1}),)),
        ({"asked": "messages"}, "messages", ["m", {}], (("m", {}),)),
        ({"asked": "messages"}, "messages|a:1", ["m", {}], (("m", {}),)),
        ({"asked": ["messages"]}, "messages", ["m", {}], (StreamPart("messages", ("m", {})),)),
        ({"subgraphs": True}, "updates", {"n": 1}, (((), {"n": 1}),)),
        ({"subgraphs": True}, "updates|a:1|b:2", {"n": 1}, ((("a:1", "b:2"), {"n": 1}),)),
        ({"subgraphs": True, "asked": ["updates"]}, "updates|a:1", {"n": 1}, ((("a:1",), "updates", {"n": 1}),)),
        ({"subgraphs": True, "ns": "o:9"}, "updates|a:1", {"n": 1}, ((("o:9", "a:1"), {"n": 1}),)),
        ({}, "updates", ASKED, (ASKED,)),
        ({"ns": "o:9", "asked": "values"}, "values", ASKED, (ASKED,)),
        ({"ns": "o:9"}, "updates", {"n": 1}, ({"n": 1},)),
        ({"ns": "o:9"}, "updates", "__interrupt__", ("__interrupt__",)),
        ({}, "command", {"graph": "other"}, ()),
        (
            {"version": "v2"},
            "updates",
            {"n": 1},
            ({"type": "updates", "ns": (), "data": {"n": 1}, "interrupts": ()},),
        ),
        (
            {"version": "v2", "asked": "values", "ns": "o:9"},
            "values",
            {"n": 1, **ASKED},
            ({"type": "values", "ns": ("o:9",), "data": {"n": 1}, "interrupts": (Interrupt("sure?", id="i"),)},),
        ),
        (
            {"version": "v2"},
            "updates",
            ASKED,
            ({"type": "updates", "ns": (), "data": ASKED, "interrupts": ()},),
        ),
        (
            {"version": "v2", "asked": "values"},
            "values",
            "__interrupt__",
            ({"type": "values", "ns": (), "data": "__interrupt__", "interrupts": ()},),
        ),
    ],
)
def test_a_part_becomes_a_chunk_of_the_form_asked_for(how: Any, event: str, data: Any, chunks: Any) -> None:
    assert relay(**how).take(StreamPart(event, data)) == chunks


@pytest.mark.parametrize("event", ["updates", "updates|a:1"])
def test_what_asks_below_another_graph_is_raised_to_it(event: str) -> None:
    with pytest.raises(GraphInterrupt) as caught:
        relay("values", "o:9").take(StreamPart(event, ASKED))
    assert caught.value.args == ([Interrupt("sure?", id="i")],)


@pytest.mark.parametrize("event", ["error", "error|a:1", "errored"])
def test_a_failure_is_raised_with_what_the_server_says(event: str) -> None:
    with pytest.raises(RemoteException) as caught:
        relay().take(StreamPart(event, {"message": "no"}))
    assert caught.value.args == ({"message": "no"},)


def test_a_command_for_the_parent_graph_is_raised_although_nobody_asked_for_commands() -> None:
    with pytest.raises(ParentCommand) as caught:
        relay().take(StreamPart("command", {"graph": Command.PARENT, "goto": "n", "update": {"a": 1}}))
    assert caught.value.args == (Command(graph=Command.PARENT, goto="n", update={"a": 1}),)


def test_the_surrounding_graph_hears_of_what_it_streams_before_anything_is_raised() -> None:
    heard: list[Any] = []
    stream = StreamProtocol(heard.append, {"updates"})
    config: RunnableConfig = {"configurable": {"__pregel_stream": stream, "checkpoint_ns": "o:9"}}
    below = Relay.of(choose_modes("values", config), config, subgraphs=False, version="v1")
    assert below.take(StreamPart("updates|a:1", {"n": 1})) == ()
    assert below.take(StreamPart("values", {"n": 1})) == ({"n": 1},)
    with pytest.raises(GraphInterrupt):
        below.take(StreamPart("updates", ASKED))
    assert heard == [(("o:9", "a:1"), "updates", {"n": 1}), (("o:9",), "updates", ASKED)]
