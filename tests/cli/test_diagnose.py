"""`stategraph diagnose`: what is wrong is found and named with a way out, and nothing secret leaves it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stategraph.cli import main
from stategraph.cli.diagnose import configuration, connections, environment, stores
from stategraph.cli.diagnose.findings import Finding, guarded
from stategraph.workers.registry.runs import RunRegistry
from tests.cli.programs import stategraph, write
from tests.loopback import Handler, listening
from tests.workers.nats_server import NatsServer, UnavailableError
from tests.workers.nats_server import serving as serving_nats


@contextlib.contextmanager
def nats_serving(*arguments: str, jetstream: bool = True) -> Iterator[NatsServer]:
    """Run a NATS server for a block, where one can be run."""
    try:
        with serving_nats(*arguments, jetstream=jetstream) as server:
            yield server
    except UnavailableError as error:
        pytest.skip(str(error))


def of(found: list[Finding], name: str) -> Finding:
    return next(each for each in found if each.name == name)


def registry(file: Path) -> str:
    """Make a database with a run that waits, one that a dead worker has, one that is interrupted, and an effect."""
    url = f"sqlite:///{file}"

    async def fill() -> None:
        made = RunRegistry.from_url(url)
        await made.set_up()
        for thread in ("a", "b", "c", "d"):
            await made.submit(thread, {}, target="app:graph")
        await made.aclose()

    asyncio.run(fill())
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE sg_run SET available_at = available_at - 600, created_at = created_at - 600")
        connection.execute("UPDATE sg_run SET status = 'running', token = 1, lease_until = 1 WHERE thread_id = 'b'")
        connection.execute("UPDATE sg_run SET status = 'interrupted' WHERE thread_id = 'c'")
        connection.execute("UPDATE sg_run SET status = 'dead' WHERE thread_id = 'd'")
        connection.execute(
            "INSERT INTO sg_effect VALUES ('s', 'k', 'h', 'in_doubt', 'r', 1, NULL, NULL, 0, NULL, 1, 1)"
        )
        connection.execute("INSERT INTO sg_worker VALUES ('w', 'h', 1, 10, '0.1.0', 1, 1, NULL)")
    return url


def test_what_is_wrong_in_a_database_is_found(tmp_path: Path) -> None:
    found = list(stores.check(registry(tmp_path / "runs.db")))
    assert of(found, "queue").level == "fail"
    assert "1 runs wait, the oldest for 6" in of(found, "queue").found
    assert "there is no worker" in of(found, "queue").found
    assert of(found, "leases") == Finding(
        "warn", "database", "leases", "1 leases have run out", "none", of(found, "leases").way_out
    )
    assert "1 runs have asked somebody" in of(found, "interrupts").found
    assert of(found, "effects").level == of(found, "dead").level == of(found, "workers").level == "warn"
    assert of(found, "schema").level == of(found, "latency").level == "ok"


def test_a_database_of_a_newer_version_is_found(tmp_path: Path) -> None:
    url = registry(tmp_path / "runs.db")
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as connection:
        connection.execute("UPDATE sg_schema SET version = 99")
    found = of(list(stores.check(url)), "connection")
    assert found.level == "fail"
    assert "have version 99" in found.found


def test_nothing_is_made_where_there_is_no_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    (found,) = stores.check(url)
    assert (found.level, found.name) == ("warn", "file")
    (tmp_path / "runs.db").touch()
    assert of(list(stores.check(url)), "schema").level == "warn"
    assert of(list(connections.agents(url)), "directory").found == "no agent is registered"
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_large_log_of_sqlite_is_found(tmp_path: Path) -> None:
    url = registry(tmp_path / "runs.db")
    with (tmp_path / "runs.db-wal").open("ab") as log:
        log.truncate(stores._WAL_BYTES + 1)
    assert next(iter(stores._file(tmp_path / "runs.db"))).level == "warn"
    (tmp_path / "runs.db-wal").unlink()
    assert url.startswith("sqlite")


def test_a_postgres_that_is_away_is_found() -> None:
    (found,) = stores.check("postgresql://app:hidden-password@127.0.0.1:1/agents")
    assert (found.level, found.name) == ("fail", "connection")


class _Server(Handler):
    status = 200

    def do_GET(self) -> None:  # noqa: N802 - named by the library
        self.answer(self.status, json.dumps({"version": "0.1.0"}).encode())


class _Refusing(_Server):
    status = 401


def test_a_server_is_asked_whether_it_is_ready_and_for_its_clock() -> None:
    with listening(_Server) as address:
        url = f"http://{address}"
        found = list(connections.server(url, "a-token"))
    assert of(found, "ready").level == "ok"
    assert of(found, "version").found == "0.1.0"
    with listening(_Refusing) as address:
        url = f"http://{address}"
        assert of(list(connections.server(url, None)), "ready").level == "fail"
        assert of(list(connections.endpoint(f"{url}/v1", "sk-1")), "credentials").level == "fail"
    for found in (list(connections.server("http://127.0.0.1:1", None)), list(connections.endpoint("ftp://x", None))):
        assert (found[0].level, found[0].name) == ("fail", "connection")


def test_a_nats_server_that_is_away_is_found() -> None:
    (found,) = connections.nats("nats://127.0.0.1:1")
    assert (found.level, found.area) == ("fail", "nats")
    assert found.way_out


def test_a_nats_server_that_is_there_is_found_with_and_without_what_stores() -> None:
    with nats_serving("--auth", "a-token-of-the-bus") as there:
        found = list(connections.nats(there.url.replace("://", "://a-token-of-the-bus@")))
        assert [each.level for each in found] == ["ok", "ok"]
        assert re.fullmatch(r"answers in \d+\.\d ms; takes messages of 1,048,576 bytes", of(found, "latency").found)
        assert of(found, "jetstream").found == "0 streams"
        (refused,) = connections.nats(there.url.replace("://", "://another@"))
        assert (refused.level, refused.name) == ("fail", "connection")
        assert "another" not in refused.found
    with nats_serving(jetstream=False) as there:
        found = list(connections.nats(there.url))
        assert [each.level for each in found] == ["ok", "ok"]
        assert of(found, "jetstream").found.startswith("it has no JetStream: start it with JetStream for")


def test_the_command_asks_a_nats_server(tmp_path: Path) -> None:
    write(tmp_path)
    with nats_serving("--auth", "planted-token-of-the-bus") as there:
        url = there.url.replace("://", "://planted-token-of-the-bus@")
        done = stategraph(tmp_path, "diagnose", "--nats", url, "--json")
    told = json.loads(done.stdout)
    levels = {each["name"]: each["level"] for each in told["findings"] if each["area"] == "nats"}
    assert levels == {"latency": "ok", "jetstream": "ok"}
    assert "planted" not in done.stdout + done.stderr


def test_who_does_not_answer_is_told_alike_whatever_it_is() -> None:
    url = "http://127.0.0.1:1"
    (server,), (models,) = connections.server(url, None), connections.endpoint(url, None)
    assert (server.level, server.name, server.found, server.expected) == (
        models.level, models.name, models.found, models.expected
    )  # fmt: skip
    assert "ConnectionRefusedError" in server.found
    assert all("whether this machine may reach it" in each.way_out for each in (server, models))


def test_limits_and_disks_that_are_small_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(environment.check(tmp_path))
    assert {"version", "extras", "nofile", "disk", "memory"} <= {each.name for each in found}
    monkeypatch.setattr(environment, "FILES", 1 << 40)
    monkeypatch.setattr(environment, "_FREE_BYTES", 1 << 60)
    found = list(environment.check(tmp_path))
    assert of(found, "nofile").level == "warn"
    assert of(found, "disk").level == "fail"


def test_faults_of_files_of_settings_are_found(tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"agent": "./nothing.py:graph"}, "dependencies": ["."]}')
    settings = tmp_path / "server.toml"
    settings.write_text('cors = ["https://a.example"]\n[limits]\nstreams = 5\n[auth.api_keys]\nfile = "keys.jsonl"\n')
    (tmp_path / "keys.jsonl").touch()
    (tmp_path / "keys.jsonl").chmod(0o644)
    found = list(configuration.check(config, settings, {"STATEGRAPH_STORE": "sqlite:///a.db "}))
    assert of(found, "graph").level == "fail"
    assert "limits.streams=5" in of(found, "settings").found
    assert "others may read" in of(found, "permissions").found
    assert [each.level for each in found if each.name == "variables"] == ["ok", "warn"]
    settings.write_text("unknown = 1\n")
    config.write_text("{")
    found = list(configuration.check(config, settings, {}))
    assert of(found, "settings").level == of(found, "langgraph.json").level == "fail"


def test_a_check_that_fails_is_a_finding() -> None:
    def fails() -> Any:
        raise RuntimeError("broken")

    (found,) = guarded("database", fails)
    assert found.level == "fail"
    assert "RuntimeError: broken" in found.found


#: Secrets, each of which would be in the output if it were shown as it is given.
PLANTED = {
    "STATEGRAPH_TOKEN": "planted-token-of-the-server",
    "STATEGRAPH_JWT_SECRET": "planted-secret-of-tokens-0123456789",
    "OPENAI_API_KEY": "sk-planted-key-of-models",
    "LANGSMITH_API_KEY": "lsv2_planted_key",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer planted-header",
    "STATEGRAPH_AGENTS_TOKEN": "planted-token-of-agents",
    "LANGCHAIN_ENDPOINT": "https://user:planted-in-an-address@example.com",
}


def test_no_secret_is_in_the_output_or_the_report(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ".env").write_text(
        "MY_API_KEY=planted-in-a-file\nexport DB_URL='postgres://u:planted-db-password@h/d'\n"
    )
    (tmp_path / "langgraph.json").write_text('{"graphs": {}, "dependencies": ["."], "env": ".env"}')
    report = tmp_path / "report.json"
    words = [
        "diagnose", "--store", "postgresql://app:planted-password@127.0.0.1:1/agents?sslpassword=planted-ssl-word",
        "--nats", "nats://planted-nats-token@127.0.0.1:1", "--server", "http://127.0.0.1:1/?token=planted-query-token",
        "--models", "http://u:planted-login@127.0.0.1:1/v1", "--report", str(report),
    ]  # fmt: skip
    for more in ([], ["--json"]):
        done = stategraph(tmp_path, *words, *more, **PLANTED)
        assert done.returncode == 2, done.stderr
        shown = done.stdout + done.stderr + report.read_text()
        assert "planted" not in shown.replace(str(tmp_path), ""), shown
        assert "FAIL database: connection" in shown or '"name": "connection"' in shown
    told = json.loads(report.read_text())
    assert told["exit_code"] == 2
    assert {"nats", "server", "models", "database"} <= {each["area"] for each in told["findings"]}


def test_all_is_well_on_a_machine_that_is(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    operations = RunRegistry.from_url(f"sqlite:///{file}").operations
    operations.set_up()
    operations.close()
    done = stategraph(tmp_path, "diagnose", "--store", f"sqlite:///{file}", "--json")
    told = json.loads(done.stdout)
    assert [each for each in told["findings"] if each["level"] == "fail"] == []
    assert done.returncode == told["exit_code"] == max(0, *(each["level"] == "warn" for each in told["findings"]))


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--config", str(tmp_path / "no.json"), "--report", str(tmp_path / "no" / "report")]) == 2
    assert "cannot be written" in capsys.readouterr().err
