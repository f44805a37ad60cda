"""The nodes and routers of the graph that `create_react_agent` makes.

- The names of the functions are those that callback handlers and drawings show.
- Every call in the conversation must have its result before a model is asked: providers refuse a history without it.
- With `version="v2"` each call is sent to the tools by itself, with the state as it was then; with `"v1"` the node gets
  the state and executes all calls.
- After a tool with `return_direct` the agent ends, also if it was one of several calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel

from stategraph.constants import END
from stategraph.errors import ErrorCode, create_error_message
from stategraph.prebuilt.agent_models import AgentModel
from stategraph.prebuilt.agent_state import State, messages_of, value_of
from stategraph.prebuilt.injection import AnyRuntime
from stategraph.prebuilt.steps import Step, Steps, atake, take
from stategraph.prebuilt.tool_request import WITH_CONTEXT
from stategraph.types import Send

AGENT, TOOLS, BEFORE, AFTER, STRUCTURED = (
    "agent",
    "tools",
    "pre_model_hook",
    "post_model_hook",
    "generate_structured_response",
)
"""The names of the nodes."""

Update: TypeAlias = dict[str, Any]
"""What a node writes."""

_OUT_OF_STEPS = "Sorry, need more steps to process this request."


@dataclass(frozen=True, slots=True)
class AgentNodes:
    """The nodes and routers of one agent.

    Attributes:
        model: Its model.
        state_is_model: Whether its state is a pydantic model.
        has_before: Whether a node runs before the model.
        has_after: Whether a node runs after the model.
        response_format: The schema of a structured answer, or a pair of a prompt and it; None for none.
        sends_calls: Whether each call is sent to the tools by itself.
        direct_tools: The tools after which the agent ends.
        name: The name of the agent, which its answers get.
    """

    model: AgentModel
    state_is_model: bool
    has_before: bool
    has_after: bool
    response_format: Any
    sends_calls: bool
    direct_tools: frozenset[str]
    name: str | None

    # Nodes.

    def call_model(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Update:
        """Ask the model.

        Raises:
            RuntimeError: The model is chosen by an async function.
            ValueError: A call in the conversation has no result, or there are no messages.
        """
        self.model.refuse_sync()
        return take(self._calling_model(state, runtime, config))

    async def acall_model(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Update:
        """Ask the model.

        Raises:
            ValueError: A call in the conversation has no result, or there are no messages.
        """
        return await atake(self._calling_model(state, runtime, config))

    def _calling_model(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Steps[Update]:
        answer = yield from self.model.asking(self._asked_about(state), runtime, config)
        answer.name = self.name
        if self._is_out_of_steps(state, answer):
            answer = AIMessage(id=answer.id, content=_OUT_OF_STEPS)
        return {"messages": [answer]}

    def generate_structured_response(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Update:
        """Ask the model for the structured answer.

        Raises:
            RuntimeError: The model is chosen by an async function.
        """
        self.model.refuse_sync()
        return take(self._structuring(state, runtime, config))

    async def agenerate_structured_response(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Update:
        """Ask the model for the structured answer."""
        return await atake(self._structuring(state, runtime, config))

    def _structuring(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Steps[Update]:
        messages, schema = messages_of(state), self.response_format
        if isinstance(schema, tuple):
            prompt, schema = schema
            messages = [SystemMessage(content=prompt), *messages]
        chat_model = yield from self.model.choosing_chat_model(state, runtime)
        model = chat_model.with_structured_output(schema)
        answer = yield Step(partial(model.invoke, messages, config), partial(model.ainvoke, messages, config))
        return {"structured_response": answer}

    def _asked_about(self, state: State) -> State:
        """Return the state as the prompt sees it: its messages are those that the model is to be sent."""
        messages = (value_of(state, "llm_input_messages") if self.has_before else None) or messages_of(state)
        if messages is None:
            keys = "'llm_input_messages' or 'messages' key" if self.has_before else "'messages' key"
            raise ValueError(f"Expected input to call_model to have {keys}, but got {state}")
        check_history(messages)
        # The state is this node's own.
        if self.state_is_model:
            state.messages = messages
        else:
            state["messages"] = messages
        return state

    def _is_out_of_steps(self, state: State, answer: Any) -> bool:
        """Return whether there are too few steps left to execute the calls of an answer and to ask the model again."""
        steps = value_of(state, "remaining_steps")
        if steps is None or steps >= 2 or not isinstance(answer, AIMessage):
            return False
        if steps < 1 and all(call["name"] in self.direct_tools for call in answer.tool_calls):
            return True
        return bool(answer.tool_calls)

    # Routers.

    @property
    def first(self) -> str:
        """The node that a round begins with."""
        return BEFORE if self.has_before else AGENT

    @property
    def last(self) -> str:
        """The node that follows when no tool is called any more."""
        return END if self.response_format is None else STRUCTURED

    def should_continue(self, state: State) -> str | list[Send]:
        """Route from the model to its calls, or to what ends the agent."""
        message = messages_of(state)[-1]
        if not isinstance(message, AIMessage) or not message.tool_calls:
            return AFTER if self.has_after else self.last
        if not self.sends_calls:
            return TOOLS
        return AFTER if self.has_after else _sent(message.tool_calls, state)

    def post_model_hook_router(self, state: State) -> str | list[Send]:
        """Route from the node after the model to calls without a result, to the next round, or to the end."""
        messages = messages_of(state)
        answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
        newest = next(message for message in reversed(messages) if isinstance(message, AIMessage))
        if pending := [call for call in newest.tool_calls if call["id"] not in answered]:
            return _sent(pending, state)
        return self.first if isinstance(messages[-1], ToolMessage) else self.last

    def route_tool_responses(self, state: State) -> str:
        """Route from the tools to the next round, or to the end after a tool whose result is the answer."""
        for message in reversed(messages_of(state)):
            if not isinstance(message, ToolMessage):
                # Of several calls that were sent by themselves, another one's result may be the answer.
                calls = message.tool_calls if isinstance(message, AIMessage) else []
                return END if any(call["name"] in self.direct_tools for call in calls) else self.first
            if message.name in self.direct_tools:
                return END
        return self.first


def _sent(calls: Iterable[ToolCall], state: State) -> list[Send]:
    return [Send(TOOLS, {"__type": WITH_CONTEXT, "tool_call": call, "state": state}) for call in calls]


def check_history(messages: Sequence[BaseMessage]) -> None:
    """Check that every call in a conversation has its result.

    Raises:
        ValueError: One has none.
    """
    calls: list[ToolCall] = []
    answered = set()
    for message in messages:
        # The exact class first: to ask pydantic's metaclass takes several times as long.
        kind = type(message)
        if kind is ToolMessage:
            answered.add(message.tool_call_id)  # type: ignore[attr-defined]
        elif kind is AIMessage:
            calls += message.tool_calls  # type: ignore[attr-defined]
        elif isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            calls += message.tool_calls
    unanswered = [call for call in calls if call["id"] not in answered]
    if unanswered:
        raise ValueError(
            create_error_message(
                message="Found AIMessages with tool_calls that do not have a corresponding ToolMessage. "
                f"Here are the first few of those tool calls: {unanswered[:3]}.\n\n"
                "Every tool call (LLM requesting to call a tool) in the message history MUST have a corresponding "
                "ToolMessage (result of a tool invocation to return to the LLM) - this is required by most LLM "
                "providers.",
                error_code=ErrorCode.INVALID_CHAT_HISTORY,
            )
        )


def is_model_class(schema: object) -> bool:
    """Return whether a schema of states is a pydantic model."""
    return isinstance(schema, type) and issubclass(schema, BaseModel)
