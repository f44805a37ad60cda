"""Events for handlers, made from the reports of agents: the one place where a run speaks to its host.

- Facts become events in the order in which agents tell them; each handler is waited for before its agent goes on.
- Handlers are called by `handler_calls`, which says what becomes of their errors.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict, assert_never

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from stategraph.agent import facts
from stategraph.agent.limits.meter import Meter
from stategraph.agent.messages import problems
from stategraph.agent.messages.truncation import compact_json
from stategraph.errors import HandlerError
from stategraph.run.events import event_types, subagent_updates
from stategraph.run.events.event_types import GraphEvents, Row, RunStep
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_calls import HandlerCalls, HandlerStatistics
from stategraph.run.events.handler_registry import Handle
from stategraph.run.events.output_steps import OutputSteps
from stategraph.run.events.step_list import Status
from stategraph.run.ports import EventLog

#: Version of the state stored for the process that continues a run: raise it when older code could not read it.
_FORMAT = 1

#: Looked up once per token: a member of an enum takes as long as a call.
_STREAMED: Final = GraphEvents.CHAT_MODEL_STREAM

_STOPPED = TimeoutError("stopped before its end")

CallbackName: TypeAlias = Literal["handle_tool_start", "handle_tool_end", "handle_tool_error"]


class ClientCallbacks(TypedDict, total=False):
    """Functions that a host wants called in addition to the events; each gets the run's graph first.

    Attributes:
        handle_tool_start: Then the call.
        handle_tool_end: Then what the tool returned.
        handle_tool_error: Then the error, and the id of the call.
    """

    handle_tool_start: Callable[..., Any]
    handle_tool_end: Callable[..., Any]
    handle_tool_error: Callable[..., Any]


class RunListener:
    """Hears a run's agents and tells the host's handlers.

    Args:
        run_id: The run.
        graph: Its graph, which knows its steps and handlers, and which handlers are given.
        log: Keeps every event, whether it has a handler or not; None: they are not kept.
    """

    def __init__(self, run_id: str, graph: ExecutionGraph, log: EventLog | None = None) -> None:
        self._run_id = run_id
        self._graph = graph
        self._tracker = graph.tracker
        self._handlers = graph.handler_registry
        self._log = log
        self._calls = HandlerCalls(run_id, graph)
        self._place: facts.Place | None = None
        self._metadata: dict[str, object] = {}
        self._count = 0
        self._last_input_id: str | None = None
        self._began = False
        self._starting: dict[str, facts.SubagentStarted] = {}
        self.remember = self.sticky = False
        self.active_agent: str | None = None
        self.meter: Meter | None = None
        self.observe: Callable[[facts.Fact], Awaitable[None]] | None = None
        self.callbacks: ClientCallbacks = {}
        self.sent: Sequence[AnyMessage] = ()
        self.produced: list[AnyMessage] = []
        self.partial: dict[int, tuple[facts.ModelCall, list[AIMessage]]] = {}
        self.contexts: dict[str, facts.ContextUsed] = {}
        self.outputs: OutputSteps | None = None

    def begin(self, messages: Sequence[AnyMessage]) -> None:
        """Start a turn.

        Args:
            messages: What goes in: what comes after the last of them is of this run.
        """
        self._began = True
        self.sent = messages
        self._last_input_id = messages[-1].id if messages else None
        self.produced.clear()
        self.partial.clear()
        if self.outputs is not None:
            self.outputs.clear()
        self._starting.clear()

    @property
    def last_input_id(self) -> str | None:
        """The id of the newest message that went in."""
        return self._last_input_id

    # The port.

    async def hear(self, fact: facts.Fact, /) -> None:
        """Turn a fact into events and wait for their handlers."""
        self._count += 1
        if self._starting:
            await self._tell_start(fact)
        if not isinstance(fact, facts.ModelStreamed):
            await _HEARERS.get(type(fact), RunListener._show)(self, fact)
            return
        call, chunk = fact.call, fact.chunk
        at = call.at
        telling = self._telling(_STREAMED, {"chunk": chunk}, at)
        if telling is not None:
            await telling
        if call.off_record:
            return
        if at.within is not None:
            await self._emit_all(self._tracker.of(at).chunk(call, chunk), at)
            return
        self.partial[id(call)][1].append(chunk)
        for event, data in self._tracker.chunk(call, chunk):
            telling = self._telling(event, data, at)
            if telling is not None:
                await telling
        if self.outputs is not None:
            await self._emit_all(self.outputs.chunk(call, chunk), at)

    def memory(self) -> dict[str, object] | None:
        """Return the steps of the run, for the process that continues it; None if nothing is stored."""
        if not self.remember:
            return None
        about = {"format": _FORMAT, "run": self._run_id, "count": self._count, "last_input": self._last_input_id}
        if self.meter is not None:
            about["usage"] = self.meter.memory()
        return about | self._tracker.memory()

    def paused_memory(self) -> dict[str, object] | None:
        """Return what is kept once where the run pauses: its memory, and the steps that are closed."""
        memory = self.memory()
        return None if memory is None else {**memory, "closed": self._tracker.steps.closed_steps()}

    def recall(self, memory: Mapping[str, Any], /) -> None:
        """Go on with the steps and the usage of an earlier process, if it got further in this turn than this one.

        Those of an earlier run on the thread are not ours, and those that another version stored cannot be read: then
        the run continues with new steps.
        """
        if memory.get("run") != self._run_id or memory.get("format") != _FORMAT:
            return
        if self._began and memory["last_input"] != self._last_input_id:
            return
        # A run may pause before anything was told: what went in is known from the memory all the same.
        if memory["count"] > self._count or not (self._count or self._began):
            if self._count:  # this process paused, another went on, and it comes back
                self._tracker.note_closed(memory)
            self._count = memory["count"]
            self._last_input_id = memory["last_input"]
            self._tracker.recall(memory)
            if self.meter is not None and "usage" in memory:
                self.meter.recall(memory["usage"])

    # The end of a run.

    async def sweep(self, status: Status) -> None:
        """Close every open step."""
        if self._tracker.subagents:
            await self._emit_all(subagent_updates.sweep(self._tracker, self._run_id, status), None)
        await self._emit_all(self._tracker.sweep(status), None)

    async def close(self, steps: Iterable[RunStep], status: Status) -> None:
        """Close some steps; those that are closed stay as they are."""
        for step in steps:
            await self._emit_all(self._tracker.steps.close(step, status), None)

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return the cost of each handler so far, the most expensive first."""
        return self._calls.statistics()

    # Facts by their subject.

    async def _hear_model(self, fact: facts.ModelStarted | facts.ModelEnded | facts.ModelFailed) -> None:
        call = fact.call
        if self.outputs is not None:
            self.outputs.end(call)
        match fact:
            case facts.ModelStarted():
                if not call.off_record and call.at.within is None:
                    self.active_agent = call.at.agent_id
                    self.partial[id(call)] = (call, [])
                await self.emit(GraphEvents.CHAT_MODEL_START, {"input": _model_input(call)}, call.at)
            case facts.ModelEnded(_, message, elapsed_s):
                await self._model_ended(call, message, elapsed_s)
            case facts.ModelFailed():
                self.partial.pop(id(call), None)
                await self._emit_all(self._tracker.of(call.at).fail(call), call.at)
            case _:
                assert_never(fact)

    async def _model_ended(self, call: facts.ModelCall, message: AIMessage, elapsed_s: float) -> None:
        self.partial.pop(id(call), None)
        tracker = self._tracker.of(call.at)
        if not call.off_record:
            if call.at.within is None:
                self.produced.append(message)
            # Numbered here, in order, so that a process that continues the run gives them the same numbers.
            tracker.number(call.at, message)
        data = {"output": message, "input": _model_input(call)}
        await self.emit(GraphEvents.CHAT_MODEL_END, data, call.at, call)
        if call.off_record:
            return
        await self._emit_all(tracker.end(call, message), call.at)
        figures = {
            **(message.usage_metadata or {}),
            "elapsedSeconds": round(elapsed_s, 2),
            "instructionTokens": call.instruction_tokens,
            "toolSchemaTokens": call.tool_schema_tokens,
            "messageCount": call.history,
        }
        text = f"LLM call complete ({elapsed_s:.2f}s)"
        await self._show(facts.Logged(call.at, "debug", "graph", text, figures, detail=False))

    async def _hear_tool(self, fact: facts.ToolFact) -> None:
        at, call = fact.at, fact.call
        tracker = self._tracker.of(at)
        match fact:
            case facts.ToolStarted():
                tracker.turn(at, call)
                await self.call_back("handle_tool_start", call)
                await self.emit(GraphEvents.TOOL_START, {"input": _tool_input(call)}, at)
            case facts.ToolFailed(_, _, error):
                await self.call_back("handle_tool_error", error, call["id"])
            case facts.ToolEnded(_, _, output):
                await self.call_back("handle_tool_end", output)
                await self.emit(GraphEvents.TOOL_END, {"output": output, "input": _tool_input(call)}, at)
            case facts.ToolAnswered(_, _, message):
                for subagent in subagent_updates.of_call(self._tracker, call["id"], at.within):
                    # One that ended well, or failed, has said so: this one was stopped.
                    rows = subagent_updates.ended(
                        facts.SubagentEnded(at, subagent, error=_STOPPED), self._tracker, self._run_id
                    )
                    await self._emit_all(rows, None)
                if at.within is None:
                    self.produced.append(message)
                await self._emit_all(tracker.answer(fact), at)
            case facts.ToolKept(_, _, message):
                if at.within is None and not _has_result(self.produced, call["id"]):
                    self.produced.append(message)
            case facts.ToolRecalled(_, _, message):
                tracker.recalled(at, call["id"])
                if at.within is None and not _has_result(self.produced, call["id"]):
                    self.produced.append(message)
            case _:
                assert_never(fact)

    async def _hear_message(self, fact: facts.Injected | facts.MessageReturned | facts.OutputFact) -> None:
        """Take note of what is added to the conversation, or an output in it; those of subagents are their own."""
        if fact.at.within is not None:
            return
        if isinstance(fact, facts.Injected):
            self.produced.extend(fact.messages)
        elif isinstance(fact, facts.MessageReturned):
            self.produced.append(fact.message)
            self._tracker.number(fact.at, fact.message)
            await self._emit_all(self._tracker.whole(fact.at, fact.message), fact.at)
        elif self.outputs is not None:
            await self._emit_all(self.outputs.hear(fact), fact.at)

    async def _hear_subagent(self, fact: facts.SubagentFact) -> None:
        if isinstance(fact, facts.SubagentStarted):
            self._starting[fact.subagent.id] = fact
            return
        await self._emit_all(subagent_updates.ended(fact, self._tracker, self._run_id), None)
        if self.observe is not None:
            await self.observe(fact)

    async def _tell_start(self, fact: facts.Fact) -> None:
        """Tell that a subagent starts before what it does first: one that continues has recalled its steps by then."""
        subagent = subagent_updates.subagent_of(fact)
        starting = None if subagent is None else self._starting.pop(subagent.id, None)
        if starting is not None:
            await self._emit_all(subagent_updates.started(starting, self._tracker, self._run_id), None)

    async def _hear_summary(self, fact: facts.SummaryFact) -> None:
        summaries = self._tracker.of(fact.at).summaries
        match fact:
            case facts.SummaryStarted(at, figures):
                rows = summaries.open(at, figures)
            case facts.SummaryStreamed(at, text):
                rows = summaries.text(at, text)
            case facts.SummaryEnded(at, summary, error):
                rows = summaries.close(at, summary, error)
            case _:
                assert_never(fact)
        await self._emit_all(rows, at)
        if self.observe is not None and not isinstance(fact, facts.SummaryStreamed):
            await self.observe(fact)

    async def _show(self, fact: facts.ShownFact) -> None:
        if isinstance(fact, facts.ContextUsed) and fact.at.within is None:
            self.contexts[fact.at.agent_id] = fact
        await self._emit_all(event_types.shown(fact, self._run_id, self._tracker.of(fact.at).step_id), fact.at)

    async def call_back(self, name: CallbackName, *details: Any) -> None:
        """Call one of the host's callbacks and wait for it.

        Args:
            name: Which.
            *details: What it is given after the run's graph.

        Raises:
            HandlerError: It failed.
        """
        callback = self.callbacks.get(name)
        if callback is not None:
            try:
                answer = callback(self._graph, *details)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                raise HandlerError(f"The callback '{name}' failed: {problems.named(error)}") from error

    # Handlers.

    async def _emit_all(self, rows: Iterable[Row], at: facts.Place | None) -> None:
        if at is not None and at.within is not None:
            rows = subagent_updates.told_within(rows, at.within, self._run_id)
        for event, data in rows:
            await self.emit(event, data, at)

    async def emit(self, event: str, data: object, at: facts.Place | None, call: facts.ModelCall | None = None) -> bool:
        """Tell an event and wait for its handler.

        Args:
            event: The event's name.
            data: Its payload.
            at: Its place; None: at the end of the run.
            call: The call of a model that it is about.

        Returns:
            Whether there was a handler.

        Raises:
            HandlerError: The handler failed.
        """
        handled = self._handlers.get_handle(event) is not None
        telling = self._telling(event, data, at, call)
        if telling is not None:
            await telling
        return handled

    def _telling(
        self, event: str, data: object, at: facts.Place | None, call: facts.ModelCall | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """Log an event and return what is left to await, its handler or a reader that lags; None if nothing is."""
        # Twice per token: what only a slow handler or a reader needs is not built here.
        handle, log = self._handlers.get_handle(event), self._log
        if handle is None and log is None:
            return None
        metadata = None if at is None else self._metadata if at is self._place else self._known(at)
        if metadata is not None and call is not None:
            metadata = metadata | {"ls_provider": call.traced_as or call.provider, "ls_model_name": call.model}
        if log is not None:
            log.put(event, data, metadata)
            if log.is_full:
                return self._tell_when_read(log, handle, event, data, metadata)
        return None if handle is None else self._calls.call(handle, event, data, metadata)

    async def _tell_when_read(
        self, log: EventLog, handle: Handle | None, event: str, data: object, metadata: dict[str, object] | None
    ) -> None:
        await log.room()
        if handle is not None:
            await self._calls.call(handle, event, data, metadata)

    async def tell(self, event: str, data: object, metadata: dict[str, object] | None) -> None:
        """Call the handler of an event that arose in another process, once readers have caught up.

        Args:
            event: The event's name; it is in the log already.
            data: Its payload.
            metadata: Its place.

        Raises:
            HandlerError: The handler failed.
        """
        if self._log is not None and self._log.is_full:
            await self._log.room()
        handle = self._handlers.get_handle(event)
        if handle is not None:
            await self._calls.call(handle, event, data, metadata)

    def metadata(self, at: facts.Place) -> dict[str, object]:
        """Return the metadata that handlers get about the place of an event."""
        return self._known(at).copy()

    def _known(self, at: facts.Place) -> dict[str, object]:
        """Return the same metadata, shared by all events of a place."""
        if at is not self._place:
            root = self._graph.agents[0]
            self._place = at
            self._metadata = {
                **at.metadata,
                "run_id": self._run_id,
                "agentId": at.agent_id,
                "activeAgentId": at.agent_id,
                "activeAgentName": at.agent_name,
                "rootAgentId": root.id,
                "rootAgentName": root.name,
            }
            if at.within is not None:
                self._metadata["subagentRunId"] = at.within.id
        return self._metadata


_HEARERS: Final[Mapping[type, Callable[[RunListener, Any], Awaitable[None]]]] = {
    **dict.fromkeys((facts.ModelStarted, facts.ModelEnded, facts.ModelFailed), RunListener._hear_model),
    **dict.fromkeys(
        (
            *(facts.ToolStarted, facts.ToolEnded, facts.ToolFailed),
            *(facts.ToolAnswered, facts.ToolKept, facts.ToolRecalled),
        ),
        RunListener._hear_tool,
    ),
    **dict.fromkeys((facts.SummaryStarted, facts.SummaryStreamed, facts.SummaryEnded), RunListener._hear_summary),
    **dict.fromkeys((facts.SubagentStarted, facts.SubagentEnded), RunListener._hear_subagent),
    **dict.fromkeys(
        (facts.Injected, facts.MessageReturned, facts.OutputGiven, facts.OutputRefused), RunListener._hear_message
    ),
}
"""The methods that hear facts of a kind; all others are shown as they are."""


def _has_result(messages: Sequence[AnyMessage], call_id: str | None) -> bool:
    """Return whether a call of the newest answer has its result among the messages behind it."""
    for message in reversed(messages):
        if isinstance(message, ToolMessage) and message.tool_call_id == call_id:
            return True
        if isinstance(message, AIMessage) and any(call["id"] == call_id for call in message.tool_calls):
            return False
    return False


def _model_input(call: facts.ModelCall) -> dict[str, object]:
    return {"messages": [list(call.messages)]}


def _tool_input(call: Mapping[str, Any]) -> dict[str, object]:
    return {"input": compact_json(call["args"])}
