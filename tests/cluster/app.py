"""The graph of a cluster's runs: its model says a text that is known beforehand, and each step has an outer effect.

`waiting` only waits, as for a model: what several hosts gain is told by it.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from typing_extensions import TypedDict

from stategraph import START, StateGraph
from stategraph.graph.message import add_messages
from stategraph.workers.ledger.effects import Found, NotFound, current_effect, effect
from tests.server.replicas.script import STEPS, Saying, script

#: Seconds that the model of `waiting` takes.
LATENCY_S = 2.0


class State(TypedDict, total=False):
    name: str
    sink: str
    messages: Annotated[list[AnyMessage], add_messages]


def _key(arguments: Any) -> str:
    return f"{arguments.name}-{arguments.step}".replace(" ", "-").replace(".", "-")


def _ask_the_sink(record: Any) -> Any:
    with urllib.request.urlopen(f"{record.arguments['url']}/found/{record.key}", timeout=20) as answer:
        body = json.load(answer)
    return Found(body["answer"]) if body["count"] else NotFound()


@effect(key=_key, on_doubt=_ask_the_sink)
def pay(url: str, name: str, step: int) -> str:
    call = current_effect()
    assert call is not None
    request = urllib.request.Request(
        f"{url}/commit/{_key_of(name, step)}",
        data=b"{}",
        method="POST",
        headers={"Idempotency-Key": call.idempotency_id},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        paid: str = json.load(answer)["answer"]
    return paid


def _key_of(name: str, step: int) -> str:
    return f"{name}-{step}".replace(" ", "-").replace(".", "-")


def keys_of(name: str) -> list[str]:
    """Return what the destination has to have been asked once for a run."""
    return [_key_of(name, step) for step in range(STEPS)]


def _answer(step: int) -> Any:
    async def node(state: State) -> Any:
        said = await Saying(words=script(state["name"], step)).ainvoke(state.get("messages", []))
        await asyncio.to_thread(pay, state["sink"], state["name"], step)
        return {"messages": [said]}

    return node


def _graph() -> Any:
    builder: Any = StateGraph(State)
    before = START
    for step in range(STEPS):
        name = f"step_{step}"
        builder.add_node(name, _answer(step)).add_edge(before, name)
        before = name
    return builder.compile()


async def wait(state: State) -> Any:
    await asyncio.sleep(LATENCY_S)
    return {"messages": [("ai", "done")]}


graph = _graph()
waiting = StateGraph(State).add_node("wait", wait).add_edge(START, "wait").compile()
