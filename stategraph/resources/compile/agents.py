"""Agents as graphs, and as what a step, a tool or a network asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, AnyMessage

from stategraph.agent.graphs import assemble
from stategraph.agent.output import record
from stategraph.agent.ports import ModelRegistry
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.agent.state import is_synthetic, turn_of
from stategraph.resources.compile.calls import GraphCall
from stategraph.resources.compile.data import Builder, Data, Fields, Object
from stategraph.resources.compile.memory import VectorMemory, remembering
from stategraph.resources.kinds.agent import AgentSpec


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """An agent, compiled up to what it is stored in.

    Attributes:
        name: Its id in the graph.
        spec: What was declared.
        inputs: The agent, and those that it may hand over to.
        edges: The ways between these; none: it is on its own.
        memory: Its vector memory; None: none.
        models: Resolves models; None: each graph has its own.
        version: SHA-256 of what was declared, in hex.
    """

    name: str
    spec: AgentSpec
    inputs: tuple[AgentInputs, ...]
    edges: tuple[GraphEdge, ...] = ()
    memory: VectorMemory | None = None
    models: ModelRegistry | None = field(default=None, repr=False)
    version: str = ""

    @property
    def description(self) -> str:
        """Description for models that choose."""
        return self.spec.description or self.spec.instructions or f"The agent {self.name}."

    @property
    def remembers(self) -> bool:
        """True if it remembers the conversation of its thread where a workflow asks it again."""
        return self.spec.memory is not None and self.spec.memory.enabled

    def builder(self) -> Builder:
        """Return the builder of its graph.

        Raises:
            ConfigurationError: Its settings make no sense.
            MissingPackageError: A model's package is not installed.
        """
        _, graph = assemble.build(self.inputs, self.edges or None, self.models, public=True)
        return graph if self.memory is None else remembering(graph, self.memory, self.name)

    def graph(self, checkpointer: Data = None, store: Data = None) -> Data:
        """Return its graph.

        Args:
            checkpointer: Keeps its threads; None: nothing is kept.
            store: Long-term memory for its tools; None: none.
        """
        return self.builder().compile(checkpointer=checkpointer, store=store, name=self.name)

    def settings(self) -> Object:
        """Return it as `create_run` takes it: `agents`, and `edges` if there are any."""
        return {"agents": list(self.inputs), **({"edges": list(self.edges)} if self.edges else {})}


def version_of(form: Fields) -> str:
    """Return the version of an agent: SHA-256 of what was declared, without defaults, in hex.

    An API server of Kubernetes fills defaults in: they make no other version.
    """
    told = {
        key: each for key, each in form.items() if key not in ("scaling", "expose", "description", "name", "rollout")
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


class AgentCall(GraphCall):
    """An agent as a step, a tool or a network asks it: a turn of its own, within the run that asks.

    Args:
        plan: The agent.
        remembers: Whether it remembers earlier calls of the thread; not where it is asked several things at once.
        store: Long-term memory for its tools.
    """

    def __init__(self, plan: AgentPlan, *, remembers: bool = False, store: Data = None) -> None:
        super().__init__(plan.graph(checkpointer=True if remembers else None, store=store))
        self.plan = plan

    def result(self, returned: Data, /) -> Data:
        """Return its answer: `text`, `structured`, `messages`."""
        new = [each for each in turn_of(returned["messages"]) if not is_synthetic(each)]
        final = next((each for each in reversed(new) if isinstance(each, AIMessage)), None)
        text = "" if final is None else str(final.text)
        return {"text": text, "structured": structured(new, text), "messages": new}


def structured(messages: Sequence[AnyMessage], text: str) -> Data:
    """Return the typed output of a turn; of an agent without one, its text read as JSON, None if it is none."""
    given = record.outputs(messages)
    if given:
        return given[-1].given
    stripped = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not stripped.startswith(("{", "[")):
        return None
    try:
        return json.loads(stripped)
    except ValueError:
        return None
