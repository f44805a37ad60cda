"""Runs on threads: begun by a message, answered where they wait, stopped; each thread's newest is known."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.settings.secrets import without_logins
from stategraph.dev import attachments, history
from stategraph.dev.changes import Changes
from stategraph.dev.claims import claimed
from stategraph.dev.replies import RefusedError
from stategraph.dev.target import Target
from stategraph.errors import AbortError, ConfigurationError, UnknownInterruptError
from stategraph.run import pauses
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.graphs import reviews
from stategraph.run.graphs.hosted_graph import HostedGraph
from stategraph.run.pauses import Pause, RunInterrupt
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime
from stategraph.run.threads.indexes import index_of
from stategraph.types import Command

_log = logging.getLogger(__name__)

#: Threads whose newest run is known.
_KNOWN = 1024

#: Threads of which the names of all turns are known: others are read before the next message.
_NAMED = 64

#: The key under which the metadata of steps name the run of them, where that was not begun by a message.
RERUN = "rerun"

#: Characters of a title that is made of a message.
_TITLE = 60


@dataclass(slots=True)
class Turn:
    """The newest run of a thread.

    Attributes:
        run_id: The run.
        thread_id: The thread.
        content: The message that began it, as content parts; empty if that was in an earlier process.
        previous: The run of the thread before it; None: not known.
        began_at: When it began.
        task: Its last execution.
        error: The error that ended that; None: it ended well, waits, or goes on.
    """

    run_id: str
    thread_id: str
    content: Sequence[Mapping[str, Any]]
    previous: str | None
    began_at: datetime
    task: asyncio.Task[Any] | None = None
    error: BaseException | None = None

    async def over(self) -> None:
        """Wait until the last execution is over, and `error` is known."""
        if self.task is not None:
            await asyncio.wait({self.task})


class Conversations:
    """The conversations of a server.

    Attributes:
        runtime: Runs them.
        target: What they talk to.
        changes: Is told when something begins or ends.
        prices: Finds the cost of answers that were stored; None: it is not told.
        log: Names the event logs of this process: a run that goes on in another one is numbered anew.
        check_open: Is called right before something begins, and raises `RefusedError` if nothing may begin any more.

    Args:
        runtime: Runs them.
        target: What they talk to.
        changes: Is told when something begins or ends.
        prices: Finds the cost of answers that were stored.
        tells_errors: Whether the page is told the text of errors, and not only their class.
    """

    def __init__(
        self,
        runtime: AgentRuntime,
        target: Target,
        changes: Changes,
        prices: PriceBook | None = None,
        *,
        tells_errors: bool = True,
    ) -> None:
        self.runtime = runtime
        self.target = target
        self.changes = changes
        self.prices = prices
        self.log = uuid4().hex[:8]
        self.check_open: Callable[[], None] = lambda: None
        self._tells_errors = tells_errors
        self._newest: OrderedDict[str, Turn] = OrderedDict()
        self._names: OrderedDict[str, set[str]] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def newest(self, thread_id: str) -> Turn | None:
        """Return the newest run of a thread; None if none began in this process."""
        return self._newest.get(thread_id)

    def is_followed(self, turn: Turn) -> bool:
        """Return whether the page reads a turn from its events: it goes on or waits, and they are kept here."""
        run = self.runtime.get_run(turn.run_id)
        return run is not None and bool(turn.content) and (run.running or run.paused)

    def shown(self, turn: Turn) -> dict[str, Any]:
        """Return a turn as JSON."""
        run = self.runtime.get_run(turn.run_id)
        told: dict[str, Any] = {
            "id": turn.run_id,
            "log": self.log,
            "thread": turn.thread_id,
            "content": turn.content,
            "previous": turn.previous,
            "began_at": turn.began_at.isoformat(),
            "running": run is not None and run.running,
            "paused": run is not None and not run.running and run.paused,
            "waiting": [] if run is None or run.running else history.questions(run.get_interrupts()),
            "usage": None if run is None else run.usage.as_json(),
        }
        if run is not None and not run.running and (files := attachments.of_results(run.get_run_messages())):
            told["files"] = files
        if turn.error is not None:
            told["error"] = self._error(turn.error)
        return told

    async def read(self, run_id: str) -> dict[str, Any]:
        """Return a run of this process as JSON: how it goes, what it waits for, what it has used.

        Raises:
            LookupError: There is none of that id, or it was forgotten.
        """
        run = self.runtime.runs.known(run_id)
        told: dict[str, Any] = {
            "id": run.id,
            "thread": run.thread_id,
            "running": run.running,
            "status": "running",
            "waiting": history.questions(run.get_interrupts()),
            "usage": run.usage.as_json(),
            "halt_reason": run.get_halt_reason(),
        }
        if not run.running:
            async for event in run.attach():
                if event.event == GraphEvents.ON_RUN_END:
                    told |= {name: event.data[name] for name in ("status", "error") if name in event.data}
            turn = self._newest.get(run.thread_id or "")
            if turn is not None and turn.run_id == run_id and turn.error is not None:
                told["error"] = self._error(turn.error)
        return told

    def _error(self, error: BaseException) -> dict[str, str]:
        text = without_logins(str(error)) if self._tells_errors else ""
        return {"type": type(error).__name__, "message": text}

    async def begin(self, thread_id: str, run_id: str, content: list[dict[str, Any]]) -> Turn:
        """Begin a turn; one that has begun already is returned as it is, so a message may be sent again.

        Args:
            thread_id: The thread.
            run_id: The turn's name, which the page makes.
            content: The message.

        Raises:
            LookupError: There is no such thread.
            RefusedError: Another turn goes on in the thread, this one was begun before its newest, or in an earlier
                process, or nothing may begin any more.
            ConfigurationError: The target makes no run.
        """
        async with self._lock(thread_id):
            thread = await self.runtime.threads.info(thread_id)
            known = self._newest.get(thread_id)
            if known is not None and known.run_id == run_id:
                return known
            self._check_idle(thread_id)
            names, run = await self._names_of(thread_id), self.runtime.get_run(run_id)
            if run_id in names or (run is not None and run.thread_id == thread_id):
                told = f"The turn '{run_id}' was begun before: read the session, or send another 'run_id'"
                raise RefusedError(409, told)
            run = await self._make(run_id)
            message = HumanMessage(content=_as_sent(content), id=history.input_id(run_id))
            self.check_open()
            task = self._start(run, thread_id, {"messages": [message]})
            names.add(run_id)
            turn = self._remember(thread_id, run_id, content)
            self._watch(turn, task)
        if thread.title is None:
            await self._name(thread_id, content)
        return turn

    async def answer(self, thread_id: str, answers: Mapping[str, Any]) -> Turn:
        """Answer what a thread waits for; the run goes on, also if it began in another process.

        Args:
            thread_id: The thread.
            answers: Answers by the ids of questions.

        Raises:
            LookupError: There is no such thread.
            UnknownInterruptError: Nothing waits, or none of these questions.
            InvalidAnswerError: An answer does not fit.
            RefusedError: The run goes on already, or nothing may begin any more.
        """
        async with self._lock(thread_id):
            run, known, waiting = await self._paused(thread_id)
            _check_ids(waiting, answers)
            graph = self.target.graph
            checked = pauses.answers(waiting, answers) if graph is None else reviews.answers(waiting, answers, graph)
            self.check_open()
            task = self._start(run, thread_id, Command(resume=checked))
            turn = known or self._remember(thread_id, run.id, [])
            self._watch(turn, task)
        return turn

    async def go_on(self, thread_id: str) -> Turn:
        """Go on with a turn whose process has died, or that stopped at a breakpoint.

        Raises:
            LookupError: There is no such thread.
            RefusedError: It goes on already, waits for an answer, nothing is unfinished, or nothing may begin any more.
        """
        async with self._lock(thread_id):
            run, known, _ = await self._paused(thread_id)
            pause = await self._pause(run, thread_id)
            if pause.interrupts:
                raise RefusedError(409, "This session waits for an answer: give it, and it goes on")
            if not pause.unfinished:
                raise RefusedError(409, "Nothing is unfinished in this session: send a message to begin a turn")
            self.check_open()
            turn = known or self._remember(thread_id, run.id, [])
            self._watch(turn, asyncio.create_task(run.resume(None, self._config(thread_id))))
        return turn

    @asynccontextmanager
    async def resting(self, thread_id: str, saver: object) -> AsyncIterator[None]:
        """Hold a thread in which nothing goes on, so that nothing begins in it, and no other process deletes it.

        Args:
            thread_id: The thread.
            saver: Keeps it.

        Raises:
            LookupError: There is no such thread.
            RefusedError: A run goes on in it, in this process or in another one.
        """
        async with self._lock(thread_id):
            self._check_idle(thread_id)
            await self.runtime.threads.info(thread_id)  # lists one that another program wrote
            async with claimed(index_of(saver), thread_id):
                yield

    async def run_again(self, thread_id: str) -> Turn:
        """Run what comes next in a thread, as a run of its own; the caller holds the thread, see `resting`.

        Raises:
            ConfigurationError: The target makes no run.
        """
        run_id = uuid4().hex
        run = await self._make(run_id)
        config = {**self._config(thread_id), "metadata": {**self.target.config.get("metadata", {}), RERUN: run_id}}
        turn = self._remember(thread_id, run_id, [])
        self._watch(turn, asyncio.create_task(run.resume(None, config)))
        return turn

    async def stop(self, run_id: str) -> bool:
        """Stop a run, and return whether it was going on.

        Raises:
            LookupError: There is no such run.
        """
        return await self.runtime.runs.cancel(run_id, "Stopped by the person")

    async def erase(self, thread_id: str) -> None:
        """Erase a thread with everything that is kept of it, while nothing else is done with it in this process.

        Raises:
            LookupError: There is no such thread, and nothing was left of one.
            RefusedError: A run or a change goes on in it, in this process or in another one.
        """
        async with self._lock(thread_id):
            self._check_idle(thread_id)
            try:
                await self.runtime.threads.erase(thread_id)
            except ConfigurationError as error:
                raise RefusedError(409, str(error)) from None
            self.forget(thread_id)

    async def waiting(self, thread_id: str) -> Pause:
        """Return what a thread waits for, and whether it is unfinished, as its store has it."""
        return await self._pause(await self._make(uuid4().hex), thread_id)

    def forget(self, thread_id: str) -> None:
        """Forget a thread that was deleted."""
        self._newest.pop(thread_id, None)
        self._names.pop(thread_id, None)
        self.changes.notify()

    def going_on(self) -> Sequence[asyncio.Task[Any]]:
        """Return the executions that have not ended."""
        return tuple(self._tasks)

    def _lock(self, thread_id: str) -> asyncio.Lock:
        """Return what is held from the look at a thread until something goes on in it."""
        return self._locks.setdefault(thread_id, asyncio.Lock())

    async def _paused(self, thread_id: str) -> tuple[Run, Turn | None, Sequence[RunInterrupt]]:
        """Return the run that a thread waits with, its turn, and its questions.

        It is the run of this process, or one that takes its place, of which no turn is known yet.
        """
        self._check_idle(thread_id)
        turn = self._newest.get(thread_id)
        run = None if turn is None else self.runtime.get_run(turn.run_id)
        if turn is not None and run is not None:
            return run, turn, run.get_interrupts()
        view = await self.runtime.threads.get(thread_id)
        run_id = history.last_run_id(view.messages) or uuid4().hex
        return await self._make(run_id), None, view.interrupts

    def _check_idle(self, thread_id: str) -> None:
        turn = self._newest.get(thread_id)
        run = None if turn is None else self.runtime.get_run(turn.run_id)
        begins = turn is not None and turn.task is not None and not turn.task.done()
        if begins or (run is not None and run.running):
            raise RefusedError(409, "An answer is being written in this session: wait for its end, or stop it")

    async def _names_of(self, thread_id: str) -> set[str]:
        """Return the names of a thread's turns: a message of the same name would replace that one's.

        A thread is read once, before the first message that it gets in this process; the names of later ones are added.
        """
        names = self._names.pop(thread_id, None)
        if names is None:
            names = history.run_ids((await self.runtime.threads.get(thread_id)).messages)
        self._names[thread_id] = names
        while len(self._names) > _NAMED:
            self._names.popitem(last=False)
        return names

    async def _make(self, run_id: str) -> Run:
        return await self.runtime.create_run(run_id=run_id, **self.target.settings)

    def _config(self, thread_id: str) -> dict[str, Any]:
        """Return the config of an execution: each step is stored, so that it can be looked at and gone on from."""
        given = dict(self.target.config)
        return {
            "durability": "async",
            **given,
            "configurable": {**given.get("configurable", {}), "thread_id": thread_id},
        }

    async def _pause(self, run: Run, thread_id: str) -> Pause:
        """Return what a thread waits for, and whether it is unfinished, as its store has it."""
        thread: RunnableConfig = {"configurable": self._config(thread_id)["configurable"]}
        if isinstance(run.graph, HostedGraph):
            return await run.graph.pause(thread)
        return await Pause.of(run.graph.compiled, thread)

    def _remember(self, thread_id: str, run_id: str, content: Sequence[Mapping[str, Any]]) -> Turn:
        before = self._newest.pop(thread_id, None)
        turn = Turn(run_id, thread_id, content, None if before is None else before.run_id, datetime.now(UTC))
        self._newest[thread_id] = turn
        while len(self._newest) > _KNOWN:
            self._newest.popitem(last=False)
        return turn

    def _start(self, run: Run, thread_id: str, inputs: Mapping[str, Any] | Command[Any]) -> asyncio.Task[Any]:
        try:
            return self.runtime.start(run, inputs, self._config(thread_id))
        except ConfigurationError as error:
            raise RefusedError(409, str(error)) from None

    def _watch(self, turn: Turn, task: asyncio.Task[Any]) -> None:
        """Notice the end of an execution."""

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            turn.error = None if isinstance(error, AbortError) else error
            self.changes.notify()

        turn.task, turn.error = task, None
        self._tasks.add(task)
        task.add_done_callback(ended)
        self.changes.notify()

    async def _name(self, thread_id: str, content: Sequence[Mapping[str, Any]]) -> None:
        """Give a thread the beginning of its first message as its title; the turn has begun, so no error is raised."""
        text = next((part["text"] for part in content if part["type"] == "text"), "")
        words = " ".join(text.split()) if not text.startswith("<file ") else ""
        if words:
            title = words if len(words) <= _TITLE else f"{words[: _TITLE - 1].rstrip()}…"
            try:
                await self.runtime.threads.rename(thread_id, title.replace("\0", ""))
            except Exception:
                _log.exception("Thread '%s' was given no title of its first message", thread_id)
            self.changes.notify()


def _as_sent(content: list[dict[str, Any]]) -> Any:
    """Return the content of a message: a text that stands alone is sent as such, which every model takes."""
    return content[0]["text"] if [each["type"] for each in content] == ["text"] else content


def _check_ids(waiting: Sequence[RunInterrupt], answers: Mapping[str, Any]) -> None:
    """Refuse answers to questions that do not wait: they may be late ones, to a question before.

    Raises:
        UnknownInterruptError: A question does not wait.
    """
    ids = [each.interrupt_id for each in waiting]
    unknown = sorted(set(answers).difference(ids))
    if ids and unknown:
        raise UnknownInterruptError(
            f"Nothing waits for an answer to {', '.join(unknown)}; this session waits for answers to {', '.join(ids)}",
            reason="not_pending",
            interrupt_ids=unknown,
            pending_ids=ids,
        )
