"""Runs of the host's graphs in workers: found there by import path, the same to the host as in its own process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, TransferError
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.runtime import AgentRuntime
from stategraph.workers.agents.runtime import MultiProcessRuntime
from tests.workers import graphs

ASK = {"messages": [HumanMessage("hi", id="h1")]}
THREAD = {"configurable": {"thread_id": "t"}}
PATH = "tests.workers.graphs:GRAPH"


@pytest.fixture(params=["inline", "thread", "process", "nats"])
def backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "nats":
        return {"backend": "nats", "nats": request.getfixturevalue("nats_node")}
    return {"backend": request.param, "workers": 1}


PROCESS: dict[str, Any] = {"backend": "process", "workers": 1}
INLINE: dict[str, Any] = {"backend": "inline", "workers": 1}


def run(work: Callable[[Any], Awaitable[None]], backend: dict[str, Any] = PROCESS, **settings: Any) -> None:
    async def main() -> None:
        given = {"allow": ["tests.workers"], **backend, **settings}
        async with asyncio.timeout(90), MultiProcessRuntime(**given) as runtime:
            await work(runtime)

    asyncio.run(main())


def gist(events: list[Any]) -> list[Any]:
    seen: list[Any] = []
    for each in events:
        if each.event == "on_message_delta":
            seen.append((each.metadata["agentId"], each.data["delta"]["content"][0]["text"]))
        elif each.event in ("on_run_step", "on_run_step_closed"):
            seen.append((each.event, each.data["index"]))
        elif each.event == "on_run_end":
            seen.append((each.data["status"], [one["payload"] for one in each.data.get("interrupts", ())]))
    return seen


async def whole(runtime: AgentRuntime, graph: Any) -> list[Any]:
    """A run with its question, by two runs of one id."""
    first = await runtime.create_run(run_id="r", graph=graph)
    seen = gist([each async for each in first.stream(ASK, THREAD)])
    assert [each.payload for each in first.get_interrupts()] == [{"question": "Go on?"}]
    second = await runtime.create_run(run_id="r", graph=graph)
    await second.resume("yes", THREAD)
    assert [each.text for each in second.get_run_messages()] == ["Before.", "After."]
    assert second.graph.values["report"] == graphs.Report(answer="yes")
    return [*seen, *gist([each async for each in second.attach()])]


def test_a_graph_by_import_path_runs_as_in_the_hosts_process(backend: dict[str, Any]) -> None:
    async def here() -> list[Any]:
        async with AgentRuntime(checkpointer=in_memory_saver()) as runtime:
            return await whole(runtime, PATH)

    expected = asyncio.run(here())
    assert ("first", "Before.") in expected

    async def work(runtime: MultiProcessRuntime) -> None:
        assert await whole(runtime, PATH) == expected

    run(work, backend, checkpointer=in_memory_saver())


def test_a_graph_that_a_module_holds_is_sent_by_its_name() -> None:
    async def work(runtime: MultiProcessRuntime) -> None:
        one = await runtime.create_run(run_id="r", graph=graphs.GRAPH)
        await one.process_stream(ASK, THREAD)
        assert [each.text for each in (await one.graph.compiled.aget_state(THREAD)).values["messages"]] == [
            "hi",
            "Before.",
        ]

    run(work, checkpointer=in_memory_saver())


def test_a_graph_without_a_name_cannot_be_sent() -> None:
    async def work(runtime: MultiProcessRuntime) -> None:
        with pytest.raises(TransferError, match="The graph of a run cannot be sent to a worker"):
            await runtime.create_run(run_id="r", graph=graphs.halting())

    run(work, INLINE)


def test_an_abort_reaches_the_worker_and_the_thread_is_valid() -> None:
    async def work(runtime: MultiProcessRuntime) -> None:
        one = await runtime.create_run(run_id="r", graph="tests.workers.graphs:halting")
        task = one.start(ASK, THREAD)
        async for each in one.attach():
            if each.event == "on_message_delta":
                break
        one.abort("enough")
        with pytest.raises(AbortError):
            await task
        assert [each.text for each in one.get_run_messages()] == ["Before."]
        state = await one.graph.compiled.aget_state(THREAD)
        assert (state.next, [each.text for each in state.values["messages"]]) == ((), ["hi", "Before."])

    run(work, checkpointer=in_memory_saver())


def test_hooks_of_the_host_and_gates_reach_the_models_of_a_graph_in_a_worker(backend: dict[str, Any]) -> None:
    def review(about: Any) -> dict[str, Any] | None:
        return {"decision": "deny", "reason": "a name"} if "Ada" in about["text"] else None

    hooks = HookRegistry()
    hooks.register("AfterModel", review, hold="sentence")
    path = "tests.workers.graphs:guarded_graph"

    async def work(runtime: MultiProcessRuntime) -> None:
        one = await runtime.create_run(run_id="r", graph=path, hooks=hooks)
        events = [each async for each in one.stream(ASK, THREAD)]
        assert [text for _, text in (each for each in gist(events) if each[0] == "guarded")] == [
            "It rains. ",
            "Blocked: a name",
        ]
        assert one.get_halt_reason() == "answer_denied"
        assert [each.text for each in one.get_run_messages()] == ["It rains. Blocked: a name"]
        state = await one.graph.compiled.aget_state(THREAD)
        assert [each.text for each in state.values["messages"]] == ["hi", "It rains. Blocked: a name"]
        two = await runtime.create_run(run_id="r2", graph=path, model_gates=[graphs.SHOUTING])
        await two.process_stream({"messages": [HumanMessage("and")]}, THREAD)
        assert [each.text for each in two.get_run_messages()] == ["It rains. I am Ada.!"]

    run(work, backend, checkpointer=in_memory_saver())
