"""The host's side of a run of agents that a worker executes: the same `Run`, whose executions are jobs of a pool.

- Events, handlers, readers, hooks, the tools that the host executes, the lock of the thread and the numbers of events
  are here, as they are when the run executes in this process; the agents, their models and their tools are in the
  worker.
- Each execution goes to whichever worker is free. Nothing of a run that waits is kept in a worker: it is in the thread.
- A worker that dies ends the execution with a WorkerError; the steps that it left open are closed. A pool that begins
  jobs again has another worker go on with it, where `attempts` says that it can; what such a job is to do is asked for
  by each attempt, and is nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from langchain_core.messages import AnyMessage

from stategraph.agent.agent import Agent
from stategraph.agent.graphs import assemble
from stategraph.agent.limits.amounts import RunUsage
from stategraph.agent.output.output_type import OutputType
from stategraph.agent.ports import ModelRegistry
from stategraph.engine.config import environment
from stategraph.errors import AbortError, TransferError
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.run import building
from stategraph.run.abort import AbortSignal, was_stopped
from stategraph.run.config import RunConfig
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.listener import RunListener
from stategraph.run.events.output_steps import FOLLOWED, OutputSteps
from stategraph.run.events.run_log import RunLog
from stategraph.run.graphs.hosted_graph import is_conversation, structured_response
from stategraph.run.hooks.hook_registry import HookEvents
from stategraph.run.pauses import RunInterrupt
from stategraph.run.ports import EventLog
from stategraph.run.run import Parts, ProcessOptions, Run
from stategraph.run.turn import turn_inputs
from stategraph.run.turn.budget import told
from stategraph.run.turn.client_tools import ToolExecuteRequest
from stategraph.run.turn.run_lock import RunLock
from stategraph.run.turn.turn_inputs import HostConfig
from stategraph.types import Command
from stategraph.workers.agents import agent_runs, host_saver, run_transfer
from stategraph.workers.agents.attempts import Attempts
from stategraph.workers.handle import ATTEMPT_EVENT, HostedJob
from stategraph.workers.hosting import HostingPool
from stategraph.workers.pool import Calls, Job
from stategraph.workers.references import Reference, modules_of
from stategraph.workers.wire import ErrorData, encode

#: Makes the context of a job: context variables, and the trace.
Carry: TypeAlias = Callable[[], tuple[bytes, str | None]]


class WorkerGraph(ExecutionGraph):
    """The graph of a run that a worker executes: steps and messages follow the worker.

    Args:
        config: The run's configuration.
        handlers: The handlers of the run's events.
        saver: Keeps the run's thread; None: it is not kept.
        models: To make the graph with, if it is asked for here.

    Attributes:
        is_earlier: Whether the structured response of a graph's state is one of an earlier turn.
    """

    is_earlier = False

    def __init__(
        self, config: RunConfig, handlers: EventHandlerRegistry, saver: Any, models: ModelRegistry | None
    ) -> None:
        self._several = config.graph is not None or config.graph_config.type == "multi-agent"
        self._config = config
        self._saver = saver
        self._models = models
        self._begin(config.run_id, handlers, self._several)

    @cached_property
    def _built(self) -> tuple[CompiledStateGraph[Any, Any, Any, Any], tuple[Agent, ...]]:
        """The graph and its agents, made in this process on first access."""
        if self._config.graph is not None:
            graph = building.hosted(self._config, self._saver, self.handler_registry)
            return graph.compiled, graph.agents
        graph_config = self._config.graph_config
        edges = graph_config.edges if self._several else None
        agents, builder = assemble.build(graph_config.agents, edges, self._models, sticky=self._config.sticky_agents)
        options = graph_config.compile_options
        compiled = builder.compile(
            checkpointer=self._saver,
            store=options.store,
            interrupt_before=list(options.interrupt_before) or None,
            interrupt_after=list(options.interrupt_after) or None,
        )
        return compiled, tuple(agents)

    @property
    def compiled(self) -> CompiledStateGraph[Any, Any, Any, Any]:  # type: ignore[override]
        """The graph, which can be drawn, inspected and time-travelled."""
        return self._built[0]

    @cached_property
    def output_types(self) -> Mapping[str, OutputType]:
        """The output types of the agents that have one, by agent; no model is made for them."""
        agents = self._config.graph_config.agents
        return {each.agent_id: OutputType(each.output_type) for each in agents if each.output_type is not None}

    def get_output(self, messages: Sequence[AnyMessage] | None = None) -> Any:
        """Return the output with which messages end; of a graph of the host's, its structured response."""
        if self._config.graph is None:
            return super().get_output(messages)
        return None if self.is_earlier else structured_response(self.values)

    @property
    def agents(self) -> tuple[Agent, ...]:  # type: ignore[override]
        """The agents, the first of which is the root."""
        return self._built[1]


class _Feed:
    """Receiver of the worker's events: passes them to the run's steps, and to its log.

    Args:
        graph: The run's graph.
        log: The run's log; None: no events are kept.
        outputs: Takes note of outputs; None: no agent has an output type.

    Attributes:
        attempts: Those of the execution that goes on.
    """

    attempts: Attempts

    def __init__(self, graph: WorkerGraph, log: EventLog | None, outputs: OutputSteps | None) -> None:
        self._graph = graph
        self._log = log
        self.outputs = outputs

    def put(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        """Take an event."""
        if event != ATTEMPT_EVENT:
            self.attempts.was_heard = True
        if event in agent_runs.STEP_EVENTS:
            self._graph.tracker.follow(event, data, (metadata or {}).get("agentId", ""))
        elif event in FOLLOWED and self.outputs is not None:
            self.outputs.follow(event, data)
        if self._log is not None:
            self._log.put(event, data, metadata)

    @property
    def is_full(self) -> bool:
        """True if the reader that owns the run has fallen behind."""
        return self._log is not None and self._log.is_full

    async def room(self) -> None:
        """Wait until it has nearly caught up."""
        if self._log is not None:
            await self._log.room()


class WorkerRun(Run):
    """A run whose executions are jobs of a pool. Made by `MultiProcessRuntime`.

    Args:
        config: The run's configuration.
        pool: Where it executes.
        saver: The checkpointer, here; None: there is none.
        opener: Makes the checkpointer in a worker; None: workers use the one that is here.
        carry: Makes the context of a job.
        models: To make titles with.
        log: Keeps the run's events, here; None: one of the size that the configuration says.
        queue: The queue that its jobs wait in, for pools that have several.

    Raises:
        TransferError: The configuration cannot be sent to a worker.
    """

    def __init__(
        self,
        config: RunConfig,
        pool: HostingPool,
        saver: Any,
        opener: Reference | None,
        carry: Carry,
        models: ModelRegistry | None = None,
        log: EventLog | None = None,
        queue: str = "default",
    ) -> None:
        handlers = config.custom_handlers
        if not isinstance(handlers, EventHandlerRegistry):
            handlers = EventHandlerRegistry(handlers)
        graph = WorkerGraph(config, handlers, saver, models)
        self.id = config.run_id
        self.graph = graph
        self.return_content = config.return_content
        self._token_counts = {}
        self._config = config
        self._models = models
        self._pool = pool
        self._queue = queue
        self._saver = saver
        self._carry = carry
        self._log = log
        if log is None and config.event_log_size:
            self._log = RunLog(config.event_log_size)
        self._listener = RunListener(self.id, graph, self._log)
        if any(each.output_type is not None for each in config.graph_config.agents):
            self._listener.outputs = OutputSteps(graph.tracker.steps, {})
        self._feed = _Feed(graph, self._log, self._listener.outputs)
        self._lock = RunLock(self.id, saver, self._log)
        self._data = run_transfer.as_data(config)
        self._place: list[Any] = ["none"]
        if opener is not None:
            self._place = ["open", opener]
        elif saver is not None:
            self._place = ["host", host_saver.versions_of(saver)]
        pool.allow({*modules_of([self._data, self._place])})
        self._report: Mapping[str, Any] = {}
        self._paused = False
        self._interrupts: tuple[RunInterrupt, ...] = ()
        self._requests: dict[int, ToolExecuteRequest] = {}
        self._executed = 0

    # Executions.

    async def _process(
        self, inputs: Mapping[str, object] | Command[Any], config: HostConfig, options: ProcessOptions
    ) -> Parts:
        if not isinstance(inputs, Command):
            if self._config.graph is None or is_conversation(inputs):
                # Here, so that messages have the same ids however often an execution is begun.
                messages = turn_inputs.messages_of(inputs)
                inputs = {**inputs, "messages": messages}
                self._token_counts = turn_inputs.counted(messages, self._config.index_token_count_map)
            self.graph.reset_values(options.get("keep_content", False))
        return await self._job("process", inputs, config, options)

    async def _resume(self, value: object, config: HostConfig, options: ProcessOptions) -> Parts:
        return await self._job("resume", value, config, options)

    async def _job(
        self, action: Literal["process", "resume"], inputs: object, config: HostConfig, options: ProcessOptions
    ) -> Parts:
        several = (self._lock.signal, turn_inputs.signal_of(config), self._config.graph_config.signal)
        signals = [each for each in several if each is not None]
        for signal in signals:
            if signal.aborted:
                raise AbortError(signal.reason or "This operation was aborted")
        self._paused, self._interrupts, self._report = False, (), {}
        if self._listener.outputs is not None:
            self._listener.outputs.clear()
        self._listener.callbacks = options.get("callbacks", {})
        hosted = self._hosted = self._made(action, inputs, config, options)
        loop = asyncio.get_running_loop()
        leave = [each.listen(partial(loop.call_soon_threadsafe, _stop, hosted, each)) for each in signals]
        leave.append(self.handler_registry.watch(lambda: hosted.tell("handled", self._handled())))
        failure: BaseException | None = None
        try:
            self._pool.enter(hosted)
            self._ended(await hosted.result())
        except BaseException as error:
            failure = error
            if isinstance(error, asyncio.CancelledError):
                await hosted.cancel("The run was cancelled")
            raise
        finally:
            for each in leave:
                each()
            await self._close(failure)
        return self._report["parts"] if self.return_content else None

    def _made(
        self, action: Literal["process", "resume"], inputs: object, config: HostConfig, options: ProcessOptions
    ) -> HostedJob:
        """Make the job of an execution."""
        durability: str | None = None
        if self._saver is not None:
            durability = config.get("durability") or ("sync" if self._pool.begins_again else "exit")
        attempts = self._attempts = self._feed.attempts = Attempts(self.id, action, durability)
        plain = {**{key: value for key, value in config.items() if key != "signal"}, "durability": durability}
        describe = partial(self._described, inputs, plain, options, environment.current().clock.time())
        given = encode(describe(), f"Run '{self.id}'")
        self._executed += 1
        context, trace = self._carry()
        job = Job(
            id=f"{self.id}/{self._executed}/{uuid4().hex}",
            kind="run",
            target=agent_runs.TARGET,
            input=b"" if self._pool.begins_again else given,
            thread_id=str(turn_inputs.thread_of(config, self.id)),
            context=context,
            traceparent=trace,
            queue=self._queue,
        )
        calls: Calls = {**self._calls, "given": partial(self._give, describe)}
        hosted = HostedJob(job, self._pool.codec, calls, self._feed)
        hosted.lost = attempts.lost
        return hosted

    async def _give(self, describe: Callable[[], Mapping[str, Any]], _: object) -> Mapping[str, Any]:
        """Answer a worker that begins an attempt with what it is to do."""
        self._requests.clear()
        if self._attempts.number > 1:
            about = {"attempt": self._attempts.number, "reason": self._attempts.reason}
            await self._listener.tell(ATTEMPT_EVENT, about, None)
        return describe()

    def _described(
        self, inputs: object, run_config: Mapping[str, object], options: ProcessOptions, entered_at: float
    ) -> Mapping[str, Any]:
        hooks = self._config.hooks
        return {
            "action": self._attempts.action,
            "config": self._data,
            "saver": self._place,
            "inputs": inputs,
            "run_config": run_config,
            "keep_content": options.get("keep_content", False),
            "callbacks": list(self._listener.callbacks),
            "handled": self._handled(),
            "keeps_events": self._log is not None,
            "hooks": None if hooks is None else [str(each) for each in HookEvents if hooks.has(each)],
            "hold": "nothing" if hooks is None else hooks.hold(),
            "steps": self.graph.tracker.steps.memory(),
            "closed": self.graph.tracker.steps.closed if self._attempts.number > 1 else [],
            "token_counts": self.token_counts,
            "entered_at": entered_at,
        }

    def _ended(self, report: Mapping[str, Any]) -> None:
        """Take the worker's report."""
        self._report = report
        self._interrupts = tuple(report["interrupts"])
        self._paused = report["status"] == "interrupted"
        self._token_counts = report["token_counts"]
        self.graph.keep_messages(report["messages"])
        if isinstance(self.graph, WorkerGraph):
            self.graph.is_earlier = report["is_earlier"]
        try:
            self.graph.values = self._pool.codec.decode(report["values"], f"The state of run '{self.id}'")
        except TransferError:  # classes of the graph's own, whose modules this process does not allow
            self.graph.values = None

    async def _close(self, failure: BaseException | None) -> None:
        """End the execution as the worker said, or as far as is known if it could not say."""
        status: Any = self._report.get("status") or ("cancelled" if was_stopped(failure) else "failed")
        if self._log is not None:
            self._log.let_go()
        self._requests.clear()
        try:
            if not self._paused:
                await self._listener.sweep(status)
        finally:
            if not (self._paused or self._config.skip_cleanup):
                self.graph.clear_heavy_state()
            try:
                if self._settle is not None:
                    await self._settle(status, failure)
            finally:
                if self._log is not None:
                    more = told(self.usage, self.get_halt_reason())
                    self._log.end(status, failure, self._interrupts, more=more)

    # Requests of the worker.

    @property
    def _calls(self) -> dict[str, Callable[[Any], object]]:
        calls: dict[str, Callable[[Any], Any]] = {
            "handle": self._handle,
            "answered": lambda number: self._requests.pop(number).answered(),
            "callback": self._call_back,
            "ended": self._ended_badly,
        }
        if self._config.hooks is not None:
            calls["hook"] = self._hook
        if self._saver is not None:
            calls[host_saver.CALL] = self._save
        return calls

    async def _save(self, operation: Any) -> object:
        answer = await host_saver.serve(self._saver, operation)
        self._attempts.saved(operation)
        return answer

    def _ended_badly(self, report: Mapping[str, Any]) -> None:
        """Take the worker's report before its error."""
        self._attempts.ended()
        self._ended(report)

    def _handled(self) -> dict[str, str]:
        """Return names of handlers by their events."""
        registry = self.handler_registry
        return {event: registry.name_of(event) for event in registry.events}

    def _handle(self, value: Any) -> object:
        event, data, metadata, number = value
        if number:
            early = partial(self._early, number, self._present)
            data = self._requests[number] = ToolExecuteRequest({**data, "signal": self._lock.signal}, early)
        self._feed.put(event, data, metadata)
        return self._listener.tell(event, data, metadata)

    @property
    def _present(self) -> tuple[int, int]:
        """The execution and its attempt, whose requests have numbers of their own."""
        return self._executed, self._attempts.number

    async def _early(self, number: int, of: tuple[int, int], result: Any) -> None:
        if of == self._present:
            self._hosted.tell("early", [number, result])

    async def _call_back(self, value: Any) -> None:
        name, details = value
        await self._listener.call_back(name, *(ErrorData.taken(each, self._pool.codec) for each in details))

    async def _hook(self, value: Any) -> object:
        event, happened, tool = value
        hooks = self._config.hooks
        assert hooks is not None
        self._attempts.was_heard = True
        about = {key: ErrorData.taken(each, self._pool.codec) for key, each in happened.items()}
        return await hooks.call(HookEvents(event), about, tool)

    # State of the run.

    def get_interrupts(self) -> list[RunInterrupt]:
        """Return all interrupts that the run waits for."""
        return list(self._interrupts)

    def get_active_agent(self) -> str | None:
        """Return the agent that spoke last; None if none did."""
        return self._report.get("active_agent") or self._config.active_agent

    def get_halt_reason(self) -> str | None:
        """Return the reason why the turn was ended early; None if it was not."""
        return self._report.get("halt_reason")

    def get_halt_message(self) -> str | None:
        """Return the reason that a hook gave for refusing the prompt; None if it gave none, or none refused it."""
        return self._report.get("halt_message")

    @property
    def usage(self) -> RunUsage:
        """The usage by the end of the last execution."""
        stored = self._report.get("usage")
        return RunUsage() if stored is None else RunUsage.restored(stored)

    def get_calibration_ratio(self) -> float:
        """Return reported tokens per counted token, for the conversation's next run; that of the first agent."""
        return float(self._report.get("calibration_ratio", self._config.calibration_ratio))

    def get_resolved_instruction_overhead(self) -> int | None:
        """Return the true tokens of the first agent's instructions and tools; None until usage is reported."""
        return self._report.get("instruction_overhead")

    def get_fading_tiers(self) -> dict[str, dict[str, Any]]:
        """Return the degree to which tool results are shortened, by agent, for the conversation's next run."""
        return dict(self._report.get("fading_tiers", {}))

    @property
    def _saves(self) -> bool:
        return self._saver is not None


def _stop(hosted: HostedJob, signal: AbortSignal) -> None:
    if hosted.outcome is None:
        hosted.stopping(signal.reason)
