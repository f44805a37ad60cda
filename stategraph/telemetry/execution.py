"""One execution of a run: its span, and tools that LangChain knows nothing of: handoffs, subagents, the host's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from opentelemetry import context as contexts

from stategraph.agent.facts import Fact, ToolEnded, ToolFailed, ToolStarted
from stategraph.agent.ports import HostResult, Listener, ToolBatch, ToolHost
from stategraph.errors import GraphInterrupt
from stategraph.run.ports import ExecutionStatus, MeasuredExecution
from stategraph.telemetry import ambient, content, names
from stategraph.telemetry.handler import TelemetryHandler, begin_tool
from stategraph.telemetry.mcp_calls import TOOL_ERROR
from stategraph.telemetry.recorder import Measured, Recorder


class ExecutionMeasurement:
    """Measures one execution; `Telemetry.measure` makes it.

    Args:
        recorder: Makes the spans.
        execution: What begins.
    """

    def __init__(self, recorder: Recorder, execution: MeasuredExecution) -> None:
        self._recorder = recorder
        self._tools = execution.own_tools
        self._listener: _ToolListener | None = None
        self._around = contexts.get_current()
        # A run without a thread of its own has one that is called after it: it is in no conversation.
        conversation = None if execution.thread_id == execution.run_id else execution.thread_id
        workflow = recorder.workflow or execution.graph
        attributes = {
            names.WORKFLOW: workflow,
            names.CONVERSATION: conversation,
            names.RUN_ID: execution.run_id,
            names.QUEUED: execution.queued_s,
        }
        self._measured = recorder.begin("invoke_workflow", workflow, self._around, attributes)
        if execution.queued_s is not None:
            recorder.queued(execution.queued_s)
        self._handler = TelemetryHandler(recorder, self._measured, execution.agents, conversation)
        contexts.attach(self._measured.context)
        self._ambient = ambient.current.get()
        ambient.current.set(None)

    def config(self, config: RunnableConfig, /) -> RunnableConfig:
        """Return the config with the handler that measures what runs in the run."""
        callbacks = config.get("callbacks")
        if isinstance(callbacks, BaseCallbackManager):
            callbacks = callbacks.copy()
            callbacks.add_handler(self._handler, inherit=True)
            return {**config, "callbacks": callbacks}
        return {**config, "callbacks": [*(callbacks or ()), self._handler]}

    def listener(self, listener: Listener, /) -> Listener:
        """Return a listener that measures handoffs and calls of subagents."""
        self._listener = _ToolListener(listener, self._recorder, self._tools)
        return self._listener

    def host(self, host: ToolHost, /) -> ToolHost:
        """Return a host whose tools are measured."""
        return _MeasuredHost(host, self._recorder)

    def end(self, status: ExecutionStatus, error: BaseException | None, /) -> None:
        """End the span of the run."""
        if self._listener is not None:
            self._listener.close()
        contexts.attach(self._around)
        ambient.current.set(self._ambient)
        self._recorder.end(self._measured, error, {names.RUN_STATUS: status})


class _ToolListener:
    """Measures tools that LangChain knows nothing of: handoffs and subagents."""

    def __init__(self, listener: Listener, recorder: Recorder, tools: Collection[str]) -> None:
        self._hear = listener.hear
        self._recorder = recorder
        self._tools = tools
        self._open: dict[tuple[str, str | None], Measured] = {}
        self.memory = listener.memory
        self.recall = listener.recall

    async def hear(self, fact: Fact, /) -> None:
        """Pass a fact on."""
        if isinstance(fact, ToolStarted | ToolEnded | ToolFailed) and fact.call["name"] in self._tools:
            self._tool(fact)
        await self._hear(fact)

    def _tool(self, fact: ToolStarted | ToolEnded | ToolFailed) -> None:
        call, key = fact.call, (fact.at.agent_id, fact.call["id"])
        if isinstance(fact, ToolStarted):
            measured = self._open[key] = begin_tool(
                self._recorder,
                name=call["name"],
                call_id=call["id"],
                arguments=call["args"],
                around=contexts.get_current(),
            )
            # The call goes on in this context; what a subagent does belongs to it.
            measured.takes_in = True
            contexts.attach(measured.context)
        elif (known := self._open.pop(key, None)) is not None:
            told: dict[str, Any] = {}
            if self._recorder.content and isinstance(fact, ToolEnded) and isinstance(fact.output, ToolMessage):
                told[names.TOOL_RESULT] = content.data(fact.output)
            self._recorder.end(known, fact.error if isinstance(fact, ToolFailed) else None, told)

    def close(self) -> None:
        """End the calls that wait for a person, or were cut off."""
        for measured in self._open.values():
            self._recorder.end(measured, GraphInterrupt())
        self._open.clear()


class _MeasuredHost:
    """Measures the tools that the host executes."""

    def __init__(self, host: ToolHost, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder

    async def execute(
        self, batch: ToolBatch, early: Callable[[HostResult], Awaitable[None]], /
    ) -> Sequence[HostResult]:
        """Have the host execute calls."""
        around, recorder = contexts.get_current(), self._recorder
        running: dict[str, Measured] = {}
        for call in batch.calls:
            running[call["id"] or ""] = begin_tool(
                recorder, name=call["name"], call_id=call["id"], arguments=call["args"], around=around
            )

        def end(result: HostResult) -> None:
            measured = running.pop(result.tool_call_id, None)
            if measured is not None:
                told: Mapping[str, Any] = {}
                if recorder.content:
                    told = {names.TOOL_RESULT: content.data(result.error_message or result.content)}
                recorder.end(measured, None, told, TOOL_ERROR if result.status == "error" else None)

        async def ending(result: HostResult) -> None:
            end(result)
            await early(result)

        if len(running) == 1:
            contexts.attach(next(iter(running.values())).context)
        try:
            results = await self._host.execute(batch, ending)
        except BaseException as error:
            for measured in running.values():
                recorder.end(measured, error)
            raise
        finally:
            contexts.attach(around)
        for result in results:
            end(result)
        for measured in running.values():
            recorder.end(measured, error_type="no_result")
        return results
