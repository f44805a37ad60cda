"""Results of an evaluation: a table for a terminal, and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from langchain_core.messages import ToolCall

from stategraph.testing.evaluation.outcomes import Case, Outcome, Score, Usage

_NAME: Final = 40
_LINE: Final = 160


class EvaluationFailedError(AssertionError):
    """Fewer attempts passed than the threshold wants."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of the target with a case.

    Attributes:
        scores: What the evaluators said; of an attempt that failed, those that came before.
        outcome: What the target made of it; None: it raised.
        error: What the target or an evaluator raised, as text; empty: nothing.
        duration_s: Seconds that the target took.
        usage: What it took of models, also if it raised or was not done in time.
    """

    scores: tuple[Score, ...]
    outcome: Outcome | None
    error: str = ""
    duration_s: float = 0.0
    usage: Usage = field(default_factory=Usage)

    @property
    def passed(self) -> bool:
        """True if nothing was raised and every evaluator is content."""
        return not self.error and all(each.passed for each in self.scores)

    @property
    def reasons(self) -> list[str]:
        """The reasons for which it did not pass, a sentence each."""
        failed = [f"{each.name}: {each.reason or 'no'}" for each in self.scores if not each.passed]
        return [*failed, *([self.error] if self.error else [])]

    def as_json(self) -> dict[str, object]:
        """Return it as JSON."""
        told: dict[str, object] = {"passed": self.passed, "duration_s": round(self.duration_s, 3)}
        if self.outcome is not None:
            told |= {"output": self.outcome.text, "tool_calls": [_call(each) for each in self.outcome.tool_calls]}
        usage = self.usage
        told |= {"model_calls": usage.model_calls, "input_tokens": usage.input_tokens}
        told |= {"output_tokens": usage.output_tokens, "cost": usage.cost}
        if self.error:
            told["error"] = self.error
        scores = [{"name": s.name, "passed": s.passed, "score": s.number, "reason": s.reason} for s in self.scores]
        return {**told, "scores": scores}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The attempts at a case.

    Attributes:
        case: The case.
        attempts: Its attempts, in order.
    """

    case: Case
    attempts: tuple[Attempt, ...]

    @property
    def passes(self) -> int:
        """The number of attempts that passed."""
        return sum(each.passed for each in self.attempts)

    @property
    def pass_rate(self) -> float:
        """The share of attempts that passed, from 0 to 1."""
        return self.passes / len(self.attempts)

    @property
    def usage(self) -> Usage:
        """The usage of models by all attempts."""
        return sum((each.usage for each in self.attempts), Usage())

    @property
    def duration_s(self) -> float:
        """Seconds that an attempt took on average."""
        return sum(each.duration_s for each in self.attempts) / len(self.attempts)

    @property
    def reasons(self) -> list[str]:
        """The reasons for which attempts did not pass, each once."""
        return list(dict.fromkeys(reason for each in self.attempts for reason in each.reasons))

    def as_json(self) -> dict[str, object]:
        """Return it as JSON."""
        usage = self.usage
        return {
            "name": self.case.name,
            "tags": list(self.case.tags),
            "pass_rate": self.pass_rate,
            "duration_s": round(self.duration_s, 3),
            "total_tokens": usage.total_tokens,
            "cost": usage.cost,
            "attempts": [each.as_json() for each in self.attempts],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an evaluation. As text, it is a table.

    Attributes:
        cases: The results of the cases, in their order.
        threshold: The pass rate that is wanted, from 0 to 1.
        duration_s: Seconds that it took as a whole.
    """

    cases: tuple[CaseResult, ...]
    threshold: float = 1.0
    duration_s: float = field(default=0.0, compare=False)

    @property
    def attempts(self) -> int:
        """The number of attempts."""
        return sum(len(each.attempts) for each in self.cases)

    @property
    def pass_rate(self) -> float:
        """The share of all attempts that passed, from 0 to 1."""
        return sum(each.passes for each in self.cases) / self.attempts

    @property
    def passed(self) -> bool:
        """True if the pass rate is not below the threshold."""
        return self.pass_rate >= self.threshold - 1e-9  # 2/3 is 2/3, however it was written

    @property
    def usage(self) -> Usage:
        """The usage of models by all attempts."""
        return sum((each.usage for each in self.cases), Usage())

    def scores(self) -> dict[str, float]:
        """Return the average score of each evaluator, by its name."""
        found: dict[str, list[float]] = {}
        for case in self.cases:
            for attempt in case.attempts:
                for score in attempt.scores:
                    found.setdefault(score.name, []).append(score.number)
        return {name: sum(numbers) / len(numbers) for name, numbers in found.items()}

    def check(self) -> None:
        """Raise if the pass rate is below the threshold.

        Raises:
            EvaluationFailedError: It is; the message has the table, and why attempts did not pass.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        if not self.passed:
            raise EvaluationFailedError(f"{self}\n{self.failures()}".rstrip())

    def as_json(self) -> dict[str, object]:
        """Return it as JSON: numbers are plain, times are seconds, costs are US dollars."""
        usage = self.usage
        return {
            "passed": self.passed,
            "pass_rate": self.pass_rate,
            "threshold": self.threshold,
            "duration_s": round(self.duration_s, 3),
            "total_tokens": usage.total_tokens,
            "cost": usage.cost,
            "scores": self.scores(),
            "cases": [each.as_json() for each in self.cases],
        }

    def failures(self) -> str:
        """Return why attempts did not pass, case by case."""
        lines: list[str] = []
        for each in self.cases:
            if each.reasons:
                lines += ["", each.case.name, *(f"  {_cut(reason, _LINE)}" for reason in each.reasons)]
        return "\n".join(lines)

    def __str__(self) -> str:
        rows = [("case", "passed", "tokens", "cost", "time"), *(_row(each) for each in self.cases)]
        widths = [max(len(row[at]) for row in rows) for at in range(5)]
        lines = [
            "  ".join(
                text.ljust(width) if at == 0 else text.rjust(width)
                for at, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, "", self.summary()])

    def summary(self) -> str:
        """Return the result in a line."""
        usage, passes = self.usage, sum(each.passes for each in self.cases)
        cases = "1 case" if len(self.cases) == 1 else f"{len(self.cases)} cases"
        cost = "" if usage.cost is None else f", {_dollars(usage.cost)}"
        word = "passed" if self.passed else "FAILED"
        return (
            f"{word}: {passes} of {self.attempts} attempts at {cases} passed ({self.pass_rate:.0%}, threshold "
            f"{self.threshold:.0%}); {usage.total_tokens} tokens{cost}, {self.duration_s:.1f} s"
        )


def _row(result: CaseResult) -> tuple[str, str, str, str, str]:
    usage, tries = result.usage, len(result.attempts)
    passed = ("yes" if result.passes else "NO") if tries == 1 else f"{result.passes} of {tries}"
    cost = "-" if usage.cost is None else _dollars(usage.cost)
    return _cut(result.case.name, _NAME), passed, str(usage.total_tokens or "-"), cost, f"{result.duration_s:.2f} s"


def _dollars(cost: float) -> str:
    return f"${cost:.5f}" if cost < 0.1 else f"${cost:.2f}"


def _cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _call(call: ToolCall) -> dict[str, object]:
    return {"name": call["name"], "args": call["args"]}
