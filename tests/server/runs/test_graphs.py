"""Graphs of the server: langgraph.json as it is, and everything that can stand for a graph."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError, TransferError
from stategraph.server.service.graphs import configuration, environment
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.port import Caller, NotFoundError

PROGRAM = """
    import contextlib
    import operator
    from typing import Annotated, TypedDict
    from langchain_core.runnables import RunnableConfig
    from stategraph import START, StateGraph, entrypoint

    class State(TypedDict, total=False):
        log: Annotated[list, operator.add]

    def graph_that_says(word):
        def say(state: State):
            return {"log": [word]}
        return StateGraph(State).add_node("say", say).add_edge(START, "say")

    compiled = graph_that_says("compiled").compile()
    builder = graph_that_says("builder")

    @entrypoint()
    def functional(given):
        return {"log": ["functional"]}

    def plain():
        return graph_that_says("plain")

    def configured(config: RunnableConfig):
        return graph_that_says(config["configurable"]["word"]).compile()

    async def named(config):
        return graph_that_says("named " + config["configurable"]["word"]).compile()

    def ready(runtime):
        context = runtime.execution_runtime.context if runtime.execution_runtime else None
        user = runtime.user and runtime.user["identity"]
        return graph_that_says(f"{runtime.access_context} {user} {context}").compile()

    closed = []

    @contextlib.asynccontextmanager
    async def opened(config: RunnableConfig):
        yield graph_that_says("opened").compile()
        closed.append("opened")

    @contextlib.contextmanager
    def held():
        yield graph_that_says("held").compile()
        closed.append("held")

    def greedy(a, b):
        return None

    def wrong():
        return 7
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "agent.py").write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    return tmp_path


def served(folder: Path, **said: Any) -> ServedGraphs:
    (folder / "langgraph.json").write_text(json.dumps(said), encoding="utf-8")
    return ServedGraphs.from_configuration(configuration.read(folder))


async def says(graphs: ServedGraphs, graph_id: str, **need: Any) -> Any:
    async with graphs.open(graph_id, {"configurable": {"word": "this"}}, **need) as graph:
        return (await graph.ainvoke({"log": []}))["log"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compiled", "compiled"),
        ("builder", "builder"),
        ("functional", "functional"),
        ("plain", "plain"),
        ("configured", "this"),
        ("named", "named this"),
        ("opened", "opened"),
        ("held", "held"),
    ],
)
async def test_whatever_makes_a_graph_is_served(program: Path, name: str, words: str) -> None:
    graphs = served(program, graphs={"agent": f"./agent.py:{name}"}, dependencies=["."])
    assert graphs.ids() == ("agent",)
    assert await says(graphs, "agent") == [words]
    async with (
        graphs.open("agent")
        if name not in ("configured", "named")
        else graphs.open("agent", {"configurable": {"word": "w"}}) as graph
    ):
        if name != "functional":
            assert graph.name == "agent"


@pytest.mark.anyio
async def test_a_function_is_given_what_the_graph_is_for(program: Path) -> None:
    pytest.importorskip("langgraph_sdk")
    graphs = served(program, graphs={"agent": {"path": "./agent.py:ready", "description": "is ready"}})
    assert graphs.description("agent") == "is ready"
    caller = Caller("ada", {"identity": "ada"})
    assert await says(graphs, "agent", caller=caller) == ["threads.read ada None"]
    told = await says(graphs, "agent", access="threads.create_run", context={"a": 1})
    assert told == ["threads.create_run None {'a': 1}"]


@pytest.mark.anyio
async def test_what_a_function_opened_is_closed(program: Path) -> None:
    graphs = served(program, graphs={"one": "./agent.py:opened", "two": "./agent.py:held"})
    await says(graphs, "one")
    await says(graphs, "two")
    module = next(
        each for name, each in sys.modules.items() if getattr(each, "__file__", "") == str(program / "agent.py")
    )
    assert module.closed == ["opened", "held"]


@pytest.mark.anyio
async def test_graphs_are_imported_by_module_too(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(program))
    (program / "served_by_name.py").write_text("from agent import compiled as graph\n", encoding="utf-8")
    graphs = served(program, graphs={"agent": "served_by_name:graph"})
    assert await says(graphs, "agent") == ["compiled"]


@pytest.mark.anyio
async def test_agents_are_served_as_graphs() -> None:
    from stategraph import AgentInputs
    from stategraph.testing import ScriptedChatModel

    desk = AgentInputs(agent_id="desk", name="Desk", model=ScriptedChatModel(replies=["Hello."] * 4))
    other = AgentInputs(agent_id="other", name="Other", model=ScriptedChatModel(replies=["Hello."] * 3))
    agents = {"agents": [desk, other], "edges": [{"from": "desk", "to": "other"}]}
    graphs = ServedGraphs({"one": desk, "several": [desk], "settings": {"agents": [desk]}, "edges": agents})
    # The agents' own state is not for clients.
    given = {"windows": {"desk": 5}, "halt_reason": "no", "active_agent": "nobody", "usage": 5, "counts_1": {"desk": 1}}
    for name in graphs.ids():
        async with graphs.open(name) as graph:
            assert list(graph.get_input_jsonschema()["properties"]) == ["messages"]
            found = await graph.ainvoke({"messages": [("user", "Hi")], **given})
            assert found["messages"][-1].text == "Hello."
    with pytest.raises(ConfigurationError, match="hooks"):
        ServedGraphs({"desk": {"agents": [desk], "hooks": None}})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("./agent.py:nothing", "has no name 'nothing'"),
        ("./none.py:graph", "no file"),
        ("./agent.ts:graph", "no Python file"),
        ("./agent.py:greedy", "needs a, b"),
        ("./agent.py:closed", "of type list"),
        ("no_such_module:graph", "cannot be imported"),
        ("./broken.py:graph", "ZeroDivisionError"),
    ],
)
def test_what_is_no_graph_is_refused_with_its_path(program: Path, path: str, says: str) -> None:
    (program / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=says):
        served(program, graphs={"agent": path})


@pytest.mark.anyio
async def test_a_function_that_makes_no_graph_says_so_when_it_is_called(program: Path) -> None:
    graphs = served(program, graphs={"agent": "./agent.py:wrong"})
    with pytest.raises(ConfigurationError, match="of type int"):
        await says(graphs, "agent")


@pytest.mark.anyio
async def test_only_graphs_that_are_served_are_found(program: Path) -> None:
    graphs = served(program, graphs={"agent": "./agent.py:compiled"})
    with pytest.raises(NotFoundError):
        await says(graphs, "other")
    for target in ("graph:other", "agent:compiled", "os:system"):
        with pytest.raises(TransferError):
            await graphs.find(target)
    assert await graphs.find(graphs.target("agent"))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"graphs": {}},
        {"graphs": ["./agent.py:graph"]},
        {"graphs": {"agent": "agent.py"}},
        {"graphs": {"agent": {"description": "no path"}}},
        {"graphs": {"agent": "./agent.py:compiled"}, "env": 7},
        {"graphs": {"agent": "./agent.py:compiled"}, "dependencies": "."},
        {"graphs": {"agent": "./agent.py:compiled"}, "dependencies": ["./none"]},
        {"graphs": {"agent": "./agent.py:compiled"}, "env": "none.env"},
        {"graphs": {"a:b": "./agent.py:compiled"}},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(program: Path, said: Any) -> None:
    with pytest.raises(ConfigurationError):
        served(program, **said)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        configuration.read(tmp_path)
    for text in ("{", "[]"):
        (tmp_path / "langgraph.json").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError):
            configuration.read(tmp_path)


def test_settings_of_the_server_are_kept(program: Path) -> None:
    said = {"store": {"index": {"dims": 3}}, "auth": {"path": "./a.py:auth"}, "http": {"disable_mcp": True}}
    (program / "langgraph.json").write_text(
        json.dumps({"graphs": {"agent": "./agent.py:compiled"}, **said}), encoding="utf-8"
    )
    found = configuration.read(program / "langgraph.json")
    assert {"store": found.store, "auth": found.auth, "http": found.http} == said


def test_variables_are_set_unless_they_are(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "# a comment",
        "SERVED_A=plain  # behind it",
        "export SERVED_B='with # and  spaces '",
        'SERVED_C="two\\nlines"',
        "SERVED_D=",
        "not a line",
    ]
    (program / "some.env").write_text("\n".join(lines), encoding="utf-8")
    assert list(environment.variables_in(program / "some.env")) == [
        ("SERVED_A", "plain"),
        ("SERVED_B", "with # and  spaces "),
        ("SERVED_C", "two\nlines"),
        ("SERVED_D", ""),
    ]
    monkeypatch.setenv("SERVED_A", "before")
    monkeypatch.setenv("SERVED_B", "taken away at the end of the test")
    monkeypatch.delenv("SERVED_B")
    served(program, graphs={"agent": "./agent.py:compiled"}, env={"SERVED_A": 1, "SERVED_B": 2})
    assert (os.environ["SERVED_A"], os.environ["SERVED_B"]) == ("before", "2")


def test_dependencies_are_imported_from(program: Path) -> None:
    (program / "lib" / "src").mkdir(parents=True)
    served(program, graphs={"agent": "./agent.py:compiled"}, dependencies=["./lib", "langchain-core"])
    assert str(program / "lib") in sys.path
    assert str(program / "lib" / "src") in sys.path
