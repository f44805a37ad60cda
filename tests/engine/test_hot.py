"""Nodes that go on where they asked.

What langchain-ai/langgraph#6208 and #5952 ask for: a node with several questions is not run again for each answer, and
a question that was answered is not asked again; and #6533, #6534 and #6542: questions of tools side by side have ids of
their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import operator
import weakref
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ValidationError

from stategraph import (
    START,
    Command,
    ConfigurationError,
    HotResume,
    MessagesState,
    Question,
    Runtime,
    StateGraph,
    StreamWriter,
    ainterrupt,
    get_stream_writer,
    interrupt,
)
from stategraph.prebuilt.tool_node import ToolNode
from stategraph.testing import FakeClock

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    done: Annotated[list[Any], operator.add]


def graph_of(saver: Any, *nodes: Any, **options: Any) -> Any:
    builder = StateGraph(State)
    for number, node in enumerate(nodes):
        builder.add_node(f"n{number}", node, **options).add_edge(START, f"n{number}")
    return builder.compile(saver)


class Host:
    """Runs graphs whose nodes are generators, or on one event loop coroutines."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loop = asyncio.new_event_loop() if kind == "async" else None

    def node(self, hot: HotResume, effects: list[Any], questions: list[Any]) -> Any:
        """Return a node that does something, asks, does something, asks..."""

        def steps(state: Any) -> Any:
            answers = []
            for question in questions:
                effects.append(f"before {question}")
                answers.append((yield question))
            effects.append("end")
            return {"done": answers}

        async def work(state: Any) -> Any:
            answers = []
            for question in questions:
                effects.append(f"before {question}")
                await asyncio.sleep(0)
                answers.append(await ainterrupt(question))
            effects.append("end")
            return {"done": answers}

        return hot(steps if self.loop is None else work)

    def invoke(self, graph: Any, given: Any, config: Any = THREAD, **options: Any) -> Any:
        if self.loop is None:
            return graph.invoke(given, config, **options)
        return self.loop.run_until_complete(graph.ainvoke(given, config, **options))

    def rest(self) -> None:
        if self.loop is not None:
            self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        if self.loop is not None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.rest()
            self.loop.close()


@pytest.fixture(params=["sync", "async"])
def host(request: pytest.FixtureRequest) -> Any:
    made = Host(request.param)
    yield made
    made.close()


def test_a_node_goes_on_where_it_asked_and_does_nothing_twice(host: Host) -> None:
    hot, effects = HotResume(), list[Any]()
    graph = graph_of(InMemorySaver(), host.node(hot, effects, ["a", "b"]))
    first = host.invoke(graph, {"done": []})["__interrupt__"]
    second = host.invoke(graph, Command(resume=1))["__interrupt__"]
    assert [each.value for each in (*first, *second)] == ["a", "b"]
    assert first[0].id != second[0].id
    assert len(hot) == 1
    assert host.invoke(graph, Command(resume=2)) == {"done": [1, 2]}
    assert effects == ["before a", "before b", "end"]
    assert len(hot) == 0


def test_in_another_process_the_node_runs_again_and_is_given_its_answers(host: Host) -> None:
    saver, effects = InMemorySaver(), list[Any]()
    host.invoke(graph_of(saver, host.node(HotResume(), effects, ["a", "b"])), {"done": []})
    elsewhere = graph_of(saver, host.node(HotResume(), effects, ["a", "b"]))
    assert host.invoke(elsewhere, Command(resume=1))["__interrupt__"][0].value == "b"
    assert host.invoke(elsewhere, Command(resume=2)) == {"done": [1, 2]}
    assert effects == ["before a", "before a", "before b", "end"]


def test_a_thread_that_another_process_has_gone_on_with_is_not_gone_back_on(host: Host) -> None:
    """The first process still has the node parked at its first question; the second was given two answers."""
    saver, here, there = InMemorySaver(), list[Any](), list[Any]()
    hot = HotResume()
    graph = graph_of(saver, host.node(hot, here, ["a", "b", "c"]))
    other = graph_of(saver, host.node(HotResume(), there, ["a", "b", "c"]))
    host.invoke(graph, {"done": []})
    host.invoke(other, Command(resume=1))
    assert host.invoke(graph, Command(resume=2))["__interrupt__"][0].value == "c"
    assert host.invoke(graph, Command(resume=3)) == {"done": [1, 2, 3]}
    assert here == ["before a", "before b", "before c", "end"]
    # It has moved to a newer checkpoint there: nothing parked is found here.
    host.invoke(graph, {"done": []})
    host.invoke(other, {"done": []})
    assert host.invoke(graph, Command(resume=5))["__interrupt__"][0].value == "b"
    assert here[4:] == ["before a", "before a", "before b"]


def test_going_on_without_an_answer_asks_the_same_again(host: Host) -> None:
    hot, effects = HotResume(), list[Any]()
    graph = graph_of(InMemorySaver(), host.node(hot, effects, ["a", "b"]))
    host.invoke(graph, {"done": []})
    host.invoke(graph, Command(resume=1))
    assert host.invoke(graph, None)["__interrupt__"][0].value == "b"
    assert host.invoke(graph, Command(resume=2)) == {"done": [1, 2]}
    assert effects == ["before a", "before b", "end"]


def test_nodes_side_by_side_are_answered_by_the_ids_of_their_questions(host: Host) -> None:
    hot, one, other = HotResume(), list[Any](), list[Any]()
    graph = graph_of(InMemorySaver(), host.node(hot, one, ["a", "b"]), host.node(hot, other, ["c"]))
    asked = {each.value: each.id for each in host.invoke(graph, {"done": []})["__interrupt__"]}
    assert len(hot) == 2
    result = host.invoke(graph, Command(resume={asked["c"]: 3}))
    assert [each.value for each in result["__interrupt__"]] == ["a"]
    result = host.invoke(graph, Command(resume={asked["a"]: 1}))
    assert host.invoke(graph, Command(resume=2)) == {"done": [1, 2, 3]}
    assert (one, other) == (["before a", "before b", "end"], ["before c", "end"])


def test_an_answer_that_is_refused_can_be_given_again(host: Host) -> None:
    hot, effects = HotResume(), list[Any]()

    def steps(state: Any) -> Any:
        effects.append("once")
        return {"done": [(yield Question("how many?", int))]}

    async def work(state: Any) -> Any:
        effects.append("once")
        return {"done": [await ainterrupt("how many?", response_schema=int)]}

    graph = graph_of(InMemorySaver(), hot(steps if host.loop is None else work))
    host.invoke(graph, {"done": []})
    with pytest.raises(ValidationError):
        host.invoke(graph, Command(resume="many"))
    assert host.invoke(graph, Command(resume="3")) == {"done": [3]}
    assert effects == ["once"]


def test_context_variables_stay_and_streams_are_those_of_the_present_run(host: Host) -> None:
    hot, own = HotResume(), contextvars.ContextVar("own", default="none")

    def steps(state: Any, runtime: Runtime[None]) -> Any:
        own.set("set")
        get_stream_writer()("one")
        runtime.stream_writer("two")
        answer = yield "?"
        get_stream_writer()("three")
        runtime.stream_writer("four")
        return {"done": [answer, own.get()]}

    async def work(state: Any, writer: StreamWriter) -> Any:
        own.set("set")
        get_stream_writer()("one")
        writer("two")
        answer = await ainterrupt("?")
        get_stream_writer()("three")
        writer("four")
        return {"done": [answer, own.get()]}

    graph = graph_of(InMemorySaver(), hot(steps if host.loop is None else work))

    def seen(given: Any) -> list[Any]:
        if host.loop is None:
            return list(graph.stream(given, THREAD, stream_mode="custom"))

        async def collect() -> list[Any]:
            return [chunk async for chunk in graph.astream(given, THREAD, stream_mode="custom")]

        return host.loop.run_until_complete(collect())

    assert seen({"done": []}) == ["one", "two"]
    assert seen(Command(resume=1)) == ["three", "four"]
    assert graph.get_state(THREAD).values == {"done": [1, "set"]}


# -- bounds ------------------------------------------------------------------------


def test_so_many_are_parked_and_others_run_again(host: Host) -> None:
    hot, effects = HotResume(most=2), list[Any]()
    graph = graph_of(InMemorySaver(), host.node(hot, effects, ["a"]))
    threads: list[Any] = [{"configurable": {"thread_id": str(n)}} for n in range(5)]
    for thread in threads:
        host.invoke(graph, {"done": []}, thread)
    host.rest()
    assert len(hot) == 2
    for thread in threads:
        assert host.invoke(graph, Command(resume=1), thread) == {"done": [1]}
    assert effects.count("before a") == 5 + 3


def test_what_is_parked_too_long_runs_again() -> None:
    clock, hot, effects = FakeClock(), HotResume(seconds=60), list[Any]()
    host = Host("sync")
    graph = graph_of(InMemorySaver(), host.node(hot, effects, ["a"]))
    with clock.for_runs():
        host.invoke(graph, {"done": []})
        clock.advance(61)
        assert host.invoke(graph, Command(resume=1)) == {"done": [1]}
    assert effects == ["before a", "before a", "end"]


def test_a_coroutine_that_is_parked_too_long_is_cancelled_by_a_timer() -> None:
    clock, hot, ended = FakeClock(), HotResume(seconds=60), list[str]()

    @hot
    async def work(state: Any) -> Any:
        try:
            return {"done": [await ainterrupt("?")]}
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        await graph_of(InMemorySaver(), work).ainvoke({"done": []}, THREAD)
        await asyncio.sleep(59)
        assert (len(hot), ended) == (1, [])
        await asyncio.sleep(2)
        assert (len(hot), ended) == (0, ["cancelled"])

    with clock.for_runs():
        clock.run(main())


def test_those_that_are_given_up_end_where_they_wait_and_leave_nothing(host: Host) -> None:
    hot, ended = HotResume(), list[str]()

    class Held:
        """Something that the node holds."""

    held: list[weakref.ref[Held]] = []

    def steps(state: Any) -> Any:
        mine = Held()
        held.append(weakref.ref(mine))
        try:
            yield "?"
        finally:
            ended.append("ended")

    async def work(state: Any) -> Any:
        mine = Held()
        held.append(weakref.ref(mine))
        try:
            await ainterrupt("?")
        finally:
            ended.append("ended")

    graph = graph_of(InMemorySaver(), hot(steps if host.loop is None else work))
    for number in range(20):
        host.invoke(graph, {"done": []}, {"configurable": {"thread_id": str(number)}})
    if host.loop is None:
        hot.clear()
    else:
        host.loop.run_until_complete(hot.aclose())
        assert not asyncio.all_tasks(host.loop)
    gc.collect()
    assert (len(hot), len(ended), [each() for each in held]) == (0, 20, [None] * 20)


def test_an_event_loop_that_has_ended_leaves_the_node_to_run_again() -> None:
    hot, effects = HotResume(), list[Any]()

    @hot
    async def work(state: Any) -> Any:
        effects.append("top")
        return {"done": [await ainterrupt("?")]}

    graph = graph_of(InMemorySaver(), work)
    asyncio.run(graph.ainvoke({"done": []}, THREAD))
    assert asyncio.run(graph.ainvoke(Command(resume=1), THREAD)) == {"done": [1]}
    assert (effects, len(hot)) == (["top", "top"], 0)


def test_a_run_that_is_cancelled_cancels_the_node_also_when_it_goes_on() -> None:
    hot, ended = HotResume(), list[str]()

    async def main() -> None:
        began = asyncio.Event()

        @hot
        async def work(state: Any) -> Any:
            answer = await ainterrupt("?")
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return {"done": [answer]}

        graph = graph_of(InMemorySaver(), work)
        await graph.ainvoke({"done": []}, THREAD)
        going = asyncio.ensure_future(graph.ainvoke(Command(resume=1), THREAD))
        await asyncio.wait_for(began.wait(), 60)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert (ended, len(hot)) == (["cancelled"], 0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


# -- questions side by side, graphs inside, what is not parked ------------------------


def test_questions_at_the_same_time_are_put_one_after_the_other() -> None:
    hot, effects = HotResume(), list[str]()

    async def tool(name: str) -> Any:
        effects.append(name)
        return name, await ainterrupt(f"may {name}?")

    @hot
    async def work(state: Any) -> Any:
        return {"done": list(await asyncio.gather(tool("a"), tool("b"), tool("c")))}

    async def main() -> Any:
        graph = graph_of(InMemorySaver(), work)
        result = await graph.ainvoke({"done": []}, THREAD)
        ids = []
        while waiting := result.get("__interrupt__"):
            (question,) = waiting
            ids.append(question.id)
            result = await graph.ainvoke(Command(resume={question.id: f"yes to {question.value}"}), THREAD)
        assert len(set(ids)) == 3
        return result["done"]

    assert asyncio.run(main()) == [(name, f"yes to may {name}?") for name in "abc"]
    assert effects == ["a", "b", "c"]


def test_tools_of_a_tool_node_ask_side_by_side_and_each_runs_once() -> None:
    hot, effects = HotResume(), list[int]()

    @tool
    async def pay(amount: int) -> str:
        """Pay an amount."""
        effects.append(amount)
        return f"{amount}: {await ainterrupt(f'pay {amount}?')}"

    tools = ToolNode([pay])

    @hot
    async def work(state: MessagesState, config: RunnableConfig) -> Any:
        return await tools.ainvoke(state, config)

    async def main() -> Any:
        builder = StateGraph(MessagesState).add_node("tools", work).add_edge(START, "tools")
        graph = builder.compile(InMemorySaver())
        calls = [{"name": "pay", "args": {"amount": amount}, "id": f"call {amount}"} for amount in (1, 2, 3)]
        result = await graph.ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, THREAD)
        asked = []
        while waiting := result.get("__interrupt__"):
            (question,) = waiting
            asked.append((question.value, question.id))
            result = await graph.ainvoke(Command(resume={question.id: f"yes to {question.value}"}), THREAD)
        assert [value for value, _ in asked] == ["pay 1?", "pay 2?", "pay 3?"]
        assert len({id for _, id in asked}) == 3
        return [(each.tool_call_id, each.content) for each in result["messages"][1:]]

    assert asyncio.run(main()) == [(f"call {n}", f"{n}: yes to pay {n}?") for n in (1, 2, 3)]
    assert effects == [1, 2, 3]
    assert len(hot) == 0


def test_a_hot_node_of_a_graph_inside_of_a_hot_node_asks_for_itself() -> None:
    hot, effects = HotResume(), list[str]()

    @hot
    async def inner(state: Any) -> Any:
        effects.append("inner")
        return {"done": [await ainterrupt("inner?")]}

    graph_inside = graph_of(None, inner)

    @hot
    async def outer(state: Any) -> Any:
        effects.append("outer")
        first = await ainterrupt("outer?")
        return {"done": [first, *(await graph_inside.ainvoke({"done": []}))["done"]]}

    async def main() -> Any:
        graph = graph_of(InMemorySaver(), outer)
        await graph.ainvoke({"done": []}, THREAD)
        asked = (await graph.ainvoke(Command(resume=1), THREAD))["__interrupt__"]
        assert [each.value for each in asked] == ["inner?"]
        return await graph.ainvoke(Command(resume={asked[0].id: 2}), THREAD)

    assert asyncio.run(main())["done"] == [1, 2]
    # The graph inside was parked; the node around it asked nothing of its own then, and runs again with its answer.
    assert effects == ["outer", "inner", "outer"]


def test_other_nodes_ask_with_the_same_words() -> None:
    async def work(state: Any) -> Any:
        return {"done": [await ainterrupt("?"), interrupt("??")]}

    async def main() -> Any:
        graph = graph_of(InMemorySaver(), work)
        await graph.ainvoke({"done": []}, THREAD)
        await graph.ainvoke(Command(resume=1), THREAD)
        return await graph.ainvoke(Command(resume=2), THREAD)

    assert asyncio.run(main())["done"] == [1, 2]


def test_without_a_checkpointer_nothing_is_parked(host: Host) -> None:
    hot, effects = HotResume(), list[Any]()
    graph = graph_of(None, host.node(hot, effects, ["a"]))
    assert host.invoke(graph, {"done": []}, None)["__interrupt__"][0].value == "a"
    host.rest()
    assert len(hot) == 0


def test_what_cannot_be_parked_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be parked"):
        HotResume()(lambda state: {})
    for options in ({"most": 0}, {"most": True}, {"seconds": 0}):
        with pytest.raises(ConfigurationError, match="expected a"):
            HotResume(**options)  # type: ignore[arg-type]


# -- the model: segments between questions ----------------------------------------------


@settings(max_examples=60)
@given(
    questions=st.integers(0, 4),
    lost=st.lists(st.booleans(), min_size=4, max_size=4),
    kind=st.sampled_from(["sync", "async"]),
    durability=st.sampled_from(["sync", "async", "exit"]),
)
def test_each_segment_runs_once_unless_the_process_is_gone(
    questions: int, lost: list[bool], kind: str, durability: Any
) -> None:
    """The model: where nothing was lost the node goes on, else it runs from the top, with the same answers."""
    host, saver = Host(kind), InMemorySaver()
    asked, effects, expected = [f"q{n}" for n in range(questions)], list[Any](), list[Any]()
    try:
        graph = graph_of(saver, host.node(HotResume(), effects, asked))
        result = host.invoke(graph, {"done": []}, durability=durability)
        expected += [f"before {asked[0]}"] if asked else ["end"]
        for number, question in enumerate(asked):
            assert [each.value for each in result["__interrupt__"]] == [question]
            if lost[number]:
                graph = graph_of(saver, host.node(HotResume(), effects, asked))
                expected += [f"before {each}" for each in asked[: number + 1]]
            result = host.invoke(graph, Command(resume=number), durability=durability)
            expected.append(f"before {asked[number + 1]}" if number + 1 < questions else "end")
        assert result == {"done": [*range(questions)]}
        assert effects == expected
    finally:
        host.close()


def test_code_that_went_on_with_other_answers_than_the_thread_has_is_not_used(host: Host) -> None:
    """The first answer was never stored, as a saver lost it; the same question is answered again, otherwise."""
    hot, effects, saver = HotResume(), list[Any](), InMemorySaver()
    graph = graph_of(saver, host.node(hot, effects, ["a", "b"]))
    host.invoke(graph, {"done": []})
    host.invoke(graph, Command(resume=1))
    for writes in saver.writes.values():
        for key in [key for key, write in writes.items() if write[1] == "__resume__"]:
            del writes[key]
    assert host.invoke(graph, None)["__interrupt__"][0].value == "a"
    assert host.invoke(graph, Command(resume=9))["__interrupt__"][0].value == "b"
    assert host.invoke(graph, Command(resume=2)) == {"done": [9, 2]}
    assert effects == ["before a", "before b", "before a", "before b", "end"]
