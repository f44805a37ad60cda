"""One execution of a node, and the notes kept about it.

Rules
-----
* A task's id is a digest of where and when it runs (checkpoint, namespace,
  step, name, what started it), so the same unfinished step planned again, in
  another process or by LangGraph 1.2, gives the same ids. Pending writes and
  interrupts are matched by them.
* Writes of a step are applied in the order of the tasks' paths, whatever
  order the tasks finish in.
* ``interrupt()`` calls are matched to answers by their position in the task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh3_128_hexdigest

from stategraph.constants import INTERRUPT, NULL_TASK_ID, PUSH, RESUME
from stategraph.errors import ConfigurationError
from stategraph.types import interrupt_id

if TYPE_CHECKING:
    from stategraph.core.program import Node
    from stategraph.errors import NodeError

Write = tuple[str, Any]
"""A channel's name and the value to write there."""

Path = tuple[Any, ...]
"""Where a task comes from: the sort of its start, and the node, the number of the packet or the path of its caller."""

ResumeMap = dict[str, Any]
"""Answers by the ids of the interrupts that they are for."""

Fresh = dict[str, tuple[int, Any, bool]]
"""Copies of channels with a task's own writes applied: of how many writes, the copy, and whether it changed."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function that a running task asked to have run as a task of its own.

    Attributes:
        func: The function.
        input: Its positional and keyword arguments.
        retry_policy: When to try again, or None.
        cache_policy: How to reuse results, or None.
        callbacks: Listeners for the call's run, or None.
        timeout: Limit for one attempt, or None.
        name: The name of the task.
        body: The driver's record of how to execute it.
    """

    func: Callable[..., Any]
    input: tuple[tuple[Any, ...], dict[str, Any]]
    retry_policy: Any
    cache_policy: Any
    callbacks: Any
    timeout: Any
    name: str
    body: Any


class Task:
    """One execution of a node: what it reads, and what it wrote once it has ended.

    It is also the task's scratchpad (the counters and answers behind
    ``interrupt()``, managed values and nested calls). Its writes and what was read of them belong to the machine, which
    sets them when it is told how an attempt ended; while one runs, they are in its `Draft`.
    """

    # Class attributes, not slots: most tasks never touch them, and a task is made
    # for every step. What every task is asked for it has itself, as the detour over
    # the class takes ten times as long.
    cache_key: Any = None
    # Whether its questions have other ids than in the run before: its graph stores nothing, replays a checkpoint that
    # the caller named, or starts from an edit. See `null_resume_fits`.
    renamed = False
    # The state that it sees, if that is not the run's; see `core.dataflow`.
    state: Any = None
    # The number of its next call to another task.
    calls_made = 0
    error: NodeError | None = None
    input: Any = None
    ns_before: str | None = None
    null_resume: Write | None = None
    null_resume_for: frozenset[str] | None = None
    # How many answers it began with; behind them come those that named no interrupt.
    own_answers = 0
    parent: Any = None
    pending: dict[str, list[Write]] | None = None
    took_null_resume = False
    _path_key: str | None = None

    def __init__(
        self,
        id: str,
        name: str,
        node: Node | None,
        path: Path,
        triggers: Sequence[str],
        ns: str,
        step: int,
        stop: int,
    ) -> None:
        self.id = id
        self.name = name
        self.node = node
        self.path = path
        self.triggers = triggers
        self.ns = ns
        self.step = step
        self.stop = stop
        self.body: Any = node.body if node is not None else None
        self.parent_ns = ""
        self.writes: list[Write] = []
        self.resume: list[Any] = []
        self.call: Call | None = None
        self.config: Any = None
        self.fresh: Fresh | None = None
        self.timeout: Any = None

    def __repr__(self) -> str:
        return f"Task({self.name!r}, id={self.id!r}, path={self.path!r})"

    @property
    def path_key(self) -> str:
        """The sort key of the path, which is also how savers store it."""
        key = self._path_key
        if key is None:
            key = self._path_key = path_key(self.path)
        return key

    @property
    def is_call(self) -> bool:
        """True if another task called it (its interrupts belong to the caller)."""
        return self.call is not None

    @property
    def was_sent(self) -> bool:
        """True if a `Send` started it: its input is what was sent, not the state."""
        return len(self.path) == 3 and self.path[0] == PUSH  # longer: it was called, or handles a failure

    def call_counter(self) -> int:
        """Return the number of the next call that the task makes to another task, from 0."""
        number = next(self._count("_calls"))
        self.calls_made = number + 1
        return number

    def interrupt_counter(self) -> int:
        """Return the number of the task's next ``interrupt()`` call, from 0."""
        return next(self._count("_interrupts"))

    def subgraph_counter(self) -> int:
        """Return the number of the next graph that the task runs, from 0."""
        return next(self._count("_subgraphs"))

    def _count(self, name: str) -> itertools.count[int]:
        # `setdefault` is one step, so threads that count for the first time at once get the same counter.
        counter: itertools.count[int] = self.__dict__.setdefault(name, itertools.count())
        return counter

    def restart(self) -> None:
        """Forget what the last attempt asked, before another one."""
        self.__dict__.pop("_interrupts", None)

    def get_null_resume(self, consume: bool = False) -> Any:
        """Return the answer of a resume that names no interrupt, or None if there is none for this task's question.

        Args:
            consume: Whether the answer is used up by this call.
        """
        holder: Task | None = self
        while holder is not None and holder.null_resume is None:
            holder = holder.parent
        if holder is None or holder.null_resume is None or not holder.null_resume_fits(self):
            return None
        if not consume:
            return holder.null_resume[1]
        waiting = (holder.pending or {}).get(NULL_TASK_ID, [])
        for i, write in enumerate(waiting):
            if write is holder.null_resume:
                del waiting[i]
                holder.took_null_resume = True
                return write[1]
        return None

    def null_resume_fits(self, asker: Task) -> bool:
        """Return whether the answer that this task holds was given to the question that another one, or itself, asks.

        Args:
            asker: The task that asks: this one, or one of a graph inside it.
        """
        meant = self.null_resume_for
        if meant is None or interrupt_id(asker.ns, len(asker.resume)) in meant:
            return True
        task = asker
        while task is not self and not task.renamed:
            task = task.parent
        if task.renamed:
            return not meant.isdisjoint(self._asked())
        # Checkpoints of older versions gave all of a task's interrupts the first id.
        first = interrupt_id(asker.ns, 0)
        return first in meant and first in asker._asked()

    def _asked(self) -> set[str]:
        """Return the ids of the questions that were recorded for this task."""
        writes = (self.pending or {}).get(self.id, ())
        asked = next((value for channel, value in writes if channel == INTERRUPT), ())
        return {question.id for question in (asked if isinstance(asked, (list, tuple)) else (asked,))}

    def load_answers(
        self,
        pending: dict[str, list[Write]],
        resume_map: ResumeMap | None,
        null_resume_for: frozenset[str] | None = None,
    ) -> None:
        """Take the answers waiting for this task from the pending writes.

        Args:
            pending: Pending writes by task id; also where an answer that names
                no interrupt is taken from later.
            resume_map: Answers by interrupt id, or None.
            null_resume_for: Ids of the questions that an answer without an id may be given to; None for any.
        """
        self.pending = pending
        self.null_resume_for = null_resume_for
        self.null_resume = general_answer(pending)
        for channel, value in pending.get(self.id, ()):
            if channel == RESUME:
                self.resume = value if isinstance(value, list) else [value]
                break
        if resume_map:
            # Checkpoints of older versions gave all of a task's interrupts the first id.
            for index in (len(self.resume), 0):
                key = interrupt_id(self.ns, index)
                if key in resume_map:
                    self.resume.append(resume_map[key])
                    break
        self.own_answers = len(self.resume)


class Draft:
    """The writes of an attempt of a task, so far.

    Nobody but the attempt sees it while it runs. If the task ends well, the draft of its last attempt is its outcome:
    the attempt lets go of it, and it never changes again.

    Attributes:
        task: The task.
        writes: Its writes.
        fresh: Channels with them applied, as far as its routers asked for them; None if they did not.
        value: What the task's work returned, for the one that waits for it.
    """

    __slots__ = ("fresh", "task", "value", "writes")

    cached: Final = False
    """As a fact about the end of a task: it ran for these writes."""

    def __init__(self, task: Task, writes: list[Write] | None = None, value: Any = None) -> None:
        """Args: writes: What is written already; value: What the work returned, if it has."""
        self.task = task
        self.writes: list[Write] = [] if writes is None else writes
        self.fresh: Fresh | None = None
        self.value = value

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.task.id


def general_answer(pending: Mapping[str, list[Write]]) -> Write | None:
    """Find the answer that names no interrupt among pending writes; None if it is used up or there is none."""
    return next((w for w in pending.get(NULL_TASK_ID, ()) if w[0] == RESUME and w[1] is not None), None)


def path_key(path: object) -> str:
    """Spell a task's path so that comparing strings orders tasks.

    >>> path_key(("__pregel_pull", "a"))
    '~__pregel_pull, a'
    """
    if isinstance(path, (tuple, list)):
        return "~" + ", ".join(map(path_key, path))
    return f"{path:010d}" if isinstance(path, int) else str(path)


class IdMaker:
    """Makes task ids.

    With a saver, ids follow the rule of LangGraph's checkpoints (version 2 and
    later: XXH3-128; version 1: SHA-1). Without one nothing can refer to a task
    after the run, so a counter behind a part of the first checkpoint's id will do.

    Attributes:
        counts: Whether ids are mere numbers.
        prefix: Their beginning, if they are.
        number: Counts them.
    """

    __slots__ = ("_anchor", "counts", "number", "prefix")

    def __init__(self, checkpoint_id: str, version: int, *, counts: bool = False) -> None:
        """Begin with a checkpoint.

        Args:
            checkpoint_id: Its id.
            version: The version of its format.
            counts: Whether ids are mere numbers.
        """
        self.counts = counts
        if counts:
            # So many digits that they never get more.
            self.prefix = checkpoint_id[:24]
            self.number = itertools.count(100_000_000_000)
        else:
            self.anchor(checkpoint_id, version)

    def anchor(self, checkpoint_id: str, version: int) -> None:
        """Derive the ids from a checkpoint from now on.

        Raises:
            ConfigurationError: The checkpoint's id is no UUID.
        """
        try:
            self._anchor = (bytes.fromhex(checkpoint_id.replace("-", "")), version)
        except ValueError:
            raise ConfigurationError(
                f"The id of a checkpoint is {checkpoint_id!r}; expected a UUID, whose digits ids of tasks are made of. "
                "It was made by the run's IdFactory, or comes from its saver"
            ) from None

    def make(self, description: str) -> str:
        """Make the id for the task that is described so; mere numbers need no description."""
        if self.counts:
            return f"{self.prefix}{next(self.number)}"
        base, version = self._anchor
        data = base + description.encode()
        h = xxh3_128_hexdigest(data) if version > 1 else sha1(data, usedforsecurity=False).hexdigest()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"
