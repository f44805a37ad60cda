"""What the inspector tells of threads: lists, steps, differences, the path through the graph."""

from __future__ import annotations

import asyncio
import json
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict
from urllib.parse import quote

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from langchain_core.messages import AIMessage, AnyMessage

from stategraph import END, START, StateGraph, interrupt
from stategraph.agent.settings.secrets import HIDDEN
from stategraph.dev.inspector.differences import MOST, Difference, Differences
from stategraph.errors import DamagedCheckpointError
from stategraph.graph.message import add_messages
from stategraph.run.threads.threads import Threads
from stategraph.run.threads.values import ThreadView
from stategraph.savers import SqliteSaver
from stategraph.testing import Usage, call, reply
from stategraph.types import Send
from tests.dev.inspecting import State, a_graph, ran, steps_of, talked, told, turn
from tests.dev.serving import an_agent, answered, asking, new_thread, reading, serving

pytestmark = pytest.mark.anyio


async def test_steps_are_told_with_what_ran_and_what_comes_next() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        found = await steps_of(client, thread)
    assert [ran(each) for each in found] == [["work"], ["work"], ["plan"], ["__start__"], []]
    assert [[name["name"] for name in each["next"]] for each in found] == [
        [],
        ["work"],
        ["work"],
        ["plan"],
        ["__start__"],
    ]
    assert [each["parent"] for each in found] == [each["id"] for each in found[1:]] + [None]
    assert [each["messages"] for each in found] == [3, 2, 1, 1, 0]
    assert found[0]["tokens"] == {"input": 7, "output": 3}
    assert found[2]["changed"] == ["count", "note", "log"]
    assert {each["run"] for each in found[:4]} == {"r1"}
    assert all(each["duration_s"] >= 0 for each in found[:4])
    assert found[4]["duration_s"] is None


async def test_pages_of_steps_follow_one_another() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        whole = await steps_of(client, thread)
        page = await told(client, f"/threads/{thread}/steps", limit=2)
        pages = [page]
        while page["next"]:
            page = await told(client, f"/threads/{thread}/steps", limit=2, before=page["next"])
            pages.append(page)
    assert [len(each["steps"]) for each in pages] == [2, 2, 1]
    assert [step for each in pages for step in each["steps"]] == whole


async def test_a_step_is_told_with_its_state_and_what_it_changed() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        newest, _, planned, *_ = await steps_of(client, thread)
        step = await told(client, f"/threads/{thread}/steps/{newest['id']}")
        before = await told(client, f"/threads/{thread}/steps/{planned['id']}")
    changed = {each["path"]: each for each in step["differences"]["found"]}
    assert list(changed) == ["messages[2]", "count", "log[2]"]
    assert changed["messages[2]"]["new"]["message"]["content"]["text"] == "done with planned"
    assert (changed["count"]["old"]["text"], changed["count"]["new"]["text"]) == ("11", "21")
    assert changed["log[2]"] == {
        "path": "log[2]",
        "kind": "added",
        "new": {"text": "work", "length": 4, "type": "text"},
    }
    values = {each["name"]: each for each in step["values"]}
    assert (values["messages"]["type"], values["messages"]["count"]) == ("messages", 3)
    assert [each["type"] for each in values["messages"]["messages"]] == ["human", "ai", "ai"]
    assert values["note"] == {"name": "note", "changed": False, "text": "planned", "length": 7, "type": "text"}
    assert [(each["name"], "count" in each["result"]["text"]) for each in before["tasks"]] == [("plan", True)]
    assert (step["newest"], before["newest"]) == (True, False)


async def test_the_path_of_a_turn_begins_with_its_input() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        await turn(client, thread, "Again", "r2")
        newest, planned, *_ = await steps_of(client, thread)
        path = await told(client, f"/threads/{thread}/steps/{newest['id']}/path")
        earlier = await told(client, f"/threads/{thread}/steps/{planned['id']}/path")
    assert path["visits"] == {"__start__": 1, "plan": 1, "work": 1, "__end__": 1}  # the count is above 20 at once
    edges = [(each["source"], each["target"]) for each in path["edges"]]
    assert edges == [("__start__", "plan"), ("plan", "work"), ("work", "__end__")]
    assert (path["current"], path["upcoming"], path["cut"]) == (["work"], [], False)
    assert (earlier["current"], earlier["upcoming"]) == (["plan"], ["work"])


async def test_a_loop_and_branches_that_join_are_marked() -> None:
    class Counted(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        log: Annotated[list[str], operator.add]

    builder = StateGraph(Counted)
    builder.add_node("one", lambda _: {"log": ["one"]})
    builder.add_node("two", lambda _: {"log": ["two"]})
    builder.add_node("later", lambda _: {"log": ["later"]})
    builder.add_node("join", lambda _: {"log": ["join"]})
    builder.add_edge(START, "one")
    builder.add_edge(START, "two")
    builder.add_edge("two", "later")
    builder.add_edge(["one", "later"], "join")
    builder.add_edge("join", END)
    async with serving(builder.compile()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        path = await told(client, f"/threads/{thread}/steps/{newest['id']}/path")
    edges = {(each["source"], each["target"]) for each in path["edges"]}
    assert {("one", "join"), ("later", "join"), ("two", "later"), ("__start__", "two")} <= edges


async def test_many_packets_to_one_node_are_counted() -> None:
    builder = StateGraph(State)
    builder.add_node("work", lambda _: {"log": ["x"]})
    builder.add_conditional_edges(START, lambda _: [Send("work", {}) for _ in range(3)], ["work"])
    async with serving(builder.compile()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        step = await told(client, f"/threads/{thread}/steps/{newest['id']}")
    assert newest["ran"] == [{"name": "work", "count": 3}]
    assert len(step["tasks"]) == 3


async def test_a_step_that_waits_tells_what_for_and_the_steps_inside() -> None:
    model = [reply("I pay. ", call("pay", amount=7), usage=Usage(10, 5)), "Done."]
    async with serving(asking(*model)) as client:
        thread = await talked(client, "pay 7")
        (newest, *_) = await steps_of(client, thread)
        step = await told(client, f"/threads/{thread}/steps/{newest['id']}")
        (task,) = step["upcoming"]
        assert [each["id"] for each in task["interrupts"]] == step["waiting"]
        assert '"name": "pay"' in task["interrupts"][0]["value"]["text"]
        inside = await steps_of(client, thread, namespace=task["nested"])
        nested = await told(client, f"/threads/{thread}/steps/{inside[0]['id']}", namespace=task["nested"])
        path = await told(client, f"/threads/{thread}/steps/{newest['id']}/path")
        await answered(client, thread, {step["waiting"][0]: {"type": "approve"}})
        async with reading(client, thread) as reader:
            await reader.until("on_run_end")
        later = await told(client, f"/threads/{thread}/steps/{newest['id']}")
        then = await told(client, f"/threads/{thread}/steps/{newest['id']}/path")
    assert ran(inside[0]) == ["agent=ada"]
    assert nested["differences"]["found"][0]["new"]["message"]["calls"][0]["name"] == "pay"
    assert path["upcoming"] == ["ada:tools=ada"]
    assert {"source": "ada:__start__", "target": "ada:agent=ada"} in path["edges"]
    assert then["upcoming"] == ["ada:__start__"]  # what ran inside came after this step
    assert "waiting" not in later
    assert len(later["upcoming"][0]["interrupts"]) == 1  # it stays on record


class Loose(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    api_key: str
    found: Any


def keeping(**kept: Any) -> Any:
    """A graph of one node, which stores these values."""
    builder = StateGraph(Loose)
    builder.add_node("keep", lambda _: kept)
    builder.add_edge(START, "keep")
    return builder.compile()


async def test_a_secret_that_is_a_value_of_the_state_is_hidden() -> None:
    async with serving(keeping(api_key="sk-abcdef")) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        path = f"/threads/{thread}/steps/{newest['id']}"
        step = await client.get(f"/api/inspector{path}")
        value = await told(client, f"{path}/values/api_key")
        compared = await client.get(f"/api/inspector/compare?a={thread}&b={thread}&b_step={newest['parent']}")
    assert "sk-abcdef" not in step.text + compared.text
    assert {each["name"]: each.get("text") for each in step.json()["values"]}["api_key"] == HIDDEN
    assert (value["text"], "hidden here" in value["problem"]) == (f'"{HIDDEN}"', True)


@pytest.mark.parametrize(
    "found",
    [
        [{"type": ["string", "null"], "content": "a nullable parameter"}],
        [{"type": {"a": 1}, "content": "x"}],
        [{"type": "ai", "content": "x", "tool_calls": 5}],
        [{"type": "ai", "content": "x", "tool_calls": ["pay"]}],
    ],
)
async def test_objects_that_look_like_messages_are_shown(found: Any) -> None:
    async with serving(keeping(found=found)) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        step = await told(client, f"/threads/{thread}/steps/{newest['id']}")
        value = await told(client, f"/threads/{thread}/steps/{newest['id']}/values/found")
        compared = await told(client, "/compare", a=thread, b=await talked(client, run="r2"))
    assert "found" in [each["name"] for each in step["values"]]
    assert json.loads(value["text"]) == found
    assert len(compared["pairs"]) == 3


async def test_states_are_compared_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    in_loop: list[bool] = []
    compare = Differences.of

    def watched(*states: Any) -> Differences:
        in_loop.append(asyncio._get_running_loop() is not None)
        return compare(*states)

    monkeypatch.setattr(Differences, "of", watched)
    async with serving(a_graph()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        await told(client, f"/threads/{thread}/steps/{newest['id']}")
        seen = len(in_loop)
        await told(client, "/compare", a=thread, b=await talked(client, run="r2"))
    assert (seen, len(in_loop) > seen, any(in_loop)) == (1, True, False)


async def test_a_thread_whose_id_has_slashes_is_read(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/threads.db"
    with SqliteSaver.from_conn_string(f"{tmp_path}/threads.db") as saver:
        graph = keeping(found="x").builder.compile(checkpointer=saver)
        graph.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "user/42"}})
    async with serving(keeping(found="x"), edit=True, store=store) as client:
        (row,) = (await told(client, "/threads"))["threads"]
        address = f"/threads/{quote(row['id'], safe='')}"
        (newest, *_) = (await told(client, f"{address}/steps"))["steps"]
        value = await told(client, f"{address}/steps/{newest['id']}/values/found")
        made = await client.post(
            f"/api/inspector{address}/branches", json={"step": newest["id"], "values": {"found": "y"}}
        )
    assert (row["id"], value["text"], made.status_code) == ("user/42", '"x"', 201)


async def test_the_graph_is_drawn_without_a_style() -> None:
    async with serving(a_graph()) as client:
        about = await told(client, "")
    assert about["edits"] is False
    assert "--edit" in about["read_only"]
    assert 'data-node="plan"' in about["svg"]
    assert "<style" not in about["svg"]


async def test_threads_are_listed_with_what_they_hold() -> None:
    async with serving(asking(reply("I pay. ", call("pay", amount=7), usage=Usage(10, 5)))) as client:
        empty = await new_thread(client)
        waiting = await talked(client, "pay <b>7</b>")
        rows = {each["id"]: each for each in (await told(client, "/threads"))["threads"]}
        assert (rows[empty]["messages"], rows[empty]["size"], rows[empty]["status"]) == (0, 0, "idle")
        assert (rows[waiting]["messages"], rows[waiting]["tokens"], rows[waiting]["status"]) == (2, 15, "interrupted")
        assert rows[waiting]["size"] > 50
        only = await told(client, "/threads", status="interrupted")
        assert [each["id"] for each in only["threads"]] == [waiting]
        sought = await told(client, "/threads", q="PAY", status="idle")
        assert sought["threads"] == []
        by_id = await told(client, "/threads", q=empty)
        assert [each["id"] for each in by_id["threads"]] == [empty]
        assert (await told(client, "/threads", q=empty, status="failed"))["threads"] == []


async def test_pages_of_threads_follow_one_another() -> None:
    async with serving(an_agent()) as client:
        made = [await new_thread(client) for _ in range(5)]
        page = await told(client, "/threads", limit=2)
        found = [each["id"] for each in page["threads"]]
        while page["next"]:
            page = await told(client, "/threads", limit=2, after=page["next"])
            found += [each["id"] for each in page["threads"]]
    assert found == made[::-1]


async def test_a_thread_that_is_deleted_while_the_list_is_made_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(an_agent()) as client:
        gone, *others = [await new_thread(client) for _ in range(3)]
        read = Threads.get

        async def get(threads: Threads, thread_id: str, **at: Any) -> ThreadView:
            if thread_id == gone:
                await threads.erase(gone)
            return await read(threads, thread_id, **at)

        monkeypatch.setattr(Threads, "get", get)
        rows = (await told(client, "/threads"))["threads"]
    assert [each["id"] for each in rows] == others[::-1]


WRONG = [
    ("/threads/none/steps", 404, "no thread 'none'"),
    ("/threads/{thread}/steps/none", 404, "has no step 'none'"),
    ("/threads/{thread}/steps/{step}/values/colour", 404, "The state has no 'colour'; it has messages"),
    ("/threads/{thread}/steps/{step}/messages/count", 400, "holds no messages"),
    ("/threads/{thread}/steps?namespace=other:1", 404, "no nested graph 'other'"),
    ("/threads/{thread}/steps?limit=x", 400, "a number from 0 to 100"),
    ("/threads?status=sleeping", 400, "send idle, running, interrupted"),
    ("/compare?a=x", 400, "'b' is missing"),
    ("/compare?a=none&b=none", 404, "no thread 'none'"),
]


async def test_what_is_not_there_is_answered_with_a_sentence() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        for path, status, says in WRONG:
            answer = await client.get(f"/api/inspector{path}".format(thread=thread, step=newest["id"]))
            assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


async def test_large_states_are_cut_and_read_in_full_when_asked() -> None:
    class Large(State):
        text: str
        many: list[int]

    def fill(_: Large) -> dict[str, Any]:
        said = [AIMessage(f"number {at} {'x' * 5000}", id=f"m{at}") for at in range(500)]
        return {"text": "y" * 1_000_000, "many": list(range(100_000)), "messages": said}

    builder = StateGraph(Large)
    builder.add_node("fill", fill)
    builder.add_edge(START, "fill")
    async with serving(builder.compile()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        path = f"/threads/{thread}/steps/{newest['id']}"
        answer = await client.get(f"/api/inspector{path}")
        values = {each["name"]: each for each in answer.json()["values"]}
        whole = await told(client, f"{path}/values/text")
        page = await told(client, f"{path}/messages/messages")
        before = await told(client, f"{path}/messages/messages", end=page["begins"])
        listed = await client.get(f"/api/inspector/threads/{thread}/steps")
    assert len(answer.content) < 1_500_000
    assert len(listed.content) < 5_000
    assert (len(values["text"]["text"]), values["text"]["length"]) == (4_000, 1_000_000)
    assert (values["messages"]["count"], len(values["messages"]["messages"])) == (501, 20)
    assert whole["text"] == f'"{"y" * 1_000_000}"'
    assert (page["begins"], len(page["messages"]), before["begins"]) == (401, 100, 301)
    assert page["messages"][-1]["content"]["length"] == len("number 499 ") + 5000
    assert len(answer.json()["differences"]["found"]) == MOST
    assert answer.json()["differences"]["more"]


async def test_errors_are_told_without_secrets() -> None:
    class Secret(State):
        settings: dict[str, str]
        address: str

    def fail(state: Secret) -> dict[str, Any]:
        raise RuntimeError("no way to postgresql://me:hunter22@db/x")

    builder = StateGraph(Secret)
    kept = {"settings": {"api_key": "sk-abcdef", "mode": "x"}, "address": "redis://u:hunter22@h"}
    builder.add_node("keep", lambda _: kept)
    builder.add_node("fail", fail)
    builder.add_edge(START, "keep")
    builder.add_edge("keep", "fail")
    for tells in (True, False):
        async with serving(builder.compile(), tells_errors=tells) as client:
            thread = await talked(client)
            failed = next(each for each in await steps_of(client, thread) if each["failed"])
            answer = await client.get(f"/api/inspector/threads/{thread}/steps/{failed['id']}")
            value = await client.get(f"/api/inspector/threads/{thread}/steps/{failed['id']}/values/settings")
        assert "sk-abcdef" not in answer.text + value.text
        assert "hunter22" not in answer.text
        (task,) = answer.json()["upcoming"]
        assert task["error"].startswith("RuntimeError")
        assert ("no way to postgresql://me:[redacted]@db/x" in task["error"]) == tells


def test_differences_name_what_was_added_removed_and_changed() -> None:
    old = {"a": 1, "gone": "x", "list": [1, 2, 3, 4], "deep": {"x": {"y": 1}}, "same": [1], "null": None}
    new = {"a": True, "list": [0, 1, 2, 4], "deep": {"x": {"y": 2}}, "same": [1], "more": {}}
    found = [(each.path, each.kind) for each in Differences.of(old, new).found]
    assert found == [
        ("a", "changed"),
        ("list[0]", "added"),
        ("list[2]", "removed"),
        ("deep.x.y", "changed"),
        ("more", "added"),
        ("gone", "removed"),
    ]


def test_messages_are_compared_by_their_ids_and_long_texts_by_lines() -> None:
    def said(id: str, text: str) -> dict[str, Any]:
        return {"type": "ai", "id": id, "content": text}

    old = {"messages": [said("1", "a\nb\nc"), said("2", "x")]}
    new = {"messages": [said("1", "a\nB\nc"), said("3", "z")]}
    found = Differences.of(old, new).found
    assert [(each.path, each.kind) for each in found] == [
        ("messages[1]", "removed"),
        ("messages[0].content", "changed"),
        ("messages[1]", "added"),
    ]
    assert found[1].to_json()["lines"] == ["@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]
    assert found[0].to_json()["old"]["message"]["content"]["text"] == "x"


def test_texts_of_very_many_lines_are_not_compared_by_lines() -> None:
    for count, is_told in ((2_000, True), (2_001, False)):
        lines = [str(at) for at in range(count)]
        told = Difference("note", "changed", "\n".join(lines), "\n".join(["x", *lines[1:]])).to_json()
        assert ("lines" in told) == is_told


def test_a_deep_value_is_compared_as_a_whole() -> None:
    deep: Any = 1
    other: Any = 2
    for _ in range(400):
        deep, other = {"x": deep}, {"x": other}
    (found,) = Differences.of({"deep": deep}, {"deep": other}).found
    assert found.kind == "changed"
    assert Difference(found.path, "removed", old=1).to_json() == {
        "path": found.path,
        "kind": "removed",
        "old": {"text": "1", "length": 1, "type": "number"},
    }


async def test_a_thread_of_an_earlier_process_is_read(tmp_path: Any) -> None:
    store = f"sqlite:///{tmp_path}/threads.db"
    async with serving(a_graph(), store=store) as client:
        thread = await talked(client)
        before = await steps_of(client, thread)
    async with serving(a_graph(), store=store) as client:
        assert await steps_of(client, thread) == before


async def test_an_interrupt_of_a_graph_that_was_answered_is_no_longer_waited_for() -> None:
    builder = StateGraph(State)
    builder.add_node("ask", lambda _: {"note": interrupt("how?")})
    builder.add_edge(START, "ask")
    async with serving(builder.compile()) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        step = await told(client, f"/threads/{thread}/steps/{newest['id']}")
        assert len(step["waiting"]) == 1


async def test_a_damaged_checkpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def damaged(*_: Any) -> None:
        raise DamagedCheckpointError("checkpoint 'c' of thread 't' cannot be read")

    monkeypatch.setattr("stategraph.dev.inspector.steps.listed", damaged)
    async with serving(a_graph()) as client:
        thread = await talked(client)
        answer = await client.get(f"/api/inspector/threads/{thread}/steps")
    assert (answer.status_code, answer.json()["error"]) == (409, "checkpoint 'c' of thread 't' cannot be read")
