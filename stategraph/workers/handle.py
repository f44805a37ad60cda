"""The host's side of a job: its events, its calls, its end.

Events come numbered from the worker, and a number that is missing or out of order ends the job: a backend that loses
events is found out, never believed.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal

from stategraph.errors import AbortError, ConfigurationError, JobError, TransferError, WorkerError
from stategraph.run.events.run_log import RunEvent, RunLog
from stategraph.workers.execution import WINDOW
from stategraph.workers.pool import Calls, EventSink, Job
from stategraph.workers.wire import Codec, Message, encode

#: How many events of a job are kept for readers that come late.
EVENTS_KEPT = 4096

#: Tells readers that another worker has begun a job again; the events after it are those of that attempt.
ATTEMPT_EVENT = "run.attempt"

Outcome = Literal["completed", "failed", "cancelled"]


class HostedJob:
    """A job that was submitted; what `WorkerPool.submit` returns.

    Args:
        job: The job.
        codec: Reads what comes from the worker.
        calls: What the job may ask.
        log: Receives the events; None: a new log.

    Attributes:
        submitted_at: When it was submitted, in seconds of the monotonic clock.
        outcome: How it ended; None before.
        stopping: Called with a reason to stop it; set by the pool.
        lost: Called with a reason when its worker is lost, by a pool that begins jobs again; returns the error that it
            ends with instead, or None. Set by the submitter.
        worked: Whether a worker has begun it.
    """

    def __init__(self, job: Job, codec: Codec, calls: Calls | None, log: EventSink | None) -> None:
        self.job = job
        self.submitted_at = time.monotonic()
        self.outcome: Outcome | None = None
        self.stopping: Callable[[str | None], None] = lambda reason: None
        self.lost: Callable[[str], BaseException | None] = lambda reason: None
        self.send: Callable[[Message], None] = lambda message: None
        self.worked = False
        self._codec = codec
        self._calls = calls or {}
        self._own_log = RunLog(EVENTS_KEPT) if log is None else None
        self._log: EventSink = log or self._own_log  # type: ignore[assignment]
        self._result: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._seen = 0
        self._owed = 0
        self._has_reader = False
        self._granting: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._raised: dict[int, BaseException] = {}
        self._to_send: list[Message] = []

    # For the submitter.

    async def events(self, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Read its events, see `JobHandle.events`."""
        if self._own_log is None:
            raise ConfigurationError(f"The events of job '{self.job.id}' are read where they were said to go")
        owns, self._has_reader = not self._has_reader, True
        async for event in self._own_log.read(after_seq, owns=owns):
            yield event

    async def result(self) -> Any:
        """Wait for its end, see `JobHandle.result`."""
        return await asyncio.shield(self._result)

    async def cancel(self, reason: str | None = None) -> bool:
        """Stop it and wait until it has ended, see `JobHandle.cancel`."""
        if self.outcome is not None:
            return False
        self.stopping(reason)
        await self.ended()
        # mypy does not see that it has changed meanwhile.
        return bool(self.outcome == "cancelled")

    def begin_again(self, attempt: int, reason: str) -> None:
        """Expect the events of another worker, which begins the job from its start, after telling readers so."""
        for task in (*self._answering, *((self._granting,) if self._granting else ())):
            task.cancel()
        self._granting, self._seen, self._owed = None, 0, 0
        self._raised.clear()
        self._log.put(ATTEMPT_EVENT, {"attempt": attempt, "reason": reason}, None)

    async def ended(self) -> None:
        """Wait until it has ended, however it does."""
        await asyncio.wait((self._result,))

    def tell(self, name: str, value: Any) -> None:
        """Send news to the job; a worker that begins it later gets them then."""
        if self.outcome is None:
            self.post(("tell", self.job.id, name, encode(value, f"The news '{name}'")))

    # For the pool.

    def begun(self, send: Callable[[Message], None]) -> None:
        """Take note that a worker has the job.

        Args:
            send: Sends that worker a message.
        """
        self.worked, self.send = True, send
        waiting, self._to_send = self._to_send, []
        for message in waiting:
            send(message)

    def post(self, message: Message) -> None:
        """Send a message to the worker, as soon as there is one."""
        if self.worked:
            self.send(message)
        else:
            self._to_send.append(message)

    def when_ended(self, call: Callable[[asyncio.Future[Any]], None]) -> None:
        """Have a function called with the result when it has ended."""
        self._result.add_done_callback(call)

    def receive(self, message: Message) -> None:
        """Take a message of the worker."""
        if self.outcome is not None:
            return
        match message:
            case ("event", _, number, name, content):
                self._event(number, name, content)
            case ("call", _, number, name, content):
                self._call(number, name, content)
            case ("done", _, content):
                self._done(content)
            case ("failed", _, record):
                error = self._rebuilt(record)
                self._end("cancelled" if isinstance(error, AbortError) else "failed", None, error)
            case ("cancelled", _, reason, _):
                self.abort(reason)

    def _done(self, content: bytes) -> None:
        try:
            result = self._codec.decode(content, f"The result of job '{self.job.id}'")
        except TransferError as error:
            self.fail(error)
        else:
            self._end("completed", result, None)

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        self._end("failed", None, error)

    def abort(self, reason: str | None) -> None:
        """End it as cancelled."""
        self._end("cancelled", None, AbortError(reason or "This operation was aborted"))

    def _end(self, outcome: Outcome, result: object, error: BaseException | None) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        for task in (*self._answering, *((self._granting,) if self._granting else ())):
            task.cancel()
        if self._own_log is not None:
            self._own_log.end(outcome, error)
        if error is None:
            self._result.set_result(result)
        else:
            self._result.set_exception(error)
            self._result.exception()  # the result may not be awaited

    def _rebuilt(self, record: dict[str, Any]) -> BaseException:
        """Return what the job raised; the very exception if this process raised it, in answer to a call."""
        raised = self._raised.get(record.get("reply") or 0)
        return self._codec.rebuild(record) if raised is None else raised

    # Events.

    def _event(self, number: int, name: str, content: bytes) -> None:
        if number != self._seen + 1:
            self.stopping("events were lost")
            self.fail(
                WorkerError(
                    f"Event {number} of job '{self.job.id}' came after event {self._seen}: the connection to its "
                    "worker loses or reorders messages"
                )
            )
            return
        self._seen = number
        try:
            data, metadata = self._codec.decode(content, f"The event '{name}' of job '{self.job.id}'")
        except TransferError as error:
            self.stopping("an event cannot be read")
            self.fail(error)
            return
        self._log.put(name, data, metadata)
        self._owed += 1
        if self._log.is_full:
            if self._granting is None:
                self._granting = asyncio.ensure_future(self._grant_later())
        elif self._granting is None and self._owed >= WINDOW // 2:
            self._grant()

    async def _grant_later(self) -> None:
        await self._log.room()
        self._granting = None
        self._grant()

    def _grant(self) -> None:
        owed, self._owed = self._owed, 0
        self.send(("credit", self.job.id, owed))

    # Calls.

    def _call(self, number: int, name: str, content: bytes) -> None:
        """Begin to answer at once, so that the called function sees jobs' calls and events in their order."""
        try:
            function = self._calls.get(name)
            if function is None:
                known = ", ".join(sorted(self._calls)) or "nothing"
                raise LookupError(f"Job '{self.job.id}' called {name!r} of its host, which offers {known}")
            answer = function(self._codec.decode(content, f"The argument of the call '{name}'"))
        except Exception as error:
            self._refuse(number, error)
            return
        if not inspect.isawaitable(answer):
            self._answer(number, name, answer)
            return
        task = asyncio.ensure_future(self._await(number, name, answer, self.send))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _await(self, number: int, name: str, answer: Any, send: Callable[[Message], None]) -> None:
        try:
            result = await answer
        except asyncio.CancelledError as error:
            if self.outcome is not None or send is not self.send:  # the attempt that asked is over
                raise
            self._refuse(number, JobError(f"The call '{name}' of job '{self.job.id}' was cancelled by its host"), error)
        except Exception as error:
            if send is self.send:
                self._refuse(number, error)
        else:
            if send is self.send:
                self._answer(number, name, result)

    def _answer(self, number: int, name: str, result: object) -> None:
        try:
            content = encode(result, f"The host's answer to the call '{name}' of job '{self.job.id}'")
            self.send(("reply", self.job.id, number, True, content))
        except TransferError as error:  # also one that is too large
            self._refuse(number, error)

    def _refuse(self, number: int, error: BaseException, cause: BaseException | None = None) -> None:
        if cause is not None:
            error.__cause__ = cause
        self._raised[number] = error
        try:
            self.send(("reply", self.job.id, number, False, self._codec.describe(error, "the host")))
        except TransferError as too_large:
            self.stopping("the error of its host cannot be sent")
            self.fail(too_large)
