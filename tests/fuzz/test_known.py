"""A difference is known only if it is what its row of the docs says, and nothing else differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.fuzz import differences, known

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
    return known.explain(differences.Difference(case, expected, found))


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
    asking = report(task("a", None, "a?"))
    assert "untracked values only" in str(explained(asking, ours))
    assert explained(theirs, report(task("a", {}, "a?"), writes=[("__no_writes__", None)])) is None


def test_untracked_values_may_lie_in_the_saver_of_langgraph_at_exit_alone() -> None:
    theirs, ours = report(writes=[("loose", 1), ("log", 1)]), report(writes=[("log", 1)])
    assert "untracked values" in str(explained(theirs, ours, step={"durability": "exit"}))
    assert explained(theirs, ours, step={"durability": "sync"}) is None
    assert explained(ours, theirs, step={"durability": "exit"}) is None
    assert explained(report(writes=[("loose", 1)]), ours, step={"durability": "exit"}) is None
    packets = report(writes=[("loose", 1), ("loose", 1), ("log", 1)])
    assert "untracked values" in str(explained(packets, ours, step={"durability": "exit"}))
    edited = {"values": {}, "versions": {}, "updated": [], "writes": [["loose", 2]]}  # an edit stores it on both
    for one in (theirs, ours):
        one["stored"][0]["checkpoints"].append(edited)
    assert "untracked values" in str(explained(theirs, ours, step={"durability": "exit"}))
    assert explained(ours, theirs, step={"durability": "exit"}) is None


def test_a_question_may_wait_here_that_langgraph_answered_with_an_answer_to_another_one_and_not_the_other_way() -> None:
    theirs, ours = report(task("a", {"log": 1})), report(task("a", None, "a?"))
    answer = {"op": "answer", "by": "value"}
    assert "an answer that names no interrupt" in str(explained(theirs, ours, step=answer))
    assert explained(ours, theirs, step=answer) is None
    assert explained(theirs, ours, step={"op": "answer", "by": "ids"}) is None


def test_a_call_may_wait_here_with_the_question_that_a_later_call_asks_on_langgraph_and_not_the_other_way() -> None:
    asks = ("__interrupt__", [{"value": "job?"}])
    theirs, ours = report(writes=[asks, ("__return__", 1), ("__return__", 2)]), report(writes=[asks, ("__return__", 1)])
    answer = {"op": "answer", "by": "value"}
    assert "an answer that names no interrupt" in str(explained(theirs, ours, step=answer))
    assert explained(ours, theirs, step=answer) is None
    assert explained(theirs, report(writes=[asks, ("__return__", 3)]), step=answer) is None
    assert explained(theirs, report(writes=[("__return__", 1)]), step=answer) is None


def test_a_question_may_be_listed_twice_and_none_may_be_missing() -> None:
    called = {"tasks": ["job"]}
    twice, once, other = report(task("a", None, "a?", "a?")), report(task("a", None, "a?")), report(task("a", None))

    def told(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
        return known.explain(differences.Difference({**CASE, **called}, expected, found))

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


def test_a_task_may_get_further_beside_one_behind_which_a_router_failed_if_the_thread_cannot_be_read_there() -> None:
    error = ("__error__", "ValueError(Attempting to delete)")
    raised = {"raised": "ValueError", "message": "Attempting to delete"}
    theirs = report(found=raised, writes=[error, ("messages", 1), ("log", 1)])
    ours = report(found=raised, writes=[error, ("log", 1), ("branch:to:b", None)])
    assert explained(theirs, ours) is None
    theirs["state"] = raised
    assert "a router fails" in str(explained(theirs, ours))
    ours["stored"][0]["checkpoints"][0]["writes"] = [["branch:to:b", None]]
    assert explained(theirs, ours) is None


def test_a_reader_may_leave_with_the_update_of_a_node_behind_which_a_router_fails_and_with_no_other() -> None:
    def told(spelled: str, *, read: list[Any], **step: Any) -> str | None:
        error = ("__error__", spelled)
        theirs = report(found=read, writes=[error, ("log", 1)])
        ours = report(found={"raised": "Boom", "message": "route_graph_0 1"}, writes=[error])
        return explained(theirs, ours, step={"stop": 1, **step})

    assert "a router fails" in str(told("Boom(route_graph_0 1)", read=[{"a": {"log": 1}}]))
    assert told("Boom(other 1)", read=[{"a": {"log": 1}}]) is None
    assert told("Boom(route_graph_0 1)", read=[]) is None
    assert told("Boom(route_graph_0 1)", read=[{"a": {"log": 1}}], stop=None) is None


def test_a_reader_who_leaves_early_has_read_the_same() -> None:
    stop = {"stop": 2, "how": "stream"}
    further, less = report(found=[1, 2], ran=["a", "b"]), report(found=[1, 2], ran=["a"])
    assert "a reader leaves" in str(explained(further, less, step=stop))
    assert "a reader leaves" in str(explained(less, further, step=stop))
    assert explained(further, report(found=[1, 3], ran=["a"]), step=stop) is None
    assert explained(further, report(found=[1, 2], ran=["c"]), step=stop) is None
    assert explained(further, less) is None


@pytest.mark.parametrize(
    "refused",
    [
        {"raised": "InvalidUpdateError", "message": "At key 'last':"},
        {"raised": "TypeError", "message": "can only concatenate"},
    ],
)
def test_values_that_were_applied_before_a_refusal_are_known_at_exit_and_nothing_else(refused: dict[str, str]) -> None:
    theirs, ours = report(found=refused, log=[1, 2]), report(found=refused, log=[1])
    assert "are refused" in str(explained(theirs, ours, step={"durability": "exit"}))
    assert explained(theirs, ours, step={"durability": "sync"}) is None
    assert explained(report(log=[1, 2]), report(log=[1]), step={"durability": "exit"}) is None
    assert explained(theirs, report(found=refused, writes=[("log", 1)]), step={"durability": "exit"}) is None
    complete, waits = report(task("d", None), found=refused), report(found=refused)
    assert "are refused" in str(explained(complete, waits, step={"durability": "exit"}))
    assert explained(complete, waits, step={"durability": "sync"}) is None
    assert explained(report(task("d", None)), report(), step={"durability": "exit"}) is None


def test_packets_to_one_graph_with_a_history_share_it_if_they_meet_in_a_step_and_other_tasks_do_not() -> None:
    inner = {"name": "inner", "persist": "own", "nodes": [], "edges": [], "routers": []}
    call = {"do": "catch", "body": [{"do": "call", "graph": "inner"}]}
    node = {"name": "a", "does": [call]}
    outer = {"name": "graph", "nodes": [node], "edges": [], "routers": [{"then": ["a"]}]}
    sent = {**outer, "routers": [{"then": [{"send": "a", "payload": {}}]}]}
    one, other = (report(ran=["graph_a", "graph_a"], log=[number]) for number in (1, 2))
    assert "checkpointer=True" in str(explained(one, other, graphs=[inner, sent], sequential=False))
    shown = [report(task("a", None), task("a", None), log=[number]) for number in (1, 2)]
    assert "checkpointer=True" in str(explained(*shown, graphs=[inner, sent], sequential=False))
    assert explained(report(ran=["graph_a"]), other, graphs=[inner, sent], sequential=False) is None
    assert explained(one, other, graphs=[inner, outer], sequential=False) is None
    assert explained(one, other, graphs=[inner, sent], sequential=True) is None
    assert explained(one, other, graphs=[{**inner, "persist": "inherit"}, sent], sequential=False) is None
    grown: dict[str, Any] = {"too much": True}
    assert "checkpointer=True" in str(explained(grown, other, graphs=[inner, sent], sequential=False))
    assert explained(grown, report(ran=["graph_a"]), graphs=[inner, sent], sequential=False) is None
    assert explained(grown, other, graphs=[inner, outer], sequential=False) is None
    assert explained(other, grown, graphs=[inner, sent], sequential=False) is None


def test_a_graph_with_a_history_takes_its_input_in_a_step_that_is_gone_on_with_if_it_ran_in_an_earlier_one() -> None:
    inner = {"name": "inner", "persist": "own", "nodes": [], "edges": [], "routers": []}
    outer = {"name": "graph", "nodes": [{"name": "a", "graph": "inner"}], "edges": [], "routers": []}

    def told(ran: list[str], mine: list[str], earlier: list[str], **step: Any) -> str | None:
        both = report(ran=ran), report(ran=mine)
        for one in both:
            one["steps"].insert(0, report(ran=earlier)["steps"][0])
        case = {**CASE, "graphs": [inner, outer], "script": [{"op": "run", "input": {}}, step]}
        return known.explain(differences.Difference(case, *both))

    goes_on = {"op": "run", "input": None}
    assert "gone on with" in str(told([], ["inner_a"], ["inner_a"], **goes_on))
    assert "gone on with" in str(told(["graph_b"], ["graph_b", "inner_a"], ["inner_a"], op="answer"))
    assert told(["inner_a"], [], ["inner_a"], **goes_on) is None
    assert told(["inner_a", "inner_b"], ["inner_c"], ["inner_a"], **goes_on) is None
    assert told([], ["graph_b"], ["inner_a"], **goes_on) is None
    assert told([], ["inner_a"], ["graph_b"], **goes_on) is None
    assert told([], ["inner_a"], ["inner_a"], op="run", input={}) is None
    assert "gone on with" in str(told(["route_inner_0"], ["route_inner_0"] * 2, ["inner_a"], **goes_on))
    assert told(["route_graph_0"], ["route_graph_0"] * 2, ["inner_a"], **goes_on) is None
    assert told(["route_inner_0"] * 2, ["route_inner_0"], ["inner_a"], **goes_on) is None


def test_a_message_may_be_shown_of_another_task_that_gives_the_same_id_and_not_of_the_same_one() -> None:
    def part(node: str, given: str = "m1", **rest: str) -> dict[str, Any]:
        place = {"langgraph_node": node, "langgraph_path": node, "langgraph_checkpoint_ns": f"{node}:<id>", **rest}
        return many(many(), "messages", many({"!": "AIMessage", "id": given}, place))

    def told(expected: list[Any], found: list[Any], *, sequential: bool = False) -> str | None:
        return explained(report(found=expected), report(found=found), sequential=sequential)

    assert "messages of one id" in str(told([part("a"), {"x": 1}], [{"x": 1}, part("b")]))
    assert told([part("a")], [part("b")], sequential=True) is None
    assert told([part("a")], [part("b", "m2")]) is None
    assert told([part("a")], [part("a", tags="t")]) is None
    assert told([part("a")], [part("b"), part("c")]) is None
    assert told([part("a")], []) is None


def test_when_a_node_fails_its_neighbours_may_get_further_and_nothing_stored_before_may_differ() -> None:
    def told(expected: dict[str, Any], found: dict[str, Any], **case: Any) -> str | None:
        return known.explain(differences.Difference({**CASE, "sequential": False, **case}, expected, found))

    failed = {"raised": "Boom", "message": "boom 1"}
    further, less = report(found=failed, ran=["a", "b"], writes=[("log", 1)]), report(found=failed, ran=["a"])
    assert "a node fails" in str(told(further, less))
    assert "a node fails" in str(told(less, further))
    assert told(report(ran=["a", "b"]), report(ran=["a"])) is None
    assert told(further, report(found=failed, ran=["a"], log=[1])) is None
    assert told(report(found=failed, writes=[("log", 1)]), report(found=failed)) is None
    assert told(further, less, sequential=True) is None
    error = ("__error__", "Boom(boom 1)")
    beside, alone = report(found=failed, writes=[error, ("log", 1)]), report(found=failed, writes=[error])
    assert "a node fails" in str(told(alone, beside))
    assert told(report(found=failed, writes=[error, ("log", 2)]), beside) is None
    assert told(report(found=failed), report(found=failed, writes=[("log", 1)])) is None
    assert told(alone, beside, sequential=True) is None


def test_a_task_that_failed_after_an_answer_may_take_another_one_and_nothing_else_may_differ() -> None:
    first = {"step": "s", "found": {"raised": "Boom", "message": "boom 1"}, "ran": []}

    def told(theirs: Any, ours: Any, by: str = "value", end: Any = first) -> str | None:
        both = report(log=theirs), report(log=ours)
        for one in both:
            one["steps"].insert(0, end)
        case = {**CASE, "script": [{"op": "answer", "by": by}, {"op": "answer", "by": "ids"}]}
        return known.explain(differences.Difference(case, *both))

    assert "names no interrupt" in str(told(["a", "yes"], ["a", "yes a?"]))
    assert told(["a", "yes"], ["b", "yes a?"]) is None
    assert told(["a", "yes"], ["a", "yes a?"], by="ids") is None
    assert told(["a", "yes"], ["a", "yes a?"], end={**first, "found": None}) is None


def test_a_task_that_does_not_begin_may_lose_what_it_had_in_a_step_that_failed() -> None:
    def told(expected: dict[str, Any], found: dict[str, Any], **case: Any) -> str | None:
        return known.explain(differences.Difference({**CASE, "async": False, **case}, expected, found))

    failed = {"raised": "Boom", "message": "boom 1"}
    handled = report(found=failed, writes=[("__error_source_node__", "b")])
    assert "a node fails" in str(told(handled, report(found=failed)))
    assert told(report(found=failed), handled) is None
    assert told(report(writes=[("__error_source_node__", "b")]), report()) is None

    def streamed(*asked: str) -> dict[str, Any]:
        part = {"id": "<id 1>", "name": "b", "state": None, "interrupts": many(*map(question, asked))}
        found = report(found=[{"tasks": [part]}])
        found["steps"].insert(0, {"step": "s", "found": failed, "ran": []})
        return found

    script = [{"op": "run"}, {"op": "run"}]
    assert "a node fails" in str(told(streamed(), streamed("b?"), script=script))
    assert told(streamed("b?"), streamed(), script=script) is None
    assert told(streamed("c?"), streamed("b?"), script=script) is None


def test_the_counters_that_a_nested_graph_is_shown_with_may_be_those_of_its_end() -> None:
    def told(**metadata: Any) -> dict[str, Any]:
        part = {"step": 1, "payload": {"metadata": {"source": "loop", "step": 1, "parents": {"": "<id>"}, **metadata}}}
        return report(found=[many(many("a"), "debug", part)])

    counted, none = told(counters_since_delta_snapshot={"delta": many(2, 3)}), told()
    fewer = told(counters_since_delta_snapshot={"delta": many(0, 1)})
    for there, here in ((none, counted), (counted, none), (fewer, counted)):
        assert "checkpoints" in str(explained(there, here, step={"durability": "exit"}))
        assert explained(there, here, step={"durability": "sync"}) is None
    assert explained(told(other=1), counted, step={"durability": "exit"}) is None
    assert explained(told(step=2), counted, step={"durability": "exit"}) is None
    assert (
        explained(told(parents={}), told(parents={}, counters_since_delta_snapshot={}), step={"durability": "exit"})
        is None
    )


def test_a_question_that_a_packet_asks_here_may_have_taken_the_answer_on_langgraph() -> None:
    asked = ("__interrupt__", [question("a?")])
    answer = {"op": "answer", "by": "value"}
    one, two = report(writes=[asked]), report(writes=[asked, asked])
    assert "names no interrupt" in str(explained(one, two, step=answer))
    assert explained(two, one, step=answer) is None
    assert explained(one, two, step={"op": "answer", "by": "ids"}) is None


def test_what_had_been_applied_is_known_of_a_graph_whose_failure_its_caller_catches() -> None:
    catches = {"name": "graph", "nodes": [{"does": [{"do": "catch", "body": [{"do": "call", "graph": "inner"}]}]}]}
    both = report(log=[1]), report(log=[2])
    for one in both:
        one["stored"][0]["namespace"] = "a:<id>"
    assert "are refused" in str(explained(*both, graphs=[catches], step={"durability": "exit"}))
    assert explained(*both, graphs=[catches], step={"durability": "sync"}) is None
    assert explained(*both, step={"durability": "exit"}) is None
    assert explained(report(log=[1]), report(log=[2]), graphs=[catches], step={"durability": "exit"}) is None


def test_what_is_in_the_cache_need_not_run_again_and_everything_else_has_to() -> None:
    def told(expected: dict[str, Any], found: dict[str, Any], **case: Any) -> str | None:
        return known.explain(differences.Difference({**CASE, **case}, expected, found))

    twice, once, there = report(ran=["job", "job"]), report(ran=["job"]), report(ran=["job", "job", "b"])
    tasks = {"cache": True, "tasks": [{"name": "job", "cached": True}], "graphs": []}
    assert "node cache" in str(told(twice, once, **tasks))
    assert told(twice, once, **{**tasks, "cache": False}) is None
    assert told(twice, once, **{**tasks, "tasks": [{"name": "job"}]}) is None
    assert told(once, twice, **tasks) is None
    assert told(report(ran=["job", "b"]), once, **tasks) is None
    assert told(there, once, **tasks) is None
    assert "node cache" in str(told(twice, report(ran=["job", "b"]), **tasks))
    assert told(twice, report(ran=["job", "b"]), cache=True, graphs=[{"name": "g", "nodes": [{"name": "job"}]}]) is None
    there, here = copy.deepcopy(twice), copy.deepcopy(once)
    there["steps"][0]["ran"][1].append({"langgraph_node": "job"})
    assert "node cache" in str(told(there, here, **tasks))


def test_a_run_may_show_too_much_here_that_langgraph_has_not_begun_and_no_other() -> None:
    grown: dict[str, Any] = {"too much": True}
    refused = report(found={"raised": "AttributeError", "message": "'SyncPregelLoop' object has no attribute 'x'"})
    assert "without a checkpointer" in str(explained(refused, grown))
    assert explained(grown, refused) is None
    assert explained(report(ran=["a"]), grown) is None


def test_a_router_behind_a_node_that_is_cached_later_may_choose_another_way() -> None:
    def told(expected: dict[str, Any], found: dict[str, Any], graph: dict[str, Any]) -> str | None:
        case = {**CASE, "cache": True, "graphs": [{"name": "g", "nodes": [], **graph}]}
        return known.explain(differences.Difference(case, expected, found))

    nodes, routers = [{"name": "a", "cached": True}, {"name": "b"}], [{"from": "a"}]
    another = report(ran=["g_a", "g_b", "g_b"]), report(ran=["g_a", "g_c"])
    for there in (report(ran=["g_a", "g_a", "g_b"]), report(ran=["g_a", "g_a"])):
        for here in (report(ran=["g_a"]), report(ran=["g_a", "g_c"])):
            assert "node cache" in str(told(there, here, {"nodes": nodes, "routers": routers}))
            assert "node cache" in str(told(there, here, {"routers": routers, "defaults": {"cached": True}}))
            assert told(there, here, {"nodes": nodes[1:], "routers": routers}) is None
    assert told(there, here, {"nodes": nodes}) is None
    assert told(*another, {"nodes": nodes, "routers": routers}) is None
    routed = report(ran=["route_g_0", "route_g_0"]), report(ran=["route_g_0"])
    assert told(*routed, {"nodes": nodes, "routers": routers, "defaults": {"cached": True}}) is None


def test_a_state_whose_values_are_none_on_one_of_the_engines_can_be_compared() -> None:
    theirs, ours = report(task("a", None)), report(task("a", {}))
    ours["state"]["values"] = None
    assert explained(theirs, ours, step={"durability": "exit"}) is None
    assert explained(ours, theirs, step={"durability": "exit"}) is None


def test_nothing_explains_a_graph_that_only_one_engine_builds() -> None:
    built = report(task("a", None), found=[])
    assert known.explain(differences.Difference(CASE, {"built": "TypeError"}, built)) is None
    assert known.explain(differences.Difference(CASE, built, {"built": "TypeError"})) is None


def test_a_command_may_have_replaced_the_packets_that_wait() -> None:
    def told(*due: str, path: str) -> dict[str, Any]:
        made = report(task("a", None), task("d", None))
        for each in made["state"]["tasks"]["items"]:
            each["path"] = many(path if each["name"] == "a" else "__pregel_pull", 0)
        made["state"]["next"] = many(*due)
        return made

    commanded = {"script": [{"op": "answer", "goto": ["a"]}]}

    def row(path: str, **changes: Any) -> str | None:
        both = told("a", "d", path=path), told("d", path=path)
        return known.explain(differences.Difference({**CASE, **changes}, *both))

    assert "was cut" in str(row("__pregel_push", **commanded))
    assert row("__pregel_pull", **commanded) is None
    assert row("__pregel_push") is None


@pytest.mark.parametrize("mine", ["ValidationError", "InvalidUpdateError"])
def test_an_invoke_in_v2_may_go_on_with_values_that_do_not_fit_the_state_and_no_other_run(mine: str) -> None:
    refused = {"raised": "ValidationError", "message": "1 validation error"}
    theirs, ours = report(found=refused), report(found={"raised": mine, "message": "..."}, ran=["a"])
    assert "invoke(version=" in str(explained(theirs, ours, step={"version": "v2"}))
    assert explained(ours, theirs, step={"version": "v2"}) is None
    assert explained(theirs, ours, step={"version": "v1"}) is None
    assert explained(theirs, report(found=refused | {"message": "2"}), step={"version": "v2"}) is None
    failed = report(found={"raised": "ValueError", "message": "a"})
    assert explained(failed, ours, step={"version": "v2"}) is None


def test_two_nodes_on_one_channel_may_be_given_the_same_and_shown_with_it() -> None:
    nodes = [{"name": "a", "on": ["in"]}, {"name": "c", "on": ["in"], "only": True}, {"name": "d", "on": ["log"]}]

    def row(there: Any, here: Any, name: str = "c", nodes: Any = nodes) -> str | None:
        def told(given: Any) -> dict[str, Any]:
            return report(found=[many("tasks", {"name": name, "input": given, "triggers": many("in")})])

        def seen(given: Any) -> dict[str, Any]:
            made = report()
            made["steps"][0]["ran"] = [[f"raw_{name}", given]]
            return made

        case = {**CASE, "nodes": nodes}
        ways = {known.explain(differences.Difference(case, make(there), make(here))) for make in (told, seen)}
        assert len(ways) == 1
        return ways.pop()

    assert "on one channel" in str(row({"in": 1}, 1))
    assert row({"in": 1}, 1, "d") is None
    assert row({"in": 1}, 1, nodes=nodes[1:]) is None
