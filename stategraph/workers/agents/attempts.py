"""Attempts of an execution whose worker may be lost, and how another worker goes on with it: rules, without I/O.

Rules
-----
* What the thread holds of the execution is known here, as workers write it through the host. So a worker that was
  given up can write no more, whatever it does.
* An execution of which nothing was heard is begun again, as if it had waited until now.
* One of which a step was stored, or an answer that a tool has taken, goes on from there. What was being done meanwhile
  is done again: tools may run twice, and events say so.
* One that waits for the first step after an answer is given the answer again: nothing has taken it.
* Each other one has done something that no checkpoint knows of, so it ends with an error that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from stategraph.constants import RESUME
from stategraph.errors import WorkerError

Action: TypeAlias = Literal["process", "resume", "go_on"]


class Attempts:
    """The attempts of one execution.

    Args:
        run_id: The run.
        action: The work of the first attempt.
        durability: When its thread is stored; None: it is not.

    Attributes:
        number: The number of the present attempt.
        reason: Why the one before was lost.
        was_heard: Whether a worker has told something of it.
    """

    def __init__(self, run_id: str, action: Literal["process", "resume"], durability: str | None) -> None:
        self.number = 1
        self.reason: str | None = None
        self._run_id = run_id
        self._action = action
        self._durability = durability
        self.was_heard = False
        self._is_stored = False
        self._is_over = False

    @property
    def action(self) -> Action:
        """The work of the present attempt."""
        return "go_on" if self._is_stored else self._action

    def ended(self) -> None:
        """Take note that a worker has said how it ended."""
        self._is_over = True

    def saved(self, operation: Sequence[Any]) -> None:
        """Take note of an operation of a worker on the saver, as `HostSaver` sends it."""
        match operation:
            case ["put", config, _, metadata, _] if not _namespace(config):
                source = (metadata or {}).get("source")
                if source == "loop":
                    self._is_stored = True
                elif source == "update" and (self.was_heard or self._is_stored):
                    self._is_over = True  # a run that fails, or is aborted, leaves its thread so
            case ["put_writes", _, writes, *_] if any(channel == RESUME for channel, _ in writes):
                self._is_stored = True

    def lost(self, reason: str) -> WorkerError | None:
        """Take note that the worker of the present attempt is lost.

        Args:
            reason: How.

        Returns:
            The error that it ends with; None if there is to be another attempt.
        """
        self.number += 1
        self.reason = reason
        if self._is_over:
            return WorkerError(f"{reason}, after the end of run '{self._run_id}': what it would have said is lost")
        again = self._action == "resume" and self._durability not in (None, "exit")
        if self._is_stored or again or not self.was_heard:
            return None
        if self._durability is None:
            why = "its thread is kept nowhere: give the runtime a 'store' or a 'checkpointer'"
        else:
            why = f"its durability is '{self._durability}': leave it out, or use 'sync'"
        return WorkerError(
            f"{reason}. Run '{self._run_id}' is not begun again, as it had begun to work and no checkpoint says how "
            f"far it got; {why}, so that another worker can go on with it"
        )


def _namespace(config: Mapping[str, Any] | None) -> str:
    return str(((config or {}).get("configurable") or {}).get("checkpoint_ns") or "")
