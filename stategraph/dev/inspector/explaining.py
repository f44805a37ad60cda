"""The account of a turn as JSON for the panel *Why*: facts, with the sentences that people read."""

from __future__ import annotations

from stategraph.dev.inspector.values import Json
from stategraph.engine.state.account import words
from stategraph.engine.state.account.facts import Account


def told(explanation: Account) -> Json:
    """Return an account as JSON: `nodes`, `made` and `changes` of the step, `upcoming`, `unknown`, each in words.

    Args:
        explanation: The account of a turn, up to the step.
    """
    last = explanation.steps[-1] if explanation.steps else None
    return {
        "nodes": [
            {"node": each.node, "status": each.status, "times": each.times, "text": words.verdict_text(each)}
            for each in explanation.verdicts
        ],
        "made": [words.task_text(task) for task in (last.tasks if last else ())],
        "changes": [words.change_text(change) for change in (last.changes if last else ())],
        "upcoming": [words.task_text(task) for task in explanation.upcoming],
        "unknown": [*explanation.unknown, *(last.unknown if last else ())],
        "facts": explanation.to_json(),
    }
