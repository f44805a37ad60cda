"""Updates and outputs checked on request, as langchain-ai/langgraph#1977 asks for."""

import operator
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator

from stategraph import (
    START,
    Command,
    ConfigurationError,
    GraphLimits,
    Overwrite,
    StateGraph,
    StateValidationError,
    add_messages,
    interrupt,
)
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Overall(BaseModel):
    a: float


class State(TypedDict, total=False):
    count: int
    name: str | None
    log: Annotated[list[str], operator.add]


def graph_of(schema: Any, node: Callable[..., Any], **options: Any) -> Any:
    built = StateGraph(schema, output_schema=options.pop("output_schema", None))
    return built.add_node("work", node).add_edge(START, "work").compile(**options)


def test_the_program_of_the_issue_fails_with_a_validation_error(driver: Driver) -> None:
    """Its author returns "foo" for a float, and is answered with it."""
    assert driver.invoke(graph_of(Overall, lambda state: {"a": "foo"}), {"a": 2.3}) == {"a": "foo"}
    for validate in ("updates", "output", "all"):
        with pytest.raises(StateValidationError, match=r"'a'.*'foo' \(str\).*valid number"):
            driver.invoke(graph_of(Overall, lambda state: {"a": "foo"}, validate=validate), {"a": 2.3})


def test_an_error_names_node_key_found_and_expected(driver: Driver) -> None:
    graph = graph_of(State, lambda state: {"count": "many", "name": 1, "log": ["x"]}, validate="updates")
    with pytest.raises(StateValidationError) as raised:
        driver.invoke(graph, {})
    error = raised.value
    assert str(error).startswith(
        "Node 'work' wrote what does not fit State: 'count' = 'many' (str), expected int (Input should be a valid "
    )
    assert "'name' = 1 (int), expected None | str" in str(error)
    assert (error.node, error.keys) == ("work", ("count", "name"))
    assert isinstance(error.__cause__, ValidationError)
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.node, copied.keys) == (str(error), error.node, error.keys)


def test_the_state_has_the_types_that_it_declares(driver: Driver) -> None:
    graph = graph_of(State, lambda state: {"count": state["count"] + 1}, validate="updates")
    assert driver.invoke(graph, {"count": "41"})["count"] == 42
    with pytest.raises(StateValidationError, match="The input has what does not fit State: 'count' = 'x'"):
        driver.invoke(graph, {"count": "x"})


def test_nothing_of_a_bad_update_is_stored_and_the_thread_goes_on(driver: Driver) -> None:
    """langchain-ai/langgraph#6491: a bad value in a checkpoint makes the thread unreadable."""
    answers: list[Any] = ["bad", 2]
    saver = InMemorySaver()
    graph = graph_of(
        State, lambda state: {"log": ["tried"], "count": answers.pop(0)}, checkpointer=saver, validate="all"
    )
    with pytest.raises(StateValidationError):
        driver.invoke(graph, {"count": 1}, THREAD)
    assert driver.get_state(graph, THREAD).values == {"count": 1, "log": []}
    assert driver.invoke(graph, None, THREAD) == {"count": 2, "log": ["tried"]}


def test_commands_edits_and_overwrites_are_checked(driver: Driver) -> None:
    graph = graph_of(State, lambda state: Command(update={"count": "x"}), checkpointer=InMemorySaver(), validate="all")
    with pytest.raises(StateValidationError, match="Node 'work' wrote"):
        driver.invoke(graph, {"count": 1}, THREAD)
    with pytest.raises(StateValidationError, match="'log' = 1 \\(int\\), expected list\\[str\\]"):
        driver.update_state(graph, THREAD, {"log": 1}, as_node="work")
    for put in (Overwrite("x"), {"__overwrite__": "x"}):
        with pytest.raises(StateValidationError, match="'log'"):
            driver.invoke(graph_of(State, lambda state, put=put: {"log": put}, validate="updates"), {})
    kept = graph_of(State, lambda state: {"log": Overwrite(["y"])}, validate="updates")
    assert driver.invoke(kept, {"log": ["x"]})["log"] == ["y"]


def test_a_reducer_says_what_it_takes(driver: Driver) -> None:
    def append(items: list[str], item: str) -> list[str]:
        return [*items, item]

    def unknown(items, item):  # type: ignore[no-untyped-def]
        return [*items, item]

    class Lists(TypedDict, total=False):
        declared: Annotated[list[str], append]
        silent: Annotated[list[str], unknown]
        messages: Annotated[list[AnyMessage], add_messages]

    update = {"declared": "a", "silent": 7, "messages": ("ai", "hello")}
    found = driver.invoke(graph_of(Lists, lambda state: update, validate="updates"), {})
    assert (found["declared"], found["silent"]) == (["a"], [7])
    assert found["messages"] == [AIMessage("hello", id=found["messages"][0].id)]
    with pytest.raises(StateValidationError, match="'declared' = \\['a'\\] \\(list\\), expected str"):
        driver.invoke(graph_of(Lists, lambda state: {"declared": ["a"]}, validate="updates"), {})
    with pytest.raises(StateValidationError, match=r"The output does not fit Lists: 'silent.0': found 7 \(int\)"):
        driver.invoke(graph_of(Lists, lambda state: {"silent": 7}, validate="output"), {})


def test_constraints_of_a_model_hold_for_updates_and_its_validators_for_the_output(driver: Driver) -> None:
    class Model(BaseModel):
        few: int = Field(default=0, le=10)
        name: str = ""

        @field_validator("name")
        @classmethod
        def capital(cls, value: str) -> str:
            if value == "nobody":
                raise ValueError("nobody is no name")
            return value.capitalize()

    with pytest.raises(StateValidationError, match="less than or equal to 10"):
        driver.invoke(graph_of(Model, lambda state: {"few": 11}, validate="updates"), {})
    found = driver.invoke(graph_of(Model, lambda state: {"name": "ada"}, validate="all"), {})
    assert found == Model(few=0, name="Ada") and type(found) is Model
    with pytest.raises(StateValidationError, match=r"'name': found 'nobody' \(str\).*nobody is no name"):
        driver.invoke(graph_of(Model, lambda state: {"name": "nobody"}, validate="output"), {})


@dataclass
class Receipt:
    total: float
    lines: list[str] = field(default_factory=list)


class Order(TypedDict, total=False):
    total: float
    lines: list[str]
    hidden: str


def test_an_output_is_an_instance_of_its_schema(driver: Driver) -> None:
    """langchain-ai/langgraph#6607 expects `result.message`, and gets a dict."""
    graph = graph_of(Order, lambda state: {"total": "2.5", "hidden": "x"}, output_schema=Receipt, validate="output")
    assert driver.invoke(graph, {}) == Receipt(2.5)
    assert driver.invoke(graph, {}, version="v2").value == Receipt(2.5)
    assert driver.invoke(graph, {}, output_keys=["hidden"]) == {"hidden": "x"}
    missing = graph_of(Order, lambda state: {"lines": []}, output_schema=Receipt, validate="output")
    with pytest.raises(StateValidationError, match="The output does not fit Receipt: 'total': found nothing"):
        driver.invoke(missing, {})
    assert driver.invoke(graph_of(Order, lambda state: {"total": 1}, output_schema=Receipt), {}) == {"total": 1}


def test_a_stream_ends_with_the_error(driver: Driver) -> None:
    graph = graph_of(Order, lambda state: {"lines": ["a"]}, output_schema=Receipt, validate="output")
    for mode in ("updates", "values", ["updates", "custom"]):
        with pytest.raises(StateValidationError, match="'total': found nothing"):
            driver.stream(graph, {}, stream_mode=mode)


def test_a_run_that_pauses_or_is_stopped_is_not_checked_before_its_end(driver: Driver) -> None:
    def ask(state: Order) -> dict[str, Any]:
        return {"total": interrupt("how much?")}

    graph = graph_of(Order, ask, output_schema=Receipt, checkpointer=InMemorySaver(), validate="all")
    paused = driver.invoke(graph, {"lines": ["tea"]}, THREAD)
    assert paused["lines"] == ["tea"] and paused["__interrupt__"][0].value == "how much?"
    with pytest.raises(StateValidationError, match="'total' = 'lots'"):
        driver.invoke(graph, Command(resume="lots"), THREAD)
    assert driver.invoke(graph, Command(resume="3"), THREAD) == Receipt(3, ["tea"])
    before = graph_of(
        Order,
        lambda state: {"total": 1},
        output_schema=Receipt,
        checkpointer=InMemorySaver(),
        validate="output",
        interrupt_before=["work"],
    )
    assert driver.invoke(before, {"lines": ["tea"]}, THREAD) == {"lines": ["tea"]}
    assert driver.invoke(before, None, THREAD) == Receipt(1, ["tea"])
    stopped = StateGraph(Order, output_schema=Receipt).add_node("a", lambda state: {"lines": ["a"]})
    stopped.add_node("b", lambda state: {"total": 1}).add_edge(START, "a").add_edge("a", "b")
    limits = GraphLimits(steps=1, on_limit="return_partial")
    found = driver.invoke(stopped.compile(validate="output"), {}, control=limits)
    assert found["lines"] == ["a"] and "total" not in found


def test_nested_graphs_are_checked_and_write_what_they_would_without(driver: Driver) -> None:
    inner = graph_of(Order, lambda state: {"total": "1.5"}, output_schema=Receipt, validate="output")
    outer = StateGraph(Order).add_node("inner", inner).add_edge(START, "inner").compile(validate="all")
    assert driver.invoke(outer, {}) == {"total": 1.5}
    bad = graph_of(Order, lambda state: {"lines": ["a"]}, output_schema=Receipt, validate="output")
    around = StateGraph(Order).add_node("inner", bad).add_edge(START, "inner").compile()
    with pytest.raises(StateValidationError, match="'total': found nothing"):
        driver.invoke(around, {})


def test_what_cannot_be_checked_is_refused_when_the_graph_is_compiled() -> None:
    with pytest.raises(ConfigurationError, match="validate='some' is unknown; expected 'updates', 'output' or 'all'"):
        graph_of(State, lambda state: {}, validate="some")

    class Strange:
        pass

    class Holder(TypedDict):
        strange: Strange

    class Outer(TypedDict):
        plain: Strange
        held: Holder

    with pytest.raises(ConfigurationError, match="Key 'held' of Outer has a type that cannot be checked"):
        graph_of(Outer, lambda state: {}, validate="updates")


VALUES = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)
TYPES = st.sampled_from(
    (
        int,
        float,
        str,
        bool,
        int | None,
        list[int],
        list[str],
        dict[str, int],
        int | str,
        Annotated[int, Field(ge=0)],
        Any,
    )
)


@given(TYPES, VALUES)
def test_an_update_is_taken_as_pydantic_takes_it(type_: Any, value: Any) -> None:
    class schema(TypedDict):  # noqa: N801
        key: type_

    graph = graph_of(schema, lambda state: {"key": value}, validate="updates")
    try:
        wanted = TypeAdapter(type_).validate_python(value)
    except ValidationError:
        with pytest.raises(StateValidationError):
            graph.invoke({"key": value})
        return
    found = graph.invoke({"key": value})["key"]
    assert (found, type(found)) == (wanted, type(wanted))


def test_the_command_that_a_run_is_given_is_checked(driver: Driver) -> None:
    graph = graph_of(State, lambda state: {"log": ["ran"]}, checkpointer=InMemorySaver(), validate="updates")
    driver.invoke(graph, {"count": 1}, THREAD)
    before = driver.get_state(graph, THREAD)
    for update in ({"count": "x"}, [("count", "x")]):
        with pytest.raises(StateValidationError, match="The input has what does not fit State: 'count' = 'x'"):
            driver.invoke(graph, Command(update=update, goto="work"), THREAD)
    assert driver.get_state(graph, THREAD).values == before.values
    assert driver.get_state(graph, THREAD).config == before.config  # nothing of it was stored
    assert driver.invoke(graph, Command(update={"count": "7"}, goto="work"), THREAD)["count"] == 7
    unchecked = graph_of(State, lambda state: {}, checkpointer=InMemorySaver())
    driver.invoke(unchecked, {"count": 1}, THREAD)
    assert driver.invoke(unchecked, Command(update={"count": "x"}, goto="work"), THREAD)["count"] == "x"


def test_an_answer_with_an_update_is_checked_and_can_be_given_again(driver: Driver) -> None:
    def work(state: Any) -> Any:
        return {"name": interrupt("who?")}

    graph = graph_of(State, work, checkpointer=InMemorySaver(), validate="updates")
    driver.invoke(graph, {"count": 1}, THREAD)
    with pytest.raises(StateValidationError, match="'count' = 'x'"):
        driver.invoke(graph, Command(resume="ada", update={"count": "x"}), THREAD)
    found = driver.invoke(graph, Command(resume="ada", update={"count": "2"}), THREAD)
    assert (found["count"], found["name"]) == (2, "ada")


def test_a_command_to_the_parent_is_checked_there(driver: Driver) -> None:
    inner = graph_of(State, lambda state: Command(graph=Command.PARENT, update={"count": "x"}))
    graph = graph_of(State, inner, checkpointer=InMemorySaver(), validate="updates")
    with pytest.raises(StateValidationError, match="Node 'work' wrote what does not fit State: 'count' = 'x'"):
        driver.invoke(graph, {"count": 1}, THREAD)


class Login(TypedDict, total=False):
    password: str
    apiKey: int
    note: int
    nested: dict[str, int]
    picky: str


SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    "update",
    [
        {"password": {"k": SECRET}},
        {"apiKey": SECRET},
        {"note": {"password": SECRET}},
        {"note": [{"deep": {"accessToken": SECRET}}]},
        {"note": f"https://ann:{SECRET}@host/"},
        {"note": f"password={SECRET}"},
        {"note": f"Authorization: Bearer {SECRET}"},
        {"note": "a9" + SECRET.replace("-", "") + "0123456789"},
        {"nested": {"password": SECRET}},
    ],
)
@pytest.mark.parametrize("validate", ["updates", "output"])
def test_no_error_shows_a_secret(driver: Driver, update: dict[str, Any], validate: str) -> None:
    with pytest.raises(StateValidationError) as raised:
        driver.invoke(graph_of(Login, lambda state: update, validate=validate), {})
    told = "".join(traceback.format_exception(raised.value))
    assert SECRET not in told
    assert SECRET.replace("-", "") not in told
    assert "[redacted]" in str(raised.value)
    assert repr(raised.value.__cause__).count(SECRET) == 0


def test_what_a_validator_says_of_a_secret_is_not_told(driver: Driver) -> None:
    class Model(BaseModel):
        password: str = ""

        @field_validator("password")
        @classmethod
        def long(cls, value: str) -> str:
            if value:
                raise ValueError(f"{value} {{is}} too short")
            return value

    with pytest.raises(StateValidationError, match=r"'password': found \[redacted\] \(str\) \(value_error\)") as raised:
        driver.invoke(graph_of(Model, lambda state: {"password": SECRET}, validate="output"), {})
    assert SECRET not in "".join(traceback.format_exception(raised.value))
