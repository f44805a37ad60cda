"""Evaluation of prompts, agents and graphs against a table of cases.

A *case* has an input and what is expected of the output. A *target* is called with the input: a function, a compiled
graph, agents. *Evaluators* look at the outcome of an attempt and score it. As models answer differently each time, a
case can be attempted several times; the *pass rate* is the share of attempts in which every evaluator was content, and
a *threshold* says how high it has to be.

Cases may stand in files; a file can choose among the evaluators of this package, and names no code. This package must
never need a test framework: pytest's plug-in is built on it.
"""

from stategraph.testing.evaluation.cases import Case, cases_of
from stategraph.testing.evaluation.evaluators import AtMost, Contains, Equals, JSONSchema, Regex, ToolCalled
from stategraph.testing.evaluation.judge import LLMJudge
from stategraph.testing.evaluation.outcomes import Evaluator, Outcome, Score
from stategraph.testing.evaluation.report import Attempt, CaseResult, EvaluationFailedError, Report
from stategraph.testing.evaluation.running import aevaluate, evaluate

__all__ = [
    "AtMost",
    "Attempt",
    "Case",
    "CaseResult",
    "Contains",
    "Equals",
    "EvaluationFailedError",
    "Evaluator",
    "JSONSchema",
    "LLMJudge",
    "Outcome",
    "Regex",
    "Report",
    "Score",
    "ToolCalled",
    "aevaluate",
    "cases_of",
    "evaluate",
]
