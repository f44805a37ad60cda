"""The MCP client held against the protocol's conformance suite, beside the official Python SDK.

    python -m tests.mcp_conformance
    python -m tests.mcp_conformance --only auth/ --revision 2026-07-28 --client ours

The suite plays servers, and says of each scenario what a client did wrong; it lists which scenarios a revision of the
protocol requires. It passes some of them also if no client came, so a scenario counts here only if the client says that
it ran, something was found right and nothing wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import yaml

from tests.mcp_conformance import packages
from tests.mcp_conformance.plans import RAN

ROOT = Path(__file__).resolve().parents[2]
REVISIONS = ("2025-11-25", "2026-07-28")
CLIENTS = {
    "ours": f"{sys.executable} -m tests.mcp_conformance.client",
    "reference": f"{sys.executable} -m tests.mcp_conformance.reference",
}
TIMEOUT_S = 120
"""Seconds for a client; the suite gives it half of that."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite found in one scenario.

    Attributes:
        scenario: Its name.
        revision: Of the protocol.
        problems: What was wrong; none: passed.
        said: What the client wrote to its standard error, for a look at a failure.
    """

    scenario: str
    revision: str
    problems: tuple[str, ...]
    said: str = ""


def required(suite: Path, revision: str) -> list[str]:
    """Return the scenarios that a revision requires of clients."""
    listed = yaml.safe_load((suite / "requirements" / f"{revision}.yaml").read_text(encoding="utf-8"))
    return list(listed["client"])


def judge(scenario: str, revision: str, folder: Path, exit_code: int) -> Verdict:
    """Read what the suite wrote about a scenario.

    Args:
        scenario: Its name.
        revision: Of the protocol.
        folder: Where the suite wrote its results.
        exit_code: With which the suite ended.
    """
    found = list(folder.rglob("checks.json"))
    if len(found) != 1:
        return Verdict(scenario, revision, (f"the suite left {len(found)} results",))
    result = found[0].parent
    checks = json.loads(found[0].read_text(encoding="utf-8"))
    problems = [
        f"{check['id']}: {check.get('errorMessage') or check['description']}"
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    ]
    said = (result / "stderr.txt").read_text(encoding="utf-8") if (result / "stderr.txt").exists() else ""
    out = (result / "stdout.txt").read_text(encoding="utf-8") if (result / "stdout.txt").exists() else ""
    if f"{RAN} {scenario}" not in out.splitlines():
        problems.append("the client did not run to its end")
    if not any(check["status"] == "SUCCESS" for check in checks):
        problems.append("nothing was found right")
    if exit_code and not problems:
        problems.append(f"the suite ended with {exit_code}")
    return Verdict(scenario, revision, tuple(problems), said)


def run(suite: Path, node: str, command: str, scenario: str, revision: str) -> Verdict:
    """Have the suite run one scenario with a client."""
    with tempfile.TemporaryDirectory() as scratch:
        told = ["client", "--command", command, "--scenario", scenario, "--spec-version", revision]
        told += ["--timeout", str(TIMEOUT_S * 500), "--output-dir", scratch]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [node, str(suite / "dist" / "index.js"), *told],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            timeout=TIMEOUT_S * 2,
            check=False,
        )
        return judge(scenario, revision, Path(scratch), done.returncode)


def measure(suite: Path, node: str, command: str, chosen: Sequence[tuple[str, str]], jobs: int) -> Iterator[Verdict]:
    """Run scenarios, several beside each other, and yield the verdicts in order.

    Args:
        suite: The folder of the suite.
        node: The program that runs it.
        command: Starts the client.
        chosen: Scenarios, each with a revision.
        jobs: How many run at once.
    """
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda each: run(suite, node, command, *each), chosen)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold the MCP client against the conformance suite.")
    parser.add_argument("--only", default="", help="a part of the names of scenarios")
    parser.add_argument("--revision", choices=REVISIONS, action="append")
    parser.add_argument("--client", choices=CLIENTS, action="append")
    parser.add_argument("--command", help="another client, in place of ours")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "mcp-conformance")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--verbose", action="store_true", help="show what a client that failed wrote")
    options = parser.parse_args()
    suite, node = packages.installed(options.folder)
    revisions = options.revision or REVISIONS
    every = chain.from_iterable([(each, revision) for each in required(suite, revision)] for revision in revisions)
    chosen = [(scenario, revision) for scenario, revision in every if options.only in scenario]
    if not chosen:
        parser.error(f"no scenario has {options.only!r} in its name")
    commands = {"ours": options.command} if options.command is not None else CLIENTS
    passed: dict[str, int] = {}
    for name in options.client or commands:
        began = time.monotonic()
        passed[name] = 0
        for verdict in measure(suite, node, commands[name], chosen, options.jobs):
            passed[name] += not verdict.problems
            if verdict.problems:
                print(f"{name}: {verdict.revision} {verdict.scenario}: {'; '.join(verdict.problems)}", flush=True)
                if options.verbose:
                    print(verdict.said)
        print(f"{name}: {passed[name]} of {len(chosen)} in {time.monotonic() - began:.0f} s", flush=True)
    ours = passed.get("ours")
    if ours is None:
        return 0
    print(f"mcp-conformance: {ours} of {len(chosen)}")
    if "reference" in passed:
        print(f"the official Python SDK: {passed['reference']} of {len(chosen)}")
    return 0 if ours == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
