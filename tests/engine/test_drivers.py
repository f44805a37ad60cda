"""What only the drivers can get wrong: threads, tasks, time, order of saving, leaving early."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import operator
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import (
    END,
    START,
    Command,
    GraphRecursionError,
    NodeError,
    NodeTimeoutError,
    RetryPolicy,
    Runtime,
    Send,
    StateGraph,
    StreamWriter,
    TimeoutPolicy,
    interrupt,
)
from stategraph.engine.config import environment
from stategraph.testing import FakeClock, Gate

THREAD = {"configurable": {"thread_id": "t"}}
WAIT_S = 10


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


def note(what: Any) -> Callable[[State], State]:
    return lambda state: {"log": [what]}


def chain(*nodes: Any, saver: Any = None, **options: Any) -> Any:
    builder = StateGraph(State)
    for i, node in enumerate(nodes):
        builder.add_node(f"n{i}", node, **options)
        builder.add_edge(f"n{i - 1}" if i else START, f"n{i}")
    return builder.compile(checkpointer=saver)


def side_by_side(saver: Any = None, **nodes: Any) -> Any:
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    return builder.compile(checkpointer=saver)


# -- threads and context ---------------------------------------------------


def test_a_lone_sync_node_runs_on_the_callers_thread() -> None:
    where = chain(lambda state: {"log": [threading.get_ident()]}).invoke({})["log"]
    assert where == [threading.get_ident()]


def test_a_sync_node_of_an_async_run_leaves_the_loop_free_and_a_router_runs_on_it() -> None:
    places: dict[str, int] = {}
    free = threading.Event()

    def node(state: State) -> State:
        places["node"] = threading.get_ident()
        assert free.wait(WAIT_S)
        return {"log": ["node"]}

    def router(state: State) -> str:
        places["router"] = threading.get_ident()
        return END

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = builder.add_conditional_edges("node", router, [END]).compile()

    async def scenario() -> None:
        run = asyncio.create_task(graph.ainvoke({}))
        await asyncio.sleep(0)
        free.set()
        assert (await run)["log"] == ["node"]

    asyncio.run(scenario())
    assert places["node"] != threading.get_ident()
    assert places["router"] == threading.get_ident()


def test_context_variables_reach_every_node_and_do_not_leak_out(driver: Any) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    def node(state: State) -> State:
        seen = user.get()
        user.set("changed")
        return {"log": [seen]}

    user.set("ada")
    assert driver.invoke(side_by_side(a=node, b=node), {})["log"] == ["ada", "ada"]
    assert user.get() == "ada"


def test_one_graph_serves_many_threads_at_once() -> None:
    graph = chain(lambda state: {"log": [state["log"][0] + 1]}, lambda state: {"log": [state["log"][-1] + 1]})
    results: dict[int, Any] = {}

    def run(n: int) -> None:
        results[n] = [graph.invoke({"log": [n]})["log"] for _ in range(20)]

    workers = [threading.Thread(target=run, args=(n * 10,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == {n: [[n, n + 1, n + 2]] * 20 for n in range(0, 80, 10)}


# -- several tasks at once -------------------------------------------------


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def enter(self) -> Any:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1


def fan_out(node: Any, width: int) -> Any:
    builder = StateGraph(State)
    builder.add_node("one", node)
    builder.add_conditional_edges(START, lambda state: [Send("one", {"log": [n]}) for n in range(width)], ["one"])
    return builder.compile()


def test_tasks_of_a_step_run_at_the_same_time(driver: Any) -> None:
    meeting = threading.Barrier(4, timeout=WAIT_S)

    def node(state: State) -> State:
        meeting.wait()
        return {"log": state["log"]}

    assert driver.invoke(fan_out(node, 4), {"log": []})["log"] == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_max_concurrency_bounds_what_runs_at_once(driver: Any, limit: int) -> None:
    crowd = Crowd()

    def node(state: State) -> State:
        with crowd.enter():
            threading.Event().wait(0.002)
        return {"log": state["log"]}

    result = driver.invoke(fan_out(node, 10), {"log": []}, {"max_concurrency": limit})
    assert result["log"] == list(range(10))
    assert crowd.most <= limit


def test_max_concurrency_bounds_coroutines_too() -> None:
    crowd = Crowd()

    async def node(state: State) -> State:
        with crowd.enter():
            await asyncio.sleep(1)
        return {"log": state["log"]}

    clock = FakeClock()
    clock.run(fan_out(node, 10).ainvoke({"log": []}, {"max_concurrency": 3}))
    assert crowd.most == 3
    assert clock.now() == pytest.approx(4)


def test_one_at_a_time_with_a_streamed_subgraph_does_not_lock_up(driver: Any) -> None:
    inner = chain(note("inner"))
    graph = side_by_side(a=lambda state: inner.invoke({}), b=note("b"))
    events = driver.stream(
        graph, {}, {"max_concurrency": 1}, stream_mode=["updates", "custom", "values"], subgraphs=True
    )
    assert events[-1][2]["log"] == ["inner", "b"]


# -- failing ---------------------------------------------------------------


def sends(node: Callable[[int], Any], count: int, saver: Any = None) -> Any:
    """A graph whose first step sends numbers to a node, one task for each."""
    builder = StateGraph(State)
    builder.add_node("work", node)  # type: ignore[call-overload]
    builder.add_conditional_edges(START, lambda state: [Send("work", number) for number in range(count)])
    return builder.compile(checkpointer=saver)


ONE_AT_A_TIME: Any = {"max_concurrency": 1}


def test_a_task_that_waits_for_a_thread_does_not_begin_after_a_failure() -> None:
    began = []

    def work(number: int) -> State:
        began.append(number)
        if number == 2:
            raise ValueError("two")
        return {"log": [number]}

    with pytest.raises(ValueError, match="two"):
        sends(work, 6).invoke({}, ONE_AT_A_TIME)
    assert began == [0, 1, 2]


def test_tasks_that_wait_for_a_thread_go_on_after_one_that_asks() -> None:
    def work(number: int) -> State:
        return {"log": [interrupt("which?") if number == 1 else number]}

    graph = sends(work, 4, InMemorySaver())
    config: Any = {**THREAD, **ONE_AT_A_TIME}
    paused = graph.invoke({}, config, durability="exit")
    assert [asked.value for asked in paused["__interrupt__"]] == ["which?"]
    assert graph.invoke(Command(resume="this"), config) == {"log": [0, "this", 2, 3]}


def test_a_tasks_end_is_stored_before_the_next_begins_where_each_step_is() -> None:
    saver, stored = InMemorySaver(), []

    def work(number: int) -> State:
        stored.append(len(saver.get_tuple(THREAD).pending_writes))  # type: ignore[arg-type, union-attr]
        return {"log": [number]}

    sends(work, 4, saver).invoke({}, {**THREAD, **ONE_AT_A_TIME}, durability="sync")
    assert stored == [0, 1, 2, 3]


def test_tasks_that_share_a_thread_share_no_context() -> None:
    variable = contextvars.ContextVar("variable", default="nobody's")
    variable.set("the caller's")
    seen = []

    def work(number: int) -> State:
        seen.append((threading.get_ident(), variable.get()))
        variable.set(f"task {number}'s")
        return {}

    sends(work, 5).invoke({}, ONE_AT_A_TIME)
    assert [value for _, value in seen] == ["the caller's"] * 5
    assert threading.get_ident() not in {thread for thread, _ in seen}


def test_leaving_waits_for_a_task_that_its_thread_took_by_itself() -> None:
    began, ended, told = [], [], threading.Event()

    def work(number: int) -> State:
        began.append(number)
        if number:
            assert told.wait(WAIT_S)
        ended.append(number)
        return {"log": [number]}

    with contextlib.closing(sends(work, 50).stream({}, ONE_AT_A_TIME, stream_mode="updates")) as stream:
        assert next(stream) == {"work": {"log": [0]}}
        threading.Timer(0.01, told.set).start()
    assert began == ended and 1 in ended


def noting_its_end(cancelled: list[str]) -> Callable[[State], Awaitable[State]]:
    """Make a node that waits until it is cancelled, and notes that."""

    async def patient(state: State) -> State:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("patient")
            raise
        return {}

    return patient


def test_a_failure_cancels_the_coroutines_beside_it() -> None:
    cancelled: list[str] = []
    patient = noting_its_end(cancelled)

    async def hasty(state: State) -> State:
        raise ValueError("too fast")

    async def scenario() -> None:
        with pytest.raises(ValueError, match="too fast"):
            await side_by_side(patient=patient, hasty=hasty).ainvoke({})
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert cancelled == ["patient"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_node_beside_others_may_raise_any_exception(error: type[BaseException]) -> None:
    def fail(state: State) -> State:
        raise error("by the node")

    builder = StateGraph(State)
    for name, work in {"fails": fail, "works": lambda state: {"log": ["works"]}}.items():
        builder.add_node(name, work).add_edge(START, name)
    ended: list[BaseException] = []

    def run() -> None:
        try:
            builder.compile().invoke({"log": []})
        except BaseException as raised:
            ended.append(raised)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert [(type(each), str(each)) for each in ended] == [(error, "by the node")]


class Listening(BaseCallbackHandler):
    """With a listener, nodes run as Runnables do."""


@pytest.mark.parametrize("error", [GeneratorExit, StopIteration])
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("place", ["sync node", "async node", "node that waits", "router", "async router"])
@pytest.mark.parametrize("config", [{}, {"callbacks": [Listening()]}], ids=["plain", "traced"])
def test_what_would_end_generators_is_told_as_a_failure_of_its_node(
    driver: Any, error: type[Exception], nodes: int, place: str, config: Any
) -> None:
    if driver.name == "sync" and place not in ("sync node", "router"):
        pytest.skip("needs an event loop")

    def fail(state: State) -> Any:
        raise error("by the node")

    async def afail(state: State) -> Any:
        raise error("by the node")

    async def wait_and_fail(state: State) -> Any:
        await asyncio.sleep(0)
        raise error("by the node")

    works = {"sync node": fail, "async node": afail, "node that waits": wait_and_fail}
    builder = StateGraph(State)
    for name in ("one", "two")[:nodes]:
        builder.add_node(name, works.get(place, note("done"))).add_edge(START, name)
        if place.endswith("router"):
            builder.add_conditional_edges(name, fail if place == "router" else afail, [END])
    with pytest.raises(RuntimeError) as raised:
        driver.invoke(builder.compile(), {"log": []}, config)
    assert isinstance(raised.value.__cause__, error)
    told = [str(raised.value), *getattr(raised.value, "__notes__", [])]
    # Either of two nodes that run beside each other may be the first to fail.
    assert any(f"'{name}'" in each for each in told for name in ("one", "two")[:nodes])


def test_a_node_whose_coroutine_is_closed_does_not_go_on() -> None:
    attempts: list[str] = []
    waiting = asyncio.Event()

    async def wait(state: State) -> State:
        attempts.append("begun")
        waiting.set()
        await asyncio.Event().wait()
        return {}

    async def scenario() -> None:
        policy = RetryPolicy(retry_on=lambda error: True)
        builder = StateGraph(State)
        builder.add_node("waits", wait, retry_policy=policy).add_edge(START, "waits")
        builder.add_node("works", note("works")).add_edge(START, "works")
        running = asyncio.create_task(builder.compile().ainvoke({"log": []}))
        await waiting.wait()
        node = next(task for task in asyncio.all_tasks() if task.get_name() == "waits")
        node.get_coro().close()  # type: ignore[union-attr]  # raises if the coroutine awaits anything more
        assert attempts == ["begun"]
        running.cancel()
        await asyncio.wait([running])
        with contextlib.suppress(BaseException):
            running.result()

    asyncio.run(scenario())


def test_what_finished_beside_a_failure_is_kept(driver: Any) -> None:
    started: list[str] = []
    broken = True
    done = threading.Event()

    def good(state: State) -> State:
        started.append("good")
        done.set()
        return {"log": ["good"]}

    def bad(state: State) -> State:
        assert done.wait(WAIT_S)
        # The neighbour has returned; give the driver the time to take its result in.
        threading.Event().wait(0.05)
        started.append("bad")
        if broken:
            raise ValueError("as planned")
        return {"log": ["bad"]}

    graph = side_by_side(InMemorySaver(), good=good, bad=bad)
    with pytest.raises(ValueError, match="as planned"):
        driver.invoke(graph, {"log": []}, THREAD)
    broken = False
    assert driver.invoke(graph, None, THREAD)["log"] == ["bad", "good"]
    assert sorted(started) == ["bad", "bad", "good"]


def test_an_error_handler_takes_over(driver: Any) -> None:
    def fail(state: State) -> State:
        raise KeyError("lost")

    def handle(state: State, error: NodeError) -> Command[Any]:
        return Command(update={"log": [f"{error.node}: {type(error.error).__name__}"]}, goto="after")

    builder = StateGraph(State)
    builder.add_node("fail", fail, error_handler=handle)
    builder.add_node("after", note("after"))
    builder.add_edge(START, "fail")
    assert driver.invoke(builder.compile(), {})["log"] == ["fail: KeyError", "after"]


def test_a_handler_that_is_done_does_not_run_again_on_resume(driver: Any) -> None:
    ran: list[str] = []
    handled = threading.Event()
    broken = True

    def fail(state: State) -> State:
        raise KeyError("lost")

    def handle(state: State, error: NodeError) -> State:
        ran.append("handle")
        handled.set()
        return {"log": ["handled"]}

    def bad(state: State) -> State:
        assert handled.wait(WAIT_S)
        # The handler has returned; give the driver the time to take its result in.
        threading.Event().wait(0.05)
        if broken:
            raise ValueError("as planned")
        return {"log": ["bad"]}

    builder = StateGraph(State)
    builder.add_node("fail", fail, error_handler=handle)
    builder.add_node("bad", bad)
    builder.add_edge(START, "fail")
    builder.add_edge(START, "bad")
    graph = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="as planned"):
        driver.invoke(graph, {"log": []}, THREAD)
    broken = False
    assert sorted(driver.invoke(graph, None, THREAD)["log"]) == ["bad", "handled"]
    assert ran == ["handle"]


def test_a_router_that_failed_is_asked_again_on_resume(driver: Any) -> None:
    broken = True

    def route(state: State) -> str:
        if broken:
            raise ValueError("no idea where to go")
        return "after"

    builder = StateGraph(State).add_node("node", note("node")).add_node("after", note("after"))
    builder.add_edge(START, "node").add_conditional_edges("node", route, ["after"])
    graph = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="no idea"):
        driver.invoke(graph, {"log": []}, THREAD)
    broken = False
    assert driver.invoke(graph, None, THREAD)["log"] == ["node", "after"]


def test_the_recursion_limit_is_an_error_with_a_code(driver: Any) -> None:
    builder = StateGraph(State).add_node("again", note("x")).add_edge(START, "again").add_edge("again", "again")
    with pytest.raises(GraphRecursionError, match="GRAPH_RECURSION_LIMIT"):
        driver.invoke(builder.compile(), {}, {"recursion_limit": 5})


# -- time ------------------------------------------------------------------


class Flaky:
    """Fails the first `times` attempts."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.at = times, error, list[float]()

    async def __call__(self, state: State) -> State:
        self.at.append(asyncio.get_running_loop().time())
        if self.left:
            self.left -= 1
            raise self.error
        return {"log": ["done"]}


def test_retries_wait_longer_each_time_up_to_the_longest_interval() -> None:
    flaky = Flaky(4, ConnectionError("busy"))
    policy = RetryPolicy(initial_interval=10, backoff_factor=3, max_interval=60, max_attempts=5, jitter=False)
    FakeClock().run(chain(flaky, retry_policy=policy).ainvoke({}))
    assert flaky.at == pytest.approx([0, 10, 40, 100, 160])


def test_the_last_attempt_raises_its_own_error() -> None:
    flaky = Flaky(9, ConnectionError("busy"))
    with pytest.raises(ConnectionError, match="busy"):
        FakeClock().run(chain(flaky, retry_policy=RetryPolicy(max_attempts=3, jitter=False)).ainvoke({}))
    assert len(flaky.at) == 3


def test_only_what_the_policy_names_is_retried() -> None:
    policies = [RetryPolicy(retry_on=ConnectionError, jitter=False), RetryPolicy(retry_on=KeyError, max_attempts=1)]
    flaky = Flaky(1, ValueError("not named"))
    with pytest.raises(ValueError, match="not named"):
        FakeClock().run(chain(flaky, retry_policy=policies).ainvoke({}))
    assert len(flaky.at) == 1


def test_a_sync_run_sleeps_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("time.sleep", clock.sleep)
    left = [ConnectionError("busy"), ConnectionError("busy")]

    def flaky(state: State) -> State:
        if left:
            raise left.pop()
        return {"log": ["done"]}

    chain(flaky, retry_policy=RetryPolicy(initial_interval=5, jitter=False)).invoke({})
    assert clock.sleeps == [5, 10]


async def hang(state: State) -> State:
    await asyncio.Event().wait()
    return {}


def test_a_node_that_takes_too_long_is_stopped() -> None:
    clock = FakeClock()
    with pytest.raises(NodeTimeoutError):
        clock.run(chain(hang, timeout=30).ainvoke({}))
    assert clock.now() == pytest.approx(30)


def test_a_timeout_may_be_retried() -> None:
    clock = FakeClock()
    policy = RetryPolicy(max_attempts=2, initial_interval=5, jitter=False, retry_on=NodeTimeoutError)
    with pytest.raises(NodeTimeoutError):
        clock.run(chain(hang, timeout=30, retry_policy=policy).ainvoke({}))
    assert clock.now() == pytest.approx(65)


def test_a_heartbeat_keeps_an_idle_timeout_away() -> None:
    async def busy(state: State, runtime: Runtime) -> State:
        for _ in range(10):
            await asyncio.sleep(8)
            runtime.heartbeat()
        await asyncio.Event().wait()
        return {}

    clock = FakeClock()
    with pytest.raises(NodeTimeoutError):
        clock.run(chain(busy, timeout=TimeoutPolicy(idle_timeout=10)).ainvoke({}))
    assert clock.now() == pytest.approx(90)


# -- saving ----------------------------------------------------------------


class Diary(InMemorySaver):
    """Writes down when checkpoints are stored, among what the nodes write down."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        self.entries.append(f"saved {metadata['step']}")
        return super().put(config, checkpoint, metadata, new_versions)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        return self.put(config, checkpoint, metadata, new_versions)

    def node(self, name: str) -> Callable[[State], State]:
        def write_down(state: State) -> State:
            self.entries.append(name)
            return {"log": [name]}

        return write_down


def test_durability_says_when_checkpoints_are_stored(driver: Any) -> None:
    diaries = {}
    for durability in ("sync", "async", "exit"):
        diary = Diary()
        graph = chain(diary.node("a"), diary.node("b"), saver=diary)
        driver.invoke(graph, {}, THREAD, durability=durability)
        diaries[durability] = diary.entries
    assert diaries["sync"] == ["saved -1", "saved 0", "a", "saved 1", "b", "saved 2"]
    assert [e for e in diaries["async"] if e.startswith("saved")] == ["saved -1", "saved 0", "saved 1", "saved 2"]
    assert diaries["exit"] == ["a", "b", "saved 2"]


class Broken(InMemorySaver):
    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        raise OSError("disk full")

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        raise OSError("disk full")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_save_that_fails_fails_the_run(driver: Any, durability: str) -> None:
    with pytest.raises(OSError, match="disk full"):
        driver.invoke(chain(note("a"), note("b"), saver=Broken()), {}, THREAD, durability=durability)


# -- streaming and leaving early -------------------------------------------


def test_what_a_node_writes_is_seen_while_the_node_still_works() -> None:
    gate = Gate()

    def node(state: State, writer: StreamWriter) -> State:
        writer("half way")
        gate.wait_open()
        return {"log": ["end"]}

    seen = []
    for event in chain(node).stream({}, stream_mode=["custom", "updates"]):
        seen.append(event)
        gate.open()
    assert seen == [("custom", "half way"), ("updates", {"n0": {"log": ["end"]}})]


def test_what_a_coroutine_writes_is_seen_while_it_still_works() -> None:
    gate = Gate()

    async def node(state: State, writer: StreamWriter) -> State:
        writer("half way")
        await gate.wait_open_async()
        return {"log": ["end"]}

    async def scenario() -> list[Any]:
        seen = []
        async for event in chain(node).astream({}, stream_mode=["custom", "updates"]):
            seen.append(event)
            gate.open()
        return seen

    assert asyncio.run(scenario()) == [("custom", "half way"), ("updates", {"n0": {"log": ["end"]}})]


def test_a_closed_stream_starts_nothing_more(driver: Any) -> None:
    started: list[str] = []

    def node(name: str) -> Callable[[State], State]:
        def run(state: State) -> State:
            started.append(name)
            return {"log": [name]}

        return run

    graph = chain(node("a"), node("b"), node("c"))

    async def leave() -> None:
        async with contextlib.aclosing(graph.astream({}, stream_mode="updates")) as stream:
            async for _ in stream:
                break
        assert asyncio.all_tasks() == {asyncio.current_task()}

    if driver.name == "async":
        asyncio.run(leave())
    else:
        with contextlib.closing(graph.stream({}, stream_mode="updates")) as stream:
            next(stream)
    assert started == ["a"]


def test_cancelling_a_run_cancels_the_graphs_within_it() -> None:
    reached = asyncio.Event()
    ended: list[str] = []

    async def deep(state: State) -> State:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("deep")
        return {}

    graph = chain(chain(chain(deep)), note("never"))

    async def scenario() -> None:
        run = asyncio.create_task(graph.ainvoke({}))
        await asyncio.wait_for(reached.wait(), WAIT_S)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert ended == ["deep"]


def test_a_cancelled_run_can_be_continued() -> None:
    patience = asyncio.Event()
    reached = asyncio.Event()
    started: list[str] = []

    async def slow(state: State) -> State:
        started.append("slow")
        reached.set()
        await patience.wait()
        return {"log": ["slow"]}

    graph = chain(note("first"), slow, saver=InMemorySaver())

    async def scenario() -> Any:
        run = asyncio.create_task(graph.ainvoke({}, THREAD))
        await asyncio.wait_for(reached.wait(), WAIT_S)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        patience.set()
        return await graph.ainvoke(None, THREAD)

    assert asyncio.run(scenario())["log"] == ["first", "slow"]
    assert started == ["slow", "slow"]


def test_questions_of_parallel_nodes_are_asked_together_and_answered_by_id(driver: Any) -> None:
    def ask(name: str) -> Callable[[State], State]:
        return lambda state: {"log": [f"{name}: {interrupt(name)}"]}

    graph = side_by_side(InMemorySaver(), a=ask("a"), b=ask("b"))
    asked = driver.invoke(graph, {}, THREAD)["__interrupt__"]
    assert sorted(question.value for question in asked) == ["a", "b"]
    answers = {question.id: question.value.upper() for question in asked}
    assert driver.invoke(graph, Command(resume=answers), THREAD)["log"] == ["a: A", "b: B"]


def test_a_run_that_has_done_all_in_its_last_step_says_of_no_node_that_it_goes_round(driver: Any) -> None:
    with pytest.raises(GraphRecursionError, match="Recursion limit of 1 reached") as reached:
        driver.invoke(chain(note("a")), {}, {"recursion_limit": 1})
    assert "goes round" not in str(reached.value)
    with pytest.raises(GraphRecursionError, match="The last step ran 'n0', the next one would run 'n1'"):
        driver.invoke(chain(note("a"), note("b")), {}, {"recursion_limit": 1})


class Holding:
    """Runs the first task at once, and no other."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.ran = False

    def start(self, receiver: Any, attempt: Callable[..., Any], /, *args: Any) -> None:
        if self.ran:
            self.held.append(receiver)
        elif receiver.set_running_or_notify_cancel():
            self.ran = True
            attempt(*args)


def test_a_failed_run_does_not_wait_for_tasks_that_have_not_begun() -> None:
    def fail(state: State) -> State:
        raise ValueError("too fast")

    ran: list[int] = []
    runner = Holding()
    graph = side_by_side(a=fail, b=lambda state: ran.append(1))
    with environment.use(environment.SYSTEM._replace(runner=runner)), pytest.raises(ValueError, match="too fast"):
        graph.invoke({})
    assert ran == []
    assert all(not receiver.set_running_or_notify_cancel() for receiver in runner.held)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_coroutine_beside_others_may_end_the_program(error: type[BaseException]) -> None:
    cancelled: list[str] = []
    patient = noting_its_end(cancelled)

    async def fail(state: State) -> State:
        await asyncio.sleep(0)
        raise error("by the node")

    with pytest.raises(error, match="by the node"):
        asyncio.run(side_by_side(fails=fail, patient=patient).ainvoke({}))
    assert cancelled == ["patient"]


def test_a_task_that_other_code_cancels_before_it_began_writes_nothing_and_the_others_count() -> None:
    async def first(state: State) -> State:
        for other in asyncio.all_tasks():
            if other.get_name() == "second":
                other.cancel()
        return {"log": ["first"]}

    async def second(state: State) -> State:
        raise AssertionError("it began")

    async def scenario() -> Any:
        return await asyncio.wait_for(side_by_side(first=first, second=second).ainvoke({}), WAIT_S)

    assert asyncio.run(scenario()) == {"log": ["first"]}


def test_a_run_that_is_given_up_while_its_only_node_waits_is_closed_with_it() -> None:
    closed: list[str] = []

    async def node(state: State) -> State:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("node")
        return {}

    async def scenario() -> None:
        run = chain(node).ainvoke({})
        run.send(None)
        run.close()

    asyncio.run(scenario())
    assert closed == ["node"]


def test_who_cancels_a_run_that_stores_its_end_can_wait_for_it() -> None:
    async def fail(state: State) -> State:
        raise ValueError("and then it is cancelled")

    class Slow(InMemorySaver):
        async def aput(self, *args: Any) -> Any:
            storing.set()
            await go.wait()
            return self.put(*args)

    async def scenario() -> None:
        run = asyncio.create_task(chain(fail, saver=Slow()).ainvoke({}, THREAD, durability="exit"))
        await storing.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await run
        *_, rest = cancelled.value.args
        go.set()
        await asyncio.wait_for(rest, WAIT_S)

    storing, go = asyncio.Event(), asyncio.Event()
    asyncio.run(scenario())
