"""The worker's side of jobs: finds the target, runs it, and reports events and the end to the host.

The same in each backend: a worker is told messages by `JobWorker.receive`, in its event loop, and answers by `send`.

- A target that is async runs in the event loop, a sync one in a thread, so that events get out while it works.
- A job may be so many events ahead of its host; then it waits. A sync target waits in its thread.
- Nothing is sent for a job after its end.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import AsyncExitStack
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from stategraph.errors import AbortError, TransferError
from stategraph.workers import carrying
from stategraph.workers.pool import Job
from stategraph.workers.references import Targets
from stategraph.workers.wire import Codec, Message, encode

F = TypeVar("F", bound=Callable[..., Any])

_Work: TypeAlias = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]

#: How many events a job may be ahead of its host.
WINDOW = 512

_current: contextvars.ContextVar[JobPort] = contextvars.ContextVar("stategraph.workers.port")

_WITH_PORT = "__stategraph_job__"


def job_target(function: F) -> F:
    """Mark an async function as one that is given its `JobPort` rather than the job's input."""
    setattr(function, _WITH_PORT, True)
    return function


def current_port() -> JobPort:
    """Return the port of the job that the caller is part of.

    Raises:
        LookupError: The caller is not part of a job.
    """
    return _current.get()


class JobPort:
    """Port of a running job to its host.

    Its methods may be called from the job's own threads, unless they are async.

    Attributes:
        job: The job.
        input: Its input, decoded.
        is_cancelled: Whether the host has cancelled the job.
        cancelled: Why; None if the host did not say.
        is_superseded: Whether another attempt takes the place of this one, which is cancelled: what it says is not
            heard any more.
        in_thread: Whether a sync target is running.
        over: Whether the job has ended.
    """

    def __init__(self, job: Job, worker: JobWorker) -> None:
        self.job = job
        self.input: Any = None
        self.cancelled: str | None = None
        self.is_cancelled = False
        self.is_superseded = False
        self.in_thread = False
        self.over = False
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._number = 0
        self._credit = WINDOW
        self._room = asyncio.Event()
        self._room_for_threads = threading.Condition()
        self._calls: dict[int, asyncio.Future[object]] = {}
        self._asked = 0
        self._tells: Callable[[str, Any], None] | None = None
        self._news: list[tuple[str, object]] = []

    @property
    def codec(self) -> Codec:
        """Writes and reads values of the job."""
        return self._worker.codec

    @property
    def targets(self) -> Targets:
        """The targets that the job may import."""
        return self._worker.codec.targets

    async def kept(self, name: Hashable, make: Callable[[], object]) -> Any:
        """Return something that the worker's jobs share, made when the first of them needs it.

        Args:
            name: Its name.
            make: Makes it; an async context manager is entered, and left when the worker ends.
        """
        return await self._worker.kept(name, make)

    # Events.

    @property
    def is_full(self) -> bool:
        """True if the host is so far behind that the job should wait."""
        return self._sent >= self._credit

    async def room(self) -> None:
        """Wait until the host has nearly caught up."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    async def emit(self, event: str, data: object = None, metadata: Mapping[str, object] | None = None) -> None:
        """Tell an event; waits while the host is too far behind.

        Raises:
            TransferError: The data have no stored form.
        """
        self.put(event, data, metadata)
        if self.is_full:
            await self.room()

    def put(self, event: str, data: Any = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Tell an event without waiting, in the worker's event loop."""
        what = f"The data of the event '{event}' of job '{self.job.id}'"
        encoded = encode((data, metadata), what)
        with self._room_for_threads:
            self._sent += 1
        self._send_event(str(event), encoded)

    def _send_event(self, event: str, encoded: bytes) -> None:
        # Numbered here, in the event loop, so that events of several threads go out in the order of their numbers.
        self._number += 1
        self._send(("event", self.job.id, self._number, event, encoded))

    def emit_from_thread(self, event: str, data: object = None, metadata: Mapping[str, object] | None = None) -> None:
        """Tell an event from a thread of the job; waits while the host is too far behind."""
        encoded = encode((data, metadata), f"The data of the event '{event}' of job '{self.job.id}'")
        with self._room_for_threads:
            self._room_for_threads.wait_for(lambda: not self.is_full or self.over)
            if self.over:
                return
            self._sent += 1
        self._loop.call_soon_threadsafe(self._send_event, str(event), encoded)

    # Calls.

    async def call(self, name: str, value: Any = None) -> Any:
        """Ask the host, and return its answer.

        Raises:
            TransferError: The value has no stored form.
            AbortError: The job has ended.
            Exception: What the host's function raised.
        """
        encoded = encode(value, f"The argument of the call '{name}' of job '{self.job.id}'")
        if self.over:
            raise self._nobody_answers()
        self._asked += 1
        number = self._asked
        answer = self._calls[number] = self._loop.create_future()
        self._send(("call", self.job.id, number, name, encoded))
        try:
            return await answer
        finally:
            del self._calls[number]

    def call_from_thread(self, name: str, value: object = None) -> Any:
        """Ask the host from a thread of the job, and wait for its answer."""
        return asyncio.run_coroutine_threadsafe(self.call(name, value), self._loop).result()

    # Messages from the host.

    @property
    def tells(self) -> Callable[[str, Any], None] | None:
        """The function that is called in the worker's event loop with the name and value of news from the host.

        News that came before it was set are kept for it.
        """
        return self._tells

    @tells.setter
    def tells(self, tells: Callable[[str, Any], None]) -> None:
        self._tells = tells
        kept, self._news = self._news, []
        for name, value in kept:
            tells(name, value)

    def hear(self, name: str, value: object) -> None:
        """Take news of the host."""
        if self._tells is None:
            self._news.append((name, value))
        else:
            self._tells(name, value)

    def add_credit(self, number: int) -> None:
        """Allow further events."""
        with self._room_for_threads:
            self._credit += number
            self._room_for_threads.notify_all()
        self._room.set()

    def answer(self, number: int, worked: bool, content: Any) -> None:
        """Take the host's answer to a call."""
        waiting = self._calls.get(number)
        if waiting is None or waiting.done():
            return
        try:
            if worked:
                waiting.set_result(self._worker.codec.decode(content, "The host's answer"))
                return
            error = self._worker.codec.rebuild(content)
        except TransferError as problem:
            error = problem
        # The host has the exception itself, and is told which of its answers came back.
        error.__dict__["_stategraph_reply"] = number
        waiting.set_exception(error)

    def end(self) -> None:
        """Send nothing from now on; calls fail, also those that wait for an answer."""
        self.over = True
        with self._room_for_threads:
            self._room_for_threads.notify_all()
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(self._nobody_answers())
                waiting.exception()  # who waited may be gone

    def _nobody_answers(self) -> AbortError:
        return AbortError(f"Job '{self.job.id}' has ended here, so its host answers nothing any more")

    def _send(self, message: Message) -> None:
        if not self.over:
            self._worker.send(message)


class JobThreads:
    """Threads for sync jobs, that are used again. None of them keeps the interpreter from ending.

    Args:
        name: Of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[SimpleQueue[_Work | None]] = []
        self._closed = False

    def run(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Run a function in a thread, and return its future; one that is cancelled leaves the thread to itself."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        if self._idle:
            inbox = self._idle.pop()
        else:
            inbox = SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
        inbox.put((loop, future, function, arguments))
        return future

    def close(self) -> None:
        """Let idle threads end, and the others when they have done their work."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _serve(self, inbox: SimpleQueue[_Work | None]) -> None:
        while (work := inbox.get()) is not None:
            loop, future, function, arguments = work
            try:
                outcome: tuple[bool, object] = True, function(*arguments)
            except BaseException as error:  # reported through the future
                outcome = False, error
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(self._finish, inbox, future, *outcome)
            del work, function, arguments, outcome

    def _finish(self, inbox: SimpleQueue[_Work | None], future: asyncio.Future[Any], worked: bool, result: Any) -> None:
        if self._closed:
            inbox.put(None)
        else:
            self._idle.append(inbox)
        if future.cancelled():
            return
        if worked:
            future.set_result(result)
        elif isinstance(result, StopIteration):  # cannot be raised in a future
            future.set_exception(RuntimeError(f"The job raised StopIteration: {result}"))
        else:
            future.set_exception(result)


class JobWorker:
    """Runs the jobs that a pool sends. Belongs to one event loop.

    `stategraph.workers.worker.Worker` is another thing: it claims runs of the registry by itself.

    Args:
        name: Its name in messages.
        targets: What it may import.
        send: Sends a message to the host.
    """

    def __init__(self, name: str, targets: Targets, send: Callable[[Message], None]) -> None:
        self.name = name
        self.codec = Codec(targets)
        self.send = send
        self._targets = targets
        self._jobs: dict[str, tuple[JobPort, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = JobThreads(f"{name} job")
        self._closing = False
        self._kept: dict[Hashable, object] = {}
        self._keeping = asyncio.Lock()
        self._exits = AsyncExitStack()

    def receive(self, message: Message) -> None:
        """Take a message of the host."""
        match message:
            case ("job", fields):
                self._begin(Job(**fields))
            case ("allow", modules):
                self._targets.allow(modules)
            case (kind, job_id, *rest) if job_id in self._jobs:
                self._told(kind, *self._jobs[job_id], rest)

    def _told(self, kind: str, port: JobPort, task: asyncio.Task[None], rest: list[Any]) -> None:
        match kind, *rest:
            case "credit", number:
                port.add_credit(number)
            case "reply", number, worked, content:
                port.answer(number, worked, content)
            case "tell", name, value:
                port.hear(name, self.codec.decode(value, "News of the host"))
            case ("superseded",):
                port.is_superseded = True
            case "cancel", reason:
                port.is_cancelled, port.cancelled = True, reason
                task.cancel()

    async def kept(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """Return something that jobs share, see `JobPort.kept`."""
        async with self._keeping:
            if name not in self._kept:
                made = make()
                is_manager = hasattr(made, "__aenter__") and hasattr(made, "__aexit__")
                self._kept[name] = await self._exits.enter_async_context(made) if is_manager else made
            return self._kept[name]

    async def aclose(self) -> None:
        """Cancel all jobs, wait until they have ended, and let idle threads go."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.close()
        await self._exits.aclose()

    # One job.

    def _begin(self, job: Job) -> None:
        port = JobPort(job, self)
        # In a separate context: of the submitter's it gets only the values that another process can get as well.
        task = asyncio.get_running_loop().create_task(
            self._run(port), name=f"job {job.id}", context=contextvars.Context()
        )
        self._jobs[job.id] = port, task
        self._tasks.add(task)  # an earlier attempt may be ending still when the next one of its job begins
        task.add_done_callback(lambda done: self._ended(port, done))

    def _ended(self, port: JobPort, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._jobs.get(port.job.id) == (port, task):
            del self._jobs[port.job.id]
        if port.over or self._closing:
            return
        # Cancelled before its first step, so that it could not say so itself.
        self.send(("cancelled", port.job.id, port.cancelled, False))
        port.end()

    async def _run(self, port: JobPort) -> None:
        job_id = port.job.id
        try:
            result = await self._called(port)
            last: Message = ("done", job_id, encode(result, f"The result of job '{job_id}'"))
        except asyncio.CancelledError as error:
            if self._closing and not port.is_cancelled:
                port.end()  # the host says why the worker had to go
                return
            if port.is_cancelled:
                last = ("cancelled", job_id, port.cancelled, port.in_thread)
            else:
                last = ("failed", job_id, self._described(error))
        except BaseException as error:
            last = ("failed", job_id, self._described(error))
        try:
            self.send(last)
        except TransferError as error:  # the result is too large
            self.send(("failed", job_id, self._described(error)))
        port.end()

    def _described(self, error: BaseException) -> dict[str, object]:
        record = self.codec.describe(error, f"worker '{self.name}'")
        return record | {"reply": getattr(error, "_stategraph_reply", None)}

    async def _called(self, port: JobPort) -> object:
        job = port.job
        _current.set(port)
        with carrying.restored(job.context, job.traceparent, self._targets, self.codec):
            target = self._targets.load(job.target)
            port.input = self.codec.decode(job.input, f"The input of job '{job.id}'")
            if getattr(target, _WITH_PORT, False):
                return await target(port)
            if hasattr(target, "astream") and hasattr(target, "ainvoke"):
                return await _stream_graph(target, port)
            if not callable(target):
                raise TransferError(
                    f"The target {job.target!r} is a value of type {type(target).__name__}; expected a function or a "
                    "compiled graph"
                )
            if inspect.iscoroutinefunction(target):
                return await target(port.input)
            return await self._in_thread(target, port)

    async def _in_thread(self, target: Callable[[Any], object], port: JobPort) -> object:
        """Run a sync target; a job that is cancelled meanwhile leaves its thread behind, and says so."""
        context = contextvars.copy_context()
        port.in_thread = True
        result = await self._threads.run(context.run, target, port.input)
        port.in_thread = False
        return await result if inspect.isawaitable(result) else result


async def _stream_graph(graph: Any, port: JobPort) -> object:
    """Run a compiled graph; its stream parts are the job's events, and its last values the result."""
    config = dict(port.job.config)
    if port.job.thread_id is not None:
        config["configurable"] = {**(config.get("configurable") or {}), "thread_id": port.job.thread_id}  # type: ignore[dict-item]
    values: object = None
    async for namespace, mode, part in graph.astream(
        port.input, config, stream_mode=["values", "updates", "custom", "messages"], subgraphs=True
    ):
        if mode == "values" and not namespace:
            values = part
        await port.emit(mode, part, {"namespace": list(namespace)})
    return values
