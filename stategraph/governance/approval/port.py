"""Requests for approval, votes about them, and the port of those who keep them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from stategraph.governance.approval.machine import ApprovalState as ApprovalState
from stategraph.governance.context import Principal
from stategraph.governance.policy.verdict import ApprovalTerms

VoteWord: TypeAlias = Literal["approve", "deny"]

MOST_PENDING: Final = 10_000
"""Requests of one tenant that may wait at a time."""

LONGEST_S: Final = 30 * 24 * 3600.0
"""Longest time until a request expires."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's decision about a request; a later one of the same person replaces it.

    Attributes:
        approver: The user's id.
        word: The decision.
        roles: The roles that the person had.
        comment: Why, in words; None: not said.
        at: When, in seconds since 1970.
    """

    approver: str
    word: VoteWord
    roles: frozenset[str] = frozenset()
    comment: str | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for approval, and what came of it.

    Attributes:
        id: Its id.
        tenant: The organisation.
        scope: The thread, or the run if there is none: where an equal action may use it.
        run_id: The run.
        thread_id: Its thread; None: none.
        place: Where in the run; with it the id of the call is unique.
        call_id: The call.
        capability_id: What is to be used.
        capability_digest: Its digest when it was asked for.
        arguments_hash: SHA-256 of the arguments, in hex.
        preview: What people are shown of the arguments.
        requesters: The ids of the users for whom the action is, the caller first.
        agent_id: Through which agent.
        policy_digest: The policy that asked for it.
        identity: The `enforced_identity` of the action, which is all that was decided on.
        terms: Who may approve it, how many have to, and for how long.
        rule: The rule that asked for it; None: the policy's default.
        reason: Why it is asked for, as the policy says; None: it does not.
        state: What has come of it.
        requested_at: When, in seconds since 1970.
        expires_at: When it expires.
        resolved_at: When it got its last state; None: it waits.
        used_by: The effect for which it was used up; None: it was not.
        votes: The votes, the oldest first.
    """

    id: str
    tenant: str
    scope: str
    run_id: str
    thread_id: str | None
    place: str
    call_id: str
    capability_id: str
    capability_digest: str
    arguments_hash: str
    preview: Mapping[str, Any]
    requesters: tuple[str, ...]
    agent_id: str
    policy_digest: str
    identity: str
    terms: ApprovalTerms
    rule: str | None = None
    reason: str | None = None
    state: ApprovalState = ApprovalState.REQUESTED
    requested_at: float = 0.0
    expires_at: float = 0.0
    resolved_at: float | None = None
    used_by: str | None = None
    votes: Sequence[Vote] = field(default=())


class Waiting(NamedTuple):
    """Requests that wait for a person.

    Attributes:
        requests: How many.
        oldest_s: For how many seconds the oldest has waited; 0: none waits.
    """

    requests: int
    oldest_s: float


class ApprovalStore(Protocol):
    """Keeps requests; synchronous and thread-safe. Each change is one transaction, and is made once.

    Times are those of the store's clock. A request whose time has come is found in the state `expired`.
    """

    def request(self, approval: Approval, /) -> tuple[Approval, bool]:
        """Keep a request, unless one with its id is there.

        Args:
            approval: The request. `requested_at` and `expires_at` are set here, from the terms.

        Returns:
            The request as it is kept, and whether it is new.

        Raises:
            ApprovalError: As many requests of the tenant wait as may.
        """

    def get(self, tenant: str, id: str, /) -> Approval | None:
        """Return a request; None: the tenant has none with this id."""

    def of_call(self, tenant: str, scope: str, place: str, call_id: str, /) -> Sequence[Approval]:
        """Return the requests about one call, the oldest first."""

    def equal(self, tenant: str, scope: str, identity: str, /) -> Sequence[Approval]:
        """Return the approved, unused requests for an equal action, the oldest first."""

    def newest(
        self, tenant: str | None = None, states: Collection[ApprovalState] = (), limit: int = 100
    ) -> Sequence[Approval]:
        """Return requests, the newest first.

        Args:
            tenant: Of this organisation; None: of all, for operators.
            states: In these states; none: in any.
            limit: So many at most.
        """

    def waiting(self, tenant: str | None = None, /) -> Waiting:
        """Count the requests that wait for a person: of this organisation; None: of all, for operators."""

    def vote(self, tenant: str, id: str, voter: Principal, word: VoteWord, comment: str | None = None, /) -> Approval:
        """Count a vote, and move the request when enough have approved, or one has denied.

        Raises:
            ApprovalError: There is no such request, it is decided or expired, or the voter may not vote.
        """

    def consume(self, tenant: str, id: str, identity: str, used_by: str, /) -> bool:
        """Use an approved request up for one action.

        Args:
            tenant: The organisation.
            id: The request.
            identity: The action's `enforced_identity`; another one than that which was approved is refused.
            used_by: The effect for which it is used.

        Returns:
            Whether it is used by this effect now; False: it is not approved, has expired, or another one has used it.
        """

    def give_back(self, tenant: str, id: str, used_by: str, /) -> bool:
        """Make a request usable again whose action has paused to ask a person, and is to be carried out yet.

        Args:
            tenant: The organisation.
            id: The request.
            used_by: The effect for which it was used.

        Returns:
            Whether this call did; False: it is not used up, or for another effect.
        """

    def supersede(self, tenant: str, id: str, /) -> bool:
        """Set aside a request that waits or is approved; return whether this call did."""

    def note_told(self, tenant: str, id: str, state: ApprovalState, /, *, told: bool = True) -> bool:
        """Note that the audit log is told of a decision, so that it is told once.

        Args:
            tenant: The organisation.
            id: The request.
            state: The decision: `approved` or `denied`.
            told: False takes the note back, as the log could not take the event.

        Returns:
            Whether this call changed it; whoever notes it first tells the log.
        """

    def expire(self, tenant: str | None = None, /) -> int:
        """Mark requests whose time has come, and return how many."""

    def close(self) -> None:
        """Close what was opened."""
