"""References to sessions that another process can trust: ids and a time, signed with a key of the host.

A reference says whose session it is, and nothing that it may do: who restores it looks up roles, policies and budgets
as they are then. So it may be stored with a run: whoever reads it learns ids, and can neither change nor prolong it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.errors import GovernanceError
from stategraph.governance.session import Session, check_tenant
from stategraph.run.ports import RunSession
from stategraph.workers.attempts import SessionOf
from stategraph.workers.hosted.sources import StoredRun

SHORTEST_KEY: Final = 32
"""Bytes of a key at least."""

DEFAULT_LIFE_S: Final = 24 * 3600.0


class SessionReferenceError(GovernanceError):
    """A reference to a session was not signed with a known key, was changed, or has expired."""


@dataclass(frozen=True, slots=True)
class SessionIds:
    """Ids that a reference names.

    Attributes:
        org_id: The organisation.
        user_id: The user within it.
        agent_id: The agent.
        session_id: The conversation.
        root_run_id: The run at the root of the tree; None: the run that is executed.
        approver_id: The user of the same organisation who answers its questions; None: the first one.
    """

    org_id: str
    user_id: str
    agent_id: str
    session_id: str
    root_run_id: str | None = None
    approver_id: str | None = None


class SessionSigner:
    """Makes references to sessions, and reads them again.

    Args:
        keys: Keys of at least 32 bytes by their ids; the first one signs, all are accepted. To change keys, put a new
            one first, and take the old one away when its last reference has expired.
        life_s: Seconds for which a reference is accepted: as long as a run may wait for a worker or a person.

    Raises:
        ConfigurationError: There is no key, or one is too short.
    """

    def __init__(self, keys: Mapping[str, bytes], *, life_s: float = DEFAULT_LIFE_S) -> None:
        if not keys:
            raise ConfigurationError("SessionSigner needs a key: SessionSigner({'k1': secrets.token_bytes(32)})")
        for key_id, key in keys.items():
            if not isinstance(key, bytes) or len(key) < SHORTEST_KEY:
                raise ConfigurationError(f"The key {key_id!r} of SessionSigner needs at least {SHORTEST_KEY} bytes")
        self._keys = dict(keys)
        self._life_s = life_s

    def __repr__(self) -> str:
        return f"<SessionSigner with keys {', '.join(self._keys)}>"

    def issue(self, context: RuntimeSessionContext, root_run_id: str | None = None) -> str:
        """Return a reference to a session: text of ASCII letters, digits, `-`, `_` and `.`.

        Args:
            context: The context of the session.
            root_run_id: The run at the root of the tree, for a run that this one starts elsewhere.
        """
        principal, approver = context.principal, context.approver
        approver_id = None if approver is None else approver.user_id
        ids = (principal.org_id, principal.user_id, context.agent.id, context.session_id, root_run_id, approver_id)
        return self.sign(SessionIds(*ids))

    def sign(self, ids: SessionIds) -> str:
        """Return a reference to a session, as `issue` does, of ids alone."""
        key_id = next(iter(self._keys))
        says = {
            "k": key_id,
            "o": ids.org_id,
            "u": ids.user_id,
            "a": ids.agent_id,
            "s": ids.session_id,
            "r": ids.root_run_id,
            **({} if ids.approver_id is None else {"p": ids.approver_id}),
            "e": int(environment.current().clock.time() + self._life_s),
        }
        body = _text(json.dumps(says, separators=(",", ":")).encode())
        return f"{body}.{_text(self._signature(key_id, body))}"

    def read(self, reference: str) -> SessionIds:
        """Return what a reference says.

        Raises:
            SessionReferenceError: It was not signed with a known key, was changed, or has expired.
        """
        body, _, signature = reference.partition(".")
        says = _says(body)
        key_id = says.get("k")
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise SessionReferenceError("The reference to a session is signed with a key that is not known here")
        if not hmac.compare_digest(_text(self._signature(key_id, body)).encode(), signature.encode(errors="replace")):
            raise SessionReferenceError("The reference to a session has a signature that is not its own")
        if environment.current().clock.time() >= says["e"]:
            raise SessionReferenceError("The reference to a session has expired: the user has to begin a new one")
        return SessionIds(says["o"], says["u"], says["a"], says["s"], says["r"], says.get("p"))

    def _signature(self, key_id: str, body: str) -> bytes:
        return hmac.digest(self._keys[key_id], b"stategraph.session\0" + body.encode(errors="replace"), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _says(body: str) -> dict[str, Any]:
    try:
        says = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        says = None
    if not isinstance(says, dict):
        raise SessionReferenceError("A value was given as the reference to a session that is none")
    return says


def session_of_runs(restore: Callable[[str], Session | Awaitable[Session | None] | None]) -> SessionOf:
    """Return the function for `Worker(session_of=...)` of a host that submits references as the context of runs.

    Args:
        restore: Makes the session of a reference, as that of a `SessionReference`; None: the run is refused.

    Returns:
        A function that refuses runs that were submitted without a reference, or for another tenant than its session's.
    """

    async def session_of(run: StoredRun) -> RunSession:
        reference = run.context if run.session is None else run.session
        if not isinstance(reference, str):
            raise SessionReferenceError(
                f"Run '{run.run_id}' was submitted without a reference to its session: submit(..., "
                "context=signer.issue(context), tenant=context.tenant)"
            )
        made = restore(reference)
        session = await made if inspect.isawaitable(made) else made
        if session is None:
            raise SessionReferenceError(f"The session of run '{run.run_id}' cannot be made any more")
        check_tenant(session.context.tenant, run.tenant, f"Run '{run.run_id}'")
        return session

    return session_of
