"""What the inspector changes: branches, values that are set, runs from any step, comparisons."""

from __future__ import annotations

import asyncio
import json
import operator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import httpx
from langchain_core.messages import AIMessage, AnyMessage

from stategraph import END, START, StateGraph, interrupt
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.graph.message import add_messages
from stategraph.testing import Gate, Hold, call, reply
from stategraph.types import Command, Send
from tests.dev.inspecting import State as Working
from tests.dev.inspecting import a_graph, ran, steps_of, talked, told, turn
from tests.dev.serving import TIMEOUT_S, an_agent, answered, asking, new_thread, reading, send, serving

pytestmark = pytest.mark.anyio


async def branched(client: httpx.AsyncClient, thread: str, step: str, **body: Any) -> httpx.Response:
    return await client.post(f"/api/inspector/threads/{thread}/branches", json={"step": step, **body})


async def over(client: httpx.AsyncClient, thread: str, run: str) -> dict[str, Any]:
    """Wait until a run is over, and return how it ended."""
    async with reading(client, thread) as reader:
        while True:
            _, data = (await reader.until("paused"))[-1]
            if data["run"]["id"] == run:
                return dict(data["run"])


async def state_of(client: httpx.AsyncClient, thread: str, step: str) -> dict[str, Any]:
    shown = await told(client, f"/threads/{thread}/steps/{step}")
    return {
        name: json.loads((await told(client, f"/threads/{thread}/steps/{step}/values/{name}"))["text"])
        for name in (each["name"] for each in shown["values"])
    }


async def test_nothing_is_changed_unless_the_server_was_started_for_it() -> None:
    async with serving(a_graph()) as client:
        thread = await talked(client)
        (newest, *_) = found = await steps_of(client, thread)
        for path, body in (("branches", {"step": newest["id"]}), ("copies", {"step": newest["id"]})):
            answer = await client.post(f"/api/inspector/threads/{thread}/{path}", json=body)
            assert answer.status_code == 403
            assert "stategraph dev --edit" in answer.json()["error"]
        assert await steps_of(client, thread) == found
        assert len((await told(client, "/threads"))["threads"]) == 1


async def test_pages_of_other_sites_change_nothing() -> None:
    async with serving(a_graph(), edit=True) as client:
        thread = await talked(client)
        (newest, *_) = found = await steps_of(client, thread)
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await client.post(
                f"/api/inspector/threads/{thread}/branches", json={"step": newest["id"]}, headers=headers
            )
            assert answer.status_code == 403
        answer = await client.get("/api/inspector", headers={"Host": "evil.example"})
        assert answer.status_code == 403
        assert await steps_of(client, thread) == found


async def test_a_step_runs_again_on_a_branch_of_its_own() -> None:
    async with serving(a_graph(), edit=True) as client:
        thread = await talked(client)
        before = await steps_of(client, thread)
        planned = before[2]
        answer = await branched(client, thread, planned["id"], run=True)
        assert answer.status_code == 201
        begun = answer.json()
        assert (begun["step"]["source"], begun["step"]["parent"]) == ("fork", planned["parent"])
        ended = await over(client, thread, begun["run"]["id"])
        after = await steps_of(client, thread)
        page = await steps_of(client, thread, limit=3)
        async with client.stream("GET", f"/api/runs/{begun['run']['id']}/events") as events:
            text = (await events.aread()).decode()
        again = await client.get(f"/api/threads/{thread}")
    assert "error" not in ended
    assert after[3:] == before
    assert page == after[:3]
    assert [ran(each) for each in after[:3]] == [["work"], ["work"], ["plan"]]
    assert [each["run"] for each in after[:2]] == [begun["run"]["id"]] * 2
    assert "on_run_end" in text
    assert [each["role"] for each in again.json()["turns"]] == ["user", "assistant"]


async def test_values_are_set_and_not_merged_and_decide_what_comes_next() -> None:
    async with serving(a_graph(), edit=True) as client:
        thread = await talked(client)
        newest, worked, planned, *_ = await steps_of(client, thread)
        values = {"count": 100, "log": ["other"], "messages": [{"type": "human", "content": "Changed", "id": "x"}]}
        answer = await branched(client, thread, worked["id"], values=values)
        step = answer.json()["step"]
        assert (step["edited_as"], step["next"], step["parent"]) == ("work", [], worked["id"])  # the count is above 20
        state = await state_of(client, thread, step["id"])
        assert (state["count"], state["log"], state["note"]) == (100, ["other"], "planned")
        assert [each["content"] for each in state["messages"]] == ["Changed"]
        copied = (await branched(client, thread, worked["id"])).json()["step"]
        assert (worked["tokens"], copied["tokens"]) == ({"input": 7, "output": 3}, None)  # no model was called
        # As another node, another one comes next.
        answer = await branched(client, thread, worked["id"], values={"count": 100}, as_node="plan", run=True)
        await over(client, thread, answer.json()["run"]["id"])
        (last, *_) = await steps_of(client, thread)
        assert (await state_of(client, thread, last["id"]))["count"] == 110
        assert (await state_of(client, thread, newest["id"]))["count"] == 21
        assert (await state_of(client, thread, planned["id"]))["count"] == 1


async def test_a_node_that_says_itself_what_comes_next_goes_on_as_it_did() -> None:
    class State(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        note: str
        total: Annotated[int, operator.add]

    def choose(_: State) -> Command[Any]:
        return Command(update={"note": "chosen", "total": 1}, goto="end")

    builder = StateGraph(State)
    builder.add_node("choose", choose, destinations=("end",))
    builder.add_node("end", lambda state: {"note": state["note"] + "!"})
    builder.add_edge(START, "choose")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        chosen = (await steps_of(client, thread))[1]
        answer = await branched(client, thread, chosen["id"], values={"note": "edited", "total": 5}, run=True)
        await over(client, thread, answer.json()["run"]["id"])
        (last, *_) = await steps_of(client, thread)
        state = await state_of(client, thread, last["id"])
    assert (state["note"], state["total"]) == ("edited!", 5)


class Fanned(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    out: Annotated[list[str], operator.add]
    item: str
    note: str


def fanned(**nodes: Any) -> Any:
    """A builder with these nodes, of which each writes its name to `out` if it has no function."""
    builder = StateGraph(Fanned)
    for name, function in nodes.items():
        builder.add_node(name, function or (lambda _, name=name: {"out": [name]}))
    return builder


def upcoming(step: dict[str, Any]) -> dict[str, int]:
    return {each["name"]: each["count"] for each in step["next"]}


async def test_packets_go_on_with_their_arguments() -> None:
    packets = [Send("work", {"item": "a"}), Send("work", {"item": "b"})]
    builder = fanned(
        plan=lambda _: Command(update={"note": "planned"}, goto=packets),
        work=lambda state: {"out": [state.get("item", "nothing")]},
        other=None,
    )
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "other")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        planned = next(each for each in await steps_of(client, thread) if ran(each) == ["plan"])
        answer = await branched(client, thread, planned["id"], values={"note": "edited"}, run=True)
        await over(client, thread, answer.json()["run"]["id"])
        (last, *_) = await steps_of(client, thread)
        state = await state_of(client, thread, last["id"])
    assert upcoming(answer.json()["step"]) == upcoming(planned) == {"work": 2, "other": 1}
    assert (sorted(state["out"]), state["note"]) == (["a", "b", "other"], "edited")


async def test_packets_that_cannot_be_read_are_not_lost_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = fanned(plan=lambda _: Command(goto=[Send("work", {"item": "a"})]), work=None)
    builder.add_edge(START, "plan")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        planned = next(each for each in await steps_of(client, thread) if ran(each) == ["plan"])
        monkeypatch.setattr("stategraph.dev.inspector.upcoming.TASKS", "another place")
        refused = await branched(client, thread, planned["id"], values={"note": "x"})
    assert (refused.status_code, "The packets for work cannot be read" in refused.json()["error"]) == (409, True)


async def test_what_other_nodes_of_a_step_led_to_goes_on() -> None:
    builder = fanned(one=None, two=None, after_one=None, after_two=None)
    builder.add_edge(START, "one")
    builder.add_edge(START, "two")
    builder.add_edge("one", "after_one")
    builder.add_edge("two", "after_two")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        both = next(each for each in await steps_of(client, thread) if sorted(ran(each)) == ["one", "two"])
        edited = (await branched(client, thread, both["id"], values={"note": "x"})).json()["step"]
        again = (await branched(client, thread, edited["id"], values={"note": "y"})).json()["step"]
    assert upcoming(edited) == upcoming(again) == {"after_one": 1, "after_two": 1}


async def test_a_node_with_edges_that_also_names_what_comes_next_goes_on_with_both() -> None:
    builder = fanned(choose=lambda _: Command(update={"note": "chosen"}, goto="named"), named=None, follows=None)
    builder.add_edge(START, "choose")
    builder.add_edge("choose", "follows")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        chosen = next(each for each in await steps_of(client, thread) if ran(each) == ["choose"])
        edited = (await branched(client, thread, chosen["id"], values={"note": "x"})).json()["step"]
    assert upcoming(edited) == upcoming(chosen) == {"named": 1, "follows": 1}


async def test_what_two_routers_of_a_step_may_have_chosen_is_not_lost_without_a_word() -> None:
    builder = fanned(one=None, two=None, end=None)
    builder.add_edge(START, "one")
    builder.add_edge(START, "two")
    builder.add_conditional_edges("one", lambda _: END, ["end", END])
    builder.add_conditional_edges("two", lambda _: "end", ["end", END])
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        both = next(each for each in await steps_of(client, thread) if sorted(ran(each)) == ["one", "two"])
        before = await steps_of(client, thread)
        refused = await branched(client, thread, both["id"], values={"note": "x"})
        assert await steps_of(client, thread) == before
        found = [
            upcoming((await branched(client, thread, both["id"], **body)).json()["step"])
            for body in (
                {"values": {"note": "x"}, "as_node": "one"},
                {"values": {"note": "x"}, "as_node": "two"},
                {},
            )
        ]
    assert refused.status_code == 409
    assert "may be lost: end. one and two made this step together" in refused.json()["error"]
    assert found == [{}, {"end": 1}, {"end": 1}]


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
async def test_a_thread_is_as_its_newest_step_after_an_edit(kept: str, tmp_path: Path) -> None:
    store = None if kept == "in memory" else f"sqlite:///{tmp_path}/threads.db"
    async with serving(a_graph(), edit=True, store=store) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        (before,) = (await told(client, "/threads"))["threads"]
        await branched(client, thread, newest["id"], values={"note": "x" * 5000})
        (after,) = (await told(client, "/threads"))["threads"]
    assert after["size"] > before["size"] + 4000
    assert after["updated_at"] > before["updated_at"]
    assert (before["status"], after["status"]) == ("idle", "idle")


async def test_a_thread_that_failed_and_was_mended_is_no_longer_failed() -> None:
    def fail(state: Any) -> dict[str, Any]:
        if state.get("note") != "mended":
            raise ValueError("no")
        return {"out": ["done"]}

    builder = fanned(fill=None, fail=fail)
    builder.add_edge(START, "fill")
    builder.add_edge("fill", "fail")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        filled = next(each for each in await steps_of(client, thread) if ran(each) == ["fill"])
        (before,) = (await told(client, "/threads"))["threads"]
        refused = await branched(client, thread, filled["id"], values={"note": 5})
        (unchanged,) = (await told(client, "/threads"))["threads"]
        await branched(client, thread, filled["id"], values={"note": "mended"})
        (after,) = (await told(client, "/threads"))["threads"]
    assert (refused.status_code, unchanged) == (400, before)
    assert (before["status"], after["status"]) == ("failed", "idle")


async def test_an_input_that_is_changed_is_run() -> None:
    async with serving(an_agent("One.", "Two."), edit=True) as client:
        thread = await talked(client, "First question")
        begun = next(each for each in await steps_of(client, thread) if ran(each) == ["__start__"])
        messages = (await state_of(client, thread, begun["id"]))["messages"]
        messages[0]["content"] = "Second question"
        answer = await branched(client, thread, begun["id"], values={"messages": messages}, run=True)
        await over(client, thread, answer.json()["run"]["id"])
        view = (await client.get(f"/api/threads/{thread}")).json()
    texts = [each["content"][0]["text"] for each in view["turns"]]
    assert texts == ["Second question", "Two."]


async def test_a_call_that_waits_is_asked_for_again_and_can_be_answered() -> None:
    async with serving(
        asking(reply("I pay. ", call("pay", amount=7)), reply("I pay. ", call("pay", amount=8)), "Done."), edit=True
    ) as client:
        thread = await talked(client, "pay")
        (waiting, *_) = await steps_of(client, thread)
        run = (await branched(client, thread, waiting["id"], run=True)).json()["run"]["id"]
        ended = await over(client, thread, run)
        (question,) = ended["waiting"]
        assert question["payload"]["action_requests"][0]["arguments"] == {"amount": 8}
        assert (await answered(client, thread, {question["id"]: {"type": "approve"}})).status_code == 200
        async with reading(client, thread) as reader:
            await reader.until("on_run_end")
            await reader.until("paused")
        view = (await client.get(f"/api/threads/{thread}")).json()
    assert view["turns"][-1]["content"][-1]["text"] == "Done."


@dataclass
class Point:
    x: int
    y: int


class Typed(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    count: int
    names: list[str]
    day: date
    point: Point
    loose: Any
    plain: list  # type: ignore[type-arg]


def typed() -> Any:
    builder = StateGraph(Typed)
    given = {"count": 1, "names": ["a"], "day": date(2026, 1, 2), "point": Point(1, 2), "loose": {"a": 1}}
    builder.add_node("fill", lambda _: {**given, "plain": [AIMessage("x", id="1")]})
    builder.add_node(
        "read", lambda state: {"names": [*state["names"], type(state["point"]).__name__, str(state["day"].year)]}
    )
    builder.add_edge(START, "fill")
    builder.add_edge("fill", "read")
    return builder.compile()


async def test_values_become_what_the_state_declares() -> None:
    async with serving(typed(), edit=True) as client:
        thread = await talked(client)
        filled = (await steps_of(client, thread))[1]
        values = {
            "day": "2030-05-06",
            "point": {"x": 3, "y": 4},
            "names": [],
            "plain": [{"type": "tool", "content": "y", "tool_call_id": "c", "id": "2"}],
        }
        answer = await branched(client, thread, filled["id"], values=values, run=True)
        await over(client, thread, answer.json()["run"]["id"])
        (last, *_) = await steps_of(client, thread)
        state = await state_of(client, thread, last["id"])
    assert state["names"] == ["Point", "2030"]
    assert state["point"] == {"x": 3, "y": 4}
    assert state["plain"][0]["type"] == "tool"


async def test_a_graph_that_refuses_a_state_is_told_with_its_error_if_errors_are() -> None:
    def choose(state: Any) -> str:
        if state["note"] == "bad":
            raise ValueError("not with redis://me:hunter22@h")
        return END

    class State(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        note: str

    builder = StateGraph(State)
    builder.add_node("only", lambda _: {"note": "good"})
    builder.add_edge(START, "only")
    builder.add_conditional_edges("only", choose, [END])
    for tells in (True, False):
        async with serving(builder.compile(), edit=True, tells_errors=tells) as client:
            thread = await talked(client)
            (newest, *_) = await steps_of(client, thread)
            answer = await branched(client, thread, newest["id"], values={"note": "bad"})
        assert answer.status_code == 400
        assert "the graph refused it as that of 'only': ValueError" in answer.json()["error"]
        assert ("not with redis://me:[redacted]@h" in answer.json()["error"]) == tells


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"values": {"count": 12345678901234567890123.5}}, "count: Input should be a valid integer"),
    ({"values": {"count": "three"}}, 'count: Input should be a valid integer; found text "three"'),
    ({"values": {"names": [1]}}, "names[0]: Input should be a valid string; found number 1"),
    ({"values": {"day": "tomorrow"}}, "day: Input should be a valid date"),
    ({"values": {"point": {"x": 1}}}, "point.y: Field required"),
    ({"values": {"messages": [{"type": "robot", "content": "x"}]}}, "'messages[0]' is no message"),
    (
        {"values": {"messages": [{"type": "tool", "content": "x"}]}},
        "'messages[0]' is a message of type 'tool' and has no 'tool_call_id'",
    ),
    ({"values": {"loose": [1]}}, "'loose' is of the kind list; expected the kind object"),
    ({"values": {"plain": [{"content": "x"}]}}, "'plain[0]' is no message; expected an object with 'type'"),
    ({"values": {"messages": "x"}}, "'messages' is of the kind text; expected a list of messages"),
    ({"values": {"colour": 1}}, "The graph's state has no 'colour'; it has messages, count"),
    ({"values": {"count": 1}, "as_node": "nobody"}, "'as_node' is 'nobody'; the graph's nodes are fill"),
    ({"values": [1]}, "'values' has to be an object"),
    ({"run": "yes"}, "'run' has to be true or false"),
    ({"colour": 1}, "unknown fields: colour"),
    ({"namespace": "fill:1"}, "begin at the step around it"),
]


async def test_values_that_do_not_fit_are_refused_and_named() -> None:
    async with serving(typed(), edit=True) as client:
        thread = await talked(client)
        found = await steps_of(client, thread)
        for body, says in REFUSED:
            answer = await branched(client, thread, found[1]["id"], **body)
            assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text
        assert await steps_of(client, thread) == found
        assert (await branched(client, thread, "none")).status_code == 404
        assert (await branched(client, "none", "none")).status_code == 404
        answer = await branched(client, thread, found[0]["id"], run=True)
        assert (answer.status_code, "Nothing comes after" in answer.json()["error"]) == (409, True)


async def test_a_hidden_secret_is_not_stored_in_its_own_place() -> None:
    class Secret(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        settings: dict[str, str]

    builder = StateGraph(Secret)
    builder.add_node("keep", lambda _: {"settings": {"api_key": "sk-abcdef", "mode": "x"}})
    builder.add_edge(START, "keep")
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        (newest, *_) = await steps_of(client, thread)
        value = await told(client, f"/threads/{thread}/steps/{newest['id']}/values/settings")
        assert "hidden here" in value["problem"]
        answer = await branched(client, thread, newest["id"], values={"settings": json.loads(value["text"])})
        assert (answer.status_code, "hidden here" in answer.json()["error"]) == (400, True)


async def test_nothing_is_changed_while_a_run_goes_on() -> None:
    gate = Gate()
    async with serving(an_agent(reply("a ", Hold(gate), "b")), edit=True) as client:
        thread = await new_thread(client)
        assert (await send(client, thread, "Hello", "r1")).status_code == 201
        async with reading(client, thread) as reader:
            await reader.until("on_message_delta")
            (newest, *_) = await steps_of(client, thread)
            refused = await branched(client, thread, newest["id"], run=True)
            gate.open()
            await reader.until("paused")
    assert (refused.status_code, "wait for its end" in refused.json()["error"]) == (409, True)


async def test_a_thread_is_copied_at_a_step() -> None:
    async with serving(a_graph(), edit=True) as client:
        thread = await talked(client)
        planned = (await steps_of(client, thread))[2]
        answer = await client.post(
            f"/api/inspector/threads/{thread}/copies", json={"step": planned["id"], "title": "Another"}
        )
        assert answer.status_code == 201
        made = answer.json()
        (copied,) = await steps_of(client, made["id"])
        run = (await branched(client, made["id"], copied["id"], run=True)).json()["run"]["id"]
        await over(client, made["id"], run)
        (last, *_) = await steps_of(client, made["id"])
        state = await state_of(client, made["id"], last["id"])
    assert (made["title"], state["count"]) == ("Another", 21)


async def test_branches_are_compared_from_where_they_part() -> None:
    async with serving(a_graph(), edit=True) as client:
        thread = await talked(client)
        newest, _, planned, *_ = await steps_of(client, thread)
        answer = await branched(client, thread, planned["id"], values={"note": "better"}, run=True)
        await over(client, thread, answer.json()["run"]["id"])
        found = await told(client, "/compare", a=thread, a_step=newest["id"], b=thread)
        same = await told(client, "/compare", a=thread, a_step=newest["id"], b=thread, b_step=newest["id"])
    assert found["shared"]["id"] == planned["id"]
    # The change itself has nothing at its side; what ran after it stands beside its like.
    assert [[each[side] and each[side]["step"] for side in "ab"] for each in found["pairs"]] == [
        [None, 2],
        [2, 3],
        [3, 4],
    ]
    paths = [each["path"] for each in found["pairs"][1]["differences"]["found"]]
    assert "note" in paths
    assert same["pairs"] == []


async def test_messages_of_two_runs_are_compared_whatever_their_ids() -> None:
    async with serving(an_agent("The same.", "The same.", "Other words."), edit=True) as client:
        thread = await talked(client)
        first = (await steps_of(client, thread))[0]
        begun = next(each for each in await steps_of(client, thread) if ran(each) == ["__start__"])
        found = []
        for _ in range(2):
            answer = await branched(client, thread, begun["id"], run=True)
            await over(client, thread, answer.json()["run"]["id"])
            compared = await told(client, "/compare", a=thread, a_step=first["id"], b=thread)
            found.append([each["path"] for each in compared["pairs"][1]["differences"]["found"]])
    assert [[each for each in paths if each.startswith("messages")] for paths in found] == [[], ["messages[1].content"]]


async def test_two_threads_are_compared_by_their_last_turns() -> None:
    async with serving(a_graph()) as client:
        one, other = await talked(client, "Hello", "r1"), await talked(client, "Bye", "r2")
        await turn(client, other, "Again", "r3")
        found = await told(client, "/compare", a=one, b=other)
    assert found["shared"] is None
    assert [(each["a"]["source"], each["b"]["source"]) for each in found["pairs"][:1]] == [("input", "input")]
    assert all(each["count"] > 0 for each in found["pairs"] if each["a"] and each["b"])


async def test_a_branch_of_a_graph_that_waits_asks_again() -> None:
    class State(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        note: str

    builder = StateGraph(State)
    builder.add_node("ask", lambda state: {"note": f"{state['note']} {interrupt('how?')}"})
    builder.add_node("begin", lambda _: {"note": "one"})
    builder.add_edge(START, "begin")
    builder.add_edge("begin", "ask")
    builder.add_edge("ask", END)
    async with serving(builder.compile(), edit=True) as client:
        thread = await talked(client)
        (waiting, *_) = await steps_of(client, thread)
        answer = await branched(client, thread, waiting["id"], values={"note": "two"}, run=True)
        (question,) = (await over(client, thread, answer.json()["run"]["id"]))["waiting"]
        await answered(client, thread, {question["id"]: "so"})
        async with reading(client, thread) as reader:
            await reader.until("on_run_end")
            await reader.until("paused")
        (last, *_) = await steps_of(client, thread)
        state = await state_of(client, thread, last["id"])
    assert state["note"] == "two so"


async def test_a_thread_is_deleted_before_or_after_a_change_and_not_meanwhile() -> None:
    saver, asked, go_on = in_memory_saver(), asyncio.Event(), asyncio.Event()

    async def route(state: dict[str, Any]) -> str:
        if state["note"] == "changed":
            asked.set()
            await go_on.wait()
        return END

    builder = StateGraph(Working)
    builder.add_node("plan", lambda state: {"note": "planned"})
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", route, [END])
    graph = builder.compile()
    async with serving(graph, store=saver, edit=True) as client, serving(graph, store=saver) as other:
        thread = await talked(client)
        newest = (await steps_of(client, thread))[0]["id"]
        change = asyncio.create_task(branched(client, thread, newest, values={"note": "changed"}))
        await asyncio.wait_for(asked.wait(), TIMEOUT_S)
        refused = await other.delete(f"/api/threads/{thread}")
        assert refused.status_code == 409
        assert "cannot be deleted" in refused.json()["error"]
        deletion = asyncio.create_task(client.delete(f"/api/threads/{thread}"))
        await asyncio.wait({deletion}, timeout=0.05)
        assert not deletion.done()
        go_on.set()
        assert ((await change).status_code, (await deletion).status_code) == (201, 204)
        assert (await client.get(f"/api/threads/{thread}")).status_code == 404
        assert (await client.get(f"/api/inspector/threads/{thread}/steps")).status_code == 404


async def test_a_thread_can_be_deleted_after_a_change_that_was_refused() -> None:
    async with serving(a_graph(), edit=True) as client:
        thread = await talked(client)
        newest = (await steps_of(client, thread))[0]["id"]
        assert (await branched(client, thread, newest, values={"count": "many"})).status_code == 400
        assert (await client.delete(f"/api/threads/{thread}")).status_code == 204
