"""Why each node of a turn ran or did not, as the panel *Why* of the inspector is told."""

from __future__ import annotations

from typing import Any, Literal

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from stategraph import START, StateGraph, interrupt
from stategraph.agent.settings.secrets import HIDDEN
from tests.dev.inspecting import State, a_graph, steps_of, talked, told
from tests.dev.serving import serving

pytestmark = pytest.mark.anyio


async def account(client: Any, thread: str, step: str) -> Any:
    return await told(client, f"/threads/{thread}/steps/{step}/explanation")


async def test_each_node_is_told_with_its_reason_and_who_wrote_what() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        newest, _, planned, *_ = await steps_of(client, thread)
        last, earlier = [await account(client, thread, each["id"]) for each in (newest, planned)]
    nodes = {each["node"]: each for each in last["nodes"]}
    assert {name: (each["status"], each["times"]) for name, each in nodes.items()} == {
        "plan": ("ran", 1),
        "work": ("ran", 2),
    }
    assert "route" in nodes["work"]["text"]
    assert any(text.startswith("count: 11 -> 21, written by work") for text in last["changes"])
    assert last["upcoming"] == []
    assert last["facts"]["thread_id"] == thread
    assert [each["status"] for each in earlier["nodes"]] == ["ran", "waits"]
    assert len(earlier["upcoming"]) == 1
    assert earlier["upcoming"][0].startswith("work ")


def asking_graph() -> Any:
    def route(state: State) -> Literal["ask", "refuse"]:
        return "ask"

    def ask(state: State) -> Any:
        return {"note": interrupt({"question": "Refund?", "api_key": "sk-123456"})}

    builder = StateGraph(State).add_node("look", lambda state: {"log": ["look"]}).add_node("ask", ask)
    builder.add_node("refuse", lambda state: {"log": ["no"]}).add_node("pay", lambda state: {"log": ["paid"]})
    builder.add_edge(START, "look").add_conditional_edges("look", route).add_edge("ask", "pay")
    return builder.compile(name="refunds")


async def test_a_step_that_waits_says_for_what_and_why_the_others_did_not_run() -> None:
    async with serving(asking_graph()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        found = await account(client, thread, newest["id"])
    nodes = {each["node"]: (each["status"], each["text"]) for each in found["nodes"]}
    assert {name: status for name, (status, _) in nodes.items()} == {
        "ask": "waits",
        "look": "ran",
        "pay": "did not run",
        "refuse": "did not run",
    }
    assert "Refund?" in nodes["ask"][1]
    assert "route of look led to ask instead" in nodes["refuse"][1]
    assert "sk-123456" not in str(found)
    assert HIDDEN in str(found)


async def test_a_branch_without_a_barrier_says_whom_it_waits_for() -> None:
    def ask(state: State) -> Any:
        return {"note": interrupt("Refund?")}

    builder = StateGraph(State).add_node("ask", ask)
    for name in ("a", "b", "join"):
        builder.add_node(name, lambda state, name=name: {"log": [name]})
    builder.add_edge(START, "ask").add_edge(START, "a").add_edge("a", "b").add_edge("b", "join").add_edge("ask", "join")
    async with serving(builder.compile(name="flow", scheduling="dataflow")) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        found = await account(client, thread, newest["id"])
    assert {each["node"]: each["status"] for each in found["nodes"]} == {
        "a": "ran",
        "ask": "waits",
        "b": "ran",
        "join": "waits",
    }
    assert any("ask" in each["text"] for each in found["nodes"] if each["node"] == "join")


async def test_a_step_that_is_not_there_is_told() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        answer = await client.get(f"/api/inspector/threads/{thread}/steps/none/explanation")
    assert answer.status_code == 404
    assert "has no step 'none'" in answer.json()["error"]
