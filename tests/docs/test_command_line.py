"""The page on the command line shows what a person sees: its transcripts are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from stategraph.cli import _COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


#: `python -m stategraph`, for which the time stands still: how old a thread is does not say how fast a machine is.
PROGRAM = """#!{python}
import datetime, os, runpy, sys
from stategraph.cli.thread import commands

class Still(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp({began}, tz)

commands.datetime = Still
sys.path[0] = os.getcwd()
runpy.run_module("stategraph", run_name="__main__", alter_sys=True)
"""


def alike(text: str) -> str:
    """Return a text without what differs from run to run: ids of checkpoints, and spaces at the ends of lines."""
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-6[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_each_command_is_on_the_page() -> None:
    assert [name for name, _, _ in _COMMANDS if f"`{name}" not in PAGE] == []


def test_the_transcripts_are_true(tmp_path: Path) -> None:
    """All of them are one session of a shell, which says before each command that it comes."""
    lines = "".join(re.findall(r"```text\n(\$ .*?)```", PAGE, re.DOTALL)).splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    command = tmp_path / "stategraph"
    command.write_text(PROGRAM.format(python=sys.executable, began=time.time()))
    command.chmod(0o755)
    script = "".join(f"echo '$' {_quoted(each)} >&2\n( exit $code )\n{each} 2>&1\ncode=$?\n" for each in commands)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("STATEGRAPH_")}
    done = subprocess.run(
        ["bash", "-c", f"code=0\nexec 2>&1\n{script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        env={**variables, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONIOENCODING": "utf-8"},
    )
    assert alike(done.stdout) == alike("\n".join(line for line in lines))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
