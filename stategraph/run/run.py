"""A run: one turn of a conversation, from the messages that go in to the events, content and messages that come out.

- `create` builds the graph without any I/O. `process_stream` executes it; every event reaches its handler, in
  order, before the agent that caused it goes on.
- However a run ends, each of its steps is closed and its messages can be read. An abort ends it with AbortError, and a
  thread with a checkpointer is left with messages that every provider accepts.
- A run that waits for a person returns normally: `get_interrupts` says for what, `resume` goes on, also in a run of the
  same id that was created in another process on the same checkpointer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Self, cast

from langchain_core.runnables import RunnableConfig

from stategraph.agent.context.tokens import token_counter_for
from stategraph.agent.graphs import subagents
from stategraph.agent.llm.models import resolve
from stategraph.agent.messages import history
from stategraph.agent.ports import AgentContext, Listener, ModelRegistry, ToolGate, ToolHost
from stategraph.constants import MISSING
from stategraph.engine.config import environment, foreign_types
from stategraph.errors import ConfigurationError
from stategraph.run import background_loop, building, pauses
from stategraph.run.config import RunConfig
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.listener import RunListener
from stategraph.run.events.output_steps import OutputSteps
from stategraph.run.events.run_log import RunLog
from stategraph.run.facade import SyncRun
from stategraph.run.graphs import reviews
from stategraph.run.graphs.hosted_graph import HostedGraph
from stategraph.run.history import recovery
from stategraph.run.history import title as titles
from stategraph.run.hooks.approval import HookGate
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.hooks.model_hooks import ModelHookGate
from stategraph.run.hooks.turn_hooks import TurnHooks
from stategraph.run.pauses import Pause, after
from stategraph.run.ports import EventLog, RunEvent, Settle, ThreadKeeper
from stategraph.run.results import RunResults
from stategraph.run.turn import turn_inputs
from stategraph.run.turn.budget import meter_of, tool_limits
from stategraph.run.turn.client_tools import RunToolHost
from stategraph.run.turn.run_lock import RunLock
from stategraph.run.turn.turn_execution import TurnExecution
from stategraph.run.turn.turn_inputs import HostConfig
from stategraph.run.turn.turn_inputs import Parts as Parts
from stategraph.run.turn.turn_inputs import ProcessOptions as ProcessOptions
from stategraph.types import Command, Overwrite


class Run(SyncRun, RunResults):
    """One turn of one or several agents. Made by `create`.

    Attributes:
        id: The run's name.
        graph: Its graph, steps and messages.
        return_content: Whether `process_stream` returns content parts.
        queued_s: Seconds that it waited for a worker; None: it did not wait for one.
        keeper: Is told of its executions; None: nobody is.
    """

    queued_s: float | None = None
    keeper: ThreadKeeper | None = None

    def __init__(
        self, config: RunConfig, graph: ExecutionGraph, models: ModelRegistry | None = None, log: EventLog | None = None
    ) -> None:
        self.id = config.run_id
        self.graph = graph
        self.return_content = config.return_content
        self._config = config
        self._models = models
        self._log = log
        if log is None and config.event_log_size:
            self._log = RunLog(config.event_log_size)
        self._listener = RunListener(self.id, graph, self._log)
        tools = {agent.id: agent.host_tool_names for agent in subagents.everyone(graph.agents)}
        self._listener.remember = self._saves
        self._listener.sticky = config.sticky_agents
        if graph.output_types:
            self._listener.outputs = OutputSteps(graph.tracker.steps, graph.output_types)
        self._host = RunToolHost(self._listener, graph.tracker, tools)
        self._hooks = None
        if config.hooks is not None:
            self._hooks = TurnHooks(self.id, graph.agents[0].id, config.hooks, config.max_stop_continuations)
            self._listener.observe = self._hooks.hear
        self._asks = config.human_in_the_loop.enabled
        gate = HookGate(
            self.id,
            config.hooks or HookRegistry(),
            graph.tracker,
            self._listener.hear,
            asks=self._asks,
            keeps=not isinstance(graph, HostedGraph),
            delegation=partial(subagents.delegation_of, list(subagents.everyone(graph.agents))),
        )
        # A run that continues with a question of another process needs it also without hooks.
        asked = (gate,) if config.hooks is not None or self._asks else ()
        self._meter = self._listener.meter = meter_of(config.limits, config.prices, graph.agents, config.token_counter)
        self._gates: Sequence[ToolGate] = (*asked, *config.tool_gates, *tool_limits(self._meter, self._listener.hear))
        self._model_gates = config.model_gates
        if config.hooks is not None:
            self._model_gates = (ModelHookGate(self.id, config.hooks, self._listener.hear), *self._model_gates)
        self._token_counts: dict[str, int] = {}
        self._token_counter = config.token_counter
        limited = any(agent.max_context_tokens for agent in config.graph_config.agents)
        counted = limited or config.index_token_count_map is not None
        if config.token_counter is None and counted and not isinstance(graph, HostedGraph):
            self._token_counter = token_counter_for(graph.agents[0].routes[0].name)
        self._last: TurnExecution | None = None
        self._settle: Settle | None = None
        self._lock = RunLock(self.id, graph.compiled.checkpointer, self._log)

    @classmethod
    async def create(
        cls,
        config: RunConfig | Mapping[str, object],
        *,
        models: ModelRegistry | None = None,
        log: EventLog | None = None,
    ) -> Self:
        """Make a run. Neither models nor networks are contacted.

        Args:
            config: The configuration, as a value or as a mapping in either spelling.
            models: Resolves the models of agents; None: models of the run's own.
            log: Keeps the run's events; None: one of the size that the configuration says.

        Returns:
            The run, not started.

        Raises:
            ConfigurationError: The configuration is invalid or incomplete.
            MissingPackageError: A model's package is not installed.
        """
        config = RunConfig.of(config)
        building.check_ports(models, log)
        graph = building.graph_of(config, models)
        return cls(config, graph, models, log)

    @classmethod
    def create_sync(
        cls,
        config: RunConfig | Mapping[str, object],
        *,
        models: ModelRegistry | None = None,
        log: EventLog | None = None,
    ) -> Self:
        """Make a run where nothing can be awaited, for `run_sync`, `stream_sync` and `resume_sync`; see `create`."""
        return background_loop.current().run(partial(cls.create, config, models=models, log=log))

    @property
    def token_counts(self) -> Mapping[str, int]:
        """Tokens of the input's messages by their ids, as far as the host knows them."""
        return self._token_counts

    def restore(self, token_counts: Mapping[str, int]) -> None:
        """Take up what an execution of the run in another process knew.

        Args:
            token_counts: Its `token_counts`.
        """
        self._token_counts = dict(token_counts)

    @property
    def handler_registry(self) -> EventHandlerRegistry:
        """The handlers of the run's events; may be changed at any time."""
        return self.graph.handler_registry

    @property
    def running(self) -> bool:
        """True if the run is being executed, or has been started."""
        return self._lock.running

    @property
    def thread_id(self) -> str | None:
        """The thread of its last execution; None before the first."""
        return self._lock.thread_id

    def abort(self, reason: str | None = None) -> None:
        """Stop the running execution; its callers get an AbortError. May be called from any thread.

        A run that was not executed yet will not be; on one that is over it has no effect.

        Args:
            reason: Why, for the error's message.
        """
        self._lock.abort(reason)

    async def ended(self) -> None:
        """Wait until the execution that goes on has ended, however it ends."""
        await self._lock.ended()

    # Running.

    async def process_stream(
        self,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> Parts:
        """Run a turn to its end, or until it waits for a person.

        Args:
            inputs: `{"messages": [...]}`, or a Command that resumes.
            config: A RunnableConfig; `signal` may hold an AbortSignal. With a checkpointer, `configurable.thread_id`
                names the thread, and `durability` says when its state is stored: `exit` (at the end of the turn or
                when it pauses, the default), or `async` or `sync` (after each step).
            options: Callbacks, and whether indices go on.

        Returns:
            The content parts, if the run was created with `return_content`; else None.

        Raises:
            AbortError: The signal said so.
            HandlerError: A handler failed; the message names it.
            GraphRecursionError: The turn took more steps than the config's `recursion_limit`.
            LimitReachedError: A limit is reached, and the run's limits say that this raises.
            ConfigurationError: The input makes no sense, or the run is being executed already.
            Exception: What a model or the host's tools raised, as it is.
        """
        config, options = self._checked(config, options)
        return await self._lock.execute(config, partial(self._inside, self._process, inputs, config, options))

    def start(
        self,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> asyncio.Task[Parts]:
        """Run a turn in the background.

        Args:
            inputs: As for `process_stream`.
            config: As for `process_stream`.
            options: As for `process_stream`.

        Returns:
            The execution, with the result or error of `process_stream`. Keep a reference as long as it runs.

        Raises:
            ConfigurationError: The run is being executed already, or config or options make no sense.
        """
        config, options = self._checked(config, options)
        return self._lock.start(config, partial(self._inside, self._process, inputs, config, options))

    def _checked(
        self, config: Mapping[str, object] | None, options: ProcessOptions | None
    ) -> tuple[HostConfig, ProcessOptions]:
        """Validate the config and options of an execution; None is the same as empty."""
        self._config.check_guards()
        known = turn_inputs.checked_options(options, ProcessOptions.__annotations__)
        return turn_inputs.checked_config(config, stores=self._saves), cast("ProcessOptions", known)

    async def _inside(self, work: Callable[..., Awaitable[Parts]], *args: object) -> Parts:
        """Do the work of an execution by the run's own clock and ids, if it has any."""
        with environment.replacing(self._config.clock, self._config.ids):
            if self._config.session is None:
                return await self._kept(work, *args)
            async with self._config.session.active(self.id, self.thread_id):
                return await self._kept(work, *args)

    async def _kept(self, work: Callable[..., Awaitable[Parts]], *args: object) -> Parts:
        """Do the work of an execution of which the keeper of threads is told, if there is one."""
        thread_id = self.thread_id
        if self.keeper is None or thread_id is None:
            return await work(*args)
        async with self.keeper.executing(
            self._lock.checkpointer,
            thread_id,
            self.id,
            lambda: self.get_interrupt() is not None,
            lambda: self._lock.ending() is not None,
        ) as self._settle:
            try:
                return await work(*args)
            finally:
                self._settle = None

    async def _process(
        self, inputs: Mapping[str, object] | Command[Any], config: HostConfig, options: ProcessOptions
    ) -> Parts:
        inputs = foreign_types.taken(inputs)
        if isinstance(inputs, Command):
            if inputs.resume is not None:
                pause = await self._found(config)
                inputs = replace(inputs, resume=self._answers(pause, inputs.resume))
            return await self._execute(inputs, config, options)
        graph = self.graph
        if isinstance(graph, HostedGraph):
            fresh, messages = graph.inputs_of(inputs)
        else:
            messages = turn_inputs.messages_of(inputs)
            if not messages:
                await recovery.check_history(graph.compiled, self._thread(config))
            fresh = {**inputs, "messages": messages, "halt_reason": Overwrite(None), "memory": Overwrite(None)}
            if self._config.active_agent is not None:
                fresh["active_agent"] = self._config.active_agent
        if self._saves:
            await self._take_up(config)
        self._meter.reset()
        graph.reset_values(options.get("keep_content", False))
        self._token_counts = turn_inputs.counted(messages, self._config.index_token_count_map)
        self._listener.begin(messages)
        return await self._execute(fresh, config, options)

    async def resume(
        self, value: object = MISSING, config: Mapping[str, object] | None = None, options: ProcessOptions | None = None
    ) -> Parts:
        """Go on with a run that waits.

        Args:
            value: The answer, also a mapping from ids of interrupts to answers, which it has to be if several wait. May
                be left out where people decide elsewhere about the actions that wait: what is not decided yet is asked
                again. Where no interrupt waits but the thread is unfinished (at a breakpoint, or because its process
                died), it goes on, and the value is not used.
            config: As for `process_stream`, of the same thread.
            options: As for `process_stream`.

        Returns:
            As `process_stream`.

        Raises:
            UnknownInterruptError: Nothing waits on the thread, or several do and the answer does not say which.
            InvalidAnswerError: The answer does not fit what was asked; the run still waits.
        """
        config, options = self._checked(config, options)
        return await self._lock.execute(config, partial(self._inside, self._resume, value, config, options))

    async def _resume(self, value: object, config: HostConfig, options: ProcessOptions) -> Parts:
        pause = await self._found(config)
        if not pause.interrupts and pause.unfinished:
            return await self._execute(None, config, options)
        if value is MISSING:
            pauses.check_decided_elsewhere(self.id, pause)
            return await self._execute(None, config, options)
        return await self._execute(Command(resume=self._answers(pause, value)), config, options)

    def _answers(self, pause: Pause, value: object) -> dict[str, Any]:
        if isinstance(self.graph, HostedGraph):
            return reviews.answers(pause.interrupts, value, self.graph.compiled)
        return pauses.answers(pause.interrupts, value)

    async def stream(
        self,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> AsyncGenerator[RunEvent, None]:
        """Run a turn, and read its events as they come; the run waits for this reader.

        Handlers are called as well. A reader that leaves early ends the run: use `attach` to watch one that goes on.

        Args:
            inputs: As for `process_stream`.
            config: As for `process_stream`.
            options: As for `process_stream`.

        Yields:
            Events with their numbers, the last of which, `on_run_end`, says how the run ended.

        Raises:
            Exception: What `process_stream` raises, after the last event.
        """
        log = self._kept_log()
        events = log.read(log.last_seq, owns=True)
        work = self.start(inputs, config, options)
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def attach(self, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Watch the run: the events after a number, those of the past first, until the execution ends.

        The run does not wait for this reader. Events that are no longer kept are replaced by one called `on_gap`.

        Args:
            after_seq: The number of the last event that the reader has; 0: from the start.

        Returns:
            Events with their numbers.

        Raises:
            ConfigurationError: The run keeps no events, belongs to another event loop, or the number is none.
        """
        self._lock.affinity.check()
        if isinstance(after_seq, bool) or not isinstance(after_seq, int):
            raise ConfigurationError(
                f"'after_seq' is {after_seq!r:.50}; expected the number of an event, such as int(last_event_id)"
            )
        return self._kept_log().read(after_seq)

    def _kept_log(self) -> EventLog:
        if self._log is None:
            raise ConfigurationError(
                f"Run '{self.id}' keeps no events to read: create it with an event_log_size above 0"
            )
        return self._log

    async def _execute(self, inputs: object, config: HostConfig, options: ProcessOptions) -> Parts:
        signals = [self._lock.signal, turn_inputs.signal_of(config), self._config.graph_config.signal]
        self._listener.callbacks = options.get("callbacks", {})
        self._host.signal = self._lock.signal
        thread = self._thread(config)
        listener: Listener = self._listener
        host: ToolHost = self._host
        measured = building.measurement(self._config, self.graph, thread, self.queued_s)
        if measured is not None:
            thread, listener, host = measured.config(thread), measured.listener(listener), measured.host(host)
        context = AgentContext(
            run_id=self.id,
            listener=listener,
            host=host,
            gates=self._gates,
            model_gates=self._model_gates,
            meter=self._meter,
            token_counter=self._token_counter,
            token_counts=self._token_counts,
            calibration_ratio=self._config.calibration_ratio,
            fading_tiers=self._config.tiers(),
            context=config.get("context"),
        )
        execution = self._last = building.execution_of(self.graph)(
            self._listener,
            self._hooks,
            self._log,
            thread,
            durability=config.get("durability") or "exit",
            clean=not self._config.skip_cleanup,
            meter=self._meter,
        )
        execution.settle = self._settle
        try:
            ran = await execution.run(inputs, context, [each for each in signals if each is not None])
        except BaseException as error:
            # The host's tools run on their own, and are told here that their results are no longer awaited.
            self._lock.abort()
            if measured is not None:
                measured.end(execution.status, error)
            raise
        if execution.cut_off:
            self._lock.abort(execution.halt_reason)
        if measured is not None:
            measured.end(execution.status, None)
        if not (ran and self.return_content):
            return None
        return [] if execution.paused else self.graph.get_content_parts()

    def _thread(self, config: HostConfig) -> RunnableConfig:
        """Return the config of an execution as its graph takes it."""
        thread = turn_inputs.runnable_config(config, self.id)
        return self.graph.config_of(thread, config) if isinstance(self.graph, HostedGraph) else thread

    # Titles.

    async def generate_title(
        self,
        *,
        provider: str,
        input_text: str,
        content_parts: Sequence[Mapping[str, object] | None],
        client_options: Mapping[str, object] | None = None,
        title_method: titles.TitleMethod = "structured",
        title_prompt: str | None = None,
        title_prompt_template: str | None = None,
        skip_language: bool = False,
        chain_options: Mapping[str, object] | None = None,
    ) -> titles.Title:
        """Ask a model for a title of the conversation.

        Args:
            provider: Whose model, or `provider:model`.
            input_text: The person's message.
            content_parts: The answer.
            client_options: Options of the provider's client.
            title_method: How to ask: for text, structured output, or a function call.
            title_prompt: The prompt, see `stategraph.run.history.title`.
            title_prompt_template: How the conversation is written.
            skip_language: Do not ask for the language.
            chain_options: A RunnableConfig for the call.

        Returns:
            The title, and the language if it was asked for.

        Raises:
            ConfigurationError: The settings make no sense.
            Exception: What the model raised.
        """
        make = resolve if self._models is None else self._models.resolve
        return await titles.generate_title(
            make(provider, client_options),
            input_text,
            content_parts,
            method=title_method,
            prompt=title_prompt,
            prompt_template=title_prompt_template,
            skip_language=skip_language,
            config=cast("RunnableConfig | None", chain_options),
        )

    # Configuration.

    @property
    def _saves(self) -> bool:
        return bool(self.graph.compiled.checkpointer)

    async def _take_up(self, config: HostConfig) -> None:
        """End the last turn of a thread if it waits or was cut off: what was said in it comes before this turn."""
        thread = self._thread(config)
        pause = await self._pause(thread)
        if not pause.unfinished:
            return
        if isinstance(self.graph, HostedGraph):
            await self.graph.commit(thread, ())
        else:
            said = [*pause.said, *await pause.results(self.graph.compiled)]
            await recovery.commit(self.graph.compiled, thread, history.repair(said), pause.active_agent)

    async def _pause(self, thread: RunnableConfig) -> Pause:
        if isinstance(self.graph, HostedGraph):
            return await self.graph.pause(thread)
        return await Pause.found(self.graph.compiled, thread)

    async def _found(self, config: HostConfig) -> Pause:
        """Load the thread's paused state and restore this run from it."""
        if not self._saves:
            raise pauses.not_kept(self.id)
        pause = await self._pause(self._thread(config))
        if not self._asks and any(each.needs_approval and not each.is_governed for each in pause.interrupts):
            raise pauses.not_asking(self.id)
        pauses.check_limits(self.id, pause, self._config.limits)
        if pause.memory is not None:
            if isinstance(self.graph, HostedGraph):
                self.graph.recall(pause.memory)
            self._listener.recall(pause.memory)
            if not self._listener.produced:
                self._listener.produced.extend(after(self._listener.last_input_id, pause.messages) or ())
        return pause
