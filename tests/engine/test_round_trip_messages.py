"""Pairs of a role and a text, which message channels turn into messages before a checkpoint holds them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.core.channels.delta import DeltaChannel
from stategraph.errors import UnstorableValueError
from stategraph.graph.message import MessagesState
from stategraph.graph.reducers import add_all_messages, add_messages
from stategraph.graph.state import StateGraph

if TYPE_CHECKING:
    from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Formatted(TypedDict):
    messages: Annotated[list[Any], add_messages(format="langchain-openai")]


class Delta(TypedDict):
    messages: Annotated[list[Any], DeltaChannel(add_all_messages)]


class Listed(TypedDict):
    messages: Annotated[list[Any], lambda left, right: [*left, *right]]


def answering(schema: Any, written: Any, **options: Any) -> Any:
    builder = StateGraph(schema).add_node("answer", lambda _: {"messages": written})
    return builder.add_edge(START, "answer").add_edge("answer", END).compile(checkpointer=InMemorySaver(), **options)


@pytest.mark.parametrize("schema", [MessagesState, Formatted, Delta])
def test_pairs_that_become_messages_are_no_values_that_change(
    driver: Driver, schema: Any, caplog: pytest.LogCaptureFixture
) -> None:
    graph = answering(schema, [("ai", [{"type": "text", "text": "hello"}]), {"role": "user", "content": "more"}])
    found = driver.invoke(graph, {"messages": [("user", "hi"), "and more"]}, THREAD)
    assert [each.type for each in found["messages"]] == ["human", "human", "ai", "human"]
    driver.update_state(graph, THREAD, {"messages": [("user", "edited")]}, as_node="answer")
    assert caplog.messages == []


def test_a_strict_graph_takes_pairs_that_become_messages(driver: Driver) -> None:
    graph = answering(MessagesState, [("ai", "hello")], strict=True)
    found = driver.invoke(graph, {"messages": [("user", "hi")]}, THREAD)
    assert [each.content for each in found["messages"]] == ["hi", "hello"]


@pytest.mark.parametrize(
    ("schema", "written", "place"),
    [
        (Listed, [("ai", "hello")], r"messages\[0\] "),  # nothing says what becomes of it
        (MessagesState, [("ai", [{"type": "text", "parts": (1, 2)}])], r"messages\[0\]\[1\]\[0\]\['parts'\] "),
        (MessagesState, ("ai", "hello"), "messages "),  # a list of two texts would be two messages
    ],
)
def test_what_would_be_read_as_something_else_is_refused_all_the_same(
    driver: Driver, schema: Any, written: Any, place: str
) -> None:
    graph = answering(schema, written, strict=True)
    with pytest.raises(UnstorableValueError, match=rf"at {place}tuple comes back as list"):
        driver.invoke(graph, {"messages": []}, THREAD)


class Unhashable:
    """A reducer that is an object of a program's own."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, left: list[Any], right: list[Any]) -> list[Any]:
        return [*left, *right]


class OfObject(TypedDict):
    messages: Annotated[list[Any], Unhashable()]


class OfPartial(TypedDict):
    messages: Annotated[list[Any], partial(Unhashable())]


@pytest.mark.parametrize("schema", [OfObject, OfPartial])
def test_reducers_of_any_kind_are_asked_for(driver: Driver, schema: Any) -> None:
    with pytest.raises(UnstorableValueError, match="tuple comes back as list"):
        driver.invoke(answering(schema, [("ai", "hello")], strict=True), {"messages": []}, THREAD)
