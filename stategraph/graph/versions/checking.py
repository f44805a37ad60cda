"""Stored threads, checked against a graph: could it go on with them? No node is run, and nothing is stored.

What it looks at is what a run would: the newest checkpoint of a thread, brought up to the graph's version, the tasks
that come next, what is recorded of them, and the graphs inside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_THREAD_ID,
    NULL_TASK_ID,
    TASKS,
)
from stategraph.core import status
from stategraph.core.checkpoint import Checkpoint
from stategraph.core.state import State
from stategraph.core.task import Task
from stategraph.engine.checkpoints import damage, histories, pump
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple, Saver
from stategraph.engine.compile.versions import BroughtUp, GraphVersionError, brought_up
from stategraph.engine.engine import StateGraphEngine
from stategraph.engine.state import snapshots
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.graph.schema import type_hints
from stategraph.graph.versions import places
from stategraph.graph.versions.bringing import is_state, version_of
from stategraph.graph.versions.pinned import PinnedStateGraph
from stategraph.types import Send

_Graph: TypeAlias = StateGraphEngine[Any, Any, Any, Any]

Verdict = Literal["fits", "migrates", "pinned", "breaks", "empty"]
"""The fate of a thread: it goes on as it is, migrated, with the graph that began it, not at all; or nothing is
stored."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result for one thread.

    Attributes:
        thread_id: The thread.
        verdict: What becomes of it.
        version: The version that has stored it; None if that had none.
        checkpoint_id: Its newest checkpoint; None if there is none.
        problems: Why it breaks, a sentence each; empty unless it does.
        warnings: What is lost or does not fit and stops nothing, a sentence each.
    """

    thread_id: str
    verdict: Verdict
    version: str | None = None
    checkpoint_id: str | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def acheck_thread(graph: _Graph, saver: Saver, thread_id: str) -> Checked:
    """Tell whether a graph could go on with a stored thread.

    Args:
        graph: The graph.
        saver: Where the thread is stored, a saver with async methods; nothing is written to it.
        thread_id: The thread.

    Raises:
        Exception: The saver cannot be read. What is wrong with the thread itself is in the result.
    """
    return await pump.arun(_checked(graph, saver, thread_id))


def _place(thread_id: str, ns: str) -> RunnableConfig:
    return {CONF: {CONFIG_KEY_THREAD_ID: thread_id, CONFIG_KEY_CHECKPOINT_NS: ns}}


@dataclass(slots=True)
class _Findings:
    """Problems and warnings so far."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _checked(graph: _Graph, saver: Saver, thread_id: str) -> Procedure[Checked]:
    if (trusting := graph.spec.trusting) is not None:
        saver = trusting(saver)
    config = _place(thread_id, "")
    found = _Findings()
    try:
        saved: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
    except ValueError as error:  # damaged
        return Checked(thread_id, "breaks", problems=(str(error),))
    if saved is None:
        return Checked(thread_id, "empty")
    version, checkpoint_id = version_of(saved), str(saved.checkpoint["id"])
    pinned = graph._pinned_to(saved) if isinstance(graph, PinnedStateGraph) else None
    verdict: Verdict = "fits"
    if pinned is not None and (pinned[1] or (yield from _is_in_flight(pinned[0], saver, saved))):
        verdict, graph = "pinned", pinned[0]
    elif graph.spec.versions is not None and version != (graph.spec.versions.current or None):
        verdict = "migrates"
    yield from _look(graph, saver, saved, "", found)
    if found.problems:
        verdict = "breaks"
    return Checked(thread_id, verdict, version, checkpoint_id, tuple(found.problems), tuple(found.warnings))


def _is_in_flight(graph: _Graph, saver: Saver, saved: CheckpointTuple) -> Procedure[bool]:
    try:
        _, tasks, _ = yield from _step(graph, saver, saved)
    except Exception:
        return True  # whatever is wrong with it is told when it is looked at
    return bool(tasks)


def _step(graph: _Graph, saver: Saver, saved: CheckpointTuple) -> Procedure[tuple[State, list[Task], BroughtUp]]:
    """Return the state of a checkpoint, and the tasks of the step behind it."""
    program = graph.program
    with damage.using(saved, program):
        graph.migrate_checkpoint(saved.checkpoint)
        brought = brought_up(graph._versions, saved, program, saver.get_next_version)
        history = yield from histories.fetch(program, saver, brought.saved)
        state, tasks = snapshots.read_step(graph, brought, history)
    return state, tasks, brought


def _look(graph: _Graph, saver: Saver, saved: CheckpointTuple, where: str, found: _Findings) -> Procedure[None]:
    """Note what a graph finds at a checkpoint.

    Args:
        graph: The graph.
        saver: Where it is stored.
        saved: The checkpoint.
        where: The node that the graph is inside of, as the beginning of a sentence; empty for the outermost one.
        found: Gets what is found.
    """
    try:
        state, tasks, brought = yield from _step(graph, saver, saved)
    except GraphVersionError as error:
        found.problems.append(f"{where}{error}")
        return
    except Exception as error:
        found.problems.append(f"{where}Its state cannot be read: {type(error).__name__}: {error}")
        return
    found.problems += [f"{where}{each}" for each in _waits_in_vain(graph, brought.saved)]
    pending = status.group(brought.saved.pending_writes)
    found.problems += [f"{where}{each}" for each in _unasked(tasks, pending)]
    found.warnings += [f"{where}{each}" for each in _left_over(graph, brought.saved)]
    found.warnings += [f"{where}{each}" for each in _misfits(graph, state)]
    yield from _look_inside(graph, saver, saved, tasks, where, found)
    try:
        snapshots.apply_recorded(state, tasks, pending)
    except Exception as error:
        found.problems.append(
            f"{where}What tasks of the open step have written cannot be applied: {type(error).__name__}: {error}"
        )


def _look_inside(
    graph: _Graph,
    saver: Saver,
    saved: CheckpointTuple,
    tasks: list[Task],
    where: str,
    found: _Findings,
) -> Procedure[None]:
    graphs = {name: inner for name, inner in graph.get_subgraphs() if isinstance(inner, StateGraphEngine)}
    thread_id = saved.config[CONF][CONFIG_KEY_THREAD_ID]
    around = saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    places = {
        task.ns: task.name for task in tasks if task.name in graphs and graphs[task.name].checkpointer is not True
    }
    kept = {
        f"{around}|{name}" if around else name: name for name, inner in graphs.items() if inner.checkpointer is True
    }
    for ns, name in {**places, **kept}.items():
        config = _place(thread_id, ns)
        inside: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
        if inside is not None:
            yield from _look(graphs[name], saver, inside, f"{where}In node '{name}': ", found)


def _waits_in_vain(graph: _Graph, saved: CheckpointTuple) -> Iterator[str]:
    """Say which nodes a thread waits for that the graph does not have."""
    checkpoint = cast("Checkpoint", saved.checkpoint)
    nodes, specs, versions = graph.program.nodes, graph.program.specs, checkpoint["channel_versions"]
    there = ", ".join(sorted(name for name in nodes if not name.startswith("__")))
    waiting = [each.node for each in checkpoint["channel_values"].get(TASKS) or () if isinstance(each, Send)]
    for channel, value in checkpoint["channel_values"].items():
        if channel in specs or channel not in versions:
            continue
        if places.is_join(channel) and value:
            yield f"The join '{channel}' waits, and the graph has no such edge: it would never be taken"
        elif channel.startswith(places.BRANCH) and _is_unseen(channel, checkpoint):
            waiting.append(channel.removeprefix(places.BRANCH))
    for name in waiting:
        if name not in nodes:
            yield f"The node '{name}' is next, and the graph has none of that name, only {there}: add it to `nodes`"


def _is_unseen(channel: str, checkpoint: Checkpoint) -> bool:
    """Return whether what starts a node has not started it yet."""
    seen = checkpoint["versions_seen"].get(channel.removeprefix(places.BRANCH), {}).get(channel)
    return seen is None or checkpoint["channel_versions"][channel] > seen


def _unasked(tasks: list[Task], pending: status.Pending) -> Iterator[str]:
    """Say which questions wait for an answer that no task of the graph would take."""
    own = {question.id for task in tasks for question in status.of(pending.get(task.id, ())).interrupts}
    ids = {task.id for task in tasks}
    for task_id, writes in pending.items():
        if task_id in ids or task_id == NULL_TASK_ID:
            continue
        for question in status.of(writes).waiting:
            if question.id not in own:
                yield (
                    f"The question {question.value!r:.80} waits for an answer, and what asked it is not among the next "
                    "tasks of the graph: its node was renamed or removed, or is started by other edges"
                )


def _left_over(graph: _Graph, saved: CheckpointTuple) -> Iterator[str]:
    for name in sorted(saved.checkpoint["channel_values"]):
        if is_state(name) and name not in graph.channels:
            yield f"The value of '{name}' is dropped: the state has no such key"


def _misfits(graph: _Graph, state: State) -> Iterator[str]:
    """Say which values do not fit the types of the state; a TypedDict is not checked when a graph runs."""
    if not isinstance(graph, CompiledStateGraph):
        return
    from pydantic import TypeAdapter  # runs do not need it

    for name, hint in type_hints(graph.builder.state_schema).items():
        if name not in state.program.specs:
            continue
        try:
            value = state.channels[name].get()
            adapter = TypeAdapter(cast(Any, hint))
        except Exception:
            continue  # it has no value, or its type cannot be checked
        try:
            adapter.validate_python(value)
        except Exception as error:
            yield f"The value of '{name}' does not fit its type: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[1:3]) if len(lines) > 1 else str(error)
