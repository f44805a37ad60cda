"""TLS of a server, and of those who ask it: what is accepted, and what is refused with which sentence."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")

from stategraph import START, MessagesState, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.fleet import A2aTransport, AgentEndpoint, EndpointError, message
from stategraph.server.application import create_app
from stategraph.server.configuring import settings_of
from stategraph.server.network.encryption import options_of
from stategraph.server.settings import Tls
from tests.server.protocols.serving import at_port
from tests.workers.certificates import DAY, Authority

pytestmark = pytest.mark.anyio


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", "Hello.")]}


graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@contextmanager
def encrypted(authority: Authority, host: str = "127.0.0.1", **named: Any) -> Iterator[str]:
    """Serve a graph with a certificate for a host, at 127.0.0.1."""
    client_ca = named.pop("client_ca", None)
    certificate, key = authority.sign(host, **named)
    tls = Tls(certificate=str(certificate), key=str(key), client_ca=client_ca)
    with at_port(create_app(config={"agent": graph}), **options_of(tls)) as address:
        yield address.replace("http:", "https:")


async def said(address: str, ca: str | None, **named: Any) -> list[str]:
    """Ask the agent of a server, and return the texts of its answer."""
    context = ssl.create_default_context(cafile=ca)
    if "certificate" in named:
        context.load_cert_chain(*named["certificate"])
    endpoint = AgentEndpoint(agent="agent", url=f"{address}/a2a/agent")
    async with httpx.AsyncClient(verify=context, trust_env=False) as client, A2aTransport(client) as transport:
        events = [event async for event in transport.stream(endpoint, message("hi"))]
    return [part.text for event in events for part in event.artifact_update.artifact.parts]


async def test_an_agent_answers_over_tls(authority: Authority) -> None:
    with encrypted(authority) as address:
        assert "".join(await said(address, str(authority.file))) == "Hello."


@pytest.mark.parametrize("fault", ["unknown", "host", "expired"])
async def test_a_certificate_that_is_not_to_be_trusted_is_refused_with_a_way_out(
    fault: str, authority: Authority, tmp_path: Path
) -> None:
    ca, named = str(authority.file), dict[str, Any]()
    match fault:
        case "unknown":
            ca, told = str(Authority(tmp_path, "other").file), "Trust the authority that signed it"
        case "host":
            named, told = {"host": "other.example"}, "Write the name in the address that the certificate was made for"
        case _:
            named, told = {"host": "127.0.0.1", "ends_in": -DAY / 2}, "Renew it"
    with encrypted(authority, **named) as address, pytest.raises(EndpointError, match=told) as caught:
        await said(address, ca)
    assert "certificate" in str(caught.value)
    assert not caught.value.reached


async def test_clients_have_to_show_a_certificate_where_the_server_asks_for_one(authority: Authority) -> None:
    ca = str(authority.file)
    with encrypted(authority, client_ca=ca) as address:
        own = tuple(map(str, authority.sign("client.example")))
        assert "".join(await said(address, ca, certificate=own)) == "Hello."
        # With TLS 1.3 the server refuses after the handshake; whether its word comes before it hangs up is luck.
        with pytest.raises(EndpointError, match=r"asks for a certificate of the client|RemoteProtocolError|ReadError"):
            await said(address, ca)


async def test_nothing_is_sent_unencrypted_to_another_machine_unless_that_is_asked_for() -> None:
    endpoint = AgentEndpoint(agent="agent", url="http://192.0.2.1:2024/a2a/agent")
    async with A2aTransport() as transport:
        with pytest.raises(EndpointError, match=r"would be asked unencrypted.*register it as https.*plain_http=True"):
            [event async for event in transport.stream(endpoint, message("hi"))]
    refused = httpx.MockTransport(lambda request: httpx.Response(404))
    async with httpx.AsyncClient(transport=refused) as client, A2aTransport(client, plain_http=True) as transport:
        with pytest.raises(EndpointError, match="refused with status 404"):
            [event async for event in transport.stream(endpoint, message("hi"))]


async def test_a_card_leads_nobody_to_an_unencrypted_address() -> None:
    card = {
        "name": "agent",
        "description": "d",
        "version": "1",
        "supportedInterfaces": [
            {"url": "http://192.0.2.9/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "capabilities": {},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [],
    }
    asked: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json=card)

    endpoint = AgentEndpoint(agent="agent", url="https://agents.example/a2a/agent")
    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client, A2aTransport(client) as transport:
        with pytest.raises(EndpointError, match=r"the card of 'agent@https://agents.example/a2a/agent' names"):
            [event async for event in transport.stream(endpoint, message("hi"))]
    assert asked == ["https://agents.example/a2a/agent/.well-known/agent-card.json"]


def test_files_that_hold_something_else_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("127.0.0.1")
    _, other = authority.sign("other.example")
    with pytest.raises(ConfigurationError, match=r"cannot be used: .*that of the certificate"):
        options_of(Tls(certificate=str(certificate), key=str(other)))
    with pytest.raises(ConfigurationError, match="cannot be used"):
        options_of(Tls(certificate=str(tmp_path / "none.crt")))
    with pytest.raises(ConfigurationError, match="holds no certificates of authorities"):
        options_of(Tls(certificate=str(certificate), key=str(key), client_ca=str(key)))
    assert options_of(None) == {}
    found = settings_of({"tls": {"certificate": "a.crt", "key": "a.key"}}, Path("/etc/agents")).tls
    assert found == Tls(certificate="/etc/agents/a.crt", key="/etc/agents/a.key")
    for said, told in (({}, r"\[tls\] has no 'certificate'"), ({"certificate": 1}, r"\[tls\] certificate is 1")):
        with pytest.raises(ConfigurationError, match=told):
            settings_of({"tls": said}, Path())
