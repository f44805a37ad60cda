"""What a client of the server does: every call of the SDK, in the situations that programs meet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.server.session import Session, attempt, first_part

Scenario = Callable[[Session], Awaitable[None]]
SCENARIOS: list[Scenario] = []

MODES = ["values", "messages", "updates", "events", "tasks", "checkpoints", "debug", "custom", "messages-tuple"]
HELLO = {"messages": [{"role": "user", "content": "How are we?", "id": "q"}]}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
LATER = "00000000-0000-4000-8000-000000000001"
GRAPHS = ("talk", "work", "slow", "fragile", "functional", "questions", "made")
NEVER = "0 0 1 1 *"
NEW_THREAD = "an answer on a new thread"
KNOWN = {
    f"runs.wait {NEW_THREAD}": "the server sends goto=None, for which LangGraph fails as a command begins a thread",
}
"""Calls that differ on purpose, and why; docs/compatibility.md has them too."""

NONSENSE = "a mode that there is not"
NO_RUN = "of no run"
FEEDBACK = "with keys for feedback"
GONE_BACK = "of a version before"
BEFORE = "before a checkpoint"
_SAID = "LangGraph's server streams the model's answer in blocks, which are then in the state"
_WHOLE = "our server brings back the context of the version too"
KNOWN_OF_OWN = {
    f"assistants.set_latest {GONE_BACK}": _WHOLE,
    f"assistants.get {GONE_BACK}": _WHOLE,
    f"assistants.search {GONE_BACK}": _WHOLE,
    f"runs.stream {GONE_BACK}": _WHOLE,
    f"threads.get_history {BEFORE}": "LangGraph's server fails with 500",
    "threads.stream output sse": _SAID,
    "threads.stream output websocket": _SAID,
    "threads.get rollback": "LangGraph's server keeps an error of the run that is not there any more",
    f"runs.wait {NEW_THREAD}": KNOWN[f"runs.wait {NEW_THREAD}"],
    f"runs.stream {NONSENSE}": "our server says in a sentence what LangGraph's says in the words of JSON Schema",
    f"runs.join {NO_RUN}": "our server answers 404, LangGraph's 200 with the text of a 404",
    f"runs.stream {FEEDBACK}": "LangGraph's server asks LangSmith for addresses, which is not there",
}
"""The same for our own server."""


def scenario(function: Scenario) -> Scenario:
    """Add a scenario."""
    SCENARIOS.append(function)
    return function


async def new_thread(s: Session, **options: Any) -> str:
    """Make a thread without writing it down."""
    return str((await s.client.threads.create(**options))["thread_id"])


async def waiting_thread(s: Session, **options: Any) -> str:
    """Make a thread of `work` that waits at its first question."""
    thread = await new_thread(s, **options)
    await s.client.runs.wait(thread, "work", input={"log": [], "jobs": [1, 2]})
    return thread


# -- assistants --------------------------------------------------------------------------------------------------------


@scenario
async def assistants_are_kept(s: Session) -> None:
    made = await s("assistants.create", "talk", name="one", metadata={"by": "me"}, context={"tone": "kind"})
    name = made["assistant_id"]
    await s("assistants.create", "talk", assistant_id=name, if_exists="raise")
    await s("assistants.create", "talk", assistant_id=name, if_exists="do_nothing")
    await s("assistants.create", "no graph")
    await s("assistants.get", name)
    await s("assistants.get", UNKNOWN)
    await s("assistants.update", name, context={"tone": "curt"}, description="second", metadata={"more": 1})
    await s("assistants.get_versions", name)
    await s("assistants.set_latest", name, 1, note=GONE_BACK)
    await s("assistants.get", name, note=GONE_BACK)
    await s("assistants.search", metadata={"by": "me"}, note=GONE_BACK)
    await s("assistants.search", graph_id="talk", limit=1, sort_by="created_at", sort_order="asc", select=["graph_id"])
    await s("assistants.count", metadata={"by": "me"})
    thread = await new_thread(s)
    await s("runs.stream", thread, name, input=HELLO, stream_mode="custom", note=GONE_BACK)
    await s("assistants.delete", name)
    await s("assistants.delete", name)


@scenario
async def assistants_show_their_graphs(s: Session) -> None:
    for graph in GRAPHS:
        await s("assistants.get_graph", graph, note=graph)
        await s("assistants.get_graph", graph, xray=True, note=f"{graph} xray")
        await s("assistants.get_schemas", graph, note=graph)
        await s("assistants.get_subgraphs", graph, recurse=True, note=graph)
    await s("assistants.get_graph", "work", xray=1)
    await s("assistants.get_subgraphs", "work", namespace="below")
    await s("assistants.get_schemas", UNKNOWN)


# -- threads -----------------------------------------------------------------------------------------------------------


@scenario
async def threads_are_kept(s: Session) -> None:
    thread = (await s("threads.create", metadata={"owner": "ada"}, graph_id="talk"))["thread_id"]
    await s("threads.create", thread_id=thread, if_exists="raise")
    await s("threads.create", thread_id=thread, if_exists="do_nothing")
    await s("threads.get", thread)
    await s("threads.get", UNKNOWN)
    await s("threads.update", thread, metadata={"owner": "bob", "tag": 1})
    await s("threads.search", metadata={"owner": "bob"})
    await s("threads.count", metadata={"owner": "bob"})
    await s("threads.get_state", thread)
    await s("threads.get_history", thread)
    await s("runs.wait", thread, "talk", input=HELLO)
    await s("threads.search", ids=[thread], status="idle", select=["status", "values", "interrupts"])
    await s("threads.get", thread)
    copy = (await s("threads.copy", thread))["thread_id"]
    await s("threads.get_state", copy, note="of the copy")
    await s("threads.get_history", copy, note="of the copy")
    await s("threads.prune", [copy])
    await s("threads.delete", thread)
    await s("threads.delete", thread)
    await s("threads.get_state", thread)


@scenario
async def threads_begin_with_supersteps(s: Session) -> None:
    steps = [
        {"updates": [{"values": {"log": ["from before"], "jobs": [7]}, "as_node": "__start__"}]},
        {"updates": [{"values": {"log": ["planned"]}, "as_node": "plan"}]},
        {"updates": [{"values": None, "command": {"update": {"log": ["moved"]}, "goto": "ask"}, "as_node": "share"}]},
    ]
    thread = await s("threads.create", graph_id="work", supersteps=steps)
    await s("threads.get_history", thread["thread_id"], limit=10)
    await s("runs.wait", thread["thread_id"], "work", input=None)


@scenario
async def a_thread_is_edited_and_forked(s: Session) -> None:
    thread = await waiting_thread(s)
    await s("threads.get_state", thread, subgraphs=True)
    history = await s("threads.get_history", thread, limit=50)
    await s("threads.get_history", thread, limit=2, before=history[0]["checkpoint"], note=BEFORE)
    await s("threads.get_history", thread, metadata={"step": 0})
    await s("threads.update_state", thread, {"log": ["edited"]}, as_node="share")
    await s("threads.get_state", thread)
    await s("threads.update_state", thread, {"log": ["nobody"]}, as_node="no node")
    await s("threads.update_state", thread, None, as_node="ask")
    before = next(state for state in history if state["next"] == ["share"])["checkpoint"]
    await s("threads.get_state", thread, checkpoint=before, note="earlier")
    await s("threads.get_state", thread, checkpoint_id=before["checkpoint_id"], note="earlier by id")
    await s("threads.update_state", thread, {"jobs": [5]}, checkpoint=before, note="fork")
    await s("runs.stream", thread, "work", input=None, stream_mode="updates", note="of the fork")
    await s("runs.stream", thread, "work", input=None, checkpoint=before, stream_mode="updates", note="replay")
    await s("threads.get_history", thread, limit=50, note="after both")


# -- runs --------------------------------------------------------------------------------------------------------------


@scenario
async def every_stream_mode(s: Session) -> None:
    for mode in MODES:
        thread = await new_thread(s)
        await s("runs.stream", thread, "talk", input=HELLO, stream_mode=mode, context={"tone": "dry"}, note=mode)
        await s("runs.stream", await new_thread(s), "work", input={"jobs": [1]}, stream_mode=mode, note=f"work {mode}")
        await s("runs.stream", None, "talk", input=HELLO, stream_mode=mode, note=f"without a thread {mode}")
    await s("runs.stream", await new_thread(s), "talk", input=HELLO, stream_mode=["values", "updates", "custom"])
    await s("runs.stream", await new_thread(s), "talk", input=HELLO, stream_mode=["messages-tuple", "tasks"])
    await s("runs.stream", await new_thread(s), "talk", input=HELLO, stream_mode=["nonsense"], note=NONSENSE)


@scenario
async def subgraphs_are_streamed(s: Session) -> None:
    for mode in (*MODES, ["values", "updates", "debug"]):
        thread = await waiting_thread(s)
        options = {"stream_mode": mode, "stream_subgraphs": True, "note": f"subgraphs {mode}"}
        await s("runs.stream", thread, "work", command={"resume": "yes"}, **options)
        await s("runs.stream", thread, "work", command={"resume": "inside"}, **options)


@scenario
async def typed_parts(s: Session) -> None:
    for mode in ("values", "updates", "messages-tuple", "custom", "tasks"):
        answer = s.client.runs.stream(await new_thread(s), "talk", input=HELLO, stream_mode=mode, version="v2")
        s.note(f"runs.stream v2 {mode}", [dict(part) async for part in answer])


@scenario
async def questions_are_answered(s: Session) -> None:
    thread = await new_thread(s)
    await s("runs.wait", thread, "work", input={"log": ["given"], "jobs": []})
    await s("threads.get", thread)
    await s("threads.get_state", thread)
    await s("runs.wait", thread, "work", command={"resume": "yes"})
    await s("threads.get_state", thread, subgraphs=True)
    await s("runs.wait", thread, "work", command={"resume": "deep", "update": {"log": ["with an update"]}})
    await s("threads.get_state", thread)
    await s("runs.wait", thread, "work", command={"goto": "last", "update": {"log": ["jump"]}})
    await s("runs.wait", thread, "work", command={"goto": {"node": "job", "input": {"number": 4}}})
    await s("runs.wait", thread, "work", command={"goto": ["last", "share"]})
    await s("runs.wait", thread, "work", command={"resume": "nothing asks"})
    await s("runs.wait", thread, "work", command={"update": [["log", ["pairs"]]]})
    await s("threads.get_history", thread, limit=50)


@scenario
async def several_questions_are_answered_by_id(s: Session) -> None:
    thread = await new_thread(s)
    await s("runs.wait", thread, "questions", input={"log": []})
    state = await s("threads.get_state", thread)
    asked = {task["name"]: task["interrupts"][0]["id"] for task in state["tasks"]}
    await s("runs.wait", thread, "questions", command={"resume": "for which?"})
    await s("runs.wait", thread, "questions", command={"resume": {asked["beside"]: "B"}})
    await s("runs.wait", thread, "questions", command={"resume": {asked["several"]: "S1"}}, strict_resume=True)
    await s("runs.wait", thread, "questions", command={"resume": {"0" * 32: "unknown"}}, strict_resume=True)
    await s("threads.get_state", thread)
    await s("runs.wait", thread, "questions", command={"resume": "S2"})


@scenario
async def breakpoints_and_durability(s: Session) -> None:
    for durability in ("sync", "async", "exit"):
        thread = await new_thread(s)
        options = {"durability": durability, "stream_mode": "updates", "note": durability}
        start = {"log": [], "jobs": [1]}
        await s("runs.stream", thread, "work", input=start, interrupt_before=["job"], **options)
        await s("threads.get_state", thread)
        await s("runs.stream", thread, "work", input=None, interrupt_after=["job"], **options)
        await s("runs.stream", thread, "work", input=None, interrupt_before="*", **options)
        await s("threads.get_history", thread, limit=50, note=durability)
    await s("runs.wait", thread, "work", input={}, interrupt_before=["no node"])


@scenario
async def runs_are_looked_after(s: Session) -> None:
    thread = await new_thread(s)
    run = await s("runs.create", thread, "talk", input=HELLO, metadata={"for": "test"}, stream_resumable=True)
    await s.settled(thread, run["run_id"])
    await s("runs.get", thread, run["run_id"])
    await s("runs.join", thread, run["run_id"])
    await s("runs.join_stream", thread, run["run_id"], last_event_id="-1", stream_mode="values")
    await s("runs.list", thread)
    await s("runs.list", thread, status="error")
    await s("runs.get", thread, UNKNOWN)
    await s("runs.join", thread, UNKNOWN, note=NO_RUN)
    await s("runs.cancel", thread, run["run_id"], note="of one that has ended")
    await s("runs.delete", thread, run["run_id"])
    await s("runs.delete", thread, run["run_id"])
    await s("runs.wait", LATER, "talk", input=HELLO)
    await s("runs.wait", LATER, "talk", input=HELLO, if_not_exists="create")
    await s("threads.delete", LATER)
    await s("runs.wait", None, "talk", input=HELLO, on_completion="keep")
    await s("runs.stream", None, "talk", input=HELLO, feedback_keys=["good"], stream_mode="updates", note=FEEDBACK)
    batch = await s("runs.create_batch", [{"assistant_id": "talk", "input": HELLO}] * 2)
    assert len(batch) == 2


async def begun(s: Session, thread: str, **options: Any) -> str:
    """Start a run that waits, and return when it does."""
    options = {"input": {"wait": True}, "stream_mode": ["custom", "values"], **options}
    run = (await s.client.runs.create(thread, "slow", stream_resumable=True, **options))["run_id"]
    parts = s.client.runs.join_stream(thread, run, last_event_id="-1")
    await asyncio.wait_for(first_part(parts, "custom"), 30)
    return str(run)


async def status_of(s: Session, thread: str, run: str) -> Any:
    """Return the status of a run, or the error if it is not there any more."""
    found = await attempt(lambda: s.client.runs.get(thread, run))
    return found.get("status", found)


@scenario
async def runs_are_cancelled(s: Session) -> None:
    for action in ("interrupt", "rollback"):
        thread = await new_thread(s)
        await s.client.runs.wait(thread, "slow", input={"log": ["before"]})
        run = await begun(s, thread)
        await s("runs.cancel", thread, run, wait=True, action=action, note=action)
        await s("runs.get", thread, run, note=action)
        await s("threads.get", thread, note=action)
        await s("threads.get_state", thread, note=action)
        await s("threads.get_history", thread, note=action)
        await s("runs.wait", thread, "slow", input=None if action == "interrupt" else {"wait": False}, note="after")
    thread = await new_thread(s)
    run = await begun(s, thread)
    await s("runs.cancel_many", thread_id=thread, run_ids=[run])
    s.note("status", await s.settled(thread, run))
    await s("runs.cancel", thread, UNKNOWN)


async def until_the_error_is_stored(s: Session, thread: str) -> None:
    """Wait for it for a while: LangGraph's server may store it after it has told the end of the run."""
    for _ in range(50):
        tasks = (await s.client.threads.get_state(thread))["tasks"]
        if any(each.get("error") for each in tasks):
            return
        await asyncio.sleep(0.1)


@scenario
async def a_reader_leaves(s: Session) -> None:
    for choice in ("cancel", "continue"):
        thread = await new_thread(s)
        parts = s.client.runs.stream(thread, "slow", input={"wait": True}, stream_mode="custom", on_disconnect=choice)
        await first_part(parts, "custom")
        await parts.aclose()
        run = (await s.client.runs.list(thread))[0]["run_id"]
        if choice == "continue":
            await s.client.runs.cancel(thread, run, wait=True)
        s.note(f"status after {choice}", await s.settled(thread, run))
        await until_the_error_is_stored(s, thread)
        await s("threads.get_state", thread, note=choice)


@scenario
async def a_second_run_comes(s: Session) -> None:
    for strategy in ("reject", "interrupt", "rollback", "enqueue"):
        thread = await new_thread(s)
        first = await begun(s, thread)
        options = {"input": {"wait": False, "log": ["second"]}, "multitask_strategy": strategy, "note": strategy}
        second = await s("runs.create", thread, "slow", **options)
        if strategy in ("reject", "enqueue"):
            await s.client.runs.cancel(thread, first, wait=True)
        if "run_id" in second:
            s.note(f"second {strategy}", await s.settled(thread, second["run_id"]))
        s.note(f"first {strategy}", await status_of(s, thread, first))
        await s("threads.get_state", thread, note=strategy)
        await s("threads.get_history", thread, note=strategy)


@scenario
async def things_go_wrong(s: Session) -> None:
    for kind in ("value", "update", "loop", "overwrite"):
        thread = await new_thread(s)
        given = {"input": {"kind": kind}, "config": {"recursion_limit": 6}, "note": kind}
        await s("runs.wait", thread, "fragile", raise_error=False, **given)
        await s("runs.stream", thread, "fragile", stream_mode=["updates", "debug"], **given)
        await s("threads.get", thread, note=kind)
        await s("threads.get_state", thread, note=kind)
    for value in ([1, 2], "text", 3, {"unknown": 1}, {"log": "not a list"}, {}):
        await s("runs.wait", await new_thread(s), "work", input=value, raise_error=False, note=repr(value))
    await s("runs.wait", await new_thread(s), "work", input=None, raise_error=False, note="nothing to continue")
    await s("runs.wait", await new_thread(s), "no graph", input={})
    await s("runs.wait", await new_thread(s), UNKNOWN, input={})
    await s("runs.wait", await new_thread(s), "work", command={"goto": "no node"}, raise_error=False)
    await s("runs.wait", await new_thread(s), "work", command={"resume": 1}, raise_error=False, note=NEW_THREAD)


@scenario
async def functional_and_made_graphs(s: Session) -> None:
    thread = await new_thread(s)
    await s("runs.wait", thread, "functional", input={"numbers": [1, 2]})
    await s("runs.stream", thread, "functional", input={"numbers": [3], "ask": True}, stream_mode=["updates", "tasks"])
    await s("threads.get_state", thread)
    await s("runs.wait", thread, "functional", command={"resume": "word"})
    await s("threads.get_history", thread)
    await s("store.get_item", ["numbers"], "last")
    await s(
        "runs.wait", await new_thread(s), "made", input={"log": []}, config={"configurable": {"word": "configured"}}
    )
    await s("runs.wait", await new_thread(s), "made", input={"log": []})


# -- the rest ----------------------------------------------------------------------------------------------------------


@scenario
async def crons_are_kept(s: Session) -> None:
    thread = await new_thread(s)
    await s("crons.create", "talk", schedule=NEVER, input=HELLO, metadata={"mine": "yes"})
    made = await s("crons.create_for_thread", thread, "talk", schedule=NEVER, input=HELLO, metadata={"mine": "yes"})
    await s("crons.search", metadata={"mine": "yes"}, sort_by="created_at")
    await s("crons.count", metadata={"mine": "yes"})
    if "cron_id" in made:
        await s("crons.update", made["cron_id"], enabled=False)
        await s("crons.delete", made["cron_id"])
        await s("crons.delete", made["cron_id"])
    await s("crons.create", "talk", schedule="not a schedule", input=HELLO)
    for cron in await s.client.crons.search(thread_id=None, limit=10):
        await s.client.crons.delete(cron["cron_id"])


@scenario
async def the_store_keeps_items(s: Session) -> None:
    place = ["people", "ada"]
    await s("store.put_item", place, "one", {"age": 36, "likes": ["sums"]})
    await s("store.put_item", [*place, "notes"], "two", {"age": 37})
    await s("store.put_item", [], "three", {})
    await s("store.get_item", place, "one")
    await s("store.get_item", place, "none")
    await s("store.search_items", ["people"])
    await s("store.search_items", ["people"], filter={"age": {"$gt": 36}}, limit=5, offset=0)
    await s("store.list_namespaces", prefix=["people"], max_depth=3)
    await s("store.delete_item", place, "one")
    await s("store.get_item", place, "one")


@scenario
async def a_thread_is_listened_to(s: Session) -> None:
    thread = await new_thread(s)
    await s.client.runs.wait(thread, "talk", input=HELLO)
    parts = await s.client.threads.join_stream(thread, stream_mode="run_modes")
    listening = asyncio.ensure_future(first_part(parts, "values"))
    part = None
    while part is None:
        await s.client.runs.wait(thread, "talk", input=HELLO)
        done, _ = await asyncio.wait([listening], timeout=1)
        part = listening.result() if done else None
    # How many runs the thread had before the first part that is heard depends on how soon the listener is there.
    s.note("threads.join_stream", [part.event, sorted(part.data)])


@scenario
async def events_of_the_protocol(s: Session) -> None:
    for transport in ("sse", "websocket"):
        async with s.client.threads.stream(assistant_id="work", transport=transport) as thread:
            await thread.run.start(input={"log": [], "jobs": [1]})
            # How many of the values a reader still gets before the pause depends on how fast it is.
            s.note(f"threads.stream values {transport}", bool([value async for value in thread.values]))
            await s("threads.get_state", thread.thread_id, note=transport)
            s.note(f"threads.stream interrupted {transport}", [thread.interrupted, list(thread.interrupts)])
    for transport in ("sse", "websocket"):
        async with s.client.threads.stream(assistant_id="talk", transport=transport) as thread:
            await thread.run.start(input=HELLO)
            s.note(f"threads.stream output {transport}", await thread.output)
