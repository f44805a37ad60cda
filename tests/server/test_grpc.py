"""The gRPC server of A2A, where settings name an address: begun with the server, reached by who may use the server."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import pytest

pytest.importorskip("a2a")

from a2a.types import GetTaskRequest, Message, Part, Role, SendMessageRequest, TaskState
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from langchain_core.messages import AIMessage

from stategraph import START, MessagesState, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.server import configuring
from stategraph.server.application import create_app
from stategraph.server.serving import OpenServerError, serve
from stategraph.server.settings import Settings
from tests.server.serving import HOST, free_port

pytestmark = pytest.mark.anyio

TOKEN = "a-token-of-the-test"


def echo(state: MessagesState) -> Any:
    return {"messages": [AIMessage(f"You said {state['messages'][-1].content}")]}


graph = StateGraph(MessagesState).add_node("echo", echo).add_edge(START, "echo").compile()


async def test_a_call_with_the_token_is_answered_and_one_without_is_refused() -> None:
    address = f"{HOST}:{free_port()}"
    app = create_app(config={"echo": graph}, token=TOKEN, settings=Settings(grpc=address))
    message = Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=[Part(text="hello")])
    asked = SendMessageRequest(message=message, tenant="echo")
    known = (("authorization", f"Bearer {TOKEN}"),)
    async with app.router.lifespan_context(app), grpc.aio.insecure_channel(address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        answer = await stub.SendMessage(asked, metadata=known, timeout=60)
        task = await stub.GetTask(GetTaskRequest(id=answer.task.id), metadata=known, timeout=60)
        refused = []
        for metadata in ((), (("authorization", "Bearer another-token-of-it"),)):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.SendMessage(asked, metadata=metadata, timeout=60)
            refused.append(error.value.code())
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert task.artifacts[0].parts[0].text == "You said hello"
    assert refused == [grpc.StatusCode.UNAUTHENTICATED] * 2


async def test_a_port_that_is_taken_ends_the_start_with_a_sentence() -> None:
    with socket.create_server((HOST, 0)) as taken:
        address = f"{HOST}:{taken.getsockname()[1]}"
        app = create_app(config={"echo": graph}, settings=Settings(grpc=address))
        with pytest.raises(ConfigurationError, match=address):
            async with app.router.lifespan_context(app):
                pass
    assert isinstance(app.state.failure, ConfigurationError)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_an_address_that_others_reach_needs_credentials(host: str) -> None:
    with pytest.raises(OpenServerError, match="know who may use it"):
        serve(config={"echo": graph}, port=0, settings=Settings(grpc=f"{host}:{free_port()}"))  # type: ignore[arg-type]


def test_settings_name_the_address_and_the_leases(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('grpc = "[::1]:2025"\n[leases]\nlease_s = 4.5\nheartbeat_s = 1\nmax_attempts = 7\n')
    read = configuring.read(file)
    assert read.grpc == "[::1]:2025"
    assert (read.leases.lease_s, read.leases.heartbeat_s, read.leases.max_attempts) == (4.5, 1, 7)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('grpc = "2025"', "expected an address and a port"),
        ('grpc = "127.0.0.1:0"', "expected an address and a port"),
        ("grpc = 2025", "expected an address and a port"),
        ("[leases]\nlease_s = 4", "heartbeat"),
        ("[leases]\nlease_s = true", "expected a number"),
        ("[leases]\nmax_attempts = 1.5", "expected a whole number"),
        ("[leases]\nttl = 4", "ttl is not known"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, said: str, sentence: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(said)
    with pytest.raises(ConfigurationError, match=sentence):
        configuring.read(file)
