"""TLS to PostgreSQL: a real server with a certificate that was made here, and clients who want to know whose it is."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from stategraph.cli.diagnose import stores
from stategraph.savers.postgres.saver import AsyncPostgresSaver, PostgresSaver
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from tests import postgres
from tests.workers.certificates import Authority

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Server:
    """A server that takes connections with TLS alone.

    Attributes:
        port: Its port at 127.0.0.1.
        authority: The file of the authority that signed its certificate, which is for `localhost`.
        stranger: The file of another authority.
    """

    port: int
    authority: Path
    stranger: Path

    def url(self, mode: str = "verify-full", root: Path | None = None, host: str = "localhost") -> str:
        named = f"&sslrootcert={quote(str(root or self.authority))}" if mode.startswith("verify") else ""
        return f"postgresql://postgres@{host}:{self.port}/postgres?sslmode={mode}{named}&connect_timeout=10"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="stategraph-tls-") as folder:
        scratch = Path(folder)
        data = scratch / "data"
        scratch.chmod(0o711)
        data.mkdir(mode=0o700)
        mine, other = Authority(scratch, "mine"), Authority(scratch, "other")
        certificate, key = mine.sign("localhost")
        key.chmod(0o600)
        if (user := postgres.user()) is not None:
            for each in (data, certificate, key):
                shutil.chown(each, user)
        try:
            programs = postgres.with_tls()
            postgres.initialise(programs, data)
            (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
            with socket.socket() as found:
                found.bind(("127.0.0.1", 0))
                port = found.getsockname()[1]
            options = ("ssl=on", f"ssl_cert_file={certificate}", f"ssl_key_file={key}")
            running = postgres.start(scratch, port, "127.0.0.1", *options, programs=programs)
        except postgres.UnavailableError as error:
            pytest.skip(str(error))
        try:
            yield Server(port, mine.file, other.file)
        finally:
            postgres.stop(running)


async def test_runs_and_checkpoints_are_stored_over_tls(server: Server) -> None:
    registry = RunRegistry.from_url(server.url())
    await registry.set_up()
    submitted = await registry.submit("thread", {"n": 1}, target="app:graph")
    found = await registry.get(submitted)
    assert found is not None
    assert found.thread_id == "thread"
    await registry.aclose()
    with PostgresSaver.from_conn_string(server.url()) as saver:
        saver.setup()
        assert list(saver.list({"configurable": {"thread_id": "none"}})) == []
    async with AsyncPostgresSaver.from_conn_string(server.url()) as waiting:
        await waiting.setup()
    with psycopg.connect(server.url()) as connection:
        (encrypted,) = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() or ()
        assert encrypted


@pytest.mark.parametrize(
    ("mode", "root", "host", "said", "way_out"),
    [
        ("verify-full", "stranger", "localhost", "certificate verify failed", "sslrootcert=FILE"),
        ("verify-ca", "stranger", "localhost", "certificate verify failed", "sslrootcert=FILE"),
        ("verify-full", "authority", "127.0.0.1", "does not match host name", "as the server's certificate has it"),
        ("verify-full", "missing", "localhost", "does not exist", "sslrootcert=FILE"),
        ("disable", "", "localhost", "no encryption", "with or without TLS, by a line of its pg_hba.conf"),
    ],
)
async def test_a_server_that_is_not_the_one_is_sent_nothing(
    server: Server, mode: str, root: str, host: str, said: str, way_out: str
) -> None:
    roots = {"authority": server.authority, "stranger": server.stranger, "missing": Path("/nowhere/root.pem")}
    url = server.url(mode, roots.get(root), host)
    registry = RunRegistry.from_url(url)
    with pytest.raises(StoreUnavailableError, match=said):
        await registry.set_up()
    await registry.aclose()
    with pytest.raises(psycopg.OperationalError) as caught, PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
    told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert said in told
    assert way_out in told
    (found,) = stores.check(url)
    assert (found.level, found.name) == ("fail", "connection")
    assert said in found.found


async def test_a_certificate_that_only_encrypts_is_what_require_asks_for(server: Server) -> None:
    registry = RunRegistry.from_url(server.url("require"))
    await registry.set_up()
    await registry.aclose()
