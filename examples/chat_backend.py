"""A chat backend: a turn is a run in the background, and a browser reads its events, also after it was disconnected.

Start it with an OPENAI_API_KEY in the environment, and talk to it::

    python examples/chat_backend.py
    curl -N localhost:8000/chat -H 'Content-Type: application/json' \\
        -d '{"message_id": "m1", "thread_id": "t1", "text": "Is it warm in Rome?"}'
    curl -N localhost:8000/chat/m1 -H 'Last-Event-ID: 7'
    curl -X DELETE localhost:8000/chat/m1

Needs `pip install . langchain-openai starlette uvicorn`, run in a clone of this repository.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from stategraph import AgentInputs, AgentRuntime, sse
from stategraph.errors import ConfigurationError


@tool
def temperature(city: str) -> int:
    """The temperature in a city, in degrees Celsius."""
    return {"Rome": 31, "Oslo": 12}[city]


model = os.environ.get("OPENAI_MODEL", "openai:gpt-5-mini")
agent = AgentInputs(agent_id="assistant", model=model, instructions="Be brief.", tools=[temperature])
runtime = AgentRuntime(checkpointer=InMemorySaver())


def events_of(message_id: str, after_seq: int = 0) -> StreamingResponse:
    return StreamingResponse(sse(runtime.attach(message_id, after_seq)), media_type="text/event-stream")


async def chat(request: Request) -> Response:
    # A page of another site can send texts and forms here unasked, and JSON only if it is allowed to.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Response("Expected the content type application/json", status_code=415)
    try:
        turn = await request.json()
        message_id, thread_id, text = (str(turn[name]) for name in ("message_id", "thread_id", "text"))
    except (ValueError, TypeError, KeyError):
        return Response("Expected JSON with message_id, thread_id and text", status_code=400)
    # A browser that did not hear of the turn sends it again: it gets the events of the turn that there is,
    # as long as this process keeps it (the 128 newest). A backend notes in its database which turns were begun.
    known = runtime.get_run(message_id)
    if known is None or known.thread_id is None:
        try:
            run = await runtime.create_run(run_id=message_id, agents=[agent])
            # "async" stores each step as it comes: a turn that dies with the server leaves what the person wrote.
            config = {"configurable": {"thread_id": thread_id}, "durability": "async"}
            runtime.start(run, {"messages": [("user", text)]}, config)
        except ConfigurationError as error:  # another turn of the thread goes on
            return Response(str(error), status_code=409)
    return events_of(message_id)


async def again(request: Request) -> Response:
    message_id, seen = request.path_params["message_id"], request.headers.get("last-event-id", "0")
    if runtime.get_run(message_id) is None:
        return Response(status_code=404)
    if not seen.isdecimal():
        return Response("Expected a Last-Event-ID that is the id of an event", status_code=400)
    return events_of(message_id, int(seen))


async def stop(request: Request) -> Response:
    stopped = runtime.abort(request.path_params["message_id"], "The person stopped it")
    return Response(status_code=202 if stopped else 404)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with runtime:
        yield


routes = [
    Route("/chat", chat, methods=["POST"]),
    Route("/chat/{message_id}", again),
    Route("/chat/{message_id}", stop, methods=["DELETE"]),
]
app = Starlette(routes=routes, lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=8000)
