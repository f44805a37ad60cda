"""Evaluate from the command line: `python -m stategraph.testing.evaluation TARGET CASES`."""

from __future__ import annotations

import argparse
import json
import sys

from stategraph import import_paths
from stategraph.testing.evaluation.report import CaseResult
from stategraph.testing.evaluation.running import CONCURRENCY, evaluate

BELOW_THRESHOLD, FAILED = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Evaluate a target that is named by its import path, and print a table or JSON.

    Returns:
        0: the threshold was reached. 1: it was not. 2: nothing could be evaluated; standard error says why.
    """
    options = _parser().parse_args(arguments)

    def tell(result: CaseResult) -> None:
        sys.stderr.write(f"{result.passes} of {len(result.attempts)}  {result.case.name}\n")

    try:
        report = evaluate(
            import_paths.imported(options.target, "The target"),
            options.cases,
            repetitions=options.repetitions,
            max_concurrency=options.concurrency,
            threshold=options.threshold,
            tags=options.tag,
            judge=options.judge,
            timeout_s=options.timeout,
            on_result=None if options.json else tell,
        )
    except (ValueError, TypeError, OSError, ImportError, AttributeError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    if options.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        failures = report.failures()
        sys.stdout.write("\n".join([str(report), *([failures] if failures else [])]) + "\n")
    return 0 if report.passed else BELOW_THRESHOLD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m stategraph.testing.evaluation", description=__doc__)
    parser.add_argument("target", help="a function, a graph or agents, as MODULE:NAME")
    parser.add_argument("cases", help="a file of cases: .jsonl, .json, .csv or .yaml")
    parser.add_argument("--tag", action="append", default=[], help="only cases with this tag; may be repeated")
    parser.add_argument("--repetitions", type=int, default=1, help="attempts at each case (1)")
    parser.add_argument("--threshold", type=float, default=1.0, help="the share of attempts that have to pass (1.0)")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help=f"attempts at once ({CONCURRENCY})")
    parser.add_argument("--timeout", type=float, help="seconds that an attempt may take")
    parser.add_argument("--judge", help="the model of judges, such as openai:gpt-5-mini")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
