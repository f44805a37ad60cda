"""`stategraph policy` as a process: what a person sees, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT_S, stategraph

POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: desk}
spec:
  rules:
    - {name: small, at: [pre_tool_call], when: 'tool.name == "refund" && args.cents <= 5000', then: {decision: allow}}
    - {name: mail, at: [pre_tool_call], tools: ["mcp:mail/*"], then: {decision: deny, reason: no_mail}}
    - {name: keys, at: [post_tool_call], then: {decision: transform, path: $policy_target, with: redact}}
"""
CASES = """
apiVersion: stategraph.dev/v1
kind: PolicyCases
snapshot: {tool: {id: "mcp:billing/refund@1", name: refund, risk: write}, args: {cents: 100}}
cases:
  - {name: small, expect: {decision: allow, rule: small}}
  - {name: large, snapshot: {args: {cents: 5001}}, expect: {decision: escalate}}
"""
SNAPSHOT = '{"tool": {"id": "mcp:billing/refund@1", "name": "refund", "risk": "write"}, "args": {"cents": 9000}}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text(POLICY)
    (tmp_path / "cases.yaml").write_text(CASES)
    (tmp_path / "snapshot.json").write_text(SNAPSHOT)
    (tmp_path / "broken.yaml").write_text(POLICY.replace("args.cents", "arg.cents"))
    (tmp_path / "trial.yaml").write_text(POLICY.replace("spec:", "spec:\n  mode: evaluate_only"))
    return tmp_path


def test_files_are_checked(folder: Path) -> None:
    done = stategraph(folder, "policy", "check", "desk.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("desk.yaml: policy 'desk', enforce, 3 rules, digest ")
    done = stategraph(folder, "policy", "check", "--json", "desk.yaml", "trial.yaml")
    assert done.returncode == 1
    assert [each["warnings"] for each in json.loads(done.stdout)] == [
        [],
        ["mode is evaluate_only: nothing is enforced"],
    ]
    done = stategraph(folder, "policy", "check", "desk.yaml", "broken.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "stategraph: broken.yaml: rule 'small': when: line 1, column 29: undeclared reference to"
    )
    assert "Traceback" not in done.stderr


def test_a_policy_is_held_against_a_table(folder: Path) -> None:
    done = stategraph(folder, "policy", "test", "desk.yaml", "cases.yaml")
    assert (done.returncode, done.stdout) == (0, "2 of 2 cases as expected\nno case matches: mail, keys\n"), done.stderr
    (folder / "cases.yaml").write_text(CASES.replace("decision: escalate", "decision: deny"))
    done = stategraph(folder, "policy", "test", "desk.yaml", "cases.yaml")
    assert done.returncode == 1
    assert done.stdout.startswith("large: decision: expected 'deny', found 'escalate'\n1 of 2 cases as expected\n")


def test_a_verdict_is_explained(folder: Path) -> None:
    done = stategraph(folder, "policy", "explain", "desk.yaml", "--snapshot", "snapshot.json")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        "pre_tool_call: escalate, by default",
        "message: No rule is for this action; by default write is: escalate",
        "approval: 1 of anyone whom the host lets vote, within 900 s",
        "small not_matched: args.cents <= 5000 is false",
        "mail other_tool: mcp:billing/refund@1 is none of mcp:mail/*",
        "keys other_point: it is for post_tool_call",
    ]
    words = [sys.executable, "-m", "stategraph", "policy", "explain", "desk.yaml", "--snapshot", "-", "--json"]
    read = subprocess.run(
        words, cwd=folder, input=SNAPSHOT.replace("9000", "1"), capture_output=True, text=True, timeout=LIMIT_S
    )
    found = json.loads(read.stdout)
    assert (found["decision"], found["rule"]) == ("allow", "small")
    assert found["enforced_identity"].startswith("sha256:")
