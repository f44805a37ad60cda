"""One graph for other agents and for models: an A2A client talks to it, an MCP client calls it as a tool.

The graph asks which day is meant. To the A2A client that is a task that needs input, and the next message with the
task's id answers it; the MCP client is asked in the middle of its call, by a form.

Prints::

    A2A card: travel, The graph 'travel'; JSONRPC, HTTP+JSON
    A2A: Which day?
    A2A: booked: Rome on Friday
    MCP tool: travel(message, thread_id)
    MCP is asked: Which day?
    MCP: booked: Oslo on Monday
    The A2A client sees 2 tasks, both completed
"""

import asyncio
from uuid import uuid4

import httpx
import httpx2
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import ListTasksRequest, Message, Part, Role, SendMessageRequest, TaskState
from langchain_core.messages import AIMessage
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from stategraph import START, MessagesState, StateGraph, interrupt
from stategraph.server.a2a import A2aSettings
from stategraph.server.application import create_app
from stategraph.server.settings import Settings

URL = "http://127.0.0.1"


def book(state: MessagesState):
    day = interrupt({"question": "Which day?"})
    return {"messages": [AIMessage(f"booked: {state['messages'][-1].content} on {day}")]}


travel = StateGraph(MessagesState).add_node("book", book).add_edge(START, "book").compile()


async def talk(client, text, task_id=""):
    """Send a message as an agent does; return the task as it is then."""
    message = Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=[Part(text=text)], task_id=task_id)
    task = None
    async for event in client.send_message(SendMessageRequest(message=message)):
        if event.HasField("task"):
            task = event.task
        elif event.HasField("status_update"):
            task.status.CopyFrom(event.status_update.status)
        elif event.artifact_update.artifact.parts[0].text:
            print("A2A:", event.artifact_update.artifact.parts[0].text)
    if task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED:
        print("A2A:", task.status.message.parts[0].text)
    return task


async def answer(context, params):
    print("MCP is asked:", params.message)
    return ElicitResult(action="accept", content={"answer": "Monday"})


async def call_a_tool(app):
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http,
        Client(streamable_http_client(f"{URL}/mcp", http_client=http), elicitation_callback=answer) as client,
    ):
        (tool,) = (await client.list_tools()).tools
        print(f"MCP tool: {tool.name}({', '.join(tool.input_schema['properties'])})")
        result = await client.call_tool("travel", {"message": "Oslo"})
        print("MCP:", result.content[0].text)


async def main():
    settings = Settings(options={"a2a": A2aSettings(organization="Journeys Ltd")})
    app = create_app(config={"travel": travel}, settings=settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as http,
    ):
        card = await A2ACardResolver(http, URL).get_agent_card()
        bindings = ", ".join(each.protocol_binding for each in card.supported_interfaces)
        print(f"A2A card: {card.name}, {card.description}; {bindings}")
        agent = ClientFactory(ClientConfig(httpx_client=http)).create(card)
        task = await talk(agent, "Rome")
        await talk(agent, "Friday", task.id)

        await call_a_tool(app)

        tasks = (await agent.list_tasks(ListTasksRequest())).tasks
        done = all(each.status.state == TaskState.TASK_STATE_COMPLETED for each in tasks)
        print(f"The A2A client sees {len(tasks)} tasks, {'both completed' if done else 'not all completed'}")


asyncio.run(main())
