"""Sessions of governed runs: who asked for something acts in it, and who answers its questions approves.

Rules
-----
* A run has a signed reference to its session: ids of the organisation, the user, the graph and the thread. Roles,
  claims and budgets are looked up when it is executed; nothing of them is stored.
* A run that goes on with what another one left is executed in that one's session, whoever asks for it: an answer does
  not make the actions those of whoever answers. Someone else than its user is its approver.
* Such a one may answer, and nothing else: what changes the state, the checkpoint, the context or the assistant is
  refused, as it would be done with the rights of somebody else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from stategraph.governance.session_signing import (
    SessionIds,
    SessionReferenceError,
    SessionSigner,
    session_of_runs,
)
from stategraph.run.ports import RunSession
from stategraph.server.service.runs.sessions import REFERENCE, Beginning
from stategraph.server.service.values import Caller, RefusedError
from stategraph.workers.hosted.sources import StoredRun

if TYPE_CHECKING:
    from stategraph.governance.session import Session


def org_of(caller: Caller) -> str:
    """Return the organisation of a caller: `org_id` of what its authenticator says of it."""
    return str(caller.user.get("org_id") or "")


class GovernedSessions:
    """Sessions for the runs of a server, by the identity of whoever asks for them.

    Args:
        signer: Signs references to them.
        session: Makes a session of ids, where the run is executed. With `approver_id`, the context of the session has
            that user as its `approver`. None, or what it raises, ends the run.
        org_of: Returns the organisation of a caller; empty: the caller is refused.
    """

    def __init__(
        self,
        signer: SessionSigner,
        session: Callable[[SessionIds], Session | Awaitable[Session | None] | None],
        *,
        org_of: Callable[[Caller], str] = org_of,
    ) -> None:
        self._signer = signer
        self._org_of = org_of
        self._session_of = session_of_runs(lambda reference: session(signer.read(reference)))

    def issue(self, beginning: Beginning, /) -> tuple[str, str]:
        """Return tenant and reference of a run, see `service.runs.sessions.Sessions`."""
        caller = beginning.caller
        org_id = self._org_of(caller) if caller.identity else ""
        if not org_id:
            raise RefusedError("Runs of this server are governed, and nothing says who asks for this one")
        ids = SessionIds(org_id, caller.identity, beginning.graph_id, beginning.thread_id)
        before = None if beginning.before is None else beginning.before.labels.get(REFERENCE)
        if before is not None:
            ids = self._continued(ids, beginning, str(before))
        return org_id, self._signer.sign(ids)

    def _continued(self, ids: SessionIds, beginning: Beginning, before: str) -> SessionIds:
        """Return the ids of a run that goes on with what another one left."""
        try:
            first = self._signer.read(before)
        except SessionReferenceError as error:
            raise RefusedError(str(error)) from error
        if first.org_id != ids.org_id:
            raise RefusedError("The run belongs to another organisation")
        if first.user_id == ids.user_id:
            return ids
        request = beginning.request
        assert beginning.before is not None
        is_same = beginning.before.labels.get("assistant_id") == beginning.assistant_id
        only_answers = set(request.command or {}) <= {"resume"} and not request.checkpoint and not request.context
        if not (is_same and only_answers):
            raise RefusedError("The run is somebody else's: it may be answered, and nothing else of it be changed")
        return replace(first, approver_id=ids.user_id)

    async def session_of(self, run: StoredRun, /) -> RunSession | None:
        """Make the session of a run, see `service.runs.sessions.Sessions`."""
        made = self._session_of(run)
        return await made if isinstance(made, Awaitable) else made
