"""Graphs as authors write them, run by both drivers, with and without somebody listening."""

import asyncio
import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.errors import InvalidUpdateError, NodeError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import Command, RetryPolicy, Send


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    count: int


def say(word: str) -> Any:
    def node(state: State) -> dict[str, Any]:
        return {"log": [word]}

    return node


class Listener(BaseCallbackHandler):
    """Notes the name of each run that starts, with the name of the run around it."""

    def __init__(self) -> None:
        self.names: dict[Any, str] = {}
        self.started: list[tuple[str, str | None]] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.names[run_id] = kwargs["name"]
        self.started.append((kwargs["name"], self.names.get(kwargs.get("parent_run_id"))))


@pytest.fixture(params=["quiet", "traced"])
def config(request: pytest.FixtureRequest) -> RunnableConfig:
    """A run that nobody listens to takes shortcuts; the result must be the same."""
    return {"callbacks": [Listener()]} if request.param == "traced" else {}


def test_a_diamond_joins_before_it_goes_on(driver: Any, config: RunnableConfig) -> None:
    builder = StateGraph(State)
    for name in "abcd":
        builder.add_node(name, say(name))
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge(["b", "c"], "d")
    assert driver.invoke(builder.compile(), {"log": []}, config) == {"log": ["a", "b", "c", "d"]}


def test_a_deferred_node_runs_last(driver: Any, config: RunnableConfig) -> None:
    builder = StateGraph(State).add_node("long", say("long")).add_node("er", say("er"))
    builder.add_node("last", say("last"), defer=True)
    builder.add_edge(START, "long").add_edge("long", "er").add_edge(START, "last")
    assert driver.invoke(builder.compile(), {"log": []}, config) == {"log": ["long", "er", "last"]}


def test_a_router_sees_the_state_after_its_node(driver: Any, config: RunnableConfig) -> None:
    def count(state: State) -> dict[str, Any]:
        return {"count": state["count"] + 1, "log": [str(state["count"])]}

    def again(state: State) -> Literal["count", "__end__"]:
        return "count" if state["count"] < 3 else END

    graph = StateGraph(State).add_node("count", count).set_entry_point("count").add_conditional_edges("count", again)
    assert driver.invoke(graph.compile(), {"log": [], "count": 0}, config) == {"log": ["0", "1", "2"], "count": 3}


def test_an_async_router_runs_on_the_loop(config: RunnableConfig) -> None:
    async def route(state: State) -> str:
        await asyncio.sleep(0)
        return "b"

    builder = StateGraph(State).add_node("a", say("a")).add_node("b", say("b")).set_entry_point("a")
    graph = builder.add_conditional_edges("a", route).compile()
    assert asyncio.run(graph.ainvoke({"log": []}, config)) == {"log": ["a", "b"]}
    with pytest.raises(TypeError, match="route"):
        graph.invoke({"log": []}, config)


def test_an_unobserved_sync_router_of_an_async_run_is_called_inline() -> None:
    seen: list[int] = []

    def route(state: State) -> str:
        seen.append(threading.get_ident())
        return END

    graph = StateGraph(State).add_node("a", say("a")).set_entry_point("a").add_conditional_edges("a", route).compile()
    asyncio.run(graph.ainvoke({"log": []}))
    assert seen == [threading.get_ident()]


def test_routers_are_runs_of_their_own_to_a_listener(driver: Any) -> None:
    def route(state: State) -> str:
        return END

    listener = Listener()
    graph = StateGraph(State).add_node("a", say("a")).set_entry_point("a").add_conditional_edges("a", route).compile()
    driver.invoke(graph, {"log": []}, {"callbacks": [listener]})
    assert listener.started == [("LangGraph", None), ("a", "LangGraph"), ("route", "a")]


def test_sends_run_a_node_once_each_with_their_own_input(driver: Any, config: RunnableConfig) -> None:
    builder = StateGraph(State).add_node("each", lambda state: {"log": [state["word"]]})
    builder.add_conditional_edges(START, lambda state: [Send("each", {"word": word}) for word in "xyz"])
    assert driver.invoke(builder.compile(), {"log": []}, config) == {"log": ["x", "y", "z"]}


def test_a_command_updates_and_goes_on_and_edges_still_count(driver: Any, config: RunnableConfig) -> None:
    def both(state: State) -> Command[Literal["b"]]:
        return Command(update={"log": ["a"]}, goto="b")

    builder = StateGraph(State).add_node("a", both).add_node("b", say("b")).add_node("c", say("c"))
    graph = builder.set_entry_point("a").add_edge("a", "c").compile()
    assert driver.invoke(graph, {"log": []}, config) == {"log": ["a", "b", "c"]}


def test_a_command_for_the_parent_acts_there(driver: Any, config: RunnableConfig) -> None:
    def leave(state: State) -> Command[Any]:
        return Command(graph=Command.PARENT, update={"log": ["from below"]}, goto="next")

    inner = StateGraph(State).add_node("leave", leave).set_entry_point("leave").compile()
    builder = StateGraph(State).add_node("inner", inner).add_node("next", say("next")).set_entry_point("inner")
    assert driver.invoke(builder.compile(), {"log": []}, config) == {"log": ["from below", "next"]}


def test_a_node_gets_the_keys_of_its_schema_only(driver: Any, config: RunnableConfig) -> None:
    class Private(TypedDict):
        note: str

    seen: list[Any] = []

    def first(state: State) -> dict[str, Any]:
        return {"note": "psst", "unknown": 1}

    def second(state: Private) -> None:
        seen.append(state)

    builder = StateGraph(State).add_sequence([first, second]).set_entry_point("first")
    assert driver.invoke(builder.compile(), {"log": []}, config) == {"log": []}
    assert seen == [{"note": "psst"}]


def test_a_model_is_validated_and_coerced_for_each_node(driver: Any, config: RunnableConfig) -> None:
    class Model(BaseModel):
        count: int
        log: Annotated[list[str], operator.add] = []

    def node(state: Model) -> dict[str, Any]:
        return {"log": [f"{type(state).__name__} {state.count + 1}"]}

    graph = StateGraph(Model).add_node(node).set_entry_point("node").compile()
    assert driver.invoke(graph, {"count": "1"}, config)["log"] == ["Model 2"]
    with pytest.raises(ValidationError):
        driver.invoke(graph, {"count": "one"}, config)


def test_a_default_error_handler_takes_over_and_its_own_failure_fails_the_run(
    driver: Any, config: RunnableConfig
) -> None:
    def fails(state: State) -> None:
        raise LookupError("lost")

    def handler(state: State, error: NodeError) -> dict[str, Any]:
        return {"log": [f"{error.node}: {error.error}"]}

    builder = StateGraph(State).add_node(fails).set_entry_point("fails")
    assert driver.invoke(builder.set_node_defaults(error_handler=handler).compile(), {"log": []}, config) == {
        "log": ["fails: lost"]
    }
    with pytest.raises(LookupError, match="lost"):
        driver.invoke(builder.set_node_defaults(error_handler=fails).compile(), {"log": []}, config)


def test_a_value_that_is_no_update_fails_the_run(driver: Any, config: RunnableConfig) -> None:
    graph = StateGraph(State).add_node("a", lambda state: "text").set_entry_point("a").compile()
    with pytest.raises(InvalidUpdateError, match="Expected dict, got text"):
        driver.invoke(graph, {"log": []}, config)


# --- the functional API ---


def test_tasks_run_side_by_side_and_previous_is_what_was_kept(config: RunnableConfig) -> None:
    barrier = threading.Barrier(2, timeout=10)

    @task
    def double(x: int) -> int:
        barrier.wait()  # passes only if two of them run at once
        return 2 * x

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(x: int, *, previous: str | None = None) -> entrypoint.final[list[Any], str]:
        futures = [double(x), double(x + 1)]
        return entrypoint.final(value=[*(future.result() for future in futures), previous], save=f"after {x}")

    thread: RunnableConfig = {**config, "configurable": {"thread_id": "1"}}
    assert workflow.invoke(1, thread) == [2, 4, None]
    assert workflow.invoke(5, thread) == [10, 12, "after 1"]


def test_async_tasks_are_awaited_and_keyword_arguments_reach_them(config: RunnableConfig) -> None:
    @task(name="scaled")
    async def scale(x: int, *, by: int = 2, **rest: int) -> int:
        return x * by + sum(rest.values())

    @entrypoint()
    async def workflow(x: int) -> list[int]:
        return list(await asyncio.gather(scale(x), scale(x, by=3), scale(x, more=100)))

    async def updates() -> list[Any]:
        return [chunk async for chunk in workflow.astream(1, config)]

    *tasks, last = asyncio.run(updates())
    assert sorted(chunk["scaled"] for chunk in tasks) == [2, 3, 102]
    assert last == {"workflow": [2, 3, 102]}


def test_a_failed_task_is_tried_again_and_a_failure_can_be_caught(config: RunnableConfig) -> None:
    attempts: list[int] = []

    @task(retry_policy=RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=LookupError))
    async def shaky(x: int) -> int:
        attempts.append(x)
        if len(attempts) < 3:
            raise LookupError("not yet")
        return x

    @task
    async def broken(x: int) -> int:
        raise ArithmeticError("never")

    @entrypoint()
    async def workflow(x: int) -> str:
        value = await shaky(x)
        try:
            await broken(x)
        except ArithmeticError as error:
            return f"{value} and {error}"
        return "unreachable"

    assert asyncio.run(workflow.ainvoke(7, config)) == "7 and never"
    assert attempts == [7, 7, 7]


def test_a_cancelled_task_stops() -> None:
    stopped: list[str] = []

    @task
    async def waits(name: str) -> str:
        try:
            await asyncio.sleep(0 if name == "kept" else 60)
        except asyncio.CancelledError:
            stopped.append(name)
            raise
        return name

    @entrypoint()
    async def workflow(x: int) -> str:
        kept, dropped = waits("kept"), waits("dropped")
        name = await kept
        dropped.cancel()
        return name

    assert asyncio.run(asyncio.wait_for(workflow.ainvoke(0), 10)) == "kept"
    assert stopped == ["dropped"]


def test_arguments_that_a_call_names_go_before_injected_ones(driver: Any) -> None:
    @task
    def wants(config: RunnableConfig) -> Any:
        return config

    @entrypoint()
    def workflow(x: int) -> list[Any]:
        return [wants(config="given").result(), "configurable" in wants().result()]  # type: ignore[arg-type, call-arg]

    assert driver.invoke(workflow, 0) == ["given", True]


class Checked(BaseModel):
    """A state that counts how often it is validated."""

    items: Annotated[list[int], operator.add] = []
    note: str = ""

    validated: ClassVar[int] = 0

    @model_validator(mode="after")
    def count(self) -> Self:
        Checked.validated += 1
        return self


@pytest.fixture
def validations() -> Callable[[], int]:
    Checked.validated = 0
    return lambda: Checked.validated


def test_a_router_and_the_node_after_it_share_a_validation(driver: Any, validations: Callable[[], int]) -> None:
    builder = StateGraph(Checked).add_node("work", lambda state: {"items": [len(state.items)]}).add_edge(START, "work")
    builder.add_conditional_edges("work", lambda state: "work" if len(state.items) < 5 else END)
    assert driver.invoke(builder.compile(), {}, {}) == {"items": [0, 1, 2, 3, 4]}
    # What the first of five nodes was given, and what each of their routers was.
    assert validations() == 1 + 5


def test_what_a_router_does_to_its_state_is_not_seen_by_the_node_after_it(driver: Any, config: RunnableConfig) -> None:
    seen = []

    def work(state: Checked) -> dict[str, Any]:
        seen.append(state)
        return {"items": [1], "note": "kept"}

    def route(state: Checked) -> str:
        done = len(state.items) > 1
        state.items.append(99)
        state.note = "changed"
        return END if done else "work"

    builder = StateGraph(Checked).add_node("work", work).add_edge(START, "work")
    graph = builder.add_conditional_edges("work", route).compile()
    assert driver.invoke(graph, {}, config) == {"items": [1, 1], "note": "kept"}
    assert [(state.items, state.note) for state in seen] == [([], ""), ([1], "kept")]


def test_what_a_node_does_to_its_state_is_not_seen_by_its_router(driver: Any, config: RunnableConfig) -> None:
    routed = []

    def work(state: Checked) -> dict[str, Any]:
        state.items.append(99)
        return {"items": [len(routed)]}

    def route(state: Checked) -> str:
        routed.append(state.items)
        return END if len(routed) > 2 else "work"

    builder = StateGraph(Checked).add_node("work", work).add_edge(START, "work")
    driver.invoke(builder.add_conditional_edges("work", route).compile(), {}, config)
    assert routed == [[0], [0, 1], [0, 1, 2]]


def test_a_node_after_several_routers_is_given_what_all_of_the_step_wrote(driver: Any, config: RunnableConfig) -> None:
    seen = []
    builder = StateGraph(Checked)
    for name, item in (("one", 1), ("two", 2)):
        builder.add_node(name, lambda state, item=item: {"items": [item]}).add_edge(START, name)
        builder.add_conditional_edges(name, lambda state: "last")
    builder.add_node("last", lambda state: seen.append(state.items))
    assert driver.invoke(builder.compile(), {}, config) == {"items": [1, 2]}
    assert seen == [[1, 2]]


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    user_name: str = Field(alias="userName", default="nobody")
    count: int = Field(validation_alias=AliasChoices("howMany", "n"), default=0)
    result: str = ""


class AliasedOnly(BaseModel):
    user_name: str = Field(alias="userName", default="nobody")
    count: int = Field(validation_alias=AliasChoices("howMany", "n"), default=0)
    result: str = ""


@pytest.mark.parametrize("model", [Aliased, AliasedOnly])
@pytest.mark.parametrize(
    "given",
    [
        {"user_name": "Ada", "count": 2},
        {"userName": "Ada", "howMany": 2},
        {"userName": "Ada", "n": 2, "user_name": "overruled"},
    ],
)
def test_an_input_may_name_fields_of_a_model_by_their_aliases(
    driver: Any, config: RunnableConfig, model: type[Any], given: dict[str, Any]
) -> None:
    builder = StateGraph(model).add_node("n", lambda state: {"result": f"{state.user_name} {state.count}"})
    graph = builder.add_edge(START, "n").compile()
    assert driver.invoke(graph, given, config)["result"] == "Ada 2"
    assert driver.invoke(graph, model(userName="Ada", howMany=2), config)["result"] == "Ada 2"


def test_an_input_that_is_no_state_is_the_failure_of_the_start(driver: Any, config: RunnableConfig) -> None:
    graph = StateGraph(State).add_node("n", say("n")).add_edge(START, "n").compile(checkpointer=InMemorySaver())
    config = {**config, "configurable": {"thread_id": "t"}}
    with pytest.raises(InvalidUpdateError, match="The input is a value of type int") as refused:
        driver.invoke(graph, 5, config)
    (note,) = refused.value.__notes__
    assert note.startswith("During task with name '__start__'")
    state = driver.get_state(graph, config)
    assert state.next == (START,)
    assert "The input is a value of type int" in state.tasks[0].error
    assert driver.invoke(graph, {"log": []}, config) == {"log": ["n"]}
