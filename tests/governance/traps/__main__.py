"""Failures that other systems had with approvals, here and, where there is its environment, with the OpenAI Agents SDK.

python -m tests.governance.traps [--peer .venv-peers/bin/python]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.governance.traps.scenarios import SCENARIOS, Scenario

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 300


def played(command: Sequence[str], scenario: Scenario, folder: Path) -> list[dict[str, Any]]:
    """Play a scenario with a system, each step in a process of its own; return its answers."""
    answers = []
    for step in scenario.steps:
        done = subprocess.run(
            [*command, str(folder)], input=json.dumps(step), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
        )
        if done.returncode:
            raise RuntimeError(f"{scenario.name}: {done.stderr[-2000:]}")
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    return answers


OURS = (sys.executable, "-m", "tests.governance.traps.ours")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.governance.traps", description=__doc__)
    parser.add_argument("--peer", help="the Python of an environment with openai-agents")
    options = parser.parse_args()
    failed = 0
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            holds = scenario.holds(played(OURS, scenario, Path(folder)))
        failed += not holds
        print(f"{scenario.name}: {scenario.says} ({scenario.reported or 'plain'})")
        print(f"    here            {'yes' if holds else 'NO'}", flush=True)
        if options.peer:
            peer = (options.peer, str(ROOT / "tests" / "governance" / "traps" / "openai_agents.py"))
            with tempfile.TemporaryDirectory() as folder:
                answers = played(peer, scenario, Path(folder))
            last = answers[-1]
            more = f"policy asked {last['policy_calls']} times in the last step"
            if last["error"]:
                more = last["error"]
            print(
                f"    openai-agents   {'yes' if scenario.holds(answers) else 'no'}: did {last['effects']}; {more}",
                flush=True,
            )
    print(f"traps: {len(SCENARIOS) - failed} of {len(SCENARIOS)} hold")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
