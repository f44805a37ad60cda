"""The contents of a machine's outbox: requests to save, and facts for listeners.

Rules
-----
* A request is performed, in order; a fact is shown, if there is a reader.
* Facts hold what happened, not what it looks like: formats belong to the driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

from stategraph.core import checkpoint as checkpoints
from stategraph.core.task import Draft, Task, Write


@final
class SaveWrites(NamedTuple):
    """Request: record writes of a task for the checkpoint ``checkpoint_id``."""

    checkpoint_id: str
    task_id: str
    writes: Sequence[Write]
    path_key: str


@final
class SaveCheckpoint(NamedTuple):
    """Request: store a checkpoint as the child of ``parent_id`` (None: the first)."""

    parent_id: str | None
    checkpoint: checkpoints.Checkpoint
    metadata: dict[str, Any]
    new_versions: dict[str, Any]


Request = SaveWrites | SaveCheckpoint
"""Something that the driver has to store."""


class ValuesChanged(NamedTuple):
    """Fact: the output channels changed; they still hold these values."""


class CheckpointReached(NamedTuple):
    """Fact: a step's checkpoint is made, and these tasks come next."""

    tasks: Sequence[Task]


class TasksPlanned(NamedTuple):
    """Fact: these tasks are about to run."""

    tasks: Sequence[Task]


class TaskSettled(NamedTuple):
    """Fact: a task ended, with these writes; ``cached`` if it did not run for them."""

    task: Task
    writes: Sequence[Write]
    cached: bool


class PausedBare(NamedTuple):
    """Fact: the run paused at a breakpoint, which asks nothing."""


Fact = ValuesChanged | CheckpointReached | TasksPlanned | TaskSettled | Draft | PausedBare
"""The draft of a task that ended well is a fact by itself; so a step that takes the short way need not make one."""

Effect = Request | Fact
"""Whatever a machine puts in its outbox."""
