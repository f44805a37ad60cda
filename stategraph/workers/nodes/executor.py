"""Nodes on workers: the function of a node runs in a process that can be stopped.

- The state crosses once in each direction, encoded as checkpoints are; the function is named by its import path.
- What the function writes to the custom stream, and what its models and tools report to callbacks, arrives here in
  order and goes where it would have gone from a thread. Answers to interrupts travel with the state.
- A node that takes longer than its limit is killed with its worker, which is replaced. So is one whose run was
  cancelled.
- The workers belong to this process and are shared by all of its graphs, in whichever event loop or thread they run.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
    RESUME,
)
from stategraph.engine.compile.functions import plan_call
from stategraph.engine.ports import NodeWork
from stategraph.errors import ConfigurationError, GraphBubbleUp, JobTimeoutError, NodeTimeoutError
from stategraph.workers import carrying
from stategraph.workers.handle import HostedJob
from stategraph.workers.nodes import callback_relay
from stategraph.workers.nodes.child import TARGET
from stategraph.workers.pool import Calls, EventSink, Job
from stategraph.workers.process.supervisor import ProcessPool
from stategraph.workers.references import reference_to, split
from stategraph.workers.wire import encode

#: What a worker imports before its first node.
_PRELOAD = ("stategraph.workers.nodes.child",)

#: What of a node's runtime does not leave the process of the run.
_STAYS = ("store", "stream_writer", "heartbeat", "control")


class NodeWorkers:
    """The workers for nodes of one process: a pool with an event loop and a thread of its own.

    Args:
        workers: How many processes; None: as many as the machine has processors.
        **settings: As for `ProcessPool`.
    """

    def __init__(self, workers: int | None = None, **settings: Any) -> None:
        self.pid = os.getpid()
        preload = (*_PRELOAD, *settings.pop("preload", ()))
        self._make = partial(ProcessPool, workers or os.cpu_count() or 1, grace_s=0.5, preload=preload, **settings)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="stategraph node workers", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.pool.aclose())
        self._loop.close()

    async def _open(self) -> None:
        self.pool = self._make()

    def submit(self, job: Job, allow: Sequence[str], calls: Calls, sink: EventSink) -> Future[Any]:
        """Have a job done; may be called from any thread.

        Returns:
            Its result. Cancelling it stops the job.
        """
        future: Future[object] = Future()
        self._loop.call_soon_threadsafe(self._begin, job, allow, calls, sink, future)
        return future

    def _begin(self, job: Job, allow: Sequence[str], calls: Calls, sink: EventSink, future: Future[Any]) -> None:
        if future.cancelled():
            return
        try:
            self.pool.allow(allow)
            hosted = HostedJob(job, self.pool.codec, calls, sink)
            self.pool.enter(hosted)
        except Exception as error:
            future.set_exception(error)
            return

        def ended(result: asyncio.Future[object]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            error = result.exception()
            if error is None:
                future.set_result(result.result())
            else:
                future.set_exception(error)

        def left(done: Future[object]) -> None:
            if done.cancelled():
                self._loop.call_soon_threadsafe(hosted.stopping, "The run does not wait for the node any more")

        hosted.when_ended(ended)
        future.add_done_callback(left)

    def close(self) -> None:
        """Stop the workers, with whatever they do."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


_lock = threading.Lock()
_workers: NodeWorkers | None = None
_settings: dict[str, Any] = {}
_numbers = itertools.count(1)


def configure_node_workers(workers: int | None = None, **settings: object) -> None:
    """Say how nodes with `executor="process"` run; before the first of them does.

    Args:
        workers: How many processes; None: as many as the machine has processors.
        **settings: As for `ProcessPool`: `memory_limit_mb`, `max_jobs_per_worker`, `allow`, `pass_environment`,
            `environment`, `preload`.

    Raises:
        ConfigurationError: Nodes have run already: call `close_node_workers` first.
    """
    with _lock:
        if _workers is not None and _workers.pid == os.getpid():
            raise ConfigurationError(
                "Nodes run on workers already: call close_node_workers() before they are configured"
            )
        _settings.clear()
        _settings.update(settings, workers=workers)


def close_node_workers() -> None:
    """Stop the workers of this process; the next node starts new ones."""
    global _workers
    with _lock:
        workers, _workers = _workers, None
    if workers is not None and workers.pid == os.getpid():
        workers.close()


def node_workers() -> NodeWorkers:
    """Return the workers of this process, started on first use. A forked process has its own."""
    global _workers
    with _lock:
        if _workers is None or _workers.pid != os.getpid():
            _workers = NodeWorkers(**_settings)
        return _workers


atexit.register(close_node_workers)


class ProcessExecutor:
    """The executor `process`, a `NodeExecutor`: runs sync functions on the workers of this process."""

    def prepare(self, work: NodeWork, /) -> _Node:
        """Return the call that runs a node's function on a worker.

        Raises:
            ConfigurationError: The node is no sync function, asks for what stays here, or has a limit for silence.
            TransferError: The function has no import path.
        """
        function = _sync_function(work)
        timeout = work.timeout
        if timeout is not None and (timeout.run_timeout is None or timeout.idle_timeout is not None):
            raise ConfigurationError(
                f"Node '{work.name}' has a limit for silence, which executor='process' does not watch; give a limit "
                "for the whole attempt: timeout=seconds"
            )
        target = reference_to(function, f"The function of node '{work.name}'").target
        # `TimeoutPolicy.coerce` has made seconds of it.
        return _Node(target, work.name, None if timeout is None else cast("float", timeout.run_timeout))


PROCESS = ProcessExecutor()


def _sync_function(work: NodeWork) -> object:
    """Return the function of a node if a worker can run it."""
    plan = None if isinstance(work.function, Runnable) else plan_call(work.function)
    if plan is None or plan.func is None:
        kind = "a coroutine function" if plan is not None else f"a value of type {type(work.function).__name__}"
        raise ConfigurationError(
            f"Node '{work.name}' is {kind}, and executor='process' is for sync functions, which nothing else can stop; "
            "leave the executor out"
        )
    wanted = [want.name for want in plan.wants if want.name in ("store", "error")]
    if wanted:
        raise ConfigurationError(
            f"Node '{work.name}' asks for '{wanted[0]}', which stays in the process of the run; read what the node "
            "needs in a node before it, or leave the executor out"
        )
    return work.function


class _Node:
    """A node's function on workers, as the engine calls it: a `NodeCall`."""

    def __init__(self, target: str, name: str, timeout_s: float | None) -> None:
        self._target = target
        self._name = name
        self._timeout_s = timeout_s
        self._packages = {split(target)[0].partition(".")[0]}

    def invoke(self, state: Any, config: RunnableConfig, /) -> Any:
        """Run it, and wait in this thread."""
        with self._begun(state, config) as future:
            return future.result()

    async def ainvoke(self, state: object, config: RunnableConfig, /) -> object:
        """Run it, and wait in this event loop."""
        with self._begun(state, config) as future:
            return await asyncio.wrap_future(future)

    @contextmanager
    def _begun(self, state: object, config: RunnableConfig) -> Iterator[Future[object]]:
        """Begin it, and stop it when it is not waited for any more."""
        began = time.monotonic()
        future = self._submitted(state, config)
        try:
            yield future
        except BaseException as error:
            future.cancel()
            raise self._raised(error, began) from error.__cause__

    def _submitted(self, state: object, config: RunnableConfig) -> Future[object]:
        conf: Mapping[str, Any] = config.get(CONF) or {}
        runtime, pad = conf[CONFIG_KEY_RUNTIME], conf[CONFIG_KEY_SCRATCHPAD]
        listeners = callback_relay.listeners(config)
        data = {
            "function": self._target,
            "state": state,
            "config": _plain(config),
            "context": runtime.context,
            "previous": runtime.previous,
            "execution_info": runtime.execution_info,
            "resume": list(pad.resume),
            "open_answer": pad.get_null_resume(False),
            "step": pad.step,
            "stop": pad.stop,
            "listens": None if listeners is None else "streams" if listeners.stream else "reports",
        }
        job = Job(
            id=f"{self._name}/{conf.get(CONFIG_KEY_TASK_ID, '')}/{next(_numbers)}",
            kind="task",
            target=TARGET,
            input=encode(data, f"The state of node '{self._name}'"),
            timeout_s=self._timeout_s,
            traceparent=carrying.traceparent(),
        )
        calls: Calls = {
            "take_answer": lambda _: pad.get_null_resume(True),
            "send": partial(_send, conf, pad),
        }
        packages = {*self._packages, type(state).__module__.partition(".")[0]} - {"builtins"}
        sink = _Sink(runtime.stream_writer, listeners)
        return node_workers().submit(job, tuple(packages), calls, sink)

    def _raised(self, error: BaseException, began: float) -> BaseException:
        """Return what the node raises for what its job did."""
        if isinstance(error, JobTimeoutError) and self._timeout_s is not None:
            elapsed = time.monotonic() - began
            return NodeTimeoutError(self._name, elapsed, kind="run", run_timeout=self._timeout_s)
        if isinstance(error, GraphBubbleUp):
            error.__dict__.pop("__notes__", None)
        return error


def _send(conf: Mapping[str, Any], pad: Any, writes: Sequence[Any]) -> None:
    """Write for the node; answers that it used are those of the task from now on."""
    for channel, value in writes:
        if channel == RESUME:
            pad.resume[:] = value
    conf[CONFIG_KEY_SEND]([(channel, value) for channel, value in writes])


class _Sink:
    """Takes events of a node to the custom stream and the callbacks of its run."""

    is_full = False

    def __init__(self, write: Callable[[Any], None], listeners: callback_relay.Listeners | None) -> None:
        self._write = write
        self._listeners = listeners

    def put(self, event: str, data: Any, metadata: object) -> None:
        """Take an event."""
        if event == "custom":
            self._write(data)
        elif event == callback_relay.EVENT and self._listeners is not None:
            self._listeners.tell(data)

    async def room(self) -> None:
        """Wait for nothing: streams of a run are not bounded."""


def _plain(config: RunnableConfig) -> dict[str, Any]:
    """Return a task's config as the function may see it elsewhere: values, and none of the engine's objects."""
    conf: Mapping[str, object] = config.get(CONF) or {}
    plain: dict[str, object] = {
        key: config[key]
        for key in ("tags", "metadata", "recursion_limit", "run_name", "max_concurrency")
        if key in config
    }
    plain[CONF] = {key: value for key, value in conf.items() if not key.startswith("__pregel_")}
    return plain
