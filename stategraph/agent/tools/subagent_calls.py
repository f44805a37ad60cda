"""Calls of subagents: another agent's graph, run within the task of the call.

- The graph is nested in the caller's: it pauses and resumes with it, also in another process, is stopped with it, and
  its listener, host, gates and limits are the caller's.
- What it does is told with the delegation as part of each place. Its messages are no part of the caller's conversation.
- A subagent that fails is a failure of the call, which the caller's model is told. What comes out of a listener or a
  gate is none: it ends the run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.agent import Agent
from stategraph.agent.context.subagent import USAGE, Subagent, SubagentTool
from stategraph.agent.facts import Delegation, SubagentEnded, SubagentStarted
from stategraph.agent.invocation.injection import InjectionContext
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.messages import truncation
from stategraph.agent.output import record
from stategraph.agent.ports import AgentContext
from stategraph.errors import GraphBubbleUp, HandlerError

#: Steps that the graph of an agent takes at most for one call of its model: one that asks for a summary, the summary,
#: the model, its tools, its output. Turns are counted by the node of the model.
_STEPS = 5

#: Errors that are none of a subagent, and end the run.
ENDING: Final = (HandlerError, LimitReachedError)

_NOTHING = "The agent ended without an answer."


@dataclass(frozen=True, slots=True)
class SubagentCall:
    """A call of a subagent that is about to be executed.

    Attributes:
        call: The call.
        caller: Whose call it is.
        subagent: The subagent.
        task: What it is told.
        config: Of the task of the call.
        context: For the nodes of its graph.
    """

    call: ToolCall
    caller: Agent
    subagent: Subagent
    task: str
    config: RunnableConfig
    context: AgentContext

    @classmethod
    def of(cls, call: ToolCall, caller: Agent, tool: SubagentTool, values: InjectionContext) -> SubagentCall:
        """Read a call.

        Raises:
            UnknownSubagentError: The call does not say which subagent it is for, or what it is to do.
        """
        subagent, task = tool.chosen(call)
        above = values.runtime.context
        context = above if isinstance(above, AgentContext) else AgentContext(context=above)
        place = (values.config.get("configurable") or {}).get("checkpoint_ns") or ""
        # The same when the node runs again, in another process too, and another one for every call of a run.
        unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{place}:{caller.id}:{call['id']}").hex
        within = Delegation(
            id=f"{context.run_id}_sub_{unique[:21]}",
            type=subagent.type,
            agent_id=subagent.agent.id,
            caller_id=caller.id,
            call_id=call["id"] or "",
            above=context.within,
        )
        config = cast("RunnableConfig", {**values.config, "recursion_limit": (subagent.max_turns + 1) * _STEPS})
        return cls(call, caller, subagent, task, config, replace(context, within=within, max_turns=subagent.max_turns))

    def run(self) -> ToolMessage:
        """Have the subagent work and return its answer, in a sync run.

        Raises:
            GraphBubbleUp: It waits for a person.
            Exception: What it failed with.
        """
        return self._result(self.subagent.graph.invoke(self._input(), self.config, context=self.context))

    async def arun(self) -> ToolMessage:
        """Like `run`, telling the listener when it starts and ends."""
        listener, within = self.context.listener, self.context.within
        if listener is None or within is None:
            return self._result(await self.subagent.graph.ainvoke(self._input(), self.config, context=self.context))
        above = self.context.within.above if self.context.within else None
        at = self.caller.place(self.caller.tools_node, self.config, (), above)
        await listener.hear(SubagentStarted(at, within, self.task))
        try:
            state = await self.subagent.graph.ainvoke(self._input(), self.config, context=self.context)
        except GraphBubbleUp:
            raise
        except Exception as error:
            await listener.hear(SubagentEnded(at, within, error=error))
            raise
        await listener.hear(SubagentEnded(at, within, state["messages"]))
        return self._result(state)

    def _input(self) -> dict[str, Any]:
        # An id that stays: a second attempt of the call is not told the task twice.
        message_id = str(uuid.uuid5(uuid.NAMESPACE_OID, "" if self.context.within is None else self.context.within.id))
        return {"messages": [HumanMessage(content=self.task, id=message_id)]}

    def _answer(self, messages: Sequence[AnyMessage]) -> str:
        """Return the output of a subagent that has to give one, as JSON; else the text of its last answer."""
        if self.subagent.agent.output is None or not (given := record.outputs(messages)):
            return _said(messages)
        value = given[-1].given
        return value if isinstance(value, str) else truncation.compact_json(value)

    def _result(self, state: Mapping[str, Any]) -> ToolMessage:
        text, halt = self._answer(state["messages"]), state.get("halt_reason")
        if halt:
            text = f"{text}\n\nThe agent was stopped: {halt}".strip()
        return ToolMessage(
            content=text or _NOTHING,
            name=self.call["name"],
            tool_call_id=self.call["id"] or "",
            additional_kwargs={USAGE: state["usage"]},
        )


def _said(messages: Sequence[AnyMessage]) -> str:
    """Return the text of the last answer that has any."""
    answers = (truncation.text_of(each.content) for each in reversed(messages) if isinstance(each, AIMessage))
    return next((text for text in answers if text.strip()), "")
