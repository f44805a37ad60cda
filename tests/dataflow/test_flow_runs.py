"""What a run without a barrier does, feature by feature, sync and async."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.messages import AIMessage, RemoveMessage
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import (
    END,
    START,
    Command,
    DeltaChannel,
    GraphRecursionError,
    InvalidUpdateError,
    MessagesState,
    NodeError,
    Overwrite,
    RunControl,
    Send,
    StateGraph,
    interrupt,
)
from stategraph.errors import ConfigurationError, GraphDrained
from stategraph.graph.edges.flows import JoinWarning
from stategraph.scheduling import settle
from stategraph.types import CachePolicy, RetryPolicy
from tests.conftest import Driver

DEADLINE_S = 60
THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    key: str


def extended(value: list[str], updates: Any) -> list[str]:
    return [*value, *(item for update in updates for item in update)]


class Deltas(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(extended, list)]


def extend(left: list[str], right: list[str]) -> list[str]:
    left.extend(right)
    return left


class InPlace(TypedDict, total=False):
    log: Annotated[list[str], extend]


Node = Callable[[State], Any]


def says(name: str) -> Node:
    return lambda state: {"log": [name]}


def waits(name: str, event: threading.Event) -> Node:
    def node(state: State) -> Any:
        assert event.wait(DEADLINE_S), f"{name} was held up"
        return {"log": [name]}

    return node


def sets(name: str, event: threading.Event) -> Node:
    def node(state: State) -> Any:
        event.set()
        return {"log": [name]}

    return node


def branches(**nodes: Node) -> StateGraph[State]:
    """A slow node beside a chain a, b, c; `join` behind both."""
    graph = StateGraph(State)
    for name in ("slow", "a", "b", "c", "join"):
        graph.add_node(name, nodes.get(name, says(name)))
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    return graph.add_edge("slow", "join").add_edge("c", "join")


def compiled(graph: StateGraph[Any], **options: Any) -> Any:
    return graph.compile(scheduling="dataflow", **options)


ALL = ["a", "slow", "b", "c", "join"]


def test_a_slow_node_holds_up_nobody_and_the_order_is_that_of_supersteps(driver: Driver) -> None:
    done = threading.Event()
    graph = compiled(branches(slow=waits("slow", done), c=sets("c", done)))
    assert driver.invoke(graph, {"log": []})["log"] == ALL


def test_a_node_sees_what_led_to_it_and_nothing_else(driver: Driver) -> None:
    seen = {}
    slow_is_done = threading.Event()

    def look(name: str) -> Node:
        def node(state: State) -> Any:
            if name == "b":
                assert slow_is_done.wait(DEADLINE_S)
            seen[name] = state["log"]
            return {"log": [name]}

        return node

    nodes = {name: look(name) for name in ("a", "b", "c", "join")}
    driver.invoke(compiled(branches(**nodes, slow=sets("slow", slow_is_done))), {"log": ["in"]})
    assert seen == {"a": ["in"], "b": ["in", "a"], "c": ["in", "a", "b"], "join": ["in", *ALL[:-1]]}


def test_a_copy_of_a_graph_has_its_scheduling_and_its_policies(driver: Driver) -> None:
    done = threading.Event()
    graph = compiled(branches(slow=waits("slow", done), c=sets("c", done)))
    for copied in (graph.copy(), graph.with_config(tags=["x"]), graph.copy({"checkpointer": InMemorySaver()})):
        done.clear()
        assert driver.invoke(copied, {"log": []}, THREAD)["log"] == ALL

    def fail(state: State) -> Any:
        raise ValueError("one")

    race = StateGraph(State).add_node("a", says("a")).add_node("b", fail)
    race.add_edge(START, ["a", "b"], policy=settle(at_least=1))
    assert driver.invoke(race.compile().with_config(tags=["x"]), {"log": []})["log"] == ["a"]


# -- streams ----------------------------------------------------------------------


def test_updates_come_as_nodes_end_and_values_are_what_has_ended(driver: Driver) -> None:
    done = threading.Event()
    graph = compiled(branches(slow=waits("slow", done), c=sets("c", done)))
    modes = ["updates", "values"]
    chunks = driver.stream(graph, {"log": []}, stream_mode=modes)
    assert [next(iter(part)) for mode, part in chunks if mode == "updates"] == ["a", "b", "c", "slow", "join"]
    values = [part["log"] for mode, part in chunks if mode == "values"]
    assert values == [[], ["a"], ["a", "b"], ["a", "b", "c"], ["a", "slow", "b", "c"], ALL]


def test_tasks_and_checkpoints_are_told(driver: Driver) -> None:
    done = threading.Event()
    graph = compiled(branches(slow=waits("slow", done), c=sets("c", done)), checkpointer=InMemorySaver())
    chunks = driver.stream(graph, {"log": []}, THREAD, stream_mode=["tasks", "checkpoints"])
    began = [part["name"] for mode, part in chunks if mode == "tasks" and "input" in part]
    assert sorted(began) == sorted(ALL)
    assert began.index("b") < began.index("join")
    assert [part["next"] for mode, part in chunks if mode == "checkpoints"] == [
        ["__start__"],
        ["a", "slow"],
        ["join"],
        [],
    ]


# -- questions and breakpoints -------------------------------------------------------


def test_what_does_not_depend_on_an_answer_goes_on_and_is_not_repeated(driver: Driver) -> None:
    ran: list[str] = []

    def noted(name: str) -> Node:
        return lambda state: ran.append(name) or {"log": [name]}

    nodes = {name: noted(name) for name in ("a", "b", "c", "join")}

    def ask(state: State) -> Any:
        return {"log": [f"{interrupt('ok?')} of {len(state['log'])}"]}

    graph = compiled(branches(slow=ask, **nodes), checkpointer=InMemorySaver())
    result = driver.invoke(graph, {"log": []}, THREAD)
    assert result["log"] == ["a", "b", "c"]
    (question,) = result["__interrupt__"]
    state = driver.get_state(graph, THREAD)
    assert (state.next, state.values["log"], [i.id for i in state.interrupts]) == (
        ("slow",),
        ["a", "b", "c"],
        [question.id],
    )
    assert driver.invoke(graph, Command(resume={question.id: "yes"}), THREAD)["log"] == ["a", "yes of 0", *ALL[2:]]
    assert ran == ["a", "b", "c", "join"]


def test_a_question_inside_a_branch_has_the_same_id_afterwards(driver: Driver) -> None:
    def ask(state: State) -> Any:
        return {"log": [interrupt("first") + interrupt("second")]}

    done = threading.Event()
    graph = compiled(branches(c=ask, slow=says("slow")), checkpointer=InMemorySaver())
    first = driver.invoke(graph, {"log": []}, THREAD)["__interrupt__"][0]
    again = driver.invoke(graph, None, THREAD)["__interrupt__"][0]
    assert first == again
    second = driver.invoke(graph, Command(resume="1"), THREAD)["__interrupt__"][0]
    assert second.value == "second"
    assert driver.invoke(graph, Command(resume="2"), THREAD)["log"] == ["a", "slow", "b", "12", "join"]
    assert not done.is_set()


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_in_a_branch_stops_that_branch_once(driver: Driver, where: str) -> None:
    ran: list[str] = []
    nodes = {name: (lambda state, name=name: ran.append(name) or {"log": [name]}) for name in ALL}
    node = "b" if where == "interrupt_before" else "a"
    graph = compiled(branches(**nodes), checkpointer=InMemorySaver(), **{where: [node]})
    driver.invoke(graph, {"log": []}, THREAD)
    assert sorted(ran) == ["a", "slow"]
    assert driver.get_state(graph, THREAD).next == ("b",)
    assert driver.invoke(graph, None, THREAD)["log"] == ALL
    assert sorted(ran) == sorted(ALL)


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
def test_breakpoints_of_a_chain_are_those_of_supersteps(driver: Driver, where: str) -> None:
    graph = StateGraph(State).add_sequence([("a", says("a")), ("b", says("b"))]).add_edge(START, "a")
    both = [graph.compile(InMemorySaver(), scheduling=each, **{where: "*"}) for each in ("barrier", "dataflow")]  # type: ignore[arg-type]
    stories = []
    for each in both:
        story: list[Any] = [driver.invoke(each, {"log": []}, THREAD)]
        while driver.get_state(each, THREAD).next:
            story += [driver.get_state(each, THREAD).next, driver.invoke(each, None, THREAD)]
        stories.append(story)
    assert stories[0] == stories[1]


# -- ways to go on ---------------------------------------------------------------------


def test_packets_begin_at_once_and_what_is_behind_them_once(driver: Driver) -> None:
    mapped = threading.Event()
    graph = StateGraph(State).add_node("slow", waits("slow", mapped)).add_node("plan", says("plan"))
    graph.add_node("map", lambda state: {"log": [f"map {state['key']}"]}).add_node("reduce", sets("reduce", mapped))
    graph.add_edge(START, "slow").add_edge(START, "plan").add_edge("map", "reduce")
    graph.add_conditional_edges("plan", lambda state: [Send("map", {"key": key}) for key in "xyz"], ["map"])
    result = driver.invoke(compiled(graph), {"log": []})
    assert result["log"] == ["plan", "slow", "map x", "map y", "map z", "reduce"]


def test_commands_go_where_they_say(driver: Driver) -> None:
    def route(state: State) -> Command[Literal["c"]]:
        return Command(update={"log": ["b"]}, goto="c")

    done = threading.Event()
    graph = StateGraph(State).add_node("slow", waits("slow", done)).add_node("a", says("a")).add_node("b", route)
    graph.add_node("c", sets("c", done)).add_node("join", says("join"))
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b").add_edge("c", "join").add_edge("slow", "join")
    assert driver.invoke(compiled(graph), {"log": []})["log"] == ALL


def test_a_deferred_node_waits_for_everything_also_for_packets(driver: Driver) -> None:
    graph = StateGraph(State).add_node("a", says("a")).add_node("map", says("map"))
    graph.add_node("late", lambda state: {"log": [f"late {len(state['log'])}"]}, defer=True)
    graph.add_edge(START, "a").add_edge("a", "late")
    graph.add_conditional_edges("a", lambda state: [Send("map", state)] * 2, ["map"])
    assert driver.invoke(compiled(graph), {"log": []})["log"] == ["a", "map", "map", "late 3"]


def test_a_loop_beside_a_slow_node_counts_its_steps(driver: Driver) -> None:
    done = threading.Event()

    def turn(state: State) -> Any:
        if len(state["log"]) == 9:
            done.set()
        return {"log": ["turn"]}

    graph = (
        StateGraph(State).add_node("slow", waits("slow", done)).add_node("turn", turn).add_node("join", says("join"))
    )
    graph.add_edge(START, "slow").add_edge(START, "turn").add_edge("slow", "join")
    graph.add_conditional_edges("turn", lambda s: "turn" if len(s["log"]) < 10 else "join", ["turn", "join"])
    assert driver.invoke(compiled(graph), {"log": []})["log"] == ["slow", *["turn"] * 10, "join"]
    done.set()
    with pytest.raises(GraphRecursionError):
        driver.invoke(compiled(graph), {"log": []}, {"recursion_limit": 4})


# -- nested graphs -----------------------------------------------------------------------


def test_a_nested_graph_keeps_its_place_while_others_go_on(driver: Driver) -> None:
    ran: list[str] = []

    def ask(state: State) -> Any:
        return {"log": [interrupt("inside?")]}

    inner = StateGraph(State).add_node("one", lambda state: ran.append("one") or {"log": ["one"]}).add_node("two", ask)
    inner.add_edge(START, "one").add_edge("one", "two")
    graph = branches(slow=compiled(inner), a=says("a"))
    outer = compiled(graph, checkpointer=InMemorySaver())
    result = driver.invoke(outer, {"log": []}, THREAD)
    assert result["log"] == ["a", "b", "c"]
    assert [i.value for i in result["__interrupt__"]] == ["inside?"]
    result = driver.invoke(outer, Command(resume="yes"), THREAD)
    assert result["log"] == ["a", "one", "yes", "b", "c", "join"]
    assert ran == ["one"]


def test_a_dataflow_graph_inside_of_supersteps(driver: Driver) -> None:
    done = threading.Event()
    inner = compiled(branches(slow=waits("slow", done), c=sets("c", done)))
    outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile()
    assert driver.invoke(outer, {"log": []})["log"] == ALL


# -- failures ------------------------------------------------------------------------------


def test_a_failure_ends_the_run_and_what_had_ended_does_not_run_again(driver: Driver) -> None:
    ran: list[str] = []
    healthy = False
    b_ended = threading.Event()

    def fail(state: State) -> Any:
        assert b_ended.wait(DEADLINE_S)
        if not healthy:
            raise ValueError("not yet")
        return {"log": ["slow"]}

    def b(state: State) -> Any:
        ran.append("b")
        return {"log": ["b"]}

    def c(state: State) -> Any:
        b_ended.set()
        return {"log": ["c"]}

    graph = compiled(branches(slow=fail, b=b, c=c), checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="not yet"):
        driver.invoke(graph, {"log": []}, THREAD)
    healthy = True
    assert driver.invoke(graph, None, THREAD)["log"] == ALL
    assert ran == ["b"]


def test_retries_and_error_handlers_stand_where_their_node_does(driver: Driver) -> None:
    attempts: list[int] = []
    done = threading.Event()

    def flaky(state: State) -> Any:
        attempts.append(1)
        raise ConnectionError("away")

    def handle(state: State, error: NodeError) -> Any:
        return {"log": [f"{error.node} was handled after {len(attempts)}"]}

    graph = StateGraph(State).add_node("slow", waits("slow", done)).add_node("a", says("a"))
    retry = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3)
    graph.add_node("b", flaky, retry_policy=retry, error_handler=handle).add_node("c", sets("c", done))
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b")
    graph.add_conditional_edges("__error_handler__b", lambda state: "c", ["c"])
    assert driver.invoke(compiled(graph), {"log": []})["log"] == ["a", "slow", "b was handled after 3", "c"]


def test_two_writers_of_one_wave_are_refused_and_a_later_wave_counts(driver: Driver) -> None:
    def both(first: str, second: str) -> StateGraph[State]:
        return branches(**{first: lambda state: {"key": first}, second: lambda state: {"key": second}})

    with pytest.raises(InvalidUpdateError, match="key"):
        driver.invoke(compiled(both("a", "slow")), {"log": []})
    assert driver.invoke(compiled(both("slow", "b")), {"log": []})["key"] == "b"


def test_a_run_that_is_told_to_stop_begins_nothing_more(driver: Driver) -> None:
    control = RunControl()
    graph = branches(b=lambda state: control.request_drain() or {"log": ["b"]}, slow=says("slow"))
    drained = compiled(graph, checkpointer=InMemorySaver())
    with pytest.raises(GraphDrained):
        driver.invoke(drained, {"log": []}, THREAD, control=control)
    assert driver.invoke(drained, None, THREAD)["log"] == ALL


# -- caches, durability, deltas -----------------------------------------------------------------


def test_the_cache_is_asked_for_nodes_that_begin_in_the_middle(driver: Driver) -> None:
    ran: list[str] = []
    graph = StateGraph(State).add_node("slow", says("slow")).add_node("a", says("a"))
    graph.add_node("b", lambda state: ran.append("b") or {"log": ["b"]}, cache_policy=CachePolicy()).add_node(
        "c", says("c")
    )
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    cached = compiled(graph, cache=InMemoryCache())
    for _ in range(2):
        assert driver.invoke(cached, {"log": []})["log"] == ["a", "slow", "b", "c"]
    assert ran == ["b"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_thread_goes_on_turn_by_turn_in_each_durability(driver: Driver, durability: str) -> None:
    graph = compiled(branches(), checkpointer=InMemorySaver())
    for turn in range(3):
        result = driver.invoke(graph, {"log": [f"turn {turn}"]}, THREAD, durability=durability)
    assert result["log"] == [entry for turn in range(3) for entry in (f"turn {turn}", *ALL)]
    assert driver.get_state(graph, THREAD).next == ()


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_delta_channels_come_back_in_order(driver: Driver, durability: str) -> None:
    graph = StateGraph(Deltas)
    for name in ALL:
        graph.add_node(name, lambda state, name=name: {"log": [name]})
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    graph.add_edge("slow", "join").add_edge("c", "join")
    saver = InMemorySaver()
    for _ in range(2):
        result = driver.invoke(compiled(graph, checkpointer=saver), {"log": []}, THREAD, durability=durability)
    assert result["log"] == ALL * 2
    assert driver.get_state(compiled(graph, checkpointer=saver), THREAD).values["log"] == ALL * 2


def test_messages_have_one_id_for_all_who_see_them(driver: Driver) -> None:
    def remove(state: MessagesState) -> Any:
        return {"messages": [RemoveMessage(message.id) for message in state["messages"] if message.content == "b"]}

    graph = StateGraph(MessagesState)
    for name in ("slow", "a", "b"):
        graph.add_node(name, lambda state, name=name: {"messages": [AIMessage(name)]})
    graph.add_node("join", remove)
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b").add_edge("slow", "join").add_edge("b", "join")
    assert [m.content for m in driver.invoke(compiled(graph), {"messages": []})["messages"]] == ["a", "slow"]


def test_a_reducer_that_changes_its_list_in_place_changes_nobody_elses(driver: Driver) -> None:
    graph = StateGraph(InPlace)
    for name in ALL:
        graph.add_node(name, lambda state, name=name: {"log": [name]})
    graph.add_edge(START, "slow").add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    graph.add_edge("slow", "join").add_edge("c", "join")
    assert driver.invoke(compiled(graph), {"log": []})["log"] == ALL


# -- time travel ---------------------------------------------------------------------------------


def test_the_history_has_the_points_where_branches_meet_and_goes_on_from_each(driver: Driver) -> None:
    graph = compiled(branches(), checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    history = list(graph.get_state_history(THREAD))
    assert [(each.values.get("log"), each.next, each.metadata["step"]) for each in history] == [
        (ALL, (), 4),
        (ALL[:-1], ("join",), 3),
        ([], ("a", "slow"), 0),
        ([], ("__start__",), -1),
    ]
    for each in history[1:3]:
        assert driver.invoke(graph, None, each.config)["log"] == ALL
    fork = driver.update_state(graph, history[2].config, {"log": Overwrite(["edited"])}, as_node="slow")
    assert driver.invoke(graph, None, fork)["log"][0] == "edited"


# -- what is refused, and what is warned of ------------------------------------------------------


def test_joins_and_schedulings_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="'barrier' or 'dataflow'"):
        branches().compile(scheduling="bsp")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="all_selected"):
        branches().add_edge(["a", "slow"], "join", join="some")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"needs compile\(scheduling='dataflow'\)"):
        branches().add_edge(["a", "slow"], "join", join="all_selected").compile()
    mixed = branches().add_node("d", says("d"), join="any").add_edge(["a", "slow"], "d")
    with pytest.raises(ConfigurationError, match="join='any'"):
        mixed.compile()
    routed = branches().add_node("d", says("d"), join="all").add_conditional_edges("a", lambda state: "d", ["d"])
    with pytest.raises(ConfigurationError, match="wait for ever"):
        routed.compile()
    with pytest.raises(ConfigurationError, match="a node has one"):
        branches().add_node("d", says("d"), join="all").add_edge(["a", "slow"], "d", join="any")


def test_a_join_that_cannot_open_is_warned_of() -> None:
    graph = branches().add_node("lonely", says("lonely")).add_edge(["a", "lonely"], "join")
    with pytest.warns(JoinWarning, match="nothing leads to 'lonely'"):
        compiled(graph)
    either = StateGraph(State).add_node("a", says("a")).add_node("b", says("b")).add_node("c", says("c"))
    either.add_conditional_edges(START, lambda state: "a", ["a", "b"]).add_edge(["a", "b"], "c")
    with pytest.warns(JoinWarning, match="answers 'a' and 'b' at once"):
        compiled(either)
    open_end = branches().add_conditional_edges("c", lambda state: END)
    with pytest.warns(JoinWarning, match="does not say where it may lead to"):
        compiled(open_end)


def test_any_and_all_on_a_node(driver: Driver) -> None:
    def meeting(join: Any) -> StateGraph[State]:
        graph = StateGraph(State).add_node("a", says("a")).add_node("b", says("b"))
        graph.add_node("c", lambda state: {"log": [f"c of {'+'.join(state['log'])}"]}, join=join)
        return graph.add_edge(START, "a").add_edge(START, "b").add_edge("a", "c").add_edge("b", "c")

    assert driver.invoke(compiled(meeting("any")), {"log": []})["log"] == ["a", "b", "c of a", "c of b"]
    for join in ("all", "all_selected"):
        assert driver.invoke(compiled(meeting(join)), {"log": []})["log"] == ["a", "b", "c of a+b"]
    assert driver.invoke(meeting("all").compile(), {"log": []})["log"] == ["a", "b", "c of a+b"]


def test_a_copy_of_a_graph_has_no_barrier_either() -> None:
    slow_ends = threading.Event()

    def slow(state: State) -> State:
        assert slow_ends.wait(DEADLINE_S)
        return {"log": ["slow"]}

    def behind_fast(state: State) -> State:
        slow_ends.set()
        return {"log": ["behind"]}

    builder = StateGraph(State).add_node("slow", slow).add_node("fast", lambda state: {"log": ["fast"]})
    builder.add_node("behind", behind_fast).add_edge("fast", "behind").add_edge(START, "slow").add_edge(START, "fast")
    graph = builder.compile(scheduling="dataflow").with_config(tags=["copied"])
    assert sorted(graph.invoke({"log": []})["log"]) == ["behind", "fast", "slow"]
