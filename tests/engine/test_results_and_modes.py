"""What calls return and streams yield: each mode alone, hidden nodes, cached nodes, keys written twice, time limits."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph import interrupt
from stategraph.constants import END, START, TAG_HIDDEN
from stategraph.engine.compile.task_functions import call
from stategraph.errors import NodeError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import CachePolicy, Command, Send

if TYPE_CHECKING:
    from tests.conftest import Driver


class State(TypedDict, total=False):
    items: Annotated[list[int], operator.add]
    n: int


def extend(left: list[int], right: list[int]) -> list[int]:
    left.extend(right)
    return left


class Changing(TypedDict):
    items: Annotated[list[int], extend]


THREAD: Any = {"configurable": {"thread_id": "1"}}


def chain(**options: Any) -> Any:
    builder = StateGraph(State).add_node("a", lambda _: {"n": 1}).add_node("b", lambda _: {"n": 2})
    return builder.add_edge(START, "a").add_edge("a", "b").compile(**options)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("values", {"items": [], "n": 2}),
        ("updates", [{"a": {"n": 1}}, {"b": {"n": 2}}]),
        (["updates"], [("updates", {"a": {"n": 1}}), ("updates", {"b": {"n": 2}})]),
    ],
    ids=["values", "updates", "a list"],
)
def test_invoke_returns_the_last_values_or_all_chunks_of_another_mode(driver: Driver, mode: Any, expected: Any) -> None:
    assert driver.invoke(chain(), {"items": []}, stream_mode=mode) == expected


@pytest.mark.parametrize("mode", ["updates", "values", "custom", "tasks"])
def test_a_single_mode_has_its_envelope_in_the_second_format(driver: Driver, mode: str) -> None:
    def speak(_: State) -> dict[str, int]:
        from stategraph.engine.config.context import get_stream_writer

        get_stream_writer()("said")
        return {"n": 1}

    graph = StateGraph(State).add_node("a", speak).add_edge(START, "a").compile()
    parts = driver.stream(graph, {"items": []}, stream_mode=mode, version="v2")
    assert parts
    assert {part["type"] for part in parts} == {mode}
    assert {part["ns"] for part in parts} == {()}


def test_a_node_that_writes_a_key_twice_shows_both_writes(driver: Driver) -> None:
    def twice(_: State) -> list[Any]:
        return [Command(update={"items": [1]}), Command(update={"items": [2]})]

    graph = StateGraph(State).add_node("a", twice).add_edge(START, "a").compile()
    assert driver.stream(graph, {"items": []}, stream_mode="updates") == [{"a": [{"items": [1]}, {"items": [2]}]}]


def test_results_from_a_cache_are_marked_in_a_step_of_several(driver: Driver) -> None:
    calls: list[str] = []

    def node(name: str) -> Any:
        def run(_: State) -> dict[str, list[int]]:
            calls.append(name)
            return {"items": [len(name)]}

        return run

    builder = StateGraph(State)
    for name in ("a", "bb"):
        builder.add_node(name, node(name), cache_policy=CachePolicy()).add_edge(START, name)
    graph = builder.compile(cache=InMemoryCache())
    driver.invoke(graph, {"items": []})
    chunks = driver.stream(graph, {"items": []}, stream_mode="updates")
    assert sorted(calls) == ["a", "bb"]
    assert sorted(chunks, key=str) == [
        {"a": {"items": [1]}, "__metadata__": {"cached": True}},
        {"bb": {"items": [2]}, "__metadata__": {"cached": True}},
    ]


def test_a_sync_task_with_a_cache_policy_is_answered_from_the_cache() -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy())
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    @entrypoint(cache=InMemoryCache())
    def flow(n: int) -> int:
        return double(n).result()

    assert [flow.invoke(2), flow.invoke(2), flow.invoke(3)] == [4, 4, 6]
    assert calls == [2, 3]


def test_a_finished_task_function_does_not_run_again_on_resume(driver: Driver) -> None:
    calls: list[str] = []

    @task
    def pay() -> str:
        calls.append("pay")
        return "paid"

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: int) -> tuple[str, Any]:
        return pay().result(), interrupt("ship?")

    driver.invoke(flow, 1, THREAD)
    assert driver.invoke(flow, Command(resume="yes"), THREAD) == ("paid", "yes")
    assert calls == ["pay"]


def test_the_question_of_a_called_task_is_told_once(driver: Driver) -> None:
    @task
    def ask() -> Any:
        return interrupt("really?")

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: int) -> Any:
        return ask().result()

    chunks = driver.stream(flow, 1, THREAD, stream_mode="updates")
    assert [chunk["__interrupt__"][0].value for chunk in chunks if "__interrupt__" in chunk] == ["really?"]


def test_a_sync_run_ends_at_its_step_timeout() -> None:
    release = threading.Event()

    def slow(_: State) -> dict[str, int]:
        release.wait(1)  # a running function cannot be stopped: the run waits for it, then fails
        return {"n": 1}

    builder = StateGraph(State).add_node("slow", slow).add_node("quick", lambda _: {"items": [1]})
    graph = builder.add_edge(START, "slow").add_edge(START, "quick").compile()
    graph.step_timeout = 0.05
    try:
        with pytest.raises(TimeoutError):
            graph.invoke({"items": []})
    finally:
        release.set()


@pytest.mark.anyio
async def test_an_async_run_ends_at_its_step_timeout() -> None:
    import asyncio

    stopped = asyncio.Event()

    async def slow(_: State) -> dict[str, int]:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {"n": 1}

    graph = StateGraph(State).add_node("slow", slow).add_edge(START, "slow").compile()
    graph.step_timeout = 0.5  # long enough for the node to start on a busy machine
    with pytest.raises(TimeoutError):
        await graph.ainvoke({"items": []})
    assert stopped.is_set()


def test_messages_that_a_hidden_node_returns_are_not_streamed(driver: Driver) -> None:
    class Talk(TypedDict):
        messages: Annotated[list[Any], operator.add]

    def build(*tags: str) -> Any:
        from langchain_core.runnables import RunnableLambda

        node = RunnableLambda(lambda _: {"messages": [AIMessage("hello", id="m")]}).with_config(tags=list(tags))
        return StateGraph(Talk).add_node("say", node).add_edge(START, "say").compile()

    shown = driver.stream(build(), {"messages": []}, stream_mode="messages")
    assert [message.content for message, _ in shown] == ["hello"]
    builder = StateGraph(Talk).add_node("say", lambda _: {"messages": [AIMessage("hello", id="m")]})
    graph = builder.add_edge(START, "say").compile()
    graph.nodes["say"].tags = [TAG_HIDDEN]
    assert driver.stream(graph, {"messages": []}, stream_mode="messages") == []


def test_an_empty_list_of_a_reducer_is_not_shared_by_runs(driver: Driver) -> None:
    graph = StateGraph(Changing).add_node("a", lambda _: {"items": [1]}).add_edge(START, "a").compile()
    results = [driver.invoke(graph, {"items": [n]})["items"] for n in (7, 8)]
    assert results == [[7, 1], [8, 1]]
    assert driver.invoke(graph, {"items": []})["items"] == [1]


def test_a_question_that_was_answered_keeps_its_first_answer_when_resumed_again(driver: Driver) -> None:
    class Asking(TypedDict, total=False):
        said: Annotated[list[Any], operator.add]

    builder = StateGraph(Asking).add_node("ask", lambda _: {"said": [interrupt("?")]}).add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"said": []}, THREAD)
    waiting = driver.get_state(graph, THREAD).config
    assert driver.invoke(graph, Command(resume="one"), THREAD) == {"said": ["one"]}
    assert driver.invoke(graph, Command(resume="two"), waiting) == {"said": ["one"]}
    assert driver.get_state(graph, THREAD).values == {"said": ["one"]}


def test_a_thread_is_ended_by_hand(driver: Driver) -> None:
    graph = chain(checkpointer=InMemorySaver(), interrupt_before=["b"])
    driver.invoke(graph, {"items": []}, THREAD)
    assert driver.get_state(graph, THREAD).next == ("b",)
    driver.update_state(graph, THREAD, None, as_node=END)
    state = driver.get_state(graph, THREAD)
    assert (state.next, state.values["n"]) == ((), 1)


def test_ending_by_hand_keeps_what_a_finished_task_of_the_step_wrote(driver: Driver) -> None:
    first = threading.Event()

    def good(_: State) -> dict[str, list[int]]:
        first.set()
        return {"items": [1]}

    def fail(_: State) -> dict[str, int]:
        first.wait(10)
        raise ValueError("no")

    builder = StateGraph(State).add_node("good", good).add_node("bad", fail)
    graph = builder.add_edge(START, "good").add_edge(START, "bad").compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="no"):
        driver.invoke(graph, {"items": []}, THREAD)
    driver.update_state(graph, THREAD, None, as_node=END)
    state = driver.get_state(graph, THREAD)
    assert (state.next, state.values) == ((), {"items": [1]})


def test_an_update_as_the_input_starts_the_graph_again(driver: Driver) -> None:
    graph = chain(checkpointer=InMemorySaver())
    driver.invoke(graph, {"items": [1]}, THREAD)
    before = driver.get_state(graph, THREAD).metadata["step"]
    driver.update_state(graph, THREAD, {"items": [5]}, as_node="__input__")
    state = driver.get_state(graph, THREAD)
    assert state.metadata["source"] == "input"
    assert state.metadata["step"] == before + 1
    assert driver.invoke(graph, None, THREAD)["items"] == [1, 5]


def test_nodes_that_several_channels_start_come_in_the_order_of_their_names(driver: Driver) -> None:
    class Fields(TypedDict, total=False):
        x: int
        y: int

    builder = StateGraph(Fields).add_node("first", lambda _: {"x": 1}).add_node("second", lambda _: {"y": 1})
    for name in ("d", "b", "c", "a"):
        builder.add_node(name, lambda _: None)
    builder.add_edge(START, "first").add_edge(START, "second")
    builder.add_edge("first", "d").add_edge("second", "b").add_edge("first", "c").add_edge("second", "a")
    # Each of them waits for both as well, so that more than one channel starts it.
    builder.add_edge(["first", "second"], "a").add_edge(["first", "second"], "d")
    started = [
        chunk["name"] for chunk in driver.stream(builder.compile(), {"x": 0}, stream_mode="tasks") if "input" in chunk
    ]
    assert started == ["first", "second", "a", "b", "c", "d"]


def test_a_node_that_was_sent_to_shows_where_its_packet_came_from(driver: Driver) -> None:
    builder = StateGraph(State).add_node("a", lambda _: {"n": 1}).add_node("b", lambda _: {"items": [1]})
    builder.add_edge(START, "a").add_conditional_edges("a", lambda _: [Send("b", {}), Send("b", {})], ["b"])
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["b"])
    driver.invoke(graph, {"items": []}, THREAD)
    tasks = driver.get_state(graph, THREAD).tasks
    assert [(task.name, task.path) for task in tasks] == [("b", ("__pregel_push", n, False)) for n in range(2)]


STATES = ["values", "checkpoints", ["values", "updates"], ["tasks", "debug"]]


@pytest.mark.parametrize("mode", STATES, ids=str)
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_reader_who_is_shown_the_last_state_finds_it_stored(mode: Any, durability: Any) -> None:
    graph = chain(checkpointer=InMemorySaver())
    options = {"stream_mode": mode, "durability": durability}
    seen = [graph.get_state(THREAD).values.get("n") for _ in graph.stream({"items": []}, THREAD, **options)]
    assert seen[-1] == 2

    async def read() -> list[Any]:
        stream = graph.astream({"items": [], "n": 0}, THREAD, **options)
        return [(await graph.aget_state(THREAD)).values["n"] async for _ in stream]

    assert asyncio.run(read())[-1] == 2


@pytest.mark.parametrize("mode", ["updates", "tasks", ["updates"]], ids=str)
def test_a_reader_sees_how_the_last_node_ended_before_everything_is_stored(mode: Any) -> None:
    graph = chain(checkpointer=InMemorySaver())
    options = {"stream_mode": mode, "durability": "exit"}
    stored = [bool(graph.get_state(THREAD).values) for _ in graph.stream({"items": []}, THREAD, **options)]
    assert not any(stored)


def test_a_checkpoint_is_shown_with_the_tasks_that_it_was_planned_with(driver: Driver) -> None:
    fails = [True]

    def fail(state: State) -> Any:
        raise ConnectionError("away")

    def handle(state: State, error: NodeError) -> Any:
        if fails and fails.pop():
            raise ValueError("not yet")
        return {"n": 1}

    builder = StateGraph(State)
    builder.add_node("fails", fail, error_handler=handle)
    builder.add_node("waits", lambda state: {"items": [interrupt("sure?")]})
    builder.add_edge(START, "fails").add_edge(START, "waits")
    graph = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="not yet"):
        driver.invoke(graph, {"items": []}, THREAD)

    first = driver.stream(graph, None, THREAD, stream_mode="checkpoints")[0]

    assert first["next"] == ["fails", "waits"] == [task["name"] for task in first["tasks"]]


def test_an_async_task_with_a_cache_policy_is_answered_from_the_cache() -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy())
    async def double(n: int) -> int | None:
        calls.append(n)
        return 2 * n if n else None

    @entrypoint(cache=InMemoryCache())
    async def flow(n: int) -> int | None:
        return await double(n)

    async def scenario() -> list[int | None]:
        return [await flow.ainvoke(n) for n in (2, 2, 0, 0, 3)]

    assert asyncio.run(scenario()) == [4, 4, None, None, 6]
    assert calls == [2, 0, 3]


def test_an_async_task_cannot_be_called_in_a_sync_run() -> None:
    @task
    async def later() -> int:
        raise AssertionError("it ran")

    @entrypoint()
    def flow(_: int) -> Any:
        return later().result()

    with pytest.raises(RuntimeError, match="async tasks cannot be called"):
        flow.invoke(1)


def test_a_function_that_cannot_be_a_task_fails_its_caller(driver: Driver) -> None:
    def flow(_: int) -> Any:
        return call(int, "7").result()

    async def aflow(_: int) -> Any:
        return await call(int, "7")

    with pytest.raises(ValueError, match="no signature found"):
        driver.invoke(entrypoint()(flow if driver.name == "sync" else aflow), 1)


def test_a_call_whose_task_is_cancelled_is_cancelled_for_its_caller() -> None:
    @task
    async def forever() -> None:
        await asyncio.Event().wait()

    @entrypoint()
    async def flow(_: int) -> str:
        called = forever()
        await asyncio.sleep(0)
        (running,) = [task for task in asyncio.all_tasks() if task.get_name() == "forever"]
        running.cancel()
        try:
            await called
        except asyncio.CancelledError:
            return "cancelled"
        return "ended"

    assert asyncio.run(flow.ainvoke(1)) == "cancelled"


def test_the_methods_that_stream_are_generators_for_those_who_ask_a_function_whether_it_is_one() -> None:
    graph, last = chain(), {"b": {"n": 2}}
    assert RunnableLambda(graph.stream).invoke({"n": 0}) == last
    assert asyncio.run(RunnableLambda(graph.astream).ainvoke({"n": 0})) == last
