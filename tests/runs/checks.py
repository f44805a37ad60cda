"""What is checked of each graph. Each check returns sentences about what is wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from stategraph.errors import AbortError, ConfigurationError, InvalidAnswerError
from stategraph.run.events.handlers import create_handlers
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from tests.runs import observe
from tests.runs.scenarios import Scenario

LIMIT_S = 300


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


async def run_of(scenario: Scenario, saver: Any, run_id: str = "r", **settings: Any) -> Run:
    return await Run.create({"run_id": run_id, "graph": scenario.make(saver), **settings})


def answer(scenario: Scenario, asked: Sequence[Any], number: int) -> Any:
    """The next answer; all that wait get it."""
    given = scenario.answers[number]
    return {each.id if hasattr(each, "id") else each.interrupt_id: given for each in asked} if len(asked) > 1 else given


async def played(run: Run, scenario: Scenario, config: Mapping[str, Any]) -> list[Any]:
    """The events of all executions of a run until nothing waits."""
    events = [each async for each in run.stream(scenario.given, config)]
    for number in range(len(scenario.answers)):
        await run.resume(answer(scenario, run.get_interrupts(), number), config)
    return events + [each async for each in run.attach(len(events))] if scenario.answers else events


async def own_stream(scenario: Scenario) -> list[list[Any]]:
    """What the graph's own stream yields, for the input and each answer."""
    graph = scenario.make(InMemorySaver())
    config = {**thread("own"), "recursion_limit": 50}
    given, parts = scenario.given, []
    for number in range(len(scenario.answers) + 1):
        modes = ["messages", "custom", "updates", "values"]
        parts.append([each async for each in graph.astream(given, config, stream_mode=modes, subgraphs=True)])
        if number < len(scenario.answers):
            state = await graph.aget_state(config)
            given = Command(resume=answer(scenario, state.interrupts, number))
    return parts


async def same_as_stream(scenario: Scenario) -> list[str]:
    """Events show what the graph's own stream shows: in the same order, once."""
    run = await run_of(scenario, InMemorySaver(), custom_handlers=(collected := create_handlers()).handlers)
    spied: list[Any] = []
    graph: Any = run.graph
    astream = graph.astream

    async def spy(*args: Any, **kwargs: Any) -> Any:
        async for each in astream(*args, **kwargs):
            spied.append(each)
            yield each

    graph.astream = spy
    events = await played(run, scenario, thread("t"))
    wrong = _differences("in the same execution", observe.of_stream(spied), observe.of_events(events))
    arguments = observe.arguments_of_stream(spied)
    for call_id, args in observe.arguments_of_events(events).items():
        if arguments.get(call_id) != args:
            wrong.append(f"arguments of {call_id}: {args}, in the stream {arguments.get(call_id)}")
    own = await own_stream(scenario)
    items = [each for part in own for each in part]
    if observe.by_node_of_stream(items) != observe.by_node_of_events(events):
        wrong.append(
            f"another execution's own stream: {observe.by_node_of_stream(items)}\n  events: "
            f"{observe.by_node_of_events(events)}"
        )
    for kind in ("result", "interrupt"):
        wanted = [one for part in own for one in observe.of_stream(part) if one[0] == kind]
        told = [one for one in observe.of_events(events) if one[0] == kind]
        if observe.alike(wanted) != observe.alike(told):
            wrong.append(f"{kind}s: {told}, in another execution's own stream {wanted}")
    return (
        wrong
        + _shape(scenario, run, events)
        + _content(collected.content_parts, events)
        + await _messages(run, scenario)
    )


def _differences(what: str, wanted: Sequence[Any], found: Sequence[Any]) -> list[str]:
    wanted, found = [*wanted], [*found]
    interrupts = [each for each in found if each[0] == "interrupt"]
    # A run that waits says so at each pause, the spied stream once for all of it.
    wanted = [each for each in wanted if each[0] != "interrupt"]
    found = [each for each in found if each not in interrupts]
    if wanted == found:
        return []
    at = next((i for i, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), -1)
    return [f"{what}, at {at}: the stream has {wanted[at : at + 4]}, events have {found[at : at + 4]}"]


def _shape(scenario: Scenario, run: Run, events: Sequence[Any]) -> list[str]:
    """Steps are opened and closed once, numbers have no holes, the words and agents are there."""
    wrong = []
    if [each.seq for each in events] != list(range(1, len(events) + 1)):
        wrong.append("numbers of events have holes")
    opened = [each.data["id"] for each in events if each.event == "on_run_step"]
    closed = [each.data["id"] for each in events if each.event == "on_run_step_closed"]
    if sorted(opened) != sorted(closed) or len(set(opened)) != len(opened):
        wrong.append(f"steps opened {opened}, closed {closed}")
    statuses = [each.data["status"] for each in events if each.event == "on_run_end"]
    if statuses != ["interrupted"] * len(scenario.answers) + ["completed"]:
        wrong.append(f"executions ended as {statuses}")
    text = "".join(one[1] for one in observe.of_events(events) if one[0] in ("text", "thought"))
    wrong += [f"{each!r} was not said in {text!r}" for each in scenario.texts if each not in text]
    agents = {each.data.get("agentId") for each in events if each.event == "on_run_step"}
    return wrong + [f"{each!r} is not among the agents {agents}" for each in scenario.agents if each not in agents]


def _content(parts: Sequence[Any], events: Sequence[Any]) -> list[str]:
    """The aggregated content has the text of every step, and every call with its result."""
    texts: dict[str, str] = {}
    for each in events:
        if each.event == "on_message_delta":
            texts[each.data["id"]] = texts.get(each.data["id"], "") + each.data["delta"]["content"][0]["text"]
    kept = [part for part in parts if part is not None]
    wrong = []
    if sorted(texts.values()) != sorted(part["text"] for part in kept if part["type"] == "text"):
        wrong.append(f"content has {kept}, steps said {list(texts.values())}")
    results = [one for one in observe.of_events(events) if one[0] == "result"]
    done = [("result", p["tool_call"]["id"], p["tool_call"].get("output")) for p in kept if p["type"] == "tool_call"]
    if sorted(results) != sorted(done, key=str):
        wrong.append(f"content has {done}, results are {results}")
    return wrong


async def _messages(run: Run, scenario: Scenario) -> list[str]:
    """The run's messages are those that its thread has after the input."""
    values = (await run.graph.compiled.aget_state(thread("t"))).values
    said = values.get("messages") if isinstance(values, Mapping) else None
    if said is None:
        return []
    kept, found = [each.id for each in said], [each.id for each in run.get_run_messages()]
    before = len(scenario.given["messages"])
    return [] if kept[before:] == found else [f"messages {found}, on the thread {kept}"]


async def attached(scenario: Scenario) -> list[str]:
    """A reader that comes with any number gets the rest exactly, during the run and after it."""
    run = await run_of(scenario, InMemorySaver())
    live = []
    async for event in run.stream(scenario.given, thread("t")):
        if event.seq in (1, 2, 4, 9):
            live.append(asyncio.ensure_future(_read(run, event.seq - 1)))
    first = [await each for each in live]
    events = [each async for each in run.attach(0)]
    wrong = []
    for after, seen in zip((0, 1, 3, 8), first, strict=True):
        if [(each.seq, each.to_json()) for each in seen] != [(each.seq, each.to_json()) for each in events[after:]]:
            wrong.append(f"a reader during the run, after {after}, got {len(seen)} of {len(events[after:])} events")
    for after in range(len(events) + 1):
        rest = [each async for each in run.attach(after)]
        if [(each.seq, each.event) for each in rest] != [(each.seq, each.event) for each in events[after:]]:
            wrong.append(f"a reader after the run, after {after}, got {len(rest)} of {len(events[after:])} events")
    return wrong


async def _read(run: Run, after: int) -> list[Any]:
    return [each async for each in run.attach(after)]


async def aborted(scenario: Scenario) -> list[str]:
    """A run that is aborted at any event leaves a thread on which the next turn goes well."""
    whole = [each async for each in (await run_of(scenario, InMemorySaver())).stream(scenario.given, thread("t"))]
    wrong = []
    for at in range(1, len(whole)):
        wrong += [f"aborted at event {at} ({whole[at - 1].event}): {each}" for each in await _aborted_at(scenario, at)]
    return wrong


async def _aborted_at(scenario: Scenario, at: int) -> list[str]:
    saver = InMemorySaver()
    run = await run_of(scenario, saver)
    events = []
    try:
        async for each in run.stream(scenario.given, thread("t")):
            events.append(each)
            if each.seq == at:
                run.abort("enough")
        return [] if events[-1].data["status"] in ("completed", "interrupted") else ["it ended without an AbortError"]
    except AbortError:
        pass
    wrong = []
    opened = {each.data["id"] for each in events if each.event == "on_run_step"}
    closed = [each.data["id"] for each in events if each.event == "on_run_step_closed"]
    if opened != set(closed) or len(closed) != len(set(closed)):
        wrong.append("steps were left open, or closed twice")
    if events[-1].event != "on_run_end" or events[-1].data["status"] != "cancelled":
        wrong.append(f"the last event is {events[-1].event} {events[-1].data}")
    wrong += [f"run messages: {each}" for each in observe.problems_of_history(run.get_run_messages())]
    later = await run_of(scenario, saver, "later")
    wrong += await _on_thread(later, "after the abort")
    await later.process_stream(scenario.again, thread("t"))
    return wrong + (await _on_thread(later, "after the next turn") if not later.get_interrupts() else [])


async def _on_thread(run: Run, when: str) -> list[str]:
    state = await run.graph.compiled.aget_state(thread("t"))
    said = state.values.get("messages") if isinstance(state.values, Mapping) else None
    if said is None:
        return []
    waiting = [f"{when}: {state.next} is still to be run"] if state.next else []
    return waiting + [f"{when}: {each}" for each in observe.problems_of_history(said)]


async def hooks(scenario: Scenario) -> list[str]:
    """Hooks deny one call and have a person asked about the other, whose arguments the person changes."""
    if scenario.hooked is None:
        return []
    registry = HookRegistry()
    replies = {"Oslo": {"decision": "deny", "reason": "too cold"}, "Rome": {"decision": "ask", "reason": "sure?"}}
    registry.register("PreToolUse", lambda about: replies.get(about["toolInput"]["city"]))
    graph, asks = scenario.hooked(InMemorySaver()), {"enabled": True}
    run = await Run.create({"run_id": "r", "graph": graph, "hooks": registry, "human_in_the_loop": asks})
    await run.process_stream(scenario.given, thread("t"))
    asked = [each.payload["action_requests"][0]["arguments"] for each in run.get_interrupts()]
    if asked != [{"city": "Rome"}]:
        return [f"a person is asked about {asked}"]
    await run.resume([{"type": "edit", "updated_input": {"city": "Ostia"}}], thread("t"))
    results = {each.tool_call_id: each.text for each in run.get_run_messages() if isinstance(each, ToolMessage)}
    wanted = {"a": "Sunny in Ostia", "b": "Blocked: too cold"}
    return [] if results == wanted else [f"results {results}, expected {wanted}"]


async def guardrails(scenario: Scenario) -> list[str]:
    """Hooks change and hold back what models say, and end the turn; a model that they do not see is not called."""
    if scenario.guarded is None:
        return []
    wrong = []
    ends = {
        "changed": ({"updatedOutput": "Nobody."}, "It is sunny. Nobody.", None),
        "denied": ({"decision": "deny", "reason": "a name"}, "It is sunny. Blocked: a name", "answer_denied"),
    }
    for hold in ("sentence", "answer"):
        for said, whole, reason in ends.values():
            registry = HookRegistry()
            registry.register(
                "AfterModel", lambda about, said=said: said if "Ada" in about["text"] else None, hold=hold
            )
            graph = scenario.guarded(InMemorySaver())
            run = await Run.create({"run_id": "r", "graph": graph, "hooks": registry})
            told = [each async for each in run.stream(scenario.given, thread("t"))]
            last = run.get_run_messages()[-1].text
            wanted = whole if hold == "sentence" else whole.removeprefix("It is sunny. ")
            if (last, run.get_halt_reason()) != (wanted, reason):
                wrong.append(f"{hold}: the turn ends with {last!r} ({run.get_halt_reason()}), expected {wanted!r}")
            if any("Ada" in str(each.data) for each in told if each.event == "on_message_delta"):
                wrong.append(f"{hold}: readers were told what was refused")
            state = await graph.aget_state(thread("t"))
            if state.next or state.values["messages"][-1].text != wanted:
                wrong.append(f"{hold}: the thread ends with {state.values['messages'][-1].text!r}, next {state.next}")
    registry = HookRegistry()
    registry.register("BeforeModel", lambda about: None)
    run = await Run.create({"run_id": "r", "graph": scenario.make(InMemorySaver()), "hooks": registry})
    try:
        await run.process_stream(scenario.given, thread("t"))
        wrong.append("a model that no gate sees was called")
    except ConfigurationError:
        pass
    return wrong


async def edits(scenario: Scenario) -> list[str]:
    """A call that a person edits runs with the new arguments, in every spelling, as in the graph by itself."""
    decisions = [each["decisions"] for each in scenario.answers if isinstance(each, dict) and "decisions" in each]
    if not any(one["type"] == "edit" for each in decisions for one in each):
        return []
    graph = scenario.make(InMemorySaver())
    await graph.ainvoke(scenario.given, thread("own"))
    own = await graph.ainvoke(Command(resume=scenario.answers[0]), thread("own"))
    wrong = []
    for spelling in ("updated_input", "updatedInput", "edited_action"):
        run = await run_of(scenario, InMemorySaver())
        await run.process_stream(scenario.given, thread("t"))
        answered = [dict(each) for each in decisions[0]]
        for each in answered:
            if each["type"] == "edit" and spelling != "edited_action":
                each[spelling] = each.pop("edited_action")["args"]
        unknown = [{"type": "edit", "edited_action": {"name": "nobody", "args": {}}}, *answered[1:]]
        try:
            await run.resume({"decisions": unknown}, thread("t"))
            wrong.append("a call was edited to be one of an unknown tool")
        except InvalidAnswerError:
            pass
        await run.resume(answered, thread("t"))
        values = (await run.graph.compiled.aget_state(thread("t"))).values
        if _done(values) != _done(own):
            wrong.append(f"{spelling}: calls and results {_done(values)}, of the graph by itself {_done(own)}")
    return wrong


def _done(values: Mapping[str, Any]) -> list[Any]:
    """The calls of tools in a conversation, and their results."""
    calls = [(call["name"], call["args"]) for each in values["messages"] for call in getattr(each, "tool_calls", ())]
    return [*calls, *(each.text for each in values["messages"] if isinstance(each, ToolMessage))]


CHECKS = {
    "stream": same_as_stream,
    "attach": attached,
    "abort": aborted,
    "hooks": hooks,
    "guardrails": guardrails,
    "edits": edits,
}


async def checked(scenario: Scenario) -> dict[str, list[str]]:
    """The problems that each check finds."""
    found = {}
    for name, check in CHECKS.items():
        try:
            found[name] = await asyncio.wait_for(check(scenario), LIMIT_S)
        except Exception as error:
            import traceback

            traceback.print_exc(file=sys.stderr)
            found[name] = [f"{type(error).__name__}: {error}"]
    return found
