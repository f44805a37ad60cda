"""Targets: an agent, agents, a graph, settings, and what is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("starlette")

from langchain_core.messages import AIMessage

from stategraph import END, START, AgentInputs, StateGraph, interrupt
from stategraph.dev import loading
from stategraph.dev.attachments import files_in
from stategraph.errors import ConfigurationError
from stategraph.graph.message import add_messages
from stategraph.testing import ScriptedChatModel
from tests.dev.serving import an_agent, answered, asking, new_thread, reading, send, serving, text_of


async def no_target() -> None:
    pass


class Talk(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    files: dict[str, str]


def a_graph(name: str | None = None, **options: Any) -> Any:
    def node(state: Talk) -> Talk:
        said = state["messages"][-1]
        return {"messages": [AIMessage(f"echo: {said.text}")], "files": {"notes/a b.md": "# Notes"}}

    builder = StateGraph(Talk).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    return builder.compile(name=name, **options)


def test_each_kind_of_target_is_read() -> None:
    ada, bob = an_agent(), an_agent(agent_id="bob", name=None)
    assert loading.load(ada).agents == {"ada": "Ada"}
    assert loading.load([ada, bob]).agents == {"ada": "Ada", "bob": "bob"}
    assert loading.load(lambda: ada).name == "Ada"
    assert loading.load({"agent_id": "eve", "model": ScriptedChatModel(replies=[])}).agents == {"eve": "eve"}
    settings = loading.load({**asking(), "config": {"recursion_limit": 9}})
    assert (set(settings.settings), settings.config) == ({"agents", "hooks"}, {"recursion_limit": 9})
    graph = loading.load(a_graph("talker"))
    assert (graph.name, graph.agents, graph.graph.name) == ("talker", {}, "talker")
    assert loading.load(None).suggestions


def test_a_named_function_that_fails_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_app_of_this_test.py").write_text('def make():\n    raise KeyError("MY_KEY")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(ConfigurationError, match=r"failed when it was called: KeyError: 'MY_KEY' \(.*py, line 2\)"):
            loading.load("failing_app_of_this_test:make")
        with pytest.raises(KeyError, match="MY_KEY"):
            loading.load(sys.modules["failing_app_of_this_test"].make)
    finally:
        sys.modules.pop("failing_app_of_this_test", None)


def test_a_target_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app_of_this_test.py").write_text("from tests.dev.test_loading import a_graph\ngraph = a_graph()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert loading.load("app_of_this_test:graph").name == "graph"
        with pytest.raises(ConfigurationError, match="has no attribute 'other'"):
            loading.load("app_of_this_test:other")
    finally:
        sys.modules.pop("app_of_this_test", None)
    with pytest.raises(ConfigurationError, match="cannot be imported: ModuleNotFoundError: No module named"):
        loading.load("app_that_is_not_there:graph")
    with pytest.raises(ConfigurationError, match="is no import path"):
        loading.load("app")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (1, "is of type int; expected an AgentInputs"),
        ([], "is of type list"),
        ({}, "is of type dict"),
        ({"agents": [], "colour": 1}, "unknown settings: colour"),
        (StateGraph(Talk), "not compiled"),
        ({"agents": []}, "neither agents nor a graph"),
        (no_target, "is async"),
    ],
)
def test_what_is_no_target_is_refused(given: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        loading.load(given)


def test_a_graph_without_a_conversation_is_refused() -> None:
    builder = StateGraph(dict).add_node("node", lambda state: state).add_edge(START, "node").add_edge("node", END)
    with pytest.raises(ConfigurationError, match="holds no conversation"):
        loading.load(builder.compile())


def test_files_are_taken_as_the_profile_of_the_model_says() -> None:
    model = ScriptedChatModel(replies=[], profile={"image_inputs": True, "pdf_inputs": False})
    agent = AgentInputs(agent_id="ada", model=model)
    assert loading.load(agent).accepts == ("text/*", "image/*")
    assert loading.load(agent, ["audio/*"]).accepts == ("audio/*",)


def test_files_of_a_state_are_found_in_any_of_their_forms() -> None:
    files = {"a": "text", "b": {"content": ["one", "two"]}, "c": b"\0", "d": 1, "e": {"content": "x"}}
    assert files_in({"files": files}) == {"a": b"text", "b": b"one\ntwo", "c": b"\0", "e": b"x"}
    assert files_in({"files": [1]}) == files_in({}) == {}


@pytest.mark.anyio
async def test_a_graph_is_talked_to_and_its_files_are_saved() -> None:
    async with serving(a_graph()) as client:
        thread = await new_thread(client)
        await send(client, thread, "hello", "r1")
        async with reading(client, thread) as reader:
            frames = await reader.until("paused")
        assert "echo: hello" in str(frames)
        told = (await client.get(f"/api/threads/{thread}")).json()
        assert (told["turns"][1]["content"][0]["text"], told["files"]) == ("echo: hello", ["notes/a b.md"])
        file = await client.get(f"/api/threads/{thread}/files/notes/a%20b.md")
        assert (file.text, file.headers["content-disposition"]) == ("# Notes", "attachment; filename*=UTF-8''a%20b.md")
        assert (await client.get(f"/api/threads/{thread}/files/other")).status_code == 404


def a_graph_that_asks(question: Any) -> Any:
    def node(_: Talk) -> Talk:
        return {"messages": [AIMessage(f"answered: {interrupt(question)}")]}

    return StateGraph(Talk).add_node("node", node).add_edge(START, "node").add_edge("node", END).compile()


REVIEW = {
    "action_requests": [{"name": "mail", "args": {"to": "ann"}}],
    "review_configs": [{"action_name": "mail", "allowed_decisions": ["approve", "reject"]}],
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("question", "refused", "given"),
    [
        ("Which colour?", None, "red"),
        (REVIEW, {"decisions": [{"type": "edit"}]}, {"decisions": [{"type": "reject", "message": "not him"}]}),
    ],
)
async def test_a_question_of_a_graph_is_answered(question: Any, refused: Any, given: Any) -> None:
    async with serving(a_graph_that_asks(question)) as client:
        thread = await new_thread(client)
        await send(client, thread, "hello", "r1")
        async with reading(client, thread) as reader:
            (asked,) = (await reader.until("paused"))[-1][1]["run"]["waiting"]
            assert asked["payload"] == question
            if refused is not None:
                wrong = await answered(client, thread, {asked["id"]: refused})
                assert (wrong.status_code, "allowed: approve, reject" in wrong.json()["error"]) == (400, True)
            await answered(client, thread, {asked["id"]: given})
            assert text_of(await reader.until("paused")) == f"answered: {given}"


@pytest.mark.anyio
async def test_a_graph_goes_on_from_a_breakpoint() -> None:
    async with serving(a_graph(interrupt_before=["node"])) as client:
        thread = await new_thread(client)
        await send(client, thread, "hello", "r1")
        async with reading(client, thread) as reader:
            stopped = (await reader.until("paused"))[-1][1]["run"]
            assert (stopped["paused"], stopped["waiting"]) == (True, [])
            told = (await client.get(f"/api/threads/{thread}")).json()
            assert (told["run"]["followed"], told["turns"]) == (True, [])
            assert (await client.post(f"/api/threads/{thread}/continue", json={})).status_code == 200
            frames = await reader.until("paused")
        assert text_of(frames) == "echo: hello"
        assert frames[-1][1]["run"]["paused"] is False
