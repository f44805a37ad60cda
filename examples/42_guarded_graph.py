"""Guardrails around the models of any graph: an answer held back until it is checked, and a turn that a hook ends.

Prints::

    told: Your order is on its way. It went to [a person].
    kept: Your order is on its way. It went to [a person].
    told: Blocked: no medical advice
    ended: answer_denied
    thread: human ai human ai
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, AgentRuntime, MessagesState, StateGraph
from stategraph.run.graphs.model_guards import run_model
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.testing import ScriptedChatModel

# With "openai:gpt-5-mini" it would be `init_chat_model(...)`.
model = ScriptedChatModel(replies=["Your order is on its way. It went to Ada Smith.", "Take two a day."])
thread = {"configurable": {"thread_id": "t"}}


async def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await run_model(model, state["messages"])]}


def check(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """See each sentence before a reader does."""
    if "Take two" in about["text"]:
        return {"decision": "deny", "reason": "no medical advice"}
    return {"updated_output": about["text"].replace("Ada Smith", "[a person]")}


async def main() -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer").add_edge("answer", END)
    hooks = HookRegistry()
    hooks.register("AfterModel", check, hold="sentence")
    async with AgentRuntime(checkpointer=InMemorySaver(), hooks=hooks) as runtime:
        first = await runtime.create_run(run_id="1", graph=graph.compile())
        await tell(first, "Where is my order?")
        print("kept:", first.get_run_messages()[-1].text)
        second = await runtime.create_run(run_id="2", graph=graph.compile())
        await tell(second, "How much of it?")
        print("ended:", second.get_halt_reason())
        said = (await runtime.threads.get("t")).messages
        print("thread:", *(message.type for message in said))


async def tell(run: Any, text: str) -> None:
    """Run a turn, and print what a reader sees of it."""
    told = ""
    async for event in run.stream({"messages": [("user", text)]}, thread):
        if event.event == "on_message_delta":
            told += event.data["delta"]["content"][0]["text"]
    print("told:", told)


if __name__ == "__main__":
    asyncio.run(main())
