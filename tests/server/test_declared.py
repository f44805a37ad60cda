"""What is declared is served: assistants of a server by the names of resources, for the SDK's client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from langgraph_sdk import get_client

from stategraph.errors import ConfigurationError, TransferError
from stategraph.resources.loading import load_text
from stategraph.resources.model import ResourceKey
from stategraph.resources.serving import graph_ids
from stategraph.resources.store.opening import open_store
from stategraph.server import configuring
from stategraph.server.application import Served, application
from stategraph.server.service.graphs.declared import Declared, ResourceSettings
from stategraph.server.settings import Settings

pytestmark = pytest.mark.anyio

GREET = """
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: greet, namespace: %s}
spec:
  inputs: {name: {type: string}}
  state: {greeting: {type: string}, mood: {type: string}}
  steps:
    - {id: say, set: {greeting: "${{ '%s, ' + input.name }}"}, next: ask}
    - {id: ask, interrupt: {prompt: "How are you?"}, output: {mood: "${{ result.text }}"}}
"""


@asynccontextmanager
async def serving(folder: Path, url: str) -> AsyncIterator[Any]:
    """Serve what a folder declares, and yield the SDK's client."""
    declared = Declared(str(folder))
    app = application(Served(None, {}, "", Settings(protocols=("langgraph",)), declared), url)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=5))
        task = asyncio.create_task(server.serve([listening]))
        try:
            async with get_client(url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await task


async def test_a_workflow_is_an_assistant_that_waits_and_is_answered(tmp_path: Path) -> None:
    folder, url = tmp_path / "app", f"sqlite:///{tmp_path}/app.db"
    folder.mkdir()
    (folder / "a.yaml").write_text(GREET % ("default", "Hello"), encoding="utf-8")
    (folder / "b.yaml").write_text(GREET % ("hall", "Welcome"), encoding="utf-8")
    async with serving(folder, url) as client:
        found = await client.assistants.search()
        assert sorted(each["graph_id"] for each in found) == ["greet", "hall.greet"]
        thread = await client.threads.create()
        waiting = await client.runs.wait(thread["thread_id"], "hall.greet", input={"name": "Ada"})
        assert waiting["greeting"] == "Welcome, Ada"
        done = await client.runs.wait(thread["thread_id"], "hall.greet", command={"resume": "fine"})
        assert done["mood"] == "fine"

        store = open_store(url)  # another process applies a change
        try:
            await store.apply(load_text(GREET % ("default", "Good evening")))
            async with asyncio.timeout(60):
                greeting = ""
                while not greeting.startswith("Good evening"):
                    greeting = (await client.runs.wait(None, "greet", input={"name": "Ada"}))["greeting"]
        finally:
            await store.close()


async def test_nothing_that_has_a_graph_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: stategraph.dev/v1\nkind: Secret\nmetadata: {name: x}\nspec: {valueFrom: {env: X}}\n"
    )
    with pytest.raises(ConfigurationError, match="Nothing is declared that has a graph"):
        async with Declared(str(tmp_path)).open(f"sqlite:///{tmp_path}/app.db"):
            pass


async def test_a_server_with_workers_finds_runs_of_resources_by_their_targets(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GREET % ("default", "Hello"), encoding="utf-8")
    async with Declared(str(tmp_path)).open(f"sqlite:///{tmp_path}/app.db") as declared:
        graph = await declared.find("stategraph.resources:workflow/default/greet")
        thread = {"configurable": {"thread_id": "t"}}
        assert (await graph.ainvoke({"name": "Ada"}, thread))["greeting"] == "Hello, Ada"
        for target, told in (
            ("stategraph.resources:workflow/default/none", "there is no such resource"),
            ("stategraph.resources:nothing/x", "is not to be had here"),
            ("my_app:graph", "is no resource"),
        ):
            with pytest.raises(TransferError, match=told):
                await declared.find(target)


def test_settings_say_what_is_declared(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(
        '[resources]\nfolder = "app"\nonly = true\nallow = ["app."]\nservices = "tests.server.test_declared:services"\n'
    )
    said = configuring.read(tmp_path / "server.toml").resources
    assert said == ResourceSettings(
        folder=str(tmp_path / "app"), only=True, allow=("app.",), services="tests.server.test_declared:services"
    )
    assert Declared.said(said) == Declared(str(tmp_path / "app"), ("app.",), {"tools": {}}, stored=False)
    (tmp_path / "server.toml").write_text("[resources]\n")
    assert configuring.read(tmp_path / "server.toml").resources == ResourceSettings()
    assert Declared.said(ResourceSettings()) == Declared()


def services() -> dict[str, Any]:
    return {"tools": {}}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("resources = 'app'", r"resources is 'app'; expected a table, \[resources\]"),
        ("[resources]\nfolders = 'app'", r"\[resources\]: folders is not known"),
        ("[resources]\nfolder = 3", r"\[resources\] folder is 3; expected a text"),
        ("[resources]\nfolder = 'a'\nonly = 'yes'", r"\[resources\] only is 'yes'; expected true or false"),
        ("[resources]\nallow = 'app.'", r"\[resources\] allow is 'app.'; expected a list of texts"),
        ("[resources]\nonly = true", r"\[resources\] only is about a folder"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, said: str, told: str) -> None:
    (tmp_path / "server.toml").write_text(said)
    with pytest.raises(ConfigurationError, match=told):
        configuring.read(tmp_path / "server.toml")


def test_services_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"\[resources\] services 'stategraph:END' is of type str; expected a map"
    ):
        Declared.said(ResourceSettings(services="stategraph:END"))


def test_graphs_are_called_like_resources_and_with_their_kinds_where_names_are_shared() -> None:
    keys = [
        ResourceKey("workflow", "default", "greet"),
        ResourceKey("agent", "default", "greet"),
        ResourceKey("network", "hall", "greet"),
        ResourceKey("secret", "default", "keys"),
    ]
    assert {name: str(key) for name, key in graph_ids(keys).items()} == {
        "agent.greet": "agent/default/greet",
        "workflow.greet": "workflow/default/greet",
        "hall.greet": "network/hall/greet",
    }
