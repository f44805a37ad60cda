"""A suite of a package that stands on LangGraph, on LangGraph itself and on this engine, one after the other.

No list of expected tests is kept for these: what LangGraph passes in the same command is what is expected.
"""

from __future__ import annotations

from collections import Counter

import execution
import ledger as ledgers


def run(
    theirs: execution.Bench, ours: execution.Bench, choice: execution.Choice, excluded: frozenset[str] = frozenset()
) -> int:
    """Run both and print both numbers.

    Args:
        theirs: The suite on LangGraph itself.
        ours: The suite on this engine.
        choice: Which tests, and how.
        excluded: Ids of tests that are left out on both.

    Returns:
        0 if every test that passes on LangGraph passes here, else 1.
    """
    print("--- on LangGraph", flush=True)
    reference = execution.run(theirs, choice, excluded)
    execution.retry(theirs, choice, reference, frozenset(reference.tests), excluded)
    print("\n--- on stategraph", flush=True)
    outcome = execution.run(ours, choice, excluded)
    execution.retry(ours, choice, outcome, reference.passed, excluded)
    print(f"\n{theirs.suite.distribution} {theirs.suite.version}: passed on stategraph / on LangGraph\n")
    print(table(reference, outcome))
    missing = sorted(reference.passed - outcome.passed)
    for file, why in sorted(outcome.unloaded.items()):
        print(f"\n{file} did not load: {why}")
    if missing:
        print(f"\n{len(missing)} tests pass on LangGraph and not here:")
        print("\n".join(f"  {test}\n      {outcome.reasons.get(test, 'did not run')}" for test in missing))
    finished = reference.finished and outcome.finished
    if not finished:
        print("\na run ended before its last test")
    return 1 if missing or not finished or not reference.passed else 0


def table(reference: ledgers.Outcome, outcome: ledgers.Outcome) -> str:
    """Render both numbers for every file, and the totals."""
    theirs = Counter(map(ledgers.file_of, reference.passed))
    ours = Counter(map(ledgers.file_of, outcome.passed & reference.passed))
    width = max(map(len, theirs), default=0)
    rows = [
        f"{' ' if ours[file] == theirs[file] else '*'} {file:{width}} {ours[file]:5}/{theirs[file]:<5}".rstrip()
        for file in sorted(theirs)
    ]
    also = len(outcome.passed - reference.passed)
    total = f"  on LangGraph: {len(reference.passed)}\n  on stategraph: {len(outcome.passed & reference.passed)}"
    return "\n".join([*rows, "", total + (f", and {also} that fail or are skipped there" if also else "")])
