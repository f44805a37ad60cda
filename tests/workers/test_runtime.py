"""Runs in workers: what a host sees and does is what it sees and does of a run in its own process."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.store.memory import InMemoryStore

from stategraph.agent.llm.models import Models
from stategraph.agent.tools.tool_sources import FunctionTools
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import (
    AbortError,
    ConfigurationError,
    HandlerError,
    TransferError,
    UnknownInterruptError,
    WorkerError,
)
from stategraph.run.abort import AbortController
from stategraph.run.events.run_log import RunEvent
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime
from stategraph.workers.agents.runtime import MultiProcessRuntime
from tests.workers import agents, jobs
from tests.workers.agents import HOST_TOOL, agent

Settings: TypeAlias = dict[str, Any]

ASK = {"messages": [HumanMessage("hi", id="h1")]}
THREAD = {"configurable": {"thread_id": "t"}}


@pytest.fixture(params=["inline", "thread", "process", "nats"])
def backend(request: pytest.FixtureRequest) -> Settings:
    """The backends: with one worker of the test's own, or on a node that other tests have too."""
    if request.param == "nats":
        return {"backend": "nats", "nats": request.getfixturevalue("nats_node")}
    return {"backend": request.param, "workers": 1}


PROCESS: Settings = {"backend": "process", "workers": 1}
INLINE: Settings = {"backend": "inline", "workers": 1}


def run(work: Callable[[Any], Awaitable[None]], backend: Settings = PROCESS, **settings: Any) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(90),
            MultiProcessRuntime(**{"allow": ["tests.workers"], **backend, **settings}) as runtime,
        ):
            await work(runtime)

    asyncio.run(main())


def gist(events: list[RunEvent]) -> list[Any]:
    """Numbers, names and places of events, without ids and times that differ in every run."""

    def steady(value: Any) -> Any:
        match value:
            case dict():
                return {key: steady(each) for key, each in value.items() if not key.endswith(("_at", "elapsedSeconds"))}
            case list() | tuple():
                return [steady(each) for each in value]
            case str():
                text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\(\d+\.\d+s\)", "...", value)
                return re.sub(r"(step|run|msg|lc_run)-{0,2}_?[\w-]{8,}", r"\1_...", text)
            case AIMessage() | ToolMessage() | HumanMessage():
                return type(value).__name__, steady(value.content), steady(getattr(value, "tool_calls", []))
        return value

    return [(event.seq, event.event, steady(event.data), steady(dict(event.metadata or {}))) for event in events]


async def all_of(stream: Any) -> list[RunEvent]:
    return [event async for event in stream]


def test_the_methods_of_a_run_in_a_worker_are_those_of_a_run() -> None:
    async def work(runtime: MultiProcessRuntime) -> None:
        there = await runtime.create_run(run_id="r", agents=[agent("x")])
        assert isinstance(there, Run)
        here = await AgentRuntime().create_run(run_id="r", agents=[agent("x")])
        assert vars(here).keys() - vars(there).keys() == {
            "_host",
            "_hooks",
            "_asks",
            "_gates",
            "_meter",
            "_model_gates",
            "_token_counter",
            "_last",
            "_settle",
        }
        own = {name for cls in type(there).__mro__[:-1] for name, each in vars(cls).items() if callable(each)}
        assert {"process_stream", "resume", "stream", "attach", "start", "abort", "ended"} <= own

    run(work, INLINE)


def test_events_have_the_numbers_order_and_contents_that_they_have_in_one_process(backend: Settings) -> None:
    # One call at a time: tools of one answer run side by side, and their events come in either order.
    replies = ["Let me see.", ("weather", {"city": "Rome"})], ["And again.", ("fail", {})], "It is sunny."
    tools = [agents.weather, agents.fail]

    async def work(runtime: Any) -> list[Any]:
        created = await runtime.create_run(run_id="r", agents=[agent(*replies, tools=tools)])
        events = await all_of(created.stream(ASK, THREAD))
        assert await all_of(created.attach()) == events
        assert await all_of(runtime.attach("r", 5)) == events[5:]
        return [gist(events), [gist_of(each) for each in created.get_run_messages()]]

    def gist_of(message: Any) -> Any:
        return type(message).__name__, message.content, getattr(message, "usage_metadata", None)

    async def here() -> list[Any]:
        async with AgentRuntime() as runtime:
            return await work(runtime)

    seen: list[Any] = []

    async def there(runtime: Any) -> None:
        seen.extend(await work(runtime))

    run(there, backend)
    assert seen == asyncio.run(here())
    assert len(seen[0]) > 15


@pytest.mark.parametrize("there", [INLINE, PROCESS])
def test_limits_and_usage_are_those_of_one_process_also_over_a_question(there: Settings) -> None:
    replies = ["", ("weather", {"city": "Rome"})], ["", ("weather", {"city": "Bonn"})], "Sunny."
    prices = {"models": [{"model": "scripted", "input": 1000, "output": 1000}], "known": False}
    limits = {"model_calls": 1, "cost": 50, "on_limit": "ask"}

    async def work(runtime: MultiProcessRuntime) -> None:
        for run_id, answer in (("goes on", {"type": "raise", "to": 5}), ("ends", {"type": "end"})):
            config = {"configurable": {"thread_id": run_id}}
            made = {"agents": [agent(*replies, tools=[agents.weather])], "limits": limits, "prices": prices}
            created = await runtime.create_run(run_id=run_id, **made)
            first = await all_of(created.stream(ASK, config))
            assert (created.usage.total.model_calls, created.usage.total.tool_calls) == (1, 1)
            (asked,) = created.get_interrupts()
            assert asked.payload == {
                "type": "limit_reached",
                "limit": "model_calls",
                "allowed": 1,
                "used": 1,
                "agentId": "a",
            }
            await created.resume(answer, config)
            end = (await all_of(created.attach(first[-1].seq)))[-1].data
            total = created.usage.total
            assert end["usage"]["totalTokens"] == total.total_tokens
            assert created.usage.by_agent == {"a": total}
            if run_id == "ends":
                assert (total.model_calls, created.get_halt_reason()) == (1, "model_calls_limit")
                assert (end["status"], end["reason"]) == ("cancelled", "model_calls_limit")
            else:
                assert (total.model_calls, total.input_tokens, total.output_tokens) == (3, 30, 6)
                assert (str(total.cost), created.get_halt_reason()) == ("0.036", None)

    run(work, there)


def test_a_handler_is_waited_for_before_its_agent_goes_on(backend: Settings) -> None:
    order: list[str] = []

    async def slow(event: str, data: Any, metadata: Any, graph: Any) -> None:
        order.append(f"{event} begins")
        await asyncio.sleep(0.01)
        order.append(f"{event} ends")

    async def work(runtime: Any) -> None:
        handlers = dict.fromkeys(("on_run_step", "on_chat_model_end", "on_run_step_closed"), slow)
        created = await runtime.create_run(run_id="r", agents=[agent("Hello.")], custom_handlers=handlers)
        await created.process_stream(ASK)
        assert {each.event: each.calls for each in created.statistics()} == dict.fromkeys(handlers, 1)

    run(work, backend)
    names = ("on_run_step", "on_chat_model_end", "on_run_step_closed")
    assert order == [f"{name} {what}" for name in names for what in ("begins", "ends")]


def test_a_handler_that_fails_fails_the_run_with_its_own_error(backend: Settings) -> None:
    raised = RuntimeError("full disk")

    def save_answer(event: str, data: Any, metadata: Any, graph: Any) -> None:
        raise raised

    async def work(runtime: Any) -> None:
        handlers = {"on_message_delta": save_answer}
        created = await runtime.create_run(run_id="r", agents=[agent("Hello.")], custom_handlers=handlers)
        with pytest.raises(
            HandlerError, match=r"save_answer.*'on_message_delta' failed: RuntimeError: full disk"
        ) as caught:
            await created.process_stream(ASK)
        assert caught.value.__cause__ is raised
        *_, closed, last = await all_of(created.attach())
        assert (closed.event, closed.data["status"]) == ("on_run_step_closed", "failed")
        assert (last.data["status"], last.data["error"]) == ("failed", {"type": "HandlerError"})
        assert last.data["usage"]["modelCalls"] == 1

    run(work, backend)


def test_handlers_may_be_registered_while_the_run_goes_on(backend: Settings) -> None:
    heard: list[str] = []

    def late(event: str, data: Any, metadata: Any, graph: Any) -> None:
        heard.append(event)

    def first(event: str, data: Any, metadata: Any, graph: Any) -> None:
        graph.handler_registry.register("on_run_step_closed", late)
        assert graph.get_run_step(data["id"])["status"] == "in_progress"

    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[agent("Hello.")], custom_handlers={"on_run_step": first})
        await created.process_stream(ASK)

    run(work, backend)
    assert heard == ["on_run_step_closed"]


def test_tools_of_the_host_are_executed_by_the_host(backend: Settings) -> None:
    async def look_up(event: str, data: Any, metadata: Any, graph: Any) -> None:
        (call,) = data["toolCalls"]
        assert not data["signal"].aborted and graph.tool_call_step_ids[call["id"]] == call["stepId"]

        async def later() -> None:
            result = {"toolCallId": call["id"], "content": "found", "artifact": {"n": 1}}
            data.on_result(result)
            await asyncio.sleep(0.01)
            data.resolve([result])

        waiting.append(asyncio.ensure_future(later()))

    waiting: list[Any] = []

    async def work(runtime: Any) -> None:
        created = await runtime.create_run(
            run_id="r",
            agents=[agent(["", ("lookup", {})], "Done.", tool_definitions=[HOST_TOOL])],
            custom_handlers={"on_tool_execute": look_up},
        )
        await created.process_stream(ASK)
        answers = [each for each in created.get_run_messages() if isinstance(each, ToolMessage)]
        assert [(each.content, each.artifact) for each in answers] == [("found", {"n": 1})]

    run(work, backend)


def test_an_abort_ends_the_run_in_the_worker_and_leaves_the_thread_usable(backend: Settings) -> None:
    async def work(runtime: Any) -> None:
        tools = [agents.wait]
        first = await runtime.create_run(run_id="one", agents=[agent(["Well,", ("wait", {})], tools=tools)])
        controller = AbortController()
        work = first.start(ASK, {**THREAD, "signal": controller.signal})
        async for event in first.attach():
            if event.event == "on_tool_start":
                break
        controller.abort("the person left")
        with pytest.raises(AbortError, match="the person left"):
            await work
        assert (await all_of(first.attach()))[-1].data["status"] == "cancelled"
        assert [type(each) for each in first.get_run_messages()] == [AIMessage, ToolMessage]

        second = await runtime.create_run(run_id="two", agents=[agent("", "Back again.", tools=tools)])
        await second.process_stream({"messages": [HumanMessage("more")]}, THREAD)
        assert second.get_run_messages()[-1].content == "Back again."

    run(work, backend, checkpointer=in_memory_saver())


def test_closing_the_runtime_ends_its_runs(backend: Settings) -> None:
    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[agent(["", ("wait", {})], tools=[agents.wait])])
        going = runtime.start(created, ASK)
        async for event in created.attach():
            if event.event == "on_tool_start":
                break
        await runtime.aclose()
        with pytest.raises(AbortError, match="closed"):
            await going

    run(work, backend)


def test_the_store_is_closed_also_if_closing_the_workers_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def given_up() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        async with asyncio.timeout(90):
            runtime = await MultiProcessRuntime(store=f"sqlite:///{tmp_path / 'threads.db'}", **INLINE).__aenter__()
            connection, pool = runtime._own_saver.conn, runtime.pool
            with monkeypatch.context() as patch, pytest.raises(asyncio.CancelledError):
                patch.setattr(pool, "aclose", given_up)
                await runtime.aclose()
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")
            await pool.aclose()

    asyncio.run(main())


def test_a_run_that_goes_on_is_not_replaced_by_another_of_its_id() -> None:
    async def work(runtime: MultiProcessRuntime) -> None:
        settings = {"run_id": "r", "agents": [agent(["", ("wait", {})], tools=[agents.wait])]}
        created = await runtime.create_run(**settings)  # type: ignore[arg-type]
        going = runtime.start(created, ASK)
        with pytest.raises(ConfigurationError, match="Run 'r' is still running: await it, abort it, or use another"):
            await runtime.create_run(**settings)  # type: ignore[arg-type]
        graph = {"type": "standard", "agents": settings["agents"]}
        with pytest.raises(ConfigurationError, match="Run 'r' is still running: await it, abort it, or use another"):
            await runtime.create({"run_id": "r", "graph_config": graph})
        assert runtime.get_run("r") is created
        created.abort()
        with pytest.raises(AbortError):
            await going
        assert await runtime.create({"run_id": "r", "graph_config": graph}) is runtime.get_run("r")

    run(work, INLINE)


def test_a_run_that_waits_is_answered_in_another_worker(backend: Settings, tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    inputs = agent(["Hm.", ("ask", {"question": "How?"})], "Thanks.", tools=[agents.ask])

    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[inputs], human_in_the_loop={"enabled": True})
        await created.process_stream(ASK, THREAD)
        waits = created.get_interrupt()
        assert waits is not None and waits.payload["question"]["question"] == "How?"
        events = await all_of(created.attach())
        with pytest.raises(UnknownInterruptError):
            await created.resume({"no-such-interrupt": 1, "another": 2}, {"configurable": {"thread_id": "other"}})
        await created.resume({"answer": "slowly"}, THREAD)
        assert created.get_interrupts() == []
        steps = [each for each in await all_of(created.attach()) if each.event == "on_run_step"]
        assert [each.data["index"] for each in steps] == list(range(len(steps)))
        assert "They said slowly" in str(created.get_run_messages()[1].content)
        assert len(await all_of(created.attach())) > len(events)

    another = {"max_runs_per_worker": 1} if "workers" in backend else {}
    run(work, backend, store=f"sqlite:///{tmp_path}/runs.db", **another)


def test_a_run_that_waits_is_answered_by_another_runtime(tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    inputs = agent(["Hm.", ("ask", {"question": "How?"})], "Thanks.", tools=[agents.ask])
    settings = {"run_id": "r", "agents": [inputs], "human_in_the_loop": {"enabled": True}}

    async def first(runtime: Any) -> None:
        created = await runtime.create_run(**settings)
        await created.process_stream(ASK, THREAD)

    async def second(runtime: Any) -> None:
        created = await runtime.create_run(**settings, return_content=True)
        await created.resume({"answer": "well"}, THREAD)
        assert created.get_run_messages()[-1].content == "Thanks."

    for part in (first, second):
        run(part, store=f"sqlite:///{tmp_path}/runs.db")


def test_hooks_of_the_host_decide_about_tools_in_the_worker(backend: Settings) -> None:
    happened: list[Any] = []

    def decide(about: Any) -> dict[str, Any]:
        happened.append((about["toolName"], about["toolInput"]))
        return {"decision": "deny", "reason": "not today"}

    def after_failure(about: Any) -> None:
        happened.append((type(about["exception"]).__name__, about["error"]))

    hooks = HookRegistry()
    hooks.register("PreToolUse", decide)
    hooks.register("StopFailure", after_failure)

    async def work(runtime: Any) -> None:
        tools = [agents.weather]
        created = await runtime.create_run(run_id="r", agents=[agent(["", ("weather", {"city": "Rome"})], tools=tools)])
        with pytest.raises(IndexError):  # the model has no second answer
            await created.process_stream(ASK)
        assert "not today" in str(created.get_run_messages()[1].content)

    run(work, backend, hooks=hooks)
    assert happened == [("weather", {"city": "Rome"}), ("IndexError", "list index out of range")]


def test_hooks_of_the_host_review_what_a_model_in_the_worker_says(backend: Settings) -> None:
    def review(about: Any) -> dict[str, Any] | None:
        assert about["partial"] and about["agentId"]
        return {"updated_output": "Nobody.", "details": {"score": 1}} if "Ada" in about["text"] else None

    hooks = HookRegistry()
    hooks.register("BeforeModel", lambda about: {"additional_context": f"{len(about['messages'])} sent."})
    hooks.register("AfterModel", review, hold="sentence")

    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[agent("It rains. I am Ada.")])
        events = await all_of(created.stream(ASK, THREAD))
        told = [event.data["delta"]["content"][0]["text"] for event in events if event.event == "on_message_delta"]
        assert told == ["It rains. ", "Nobody."]
        assert created.get_run_messages()[-1].content == "It rains. Nobody."
        judged = [event.data for event in events if event.event == "on_guardrail"]
        assert [each["hook"] for each in judged] == ["BeforeModel", "AfterModel"]
        assert judged[1]["details"] == {"score": 1}

    run(work, backend, hooks=hooks)


def test_the_host_reads_why_its_hook_refused_a_prompt_in_the_worker(backend: Settings) -> None:
    hooks = HookRegistry()
    hooks.register("UserPromptSubmit", lambda _: {"decision": "deny", "reason": "No medical advice."})

    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[agent("Never.")])
        await created.process_stream(ASK, THREAD)
        assert (created.get_halt_reason(), created.get_halt_message()) == ("prompt_denied", "No medical advice.")

    run(work, backend, hooks=hooks)


def test_subagents_work_in_the_worker_and_wait_for_the_host(backend: Settings, tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    helper = {**agent(["", ("ask", {"question": "How?"})], "Sub."), "agent_id": "h", "tools": [agents.ask]}
    configs = [{"type": "helper", "description": "Helps.", "agent_inputs": helper}]
    call = ["", ("subagent", {"subagent_type": "helper", "description": "Help."})]
    settings: Any = {"run_id": "r", "agents": [agent(call, "Done.", subagent_configs=configs)]}

    async def first(runtime: Any) -> None:
        created = await runtime.create_run(**settings)
        events = await all_of(created.stream(ASK, THREAD))
        phases = [event.data["phase"] for event in events if event.event == "on_subagent_update"]
        assert phases[:2] == ["start", "run_step"]
        assert len(created.get_interrupts()) == 1

    async def second(runtime: Any) -> None:
        created = await runtime.create_run(**settings)
        await created.resume({"answer": "well"}, THREAD)
        assert [each.content for each in created.get_run_messages()][1:] == ["Sub.", "Done."]
        events = [event async for event in created.attach()]
        phases = [event.data["phase"] for event in events if event.event == "on_subagent_update"]
        assert (phases[0], phases[-1]) == ("run_step_completed", "stop")

    for part in (first, second):
        run(part, backend, store=f"sqlite:///{tmp_path}/runs.db")


def test_a_worker_that_dies_is_named_with_its_run_whose_steps_are_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def work(runtime: Any) -> None:
        tools = [agents.die, agents.weather]
        first = await runtime.create_run(run_id="fatal", agents=[agent(["Well,", ("die", {})], tools=tools)])
        with pytest.raises(WorkerError, match=r"'process-1' \(process \d+\) was killed by signal 9 .* job 'fatal/1/"):
            await first.process_stream(ASK, {**THREAD, "durability": "sync"})
        *_, closed, last = await all_of(first.attach())
        assert (closed.event, closed.data["type"], closed.data["status"]) == (
            "on_run_step_closed",
            "tool_calls",
            "failed",
        )
        assert last.data == {"status": "failed", "error": {"type": "WorkerError"}}
        health = await runtime.health()
        assert health.restarts == 1

        second = await runtime.create_run(run_id="two", agents=[agent("", "Alive.", tools=tools)])
        await second.process_stream({"messages": [HumanMessage("more")]}, THREAD)
        assert second.get_run_messages()[-1].content == "Alive."

    with caplog.at_level(logging.CRITICAL):
        run(work, checkpointer=in_memory_saver())


def test_runs_share_workers_and_go_on_side_by_side() -> None:
    async def work(runtime: Any) -> None:
        await runtime.create_run(run_id="first", agents=[agent("x")])  # the workers start
        while (await runtime.health()).workers < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        several = [
            await runtime.create_run(
                run_id=f"r{n}", agents=[agent(["", ("process", {})], f"Answer {n}.", tools=[agents.process])]
            )
            for n in range(6)
        ]
        await asyncio.gather(*(each.process_stream(ASK) for each in several))
        assert [each.get_run_messages()[-1].content for each in several] == [f"Answer {n}." for n in range(6)]
        pids = {str(each.get_run_messages()[1].content) for each in several}
        assert len(pids) == 2

    run(work, workers=2, max_concurrency_per_worker=3)


def test_context_variables_that_were_chosen_reach_the_tools(backend: Settings) -> None:
    async def work(runtime: Any) -> None:
        jobs.tenant.set("acme")
        created = await runtime.create_run(run_id="r", agents=[agent(["", ("who", {})], "Done.", tools=[agents.who])])
        await created.process_stream(ASK)
        assert created.get_run_messages()[1].content == "acme"

    run(work, backend, context_vars=["tests.workers.jobs:tenant"])


def test_content_goes_on_where_the_execution_before_ended(backend: Settings) -> None:
    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[agent("One.", "Two.")], skip_cleanup=True)
        await created.process_stream(ASK)
        history = {"messages": [*ASK["messages"], *created.get_run_messages(), HumanMessage("more")]}
        await created.process_stream(history, None, {"keep_content": True})
        assert [step["index"] for step in created.graph.get_run_steps()] == [0, 1]
        assert {step["status"] for step in created.graph.get_run_steps()} == {"completed"}

    run(work, backend)


def test_code_and_values_that_cannot_be_sent_are_refused_in_a_sentence() -> None:
    @tool
    def inner(city: str) -> str:
        """A tool inside a function."""
        return city

    refused: list[tuple[dict[str, Any], str]] = [
        (
            {"agents": [agent("x", tools=[inner])]},
            r"Agent 'a': tools\[0\] cannot be sent to a worker: 'inner' is defined",
        ),
        (
            {"agents": [agent("x")], "token_counter": lambda message: 1},
            "Token_counter cannot be sent .* it is a lambda",
        ),
        (
            {"agents": [{"agent_id": "a", "model": agents.scripted(["x"])}]},
            r"Agent 'a': model cannot .* type ScriptedChatModel has no .*imported\('package.module:function'",
        ),
    ]

    async def work(runtime: Any) -> None:
        for settings, why in refused:
            with pytest.raises(TransferError, match=why):
                await runtime.create_run(run_id="r", **settings)
        created = await runtime.create_run(run_id="r", agents=[agent("x")], token_counter=agents.count)
        with pytest.raises(
            TransferError, match=r"Run 'r' cannot be sent .* type object at \['run_config'\]\['callbacks'\]\[0\]"
        ):
            await created.process_stream(ASK, {"callbacks": [object()]})
        await created.process_stream(ASK)

    run(work, {"backend": "thread", "workers": 1})


def test_settings_that_make_no_sense_are_refused_in_a_sentence() -> None:
    with pytest.raises(
        ConfigurationError, match="'backend' is 'ray', expected 'inline', 'thread', 'process' or 'nats'"
    ):
        MultiProcessRuntime(backend="ray")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="workers make their models by themselves"):
        MultiProcessRuntime(models=Models())
    with pytest.raises(ConfigurationError, match=r"'mcp_servers' was given, and sessions .* handler of 'on_tool_exec"):
        MultiProcessRuntime(mcp_servers={"files": {"command": "files-server"}})
    with pytest.raises(ConfigurationError, match=r"'tool_sources' was given, and tools .* that have an import path"):
        MultiProcessRuntime(tool_sources=[FunctionTools({"mine": [agents.weather]})])
    with pytest.raises(ConfigurationError, match="Both 'store' and 'checkpointer'"):
        MultiProcessRuntime(store="sqlite:///x.db", checkpointer=in_memory_saver())

    with pytest.raises(ConfigurationError, match=r"'store' is a value of type InMemoryStore; .* 'sqlite:///runs.db'"):
        MultiProcessRuntime(store=InMemoryStore())  # type: ignore[arg-type]
    for setting in ("allow", "pass_environment", "preload", "context_vars"):
        with pytest.raises(ConfigurationError, match=rf"'{setting}' is 'KEY', a text, where a list .* \['KEY'\]"):
            MultiProcessRuntime(**{setting: "KEY"})  # type: ignore[arg-type]

    async def opened() -> None:
        async with MultiProcessRuntime(store="mysql://x", backend="inline"):
            raise AssertionError("it was opened")

    with pytest.raises(ConfigurationError, match=r"such as sqlite:///runs.db or postgresql://\.\.\.; found 'mysql'"):
        asyncio.run(opened())
