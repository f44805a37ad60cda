"""TLS and credentials of NATS, with a real server: for the bus, for pools, and what is refused with which sentence."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from stategraph.errors import ConfigurationError
from stategraph.workers.cluster import session as sessions
from stategraph.workers.cluster.node import NodeSettings
from stategraph.workers.cluster.pool import ClusterSettings, NatsPool
from stategraph.workers.cluster.serving import node_at
from stategraph.workers.nats import connection
from stategraph.workers.nats.address import read_address
from stategraph.workers.nats.connection import NatsUnavailableError, connect
from stategraph.workers.pool import PoolHealth
from stategraph.workers.thread import ThreadPool
from stategraph.workers.wakeups import bus as buses
from stategraph.workers.wakeups.bus import Bus
from stategraph.workers.wakeups.buses import open_bus
from stategraph.workers.wakeups.signals import Signal, SignalKind
from tests.workers.certificates import DAY, Authority
from tests.workers.contract import job
from tests.workers.nats_server import NatsServer, serving
from tests.workers.waiting import until

SECRET = "s3cret-t0ken"
LIMIT_S = 60.0

credentials = pytest.importorskip("tests.workers.credentials", reason="needs nkeys")

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shorter for connections that cannot be closed."""
    monkeypatch.setattr(connection, "CLOSE_S", 0.2)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[NatsServer]:
    """A server with TLS and a token."""
    with serving(*authority.serve("127.0.0.1"), "--auth", SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def operator() -> Any:
    return credentials.Operator()


@pytest.fixture(scope="module")
def guarded(operator: Any, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server with TLS, that lets in those to whom the operator gave credentials."""
    file = tmp_path_factory.mktemp("server") / "server.conf"
    with serving(*operator.configure(file), *authority.serve("127.0.0.1")) as server:
        yield server


def address_of(server: NatsServer, authority: Authority, login: str = "", query: str = "") -> str:
    return f"tls://{login}127.0.0.1:{server.port}?ca={authority.file}{query}"


@asynccontextmanager
async def bus_at(url: str) -> AsyncIterator[Bus]:
    bus = open_bus(url, "sqlite:///x")
    try:
        yield bus
    finally:
        await anyio.to_thread.run_sync(bus.close)


async def assert_signals_and_jobs_pass(url: str) -> None:
    topic = (SignalKind.EVENTS, "run")
    async with bus_at(url) as one, bus_at(url) as other:
        with one.watch([topic]) as wakes:
            await until(lambda: one.is_live)
            await wakes.wait(LIMIT_S)  # of the connection, and of the subscription
            await wakes.wait(1.0)
            other.publish([Signal(*topic)])
            with anyio.fail_after(LIMIT_S):
                await wakes.wait(LIMIT_S)
    settings = ClusterSettings(ack_wait_s=1.0, local="thread")
    async with NatsPool(url, 1, allow=["tests.workers"], settings=settings) as pool:
        for value in (21, "x" * 600_000):  # in a message, and in the object store
            handle = await pool.submit(job("double", value, id=str(len(str(value)))))
            with anyio.fail_after(LIMIT_S):
                assert await handle.result() == 2 * value


async def test_a_token_goes_over_tls_for_the_bus_and_for_pools(
    encrypted: NatsServer, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    await assert_signals_and_jobs_pass(address_of(encrypted, authority, f"{SECRET}@"))

    assert SECRET not in caplog.text


async def refused(url: str, kind: type[Exception] = ConfigurationError) -> str:
    """The sentence with which a connection, the bus and a pool are refused."""
    with pytest.raises(kind) as caught:
        await connect(read_address(url), "test")
    said = str(caught.value)
    async with bus_at(url) as bus:
        with bus.watch([(SignalKind.WORK, "q")]):
            await until(lambda: bus.health().last_error is not None)
        assert bus.health() == buses.BusHealth("nats", is_live=False, last_error=f"{kind.__name__}: {said}")
    with pytest.raises(kind) as caught:
        await NatsPool(url).open()
    assert str(caught.value) == said
    assert SECRET not in said
    return said


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_a_server_whose_authority_is_not_known_is_refused(encrypted: NatsServer, scheme: str) -> None:
    said = await refused(f"{scheme}://{SECRET}@127.0.0.1:{encrypted.port}")

    assert said.startswith(
        f"The certificate of the NATS server at {scheme}://127.0.0.1:{encrypted.port} is not accepted"
    )
    assert said.endswith("Name the file with the certificate of the authority that signed it: ?ca=FILE")


async def test_a_server_that_another_authority_vouches_for_is_refused(encrypted: NatsServer, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")

    said = await refused(address_of(encrypted, other, f"{SECRET}@"))

    assert "is not accepted: " in said
    assert f"The file '{other.file}' does not hold the authority that signed it" in said


async def test_a_server_under_another_name_is_refused(authority: Authority) -> None:
    with serving(*authority.serve("nats.example.com")) as server:
        said = await refused(address_of(server, authority, f"{SECRET}@"))
    assert "mismatch, certificate is not valid for '127.0.0.1'. Write the name in the address that" in said


async def test_a_certificate_that_has_expired_is_refused(authority: Authority) -> None:
    with serving(*authority.serve("127.0.0.1", ends_in=-DAY)) as server:
        said = await refused(address_of(server, authority))
    assert said.endswith("is not accepted: certificate has expired. Renew it")


@pytest.fixture
def asking(authority: Authority, tmp_path: Path) -> Iterator[NatsServer]:
    """A server that knows its clients by their certificates."""
    certificate, key = authority.sign("127.0.0.1")
    (tmp_path / "server.conf").write_text(
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.file}", verify_and_map: true }}\n'
        'authorization { users = [ { user: "worker.example.com" } ] }\n'
    )
    with serving("-c", str(tmp_path / "server.conf")) as server:
        yield server


async def test_a_certificate_proves_who_a_process_is(asking: NatsServer, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("worker.example.com")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())

    await assert_signals_and_jobs_pass(address_of(asking, authority, query=f"&certificate={certificate}&key={key}"))

    client = await connect(read_address(address_of(asking, authority, query=f"&certificate={both}")), "test")
    await client.close()
    other, its_key = authority.sign("other.example.com")
    said = await refused(address_of(asking, authority, query=f"&certificate={other}&key={its_key}"))
    assert "refuses this process, which shows a certificate" in said


async def test_a_server_that_begins_with_the_handshake_is_supported_or_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.sign("127.0.0.1")
    (tmp_path / "server.conf").write_text(
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", handshake_first: true }}\n'
        f'authorization {{ token: "{SECRET}" }}\n'
    )
    with serving("-c", str(tmp_path / "server.conf"), handshake_first=True) as server:
        await assert_signals_and_jobs_pass(address_of(server, authority, f"{SECRET}@", "&handshake=first"))
        monkeypatch.setattr(connection, "CONNECT_S", 1.0)
        with pytest.raises(NatsUnavailableError, match=r"no answer in 1 s.* write \?handshake=first"):
            await connect(read_address(address_of(server, authority, f"{SECRET}@")), "test")
    with pytest.raises(ConfigurationError, match="The handshake 'last' of NATS is not known: write handshake=first"):
        read_address("tls://127.0.0.1?handshake=last")


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_a_handshake_that_comes_first_fails_with_a_server_that_does_not_expect_it(scheme: str) -> None:
    with serving("--auth", SECRET) as server:
        address = read_address(f"{scheme}://{SECRET}@127.0.0.1:{server.port}?handshake=first")
        with pytest.raises(NatsUnavailableError, match=r"TLS with the NATS server at .* failed"):
            await connect(address, "test")


async def test_a_server_that_asks_for_a_certificate_says_so(
    asking: NatsServer, authority: Authority, tmp_path: Path
) -> None:
    unknown, key = Authority(tmp_path, "other").sign("worker.example.com")
    for query in ("", f"&certificate={unknown}&key={key}"):
        # The server's alert, or the end of the connection if that is noticed before.
        with pytest.raises((ConfigurationError, NatsUnavailableError), match=r"asks for a certificate of this process"):
            await connect(read_address(address_of(asking, authority, query=query)), "test")


@pytest.mark.parametrize("certificate", [None, "own.crt"])
def test_the_alert_of_a_server_that_asks_for_a_certificate_is_a_sentence(certificate: str | None) -> None:
    alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:1)")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    address = read_address("tls://127.0.0.1:4222" + (f"?certificate={certificate}" if certificate else ""))

    said = connection._in_a_sentence([alert], address, None)

    assert isinstance(said, ConfigurationError)
    shown = "none" if certificate is None else f"that in '{certificate}'"
    assert f"and was shown {shown}: name one with ?certificate=FILE&key=FILE" in str(said)


async def test_a_certificate_without_its_key_is_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.sign("worker.example.com")
    _, another = Authority(tmp_path, "other").sign("worker.example.com")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode())
        )
    )
    for key in (f"&key={another}", f"&key={encrypted}", ""):
        said = await refused(f"tls://127.0.0.1:1?certificate={certificate}{key}")
        assert said.startswith(f"The certificate for the NATS server, '{certificate}'")
        assert said.endswith("Both have to be PEM, and the key not encrypted")
    said = await refused(f"tls://127.0.0.1:1?certificate={certificate}&key={tmp_path}/no.key")
    assert said == f"The address of NATS names the file '{tmp_path}/no.key' as its key, and there is none"


async def test_a_file_of_authorities_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = await refused(f"tls://{SECRET}@127.0.0.1?ca={tmp_path}/no.pem")

    assert said == f"The address of NATS names the file '{tmp_path}/no.pem' as its ca, and there is none"


class Eavesdropper:
    """A server without TLS, or one between: it keeps what it is sent."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Eavesdropper]:
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.15.1","nonce":"abc","auth_required":true,"headers":true,')
        writer.write(b'"max_payload":1048576}\r\n')
        while line := await reader.readline():
            self.heard += line
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()


@pytest.mark.parametrize("login", [f"{SECRET}@", f"me:{SECRET}@"], ids=["token", "password"])
@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_no_secret_is_sent_to_a_server_that_does_not_encrypt(
    scheme: str, login: str, authority: Authority
) -> None:
    async with Eavesdropper().listening() as server:
        said = await refused(f"{scheme}://{login}127.0.0.1:{server.port}?ca={authority.file}")
        assert (
            "does not ask for TLS, and the address does ('tls://' or a certificate): no secret was sent to it" in said
        )
    assert SECRET.encode() not in server.heard


async def test_a_server_that_only_offers_tls_is_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("127.0.0.1")
    (tmp_path / "server.conf").write_text(
        f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\nallow_non_tls: true\n'
    )
    with serving("-c", str(tmp_path / "server.conf")) as server:
        assert "does not ask for TLS" in await refused(address_of(server, authority, f"{SECRET}@"))


async def test_credentials_let_the_bus_and_pools_in(
    guarded: NatsServer, operator: Any, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "app.creds"
    user = operator.let_in(file)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))  # as an editor may have left it

    await assert_signals_and_jobs_pass(address_of(guarded, authority, query=f"&credentials={file}"))

    assert user.seed.decode() not in caplog.text
    assert "eyJ" not in caplog.text  # the beginning of every JWT


async def test_credentials_of_another_operator_are_refused(
    guarded: NatsServer, authority: Authority, tmp_path: Path
) -> None:
    credentials.Operator().let_in(tmp_path / "other.creds")

    said = await refused(address_of(guarded, authority, query=f"&credentials={tmp_path}/other.creds"))

    assert "refuses this process, which shows a file of credentials" in said


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no credentials\n",
        b"-----BEGIN NATS USER JWT-----\n",
        b"-----BEGIN NATS USER JWT-----\neyJ.eyJ.x\n------END NATS USER JWT------\n",
        b"-----BEGIN USER NKEY SEED-----\nSUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n",
        b"\xff\xfe\x00",
    ],
    ids=["empty", "text", "cut off", "no seed", "no JWT", "binary"],
)
async def test_a_file_that_holds_no_credentials_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.creds").write_bytes(content)

    said = await refused(f"nats://127.0.0.1:1?credentials={tmp_path}/bad.creds")

    assert said.startswith(f"The file '{tmp_path}/bad.creds' holds no credentials for a NATS server")


@pytest.mark.parametrize("kind", ["credentials", "nkey"])
async def test_a_seed_that_is_none_is_named_and_not_shown(
    kind: str, guarded: NatsServer, authority: Authority, operator: Any, tmp_path: Path
) -> None:
    file = tmp_path / "bad"
    seed = operator.let_in(file).seed.decode()
    content = file.read_text() if kind == "credentials" else f"{seed}\n"
    file.write_text(content.replace(seed, seed[:-9]))

    said = await refused(address_of(guarded, authority, query=f"&{kind}={file}"))

    assert f"The file '{file}' holds no proof for a NATS server" in said
    assert seed[:20] not in said


async def test_credentials_that_run_out_are_read_again_when_they_are_renewed(
    guarded: NatsServer, operator: Any, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "LONGEST_PAUSE_S", 0.2)
    file = tmp_path / "app.creds"
    operator.let_in(file, lives_s=2.0)

    async with bus_at(address_of(guarded, authority, query=f"&credentials={file}")) as bus:
        with bus.watch([(SignalKind.WORK, "q")]):
            await until(lambda: bus.is_live)
            await until(lambda: "refuses this process" in (bus.health().last_error or ""))
            assert not bus.is_live
            operator.let_in(file)
            await until(lambda: bus.is_live)


async def test_a_server_that_ends_the_connection_before_it_answers_is_away() -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.15.1","max_payload":1048576}\r\n')
        await reader.readline()
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(end, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NatsUnavailableError, match=r"cannot be reached: Connection reset by peer"):
            await connect(read_address(f"nats://127.0.0.1:{port}"), "test")


async def test_a_server_that_breaks_off_the_handshake_is_away(authority: Authority) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.15.1","tls_required":true,"max_payload":1048576}\r\n')
        await reader.read(1)
        writer.write(b"no TLS at all\r\n")
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NatsUnavailableError, match=r"TLS with the NATS server at tls://127\.0\.0\.1:\d+ failed: "):
            await connect(read_address(f"tls://127.0.0.1:{port}?ca={authority.file}"), "test")


async def until_told(health: Callable[[], Awaitable[PoolHealth]], part: str) -> None:
    with anyio.fail_after(LIMIT_S):
        for _ in itertools.count():
            if part in ((await health()).last_error or ""):
                return
            await anyio.sleep(0.01)


async def test_what_a_server_does_not_allow_is_in_the_health_of_pools_and_nodes_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "server.conf").write_text(
        f'authorization {{ users = [ {{ user: me, password: "{SECRET}", permissions: {{ publish: '
        '{ deny: ["stategraph.*.who", "stategraph.*.presence"] } } } ] }\n'
    )
    workers = ThreadPool(1, allow=["tests.workers"])
    with serving("-c", str(tmp_path / "server.conf")) as server:
        url = server.url.replace("//", f"//me:{SECRET}@")
        async with NatsPool(url) as pool, workers, node_at(url, workers, NodeSettings()) as node:
            running = asyncio.ensure_future(node.run())
            said = f"The NATS server at {server.url} does not allow this process something it needs: "
            await until_told(pool.health, said)
            await until_told(node.health, said)
            assert SECRET not in str((await pool.health()).last_error)
            for _ in range(3):
                await pool.session.publish(pool.queue.subject("who"), b"")
            await pool.session.act(lambda client: client.flush())
            node.stop()
            await running
    warnings = [record.getMessage() for record in caplog.records if said in record.getMessage()]
    assert sorted(each.rpartition(".")[2] for each in warnings) == ['presence"', 'who"']


async def test_why_a_server_is_away_is_in_the_health_of_a_pool_and_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LONGEST_PAUSE_S", 0.05)
    tries = 0

    async def count(*arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        return await connect(*arguments)

    monkeypatch.setattr(sessions, "connect", count)
    with serving() as server:
        async with NatsPool(server.url) as pool:
            await anyio.to_thread.run_sync(server.stop)
            await until_told(pool.health, "cannot be reached: Connection refused")
            refused = tries
            await until(lambda: tries > refused + 2)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"The connection to the NATS server at {server.url} was lost",
        f"The NATS server at {server.url} cannot be reached: Connection refused. Start it, or correct the address",
    ]


async def test_a_session_can_be_closed_whose_client_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    trying = asyncio.Event()

    async def swallow(*_: Any) -> Any:
        trying.set()
        try:
            await asyncio.sleep(LIMIT_S)
        except asyncio.CancelledError:
            raise NatsUnavailableError("the server is away") from None

    with serving() as server:
        one = sessions.Session(read_address(server.url), "test")
        await one.open()
        monkeypatch.setattr(sessions, "connect", swallow)
        await anyio.to_thread.run_sync(server.stop)
        with anyio.fail_after(LIMIT_S):
            await trying.wait()
            await one.aclose()
