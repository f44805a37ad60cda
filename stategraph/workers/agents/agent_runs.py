"""The worker's side of a run of agents: the run itself, with its handlers, hooks and tools of the host left behind.

- Every event goes to the host. One that has a handler there goes as a call, and the agent waits for the handler as it
  does in one process; the others go without an answer, as far ahead as the host allows.
- Hooks, tools that the host executes and callbacks are calls as well; so is the saver, unless the worker opens its own.
- What the host wants to know of the run afterwards is a report: the result of the job, or a call before its error.
- A job that may be begun again on another worker holds nothing of the run: each attempt asks what it is to do. One that
  goes on where another attempt was lost begins at what is stored of it. One that another takes the place of ends
  without ending the run: nothing of its thread is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from stategraph.agent.llm.models import Models
from stategraph.agent.ports import Hold, HostResult
from stategraph.engine.config import environment
from stategraph.errors import AbortError, TransferError, WorkerError
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.handler_registry import EventHandlerRegistry, Handle, Handler
from stategraph.run.events.listener import ClientCallbacks
from stategraph.run.events.output_steps import FOLLOWED
from stategraph.run.events.run_log import RunLog
from stategraph.run.graphs.hosted_graph import HostedGraph
from stategraph.run.hooks.hook_registry import HookEvents, HookRegistry, Outcome
from stategraph.run.pauses import RunInterrupt
from stategraph.run.run import Parts, ProcessOptions, Run
from stategraph.run.turn.client_tools import ToolExecuteRequest
from stategraph.run.turn.turn_inputs import HostConfig
from stategraph.workers.agents.host_saver import HostSaver
from stategraph.workers.execution import JobPort, job_target
from stategraph.workers.references import Reference, key_of
from stategraph.workers.wire import ErrorData, encode

TARGET = f"{__name__}:execute"

#: Events by which the host keeps its own list of steps; they go to it even if events are not read.
STEP_EVENTS = frozenset((GraphEvents.ON_RUN_STEP, GraphEvents.ON_RUN_STEP_CLOSED))
_FOLLOWED = STEP_EVENTS | FOLLOWED


@job_target
async def execute(port: JobPort) -> dict[str, Any]:
    """Run a turn of agents.

    Args:
        port: Its input is what `stategraph.workers.agents.remote_run.WorkerRun` sends.

    Returns:
        The report.

    Raises:
        Exception: What the run raised.
    """
    given: Mapping[str, Any] = port.input or await port.call("given")
    far = _Far(port, given["handled"], keeps=given["keeps_events"])
    run = await _run_of(port, given, far)
    work = asyncio.ensure_future(_act(run, port, given))
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            if port.is_superseded:
                port.end()
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                raise
            # The run ends itself: its steps are closed, and its thread is left such that the next run can go on.
            run.abort(port.cancelled)
    if work.cancelled() or (error := work.exception()) is not None:
        await port.call("ended", _report(run, far, None))
        raise AbortError("The run was cancelled") if work.cancelled() else cast("BaseException", error)
    return _report(run, far, work.result())


class _WorkersRun(Run):
    """A run whose executions may have begun in another worker."""

    async def go_on(self, closed: Sequence[str], config: Mapping[str, object] | None, options: ProcessOptions) -> Parts:
        """Go on with an execution whose worker was lost, from what is stored of it, also if that is all of it.

        Args:
            closed: The steps that its worker told the end of; it may have stored less.
            config: As for `process_stream`.
            options: As for `process_stream`.
        """
        checked, options = self._checked(config, options)
        return await self._lock.execute(checked, partial(self._inside, self._go_on, closed, checked, options))

    async def _go_on(self, closed: Sequence[str], config: HostConfig, options: ProcessOptions) -> Parts:
        pause = await self._found(config)
        memory: Mapping[str, Any] = pause.memory or {}
        if memory.get("run") != self.id:
            memory = {}
        if not memory and not pause.unfinished:
            raise WorkerError(f"Nothing of run '{self.id}' is on its thread, where another worker had stored it")
        if not memory:  # no agent has got anywhere: all that is there went in
            self._listener.begin(pause.messages)
        steps = self.graph.tracker.steps
        steps.note_closed(closed)
        known = {step["id"] for step in memory.get("steps", ())}
        await self._listener.close([each for each in steps if each["id"] not in known], "failed")
        return await self._execute(None, config, options)


async def _run_of(port: JobPort, given: Mapping[str, Any], far: _Far) -> _WorkersRun:
    config = port.targets.resolved(given["config"])
    match given["saver"]:
        case ["host", versions]:
            config["graph_config"]["compile_options"]["checkpointer"] = HostSaver(port, versions)
        case ["open", Reference() as opener]:
            saver = await port.kept(key_of(opener), lambda: port.targets.make(opener))
            config["graph_config"]["compile_options"]["checkpointer"] = saver
    models = await port.kept("models", Models)
    own = {
        "custom_handlers": far.handlers,
        "hooks": None if given["hooks"] is None else _FarHooks(port, given["hooks"], given["hold"]),
        "return_content": True,
        "event_log_size": 1,
    }
    run = await _WorkersRun.create({**config, **own}, models=models, log=far.log)
    run.graph.tracker.steps.recall(given["steps"])
    run.restore(given["token_counts"])
    run.queued_s = max(0.0, environment.current().clock.time() - given["entered_at"])
    return run


async def _act(run: _WorkersRun, port: JobPort, given: Mapping[str, Any]) -> object:
    options = ProcessOptions(keep_content=given["keep_content"])
    if given["callbacks"]:
        callbacks = {name: _callback(port, name) for name in given["callbacks"]}
        options["callbacks"] = cast("ClientCallbacks", callbacks)
    if given["action"] == "go_on":
        return await run.go_on(given["closed"], given["run_config"], options)
    act = run.resume if given["action"] == "resume" else run.process_stream
    return await act(given["inputs"], given["run_config"], options)


def _report(run: Run, far: _Far, parts: object) -> dict[str, object]:
    """Return the report of a run: the values that a host can ask a run for."""
    return {
        "status": far.log.status,
        "interrupts": list(far.log.interrupts),
        "parts": parts,
        "messages": run.get_run_messages(),
        "halt_reason": run.get_halt_reason(),
        "halt_message": run.get_halt_message(),
        "active_agent": run.get_active_agent(),
        "usage": run.usage.stored(),
        "calibration_ratio": run.get_calibration_ratio(),
        "instruction_overhead": run.get_resolved_instruction_overhead(),
        "fading_tiers": run.get_fading_tiers(),
        "token_counts": run.token_counts,
        "values": _values(run),
        "is_earlier": isinstance(run.graph, HostedGraph) and run.graph.is_earlier,
    }


def _values(run: Run) -> bytes:
    """Return the newest state of a graph of the host's, encoded; nothing if it cannot be."""
    try:
        return encode(run.graph.values, f"The state of run '{run.id}'")
    except TransferError:
        return b""


def _callback(port: JobPort, name: str) -> Callable[..., object]:
    async def call(graph: Any, *details: Any) -> None:
        await port.call("callback", [name, [ErrorData.of(each, port.codec) for each in details]])

    return call


class _Far:
    """Handlers and log of the host, as the run in the worker sees them.

    Args:
        port: The way to the host.
        handled: Names of handlers by their events.
        keeps: Whether the host keeps events for readers.

    Attributes:
        handlers: Those that the host has.
        log: The host's.
    """

    def __init__(self, port: JobPort, handled: Mapping[str, str], *, keeps: bool) -> None:
        self.handled = dict(handled)
        self.port = port
        self.keeps = keeps
        self.handlers = _FarHandlers(self)
        self.log = _FarLog(self)
        self._requests: dict[int, ToolExecuteRequest] = {}
        self._asked = 0
        self._waiting: set[asyncio.Task[None]] = set()
        port.tells = self._told

    def _told(self, name: str, value: Any) -> None:
        if name == "handled":
            self.handled = dict(value)
        elif name == "early":
            number, result = value
            if (request := self._requests.get(number)) is not None:
                request.on_result(result)

    def handle(self, event: str) -> Handle:
        """Return the function that takes an event to its handler, under the name of the handler."""

        async def handle(event: str, data: Any, metadata: Any, graph: Any) -> None:
            if event == GraphEvents.ON_TOOL_EXECUTE:
                await self._execute_tools(data, metadata)
            else:
                await self.port.call("handle", [str(event), data, metadata, 0])

        handle.__qualname__ = self.handled[event]
        return handle

    async def _execute_tools(self, request: ToolExecuteRequest, metadata: object) -> None:
        self._asked += 1
        number = self._asked
        self._requests[number] = request
        payload = {key: value for key, value in request.items() if key != "signal"}
        await self.port.call("handle", [str(GraphEvents.ON_TOOL_EXECUTE), payload, metadata, number])
        # The handler has returned; it may answer whenever it is ready.
        task = asyncio.ensure_future(self._await_answer(number, request))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _await_answer(self, number: int, request: ToolExecuteRequest) -> None:
        try:
            results: Sequence[HostResult] = await self.port.call("answered", number)
        except Exception as error:
            request.reject(error)
        else:
            request.resolve(results)
        finally:
            del self._requests[number]


class _FarHandlers(EventHandlerRegistry):
    """Handlers of events at the host, for those that it named."""

    def __init__(self, far: _Far) -> None:
        super().__init__()
        self._far = far
        self._known: dict[str, tuple[str, Handle]] = {}

    def get_handle(self, event: str) -> Handle | None:
        """Return the function that takes an event to its handler; None without one."""
        name = self._far.handled.get(event)
        if name is None:
            return None
        known = self._known.get(event)
        if known is None or known[0] != name:
            known = self._known[event] = name, self._far.handle(event)
        return known[1]

    def get_handler(self, event: str) -> Handler | None:
        """Like `get_handle`."""
        return self.get_handle(event)


class _FarLog(RunLog):
    """The host's log: events that have a handler go with the call of the handler.

    Attributes:
        status: How the execution ended; None before.
        interrupts: What it waits for.
    """

    def __init__(self, far: _Far) -> None:
        super().__init__(1)
        self._far = far
        self.status: str | None = None
        self.interrupts: Sequence[RunInterrupt] = ()

    def put(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        """Send an event to the host."""
        far = self._far
        if event in far.handled:
            return
        if event == GraphEvents.ON_TOOL_EXECUTE:
            data = {key: value for key, value in data.items() if key != "signal"}
        if far.keeps or event in _FOLLOWED:
            far.port.put(event, data, metadata)

    @property
    def is_full(self) -> bool:
        """True if the host is too far behind."""
        return self._far.port.is_full

    async def room(self) -> None:
        """Wait for the host."""
        await self._far.port.room()

    def end(
        self,
        status: Any,
        error: BaseException | None,
        interrupts: Sequence[RunInterrupt] = (),
        *,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Note how the execution ended; the host tells its readers."""
        self._running = False
        if self.status is None:
            self.status, self.interrupts = status, interrupts


class _FarHooks(HookRegistry):
    """The hooks of the host.

    Args:
        port: The way to the host.
        points: The events that it has hooks for.
        hold: How much of an answer they hold back.
    """

    def __init__(self, port: JobPort, points: Sequence[str], hold: Hold) -> None:
        super().__init__()
        self._port = port
        self._points = frozenset(points)
        self._hold = hold

    def has(self, event: HookEvents) -> bool:
        """Return whether the host has a hook for an event."""
        return event in self._points

    def hold(self) -> Hold:
        """Return how much of an answer the host's hooks hold back."""
        return self._hold

    async def call(self, event: HookEvents, happened: Mapping[str, Any], about: str | None = None) -> Outcome:
        """Have the host call its hooks."""
        if event not in self._points:
            return Outcome()
        codec = self._port.codec
        told = {key: ErrorData.of(value, codec) for key, value in happened.items()}
        return cast("Outcome", await self._port.call("hook", [str(event), told, about]))
