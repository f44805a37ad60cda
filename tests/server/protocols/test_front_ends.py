"""The packages that front ends are made of, against the server: `ai` in two versions, and `@ag-ui/client`.

`make judges` installs them and has these tests run against a server of its own; elsewhere they need Node 22 and
`STATEGRAPH_NODE_MODULES`, the folder in which the packages are.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stategraph.testing import call
from tests.server.protocols import logs, test_vercel
from tests.server.protocols.logs import said
from tests.server.protocols.serving import served

#: Tests do not see these variables, so they are read before them. The address is of a server that has `GRAPHS`, from
#: `make judges`; empty: one is started here.
ADDRESS = os.environ.get("STATEGRAPH_FRONT_END_ADDRESS", "")
MODULES = os.environ.get("STATEGRAPH_NODE_MODULES", "")
NODE = os.environ.get("STATEGRAPH_NODE") or shutil.which("node") or ""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        not (MODULES and NODE),
        reason="needs Node and STATEGRAPH_NODE_MODULES with the packages ai and @ag-ui/client (`make judges` has them)",
    ),
]

HERE = Path(__file__).parent
#: By the folder of the package, the version of Vercel's AI SDK.
AI = {"ai": "7", "ai-6": "6"}
RUN_S = 120.0


def looking_then_no() -> Any:
    """Return an agent that looks something up, and then says no."""
    return logs.tool_agent(said("I look.", call("search", word="a")), said("It is a."), said("No."))


def changing_its_mind() -> Any:
    """Return an agent that answers twice."""
    return logs.tool_agent(said("One."), said("Other."))


#: Graphs by what the AI SDK does with them; each has one conversation, as their models say each thing once.
CHATS: Mapping[str, Callable[[], Any]] = {
    "talk": looking_then_no,
    "regenerate": changing_its_mind,
    "approve": test_vercel.asking,
    "reject": test_vercel.asking,
    "tool": test_vercel.with_client_tool,
    "ask": test_vercel.with_question,
    "reconnect": test_vercel.slow,
    "reload": test_vercel.asking,
    "resume": test_vercel.looking_up_slowly,
}

#: Graphs for the agent of `@ag-ui/client`, and what they say.
TURNS: Mapping[str, tuple[Callable[[], Any], list[str]]] = {
    "agent": (logs.looking_up, ["I look it up.", "It is a and b."]),
    "branches": (
        logs.branches,
        [
            "Here is branch one with some words.",
            "Here is branch three with some words.",
            "Here is branch two with some words.",
            "Whole.",
        ],
    ),
    "spread": (logs.spread, [f"This is number {number}." for number in range(3)]),
    "subagents": (logs.subagents, ["Bye, then.", "I look it up.", "It is a and b."]),
    "agent_as_tool": (logs.agent_as_tool, ["I ask.", "The expert knows."]),
    "approvals": (test_vercel.asking, ["Done.", "I delete."]),
}

#: All of them, by the names that the server of `make judges` has them under.
GRAPHS: Mapping[str, Callable[[], Any]] = {
    **{f"ai{version}_{name}": make for version in AI.values() for name, make in CHATS.items()},
    **{f"agui_{name}": make for name, (make, _) in TURNS.items()},
}


@contextmanager
def serving(name: str) -> Iterator[str]:
    """Have a graph served under its name, and return the address of the server."""
    if ADDRESS:
        yield ADDRESS
        return
    with served({name: GRAPHS[name]().compile()}) as address:
        yield address


async def printed(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script and return what it prints, as JSON; it may write no warning."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / script),
        MODULES,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), RUN_S)
    assert process.returncode == 0, err.decode()
    assert not err, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(params=AI, ids=[f"ai {version}" for version in AI.values()])
def package(request: pytest.FixtureRequest) -> str:
    """Return the folder of the AI SDK."""
    return str(request.param)


async def chatted(package: str, scenario: str) -> dict[str, Any]:
    """Have the package chat with the graph of a scenario."""
    name = f"ai{AI[package]}_{scenario}"
    with serving(name) as address:
        found = await printed("vercel_client.mjs", package, f"{address}/vercel/{name}", scenario, str(uuid4()))
    assert found["errors"] == []
    assert found["status"] == "ready"
    return found


def parts(found: Mapping[str, Any], kind: str) -> list[Any]:
    """Return the parts of a kind in the answers."""
    answers = [each for each in found["messages"] if each["role"] == "assistant"]
    return [part for each in answers for part in each["parts"] if part["type"] == kind]


def spoken(found: Mapping[str, Any]) -> list[str]:
    """Return the texts of the answers."""
    return [each["text"] for each in parts(found, "text")]


async def test_the_sdk_talks_with_an_agent(package: str) -> None:
    found = await chatted(package, "talk")
    assert spoken(found) == ["I look.", "It is a.", "No."]
    (tool,) = parts(found, "tool-search")
    assert (tool["state"], tool["input"], tool["output"]) == ("output-available", {"word": "a"}, "a found")
    assert [each["role"] for each in found["messages"]] == ["user", "assistant"] * 2


async def test_the_sdk_regenerates_an_answer(package: str) -> None:
    assert spoken(await chatted(package, "regenerate")) == ["Other."]


@pytest.mark.parametrize(("scenario", "state"), [("approve", "output-available"), ("reject", "output-denied")])
async def test_the_sdk_approves_and_rejects_tool_calls_within_one_message(
    package: str, scenario: str, state: str
) -> None:
    found = await chatted(package, scenario)
    assert [each["state"] for each in parts(found, "tool-delete")] == [state, state]
    assert [each["role"] for each in found["messages"]] == ["user", "assistant"]
    assert spoken(found) == ["I delete.", "Done."]


async def test_a_tool_of_the_client_answers_within_one_message(package: str) -> None:
    found = await chatted(package, "tool")
    (tool,) = parts(found, "tool-confirm")
    assert (tool["state"], tool["output"]) == ("output-available", {"answer": "yes"})
    assert spoken(found) == ["You said yes."]


async def test_the_sdk_is_asked_and_answers(package: str) -> None:
    found = await chatted(package, "ask")
    assert [each["data"]["payload"] for each in found["data"]] == ["Which colour?"]
    assert spoken(found) == ["It is blue."]


async def test_the_sdk_reconnects_to_a_running_answer(package: str) -> None:
    assert spoken(await chatted(package, "reconnect")) == ["This takes a while to say."]


async def test_a_page_that_is_loaded_again_has_the_messages_and_answers(package: str) -> None:
    found = await chatted(package, "reload")
    assert [each["role"] for each in found["messages"]] == ["user", "assistant"]
    assert [each["state"] for each in parts(found, "tool-delete")] == ["output-available"] * 2
    assert spoken(found) == ["I delete.", "Done."]


async def test_a_page_that_is_loaded_while_an_answer_is_given_reads_all_of_it(package: str) -> None:
    found = await chatted(package, "resume")
    assert [each["role"] for each in found["messages"]] == ["user", "assistant"]
    assert [each["state"] for each in parts(found, "tool-search")] == ["output-available"]
    assert spoken(found) == ["I look.", "It takes a while to say what it is."]


@pytest.mark.parametrize("name", TURNS)
async def test_the_client_of_ag_ui_takes_every_event(name: str) -> None:
    with serving(f"agui_{name}") as address:
        found = await printed("agui_client.mjs", f"{address}/agui/agui_{name}", str(uuid4()))
    assert sorted(each["content"] for each in found["messages"] if each["role"] == "assistant") == TURNS[name][1]
