"""Tasks and checkpoints looked at from outside, as servers and adapters do."""

import operator

import pytest

from stategraph.constants import ERROR, INTERRUPT, MISSING, NULL_TASK_ID, RESUME, RETURN, TAG_HIDDEN
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.last_value import LastValue
from stategraph.engine.compile.managed import RemainingStepsManager
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.interop import inspection
from stategraph.types import Interrupt, PregelExecutableTask, interrupt_id

ASKED = Interrupt(value="really?", id="i1")


def make_task(name="node", *, config=None, subgraphs=(), id="t1"):
    return PregelExecutableTask(
        name=name,
        input={"a": 1},
        proc=None,
        writes=[],
        config={} if config is None else config,
        triggers=["go"],
        retry_policy=(),
        cache_key=None,
        id=id,
        path=("__pregel_pull", name),
        writers=(),
        subgraphs=subgraphs,
    )


def make_channels():
    last = LastValue(str, "word")
    last.update(["old"])
    total = BinaryOperatorAggregate(int, operator.add)
    total.update([1])
    return {"word": last, "total": total, "empty": LastValue(str, "empty")}


def make_scratchpad(**changes):
    arguments = {
        "parent_scratchpad": None,
        "pending_writes": [],
        "task_id": "t1",
        "task_checkpoint_ns": "node:t1",
        "resume_map": None,
        "step": 3,
        "stop": 10,
    }
    return inspection.scratchpad_of(**{**arguments, **changes})


def test_a_task_is_described_with_what_users_put_into_its_config():
    config = {"tags": ["mine", "seq:step:1"], "metadata": {"team": "x", "langgraph_node": "node", "thread_id": "1"}}
    (payload,) = inspection.map_debug_tasks([make_task(config=config)])
    assert payload == {
        "id": "t1",
        "name": "node",
        "input": {"a": 1},
        "triggers": ["go"],
        "metadata": {"team": "x", "tags": ["mine"]},
    }


def test_a_hidden_task_is_not_described_and_a_plain_one_has_no_metadata():
    tasks = [make_task(config={"tags": [TAG_HIDDEN]}), make_task("plain")]
    assert [("metadata" in p, p["name"]) for p in inspection.map_debug_tasks(tasks)] == [(False, "plain")]


@pytest.mark.parametrize(
    ("writes", "keys", "expected"),
    [
        ([("a", 1), ("b", 2)], ["a"], {"error": None, "result": {"a": 1}, "interrupts": []}),
        ([("a", 1), ("a", 2)], "a", {"error": None, "result": {"a": {"$writes": [1, 2]}}, "interrupts": []}),
        ([(RETURN, 5)], "a", {"error": None, "result": {RETURN: 5}, "interrupts": []}),
        ([(ERROR, "bad")], "a", {"error": "bad", "result": {}, "interrupts": []}),
        (
            [(INTERRUPT, (ASKED,))],
            "a",
            {"error": None, "result": {}, "interrupts": [{"value": "really?", "id": "i1"}]},
        ),
    ],
)
def test_a_result_is_described_by_the_channels_that_are_shown(writes, keys, expected):
    (payload,) = inspection.map_debug_task_results((make_task(), writes), keys)
    payload["interrupts"] = [{key: one[key] for key in ("value", "id")} for one in payload["interrupts"]]
    assert payload == {"id": "t1", "name": "node", **expected}


def test_a_checkpoint_is_described_with_the_tasks_that_come_next():
    config = {"configurable": {"thread_id": "7", "checkpoint_ns": "outer:o", "__pregel_read": 1}}
    tasks = [
        make_task("done"),
        make_task("failed", id="t2"),
        make_task("asking", id="t3", subgraphs=["graph"]),
        make_task("next", id="t4"),
    ]
    pending = [("t1", "word", "new"), ("t2", ERROR, "bad"), ("t3", INTERRUPT, [ASKED]), (NULL_TASK_ID, RESUME, 1)]
    (payload,) = inspection.map_debug_checkpoint(
        config, make_channels(), ["word", "empty"], {"step": 1}, tasks, pending, None, ["word"]
    )
    nested = {"configurable": {"thread_id": "7", "checkpoint_ns": "outer:o|asking:t3"}}
    rows = payload.pop("tasks")
    assert payload == {
        "config": {"configurable": {"thread_id": "7", "checkpoint_ns": "outer:o"}},
        "parent_config": None,
        "values": {"word": "old"},
        "metadata": {"step": 1},
        "next": ["done", "failed", "asking", "next"],
    }
    assert rows[0] == {"id": "t1", "name": "done", "result": {"word": "new"}, "interrupts": (), "state": None}
    assert rows[1] == {"id": "t2", "name": "failed", "error": "bad", "state": None}
    assert (rows[2]["state"], [one["id"] for one in rows[2]["interrupts"]]) == (nested, ["i1"])
    assert rows[3] == {"id": "t4", "name": "next", "interrupts": (), "state": None}


def test_a_task_that_answered_shows_its_interrupt_as_history_only():
    pending = [("t1", INTERRUPT, [ASKED]), ("t1", RESUME, ["yes"]), ("t1", "word", "new")]
    for live, interrupts in ((False, (ASKED,)), (True, ())):
        (task,) = inspection.tasks_w_writes([make_task()], pending, None, "word", live=live)
        assert (task.interrupts, task.result) == (interrupts, "new")
    (task,) = inspection.tasks_w_writes([make_task()], [("t1", RETURN, None)], None, "word")
    assert task.result is None


def test_the_engines_own_keys_are_not_shown():
    assert inspection.rm_pregel_keys(None) is None
    config = {"configurable": {"__pregel_x": 1, "mine": 2}, "tags": ["x"]}
    assert inspection.rm_pregel_keys(config) == {"configurable": {"mine": 2}}


@pytest.mark.parametrize(
    ("value", "expected"), [({"$writes": [1]}, True), ({"$writes": 1}, False), ({}, False), ([1], False), (None, False)]
)
def test_several_writes_are_told_from_one(value, expected):
    assert inspection.is_multiple_channel_write(value) is expected


def test_text_is_painted():
    assert inspection.get_bolded_text("x") == "\033[1mx\033[0m"
    assert inspection.get_colored_text("x", "blue") == "\033[1;30;34mx\033[0m"
    assert inspection.get_colored_text("x", "gray") == "\033[1;31;30mx\033[0m"
    with pytest.raises(KeyError):
        inspection.get_colored_text("x", "octarine")


def test_a_task_reads_the_state_with_its_own_writes_when_it_asks_for_them():
    channels = make_channels()
    writes = inspection.PregelTaskWrites((), "node", [("word", "new"), ("total", 5), ("other", 1)], ())
    managed = {"left": RemainingStepsManager}

    def read(select, fresh):
        return inspection.local_read(make_scratchpad(), channels, managed, writes, select, fresh)

    assert read("word", False) == "old"
    assert read("word", True) == "new"
    assert read("empty", True) is None
    assert read(["word", "total", "empty", "left"], True) == {"word": "new", "total": 6, "left": 7}
    assert read(["word", "total"], False) == {"word": "old", "total": 1}
    assert channels["total"].get() == 1


def test_a_node_gets_what_its_channels_hold():
    def read(names, mapper=None, for_execution=True, cache=None):
        node = PregelNode(channels=names, triggers=["go"], mapper=mapper)
        return inspection.proc_input(
            node,
            {"left": RemainingStepsManager},
            make_channels(),
            for_execution=for_execution,
            scratchpad=make_scratchpad(),
            input_cache=cache,
        )

    assert read(["word", "empty", "left"]) == {"word": "old", "left": 7}
    assert read("word") == "old"
    assert read("empty") is MISSING
    assert read("unknown") is MISSING
    assert read("word", str.upper) == "OLD"
    assert read("word", str.upper, for_execution=False) == "old"
    cache = {}
    first, second = read(["word"], cache=cache), read(["word"], cache=cache)
    assert first == second
    assert first is not second
    assert len(cache) == 1


def test_a_task_that_starts_knows_its_answers():
    first, second = interrupt_id("node:t1", 0), interrupt_id("node:t1", 1)
    answered = [("t1", RESUME, ["one"])]
    assert make_scratchpad().resume == []
    assert make_scratchpad(pending_writes=answered).resume == ["one"]
    assert make_scratchpad(pending_writes=[("t1", RESUME, "one")]).resume == ["one"]
    assert make_scratchpad(pending_writes=answered, resume_map={second: "two"}).resume == ["one", "two"]
    assert make_scratchpad(pending_writes=[("t1", RESUME, ["one"])], resume_map={first: "two"}).resume == ["one", "two"]
    assert make_scratchpad(pending_writes=[("x", RESUME, ["one"])], resume_map={first: "two"}).resume == ["two"]
    assert make_scratchpad(resume_map={first: "two"}).resume == []


def test_an_answer_to_no_interrupt_in_particular_is_taken_once():
    pending = [(NULL_TASK_ID, RESUME, "yes")]
    outer = make_scratchpad(pending_writes=pending)
    inner = make_scratchpad(parent_scratchpad=outer)
    assert make_scratchpad().get_null_resume(True) is None
    assert [outer.get_null_resume(), outer.get_null_resume(), inner.get_null_resume()] == ["yes"] * 3
    assert [inner.get_null_resume(False), inner.get_null_resume(True), inner.get_null_resume(True)] == [
        "yes",
        "yes",
        None,
    ]
    assert pending == []


def test_a_task_counts_from_nothing():
    pad = make_scratchpad()
    assert (pad.step, pad.stop) == (3, 10)
    for counter in (pad.call_counter, pad.interrupt_counter, pad.subgraph_counter):
        assert [counter(), counter()] == [0, 1]
