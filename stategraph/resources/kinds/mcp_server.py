"""MCPServer: a server whose tools agents may call."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stategraph.resources.kinds.base import Spec, TargetSpec
from stategraph.resources.kinds.values import Duration, Name, SecretRef


class McpAuth(Spec):
    """Authorization of requests to a server."""

    secret_ref: SecretRef = Field(description="The token.")
    header: Name = Field(default="Authorization", description="The header that has it.")
    scheme: str = Field(default="Bearer", description="The word before it; empty: none.")


class MCPServerSpec(TargetSpec):
    """A server of the Model Context Protocol: a program that is started, or an address."""

    command: Name | None = Field(default=None, description="A program that is spoken to through its standard streams.")
    args: tuple[str, ...] = Field(default=(), description="Its arguments.")
    env: dict[str, str] = Field(default_factory=dict, description="Variables of its environment.")
    env_from: dict[str, SecretRef] = Field(default_factory=dict, description="Variables whose values are secrets.")
    cwd: str | None = Field(default=None, description="The folder it runs in.")
    url: str | None = Field(default=None, description="The address of a server that is reached by streamable HTTP.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers of every request.")
    auth: McpAuth | None = Field(default=None, description="How requests are authorized.")
    allow_tools: tuple[Name, ...] | None = Field(default=None, description="The tools that may be used; none: all.")
    session: Literal["shared", "thread", "user"] = Field(default="shared", description="Who shares a session.")
    connect_timeout: Duration = Field(default=30.0, description="How long it may take to start and answer.")
    call_timeout: Duration = Field(default=60.0, description="How long a request may take.")
    check_every: Duration = Field(default=30.0, description="How often it is asked whether it is well, and its tools.")
    description: str | None = Field(default=None, description="For people.")

    @model_validator(mode="after")
    def _one_transport(self) -> MCPServerSpec:
        if (self.command is None) is (self.url is None):
            raise ValueError("a server has either a 'command' that is started, or a 'url'")
        ours, others = ("command", ("headers", "auth")) if self.command else ("url", ("args", "env", "env_from", "cwd"))
        idle = [each for each in others if getattr(self, each)]
        if idle:
            raise ValueError(f"{idle[0]!r} has no effect on a server with a {ours!r}; leave it out")
        return self
