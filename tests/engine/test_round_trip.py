"""Values that change when they are stored: which keep their type, and that the others are told of or refused."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import gc
import ipaddress
import logging
import pickle
import threading
import uuid
import weakref
import zoneinfo
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.checkpoints import round_trip
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.checkpoints.round_trip import Checker
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import UnstorableValueError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Interrupt, Overwrite, Send

if TYPE_CHECKING:
    from tests.conftest import Driver


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Table(dict[str, Any]):
    pass


class Row(list[Any]):
    pass


class Pair(NamedTuple):
    one: Any
    two: Any = None


class Shade(enum.Enum):
    WORD = "red"
    MIX = (1, 2)


@dataclasses.dataclass
class Holder:
    value: Any = None

    class Kind(enum.Enum):
        A = "a"

    @dataclasses.dataclass
    class Inside:
        x: Any = 1


class Model(BaseModel):
    value: Any = None


class Stored(TypedDict, total=False):
    value: Any


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
OWN: list[type[Any]] = [Text, Number, Table, Row, Pair, Shade, Holder, Holder.Kind, Holder.Inside, Model]
KEPT_BY_MSGPACK: dict[str, Any] = {
    "plain": {"a": [1, 2.5, None, "é", b"x", True]},
    "model": Model(value=1),
    "dataclass": Holder([1]),
    "named tuple": Pair(1, "x"),
    "member": Shade.WORD,
    "set": {1, 2},
    "uuid": uuid.UUID(int=5),
    "decimal": decimal.Decimal("1.10"),
    "address": ipaddress.ip_address("::1"),
    "utc": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "not a number": [float("nan")],
    "named tuple in a set": {Pair(1, "x")},
    "members in a frozen set": frozenset({Shade.WORD}),
    "message": [HumanMessage("hi"), AIMessage("x", additional_kwargs={"n": [1]})],
}
KEPT_BY_STRICT: dict[str, Any] = {
    "tuple": (1, (2, [3])),
    "tuple in a dataclass": Holder((1,)),
    "tuple in a message": AIMessage("x", additional_kwargs={"pair": (1, 2)}),
    "counter": collections.Counter("aab"),
    "ordered": collections.OrderedDict(b=1, a=2),
    "queue": collections.deque([1, 2], maxlen=3),
    "text": Text("a"),
    "number": Number(3),
    "table": Table(a=1),
    "row": Row([1]),
    "member of a tuple": Shade.MIX,
    "inside": [Holder.Kind.A, Holder.Inside(2)],
    "zone": datetime.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "set of tuples": {(1, 2)},
    "pair of pairs": Pair(Pair(1, (2,))),
}
LOST: dict[str, Any] = {
    "error": ValueError("x"),
    "factory": collections.defaultdict(int, a=1),
    "half of a pair": "\ud83d",
    "member as a key": {Shade.MIX: 1},
}


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What one test was warned of, the next is warned of again."""
    round_trip._checkers.clear()


def there_and_back(serde: Any, value: Any, reader: Any = None) -> Any:
    return (reader or serde).loads_typed(serde.dumps_typed(value))


def same(one: Any, other: Any) -> bool:
    return round_trip._first_change(one, other, "", 24) is None


def writing(value: Any, saver: Any = None, **options: Any) -> Any:
    builder = StateGraph(Stored).add_node("n", lambda _: {"value": value}).add_edge(START, "n").add_edge("n", END)
    return builder.compile(checkpointer=saver or InMemorySaver(), **options)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == round_trip.__name__]


THREAD: Any = {"configurable": {"thread_id": "1"}}


# -- the serialiser ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*KEPT_BY_MSGPACK, *KEPT_BY_STRICT])
def test_a_strict_serialiser_keeps_types(name: str) -> None:
    value = {**KEPT_BY_MSGPACK, **KEPT_BY_STRICT}[name]
    assert same(there_and_back(StrictSerializer(OWN), value), value)


@pytest.mark.parametrize("name", [*KEPT_BY_MSGPACK, *KEPT_BY_STRICT])
def test_the_plain_serialiser_reads_what_the_strict_one_wrote(name: str) -> None:
    value = {**KEPT_BY_MSGPACK, **KEPT_BY_STRICT}[name]
    back = there_and_back(StrictSerializer(OWN), value, JsonPlusSerializer())
    if name == "inside":
        # The one looks for a class by its name alone, under which no module has it.
        assert back == ["a", {"x": 2}]
    else:
        assert same(back, value)


@pytest.mark.parametrize("name", [*KEPT_BY_MSGPACK, *KEPT_BY_STRICT, *LOST])
def test_the_strict_serialiser_reads_what_the_plain_one_wrote(name: str) -> None:
    value = {**KEPT_BY_MSGPACK, **KEPT_BY_STRICT, **LOST}[name]
    plain = JsonPlusSerializer()
    assert same(there_and_back(plain, value, StrictSerializer(OWN)), there_and_back(plain, value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
)


@given(JSON)
def test_any_nesting_of_lists_dicts_and_tuples_comes_back(value: Any) -> None:
    assert same(there_and_back(StrictSerializer(), value), value)


@pytest.mark.parametrize(
    "value", [Send("n", {"a": (1,)}), Command(update={"a": (1,)}, goto=["n"]), Interrupt((1,), id="i"), Overwrite([1])]
)
def test_the_engines_own_values_come_back(value: Any) -> None:
    assert there_and_back(StrictSerializer(), value) == value


class Loud:
    ran: ClassVar[list[Any]] = []

    def __init__(self, value: Any) -> None:
        self.ran.append(value)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_a_row_that_names_a_class_or_function_runs_no_code(driver: Driver, code: int) -> None:
    saver = in_memory_saver()
    graph = writing("kept", saver)
    driver.invoke(graph, {}, THREAD)
    argument: Any = {"value": 1} if code in (2, 4, 5) else [1] if code == 1 else 1
    forged = ormsgpack.Ext(code, ormsgpack.packb([__name__, "Loud", argument, "__init__"]))
    (versions,) = [key for key in saver.blobs if key[2] == "value"]  # type: ignore[attr-defined]
    saver.blobs[versions] = ("msgpack", ormsgpack.packb({"deep": [forged]}))  # type: ignore[attr-defined]
    assert driver.get_state(graph, THREAD).values == {"value": {"deep": [argument]}}
    assert Loud.ran == []
    unsafe = JsonPlusSerializer().loads_typed(("msgpack", ormsgpack.packb({"deep": [forged]})))
    assert code == 3 or unsafe != {"deep": [argument]}
    Loud.ran.clear()


def test_a_class_that_was_not_named_comes_back_as_plain_data() -> None:
    strict = StrictSerializer()
    assert there_and_back(strict, Holder(1)) == {"value": 1}
    assert there_and_back(strict, Model(value=1)) == {"value": 1}
    assert type(there_and_back(strict, Text("a"))) is str
    assert type(there_and_back(strict, Pair(1))) is dict


def test_a_serialiser_that_is_told_more_knows_both() -> None:
    one = StrictSerializer([Text])
    assert one.with_msgpack_allowlist([Text]) is one
    both = one.with_msgpack_allowlist([("tests.engine.test_round_trip", "Number")])
    assert same(there_and_back(both, [Text("a"), Number(1)]), [Text("a"), Number(1)])


# -- threads -------------------------------------------------------------------------------------------------------


class Typed(TypedDict, total=False):
    value: Any
    shade: Shade
    kind: Holder.Kind
    pair: Pair
    text: Text


def test_a_saver_of_ours_rebuilds_what_a_graph_and_the_graphs_in_it_declare(driver: Driver) -> None:
    class Inner(TypedDict, total=False):
        value: Any
        holder: Holder

    seen: list[Any] = []

    def look(state: Inner) -> None:
        seen.append(state.get("holder"))
        seen.append(interrupt("?"))

    first = StateGraph(Inner).add_node("make", lambda _: {"holder": Holder((1,))}).add_node("look", look)
    inner = first.add_edge(START, "make").add_edge("make", "look").compile()
    values = {"shade": Shade.MIX, "kind": Holder.Kind.A, "pair": Pair((1,)), "text": Text("x"), "value": (1, 2)}
    builder = StateGraph(Typed).add_node("n", lambda _: values).add_node("inner", inner)
    graph = builder.add_edge(START, "n").add_edge("n", "inner").compile(checkpointer=in_memory_saver())
    driver.invoke(graph, {}, THREAD)
    back = driver.get_state(graph, THREAD).values
    assert same({key: back[key] for key in values}, values)
    driver.invoke(graph, Command(resume="yes"), THREAD)
    assert same(seen, [Holder((1,)), Holder((1,)), "yes"])


# -- warnings ------------------------------------------------------------------------------------------------------


# What the free fields of a message hold is not looked at.
@pytest.mark.parametrize("name", sorted({*KEPT_BY_STRICT, *LOST} - {"tuple in a message"}))
def test_a_value_that_would_come_back_changed_is_warned_of(
    driver: Driver, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    value = {**KEPT_BY_STRICT, **LOST}[name]
    saver = InMemorySaver(serde=JsonPlusSerializer())
    for thread_id in ("1", "2"):
        driver.invoke(writing(value, saver), {}, {"configurable": {"thread_id": thread_id}})
    (warning,) = warnings(caplog)[:1] if name == "inside" else warnings(caplog)
    assert warning.startswith("Node 'n' wrote to channel 'value' a value that no checkpoint keeps: at value")
    assert "comes back as" in warning


@pytest.mark.parametrize("name", KEPT_BY_MSGPACK)
def test_a_value_that_comes_back_is_not_warned_of(driver: Driver, caplog: pytest.LogCaptureFixture, name: str) -> None:
    driver.invoke(writing(KEPT_BY_MSGPACK[name], InMemorySaver(serde=JsonPlusSerializer())), {}, THREAD)
    assert warnings(caplog) == []


class Slotted:
    """Keeps all values; no weak reference to it can be made."""

    __slots__ = ()

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "pickle", pickle.dumps(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return pickle.loads(data[1])


class Referable(Slotted):
    pass


@pytest.mark.parametrize("serde", [Slotted(), Referable()], ids=["with slots", "usual"])
def test_a_value_that_the_savers_own_serialiser_keeps_is_not_warned_of(
    caplog: pytest.LogCaptureFixture, serde: Any
) -> None:
    writing((1, collections.Counter("a")), InMemorySaver(serde=serde)).invoke({}, THREAD)
    assert warnings(caplog) == []


def test_an_input_an_edit_a_task_and_a_question_are_looked_at_as_well(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    graph = writing(1)
    driver.invoke(graph, {"value": {"deep": Text("x")}}, THREAD)
    assert warnings(caplog)[-1].startswith(
        "The input wrote to channel 'value' a value that no checkpoint keeps: at value['deep']"
    )
    driver.update_state(graph, THREAD, {"value": Number(1)}, as_node="n")
    assert warnings(caplog)[-1].startswith("An update wrote to channel 'value'")

    @task
    def make() -> Any:
        return Row([1])

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: Any) -> Any:
        make().result()
        return interrupt((1, 2))

    driver.invoke(flow, 1, THREAD)
    told = warnings(caplog)[2:]
    assert any("Node 'make'" in one and "Row comes back as list" in one for one in told)
    assert any("Node 'flow'" in one and "tuple comes back as list" in one for one in told)


def test_classes_of_one_shape_are_tried_once() -> None:
    tried: list[Any] = []

    class Counting(StrictSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            tried.append(obj)
            return super().dumps_typed(obj)

    checker = round_trip.Checker(StrictSerializer(OWN))
    checker._copy = lambda _: Counting(OWN)
    for number in range(5):
        checker.check([("value", [Holder(number), Model(value=[number]), (number,), HumanMessage("x")])], lambda: "x")
    assert len(tried) == 3
    checker.check([("value", Holder("another type"))], lambda: "x")
    assert len(tried) == 4


def test_what_is_known_of_a_serialiser_goes_with_it() -> None:
    for kind in (JsonPlusSerializer, StrictSerializer):
        serde: Any = kind()
        round_trip.checker_for(serde).check([("value", (1,))], lambda: "x")
        gone = weakref.ref(serde)
        del serde
        gc.collect()
        assert gone() is None


# -- strict graphs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_strict_graph_refuses_a_value_that_would_come_back_changed_each_time(driver: Driver, durability: Any) -> None:
    graph = writing({"deep": [(1, 2)]}, InMemorySaver(serde=JsonPlusSerializer()), strict=True)
    for _ in range(2):
        with pytest.raises(
            UnstorableValueError, match=r"at value\['deep'\]\[0\] tuple comes back as list\. Return plain"
        ):
            driver.invoke(graph, {}, THREAD, durability=durability)
    assert driver.get_state(graph, THREAD).values == {}


class SlowSaver(InMemorySaver):
    """Saves in the background; finishes no checkpoint before a text of the class that is refused was looked at."""

    def __init__(self) -> None:
        self.begun = self.done = 0
        self.refused = refused = threading.Event()

        class Serializer(JsonPlusSerializer):
            def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
                if isinstance(obj, Text):
                    refused.set()
                return super().dumps_typed(obj)

        super().__init__(serde=Serializer())

    def put(self, *args: Any) -> Any:
        self.begun += 1
        self.refused.wait(10)
        self.done += 1
        return super().put(*args)

    async def aput(self, *args: Any) -> Any:
        self.begun += 1
        await asyncio.to_thread(self.refused.wait, 10)
        # So that whoever does not wait is gone before.
        for _ in range(20):
            await asyncio.sleep(0)
        self.done += 1
        return super().put(*args)


def test_a_refused_value_cuts_off_no_save_that_was_asked_for_before(driver: Driver) -> None:
    saver = SlowSaver()
    graph = writing(Text("x"), saver, strict=True)
    with pytest.raises(UnstorableValueError) as raised:
        driver.invoke(graph, {"value": 1}, THREAD, durability="async")
    assert raised.value.__context__ is None
    assert saver.begun == saver.done == 2


class Two(TypedDict, total=False):
    one: Any
    other: Any


def test_a_refused_value_does_not_lose_what_a_task_beside_it_ends_with_when_it_is_stopped() -> None:
    begun = asyncio.Event()

    async def refused(state: Any) -> Any:
        await begun.wait()
        return {"one": Row([1])}

    async def finishes(state: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"other": 1}

    saver = InMemorySaver()
    builder = StateGraph(Two).add_node("refused", refused).add_node("finishes", finishes)
    builder.add_edge(START, "refused").add_edge(START, "finishes")
    graph = builder.compile(checkpointer=saver, strict=True)
    with pytest.raises(UnstorableValueError):
        asyncio.run(graph.ainvoke({"one": 1}, THREAD, durability="sync"))
    saved = saver.get_tuple(THREAD)
    assert saved is not None and saved.pending_writes is not None
    assert [(channel, value) for _, channel, value in saved.pending_writes] == [("other", 1)]


def test_a_strict_graph_takes_what_its_saver_keeps(driver: Driver) -> None:
    graph = writing({"deep": [(1, 2)]}, InMemorySaver(serde=StrictSerializer()), strict=True)
    driver.invoke(graph, {}, THREAD)
    assert driver.get_state(graph, THREAD).values == {"value": {"deep": [(1, 2)]}}


def test_a_strict_graph_refuses_such_an_edit(driver: Driver) -> None:
    graph = writing(1, InMemorySaver(serde=JsonPlusSerializer()), strict=True)
    with pytest.raises(UnstorableValueError, match="An update wrote to channel 'value'"):
        driver.update_state(graph, THREAD, {"value": Text("x")}, as_node="n")


def test_without_a_saver_nothing_is_refused(driver: Driver) -> None:
    builder = StateGraph(Stored).add_node("n", lambda _: {"value": (1,)}).add_edge(START, "n")
    assert driver.invoke(builder.compile(strict=True), {}) == {"value": (1,)}


def test_logging_is_quiet_about_classes_that_nothing_is_wrong_with(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        writing([Holder(1), Model(value=Shade.WORD)], InMemorySaver(serde=JsonPlusSerializer())).invoke({}, THREAD)
    assert caplog.records == []


@pytest.mark.parametrize("listed", [True, False], ids=["all classes", "those listed"])
def test_what_a_read_logs_is_logged_by_the_read_and_not_by_the_write(
    caplog: pytest.LogCaptureFixture, listed: bool
) -> None:
    gone: Any = dataclasses.make_dataclass(f"Gone{listed}", ["x"], namespace={"__module__": __name__})
    serde = JsonPlusSerializer(allowed_msgpack_modules=True if listed else [(__name__, "Holder")])
    graph = writing([Holder(1), gone(1)], InMemorySaver(serde=serde))
    with caplog.at_level(logging.WARNING):
        graph.invoke({}, THREAD)
        (warning,) = [record.getMessage() for record in caplog.records]
        assert warning.endswith(f" at value[1] {__name__}.{gone.__name__} comes back as dict")
        caplog.clear()
        back = graph.get_state(THREAD).values["value"]
    assert back == [Holder(1), {"x": 1}]
    assert any(gone.__name__ in record.getMessage() and record.name != round_trip.__name__ for record in caplog.records)


def test_the_text_of_a_message_counts_as_a_string(caplog: pytest.LogCaptureFixture) -> None:
    checker = round_trip.Checker(JsonPlusSerializer())
    checker.check([("draft", {"text": AIMessage("hello").text})], lambda: "Node 'a'", strict=True)
    assert not caplog.records


def test_a_text_that_has_no_stored_form_says_nothing_about_others() -> None:
    checker = Checker(JsonPlusSerializer())
    for _ in range(2):
        with pytest.raises(UnstorableValueError, match="at value"):
            checker.check([("value", "lone \ud800")], lambda: "Node 'n'", strict=True)
        checker.check([("value", "é")], lambda: "Node 'n'", strict=True)


class Forgetful:
    """Comes back from being pickled without a part."""

    def __init__(self) -> None:
        self.kept, self.lost = 1, 2

    def __getstate__(self) -> dict[str, int]:
        return {"kept": self.kept}


class Incomparable:
    """Has no parts, and cannot be compared."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise ValueError("no truth value")

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "Incomparable()"


@pytest.mark.parametrize("value", [Forgetful(), Incomparable(), [Forgetful()]], ids=["part", "compare", "deep"])
def test_a_pickled_value_that_has_lost_a_part_or_cannot_be_compared_is_refused(value: Any) -> None:
    checker = Checker(JsonPlusSerializer(pickle_fallback=True))
    with pytest.raises(UnstorableValueError, match="'value' a value that no checkpoint keeps"):
        checker.check([("value", value)], lambda: "Node 'n'", strict=True)


class Vague:
    """Has no parts, and compares to something that is neither true nor false, as arrays do."""

    __slots__ = ()

    def __eq__(self, other: object) -> Any:
        return []

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "Vague()"


def test_a_pickled_value_that_is_compared_part_by_part_is_taken_for_unchanged() -> None:
    checker = Checker(JsonPlusSerializer(pickle_fallback=True))
    checker.check([("value", Vague())], lambda: "Node 'n'", strict=True)


def test_what_a_packet_carries_is_looked_at_as_well() -> None:
    checker = Checker(JsonPlusSerializer())
    with pytest.raises(UnstorableValueError, match=r"at __pregel_tasks\.arg\['deep'\] "):
        checker.check([("__pregel_tasks", Send("n", {"deep": Text("x")}))], lambda: "Node 'n'", strict=True)
    checker.check([("__pregel_tasks", Send("n", {"deep": "x"}))], lambda: "Node 'n'", strict=True)
