"""Votes: the rules of who may decide about a request, and of what its votes come to. Pure.

- `role:<name>` and `user:<id>` name approvers; whoever matches one of them may vote. Where none is named, everybody may
  whom the host lets vote.
- A vote is within the organisation of the request, always.
- Those for whom the action is may deny it, and may approve it only where the terms allow it (`self_approval`).
- One denial denies. Approvals are counted once for each person; a later vote of the same person replaces the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from stategraph.errors import ConfigurationError
from stategraph.governance.approval.machine import Move
from stategraph.governance.approval.port import LONGEST_S, Approval, Vote, VoteWord
from stategraph.governance.context import Principal
from stategraph.governance.policy.verdict import ApprovalTerms

Directory: TypeAlias = Callable[[str, str], "Collection[str] | None"]
"""Returns the roles that a user of a tenant has now; None: there is no such user any more."""


def check_terms(terms: ApprovalTerms) -> ApprovalTerms:
    """Return terms that a request can be made with.

    Raises:
        ConfigurationError: An approver has neither form, nobody would have to approve, or it would never expire.
    """
    for each in terms.approvers:
        kind, _, name = each.partition(":")
        if kind not in ("role", "user") or not name:
            raise ConfigurationError(f"The approver {each!r} is neither 'role:<name>' nor 'user:<id>'")
    if terms.quorum < 1:
        raise ConfigurationError(f"The quorum is {terms.quorum}; at least 1 person has to approve")
    if not 0 < terms.expires_s <= LONGEST_S:
        raise ConfigurationError(f"A request expires in {terms.expires_s:g} s; it may wait up to {LONGEST_S:g} s")
    return terms


def objection(approval: Approval, voter: Principal, word: VoteWord) -> str | None:
    """Return why somebody may not vote so; None: they may."""
    if voter.org_id != approval.tenant:
        return "the request is of another organisation"
    return _objection(approval, voter.user_id, voter.roles, word)


def _objection(approval: Approval, user_id: str, roles: Collection[str], word: VoteWord) -> str | None:
    terms = approval.terms
    is_requester = user_id in approval.requesters
    if word == "deny" and is_requester:
        return None
    if is_requester and not terms.self_approval:
        return f"'{user_id}' asked for the action, and may not approve it without another person"
    if terms.approvers and not _named(terms.approvers, user_id, roles):
        return f"'{user_id}' is none of those who may decide: {', '.join(terms.approvers)}"
    return None


def _named(approvers: Iterable[str], user_id: str, roles: Collection[str]) -> bool:
    names = {f"user:{user_id}", *(f"role:{role}" for role in roles)}
    return not names.isdisjoint(approvers)


def outcome(terms: ApprovalTerms, votes: Iterable[Vote]) -> Move | None:
    """Return what votes make of a request that waits; None: it goes on waiting."""
    words = {vote.approver: vote.word for vote in votes}
    if "deny" in words.values():
        return Move.REFUSE
    return Move.GRANT if len(words) >= terms.quorum else None


def still_stands(approval: Approval, directory: Directory | None) -> str | None:
    """Return why an approval no longer counts, as its approvers may not vote any more; None: it counts.

    Args:
        approval: An approved request.
        directory: Knows the roles that people have now; None: those count that they had.
    """
    counted = 0
    for vote in approval.votes:
        roles: Collection[str] | None = vote.roles
        if directory is not None:
            roles = directory(approval.tenant, vote.approver)
        if vote.word == "approve" and roles is not None:
            counted += _objection(approval, vote.approver, roles, "approve") is None
    if counted >= approval.terms.quorum:
        return None
    return f"{counted} of those who approved may still do so, and {approval.terms.quorum} have to"
