"""The MCP server held against the protocol's conformance suite.

    python -m tests.mcp_conformance.servers
    python -m tests.mcp_conformance.servers --revision 2026-07-28 --only tasks-

The suite plays a client. It finds something right in some scenarios if there is no server at all. So it begins once the
server listens, and a scenario counts only if the server still listens after it, something was found right and nothing
wrong. One that the suite itself skips, as it has no checks yet, counts too.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from tests.mcp_conformance import packages

ROOT = Path(__file__).resolve().parents[2]
REVISIONS = ("2025-11-25", "2026-07-28")
#: Scenarios of extensions that the requirements of the revision do not name.
EXTENSIONS = {"2026-07-28": ("sep-2640-skills-enumeration", "sep-2640-skills-manifest", "sep-2640-skills-directory")}
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite found in one scenario.

    Attributes:
        scenario: Its name.
        revision: Of the protocol.
        is_required: Whether the revision requires it; the others are extensions, or came later.
        problems: What was wrong; none: passed.
    """

    scenario: str
    revision: str
    is_required: bool
    problems: tuple[str, ...]


def scenarios(suite: Path, revision: str) -> list[tuple[str, bool]]:
    """Return the scenarios of servers in a revision, each with whether it is required."""
    listed = yaml.safe_load((suite / "requirements" / f"{revision}.yaml").read_text(encoding="utf-8"))
    others = [each["scenario"] for each in listed["not_scored"] if each["leg"] == "server"]
    others += EXTENSIONS.get(revision, ())
    return [*((each, True) for each in listed["server"]), *((each, False) for each in others)]


def judge(scenario: str, revision: str, is_required: bool, folder: Path, *, is_up: bool) -> Verdict:
    """Read what the suite wrote about a scenario.

    Args:
        scenario: Its name.
        revision: Of the protocol.
        is_required: Whether the revision requires it.
        folder: Where the suite wrote.
        is_up: Whether there was a server before and after.
    """
    found = list(folder.rglob("checks.json"))
    if not is_up:
        return Verdict(scenario, revision, is_required, ("there is no server",))
    if len(found) != 1:
        return Verdict(scenario, revision, is_required, (f"the suite left {len(found)} results",))
    checks = json.loads(found[0].read_text(encoding="utf-8"))
    problems = [
        f"{each['id']}: {each.get('errorMessage') or each['description']}"
        for each in checks
        if each["status"] in ("FAILURE", "WARNING")
    ]
    done = [each for each in checks if each["status"] == "SUCCESS"]
    skipped = [each for each in checks if each["status"] == "SKIPPED"]
    if not done and not (skipped and len(skipped) == len(checks)):
        problems.append("nothing was found right")
    return Verdict(scenario, revision, is_required, tuple(problems))


def listens(port: int) -> bool:
    """Return whether there is a server on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(command: str, port: int, log: IO[bytes] | None = None) -> Iterator[None]:
    """Start a server, wait until it listens, and end it with the block; what it prints goes to the log."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([*command.split(), str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        ends_at = time.monotonic() + TIMEOUT_S
        while not listens(port):
            if process.poll() is not None or time.monotonic() > ends_at:
                break  # the verdicts say it
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def measure(suite: Path, node: str, port: int, chosen: Sequence[tuple[str, bool]], revision: str) -> Iterator[Verdict]:
    """Run scenarios one after the other, and yield the verdicts."""
    url = f"http://localhost:{port}/mcp"
    for scenario, is_required in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            told = ["server", "--url", url, "--scenario", scenario, "--spec-version", revision, "--force"]
            was_up = listens(port)
            subprocess.run(
                [node, str(suite / "dist" / "index.js"), *told, "--output-dir", scratch],
                cwd=ROOT,
                capture_output=True,
                timeout=TIMEOUT_S * 2,
                check=False,
            )
            yield judge(scenario, revision, is_required, Path(scratch), is_up=was_up and listens(port))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold the MCP server against the conformance suite.")
    parser.add_argument("--only", default="", help="a part of the names of scenarios")
    parser.add_argument("--revision", choices=REVISIONS, action="append")
    parser.add_argument(
        "--command", default=f"{sys.executable} -m tests.mcp_conformance.served", help="starts a server"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "mcp-conformance")
    options = parser.parse_args()
    suite, node = packages.installed(options.folder)
    is_good = True
    for revision in options.revision or REVISIONS:
        chosen = [each for each in scenarios(suite, revision) if options.only in each[0]]
        port = free_port()
        with server(options.command, port):
            verdicts = list(measure(suite, node, port, chosen, revision))
        for each in verdicts:
            if each.problems:
                kind = "required" if each.is_required else "not required"
                print(f"{each.revision} {each.scenario} ({kind}): {'; '.join(each.problems)}", flush=True)
        required = [each for each in verdicts if each.is_required]
        others = [each for each in verdicts if not each.is_required]
        good = [sum(not each.problems for each in group) for group in (required, others)]
        print(f"mcp server {revision}: {good[0]} of {len(required)} required, {good[1]} of {len(others)} others")
        is_good = is_good and good[0] == len(required)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
