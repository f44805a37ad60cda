"""What a run is made with and what it passes on: one setting at a time, on models that follow a script."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import ToolException
from langgraph.store.memory import InMemoryStore

from stategraph.agent.facts import ContextUsed, Place
from stategraph.agent.messages.compaction import FadingTier
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError, UnknownInterruptError
from stategraph.run.abort import AbortController
from stategraph.run.config import CompileOptions, GraphConfig, RunConfig
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.long_term import LongTermMemory, MemoryChange, remember
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.run.runtime_settings import RunKeywords
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

THREAD: Any = {"configurable": {"thread_id": "t"}}
HI: Any = {"messages": [HumanMessage("hi", id="m0")]}


def agent(*replies: Any, name: str = "a", **settings: Any) -> dict[str, Any]:
    return {"agent_id": name, "model": ScriptedChatModel(replies=list(replies)), **settings}


async def make(*agents: Any, run_id: str = "r", **settings: Any) -> Run:
    return await create_run(run_id=run_id, agents=list(agents) or [agent("Fine.")], **settings)


# -- making --------------------------------------------------------------


def test_settings_become_the_configuration_of_a_run() -> None:
    signal, saver, store = AbortController().signal, in_memory_saver(), InMemoryStore()
    x, y = (AgentInputs.of(agent(name=name)) for name in "xy")
    one = RunKeywords(run_id="r", agents=[x], signal=signal, checkpointer=saver, store=store, return_content=True)
    described = RunConfig(
        run_id="r",
        graph_config=GraphConfig(
            type="standard",
            agents=(x,),
            edges=(),
            signal=signal,
            compile_options=CompileOptions(checkpointer=saver, store=store),
        ),
        return_content=True,
    )
    assert one.config() == described
    assert one.config().model_fields_set == described.model_fields_set
    edge = GraphEdge(from_="x", to="y")
    kinds = [
        RunKeywords(run_id="r", agents=agents, edges=edges).config().graph_config.type
        for agents, edges in (([x, y], ()), ([x], [edge]), ([x], ()))
    ]
    assert kinds == ["multi-agent", "multi-agent", "standard"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"agents": "a"}, "'agents' is 'a', expected a list"),
        ({"agents": {}}, "'agents' is empty, expected a list"),
        ({"agents": [], "edges": 7}, "'edges' is 7, expected a list"),
    ],
)
def test_agents_and_edges_are_lists(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RunKeywords(run_id="r", **given)


@pytest.mark.anyio
async def test_a_run_has_the_handlers_store_and_breakpoints_that_it_was_given() -> None:
    store, registry = InMemoryStore(), EventHandlerRegistry()
    graph = {
        "agents": [agent("Fine.")],
        "compile_options": {"checkpointer": in_memory_saver(), "store": store, "interrupt_before": ["done"]},
    }
    run = await Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": registry, "return_content": True})
    assert run.handler_registry is registry
    assert run.graph.compiled.store is store
    assert run.graph.compiled.interrupt_before_nodes == ["done"]
    assert run.return_content
    assert await run.process_stream(HI, THREAD) == []
    assert run.get_interrupt() is None


@pytest.mark.anyio
async def test_the_one_call_passes_on_what_it_is_given() -> None:
    store, saver, heard = InMemoryStore(), in_memory_saver(), EventHandlerRegistry()
    run = await make(store=store, checkpointer=saver, custom_handlers=heard)
    assert run.graph.compiled.store is store
    assert run.graph.compiled.checkpointer is saver
    assert run.handler_registry is heard


@pytest.mark.anyio
async def test_what_the_host_knows_of_tokens_is_known_by_the_ids_of_the_messages() -> None:
    counted: list[str] = []

    def counter(message: Any) -> int:
        counted.append(str(message.content))
        return 7

    run = await make(token_counter=counter, index_token_count_map={0: 3, 2: 5, 9: 1})
    asked = [HumanMessage("a", id="m0"), AIMessage("b", id="m1"), HumanMessage("c", id="m2")]
    await run.process_stream({"messages": asked})
    assert run.token_counts == {"m0": 3, "m2": 5}
    assert "a" not in counted


@pytest.mark.anyio
async def test_a_run_that_asks_people_keeps_its_thread_although_no_saver_was_given() -> None:
    assert (await make(human_in_the_loop={"enabled": True})).graph.compiled.checkpointer
    assert not (await make()).graph.compiled.checkpointer


# -- running -------------------------------------------------------------


@pytest.mark.anyio
async def test_content_is_returned_where_it_was_asked_for() -> None:
    assert await (await make(return_content=True)).process_stream(HI) == [{"type": "text", "text": "Fine."}]
    run = await make()
    assert await run.process_stream(HI) is None
    assert [message.content for message in run.get_run_messages()] == ["Fine."]
    assert run.graph.get_content_parts() == [{"type": "text", "text": "Fine."}]
    assert run.get_halt_reason() is None


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["graph", "config", "run"])
async def test_every_signal_stops_a_run(way: str) -> None:
    controller = AbortController()
    run = await make(**({"signal": controller.signal} if way == "graph" else {}))
    if way == "run":
        run.abort("enough")
    else:
        controller.abort("enough")
    with pytest.raises(AbortError, match="enough"):
        await run.process_stream(HI, {"signal": controller.signal} if way == "config" else None)
    assert run.graph.agents[0].routes[0].model.requests == []  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_the_host_s_tools_are_told_when_a_run_fails() -> None:
    run = await make(agent(ValueError("no")))
    with pytest.raises(ValueError, match="no"):
        await run.process_stream(HI)
    assert run._host.signal.aborted
    fine = await make()
    await fine.process_stream(HI)
    assert not fine._host.signal.aborted


@pytest.mark.anyio
async def test_counts_of_the_input_are_known_by_the_ids_of_its_messages() -> None:
    run = await make(index_token_count_map={0: 7, 5: 9})
    await run.process_stream({"messages": [HumanMessage("hi", id="m0"), HumanMessage("ho", id="m1")]})
    assert run.token_counts == {"m0": 7}
    run.restore({"m9": 3})
    assert run.token_counts == {"m9": 3}


@pytest.mark.anyio
async def test_nothing_waits_in_a_run_that_was_not_executed_or_is_over() -> None:
    run = await make(checkpointer=in_memory_saver())
    assert (run.get_interrupts(), run.get_halt_reason(), run.get_discovered_tools()) == ([], None, ())
    await run.process_stream(HI, THREAD)
    with pytest.raises(UnknownInterruptError, match="nothing waits"):
        await run.resume("yes", THREAD)


@pytest.mark.anyio
async def test_what_the_next_run_of_a_conversation_should_know_is_what_was_told_last() -> None:
    run = await make(calibration_ratio=1.5, fading_tiers={"b": {"rung": 2}})
    assert run.get_calibration_ratio() == 1.5
    assert run.get_resolved_instruction_overhead() is None
    assert run.get_fading_tiers() == {"b": {"rung": 2, "masking": False}}
    at = Place("a", "a", "n", {})
    await run._listener.hear(ContextUsed(at, {"calibrationRatio": 2.0}, 77, FadingTier(1, True)))
    assert run.get_calibration_ratio() == 2.0
    assert run.get_resolved_instruction_overhead() == 77
    assert run.get_fading_tiers() == {"b": {"rung": 2, "masking": False}, "a": {"rung": 1, "masking": True}}
    other = Place("z", "z", "n", {})
    await run._listener.hear(ContextUsed(other, {"calibrationRatio": 9.0}, 1, FadingTier()))
    assert run.get_calibration_ratio() == 2.0
    assert "z" not in run.get_fading_tiers()


@pytest.mark.anyio
async def test_steps_are_let_go_at_the_end_unless_they_are_to_stay() -> None:
    kept = []
    for skip in (False, True):
        run = await make(agent("One.", "Two."), skip_cleanup=skip)
        await run.process_stream(HI)
        kept.append(len(list(run.graph.tracker.steps)))
    assert kept[0] == 0 < kept[1]


@pytest.mark.anyio
@pytest.mark.parametrize(("durability", "least"), [(None, 1), ("exit", 1), ("sync", 3)])
async def test_states_are_stored_when_the_host_says(durability: str | None, least: int) -> None:
    run = await make(checkpointer=in_memory_saver())
    await run.process_stream(HI, {**THREAD, **({"durability": durability} if durability else {})})
    states = [state async for state in run.graph.compiled.aget_state_history(THREAD)]
    assert len(states) == 1 if least == 1 else len(states) >= least


@pytest.mark.anyio
@pytest.mark.parametrize("number", ["1", True, 1.0, None])
async def test_a_run_is_watched_from_a_number(number: Any) -> None:
    run = await make()
    with pytest.raises(ConfigurationError, match=r"'after_seq' is .*; expected the number of an event"):
        run.attach(number)
    silent = await make(event_log_size=0)
    with pytest.raises(ConfigurationError, match="Run 'r' keeps no events to read"):
        silent.attach(1)


@pytest.mark.anyio
async def test_a_stream_of_events_ends_with_how_the_run_ended() -> None:
    run = await make()
    events = [event async for event in run.stream(HI)]
    assert events[-1].event == GraphEvents.ON_RUN_END
    assert events[-1].data["status"] == "completed"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    watched = [event async for event in run.attach(events[-3].seq)]
    assert [event.seq for event in watched] == [event.seq for event in events[-2:]]


# -- a runtime -----------------------------------------------------------


@pytest.mark.anyio
async def test_a_runtime_keeps_so_many_ended_runs_and_all_that_go_on() -> None:
    gate = asyncio.Event()

    async def wait(event: str, *about: Any) -> None:
        await gate.wait()

    async with AgentRuntime(runs_kept=2) as runtime:
        going = await runtime.create_run(run_id="going", agents=[agent("x")], custom_handlers={"on_run_step": wait})
        task = runtime.start(going, HI)
        for number in range(4):
            await runtime.create_run(run_id=f"r{number}", agents=[agent("x")])
        assert runtime.get_run("going") is going
        known = [runtime.get_run(f"r{number}") is not None for number in range(4)]
        assert known == [False, False, False, True]
        with pytest.raises(ConfigurationError, match="Run 'going' is still running: await it, abort it"):
            await runtime.create_run(run_id="going", agents=[agent("x")])
        assert not runtime.abort("r3")
        assert not runtime.abort("nobody")
        gate.set()
        await task
        assert runtime.get_run("nobody") is None
    with pytest.raises(ConfigurationError, match="The runtime is closed"):
        await runtime.create_run(run_id="late", agents=[agent("x")])


@pytest.mark.anyio
async def test_handlers_of_the_runtime_come_first_and_settings_of_a_run_win() -> None:
    told: list[str] = []
    shared: Any = {"on_message_delta": lambda *about: told.append("runtime")}
    async with AgentRuntime(custom_handlers=shared, return_content=True, event_log_size=5) as runtime:
        run = await runtime.create_run(
            run_id="r",
            agents=[agent("Fine.")],
            custom_handlers={"on_message_delta": lambda *about: told.append("run")},
            return_content=False,
        )
        assert await run.process_stream(HI) is None
        other = await runtime.create_run(run_id="s", agents=[agent("Fine.")])
        assert await other.process_stream(HI) == [{"type": "text", "text": "Fine."}]
    assert told[:2] == ["runtime", "run"]
    assert told[-1] == "runtime"


@pytest.mark.anyio
async def test_a_runtime_that_is_closed_stops_what_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def hang(event: str, *about: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("x")], custom_handlers={"on_run_step": hang})
        task = runtime.start(run, HI)
        await begun.wait()
        with pytest.raises(ConfigurationError, match="The runtime is open already"):
            await runtime.__aenter__()
    with pytest.raises(AbortError, match="The runtime was closed"):
        await task
    assert caplog.records == []


@pytest.mark.anyio
async def test_a_run_in_the_background_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent(ValueError("no"))])
        task = runtime.start(run, HI)
        with pytest.raises(ValueError, match="no"):
            await task
        await asyncio.sleep(0)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "Run 'r' failed: ValueError: no"
    assert record.exc_info is not None


# -- memories ------------------------------------------------------------


def memory(**settings: Any) -> LongTermMemory:
    return LongTermMemory(InMemoryStore(), ("m", "u"), **settings)


@pytest.mark.anyio
async def test_the_limit_counts_all_texts_but_the_one_that_is_replaced() -> None:
    kept = memory(token_limit=4, count_tokens=lambda text: len(text.split()))
    assert await kept.set("a", "one two") == "The memory 'a' is set."
    await kept.set("b", "three four")
    await kept.set("a", "five six")
    with pytest.raises(ToolException, match="The memory 'a' needs 3 tokens and 2 of 4 are left; shorten it"):
        await kept.set("a", "1 2 3")
    with pytest.raises(ToolException, match="needs 1 tokens and 0 of 4 are left"):
        await kept.set("c", "1")
    assert await kept.read() == {"a": "five six", "b": "three four"}
    assert [change.value for change in kept.changes] == ["one two", "three four", "five six"]


@pytest.mark.anyio
async def test_about_four_characters_are_a_token_where_nobody_counts() -> None:
    kept = memory(token_limit=2)
    await kept.set("a", "12345678")
    with pytest.raises(ToolException, match="needs 3 tokens and 2 of 2 are left"):
        await kept.set("a", "123456789")


@pytest.mark.anyio
async def test_keys_are_limited_and_unknown_ones_named() -> None:
    kept = memory(valid_keys=["name", "job"])
    with pytest.raises(ToolException, match="The key 'x' is not allowed; use one of: name, job"):
        await kept.set("x", "y")
    with pytest.raises(ToolException, match="There is no memory 'job'; there are: none"):
        await kept.delete("job")
    await kept.set("name", "Anna")
    with pytest.raises(ToolException, match="There is no memory 'job'; there are: name"):
        await kept.delete("job")
    assert await kept.delete("name") == "The memory 'name' is deleted."
    assert kept.changes == [MemoryChange("set", "name", "Anna"), MemoryChange("delete", "name")]
    setting, deleting = kept.tools()
    assert (setting.name, deleting.name) == ("set_memory", "delete_memory")
    assert setting.description.endswith("Allowed keys: name, job.")
    assert "Allowed" not in memory().tools()[0].description
    assert setting.handle_tool_error is deleting.handle_tool_error is True


@pytest.mark.anyio
async def test_a_model_is_told_the_conversation_and_what_is_known() -> None:
    kept = memory()
    await kept.set("name", "Anna\n B.")
    kept.changes.clear()
    model = ScriptedChatModel(
        replies=[script.reply(script.call("set_memory", {"key": "job", "value": "cook"})), "Done."]
    )
    said = [("user", "I cook."), AIMessage("Nice."), ("system", "be kind"), AIMessage("")]
    changed = await remember(said, kept, {"agent_id": "a", "model": model}, run_id="r", instructions="Note jobs.")
    assert changed == kept.changes == [MemoryChange("set", "job", "cook")]
    assert len(model.requests) == 1
    system, asked = model.requests[0].messages
    assert system.content == "Note jobs.\n\nWhat is known now:\n- name: Anna B."
    assert asked.content == "The conversation:\n\nUser: I cook.\n\nAssistant: Nice."
    assert await kept.read() == {"job": "cook", "name": "Anna\n B."}
    assert list(await kept.read()) == ["job", "name"]
