"""Settings of an agent, and of the edges between agents.

- A model is given in one of two ways: ready (`model`), or as a provider and what its client takes.
- Names of the fields are those of the wire in snake case; mappings may use either spelling.
- Nothing is looked up, imported or contacted here: these are values.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, model_validator

from stategraph.agent.messages.compaction import ContextPruning
from stategraph.agent.settings import output_members, validation
from stategraph.agent.settings.field_types import Count, Flag, PositiveInt, Ratio
from stategraph.agent.settings.model_settings import (
    ClientOptions,
    Fallbacks,
    Limiter,
    ModelOptions,
    ModelRetry,
    ModelTimeouts,
    check_choice,
)
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.agent.settings.usage import SummaryTrigger
from stategraph.agent.settings.validation import Settings, Several

_PRUNING = ContextPruning()


class Providers(StrEnum):
    """Providers by the names that chat backends store; `stategraph.agent.llm.models` knows further spellings."""

    ANTHROPIC = "anthropic"
    AZURE = "azureOpenAI"
    BEDROCK = "bedrock"
    DEEPSEEK = "deepseek"
    GOOGLE = "google"
    MISTRAL = "mistral"
    MISTRALAI = "mistralai"
    MOONSHOT = "moonshot"
    OPENAI = "openAI"
    OPENROUTER = "openrouter"
    VERTEXAI = "vertexai"
    XAI = "xai"


def _tool(given: Any) -> Any:
    if isinstance(given, BaseTool | Mapping) or callable(given):
        return given
    raise ValueError(
        f"a value of type {type(given).__name__} is no tool; expected a LangChain tool, a function,"
        " or a mapping that describes a tool which the provider runs"
    )


def _list_of_tools(given: Any) -> Any:
    # A LangChain tool is a sequence of its fields to pydantic.
    if isinstance(given, BaseTool | Mapping) or callable(given):
        raise ValueError(
            f"a value of type {type(given).__name__} is one tool; expected a list of tools: put it into [ ]"
        )
    return given


def _one_or_many(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


def _prompt(given: Any) -> Any:
    if given is None or isinstance(given, str) or callable(given):
        return given
    raise ValueError(f"a value of type {type(given).__name__} is no prompt; expected a text or a function")


AgentTool: TypeAlias = Annotated[Any, AfterValidator(_tool)]
"""A `BaseTool`, a function, or a mapping for a tool that the provider runs itself."""

AgentTools: TypeAlias = Annotated[Several[AgentTool], BeforeValidator(_list_of_tools)]
AgentId: TypeAlias = Annotated[str, Field(min_length=1)]
AgentIds: TypeAlias = Annotated[Several[AgentId], BeforeValidator(_one_or_many), Field(min_length=1)]
PromptFunction: TypeAlias = Callable[[Sequence[BaseMessage], int], "str | Awaitable[str | None] | None"]
"""Makes a prompt from all messages and the position of the first one of this run; None or an empty text: no prompt."""


class ToolDefinition(Settings):
    """A tool by its description alone; the host executes it.

    Attributes:
        name: The name for the model.
        description: For the model.
        parameters: JSON schema of the arguments, an object; None: none.
        allowed_callers: The callers allowed; None: the model. A tool only for code is not shown to the model.
        defer_loading: Show it to the model only once it was discovered.
        response_format: Whether results have an artifact in addition to the content.
        server_name: The MCP server that it comes from.
        tool_type: Its origin.
    """

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    allowed_callers: tuple[Literal["direct", "code_execution"], ...] | None = None
    defer_loading: Flag = False
    response_format: Literal["content", "content_and_artifact"] | None = None
    server_name: str | None = None
    tool_type: Literal["builtin", "mcp", "action"] | None = None


class RetainRecent(Settings):
    """The messages that are not summarised.

    Attributes:
        turns: So many turns, each led by a message of the user. 0: everything is summarised.
        tokens: No more than so many tokens, the newest turn excepted; None: no limit.
    """

    turns: Count = 2
    tokens: PositiveInt | None = None


class SummarizationConfig(Settings):
    """Settings for summarising messages that no longer fit.

    Attributes:
        provider: Whose model summarises; None: the agent's.
        model: The model's name; None: the agent's.
        parameters: More parameters of its client.
        prompt: Asks for a summary; None: a prompt of this package.
        update_prompt: Asks for a summary that goes on from an earlier one; None: a prompt of this package.
        trigger: When to summarise; None: whenever something does not fit.
        max_summary_tokens: The longest summary; None: as long as the model makes it.
        reserve_ratio: Part of the context that is left free.
        retain_recent: The messages that are not summarised.
    """

    provider: str | None = None
    model: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict, repr=False)
    prompt: str | None = None
    update_prompt: str | None = None
    trigger: SummaryTrigger | None = None
    max_summary_tokens: PositiveInt | None = None
    reserve_ratio: Ratio = 0.05
    retain_recent: RetainRecent = RetainRecent()


class InitialSummary(Settings):
    """A summary of what came before the messages of a run.

    Attributes:
        text: The summary.
        token_count: Its tokens.
    """

    text: str
    token_count: Count


class SoftTrim(Settings):
    """Settings for shortening an old tool result: longer ones than `max_chars` keep so much of both ends."""

    max_chars: PositiveInt = _PRUNING.soft_max_chars
    head_chars: Count = _PRUNING.head_chars
    tail_chars: Count = _PRUNING.tail_chars


class HardClear(Settings):
    """Settings for replacing very old tool results."""

    enabled: Flag = True
    placeholder: str = _PRUNING.placeholder


class ContextPruningConfig(Settings):
    """Clear old tool results even where there is room; off unless enabled.

    Attributes:
        enabled: Whether to.
        keep_last_assistants: Results after the so many last messages of the model stay.
        min_prunable_tool_chars: Shorter results stay.
        soft_trim_ratio: Age, as a part of the history, from which results are shortened.
        hard_clear_ratio: Age from which they are replaced.
        soft_trim: How they are shortened.
        hard_clear: How they are replaced.
    """

    enabled: Flag = False
    keep_last_assistants: Count = _PRUNING.keep_last_assistants
    min_prunable_tool_chars: Count = _PRUNING.min_chars
    soft_trim_ratio: Ratio = _PRUNING.soft_age
    hard_clear_ratio: Ratio = _PRUNING.hard_age
    soft_trim: SoftTrim = SoftTrim()
    hard_clear: HardClear = HardClear()

    def pruning(self) -> ContextPruning | None:
        """Return these settings as trimming takes them; None if they are off."""
        if not self.enabled:
            return None
        return ContextPruning(
            keep_last_assistants=self.keep_last_assistants,
            min_chars=self.min_prunable_tool_chars,
            soft_age=self.soft_trim_ratio,
            hard_age=self.hard_clear_ratio if self.hard_clear.enabled else math.inf,
            soft_max_chars=self.soft_trim.max_chars,
            head_chars=self.soft_trim.head_chars,
            tail_chars=self.soft_trim.tail_chars,
            placeholder=self.hard_clear.placeholder,
        )


class AgentInputs(Settings):
    """An agent: its model, what it is told, and the tools that it has.

    Attributes:
        agent_id: Its name in the graph, in events and in edges.
        model: A model ready to use, or a text `provider:model`. Excludes `provider`; a model that is ready excludes
            options too.
        provider: Whose model it is.
        model_options: Options of the provider's client, by the same names for every provider.
        client_options: Options of the provider's client by its own names, in either spelling, which `model_options`
            override. `fallbacks` may stand here as well: a list of `{provider, client_options}`.
        fallbacks: Models to try in order when the model fails; those of `client_options` come after them.
        model_retry: Which calls of a model are repeated, and when; None: what its client repeats by itself.
        model_timeouts: Time limits of one attempt of a model; None: those of its client.
        model_rate_limit: How often the model may be called; None: without a limit.
        name: For other agents and for readers; None: the id.
        instructions: Instructions that are the same in every run.
        additional_instructions: More instructions, which may differ from run to run.
        tools: Tools that run here.
        tool_map: Further tools that run here, by the name that the model calls them by, but are not shown to it.
        tool_definitions: Tools that the host executes. With any, only `graph_tools` run here, and `tools` may
            hold nothing but mappings for tools that the provider runs.
        tool_policies: Time limits, retries and the longest result of tools that run here, by name; see
            `stategraph.agent.settings.tool_policy.ToolPolicy`. The limit for results holds for the host's tools too.
        graph_tools: Tools that run here although the host executes the others.
        tool_registry: Descriptions by name of tools that are shown later or to others than the model.
        discovered_tools: Tools with deferred loading that are shown because an earlier run found them.
        max_context_tokens: Size of the model's context; None: not known, and nothing is trimmed.
        reasoning_key: The key of the provider's reasoning in a message's `additional_kwargs`.
        use_legacy_content: Send content that is text alone as a string.
        tool_end: End the run after the tools, without the model's answer to them.
        summarization_enabled: Summarise messages that do not fit.
        summarization_config: How.
        initial_summary: Of what came before the messages of the run.
        context_pruning_config: Clear old tool results.
        max_tool_result_chars: The longest tool result, in characters; None: by the size of the context.
        tool_schema_tokens: Tokens of the tools' descriptions where the host has counted them; None: counted here.
        output_type: What the agent's answer has to be, which `Run.output` then is: a pydantic model, a dataclass, a
            TypedDict, another type that pydantic validates, a JSON schema as a mapping, the import path of a type
            (`package.module:Type`), or a union or a list of these. None: any text.
        output_mode: How the model is asked for it: by its provider's `native` mode for JSON schemas, by a `tool` that
            takes it, or by a `prompt`. `auto`: as the model supports it, see `docs/typed-output.md`.
        output_retries: How often the model is told in a turn that its answer does not fit, before the turn fails with
            an `OutputError`; 0: it is not told.
        subagent_configs: Agents that it may have work on a task, by the tool `subagent`, see `SubagentConfig`.
        max_subagent_depth: How deep subagents may have subagents; None: as deep as they are configured.
    """

    agent_id: AgentId
    model: InstanceOf[BaseChatModel] | str | None = None
    provider: Annotated[str, Field(min_length=1)] | None = None
    model_options: ModelOptions = Field(default=ModelOptions(), repr=False)
    client_options: ClientOptions = Field(default_factory=dict, repr=False)
    fallbacks: Fallbacks = ()
    model_retry: ModelRetry | None = None
    model_timeouts: ModelTimeouts | None = None
    model_rate_limit: Limiter | None = None
    name: str | None = None
    instructions: str | None = None
    additional_instructions: str | None = None
    tools: AgentTools = ()
    tool_map: dict[str, InstanceOf[BaseTool]] = Field(default_factory=dict)
    tool_definitions: Several[ToolDefinition] = ()
    tool_policies: dict[str, InstanceOf[ToolPolicy]] = Field(default_factory=dict)
    graph_tools: AgentTools = ()
    tool_registry: dict[str, ToolDefinition] = Field(default_factory=dict)
    discovered_tools: Several[str] = ()
    max_context_tokens: PositiveInt | None = None
    reasoning_key: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    use_legacy_content: Flag = False
    tool_end: Flag = False
    summarization_enabled: Flag = False
    summarization_config: SummarizationConfig = SummarizationConfig()
    initial_summary: InitialSummary | None = None
    context_pruning_config: ContextPruningConfig = ContextPruningConfig()
    max_tool_result_chars: PositiveInt | None = None
    tool_schema_tokens: Count | None = None
    output_type: Annotated[Any, BeforeValidator(output_members.members)] = None
    output_mode: Literal["auto", "native", "tool", "prompt"] = "auto"
    output_retries: Count = 2
    subagent_configs: Several[SubagentConfig] = ()
    max_subagent_depth: PositiveInt | None = None

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """Return an agent from what a host gave.

        Args:
            given: An agent, or a mapping in either spelling.

        Returns:
            The agent.

        Raises:
            ConfigurationError: It makes no sense.
        """
        return validation.checked(cls, given)

    @property
    def options(self) -> dict[str, Any]:
        """All options of the model's client."""
        return {**self.client_options, **self.model_options.options()}

    @property
    def label(self) -> str:
        """The name that readers and other agents see."""
        return self.name or self.agent_id

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        check_choice(f"agent {self.agent_id!r}", self.model, self.provider, self.options)
        return self

    @model_validator(mode="after")
    def _output_is_asked_for(self) -> Self:
        if self.output_type is not None and self.tool_end:
            raise ValueError(
                f"agent {self.agent_id!r} has an 'output_type' and 'tool_end', which ends the turn before the model"
                " could give it; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _one_executor(self) -> Self:
        ours = [each for each in self.tools if not isinstance(each, Mapping)]
        if ours and self.tool_definitions:
            names = ", ".join(str(getattr(each, "name", None) or getattr(each, "__name__", each)) for each in ours)
            raise ValueError(
                f"agent {self.agent_id!r} has 'tools' ({names}) and 'tool_definitions', whose tools the host"
                " executes; give those that run here as 'graph_tools'"
            )
        return self


class SubagentConfig(Settings):
    """An agent that another one calls as a tool: it works on its own, and its last answer is the result.

    Attributes:
        type: Its name for the model that chooses it.
        name: Its name for readers; None: that of the agent.
        description: What it is good at, for the model that chooses it.
        agent_inputs: The agent.
        self_: It is a copy of the agent that calls it, without subagents; excludes `agent_inputs`. On the wire `self`.
        tool_name: Offer it as a tool of its own with this name, and not among the types of `subagent`.
        max_turns: How often its model may be called.
        allow_nested: Whether it may call the subagents that its own inputs have.
    """

    type: Annotated[str, Field(min_length=1)]
    name: str | None = None
    description: Annotated[str, Field(min_length=1)]
    agent_inputs: AgentInputs | None = None
    self_: Flag = False
    tool_name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")] | None = None
    max_turns: PositiveInt = 25
    allow_nested: Flag = False

    @model_validator(mode="after")
    def _one_agent(self) -> Self:
        if (self.agent_inputs is None) is not self.self_:
            raise ValueError(
                f"the subagent {self.type!r} needs either 'agent_inputs' or 'self': the agent that it is, or a copy of "
                "the one that calls it"
            )
        return self


AgentInputs.model_rebuild()


class GraphEdge(Settings):
    """A way from agents to agents.

    Attributes:
        from_: Its sources. A direct edge waits for all of them.
        to: Its destinations.
        edge_type: `direct`: always taken, to all destinations at once. `handoff`: taken by a tool call of the agent.
            None: direct if it leads from one agent to several without a condition, else a handoff.
        description: When to take it: the description of the handoff tool.
        condition: Chooses destinations from the state, or says whether to go; may be async.
        prompt: Direct: told to the destination, `{results}` standing for what this run has brought so far, or a
            function that makes it. Handoff: the description of the tool's parameter for instructions.
        exclude_results: Direct with a prompt: do not show the destination this run's messages; None: hide them if the
            prompt has them as `{results}`.
        prompt_key: Handoff: the name of the tool's parameter; None: `instructions`.
        returns: Handoff: the conversation comes back when the destination has answered and does not hand over itself.
    """

    from_: AgentIds
    to: AgentIds
    edge_type: Literal["handoff", "direct"] | None = None
    description: str | None = None
    condition: Callable[..., Any] | None = None
    prompt: Annotated[str | PromptFunction | None, BeforeValidator(_prompt)] = None
    exclude_results: Flag | None = None
    prompt_key: Annotated[str, Field(min_length=1)] | None = None
    returns: Flag = False

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """Return an edge from what a host gave.

        Args:
            given: An edge, or a mapping in either spelling.

        Returns:
            The edge.

        Raises:
            ConfigurationError: It makes no sense.
        """
        return validation.checked(cls, given)

    @property
    def direct(self) -> bool:
        """True if the edge is always taken, and not by a tool call."""
        if self.edge_type is not None:
            return self.edge_type == "direct"
        return len(self.from_) == 1 and len(self.to) > 1 and self.condition is None

    @model_validator(mode="after")
    def _prompt_fits(self) -> Self:
        if callable(self.prompt) and not self.direct:
            raise ValueError(
                f"the handoff from {', '.join(self.from_)} to {', '.join(self.to)} has a function as its prompt;"
                " only direct edges take one, a handoff's prompt is the description of a parameter"
            )
        if self.returns and self.direct:
            raise ValueError(
                f"the direct edge from {', '.join(self.from_)} to {', '.join(self.to)} has 'returns', which is for "
                "handoffs: lead a direct edge back instead"
            )
        return self
