"""A run asks one clock for the time and one factory for ids, so that a whole run can be simulated."""

from __future__ import annotations

import ast
import operator
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

import stategraph.engine
from stategraph import END, START, Command, Send, StateGraph, interrupt, task
from stategraph.engine.config import environment
from stategraph.engine.config.environment import Environment
from stategraph.graph.reducers import add_messages
from stategraph.testing.ids import CountedIds
from stategraph.types import RetryPolicy
from stategraph.workers.ids import new_ulid
from tests.conftest import Driver
from tests.engine.runners import InPlace


class VirtualClock:
    """Begins at a fixed time, and moves a second with each look and as far as it is waited."""

    def __init__(self) -> None:
        self._now = 1_700_000_000.0
        self.waits: list[float] = []

    def time(self) -> float:
        self._now += 1
        return self._now

    monotonic = time

    def sleep(self, seconds: float, /) -> None:
        self.waits.append(seconds)
        self._now += seconds

    async def asleep(self, seconds: float, /) -> None:
        self.sleep(seconds)


class Counting(InMemorySaver):
    """A saver whose versions have no random part."""

    def get_next_version(self, current: Any, channel: None) -> int:
        return 1 if current is None else current + 1

    def contents(self) -> Any:
        return (
            [
                (place, stored)
                for spaces in self.storage.values()
                for stored_there in spaces.values()
                for place, stored in stored_there.items()
            ],
            dict(self.writes),
            dict(self.blobs),
        )


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


@task
def shout(word: str) -> str:
    return word.upper()


def build(saver: Any) -> Any:
    """Retries, packets, a graph inside, a called function, messages without ids and a question."""
    failures = iter([ConnectionError(), ConnectionError()])

    def flaky(state: State) -> State:
        for error in failures:
            raise error
        return {"log": ["flaky"], "messages": [HumanMessage("hello")]}

    inner = StateGraph(State)
    inner.add_node("x", lambda state: {"log": [shout("x").result()]})
    inner.add_edge(START, "x")
    builder = StateGraph(State)
    builder.add_node("flaky", flaky, retry_policy=RetryPolicy(max_attempts=3, initial_interval=60))
    builder.add_node("inner", inner.compile())
    builder.add_node("worker", lambda packet: {"log": [f"worker {packet}"]})
    builder.add_node("ask", lambda state: {"log": [interrupt("go on?")]})
    builder.add_edge(START, "flaky")
    builder.add_conditional_edges("flaky", lambda state: [Send("worker", 1), Send("worker", 2), "inner"])
    builder.add_edge("inner", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


def simulated(driver: Driver, durability: str) -> tuple[Any, ...]:
    saver, clock = Counting(), VirtualClock()
    graph = build(saver)
    config: Any = {"configurable": {"thread_id": "t"}, "max_concurrency": 1}
    with environment.use(Environment(clock, CountedIds(), InPlace())):
        paused = driver.stream(graph, {"log": []}, config, durability=durability, stream_mode=["updates", "debug"])
        result = driver.invoke(graph, Command(resume="yes"), config, durability=durability)
        driver.update_state(graph, config, {"log": ["by hand"]})
    return clock.waits, repr(paused), repr(result), saver.contents()


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_simulated_run_comes_out_the_same_each_time_to_the_last_byte(driver: Driver, durability: str) -> None:
    first, second = simulated(driver, durability), simulated(driver, durability)
    assert first[0] == [60.5, 120.5]
    assert first == second
    checkpoints, *_ = first[-1]
    assert len(checkpoints) >= 3


def test_without_a_simulation_no_two_checkpoints_have_one_id() -> None:
    savers = [Counting(), Counting()]
    for saver in savers:
        chain = StateGraph(State).add_node("n", lambda state: {"log": ["n"]}).add_edge(START, "n")
        chain.compile(checkpointer=saver).invoke({"log": []}, {"configurable": {"thread_id": "t"}})
    one, other = ({place for place, _ in saver.contents()[0]} for saver in savers)
    assert one
    assert one.isdisjoint(other)


ASKS = {"time": {"time", "monotonic", "sleep", "time_ns"}, "random": None, "uuid": {"uuid1", "uuid4", "uuid6"}}
"""What of the machine's modules gives time or chance; None for all."""


def test_only_one_module_of_the_engine_asks_the_machine_for_time_or_chance() -> None:
    root = Path(stategraph.engine.__file__).parent
    found = {
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        if any(asks_the_machine(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert found == {"config/environment.py"}


def asks_the_machine(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name in ("time", "random") for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module in ASKS:
        names = ASKS[node.module]
        return any(names is None or alias.name in names for alias in node.names)
    return isinstance(node, ast.Attribute) and node.attr == "now" and ast.unparse(node.value) == "datetime"


def test_a_clock_that_a_test_replaced_in_the_time_module_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    assert environment.current().now() == "1970-01-02T00:00:00+00:00"


def test_ids_of_workers_come_from_the_same_clock_and_factory() -> None:
    with environment.use(Environment(VirtualClock(), CountedIds())):
        first = [new_ulid() for _ in range(3)]
    with environment.use(Environment(VirtualClock(), CountedIds())):
        assert [new_ulid() for _ in range(3)] == first
    assert new_ulid() > max(first)


@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["its clock", "another clock"])
@pytest.mark.parametrize("ids", [None, CountedIds()], ids=["its ids", "other ids"])
def test_what_is_not_replaced_stays_as_it_is_and_all_is_put_back(clock: Any, ids: Any) -> None:
    around = Environment(VirtualClock(), CountedIds())
    with environment.use(around):
        with environment.replacing(clock, ids):
            inside = environment.current()
        assert environment.current() is around
    assert inside.clock is (around.clock if clock is None else clock)
    assert inside.ids is (around.ids if ids is None else ids)
    assert environment.current() is environment.SYSTEM
