"""Accounts of threads that LangGraph has written, as JSON; `test_written_by_langgraph.py` runs it."""

from __future__ import annotations

import asyncio
import json
import operator
from typing import Annotated, Any, Literal, TypedDict

import langgraph.graph
import langgraph.types
from langgraph.checkpoint.memory import InMemorySaver

import stategraph
from stategraph.engine.state.account import asking


class State(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    answer: str


def build(graphs: Any, types: Any, saver: Any) -> Any:
    """Return the same graph of either engine."""

    def route(state: State) -> Literal["ask", "refuse"]:
        return "ask"

    def ask(state: State) -> Any:
        return {"answer": types.interrupt("Refund?")}

    def inner(state: State) -> Any:
        return {"notes": ["inside"]}

    nested = graphs.StateGraph(State).add_node("inner", inner).add_edge(graphs.START, "inner").compile()
    builder = graphs.StateGraph(State).add_node("look", lambda state: {"notes": ["order 7"]})
    builder.add_node("ask", ask).add_node("refuse", lambda state: {"answer": "no"}).add_node("nested", nested)
    builder.add_node("pay", lambda state: {"notes": [f"paid: {state['answer']}"]})
    builder.add_edge(graphs.START, "look").add_conditional_edges("look", route).add_edge("ask", "nested")
    return builder.add_edge("nested", "pay").compile(saver)


def told(explanation: Any) -> Any:
    """Return the parts of an account that are compared."""
    return {
        "verdicts": {
            each.node: [each.status, each.times, [reason.kind for reason in each.reasons]]
            for each in explanation.verdicts
        },
        "steps": [[[task.node for task in step.tasks]] for step in explanation.steps],
        "writers": {
            key: [[writer.node for writer in change.writers] for _, change in explanation.changes(key)]
            for key in ("notes", "answer")
        },
        "unknown": bool(explanation.unknown),
    }


def main() -> None:
    assert not langgraph.graph.StateGraph.__module__.startswith("stategraph")
    found: dict[str, Any] = {}
    savers = {"theirs": InMemorySaver(), "ours": InMemorySaver()}
    ours = {name: build(stategraph, stategraph, saver) for name, saver in savers.items()}
    writers = {"theirs": build(langgraph.graph, langgraph.types, savers["theirs"]), "ours": ours["ours"]}
    commands = {"theirs": langgraph.types.Command, "ours": stategraph.Command}
    config: Any = {"configurable": {"thread_id": "1"}}
    for name, graph in writers.items():
        graph.invoke({"notes": []}, config)
        found[name] = {"waits": told(ours[name].explain("1"))}
        found[name]["waits alone"] = told(asyncio.run(asking.aexplain_stored(savers[name], "1")))
        graph.invoke(commands[name](resume="yes"), config)
        found[name]["ended"] = told(ours[name].explain("1"))
        found[name]["ended alone"] = told(asyncio.run(asking.aexplain_stored(savers[name], "1")))
        found[name]["text"] = str(ours[name].explain("1", subgraphs=True)).partition("\n")[2]
        found[name]["diff"] = ours[name].diff("1", "1").is_same
    print(json.dumps(found))


main()
