"""Attempt all cases, some beside each other, and score what comes of them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.testing.evaluation.cases import cases_of
from stategraph.testing.evaluation.evaluators import Equals
from stategraph.testing.evaluation.judge import LLMJudge
from stategraph.testing.evaluation.outcomes import Case, Evaluator, Outcome, Score, Verdict, outcome_of
from stategraph.testing.evaluation.report import Attempt, CaseResult, Report
from stategraph.testing.evaluation.targets import Call, Called, caller

if TYPE_CHECKING:
    from stategraph.agent.settings.limits import Prices

Cases = str | Path | Iterable[Case | Mapping[str, object]]

#: Attempts beside each other, if nothing is said.
CONCURRENCY: Final = 8


async def aevaluate(
    target: object,
    cases: Cases,
    *,
    evaluators: Sequence[Evaluator] = (),
    repetitions: int = 1,
    max_concurrency: int = CONCURRENCY,
    threshold: float = 1.0,
    tags: Sequence[str] = (),
    judge: Any = None,
    prices: Prices | None = None,
    timeout_s: float | None = None,
    config: Mapping[str, object] | None = None,
    on_result: Callable[[CaseResult], object] | None = None,
) -> Report:
    """Call a target with each case, and let evaluators score what it returns.

    A case that has no evaluator has to be equal to what it expects.

    Args:
        target: A function of the input (sync, called in a thread of its own, or async), a compiled graph, an
            `AgentInputs` or a list of them, a mapping of settings of `create_run`, or a Runnable.
        cases: Cases, mappings with their fields, or a file of them; see `cases_of`.
        evaluators: Look at every case, before its own.
        repetitions: How often each case is attempted.
        max_concurrency: How many attempts are made beside each other.
        threshold: The share of attempts that have to pass, from 0 to 1, for `Report.passed` and `Report.check`.
        tags: Only cases that have one of these.
        judge: The model of every `LLMJudge` that has none: a chat model, or a name such as `openai:gpt-5-mini`.
        prices: A `Prices`, by which calls of models cost something.
        timeout_s: Seconds that an attempt may take; one that takes longer has failed. A sync function goes on in its
            thread, which ends with the process. None: any time.
        config: Laid under the config of graphs and runs.
        on_result: Called with the result of each case when its last attempt has ended.

    Returns:
        The report, with the cases in their order.

    Raises:
        ValueError: A case or a number makes no sense, a case expects nothing and has no evaluator, or a judge has no
            model.
        TypeError: The target cannot be called.
    """
    if repetitions < 1 or max_concurrency < 1 or not 0 <= threshold <= 1:
        raise ValueError(
            f"repetitions={repetitions}, max_concurrency={max_concurrency}, threshold={threshold:g}: the first two are "
            "at least 1, the threshold is between 0 and 1"
        )
    table = [_with_evaluators(each, evaluators, judge) for each in cases_of(cases, tags=tags)]
    began, turn = time.perf_counter(), asyncio.Semaphore(max_concurrency)
    call = caller(target, prices=prices, config=config)

    async def result_of(case: Case) -> CaseResult:
        attempts = await _all(_Trial(case, call, turn, timeout_s) for _ in range(repetitions))
        result = CaseResult(case, tuple(attempts))
        if on_result is not None:
            on_result(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(result_of(each)) for each in table]
    return Report(tuple(each.result() for each in tasks), threshold, time.perf_counter() - began)


def evaluate(target: object, cases: Cases, **options: Any) -> Report:
    """Evaluate where nothing can be awaited; the arguments are those of `aevaluate`.

    Raises:
        RuntimeError: An event loop runs here already: await `aevaluate` there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(aevaluate(target, cases, **options))
    raise RuntimeError("evaluate() was called where an event loop runs: await aevaluate() there")


async def _all(trials: Iterable[_Trial]) -> list[Attempt]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.attempt()) for each in trials]
    return [each.result() for each in tasks]


@dataclass(frozen=True, slots=True)
class _Trial:
    """An attempt that waits for its turn."""

    case: Case
    call: Call
    turn: asyncio.Semaphore
    timeout_s: float | None

    async def attempt(self) -> Attempt:
        async with self.turn:
            began, called = time.perf_counter(), Called()
            try:
                async with asyncio.timeout(self.timeout_s) as limit:
                    await self.call(self.case.input, called)
            except Exception as error:
                took = time.perf_counter() - began
                is_late = isinstance(error, TimeoutError) and limit.expired()
                said = f"not done after {self.timeout_s:g} s" if is_late else f"{type(error).__name__}: {error}"
                return Attempt((), None, said, took, called.usage)
            took = time.perf_counter() - began
            outcome = outcome_of(self.case, called.output, called.usage, took)
            scores, error_text = await _scored(outcome)
            return Attempt(tuple(scores), outcome, error_text, took, outcome.usage)


async def _scored(outcome: Outcome) -> tuple[list[Score], str]:
    """Ask the evaluators, one after the other; one that fails ends it."""
    scores: list[Score] = []
    for evaluator in outcome.case.evaluators:
        name = _name(evaluator)
        try:
            said = evaluator(outcome)
            verdict: Verdict = await said if inspect.isawaitable(said) else said
            scores.append(_score(verdict, name))
        except AssertionError as error:
            said_first = next(iter(str(error).splitlines()), "an assertion failed")  # pytest explains in more lines
            scores.append(Score(False, said_first, name=name))
        except Exception as error:
            return scores, f"the evaluator {name} failed: {type(error).__name__}: {error}"
    return scores, ""


def _score(verdict: object, name: str) -> Score:
    match verdict:
        case Score():
            return verdict if verdict.name else replace(verdict, name=name)
        case bool():
            return Score(verdict, name=name)
        case None:
            return Score(True, name=name)
    raise TypeError(f"it returned {type(verdict).__name__}; expected a Score, a bool, or None after its assertions")


def _name(evaluator: Evaluator) -> str:
    named = getattr(evaluator, "__name__", None)
    return str(named) if named else type(evaluator).__name__


def _with_evaluators(case: Case, others: Sequence[Evaluator], judge: Any) -> Case:
    found: Sequence[Evaluator] = [*others, *case.evaluators]
    if not found and case.expected is not None:
        found = [Equals()]
    if not found:
        raise ValueError(
            f"Case {case.name!r} could not fail: it expects nothing, and no evaluator looks at it. Give it 'expected' "
            "or evaluators ('checks' in a file), or look at all cases with evaluators="
        )
    if judge is None and any(isinstance(each, LLMJudge) and each.model is None for each in found):
        raise ValueError(f"Case {case.name!r} has an LLMJudge without a model: give it one, or give judge=")
    with_judge = [
        replace(each, model=judge) if isinstance(each, LLMJudge) and each.model is None else each for each in found
    ]
    return replace(case, evaluators=tuple(with_judge))
