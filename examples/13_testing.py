"""Testing a graph: a scripted model, virtual time, and a recording to compare.

Prints::

    waited 300 s of virtual time, 3 attempts
    sync and async streamed the same: True
    the second half came only after the gate: ['before ', 'after']
"""

import asyncio

from langchain_core.messages import HumanMessage

from stategraph import END, START, CompiledStateGraph, MessagesState, RetryPolicy, StateGraph
from stategraph.testing import Failure, FakeClock, Gate, Hold, ScriptedChatModel, StreamRecorder, reply

Chat = CompiledStateGraph[MessagesState]


def chat_with(model: ScriptedChatModel, retry: RetryPolicy | None = None) -> Chat:
    async def ask_async(state: MessagesState) -> MessagesState:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask_async, retry_policy=retry)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder.compile()


def plain_chat(model: ScriptedChatModel) -> Chat:
    def ask(state: MessagesState) -> MessagesState:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder.compile()


question: MessagesState = {"messages": [HumanMessage("hi")]}

# Five minutes of back-off in no time.
clock = FakeClock()
flaky = ScriptedChatModel(replies=[Failure(503), Failure(503), "here I am"])
policy = RetryPolicy(initial_interval=100, max_interval=200, max_attempts=3, jitter=False, retry_on=Exception)
clock.run(chat_with(flaky, policy).ainvoke(question))
print(f"waited {clock.now():.0f} s of virtual time, {len(flaky.requests)} attempts")

# Generated ids differ from run to run; the stable form does not.
modes = ["values", "messages", "updates"]
one = StreamRecorder(plain_chat(ScriptedChatModel(replies="Hello there.")), stream_mode=modes)
two = StreamRecorder(plain_chat(ScriptedChatModel(replies="Hello there.")), stream_mode=modes)
one.run(question)
asyncio.run(two.arun(question))
print("sync and async streamed the same:", one.stable() == two.stable())

# The model stops in the middle of a sentence until the first half has been seen.
gate = Gate()
seen: list[str] = []


async def watch() -> None:
    graph = chat_with(ScriptedChatModel(replies=[reply("before ", Hold(gate), "after")]))
    async for token, _metadata in graph.astream(question, stream_mode="messages"):
        if token.text:
            seen.append(token.text)
            gate.open()


asyncio.run(watch())
print("the second half came only after the gate:", seen)
