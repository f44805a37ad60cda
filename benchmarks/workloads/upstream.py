"""LangGraph's own benchmark graphs, with the settings of its own benchmark runner.

The graphs come from the unpacked source distribution (see ``sdist.py``), which the worker has on its path as ``bench``.
"""

from __future__ import annotations

import importlib
import random
import string
from collections.abc import Callable
from typing import Any

from benchmarks.workloads.base import Timed, Workload
from benchmarks.workloads.runs import GraphRun, forget_threads, until_first_event, whole_run

EXIT = {"durability": "exit"}
WIDE = {"25x300": (300, 5, 5), "15x600": (600, 3, 5), "9x1200": (1200, 3, 3)}
KINDS = ("wide_state", "wide_dict", "pydantic_state")


def _bench(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"bench.{module}"), name)


def _saver(checkpoint: bool) -> Any:
    if not checkpoint:
        return None
    from langgraph.checkpoint.memory import InMemorySaver

    return InMemorySaver()


def _fanout(width: int, checkpoint: bool) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        name = "fanout_to_subgraph" if variant == "async" else "fanout_to_subgraph_sync"
        saver = _saver(checkpoint)
        graph = _bench("fanout_to_subgraph", name)().compile(checkpointer=saver)
        letters = random.Random(width)
        subjects = [letters.choices(string.ascii_lowercase, k=1000) for _ in range(width)]
        run = GraphRun(graph, {"subjects": subjects}, variant, options=EXIT)
        return whole_run(run, *([saver] if checkpoint else []))

    return build


def _react(rounds: int, checkpoint: bool) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        from langchain_core.messages import HumanMessage

        saver = _saver(checkpoint)
        graph = _bench("react_agent", "react_agent")(rounds, checkpointer=saver)
        run = GraphRun(graph, {"messages": [HumanMessage("hi?")]}, variant, options=EXIT)
        return whole_run(run, *([saver] if checkpoint else []))

    return build


def _payload(outer: int, inner: int) -> dict[str, Any]:
    leaf = ["hi?" * 10, True, 1, 6327816386138, None] * 5
    return {"messages": [{str(i) * 10: {str(j) * 10: list(leaf) for j in range(inner)} for i in range(outer)}]}


def _start_over(kind: str, *savers: Any) -> Callable[[], None]:
    """Empty the savers, and start the random letters of the nodes over.

    The letters get a generator of their own, because the engines draw numbers from the shared one.
    """
    module, forget = importlib.import_module(f"bench.{kind}"), forget_threads(*savers)

    def reset() -> None:
        module.choice = random.Random(kind).choice
        forget()

    return reset


def _wide(kind: str, size: str, checkpoint: bool) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        length, outer, inner = WIDE[size]
        saver = _saver(checkpoint)
        graph = _bench(kind, kind)(length).compile(checkpointer=saver)
        run = GraphRun(graph, _payload(outer, inner), variant, options=EXIT)
        return Timed(run.work, run.describe, _start_over(kind, *([saver] if checkpoint else [])))

    return build


def _sequential(length: int, *, first_event: bool = False) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        graph = _bench("sequential", "create_sequential")(length).compile()
        run = GraphRun(graph, {"messages": []}, variant, options=EXIT)
        return until_first_event(run) if first_event else whole_run(run)

    return build


def _wide_first_event(variant: str) -> Workload:
    length, outer, inner = WIDE["25x300"]
    graph = _bench("pydantic_state", "pydantic_state")(length).compile()
    run = GraphRun(graph, _payload(outer, inner), variant, options=EXIT)
    return Timed(run.first_event, run.describe, _start_over("pydantic_state"))


def _compile(module: str, name: str, size: int) -> Callable[[str], Workload]:
    def build(_variant: str) -> Workload:
        builder = _bench(module, name)(size)
        return Timed(builder.compile, lambda: {"nodes": sorted(builder.compile().nodes)})

    return build


def _catalogue() -> dict[str, Callable[[str], Workload]]:
    found: dict[str, Callable[[str], Workload]] = {}
    for suffix, checkpoint in (("", False), ("_checkpoint", True)):
        for count in (10, 100):
            found[f"fanout_to_subgraph_{count}x{suffix}"] = _fanout(count, checkpoint)
            found[f"react_agent_{count}x{suffix}"] = _react(count, checkpoint)
        for kind in KINDS:
            for size in WIDE:
                found[f"{kind}_{size}{suffix}"] = _wide(kind, size, checkpoint)
    for length in (10, 1000):
        found[f"sequential_{length}"] = _sequential(length)
    found["sequential_1000_first_event"] = _sequential(1000, first_event=True)
    found["pydantic_state_25x300_first_event"] = _wide_first_event
    found["sequential_1000_compile"] = _compile("sequential", "create_sequential", 1000)
    found["pydantic_state_25x300_compile"] = _compile("pydantic_state", "pydantic_state", 300)
    found["wide_state_15x600_compile"] = _compile("wide_state", "wide_state", 600)
    return found


WORKLOADS = _catalogue()
