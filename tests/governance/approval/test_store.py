"""Requests for approval on SQLite and on PostgreSQL: decided once, used once, by those who may."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.approval.machine import MOVES, ApprovalState, Move, moved, sources
from stategraph.governance.approval.port import Approval
from stategraph.governance.approval.store import SqlApprovals
from stategraph.governance.context import Principal
from stategraph.governance.errors import ApprovalError
from stategraph.governance.policy.verdict import ApprovalTerms
from stategraph.workers.registry.databases import open_database

ANN = Principal("acme", "ann")
BOB = Principal("acme", "bob", frozenset({"security"}))
PLAIN = ApprovalTerms()
CLEO = Principal("acme", "cleo", frozenset({"security"}))


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[SqlApprovals]:
    made = SqlApprovals(open_database(url), clock=clock, most_pending=5)
    yield made
    made.close()


def asked(id: str = "1", terms: ApprovalTerms = PLAIN, **values: Any) -> Approval:
    given: dict[str, Any] = {
        "tenant": "acme",
        "scope": "t",
        "run_id": "r",
        "thread_id": "t",
        "place": "tools:1",
        "call_id": f"call-{id}",
        "capability_id": "function:app/refund@1",
        "capability_digest": "a" * 64,
        "arguments_hash": "b" * 64,
        "preview": {"cents": 500, "to": "Ünal"},
        "requesters": ("ann",),
        "agent_id": "support",
        "policy_digest": "c" * 64,
        "identity": "d" * 64,
        "rule": "refunds",
    }
    return Approval(id=id, terms=terms, **{**given, **values})


def test_a_request_is_kept_as_it_was_made_and_only_once(store: SqlApprovals, clock: Clock) -> None:
    terms = ApprovalTerms(("role:security", "user:dan"), 2, 60.0, self_approval=True)
    first, is_new = store.request(asked(terms=terms))
    assert is_new
    assert first == replace(asked(terms=terms), requested_at=clock.now, expires_at=clock.now + 60)
    again, is_new = store.request(asked(terms=terms, identity="e" * 64))
    assert not is_new
    assert again == first == store.get("acme", "1")
    assert store.get("other", "1") is None


def test_an_approval_is_used_once_and_again_only_for_the_same_effect(store: SqlApprovals) -> None:
    store.request(asked())
    assert not store.consume("acme", "1", "d" * 64, "effect")  # not approved
    assert store.vote("acme", "1", BOB, "approve").state is ApprovalState.APPROVED
    assert not store.consume("acme", "1", "e" * 64, "effect")  # another action
    assert not store.consume("other", "1", "d" * 64, "effect")  # another tenant
    assert store.consume("acme", "1", "d" * 64, "effect")
    assert store.consume("acme", "1", "d" * 64, "effect")  # the same call, after a crash
    assert not store.consume("acme", "1", "d" * 64, "another effect")
    with pytest.raises(ApprovalError, match="is consumed"):
        store.vote("acme", "1", CLEO, "deny")


def test_of_many_that_use_it_at_once_one_does(store: SqlApprovals) -> None:
    store.request(asked())
    store.vote("acme", "1", BOB, "approve")
    with ThreadPoolExecutor(8) as threads:
        used = list(threads.map(lambda n: store.consume("acme", "1", "d" * 64, f"effect {n}"), range(24)))
    assert used.count(True) == 1


_USE = """
import sys
from stategraph.governance.approval.store import SqlApprovals
store = SqlApprovals.from_url(sys.argv[1])
print(sum(store.consume("acme", str(n), "d" * 64, sys.argv[2]) for n in range(20)))
store.close()
"""


def test_of_several_processes_each_approval_is_used_by_one(url: str) -> None:
    store = SqlApprovals.from_url(url)
    for n in range(20):
        store.request(asked(str(n)))
        store.vote("acme", str(n), BOB, "approve")
    store.close()
    started = [
        subprocess.Popen([sys.executable, "-c", _USE, url, name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    used = [int(process.communicate(timeout=120)[0]) for process in started]
    assert sum(used) == 20


@pytest.mark.parametrize(
    ("terms", "voter", "why"),
    [
        (ApprovalTerms(), ANN, "may not approve it without another person"),
        (ApprovalTerms(("user:dan",)), BOB, "is none of those who may decide: user:dan"),
        (ApprovalTerms(("role:security",)), Principal("acme", "security"), "is none of those"),
        (ApprovalTerms(("user:bob",)), Principal("acme", "eve", frozenset({"user:bob"})), "is none of those"),
        (ApprovalTerms(), Principal("other", "bob"), "no request|another organisation"),
    ],
)
def test_who_may_not_vote_is_refused_and_changes_nothing(
    store: SqlApprovals, terms: ApprovalTerms, voter: Principal, why: str
) -> None:
    store.request(asked(terms=terms))
    with pytest.raises(ApprovalError, match=why):
        store.vote("acme", "1", voter, "approve")
    found = store.get("acme", "1")
    assert found is not None
    assert (found.state, found.votes) == (ApprovalState.REQUESTED, ())


def test_the_requester_may_approve_where_the_terms_say_so_and_may_always_deny(store: SqlApprovals) -> None:
    store.request(asked("1", ApprovalTerms(self_approval=True)))
    assert store.vote("acme", "1", ANN, "approve").state is ApprovalState.APPROVED
    store.request(asked("2", ApprovalTerms(("role:security",))))
    assert store.vote("acme", "2", ANN, "deny", "not needed any more").state is ApprovalState.DENIED


def test_a_quorum_counts_people_and_one_denial_denies(store: SqlApprovals) -> None:
    two = ApprovalTerms(("role:security",), 2)
    store.request(asked("1", two))
    assert store.vote("acme", "1", BOB, "approve").state is ApprovalState.REQUESTED
    assert store.vote("acme", "1", BOB, "approve").state is ApprovalState.REQUESTED
    approved = store.vote("acme", "1", CLEO, "approve", "fine")
    assert approved.state is ApprovalState.APPROVED
    assert [(vote.approver, vote.word, vote.comment) for vote in approved.votes] == [
        ("bob", "approve", None),
        ("cleo", "approve", "fine"),
    ]
    assert store.vote("acme", "1", BOB, "deny").state is ApprovalState.DENIED  # before it was used
    assert not store.consume("acme", "1", "d" * 64, "effect")


def test_a_request_expires_whether_it_waits_or_is_approved(store: SqlApprovals, clock: Clock) -> None:
    store.request(asked("1"))
    store.request(asked("2"))
    store.vote("acme", "2", BOB, "approve")
    clock.now += 15 * 60.0
    for id in ("1", "2"):
        found = store.get("acme", id)
        assert found is not None
        assert found.state is ApprovalState.EXPIRED
        assert not store.consume("acme", id, "d" * 64, "effect")
    with pytest.raises(ApprovalError, match="is expired"):
        store.vote("acme", "1", BOB, "approve")
    assert store.equal("acme", "t", "d" * 64) == []
    assert store.expire() == 2
    assert store.expire() == 0


def test_no_more_than_so_many_wait_for_each_tenant(store: SqlApprovals, clock: Clock) -> None:
    for n in range(5):
        store.request(asked(str(n)))
    with pytest.raises(ApprovalError, match="no more may"):
        store.request(asked("5"))
    store.request(asked("5", tenant="other"))
    store.vote("acme", "0", BOB, "deny")
    store.request(asked("5"))
    clock.now += 3600.0  # those that have expired do not wait
    store.request(asked("6"))


def test_those_that_wait_are_counted_without_reading_them(store: SqlApprovals, clock: Clock) -> None:
    assert store.waiting() == (0, 0.0)
    store.request(asked("gone", ApprovalTerms(expires_s=20.0)))
    clock.now += 15
    store.request(asked("old"))
    clock.now += 10
    for id, tenant in (("new", "acme"), ("decided", "acme"), ("new", "other")):
        store.request(asked(id, tenant=tenant))
    store.vote("acme", "decided", BOB, "approve")
    clock.now += 5
    assert store.waiting() == (3, 15.0)
    assert store.waiting("acme") == (2, 15.0)
    assert store.waiting("other") == (1, 5.0)


def test_requests_are_found_by_call_by_equality_and_by_state(store: SqlApprovals, clock: Clock) -> None:
    for n, call in enumerate(["a", "a", "b"]):
        clock.now += 1
        store.request(asked(str(n), call_id=call))
    store.vote("acme", "1", BOB, "approve")
    assert [each.id for each in store.of_call("acme", "t", "tools:1", "a")] == ["0", "1"]
    assert [each.id for each in store.equal("acme", "t", "d" * 64)] == ["1"]
    assert store.equal("acme", "another thread", "d" * 64) == []
    assert [each.id for each in store.newest("acme")] == ["2", "1", "0"]
    assert [each.id for each in store.newest(states=[ApprovalState.REQUESTED], limit=1)] == ["2"]
    assert store.newest("other") == []
    assert store.supersede("acme", "1")
    assert not store.supersede("acme", "1")
    assert store.equal("acme", "t", "d" * 64) == []


@pytest.mark.parametrize(
    "terms",
    [
        ApprovalTerms(("ann",)),
        ApprovalTerms(("role:",)),
        ApprovalTerms(quorum=0),
        ApprovalTerms(expires_s=0),
        ApprovalTerms(expires_s=31 * 24 * 3600),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: ApprovalTerms, tmp_path: Any) -> None:
    store = SqlApprovals.from_url(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(ConfigurationError):
        store.request(asked(terms=terms))
    store.close()


@pytest.mark.parametrize("state", ApprovalState)
@pytest.mark.parametrize("move", Move)
def test_the_table_has_every_move_and_what_is_not_in_it_raises(state: ApprovalState, move: Move) -> None:
    if (state, move) in MOVES:
        assert state in sources(move)
        assert moved(state, move) is MOVES[state, move]
    else:
        with pytest.raises(ApprovalError, match=f"is {state} has no move"):
            moved(state, move)
