"""Time limits of an attempt, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import operator
import weakref
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import CONF, CONFIG_KEY_SEND, CONFIG_KEY_TIMED_ATTEMPT_OBSERVER, START
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import NodeCancelledError, NodeTimeoutError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.testing.clock import FakeClock
from stategraph.types import Command, RetryPolicy, TimeoutPolicy

LIMIT_S = 10.0
AGAIN = RetryPolicy(max_attempts=2, initial_interval=3.0, jitter=False, retry_on=NodeTimeoutError)


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


def one_node(node: Any, timeout: Any, **options: Any) -> Any:
    return StateGraph(State).add_node("n", node, timeout=timeout, **options).add_edge(START, "n").compile()


def run(graph: Any, config: Any = None, clock: FakeClock | None = None) -> Any:
    return (clock or FakeClock()).run(graph.ainvoke({"seen": []}, config))


def failing(graph: Any, config: Any = None) -> NodeTimeoutError:
    with pytest.raises(NodeTimeoutError) as caught:
        run(graph, config)
    return caught.value


# -- the two limits -----------------------------------------------------------------


def test_an_attempt_that_takes_too_long_fails_at_its_limit() -> None:
    async def slow(state: State) -> State:
        await asyncio.sleep(3600)
        return {"seen": ["late"]}

    clock = FakeClock()
    graph = one_node(slow, TimeoutPolicy(run_timeout=LIMIT_S, idle_timeout=60))
    with pytest.raises(NodeTimeoutError) as caught:
        run(graph, clock=clock)
    error = caught.value
    assert (error.node, error.kind, error.timeout) == ("n", "run", LIMIT_S)
    assert (error.run_timeout, error.idle_timeout, error.elapsed) == (LIMIT_S, 60, pytest.approx(LIMIT_S))
    assert clock.now() == pytest.approx(LIMIT_S)


def test_nothing_extends_the_limit_of_the_whole_attempt() -> None:
    async def lively(state: State, runtime: Runtime) -> State:
        while True:
            runtime.heartbeat()
            await asyncio.sleep(1)

    assert failing(one_node(lively, LIMIT_S)).elapsed == pytest.approx(LIMIT_S)


def test_silence_fails_an_attempt() -> None:
    async def quiet_after_a_while(state: State, runtime: Runtime) -> State:
        await asyncio.sleep(LIMIT_S - 1)
        runtime.heartbeat()
        await asyncio.sleep(3600)
        return {"seen": ["late"]}

    error = failing(one_node(quiet_after_a_while, TimeoutPolicy(idle_timeout=LIMIT_S)))
    assert (error.kind, error.run_timeout) == ("idle", None)
    assert error.elapsed == pytest.approx(2 * LIMIT_S - 1)


def test_an_attempt_within_its_limits_is_left_alone() -> None:
    async def quick(state: State) -> State:
        await asyncio.sleep(LIMIT_S - 1)
        return {"seen": ["in time"]}

    graph = one_node(quick, TimeoutPolicy(run_timeout=LIMIT_S, idle_timeout=LIMIT_S))
    assert run(graph) == {"seen": ["in time"]}


def test_code_that_blocked_the_loop_past_the_limit_has_made_it() -> None:
    clock = FakeClock()

    async def blocking(state: State) -> State:
        clock.advance(5 * LIMIT_S)
        return {"seen": ["done"]}

    graph = one_node(blocking, TimeoutPolicy(run_timeout=LIMIT_S, idle_timeout=LIMIT_S))
    assert run(graph, clock=clock) == {"seen": ["done"]}


def test_the_limits_start_anew_with_every_attempt() -> None:
    attempts = []

    async def slow_once(state: State) -> State:
        attempts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(LIMIT_S - 1 if len(attempts) > 1 else 3600)
        return {"seen": ["second"]}

    assert run(one_node(slow_once, LIMIT_S, retry_policy=AGAIN)) == {"seen": ["second"]}
    assert attempts == pytest.approx([0, LIMIT_S + 3])


# -- progress -------------------------------------------------------------------------


@task
async def child() -> str:
    return "called"


async def _heartbeat(config: RunnableConfig, runtime: Runtime) -> None:
    runtime.heartbeat()


async def _custom_chunk(config: RunnableConfig, runtime: Runtime) -> None:
    runtime.stream_writer("chunk")


async def _callback_event(config: RunnableConfig, runtime: Runtime) -> None:
    await adispatch_custom_event("step", {}, config=config)


async def _write(config: RunnableConfig, runtime: Runtime) -> None:
    config[CONF][CONFIG_KEY_SEND]([("seen", ["early"])])


async def _call(config: RunnableConfig, runtime: Runtime) -> None:
    child()


Sign = Callable[[RunnableConfig, Runtime], Any]
SIGNS = [_heartbeat, _custom_chunk, _callback_event, _write, _call]


def signalling(sign: Sign) -> Any:
    async def node(state: State, config: RunnableConfig, runtime: Runtime) -> State:
        for _ in range(3):
            await asyncio.sleep(LIMIT_S - 1)
            await sign(config, runtime)
        return {"seen": ["done"]}

    return node


@pytest.mark.parametrize("sign", SIGNS)
def test_every_sign_of_progress_ends_a_silence(sign: Sign) -> None:
    assert run(one_node(signalling(sign), TimeoutPolicy(idle_timeout=LIMIT_S)))["seen"][-1] == "done"


@pytest.mark.parametrize("sign", SIGNS)
def test_only_a_heartbeat_counts_when_the_policy_says_so(sign: Sign) -> None:
    graph = one_node(signalling(sign), TimeoutPolicy(idle_timeout=LIMIT_S, refresh_on="heartbeat"))
    if sign is _heartbeat:
        assert run(graph) == {"seen": ["done"]}
    else:
        assert failing(graph).kind == "idle"


def test_the_heartbeat_of_a_node_reaches_the_limits_of_the_nodes_around_it() -> None:
    policy = TimeoutPolicy(idle_timeout=LIMIT_S, refresh_on="heartbeat")
    inner = one_node(signalling(_heartbeat), policy)

    async def outer(state: State, config: RunnableConfig) -> Any:
        return await inner.ainvoke(state, config)

    assert run(one_node(outer, policy)) == {"seen": ["done"]}


def test_a_router_that_waits_has_the_silence_to_itself() -> None:
    async def node(state: State) -> State:
        await asyncio.sleep(LIMIT_S - 1)
        return {"seen": ["n"]}

    async def route(state: State) -> str:
        await asyncio.sleep(LIMIT_S - 1)
        return "__end__"

    builder = StateGraph(State).add_node("n", node, timeout=TimeoutPolicy(idle_timeout=LIMIT_S))
    builder.add_edge(START, "n").add_conditional_edges("n", route)
    assert run(builder.compile()) == {"seen": ["n"]}


# -- after the limit --------------------------------------------------------------------


def test_an_attempt_that_ignores_its_cancellation_changes_nothing() -> None:
    attempts = []

    async def stubborn(state: State, config: RunnableConfig, runtime: Runtime) -> State:
        attempts.append(len(attempts))
        if len(attempts) == 2:
            await asyncio.sleep(5)
            return {"seen": ["second"]}
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            # Still at it while the second attempt runs, and after that.
            for _ in range(20):
                config[CONF][CONFIG_KEY_SEND]([("seen", ["stale"])])
                runtime.stream_writer("stale")
                await asyncio.sleep(1)
        return {"seen": ["first"]}

    async def collect() -> list[Any]:
        graph = one_node(stubborn, LIMIT_S, retry_policy=AGAIN)
        chunks = [chunk async for chunk in graph.astream({"seen": []}, stream_mode=["custom", "updates"])]
        await asyncio.sleep(60)
        return chunks

    assert FakeClock().run(collect()) == [("updates", {"n": {"seen": ["second"]}})]


def test_what_an_attempt_wrote_before_the_limit_is_dropped() -> None:
    async def hasty(state: State, config: RunnableConfig) -> State:
        config[CONF][CONFIG_KEY_SEND]([("seen", ["early"])])
        await asyncio.sleep(3600)
        return {"seen": ["late"]}

    async def handler(state: State) -> State:
        return {"seen": ["handled"]}

    graph = one_node(hasty, TimeoutPolicy(run_timeout=LIMIT_S), error_handler=handler)
    assert run(graph) == {"seen": ["handled"]}


def test_an_attempt_can_start_no_tasks_after_its_limit() -> None:
    ended: list[type[BaseException]] = []
    called = []

    @task
    async def note() -> None:
        called.append(1)

    @entrypoint(timeout=LIMIT_S)
    async def stubborn(value: int) -> int:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            try:
                await note()
            except BaseException as error:
                ended.append(type(error))
        return value

    async def outlive() -> None:
        with pytest.raises(NodeTimeoutError):
            await stubborn.ainvoke(1)
        await asyncio.sleep(60)

    FakeClock().run(outlive())
    assert (ended, called) == ([asyncio.CancelledError], [])


def test_a_task_called_before_the_limit_may_still_run() -> None:
    called = []

    @task
    async def note() -> None:
        called.append(1)

    @entrypoint(timeout=LIMIT_S)
    async def caller(value: int) -> int:
        note()
        await asyncio.sleep(3600)
        return value

    with pytest.raises(NodeTimeoutError):
        FakeClock().run(caller.ainvoke(1))
    assert called == [1]


def test_nobody_complains_about_what_abandoned_work_fails_with() -> None:
    complaints: list[Any] = []

    async def sore_loser(state: State) -> State:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("too late")

    async def outlive() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        with pytest.raises(NodeTimeoutError):
            await one_node(sore_loser, LIMIT_S).ainvoke({"seen": []})
        await asyncio.sleep(60)
        gc.collect()

    FakeClock().run(outlive())
    assert complaints == []


def test_an_attempt_is_an_asyncio_task_with_the_name_of_its_node() -> None:
    async def node(state: State) -> Any:
        current = asyncio.current_task()
        return {"seen": [current and current.get_name()]}

    assert run(one_node(node, LIMIT_S)) == {"seen": ["n"]}


def test_an_attempt_that_is_over_is_let_go_with_what_it_returned() -> None:
    class Thing:
        pass

    returned: list[weakref.ref[Thing]] = []

    async def node(state: State) -> Any:
        thing = Thing()
        returned.append(weakref.ref(thing))
        return {"seen": [thing]}

    assert len(run(one_node(node, LIMIT_S))["seen"]) == 1
    gc.collect()
    assert returned[0]() is None


# -- cancellation -------------------------------------------------------------------------


def test_cancelling_a_run_waits_until_the_timed_node_has_cleaned_up() -> None:
    events = []

    async def tidy(state: State) -> State:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(1)
            events.append("cleaned up")
        return {"seen": []}

    async def cancel() -> None:
        running = asyncio.create_task(one_node(tidy, 1000.0).ainvoke({"seen": []}))
        await asyncio.sleep(5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        events.append("cancelled")

    FakeClock().run(cancel())
    assert events == ["cleaned up", "cancelled"]


def test_a_cancellation_of_the_nodes_own_is_its_failure() -> None:
    async def gives_up(state: State) -> State:
        raise asyncio.CancelledError

    with pytest.raises(NodeCancelledError):
        run(one_node(gives_up, LIMIT_S))


def test_the_nodes_own_timeouts_are_not_taken_for_its_limits() -> None:
    async def impatient(state: State) -> State:
        async with asyncio.timeout(1):
            await asyncio.sleep(3600)
        return {"seen": []}

    with pytest.raises(TimeoutError):
        run(one_node(impatient, LIMIT_S))


# -- observing ------------------------------------------------------------------------------


def observed(graph: Any, **more: Any) -> list[Any]:
    events: list[Any] = []
    config = {"configurable": {CONFIG_KEY_TIMED_ATTEMPT_OBSERVER: events.append, **more}}
    try:
        run(graph, config)
    except NodeTimeoutError:
        events.append("raised")
    return events


def test_an_observer_hears_of_each_attempt_before_what_follows_from_it() -> None:
    starts: list[float] = []

    async def slow(state: State) -> State:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(3600)
        return {"seen": []}

    first, lost, second, lost_again, raised = observed(one_node(slow, LIMIT_S, retry_policy=AGAIN), thread_id="t")
    assert [event.event for event in (first, lost, second, lost_again)] == ["start", "finish", "start", "finish"]
    assert raised == "raised"
    assert (first.context.attempt, second.context.attempt) == (1, 2)
    assert first.context is lost.context
    assert (lost.status, lost.error_type) == ("error", "NodeTimeoutError")
    assert lost.error_message.startswith("Node 'n' exceeded its run timeout of 10.000s")
    context = first.context
    assert (context.task_name, context.thread_id) == ("n", "t")
    assert (context.run_timeout_secs, context.idle_timeout_secs, context.refresh_on) == (LIMIT_S, None, None)


def test_an_observer_hears_of_progress_four_times_in_a_silence_at_most() -> None:
    async def chatty(state: State, runtime: Runtime) -> State:
        for _ in range(200):
            await asyncio.sleep(0.1)
            runtime.heartbeat()
        return {"seen": []}

    events = observed(one_node(chatty, TimeoutPolicy(idle_timeout=4.0)))
    progress = [event for event in events if event.event == "progress"]
    # Twenty seconds of them, one a second.
    assert 18 <= len(progress) <= 20
    assert all(event.progress_at is not None for event in progress)
    assert events[-1].status == "success"


def test_an_observer_hears_of_the_first_progress_and_then_of_one_in_each_quarter_of_a_silence() -> None:
    async def regular(state: State, runtime: Runtime) -> State:
        for _ in range(9):
            runtime.heartbeat()
            await asyncio.sleep(0.5)
        return {"seen": []}

    events = observed(one_node(regular, TimeoutPolicy(idle_timeout=4.0)))
    assert [event.event for event in events] == ["start", *["progress"] * 5, "finish"]


async def _asks(state: State) -> Any:
    return {"seen": [interrupt("?")]}


async def _leaves(state: State) -> Any:
    return Command(graph=Command.PARENT, update={"seen": ["above"]})


@pytest.mark.parametrize("node", [_asks, _leaves])
def test_a_pause_and_a_command_for_the_graph_above_are_no_failures_to_an_observer(node: Any) -> None:
    outer = StateGraph(State).add_node("inner", one_node(node, LIMIT_S)).add_edge(START, "inner")
    start, finish = observed(outer.compile(checkpointer=InMemorySaver()), thread_id="t")
    assert (start.event, finish.event, finish.status, finish.error_type) == ("start", "finish", "success", None)


def test_an_observer_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def quick(state: State) -> State:
        return {"seen": ["done"]}

    def broken(event: Any) -> None:
        raise ValueError("observer is broken")

    config = {"configurable": {CONFIG_KEY_TIMED_ATTEMPT_OBSERVER: broken}}
    assert run(one_node(quick, LIMIT_S), config) == {"seen": ["done"]}
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, ValueError]
