"""Contexts of the protocol are threads.

A context id that is a UUID is the thread's. Another one, as clients make them up, stands for a thread of its own for
each caller; the run remembers it.
"""

from __future__ import annotations

import uuid
from typing import Final

from stategraph.server.service.port import Caller, RunRecord

#: The key in the metadata of a run under which a context id is kept that is no UUID.
CONTEXT: Final = "a2a_context"

_CONTEXTS: Final = uuid.UUID("0b0a3f0e-53a5-5d0f-8a3b-5a7e6f4c9d21")


def thread_of(caller: Caller, context_id: str) -> str:
    """Return the id of the thread for a context id of a client; a new one if it is empty."""
    if not context_id:
        return str(uuid.uuid4())
    try:
        return str(uuid.UUID(context_id))
    except ValueError:
        return str(uuid.uuid5(_CONTEXTS, f"{caller.identity}\n{context_id}"))


def context_of(run: RunRecord) -> str:
    """Return the context id of a run, as its client knows it."""
    named = run.metadata.get(CONTEXT)
    return named if isinstance(named, str) else run.thread_id
