"""One task, tried until it succeeds or its policies give up."""

from __future__ import annotations

import asyncio
import operator
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    RETURN,
    START,
)
from stategraph.engine.config.runtime import ExecutionInfo, Runtime
from stategraph.engine.config.scratchpad import PregelScratchpad, new_counter
from stategraph.engine.interop import detached_task
from stategraph.engine.tasks import attempt
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import GraphInterrupt, InvalidUpdateError, NodeCancelledError, NodeTimeoutError, ParentCommand
from stategraph.graph.state import StateGraph
from stategraph.testing.clock import FakeClock
from stategraph.types import Command, PregelExecutableTask, RetryPolicy, Send, TimeoutPolicy

if TYPE_CHECKING:
    from tests.conftest import Driver

ALWAYS = RetryPolicy(max_attempts=3, initial_interval=1.0, jitter=False, retry_on=Exception)


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


def one_node(node: Any, *, policies: Any = None, checkpointer: Any = None) -> Any:
    builder = StateGraph(State).add_node("n", node, retry_policy=policies).add_edge(START, "n")
    return builder.compile(checkpointer=checkpointer)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Pauses between attempts take no time; `clock.sleeps` has them."""
    clock = FakeClock()

    async def sleep(delay: float, *_: Any) -> None:
        clock.sleep(delay)

    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return clock


class Flaky:
    """A node that fails a number of times before it succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.infos: list[ExecutionInfo] = []

    def __call__(self, state: State, runtime: Runtime) -> State:
        assert runtime.execution_info is not None
        self.infos.append(runtime.execution_info)
        if self.errors:
            raise self.errors.pop(0)
        return {"seen": ["done"]}


# -- the rules of retrying --------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry_on", "error", "expected"),
    [
        (ValueError, UnicodeError(), True),
        (ValueError, KeyError(), False),
        ((ValueError, KeyError), KeyError(), True),
        ([ValueError], KeyError(), False),
        ((), ValueError(), False),
        (lambda error: "again" in str(error), ValueError("again"), True),
        (lambda error: "again" in str(error), ValueError("never"), False),
    ],
)
def test_a_policy_says_by_class_or_by_function_what_it_retries(retry_on: Any, error: Exception, expected: bool) -> None:
    assert attempt.matches(RetryPolicy(retry_on=retry_on), error) is expected


def test_a_policy_that_says_nothing_sensible_is_refused() -> None:
    with pytest.raises(TypeError, match="retry_on must be"):
        attempt.matches(RetryPolicy(retry_on=5), ValueError())  # type: ignore[arg-type]


def test_pauses_grow_up_to_a_limit_and_end_with_the_attempts() -> None:
    policy = RetryPolicy(max_attempts=5, initial_interval=1, backoff_factor=3, max_interval=10, jitter=False)
    delays = [attempt.delay_before_retry([policy], ConnectionError(), failed) for failed in (1, 2, 3, 4, 5)]
    assert delays == [1, 3, 9, 10, None]


def test_jitter_adds_up_to_a_second() -> None:
    policy = RetryPolicy(initial_interval=5.0)
    delays = {attempt.delay_before_retry([policy], ConnectionError(), 1) for _ in range(20)}
    assert len(delays) > 1
    assert all(delay is not None and 5.0 <= delay <= 6.0 for delay in delays)


@pytest.mark.parametrize("longest", [0.05, 1.0, 5.5, 10.0])
def test_jitter_varies_pauses_and_keeps_them_below_the_longest(longest: float) -> None:
    policy = RetryPolicy(initial_interval=5.0, max_interval=longest)
    delays = {attempt.delay_before_retry([policy], ConnectionError(), failed) for failed in (1, 2) for _ in range(20)}
    assert len(delays) > 2
    assert all(delay is not None and longest / 2 <= delay <= longest for delay in delays)


def test_the_first_policy_that_matches_decides(driver: Driver, clock: FakeClock) -> None:
    policies = [
        RetryPolicy(retry_on=KeyError, max_attempts=9, initial_interval=4.0, jitter=False),
        RetryPolicy(retry_on=LookupError, max_attempts=2, initial_interval=7.0, jitter=False),
        ALWAYS,
    ]
    assert driver.invoke(one_node(Flaky(KeyError(), ValueError()), policies=policies), {"seen": []})
    assert clock.sleeps == [4.0, 2.0]
    with pytest.raises(IndexError):
        driver.invoke(one_node(Flaky(IndexError(), IndexError()), policies=policies), {"seen": []})


def test_without_a_policy_the_first_failure_counts(driver: Driver, clock: FakeClock) -> None:
    with pytest.raises(ConnectionError) as caught:
        driver.invoke(one_node(Flaky(ConnectionError())), {"seen": []})
    assert clock.sleeps == []
    (note,) = caught.value.__notes__
    assert note.startswith("During task with name 'n' and id '")


# -- what an attempt starts with ------------------------------------------------------------


def test_an_attempt_knows_its_number_and_when_the_first_one_started(driver: Driver, clock: FakeClock) -> None:
    node = Flaky(ValueError(), ValueError())
    assert driver.invoke(one_node(node, policies=ALWAYS), {"seen": []}) == {"seen": ["done"]}
    assert [info.node_attempt for info in node.infos] == [1, 2, 3]
    assert len({info.node_first_attempt_time for info in node.infos}) == 1
    assert node.infos[0].node_first_attempt_time == pytest.approx(time.time(), abs=60)
    assert clock.sleeps == [1.0, 2.0]


def test_what_a_failed_attempt_wrote_is_forgotten(driver: Driver, clock: FakeClock) -> None:
    attempts = []

    def node(state: State, config: RunnableConfig) -> State:
        attempts.append(1)
        config[CONF][CONFIG_KEY_SEND]([("seen", [f"from {len(attempts)}"])])
        if len(attempts) == 1:
            raise ValueError
        return {"seen": ["done"]}

    assert driver.invoke(one_node(node, policies=ALWAYS), {"seen": []}) == {"seen": ["from 2", "done"]}


def test_an_attempt_gets_the_answers_of_the_one_before(driver: Driver, clock: FakeClock) -> None:
    errors = [ValueError()]

    def node(state: State) -> State:
        first = interrupt("first?")
        second = interrupt("second?")
        if errors:
            raise errors.pop()
        return {"seen": [first, second]}

    graph = one_node(node, policies=ALWAYS, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    driver.invoke(graph, {"seen": []}, config)
    driver.invoke(graph, Command(resume="a"), config)
    assert driver.invoke(graph, Command(resume="b"), config) == {"seen": ["a", "b"]}
    assert clock.sleeps == [1.0]


def test_the_graphs_in_an_attempt_start_over(driver: Driver, clock: FakeClock) -> None:
    ran: list[str] = []
    errors = [ValueError()]

    def first(state: State) -> State:
        ran.append("first")
        return {"seen": ["first"]}

    def second(state: State) -> State:
        ran.append("second")
        if errors:
            raise errors.pop()
        return {"seen": ["second"]}

    inner = StateGraph(State).add_node(first).add_node(second)
    inner.add_edge(START, "first").add_edge("first", "second")
    graph = one_node(inner.compile(), policies=ALWAYS, checkpointer=InMemorySaver())
    result = driver.invoke(graph, {"seen": []}, {"configurable": {"thread_id": "1"}})
    assert result == {"seen": ["first", "second"]}
    assert ran == ["first", "second"] * 2


# -- ends that are no failures ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("ns", "above"),
    [
        ("n:1", ""),
        ("a:1|n:2", "a:1"),
        ("a:1|n:2|3", "a:1"),
        ("a:1|4|n:2", "a:1"),
        ("a:1|4|n:2|3", "a:1"),
    ],
)
def test_the_graph_above_is_found_past_the_numbers_of_repeated_calls(ns: str, above: str) -> None:
    assert attempt.parent_ns(ns) == above


def test_a_command_for_the_graph_above_is_not_tried_again(driver: Driver, clock: FakeClock) -> None:
    attempts = []

    def node(state: State) -> Any:
        attempts.append(1)
        return Command(graph=Command.PARENT, update={"seen": ["above"]})

    outer = StateGraph(State).add_node("inner", one_node(node, policies=ALWAYS)).add_edge(START, "inner")
    assert driver.invoke(outer.compile(), {"seen": []}) == {"seen": ["above"]}
    assert len(attempts) == 1


@pytest.mark.parametrize("timeout", [None, TimeoutPolicy(run_timeout=60)], ids=["no limit", "a limit"])
def test_a_router_that_fails_behind_a_command_from_a_graph_inside_is_not_tried_again_but_a_graph_around_it_is(
    driver: Driver, clock: FakeClock, timeout: TimeoutPolicy | None
) -> None:
    if timeout is not None and driver.name == "sync":
        pytest.skip("a synchronous run has no time limits")
    ran = []

    async def aleave(state: State) -> Any:
        return leave(state)

    def leave(state: State) -> Any:
        ran.append("node")
        return Command(graph=Command.PARENT, update={"seen": ["above"]})

    def route(state: State) -> str:
        ran.append("router")
        raise ConnectionError("away")

    inner = one_node(leave if driver.name == "sync" else aleave)
    middle = StateGraph(State).add_node("inner", inner, retry_policy=ALWAYS, timeout=timeout).add_edge(START, "inner")
    middle.add_conditional_edges("inner", route, ["__end__"])
    outer = StateGraph(State).add_node("middle", middle.compile(), retry_policy=ALWAYS).add_edge(START, "middle")

    with pytest.raises(ConnectionError):
        driver.invoke(outer.compile(), {"seen": []})

    assert ran == ["node", "router"] * 3


def test_a_cancellation_of_the_nodes_own_is_its_failure(driver: Driver) -> None:
    def gives_up(state: State) -> State:
        raise asyncio.CancelledError

    with pytest.raises(NodeCancelledError) as caught:
        driver.invoke(one_node(gives_up), {"seen": []})
    assert caught.value.node == "n"


def test_a_sync_run_refuses_a_time_limit() -> None:
    ran = []

    async def work(state: State) -> State:
        ran.append(1)
        return {"seen": []}

    builder = StateGraph(State).add_node("n", work, timeout=5.0).add_edge(START, "n")
    with pytest.raises(ValueError, match="only supported for async nodes"):
        builder.compile().invoke({"seen": []})
    assert ran == []


def test_a_packet_may_carry_a_limit_of_its_own() -> None:
    async def slow(state: State) -> State:
        await asyncio.sleep(30)
        return {"seen": ["done"]}

    def to_slow(state: State) -> Sequence[Send]:
        return [Send("n", state, timeout=TimeoutPolicy(run_timeout=20))]

    builder = StateGraph(State).add_node("n", slow, timeout=60.0).add_conditional_edges(START, to_slow, ["n"])
    with pytest.raises(NodeTimeoutError) as caught:
        FakeClock().run(builder.compile().ainvoke({"seen": []}))
    assert caught.value.timeout == 20


# -- a task without a run ------------------------------------------------------------------------


class Work(Runnable[Any, Any]):
    """Writes its attempt's number; fails as often as it is told to."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.infos: list[ExecutionInfo] = []

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        assert config is not None
        info = config[CONF][CONFIG_KEY_RUNTIME].execution_info
        self.infos.append(info)
        config[CONF][CONFIG_KEY_SEND]([(RETURN, info.node_attempt)])
        if self.errors:
            raise self.errors.pop(0)
        return input


class Commanded(Runnable[Any, Any]):
    """What turns a command into writes."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        assert config is not None
        config[CONF][CONFIG_KEY_SEND]([("seen", input.update)])


def planned(work: Any, policies: Sequence[RetryPolicy] = (), timeout: TimeoutPolicy | None = None) -> Any:
    return PregelExecutableTask(
        name="n",
        input="in",
        proc=work,
        writes=deque(),
        config={"run_id": "run", CONF: {CONFIG_KEY_CHECKPOINT_NS: "n:1", "thread_id": "thread"}},  # type: ignore[typeddict-item]
        triggers=["t"],
        retry_policy=policies,
        cache_key=None,
        id="1",
        path=("path", "n"),
        writers=[Commanded()],
        timeout=timeout,
    )


def perform(driver: Driver, task: Any, policies: Any = None, **options: Any) -> Any:
    if driver.name == "sync":
        return detached_task.run(task, policies, **options)
    return asyncio.run(detached_task.arun(task, policies, **options))


def test_a_planned_task_runs_without_a_run(driver: Driver, clock: FakeClock) -> None:
    work = Work(ValueError())
    task = planned(work)
    assert perform(driver, task, [ALWAYS]) == "in"
    assert task.writes == deque([(RETURN, 2)])
    first, second = work.infos
    assert (first.run_id, first.thread_id, first.checkpoint_ns, first.task_id) == ("run", "thread", "n:1", "1")
    assert first.node_first_attempt_time == second.node_first_attempt_time


def test_a_planned_task_has_its_own_policies_first(driver: Driver, clock: FakeClock) -> None:
    once = RetryPolicy(max_attempts=1, retry_on=Exception)
    with pytest.raises(ValueError):
        perform(driver, planned(Work(ValueError()), [once]), [ALWAYS])
    assert clock.sleeps == []


def test_a_planned_task_takes_a_command_and_lets_interrupts_pass(driver: Driver) -> None:
    task = planned(Work(ParentCommand(Command(graph="n", update="taken"))))
    assert perform(driver, task) is None
    assert task.writes == deque([(RETURN, 1), ("seen", "taken")])
    with pytest.raises(GraphInterrupt):
        perform(driver, planned(Work(GraphInterrupt())))


def test_a_command_that_cannot_be_taken_is_the_tasks_failure(driver: Driver) -> None:
    class Refusing(Runnable[Any, Any]):
        def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
            raise InvalidUpdateError("no such channel")

    task = planned(Work(ParentCommand(Command(graph="n", update=5))))
    task = replace(task, writers=[Refusing()])
    with pytest.raises(InvalidUpdateError) as caught:
        perform(driver, task)
    assert caught.value.__notes__ == ["During task with name 'n' and id '1'"]


def test_a_planned_task_can_be_told_more_about_its_place(driver: Driver) -> None:
    work = Work()
    perform(driver, planned(work), configurable={"thread_id": "other"})
    assert work.infos[0].thread_id == "other"


def test_a_streamed_task_answers_what_it_wrote_as_its_result() -> None:
    assert asyncio.run(detached_task.arun(planned(Work()), None, stream=True)) == 1


def test_a_planned_task_keeps_its_time_limit() -> None:
    class Slow(Work):
        async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
            self.invoke(input, config)
            await asyncio.sleep(3600)

    task = planned(Slow(), timeout=TimeoutPolicy(run_timeout=10))
    with pytest.raises(NodeTimeoutError):
        FakeClock().run(detached_task.arun(task, None))
    assert task.writes == deque()


class Counting(Work):
    """Asks for its next number as often as there are questions in a node."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        assert config is not None
        counter = config[CONF][CONFIG_KEY_SCRATCHPAD].interrupt_counter
        self.numbers.append((counter(), counter(), config[CONF].get(CONFIG_KEY_RESUMING)))
        return super().invoke(input, config)

    def __init__(self, *errors: BaseException) -> None:
        super().__init__(*errors)
        self.numbers: list[Any] = []


def test_the_questions_of_a_planned_task_are_counted_anew_in_each_attempt(driver: Driver, clock: FakeClock) -> None:
    work = Counting(ValueError())
    pad = PregelScratchpad(
        step=0,
        stop=1,
        call_counter=new_counter(),
        interrupt_counter=new_counter(),
        get_null_resume=lambda consume: None,
        resume=[],
        subgraph_counter=new_counter(),
    )
    perform(driver, planned(work), [ALWAYS], configurable={CONFIG_KEY_SCRATCHPAD: pad})
    assert work.numbers == [(0, 1, None), (0, 1, True)]


def test_a_planned_task_without_a_config_knows_its_own_id(driver: Driver) -> None:
    work = Work()
    perform(driver, replace(planned(work), config={}))
    info = work.infos[0]
    assert (info.checkpoint_id, info.checkpoint_ns, info.task_id, info.thread_id, info.run_id) == (
        "",
        "",
        "1",
        None,
        None,
    )


def test_a_node_goes_on_with_its_answers_only_when_it_is_tried_again(driver: Driver, clock: FakeClock) -> None:
    resuming: list[Any] = []

    def node(state: State, config: RunnableConfig) -> State:
        resuming.append(config[CONF].get(CONFIG_KEY_RESUMING))
        if len(resuming) == 1:
            raise ValueError
        return {"seen": ["done"]}

    driver.invoke(one_node(node, policies=ALWAYS), {"seen": []})
    assert resuming == [None, True]


def test_a_policy_without_limits_limits_nothing() -> None:
    assert asyncio.run(detached_task.arun(planned(Work(), timeout=TimeoutPolicy()), None)) == "in"
