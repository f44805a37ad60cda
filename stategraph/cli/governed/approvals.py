"""`stategraph approvals`: requests for approval listed, shown, approved and denied."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import NOTHING_DONE, STORE_VARIABLE, Output, positive, table
from stategraph.cli.parser import Parser, fail

if TYPE_CHECKING:
    from stategraph.governance.approval.port import Approval
    from stategraph.governance.approval.store import SqlApprovals

_STATES: Final = ("requested", "approved", "denied", "expired", "consumed", "superseded")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "See docs/approvals.md."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    add = partial(_add, actions)

    listing = add("list", "List requests, the newest first.", _list)
    listing.add_argument("--tenant", metavar="ORG", help="only those of this organisation")
    listing.add_argument(
        "--state",
        choices=_STATES,
        action="append",
        help="only those in this state (default: requested); may be repeated",
    )
    listing.add_argument("--limit", type=positive, default=100, metavar="N", help="at most so many (default: 100)")
    listing.epilog = "Exit code: 0 some wait, or were asked for; 1 there are none."

    showing = add("show", "Show one request: what is asked for, by whom, under which rule, and its votes.", _show)
    showing.add_argument("id", metavar="REQUEST", help="its id")
    showing.add_argument("--tenant", metavar="ORG", required=True, help="the organisation of the request")
    showing.epilog = "Exit code: 0 it is there; 2 it is not."

    for name, summary, word in (("approve", "Approve a request.", "approve"), ("deny", "Deny a request.", "deny")):
        voting = add(name, summary, _vote)
        voting.set_defaults(word=word)
        voting.add_argument("id", metavar="REQUEST", help="its id")
        voting.add_argument("--tenant", metavar="ORG", required=True, help="the organisation of the request")
        voting.add_argument("--as", dest="user", metavar="USER", required=True, help="the user who decides")
        voting.add_argument("--role", action="append", default=[], help="a role of that user; may be repeated")
        voting.add_argument("--comment", metavar="TEXT", help="why; the model and the audit log are told")
        voting.add_argument("--audit", metavar="URL", help="the audit log that is told of the decision")
        voting.epilog = (
            "Who may use the database may vote in anybody's name: --as and --role are believed. The run goes on when "
            "it is resumed. Exit code: 0 it counts; 2 it does not, and why is said."
        )


def _add(actions: Any, name: str, summary: str, act: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE),
        help="the database of requests: sqlite:///approvals.db or postgresql://...; by default that in the environment "
        f"variable {STORE_VARIABLE}, which other users of the machine cannot read",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run, act=act)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Perform an action and return the exit code."""
    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.governance.approval.store import SqlApprovals
    from stategraph.governance.errors import GovernanceError
    from stategraph.workers.registry.port import StoreUnavailableError

    if arguments.store is None:
        fail(arguments, f"--store is needed, or the environment variable {STORE_VARIABLE}")
    output = Output(as_json=arguments.json, store=arguments.store)
    try:
        with closing(SqlApprovals.from_url(arguments.store, create=False)) as store:
            code: int = arguments.act(store, arguments, output)
    except (GovernanceError, ConfigurationError, MissingPackageError, StoreUnavailableError) as error:
        return output.fail(error)
    return code


def _row(approval: Approval) -> tuple[str, ...]:
    return (
        approval.id,
        approval.tenant,
        str(approval.state),
        approval.capability_id,
        ", ".join(approval.requesters),
        approval.agent_id,
        approval.rule or "-",
        _until(approval),
        json.dumps(dict(approval.preview), ensure_ascii=False),
    )


def _show(store: SqlApprovals, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.errors import ApprovalError
    from stategraph.governance.visible_text import visible_line

    found = store.get(arguments.tenant, arguments.id)
    if found is None:
        raise ApprovalError(f"There is no request for approval '{arguments.id}' of this tenant")
    facts = _facts(found)
    width = max(map(len, facts))
    lines = (
        f"{name:<{width}}  {visible_line(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False))}"
        for name, each in facts.items()
    )
    output.show(facts, "\n".join(lines))
    return 0


def _list(store: SqlApprovals, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.approval.machine import ApprovalState
    from stategraph.governance.visible_text import visible_line

    states = [ApprovalState(each) for each in arguments.state or ["requested"]]
    found = store.newest(arguments.tenant, states, arguments.limit)
    rows = [tuple(map(visible_line, _row(each))) for each in found]
    titles = ("REQUEST", "TENANT", "STATE", "CAPABILITY", "REQUESTER", "AGENT", "RULE", "EXPIRES", "ARGUMENTS")
    output.show([_facts(each) for each in found], table(titles, rows) if rows else "No requests for approval.")
    return 0 if found else NOTHING_DONE


def _vote(store: SqlApprovals, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.approval.desk import ApprovalDesk
    from stategraph.governance.audit.log import AuditLog
    from stategraph.governance.context import Principal

    voter = Principal(arguments.tenant, arguments.user, frozenset(arguments.role))
    with ExitStack() as stack:
        audit = None if arguments.audit is None else stack.enter_context(AuditLog(arguments.audit))
        found = ApprovalDesk(store, audit).vote_sync(arguments.id, voter, arguments.word, arguments.comment)
    approved = sum(vote.word == "approve" for vote in found.votes)
    more = f", {approved} of {found.terms.quorum} have approved" if found.state == "requested" else ""
    output.show(_facts(found), f"Request '{found.id}' is {found.state}{more}.")
    return 0


def _until(approval: Approval) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(approval.expires_at, UTC).isoformat(timespec="seconds")


def _facts(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "tenant": approval.tenant,
        "state": str(approval.state),
        "run_id": approval.run_id,
        "thread_id": approval.thread_id,
        "call_id": approval.call_id,
        "capability_id": approval.capability_id,
        "arguments": dict(approval.preview),
        "requesters": list(approval.requesters),
        "agent_id": approval.agent_id,
        "rule": approval.rule,
        "reason": approval.reason,
        "approvers": list(approval.terms.approvers),
        "quorum": approval.terms.quorum,
        "expires_at": _until(approval),
        "votes": [{"approver": vote.approver, "word": vote.word, "comment": vote.comment} for vote in approval.votes],
    }
