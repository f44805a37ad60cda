"""Schemathesis: requests made from the server's own OpenAPI document, right ones and wrong ones.

What counts is that no request makes the server fail (500), and that each answer is what the document says: its status,
its type and its schema. Whether a wrong request is refused is counted by nobody: LangGraph's API ignores fields that it
does not know, and so does this one.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.judges.frame import Asked, Judge, JudgeError, Verdict

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 5
MOST_S = 240
RUN_S = 900.0
GRAPHS = Path(__file__).resolve().parents[1] / "graphs.py"

#: They end when a client leaves.
ENDLESS = r"/v1/events|/v1/threads/\{thread_id\}/events|/threads/\{thread_id\}/stream"


def judge(asked: Asked) -> Sequence[Verdict]:
    """Run it against a server."""
    report = asked.scratch / "report.ndjson"
    command = [str(asked.python.parent / "st"), "run", f"{asked.url}/openapi.json", "--checks", CHECKS]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--continue-on-failure"]
    command += ["--no-shrink", "--max-time", str(MOST_S)]
    command += ["--exclude-path-regex", f"^({ENDLESS})$", "--report-ndjson-path", str(report), "--seed", "1"]
    command += ["--request-timeout", "20", "--no-color", "--generation-database", "none", "--warnings", "off"]
    done = subprocess.run(
        command, cwd=asked.scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S
    )
    printed = done.stdout + done.stderr
    (asked.scratch / "printed.txt").write_text(printed, encoding="utf-8")
    found = re.search(r"(\d+) generated, (?:(\d+) found|(\d+) passed)", printed)
    cases = [int(number) for number in re.findall(r"(\d+) generated", printed)]
    tested = re.search(r"Tested:\s+(\d+)", printed)
    if not tested or not cases or found is None:
        return [Verdict("schemathesis", 0, 1, notes=[printed.strip()[-500:]])]
    failures = read(report) if report.exists() else []
    kinds = sorted(set(failures))
    errors = [each for each in kinds if "server error" in each.lower()]
    says = f"{sum(cases)} requests of {tested[1]} operations, {len(errors)} server errors, "
    says += f"{len(kinds) - len(errors)} schema violations"
    return [Verdict("schemathesis", sum(cases) if not kinds else 0, sum(cases), notes=kinds, says=says)]


def read(report: Path) -> list[str]:
    """Return the failures of a report, each as its operation and what was wrong."""
    found = []
    for line in report.read_text(encoding="utf-8").splitlines():
        for event, told in json.loads(line).items():
            if event == "ScenarioFinished":
                recorder = told.get("recorder", {})
                for checks in recorder.get("checks", {}).values():
                    for check in checks:
                        if check.get("status") != "success":
                            failure = check.get("failure_info") or {}
                            told_of = failure.get("failure") or failure
                            found.append(f"{recorder.get('label')}: {told_of.get('title')}")
    return found


if not GRAPHS.exists():
    raise JudgeError(f"{GRAPHS} is not there")

JUDGES = [
    Judge(
        name="schemathesis",
        judge=judge,
        graphs={"talk": f"{GRAPHS}:talk"},
        requirements="judges-schemathesis",
    )
]
