"""This package's own API in a process that has an installed LangGraph loaded, and no flag set: run by `make server`.

`make test` has no LangGraph; `tests/engine/test_doubles.py` has the same with classes made up for the purpose.
"""

import asyncio
import logging
import operator
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph import channels, config, errors, func, managed, runtime, types
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState
from langgraph.graph import StateGraph as OtherGraph
from langgraph.graph.state import CompiledStateGraph as OtherCompiled
from langgraph.prebuilt import ToolNode

import stategraph
from stategraph import END, START, StateGraph, entrypoint, interrupt
from stategraph.engine.config import foreign_types

THREAD = {"configurable": {"thread_id": "1"}}
PAUSED = "__interrupt__"


class State(TypedDict, total=False):
    number: int
    log: Annotated[list[Any], operator.add]


@pytest.fixture(autouse=True)
def no_warnings(caplog):
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.records] == []


def graph(node: Any, schema: Any = State, **options: Any) -> Any:
    builder = StateGraph(schema).add_node("node", node, **options).add_node("more", lambda _: {"number": 99})
    return builder.add_edge(START, "node").compile(checkpointer=InMemorySaver())


def raising(error: BaseException) -> Any:
    def node(_: State) -> Any:
        raise error

    return node


def test_langgraph_itself_is_loaded_and_is_not_this_engine():
    assert types.Command is not stategraph.Command
    assert not OtherCompiled.__module__.startswith("stategraph")
    assert foreign_types.exist()


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (types.Command(update={"log": ["a"]}, goto="more"), {"log": ["a"], "number": 99}),
        (types.Command(update={"log": types.Overwrite(["b"])}), {"log": ["b"]}),
        ({"log": types.Overwrite(["c"])}, {"log": ["c"]}),
        ([types.Command(goto="more"), {"log": ["d"]}], {"log": ["d"], "number": 99}),
        (types.Command(goto=types.Send("more", {})), {"log": [], "number": 99}),
        (stategraph.Command(goto=types.Send("more", {})), {"log": [], "number": 99}),
        (stategraph.Command(goto=[types.Send("more", {}), None]), {"log": [], "number": 99}),
    ],
    ids=str,
)
def test_what_a_node_returns_is_understood(returned, expected):
    assert graph(lambda _: returned).invoke({"log": []}, THREAD) == expected


def test_what_a_router_answers_is_understood():
    builder = StateGraph(State).add_node("more", lambda state: {"log": [state["number"]]})
    for answer in (types.Send("more", {"number": 1}), [types.Send("more", {"number": 1})]):
        for ends in (None, ["more"]):
            copy = StateGraph(State).add_node("more", builder.nodes["more"].runnable)
            copy.add_conditional_edges(START, lambda _, answer=answer: answer, ends)
            assert copy.compile().invoke({"log": []}) == {"log": [1]}


def test_interrupts_of_both_engines_ask_in_turn_and_take_commands_of_both():
    made = graph(lambda _: {"log": [types.interrupt("a"), interrupt("b"), types.interrupt("c")]})
    assert made.invoke({"log": []}, THREAD)[PAUSED][0].value == "a"
    assert made.get_state(THREAD).next == ("node",)
    assert made.invoke(types.Command(resume=1), THREAD)[PAUSED][0].value == "b"
    (waiting,) = made.invoke(stategraph.Command(resume=2), THREAD)[PAUSED]
    assert made.invoke(types.Command(resume={waiting.id: 3}), THREAD) == {"log": [1, 2, 3]}


def test_interrupts_and_commands_work_in_async_runs_and_under_a_time_limit():
    async def node(_: State) -> Any:
        return types.Command(update={"log": [types.interrupt("a")]}, goto="more")

    async def run(**options: Any) -> Any:
        made = graph(node, **options)
        await made.ainvoke({"log": []}, THREAD)
        return await made.ainvoke(types.Command(resume=1), THREAD)

    assert asyncio.run(run()) == {"log": [1], "number": 99}
    assert asyncio.run(run(timeout=types.TimeoutPolicy(run_timeout=60))) == {"log": [1], "number": 99}


def test_a_traced_run_takes_them_too():
    made = graph(lambda _: types.Command(update={"log": [types.interrupt("a")]}, goto="more"))
    traced = {**THREAD, "callbacks": [BaseCallbackHandler()]}
    list(made.stream({"log": []}, traced, stream_mode=["messages", "updates"]))
    assert list(made.stream(types.Command(resume=1), traced, stream_mode="values"))[-1] == {"log": [1], "number": 99}


def test_langgraphs_exceptions_leave_a_node_as_ours_do():
    asked = types.Interrupt("why?", id="a" * 32)
    assert graph(raising(errors.GraphInterrupt((asked,)))).invoke({"log": []}, THREAD)[PAUSED] == [
        stategraph.Interrupt("why?", id="a" * 32)
    ]
    command = types.Command(graph=types.Command.PARENT, update={"log": ["up"]}, goto="more")
    for node in (raising(errors.ParentCommand(command)), lambda _: command):
        inner = StateGraph(State).add_node("inner", node).add_edge(START, "inner").compile()
        assert graph(inner).invoke({"log": []}, THREAD) == {"log": ["up"], "number": 99}
        assert asyncio.run(graph(inner).ainvoke({"log": []}, THREAD)) == {"log": ["up"], "number": 99}


def test_policies_are_understood():
    tries: list[int] = []

    def flaky(_: State) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return {"number": len(tries)}

    policy = types.RetryPolicy(max_attempts=5, initial_interval=0.001, jitter=False)
    for policies in (policy, [policy]):
        tries.clear()
        assert graph(flaky, retry_policy=policies).invoke({"log": []}, THREAD)["number"] == 3
    assert graph(lambda _: {"number": 1}, cache_policy=types.CachePolicy(ttl=5)).invoke({}, THREAD)["number"] == 1


def test_edits_are_understood():
    made = graph(lambda _: {"number": 1})
    made.update_state(THREAD, types.Command(update={"log": ["edit"]}, goto="more"), as_node="node")
    made.bulk_update_state(THREAD, [[types.StateUpdate({"log": ["bulk"]}, "node")]])
    assert made.get_state(THREAD).values == {"log": ["edit", "bulk"]}
    made.invoke({"log": types.Overwrite(["input"])}, THREAD)
    assert made.get_state(THREAD).values["log"] == ["input"]


def test_channels_and_managed_values_in_annotations_are_understood():
    class Annotations(TypedDict, total=False):
        once: Annotated[int, channels.EphemeralValue]
        all: Annotated[list[int], channels.Topic(int, accumulate=True)]
        sum: Annotated[int, channels.BinaryOperatorAggregate(int, operator.add)]
        loose: Annotated[int, channels.UntrackedValue]
        last: managed.IsLastStep
        left: managed.RemainingSteps

    seen: list[Any] = []
    made = graph(lambda state: seen.append(state) or {"sum": 2, "all": 4}, Annotations)
    assert made.invoke({"sum": 1, "all": 1, "loose": 3, "once": 4}, THREAD) == {"sum": 3, "all": [1, 4], "loose": 3}
    assert (seen[0]["last"], seen[0]["left"] > 1, seen[0]["once"]) == (False, True, 4)


def test_a_channel_class_derived_from_one_of_langgraphs_is_refused_in_a_sentence():
    class Own(channels.LastValue):
        pass

    class Annotations(TypedDict):
        key: Annotated[int, Own]

    with pytest.raises(TypeError, match=r"Own is derived from the BaseChannel of the installed LangGraph.*expected a"):
        StateGraph(Annotations)


def test_runtime_writer_config_and_hints_are_understood():
    def node(state: State, runtime: runtime.Runtime, writer: types.StreamWriter) -> types.Command[Literal["more"]]:
        writer("one")
        config.get_stream_writer()("two")
        return types.Command(update={"log": [runtime.context, config.get_config()["configurable"]["thread_id"]]})

    made = graph(node)
    assert list(made.stream({"log": []}, THREAD, stream_mode="custom", context="c")) == ["one", "two"]
    assert made.get_state(THREAD).values == {"log": ["c", "1"]}
    assert [(edge.source, edge.target) for edge in made.get_graph().edges if edge.conditional] == [("node", "more")]


def test_messages_state_and_its_reducer_are_understood():
    made = graph(lambda _: {"messages": [("ai", "hello")]}, MessagesState)
    assert [m.content for m in made.invoke({"messages": [("user", "hi")]}, THREAD)["messages"]] == ["hi", "hello"]


def test_functional_graphs_take_langgraphs_tasks_and_final():
    @func.task
    def double(number: int) -> int:
        return number * 2

    @entrypoint(checkpointer=InMemorySaver())
    def main(number: int, *, previous: Any = None) -> Any:
        answer = double(number).result() + types.interrupt("how much more?")
        return func.entrypoint.final(value=(answer, previous), save=answer)

    assert main.invoke(3, THREAD)[PAUSED][0].value == "how much more?"
    assert list(main.invoke(types.Command(resume=1), THREAD)) == [7, None]
    main.invoke(4, THREAD)
    assert list(main.invoke(types.Command(resume=1), THREAD)) == [9, 7]


@pytest.mark.parametrize("ask", [interrupt, types.interrupt], ids=["ours", "theirs"])
def test_a_question_of_a_tool_passes_langgraphs_tool_node(ask):
    @tool
    def approve(what: str) -> str:
        """Ask for approval."""
        return ask(what)

    made = graph(ToolNode([approve], handle_tool_errors=True), MessagesState)
    call = {"name": "approve", "args": {"what": "sure?"}, "id": "1"}
    assert made.invoke({"messages": [AIMessage("", tool_calls=[call])]}, THREAD)[PAUSED][0].value == "sure?"
    assert made.invoke(types.Command(resume="yes"), THREAD)["messages"][-1].content == "yes"


def test_a_pause_of_both_classes_reaches_a_process_that_has_only_ours():
    paused = foreign_types.pause((stategraph.Interrupt("a", id="b"),))
    assert isinstance(paused, errors.GraphInterrupt)
    make, arguments = paused.__reduce__()
    copy = make(*arguments)
    assert type(copy) is stategraph.errors.GraphInterrupt
    assert copy.args == paused.args


def test_a_graph_of_langgraphs_engine_runs_as_a_node_and_is_answered_by_id():
    inner = OtherGraph(State).add_node("inner", lambda _: {"log": [types.interrupt("inside?")]})
    made = graph(inner.add_edge(START, "inner").add_edge("inner", END).compile())
    (asked,) = made.invoke({"log": []}, THREAD)[PAUSED]
    assert made.invoke(stategraph.Command(resume={asked.id: "yes"}), THREAD) == {"log": ["yes"]}


def test_a_graph_of_ours_runs_as_a_node_of_langgraphs_and_is_answered_by_id():
    inner = StateGraph(State).add_node("inner", lambda _: {"log": [interrupt("inside?")]}).add_edge(START, "inner")
    outer = OtherGraph(State).add_node("ours", inner.compile()).add_edge(START, "ours")
    made = outer.compile(checkpointer=InMemorySaver())
    (asked,) = made.invoke({"log": []}, THREAD)[PAUSED]
    assert made.invoke(types.Command(resume={asked.id: "yes"}), THREAD) == {"log": ["yes"]}
