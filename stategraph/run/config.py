"""Configuration of a run: its agents, their edges, the handlers of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from langchain_core.messages import BaseMessage
from pydantic import AfterValidator, Field, InstanceOf, model_validator

from stategraph.agent.messages.fading_tier import FadingTier
from stategraph.agent.ports import ModelGate, ToolGate
from stategraph.agent.settings import validation
from stategraph.agent.settings.field_types import Count, Flag, PositiveNumber, Saver, Store
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.agent.settings.limits import Prices, RunLimits
from stategraph.agent.settings.validation import Settings, Several
from stategraph.engine.ports import Clock, IdFactory
from stategraph.errors import ConfigurationError
from stategraph.run.abort import AbortSignal
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.hooks.hook_registry import HookEvents, HookRegistry
from stategraph.run.ports import RunSession, RunTelemetry

#: The agent of a configuration that describes just a model.
DEFAULT_AGENT = "default"

#: Hooks of what only agents do.
_HOOKS_OF_AGENTS = (
    HookEvents.SUBAGENT_START,
    HookEvents.SUBAGENT_STOP,
    HookEvents.PRE_COMPACT,
    HookEvents.POST_COMPACT,
)


def _handlers(given: Mapping[str, Any]) -> Mapping[str, Any]:
    for event, handler in given.items():
        if not callable(getattr(handler, "handle", handler)):
            raise ValueError(
                f"the handler of {event!r} is of type {type(handler).__name__}; expected a function of (event, data, "
                "metadata, graph), or an object with a method `handle` that takes them"
            )
    return given


Handlers: TypeAlias = Annotated[InstanceOf[EventHandlerRegistry] | dict[str, Any], AfterValidator(_handlers)]
"""Handlers by the name of their event, or a registry, which is used as it is."""


class CompileOptions(Settings):
    """Options for compiling a run's graph. For a graph of the host's they take the place of its own, where given.

    Attributes:
        checkpointer: Keeps the state of threads; None: nothing is kept.
        store: Long-term memory; None: none.
        interrupt_before: Nodes to pause before.
        interrupt_after: Nodes to pause after.
    """

    checkpointer: Saver = None
    store: Store = None
    interrupt_before: Several[str] = ()
    interrupt_after: Several[str] = ()


class GraphConfig(Settings):
    """The agents of a run.

    Attributes:
        type: One agent, or several.
        agents: The agents; a standard graph uses the first.
        edges: The ways between several agents.
        signal: Aborts every run of the graph.
        compile_options: Options for compiling the graph.
    """

    type: Literal["standard", "multi-agent"] = "standard"
    agents: Several[AgentInputs] = ()
    edges: Several[GraphEdge] = ()
    signal: InstanceOf[AbortSignal] | None = None
    compile_options: CompileOptions = CompileOptions()


class HumanInTheLoop(Settings):
    """Settings for tools that wait for a person.

    Attributes:
        enabled: Without it, a hook that asks for approval denies.
    """

    enabled: Flag = False


class EagerEventToolExecution(Settings):
    """Accepted so that a host's configuration fits; calls are requested when the answer that makes them is whole.

    Attributes:
        enabled: Whether the host's tools may start before the model's answer ends.
        exclude_tool_names: Tools that may not.
    """

    enabled: Flag = False
    exclude_tool_names: tuple[str, ...] = ()


class FadingTierConfig(Settings):
    """The degree to which an earlier run shortened tool results, as `Run.get_fading_tiers` returns it.

    Attributes:
        rung: So many times was the assumed context halved.
        masking: Whether results that the model has answered are shortened further.
    """

    rung: Count = 0
    masking: Flag = False


class RunFields(Settings):
    """Fields of a run beside its name and its agents; a runtime takes them for all of its runs.

    Attributes:
        graph: In place of agents, a graph of the host's: a compiled graph of this engine or of an installed LangGraph,
            its import path as `package.module:graph`, or a function that returns it, see
            `docs/runs-of-graphs.md`.
        state_updates: Whether a run of such a graph tells what nodes return, as `on_state_update`.
        custom_handlers: Handlers by the name of their event; an `EventHandlerRegistry` is used as it is.
        return_content: Whether `process_stream` returns content parts.
        token_counter: Counts the tokens of a message; None: one for the model's name if counts are needed. With a
            graph it may be given where tokens or cost are limited, for models that report no usage.
        index_token_count_map: Tokens of the input's messages by position, as the host knows them.
        calibration_ratio: The calibration ratio of an earlier run of the conversation.
        fading_tiers: How far the run before shortened tool results, by agent: what was sent once stays the same text,
            so that providers' prompt caches keep hitting.
        hooks: Decide about prompts and tool calls, see `stategraph.run.hooks.hook_registry`.
        tool_gates: Decide about tool calls within the hooks, in this order: they see the calls that hooks and persons
            allow, with the arguments that run, see `stategraph.agent.ports.ToolGate`.
        model_gates: Decide about calls of models and review the answers, in this order, see
            `stategraph.agent.ports.ModelGate`.
        sticky_agents: Of several agents, begin a turn with the one that spoke last, and not with those that no edge
            leads to. It is known from the thread or `active_agent`, or else from the last handoff in the history.
        active_agent: The agent that spoke last, as `Run.get_active_agent` of the conversation's run before returned it,
            for hosts without a checkpointer; None: as the thread knows it.
        limits: What the run may take, over all of its agents.
        prices: The prices by which its cost is counted; None: known ones, and only if the cost is limited.
        human_in_the_loop: Whether tools may wait for a person.
        eager_event_tool_execution: Accepted, without an effect on the order of events.
        max_stop_continuations: How often hooks of Stop may keep a turn going.
        skip_cleanup: Keep steps after the end.
        event_log_size: How many events are kept for readers that attach; 0: none, and no reader can attach.
        telemetry: Measures the run, such as `stategraph.telemetry.Telemetry`; None: nothing is measured.
        session: Who acts, for governed actions, see `stategraph.governance.session`; it is never stored. None: nobody
            is known.
        clock: Tells the time to all that runs in the run; None: the clock of the context that executes it.
        ids: Makes its ids; None: those of the context that executes it.
    """

    graph: Any = None
    state_updates: Flag = False
    custom_handlers: Handlers = Field(default_factory=dict)
    return_content: Flag = False
    token_counter: Callable[[BaseMessage], int] | None = None
    index_token_count_map: dict[int, int] | None = None
    calibration_ratio: PositiveNumber = 1.0
    fading_tiers: dict[str, FadingTierConfig] = Field(default_factory=dict)
    hooks: InstanceOf[HookRegistry] | None = None
    tool_gates: Several[InstanceOf[ToolGate]] = ()
    model_gates: Several[InstanceOf[ModelGate]] = ()
    sticky_agents: Flag = False
    active_agent: str | None = None
    limits: RunLimits = RunLimits()
    prices: Prices | None = None
    human_in_the_loop: HumanInTheLoop = HumanInTheLoop()
    eager_event_tool_execution: EagerEventToolExecution = EagerEventToolExecution()
    max_stop_continuations: Count = 8
    skip_cleanup: Flag = False
    event_log_size: Count = 4096
    telemetry: InstanceOf[RunTelemetry] | None = None
    session: InstanceOf[RunSession] | None = Field(default=None, repr=False)
    clock: InstanceOf[Clock] | None = None
    ids: InstanceOf[IdFactory] | None = None

    @model_validator(mode="after")
    def _reaches_graph(self) -> Self:
        """Refuse what has an effect on agents only, where the run has a graph: a guardrail must not be left out."""
        if self.graph is None:
            return self
        self.check_guards()
        counts = self.token_counter is not None and not self.limits.of_tokens
        names = {
            "token_counter": counts,
            "sticky_agents": self.sticky_agents,
            "active_agent": self.active_agent is not None,
        }
        if idle := [repr(name) for name, given in names.items() if given]:
            raise ConfigurationError(
                f"The run of a graph was given {' and '.join(idle)}, which has an effect on agents only: leave it out, "
                "or run agents in place of the graph. Where a runtime gives it to all of its runs, give this one None"
            )
        return self

    def check_guards(self) -> None:
        """Refuse hooks of subagents and summaries for a graph. A registry may get further hooks at any time.

        Raises:
            ConfigurationError: The run has a graph, and such hooks.
        """
        if self.graph is None:
            return
        hooks = [] if self.hooks is None else [f"hooks of {each}" for each in _HOOKS_OF_AGENTS if self.hooks.has(each)]
        if hooks:
            raise ConfigurationError(
                f"The run of a graph was given {' and '.join(hooks)}, which nothing in a graph calls: it has subagents "
                "and summaries of its own kind. Run agents in its place, or leave them out; where a runtime gives them "
                "to all of its runs, give this run hooks= of its own"
            )

    @property
    def may_ask(self) -> bool:
        """True if the run may wait for a person, so that its thread has to be kept."""
        return self.human_in_the_loop.enabled or self.limits.on_limit == "ask"

    def tiers(self) -> dict[str, FadingTier]:
        """Return the fading tiers in the form that agents take."""
        return {agent_id: FadingTier(tier.rung, tier.masking) for agent_id, tier in self.fading_tiers.items()}


class RunConfig(RunFields):
    """A run. Its further fields are those of `RunFields`.

    Attributes:
        run_id: Its name, unique among the host's runs; a chat backend takes the id of the answer's message.
        graph_config: Its agents.
    """

    run_id: str = Field(min_length=1)
    graph_config: GraphConfig = GraphConfig()

    @classmethod
    def of(cls, given: Self | Mapping[str, object]) -> Self:
        """Read a run's configuration from what a host gave.

        Args:
            given: A configuration, or a mapping in either spelling.

        Returns:
            The configuration.

        Raises:
            ConfigurationError: It is invalid; the message names each problem.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"A run is configured by a RunConfig or a mapping, not by {type(given).__name__}")
        fields = dict(given)
        if not (fields.get("run_id") or fields.get("runId")):
            raise _missing(cls, fields, "Run ID not provided")
        key = "graph_config" if "graph_config" in fields else "graphConfig"
        graph = fields.get(key)
        if fields.get("graph") is not None:
            _check_alone(graph)
            return validation.checked(cls, fields)
        if not graph:
            raise _missing(cls, fields, "Graph config not provided")
        if isinstance(graph, Mapping):
            fields[key] = _with_agents(graph)
        return validation.checked(cls, fields)


def _missing(kind: type[Settings], fields: Mapping[str, object], problem: str) -> ConfigurationError:
    """Return the error of a field that is missing: of a misspelled one, if there is one that could be meant."""
    return ConfigurationError(validation.unknown_fields(kind, fields) or problem)


def _check_alone(graph: object) -> None:
    """See whether a configuration with a graph of the host's has agents too."""
    given = graph if isinstance(graph, Mapping) else dict(graph) if isinstance(graph, GraphConfig) else {}
    both = [name for name in ("agents", "edges", "llm_config", "llmConfig") if given.get(name)]
    if both:
        raise ConfigurationError(
            f"A run has either a 'graph' or agents, and both 'graph' and '{both[0]}' were given; for several, make a "
            "graph of them, or create a run of each"
        )


def _with_agents(graph: Mapping[str, Any]) -> Mapping[str, object]:
    """Convert the older form of a graph's configuration, one agent described by its model, to a list of agents."""
    llm = graph.get("llm_config", graph.get("llmConfig"))
    if llm is not None:
        kept = {key: graph[key] for key in ("type", "signal", "compile_options", "compileOptions") if key in graph}
        agent = {key: value for key, value in graph.items() if key not in (*kept, "llm_config", "llmConfig")}
        options = {key: value for key, value in llm.items() if key != "provider"}
        agent |= {"agentId": DEFAULT_AGENT, "provider": llm.get("provider"), "clientOptions": options}
        return {**kept, "agents": [agent]}
    if graph.get("agents"):
        return graph
    if graph.get("type") == "multi-agent":
        raise ConfigurationError("At least one agent configuration is required")
    raise ConfigurationError("At least one agent must be provided")
