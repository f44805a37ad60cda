"""What runs told (`logs`), and what a database does (`top`): on runs of a server, by processes whose screen is read."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import pytest
from textual.widgets import Static

from stategraph import AgentInputs, interrupt
from stategraph.cli.observing import figures, screen
from stategraph.cli.observing.live import TopScreen
from stategraph.cli.style import Style
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.sources.database import DatabaseSource
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.port import Amounts, Tree
from stategraph.governance.context import Budget
from stategraph.graph.state import START, StateGraph
from stategraph.resources.controllers.schedule import target_of
from stategraph.resources.loading import load_text
from stategraph.resources.model import ResourceKey
from stategraph.resources.store.opening import open_store
from stategraph.server.hosting import Hosting, opened
from stategraph.server.service.values import ANYONE, RunRequest
from stategraph.testing import ScriptedChatModel
from stategraph.testing.script import call, reply
from stategraph.workers.registry.overview import QueueInfo
from stategraph.workers.registry.runs import RunRegistry
from tests.cli.programs import stategraph

URL = "sqlite:///app.db"
STORE = ("--store", URL)
SECRET = "pssst-nobody-may-see-this"
LIMIT_S = 120

#: The command, also where the tests were started in the background, with Ctrl-C ignored.
LISTENING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from stategraph.cli import main
sys.exit(main(sys.argv[1:]))
"""

DECLARED = """\
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: shop}
spec: {valueFrom: {env: SHOP_KEY}}
---
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: price}
spec: {id: price}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: chef}
spec: {instructions: Cook., tools: [price]}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: dinner}
spec: {steps: [{id: look, tool: price, next: ask}, {id: ask, interrupt: {prompt: "Which cuisine?"}}]}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: idle}
spec: {steps: [{id: look, tool: price}]}
---
apiVersion: stategraph.dev/v1
kind: Schedule
metadata: {name: nightly}
spec: {cron: "0 3 * * *", ref: workflow/dinner}
"""


class Dinner(TypedDict, total=False):
    item: str
    price: str
    cuisine: str


def dinner() -> Any:
    """Return a graph with the steps of the workflow, as it would be reconciled elsewhere."""

    def look(state: Dinner) -> Dinner:
        if state["item"] == "dodo":
            raise ValueError("there are no dodos")
        return {"price": f"{state['item']} costs 3, key {SECRET}"}

    builder = StateGraph(Dinner)
    builder.add_node("look", look)
    builder.add_node("ask", lambda state: {"cuisine": interrupt({"question": "Which cuisine?"})})
    builder.add_edge(START, "look")
    builder.add_edge("look", "ask")
    return builder.compile()


def price(item: str) -> str:
    """Return what an item costs."""
    return f"{item} costs 3"


async def begin(service: Any, assistant: str, given: Any) -> str:
    """Execute a run on a thread of its own, and return its id."""
    thread = await service.threads.create(ANYONE)
    run = await service.runs.create(ANYONE, RunRequest(assistant_id=assistant, thread_id=thread.thread_id, input=given))
    await service.runs.wait(ANYONE, run.run_id)
    return str(run.run_id)


@asynccontextmanager
async def served() -> AsyncIterator[Any]:
    chef = AgentInputs(
        agent_id="chef",
        tools=[price],
        model=ScriptedChatModel(
            replies=[
                reply(call("price", {"item": "leek"}), usage=(10, 5)),
                reply("Leeks cost 3.", usage=(20, 5)),
            ]
        ),
    )
    async with opened(Hosting(graphs={"dinner": dinner(), "chef": chef}, store=URL)) as server:
        yield server.service


async def fill() -> dict[str, str]:
    """Store what is declared, and execute runs of it; return their ids."""
    store = open_store(URL)
    try:
        await store.apply(load_text(DECLARED))
    finally:
        await store.close()
    async with served() as service:
        return {
            "waits": await begin(service, "dinner", {"item": "leek"}),
            "fails": await begin(service, "dinner", {"item": "dodo"}),
            "chef": await begin(service, "chef", {"messages": [{"role": "user", "content": "What are leeks?"}]}),
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("looking")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        (found / "ids.json").write_text(json.dumps(asyncio.run(fill())), encoding="utf-8")
        yield found


@pytest.fixture
def ids(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    return found


def said(folder: Path, *words: str, code: int = 0) -> list[str]:
    """Run a command, and return its lines without times."""
    done = stategraph(folder, *words, *STORE, SHOP_KEY=SECRET, TZ="UTC")
    assert done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    text = re.sub(r"^\d\d:\d\d:\d\d  ", "", done.stdout, flags=re.MULTILINE)
    return re.sub(r"\d+\.\d s", "0.1 s", text).splitlines()


def test_the_logs_of_a_workflow_are_what_its_runs_told(folder: Path, ids: dict[str, str]) -> None:
    lines = said(folder, "logs", "workflow/dinner")
    waits, fails = ids["waits"][-6:], ids["fails"][-6:]
    assert re.fullmatch(rf"{waits}  begins  run {ids['waits']}, thread [0-9a-f-]+, attempt 1", lines[0])
    assert lines[1:4] == [
        f"{waits}  look  price: leek costs 3, key [redacted]",
        f"{waits}  asks  Which cuisine?",
        f"{waits}  ends  interrupted after 0.1 s",
    ]
    assert lines[4].startswith(f"{fails}  begins  run {ids['fails']}")
    assert lines[5:] == [
        f"{fails}  state  item: dodo",
        f"{fails}  ends  error after 0.1 s: ValueError: there are no dodos",
    ]


def test_logs_are_of_one_run_of_a_time_or_the_newest(folder: Path, ids: dict[str, str]) -> None:
    one = said(folder, "logs", "wf/dinner", "--run", ids["waits"][-8:], "--tail", "1")
    assert one == [f"{ids['waits'][-6:]}  ends  interrupted"]
    assert len(said(folder, "logs", "wf/dinner", "--runs", "1")) == 3
    assert said(folder, "logs", "wf/dinner", "--since", "0s", code=1) == []
    wrong = stategraph(folder, "logs", "wf/dinner", "--run", "nothing", *STORE, SHOP_KEY=SECRET)
    assert wrong.returncode == 2
    assert f"workflow/default/dinner has no run 'nothing'; its newest runs: {ids['waits']}, " in wrong.stderr


def test_the_logs_of_an_agent_and_of_a_tool(folder: Path, ids: dict[str, str]) -> None:
    chef = ids["chef"][-6:]
    lines = said(folder, "logs", "agent/chef")
    assert [line.removeprefix(f"{chef}  ") for line in lines[1:-1]] == [
        "chef  human: What are leeks?",
        'chef  ai: price({"item": "leek"})  (15 tokens)',
        "chef  price -> leek costs 3",
        "chef  ai: Leeks cost 3.  (25 tokens)",
    ]
    tool = said(folder, "logs", "tool/price")
    assert tool == [
        f"{ids['waits'][-6:]}  workflow/dinner  look  price: leek costs 3, key [redacted]",
        f'{chef}  agent/chef  chef  ai: price({{"item": "leek"}})  (15 tokens)',
        f"{chef}  agent/chef  chef  price -> leek costs 3",
    ]


def test_logs_as_json_have_all_of_an_event_but_secrets(folder: Path, ids: dict[str, str]) -> None:
    told = [json.loads(line) for line in said(folder, "logs", "workflow/dinner", "--json", "--run", ids["waits"])]
    assert [each["seq"] for each in told] == list(range(1, len(told) + 1))
    assert {each["resource"] for each in told} == {"workflow/default/dinner"}
    assert told[0]["data"] == {"attempt": 1, "reason": "first"}
    update = next(each for each in told if each["type"] == "updates")
    assert update["data"] == {"look": {"price": "leek costs 3, key [redacted]"}}


def test_what_has_no_runs_is_told(folder: Path) -> None:
    done = stategraph(folder, "logs", "workflow/idle", *STORE, SHOP_KEY=SECRET)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "workflow/default/idle has told nothing.\n")
    done = stategraph(folder, "logs", "secret/shop", *STORE)
    assert done.returncode == 2
    assert done.stderr.startswith("stategraph: A secret has no runs. Those of workflows, networks, agents, schedules,")
    done = stategraph(folder, "logs", "workflow/diner", *STORE)
    assert done.stderr == (
        "stategraph: There is no workflow 'diner' in the namespace 'default', did you mean 'dinner'?\n"
    )


def test_values_that_could_not_be_hidden_are_warned_of(folder: Path) -> None:
    done = stategraph(folder, "logs", "agent/chef", *STORE)
    assert done.returncode == 0
    assert done.stderr.startswith("stategraph: the values of secret/default/shop cannot be read here")


def test_logs_follow_runs_that_begin_and_end_with_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def declare() -> None:
        store = open_store(URL)
        await store.apply(load_text(DECLARED))
        await store.close()
        registry = RunRegistry.from_url(URL)
        await registry.set_up()
        await registry.aclose()

    asyncio.run(declare())
    command = [sys.executable, "-c", LISTENING, "logs", "wf/dinner", "-f", "--json", *STORE]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout is not None

            async def execute() -> str:
                async with served() as service:
                    return await begin(service, "dinner", {"item": "leek"})

            run_id = asyncio.run(asyncio.wait_for(execute(), LIMIT_S))
            types = []
            while not types or types[-1] != "run.end":
                told = json.loads(reader.stdout.readline())
                assert told["run_id"] == run_id
                types.append(told["type"])
            assert types[0] == "run.attempt" and "updates" in types
            reader.send_signal(signal.SIGINT)
            assert reader.wait(LIMIT_S) == 130
        finally:
            reader.kill()


def test_the_runs_of_a_schedule_are_those_that_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta
    from uuid import NAMESPACE_URL, uuid5

    from stategraph.cli.observing.selecting import selection_of
    from stategraph.resources.manifests.describing import Around

    monkeypatch.chdir(tmp_path)
    key = ResourceKey("workflow", "default", "dinner")

    async def check() -> None:
        store = open_store(URL)
        registry = RunRegistry.from_url(URL)
        try:
            await store.apply(load_text(DECLARED.replace("0 3 * * *", "* * * * *")))
            everything = (await store.snapshot()).resources
            schedule = next(each for each in everything if each.kind == "Schedule")
            due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
            own = str(uuid5(NAMESPACE_URL, f"{schedule.metadata.uid}/{due.isoformat()}"))
            for run_id in (own, str(uuid5(NAMESPACE_URL, "of another one")), "by-hand"):
                await registry.submit(run_id, {}, target=target_of(key), run_id=run_id)
            selection = selection_of(schedule.key, schedule, everything, Around(everything))
            runs = await registry.overview.of_targets(list(selection.targets), 3600)
            assert [each.run_id for each in runs if selection.takes(each)] == [own]
        finally:
            await registry.aclose()
            await store.close()

    asyncio.run(check())


def test_top_shows_what_a_database_does(folder: Path) -> None:
    lines = said(folder, "top", "--once")
    assert lines[0].startswith("sqlite:///app.db  ")
    assert lines[1:3] == [
        "Runs: 0 waiting, 0 running; ended in 15 min: 1 error, 1 interrupted, 1 success",
        "Resources: 0 of 6 ready",
    ]
    at = next(index for index, line in enumerate(lines) if line.startswith("GRAPH"))
    assert lines[at].split() == ["GRAPH", "READY", "ENDED", "NOW", "ERRORS", "P50", "P95", "TOKENS"]
    rows = {line.split()[0]: line.split() for line in lines[at + 1 :]}
    assert rows["workflow/default/dinner"][1:7] == ["Unknown", "2", "0", "1", "(50", "%)"]
    assert rows["workflow/default/idle"][2:] == ["0", "0", "0", "-", "-", "-"]
    assert rows["agent/default/chef"][-1] == "40"  # tokens
    told = json.loads("\n".join(said(folder, "top", "--json")))
    assert told["statuses"] == {"success": 1, "interrupted": 1, "error": 1}
    assert told["graphs"][0]["graph"] == "workflow/default/dinner"


def test_top_needs_no_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = stategraph(tmp_path, "top", *STORE)
    assert (nothing.returncode, nothing.stderr[:38]) == (2, "stategraph: There is no database 'app.")

    async def fill() -> None:
        registry = RunRegistry.from_url(URL)
        await registry.submit("one", {}, target="desk:graph", run_id="r1", queue="fast")
        await registry.submit("two", {}, target="desk:graph", run_id="r2", queue="fast", delay_s=600)
        await registry.aclose()
        source = DatabaseSource.from_url(URL)
        await source.register(AgentEndpoint(agent="writer", url="https://writer.example/a2a", weight=0))
        await source.close()
        ledger = SqlBudgetLedger.from_url(URL)
        held = ledger.reserve_sync(Tree("r1", "acme", Budget(tokens=1_000)), Amounts(tokens=400), key="one")
        ledger.settle_sync(held, Amounts(tokens=250))
        ledger.close()

    asyncio.run(fill())
    done = stategraph(tmp_path, "top", *STORE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "READY" not in done.stdout.partition("GRAPH")[0]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["fast", "1", "1", "0"] in [row[:4] for row in rows]
    assert ["desk:graph", "-", "0", "0+2", "0", "-", "-", "-"] in rows
    assert ["r1", "acme", "tokens", "250", "0", "1,000", "25", "%"] in rows
    assert ["writer", "https://writer.example/a2a", "0", "drained", "-"] in rows


def made(**found: Any) -> figures.Figures:
    return figures.Figures(1_796_000_000.0, 900.0, **found)


def test_a_narrow_terminal_has_shorter_names_and_no_longer_lines() -> None:
    name = f"workflow/{'very-' * 12}long"
    graph = figures.GraphFigures(name, "True", 0, 1, 12, 1, 0.2, 65.0, 12_345)
    plugin = figures.PluginFigures("plugin/default/mail", "Running", 4711, 2, "process", "True", "Running")
    found = made(graphs=[graph], plugins=[plugin], queues=[QueueInfo("default", 3, 0, 1, 75.0)], ready=3, resources=4)
    for room in (60, 80, 120):
        lines = screen.lines_of(found, URL, Style(None), room)
        assert max(map(len, lines)) <= room
        row = next(line for line in lines if line.startswith("work"))
        assert row.split()[1:] == ["True", "12", "1", "1", "(8", "%)", "200", "ms", "1", "min", "12,345"]
        assert next(line.split()[1:4] for line in lines if line.startswith("plugin/")) == ["Running", "4711", "2"]


@pytest.mark.anyio
async def test_the_live_view_is_read_anew_and_outlives_a_database_that_is_away() -> None:
    answers: list[figures.Figures | Exception] = [
        made(queues=[QueueInfo("one", 1, 0, 0, 0.0)]),
        ConnectionError("the database is away."),
        made(queues=[QueueInfo("two", 1, 0, 0, 0.0)]),
    ]
    asked = 0

    async def read() -> figures.Figures:
        nonlocal asked
        asked += 1
        found = answers[min(asked, len(answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    app = TopScreen(read, URL, 3600.0, lambda error: error)
    async with app.run_test(size=(80, 24)) as pilot:

        async def until(place: str, text: str) -> None:
            async with asyncio.timeout(LIMIT_S):
                while text not in str(app.query_one(place, Static).render()):
                    await pilot.pause(0.02)

        await until("#figures", "one")
        await pilot.press("r")
        await until("#problem", "the database is away.")
        await until("#figures", "one")
        await pilot.press("r")
        await until("#figures", "two")
        await pilot.press("p")
        await until("#problem", "paused")
        await pilot.press("q")
