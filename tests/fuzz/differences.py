"""A difference between the engines, and what is asked of a case or a checkpoint wherever one is explained."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.fuzz.program import Case
from tests.fuzz.reports import Report


class Difference(NamedTuple):
    """What a case came to on both engines; its script ends with the step that makes the difference."""

    case: Case
    expected: Report
    found: Report

    @property
    def number(self) -> int:
        """The number of the step that makes it: the last one, if timing did not make an earlier one differ now."""
        steps = zip(*(report.get("steps", ()) for report in self[1:]), strict=False)
        last = len(self.case["script"]) - 1
        return next((number for number, (one, other) in enumerate(steps) if one != other), last)

    @property
    def step(self) -> dict[str, Any]:
        """The step that makes it, as it was drawn."""
        drawn: dict[str, Any] = self.case["script"][self.number]
        return drawn

    def last(self, part: str) -> tuple[Any, Any]:
        """Return what the step "found" or "ran" on LangGraph and here."""
        one, other = (report["steps"][self.number][part] for report in self[1:])
        return one, other


def unnamed(case: Case) -> list[int]:
    """Return the numbers of the steps that answer without naming an interrupt."""
    return [n for n, step in enumerate(case["script"]) if step["op"] == "answer" and step.get("by", "value") == "value"]


def has_error(checkpoint: dict[str, Any]) -> bool:
    return any(write[0] == "__error__" for write in checkpoint["writes"])
