"""An MCP server asks a person: the run waits, and goes on with the answer, here or after a restart.

Each `Backend` below stands for a process of a chat backend; both use the same saver. The server is this file, started
with the argument `serve`.

Prints::

    shop asks: How many boxes of tea?
    the form has: boxes (integer, at least 1), wrapped (boolean, default False)
    refused: The answer to a question of MCP server 'shop' does not fit: 'boxes' is 0; at least 1 expected
    the tool said: 3 boxes of tea, wrapped: False
    model: Ordered.
"""

import asyncio
import sys
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from mcp.server import MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

from stategraph import AgentInputs, AgentRuntime, HumanInTheLoop, InvalidAnswerError, Run
from stategraph.agent.mcp import StdioServer
from stategraph.testing import ScriptedChatModel, call, reply

shop = MCPServer("shop", log_level="CRITICAL")


class Amount(BaseModel):
    boxes: int = Field(ge=1)
    wrapped: bool = False


def how_many(item: str) -> Elicit[Amount]:
    return Elicit(f"How many boxes of {item}?", Amount)


@shop.tool(structured_output=False)
def order(item: str, amount: Annotated[Amount, Resolve(how_many)]) -> str:
    """Order something; the shop asks how much of it."""
    return f"{amount.boxes} boxes of {item}, wrapped: {amount.wrapped}"


saver = InMemorySaver()  # With a saver on disk, the second backend may be another process.
thread: RunnableConfig = {"configurable": {"thread_id": "shopping"}}
servers = {"shop": StdioServer(command=sys.executable, args=(__file__, "serve"))}


async def new_run(runtime: AgentRuntime, *replies: Any) -> Run:
    model = ScriptedChatModel(replies=list(replies))
    agent = AgentInputs(agent_id="buyer", model=model, tools=await runtime.tools())
    person = HumanInTheLoop(enabled=True)
    return await runtime.create_run(run_id="answer-1", agents=[agent], human_in_the_loop=person)


async def first_backend() -> None:
    async with AgentRuntime(checkpointer=saver, mcp_servers=servers) as runtime:
        run = await new_run(runtime, reply(call("order", {"item": "tea"}, id="call_1")))
        await run.process_stream({"messages": [("user", "Buy tea.")]}, thread)
        waits = run.get_interrupt()
        assert waits is not None
        asked = waits.payload
        print(f"{asked['server']} asks: {asked['message']}")
        boxes, wrapped = (asked["requestedSchema"]["properties"][name] for name in ("boxes", "wrapped"))
        print(f"the form has: boxes ({boxes['type']}, at least {boxes['minimum']}), ", end="")
        print(f"wrapped ({wrapped['type']}, default {wrapped['default']})")
        try:
            await run.resume({"action": "accept", "content": {"boxes": 0}}, thread)
        except InvalidAnswerError as error:
            print(f"refused: {error}")  # The question is still open.


async def second_backend() -> None:
    async with AgentRuntime(checkpointer=saver, mcp_servers=servers) as runtime:
        run = await new_run(runtime, "Ordered.")
        await run.resume({"action": "accept", "content": {"boxes": 3}}, thread)
        result, answer = run.get_run_messages()[-2:]
        print(f"the tool said: {result.content}")
        print(f"model: {answer.content}")


async def main() -> None:
    await first_backend()
    await second_backend()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        shop.run()
    else:
        asyncio.run(main())
