"""`create_react_agent`: a graph in which a model calls tools until it has an answer.

    (pre_model_hook) -> agent -> (post_model_hook) -> tools -> the first again
                              -> (generate_structured_response) -> end

The nodes in brackets are there if they are asked for. Without tools there is no loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_type_hints

from langchain_core.messages import AnyMessage
from langchain_core.tools import BaseTool
from pydantic import create_model
from typing_extensions import deprecated

from stategraph.constants import END, MISSING
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.graph.state import StateGraph
from stategraph.prebuilt.agent_models import AgentModel
from stategraph.prebuilt.agent_nodes import AFTER, AGENT, BEFORE, STRUCTURED, TOOLS, AgentNodes, is_model_class
from stategraph.prebuilt.agent_state import AgentState, AgentStateWithStructuredResponse
from stategraph.prebuilt.tool_node import ToolNode
from stategraph.warnings import LangGraphDeprecatedSinceV10

Builder: TypeAlias = StateGraph[Any, Any, Any, Any]
Hook: TypeAlias = Any
"""A function or Runnable of the state, as a node."""

Schema: TypeAlias = Any
"""A TypedDict or a pydantic model."""

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelLike

    from stategraph.engine.checkpoints.saver_interfaces import BaseStore
    from stategraph.graph.compiled import CompiledStateGraph
    from stategraph.types import Checkpointer


@deprecated(
    "create_react_agent has been moved to `langchain.agents`. Please update your import to "
    "`from langchain.agents import create_agent`.",
    category=LangGraphDeprecatedSinceV10,
)
def create_react_agent(
    model: str | LanguageModelLike | Callable[..., object],
    tools: Sequence[BaseTool | Callable[..., object] | dict[str, object]] | ToolNode,
    *,
    prompt: object = None,
    response_format: object = None,
    pre_model_hook: Hook | None = None,
    post_model_hook: Hook | None = None,
    state_schema: Schema | None = None,
    context_schema: type | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    interrupt_before: list[str] | None = None,
    interrupt_after: list[str] | None = None,
    debug: bool = False,
    version: Literal["v1", "v2"] = "v2",
    name: str | None = None,
    **deprecated_kwargs: object,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Make an agent that calls tools in a loop until its model has an answer.

    Example:
        ```python
        agent = create_react_agent("openai:gpt-4.1", [search], prompt="Answer in one sentence.")
        agent.invoke({"messages": [{"role": "user", "content": "Who wrote Emma?"}]})
        ```

    Args:
        model: A chat model, also with tools bound to it; its name as `"<provider>:<model>"`, which needs langchain; or
            a function of the state and the runtime that returns a model, sync or async. A model that a function
            returns has to have the tools bound already.
        tools: Tools, functions, and tools of the provider as dicts; or a `ToolNode`. Without any the agent asks its
            model once.
        prompt: A system message or its text, or a function or Runnable from the state to the input of the model.
        response_format: A schema that the last answer is given in, as `structured_response` of the state, by a further
            call of the model; or a pair of a prompt for that call and the schema.
        pre_model_hook: A node before the model, in each round. `llm_input_messages` of its update is what the model is
            sent this once; `messages` changes the conversation.
        post_model_hook: A node after the model, in each round. Needs `version="v2"`.
        state_schema: The state: a TypedDict or pydantic model with `messages` and `remaining_steps`, and
            `structured_response` if there is a `response_format`.
        context_schema: The context that callers pass.
        checkpointer: Keeps the threads.
        store: Keeps data across threads.
        interrupt_before: Nodes before which a run pauses.
        interrupt_after: Nodes after which a run pauses.
        debug: Print what happens.
        version: `"v2"` sends each call to the tools by itself; `"v1"` has one node execute all calls of an answer.
        name: The name of the graph, which its answers get too.
        **deprecated_kwargs: `config_schema`, the old name of `context_schema`.

    Returns:
        The compiled graph. A run that is out of steps ends with an answer that says so.

    Raises:
        TypeError: There are other arguments.
        ValueError: The version is unknown, the state lacks a key, the prompt is of an unknown kind, or other tools are
            bound to the model.
        ImportError: The model is given by its name, and langchain is not installed.
    """
    context_schema = _with_config_schema(context_schema, deprecated_kwargs)
    if version not in ("v1", "v2"):
        raise ValueError(f"Invalid version {version}. Supported versions are 'v1' and 'v2'.")
    schema = _state_schema(state_schema, response_format)
    builtin = [] if isinstance(tools, ToolNode) else [tool for tool in tools if isinstance(tool, dict)]
    tool_node = (
        tools if isinstance(tools, ToolNode) else ToolNode([tool for tool in tools if not isinstance(tool, dict)])
    )
    own_tools = [*tool_node.tools_by_name.values()]
    nodes = AgentNodes(
        model=AgentModel(model, prompt, own_tools, builtin),
        state_is_model=is_model_class(schema),
        has_before=pre_model_hook is not None,
        has_after=post_model_hook is not None,
        response_format=response_format,
        sends_calls=version == "v2",
        direct_tools=frozenset(tool.name for tool in own_tools if tool.return_direct),
        name=name,
    )
    builder = StateGraph(state_schema=schema, context_schema=context_schema)
    _add_nodes(builder, nodes, schema, tool_node if own_tools else None, (pre_model_hook, post_model_hook))
    (_add_loop if own_tools else _add_chain)(builder, nodes)
    return builder.compile(
        checkpointer=checkpointer,
        store=store,
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
        debug=debug,
        name=name,
    )


create_tool_calling_executor = create_react_agent
"""An older name."""


def _with_config_schema(context_schema: type | None, arguments: dict[str, object]) -> type | None:
    """Return the context schema, which may have been given by its old name."""
    config_schema = arguments.pop("config_schema", MISSING)
    if arguments:
        raise TypeError(f"create_react_agent() got unexpected keyword arguments: {arguments}")
    if config_schema is MISSING:
        return context_schema
    warnings.warn(
        "`config_schema` is deprecated and will be removed. Please use `context_schema` instead.",
        category=LangGraphDeprecatedSinceV10,
        stacklevel=4,
    )
    return cast("type | None", config_schema) if context_schema is None else context_schema


def _state_schema(given: Schema | None, response_format: object) -> Schema:
    if given is None:
        return AgentState if response_format is None else AgentStateWithStructuredResponse
    required = {"messages", "remaining_steps"}
    if response_format is not None:
        required.add("structured_response")
    if missing := required - get_type_hints(given).keys():
        raise ValueError(f"Missing required key(s) {missing} in state_schema")
    return given


def _model_input_schema(schema: Schema) -> Schema:
    """Return the state of an agent with the messages that its model is sent this once."""
    if is_model_class(schema):
        return create_model("CallModelInputSchema", llm_input_messages=(list[AnyMessage], ...), __base__=schema)

    class CallModelInputSchema(schema):  # type: ignore[misc]
        """The state, and the messages that the model is sent this once."""

        llm_input_messages: list[AnyMessage]

    return CallModelInputSchema


def _add_nodes(
    builder: Builder,
    nodes: AgentNodes,
    schema: Schema,
    tool_node: ToolNode | None,
    hooks: tuple[Hook | None, Hook | None],
) -> None:
    builder.add_node(
        AGENT,
        RunnableCallable(nodes.call_model, nodes.acall_model),
        input_schema=_model_input_schema(schema) if nodes.has_before else schema,
    )
    before, after = hooks
    if tool_node is not None:
        builder.add_node(TOOLS, tool_node)
    if before is not None:
        builder.add_node(BEFORE, before)
        builder.add_edge(BEFORE, AGENT)
    if after is not None:
        builder.add_node(AFTER, after)
        builder.add_edge(AGENT, AFTER)
    if nodes.response_format is not None:
        builder.add_node(
            STRUCTURED, RunnableCallable(nodes.generate_structured_response, nodes.agenerate_structured_response)
        )
    builder.set_entry_point(nodes.first)


def _add_chain(builder: Builder, nodes: AgentNodes) -> None:
    """Connect the nodes of an agent without tools."""
    if nodes.response_format is not None:
        builder.add_edge(AFTER if nodes.has_after else AGENT, STRUCTURED)


def _add_loop(builder: Builder, nodes: AgentNodes) -> None:
    """Connect the nodes of an agent with tools."""
    if nodes.has_after:
        paths = [nodes.first, TOOLS, nodes.last]
        builder.add_conditional_edges(AFTER, nodes.post_model_hook_router, path_map=paths)
    targets = [AFTER] if nodes.has_after else [TOOLS, nodes.last]
    builder.add_conditional_edges(AGENT, nodes.should_continue, path_map=targets)
    if nodes.direct_tools:
        builder.add_conditional_edges(TOOLS, nodes.route_tool_responses, path_map=[nodes.first, END])
    else:
        builder.add_edge(TOOLS, nodes.first)
