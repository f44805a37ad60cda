"""Our engine beside an installed LangGraph: what a saver brings back are ours again."""

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, CachePolicy, Command, Interrupt, Send, StateGraph, interrupt
from stategraph.engine import doubles
from stategraph.types import Overwrite, TimeoutPolicy


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
    return module


def test_without_another_engine_there_are_no_doubles(monkeypatch):
    monkeypatch.delitem(sys.modules, "langgraph.types", raising=False)
    assert not doubles.exist()
    ours = ModuleType("langgraph.types")
    ours.Send = Send
    monkeypatch.setitem(sys.modules, "langgraph.types", ours)
    assert not doubles.exist()


def test_every_double_becomes_ours(installed):
    assert doubles.exist()
    send = installed.Send("node", [1], timeout=installed.TimeoutPolicy(run_timeout=2.0))
    assert doubles.ours(send) == Send("node", [1], timeout=TimeoutPolicy(run_timeout=2.0))
    assert doubles.ours(installed.Interrupt("q", "i", {"type": "string"})) == Interrupt(
        "q", "i", response_schema={"type": "string"}
    )
    assert doubles.ours(installed.Command(goto=[installed.Send("n", 1)], update={"a": 1})) == Command(
        goto=[Send("n", 1)], update={"a": 1}
    )
    assert doubles.ours(installed.Overwrite([installed.Send("n", 1)])) == Overwrite([Send("n", 1)])


def test_containers_are_searched_and_kept_where_nothing_is_exchanged(installed):
    plain = {"a": [1, (2, 3)], "b": Send("n", 1)}
    assert doubles.ours(plain) is plain
    mixed = {"a": [installed.Interrupt("q", "i"), 1], "b": plain}
    found = doubles.ours(mixed)
    assert found == {"a": [Interrupt("q", "i"), 1], "b": plain}
    assert found["b"] is plain
    assert type(doubles.ours((installed.Send("n", 1),))) is tuple


def test_a_savers_answer_is_exchanged_and_anything_else_left(installed):
    checkpoint = {"channel_values": {"x": installed.Send("n", 1)}}
    saved = CheckpointTuple({}, checkpoint, {}, None, [("t", "c", installed.Interrupt("q", "i"))])
    (found,) = doubles.received([saved])
    assert found.checkpoint == {"channel_values": {"x": Send("n", 1)}}
    assert found.pending_writes == [("t", "c", Interrupt("q", "i"))]
    assert checkpoint["channel_values"]["x"].__class__ is installed.Send
    assert doubles.received(None) is None
    answer = object()
    assert doubles.received(answer) is answer


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
