"""The account of a thread as values.

Rules
-----
* Values of a state are texts here: shortened, and without secrets. Whoever needs a value asks for the state.
* A task is named by its node and its id; where nothing tells which node it was, the node is empty.
* What cannot be known is in `unknown`, as sentences, and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, TypeAlias

from stategraph.constants import END, START

Way: TypeAlias = Literal[
    "input", "edge", "join", "router", "command", "send", "call", "failure", "update", "channel", "unknown"
]
"""The way in which a task was started: by the run's input, a plain edge, an edge from several nodes, a router, a
`Command`, a `Send`, a call of another task, the failure of another one, an update from outside, or a write to a
channel that is no edge."""

Status: TypeAlias = Literal["ended", "given_up", "failed", "handled", "asks", "paused", "open"]
"""The end of a task: it has ended, was not waited for by its fan-out, has failed, has failed and another node took
over, waits for an answer, waits as the run pauses before it, or nothing is recorded of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One of those that started a task.

    Attributes:
        way: How.
        node: The node of the task that did it; empty for the input, a command or an update from outside.
        task_id: Its id; empty if no task did it.
        checkpoint_id: The checkpoint that its writes are recorded on.
        via: The router, or the routers of which one did it, or "Command"; empty where that says nothing.
    """

    way: Way
    node: str = ""
    task_id: str = ""
    checkpoint_id: str = ""
    via: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """A channel that started a task.

    Attributes:
        channel: Its name; `__pregel_tasks` for a packet.
        version: The channel's version; empty if it has none yet, as in the middle of a step.
        seen: The version that the node had seen before; empty: none.
        sources: Who wrote it.
    """

    channel: str
    version: str = ""
    seen: str = ""
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a task has asked.

    Attributes:
        id: The id, as `Command(resume={id: answer})` takes it.
        value: What was asked.
        answered: Whether there is an answer.
        limit: The limit of the run (`GraphLimits`) that asks; empty if the node does.
    """

    id: str
    value: str
    answered: bool
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A write of a task to the state.

    Attributes:
        channel: The key.
        value: What was written, before any reducer.
    """

    channel: str
    value: str


@dataclass(frozen=True, slots=True)
class TaskAccount:
    """A task.

    Attributes:
        id: Its id; empty if that is not known.
        node: Its node, or the function that was called; empty if that is not known.
        status: What became of it.
        causes: What started it.
        writes: What it has written to the state.
        led_to: The nodes that its writes trigger or send packets to.
        questions: What it has asked last, and what was answered.
        error: What it failed with; empty if it has not.
        policy: The rules of the graph that apply to it: retries, time and node limits, the policy of its fan-out.
        namespace: That of the graph inside of it; empty if there is none.
        inside: The account of that graph.
        calls: The tasks that it called.
        wave: The number of its superstep among those since the checkpoint before it, from 1.
    """

    id: str
    node: str
    status: Status
    causes: tuple[Cause, ...] = ()
    writes: tuple[Written, ...] = ()
    led_to: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    error: str = ""
    policy: tuple[str, ...] = ()
    namespace: str = ""
    inside: Account | None = None
    calls: tuple[TaskAccount, ...] = ()
    wave: int = 1

    @property
    def ran(self) -> bool:
        """True if it has run to its end, or to a failure that another node has handled."""
        return self.status in ("ended", "handled")

    def sources(self) -> Iterator[Source]:
        """Yield those that started it."""
        for cause in self.causes:
            yield from cause.sources


@dataclass(frozen=True, slots=True)
class Writer:
    """One of those that wrote a channel in a step.

    Attributes:
        node: The node; empty if that is not known, or it was no node.
        task_id: The task.
        value: What it wrote.
        way: `input` and `update` for writes that no task of the graph made; else empty.
    """

    node: str
    task_id: str
    value: str
    way: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A key of the state that a step has written.

    Attributes:
        channel: The key.
        before: Its value before the step; empty: none.
        after: Its value after it; empty: none.
        writers: Who wrote it, in the order in which the writes were applied.
        changed: Whether the value is another one now.
    """

    channel: str
    before: str
    after: str
    writers: tuple[Writer, ...]
    changed: bool


@dataclass(frozen=True, slots=True)
class StepAccount:
    """A checkpoint, and what made it.

    Attributes:
        checkpoint_id: The checkpoint.
        parent_id: The one before it; empty: it is the first.
        number: The step's number; None if it is not stored.
        source: `input`, `loop`, `update` or `fork`.
        at: When it was stored.
        version: The graph's version that stored it; empty: none.
        tasks: The tasks that made it.
        changes: The keys of the state that were written.
        unknown: What is not known of it, in sentences.
    """

    checkpoint_id: str
    parent_id: str
    number: int | None
    source: str
    at: str
    version: str
    tasks: tuple[TaskAccount, ...]
    changes: tuple[Change, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a node ran, waits or did not run.

    Attributes:
        kind: Which; `verdicts.py` says when each applies, and `words.py` how it reads.
        node: The other node that it is about; empty if there is none.
        others: Further nodes: those that have arrived, or where a router led instead.
        missing: Nodes that are waited for.
        text: What was asked, the error, the router or the policy.
    """

    kind: str
    node: str = ""
    others: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a node: whether it ran.

    Attributes:
        node: The node.
        status: Whether it ran, waits, did not run, or that this is not known.
        times: How often it has run in the steps of the account.
        reasons: Why it waits or did not run; for a node that ran, why it did the last time.
    """

    node: str
    status: Literal["ran", "waits", "did not run", "not known"]
    times: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a run of a thread, up to one of its checkpoints.

    Attributes:
        thread_id: The thread.
        namespace: That of a nested graph; empty for the graph itself.
        checkpoint_id: The checkpoint; empty: nothing is stored.
        steps: The steps of the run up to the checkpoint, the oldest first. The first is that of the input.
        upcoming: The tasks behind the checkpoint, with what is recorded of them.
        verdicts: For each node whether it ran, waits or did not run.
        version: The version of the graph that explains; empty: it has none.
        is_over: Whether nothing is left to run.
        is_cut: Whether the run has earlier steps that were not looked at.
        unknown: What cannot be known, in sentences.
    """

    thread_id: str
    namespace: str
    checkpoint_id: str
    steps: tuple[StepAccount, ...]
    upcoming: tuple[TaskAccount, ...]
    verdicts: tuple[Verdict, ...]
    version: str = ""
    is_over: bool = True
    is_cut: bool = False
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; what is empty is left out."""
        told: dict[str, Any] = as_json(self)
        return told

    def node(self, name: str) -> Verdict:
        """Return whether a node ran, and why.

        Raises:
            KeyError: There is no node of that name; the message says which there are.
        """
        for verdict in self.verdicts:
            if verdict.node == name:
                return verdict
        there = ", ".join(verdict.node for verdict in self.verdicts) or "none that is known"
        raise KeyError(f"There is no node '{name}'; the nodes are: {there}")

    def tasks(self) -> Iterator[TaskAccount]:
        """Yield the tasks of all steps, the oldest first, and then those behind the checkpoint."""
        for step in self.steps:
            yield from step.tasks
        yield from self.upcoming

    def changes(self, channel: str) -> list[tuple[StepAccount, Change]]:
        """Return the steps that have written a key of the state, with what each did to it."""
        return [(step, change) for step in self.steps for change in step.changes if change.channel == channel]

    def edges(self, *, behind: bool = True) -> dict[tuple[str, str], int]:
        """Return the edges that were taken, as pairs of nodes with how often; `END` where a path ended.

        Args:
            behind: Whether the tasks behind the checkpoint count, as far as they have begun.
        """
        taken: dict[tuple[str, str], int] = {}
        ended: list[TaskAccount] = []
        for task in self.tasks() if behind else self._made():
            if task.status in ("open", "paused") or task.node == START:
                continue
            for source in task.sources():
                pair = (source.node or (START if source.way == "input" else ""), task.node)
                if all(pair):
                    taken[pair] = taken.get(pair, 0) + 1
            if task.status == "ended" and not task.led_to:
                ended.append(task)
        for task in ended if self.is_over else ():
            taken[task.node, END] = taken.get((task.node, END), 0) + 1
        return taken

    def visits(self, *, behind: bool = True) -> dict[str, int]:
        """Return how often each node has run to its end; with `START` if the run's input is among the steps.

        Args:
            behind: Whether the tasks behind the checkpoint count.
        """
        found: dict[str, int] = {}
        for task in self.tasks() if behind else self._made():
            if task.ran and task.node:
                found[task.node] = found.get(task.node, 0) + 1
        return found

    def _made(self) -> Iterator[TaskAccount]:
        for step in self.steps:
            yield from step.tasks


def as_json(value: Any) -> Any:
    """Return facts as JSON; what is empty or None is left out."""
    if is_dataclass(value):
        told = {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
        return {name: each for name, each in told.items() if each not in ("", None, [], {})}
    if isinstance(value, Mapping):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(each) for each in value]
    return value
