"""The costs of governed actions, against their budgets.

    python -m benchmarks.governance
    python -m benchmarks.governance --only policies --rounds 3
    python -m benchmarks.governance --peer .venv-acs/bin/python

With `--peer`, a Python that has `agent-os-kernel` (the policy engine of microsoft/agent-governance-toolkit), its
figures for rules of the same kind stand beside. Never exits with 1 because of a figure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
from pathlib import Path

from benchmarks.governance.rows import Row

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("policies", "capabilities", "audit", "actions")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each row (default: 7)")
    parser.add_argument("--peer", type=Path, help="a Python with agent-os-kernel")
    arguments = parser.parse_args()
    theirs = peer_figures(arguments.peer, arguments.rounds)
    for part in arguments.only or PARTS:
        print(part)
        rows: list[Row] = importlib.import_module(f"benchmarks.governance.{part}").rows()
        for row in rows:
            figure = row.measure(arguments.rounds)
            beside = f"  peer: {theirs[row.name]:,.1f}" if row.name in theirs else ""
            print(f"  {row.name:<58} {figure:>12,.1f} {row.unit:<8} {row.judged(figure):<20}{beside}", flush=True)


def peer_figures(python: Path | None, rounds: int) -> dict[str, float]:
    """Return the figures of the peer by the names of rows; none if it is not there."""
    if python is None or not python.exists():
        print("peer: not installed here")
        return {}
    command = [python, "-m", "benchmarks.governance.peer", str(rounds)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
