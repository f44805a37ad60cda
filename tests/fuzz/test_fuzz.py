"""The parts of the fuzzer that need no second engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from xxhash import xxh3_128_hexdigest

from tests.fuzz import generate, judge, known, program, shrink, worker
from tests.interop.processes import ROOT

SOME = [(seed, index) for seed in (1, 2) for index in range(40)]


def test_a_seed_and_a_number_always_draw_the_same_case_and_it_is_plain_data() -> None:
    for seed, index in SOME:
        case = generate.case(seed, index)
        assert case == generate.case(seed, index) == json.loads(json.dumps(case))
    assert generate.case(1, 0) != generate.case(1, 1) != generate.case(2, 1)


def test_every_case_is_a_program_that_compiles_also_by_itself() -> None:
    for seed, index in SOME:
        case = generate.case(seed, index)
        compile(program.source(case), "<case>", "exec")
        compile(program.standalone(case, "a title"), "<case>", "exec")


def test_a_shrunk_case_still_shows_what_it_showed_and_has_nothing_else_left() -> None:
    case = next(case for case in (generate.case(3, n) for n in range(500)) if case["kind"] == "graph" and asks(case))
    small = shrink.shrink(case, asks, tries=5000)
    assert asks(small)
    assert len(json.dumps(small)) < len(json.dumps(case)) / 2
    assert len(small["script"]) == 0
    assert sum(len(graph["nodes"]) for graph in small["graphs"]) == 1


def asks(case: dict[str, Any]) -> bool:
    return any(
        step["do"] == "ask" for graph in case["graphs"] for node in graph["nodes"] for step in node.get("does", ())
    )


def test_every_known_difference_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    for one in known.KNOWN:
        assert f"\n| {one.row}" in text, one.row


def test_messages_of_engines_are_compared_by_their_first_words_and_those_of_programs_whole() -> None:
    report = [
        {"raised": "InvalidUpdateError", "message": "At key 'last': Can receive only one value"},
        {"raised": "Boom", "message": "graph_a.0 12"},
        {"raised": "KeyError", "message": "'__end__'"},
        {"error": "ValueError('Something is wrong with a node')"},
        {"!": "HumanMessage", "message": "the words of a message stay as they are"},
    ]
    assert worker.brief(report) == [
        {"raised": "InvalidUpdateError", "message": "At key 'last':"},
        {"raised": "Boom", "message": "graph_a.0 12"},
        {"raised": "KeyError", "message": ""},
        {"error": "ValueError(Something is wrong)"},
        {"!": "HumanMessage", "message": "the words of a message stay as they are"},
    ]


@pytest.mark.parametrize(("sequential", "same"), [(True, False), (False, True)])
def test_the_order_of_parallel_tasks_counts_only_where_one_runs_after_the_other(sequential: bool, same: bool) -> None:
    def report(order: list[str]) -> dict[str, Any]:
        return worker.normal(
            {"steps": [{"step": "s", "found": [{name: 1} for name in order], "ran": [[name] for name in order]}]},
            sequential=sequential,
        )

    assert (report(["a", "b"]) == report(["b", "a"])) is same


def test_a_difference_is_reduced_to_its_kind() -> None:
    one = judge.kind_of(".steps[0].found[3].values.log: 2 items, expected 5")
    assert one == judge.kind_of(".steps[4].found.values: 2 items, expected 3")
    assert one != judge.kind_of(".history[0].values.log: missing, expected 1")


def test_a_question_is_called_by_whose_it_is_and_how_many_answers_came_before() -> None:
    def report(digest: str) -> dict[str, Any]:
        found = {"state": {"id": digest}, "stored": [{"id": digest}]}
        return worker._name_questions(found, {("", "t1"), ("a:t1", "t2")}, {"a", "b"})

    first, second = xxh3_128_hexdigest(b"a:t1"), xxh3_128_hexdigest(b"a:t1|b:t2|1")
    assert report(first) == {"state": {"id": "<question 0 of a>"}, "stored": [{"id": first}]}
    assert report(second)["state"] == {"id": "<question 1 of b>"}
    assert report("0" * 32)["state"] == {"id": "0" * 32}


@pytest.mark.parametrize("how", [{"saver": False, "run": "stream"}, {"saver": True, "run": "invoke"}])
def test_a_case_whose_values_double_in_each_step_is_given_up_once_it_shows_or_stores_too_much(
    how: dict[str, Any],
) -> None:
    def found(limit: int) -> dict[str, Any]:
        inside = {"name": "0a", "sees": ["total"], "does": [], "gives": {"form": "none"}}
        inner = {"name": "inner", "nodes": [inside], "edges": [{"from": "START", "to": "0a"}]}
        loop = [{"from": "START", "to": "a"}, {"from": "a", "to": "a"}]
        graph = {"name": "graph", "nodes": [{"name": "a", "graph": "inner"}], "edges": loop}
        run = {"op": "run", "how": how["run"], "input": {"log": ["in"]}, "modes": "values"}
        case = {"kind": "graph", "channels": ["log", "total"], "saver": how["saver"], "limit": limit}
        return worker.perform({**case, "graphs": [inner, graph], "script": [run]})

    assert found(4)["steps"][0]["found"]["raised"] == "GraphRecursionError"
    assert found(20) == {"too much": True}
