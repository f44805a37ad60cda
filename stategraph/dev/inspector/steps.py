"""The steps of a thread: each is a checkpoint, with what ran before it and what it changed.

A step is made from the one before it, its parent; two steps with one parent are branches. What ran to make a step is
what its parent was to run next. Times are those at which states were stored, so what a step took is the time since its
parent was stored, with what an engine does between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage

from stategraph.agent.settings.secrets import without_logins
from stategraph.constants import START
from stategraph.dev import history
from stategraph.dev.conversations import RERUN
from stategraph.dev.inspector import values
from stategraph.dev.inspector.differences import Differences
from stategraph.dev.inspector.graphs import Graph, Place
from stategraph.dev.inspector.values import Json, Shown
from stategraph.dev.replies import RefusedError
from stategraph.types import PregelTask, StateSnapshot

#: The key under which the metadata of a changed state name the node that it counts as that of.
EDITED_AS: Final = "edited_as"

#: Messages of a state that are shown at first, the newest.
MESSAGES: Final = 20

#: Values of a state that are shown, and tasks and interrupts of a step.
_VALUES: Final = 200
_TASKS: Final = 200

#: Characters of all values of a state that are shown at first.
_ALL: Final = 120_000


@dataclass(frozen=True, slots=True)
class Step:
    """A step with the one before it.

    Attributes:
        place: Where it is stored.
        state: The state after it, as the graph's `get_state` returns it.
        before: The state before it; None: it is the first, or what came before was deleted.
    """

    place: Place
    state: StateSnapshot
    before: StateSnapshot | None

    @property
    def id(self) -> str:
        """The id of its checkpoint."""
        return id_of(self.state.config)

    @property
    def source(self) -> str:
        """Its origin: `input`, `loop`, `update` or `fork`."""
        return str(self._metadata.get("source") or "")

    @property
    def _metadata(self) -> Mapping[str, object]:
        return self.state.metadata or {}

    def ran(self) -> list[PregelTask]:
        """Return the tasks that made it, or what it is a copy of; empty for one that was not made by nodes."""
        return [] if self.before is None or self.source not in ("loop", "fork") else list(self.before.tasks)

    @property
    def begins_turn(self) -> bool:
        """True if it holds an input that no node has seen yet."""
        return self.source == "input" or (self.source == "fork" and START in self.state.next)

    def row(self) -> Json:
        """Return it as JSON for a list."""
        now, then = values.named(self.state.values), values.named(getattr(self.before, "values", None) or {})
        interrupts = [each for task in self.state.tasks for each in task.interrupts]
        return {
            "id": self.id,
            "parent": id_of(self.state.parent_config) or None,
            "step": self._metadata.get("step"),
            "source": self.source,
            "at": self.state.created_at,
            "duration_s": self._duration_s(),
            "ran": _names(task.name for task in self.ran()),
            "next": _names(self.state.next),
            "edited_as": self._metadata.get(EDITED_AS),
            "interrupts": len(interrupts),
            "failed": any(task.error for task in self.state.tasks),
            "changed": [name for name, value in now.items() if not _equal(value, then.get(name))],
            "messages": len(said) if (said := _messages(now)) is not None else None,
            "tokens": _tokens(said or (), _messages(then) or ()) if self.source == "loop" else None,
            "run": self.run_id(),
        }

    def run_id(self) -> str | None:
        """Return the run that it belongs to; None: that is not known."""
        rerun = self._metadata.get(RERUN)
        if isinstance(rerun, str):
            return rerun
        found = _messages(values.named(self.state.values))
        return history.last_run_id([each for each in found if isinstance(each, BaseMessage)]) if found else None  # type: ignore[misc]

    def _duration_s(self) -> float | None:
        """Return the seconds that nodes took to make it; None for a step that was not made by nodes."""
        before = self.before
        if before is None or self.source != "loop" or not self.state.created_at or not before.created_at:
            return None
        took = datetime.fromisoformat(self.state.created_at) - datetime.fromisoformat(before.created_at)
        return max(0.0, took.total_seconds())

    def detail(self, *, tells_errors: bool) -> Json:
        """Return it as JSON with its state, what that changed, what ran, and what comes next.

        Args:
            tells_errors: Whether texts of errors are told, and not only that there are some.
        """
        now = values.state_of(self.state.values)
        then = values.state_of(self.before.values) if self.before is not None else {}
        differences = Differences.of(then, now)
        changed = {each.path.partition(".")[0].partition("[")[0] for each in differences.found}
        return {
            **self.row(),
            "namespace": self.place.namespace,
            "differences": differences.to_json(),
            "values": _values(now, changed),
            "tasks": [_task(each, tells_errors) for each in self.ran()[:_TASKS]],
            "upcoming": [_task(each, tells_errors) for each in self.state.tasks[:_TASKS]],
            "metadata": Shown.of(values.plain(dict(self._metadata))).to_json(),
            "size": sum(Shown.of(each, 0).length for each in now.values()),
        }


async def listed(graph: Graph, place: Place, before: str | None, limit: int) -> Json:
    """Return a page of the steps of a thread, the newest first.

    Args:
        graph: The compiled graph.
        place: Where they are stored.
        before: The last step of the page before; None: the first page.
        limit: How many.
    """
    bounds: Json = {"limit": limit + 1}
    if before is not None:
        bounds["before"] = place.config(before)
    found = [each async for each in graph.aget_state_history(place.config(), **bounds)]
    shown, more = found[:limit], len(found) > limit
    known: dict[str, StateSnapshot | None] = {id_of(each.config): each for each in found}
    rows = []
    for each in shown:
        parent = id_of(each.parent_config)
        if parent and parent not in known:  # a branch, or the page ends here
            known[parent] = await _state(graph, place, parent)
        rows.append(Step(place, each, known.get(parent)).row())
    return {"steps": rows, "next": rows[-1]["id"] if more else None}


async def at(graph: Graph, place: Place, checkpoint_id: str) -> Step:
    """Return a step.

    Raises:
        RefusedError: There is none.
    """
    state = await _state(graph, place, checkpoint_id)
    if state is None:
        raise RefusedError(404, f"Thread '{place.thread_id}' has no step '{checkpoint_id}'")
    return Step(place, state, await _parent(graph, place, state))


async def newest(graph: Graph, place: Place) -> str | None:
    """Return the id of the newest step; None: there is none."""
    async for each in graph.aget_state_history(place.config(), limit=1):
        return id_of(each.config)
    return None


async def line(graph: Graph, step: Step, most: int) -> list[Step]:
    """Return a step and those that it was made from, itself first.

    Args:
        graph: The compiled graph.
        step: The step.
        most: How many at most.
    """
    found = [step]
    while len(found) < most and (state := found[-1].before) is not None:
        found.append(Step(step.place, state, await _parent(graph, step.place, state)))
    return found


def id_of(config: Mapping[str, Any] | None) -> str:
    """Return the checkpoint that a config names; empty if it names none."""
    return str(((config or {}).get("configurable") or {}).get("checkpoint_id") or "")


def namespace_of(task: PregelTask) -> str | None:
    """Return the namespace of the graph that a task runs; None if it is none."""
    state = task.state
    config = state if isinstance(state, Mapping) else getattr(state, "config", None)
    return ((config or {}).get("configurable") or {}).get("checkpoint_ns") or None


def error_text(error: object, *, is_told: bool) -> str:
    """Return an error as text, without passwords of addresses.

    Args:
        error: The error, or its `repr`, as savers return it.
        is_told: Whether its text is told, and not only its class.
    """
    text = error if isinstance(error, str) else repr(error)
    return without_logins(text)[: values.SHOWN] if is_told else text.partition("(")[0][:80]


async def _parent(graph: Graph, place: Place, state: StateSnapshot) -> StateSnapshot | None:
    parent = id_of(state.parent_config)
    return await _state(graph, place, parent) if parent else None


async def _state(graph: Graph, place: Place, checkpoint_id: str) -> StateSnapshot | None:
    """Return the state at a checkpoint; None if it is not there, as after pruning."""
    found = await graph.aget_state(place.config(checkpoint_id))
    return None if found.created_at is None and found.metadata is None else found


def _names(names: Iterable[str]) -> list[Json]:
    return [{"name": name, "count": count} for name, count in Counter(names).items()]


def _task(task: PregelTask, tells_errors: bool) -> Json:
    told: Json = {
        "id": task.id,
        "name": task.name,
        "interrupts": [
            {"id": each.id, "value": Shown.of(values.plain(each.value)).to_json()} for each in task.interrupts[:_TASKS]
        ],
        "nested": namespace_of(task),
    }
    if task.error is not None:
        told["error"] = error_text(task.error, is_told=tells_errors)
    if task.result is not None:
        told["result"] = Shown.of(values.plain(task.result)).to_json()
    return told


def _values(state: Json, changed: Iterable[str]) -> list[Json]:
    """Return the values of a state for a page: all of their names, and texts as long as there is room."""
    changed, room, told = set(changed), _ALL, []
    for name, value in list(state.items())[:_VALUES]:
        one: dict[str, Any] = {"name": name, "changed": name in changed}
        if values.is_conversation(value):
            newest = [values.message_shown(each) for each in value[-MESSAGES:]]
            one |= {"type": "messages", "count": len(value), "messages": newest}
        else:
            shown = Shown.of(value, min(room, values.SHOWN))
            room -= len(shown.text)
            one |= shown.to_json()
        told.append(one)
    return told


def _messages(state: Mapping[str, object]) -> Sequence[object] | None:
    found = state.get("messages")
    return found if isinstance(found, Sequence) and not isinstance(found, str) else None


def _tokens(now: Sequence[object], then: Sequence[object]) -> dict[str, int] | None:
    """Return the tokens of the messages that are new; None: nothing is reported."""
    known = {getattr(each, "id", None) for each in then}
    new = [each for each in now if isinstance(each, AIMessage) and each.id not in known]
    used = [each.usage_metadata for each in new if each.usage_metadata is not None]
    if not used:
        return None
    return {"input": sum(each["input_tokens"] for each in used), "output": sum(each["output_tokens"] for each in used)}


def _equal(one: object, other: object) -> bool:
    """Compare two values, of which some, such as arrays, cannot be compared as a whole."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:
        return bool(values.plain(one) == values.plain(other))
