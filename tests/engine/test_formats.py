"""How a run's chunks and results are shown: what is printed, models in the second format, old names of options."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph import interrupt
from stategraph.constants import END, START
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import Command, GraphOutput, Send
from stategraph.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from tests.conftest import Driver


class Model(BaseModel):
    n: int = 0
    log: Annotated[list[str], operator.add] = []


class Plain(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


THREAD: Any = {"configurable": {"thread_id": "t"}}


def chain(state: Any = Plain, ask: bool = False, **options: Any) -> Any:
    def first(_: Any) -> Any:
        return {"n": 1, "log": ["a"]}

    def second(_: Any) -> Any:
        return {"n": interrupt("how many?") if ask else 2, "log": ["b"]}

    builder = StateGraph(state).add_node("a", first).add_node("b", second)
    return builder.add_edge(START, "a").add_edge("a", "b").compile(**options)


# -- printing ------------------------------------------------------------


def test_modes_are_printed_beside_what_is_streamed(driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    chunks = driver.stream(chain(), {"n": 0}, stream_mode="values", print_mode="updates")
    assert [chunk["n"] for chunk in chunks] == [0, 1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "\033[1m[updates]\033[0m {'a': {'n': 1, 'log': ['a']}}",
        "\033[1m[updates]\033[0m {'b': {'n': 2, 'log': ['b']}}",
    ]


def test_what_is_printed_of_a_nested_graph_says_where_it_is_from(
    driver: Driver, capsys: pytest.CaptureFixture[str]
) -> None:
    outer = StateGraph(Plain).add_node("inner", chain()).add_edge(START, "inner").compile()
    driver.stream(outer, {"n": 0}, stream_mode="values", print_mode=["updates"], subgraphs=True)
    nested, _, own = capsys.readouterr().out.splitlines()
    assert nested.startswith("\033[1m[updates]\033[0m \033[1;31;33m[graph=('inner:")
    assert nested.endswith("{'a': {'n': 1, 'log': ['a']}}")
    assert own.startswith("\033[1m[updates]\033[0m {'inner':")


def test_a_graph_that_is_debugged_prints_its_updates_and_values(
    driver: Driver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driver.invoke(chain(), {"n": 0}, debug=True)["n"] == 2
    printed = capsys.readouterr().out
    assert (printed.count("[updates]"), printed.count("[values]")) == (2, 3)
    driver.invoke(chain(debug=True), {"n": 0})
    assert capsys.readouterr().out == printed


def test_an_invocation_may_print_a_mode(driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    assert driver.invoke(chain(), {"n": 0}, print_mode="values") == {"n": 2, "log": ["a", "b"]}
    assert capsys.readouterr().out.count("[values]") == 3


# -- models in the second format -----------------------------------------


def test_states_are_models_in_the_second_format_and_dicts_in_the_first(driver: Driver) -> None:
    graph = chain(Model)
    parts = driver.stream(graph, {"n": 0}, stream_mode="values", version="v2")
    assert [part["data"] for part in parts] == [Model(), Model(n=1, log=["a"]), Model(n=2, log=["a", "b"])]
    assert driver.stream(graph, {"n": 0}, stream_mode="values")[-1] == {"n": 2, "log": ["a", "b"]}


def test_a_result_in_the_second_format_is_the_model_with_what_the_run_asks(driver: Driver) -> None:
    assert driver.invoke(chain(Model), {"n": 0}, version="v2") == GraphOutput(Model(n=2, log=["a", "b"]), ())
    output = driver.invoke(chain(Model, ask=True, checkpointer=InMemorySaver()), {"n": 0}, THREAD, version="v2")
    assert output.value == Model(n=1, log=["a"])
    assert [question.value for question in output.interrupts] == ["how many?"]


def test_a_question_is_shown_beside_the_values(driver: Driver) -> None:
    graph = chain(ask=True, checkpointer=InMemorySaver())
    assert driver.stream(graph, {"n": 0}, THREAD, stream_mode="values")[-1].keys() == {"n", "log", "__interrupt__"}
    result = driver.invoke(graph, Command(resume=5), THREAD)
    assert result == {"n": 5, "log": ["a", "b"]}


def test_a_question_of_a_function_is_shown_with_nothing_beside_it(driver: Driver) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def work(n: int) -> int:
        return n + int(interrupt("more?"))

    parts = driver.stream(work, 1, THREAD, stream_mode="values")
    assert [list(part) for part in parts] == [["__interrupt__"]]
    again = driver.invoke(work, 1, {"configurable": {"thread_id": "other"}})
    assert [question.value for question in again["__interrupt__"]] == ["more?"]
    assert driver.invoke(work, Command(resume=2), THREAD) == 3


@pytest.mark.parametrize("mode", ["checkpoints", "debug"])
def test_states_in_checkpoints_are_models_once_the_input_was_applied(driver: Driver, mode: str) -> None:
    graph = chain(Model, checkpointer=InMemorySaver())
    parts = driver.stream(graph, {"n": 0}, THREAD, stream_mode=mode, version="v2")
    found = [part["data"] for part in parts]
    if mode == "debug":
        found = [event["payload"] for event in found if event["type"] == "checkpoint"]
    states = [payload["values"] for payload in found]
    assert isinstance(states[0], dict)
    assert states[1:] == [Model(), Model(n=1, log=["a"]), Model(n=2, log=["a", "b"])]
    assert [payload["next"] for payload in found] == [["__start__"], ["a"], ["b"], []]
    assert [payload["metadata"]["step"] for payload in found] == [-1, 0, 1, 2]


def test_debug_wraps_checkpoints_and_tasks_with_their_step(driver: Driver) -> None:
    graph = chain(checkpointer=InMemorySaver())
    events = driver.stream(graph, {"n": 0}, THREAD, stream_mode="debug")
    assert [(event["type"], event["step"]) for event in events] == [
        ("checkpoint", -1),
        ("checkpoint", 0),
        ("task", 1),
        ("task_result", 1),
        ("checkpoint", 1),
        ("task", 2),
        ("task_result", 2),
        ("checkpoint", 2),
    ]
    assert all("T" in event["timestamp"] for event in events)


def test_a_checkpoint_names_itself_its_parent_and_what_comes_next(driver: Driver) -> None:
    graph = chain(checkpointer=InMemorySaver())
    shown = driver.stream(graph, {"n": 0}, THREAD, stream_mode="checkpoints")
    history = driver.history(graph, THREAD)[::-1]
    for payload, state in zip(shown, history, strict=True):
        assert payload["config"]["configurable"] == {**state.config["configurable"]}
        assert (payload["parent_config"] or None) == state.parent_config
        assert payload["values"] == state.values
        assert payload["next"] == list(state.next)
        assert [entry["name"] for entry in payload["tasks"]] == list(state.next)


def test_a_task_that_failed_is_shown_with_its_error() -> None:
    stored = threading.Event()

    class Watched(InMemorySaver):
        def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            super().put_writes(config, writes, task_id, task_path)
            if any(channel == "log" for channel, _ in writes):
                stored.set()

    def fail(_: Any) -> Any:
        assert stored.wait(30), "the writes of the other node were not stored"
        raise ValueError("no")

    builder = StateGraph(Plain).add_node("a", fail).add_node("b", lambda _: {"log": ["b"]})
    graph = builder.add_edge(START, "a").add_edge(START, "b").compile(checkpointer=Watched())
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"n": 0}, THREAD)
    entries: list[Any] = []
    with pytest.raises(ValueError, match="no"):
        for payload in graph.stream(None, THREAD, stream_mode="checkpoints"):
            entries.append(payload["tasks"])
    failed, fine = entries[0]
    assert (failed["name"], failed["error"], failed["state"]) == ("a", "ValueError('no')", None)
    assert "result" not in failed
    assert (fine["name"], fine["result"], fine["interrupts"]) == ("b", {"log": ["b"]}, ())


def test_a_called_task_is_shown_when_it_begins_and_when_it_ends(driver: Driver) -> None:
    @task
    def double(n: int) -> int:
        return 2 * n

    @entrypoint()
    def work(n: int) -> int:
        return double(n).result() + 1

    @entrypoint()
    async def awork(n: int) -> int:
        return await double(n) + 1

    events = driver.stream(work if driver.name == "sync" else awork, 3, stream_mode="tasks")
    outer = "work" if driver.name == "sync" else "awork"
    assert [(event["name"], "input" in event, event.get("result")) for event in events] == [
        (outer, True, None),
        ("double", True, None),
        ("double", False, {"__return__": 6}),
        (outer, False, {"__end__": 7}),
    ]


# -- options under old names ---------------------------------------------


@pytest.mark.parametrize(("during", "stored"), [(True, 4), (False, 1)])
def test_the_old_name_of_durability_is_understood_with_a_warning(driver: Driver, during: bool, stored: int) -> None:
    graph = chain(checkpointer=InMemorySaver())
    with pytest.warns(LangGraphDeprecatedSinceV10, match="`checkpoint_during` is deprecated") as warned:
        driver.invoke(graph, {"n": 0}, THREAD, checkpoint_during=during)
    if driver.name == "sync":  # of a coroutine, the line that awaits it is asyncio's
        assert warned[0].filename.endswith("conftest.py")
    assert len(driver.history(graph, THREAD)) == stored


def test_the_old_and_the_new_name_of_durability_do_not_go_together(driver: Driver) -> None:
    graph = chain(checkpointer=InMemorySaver())
    with (
        pytest.warns(LangGraphDeprecatedSinceV10),
        pytest.raises(ValueError, match="Cannot use both `checkpoint_during` and `durability`"),
    ):
        driver.invoke(graph, {"n": 0}, THREAD, checkpoint_during=True, durability="sync")


def test_durability_without_a_checkpointer_has_no_effect_and_says_so(driver: Driver) -> None:
    with pytest.warns(UserWarning, match="`durability` has no effect when no checkpointer is present"):
        assert driver.invoke(chain(), {"n": 0}, durability="sync")["n"] == 2


# -- what is asked for ---------------------------------------------------


def test_a_nested_graph_shows_its_values_to_who_calls_it_inside_a_node(driver: Driver) -> None:
    inner, seen = chain(), []

    def call(state: Plain, config: RunnableConfig) -> Any:
        seen.extend(inner.stream({"n": 0}, config))
        return {"n": 3}

    outer = StateGraph(Plain).add_node("call", call).add_edge(START, "call").compile()
    driver.invoke(outer, {"n": 0})
    assert [chunk["n"] for chunk in seen] == [0, 1, 2]
    assert [list(chunk) for chunk in inner.stream({"n": 0})] == [["a"], ["b"]]


def test_only_the_keys_that_were_asked_for_are_shown(driver: Driver) -> None:
    assert driver.invoke(chain(), {"n": 0}, output_keys=["n"]) == {"n": 2}
    assert driver.invoke(chain(), {"n": 0}, output_keys="n") == 2
    assert driver.stream(chain(), {"n": 0}, output_keys="n", stream_mode="values") == [0, 1, 2]
    assert driver.stream(chain(), {"n": 0}, output_keys="n", stream_mode="updates") == [{"a": 1}, {"b": 2}]


def test_a_caller_may_pause_a_graph_where_it_says_so_and_not_where_the_graph_does(driver: Driver) -> None:
    graph = chain(checkpointer=InMemorySaver(), interrupt_before=["b"])
    assert driver.invoke(graph, {"n": 0}, THREAD)["n"] == 1
    other: Any = {"configurable": {"thread_id": "other"}}
    assert driver.invoke(graph, {"n": 0}, other, interrupt_before=["a"])["n"] == 0
    assert driver.get_state(graph, other).next == ("a",)
    assert driver.invoke(graph, None, other, interrupt_after=["a"])["n"] == 1
    assert driver.get_state(graph, other).next == ("b",)


def test_packets_of_a_step_are_shown_as_they_come_and_as_a_list(driver: Driver) -> None:
    builder = StateGraph(Plain).add_node("worker", lambda n: {"log": [str(n)]})
    graph = builder.add_conditional_edges(START, lambda _: [Send("worker", 1), Send("worker", 2)], ["worker"]).compile()
    updates = driver.stream(graph, {"n": 0}, stream_mode="updates")
    assert sorted(chunk["worker"]["log"][0] for chunk in updates) == ["1", "2"]
    assert driver.invoke(graph, {"n": 0})["log"] == ["1", "2"]
    assert END not in graph.nodes
    assert asyncio.run(graph.ainvoke({"n": 0}))["log"] == ["1", "2"]
