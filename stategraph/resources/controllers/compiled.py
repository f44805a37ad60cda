"""Compiled resources: a plan, the graph on the database of the runtime, and the object that programs call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stategraph.resources.compile.agents import AgentCall, AgentPlan
from stategraph.resources.compile.calls import Callee, GraphCall, Services
from stategraph.resources.compile.data import Data
from stategraph.resources.compile.networks import NetworkCall, NetworkPlan
from stategraph.resources.compile.programs import Agent, Network, Workflow
from stategraph.resources.compile.workflows.plan import WorkflowPlan


@dataclass(frozen=True, slots=True)
class Compiled:
    """An agent, a workflow or a network that can be run.

    Attributes:
        plan: What it is.
        graph: Its graph, on the saver and store of the runtime.
        program: What programs call: `execute` of a workflow, `generate` of an agent or a network.
        callee: What steps, tools and networks call; it makes its graph when it is asked for.
    """

    plan: AgentPlan | WorkflowPlan | NetworkPlan
    graph: Data
    program: Data
    callee: Callable[..., Callee] = field(repr=False)

    @property
    def description(self) -> str:
        """Description for models that choose."""
        return str(getattr(self.plan, "description", None) or f"{self.plan.name}")


def agent(plan: AgentPlan, services: Services, graph: Data = None) -> Compiled:
    """Return an agent that can be run."""
    saver, store = services.get("saver"), services.get("store")
    graph = plan.graph(saver, store) if graph is None else graph

    def callee(*, several: bool = False) -> Callee:
        return AgentCall(plan, remembers=plan.remembers and not several and saver is not None, store=store)

    return Compiled(plan, graph, Agent(plan, graph), callee)


def network(plan: NetworkPlan, services: Services) -> Compiled:
    """Return a network that can be run."""
    store = services.get("store")
    graph = plan.graph(services.get("saver"), store)
    return Compiled(plan, graph, Network(plan, graph), lambda *, several=False: NetworkCall(plan, store=store))


def workflow(plan: WorkflowPlan, services: Services, graph: Data = None) -> Compiled:
    """Return a workflow that can be run."""
    store = services.get("store")
    graph = plan.graph(services.get("saver"), store) if graph is None else graph
    program = Workflow(plan, graph)
    return Compiled(plan, graph, program, lambda *, several=False: WorkflowCall(plan, program, store))


class WorkflowCall(GraphCall):
    """A workflow as a step, a tool or a schedule executes it, within the run that asks.

    Args:
        plan: The workflow.
        program: Checks its input.
        store: Long-term memory.
    """

    def __init__(self, plan: WorkflowPlan, program: Workflow, store: Data = None) -> None:
        super().__init__(plan.graph(store=store))
        self.plan = plan
        self._program = program

    def prepared(self, given: Data, /) -> Data:
        """Return an input as its graph takes it."""
        return self._program.prepared(given)
