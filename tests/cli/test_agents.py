"""`stategraph agents`, as a process that asks agents over sockets."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import ROOT
from tests.fleet.scripted import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("STATEGRAPH_STORE", "STATEGRAPH_NATS", "STATEGRAPH_AGENTS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield


class Command:
    """Runs the command on one directory."""

    def __init__(self, folder: Path) -> None:
        self.store = f"sqlite:///{folder / 'agents.db'}"

    async def __call__(self, *words: str, token: str = "") -> tuple[int, str, str]:
        """Return the exit code, and what it wrote."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "STATEGRAPH_STORE": self.store}
        if token:
            environment["STATEGRAPH_AGENTS_TOKEN"] = token
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "stategraph", "agents", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, complaint = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), complaint.decode()


async def test_agents_are_registered_listed_asked_and_removed(tmp_path: Path) -> None:
    command = Command(tmp_path)
    assert await command("list") == (1, "No agents.\n", "")
    async with serving("one", "two", skills=("search",)) as agents:
        for at, each in enumerate(agents):
            assert await command("register", "helper", each.url, "--capability", "talk") == (
                0,
                f"'helper' has {at + 1} endpoint{'s' if at else ''}.\n",
                "",
            )
        code, out, _ = await command("list")
        assert code == 0
        assert [line.split() for line in out.splitlines()] == [
            ["AGENT", "URL", "WEIGHT", "STATE", "CAPABILITIES"],
            *(["helper", url, "1", "there", "talk"] for url in sorted(each.url for each in agents)),
        ]
        code, out, _ = await command("card", "helper")
        assert code == 0
        assert json.loads(out)["skills"][0]["id"] == "search"
        code, out, _ = await command("ping", "helper", "--count", "1")
        assert code == 0
        assert out.count("1 of 1") == 2
        code, out, complaint = await command("send", "helper", "how are you?")
        assert (code, complaint) == (0, "")
        assert out in ("one: how are you?\n", "two: how are you?\n")
        code, out, _ = await command("send", "helper", "hi", "--json")
        assert [set(json.loads(line)) for line in out.splitlines()] == [{"task"}, {"artifactUpdate"}, {"statusUpdate"}]

        await agents[0].kill()
        code, out, _ = await command("list")
        assert code == 1
        assert sorted(line.split()[3] for line in out.splitlines()[1:]) == ["away", "there"]
        code, out, _ = await command("ping", "helper", "--count", "1")
        assert code == 1
        assert "0 of 1" in out
        assert "could not be read" in out
        code, out, _ = await command("send", "helper", "hi")
        assert (code, out) == (0, "two: hi\n")

        assert (await command("remove", "helper", agents[0].url))[0] == 0
        assert (await command("remove", "helper", agents[0].url))[0] == 1
        code, out, _ = await command("list", "--json", "--no-check")
        assert [(each["url"], each["state"]) for each in json.loads(out)] == [(agents[1].url, "not asked")]


async def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    command = Command(tmp_path)
    async with serving("one") as agents:
        await command("register", "helper", agents[0].url)
        code, out, complaint = await command("send", "helpr", "hi")
        assert (code, out, complaint) == (2, "", "stategraph: There is no agent 'helpr', did you mean 'helper'?\n")
        agents[0].behaviour = "500"
        code, _, complaint = await command("send", "helper", "hi")
        assert code == 2
        assert "answered with status 500. It may have begun with the request" in complaint
        agents[0].behaviour = "refuse"
        assert await command("send", "helper", "hi") == (
            2,
            "",
            "stategraph: The agent answered with an error: not so\n",
        )
        await command("register", "helper", agents[0].url, "--weight", "0")
        code, _, complaint = await command("send", "helper", "hi")
        assert (code, complaint) == (
            2,
            f"stategraph: No endpoint of agent 'helper' takes requests now: {agents[0].url} is drained\n",
        )


async def test_a_token_goes_to_agents_and_not_over_a_network_in_plain_text(tmp_path: Path) -> None:
    command = Command(tmp_path)
    async with serving("one") as agents:
        await command("register", "helper", agents[0].url)
        assert (await command("send", "helper", "hi", token="secret-token"))[0] == 0
        assert agents[0].tokens == {"Bearer secret-token"}
        await command("register", "far", "http://agents.example.com")
        code, out, complaint = await command("send", "far", "hi", token="secret-token")
        assert code == 2
        assert "would be sent the token of STATEGRAPH_AGENTS_TOKEN unencrypted" in complaint
        assert "secret-token" not in out + complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["register", "helper", "ftp://x"], "expected an address such as"),
        (["register", "helper", "http://x", "--weight", "-1"], "expected a whole number from 0 to 1,000"),
    ],
)
def test_what_is_no_endpoint_is_told(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["agents", *words, "--store", f"sqlite:///{tmp_path / 'agents.db'}"]) == 2
    assert said in capsys.readouterr().err


def test_a_directory_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agents", "list"]) == 2
    assert "No database was named" in capsys.readouterr().err
