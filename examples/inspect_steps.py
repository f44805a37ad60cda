"""A program uses the inspector's API: it edits a step of a thread, runs it again, and compares both branches.

The same by hand is `stategraph dev inspect_steps:graph --edit`.

Prints::

    steps: start, price, discount, say
    discount changed: ['price']
    edited, next: say
    compared with the first branch:
      (nothing) | edited
      say | say: messages[1].content was 'It is 80 EUR.' and is 'It is 60 EUR.'
"""

import asyncio
from typing import Annotated, TypedDict

import httpx
from langchain_core.messages import AIMessage, AnyMessage

from stategraph import END, START, StateGraph, add_messages
from stategraph.dev.application import create_app


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    price: int


def price(state: State) -> State:
    return {"price": 100}


def discount(state: State) -> State:
    return {"price": state["price"] - 20}


def say(state: State) -> State:
    return {"messages": [AIMessage(f"It is {state['price']} EUR.", id="answer")]}


builder = StateGraph(State)
builder.add_sequence([price, discount, say])
builder.add_edge(START, "price")
builder.add_edge("say", END)
graph = builder.compile(name="Prices")


def name_of(step: dict | None) -> str:
    """Return what ran in a step."""
    if step is None:
        return "(nothing)"
    return ", ".join(each["name"].strip("_") for each in step["ran"]) or "edited"


async def main() -> None:
    app = create_app(graph, edit=True)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        thread = (await client.post("/api/threads", json={})).json()["id"]
        await client.post(f"/api/threads/{thread}/turns", json={"run_id": "r1", "text": "What is the price?"})
        await client.get("/api/runs/r1/events")  # ends with the run

        inspector = f"/api/inspector/threads/{thread}"
        newest, discounted, *_ = steps = (await client.get(f"{inspector}/steps")).json()["steps"]
        print("steps:", ", ".join(name_of(each) for each in steps[-2::-1]))
        detail = (await client.get(f"{inspector}/steps/{discounted['id']}")).json()
        print("discount changed:", [each["path"] for each in detail["differences"]["found"]])

        change = {"step": discounted["id"], "values": {"price": 60}, "run": True}
        begun = (await client.post(f"{inspector}/branches", json=change)).json()
        print("edited, next:", begun["step"]["next"][0]["name"])
        await client.get(f"/api/runs/{begun['run']['id']}/events")

        ends = {"a": thread, "a_step": newest["id"], "b": thread}  # without b_step: the newest
        compared = (await client.get("/api/inspector/compare", params=ends)).json()
        print("compared with the first branch:")
        for pair in compared["pairs"]:
            line = f"  {name_of(pair['a'])} | {name_of(pair['b'])}"
            for each in (pair["differences"] or {"found": []})["found"]:
                if each["path"].startswith("messages"):
                    line += f": {each['path']} was {each['old']['text']!r} and is {each['new']['text']!r}"
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
