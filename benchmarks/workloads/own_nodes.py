"""LangGraph's own react agent benchmark against the agent nodes of this package.

The model and the tool are those of LangGraph's benchmark. LangGraph runs them through its ``create_react_agent``; ours
through the nodes of ``stategraph.agent``, which nobody listens to. Both stream their updates.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import langgraph.graph
from langchain_core.messages import HumanMessage

from benchmarks.workloads.base import Digest, Timed, Workload
from benchmarks.workloads.runs import GraphRun

QUESTION = {"messages": [HumanMessage("hi?")]}


def _graph(rounds: int) -> Any:
    module = importlib.import_module("bench.react_agent")
    if not langgraph.graph.StateGraph.__module__.startswith("stategraph"):
        return module.react_agent(rounds, checkpointer=None)
    from stategraph.agent.graphs import assemble
    from stategraph.agent.graphs.agent_graph import agent_subgraph
    from stategraph.agent.settings.inputs import AgentInputs

    # The function makes a model and a tool and hands them to the builder that it finds in its module.
    found: list[Any] = []
    theirs, module.create_react_agent = (
        module.create_react_agent,
        lambda model, tools, **_: found.extend((model, tools)),
    )
    try:
        module.react_agent(rounds, checkpointer=None)
    finally:
        module.create_react_agent = theirs
    model, tools = found
    return agent_subgraph(assemble.make_agent(AgentInputs(agent_id="agent", model=model, tools=tools))).compile()


def _react(rounds: int) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        run = GraphRun(_graph(rounds), QUESTION, variant, options={"durability": "exit"})

        def describe() -> dict[str, Any]:
            digest = Digest()

            def take(chunk: dict[str, Any]) -> None:
                (update,) = chunk.values()
                digest.add([(message.type, message.content) for message in update["messages"]])

            run.drain(take, stream_mode="updates")
            return digest.result()

        return Timed(run.work, describe)

    return build


WORKLOADS: dict[str, Callable[[str], Workload]] = {
    f"react_agent_{rounds}x_own_nodes": _react(rounds) for rounds in (10, 100)
}
