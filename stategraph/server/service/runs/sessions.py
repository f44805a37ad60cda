"""In which session each run is executed: what a service asks of whoever governs its runs."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from stategraph.run.ports import RunSession
from stategraph.server.service.values import Caller, RunRequest
from stategraph.workers.hosted.sources import StoredRun
from stategraph.workers.registry.labelled import LabelledRun

#: What labels of a run keep the reference to its session by.
REFERENCE: Final = "session"


@dataclass(frozen=True, slots=True)
class Beginning:
    """A run that is about to begin.

    Attributes:
        caller: Who asks for it.
        request: What is asked for.
        assistant_id: The assistant.
        graph_id: Its graph.
        thread_id: The thread.
        before: The thread's last run, if this one goes on with what that left; None: it begins something.
    """

    caller: Caller
    request: RunRequest
    assistant_id: str
    graph_id: str
    thread_id: str
    before: LabelledRun | None = None


class Sessions(Protocol):
    """Says in which session each run is executed."""

    def issue(self, beginning: Beginning, /) -> tuple[str, str]:
        """Return the tenant of a run, and a reference to its session, which is stored with it.

        Raises:
            RefusedError: The caller may not begin it.
        """

    def session_of(self, run: StoredRun, /) -> Awaitable[RunSession | None]:
        """Make the session of a run, for an attempt; what it raises is the end of the run."""


def goes_on(request: RunRequest) -> bool:
    """Return whether a run goes on with what the last one of its thread has left, such as a question."""
    if request.thread_id is None:
        return False
    return "resume" in request.command if request.command else request.input is None
