"""Graphs on a server: what is asked of it, and what becomes of its answers. The server is scripted, the wire real."""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from typing_extensions import TypedDict

from stategraph import GraphLimits
from stategraph.engine import remote
from stategraph.engine.config.limits import LimitReached
from stategraph.engine.remote import wire
from stategraph.engine.remote.graph import RemoteGraph
from stategraph.engine.remote.relay import RemoteException
from stategraph.errors import ParentCommand
from stategraph.graph.state import StateGraph
from stategraph.testing import FakeClock
from stategraph.types import Command, GraphOutput, Interrupt, StateSnapshot

CHECKPOINT = {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c2", "checkpoint_map": {}}
STATE = {
    "values": {"n": 1},
    "next": ["ask"],
    "checkpoint": CHECKPOINT,
    "parent_checkpoint": {**CHECKPOINT, "checkpoint_id": "c1"},
    "metadata": {"step": 1, "source": "loop"},
    "created_at": "2026-01-01T00:00:00Z",
    "tasks": [
        {
            "id": "task-1",
            "name": "ask",
            "error": None,
            "interrupts": [{"value": "name?", "id": "i1"}],
            "checkpoint": {**CHECKPOINT, "checkpoint_ns": "ask:1"},
            "state": None,
        }
    ],
}


class Server:
    """Answers requests from a script and keeps them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self.parts: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, body))
        self.headers.append(request.headers)
        if not request.url.path.endswith("/runs/stream"):
            return httpx.Response(200, json=self.answers[request.url.path])
        self.meanwhile()
        events = "".join(f"event: {event}\ndata: {json.dumps(data)}\n\n" for event, data in self.parts)
        return httpx.Response(200, text=events, headers={"content-type": "text/event-stream"})

    async def later(self, request: httpx.Request) -> httpx.Response:
        return self(request)

    def graph(self, **options: Any) -> RemoteGraph:
        sync = httpx.Client(base_url="http://server", transport=httpx.MockTransport(self))
        async_ = httpx.AsyncClient(base_url="http://server", transport=httpx.MockTransport(self.later))
        return RemoteGraph("agent", client=LangGraphClient(async_), sync_client=SyncLangGraphClient(sync), **options)


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_run_tells_the_server_what_json_can_say_and_the_thread_apart(driver: Any, server: Server) -> None:
    server.parts = [("values", {"n": 1}), ("values", {"n": 2})]
    config = {
        "recursion_limit": 7,
        "tags": ["a", 3],
        "metadata": {"who": "me", "how": print},
        "configurable": {"thread_id": "t", "checkpoint_id": "here", "user": "u", "nothing": None},
    }
    assert driver.invoke(server.graph(), {"n": 0}, config) == {"n": 2}
    ((method, path, body),) = server.asked
    assert (method, path) == ("POST", "/threads/t/runs/stream")
    assert body["input"] == {"n": 0}
    assert body["if_not_exists"] == "create"
    assert body["config"] == {
        "recursion_limit": 7,
        "tags": ["a"],
        "metadata": {"who": "me"},
        "configurable": {"user": "u"},
    }
    assert set(body["stream_mode"]) == {"values", "updates"}


def test_a_run_without_a_thread_is_kept_nowhere(driver: Any, server: Server) -> None:
    server.parts = [("values", {"n": 1})]
    driver.invoke(server.graph(), {"n": 0})
    assert server.asked[0][1] == "/runs/stream"


def test_a_command_is_sent_in_its_own_place(driver: Any, server: Server) -> None:
    server.parts = [("values", {"n": 1})]
    driver.invoke(server.graph(), Command(resume="yes"), {"configurable": {"thread_id": "t"}})
    body = server.asked[0][2]
    assert body.get("input") is None
    assert body["command"]["resume"] == "yes"


def test_nothing_from_the_server_is_none(driver: Any, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    assert driver.invoke(server.graph(), {"n": 0}) is None
    assert "no state" in caplog.text


def test_a_stream_has_what_was_asked_for_in_the_form_asked_for(driver: Any, server: Server) -> None:
    server.parts = [("updates", {"a": {"n": 1}}), ("values|sub:1", {"n": 9}), ("values", {"n": 1})]
    graph = server.graph()
    assert driver.stream(graph, {}) == [{"a": {"n": 1}}]
    assert driver.stream(graph, {}, stream_mode="values") == [{"n": 1}]
    listed = driver.stream(graph, {}, stream_mode=["values", "updates"])
    assert [(part[0], part[1]) for part in listed] == [("updates", {"a": {"n": 1}}), ("values", {"n": 1})]
    nested = driver.stream(graph, {}, stream_mode="values", subgraphs=True)
    assert nested == [(("sub:1",), {"n": 9}), ((), {"n": 1})]
    assert server.asked[-1][2]["stream_subgraphs"] is True


def test_messages_are_pairs_under_both_names(driver: Any, server: Server) -> None:
    server.parts = [("messages|sub:1", [{"content": "hi"}, {"step": 1}])]
    for mode in ("messages", "messages-tuple"):
        assert driver.stream(server.graph(), {}, stream_mode=mode) == [({"content": "hi"}, {"step": 1})]
        assert set(server.asked[-1][2]["stream_mode"]) == {"messages-tuple", "updates"}


def test_version_2_sets_interrupts_apart(driver: Any, server: Server) -> None:
    server.parts = [("values", {"n": 1, "__interrupt__": [{"value": "name?", "id": "i1"}]})]
    (part,) = driver.stream(server.graph(), {}, stream_mode="values", version="v2")
    assert (part["type"], part["ns"], part["data"]) == ("values", (), {"n": 1})
    assert [(item.value, item.id) for item in part["interrupts"]] == [("name?", "i1")]
    output = driver.invoke(server.graph(), {}, version="v2")
    assert output == GraphOutput(value={"n": 1}, interrupts=part["interrupts"])


def test_a_failure_on_the_server_is_raised_with_what_it_says(driver: Any, server: Server) -> None:
    server.parts = [("error", {"error": "ValueError", "message": "no"})]
    with pytest.raises(RemoteException) as raised:
        driver.invoke(server.graph(), {})
    assert raised.value.args == ({"error": "ValueError", "message": "no"},)


class Outer(TypedDict):
    n: int


def _around(remote: RemoteGraph) -> Any:
    return StateGraph(Outer).add_node("far", remote).add_edge("__start__", "far").compile()


def test_as_a_node_its_stream_is_the_outer_streams(driver: Any, server: Server) -> None:
    server.parts = [("updates|inner:1", {"x": {"n": 1}}), ("updates", {"y": {"n": 2}}), ("values", {"n": 2})]
    seen = driver.stream(_around(server.graph()), {"n": 0}, stream_mode="updates", subgraphs=True)
    shown = [([level.partition(":")[0] for level in ns], data) for ns, data in seen]
    assert shown == [(["far", "inner"], {"x": {"n": 1}}), (["far"], {"y": {"n": 2}}), ([], {"far": {"n": 2}})]


def test_as_a_node_its_interrupts_are_the_outer_graphs(driver: Any, server: Server) -> None:
    server.parts = [("updates", {"__interrupt__": [{"value": "name?", "id": "i1"}]}), ("values", {"n": 0})]
    result = driver.invoke(_around(server.graph()), {"n": 0})
    assert [(item.value, item.id) for item in result["__interrupt__"]] == [("name?", "i1")]


def test_as_a_node_its_messages_count_for_the_limits_of_the_run(driver: Any, server: Server) -> None:
    def message(id: str, tokens: int) -> dict[str, Any]:
        return {"type": "ai", "id": id, "content": "", "usage_metadata": {"total_tokens": tokens}}

    server.parts = [
        ("updates|inner:1", {"model": {"messages": [message("m1", 30)]}}),
        ("updates", {"agent": {"messages": [message("m1", 30), message("m2", 12)]}}),
        ("values", {"n": 2}),
    ]

    def around() -> Any:
        graph = StateGraph(Outer).add_node("far", server.graph()).add_node("after", lambda state: {"n": 3})
        return graph.add_edge("__start__", "far").add_edge("far", "after").compile()

    limits = GraphLimits(tokens=40, on_limit="return_partial")
    assert driver.invoke(around(), {"n": 0}, control=limits) == {"n": 2}
    assert limits.reached == LimitReached("tokens", 40, 42)
    enough = GraphLimits(tokens=43, on_limit="return_partial")
    assert driver.invoke(around(), {"n": 0}, control=enough) == {"n": 3}
    assert enough.reached is None
    late = GraphLimits(seconds=1, on_limit="return_partial")
    clock = FakeClock()
    with clock.for_runs():
        server.meanwhile = lambda: clock.advance(2)
        assert driver.invoke(around(), {"n": 0}, control=late) == {"n": 2}
    assert late.reached is not None
    assert late.reached.limit == "seconds"


def test_a_snapshot_names_what_the_server_says(driver: Any, server: Server) -> None:
    server.answers["/threads/t/state/checkpoint"] = STATE
    snapshot = driver.get_state(server.graph(), {"configurable": {"thread_id": "t"}}, subgraphs=True)
    assert (snapshot.values, snapshot.next) == ({"n": 1}, ("ask",))
    assert snapshot.config == {"configurable": CHECKPOINT}
    assert snapshot.parent_config == {"configurable": {**CHECKPOINT, "checkpoint_id": "c1"}}
    (task,) = snapshot.tasks
    assert task.state == {"configurable": {**CHECKPOINT, "checkpoint_ns": "ask:1"}}
    assert snapshot.interrupts == task.interrupts
    assert task.interrupts[0].id == "i1"
    assert server.asked[-1][2] == {"checkpoint": {"thread_id": "t"}, "subgraphs": True}


def test_history_and_updates_address_the_thread(driver: Any, server: Server) -> None:
    server.answers = {"/threads/t/history": [STATE, STATE], "/threads/t/state": {"checkpoint": CHECKPOINT}}
    graph = server.graph(config={"configurable": {"thread_id": "t"}})
    assert len(driver.history(graph, {}, before={"configurable": {"checkpoint_id": "c9"}})) == 2
    asked = server.asked[-1][2]
    assert (asked["limit"], asked["before"]) == (10, {"checkpoint_id": "c9"})
    assert driver.update_state(graph, {}, {"n": 5}, as_node="ask") == {"configurable": CHECKPOINT}
    assert (server.asked[-1][2]["values"], server.asked[-1][2]["as_node"]) == ({"n": 5}, "ask")


def test_state_needs_a_thread_and_says_so(driver: Any, server: Server) -> None:
    with pytest.raises(KeyError, match="thread_id"):
        driver.get_state(server.graph(), {"configurable": {}})


def test_the_drawing_is_the_servers(server: Server) -> None:
    server.answers["/assistants/agent/graph"] = {
        "nodes": [{"id": "__start__", "data": "__start__"}, {"id": "a", "data": {"name": "Anna"}}],
        "edges": [{"source": "__start__", "target": "a"}],
    }
    graph = server.graph().get_graph()
    assert {id: node.name for id, node in graph.nodes.items()} == {"__start__": "__start__", "a": "Anna"}
    assert [(edge.source, edge.target) for edge in graph.edges] == [("__start__", "a")]


def test_a_copy_has_the_merged_config_and_the_same_clients(server: Server) -> None:
    graph = server.graph(config={"configurable": {"a": 1}}, name="here")
    copy = graph.with_config({"configurable": {"b": 2}}, tags=["t"])
    assert copy.config == {"configurable": {"a": 1, "b": 2}, "tags": ["t"]}
    assert (copy.name, copy.client, copy.sync_client) == ("here", graph.client, graph.sync_client)
    assert graph.config == {"configurable": {"a": 1}}


@pytest.mark.parametrize("call", [lambda graph: graph.invoke({}), lambda graph: graph.get_graph()])
def test_without_a_client_the_message_says_what_to_give(call: Callable[[RemoteGraph], Any]) -> None:
    with pytest.raises(ValueError, match="`url` or `sync_client`"):
        call(RemoteGraph("agent"))


def test_what_can_be_sent_is_plain_all_the_way_down() -> None:
    id = UUID(int=1)
    value = {"a": [1, object(), ("x", None)], 2: "no", "b": {"c": print, "d": id}, "e": b"bytes"}
    assert wire.sendable(value) == {"a": [1, ["x"]], "b": {"d": id}}
    assert wire.sendable(object()) is None


def test_tracing_headers_leave_the_callers_alone() -> None:
    given = {"baggage": "mine=1", "x": "y"}
    assert wire.merge_tracing_headers(given) is given  # nothing is traced here
    assert given == {"baggage": "mine=1", "x": "y"}


def test_an_event_run_only_resumes() -> None:
    assert wire.event_run_input(Command(resume="go")) == "go"
    assert wire.event_run_input({"n": 1}) == {"n": 1}
    for command in (Command(goto="a"), Command(update={"n": 1})):
        with pytest.raises(NotImplementedError, match="update_state"):
            wire.event_run_input(command)


def test_an_event_run_refuses_what_the_server_cannot_do(server: Server) -> None:
    with pytest.raises(NotImplementedError, match="`control=`"):
        server.graph().stream_events({}, version="v3", control=object())
    with pytest.raises(NotImplementedError, match="`context=`"):
        server.graph().stream_events({}, version="v3", context={})
    assert server.asked == []


def test_nobody_pays_for_remote_graphs_who_has_none() -> None:
    script = (
        "import sys, stategraph.graph.state, stategraph.engine.engine\n"
        "sys.exit(any(name.startswith(('langgraph_sdk', 'stategraph.engine.remote')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_command_to_the_graph_around_it_is_raised_as_such(driver: Any, server: Server) -> None:
    command = {"graph": "__parent__", "update": {"n": 7}, "goto": "there"}
    server.parts = [("command", {"graph": "other"}), ("command", command), ("values", {"n": 1})]
    with pytest.raises(ParentCommand) as raised:
        driver.invoke(server.graph(), {"n": 0})
    assert raised.value.args == (Command(graph=Command.PARENT, update={"n": 7}, goto="there"),)


class Traced:
    """A run that is traced here."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def to_headers(self) -> dict[str, str]:
        return self.headers


@pytest.mark.parametrize(
    ("given", "tracing", "sent"),
    [
        (None, {"trace": "1"}, {"trace": "1"}),
        ({}, {"trace": "1", "baggage": "b=2"}, {"trace": "1", "baggage": "b=2"}),
        ({"x": "y"}, {"trace": "1", "baggage": "b=2"}, {"x": "y", "trace": "1", "baggage": "b=2"}),
        ({"baggage": "a=1"}, {"trace": "1"}, {"baggage": "a=1", "trace": "1"}),
        ({"baggage": "a=1", "trace": "0"}, {"trace": "1", "baggage": "b=2"}, {"baggage": "a=1,b=2", "trace": "1"}),
    ],
)
def test_the_servers_trace_hangs_below_the_one_here(
    monkeypatch: pytest.MonkeyPatch, given: Any, tracing: dict[str, str], sent: dict[str, str]
) -> None:
    monkeypatch.setattr(wire.langsmith, "get_current_run_tree", lambda: Traced(tracing))
    before = None if given is None else dict(given)
    assert wire.merge_tracing_headers(given) == sent
    assert given == before


def test_a_task_of_a_snapshot_is_what_the_server_says_of_it() -> None:
    (told,) = STATE["tasks"]  # type: ignore[misc]
    inner = {**STATE, "tasks": [], "parent_checkpoint": None, "next": None, "metadata": None}
    tasks = [
        {**told, "error": "broken", "interrupts": [], "checkpoint": None, "result": {"n": 2}},
        {**told, "state": inner},
    ]
    snapshot = wire.snapshot_of({**STATE, "tasks": tasks})  # type: ignore[typeddict-item]
    failed, nested = snapshot.tasks
    assert (failed.id, failed.name, failed.path, str(failed.error)) == ("task-1", "ask", (), "broken")
    assert (failed.interrupts, failed.state, failed.result) == ((), None, {"n": 2})
    assert (nested.error, nested.result) == (None, None)
    assert isinstance(nested.state, StateSnapshot)
    assert (nested.state.values, nested.state.next, nested.state.metadata) == ({"n": 1}, (), {})
    assert (nested.state.parent_config, nested.state.tasks, nested.state.interrupts) == (None, (), ())
    assert snapshot.created_at == "2026-01-01T00:00:00Z"
    assert snapshot.metadata == {"step": 1, "source": "loop"}
    assert snapshot.interrupts == (Interrupt("name?", "i1"),)


def test_a_node_of_a_drawing_is_named_by_what_it_holds_or_by_its_id() -> None:
    nodes = [
        {"id": "a", "data": {"name": "Anna", "id": ["x"]}, "metadata": {"m": 1}},
        {"id": "b", "data": {"id": ["x"]}},
        {"id": "c", "data": "text"},
        {"id": "d", "name": "Dora", "data": {"name": "other"}},
    ]
    edges = [{"source": "a", "target": "b", "data": "label", "conditional": True}]
    graph = wire.drawing_of({"nodes": nodes, "edges": edges})
    assert [(node.id, node.name) for node in graph.nodes.values()] == [
        ("a", "Anna"),
        ("b", "b"),
        ("c", "c"),
        ("d", "Dora"),
    ]
    assert graph.nodes["a"].metadata == {"m": 1}
    assert graph.nodes["b"].metadata is None
    assert graph.nodes["a"].data == nodes[0]["data"]
    assert [(edge.source, edge.target, edge.data, edge.conditional) for edge in graph.edges] == [
        ("a", "b", "label", True)
    ]


def test_without_the_client_library_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'stategraph\[remote\]'") as raised:
        runpy.run_path(str(remote.__file__))
    assert raised.value.name == "langgraph_sdk"
