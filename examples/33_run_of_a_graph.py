"""A run of a graph: parallel branches with models, a nested graph that asks, events of its own; gone on with elsewhere.

Prints::

    contra: It costs money.
    pro: It saves time.
    drafts are in: 2
    judge: Two to one for it.
    asks: {'publish': 'Two to one for it.'}
    publisher: Published.
    thread: human ai ai ai ai
"""

import asyncio
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, AgentRuntime, MessagesState, StateGraph, get_stream_writer, interrupt
from stategraph.testing import ScriptedChatModel

saver = InMemorySaver()
thread: RunnableConfig = {"configurable": {"thread_id": "t"}}


def speaking(text: str) -> Any:
    """A node that streams an answer; with "openai:gpt-5-mini" it would be `init_chat_model(...)`."""
    model = ScriptedChatModel(replies=[text])

    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return speak


def count(state: MessagesState) -> dict[str, Any]:
    get_stream_writer()({"drafts": len(state["messages"]) - 1})
    return {}


def approve(state: MessagesState) -> dict[str, Any]:
    if interrupt({"publish": state["messages"][-1].text}) != "yes":
        raise ValueError("not approved")
    return {}


def make_graph() -> Any:
    publisher = StateGraph(MessagesState)
    publisher.add_node("approve", approve)
    publisher.add_node("publish", speaking("Published."))
    publisher.add_edge(START, "approve").add_edge("approve", "publish").add_edge("publish", END)
    graph = StateGraph(MessagesState)
    graph.add_node("pro", speaking("It saves time."))
    graph.add_node("contra", speaking("It costs money."))
    graph.add_node("count", count)
    graph.add_node("judge", speaking("Two to one for it."))
    graph.add_node("publisher", publisher.compile())
    graph.add_edge(START, "pro").add_edge(START, "contra").add_edge(["pro", "contra"], "count")
    graph.add_edge("count", "judge").add_edge("judge", "publisher").add_edge("publisher", END)
    return graph.compile()


def show(events: list[Any]) -> None:
    """Print what each agent said, in the order of the steps, and the graph's own events."""
    said: dict[str, list[str]] = {}
    for event in events:
        if event.event == "on_run_step":
            said[event.data["id"]] = [f"{event.data['agentId']}: "]
        elif event.event == "on_message_delta":
            said[event.data["id"]].append(event.data["delta"]["content"][0]["text"])
        elif event.event == "on_custom_event":
            said[str(event.seq)] = [f"drafts are in: {event.data['data']['drafts']}"]
    for words in said.values():
        print("".join(words))


async def main() -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        run = await runtime.create_run(run_id="r", graph=make_graph)
        show([event async for event in run.stream({"messages": [("user", "Shall we?")]}, thread)])
        asks = run.get_interrupt()
        assert asks is not None
        print("asks:", asks.payload)

    # Another process would do the same: a run of that id, with the same saver.
    async with AgentRuntime(checkpointer=saver) as runtime:
        run = await runtime.create_run(run_id="r", graph=make_graph)
        await run.resume("yes", thread)
        show([event async for event in run.attach()])
        state = await run.graph.compiled.aget_state(thread)
        print("thread:", *(message.type for message in state.values["messages"]))


asyncio.run(main())
