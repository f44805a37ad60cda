"""Nodes that only look things up are lent the state; all others get a copy."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.looks import only_looks_up
from stategraph.errors import NodeError
from stategraph.graph.state import StateGraph
from stategraph.types import Command, RetryPolicy

WIDTH = 100


def looks_in_branches(state: dict[str, Any]) -> dict[str, Any]:
    if state["n"] > 3:
        return {"n": 0}
    try:
        return {"n": state["n"] + 1, "text": f"{state['k']}"}
    except KeyError:
        return {}


async def looks_later(state: dict[str, Any], *rest: Any) -> Any:
    return state["n"]


def call(helper: Any) -> Any:
    def calls(state: Any) -> Any:
        return helper(state)

    return calls


async def calls_later(state: Any) -> Any:
    return looks_in_branches(state)


LOOKS: list[Callable[..., Any]] = [
    call(looks_in_branches),
    call(call(looks_in_branches)),
    calls_later,
    lambda state: looks_in_branches(state) if state["n"] else None,
    looks_in_branches,
    looks_later,
    lambda state: None,
    lambda state: {"n": state["n"] + state["m"]},
    lambda state: [each + 1 for each in state["list"]],
    lambda state: state["list"].append(1),
]


def assigns(state: Any) -> None:
    state["n"] = 1


def deletes(state: Any) -> None:
    del state["n"]


def adds(state: Any) -> None:
    state["n"] += 1


def renames(state: Any) -> None:
    other = state
    other["n"] = 1


def rebinds(state: Any) -> Any:
    state = dict(state)
    return state["n"]


def yields(state: Any) -> Any:
    yield state["n"]


def matches(state: Any) -> Any:
    match state:
        case {"n": n}:
            return n


class Callables:
    def method(self, state: Any) -> Any:
        return state["n"]

    def __call__(self, state: Any) -> Any:
        return state["n"]


async def awaits(state: Any) -> Any:
    return await looks_later(state)


def calls_itself(state: Any) -> Any:
    return calls_itself(state) if state["n"] else None


def calls_what_it_got(state: Any, helper: Any = looks_in_branches) -> Any:
    return helper(state)


DOES_MORE: list[Any] = [
    awaits,
    calls_itself,
    calls_what_it_got,
    call(assigns),
    call(call(assigns)),
    call(None),
    call(Callables().method),
    call(len),
    lambda state: looks_later(state, 1),
    lambda state: looks_in_branches(state=state),
    lambda state: looks_in_branches(*state),
    lambda state: Callables().method(state),
    lambda state: nothing_of_this_name(state),  # type: ignore[name-defined]  # noqa: F821
    lambda state: print(state),
    assigns,
    deletes,
    adds,
    renames,
    rebinds,
    yields,
    matches,
    Callables().method,
    Callables(),
    functools.partial(looks_in_branches),
    functools.lru_cache(looks_in_branches),
    lambda: 1,
    lambda *states: states[0]["n"],
    lambda state: state,
    lambda state: dict(state),
    lambda state: {**state},
    lambda state: state.get("n"),
    lambda state: lambda: state["n"],
    lambda state: [state[key] for key in "nm"],
    lambda state: state[state["n"]],
    lambda state: state["n":"m"],
    lambda state: (state or {})["n"],
    lambda state: locals(),
    lambda state: eval("state"),
    len,
    None,
]


@pytest.mark.parametrize("func", LOOKS)
def test_a_function_that_only_looks_up_constant_keys_is_known_by_its_code(func: Any) -> None:
    assert only_looks_up(func)()


@pytest.mark.parametrize("func", DOES_MORE)
def test_a_function_that_may_do_more_with_its_state_is_not_taken_for_one(func: Any) -> None:
    assert not only_looks_up(func)()


def test_the_answer_holds_only_for_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def rewritten(state: Any) -> Any:
        return state["n"]

    calls = call(looks_in_branches)
    by_name, by_cell = only_looks_up(calls_later), only_looks_up(calls)
    by_code, inner = only_looks_up(rewritten), only_looks_up(call(rewritten))
    assert (by_name(), by_cell(), by_code(), inner()) == (True,) * 4
    monkeypatch.setitem(globals(), "looks_in_branches", assigns)
    calls.__closure__[0].cell_contents = assigns
    rewritten.__code__ = assigns.__code__
    assert (by_name(), by_cell(), by_code(), inner()) == (False,) * 4
    del calls.__closure__[0].cell_contents
    assert not by_cell()
    assert not only_looks_up(calls)()


Wide = TypedDict("Wide", {"n": int, **{f"key_{number}": int for number in range(WIDTH)}})  # type: ignore[misc]
INPUT = {"n": 0, **{f"key_{number}": number for number in range(WIDTH)}}


def ring(*nodes: Any, **options: Any) -> Any:
    """The nodes one after the other, for three rounds."""
    builder = StateGraph(Wide)
    names = [f"node_{number}" for number in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node, **options)
    for name, following in itertools.pairwise(names):
        builder.add_edge(name, following)
    builder.add_edge(START, names[0])
    builder.add_conditional_edges(names[-1], lambda state: names[0] if state["n"] < 3 * len(nodes) else END)
    return builder.compile()


def test_what_is_lent_is_not_changed_by_those_who_get_copies(driver: Any) -> None:
    seen: list[Any] = []

    def changes(state: Any) -> Any:
        seen.append(dict(state))
        state["key_1"] = state["n"] = "changed"
        state["more"] = "added"
        return {"n": len(seen) * 2}

    result = driver.invoke(ring(lambda state: {"n": state["n"] + 1}, changes), INPUT, {})
    assert result == {**INPUT, "n": 6}
    assert seen == [{**INPUT, "n": n} for n in (1, 3, 5)]


def test_what_a_node_keeps_stays_as_it_was_given(driver: Any) -> None:
    kept: list[Any] = []

    def keeps(state: Any) -> Any:
        kept.append(state)
        return {"n": len(kept)}

    driver.invoke(ring(keeps), INPUT, {})
    assert kept == [{**INPUT, "n": n} for n in range(3)]


def test_what_is_run_in_the_place_of_a_node_gets_a_state_of_its_own(driver: Any) -> None:
    seen = []

    def change(state: Any) -> Any:
        state["key_1"] = "changed"
        return {"n": state["n"] + 1}

    def note(state: Any) -> None:
        seen.append(dict(state))

    rest = RunnableLambda(change)
    driver.invoke(ring(note, lambda state: rest, note, lambda state: {"n": state["n"] + 3}), INPUT, {})
    assert seen == [{**INPUT, "n": n} for n in (0, 1, 4, 5, 8, 9)]


def test_an_error_handler_gets_a_state_of_its_own(driver: Any) -> None:
    seen = []

    def fails(state: Any) -> Any:
        raise ValueError(state["n"])

    def handler(state: Any, error: NodeError) -> Any:
        state["key_1"] = "changed"
        return Command(update={"n": 1}, goto="after")

    def after(state: Any) -> None:
        seen.append(dict(state))

    builder = StateGraph(Wide).add_node("first", lambda state: {"n": 5}).add_node("after", after)
    builder.add_node("fails", fails, error_handler=handler).add_edge(START, "first").add_edge("first", "fails")
    driver.invoke(builder.compile(), INPUT, {})
    assert seen == [{**INPUT, "n": 1}]


def test_another_attempt_is_given_the_same(driver: Any) -> None:
    tried: list[int] = []

    def fails_once(state: Any) -> Any:
        tried.append(state["n"])
        if len(tried) % 2:
            raise ConnectionError
        return {"n": state["n"] + 1}

    policy = RetryPolicy(initial_interval=0, jitter=False)
    assert driver.invoke(ring(fails_once, retry_policy=policy), INPUT, {}) == {**INPUT, "n": 3}
    assert tried == [0, 0, 1, 1, 2, 2]


def test_a_listener_may_keep_what_nodes_were_given(driver: Any) -> None:
    class Keeper(BaseCallbackHandler):
        def __init__(self) -> None:
            self.inputs: list[Any] = []

        def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
            if told["name"] == "node_0":
                self.inputs.append(inputs)

    keeper = Keeper()
    driver.invoke(ring(lambda state: {"n": state["n"] + 1}), INPUT, {"callbacks": [keeper]})
    assert keeper.inputs == [{**INPUT, "n": n} for n in range(3)]


@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_a_reader_may_keep_what_nodes_were_given(mode: str) -> None:
    graph = ring(lambda state: {"n": state["n"] + 1})
    chunks = list(graph.stream(INPUT, stream_mode=mode))
    payloads = [chunk["payload"] if mode == "debug" else chunk for chunk in chunks]
    assert [payload["input"] for payload in payloads if "input" in payload] == [{**INPUT, "n": n} for n in range(3)]
