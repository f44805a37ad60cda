"""`stategraph keys`, and what a server makes of its file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from starlette.requests import HTTPConnection

from stategraph.cli import main
from stategraph.errors import ConfigurationError
from stategraph.server.access import api_keys, key_files
from stategraph.server.access.port import AuthenticationError
from tests.cli.programs import stategraph

pytestmark = pytest.mark.anyio


def asking(key: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(b"x-api-key", key.encode())]})


async def test_a_key_is_made_listed_used_and_revoked(tmp_path: Path) -> None:
    made = stategraph(tmp_path, "keys", "create", "ada", "--permission", "threads:read")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.splitlines()[0]
    file = tmp_path / "keys.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret.rpartition("_")[2] not in file.read_text()
    file.write_text("# of the desk\n" + file.read_text())

    listed = stategraph(tmp_path, "keys", "list", "--json")
    (fact,) = json.loads(listed.stdout)
    assert (fact["identity"], fact["permissions"]) == ("ada", ["threads:read"])

    now = [0.0]
    keys = api_keys.ApiKeys(file, clock=lambda: now[0])
    caller = await keys.authenticate(asking(secret))
    assert caller is not None
    assert caller.identity == "ada"

    revoked = stategraph(tmp_path, "keys", "revoke", fact["id"])
    assert (revoked.returncode, revoked.stdout) == (0, f"Key '{fact['id']}' is revoked.\n")
    assert file.read_text() == "# of the desk\n"
    now[0] += 10.0
    with pytest.raises(AuthenticationError):
        await keys.authenticate(asking(secret))


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.jsonl")
    assert main(["keys", "list", "--file", file]) == 2
    assert "stategraph keys create" in capsys.readouterr().err
    assert main(["keys", "create", "ada", "--file", file]) == 0
    assert main(["keys", "revoke", "0000", "--file", file]) == 1
    assert "no key with the id '0000'" in capsys.readouterr().err
    assert main(["keys", "create", " ", "--file", file]) == 2
    assert len(key_files.read(file)) == 1


def test_a_file_with_another_line_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text("no key\n")
    _, kept = api_keys.make("ada")
    with pytest.raises(ConfigurationError, match="Line 1"):
        key_files.add(file, kept)
    assert file.read_text() == "no key\n"
    assert list(tmp_path.iterdir()) == [file]
