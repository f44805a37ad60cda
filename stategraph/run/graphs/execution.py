"""One execution of a graph that the host made, to its end, however it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter
from stategraph.agent.llm.held_answer import StoppedAnswer
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.limits import LimitName
from stategraph.agent.state import AgentState
from stategraph.agent.tools.limit_gate import LimitGate
from stategraph.errors import HandlerError
from stategraph.run.abort import to_its_end, unless_aborted
from stategraph.run.events.listener import RunListener
from stategraph.run.graphs import model_guards, tool_hooks
from stategraph.run.graphs.hosted_graph import HostedGraph, messages_in
from stategraph.run.graphs.metering import GraphBudget, LimitCheck
from stategraph.run.graphs.model_guards import Ended, RunModels, Unguarded
from stategraph.run.graphs.projection import Projection
from stategraph.run.graphs.tool_hooks import RunTools, ToolHooks
from stategraph.run.history import recovery
from stategraph.run.hooks.turn_hooks import TurnHooks
from stategraph.run.pauses import Pause, RunInterrupt, after
from stategraph.run.ports import EventLog
from stategraph.run.turn.turn_execution import TurnExecution
from stategraph.types import Durability


class GraphExecution(TurnExecution):
    """One execution.

    Args:
        graph: The run's graph.
        listener: Is told what its stream shows.
        hooks: Those around the turn; None: there are none.
        log: Keeps its events; None: they are not kept.
        config: The thread, and the host's other settings.
        durability: When states are stored; of no effect without a checkpointer.
        clean: Whether to let go of the steps at the end.
        meter: Counts what it takes; None: one of its own.
    """

    def __init__(
        self,
        graph: HostedGraph,
        listener: RunListener,
        hooks: TurnHooks | None,
        log: EventLog | None,
        config: RunnableConfig,
        *,
        durability: Durability,
        clean: bool,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(graph, listener, hooks, log, config, durability=durability, clean=clean, meter=meter)
        self._hosted = graph
        self._budget = GraphBudget(self._meter)
        self._projection = Projection(listener, graph.calls, self._budget)
        self._halted: list[AnyMessage] | None = None

    async def _segment(self, given: object, context: AgentContext) -> AgentState:
        """Execute the graph once, and return its last state, as far as it is a mapping."""
        graph, projection = self._hosted, self._projection
        if context.listener is not None:
            projection.tell_to(context.listener)
        gates = [gate for gate in context.gates if not isinstance(gate, LimitGate)]
        tools = RunTools(gates, projection.place_of_call, graph.command) if gates else None
        guards = model_guards.guards(context.model_gates)
        models = RunModels(guards, projection.place_of_task, projection.recorder) if guards else None
        projection.models = models
        if models is None:
            await self._read(given, context, tools, None)
        elif (ended := await self._guarded(given, context, tools, models)) is not None:
            return await self._halt(ended)
        await projection.end()
        if self.paused or graph.compiled.interrupt_before_nodes or graph.compiled.interrupt_after_nodes:
            await self._wait_again()
        values = graph.values if isinstance(graph.values, Mapping) else {}
        return cast("AgentState", {**values, "messages": messages_in(values)})

    async def _read(
        self, given: object, context: AgentContext, tools: RunTools | None, models: RunModels | None
    ) -> None:
        """Run the graph, and tell what its stream shows."""
        projection = self._projection
        before = tool_hooks.current.set(tools), model_guards.current.set(models)
        try:
            async with aclosing(self._stream(given, context, tools, models)) as items:
                async for ns, mode, payload in items:
                    self._check(models)
                    await projection.take(tuple(ns), mode, payload)
                    if mode == "values" and not ns:
                        self._note(payload, is_first=not projection.has_ended)
        finally:
            tool_hooks.current.reset(before[0])
            model_guards.current.reset(before[1])
        self._check(models)

    def _check(self, models: RunModels | None) -> None:
        self._budget.check()
        if models is not None:
            models.check()

    async def _guarded(
        self, given: object, context: AgentContext, tools: RunTools | None, models: RunModels
    ) -> Ended | None:
        """Run the graph within the gates around its models; return the end of the turn, if they want one."""
        try:
            await unless_aborted((models.stop.signal,), lambda: self._read(given, context, tools, models))
        except StoppedAnswer as stopped:
            await models.stopped(self._projection.call_of(stopped.call), stopped)
        except HandlerError:
            raise
        except Exception:
            # That of the node that was not let through, or of the graph that was stopped.
            if models.ended is None:
                raise
        finally:
            models.leave()
        return models.ended

    async def _halt(self, ended: Ended) -> AgentState:
        """End the turn as gates want it, as if it had ended there, and return what stands for the graph's state."""
        await self._projection.halt(ended)
        self.paused, self._halted = False, self._left(ended.reason)
        if self._graph.compiled.checkpointer:
            await to_its_end(self._commit(self._halted))
        return cast("AgentState", {"messages": self._halted, "halt_reason": ended.reason})

    def _stream(
        self, given: object, context: AgentContext, tools: RunTools | None, models: RunModels | None
    ) -> AsyncGenerator[Any, None]:
        """Run the graph, heard by the projection and by hooks of its models and tools."""
        handlers: list[Any] = [self._projection.recorder]
        # A handler that may wait costs a turn of the event loop for each piece of an answer. The limit that every run
        # has is kept without: the run ends with the next item of the stream.
        if self._meter.limits.model_fields_set - {"on_limit"}:
            handlers.append(LimitCheck(self._budget))
        if tools is not None:
            handlers.append(ToolHooks(tools))
        if models is not None:
            handlers.append(Unguarded(models))
        config = cast("RunnableConfig", {**self._config, "callbacks": _with(self._config, handlers)})
        options: dict[str, Any] = {"context": context.context} if context.context is not None else {}
        if self._hosted.compiled.checkpointer:
            options["durability"] = self._durability
        return cast("AsyncGenerator[Any, None]", self._hosted.astream(given, config, **options))

    def _note(self, values: Any, *, is_first: bool) -> None:
        """Take note of a state; one that says what the graph waits for may have nothing else in it."""
        if isinstance(values, Mapping) and "__interrupt__" in values:
            self.paused = True
            values = {key: value for key, value in values.items() if key != "__interrupt__"}
            if not values:
                return
        self._hosted.note(values, is_first=is_first)

    async def _keep(self, pause: Pause, memory: Mapping[str, Any]) -> None:
        await self._hosted.keep(self._config, memory)

    async def _look(self) -> Pause:
        if self._hosted.compiled.checkpointer:
            return await self._hosted.pause(self._config)
        waiting = self._projection.interrupts.items()
        asked = (RunInterrupt(each, self._thread_id, value, None, "") for each, value in waiting)
        return Pause(tuple(asked), self.paused)

    def _brought(self, values: AgentState) -> list[AnyMessage]:
        """Return the messages of a state after the last that went in; those that were told if it has none."""
        if self._halted is not None:
            return self._halted
        brought = after(self._listener.last_input_id, values["messages"]) if values["messages"] else None
        return self._outside_tools(self._listener.produced) if brought is None else brought

    def _outside_tools(self, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
        return [each for each in messages if each.id is None or each.id not in self._projection.in_tools]

    # The end.

    def _ends_at(self, error: BaseException) -> LimitName | None:
        if isinstance(error, LimitReachedError) and self._meter.limits.on_limit != "raise":
            return LimitName(error.limit)
        return None

    def _left(self, reason: str) -> list[AnyMessage]:
        self._projection.finish()
        partial = [chunks for _, chunks in self._listener.partial.values()]
        outside = [pieces for pieces in map(self._outside_tools, partial) if pieces]
        return recovery.remains(self._outside_tools(self._listener.produced), cast("Any", outside), reason)

    async def _commit(self, left: Sequence[AnyMessage]) -> None:
        at_top = self._projection.at_top
        own = [each for each in left if each.id in at_top]
        await self._hosted.commit(self._config, [*self._listener.sent, *own])


def _with(config: RunnableConfig, handlers: list[Any]) -> Any:
    """Return the callbacks of a config with some more."""
    callbacks = config.get("callbacks")
    if callbacks is None:
        return handlers
    if isinstance(callbacks, list):
        return [*callbacks, *handlers]
    manager = callbacks.copy()
    for handler in handlers:
        manager.add_handler(handler, inherit=True)
    return manager
