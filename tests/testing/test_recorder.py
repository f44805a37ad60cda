"""Recording streams and comparing them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from stategraph.testing import Recorded, StreamRecorder, stable


class Fake:
    """A graph that streams what it is given."""

    def __init__(self, *items: Any, error: Exception | None = None) -> None:
        self.items = items
        self.error = error
        self.options: dict[str, Any] = {}

    def stream(self, input: Any, config: Any = None, **options: Any) -> Iterator[Any]:
        self.options = options
        yield from self.items
        if self.error:
            raise self.error

    async def astream(self, input: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        for item in self.stream(input, config, **options):
            yield item


@pytest.mark.parametrize(
    ("options", "item", "expected"),
    [
        ({"stream_mode": "values"}, {"a": 1}, Recorded("values", {"a": 1})),
        ({"stream_mode": ["values"]}, ("values", {"a": 1}), Recorded("values", {"a": 1})),
        ({"stream_mode": "values", "subgraphs": True}, (("n:1",), {"a": 1}), Recorded("values", {"a": 1}, ("n:1",))),
        (
            {"stream_mode": ["updates"], "subgraphs": True},
            (("n:1",), "updates", {"a": 1}),
            Recorded("updates", {"a": 1}, ("n:1",)),
        ),
        (
            {"stream_mode": "values", "version": "v2"},
            {"type": "values", "ns": (), "data": {"a": 1}},
            Recorded("values", {"a": 1}),
        ),
    ],
)
def test_every_shape_of_a_stream_is_understood(options: dict[str, Any], item: Any, expected: Recorded) -> None:
    graph = Fake(item)
    recorder = StreamRecorder(graph, **options)
    assert recorder.run({}) == [expected]
    assert asyncio.run(recorder.arun({})) == [expected]
    assert recorder.events == [expected, expected]
    assert graph.options["stream_mode"] == options["stream_mode"]


def test_an_error_is_kept_with_what_came_before_it() -> None:
    recorder = StreamRecorder(Fake({"a": 1}, error=ValueError("no")))
    recorder.run({}, raises=False)
    assert recorder.payloads() == [{"a": 1}]
    assert isinstance(recorder.error, ValueError)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(recorder.arun({}))


def test_payloads_can_be_picked() -> None:
    recorder = StreamRecorder(
        Fake(((), "values", 1), (("x",), "values", 2), ((), "updates", 3)),
        stream_mode=["values", "updates"],
        subgraphs=True,
    )
    recorder.run({})
    assert recorder.payloads("values") == [1, 2]
    assert recorder.payloads("values", namespace=()) == [1]
    assert recorder.payloads(namespace=("x",)) == [2]


def run_like(node: str) -> list[Any]:
    task = str(uuid.uuid4())
    message = AIMessage("hi", id=f"run-{uuid.uuid4()}")
    return [
        {"id": task, "ns": f"{node}:{task}", "at": datetime.now(UTC).isoformat()},
        {"messages": [HumanMessage("q", id=str(uuid.uuid4())), message]},
        (message, {"task": task}),
    ]


def test_two_runs_of_one_program_compare_equal() -> None:
    first, second = stable(run_like("a")), stable(run_like("a"))
    assert first == second
    assert first != stable(run_like("b"))


def test_the_same_id_keeps_the_same_name_and_others_differ() -> None:
    one, two = uuid.uuid4().hex, uuid.uuid4().hex
    assert stable([one, two, one]) == ["<id-1>", "<id-2>", "<id-1>"]
    assert stable([one, two, two]) != stable([one, two, one])


@dataclass(frozen=True, slots=True)
class Point:
    x: int


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def test_values_of_all_kinds_become_plain_data() -> None:
    assert stable(Point(1)) == {"!": "Point", "x": 1}
    assert stable(Slotted(2)) == {"!": "Slotted", "value": 2}
    assert stable({3, 1, 2}) == [1, 2, 3]
    assert stable(ValueError("no")) == {"!": "ValueError", "message": "no"}
    assert stable(HumanMessage("q")) == {"!": "HumanMessage", "content": "q"}
    assert stable(b"abc") == "<3 bytes>"
