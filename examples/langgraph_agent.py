"""A support desk: a tool-calling agent that waits for a human before it acts.

A program for LangGraph, and for nothing else. It looks an order up, drafts an
answer, and stops for approval; a later process, started with the same database
and thread, continues where the first one stopped.

    python langgraph_agent.py --db desk.sqlite --thread 1 ask "Where is my order 1042?"
    python langgraph_agent.py --db desk.sqlite --thread 1 decide yes
"""

import argparse
import json
import os
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt
from openai import APIConnectionError

PROMPT = SystemMessage(
    "You are a clerk at a support desk. Look the order up with the tool before you answer."
    " Then say in one or two sentences what happened to it, and propose a refund if it is lost."
)
APPROVED = HumanMessage("(desk) The refund is approved and paid. Tell the customer in one sentence.")

ORDERS = {
    "1042": {"item": "desk lamp", "price": "89.00 EUR", "status": "lost in transit"},
    "1043": {"item": "chair", "price": "240.00 EUR", "status": "delivered"},
}


@tool
def lookup_order(order_id: str) -> str:
    """Look up item, price and status of an order by its number."""
    return json.dumps(ORDERS.get(order_id, {"status": "unknown order"}))


def build(checkpointer: SqliteSaver) -> Any:
    """Compile the desk's graph."""
    model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4.1-mini"))
    clerk = model.bind_tools([lookup_order])

    def answer(state: MessagesState) -> dict[str, list[AIMessage]]:
        return {"messages": [clerk.invoke([PROMPT, *state["messages"]])]}

    def after_answer(state: MessagesState) -> Literal["tools", "approval"]:
        last = state["messages"][-1]
        return "tools" if isinstance(last, AIMessage) and last.tool_calls else "approval"

    def approval(state: MessagesState) -> Command[Literal["notify", "__end__"]]:
        decision = interrupt({"question": "Pay the refund?", "draft": state["messages"][-1].text})
        return Command(goto="notify" if decision == "yes" else END)

    def notify(state: MessagesState) -> dict[str, list[Any]]:
        return {"messages": [APPROVED, model.invoke([PROMPT, *state["messages"], APPROVED])]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_node("tools", ToolNode([lookup_order]))
    graph.add_node("approval", approval)
    graph.add_node("notify", notify)
    graph.add_edge(START, "answer")
    graph.add_conditional_edges("answer", after_answer)
    graph.add_edge("tools", "answer")
    graph.add_edge("notify", END)
    return graph.compile(checkpointer=checkpointer)


class Screen:
    """Prints what the graph streams, token by token."""

    def __init__(self) -> None:
        self.label = ""

    def show(self, label: str, text: str) -> None:
        if label != self.label:
            print(("\n" if self.label else "") + f"{label:>9}  ", end="")
            self.label = label
        print(text, end="", flush=True)

    def message(self, message: Any) -> None:
        if isinstance(message, AIMessageChunk):
            if message.text:
                self.show("answer", message.text)
            for piece in message.tool_call_chunks:
                self.show("call", (f"{piece['name']} " if piece["name"] else "") + (piece["args"] or ""))
        elif isinstance(message, ToolMessage):
            self.show("result", message.text)

    def line(self, label: str, text: str) -> None:
        self.show(label, text)
        print(flush=True)
        self.label = ""


def run(graph: Any, given: Any, config: Any) -> None:
    """Stream one run to the screen, up to its end or to the next question."""
    screen = Screen()
    for mode, data in graph.stream(given, config, stream_mode=["messages", "updates"]):
        if mode == "messages":
            screen.message(data[0])
        elif "__interrupt__" in data:
            screen.line("waiting", json.dumps(data["__interrupt__"][0].value["question"]))
    left = graph.get_state(config).next
    screen.line("state", f"next: {', '.join(left) or 'none, finished'}")


def main() -> None:
    """Ask the desk something, or decide what it waits for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True, help="SQLite file for the checkpoints")
    parser.add_argument("--thread", default="1", help="the conversation")
    parser.add_argument("command", choices=["ask", "decide"])
    parser.add_argument("text")
    args = parser.parse_args()

    print(f"{'process':>9}  {os.getpid()}, graph class from {StateGraph.__module__}", flush=True)
    config = {"configurable": {"thread_id": args.thread}}
    with SqliteSaver.from_conn_string(args.db) as saver:
        graph = build(saver)
        given: Any = {"messages": [HumanMessage(args.text)]}
        if args.command == "decide":
            found = graph.get_state(config)
            print(f"{'found':>9}  {len(found.values['messages'])} messages, next: {', '.join(found.next)}", flush=True)
            given = Command(resume=args.text)
        try:
            run(graph, given, config)
        except APIConnectionError as error:
            raise SystemExit(f"The model could not be reached: {error}") from None


if __name__ == "__main__":
    main()
