"""Our engine beside an installed LangGraph: what a saver brings back are ours again."""

import copy
import operator
import sys
from collections import namedtuple
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, TypedDict
from unittest.mock import ANY

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, CachePolicy, Command, Interrupt, Send, StateGraph, interrupt
from stategraph.core.channels import reducers
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.engine.config import foreign_types
from stategraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt, ParentCommand
from stategraph.policies import checked_retry_policies
from stategraph.types import Overwrite, RetryPolicy, TimeoutPolicy


@dataclass
class OtherTimeout:
    run_timeout: Any = None
    idle_timeout: Any = None
    refresh_on: str = "auto"


class OtherSend:
    def __init__(self, /, node: str, arg: Any, *, timeout: Any = None) -> None:
        self.node, self.arg, self.timeout = node, arg, timeout


@dataclass
class OtherInterrupt:
    value: Any
    id: str
    response_schema: Any = None


@dataclass
class OtherCommand:
    graph: Any = None
    update: Any = None
    resume: Any = None
    goto: Any = ()


@dataclass
class OtherOverwrite:
    value: Any


@pytest.fixture
def installed(monkeypatch):
    """A `langgraph.types` that is not ours, as an installed LangGraph has it."""
    module = ModuleType("langgraph.types")
    for cls in (OtherTimeout, OtherSend, OtherInterrupt, OtherCommand, OtherOverwrite):
        name = cls.__name__.removeprefix("Other") + ("Policy" if cls is OtherTimeout else "")
        other = type(name, (cls,), {"__module__": "langgraph.types"})
        setattr(module, name, other)
    monkeypatch.setitem(sys.modules, "langgraph.types", module)
    for name in ("OVERWRITES", "REPLACING"):  # what a test adds to them is taken off again
        monkeypatch.setattr(reducers, name, getattr(reducers, name))
    return module


class OtherBubbleUp(Exception):
    pass


class OtherGraphInterrupt(OtherBubbleUp):
    pass


class OtherParentCommand(OtherBubbleUp):
    pass


class OtherGraphDrained(OtherBubbleUp):
    reason = "sigterm"


@pytest.fixture
def other_errors(installed, monkeypatch):
    """A `langgraph.errors` that is not ours."""
    module = ModuleType("langgraph.errors")
    module.GraphBubbleUp = OtherBubbleUp
    for cls in (OtherGraphInterrupt, OtherParentCommand, OtherGraphDrained):
        setattr(module, cls.__name__.removeprefix("Other"), type(cls.__name__.removeprefix("Other"), (cls,), {}))
    monkeypatch.setitem(sys.modules, "langgraph.errors", module)
    return module


class OtherBaseChannel:
    def __init__(self, typ: Any, guard: bool = True) -> None:
        self.typ, self.guard = typ, guard


def test_without_another_engine_there_are_no_doubles(monkeypatch):
    monkeypatch.delitem(sys.modules, "langgraph.types", raising=False)
    assert not foreign_types.exist()
    ours = ModuleType("langgraph.types")
    ours.Send = Send
    monkeypatch.setitem(sys.modules, "langgraph.types", ours)
    assert not foreign_types.exist()


def test_every_double_becomes_ours(installed):
    assert foreign_types.exist()
    send = installed.Send("node", [1], timeout=installed.TimeoutPolicy(run_timeout=2.0))
    assert foreign_types.ours(send) == Send("node", [1], timeout=TimeoutPolicy(run_timeout=2.0))
    assert foreign_types.ours(installed.Interrupt("q", "i", {"type": "string"})) == Interrupt(
        "q", "i", response_schema={"type": "string"}
    )
    assert foreign_types.ours(installed.Command(goto=[installed.Send("n", 1)], update={"a": 1})) == Command(
        goto=[Send("n", 1)], update={"a": 1}
    )
    assert foreign_types.ours(installed.Overwrite([installed.Send("n", 1)])) == Overwrite([Send("n", 1)])


def test_containers_are_searched_and_kept_where_nothing_is_exchanged(installed):
    plain = {"a": [1, (2, 3)], "b": Send("n", 1)}
    assert foreign_types.ours(plain) is plain
    mixed = {"a": [installed.Interrupt("q", "i"), 1], "b": plain}
    found = foreign_types.ours(mixed)
    assert found == {"a": [Interrupt("q", "i"), 1], "b": plain}
    assert found["b"] is plain
    assert type(foreign_types.ours((installed.Send("n", 1),))) is tuple


def test_a_class_of_another_module_is_no_double_whatever_its_name(installed):
    for name in ("Send", "Interrupt", "Command", "Overwrite", "TimeoutPolicy"):
        namesake = type(name, (), {"__module__": "a.program"})()
        assert foreign_types.ours(namesake) is namesake
    unknown = type("Unknown", (), {"__module__": "langgraph.types"})()
    assert foreign_types.ours([unknown]) == [unknown]
    ours = [Send("n", 1)]
    assert foreign_types.ours(ours) is ours


def test_a_savers_answer_is_exchanged_and_anything_else_left(installed):
    checkpoint = {"channel_values": {"x": installed.Send("n", 1)}}
    saved = CheckpointTuple({}, checkpoint, {}, None, [("t", "c", installed.Interrupt("q", "i"))])
    (found,) = foreign_types.received([saved])
    assert found.checkpoint == {"channel_values": {"x": Send("n", 1)}}
    assert found.pending_writes == [("t", "c", Interrupt("q", "i"))]
    assert checkpoint["channel_values"]["x"].__class__ is installed.Send
    assert foreign_types.received(None) is None
    answer = object()
    assert foreign_types.received(answer) is answer


class State(TypedDict):
    names: Annotated[list[str], lambda old, new: old + new]


@pytest.mark.usefixtures("installed")
def test_a_thread_that_waits_with_sends_goes_on(driver):
    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"names": [interrupt("who?")]})
    graph.add_node("greet", lambda name: {"names": [f"hello {name} {interrupt('sure?')}"]})
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", lambda state: [Send("greet", state["names"][0])])
    graph.add_edge("greet", END)
    app = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}

    driver.invoke(app, {"names": []}, config)
    (waiting,) = driver.get_state(app, config).interrupts
    assert type(waiting) is Interrupt
    driver.invoke(app, Command(resume="Ada"), config)
    assert [task.name for task in driver.get_state(app, config).tasks] == ["greet"]
    assert driver.invoke(app, Command(resume="yes"), config) == {"names": ["Ada", "hello Ada yes"]}
    waits = [interrupt for state in driver.history(app, config) for interrupt in state.interrupts]
    assert [type(one) for one in waits] == [Interrupt, Interrupt]


@pytest.mark.usefixtures("installed")
def test_a_cached_result_that_sends_goes_on(driver):
    calls = []

    def split(state):
        calls.append(1)
        return Command(goto=[Send("greet", "Ada")])

    graph = StateGraph(State)
    graph.add_node("split", split, cache_policy=CachePolicy(), destinations=("greet",))
    graph.add_node("greet", lambda name: {"names": [name]})
    graph.add_edge(START, "split")
    app = graph.compile(cache=InMemoryCache())
    assert [driver.invoke(app, {"names": []}) for _ in range(2)] == [{"names": ["Ada"]}] * 2
    assert calls == [1]


# -- a program that takes its values from an installed LangGraph -------------------------------------------------------


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def built(node: Any, **options: Any) -> Any:
    graph = StateGraph(Log).add_node("node", node, **options).add_node("more", lambda _: {"log": ["more"]})
    return graph.add_edge(START, "node").compile(checkpointer=InMemorySaver())


THREAD: Any = {"configurable": {"thread_id": "1"}}


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (lambda other: other.Command(update={"log": ["a"]}, goto="more"), ["in", "a", "more"]),
        (lambda other: other.Command(goto=[other.Send("more", {})]), ["in", "more"]),
        (lambda other: Command(goto=other.Send("more", {})), ["in", "more"]),
        (lambda other: [other.Command(goto="more"), {"log": ["b"]}], ["in", "b", "more"]),
        (lambda other: {"log": other.Overwrite(["c"])}, ["c"]),
        (lambda other: other.Command(update={"log": other.Overwrite(["d"])}), ["d"]),
    ],
)
def test_what_a_node_returns_is_exchanged(driver, installed, returned, expected):
    assert driver.invoke(built(lambda _: returned(installed)), {"log": ["in"]}, THREAD) == {"log": expected}


@pytest.mark.parametrize("ends", [None, ["more"]])
def test_what_a_router_answers_is_exchanged(driver, installed, ends):
    graph = StateGraph(Log).add_node("more", lambda state: {"log": state["log"]})
    graph.add_conditional_edges(START, lambda _: [installed.Send("more", {"log": ["sent"]})], ends)
    assert driver.invoke(graph.compile(), {"log": []}) == {"log": ["sent"]}


def test_a_command_given_to_a_run_is_exchanged(driver, installed, caplog):
    graph = built(lambda _: {"log": [interrupt("who?")]})
    driver.invoke(graph, {"log": []}, THREAD)
    assert driver.invoke(graph, installed.Command(resume="Ada", goto=None), THREAD) == {"log": ["Ada"]}
    driver.update_state(graph, THREAD, installed.Command(update={"log": ["edit"]}), as_node="node")
    assert driver.invoke(graph, {"log": installed.Overwrite([])}, THREAD) == {"log": [], "__interrupt__": [ANY]}
    assert caplog.records == []


def test_exceptions_by_which_code_for_langgraph_leaves_a_node_are_exchanged(driver, other_errors, installed):
    def raising(error: Exception) -> Any:
        def node(_: Log) -> Any:
            raise error

        return node

    asked = other_errors.GraphInterrupt((installed.Interrupt("who?", "a" * 32),))
    found = driver.invoke(built(raising(asked), retry_policy=RetryPolicy(max_attempts=1)), {"log": []}, THREAD)
    assert found["__interrupt__"] == [Interrupt("who?", "a" * 32)]
    command = installed.Command(graph="__parent__", update={"log": ["up"]}, goto="more")
    inner = StateGraph(Log).add_node("inner", raising(other_errors.ParentCommand(command))).add_edge(START, "inner")
    assert driver.invoke(built(inner.compile()), {"log": []}, THREAD) == {"log": ["up", "more"]}
    with pytest.raises(ValueError, match="mine"):
        driver.invoke(built(raising(ValueError("mine"))), {"log": []}, THREAD)


def test_each_exception_has_a_counterpart(other_errors, installed):
    assert foreign_types.bubble(ValueError()) is None
    assert type(foreign_types.bubble(other_errors.GraphInterrupt())) is GraphInterrupt
    drained = foreign_types.bubble(other_errors.GraphDrained())
    assert isinstance(drained, GraphDrained)
    assert drained.reason == "sigterm"
    parent = foreign_types.bubble(other_errors.ParentCommand(installed.Command(goto="x")))
    assert isinstance(parent, ParentCommand)
    assert parent.args == (Command(goto="x"),)
    assert type(foreign_types.bubble(OtherBubbleUp("x"))) is GraphBubbleUp


def test_code_for_langgraph_lets_our_pause_pass(driver, other_errors):
    def node(_: Log) -> Any:
        try:
            return {"log": [interrupt("who?")]}
        except other_errors.GraphBubbleUp:
            raise
        except Exception:
            return {"log": ["swallowed"]}

    graph = built(node)
    assert driver.invoke(graph, {"log": []}, THREAD)["__interrupt__"][0].value == "who?"
    assert driver.invoke(graph, Command(resume="Ada"), THREAD) == {"log": ["Ada"]}


def test_without_another_engine_a_pause_is_ours_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "langgraph.errors", raising=False)
    assert type(foreign_types.pause()) is GraphInterrupt


def test_policies_are_exchanged():
    fields = RetryPolicy._fields
    other = type("RetryPolicy", (namedtuple("Fields", fields),), {"__module__": "langgraph.types"})(*RetryPolicy())
    assert type(checked_retry_policies(other, "a node")) is RetryPolicy
    assert list(map(type, checked_retry_policies([other, RetryPolicy()], "a node"))) == [RetryPolicy, RetryPolicy]
    limit = type("TimeoutPolicy", (OtherTimeout,), {"__module__": "langgraph.types"})(run_timeout=2.0)
    assert TimeoutPolicy.coerce(limit) == TimeoutPolicy(run_timeout=2.0)


def test_channels_in_annotations_are_exchanged_and_derived_ones_refused(monkeypatch):
    base = ModuleType("langgraph.channels.base")
    base.BaseChannel = OtherBaseChannel
    monkeypatch.setitem(sys.modules, "langgraph.channels.base", base)
    other = type("EphemeralValue", (OtherBaseChannel,), {"__module__": "langgraph.channels.ephemeral_value"})

    class Channels(TypedDict):
        cls: Annotated[int, other]
        instance: Annotated[int, other(int, False)]

    found = StateGraph(Channels).channels
    assert {name: (type(channel), channel.guard) for name, channel in found.items()} == {
        "cls": (EphemeralValue, True),
        "instance": (EphemeralValue, False),
    }
    own = type("Own", (other,), {"__module__": "my.program"})
    with pytest.raises(
        TypeError, match=r"my\.program\.Own is derived from .* installed LangGraph.* expected a channel"
    ):
        StateGraph(TypedDict("schema", {"key": Annotated[int, own]}))


def test_managed_values_of_another_engine_are_computed(driver, monkeypatch):
    module = ModuleType("langgraph.managed.base")
    module.ManagedValue = type("ManagedValue", (), {})
    monkeypatch.setitem(sys.modules, "langgraph.managed.base", module)
    rule = type("Left", (module.ManagedValue,), {"get": staticmethod(lambda pad: pad.stop - pad.step)})

    class Managed(TypedDict, total=False):
        n: int
        left: Annotated[int, rule]

    graph = StateGraph(Managed).add_node("node", lambda state: {"n": state["left"]}).add_edge(START, "node").compile()
    assert driver.invoke(graph, {"n": 0}, {"recursion_limit": 7}) == {"n": 6}


def test_a_pause_of_both_engines_is_stored_as_ours(other_errors):
    asked = (Interrupt("who?", "a" * 32),)
    error = foreign_types.pause(asked)
    assert isinstance(error, other_errors.GraphInterrupt)
    assert type(error).__doc__ == GraphInterrupt.__doc__
    assert type(foreign_types.pause()) is type(error)
    restored = copy.copy(error)  # by what it would be stored as
    assert type(restored) is GraphInterrupt
    assert restored.args == (asked,)


@pytest.mark.parametrize("reason", [{}, {"reason": "deploy"}])
def test_a_drain_of_another_engine_keeps_its_reason(other_errors, reason):
    drained = type("GraphDrained", (OtherBubbleUp,), reason)()
    assert foreign_types.bubble(drained).reason == reason.get("reason", "shutdown")


def test_an_exception_of_another_engine_keeps_what_it_was_given(other_errors):
    assert foreign_types.bubble(OtherBubbleUp("x", 1)).args == ("x", 1)
