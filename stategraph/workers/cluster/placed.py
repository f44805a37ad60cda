"""The records of a host: its jobs, wherever they are, and the nodes that it has heard of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from stategraph.workers.cluster.links import Link
from stategraph.workers.cluster.submissions import Unanswered
from stategraph.workers.handle import HostedJob
from stategraph.workers.pool import WorkerStatistics


@dataclass(eq=False, slots=True)
class Placed:
    """A job in the queue, or with a node."""

    hosted: HostedJob
    data: bytes
    digest: bytes
    stored: str | None = None
    number: int = 0
    made_at: datetime | None = None
    begun: int = 0
    lost: int = 0
    why: str = "its worker was lost, or its submission was repeated"
    node: str | None = None
    link: Link | None = None
    put_at: float = 0.0
    stopping: bool = False
    reason: str | None = None

    def unanswered(self) -> Unanswered:
        """Return what is kept of it when the server did not answer."""
        return Unanswered(
            job_id=self.hosted.job.id,
            digest=self.digest,
            data=self.data,
            stored=self.stored,
            begun=self.begun,
            at=time.monotonic(),
        )


@dataclass(slots=True)
class Seen:
    """A node that was heard of."""

    at: float
    workers: int
    busy: int
    shown: tuple[WorkerStatistics, ...]
