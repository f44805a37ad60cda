"""One agent, ready to run: what its nodes need, resolved once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AnyMessage, SystemMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool

from stategraph.agent.context import discovery, handoff
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.context_window import Fitting
from stategraph.agent.context.handoff import Handoff, Outlook, Role
from stategraph.agent.context.subagent import SubagentTool
from stategraph.agent.facts import Delegation, Place
from stategraph.agent.messages import history
from stategraph.agent.output.agent_output import AgentOutput
from stategraph.agent.settings.inputs import RetainRecent
from stategraph.agent.settings.model_settings import ModelRetry, ModelTimeouts
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.agent.settings.usage import SummaryTrigger


@dataclass(frozen=True, slots=True)
class Route:
    """A model that an agent may call.

    Attributes:
        model: The model with the agent's tools bound.
        provider: The provider's name as the host spelled it.
        name: The model's name; empty if unknown.
        traced_as: The provider's name as tracing has it; empty if unknown.
        retry: Which of its calls are repeated; None: none.
        timeouts: Its time limits; None: it has none.
        limiter: What its calls wait for; None: nothing.
    """

    model: Runnable[Any, Any]
    provider: str
    name: str
    traced_as: str = ""
    retry: ModelRetry | None = None
    timeouts: ModelTimeouts | None = None
    limiter: BaseRateLimiter | None = None


@dataclass(frozen=True, slots=True)
class Summarising:
    """Settings for summarising messages that do not fit.

    Attributes:
        routes: The models to try, in order.
        prompt: Asks for a summary.
        update_prompt: Asks for a summary that goes on from an earlier one.
        trigger: When to; None: whenever something does not fit.
        retain: The messages that are not summarised.
        system: The instructions without the initial summary, once another one stands for it.
        initial: The initial summary; None: there is none.
    """

    routes: tuple[Route, ...]
    prompt: str
    update_prompt: str
    trigger: SummaryTrigger | None = None
    retain: RetainRecent = field(default_factory=RetainRecent)
    system: SystemMessage | None = None
    initial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent.

    Attributes:
        id: Its name among agents.
        name: Its name for readers.
        routes: The models to try, in order.
        system: Instructions, sent before the history; None for none.
        tools: Tools of this process by name.
        tool_policies: How some of them are run, by name.
        host_tools: Names of tools that the host executes.
        host_tool_names: Those of them that the model is told about from the start, in the order of their definitions.
        handoffs: Tools by name that hand the conversation over to another agent.
        subagents: Tools by name that have another agent work on a task and return its answer.
        role: Its part among other agents; None for an agent on its own, which sees the conversation as it is.
        group_id: Shared by agents that always run in parallel with it.
        max_tool_result_chars: Limit for the result of a tool; None for that of the context alone.
        max_context_tokens: Size of the models' context; None if tokens are not counted.
        fitting: How the context is kept within its size; None if that is not known.
        summarising: How messages that do not fit are summarised; None: they are left out.
        offers_tools: Whether its model is offered tools.
        plain_text: Whether its model takes content that is text alone as a string only.
        tool_end: Whether the turn ends with the tools' results.
        rebound: The routes with tools that were found as well, by their names; None if nothing can be found.
        output: The output that it has to give; None: any text.
    """

    id: str
    name: str
    routes: tuple[Route, ...]
    system: SystemMessage | None = None
    tools: Mapping[str, BaseTool] = field(default_factory=dict)
    tool_policies: Mapping[str, ToolPolicy] = field(default_factory=dict)
    host_tools: frozenset[str] = frozenset()
    host_tool_names: tuple[str, ...] = ()
    handoffs: Mapping[str, Handoff] = field(default_factory=dict)
    subagents: Mapping[str, SubagentTool] = field(default_factory=dict)
    role: Role | None = None
    group_id: int | None = None
    max_tool_result_chars: int | None = None
    max_context_tokens: int | None = None
    fitting: Fitting | None = None
    summarising: Summarising | None = None
    offers_tools: bool
    plain_text: bool
    tool_end: bool
    rebound: Callable[[frozenset[str]], tuple[Route, ...]] | None = None
    output: AgentOutput | None = None

    @property
    def llm_node(self) -> str:
        """The name of the node that calls the model."""
        return f"agent={self.id}"

    @property
    def tools_node(self) -> str:
        """The name of the node that runs tools."""
        return f"tools={self.id}"

    @property
    def output_node(self) -> str:
        """The name of the node that takes the output."""
        return f"output={self.id}"

    @property
    def summarize_node(self) -> str:
        """The name of the node that summarises."""
        return f"summarize={self.id}"

    def look(self, messages: Sequence[AnyMessage], context_state: ContextState) -> Outlook:
        """Return what the agent's model is sent of a conversation, if all of it fits.

        Args:
            messages: The conversation.
            context_state: The state of its context.
        """
        if self.plain_text:
            messages = history.in_plain_text(messages)
        system = self.system
        if self.summarising is not None and context_state.summary is not None:
            system = self.summarising.system
        if self.role is not None:
            return self.role.look(system, messages)
        return Outlook(system, messages if self.offers_tools else handoff.flattened(messages))

    def routes_for(self, messages: Sequence[AnyMessage]) -> tuple[Route, ...]:
        """Return the models to try, in order, with the tools that a conversation has brought up."""
        if self.rebound is None:
            return self.routes
        found = frozenset(discovery.discovered(messages))
        return self.rebound(found) if found else self.routes

    def place(
        self, node: str, config: RunnableConfig, messages: Sequence[AnyMessage], within: Delegation | None = None
    ) -> Place:
        """Return the place of a running node, of a subagent if it is in one."""
        arrived = None if self.role is None else self.role.group_id(messages)
        group_id = self.group_id if arrived is None else arrived
        return Place(self.id, self.name, node, config.get("metadata") or {}, group_id, within, messages=messages)
