"""The cases of the Agent Control Specification on this package's points, and beside them on the reference.

python -m tests.governance.acs
python -m tests.governance.acs --reference .venv-acs/bin/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.governance.acs import ours
from tests.governance.acs.cases import Result, load, problems

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    """Run the cases; the result of the process is 0 if ours pass or do not apply."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, help="a Python with agent-control-specification")
    arguments = parser.parse_args()
    cases = load()
    results = [ours.run(case) for case in cases]
    failed = tell("acs", cases, results)
    if arguments.reference is not None and arguments.reference.exists():
        found = subprocess.run(
            [arguments.reference, "-m", "tests.governance.acs.reference"],
            cwd=ROOT,
            check=True,
            timeout=120,
            stdout=subprocess.PIPE,
        )
        theirs = [Result(**{name: each[name] for name in each if name != "id"}) for each in json.loads(found.stdout)]
        tell("reference (agent-control-specification)", cases, theirs)
        pairs = [
            (one.action_identity, other.action_identity)
            for one, other in zip(results, theirs, strict=True)
            if one.action_identity and other.action_identity
        ]
        print(
            f"identities of actions: {sum(one == other for one, other in pairs)} of {len(pairs)} are the same in both"
        )
    else:
        print("reference: not installed here")
    return 1 if failed else 0


def tell(name: str, cases: list[dict], results: list[Result]) -> int:
    """Print the results of a runtime; return how many cases failed."""
    passed = failed = 0
    for case, result in zip(cases, results, strict=True):
        if result.skipped:
            print(f"  {case['id']}: does not apply: {result.skipped}")
        elif wrong := problems(case, result):
            failed += 1
            print(f"  {case['id']}: {'; '.join(wrong)}")
        else:
            passed += 1
    print(f"{name}: {passed} of {len(cases)}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
