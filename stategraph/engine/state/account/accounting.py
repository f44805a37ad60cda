"""From the checkpoints of a thread to its account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_THREAD_ID, ERROR_SOURCE_NODE
from stategraph.core import status
from stategraph.core.dataflow.window import PAUSED_BEFORE
from stategraph.core.fan_outs import GIVEN_UP
from stategraph.core.task import general_answer
from stategraph.engine.checkpoints.pump import Procedure
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.config.limits import KIND
from stategraph.engine.state.account import behind, outline, reading, verdicts
from stategraph.engine.state.account.behind import Behind, Planned
from stategraph.engine.state.account.causes import Ledger, leads_to
from stategraph.engine.state.account.explanation import Explanation
from stategraph.engine.state.account.facts import (
    Change,
    Question,
    Status,
    StepAccount,
    TaskAccount,
    Writer,
    Written,
)
from stategraph.engine.state.account.outline import Outline, is_of_state
from stategraph.engine.state.account.reading import Stored
from stategraph.engine.state.account.shown import Glimpses, Redact, plain

STEPS: Final = 100
"""Steps of a run that are looked at, the newest."""

_DEEPEST: Final = 6

_NO_GRAPH: Final = (
    "The graph is not given: which edge, router or command led to a node, and why a node did not run, is not known"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts that an account is to contain.

    Attributes:
        saver: Has the checkpoints.
        redact: The host's own redaction; None: only what is usual is hidden.
        steps: Steps of the run that are looked at, the newest; also of each graph inside.
        subgraphs: Whether the graphs inside of tasks are accounted for.
        depth: The levels of graphs around the one that is asked for.
        errors: Whether texts of errors are told, and not only their classes.
    """

    saver: Saver
    redact: Redact | None = None
    steps: int = STEPS
    subgraphs: bool = True
    depth: int = 0
    errors: bool = True


@dataclass(slots=True)
class Run:
    """The checkpoints of a run with what came after each.

    Attributes:
        graph: The graph; None if it is not known.
        outline: What is known of it.
        line: The checkpoints, the oldest first.
        behinds: What came after each.
        is_cut: Whether there are more before them.
    """

    graph: CompiledGraph | None
    outline: Outline
    line: list[Stored]
    behinds: list[Behind]
    is_cut: bool

    def made(self, at: int) -> list[Planned]:
        """Return the tasks that made a checkpoint, in the order in which their writes were applied."""
        return makers(self, at)

    @property
    def pairs(self) -> list[tuple[Stored, Behind]]:
        """The checkpoints, each with what came after it."""
        return list(zip(self.line, self.behinds, strict=True))


def loaded(graph: CompiledGraph | None, asked: Asked, config: Mapping[str, Any]) -> Procedure[Run]:
    """Load the checkpoints of the run that led to one.

    Args:
        graph: The graph; None if it is not known.
        asked: What is asked for.
        config: Names the checkpoint, or a thread.
    """
    line, is_cut = yield from reading.line(graph, asked.saver, config, asked.steps + 1)
    found = outline.of_graph(graph) if graph is not None else outline.of_checkpoints(
        each.saved.checkpoint for each in line
    )  # fmt: skip
    behinds = [
        behind.of(graph, asked.saver, found, each, line[at + 1] if at + 1 < len(line) else None)
        for at, each in enumerate(line)
    ]
    return Run(graph, found, line, behinds, is_cut)


def explained(graph: CompiledGraph | None, asked: Asked, config: RunnableConfig) -> Procedure[Explanation]:
    """Return the account of a run up to a checkpoint.

    Args:
        graph: The graph; None if it is not known.
        asked: What is asked for.
        config: Names the checkpoint, or a thread, of which the newest is taken.
    """
    conf = config[CONF]
    thread_id, namespace = str(conf[CONFIG_KEY_THREAD_ID]), str(conf.get(CONFIG_KEY_CHECKPOINT_NS) or "")
    run = yield from loaded(graph, asked, config)
    version = graph._versions.current if graph is not None and graph._versions is not None else ""
    if not run.line:
        return Explanation(thread_id, namespace, "", (), (), verdicts.of_nothing(run.outline), version)
    glimpses = Glimpses(asked.redact)
    ledger = Ledger(run.outline)
    steps: list[StepAccount] = []
    for at, (stored, _) in enumerate(run.pairs):
        made = makers(run, at)
        told: list[TaskAccount] = []
        if at:
            for task in made:
                one = yield from _task(run, asked, glimpses, ledger, run.behinds[at - 1], task)
                told.append(one)
            if not is_copy(run, at):
                ledger.take(run.behinds[at - 1], made, stored.source)
                if stored.source == "update" and not made:
                    ledger.note_update(updated_by(run.line[at - 1], stored), run.line[at - 1].id)
        else:
            told = [TaskAccount(task.id, task.node, "ended") for task in made]
        steps.append(_step(run, at, told, made, glimpses))
    upcoming = []
    for task in run.behinds[-1].tasks:
        one = yield from _task(run, asked, glimpses, ledger, run.behinds[-1], task)
        upcoming.append(one)
    last = run.behinds[-1]
    explanation = Explanation(
        thread_id,
        namespace,
        run.line[-1].id,
        tuple(steps),
        tuple(upcoming),
        (),
        version,
        not upcoming and not last.waiting and not last.problem,
        run.is_cut,
        tuple(_unknown(run)),
    )
    return replace(explanation, verdicts=verdicts.of(run.outline, explanation, last))


# -- steps -------------------------------------------------------------------------


def is_copy(run: Run, at: int) -> bool:
    """Return whether a checkpoint has nothing that the one before it has not, as the fork that a replay begins with."""
    stored, before = run.line[at], run.line[at - 1]
    if stored.source != "fork" or not at:
        return False
    now: Any = stored.saved.checkpoint["channel_versions"]
    return bool(now == before.saved.checkpoint["channel_versions"])


def makers(run: Run, at: int) -> list[Planned]:
    """Return the tasks that made a checkpoint, in the order in which their writes were applied."""
    stored = run.line[at]
    if not at:
        if stored.source != "loop" or run.is_cut:
            return []
        seen: Any = stored.saved.checkpoint["versions_seen"]
        return [
            Planned("", node, "unknown", has_run=True)
            for node, versions in seen.items()
            if versions and not node.startswith("__")
        ]
    if stored.source == "input" or is_copy(run, at):
        return []
    tasks = [task for task in run.behinds[at - 1].tasks if task.has_ended or _is_handled(task)]
    return _of_update(tasks, run.line[at - 1], stored) if stored.source == "update" else tasks


def _is_handled(task: Planned) -> bool:
    return any(channel == ERROR_SOURCE_NODE for channel, _ in task.writes)


def updated_by(before: Stored, after: Stored) -> set[str]:
    """Return the channels that an update from outside has given a value."""
    old: Any = before.saved.checkpoint["channel_versions"]
    new: Any = after.saved.checkpoint["channel_versions"]
    values: Any = after.saved.checkpoint["channel_values"]
    return {name for name, version in new.items() if version != old.get(name) and name in values}


def _of_update(tasks: Sequence[Planned], before: Stored, after: Stored) -> list[Planned]:
    """Return what is recorded of an update from outside: nothing, if the thread had moved on already.

    A task that had ended before it, and was dropped by it, has written channels that have not changed.
    """
    updated = updated_by(before, after)
    needed = {name for name in updated if not name.startswith("__")}
    taken = [task for task in tasks if (written := _written(task)) and written <= updated]
    certain = [task for task in taken if task.kind == "update"]
    # Under the id of a planned task stands what it wrote, or what an update wrote in its place: two may be either.
    if _covers(certain, needed):
        return certain
    return taken if (certain or len(taken) == 1) and _covers(taken, needed) else []


def _written(task: Planned) -> set[str]:
    return {name for name, _ in task.writes if not name.startswith("__")}


def _covers(tasks: Sequence[Planned], needed: set[str]) -> bool:
    return bool(tasks) and needed <= {name for task in tasks for name in _written(task)}


def _step(run: Run, at: int, told: list[TaskAccount], made: Sequence[Planned], glimpses: Glimpses) -> StepAccount:
    stored = run.line[at]
    changes = [] if not at or is_copy(run, at) else list(_changes(run, at, made, glimpses))
    metadata_at = str(stored.saved.checkpoint.get("ts") or "")
    return StepAccount(
        stored.id,
        stored.parent_id,
        stored.number,
        stored.source,
        metadata_at,
        stored.version,
        tuple(told),
        tuple(changes),
        tuple(_unknown_of_step(run, at, told)),
    )


def _unknown_of_step(run: Run, at: int, told: Sequence[TaskAccount]) -> Iterable[str]:
    """Yield what is not known of a step."""
    stored = run.line[at]
    if stored.source == "loop" and not at:
        why = "are left out" if run.is_cut else 'are not stored, as with durability="exit"'
        yield f"The steps before this one {why}"
    gap = _gap(run, at)
    if gap and any(not task.id or not task.writes for task in told):
        yield f"{gap} {'step' if gap == 1 else 'steps'} before this one are not stored"
    if nameless := [task for task in told if not task.id]:
        yield f"What {_listed(each.node for each in nameless)} wrote is not stored by itself"
    if stored.problem:
        yield stored.problem


def _gap(run: Run, at: int) -> int:
    """Return how many steps before one are not stored; one of a graph without a barrier may have several waves."""
    stored = run.line[at]
    if not at or stored.source != "loop" or (run.graph is not None and run.graph.program.flow is not None):
        return 0
    before = run.line[at - 1].number
    return 0 if stored.number is None or before is None else max(0, stored.number - before - 1)


def _changes(run: Run, at: int, made: Sequence[Planned], glimpses: Glimpses) -> Iterable[Change]:
    before, after = run.behinds[at - 1].values, run.behinds[at].values
    writers = _writers(run, at, made, glimpses)
    for channel in dict.fromkeys([*after, *before, *writers]):
        changed = not same(before.get(channel, _NONE), after.get(channel, _NONE))
        if channel in writers or changed:
            yield Change(
                channel,
                glimpses.of(before[channel], channel) if channel in before else "",
                glimpses.of(after[channel], channel) if channel in after else "",
                tuple(writers.get(channel, ())),
                changed,
            )


def _writers(run: Run, at: int, made: Sequence[Planned], glimpses: Glimpses) -> dict[str, list[Writer]]:
    """Return who wrote the keys of the state that a step has written, in the order in which that was applied."""
    way = "update" if run.line[at].source == "update" else ""
    if way and not made:
        found = updated_by(run.line[at - 1], run.line[at])
        return {channel: [Writer("", "", "", way)] for channel in found if is_of_state(channel)}
    writers: dict[str, list[Writer]] = {}
    for channel, value in run.behinds[at - 1].commanded:
        if is_of_state(channel):
            writers.setdefault(channel, []).append(Writer("", "", glimpses.of(value, channel), "command"))
    for task in made:
        whose = way or ("input" if task.node == "__start__" else "")
        for channel, value in task.writes:
            if is_of_state(channel) and channel not in status.CONTROL:
                one = Writer(task.node, task.id, glimpses.of(value, channel), whose)
                writers.setdefault(channel, []).append(one)
    return writers


_NONE: Final = object()


def same(one: object, other: object) -> bool:
    """Return whether two values are the same, of which some, such as arrays, cannot be compared as a whole."""
    if one is other:
        return True
    if one is _NONE or other is _NONE:
        return False
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return bool(plain(one) == plain(other))


def _unknown(run: Run) -> Iterable[str]:
    if run.graph is None:
        yield _NO_GRAPH
    if run.is_cut:
        yield f"Only the last {len(run.line)} checkpoints of the run are looked at: raise `steps` for more"
    for each in run.behinds:
        if each.problem:
            yield each.problem
    if run.behinds[-1].loose:
        count = len(run.behinds[-1].loose)
        yield f"{count} {'task' if count == 1 else 'tasks'} behind the checkpoint left writes, and no name"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in dict.fromkeys(names))


# -- tasks -------------------------------------------------------------------------


def _task(
    run: Run, asked: Asked, glimpses: Glimpses, ledger: Ledger, around: Behind, task: Planned
) -> Procedure[TaskAccount]:
    """Return the account of a task."""
    inside, namespace = None, ""
    if asked.subgraphs and asked.depth < _DEEPEST and task.namespace and task.node != "__start__":
        found = yield from _inside(run, asked, around, task)
        if found is not None and found.checkpoint_id:
            inside, namespace = found, found.namespace
    calls = []
    for call in task.calls:
        one = yield from _task(run, asked, glimpses, ledger, around, call)
        calls.append(one)
    known = status_of(task)
    error = task.status.error
    writes = [
        Written(channel, glimpses.of(value, channel))
        for channel, value in task.writes
        if (is_of_state(channel) or channel == "__return__") and channel not in status.CONTROL
    ]
    return TaskAccount(
        task.id,
        task.node,
        known,
        ledger.of(around, task),
        tuple(writes),
        tuple(leads_to(run.outline, task)) if known in ("ended", "given_up") else (),
        tuple(_questions(around, task, glimpses)),
        "" if error is None else glimpses.text(error_text(error, asked.errors), 600),
        run.outline.policies.get(task.node, ()),
        namespace,
        inside,
        tuple(calls),
        task.wave,
    )


def status_of(task: Planned) -> Status:
    """Return what became of a task."""
    if GIVEN_UP in task.writes:
        return "given_up"
    if task.has_ended:
        return "ended"
    if _is_handled(task):
        return "handled"
    if task.status.error is not None:
        return "failed"
    if task.status.interrupts:
        return "asks"
    return "paused" if any(channel == PAUSED_BEFORE for channel, _ in task.writes) else "open"


def error_text(error: object, is_told: bool = True) -> str:
    """Return an error as text; a saver may return the text that it was stored as.

    Args:
        error: The error.
        is_told: Whether its text is told, and not only its class.
    """
    text = str(plain(error))
    return text if is_told else text.partition("(")[0][:80]


def _questions(around: Behind, task: Planned, glimpses: Glimpses) -> Iterable[Question]:
    pending = status.group(around.stored.saved.pending_writes)
    answered = task.has_ended or general_answer(pending) is not None
    for each in task.status.interrupts:
        payload: Any = each.value
        limit = str(payload.get("limit") or "") if isinstance(payload, Mapping) and payload.get("type") == KIND else ""
        yield Question(str(each.id), glimpses.of(payload, most=400), answered, limit)


def _inside(run: Run, asked: Asked, around: Behind, task: Planned) -> Procedure[Explanation | None]:
    """Return the account of the graph that a task has run; None if it runs none that is stored."""
    conf = around.stored.saved.config[CONF]
    thread_id, outer = str(conf[CONFIG_KEY_THREAD_ID]), str(conf.get(CONFIG_KEY_CHECKPOINT_NS) or "")
    graph: Any = None
    if run.graph is not None:
        graph = dict(run.graph.get_subgraphs()).get(task.node)
        if graph is None:
            return None
        graph = graph if hasattr(graph, "program") else None
    below = replace(asked, depth=asked.depth + 1)
    config: Any = reading.place(thread_id, task.namespace)
    if graph is not None:
        own = graph.own_checkpoint_config(config)
        if own[CONF].get(CONFIG_KEY_CHECKPOINT_NS) != task.namespace:
            # It keeps one history for the thread: the part that belongs to this task ends with its newest checkpoint.
            checkpoint_id = yield from _last_inside(graph, asked, own, outer, around.stored.id)
            if not checkpoint_id:
                return None
            config = reading.place(thread_id, str(own[CONF].get(CONFIG_KEY_CHECKPOINT_NS) or ""), checkpoint_id)
    explanation: Explanation = yield from explained(graph, below, config)
    return explanation


def _last_inside(
    graph: CompiledGraph, asked: Asked, config: RunnableConfig, outer: str, outer_id: str
) -> Procedure[str]:
    """Return the newest checkpoint of a nested graph's own history that was made behind a checkpoint around it."""
    at: Mapping[str, Any] = config
    for _ in range(asked.steps):
        stored = yield from reading.one(graph, asked.saver, at)
        if stored is None:
            return ""
        parents: Any = (stored.saved.metadata or {}).get("parents") or {}
        if parents.get(outer) == outer_id:
            return stored.id
        if not stored.parent_id:
            return ""
        conf = stored.saved.config[CONF]
        at = reading.place(
            str(conf[CONFIG_KEY_THREAD_ID]), str(conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""), stored.parent_id
        )
    return ""
