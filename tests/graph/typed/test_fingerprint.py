"""The schema of the state in the checkpoints of a graph, and threads that do not fit the one of today."""

from __future__ import annotations

import asyncio
import operator
import pickle
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from stategraph import START, Command, GraphSchemaError, Migration, StateGraph, add_messages, interrupt
from stategraph.graph.typed.fingerprint import SchemaFingerprint
from stategraph.graph.versions.checking import acheck_thread
from stategraph.savers import SqliteSaver
from tests import sqlite
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict):
    name: str
    count: int
    log: Annotated[list[str], operator.add]


class Changed(TypedDict):
    name: bytes
    log: Annotated[list[str], operator.add]
    wanted: str


class Grown(State, total=False):
    later: str


def graph_of(schema: Any, saver: Any = None, *, fingerprint: bool = True, **options: Any) -> Any:
    builder = StateGraph(schema).add_node("ask", lambda state: {"log": [interrupt("sure?")]}).add_edge(START, "ask")
    return builder.compile(saver, schema_fingerprint=fingerprint, **options)


def digest(schema: Any) -> str:
    return SchemaFingerprint.of(StateGraph(schema)).digest


def begun(saver: Any, schema: Any = State, **options: Any) -> Any:
    graph_of(schema, saver, **options).invoke({"name": "ada", "count": 1}, THREAD)
    return saver


def test_each_checkpoint_names_the_schema_and_without_the_option_none_does(driver: Driver) -> None:
    saver = InMemorySaver()
    graph = graph_of(State, saver)
    driver.invoke(graph, {"name": "ada", "count": 1}, THREAD)
    driver.update_state(graph, THREAD, {"count": 2}, as_node="ask")
    keys = {"count": "int", "log": "list[str]", "name": "str"}
    for saved in saver.list(THREAD):
        assert saved.metadata["graph_schema"] == {"fingerprint": digest(State), "keys": keys}
    plain = begun(InMemorySaver(), fingerprint=False)
    assert all("graph_schema" not in saved.metadata for saved in plain.list(THREAD))


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_thread_of_another_schema_is_refused_with_what_differs(driver: Driver, durability: str) -> None:
    saver = InMemorySaver()
    driver.invoke(graph_of(State, saver), {"name": "ada", "count": 1}, THREAD, durability=durability)
    before = list(saver.list(THREAD))
    other = graph_of(Changed, saver)
    for call in (
        lambda: driver.invoke(other, Command(resume="yes"), THREAD),
        lambda: driver.stream(other, {"wanted": "x"}, THREAD),
        lambda: driver.get_state(other, THREAD),
        lambda: driver.update_state(other, THREAD, {"log": []}, as_node="ask"),
    ):
        with pytest.raises(GraphSchemaError) as raised:
            call()
        error = raised.value
        assert (error.added, error.removed, error.changed) == (
            {"wanted": "str"},
            {"count": "int"},
            {"name": ("str", "bytes")},
        )
        assert str(error).startswith(
            "Thread 't' was stored with another schema of the state: 'name' was str and is bytes; 'count' (int) is "
            "gone; 'wanted' (str) is new and required. Nothing was run or stored. Add a Migration"
        )
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.added, copied.changed) == (str(error), error.added, error.changed)
    assert list(saver.list(THREAD)) == before
    assert driver.history(other, THREAD)[0].values["name"] == "ada"


def test_a_key_that_a_state_may_be_without_is_no_obstacle(driver: Driver) -> None:
    @dataclass
    class Model:
        name: str
        count: int
        log: Annotated[list[str], operator.add]
        later: list[int] = field(default_factory=list)
        sum: Annotated[int, operator.add] = 0

    for schema in (Grown, Model):
        graph = graph_of(schema, begun(InMemorySaver()))
        assert driver.invoke(graph, Command(resume="yes"), THREAD)["log"] == ["yes"]


def test_threads_without_a_fingerprint_and_other_engines_go_on(driver: Driver) -> None:
    saver = begun(InMemorySaver(), fingerprint=False)
    assert driver.invoke(graph_of(State, saver), Command(resume="yes"), THREAD)["log"] == ["yes"]
    named = begun(InMemorySaver())
    assert driver.invoke(graph_of(Changed, named, fingerprint=False), Command(resume="yes"), THREAD)["log"] == ["yes"]


def test_a_migration_brings_a_thread_up_and_a_version_alone_does_not(driver: Driver) -> None:
    def changed(values: dict[str, Any]) -> dict[str, Any]:
        return {"name": values["name"].encode(), "log": values.get("log", []), "wanted": "x"}

    saver = begun(InMemorySaver(), version="1")
    with pytest.raises(GraphSchemaError):
        driver.get_state(graph_of(Changed, saver, version="1"), THREAD)
    graph = graph_of(Changed, saver, version="2", migrations=[Migration("1", "2", state=changed)])
    assert driver.invoke(graph, Command(resume="yes"), THREAD) == {"name": b"ada", "log": ["yes"], "wanted": "x"}
    metadata = driver.get_state(graph, THREAD).metadata
    assert (metadata["graph_version"], metadata["graph_schema"]["fingerprint"]) == ("2", digest(Changed))
    pinned = graph_of(
        Changed,
        begun(InMemorySaver(), version="1"),
        version="2",
        migrations=[Migration("1", "2", state=changed)],
        pinned={"1": graph_of(State, version="1")},
    )
    assert driver.invoke(pinned, Command(resume="no"), THREAD)["name"] == "ada"


def test_a_nested_graph_has_a_fingerprint_of_its_own(driver: Driver) -> None:
    def outer(inner: Any, saver: Any) -> Any:
        return StateGraph(State).add_node("inside", inner).add_edge(START, "inside").compile(saver)

    saver = InMemorySaver()
    driver.invoke(outer(graph_of(State), saver), {"name": "ada", "count": 1, "log": []}, THREAD)
    with pytest.raises(GraphSchemaError, match=r"Thread 't' \(in 'inside:"):
        driver.invoke(outer(graph_of(Changed), saver), Command(resume="yes"), THREAD)
    found = asyncio.run(acheck_thread(outer(graph_of(Changed), None), saver, "t"))
    assert found.verdict == "breaks" and found.problems[0].startswith("In node 'inside': Thread 't'")


def test_a_check_of_stored_threads_tells_which_do_not_fit() -> None:
    saver = begun(InMemorySaver())
    assert asyncio.run(acheck_thread(graph_of(State), saver, "t")).verdict == "fits"
    found = asyncio.run(acheck_thread(graph_of(Changed), saver, "t"))
    assert found.verdict == "breaks"
    assert "'name' was str and is bytes" in found.problems[0]


def test_a_saver_of_files_keeps_it(tmp_path: Any) -> None:
    path = str(tmp_path / "threads.db")
    begun(SqliteSaver(sqlite.connection(path)))
    with pytest.raises(GraphSchemaError, match="'count' \\(int\\) is gone"):
        graph_of(Changed, SqliteSaver(sqlite.connection(path))).get_state(THREAD)


class Size(Enum):
    SMALL = 1


class Line(BaseModel):
    item: str
    size: Size
    parts: list[Line] = []


class Point(NamedTuple):
    x: int
    y: int


def test_types_are_told_in_words() -> None:
    class Told(TypedDict):
        line: Line
        point: NotRequired[Point]
        word: Literal["b", "a"]
        messages: Annotated[list[AnyMessage], add_messages]
        either: int | dict[str, list[Any]] | None

    assert SchemaFingerprint.of(StateGraph(Told)).types == {
        "either": "None | dict[str, list[Any]] | int",
        "line": "Line(item: str, parts: list[Line], size: Size(1))",
        "messages": "list[AnyMessage]",
        "point": "Point(x: int, y: int)",
        "word": "Literal['a', 'b']",
    }


def test_a_field_of_a_nested_class_counts_and_its_order_and_reducer_do_not() -> None:
    def nested(**fields: Any) -> Any:
        return TypedDict("State", {"item": TypedDict("Item", fields), "log": list[str]})  # type: ignore[misc]

    assert digest(nested(a=int, b=str)) == digest(nested(b=str, a=int))
    assert digest(nested(a=int, b=str)) != digest(nested(a=int, b=bytes))

    class Plain(TypedDict):
        log: list[str]
        count: int
        name: str

    assert digest(Plain) == digest(State)


#: Types that are different from each other, each with another way to write it.
SAME: list[tuple[Any, Any]] = [
    (int, Annotated[int, "meters"]),
    (str, NotRequired[str]),
    (int | None, None | int),
    (list[int], Annotated[list[int], operator.add]),
    (Literal["a", "b"], Literal["b", "a"]),
    (dict[str, int | str], dict[str, str | int]),
    (tuple[int, ...], tuple[int, ...]),
    (TypedDict("Item", {"a": int, "b": str}), TypedDict("Item", {"b": str, "a": int})),
]
SCHEMAS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, len(SAME) - 1), min_size=1)


@given(SCHEMAS, SCHEMAS, st.randoms(use_true_random=False))
def test_fingerprints_are_equal_exactly_if_the_schemas_are(
    one: dict[str, int], other: dict[str, int], random: Any
) -> None:
    """The model: a schema is a set of keys, each with one of the types that differ."""

    def schema(keys: dict[str, int]) -> Any:
        names = list(keys)
        random.shuffle(names)
        return TypedDict("Schema", {name: random.choice(SAME[keys[name]]) for name in names})  # type: ignore[misc]

    assert digest(schema(one)) == digest(schema(one))
    assert (digest(schema(one)) == digest(schema(other))) == (one == other)
    difference = SchemaFingerprint.of(StateGraph(schema(one))).difference(
        SchemaFingerprint.of(StateGraph(schema(other))).types, "A thread"
    )
    both = one.keys() & other.keys()
    if difference is not None:
        assert difference.added.keys() == one.keys() - other.keys()
        assert difference.removed.keys() == other.keys() - one.keys()
        assert difference.changed.keys() == {key for key in both if one[key] != other[key]}
    else:
        assert other.keys() <= one.keys() and all(one[key] == other[key] for key in both)
