"""Nodes on workers: the function of a node runs in a process that can be stopped.

- The state crosses once in each direction, encoded as checkpoints are; the function is named by its import path.
- What the function writes to the custom stream, and what its models and tools report to callbacks, arrives here in
  order and goes where it would have gone from a thread. Answers to interrupts travel with the state.
- A node that takes longer than its limit is killed with its worker, which is replaced. So is one whose run was
  cancelled.
- The workers belong to this process and are shared by all of its graphs, in whichever event loop or thread they run.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
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
from stategraph.engine.config.procedures import adrive, drive
from stategraph.engine.ports import NodeWork
from stategraph.errors import ConfigurationError, GraphBubbleUp, JobTimeoutError, NodeTimeoutError
from stategraph.workers.nodes import callback_relay
from stategraph.workers.nodes.attempt import NodeAttempt, NodeSink
from stategraph.workers.nodes.workers import NodeWorkers, NodeWorkerSettings, Waiting, wait, wait_in_loop
from stategraph.workers.references import reference_to, split

_lock = threading.Lock()
_workers: NodeWorkers | None = None
_settings = NodeWorkerSettings()
_numbers = itertools.count(1)


def configure_node_workers(
    workers: int | None = None,
    *,
    memory_limit_mb: int | None = None,
    max_jobs_per_worker: int | None = None,
    allow: Iterable[str] = (),
    pass_environment: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    preload: Iterable[str] = (),
) -> None:
    """Say how nodes with `executor="process"` run; before the first of them does.

    Args:
        workers: How many processes; None: as many as the machine has processors.
        memory_limit_mb: Resident memory of a worker, in MiB, above which it is replaced when its node has ended; above
            twice as much it is killed. None: no limit. Known on Linux alone.
        max_jobs_per_worker: After so many nodes a worker is replaced; None: never.
        allow: Modules that values may be imported from, beside those of the nodes' functions and states.
        pass_environment: Names of environment variables that workers get, added to the few that every program needs.
        environment: Variables of the workers' own.
        preload: Modules that a worker imports before its first node.

    Raises:
        ConfigurationError: A setting makes no sense, or nodes have run already: call `close_node_workers` first.
    """
    global _settings
    settings = NodeWorkerSettings(
        workers=workers,
        memory_limit_mb=memory_limit_mb,
        max_jobs_per_worker=max_jobs_per_worker,
        allow=allow,
        pass_environment=pass_environment,
        environment=environment or {},
        preload=preload,
    )
    with _lock:
        if _workers is not None and _workers.pid == os.getpid():
            raise ConfigurationError(
                "Nodes run on workers already: call close_node_workers() before they are configured"
            )
        _settings = settings


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
            _workers = NodeWorkers(_settings)
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
        self._packages = frozenset((split(target)[0].partition(".")[0],))

    def invoke(self, state: Any, config: RunnableConfig, /) -> Any:
        """Run it, and wait in this thread."""
        return drive(self._run(state, config), wait)

    async def ainvoke(self, state: object, config: RunnableConfig, /) -> object:
        """Run it, and wait in this event loop."""
        return await adrive(self._run(state, config), wait_in_loop)

    def _run(self, state: object, config: RunnableConfig) -> Generator[Waiting, Any, Any]:
        """Run it; a procedure."""
        began = time.monotonic()
        try:
            return (yield from node_workers().run(self._attempt(state, config), self._timeout_s))
        except JobTimeoutError as error:
            if self._timeout_s is None:  # it is the function's own
                raise
            elapsed = time.monotonic() - began
            late = NodeTimeoutError(self._name, elapsed, kind="run", run_timeout=self._timeout_s)
            raise late from error.__cause__
        except GraphBubbleUp as error:
            error.__dict__.pop("__notes__", None)
            raise

    def _attempt(self, state: object, config: RunnableConfig) -> NodeAttempt:
        conf: Mapping[str, Any] = config.get(CONF) or {}
        runtime, pad = conf[CONFIG_KEY_RUNTIME], conf[CONFIG_KEY_SCRATCHPAD]
        listeners = callback_relay.listeners(config)
        given = {
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
        calls: Mapping[str, Callable[[Any], Any]] = {
            "take_answer": lambda _: pad.get_null_resume(True),
            "send": partial(_send, conf, pad),
        }
        packages = self._packages | {type(state).__module__.partition(".")[0]} - {"builtins"}
        name = f"{self._name}/{conf.get(CONFIG_KEY_TASK_ID, '')}/{next(_numbers)}"
        return NodeAttempt(name, self._name, given, packages, NodeSink(runtime.stream_writer, listeners), calls)


def _send(conf: Mapping[str, Any], pad: Any, writes: Sequence[Any]) -> None:
    """Write for the node; answers that it used are those of the task from now on."""
    for channel, value in writes:
        if channel == RESUME:
            pad.resume[:] = value
    conf[CONFIG_KEY_SEND]([(channel, value) for channel, value in writes])


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
