"""States that are TypedDicts: what a checker knows from the state to the result."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal, assert_type

from typing_extensions import TypedDict

from stategraph import START, Command, Runtime, StateGraph, StateSnapshot
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.types import GraphOutput


class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class State(Question, Answer):
    log: Annotated[list[str], operator.add]


class Partial(TypedDict, total=False):
    answer: str


class Context(TypedDict):
    user: str


class Other(TypedDict):
    elsewhere: int


def reads_all(state: State) -> Partial:
    return {"answer": state["question"]}


def reads_a_part(state: Question) -> dict[str, Any]:
    return {"answer": state["question"]}


async def awaits(state: State) -> State:
    return {"question": "", "answer": "", "log": [1]}  # E: [list-item]


def jumps(state: State) -> Command[Literal["reads_all"]]:
    return Command(goto="reads_all", update={"log": ["jumped"]})


def with_runtime(state: State, runtime: Runtime[Context]) -> Partial:
    return {"answer": runtime.context["user"]}


def misspells(state: State) -> Partial:
    return {"anwser": state["question"]}  # E: [typeddict-unknown-key]


def of_another_state(state: Other) -> Partial:
    return {"answer": str(state["elsewhere"])}


def takes_nothing() -> Partial:
    return {}


whole = StateGraph(State)
whole.add_node(reads_all)
whole.add_node("part", reads_a_part)
whole.add_node(awaits, destinations=("reads_all", "part"))
whole.add_node(jumps)
whole.add_node("lambda", lambda state: {"answer": state["question"].upper()})
whole.add_node(of_another_state)  # E: [arg-type]
whole.add_node("another", of_another_state)  # E: [arg-type]
whole.add_node("meant", of_another_state, input_schema=Other)
whole.add_node("nothing", takes_nothing)  # E: [arg-type]
whole.add_edge(START, "reads_all")
app = whole.compile()
assert_type(app, CompiledStateGraph[State, None, State, State])

assert_type(app.invoke({"question": "?", "answer": "", "log": []}), State)
app.invoke({"question": 1, "answer": "", "log": []})  # E: [call-overload]
app.invoke({"qestion": "?", "answer": "", "log": []})  # E: [call-overload]
app.invoke(Command(resume="yes"))
app.invoke(None)
result = app.invoke({"question": "?", "answer": "", "log": []})
assert_type(result["answer"], str)
result["anwser"]  # E: [typeddict-item]

narrow = StateGraph(State, input_schema=Question, output_schema=Answer, context_schema=Context)
narrow.add_node(with_runtime)
narrow.add_edge(START, "with_runtime")
shaped = narrow.compile()
assert_type(shaped, CompiledStateGraph[State, Context, Question, Answer])
assert_type(shaped.invoke({"question": "?"}, context={"user": "ada"}), Answer)
assert_type(shaped.invoke({"question": "?"}, version="v2"), GraphOutput[Answer])
assert_type(shaped.invoke({"question": "?"}, version="v2").value["answer"], str)
shaped.invoke({"answer": "?"})  # E: [call-overload]
shaped.invoke({"question": "?"}, context={"user": 1})  # E: [call-overload]


async def asynchronous() -> None:
    assert_type(await shaped.ainvoke({"question": "?"}), Answer)
    assert_type(await shaped.ainvoke({"question": "?"}, version="v2"), GraphOutput[Answer])
    assert_type(shaped.astream({"question": "?"}, stream_mode="values"), AsyncIterator[State])
    async for update in shaped.astream({"question": "?"}):
        assert_type(update, dict[str, Any])
    assert_type((await shaped.aget_state({})).values["log"], list[str])


assert_type(shaped.stream({"question": "?"}, stream_mode="values"), Iterator[State])
assert_type(shaped.stream({"question": "?"}), Iterator[dict[str, Any]])
for part in shaped.stream({"question": "?"}, version="v2"):
    if part["type"] == "values":
        assert_type(part["data"], Answer)
assert_type(shaped.get_state({}), StateSnapshot[State])
assert_type(shaped.get_state({}).values["question"], str)

outer = StateGraph(State)
outer.add_node("inside", shaped)
outer.add_node("whole", app)
