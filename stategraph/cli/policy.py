"""`stategraph policy`: policy files checked, held against tables of cases, and explained."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import NOTHING_DONE, Output, counted
from stategraph.cli.parser import Parser

if TYPE_CHECKING:
    from stategraph.governance.policy.review.explanation import Explanation
    from stategraph.governance.policy.rules import RulePolicy

_POINTS: Final = (
    "agent_startup",
    "input",
    "pre_model_call",
    "post_model_call",
    "pre_tool_call",
    "post_tool_call",
    "output",
    "agent_shutdown",
)


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "See docs/policies.md."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    add = partial(_add, actions)

    check = add("check", "Read policy files, compile their conditions, and warn of rules that never decide.", _check)
    check.add_argument("files", metavar="FILE", nargs="+")
    check.epilog = "Exit code: 0 nothing found, 1 there are warnings, 2 a file cannot be read."

    test = add("test", "Ask a policy about a table of snapshots, and compare the verdicts.", _test)
    test.add_argument("file", metavar="FILE", help="the policy")
    test.add_argument("cases", metavar="CASES", help="the table, a file of the kind PolicyCases")
    test.epilog = "Exit code: 0 all are as expected, 1 some are not, 2 a file cannot be read."

    explain = add("explain", "Decide about a snapshot, and say of each rule why it decided or did not.", _explain)
    explain.add_argument("file", metavar="FILE", help="the policy")
    explain.add_argument(
        "--snapshot", metavar="FILE", required=True, help="the snapshot as JSON or YAML; - reads stdin"
    )
    explain.add_argument("--at", choices=_POINTS, default="pre_tool_call", help="the point (default: pre_tool_call)")
    explain.epilog = (
        "Exit code: 0 it was decided, 2 a file cannot be read. Conditions and fields are shown as they are."
    )


def _add(actions: Any, name: str, summary: str, act: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run, act=act)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Perform an action and return the exit code."""
    from stategraph.errors import MissingPackageError
    from stategraph.governance.errors import PolicyError

    output = Output(as_json=arguments.json, store="")
    try:
        code: int = arguments.act(arguments, output)
    except (PolicyError, MissingPackageError) as error:
        return output.fail(error)
    return code


def _check(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.policy.review.linting import warnings

    found = [(file, policy := _load(file), warnings(policy.document)) for file in arguments.files]
    facts = [
        {
            "file": file,
            "name": policy.name,
            "mode": policy.document.mode,
            "rules": len(policy.document.rules),
            "digest": policy.digest,
            "warnings": list(warned),
        }
        for file, policy, warned in found
    ]
    lines = list[str]()
    for file, policy, warned in found:
        rules = counted(len(policy.document.rules), "rule")
        lines.append(f"{file}: policy {policy.name!r}, {policy.document.mode}, {rules}, digest {policy.digest[:12]}")
        lines += [f"  warning: {each}" for each in warned]
    output.show(facts, "\n".join(lines))
    return NOTHING_DONE if any(warned for _, _, warned in found) else 0


def _test(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.policy.review.cases import load_cases, run_cases

    policy = _load(arguments.file)
    results = run_cases(policy, load_cases(arguments.cases))
    failed = [each for each in results if each.differences]
    matched = {rule for each in results for rule in each.evaluation.verdict.matched}
    idle = [each.name for each in policy.document.rules if each.name not in matched]
    facts = {
        "cases": len(results),
        "failed": [{"name": each.case.name, "differences": list(each.differences)} for each in failed],
        "rules_without_a_case": idle,
    }
    lines = [f"{each.case.name}: {'; '.join(each.differences)}" for each in failed]
    lines.append(f"{len(results) - len(failed)} of {counted(len(results), 'case')} as expected")
    if idle:
        lines.append(f"no case matches: {', '.join(idle)}")
    output.show(facts, "\n".join(lines))
    return NOTHING_DONE if failed else 0


def _explain(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.policy.files import parse_yaml, read
    from stategraph.governance.policy.review.explanation import as_text, explain
    from stategraph.governance.policy.verdict import InterventionPoint

    policy = _load(arguments.file)
    source = "standard input" if arguments.snapshot == "-" else arguments.snapshot
    snapshot = parse_yaml(sys.stdin.read() if arguments.snapshot == "-" else read(arguments.snapshot), source)
    found = explain(policy, InterventionPoint(arguments.at), snapshot)
    output.show(_facts(found), as_text(found))
    return 0


def _facts(found: Explanation) -> dict[str, Any]:
    verdict = found.evaluation.verdict
    return {
        "point": found.point.value,
        "decision": verdict.decision.value,
        "enforced": verdict.enforced,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "message": verdict.message,
        "matched": list(verdict.matched),
        "policy_digest": verdict.policy_digest,
        "input_identity": found.evaluation.input_identity,
        "enforced_identity": found.evaluation.enforced_identity,
        "rules": [{"rule": each.rule, "finding": each.finding, "detail": each.detail} for each in found.findings],
    }


def _load(file: str) -> RulePolicy:
    from stategraph.governance.policy.files import load_policy
    from stategraph.governance.redaction import Redactor

    return load_policy(file, redact=Redactor().clean)
