"""Tool: something that agents and workflows may call."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from stategraph.resources.kinds.base import Ref, Spec, TargetSpec
from stategraph.resources.kinds.values import Duration, FunctionPath, JsonSchema, Name, Retry, SecretRef


class McpTool(Spec):
    """A tool of an MCP server."""

    server_ref: Ref = Field(description="The MCPServer.")
    tool: Name = Field(description="The server's name of the tool.")


class HttpTool(Spec):
    """An operation of an HTTP API that OpenAPI describes."""

    openapi: dict[str, Any] | str = Field(description="The OpenAPI document, or the path of its file.")
    operation_id: Name = Field(description="The operation.")
    server: str | None = Field(default=None, description="The address of the API; none: the document's first.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers of every request.")
    secret_ref: SecretRef | None = Field(default=None, description="A token, sent as `Authorization: Bearer`.")


class PluginTool(Spec):
    """A tool of a plug-in."""

    plugin_ref: Ref = Field(description="The Plugin.")
    tool: Name | None = Field(default=None, description="The plug-in's name of the tool; none: that of the resource.")


SOURCES = ("function", "mcp", "plugin", "agent_ref", "workflow_ref", "network_ref", "http", "id")


class ToolSpec(TargetSpec):
    """Something that agents and workflows may call: a function, an operation, an agent, a workflow, and more."""

    description: str | None = Field(default=None, description="What it does, for models; none: what its source says.")
    function: FunctionPath | None = Field(default=None, description="An import path, under an allowed prefix.")
    mcp: McpTool | None = Field(default=None, description="A tool of an MCP server.")
    plugin: PluginTool | None = Field(default=None, description="A tool of a plug-in.")
    agent_ref: Ref | None = Field(default=None, description="An agent that is asked.")
    workflow_ref: Ref | None = Field(default=None, description="A workflow that is executed.")
    network_ref: Ref | None = Field(default=None, description="A network that is asked.")
    http: HttpTool | None = Field(default=None, description="An operation of an HTTP API.")
    id: Name | None = Field(
        default=None, description="A tool that the program registered with the runtime under this id."
    )
    input_schema: JsonSchema | None = Field(
        default=None, description="JSON Schema of the arguments; none: the source's."
    )
    risk: Literal["read", "write", "external", "destructive"] = Field(default="write", description="For policies.")
    timeout: Duration | None = Field(default=None, description="How long one call may take.")
    retry: Retry | None = Field(default=None, description="Whether failed calls are repeated.")
    effect_key: str | None = Field(
        default=None, description="An expression over `args`: calls with one key have one effect. Needs a policy."
    )

    @model_validator(mode="after")
    def _one_source(self) -> ToolSpec:
        given = [each for each in SOURCES if getattr(self, each) is not None]
        if len(given) != 1:
            named = ", ".join(map(to_camel, SOURCES))
            raise ValueError(f"a tool has exactly one of {named}; found {', '.join(given) or 'none'}")
        return self
