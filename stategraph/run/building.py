"""The graph of a run: built of its agents, or prepared from the graph that the host made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, InstanceOf

from stategraph.agent.agent import Agent
from stategraph.agent.graphs import assemble
from stategraph.agent.ports import ModelRegistry
from stategraph.agent.settings.validation import Settings, checked
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.run.config import RunConfig
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.graphs import loading
from stategraph.run.graphs.execution import GraphExecution
from stategraph.run.graphs.hosted_graph import HostedGraph
from stategraph.run.ports import EventLog, MeasuredExecution, Measurement
from stategraph.run.turn.turn_execution import TurnExecution

_UNNAMED = "LangGraph"
"""The name of a graph that has been given none."""


def graph_of(config: RunConfig, models: ModelRegistry | None, *, public: bool = False) -> ExecutionGraph:
    """Build the graph of a run.

    Args:
        config: The run's configuration.
        models: Resolves the models of agents; None: models of the run's own.
        public: Whether others than the run's host start it, who may give agents messages and nothing of their state.

    Raises:
        ConfigurationError: The configuration is incomplete, or names no graph.
        MissingPackageError: A model's package is not installed.
    """
    saver = config.graph_config.compile_options.checkpointer
    if saver is None and config.may_ask:
        saver = in_memory_saver()
    handlers = config.custom_handlers
    if not isinstance(handlers, EventHandlerRegistry):
        handlers = EventHandlerRegistry(handlers)
    if config.graph is not None:
        return hosted(config, saver, handlers)
    return of_agents(config, saver, handlers, models, public=public)


class _Ports(Settings):
    """Arguments of `Run.create` beside the configuration."""

    model_config = ConfigDict(title="Run.create")

    models: InstanceOf[ModelRegistry] | None = None
    log: InstanceOf[EventLog] | None = None


def check_ports(models: object, log: object) -> None:
    """Check what a run is to use beside its configuration.

    Raises:
        ConfigurationError: One of them is no such object.
    """
    if models is not None or log is not None:
        checked(_Ports, {"models": models, "log": log})


def of_agents(
    config: RunConfig, saver: Any, handlers: EventHandlerRegistry, models: ModelRegistry | None, *, public: bool = False
) -> ExecutionGraph:
    """Build the graph of a run's agents.

    Args:
        config: The run's configuration.
        saver: Keeps its thread; None: it is not kept.
        handlers: The handlers of the run's events.
        models: Resolves the models of agents; None: models of the run's own.
        public: Whether others than the run's host start it.
    """
    several = config.graph_config.type == "multi-agent"
    edges = config.graph_config.edges if several else None
    agents, builder = assemble.build(
        config.graph_config.agents, edges, models, sticky=config.sticky_agents, public=public
    )
    options = config.graph_config.compile_options
    compiled = builder.compile(
        checkpointer=saver,
        store=options.store,
        interrupt_before=list(options.interrupt_before),
        interrupt_after=list(options.interrupt_after),
    )
    return ExecutionGraph(config.run_id, compiled, handlers, agents, several_agents=several)


def hosted(config: RunConfig, saver: Any, handlers: EventHandlerRegistry) -> HostedGraph:
    """Prepare the graph of a run that the host made.

    Args:
        config: The run's configuration.
        saver: Keeps its thread; None: the graph's own saver, if it has one.
        handlers: The handlers of the run's events.
    """
    options = config.graph_config.compile_options
    compiled = loading.with_options(
        loading.load(config.graph),
        checkpointer=saver,
        store=options.store,
        interrupt_before_nodes=list(options.interrupt_before),
        interrupt_after_nodes=list(options.interrupt_after),
    )
    return HostedGraph(config.run_id, compiled, handlers, shows_updates=config.state_updates)


def measurement(
    config: RunConfig, graph: ExecutionGraph, thread: RunnableConfig, queued_s: float | None
) -> Measurement | None:
    """Begin to measure an execution; None if runs are not measured.

    Args:
        config: The run's configuration.
        graph: The run's graph.
        thread: The config of the execution, which names the thread.
        queued_s: Seconds that it waited for a worker; None: not known.
    """
    telemetry = config.telemetry
    if telemetry is None:
        return None
    agents = _agents_of(graph)
    name = graph.compiled.name if isinstance(graph, HostedGraph) else _UNNAMED
    execution = MeasuredExecution(
        config.run_id,
        str(thread["configurable"]["thread_id"]),
        {agent.id: agent.name for agent in agents},
        {name for agent in agents for name in (*agent.handoffs, *agent.subagents)},
        None if name == _UNNAMED else name,
        queued_s,
    )
    return telemetry.measure(execution)


def _agents_of(graph: ExecutionGraph) -> list[Agent]:
    """Return the agents of a graph, then their subagents."""
    found: dict[str, Agent] = {}
    waiting = list(graph.agents)
    while waiting:
        agent = waiting.pop(0)
        if agent.id not in found:
            found[agent.id] = agent
            waiting += [each.agent for tool in agent.subagents.values() for each in tool.subagents.values()]
    return list(found.values())


def execution_of(graph: ExecutionGraph) -> Callable[..., TurnExecution]:
    """Return what makes an execution of a graph: called with the other arguments of `TurnExecution`."""
    if isinstance(graph, HostedGraph):
        return partial(GraphExecution, graph)
    return partial(TurnExecution, graph)
