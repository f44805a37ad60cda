"""Two replicas of an agent and one that is away: a router asks whom it can reach, and finds an agent by what it can do.

Prints::

    travel is reached at: http://127.0.0.1:1, http://127.0.0.1:2024, http://127.0.0.1:2025
    Rome: booked: Rome
    Oslo: booked: Oslo
    Lima: booked: Lima
    who can do 'weather': sunny in Rome
    failed at http://127.0.0.1:1: True
    nobody can do 'taxes'
"""

import asyncio
from contextlib import AsyncExitStack

import httpx
from langchain_core.messages import AIMessage

from stategraph import START, MessagesState, StateGraph
from stategraph.fleet import A2aTransport, AgentEndpoint, Directory, NoEndpointError, Router, StaticSource, message
from stategraph.server.application import create_app


def agent(words):
    def speak(state: MessagesState):
        return {"messages": [AIMessage(f"{words} {state['messages'][-1].content}")]}

    return StateGraph(MessagesState).add_node("speak", speak).add_edge(START, "speak").compile()


async def ask(router, text, **wanted):
    """Return the text of an answer."""
    said = ""
    async for event in router.stream(message(text), **wanted):
        for part in event.artifact_update.artifact.parts:
            said += part.text
    return said


async def main():
    # Servers of this process; one at port 1 is registered, and does not run.
    graphs = {"2024": {"travel": agent("booked:")}, "2025": {"travel": agent("booked:"), "weather": agent("sunny in")}}
    async with AsyncExitStack() as servers:
        mounts = {}
        for port, config in graphs.items():
            app = create_app(config=config)
            await servers.enter_async_context(app.router.lifespan_context(app))
            mounts[f"http://127.0.0.1:{port}"] = httpx.ASGITransport(app)
        client = await servers.enter_async_context(httpx.AsyncClient(mounts=mounts))

        source = StaticSource(
            [
                AgentEndpoint(agent="travel", url="http://127.0.0.1:1", capabilities=frozenset({"booking"})),
                AgentEndpoint(agent="travel", url="http://127.0.0.1:2024/a2a/travel"),
                AgentEndpoint(agent="travel", url="http://127.0.0.1:2025/a2a/travel"),
                AgentEndpoint(
                    agent="forecast", url="http://127.0.0.1:2025/a2a/weather", capabilities=frozenset({"weather"})
                ),
            ]
        )
        async with Directory(source) as directory, A2aTransport(client) as transport:
            reached = (each.endpoint.url.removesuffix("/a2a/travel") for each in directory.agents()["travel"])
            print("travel is reached at:", ", ".join(reached))
            router = Router(directory, transport, strategy="round_robin")
            for city in ("Rome", "Oslo", "Lima"):
                print(f"{city}:", await ask(router, city, agent="travel"))
            print("who can do 'weather':", await ask(router, "Rome", capabilities=["weather"]))
            away = directory.agents()["travel"][0]
            print(f"failed at {away.endpoint.url}:", away.failed > 0)
            try:
                await ask(router, "2026", capabilities=["taxes"])
            except NoEndpointError:
                print("nobody can do 'taxes'")


asyncio.run(main())
