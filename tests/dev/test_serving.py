"""`stategraph dev` as a process: what it says, where it listens, how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from stategraph.cli import main
from stategraph.dev import listening, serving
from stategraph.dev.application import create_app
from stategraph.errors import ConfigurationError

COMMAND = [sys.executable, "-m", "stategraph", "dev"]
LIMIT_S = 120


def test_the_demo_is_served_until_it_is_stopped_and_keeps_its_sessions(tmp_path: Path) -> None:
    command = [*COMMAND, "--port", "0"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address is not None, line
        with urllib.request.urlopen(f"{address[0]}/api/info", timeout=LIMIT_S) as answer:
            assert b"scripted model" in answer.read()
        # A reader holds up no end.
        with urllib.request.urlopen(f"{address[0]}/api/events", timeout=LIMIT_S) as stream:
            assert stream.readline().startswith(b"retry:")
            child.send_signal(signal.SIGINT)
            assert child.wait(LIMIT_S) == 0
    finally:
        child.kill()
        _, errors = child.communicate()
    assert errors == ""
    assert (tmp_path / ".stategraph" / "threads.db").exists()
    assert (tmp_path / ".stategraph" / ".gitignore").read_text() == "*\n"


def test_the_sessions_of_settings_with_a_checkpointer_are_kept_there(tmp_path: Path) -> None:
    program = (
        "from stategraph import AgentInputs\n"
        "from stategraph.testing import ScriptedChatModel\n"
        "agent = AgentInputs(agent_id='ada', model=ScriptedChatModel(replies=['Hi.']))\n"
        "def settings():\n"
        "    return {'agents': [agent], 'checkpointer': 'sqlite:///own.db'}\n"
    )
    (tmp_path / "own_target.py").write_text(program, encoding="utf-8")
    command = [*COMMAND, "own_target:settings", "--port", "0"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert "is ready" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(LIMIT_S) == 0
    finally:
        child.kill()
        _, errors = child.communicate()
    assert errors == ""
    assert (tmp_path / "own.db").exists()
    assert not (tmp_path / ".stategraph").exists()


def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "nowhere:agent"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no module 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("options", "edits"), [([], False), (["--edit"], True)])
def test_the_inspector_changes_threads_only_if_asked(
    options: list[str], edits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr("stategraph.dev.serve", lambda _, **given: told.update(given))
    assert main(["dev", *options]) == 0
    assert told["edit"] is edits


@pytest.mark.parametrize(
    ("edit", "may"), [(False, "and read its sessions"), (True, "and read and change its sessions")]
)
def test_what_others_may_do_who_reach_the_address_is_said(edit: bool, may: str) -> None:
    said: list[str] = []
    serving._tell(create_app(edit=edit), "http://192.0.2.1:8123", False, said.append)
    assert any(may in each and "there are no keys" in each for each in said)


@pytest.mark.parametrize("port", ["99999", "-1", "\u0665", "http"])
def test_what_is_no_port_is_said_in_a_sentence(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dev", f"--port={port}"])
    assert ended.value.code == 2
    assert f"'{port}' is no port; expected a number from 0 to 65535" in capsys.readouterr().err


def test_a_port_in_use_is_refused_and_the_next_of_several_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="Choose another port"):
            listening.listen("127.0.0.1", (port,))
        with listening.listen("127.0.0.1", (port, 0)) as found:  # 0: another program may have the one behind it
            assert found.getsockname()[1] not in (0, port)


def test_addresses_are_as_a_browser_takes_them() -> None:
    assert listening.address_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert listening.address_of("::1", 80) == "http://[::1]:80"
    assert listening.address_of("localhost", 80) == "http://localhost:80"
    local = [
        each
        for each in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "agents")
        if listening.is_loopback(each)
    ]
    assert local == ["127.0.0.1", "::1", "localhost"]
