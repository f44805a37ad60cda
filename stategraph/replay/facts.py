"""Facts of a run's machine, as lines: which tasks began, and how each ended."""

from __future__ import annotations

from typing import Any

from stategraph.core.effects import Fact, TaskSettled, TasksPlanned
from stategraph.core.task import Draft
from stategraph.replay import codec
from stategraph.replay.asking import place
from stategraph.replay.codec import Json


def line_of(ns: str, fact: Fact) -> dict[str, Json] | None:
    """Return a fact as a line; None for those that follow from others."""
    if isinstance(fact, TasksPlanned):
        tasks = [[task.name, task.id] for task in fact.tasks]
        return {"kind": "planned", "ns": ns, "step": fact.tasks[0].step if fact.tasks else None, "tasks": tasks}
    if isinstance(fact, TaskSettled | Draft):
        task = fact.task
        return {
            "kind": "settled",
            "ns": ns,
            "step": task.step,
            "node": task.name,
            "task": task.id,
            "writes": [[channel, _written(value)] for channel, value in fact.writes],
        }
    return None


def _written(value: Any) -> Json:
    return codec.encode(value)


def node_of(line: dict[str, Json]) -> str:
    """Return the node that a line is about, with those around it."""
    around = place(line["ns"])
    own = line.get("node") or ""
    return "/".join(filter(None, (around, own)))
