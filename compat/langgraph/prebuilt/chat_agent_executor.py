"""The agent that calls tools in a loop, and its state."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.prebuilt.agent_models import unwrapped as _get_model
from stategraph.prebuilt.agent_models import wants_tools as _should_bind_tools
from stategraph.prebuilt.agent_nodes import check_history as _validate_chat_history
from stategraph.prebuilt.agent_state import (
    AgentState,
    AgentStatePydantic,
    AgentStateWithStructuredResponse,
    AgentStateWithStructuredResponsePydantic,
    StateSchema,
    StateSchemaType,
    StructuredResponse,
    StructuredResponseSchema,
)
from stategraph.prebuilt.agent_state import value_of as _get_state_value
from stategraph.prebuilt.prompts import PROMPT_RUNNABLE_NAME, Prompt
from stategraph.prebuilt.prompts import runnable_of as _get_prompt_runnable
from stategraph.prebuilt.react_agent import create_react_agent, create_tool_calling_executor

__all__ = (
    "AgentState",
    "AgentStatePydantic",
    "AgentStateWithStructuredResponse",
    "AgentStateWithStructuredResponsePydantic",
    "create_react_agent",
    "create_tool_calling_executor",
)

__getattr__ = _names_of(__name__)
