"""Skills for clients of MCP: entries, files, folders, and files that were changed."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.skills.loader import load
from stategraph.server.mcp import McpSettings, skills
from tests.server.protocols.test_mcp import Wire, serving

pytestmark = pytest.mark.anyio

HEAD = "name: desk\ndescription: Answer people.\nlicense: MIT\nmetadata:\n  version: '1.10'\n  since: 2026-01-02\n"
MAIN = f"---\n{HEAD}---\r\nBegin with a letter of `letters/`.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "desk"
    (made / "letters" / "short").mkdir(parents=True)
    (made / "SKILL.md").write_bytes(MAIN.encode())
    (made / "letters" / "hello.txt").write_text("Hello.\n", encoding="utf-8")
    (made / "letters" / "short" / "hi.md").write_text("Hi.\n", encoding="utf-8")
    (made / "letters" / "seal.png").write_bytes(b"\x89PNG\xff")
    return made


async def result(send: Wire, method: str, **params: str) -> dict[str, Any]:
    """Send a request and return its result."""
    found: dict[str, Any] = (await send(method, params))["result"]
    return found


async def error(send: Wire, method: str, uri: str) -> dict[str, Any]:
    """Send a request for an address and return the error."""
    found: dict[str, Any] = (await send(method, {"uri": uri}))["error"]
    return found


def named(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["uri"], each["mimeType"]) for each in found]


async def test_a_skill_is_an_entry_with_its_frontmatter_and_the_digest_of_each_file(folder: Path) -> None:
    async with serving(skills=[load(folder)], list_ttl_ms=1_000) as send:
        capabilities = (await result(send, "server/discover"))["capabilities"]
        listed = await result(send, "skills/list")
        one = await result(send, "skills/get", uri="skill://desk/SKILL.md")
        unknown = await error(send, "skills/get", "skill://desk/letters/hello.txt")
    assert capabilities["extensions"][skills.EXTENSION] == {"directoryRead": True}
    assert "resources" in capabilities
    assert (listed["ttlMs"], listed["resultType"], listed["skills"]) == (1_000, "complete", [one["skill"]])
    assert one["skill"]["frontmatter"] == {
        "name": "desk",
        "description": "Answer people.",
        "license": "MIT",
        "metadata": {"version": "1.10", "since": "2026-01-02"},
    }
    files = {each["uri"]: each for each in one["skill"]["resources"]}
    assert len(files) == 4
    main = files["skill://desk/SKILL.md"]
    assert main["digest"] == f"sha256:{hashlib.sha256(MAIN.encode()).hexdigest()}"
    assert main["size"] == len(MAIN.encode())
    assert unknown["code"] == -32602


async def test_files_of_a_skill_are_read_as_they_are_and_folders_listed(folder: Path) -> None:
    async with serving(skills=[load(folder)], list_ttl_ms=1_000) as send:
        text = (await result(send, "resources/read", uri="skill://desk/SKILL.md"))["contents"][0]
        picture = (await result(send, "resources/read", uri="skill://desk/letters/seal.png"))["contents"][0]
        root = await result(send, "resources/directory/read", uri="skill://desk")
        letters = await result(send, "resources/directory/read", uri="skill://desk/letters")
        listed = await result(send, "resources/list")
        for uri in ("skill://desk/SKILL.md", "skill://desk/none", "skill://none", "skill://desk/letters/"):
            assert (await error(send, "resources/directory/read", uri))["code"] == -32602
        for uri in ("skill://desk/../secret", "skill://desk/letters", "file:///etc/passwd"):
            assert (await error(send, "resources/read", uri))["code"] == -32602
    assert (text["text"], text["mimeType"]) == (MAIN, "text/markdown")
    assert (base64.b64decode(picture["blob"]), picture["mimeType"]) == (b"\x89PNG\xff", "image/png")
    assert named(root["resources"]) == [
        ("skill://desk/SKILL.md", "text/markdown"),
        ("skill://desk/letters", "inode/directory"),
    ]
    assert named(letters["resources"]) == [
        ("skill://desk/letters/hello.txt", "text/plain"),
        ("skill://desk/letters/seal.png", "image/png"),
        ("skill://desk/letters/short", "inode/directory"),
    ]
    assert [(each["name"], each["description"]) for each in listed["resources"]] == [("desk", "Answer people.")]


async def test_a_file_that_was_changed_is_not_served(folder: Path) -> None:
    async with serving(skills=[load(folder)], list_ttl_ms=1_000) as send:
        (folder / "letters" / "hello.txt").write_text("Pay me.\n", encoding="utf-8")
        told = await error(send, "resources/read", "skill://desk/letters/hello.txt")
    assert (told["code"], "was changed" in told["message"]) == (-32603, True)
    assert str(folder) not in told["message"]


def test_skills_of_one_name_and_larger_ones_than_clients_take_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = load(folder)
    with pytest.raises(ConfigurationError, match="Two skills"):
        skills.Skills(McpSettings(skills=[one, one]))
    monkeypatch.setattr(skills, "MOST_FILES", 3)
    with pytest.raises(ConfigurationError, match="4 files"):
        skills.Skills(McpSettings(skills=[one]))
