"""A run: one turn of a conversation, from the messages that go in to the events, content and messages that come out.

- `create` builds the graph and contacts nobody. `process_stream` executes it; every event reaches its handler, in
  order, before the agent that caused it goes on.
- However a run ends, each of its steps is closed and its messages can be read. An abort ends it with AbortError, and a
  thread with a checkpointer is left with messages that every provider accepts.
- A run that waits for a person returns normally: `get_interrupts` says for what, `resume` goes on, also in a run of the
  same id that was created in another process on the same checkpointer.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Self, TypedDict, TypeVar, cast

from langchain_core.messages import AnyMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig

from stategraph.agent import assemble
from stategraph.agent.discovery import discovered
from stategraph.agent.models import Models, resolve
from stategraph.agent.ports import AgentContext
from stategraph.agent.shrinking import FadingTier
from stategraph.agent.tokens import token_counter_for
from stategraph.engine.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError, is_invalid_resume
from stategraph.run import closing, waiting
from stategraph.run import title as titles
from stategraph.run.abort import AbortController, AbortSignal
from stategraph.run.approval import HookGate
from stategraph.run.config import RunConfig
from stategraph.run.graph import ExecutionGraph
from stategraph.run.hooks import HookRegistry
from stategraph.run.host import RunToolHost
from stategraph.run.listener import ClientCallbacks, HandlerStatistics, RunListener
from stategraph.run.log import RunEvent, RunLog
from stategraph.run.registry import EventHandlerRegistry
from stategraph.run.steps import Status
from stategraph.run.turn import TurnHooks
from stategraph.run.waiting import Pause, RunInterrupt, after
from stategraph.types import Command, Overwrite

T = TypeVar("T")

#: Steps that a run may take if its host says nothing.
RECURSION_LIMIT = 50

_SPELLINGS = {"recursionLimit": "recursion_limit", "runName": "run_name", "maxConcurrency": "max_concurrency"}
#: What hosts pass along although it holds for every run here.
_IMPLIED = ("version", "streamMode", "stream_mode")
#: What is no part of a RunnableConfig.
_OURS = ("signal", "durability")


class ProcessOptions(TypedDict, total=False):
    """Options of one execution.

    Attributes:
        callbacks: Functions called beside the events.
        keep_content: Go on counting content indices where the run before ended.
    """

    callbacks: ClientCallbacks
    keep_content: bool


class Run:
    """One turn of one or several agents. Made by `create`.

    Attributes:
        id: The run's name.
        graph: Its graph, steps and messages.
        return_content: Whether `process_stream` returns content parts.
    """

    def __init__(self, config: RunConfig, graph: ExecutionGraph, models: Models | None = None) -> None:
        self.id = config.run_id
        self.graph = graph
        self.return_content = config.return_content
        self._config = config
        self._models = models
        self._log = RunLog(config.event_log_size) if config.event_log_size else None
        self._listener = RunListener(self.id, graph, self._log)
        tools = {agent.id: agent.host_tool_names for agent in graph.agents}
        self._listener.remember = self._saves
        self._host = RunToolHost(self._listener, graph.tracker, tools)
        self._interrupts: tuple[RunInterrupt, ...] = ()
        self._paused = False
        self._sent: list[AnyMessage] = []
        self._hooks = None if config.hooks is None else TurnHooks(self.id, config.hooks)
        self._asks = config.human_in_the_loop.enabled
        gate = HookGate(self.id, config.hooks or HookRegistry(), graph.tracker, self._listener.hear, asks=self._asks)
        # A run that goes on with what another process asked needs it also without hooks of its own.
        self._gate = gate if config.hooks is not None or self._asks else None
        self._halt_reason: str | None = None
        self._token_counts: dict[str, int] = {}
        self._token_counter = config.token_counter
        if config.token_counter is None and config.index_token_count_map is not None:
            self._token_counter = token_counter_for(graph.agents[0].routes[0].name)
        self._stop = AbortController()
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def create(cls, config: RunConfig | Mapping[str, Any], *, models: Models | None = None) -> Self:
        """Make a run. Neither models nor networks are contacted.

        Args:
            config: What to run, as a value or as a mapping in either spelling.
            models: Models made before, to be used again; None: models of the run's own.

        Returns:
            The run, not started.

        Raises:
            ConfigurationError: The configuration makes no sense, or lacks what is needed.
            MissingPackageError: A model's package is not installed.
        """
        config = RunConfig.of(config)
        several = config.graph_config.type == "multi-agent"
        edges = config.graph_config.edges if several else None
        agents, builder = assemble.build(config.graph_config.agents, edges, models)
        options = config.graph_config.compile_options
        saver = options.checkpointer
        if saver is None and config.human_in_the_loop.enabled:
            saver = in_memory_saver()
        compiled = builder.compile(
            checkpointer=saver,
            store=options.store,
            interrupt_before=list(options.interrupt_before) or None,
            interrupt_after=list(options.interrupt_after) or None,
        )
        handlers = EventHandlerRegistry(config.custom_handlers)
        return cls(config, ExecutionGraph(config.run_id, compiled, handlers, agents, several_agents=several), models)

    @property
    def handler_registry(self) -> EventHandlerRegistry:
        """Who handles the run's events; may be changed at any time."""
        return self.graph.handler_registry

    @property
    def running(self) -> bool:
        """Whether it is being executed now."""
        return not self._idle.is_set()

    def abort(self, reason: str | None = None) -> None:
        """Stop what goes on; whoever waits for it gets an AbortError. May be called from any thread."""
        self._stop.abort(reason)

    async def ended(self) -> None:
        """Wait until the execution that goes on has ended, however it ends."""
        await self._idle.wait()

    # Running.

    async def process_stream(
        self,
        inputs: Mapping[str, Any] | Command[Any],
        config: Mapping[str, Any] | None = None,
        options: ProcessOptions | None = None,
    ) -> list[dict[str, Any]] | None:
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
            GraphRecursionError: The turn took too many steps.
            ConfigurationError: The input makes no sense, or the run is being executed already.
            Exception: What a model or the host's tools raised, as it is.
        """
        self._refuse_if_running()
        try:
            return await self._start(inputs, config or {}, options or {})
        finally:
            if self._log is not None:
                self._log.release()

    async def _start(
        self, inputs: Mapping[str, Any] | Command[Any], config: Mapping[str, Any], options: ProcessOptions
    ) -> list[dict[str, Any]] | None:
        if isinstance(inputs, Command):
            if inputs.resume is not None:
                pause = await self._found(config)
                inputs = replace(inputs, resume=waiting.answers(pause.interrupts, inputs.resume))
            return await self._execute(inputs, config, options)
        messages = _with_ids(inputs)
        self.graph.reset_values(options.get("keep_content", False))
        known = self._config.index_token_count_map or {}
        self._token_counts = {
            each.id: known[index] for index, each in enumerate(messages) if each.id and index in known
        }
        self._send(messages)
        fresh = {**inputs, "messages": messages, "halt_reason": Overwrite(None), "memory": Overwrite(None)}
        return await self._execute(fresh, config, options)

    async def resume(
        self, value: Any, config: Mapping[str, Any] | None = None, options: ProcessOptions | None = None
    ) -> list[dict[str, Any]] | None:
        """Go on with a run that waits.

        Args:
            value: The answer, also a mapping from ids of interrupts to answers, which it has to be if several wait.
                Where no interrupt waits but the thread is unfinished (at a breakpoint, or because its process died), it
                goes on, and the value is not used.
            config: As for `process_stream`, of the same thread.
            options: As for `process_stream`.

        Returns:
            As `process_stream`.

        Raises:
            UnknownInterruptError: Nothing waits on the thread, or several do and the answer does not say which.
            InvalidAnswerError: The answer does not fit what was asked; the run still waits.
        """
        self._refuse_if_running()
        pause = await self._found(config)
        if not pause.interrupts and pause.unfinished:
            return await self._execute(None, config or {}, options or {})
        resume = waiting.answers(pause.interrupts, value)
        return await self._execute(Command(resume=resume), config or {}, options or {})

    async def stream(
        self,
        inputs: Mapping[str, Any] | Command[Any],
        config: Mapping[str, Any] | None = None,
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
        self.expect()
        events = log.read(log.last_seq, owns=True)
        work = asyncio.ensure_future(self.process_stream(inputs, config, options))
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def attach(self, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Watch the run: the events after a number, those of the past first, until the execution ends.

        The run does not wait for this reader. Events that are no longer kept are replaced by one called `on_gap`.

        Args:
            after_seq: The number of the last event that the reader has; 0: from the start.

        Yields:
            Events with their numbers.

        Raises:
            ConfigurationError: The run keeps no events.
        """
        async with aclosing(self._kept_log().read(after_seq)) as events:
            async for event in events:
                yield event

    def expect(self) -> None:
        """Let readers that attach wait for an execution that is about to start, as they do before the first one."""
        if self._log is not None:
            self._log.begin()

    def _kept_log(self) -> RunLog:
        if self._log is None:
            raise ConfigurationError(
                f"Run '{self.id}' keeps no events to read: create it with an event_log_size above 0"
            )
        return self._log

    async def _execute(
        self, given: Any, config: Mapping[str, Any], options: ProcessOptions
    ) -> list[dict[str, Any]] | None:
        self._refuse_if_running()
        runnable_config = self._runnable_config(config)
        self._interrupts, self._paused, self._halt_reason = (), False, None
        self._listener.callbacks = options.get("callbacks", {})
        given_signals = (config.get("signal"), self._config.graph_config.signal)
        self._stop = AbortController()
        self._host.signal = self._stop.signal
        signals = [self._stop.signal, *(each for each in given_signals if each is not None)]
        status: Status = "failed"
        failure: BaseException | None = None
        self._idle.clear()
        self.expect()
        try:
            values = await _unless_aborted(self._drive(given, runnable_config, config.get("durability")), signals)
            if self._paused:
                return [] if self.return_content else None
            status = "cancelled" if self._halt_reason else "completed"
            if values is None:
                return None
            self.graph.keep_messages(self._brought(values))
        except BaseException as error:
            failure = error
            if is_invalid_resume(error):
                self._paused, self._interrupts = True, (await self._pause(config)).interrupts
                raise
            if isinstance(error, AbortError | asyncio.CancelledError):
                status = "cancelled"
                self._stop.abort()
            await self._give_up(runnable_config, error)
            raise
        finally:
            if not self._paused:
                await self._finish(status)
            if self._log is not None:
                self._log.end("interrupted" if self._paused else status, failure)
            self._idle.set()
        return self.graph.get_content_parts() if self.return_content else None

    async def _drive(self, given: Any, config: RunnableConfig, durability: Any) -> dict[str, Any] | None:
        """Run the graph, and return its last values; None if a hook kept it from starting."""
        thread_id = config["configurable"]["thread_id"]
        if self._hooks is not None and isinstance(given, dict):
            messages, self._halt_reason = await self._hooks.begin(given["messages"], thread_id)
            if self._halt_reason is not None:
                return None
            self._send(messages)
            given = {**given, "messages": messages}
        context = AgentContext(
            run_id=self.id,
            listener=self._listener,
            host=self._host,
            gate=self._gate,
            token_counter=self._token_counter,
            token_counts=self._token_counts,
            calibration_ratio=self._config.calibration_ratio,
            fading_tiers=self._config.tiers(),
        )
        values: dict[str, Any] = {}
        durability = (durability or "exit") if self._saves else None
        async for chunk in self.graph.compiled.astream(
            given, config, context=context, stream_mode="values", durability=durability
        ):
            if "__interrupt__" in chunk:
                self._paused = True
            else:
                values = cast("dict[str, Any]", chunk)
        # A breakpoint says nothing in the stream of values.
        if self._paused or self.graph.compiled.interrupt_before_nodes or self.graph.compiled.interrupt_after_nodes:
            pause = await Pause.of(self.graph.compiled, config)
            self._paused, self._interrupts = pause.unfinished, pause.interrupts
        if self._paused:
            return values
        self._halt_reason = values.get("halt_reason")
        if self._hooks is not None:
            await self._hooks.end(self._brought(values), thread_id, self._halt_reason)
        return values

    def _send(self, messages: list[AnyMessage]) -> None:
        """Take note of what goes in."""
        self._sent = messages
        self._listener.begin(messages[-1].id if messages else None)

    # The end.

    def _brought(self, values: Mapping[str, Any]) -> list[AnyMessage]:
        """The messages of a state that came after the last one that went in."""
        brought = after(self._listener.last_input_id, values.get("messages", []))
        return list(self._listener.produced) if brought is None else brought

    async def _give_up(self, config: RunnableConfig, error: BaseException) -> None:
        """Keep what the run brought, here and on the thread."""
        reason = "aborted" if isinstance(error, AbortError | asyncio.CancelledError) else "failed"
        pieces = [chunks for _, chunks in self._listener.partial.values()]
        left = closing.remains(self._listener.produced, pieces, reason)
        self.graph.keep_messages(left)
        if self._saves:
            await asyncio.shield(closing.commit(self.graph.compiled, config, [*self._sent, *left]))
        if self._hooks is not None and not isinstance(error, asyncio.CancelledError):
            await self._hooks.fail(left, config["configurable"]["thread_id"], error)

    async def _finish(self, status: Status) -> None:
        await self._listener.sweep(status)
        if not self._config.skip_cleanup:
            self.graph.clear_heavy_state()

    # What is to be known.

    def get_run_messages(self) -> list[AnyMessage]:
        """The messages that the run has brought."""
        return self.graph.get_run_messages()

    def get_interrupt(self) -> RunInterrupt | None:
        """What the run waits for; the first if there are several, None if it does not wait."""
        return self._interrupts[0] if self._interrupts else None

    def get_interrupts(self) -> list[RunInterrupt]:
        """Everything that the run waits for."""
        return list(self._interrupts)

    def get_discovered_tools(self) -> tuple[str, ...]:
        """The tools that this turn has brought up, to be given to the next as `discovered_tools`."""
        return discovered(self.graph.get_run_messages())

    def get_halt_reason(self) -> str | None:
        """Why the turn was ended early; None if it was not."""
        return self._halt_reason

    def get_calibration_ratio(self) -> float:
        """Reported tokens per counted token, to be handed to the conversation's next run; that of the first agent."""
        used = self._listener.contexts.get(self.graph.agents[0].id)
        return self._config.calibration_ratio if used is None else used.figures["calibrationRatio"]

    def get_resolved_instruction_overhead(self) -> int | None:
        """Tokens that instructions and tools of the first agent really cost; None as long as usage does not say."""
        used = self._listener.contexts.get(self.graph.agents[0].id)
        return None if used is None else used.instruction_overhead

    def get_fading_tiers(self) -> dict[str, dict[str, Any]]:
        """How far tool results are shortened, by agent, to be handed to the conversation's next run.

        Agents whose results are as long as they came are left out.
        """
        tiers = self._config.tiers() | {agent_id: used.tier for agent_id, used in self._listener.contexts.items()}
        return {agent_id: asdict(tier) for agent_id, tier in tiers.items() if tier != FadingTier()}

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """What handlers cost, the most expensive first: they hold the run up."""
        return self._listener.statistics()

    # Titles.

    async def generate_title(
        self,
        *,
        provider: str,
        input_text: str,
        content_parts: Sequence[Mapping[str, Any] | None],
        client_options: Mapping[str, Any] | None = None,
        title_method: titles.TitleMethod = "structured",
        title_prompt: str | None = None,
        title_prompt_template: str | None = None,
        skip_language: bool = False,
        chain_options: Mapping[str, Any] | None = None,
    ) -> titles.Title:
        """Ask a model for a title of the conversation.

        Args:
            provider: Whose model, or `provider:model`.
            input_text: What the person wrote.
            content_parts: The answer.
            client_options: What the provider's client takes.
            title_method: How to ask: for text, structured output, or a function call.
            title_prompt: What to ask, see `stategraph.run.title`.
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

    def _refuse_if_running(self) -> None:
        if self.running:
            raise ConfigurationError(f"Run '{self.id}' is being executed already; wait for it, or create another run")

    @property
    def _saves(self) -> bool:
        return bool(self.graph.compiled.checkpointer)

    def _runnable_config(self, config: Mapping[str, Any]) -> RunnableConfig:
        given = {_SPELLINGS.get(key, key): value for key, value in config.items() if key not in (*_IMPLIED, *_OURS)}
        # To a graph, the run id of a thread's newest checkpoint means that this is the same run again, and it would not
        # look at what goes in.
        configurable = {"thread_id": self.id, **(given.get("configurable") or {})}
        configurable.pop("run_id", None)
        return cast("RunnableConfig", {"recursion_limit": RECURSION_LIMIT, **given, "configurable": configurable})

    async def _pause(self, config: Mapping[str, Any] | None) -> Pause:
        """Where the thread of a config stands."""
        if not self._saves:
            raise ConfigurationError(
                f"Run '{self.id}' cannot wait or be resumed without a checkpointer: give one as "
                "graph_config.compile_options.checkpointer, or enable human_in_the_loop"
            )
        return await Pause.of(self.graph.compiled, self._runnable_config(config or {}))

    async def _found(self, config: Mapping[str, Any] | None) -> Pause:
        """Where the thread stands, taking up the run as whoever began it left it."""
        pause = await self._pause(config)
        if not self._asks and any(each.needs_approval for each in pause.interrupts):
            raise ConfigurationError(
                f"Run '{self.id}' waits for the approval of tool calls, and was created without human_in_the_loop, so "
                "the decision would be lost: create it with human_in_the_loop enabled, and with its hooks"
            )
        if pause.memory is not None:
            self._listener.recall(pause.memory)
            if not self._listener.produced:
                self._listener.produced.extend(after(self._listener.last_input_id, pause.messages) or ())
        return pause


async def _unless_aborted(work: Coroutine[Any, Any, T], signals: Sequence[AbortSignal]) -> T:
    """What work comes to, unless a signal says to stop; then the work is cancelled and waited for."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    leave = [signal.listen(partial(loop.call_soon_threadsafe, stop.set)) for signal in signals]
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        reason = next((signal.reason for signal in signals if signal.aborted), None)
        raise AbortError(reason or "This operation was aborted")
    finally:
        for each in leave:
            each()
        for future in (task, stopped):
            future.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


def _with_ids(inputs: Mapping[str, Any]) -> list[AnyMessage]:
    """The messages that go in, each with an id, so that what comes out can be told from them."""
    given = inputs.get("messages")
    if given is None:
        raise ConfigurationError(f"A run starts from {{'messages': [...]}}; found {sorted(inputs) or 'nothing'}")
    messages = convert_to_messages(given if isinstance(given, Sequence) and not isinstance(given, str) else [given])
    return [
        message if message.id else message.model_copy(update={"id": str(uuid.uuid4())})
        for message in cast("list[AnyMessage]", messages)
    ]
