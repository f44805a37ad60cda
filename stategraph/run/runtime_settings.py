"""Settings of `create_run` and of runtimes, checked when these are called: one way for all, in sentences.

What a runtime is given for all of its runs is checked when it is made, and not with the first run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf

from stategraph.agent.ports import ModelRegistry
from stategraph.agent.settings import validation
from stategraph.agent.settings.field_types import Count, Flag, Saver, Store, checked_saver
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.agent.settings.validation import Several
from stategraph.errors import ConfigurationError
from stategraph.run.abort import AbortSignal
from stategraph.run.config import RunConfig, RunFields
from stategraph.run.ports import EventLogFactory, RunDirectory
from stategraph.run.threads.port import ThreadIndex
from stategraph.savers.urls import check_address


class SharedSettings(RunFields):
    """Keywords of `create_run` that a runtime takes as well, for all of its runs.

    Attributes:
        edges: The ways between agents.
        signal: Aborts the run.
        checkpointer: Keeps threads.
        store: Long-term memory.
    """

    edges: Several[GraphEdge] = ()
    signal: InstanceOf[AbortSignal] | None = None
    checkpointer: Saver = None
    store: Store = None

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Self:
        """Return the settings, checked.

        Raises:
            ConfigurationError: They make no sense; a sentence for each problem.
        """
        return validation.checked(cls, given)


class RunKeywords(SharedSettings):
    """The keywords of `create_run`.

    Attributes:
        run_id: The run's name.
        agents: Its agents.
    """

    model_config = ConfigDict(title="create_run")

    run_id: str = Field(min_length=1)
    agents: Several[AgentInputs] = ()

    def config(self, **replaced: Any) -> RunConfig:
        """Return the configuration of the run.

        Args:
            **replaced: Fields in place of those that were given.

        Raises:
            ConfigurationError: There are neither agents nor a graph, or both.
        """
        if self.graph is not None and (self.agents or self.edges):
            both = "agents" if self.agents else "edges"
            raise ConfigurationError(
                f"A run has either a 'graph' or agents, and both 'graph' and '{both}' were given; for several, make a "
                "graph of them, or create a run of each"
            )
        if self.graph is None and not self.agents:
            raise ConfigurationError("At least one agent must be provided: agents=[AgentInputs(...)], or a graph=")
        fields = {name: getattr(self, name) for name in self.model_fields_set if name in RunFields.model_fields}
        of_agents = {
            "type": "multi-agent" if len(self.agents) > 1 or self.edges else "standard",
            "agents": self.agents,
            "edges": self.edges,
            "signal": self.signal,
            "compile_options": {"checkpointer": self.checkpointer, "store": self.store},
        }
        # Checked again, as that is quicker than pydantic's way to leave it out.
        return RunConfig(**{"run_id": self.run_id, "graph_config": of_agents, **fields, **replaced})


def _saver_or_address(given: Any) -> Any:
    if not isinstance(given, str):
        return checked_saver(given)
    check_address(given)
    return given


class RuntimeSettings(SharedSettings):
    """The settings of an `AgentRuntime`, which has what they mean.

    Attributes:
        checkpointer: Keeps threads: a saver, or the address of a database.
        models: Resolves the models of agents.
        mcp_servers: Servers by name, or sessions with them; looked at by `McpSessions`.
        tool_sources: Further sources of tools; looked at by `ToolSources`.
        runs_kept: How many runs are known when they have ended.
        runs: Keeps the runs.
        event_log: Makes the log of a run.
        thread_index: Keeps titles, owners and times of threads.
    """

    model_config = ConfigDict(title="AgentRuntime")

    checkpointer: Annotated[Any, AfterValidator(_saver_or_address)] = Field(default=None, repr=False)
    models: InstanceOf[ModelRegistry] | None = None
    mcp_servers: Any = None
    tool_sources: Several[Any] = ()
    runs_kept: Count = 0
    runs: InstanceOf[RunDirectory[Any]] | None = None
    event_log: EventLogFactory | None = None
    thread_index: Flag | InstanceOf[ThreadIndex] | None = None
