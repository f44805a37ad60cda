"""Progress of workers: a line for each thing that happens."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from stategraph.cli.output import Output

if TYPE_CHECKING:
    from stategraph.workers.worker import RunNotice, WorkerSettings


#: What is told once, whatever the reader does.
_ONCE: Final = frozenset({"ready", "draining", "stopping", "stopped"})


#: Time between two lines about one piece of work.
TELL_S: Final = 1.0


class Pace:
    """Says once a second that something may be told."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def is_due(self) -> bool:
        """Return whether a second has passed since this was last true."""
        now = time.monotonic()
        if now - self._told_at < TELL_S:
            return False
        self._told_at = now
        return True


class Progress:
    """Tells what workers do, a line each.

    Args:
        output: Where to.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._claimed_at: dict[str, float] = {}

    def tell(self, event: str, text: str, **facts: object) -> None:
        """Tell something.

        Args:
            event: What happened, in a word.
            text: The same for people.
            **facts: The same for programs.
        """
        value = {"at": time.time(), "event": event, **facts}
        self._output.show(value, f"{time.strftime('%H:%M:%S')} {text}", optional=event not in _ONCE)

    def ready(self, owner: str, settings: WorkerSettings) -> None:
        """Tell that a worker claims runs from now on."""
        queues = ", ".join(settings.queues)
        text = f"ready: {self._output.store}, queue {queues}, {settings.capacity} runs at a time ({owner})"
        facts = {"queues": list(settings.queues), "capacity": settings.capacity}
        self.tell("ready", text, owner=owner, store=self._output.store, **facts)

    def of_run(self, notice: RunNotice) -> None:
        """Tell what happened to a run."""
        now = time.monotonic()
        text = f"run {notice.run_id} {notice.kind}"
        seconds: float | None = None
        if notice.kind == "claimed":
            self._claimed_at[notice.run_id] = now
            text += f": {notice.target} on thread {notice.thread_id}, attempt {notice.attempt}"
        else:
            seconds = round(now - self._claimed_at.pop(notice.run_id, now), 3)
            text = f"run {notice.run_id} {notice.status or notice.kind} after {seconds:.1f} s"
            text += f": {notice.error}" if notice.error else ""
        self.tell(notice.kind, text, **{**_facts(notice), "seconds": seconds})


def _facts(notice: RunNotice) -> dict[str, object]:
    facts: dict[str, object] = asdict(notice)
    del facts["kind"]
    return facts
