"""Addresses of NATS, and connections that cannot be had: each way has a sentence, and none shows a secret."""

from __future__ import annotations

import gc
import os
import socket
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.workers.cluster import session
from stategraph.workers.nats import connection
from stategraph.workers.nats.address import read_address
from stategraph.workers.nats.connection import NatsUnavailableError, connect
from tests.workers.nats_server import NatsServer, serving
from tests.workers.waiting import until

SECRET = "s3cret"

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "servers", "proof"),
    [
        ("nats://127.0.0.1", ("nats://127.0.0.1:4222",), "no proof of who it is"),
        ("nats://localhost:4333/", ("nats://localhost:4333",), "no proof of who it is"),
        ("nats://[::1]:4222", ("nats://[::1]:4222",), "no proof of who it is"),
        (
            f"nats://{SECRET}@a.example.com,b.example.com:1",
            ("nats://a.example.com:4222", "nats://b.example.com:1"),
            "a token",
        ),
        (f"tls://me:{SECRET}@a.example.com", ("tls://a.example.com:4222",), "a user and a password"),
        ("tls://a.example.com?nkey=seed.nk", ("tls://a.example.com:4222",), "an NKey"),
        (
            "tls://a.example.com?credentials=me.creds&namespace=x",
            ("tls://a.example.com:4222",),
            "a file of credentials",
        ),
    ],
)
def test_an_address_says_where_and_by_what_proof(url: str, servers: tuple[str, ...], proof: str) -> None:
    address = read_address(url)

    assert (address.servers, address.proof) == (servers, proof)
    assert SECRET not in repr(address) + address.where


def test_secrets_of_an_address_may_hold_any_character() -> None:
    address = read_address("nats://me:a%40b%2Fc%3Fd@127.0.0.1")

    assert (address.user, address.password) == ("me", "a@b/c?d")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nats://far.example.com", "is on another machine, and the address holds no proof of who it is"),
        ("nats://127.0.0.1,far.example.com", "is on another machine"),
        ("nats://10.0.0.1", "is on another machine"),
        ("http://127.0.0.1", "begins with 'nats://' or 'tls://'"),
        ("nats:127.0.0.1", "begins with 'nats://' or 'tls://'"),
        ("nats://", "is no host with a port"),
        ("nats://host:port", "is no host with a port"),
        (
            "nats://127.0.0.1?token=x",
            "has no option 'token'; it has: ca, certificate, credentials, handshake, key, namespace, nkey",
        ),
        ("tls://127.0.0.1?key=me.key", "names the key's certificate, too: certificate=FILE"),
        ("nats://127.0.0.1?namespace=a.>", "letters, digits, '-' and '_' alone"),
    ],
)
def test_an_address_that_is_none_is_refused_in_a_sentence(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why.replace("?", r"\?")):
        read_address(url)


async def test_a_server_that_is_away_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(
            NatsUnavailableError, match=rf"nats://127\.0\.0\.1:{port} cannot be reached: .*refused.*Start"
        ):
            await connect(read_address(f"nats://{SECRET}@127.0.0.1:{port}"), "test")


async def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NatsUnavailableError, match=r"no answer in 0\.2 s"):
            await connect(read_address(f"nats://127.0.0.1:{silent.getsockname()[1]}"), "test")


async def test_a_server_that_refuses_the_proof_says_which_kind_it_was() -> None:
    with serving("--auth", SECRET) as server:
        for login, kind in (
            ("", "no proof of who it is"),
            ("wrong@", "a token"),
            ("me:wrong@", "a user and a password"),
        ):
            with pytest.raises(ConfigurationError, match=f"refuses this process, which shows {kind}") as caught:
                await connect(read_address(server.url.replace("//", f"//{login}")), "test")
            assert "wrong" not in str(caught.value)

        client = await connect(read_address(server.url.replace("//", f"//{SECRET}@")), "test")
        await client.close()


async def test_an_nkey_proves_who_a_process_is(tmp_path: Path) -> None:
    nkeys = pytest.importorskip("nkeys")
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    pair = nkeys.from_seed(bytearray(seed))
    key = pair.public_key.decode()
    pair.wipe()
    (tmp_path / "user.nk").write_bytes(seed)
    (tmp_path / "server.conf").write_text(f"authorization {{ users = [ {{ nkey: {key} }} ] }}\n")
    with serving("-c", str(tmp_path / "server.conf")) as server:
        client = await connect(read_address(f"{server.url}?nkey={tmp_path}/user.nk"), "test")
        assert client.is_connected
        await client.close()
        with pytest.raises(ConfigurationError, match="refuses this process"):
            await connect(read_address(server.url), "test")
    with pytest.raises(ConfigurationError, match=r"names the file '.*no\.nk' as its nkey, and there is none"):
        await connect(read_address(f"nats://127.0.0.1?nkey={tmp_path}/no.nk"), "test")
    (tmp_path / "bad.nk").write_text("no seed")
    with serving("-c", str(tmp_path / "server.conf")) as server:
        with pytest.raises(ConfigurationError, match=r"bad\.nk' holds no proof"):
            await connect(read_address(f"{server.url}?nkey={tmp_path}/bad.nk"), "test")
        with pytest.raises(ConfigurationError, match=r"bad\.nk' holds no certificates"):
            await connect(read_address(f"{server.url}?ca={tmp_path}/bad.nk"), "test")


async def test_a_server_that_takes_too_little_in_a_message_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server.conf").write_text("max_payload: 4096\n")
    with (
        serving("-c", str(tmp_path / "server.conf")) as server,
        pytest.raises(ConfigurationError, match=r"at most 4,096 bytes \(max_payload\); workers need 16,384"),
    ):
        await connect(read_address(server.url), "test")


class LaterError(Exception):
    """An error of the client, to which there can be weak references."""


async def test_errors_of_a_connection_that_was_made_are_not_kept(nats_running: NatsServer) -> None:
    client = await connect(read_address(nats_running.url), "test")
    error = LaterError()
    kept = weakref.ref(error)

    await client._error_cb(error)
    del error
    gc.collect()

    assert kept() is None
    await client.close()


async def test_a_session_that_cannot_subscribe_again_closes_its_connection(
    nats_running: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    async def deaf(*arguments: Any) -> Any:
        client = await connect(*arguments)
        made.append(client)
        monkeypatch.setattr(client, "flush", fail)
        return client

    async def fail() -> None:
        raise TimeoutError("no answer to a ping")

    monkeypatch.setattr(session, "connect", deaf)
    with pytest.raises(TimeoutError):
        await session.Session(read_address(nats_running.url), "test").open()

    assert [client.is_closed for client in made] == [True]


async def test_a_session_whose_connection_is_lost_before_it_is_used_makes_another(
    nats_running: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    async def lost_now_and_then(*arguments: Any) -> Any:
        client = await connect(*arguments)
        made.append(client)
        if len(made) in (1, 3):
            monkeypatch.setattr(client, "flush", client.close)
        return client

    monkeypatch.setattr(session, "connect", lost_now_and_then)
    kept = session.Session(read_address(nats_running.url), "test")
    with pytest.raises(NatsUnavailableError, match="ended the connection at once"):
        await kept.open()

    await kept.open()
    await made[1].close()
    await until(lambda: kept.is_up)

    assert [client.is_closed for client in made] == [True, True, True, False]
    await kept.aclose()


async def test_a_connection_that_is_lost_says_so(nats_running: NatsServer) -> None:
    told = threading.Event()

    async def closed() -> None:
        told.set()

    client = await connect(read_address(nats_running.url), "test", closed)
    await client.close()
    assert told.is_set()
