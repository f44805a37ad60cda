"""What the page on MCP servers shows runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mcp.md"

SERVER = """
import os
from mcp.server import MCPServer

server = MCPServer("clock")


@server.tool(structured_output=False)
def clock(city: str) -> str:
    return f"noon in {city}, {os.environ['ZONE']}"


server.run()
"""


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_description_for_many_users_is_one() -> None:
    (_, described) = programs()
    found: dict[str, Any] = {}
    exec(described, found)
    assert found["calendar"].per_user and found["calendar"].of_user("ada").oauth.user_storage is None


def test_the_program_on_the_page_runs(tmp_path: Path) -> None:
    program = programs()[0]
    (tmp_path / "clock_server.py").write_text(SERVER, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout == "noon in Köln, UTC\n", done.stderr
