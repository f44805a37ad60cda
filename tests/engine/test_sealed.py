"""Configs that are filled in at the first look."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config, var_child_runnable_config
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ConfigDict, validate_call

from stategraph import START, StateGraph
from stategraph.engine import sealed, task_configs
from stategraph.engine.context import get_config

CONTENT = {"tags": ["t"], "metadata": {"a": 1}, "configurable": {"k": "v"}}


class Origin:
    def __init__(self) -> None:
        self.asked: list[Any] = []

    def content(self, facts: Any) -> dict[str, Any]:
        self.asked.append(facts)
        return copy.deepcopy(CONTENT)


def matched(config: Any) -> Any:
    match config:
        case {"tags": tags}:
            return tags
    return None


def called_with(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def fails(config: Any) -> str:
    with pytest.raises(KeyError) as caught:
        config["nothing"]
    return str(caught.value)


def changed(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def look(config: Any) -> Any:
        return change(config), dict(config)

    return look


LOOKS: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "len": len,
    "repr": repr,
    "list": list,
    "reversed": lambda c: list(reversed(c)),
    "item": lambda c: c["tags"],
    "missing item": fails,
    "get": lambda c: c.get("tags"),
    "in": lambda c: "tags" in c,
    "keys": lambda c: list(c.keys()),
    "values": lambda c: list(c.values()),
    "items": lambda c: list(c.items()),
    "equal": lambda c: c == CONTENT,
    "equal from the right": lambda c: CONTENT == c,  # noqa: SIM300
    "unequal": lambda c: c != CONTENT,
    "dict": dict,
    "unpacked": lambda c: {**c},
    "as arguments": lambda c: called_with(**c),
    "merged": lambda c: c | {"x": 1},
    "merged from the right": lambda c: {"x": 1, "tags": []} | c,
    "copied": lambda c: c.copy(),
    "copied by module": copy.copy,
    "copied deeply": copy.deepcopy,
    "pickled": lambda c: pickle.loads(pickle.dumps(c)),
    "matched": matched,
    "updated from": lambda c: (d := {"x": 1}, d.update(c)),
    "set": changed(lambda c: c.__setitem__("x", 1)),
    "deleted": changed(lambda c: c.__delitem__("tags")),
    "default set": changed(lambda c: c.setdefault("tags", [])),
    "popped": changed(lambda c: c.pop("tags")),
    "last popped": changed(lambda c: c.popitem()),
    "updated": changed(lambda c: c.update(x=1)),
    "merged in place": changed(lambda c: c.__ior__({"x": 1})),
    "completed by langchain": ensure_config,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_any_first_look_finds_it_filled_in(look: Callable[[Any], Any]) -> None:
    origin = Origin()
    config = sealed.seal(origin, "facts")
    assert origin.asked == []
    assert look(config) == look(copy.deepcopy(CONTENT))
    assert origin.asked == ["facts"]
    len(config)
    assert origin.asked == ["facts"]


def test_copies_are_plain_dicts_also_of_one_that_was_opened() -> None:
    config = sealed.seal(Origin(), None)
    sealed.opened(config)
    for made in (config.copy(), copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert type(made) is dict
        assert made == CONTENT


def test_its_content_can_be_had_without_opening_it() -> None:
    origin = Origin()
    config = sealed.seal(origin, None)
    first, second = sealed.content(config), sealed.content(config)
    assert first == second == CONTENT
    assert first["metadata"] is not second["metadata"]
    assert type(config) is sealed.SealedConfig
    third = sealed.content(sealed.opened(config))
    assert third == CONTENT
    assert third["metadata"] is not config["metadata"]


def test_threads_that_look_at_once_see_the_same() -> None:
    origin = Origin()
    config = sealed.seal(origin, None)
    barrier = threading.Barrier(8)

    def look(_: int) -> int:
        barrier.wait()
        return id(config["configurable"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(look, range(8)))) == 1
    assert len(origin.asked) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_can_look_although_a_thread_of_its_parent_was_looking() -> None:
    program = """
import os, threading, warnings
warnings.simplefilter("ignore")
from stategraph.engine import sealed

looking, looked = threading.Event(), threading.Event()

class Slow:
    def content(self, facts):
        looking.set()
        looked.wait()
        return {}

class Fast:
    def content(self, facts):
        return {"a": 1}

threading.Thread(target=len, args=(sealed.seal(Slow(), None),)).start()
looking.wait()
child = os.fork()
if child == 0:
    os._exit(len(sealed.seal(Fast(), None)))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
looked.set()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["threads", "sealed"])
def test_nothing_is_missed_where_nothing_forks(module: str) -> None:
    program = f"import os; del os.fork, os.register_at_fork; import stategraph.engine.{module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Count(TypedDict):
    n: int


def one_node(node: Any, **options: Any) -> Any:
    return StateGraph(Count).add_node("node", node).add_edge(START, "node").compile(**options)


def test_a_node_that_only_computes_is_made_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("somebody looked")

    graph = one_node(lambda state: {"n": state["n"] + 1})
    monkeypatch.setattr(task_configs.TaskConfigs, "of", refuse)
    assert graph.invoke({"n": 1}) == {"n": 2}


def test_what_is_read_past_its_methods_was_opened_before() -> None:
    seen = []

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def node(state: dict[str, int], config: RunnableConfig) -> dict[str, int]:
        seen.append(config)
        return {"n": 2}

    assert one_node(node).invoke({"n": 1}, {"configurable": {"mine": 5}}) == {"n": 2}
    assert seen[0]["configurable"]["mine"] == 5


def test_whoever_looks_late_sees_what_was_there_when_the_attempt_began() -> None:
    contexts: list[Context] = []
    told: list[RunnableConfig] = []

    def late(state: Count) -> Count:
        contexts.append(copy_context())
        return {"n": state["n"] + 1}

    def early(state: Count) -> Count:
        told.append(get_config())
        return {"n": state["n"] + 1}

    builder = StateGraph(Count).add_node("late", late).add_node("early", early)
    graph = builder.add_edge(START, "late").add_edge("late", "early").compile(checkpointer=InMemorySaver())
    graph.invoke({"n": 0}, {"configurable": {"thread_id": "t"}}, durability="exit")
    config = contexts[0].run(get_config)
    assert config["metadata"]["langgraph_step"] == 1
    assert config["metadata"]["langgraph_node"] == "late"
    # Before the later task's, which began from another checkpoint.
    infos = [c["configurable"]["__pregel_runtime"].execution_info for c in (config, told[0])]
    assert infos[0].checkpoint_id < infos[1].checkpoint_id
    assert infos[0].checkpoint_ns.startswith("late:")


def test_a_retry_sees_its_own_attempt_and_so_does_who_kept_the_first() -> None:
    from stategraph.types import RetryPolicy

    contexts: list[Context] = []

    def node(state: Count) -> Count:
        contexts.append(copy_context())
        if len(contexts) == 1:
            raise ConnectionError
        return {"n": 1}

    policy = RetryPolicy(initial_interval=0, jitter=False)
    builder = StateGraph(Count).add_node("node", node, retry_policy=policy).add_edge(START, "node")
    builder.compile().invoke({"n": 0})
    attempts = [c.run(get_config)["configurable"]["__pregel_runtime"].execution_info.node_attempt for c in contexts]
    assert attempts == [1, 2]


def test_a_runnable_called_from_a_node_inherits_from_it() -> None:
    seen = []

    def inner(value: int, config: RunnableConfig) -> int:
        seen.append(config)
        return value + 1

    def node(state: Count) -> Count:
        assert type(var_child_runnable_config.get()) is sealed.SealedConfig
        return {"n": RunnableLambda(inner).invoke(state["n"])}

    graph = one_node(node)
    assert graph.invoke({"n": 1}, {"configurable": {"mine": 5}, "tags": ["x"]}) == {"n": 2}
    assert seen[0]["configurable"]["mine"] == 5
    assert seen[0]["tags"] == ["x"]
    assert seen[0]["metadata"]["langgraph_node"] == "node"
