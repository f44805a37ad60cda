"""A run of the registry as a record for clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.server.service.port import InvalidError, RunRecord, RunStatusName
from stategraph.types import Command
from stategraph.workers.leases import RunStatus
from stategraph.workers.registry.labelled import LabelledRun
from stategraph.workers.registry.runs import RunRegistry

#: What the statuses of the registry are to clients. A run that waits for an answer has done what it was to do: it is
#: its thread that is interrupted. One that was stopped is interrupted itself.
STATUSES: Final[Mapping[RunStatus, RunStatusName]] = {
    RunStatus.PENDING: "pending",
    RunStatus.RUNNING: "running",
    RunStatus.INTERRUPTED: "success",
    RunStatus.SUCCESS: "success",
    RunStatus.ERROR: "error",
    RunStatus.TIMEOUT: "timeout",
    RunStatus.CANCELLED: "interrupted",
    RunStatus.DEAD: "error",
}


def statuses_of(name: str | None) -> Sequence[RunStatus]:
    """Return the statuses of the registry that a client's status stands for; None: all.

    Raises:
        InvalidError: It is none.
    """
    found = [status for status, known in STATUSES.items() if name is None or known == name]
    if not found:
        raise InvalidError(
            f"{name!r} is no status of a run; expected one of: {', '.join(dict.fromkeys(STATUSES.values()))}"
        )
    return found


def record_of(run: LabelledRun, registry: RunRegistry) -> RunRecord:
    """Return the record of a run."""
    info, labels = run.info, run.labels
    given = registry.load(run.input)
    kwargs = {
        "input": None if isinstance(given, Command) else given,
        **labels.get("kwargs", {}),
        "config": _config(run),
        "context": registry.load(run.context) or {},
    }
    return RunRecord(
        run_id=info.run_id,
        thread_id=info.thread_id,
        assistant_id=labels.get("assistant_id", ""),
        status=STATUSES[info.status],
        created_at=_time(info.created_at),
        updated_at=_time(run.changed_at),
        metadata=labels.get("metadata", {}),
        kwargs=kwargs,
        multitask_strategy=labels.get("strategy", "enqueue"),
        error=info.error,
    )


def _config(run: LabelledRun) -> Mapping[str, Any]:
    """Return the config of a run; once it was begun, with the number of its attempt."""
    if not run.info.attempt:
        return run.config
    return {**run.config, "metadata": {**run.config.get("metadata", {}), "run_attempt": run.info.attempt}}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
