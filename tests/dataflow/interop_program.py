"""A thread that waits in the middle of branches, begun on one engine and finished on the other; prints JSON.

It runs where LangGraph is installed beside this package: by `test_flow_interop.py`.
"""

import json
import operator
from typing import Annotated, Any, TypedDict

import langgraph.graph
import langgraph.types
from langgraph.checkpoint.memory import InMemorySaver

import stategraph

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def build(engine: str, saver: Any, ran: list[str]) -> tuple[Any, Any]:
    """Return a graph of an engine, and the class of its commands."""
    graphs, types = (stategraph, stategraph) if engine == "ours" else (langgraph.graph, langgraph.types)

    def node(name: str) -> Any:
        def run(state: State) -> Any:
            ran.append(name)
            return {"log": [name]}

        return run

    graph = graphs.StateGraph(State).add_node("slow", lambda state: {"log": [types.interrupt("ok?")]})
    for name in ("a", "b", "c", "join"):
        graph.add_node(name, node(name))
    graph.add_edge(graphs.START, "slow").add_edge(graphs.START, "a").add_edge("a", "b").add_edge("b", "c")
    graph.add_edge(["slow", "c"], "join")
    options = {"scheduling": "dataflow"} if engine == "ours" else {}
    return graph.compile(saver, **options), types.Command


def main() -> None:
    told = {}
    for first, second in (("ours", "theirs"), ("theirs", "ours")):
        saver, before, after = InMemorySaver(), [], []
        build(first, saver, before)[0].invoke({"log": []}, THREAD)
        graph, command = build(second, saver, after)
        (question,) = graph.get_state(THREAD).interrupts
        result = graph.invoke(command(resume={question.id: "yes"}), THREAD)
        told[first] = {"before": before, "after": after, "log": result["log"], "next": graph.get_state(THREAD).next}
    print(json.dumps(told))


main()
