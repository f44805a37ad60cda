"""The state of the graph that `create_react_agent` makes, and how its nodes read it.

A state is a dict or a pydantic model. The classes here are the ones that programs know from langgraph-prebuilt, where
they are deprecated in favour of langchain's. `messages` is the conversation, `remaining_steps` the steps that the run
may still take, `structured_response` the structured answer. The docstrings of the classes are descriptions in JSON
schemas.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypeAlias, TypeVar

from langchain_core.messages import BaseMessage
from pydantic import BaseModel
from typing_extensions import TypedDict, deprecated

from stategraph.engine.compile.managed import RemainingSteps
from stategraph.graph.message import add_messages
from stategraph.warnings import LangGraphDeprecatedSinceV10

State: TypeAlias = Any
"""A state as nodes get it: a dict, or an instance of the schema."""

StructuredResponse = dict[Any, Any] | BaseModel
StructuredResponseSchema = dict[Any, Any] | type[BaseModel]


@deprecated(
    "AgentState has been moved to `langchain.agents`. Please update your import to "
    "`from langchain.agents import AgentState`.",
    category=LangGraphDeprecatedSinceV10,
)
class AgentState(TypedDict):
    """The state of the agent."""

    messages: Annotated[Sequence[BaseMessage], add_messages]
    remaining_steps: NotRequired[RemainingSteps]


@deprecated(
    "AgentStatePydantic has been deprecated in favor of AgentState in `langchain.agents`.",
    category=LangGraphDeprecatedSinceV10,
)
class AgentStatePydantic(BaseModel):
    """The state of the agent."""

    messages: Annotated[Sequence[BaseMessage], add_messages]
    remaining_steps: RemainingSteps = 25


with warnings.catch_warnings():
    # A subclass of a deprecated class warns.
    warnings.simplefilter("ignore", LangGraphDeprecatedSinceV10)

    @deprecated(
        "AgentStateWithStructuredResponse has been deprecated in favor of AgentState in `langchain.agents`.",
        category=LangGraphDeprecatedSinceV10,
    )
    class AgentStateWithStructuredResponse(AgentState):
        """The state of the agent with a structured response."""

        structured_response: StructuredResponse

    @deprecated(
        "AgentStateWithStructuredResponsePydantic has been deprecated in favor of AgentState in `langchain.agents`.",
        category=LangGraphDeprecatedSinceV10,
    )
    class AgentStateWithStructuredResponsePydantic(AgentStatePydantic):
        """The state of the agent with a structured response."""

        structured_response: StructuredResponse

    StateSchema = TypeVar("StateSchema", bound=AgentState | AgentStatePydantic)
    StateSchemaType = type[StateSchema]


def value_of(state: State, key: str, default: object = None) -> Any:
    """Return a value of a state.

    Args:
        state: A dict or an object with attributes.
        key: The key.
        default: The value if the state does not have it.
    """
    return state.get(key, default) if isinstance(state, dict) else getattr(state, key, default)


def messages_of(state: State) -> Any:
    """Return the messages of a state; None if it has none."""
    return value_of(state, "messages")
