"""Settings of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stategraph.server.mcp.catalogue import Catalogue

if TYPE_CHECKING:
    from stategraph.governance.skills.skill import Skill


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSettings:
    """Settings of an assistant as a tool.

    Attributes:
        title: For people; None: its name.
        read_only: Whether it changes nothing outside.
        destructive: Whether it may destroy something outside.
        idempotent: Whether calling it twice is as calling it once.
        open_world: Whether it deals with things outside of the server's control.
        task: `never`: a call returns its result. `allowed`: a call that a client may go on without, as it knows tasks,
            is a task. `required`: clients that know no tasks are refused.
        asks_first: Whether what the graph asks first is asked in the call, before that becomes a task.
        input_schema: JSON schema of the arguments; None: that of the graph.
        output_schema: JSON schema of the structured result; None: that of the graph.
    """

    title: str | None = None
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None
    task: Literal["never", "allowed", "required"] = "allowed"
    asks_first: bool = False
    input_schema: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings:
    """Settings of the protocol.

    Attributes:
        name: Of the server.
        version: Of the server.
        instructions: For models; None: none.
        tools: How assistants are tools, by the ids of their graphs.
        exposed: Ids of graphs whose assistants are tools; None: all. An assistant whose metadata have
            `{"mcp": {"exposed": false}}` is none in any case.
        catalogue: Resources, prompts and completions; None: there are none.
        skills: Skills that clients may read, as `stategraph.governance.skills.loader.load` returns them.
        allowed_hosts: Names by which the server may be addressed beside `localhost` and loopback addresses, such as
            `agents.example.com` or `agents.example.com:*`.
        allowed_origins: Origins of pages that may use it, beside those of this machine.
        checks_hosts: Whether requests for other hosts, and from other pages, are refused; no if all need credentials.
        task_after_s: How long a call may take, in seconds, before it becomes a task, for clients that know tasks.
        poll_interval_ms: How often clients should look at a task, in milliseconds.
        list_ttl_ms: For how long clients may keep lists of tools, in milliseconds.
        retry_ms: After how long a client whose stream broke should come back, in milliseconds.
        session_idle_s: After how many seconds without a request a session of 2025-11-25 ends.
        most_sessions: Sessions of 2025-11-25 at a time.
    """

    name: str = "stategraph"
    version: str = ""
    instructions: str | None = None
    tools: Mapping[str, ToolSettings] = field(default_factory=dict)
    exposed: Sequence[str] | None = None
    catalogue: Catalogue | None = None
    skills: Sequence[Skill] = ()
    allowed_hosts: Sequence[str] = ()
    allowed_origins: Sequence[str] = ()
    checks_hosts: bool = True
    task_after_s: float = 5.0
    poll_interval_ms: int = 1_000
    list_ttl_ms: int = 60_000
    retry_ms: int = 1_000
    session_idle_s: float = 1_800.0
    most_sessions: int = 10_000

    def tool(self, graph_id: str) -> ToolSettings:
        """Return how an assistant of a graph is a tool."""
        return self.tools.get(graph_id, _AS_IS)


_AS_IS = ToolSettings()
