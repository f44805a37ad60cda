"""Canaries wherever a host gives secrets, and a search for them in all that comes out of what fails.

Endpoints and servers repeat what they were given. Each scenario also runs with the hiding switched off: there the
search has to find every canary, else it would show nothing.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import traceback
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.tools import ToolException
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run as TracedRun
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import SecretStr

from stategraph import AgentRuntime
from stategraph.agent.mcp import McpSessions, slots
from stategraph.agent.mcp.servers import parse
from stategraph.agent.settings import secrets
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.errors import ConfigurationError
from stategraph.run.config import RunConfig
from stategraph.run.events.event_types import GraphEvents
from stategraph.testing import call, reply
from stategraph.testing.chat_model import ScriptedChatModel
from tests import loopback
from tests.agent.counting import count, history
from tests.agent.mcp.test_mcp_gateways import ITS_OWN, Server, server
from tests.agent.mcp.test_mcp_rude_servers import rude
from tests.agent.test_secrets import chain
from tests.conftest import Listen

pytestmark = pytest.mark.anyio

__all__ = ["server"]  # a fixture

CLIENTS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
"""Loggers of model providers' clients, which the documentation says are not covered."""


def canary(name: str) -> str:
    """A secret that is recognised by either end, since others cut long texts in the middle."""
    return f"{name}-canary-{'0123456789' * 5}-canary-{name}0"


def canaries_in(text: str) -> set[str]:
    if "canary" not in text and BASIC not in text:
        return set()
    found = {begin or end for begin, end in re.findall(r"([a-z]+)-canary|canary-([a-z]+)0", text)}
    return found | ({"password"} if BASIC in text else set())


BASIC = b64encode(f"user:{canary('password')}".encode()).decode()


@pytest.fixture
def hiding_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "SHORTEST", 10_000)


class Tracer(BaseTracer):
    def __init__(self, out: Out) -> None:
        super().__init__()
        self._out = out

    def _persist_run(self, run: TracedRun) -> None:
        self._out.saw("tracer", run, *(getattr(run, name) for name in ("inputs", "outputs", "serialized", "extra")))
        self._out.saw("tracer", run.events, run.error)
        for inner in run.child_runs:
            self._persist_run(inner)


class Out:
    """All that came out, by where."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}

    def saw(self, where: str, *values: Any) -> None:
        self.texts.setdefault(where, []).extend(text for each in values for text in (repr(each), str(each)))

    def failed(self, where: str, error: BaseException) -> None:
        for each in chain(error):
            self.saw(where, each, each.args, getattr(each, "__notes__", ()), getattr(each, "body", None))
        self.saw(where, "".join(traceback.format_exception(error)))

    def logged(self, records: list[logging.LogRecord], *left_out: str) -> None:
        for record in records:
            if record.name.partition(".")[0] not in left_out:
                self.saw("log", logging.Formatter("%(name)s %(message)s").format(record), record.args)

    async def hear(self, event: str, data: Any, metadata: Any, _graph: Any) -> None:
        self.saw("handlers", event, data, metadata)
        if isinstance(error := data.get("error"), BaseException):
            self.failed("handlers", error)

    def found(self) -> dict[str, set[str]]:
        """Canaries by where they were found."""
        found = {where: set().union(*map(canaries_in, texts)) for where, texts in self.texts.items()}
        return {where: names for where, names in found.items() if names}

    def stored(self, folder: Path) -> None:
        for file in folder.iterdir():
            self.saw("checkpoints", file.read_bytes().decode("latin-1"))

    async def run(self, runtime: AgentRuntime, agent: dict[str, Any], *, traced: bool = True) -> None:
        """Execute a run of an agent, and look at it from everywhere."""
        thread = f"thread-{agent['agent_id']}"
        run = await runtime.create_run(run_id=f"run-{agent['agent_id']}", agents=[agent], token_counter=count)
        config = {"configurable": {"thread_id": thread}, "callbacks": [Tracer(self)] if traced else []}
        task = runtime.start(run, {"messages": history()}, config)
        async for event in run.attach():
            self.saw("events", event, event.to_json())
        try:
            await task
        except Exception as error:
            self.failed("errors", error)
        self.saw("answer", run.get_run_messages())
        state = RunConfig.of({"run_id": "r", "graph_config": {"agents": [agent]}})
        self.saw("representations", run, vars(run), run.graph, run.graph.agents, state, AgentInputs.of(agent))
        self.saw("representations", runtime, runtime.mcp, vars(runtime), runtime.statistics(), run.statistics())
        for made in run.graph.agents:
            for route in made.routes:
                self.saw("representations", route, route.model)
                if traced:
                    self.saw("representations", dumps(getattr(route.model, "bound", route.model)))


# Models.


class Repeating:
    """An endpoint that answers with the path and the headers that it was sent."""

    ANSWERS = (
        (401, "application/json", '{"error": {"message": "who is {sent}?", "code": "{sent}"}}'),
        (500, "text/plain", "oops: {sent}"),
        (200, "text/html", "<html>{sent}</html>"),
        (200, "text/event-stream", "data: {nope {sent}\n\n"),
        (200, "text/event-stream", 'data: {"error": {"message": "{sent}"}}\n\n'),
        (
            200,
            "text/event-stream",
            'data: {"id": "x", "choices": [{"index": 0, "delta": {"content": {"{sent}": 1}}}]}\n\n',
        ),
        (200, "text/event-stream", 'data: {"id": "x", "choices": "{sent}"}\n\n'),
    )

    def __init__(self) -> None:
        self.answer = self.ANSWERS[0]
        self.got: list[str] = []
        endpoint = self

        class Handler(loopback.Handler):
            def post(self) -> None:
                self.body()
                sent = " ".join([self.path, *(f"{name}: {value}" for name, value in self.headers.items())])
                endpoint.got.append(sent)
                status, kind, text = endpoint.answer
                self.answer(status, text.replace("{sent}", json.dumps(sent)[1:-1]).encode(), kind)

        self.handler = Handler
        self.where = ""


@pytest.fixture
def endpoint(listen: Listen) -> Repeating:
    made = Repeating()
    made.where = listen(made.handler)
    return made


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


REPEATED = {
    *("apikey", "header", "query", "password", "address", "extra", "asked", "environment", "fallback", "summary"),
    "ready",
}
"""Canaries that reach the endpoint."""

ILLEGAL = {"broken", "upper", "lower", "illegal"}
"""Canaries that no header can have."""


EXTRA = {"extra_headers": {"x-extra": canary("extra")}, "extra_query": {"asked": canary("asked")}}


def described(where: str, name: str, **more: Any) -> dict[str, Any]:
    """An agent."""
    configuration = {"baseURL": f"http://{where}/v1", **more.pop("configuration", {})}
    given = {"model": "m", "apiKey": "none", "maxRetries": 0, "configuration": configuration, **more}
    return {"agent_id": name, "provider": "openAI", "client_options": given}


def together(where: str) -> dict[str, Any]:
    """An agent with several secrets that the endpoint gets in one request."""
    configuration = {
        "defaultHeaders": {"x-gateway": f"Bearer {canary('header')}"},
        "defaultQuery": {"sig": canary("query")},
    }
    return described(where, "together", apiKey=canary("apikey"), configuration=configuration, modelKwargs=EXTRA)


def agents(where: str) -> Iterator[dict[str, Any]]:
    """An agent for each place where a model's secrets are given."""
    options = partial(described, where)
    yield options("key", apiKey=canary("apikey"))
    yield options("key-with-break", apiKey=canary("broken") + "\n")
    yield options("key-of-lines", apiKey=f"{canary('upper')}\n{canary('lower')}")
    yield options("header", configuration={"defaultHeaders": {"x-gateway": f"Bearer {canary('header')}"}})
    yield options("header-with-break", configuration={"defaultHeaders": {"x-gateway": canary("illegal") + "\r\n"}})
    yield options("query", configuration={"defaultQuery": {"sig": canary("query")}})
    yield options("userinfo", configuration={"baseURL": f"http://user:{canary('password')}@{where}/v1"})
    yield options("address", configuration={"baseURL": f"http://{where}/v1?sig={canary('address')}"})
    yield options("extra", modelKwargs=EXTRA)
    from_environment = options("environment")
    del from_environment["client_options"]["apiKey"]
    yield from_environment
    second = options("", apiKey=canary("fallback"))
    yield options("first", apiKey="none\n", fallbacks=[{k: second[k] for k in ("provider", "client_options")}])
    yield {
        **options("summary"),
        "max_context_tokens": 320,
        "summarization_enabled": True,
        "summarization_config": {"parameters": {"apiKey": canary("summary")}},
    }
    ready = ChatOpenAI(model="m", api_key=SecretStr(canary("ready")), base_url=f"http://{where}/v1", max_retries=0)
    yield {"agent_id": "ready", "model": ready}


async def ask(given: Iterable[dict[str, Any]], folder: Path, caplog: pytest.LogCaptureFixture) -> Out:
    """Let agents ask their models."""
    caplog.set_level(logging.DEBUG)
    out = Out()
    async with (
        AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver,
        AgentRuntime(checkpointer=saver, custom_handlers=dict.fromkeys(GraphEvents, out.hear)) as runtime,
    ):
        for agent in given:
            # What callbacks are told of a model that came ready is that model's own.
            await out.run(runtime, agent, traced=agent["agent_id"] != "ready")
        out.stored(folder)
    out.logged(caplog.records, *CLIENTS)
    return out


@pytest.fixture(autouse=True)
def key_in_the_environment(monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", canary("environment"))


async def test_what_an_endpoint_repeats_comes_out_nowhere(
    endpoint: Repeating, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = await ask(agents(endpoint.where), tmp_path, caplog)
    assert set().union(*map(canaries_in, endpoint.got)) == REPEATED
    assert out.found() == {}
    assert len(out.texts["errors"]) > 100


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of the provider's client
@pytest.mark.parametrize("answer", Repeating.ANSWERS, ids=lambda answer: answer[2].split("{sent}")[0][:30].strip())
async def test_whatever_shape_an_answer_has_its_secrets_come_out_nowhere(
    endpoint: Repeating, answer: tuple[int, str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.answer = answer
    out = await ask([together(endpoint.where)], tmp_path, caplog)
    assert canaries_in(endpoint.got[0]) == {"apikey", "header", "query", "extra", "asked"}
    assert out.found() == {}
    assert out.texts["errors"]


async def test_of_an_endpoint_that_nobody_is_at_no_secret_comes_out(
    nobody: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = await ask([together(nobody), *islice(agents(nobody), 1, 3)], tmp_path, caplog)
    assert out.found() == {}
    assert out.texts["errors"]


@pytest.mark.usefixtures("hiding_switched_off")
async def test_the_search_finds_what_models_would_let_out(
    endpoint: Repeating, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = await ask(agents(endpoint.where), tmp_path, caplog)
    found = out.found()
    assert found["errors"] >= (REPEATED | ILLEGAL) - {"summary"}
    assert found["log"] >= (REPEATED | ILLEGAL) - {"summary"}
    assert found["events"] == found["handlers"] == {"summary"}  # others are told as classes
    assert found["tracer"] >= (REPEATED | ILLEGAL) - {"ready"}
    assert found["checkpoints"] == REPEATED - {"fallback", "summary"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_options": [canary("wrong")]},
        {"client_options": {"model": "m", "apiKey": {"key": canary("wrong")}}},
        {"client_options": {"model": "m", "maxTokens": {}, "apiKey": canary("wrong")}},
        {"client_options": {"model": "m", "configuration": {"defaultHeaders": canary("wrong")}}},
        {"client_options": {"model": "m", "fallbacks": canary("wrong")}},
        {"client_options": {"model": "m", "fallbacks": [{"provider": "openAI", "clientOption": canary("wrong")}]}},
        {"client_options": {"model": "m", "maxTokens": canary("wrong")}},
        {"clientOption": {"apiKey": canary("wrong")}},
        {"apiKey": canary("wrong")},
        {"summarization_config": {"parameters": canary("wrong")}},
        {"summarization_config": {"apiKey": canary("wrong")}},
    ],
)
async def test_settings_that_are_refused_are_not_repeated(wrong: dict[str, Any], caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    out = Out()
    async with AgentRuntime() as runtime:
        with pytest.raises(ConfigurationError) as caught:
            await runtime.create_run(run_id="r", agents=[{"agent_id": "a", "provider": "openAI", **wrong}])
    out.failed("errors", caught.value)
    out.logged(caplog.records)
    assert out.found() == {}


# MCP.

MOODS = {
    "refuses": "leaks all",
    "fails": "leaks as a tool",
    "logs": "leaks in its log",
    "mumbles": "leaks as no message",
    "dies": "leaks and dies",
    "lists": "leaks in its list",
    "breaks": "leaks at the start",
}
PARTS = ("arg", "head", "var", "pass", "env")


def servers(where: str, nobody: str) -> dict[str, Any]:
    """Servers with secrets in all their settings."""

    def program(name: str, mood: str) -> dict[str, Any]:
        arg, head, var, password, env = (canary(f"{name}{part}") for part in PARTS)
        given = ("--api-key", arg, "--header", f"x-gateway: {head}", "-e", f"API_TOKEN={var}")
        return rude(mood, "", *given, f"https://user:{password}@host/", env={"KEY": f"{env}\n"})

    def endpoint(name: str, host: str) -> dict[str, Any]:
        url = f"http://user:{canary('password')}@{host}/mcp?sig={canary(f'{name}query')}"
        return {"url": url, "headers": {"x-gateway": f"Bearer {canary(f'{name}header')}"}}

    missing = {**program("missing", ""), "command": "/no/such/program"}
    endpoints = {"far": endpoint("far", where), "gone": endpoint("gone", nobody)}
    return {**{name: program(name, mood) for name, mood in MOODS.items()}, "missing": missing, **endpoints}


SENT = " ".join([canary("password"), canary("farquery"), canary("farheader"), BASIC])
ANSWERS = (
    (401, "application/json", ITS_OWN.replace(b"arguments", SENT.encode())),
    (502, "text/html", SENT.encode()),
    (200, "application/json", f'{{"id": {SENT}'.encode()),
    (200, "text/event-stream", f"data: {{{SENT}\n\n".encode()),
    (200, f"text/{canary('farheader')}", SENT.encode()),
)
"""What stands in for the server over HTTP, as if it had read what that was sent."""


async def call_everything(
    described: dict[str, Any], server: Server, folder: Path, caplog: pytest.LogCaptureFixture
) -> Out:
    """Let an agent call the tools of all servers."""
    caplog.set_level(logging.DEBUG)
    out = Out()
    async with (
        AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver,
        AgentRuntime(
            checkpointer=saver, mcp_servers=described, custom_handlers=dict.fromkeys(GraphEvents, out.hear)
        ) as runtime,
    ):
        tools = await runtime.tools()
        for n, server.instead in enumerate(ANSWERS):
            called = [tool.name for tool in tools] if n == 0 else ["add"]
            calls: Any = reply(*(call(name, {"n": 1}, id=f"c{at}") for at, name in enumerate(called)))
            model = ScriptedChatModel(replies=[calls, "Done."])
            await out.run(runtime, {"agent_id": f"a{n}", "model": model, "tools": tools})
        for name in described:
            with pytest.raises(ToolException) as caught:
                await runtime.mcp.tools(name)
                await runtime.mcp.call_tool(name, "fine", {"n": 1})
                await runtime.mcp.read_resource(name, "file:///none")
            out.failed("errors", caught.value)
        out.saw("representations", vars(runtime.mcp), *tools, *(tool.metadata for tool in tools))
        out.stored(folder)
    out.saw("representations", runtime.mcp, *(parse(name, given) for name, given in described.items()))
    out.logged(caplog.records)  # of the packages below too
    return out


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "backoff_s", lambda _failures: 0.0)


async def test_what_mcp_servers_repeat_comes_out_nowhere(
    server: Server, nobody: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = await call_everything(servers(server.where, nobody), server, tmp_path, caplog)
    assert out.found() == {}
    assert sum("[redacted]" in text for texts in out.texts.values() for text in texts) > 50
    assert {path for path, _ in server.seen} == {f"/mcp?sig={canary('farquery')}"}


@pytest.mark.usefixtures("hiding_switched_off")
async def test_the_search_finds_what_mcp_servers_would_let_out(
    server: Server, nobody: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = (await call_everything(servers(server.where, nobody), server, tmp_path, caplog)).found()
    told = {"password", "farquery", "farheader"}
    repeated = {f"{name}{part}" for name in ("refuses", "breaks") for part in PARTS}
    names = set().union(*found.values())
    # The file of a database has some names in two pieces, on either side of the end of a page.
    pieces = {name for name in names if any(name != other and other.endswith(name) for other in names)}
    assert names - pieces == told | repeated | {"failsenv", "logsenv", "listsenv"}
    assert found["log"] >= told | {"breaksenv", "listsenv"}
    for where in ("events", "handlers", "tracer", "checkpoints", "answer"):
        assert found[where] >= told | {"refusesarg", "failsenv"}, where
    assert "logsenv" in found["handlers"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": "p", "env": {"KEY": [canary("wrong")]}},
        {"command": "p", "env": canary("wrong")},
        {"command": "p", "args": canary("wrong")},
        {"command": "p", "environment": {"KEY": canary("wrong")}},
        {"commands": "p", "env": {"KEY": canary("wrong")}},
        {"url": f"ftp://user:{canary('wrong')}@host/?sig={canary('wrong')}"},
        {"url": f"http://[{canary('wrong')}"},
        {"url": [canary("wrong")]},
        {"url": "http://host", "headers": {"x": canary("wrong") + "\n"}},
        {"url": "http://host", "headers": {"x": f"{canary('wrong')}\nb"}},
        {"url": "http://host", "headers": [canary("wrong")]},
        {"url": "http://host", "header": {"x": canary("wrong")}},
        {"url": "http://host", "callTimeoutS": canary("wrong"), "headers": {"x": canary("wrong")}},
        {"url": f"http://{canary('wrong')}@host:port", "logLevel": canary("wrong")},
    ],
)
def test_descriptions_of_servers_that_are_refused_are_not_repeated(wrong: dict[str, Any]) -> None:
    out = Out()
    with pytest.raises(ConfigurationError) as caught:
        McpSessions({"one": wrong})
    out.failed("errors", caught.value)
    assert out.found() == {}
