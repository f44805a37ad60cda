"""Submissions of which nobody knows whether the server has them, as its answer was lost: what is kept of them.

Rules
-----
* One that is made again by the same pool with the same content is the same submission: it is sent as the same message,
  which the server takes once.
* A node that has got it meanwhile was told to leave it, and takes it off the queue: then it has to be put there again.
* It is kept for as long as the server would take a message of its id for a repetition.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from stategraph.errors import WorkerError

#: More are not kept: the oldest one is forgotten.
MOST_KEPT: Final = 1024


@dataclass(slots=True, kw_only=True)
class Unanswered:
    """A submission without an answer.

    Attributes:
        job_id: Its job.
        digest: The digest of the job's content.
        data: The message.
        stored: The object with the job's content; None if that is in the message.
        begun: How often a node has begun it.
        taken: Whether a node has been told to leave it.
        at: When it was made, in seconds of the monotonic clock.
    """

    job_id: str
    digest: bytes
    data: bytes
    stored: str | None
    begun: int
    taken: bool = False
    at: float


class Submissions:
    """The submissions of a pool that had no answer."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Unanswered] = OrderedDict()

    def keep(self, submission: Unanswered) -> None:
        """Keep one."""
        self._kept[submission.job_id] = submission
        self._kept.move_to_end(submission.job_id)

    def again(self, job_id: str, digest: bytes) -> Unanswered | None:
        """Return the earlier submission that one repeats; None if there is none.

        Raises:
            WorkerError: It has another content.
        """
        known = self._kept.get(job_id)
        if known is not None and known.digest != digest:
            raise WorkerError(
                f"Job '{job_id}' was not accepted: a job of this id with another content was submitted just before, "
                "and the server's answer was lost. Submit that one again, or use another id"
            )
        return known

    def forget(self, job_id: str) -> Unanswered | None:
        """Forget one that is answered, and return it."""
        return self._kept.pop(job_id, None)

    def left(self, job_id: str) -> None:
        """Take note that a node was told to leave a job."""
        if (known := self._kept.get(job_id)) is not None:
            known.taken = True

    def old(self, before: float) -> list[Unanswered]:
        """Forget those that were made before a time, and those that are too many; return them."""
        many = len(self._kept) - MOST_KEPT
        old = [each for number, each in enumerate(self._kept.values()) if each.at < before or number < many]
        for each in old:
            del self._kept[each.job_id]
        return old
