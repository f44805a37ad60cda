"""Nodes and nested graphs of a run: when they begin and end, and which of them tools run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stategraph.server.projection.facts import (
    Fact,
    GraphFinished,
    GraphStarted,
    Outcome,
    Place,
    StepFinished,
    StepStarted,
)
from stategraph.server.projection.messages import Messages


class Places:
    """Follows the steps and nested graphs of a run.

    Args:
        messages: Knows which tool calls wait for their results.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._steps: dict[str, Place] = {}
        self._finished: set[str] = set()
        self._graphs: dict[str, GraphStarted] = {"": GraphStarted("", "", "", "", False)}
        self._open_graphs: dict[str, None] = {}
        self._calls_of_tasks: dict[str, str] = {}
        self._logs_tasks = False

    def at(self, scope: str, node: str = "") -> Place:
        """Return a place in a graph that is known."""
        return Place(scope, node, self._graphs[scope].in_tool)

    def enter(self, scope: str) -> Iterator[Fact]:
        """Tell that a nested graph begins, and those around it, unless they were told."""
        if scope in self._graphs:
            return
        parent, _, last = scope.rpartition("|")
        yield from self.enter(parent)
        if ":" not in last:  # the second graph that one task invokes, and so on
            self._graphs[scope] = self._graphs[parent]
            return
        name, _, task_id = last.partition(":")
        call_id, in_tool = self._tool_around(parent, task_id)
        around = self._graphs[parent]
        shown = self._messages.waiting[call_id][1].name if call_id else name
        found = GraphStarted(scope, shown, around.graph_id, call_id, in_tool or around.in_tool)
        self._graphs[scope] = found
        self._open_graphs[scope] = None
        yield from self._begin(task_id, Place(parent, name, self._graphs[parent].in_tool))
        yield found

    def task(self, scope: str, data: Mapping[str, Any]) -> Iterator[Fact]:
        """Tell the start or the end of a task, as the mode `tasks` logs it."""
        self._logs_tasks = True
        task_id, at = str(data["id"]), self.at(scope, str(data["name"]))
        if "triggers" in data:
            if call_id := _call_of(data.get("input")):
                self._calls_of_tasks[task_id] = call_id
            yield from self._begin(task_id, at)
        elif not data.get("interrupts"):
            yield from self._finish(task_id)

    def message(self, scope: str, metadata: Mapping[str, Any]) -> Iterator[Fact]:
        """Tell that a node begins, of which a message is the first sign."""
        last = str(metadata.get("langgraph_checkpoint_ns") or "").rpartition("|")[2]
        name, _, task_id = last.partition(":")
        if task_id and task_id not in self._steps:
            yield from self._begin(task_id, self.at(scope, name))

    def updated(self, scope: str, node: str, seq: int) -> Iterator[Fact]:
        """Tell the end of a node that wrote to the state; its start too, if there was no other sign of it."""
        if self._logs_tasks:
            return
        at = self.at(scope, node)
        running = next((each for each, where in self._steps.items() if where == at), None)
        if running is None:
            running = f"{node}:{seq}"
            yield from self._begin(running, at)
        yield from self._finish(running)

    def end(self, outcome: Outcome) -> Iterator[Fact]:
        """Tell the end of all that has not ended."""
        for scope in reversed(list(self._open_graphs)):
            yield from self._leave(scope, outcome)
        for task_id in reversed(list(self._steps)):
            yield from self._finish(task_id)

    def _begin(self, task_id: str, at: Place) -> Iterator[Fact]:
        if task_id not in self._steps and task_id not in self._finished:
            self._steps[task_id] = at
            yield StepStarted(task_id, at)

    def _finish(self, task_id: str) -> Iterator[Fact]:
        at = self._steps.pop(task_id, None)
        if at is None:
            return
        self._finished.add(task_id)
        for scope in reversed(list(self._open_graphs)):
            if scope.rpartition("|")[2].partition(":")[2] == task_id:
                yield from self._leave(scope)
        yield StepFinished(task_id, at)

    def _leave(self, scope: str, outcome: Outcome = "finished") -> Iterator[Fact]:
        for inner in reversed(list(self._open_graphs)):
            if inner.startswith(f"{scope}|"):
                yield from self._leave(inner, outcome)
        if scope not in self._open_graphs:
            return
        for task_id, at in reversed(list(self._steps.items())):
            if at.graph_id == scope:
                yield from self._finish(task_id)
        del self._open_graphs[scope]
        yield GraphFinished(scope, outcome)

    def _tool_around(self, parent: str, task_id: str) -> tuple[str, bool]:
        """Return the tool call that runs a graph, as far as it can be told, and whether one does.

        A graph whose task begins while calls of the graph around it wait for their results is run by a tool.
        """
        known = self._calls_of_tasks.get(task_id)
        waiting = [call for scope, call in self._messages.waiting.values() if scope == parent]
        of_task = [each for each in waiting if each.given_id == known]
        if known is not None and of_task:
            return of_task[-1].call_id, True
        if task_id in self._steps and self._logs_tasks and known is None and not waiting:
            return "", False
        return (waiting[0].call_id if len(waiting) == 1 else ""), bool(waiting)


def _call_of(given: object) -> str:
    """Return the id of the tool call that a task's input carries; empty if it carries none."""
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if not isinstance(given, Mapping):
        return ""
    inner = given.get("tool_call")
    call = inner if isinstance(inner, Mapping) else given
    found = call.get("id")
    return found if isinstance(found, str) and "args" in call and "name" in call else ""
