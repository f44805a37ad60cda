"""One execution of a run's graph, to its end, however it ends.

- It ends by itself, pauses for a person, is stopped, or fails. In each case its last event says how, its steps are
  closed unless it pauses, and what it brought can be read.
- What was stopped or failed is committed to its thread as if the turn had ended there. What goes wrong with that is
  noted on the error that ended the run, and does not take its place.
- Once it ends, nothing holds it up: neither a reader that has stopped reading nor a signal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.context.kept_counts import LEVELS
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter
from stategraph.agent.messages import problems
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.limits import LimitName, RunLimits
from stategraph.agent.state import AgentState
from stategraph.agent.tools import tool_calls
from stategraph.errors import is_invalid_resume
from stategraph.run import pauses
from stategraph.run.abort import AbortSignal, to_its_end, unless_aborted, was_stopped
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.listener import RunListener
from stategraph.run.events.step_list import Status
from stategraph.run.history import recovery
from stategraph.run.hooks.turn_hooks import Stopped, TurnHooks
from stategraph.run.pauses import Pause, RunInterrupt, after
from stategraph.run.ports import EventLog, ExecutionStatus, Settle
from stategraph.run.turn.budget import told, within
from stategraph.types import Durability

OUTPUT_TRUNCATED = "output_truncated"
"""The halt reason of a turn whose last answer stopped at its output limit."""

_log = logging.getLogger(__name__)


class TurnExecution:
    """One execution.

    Args:
        graph: The run's graph.
        listener: Hears its agents.
        hooks: Those around the turn; None: there are none.
        log: Keeps its events; None: they are not kept.
        config: The thread, and the host's other settings.
        durability: When states are stored; of no effect without a checkpointer.
        clean: Whether to let go of the steps at the end.
        meter: Counts what it takes, by the run's limits; None: one of its own.

    Attributes:
        paused: Whether it waits.
        interrupts: The interrupts that it waits for.
        halt_reason: Why the turn was ended early; None if it was not.
        halt_message: What the hook that refused the prompt gave as its reason; None: nothing, or none refused it.
        status: How it ended; before that, how it would if it failed now.
        cut_off: Whether its time ended it while something was going on.
        settle: Is awaited before readers are told of the end.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        listener: RunListener,
        hooks: TurnHooks | None,
        log: EventLog | None,
        config: RunnableConfig,
        *,
        durability: Durability,
        clean: bool,
        meter: Meter | None = None,
    ) -> None:
        self.paused = False
        self.interrupts: tuple[RunInterrupt, ...] = ()
        self.halt_reason: str | None = None
        self.halt_message: str | None = None
        self.status: ExecutionStatus = "failed"
        self.cut_off = False
        self.settle: Settle | None = None
        self._graph = graph
        self._listener = listener
        self._hooks = hooks
        self._log = log
        self._meter = Meter(RunLimits()) if meter is None else meter
        self._config = config
        self._durability = durability
        self._clean = clean

    async def run(self, given: object, context: AgentContext, signals: Sequence[AbortSignal]) -> bool:
        """Execute, and keep the messages that it brings.

        Args:
            given: The graph's input.
            context: For its nodes.
            signals: Any of these stops the execution.

        Returns:
            Whether the graph ran; a hook may have kept it from starting.

        Raises:
            AbortError: A signal said so.
            Exception: What the graph raised.
        """
        status: Status = "failed"
        failure: BaseException | None = None
        self._meter.start()
        try:
            ran = await unless_aborted(signals, lambda: within(self._meter, lambda: self._drive(given, context)))
            status = "cancelled" if self.halt_reason not in (None, OUTPUT_TRUNCATED) else "completed"
            return ran
        except BaseException as error:
            failure = error
            if is_invalid_resume(error):
                await self._wait_again()
                raise
            self.paused, self.interrupts = False, ()
            if (limit := self._ends_at(error)) is not None:
                self.cut_off, self.halt_reason, status = True, limit.reason, "cancelled"
                failure = None
                await self._give_up(error)
                return True
            status = "cancelled" if was_stopped(error) else "failed"
            await self._give_up(error)
            raise
        finally:
            await self._end(status, failure)

    def _ends_at(self, error: BaseException) -> LimitName | None:
        """Return the limit at which the turn ends like others, as that of the run's time; None: an error ended it."""
        is_time = isinstance(error, LimitReachedError) and error.limit == LimitName.WALL_TIME
        return LimitName.WALL_TIME if is_time and self._meter.limits.on_limit == "end" else None

    # While it goes.

    async def _drive(self, given: object, context: AgentContext) -> bool:
        if self._hooks is not None and isinstance(given, dict):
            went_in = list(given.get("messages") or ())
            messages, self.halt_reason, self.halt_message = await self._hooks.begin(went_in, self._thread_id)
            if self.halt_reason is not None:
                return False
            self._listener.begin(messages)
            if messages:
                given = {**given, "messages": messages}
        continuations = 0
        while True:
            values = await self._segment(given, context)
            if self.paused:
                return True
            brought = self._brought(values)
            self.halt_reason = values.get("halt_reason") or _truncation(brought)
            stopped = Stopped()
            if self._hooks is not None:
                stopped = await self._hooks.stop(brought, self._thread_id, self.halt_reason, continuations)
            self.halt_reason = stopped.halt or self.halt_reason
            if not stopped.more:
                self._graph.keep_messages(brought)
                return True
            continuations += 1
            self._listener.produced.extend(stopped.more)
            given = self._continued(values, stopped.more)

    async def _segment(self, given: object, context: AgentContext) -> AgentState:
        """Execute the graph once, and return its last state."""
        compiled = self._graph.compiled
        values: AgentState = {"messages": []}
        stream = compiled.astream(
            given,
            self._config,
            context=context,
            stream_mode="values",
            durability=self._durability if compiled.checkpointer else None,
        )
        async for chunk in stream:
            if "__interrupt__" in chunk:
                self.paused = True
            else:
                values = cast("AgentState", chunk)
        # A breakpoint says nothing in the stream of values.
        if self.paused or compiled.interrupt_before_nodes or compiled.interrupt_after_nodes:
            await self._wait_again()
        return values

    def _continued(self, values: AgentState, more: Sequence[AnyMessage]) -> dict[str, object]:
        """Return the graph's input for continuing a turn that has ended."""
        if self._graph.compiled.checkpointer:
            return {"messages": list(more)}
        known = ((key, values.get(key)) for key in ("windows", *LEVELS, "active_agent"))
        kept = {key: value for key, value in known if value is not None}
        return {**kept, "messages": [*values["messages"], *more]}

    async def _wait_again(self) -> None:
        """Find out what the thread waits for, and keep what the process that goes on has to know."""
        pause = await self._look()
        self.paused, self.interrupts = pause.unfinished, pause.interrupts
        memory = self._listener.paused_memory() if self.paused else None
        if memory is not None:
            await self._keep(pause, memory)

    async def _look(self) -> Pause:
        return await Pause.of(self._graph.compiled, self._config)

    async def _keep(self, pause: Pause, memory: Mapping[str, Any]) -> None:
        await pauses.keep(self._graph.compiled.checkpointer, pause.places[0], memory)

    @property
    def _thread_id(self) -> str:
        return str(self._config["configurable"]["thread_id"])

    def _brought(self, values: AgentState) -> list[AnyMessage]:
        """Return the messages of a state after the last input message."""
        brought = after(self._listener.last_input_id, values["messages"])
        return list(self._listener.produced) if brought is None else brought

    # The end.

    async def _give_up(self, error: BaseException) -> None:
        """Keep what the run brought, here and on the thread."""
        reason = "aborted" if was_stopped(error) else "failed"
        left = self._left(LimitName.WALL_TIME.reason if self.cut_off else reason)
        self._listener.partial.clear()
        self._graph.keep_messages(left)
        if self._graph.compiled.checkpointer:
            try:
                await to_its_end(self._commit(left))
            except Exception as problem:
                note = f"The thread '{self._thread_id}' was left as it was: {problems.named(problem)}"
                error.add_note(note)
                _log.error("A run ended with %s. %s", type(error).__name__, note)
        if self._hooks is not None and not self.cut_off and not isinstance(error, asyncio.CancelledError):
            await self._hooks.fail(left, self._thread_id, error)

    def _left(self, reason: str) -> list[AnyMessage]:
        """Return the messages that remain of the turn."""
        pieces = [chunks for _, chunks in self._listener.partial.values()]
        return recovery.remains(self._listener.produced, pieces, reason)

    async def _commit(self, left: Sequence[AnyMessage]) -> None:
        """Bring the thread to the state in which the turn is left."""
        listener = self._listener
        active = listener.active_agent if listener.sticky else None
        await recovery.commit(self._graph.compiled, self._config, [*listener.sent, *left], active)

    async def _end(self, status: Status, failure: BaseException | None) -> None:
        self._meter.stop()
        if self._log is not None:
            self._log.let_go()
        try:
            if not self.paused:
                await self._listener.sweep(status)
        finally:
            if self._clean and not self.paused:
                self._graph.clear_heavy_state()
            self.status = "interrupted" if self.paused else status
            try:
                if self.settle is not None:
                    await self.settle(self.status, failure)
            finally:
                if self._log is not None:
                    more = told(self._meter.usage, self.halt_reason)
                    self._log.end(self.status, failure, self.interrupts, more=more)


def _truncation(messages: Sequence[AnyMessage]) -> str | None:
    """Return the halt reason of a turn whose last answer was cut off; None if it was not."""
    last = messages[-1] if messages else None
    why = tool_calls.cut_off(last) if isinstance(last, AIMessage) else None
    return None if why is None or tool_calls.FILTERED in why.lower() else OUTPUT_TRUNCATED
