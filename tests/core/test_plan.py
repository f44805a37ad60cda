"""Planning by itself: which tasks come next, and what each is made of."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

from stategraph.constants import INTERRUPT, NULL_TASK_ID, PULL, PUSH, RESUME, TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels import BinaryOperatorAggregate, EphemeralValue, LastValue, Topic
from stategraph.core.plan import Planner, in_order
from stategraph.core.program import Node, Program, build
from stategraph.core.state import State
from stategraph.core.state.versioning import count_up
from stategraph.core.task import Call, IdMaker, Task
from stategraph.core.views import Keys
from stategraph.errors import NodeError
from stategraph.types import Interrupt, Send, interrupt_id

ID = "00000001-0000-6000-8000-000000000000"
READS = Keys(("x",))


def program(mapper: Callable[[Any], Any] | None = None, runs: bool = True) -> Program:
    """Two nodes that one channel starts, one more with a channel of its own, and one that only packets start."""
    channels: dict[str, Any] = {
        "both": EphemeralValue(Any, guard=False),
        "alone": EphemeralValue(Any, guard=False),
        "x": LastValue(Any),
        "bare": LastValue(Any),
        TASKS: Topic(Send),
    }
    for name, channel in channels.items():
        channel.key = name
    started_by = {"b": ("both",), "a": ("both",), "c": ("alone",), "worker": ()}
    body = {
        name: Node(name, triggers, READS, mapper, (), runs, None, False, f"how to run {name}")
        for name, triggers in started_by.items()
    }
    body["d"] = Node("d", ("bare",), "bare", mapper, (), runs, None, False, None)
    return build(body, channels, {}, ["x"])


def planner(of: Program, *, ns: str = "", counts: bool = False, writes: Any = (), **about: Any) -> Planner:
    state = State(of, checkpoints.empty(ID, "now"), count_up, stored=True)
    state.apply((), [("x", {"deep": 1}), *writes])
    made = Planner(state, IdMaker(ID, 4, counts=counts), ns, None, {}, None, 3, 7)
    for name, value in about.items():
        setattr(made, name, value)
    return made


def names(tasks: list[Task]) -> list[str]:
    return [task.name for task in tasks]


# -- which ---------------------------------------------------------------


def test_packets_go_first_in_their_order_and_then_nodes_by_name() -> None:
    made = planner(program(), writes=[("both", None), (TASKS, Send("worker", 2)), (TASKS, Send("c", 1))])
    tasks = made.next_tasks(["both", TASKS], fresh=True)
    assert [(task.name, task.path[0]) for task in tasks] == [("worker", PUSH), ("c", PUSH), ("a", PULL), ("b", PULL)]
    assert names(made.next_tasks(None)) == ["worker", "c", "b", "a"]


def test_of_a_step_whose_changes_are_known_only_the_nodes_that_they_start_are_planned() -> None:
    made = planner(program(), writes=[("both", None), ("alone", None)])
    assert names(made.next_tasks(["alone"], fresh=True)) == ["c"]
    assert names(made.next_tasks(["alone"])) == ["c"]
    assert names(made.next_tasks(None)) == ["b", "a", "c"]
    assert names(made.next_tasks(["x"], fresh=True)) == []
    assert names(made.next_tasks([], fresh=True)) == []
    assert names(made.next_tasks([])) == ["b", "a", "c"]


def test_a_step_that_several_channels_start_has_each_node_once() -> None:
    made = planner(program(), writes=[("both", None), ("alone", None), ("bare", 1)])
    assert names(made.next_tasks(["bare", "x", "both", "alone"], fresh=True)) == ["a", "b", "c", "d"]
    of = program()
    nodes = {**of.nodes, "c": Node("c", ("alone", "both"), READS, None, (), True, None, False, None)}
    made = planner(build(nodes, of.specs, {}, ["x"]), writes=[("both", None), ("alone", None)])
    assert names(made.next_tasks(["alone", "both"], fresh=True)) == ["a", "b", "c"]


def test_packets_are_looked_for_unless_a_step_was_just_applied_that_sent_none() -> None:
    made = planner(program(), writes=[("alone", None), (TASKS, Send("worker", 1))])
    assert names(made.next_tasks(["alone"])) == ["worker", "c"]
    assert names(made.next_tasks(["alone"], fresh=True)) == ["c"]
    (task,) = made.next_tasks(["alone"], fresh=True)
    task.writes.append(("alone", None))
    made.state.apply([task])
    assert names(made.next_tasks(None)) == ["c"]


def test_packets_that_were_stored_are_planned() -> None:
    checkpoint = checkpoints.empty(ID, "now") | {
        "channel_values": {TASKS: [Send("worker", 1)]},
        "channel_versions": {TASKS: 1},
    }
    state = State(program(), checkpoint, count_up, stored=True)  # type: ignore[arg-type]
    (task,) = Planner(state, IdMaker(ID, 4), "", None, {}, None, 0, 9).next_tasks(None)
    assert (task.name, task.input) == ("worker", 1)


def test_packets_of_a_thread_whose_graph_takes_none_any_more_are_left_out() -> None:
    of = program()
    specs = {name: channel for name, channel in of.specs.items() if name != TASKS}
    checkpoint = checkpoints.empty(ID, "now") | {
        "channel_values": {TASKS: [Send("c", 1)], "alone": None},
        "channel_versions": {TASKS: 1, "alone": 1},
    }
    state = State(build(of.nodes, specs, {}, ["x"]), checkpoint, count_up, stored=True)  # type: ignore[arg-type]
    assert names(Planner(state, IdMaker(ID, 4), "", None, {}, None, 0, 9).next_tasks(None)) == ["c"]


def test_a_node_whose_channel_has_a_value_from_the_beginning_runs_once_when_nothing_changes() -> None:
    of = program()
    specs = {**of.specs, "log": BinaryOperatorAggregate(list, operator.add)}
    nodes = {**of.nodes, "due": Node("due", ("log",), READS, None, (), True, None, False, None)}
    made = planner(build(nodes, specs, {}, ["x"]), writes=[("alone", None)])
    assert names(made.next_tasks(["alone"], fresh=True)) == ["c"]
    (due,) = made.next_tasks([], fresh=True)
    assert due.name == "due"
    made.state.apply([due])
    assert made.next_tasks([], fresh=True) == []


def test_a_node_that_has_seen_what_changed_is_not_planned_unless_the_step_was_just_applied() -> None:
    made = planner(program(), writes=[("alone", None)])
    made.state.versioning.note_run("c", ("alone",))
    assert names(made.next_tasks(["alone"])) == []
    assert names(made.next_tasks(["alone"], fresh=True)) == ["c"]


def test_on_a_thread_without_a_history_nothing_is_planned_of_itself() -> None:
    state = State(program(), checkpoints.empty(ID, "now"), count_up, stored=True)
    assert Planner(state, IdMaker(ID, 4), "", None, {}, None, 0, 9).next_tasks(None) == []


def test_nodes_that_run_nothing_and_nodes_without_input_are_not_planned() -> None:
    made = planner(program(runs=False), writes=[("both", None), (TASKS, Send("worker", 1))])
    assert made.next_tasks(None) == []
    assert made.handler(Task("t", "a", None, (PULL, "a"), (), "a:t", 3, 7), made.state.program.nodes["a"], None) is None  # type: ignore[arg-type]
    made = planner(program())
    assert names(made.next_tasks(["bare"], fresh=True)) == []
    assert made.single(["bare"], 3) is None


@pytest.mark.parametrize(
    ("updated", "planned"),
    [
        (["alone"], "c"),
        (["x", "alone"], "c"),
        (["both"], None),
        (["x"], None),
        (["alone", "bare"], None),
        (["bare", "alone"], None),
        ([TASKS], None),
        ([], None),
    ],
)
def test_the_short_way_plans_the_only_node_of_a_step(updated: list[str], planned: str | None) -> None:
    made = planner(program(), writes=[("both", None), ("alone", None), ("bare", 1)])
    task = made.single(updated, 4)
    assert (task and task.name) == planned
    if task is not None:
        assert (task.step, task.input, list(task.writes)) == (4, {"x": {"deep": 1}}, [])


# -- what a task is made of ----------------------------------------------


@pytest.mark.parametrize("ns", ["", "outer:1"])
@pytest.mark.parametrize("short", [True, False], ids=["by the short way", "by the long way"])
def test_a_task_of_a_node_knows_where_it_runs(ns: str, short: bool) -> None:
    parent = Task("p", "outer", None, (PULL, "outer"), (), ns, 0, 1)
    for outer in (None, parent):
        made = planner(program(), ns=ns, writes=[("alone", None)], parent=outer, renames=True)
        task = made.single(["alone"], 3) if short else made.next_tasks(["alone"], fresh=True)[0]
        assert task is not None
        below = f"{ns}|c" if ns else "c"
        assert task.id == IdMaker(ID, 4).make(f"{below}3c{PULL}alone")
        assert task.ns == f"{below}:{task.id}"
        assert (task.name, task.path, list(task.triggers)) == ("c", (PULL, "c"), ["alone"])
        assert (task.parent_ns, task.step, task.stop) == (ns, 3, 7)
        assert (task.node, task.body) == (made.state.program.nodes["c"], "how to run c")
        assert (task.parent, task.renamed) == (outer, outer is not None)
        # What a step restores is added to it, but for the short way, where nothing was recorded.
        assert task.writes == (() if short else [])
        assert (task.call, task.config, task.fresh, task.timeout, task.resume) == (None, None, None, None, [])
        assert task.input == {"x": {"deep": 1}}


@pytest.mark.parametrize("ns", ["", "outer:1"])
def test_a_task_of_a_packet_has_what_was_sent_to_it(ns: str) -> None:
    parent = Task("p", "outer", None, (PULL, "outer"), (), ns, 0, 1)
    sent = [(TASKS, Send("worker", 1)), (TASKS, Send("worker", {"y": 2}, timeout=2.5))]
    made = planner(program(), ns=ns, writes=sent, parent=parent, renames=True)
    _, task = made.next_tasks([TASKS], fresh=True)
    below = f"{ns}|worker" if ns else "worker"
    assert task.id == IdMaker(ID, 4).make(f"{below}3worker{PUSH}1")
    assert task.ns == f"{below}:{task.id}"
    assert (task.name, task.path, list(task.triggers)) == ("worker", (PUSH, 1, False), [PUSH])
    assert (task.parent_ns, task.step, task.stop) == (ns, 3, 7)
    assert task.body == "how to run worker"
    assert (task.parent, task.renamed) == (parent, True)
    assert task.input == {"y": 2}
    assert task.timeout is not None
    assert task.was_sent


def test_a_task_of_a_called_function_belongs_to_its_caller() -> None:
    made = planner(program(), writes=[("alone", None)])
    (caller,) = made.next_tasks(["alone"], fresh=True)
    call = Call(print, ((1,), {"two": 2}), None, None, None, 3.5, "print", "how to run it")
    task = made.called(caller, 1, call)
    below = f"{caller.ns}|print"
    assert task.id == IdMaker(ID, 4).make(f"{below}3print{PUSH}~{PULL}, c1")
    assert task.ns == f"{below}:{task.id}"
    assert (task.name, task.path, list(task.triggers)) == ("print", (PUSH, (PULL, "c"), 1, True), [PUSH])
    assert (task.parent, task.parent_ns, task.step, task.stop) == (caller, caller.ns, 3, 7)
    assert (task.call, task.body, task.input, task.timeout) == (call, "how to run it", ((1,), {"two": 2}), 3.5)
    assert task.is_call
    assert not task.was_sent
    assert not task.renamed


def test_a_task_that_handles_a_failure_begins_with_the_input_of_the_failed_one() -> None:
    made = planner(program(), writes=[("alone", None)])
    (failed,) = made.next_tasks(["alone"], fresh=True)
    error = NodeError(node="c", error=ValueError("no"))
    task = made.handler(failed, made.state.program.nodes["worker"], error)
    assert task is not None
    below = f"{failed.ns}|worker"
    assert task.id == IdMaker(ID, 4).make(f"{below}3worker{PUSH}node_error_handler{failed.id}")
    assert task.ns == f"{below}:{task.id}"
    assert (task.name, task.path) == ("worker", (PULL, "c", "node_error_handler", False))
    assert (task.parent, task.parent_ns, task.timeout) == (failed, failed.ns, None)
    assert (task.input, task.error) == (failed.input, error)
    failed.path = (PUSH, 4, False)
    of_packet = made.handler(failed, made.state.program.nodes["worker"], error)
    assert of_packet is not None
    assert of_packet.path == (PUSH, 4, False, "node_error_handler", False)
    of_handler = made.handler(task, made.state.program.nodes["worker"], error)
    assert of_handler is not None
    assert of_handler.path == (PULL, "c", "node_error_handler", "node_error_handler", False)


def test_the_ids_of_tasks_of_a_run_that_stores_nothing_are_numbers_of_one_length() -> None:
    made = planner(program(), counts=True, writes=[("both", None), (TASKS, Send("worker", 1))])
    ids = [task.id for task in made.next_tasks(["both", TASKS], fresh=True)]
    numbers = [int(task_id.removeprefix(ID[:24])) for task_id in ids]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    assert [len(task_id) for task_id in ids] == [len(ID)] * 3


def test_nodes_of_a_step_that_read_the_same_get_a_shallow_copy_each_of_what_was_read_once() -> None:
    made: list[Any] = []

    def mapper(values: dict[str, Any]) -> dict[str, Any]:
        made.append(values)
        return {"mapped": values["x"]}

    of = planner(program(mapper), writes=[("both", None), ("bare", {})])
    a, b = of.next_tasks(["both"], fresh=True)
    assert len(made) == 1
    assert a.input == b.input == {"mapped": {"deep": 1}}
    assert a.input is not b.input
    assert a.input["mapped"] is b.input["mapped"]
    # The next step reads again.
    of.next_tasks(["both"], fresh=True)
    assert len(made) == 2


# -- what was recorded for it --------------------------------------------


def test_a_task_that_is_planned_again_gets_its_answers() -> None:
    question = interrupt_id("elsewhere", 0)
    meant = frozenset((question,))
    fresh = planner(program(), writes=[("alone", None), (TASKS, Send("worker", 1))])
    packet, node = fresh.next_tasks(["alone", TASKS], fresh=True)
    pending: Any = {
        node.id: [(INTERRUPT, [Interrupt("?", id=question)]), (RESUME, ["node"])],
        packet.id: [(RESUME, ["packet"])],
        NULL_TASK_ID: [(RESUME, "anyone's")],
    }
    answers = {interrupt_id(node.ns, 1): "second"}
    fresh.pending, fresh.resume_map, fresh.null_resume_for = pending, answers, meant
    packet, node = fresh.next_tasks(["alone", TASKS], fresh=True)
    assert (packet.resume, node.resume) == (["packet"], ["node", "second"])
    for task in (packet, node):
        assert (task.pending, task.null_resume_for) == (pending, meant)
        assert task.null_resume == (RESUME, "anyone's")


# -- the order in which their writes are applied -------------------------


def test_tasks_are_applied_by_name_and_then_packets_as_they_were_sent() -> None:
    made = planner(
        program(), writes=[("both", None), *((TASKS, Send("worker", number)) for number in range(11))]
    ).next_tasks(None)
    ordered = in_order(tuple(made))
    assert names(list(ordered)) == ["a", "b", *["worker"] * 11]
    assert [task.input for task in ordered[2:]] == list(range(11))
    assert in_order(tuple(made[:1])) == (made[0],)
    assert list(in_order(tuple(reversed(made[-2:])))) == sorted(made[-2:], key=lambda task: task.name)


def test_the_writes_of_called_functions_go_last_in_the_order_of_the_calls() -> None:
    made = planner(program(), writes=[("alone", None), (TASKS, Send("worker", 1))])
    packet, node = made.next_tasks(["alone", TASKS], fresh=True)
    call = Call(print, ((), {}), None, None, None, None, "print", None)
    tenth, second = made.called(node, 10, call), made.called(node, 2, call)
    assert list(in_order((packet, node, tenth, second))) == [node, packet, second, tenth]
