"""Contexts of runs: what a graph with a schema is given, whatever the client sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph import START, Runtime, StateGraph
from stategraph.server.service.port import ANYONE, RunRequest
from tests.server.runs.world import World, world

pytestmark = pytest.mark.anyio


class Seen(TypedDict, total=False):
    seen: str


@dataclass
class Tone:
    tone: str = "calm"


@dataclass
class Needed:
    tone: str


class Model(BaseModel):
    tone: str = "calm"


class Keys(TypedDict, total=False):
    tone: str


def tell(state: Seen, runtime: Runtime[Any]) -> Any:
    return {"seen": repr(runtime.context)}


def graph(schema: Any) -> Any:
    return StateGraph(Seen, context_schema=schema).add_node("tell", tell).add_edge(START, "tell").compile()


GRAPHS = {"none": None, "dataclass": Tone, "needed": Needed, "pydantic": Model, "keys": Keys}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(f"sqlite:///{tmp_path / 'runs.db'}", {name: graph(each) for name, each in GRAPHS.items()}) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "asked", "seen"),
    [
        ("none", {}, "None"),
        ("none", {"context": {}}, "None"),
        ("none", {"context": {"other": 1}}, "{'other': 1}"),
        ("dataclass", {}, "Tone(tone='calm')"),
        ("dataclass", {"context": {}}, "Tone(tone='calm')"),
        ("dataclass", {"context": {"tone": "warm", "other": 1}}, "Tone(tone='warm')"),
        ("dataclass", {"config": {"configurable": {"tone": "warm"}}}, "Tone(tone='warm')"),
        ("needed", {"context": {"tone": "warm"}}, "Needed(tone='warm')"),
        ("pydantic", {}, "Model(tone='calm')"),
        ("pydantic", {"context": {"tone": "warm"}}, "Model(tone='warm')"),
        ("keys", {}, "None"),
        ("keys", {"context": {"tone": "warm"}}, "{'tone': 'warm'}"),
    ],
)
async def test_a_graph_is_given_the_context_that_its_schema_makes(
    here: World, name: str, asked: dict[str, Any], seen: str
) -> None:
    run = await here.runs.create(ANYONE, RunRequest(assistant_id=name, thread_id=None, input={}, **asked))
    with anyio.fail_after(60):
        assert (await here.runs.wait(ANYONE, run.run_id)).status == "success"
        values = [event.data async for event in here.runs.events(ANYONE, run.run_id) if event.type == "values"]
    assert values[-1] == {"seen": seen}


async def test_a_run_without_a_needed_field_of_the_context_fails(here: World) -> None:
    run = await here.runs.create(ANYONE, RunRequest(assistant_id="needed", thread_id=None, input={}))
    with anyio.fail_after(60):
        assert (await here.runs.wait(ANYONE, run.run_id)).status == "error"
