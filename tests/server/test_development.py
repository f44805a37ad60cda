"""`stategraph dev`: the chat page with LangGraph's API beside it, and its start after a change of the program."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")

from stategraph.dev import loading
from stategraph.server.development.application import application, name_of, target_of
from stategraph.testing import ScriptedChatModel

pytestmark = pytest.mark.anyio

LIMIT_S = 120.0

PROGRAM = """
from typing import Annotated
from typing_extensions import TypedDict
from stategraph import START, StateGraph
from stategraph.graph.message import add_messages

class State(TypedDict):
    messages: Annotated[list, add_messages]

def answer(state):
    return {"messages": [("ai", "WORD " + str(len(state["messages"])))]}

graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
"""


def folder_of(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(PROGRAM.replace("WORD", "First"), encoding="utf-8")
    config = {"graphs": {"support": "./agent.py:graph"}, "dependencies": ["."]}
    (tmp_path / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


def said(values: Any) -> list[str]:
    return [message["content"] for message in values["messages"]]


async def test_clients_of_langgraph_talk_to_the_graphs_beside_the_page(tmp_path: Path) -> None:
    langgraph_sdk = pytest.importorskip("langgraph_sdk")
    target, config = target_of(folder_of(tmp_path))
    app = application(target, f"sqlite:///{tmp_path / 'threads.db'}", config=config, origins=("http://localhost:*",))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=LIMIT_S) as http:
            client = langgraph_sdk.client.LangGraphClient(http)
            thread = await client.threads.create()
            asked = {"messages": [{"role": "user", "content": "Hello"}]}
            parts = [
                part.data
                async for part in client.runs.stream(thread["thread_id"], "support", input=asked, stream_mode="values")
            ]
            assert said(parts[-1]) == ["Hello", "First 1"]
            assert (await http.get("/api/info")).status_code == 200
            assert (await http.get("/ok?check_db=1")).json() == {"ok": True}
            assert "support" in {each["graph_id"] for each in await client.assistants.search()}
            missing = await http.get("/threads/00000000-0000-4000-8000-000000000000")
            assert (missing.status_code, list(missing.json())) == (404, ["detail"])
            page = {"Origin": "http://localhost:3000"}
            other = {"Origin": "https://elsewhere.example"}
            assert (await http.post("/threads", json={}, headers=page)).status_code == 200
            assert (await http.post("/threads", json={}, headers=other)).status_code == 403
            listed = await http.get("/api/threads")
            assert thread["thread_id"] in {each["id"] for each in listed.json()["threads"]}


async def test_a_target_with_hooks_has_its_page_alone(tmp_path: Path) -> None:
    from stategraph import AgentInputs, HookRegistry

    agent = AgentInputs(agent_id="ada", model=ScriptedChatModel(replies=["Hi."]))
    loaded = loading.load({"agents": [agent], "hooks": HookRegistry()})
    assert name_of(None, loaded) == "ada"
    assert name_of("my_app.agents:support", loaded) == "support"
    app = application(loaded, name="ada")
    local = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), local as http:
        assert (await http.get("/api/info")).status_code == 200
        assert (await http.post("/threads", json={})).status_code in (404, 405)


@contextmanager
def reloading(folder: Path) -> Iterator[str]:
    """Run `stategraph dev --reload` around a block, and yield its address."""
    command = [sys.executable, "-m", "stategraph", "dev", "--reload", "--port", "0"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with (folder / "errors.log").open("w") as log:
        child = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
        )
    try:
        assert child.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", child.stdout.readline())
        assert found is not None, (folder / "errors.log").read_text()
        yield found[0]
        child.send_signal(signal.SIGINT)
        assert child.wait(LIMIT_S) == 0
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def test_a_change_of_the_program_starts_it_again_and_threads_stay(tmp_path: Path) -> None:
    with reloading(folder_of(tmp_path)) as address, httpx.Client(base_url=address, timeout=LIMIT_S) as http:
        thread = http.post("/threads", json={}).json()["thread_id"]

        def asked() -> list[str]:
            given = {"messages": [{"role": "user", "content": "Hello"}]}
            body = {"assistant_id": "support", "input": given}
            return said(http.post(f"/threads/{thread}/runs/wait", json=body).raise_for_status().json())

        assert asked() == ["Hello", "First 1"]
        later = time.time() + 10
        (tmp_path / "agent.py").write_text(PROGRAM.replace("WORD", "Second"), encoding="utf-8")
        os.utime(tmp_path / "agent.py", (later, later))
        deadline = time.monotonic() + LIMIT_S
        found: list[str] = []
        while not any(each.startswith("Second") for each in found):
            assert time.monotonic() < deadline, (tmp_path / "errors.log").read_text()
            try:
                found = asked()
            except httpx.HTTPError:  # a connection of the process that ended
                time.sleep(0.1)
        assert found[:2] == ["Hello", "First 1"]
