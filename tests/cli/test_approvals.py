"""`stategraph approvals` as a process: what a person sees, and the exit codes."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stategraph.governance.approval.store import SqlApprovals
from stategraph.governance.policy.verdict import ApprovalTerms
from tests.cli.programs import stategraph
from tests.governance.approval.test_store import asked

STORE = ("--store", "sqlite:///approvals.db")
BOB = ("--tenant", "acme", "--as", "bob", "--role", "security", *STORE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = SqlApprovals.from_url(f"sqlite:///{tmp_path / 'approvals.db'}")
    store.request(asked("one", ApprovalTerms(("role:security",))))
    store.request(asked("two", ApprovalTerms(("role:security",), quorum=2)))
    store.close()
    return tmp_path


def test_requests_are_listed_and_decided(folder: Path) -> None:
    done = stategraph(folder, "approvals", "list", *STORE)
    assert done.returncode == 0, done.stderr
    titles, first, _ = done.stdout.splitlines()
    assert titles.split() == [
        "REQUEST",
        "TENANT",
        "STATE",
        "CAPABILITY",
        "REQUESTER",
        "AGENT",
        "RULE",
        "EXPIRES",
        "ARGUMENTS",
    ]
    assert "acme    requested  function:app/refund@1" in first
    audit = ("--audit", "sqlite:///audit.db")
    done = stategraph(folder, "approvals", "approve", "one", *BOB, *audit, "--comment", "fine")
    assert (done.returncode, done.stdout) == (0, "Request 'one' is approved.\n"), done.stderr
    done = stategraph(folder, "approvals", "approve", "two", *BOB)
    assert done.stdout == "Request 'two' is requested, 1 of 2 have approved.\n"
    done = stategraph(folder, "approvals", "deny", "two", *BOB)
    assert done.stdout == "Request 'two' is denied.\n"
    done = stategraph(folder, "approvals", "list", *STORE)
    assert (done.returncode, done.stdout) == (1, "No requests for approval.\n")
    done = stategraph(folder, "approvals", "list", "--state", "approved", "--json", *STORE)
    (found,) = json.loads(done.stdout)
    assert found["votes"] == [{"approver": "bob", "word": "approve", "comment": "fine"}]


def test_a_request_is_shown_without_invisible_characters(folder: Path) -> None:
    with closing(SqlApprovals.from_url(f"sqlite:///{folder / 'approvals.db'}")) as store:
        store.request(replace(asked("odd"), agent_id="sup\u200bport", preview={"to": "\u202emoc.elpmaxe@nna"}))
    done = stategraph(folder, "approvals", "show", "odd", "--tenant", "acme", *STORE)
    assert done.returncode == 0, done.stderr
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (facts["requesters"], facts["rule"]) == ('["ann"]', "refunds")
    assert facts["agent_id"] == r"sup\u200bport"
    listed = stategraph(folder, "approvals", "list", *STORE).stdout
    assert r"sup\u200bport" in listed and r"\u202emoc.elpmaxe@nna" in listed
    assert "\u200b" not in done.stdout + listed and "\u202e" not in done.stdout + listed
    assert stategraph(folder, "approvals", "show", "nine", "--tenant", "acme", *STORE).returncode == 2


def test_a_vote_that_does_not_count_says_why(folder: Path) -> None:
    done = stategraph(folder, "approvals", "approve", "one", "--tenant", "acme", "--as", "ann", *STORE)
    assert done.returncode == 2
    assert "'ann' asked for the action, and may not approve it without another person" in done.stderr
    done = stategraph(folder, "approvals", "approve", "nine", *BOB)
    assert "There is no request for approval 'nine' of this tenant" in done.stderr
    done = stategraph(folder, "approvals", "list", "--store", "sqlite:///none.db")
    assert done.returncode == 2
    assert "There is no database" in done.stderr
