"""The session of a run reaches whatever executes in it, and is found in no byte that is stored."""

from __future__ import annotations

import asyncio
import operator
import sys
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError, TransferError
from stategraph.governance import session as sessions
from stategraph.governance.session import NoSessionError, Session, SessionReference, TenantMismatchError
from stategraph.governance.session_signing import SessionReferenceError, SessionSigner, session_of_runs
from stategraph.graph.state import StateGraph
from stategraph.prebuilt.react_agent import create_react_agent
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.savers.urls import saver_at
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.clock import FakeClock
from stategraph.workers.agents.runtime import MultiProcessRuntime
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.worker import Worker, WorkerSettings
from tests.governance.sessions import CANARY, KEYS, SIGNER, context, graph, make_graph, restore, seen, whoami
from tests.workers.agents import agent

ASK = {"messages": [HumanMessage("hi", id="h1")]}
THREAD = {"configurable": {"thread_id": "t"}}
ROOT = Path(__file__).resolve().parents[2]


def asking() -> ScriptedChatModel:
    """A model that asks who it is and repeats the answer."""

    def answer(request: script.ModelRequest[Any]) -> script.Reply:
        last = request.messages[-1]
        if last.type == "tool":
            return script.reply(str(last.content))
        return script.reply("", script.call("whoami", {}, id="call_1"))

    return ScriptedChatModel(replies=script.Script([answer], repeat_last=True))


def said(run: Any) -> str:
    return str(run.get_run_messages()[-1].content)


def test_agents_and_their_tools_find_the_session_of_their_run() -> None:
    async def main() -> None:
        agents = [{"agent_id": "a", "model": asking(), "tools": [whoami]}]
        run = await create_run(run_id="r", agents=agents, session=Session(context()))
        await run.process_stream(ASK, THREAD)
        assert said(run) == "acme/ann in r"
        assert sessions.current_or_none() is None

    asyncio.run(main())


def test_subagents_find_it_as_well() -> None:
    async def main() -> None:
        def delegate(request: script.ModelRequest[Any]) -> script.Reply:
            last = request.messages[-1]
            if last.type == "tool":
                return script.reply(str(last.content))
            return script.reply(
                "", script.call("subagent", {"description": "ask", "subagent_type": "inner"}, id="call_0")
            )

        above = ScriptedChatModel(replies=script.Script([delegate], repeat_last=True))
        inner = {"agent_id": "inner", "model": asking(), "tools": [whoami]}
        outer = {
            "agent_id": "outer",
            "model": above,
            "subagent_configs": [{"type": "inner", "name": "Inner", "description": "Asks.", "agent_inputs": inner}],
        }
        run = await create_run(run_id="r", agents=[outer], session=Session(context()))
        await run.process_stream(ASK, THREAD)
        assert "acme/ann in r" in said(run)

    asyncio.run(main())


def test_graphs_of_any_context_schema_find_it_with_their_subgraphs() -> None:
    async def main() -> None:
        run = await create_run(run_id="r", graph=graph, session=Session(context()))
        await run.process_stream({"seen": ""}, {**THREAD, "context": {"region": "eu"}})
        assert run.graph.values["seen"] == "acme/ann in r"

    asyncio.run(main())


def test_prebuilt_agents_find_it() -> None:
    async def main() -> None:
        with pytest.warns(DeprecationWarning):
            prebuilt = create_react_agent(asking(), [whoami])
        run = await create_run(run_id="r", graph=prebuilt, session=Session(context()))
        await run.process_stream(ASK, THREAD)
        assert said(run) == "acme/ann in r"

    asyncio.run(main())


def test_callers_without_an_event_loop_enter_it_around_a_graph() -> None:
    with Session(context()).active_sync("r"):
        assert graph.invoke({"seen": ""}, context={"region": "eu"})["seen"] == "acme/ann in r"
    with pytest.raises(NoSessionError, match=r"create_run\(session="):
        sessions.current()


def test_nodes_side_by_side_in_threads_find_it() -> None:
    class Seen(TypedDict):
        seen: Annotated[list[str], operator.add]

    def look(_: Seen) -> dict[str, list[str]]:
        return {"seen": [seen()]}

    builder = StateGraph(Seen)
    for name in ("a", "b", "c"):
        builder.add_node(name, look)
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    made: Any = builder.compile()

    async def main() -> list[str]:
        async with Session(context()).active("r"):
            return list((await made.ainvoke({"seen": []}))["seen"])

    with Session(context()).active_sync("r"):
        assert made.invoke({"seen": []})["seen"] == ["acme/ann in r"] * 3
    assert asyncio.run(main()) == ["acme/ann in r"] * 3


def test_a_graph_that_is_given_the_context_itself_is_governed_by_it() -> None:
    class Holder:
        session = context("acme", "bob")

    assert sessions.context_of(context("acme", "bob")).principal.user_id == "bob"
    assert sessions.context_of(Holder()).principal.user_id == "bob"
    with pytest.raises(NoSessionError):
        sessions.context_of({"region": "eu"})
    with Session(context()).active_sync("r"):
        assert sessions.context_of({"region": "eu"}).principal.user_id == "ann"
        with pytest.raises(TenantMismatchError):
            sessions.context_of(context("globex"))


def test_a_run_inside_of_another_belongs_to_its_tree_and_to_its_tenant() -> None:
    @tool
    async def nested(tenant: str) -> str:
        """Start a run in a run."""
        run = await create_run(run_id="inner", graph=make_graph(), session=Session(context(tenant)))
        await run.process_stream({"seen": ""}, {"configurable": {"thread_id": "inner"}})
        return str(run.graph.values["seen"])

    async def main() -> None:
        async with Session(context()).active("outer"):
            assert await nested.ainvoke({"tenant": "acme"}) == "acme/ann in outer"
            with pytest.raises(TenantMismatchError, match="another tenant"):
                await nested.ainvoke({"tenant": "globex"})

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_another_process_makes_the_session_anew_from_a_reference(backend: str) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(90),
            MultiProcessRuntime(backend=backend, workers=1, allow=["tests.workers", "tests.governance"]) as runtime,
        ):
            reference = SessionReference(SIGNER.issue(context(), "root"), restore)
            run = await runtime.create_run(run_id="r", graph="tests.governance.sessions:graph", session=reference)
            await run.process_stream({"seen": ""}, THREAD)
            assert run.graph.values["seen"] == "acme/ann in root"
            with pytest.raises(TransferError):
                await runtime.create_run(run_id="s", agents=[agent("hi")], session=Session(context()))

    asyncio.run(main())


def test_nothing_of_a_session_is_stored(tmp_path: Path) -> None:
    async def main() -> None:
        async with AgentRuntime(checkpointer=f"sqlite:///{tmp_path / 'threads.db'}", thread_index=True) as runtime:
            agents = [{"agent_id": "a", "model": asking(), "tools": [whoami]}]
            config = {**THREAD, "durability": "sync", "context": context()}
            run = await runtime.create_run(run_id="r", agents=agents, session=Session(context()))
            events = [str(each) + each.to_sse() async for each in run.stream(ASK, config)]
            assert "acme/ann" in "".join(events)
            assert CANARY not in "".join(events)
        await submitted(tmp_path)

    asyncio.run(main())
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"threads.db", "runs.db"} <= set(found)
    assert any(b"acme/ann in" in data for data in found.values())
    assert [name for name, data in found.items() if CANARY.encode() in data] == []


async def submitted(tmp_path: Path) -> None:
    """Have a worker execute a run of a registry, whose session is made of a signed reference."""
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
    async with saver_at(f"sqlite:///{tmp_path / 'runs.db'}") as saver, asyncio.timeout(90):
        worker = Worker(
            registry,
            saver,
            WorkerSettings(allow=["tests.governance"], poll_s=0.01),
            session_of=session_of_runs(restore),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            target, reference = "tests.governance.sessions:graph", SIGNER.issue(context())
            good = await registry.submit(
                "t1", {"seen": ""}, target=target, context=reference, tenant="acme", run_id="good"
            )
            bad = await registry.submit("t2", {"seen": ""}, target=target, context=reference, tenant="globex")
            none = await registry.submit("t3", {"seen": ""}, target=target, tenant="acme")
            for run_id, status, error in (
                (good, "success", None),
                (bad, "error", "TenantMismatchError"),
                (none, "error", "SessionReferenceError"),
            ):
                while (info := await registry.get(run_id)).status not in ("success", "error"):  # noqa: ASYNC110  its row
                    await asyncio.sleep(0.01)
                assert info.status == status, info.error
                assert (info.error or "").partition(":")[0] == (error or "")
            state = await graph.copy({"checkpointer": saver}).aget_state({"configurable": {"thread_id": "t1"}})
            assert state.values["seen"] == "acme/ann in good"
            worker.stop()
    await registry.aclose()


def test_workers_of_the_command_line_make_sessions_by_a_function_of_the_host(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"

    async def main() -> None:
        registry = RunRegistry.from_url(url)
        run_id = await registry.submit(
            "t", {"seen": ""}, target="tests.governance.sessions:graph", context=SIGNER.issue(context()), tenant="acme"
        )
        command = ["--store", url, "--allow", "tests.governance", "--drain-at-eof"]
        path = "tests.governance.sessions:worker_session"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stategraph", "worker", *command, "--session-of", path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
        )
        async with asyncio.timeout(90):
            while (info := await registry.get(run_id)).status not in ("success", "error"):  # noqa: ASYNC110  its row
                await asyncio.sleep(0.02)
            assert process.stdin is not None
            process.stdin.close()
            assert await process.wait() == 0
        assert info.error is None
        async with saver_at(url) as saver:
            state = await graph.copy({"checkpointer": saver}).aget_state(THREAD)
        assert state.values["seen"] == f"acme/ann in {run_id}"
        await registry.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("value", [context(), context().principal, Session(context())])
def test_what_makes_a_session_has_no_stored_form(value: object) -> None:
    for serializer in (StrictSerializer(), JsonPlusSerializer()):
        with pytest.raises(TypeError):
            serializer.dumps_typed({"context": value})


def test_references_are_refused_when_changed_forged_or_old() -> None:
    clock = FakeClock()
    with environment.replacing(clock, None):
        signer = SessionSigner({"k2": b"y" * 32, **KEYS}, life_s=60)
        reference = signer.issue(context(), "root")
        assert signer.read(reference).root_run_id == "root"
        assert signer.read(SIGNER.issue(context())).user_id == "ann"
        body, _, signature = reference.partition(".")
        other, _, _ = signer.issue(context("globex")).partition(".")
        for forged in (f"{other}.{signature}", body, f"{body}.", "", "é.é", "bnVsbA.x", f"{body}.{signature}x"):
            with pytest.raises(SessionReferenceError):
                signer.read(forged)
        with pytest.raises(SessionReferenceError, match="not known"):
            SIGNER.read(reference)
        clock.advance(61)
        with pytest.raises(SessionReferenceError, match="expired"):
            signer.read(reference)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        SessionSigner({"k": b"short"})


def test_wrong_sessions_are_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="expected a RuntimeSessionContext"):
        Session("acme")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="reference"):
        SessionReference("", restore)

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="session"):
            await create_run(run_id="r", graph=graph, session=context())
        wrong = SessionReference("x", lambda _: "session")  # type: ignore[arg-type,return-value]
        with pytest.raises(ConfigurationError, match="expected a Session"):
            async with wrong.active("r"):
                pass

    asyncio.run(main())
    assert seen() == "nobody"
