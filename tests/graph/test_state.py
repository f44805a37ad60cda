"""The builder: what it keeps, what it refuses, and what a node's return value becomes."""

import logging
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.compile.managed import RemainingSteps
from stategraph.engine.compile.write import WriteScope
from stategraph.errors import InvalidUpdateError, ParentCommand
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import Command, RetryPolicy, Send
from stategraph.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    count: int


class Narrow(TypedDict):
    count: int


class Scope:
    """A task that reads nothing."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, Any]] = []
        self.config: Any = {}

    def read(self, select: str | list[str], fresh: bool) -> Any:
        raise AssertionError("nothing is to be read here")


def a(state: State) -> None:
    return None


def b(state: State) -> None:
    return None


def chain() -> StateGraph:
    return StateGraph(State).add_sequence([a, b]).set_entry_point("a")


def written(graph: Any, node: str, returned: Any) -> list[tuple[str, Any]]:
    """What a node writes when it returns this, the same for the inner loop and for a traced run."""
    scope = Scope()
    typed: WriteScope = scope
    sent: list[tuple[str, Any]] = []
    for writer in graph.nodes[node].fast_writers:
        writer.write_into(returned, typed)
        writer.invoke(returned, {"configurable": {"__pregel_send": sent.extend}})
    assert sent == scope.writes
    return scope.writes


# --- nodes ---


def test_a_node_is_called_what_its_function_or_class_is_called() -> None:
    class Called:
        def __call__(self, state: State) -> None: ...

        def method(self, state: State) -> None: ...

    builder = StateGraph(State).add_node(a).add_node(Called()).add_node(Called().method)
    builder.add_node(RunnableLambda(b, name="wrapped")).add_node("given", b)
    assert list(builder.nodes) == ["a", "Called", "method", "wrapped", "given"]


@pytest.mark.parametrize("name", [START, END, "with|bar", "with:colon"])
def test_reserved_node_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"another name|namespaces"):
        StateGraph(State).add_node(name, a)


def test_two_nodes_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="`a` already"):
        StateGraph(State).add_node(a).add_node("a", b)


def test_a_name_without_a_node_is_refused() -> None:
    with pytest.raises(RuntimeError, match="nothing to run"):
        StateGraph(State).add_node("a")  # type: ignore[call-overload]


def test_the_first_parameters_class_is_the_nodes_input() -> None:
    class Private(TypedDict):
        secret: str

    def wants(state: Private) -> None: ...

    def wants_a_dict(state: dict) -> None: ...

    class Wants:
        def __call__(self, state: Private) -> None: ...

    builder = StateGraph(State).add_node(wants).add_node(wants_a_dict).add_node(Wants())
    assert builder.nodes["wants"].input_schema is Private
    assert builder.nodes["Wants"].input_schema is Private
    assert builder.nodes["wants_a_dict"].input_schema is State
    assert "secret" in builder.channels


def test_an_explicit_input_schema_wins_over_the_annotation() -> None:
    builder = StateGraph(State).add_node("a", a, input_schema=Narrow)
    assert builder.nodes["a"].input_schema is Narrow


def test_annotations_that_cannot_be_resolved_say_nothing() -> None:
    def lost(state: "NoSuchClass") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def no_parameters() -> None: ...

    builder = StateGraph(State).add_node(lost).add_node("none", no_parameters).add_node("partial", partial(a))
    assert {spec.input_schema for spec in builder.nodes.values()} == {State}


def test_a_command_in_the_return_annotation_names_destinations() -> None:
    def goes(state: State) -> Command[Literal["a", "b"]]: ...

    def may_go(state: State) -> Command[Literal["a"]] | State: ...

    builder = StateGraph(State).add_node(goes).add_node(may_go).add_node("told", goes, destinations={"a": "label"})
    assert builder.nodes["goes"].ends == ("a", "b")
    assert builder.nodes["may_go"].ends == ("a",)
    assert builder.nodes["told"].ends == {"a": "label"}


def test_an_error_handler_becomes_a_node_with_the_same_input() -> None:
    def handler(state: Narrow) -> None: ...

    builder = StateGraph(State).add_node("a", a, input_schema=Narrow, error_handler=handler).set_entry_point("a")
    assert builder.nodes["__error_handler__a"].is_error_handler
    assert builder.nodes["__error_handler__a"].input_schema is Narrow
    assert builder.compile().node_error_handler_map == {"a": "__error_handler__a"}


def test_defaults_fill_gaps_and_leave_the_builder_alone() -> None:
    default, own = RetryPolicy(max_attempts=5), RetryPolicy(max_attempts=2)

    def handler(state: State) -> None: ...

    builder = chain().add_node("own", a, retry_policy=own)
    builder.set_node_defaults(retry_policy=default).set_node_defaults(error_handler=handler)
    for _ in range(2):  # compiling twice gives the same
        nodes = builder.compile().nodes
        assert nodes["a"].retry_policy == (default,)
        assert nodes["own"].retry_policy == (own,)
        assert nodes["a"].error_handler_node == "__default_error_handler__"
        assert nodes["__default_error_handler__"].error_handler_node is None
        assert nodes["__default_error_handler__"].retry_policy == (default,)
    assert builder.nodes["a"].retry_policy is None


# --- schemas ---


def test_schemas_that_disagree_about_a_key_are_refused() -> None:
    def replace(old: list[str], new: list[str]) -> list[str]:
        return new

    class Other(TypedDict):
        log: Annotated[list[str], replace]

    with pytest.raises(ValueError, match="'log' is updated in different ways"):
        StateGraph(State, input_schema=Other)


def test_a_plain_key_may_stand_for_one_with_a_reducer() -> None:
    class Plain(TypedDict):
        log: list[str]

    builder = StateGraph(State, input_schema=Plain)
    assert type(builder.channels["log"]).__name__ == "BinaryOperatorAggregate"


def test_managed_values_are_neither_input_nor_output() -> None:
    class Managed(TypedDict):
        left: RemainingSteps

    assert StateGraph(Managed, input_schema=State, output_schema=State).managed
    with pytest.raises(ValueError, match="managed values"):
        StateGraph(State, input_schema=Managed)


@pytest.mark.parametrize(
    ("build", "category"),
    [
        (lambda: StateGraph(State, input=Narrow), LangGraphDeprecatedSinceV05),
        (lambda: StateGraph(State, output=Narrow), LangGraphDeprecatedSinceV05),
        (lambda: StateGraph(State, config_schema=Narrow), LangGraphDeprecatedSinceV10),
        (lambda: StateGraph(State).add_node("a", a, input=Narrow), LangGraphDeprecatedSinceV05),
        (lambda: StateGraph(State).add_node("a", a, retry=RetryPolicy()), LangGraphDeprecatedSinceV05),
    ],
)
def test_arguments_under_old_names_work_and_warn_at_the_callers_line(
    build: Callable[[], StateGraph], category: type[Warning]
) -> None:
    with pytest.warns(category) as caught:
        builder = build()
    assert caught[0].filename == __file__
    kept = (builder.input_schema, builder.output_schema, builder.context_schema)
    node = builder.nodes.get("a")
    assert Narrow in kept or (node is not None and (node.input_schema is Narrow or node.retry_policy == RetryPolicy()))


# --- edges ---


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda g: g.add_edge(END, "a"), "leave END"),
        (lambda g: g.add_edge("a", START), "enter START"),
        (lambda g: g.add_edge(["a", END], "b"), "leave END"),
        (lambda g: g.add_edge(["a", "x"], "b"), "`x` is no node yet"),
        (lambda g: g.add_edge(["a", "b"], "x"), "`x` is no node yet"),
        (lambda g: g.add_sequence([]), "at least one"),
        (lambda g: g.add_sequence([a]), "`a` already"),
    ],
)
def test_edges_that_make_no_sense_are_refused_at_once(add: Callable[[StateGraph], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add(chain())


@pytest.mark.parametrize("nodes", [(3, "a"), ("a", 3), (["a", 3], "b"), (a, "b")])
def test_an_edge_that_does_not_name_its_nodes_is_refused_with_what_was_found(nodes: Any) -> None:
    with pytest.raises(TypeError, match=r"names nodes by strings; found (3|<function)"):
        chain().add_edge(*nodes)


@pytest.mark.parametrize("given", [3, [3], RetryPolicy, [RetryPolicy(), None]])
def test_a_retry_policy_that_is_none_is_refused_where_it_is_given(given: Any) -> None:
    expected = r"retry_policy of .* expected a RetryPolicy, a list of them, or None"
    with pytest.raises(TypeError, match=expected):
        StateGraph(State).add_node("n", a, retry_policy=given)
    with pytest.raises(TypeError, match=expected):
        StateGraph(State).set_node_defaults(retry_policy=given)
    with pytest.raises(TypeError, match=expected):
        task(retry_policy=given)
    with pytest.raises(TypeError, match=expected):
        entrypoint(retry_policy=given)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StateGraph(State).add_node(a), "no beginning"),
        (lambda: chain().add_edge("x", "a"), "Found edge starting at unknown node 'x'"),
        (lambda: chain().add_edge("a", "x"), "Found edge ending at unknown node `x`"),
        (lambda: chain().add_conditional_edges("x", lambda s: "a"), "Found edge starting at unknown node 'x'"),
        (lambda: chain().add_conditional_edges("a", lambda s: "a", ["x"]), "may answer 'x'"),
        (lambda: chain().add_node("c", a, destinations=("x",)), "destination of 'c'"),
    ],
)
def test_a_graph_with_loose_ends_does_not_compile(build: Callable[[], StateGraph], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build().compile()


@pytest.mark.parametrize("side", ["interrupt_before", "interrupt_after"])
def test_interrupts_name_nodes(side: str) -> None:
    with pytest.raises(ValueError, match="Cannot interrupt at `x`"):
        chain().compile(**{side: ["x"]})


def test_changes_after_compiling_are_allowed_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    builder = chain()
    builder.compile()
    with caplog.at_level(logging.WARNING):
        builder.add_node("late", a).add_edge("b", "late")
    assert [record.getMessage()[:12] for record in caplog.records] == ["Adding a nod", "Adding an ed"]
    assert "late" in builder.compile().nodes


# --- what a return value becomes ---


@dataclass
class Update:
    log: list[str]
    unknown: int = 0


class Model(BaseModel):
    log: list[str] = []
    count: int | None = None


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, []),
        ({}, []),
        ({"count": 1, "unknown": 2}, [("count", 1)]),
        ({"count": 1, "log": ["x"]}, [("count", 1), ("log", ["x"])]),
        (Update(["x"]), [("log", ["x"])]),
        (Model(log=["x"]), [("log", ["x"])]),
        (Model(count=None), [("log", []), ("count", None)]),
        (Command(update={"count": 1, "unknown": 2}), [("count", 1)]),
        (Command(update=[("count", 1)], goto="b"), [("count", 1), ("branch:to:b", None)]),
        (Command(goto=["b", END, Send("b", 1)]), [("branch:to:b", None), ("__pregel_tasks", Send("b", 1))]),
        (Send("b", 1), [("__pregel_tasks", Send("b", 1))]),
        (
            [Command(update={"count": 1}, goto="b"), {"log": ["x"]}],
            [("count", 1), ("log", ["x"]), ("branch:to:b", None)],
        ),
    ],
)
def test_updates_come_first_then_commands_then_plain_edges(returned: Any, expected: list[Any]) -> None:
    graph = chain().compile()
    assert written(graph, "a", returned) == [*expected, ("branch:to:b", None)]


@pytest.mark.parametrize("returned", ["text", 1, [{"count": 1}], [Send("b", 1)]])
def test_a_value_that_is_no_update_is_refused(returned: Any) -> None:
    with pytest.raises(InvalidUpdateError, match="Expected dict, got"):
        written(chain().compile(), "a", returned)


def test_a_command_for_the_parent_graph_leaves_no_trace_in_this_one() -> None:
    graph = chain().compile()
    scope = Scope()
    command = Command(graph=Command.PARENT, update={"count": 1}, goto="x")
    with pytest.raises(ParentCommand) as raised:
        graph.nodes["a"].fast_writers[0].write_into([{"count": 2}, command], scope)
    assert raised.value.args[0] == command
    assert scope.writes == []


def test_a_state_that_is_one_value_takes_any_value() -> None:
    builder = StateGraph(Annotated[list, operator.add]).add_node("a", lambda state: None).set_entry_point("a")
    graph = builder.compile()
    assert graph.output_channels == graph.stream_channels == "__root__"
    assert written(graph, "a", [1]) == [("__root__", [1])]
    assert written(graph, "a", None) == []
    assert written(graph, "a", Command(update=[1])) == [("__root__", [1])]
    assert written(graph, "a", [Command(update=[1]), [2]]) == [("__root__", [1]), ("__root__", [2])]


def test_the_input_may_set_the_keys_of_its_schema_only() -> None:
    graph = StateGraph(State, input_schema=Narrow).add_node(a).set_entry_point("a").compile()
    assert written(graph, START, {"count": 1, "log": ["x"]}) == [("count", 1), ("branch:to:a", None)]
