"""What the page on MCP servers describes is what the package reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.docs.blocks import blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mcp.md"


def test_the_description_for_many_users_is_one() -> None:
    (described,) = (
        block
        for block in blocks(PAGE.read_text(encoding="utf-8"))
        if block.language == "python" and "calendar" in block.code
    )
    found: dict[str, Any] = {}
    exec(described.code, found)
    assert found["calendar"].per_user and found["calendar"].of_user("ada").oauth.user_storage is None
