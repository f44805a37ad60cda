"""A difference is known only if it is what its row of the docs says, and nothing else differs."""

from __future__ import annotations

import copy
from typing import Any

from tests.fuzz import known

CASE: dict[str, Any] = {
    "kind": "graph",
    "channels": ["log", "loose", "topics"],
    "sequential": True,
    "async": True,
    "graphs": [{"name": "graph", "nodes": [], "edges": [{"from": ["a", "b"], "to": "c"}], "routers": [{"from": "a"}]}],
    "script": [{"op": "run"}],
}


def many(*items: Any) -> dict[str, Any]:
    return {"!": "tuple", "items": list(items)}


def task(name: str, result: Any, *asked: str, error: str | None = None) -> dict[str, Any]:
    return {"name": name, "result": result, "error": error, "interrupts": many(*map(question, asked))}


def question(text: str) -> dict[str, Any]:
    return {"!": "Interrupt", "value": text, "id": f"<id of {text}>", "response_schema": None}


def report(*tasks: dict[str, Any], found: Any = None, ran: Any = (), writes: Any = (), **values: Any) -> dict[str, Any]:
    snapshot = {
        "!": "StateSnapshot",
        "values": {},
        "config": "<id 0>",
        "next": many(*(each["name"] for each in tasks if each["result"] is None)),
        "tasks": many(*tasks),
        "interrupts": many(*(asked for each in tasks for asked in each["interrupts"]["items"])),
    }
    entry = {"values": values, "versions": {}, "updated": [], "writes": [list(write) for write in writes]}
    return copy.deepcopy(
        {
            "steps": [{"step": "s", "found": found, "ran": [[name, {}] for name in ran]}],
            "state": snapshot,
            "history": [],
            "stored": [{"namespace": "", "checkpoints": [entry]}],
        }
    )


def explained(expected: dict[str, Any], found: dict[str, Any], **changes: Any) -> str | None:
    case = {**CASE, **{name: value for name, value in changes.items() if name in CASE}}
    case["script"] = [{**step, **changes.get("step", {})} for step in case["script"]]
    return known.explain(known.Difference(case, expected, found))


def seen(*names: str) -> dict[str, Any]:
    return {"!": "set", "items": list(names)}


def test_a_join_may_hold_more_on_langgraph_and_nothing_less() -> None:
    more, less = report(**{"join:a+b:c": seen("a", "b")}), report(**{"join:a+b:c": seen("a")})
    assert "a join that waits" in str(explained(more, less))
    assert explained(less, more) is None
    assert explained(report(topics=[1, 2]), report(topics=[1])) is not None
    assert explained(report(topics=[2, 1]), report(topics=[1])) is None
    assert explained(report(log=[1, 2]), report(log=[1])) is None


def test_a_task_may_be_shown_as_finished_if_nothing_but_an_untracked_value_was_there_to_write() -> None:
    theirs, ours = report(task("a", None)), report(task("a", {}), writes=[("__no_writes__", None)])
    assert "untracked values only" in str(explained(theirs, ours))
    assert explained(theirs, ours, channels=["log"]) is None
    assert explained(ours, theirs) is None
    assert explained(theirs, report(task("a", {"log": 1}), writes=[("log", 1)])) is None


def test_untracked_values_may_lie_in_the_saver_of_langgraph_at_exit_alone() -> None:
    theirs, ours = report(writes=[("loose", 1), ("log", 1)]), report(writes=[("log", 1)])
    assert "untracked values" in str(explained(theirs, ours, step={"durability": "exit"}))
    assert explained(theirs, ours, step={"durability": "sync"}) is None
    assert explained(ours, theirs, step={"durability": "exit"}) is None
    assert explained(report(writes=[("loose", 1)]), ours, step={"durability": "exit"}) is None


def test_a_question_may_wait_here_that_langgraph_answered_with_an_answer_to_another_one_and_not_the_other_way() -> None:
    theirs, ours = report(task("a", {"log": 1})), report(task("a", None, "a?"))
    answer = {"op": "answer", "by": "value"}
    assert "an answer that names no interrupt" in str(explained(theirs, ours, step=answer))
    assert explained(ours, theirs, step=answer) is None
    assert explained(theirs, ours, step={"op": "answer", "by": "ids"}) is None


def test_a_question_may_be_listed_twice_and_none_may_be_missing() -> None:
    called = {"tasks": ["job"]}
    twice, once, other = report(task("a", None, "a?", "a?")), report(task("a", None, "a?")), report(task("a", None))

    def told(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
        return known.explain(known.Difference({**CASE, **called}, expected, found))

    assert "interrupts of tasks" in str(told(twice, once))
    assert told(once, other) is None
    assert explained(twice, once) is None


def test_a_node_may_be_asked_again_behind_which_a_router_failed_and_no_other() -> None:
    error = ("__error__", "Boom(route_graph_0 1)")
    theirs = report(task("a", {"log": 1}, error="Boom"), writes=[error, ("log", 1)])
    ours = report(task("a", None, error="Boom"), writes=[error])
    assert "a router fails" in str(explained(theirs, ours))
    assert explained(ours, theirs) is None
    assert explained(report(task("a", {"log": 1}), writes=[("log", 1)]), report(task("a", None))) is None


def test_a_reader_who_leaves_early_has_read_the_same() -> None:
    stop = {"stop": 2, "how": "stream"}
    further, less = report(found=[1, 2], ran=["a", "b"]), report(found=[1, 2], ran=["a"])
    assert "a reader leaves" in str(explained(further, less, step=stop))
    assert "a reader leaves" in str(explained(less, further, step=stop))
    assert explained(further, report(found=[1, 3], ran=["a"]), step=stop) is None
    assert explained(further, report(found=[1, 2], ran=["c"]), step=stop) is None
    assert explained(further, less) is None


def test_values_that_were_applied_before_a_refusal_are_known_at_exit_and_nothing_else() -> None:
    refused = {"raised": "InvalidUpdateError", "message": "At key 'last':"}
    theirs, ours = report(found=refused, log=[1, 2]), report(found=refused, log=[1])
    assert "are refused" in str(explained(theirs, ours, step={"durability": "exit"}))
    assert explained(theirs, ours, step={"durability": "sync"}) is None
    assert explained(report(log=[1, 2]), report(log=[1]), step={"durability": "exit"}) is None
    assert explained(theirs, report(found=refused, writes=[("log", 1)]), step={"durability": "exit"}) is None


def test_packets_to_one_graph_with_a_history_share_it_and_other_tasks_do_not() -> None:
    inner = {"name": "inner", "persist": "own", "nodes": [], "edges": [], "routers": []}
    outer = {"name": "graph", "nodes": [{"name": "a", "graph": "inner"}], "edges": [], "routers": [{"then": ["a"]}]}
    sent = {**outer, "routers": [{"then": [{"send": "a", "payload": {}}]}]}
    one, other = report(log=[1]), report(log=[2])
    assert "checkpointer=True" in str(explained(one, other, graphs=[inner, sent], sequential=False))
    assert explained(one, other, graphs=[inner, outer], sequential=False) is None
    assert explained(one, other, graphs=[inner, sent], sequential=True) is None
    assert explained(one, other, graphs=[{**inner, "persist": "inherit"}, sent], sequential=False) is None


def test_what_is_in_the_cache_need_not_run_again_and_everything_else_has_to() -> None:
    def told(expected: dict[str, Any], found: dict[str, Any], **case: Any) -> str | None:
        return known.explain(known.Difference({**CASE, **case}, expected, found))

    twice, once = report(ran=["a", "a"]), report(ran=["a"])
    assert "node cache" in str(told(twice, once, cache=True))
    assert told(twice, once) is None
    assert told(once, twice, cache=True) is None
    assert told(report(ran=["a", "b"]), once, cache=True) is None


def test_a_state_whose_values_are_none_on_one_of_the_engines_can_be_compared() -> None:
    theirs, ours = report(task("a", None)), report(task("a", {}))
    ours["state"]["values"] = None
    assert explained(theirs, ours, step={"durability": "exit"}) is None
    assert explained(ours, theirs, step={"durability": "exit"}) is None


def test_nothing_explains_a_graph_that_only_one_engine_builds() -> None:
    built = report(task("a", None), found=[])
    assert known.explain(known.Difference(CASE, {"built": "TypeError"}, built)) is None
    assert known.explain(known.Difference(CASE, built, {"built": "TypeError"})) is None
