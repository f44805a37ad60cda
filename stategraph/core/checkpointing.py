"""The checkpoints of one run, from the one that it starts from to its last.

Rules
-----
* A checkpoint is stored only after the step that it describes was applied.
* A run that stores at its end makes every checkpoint, as ids of tasks are derived from them, and stores the last.
* An exception of a signal handler may cut off the end of a run at any line, and the end is begun again then. What
  it asks for is made without changing anything, so that it is the same the second time.
* In a namespace that only the run's task knows, steps need no checkpoints by which they would be told apart, or
  sorted: one for the last step is made at the end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from stategraph.constants import TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core import status
from stategraph.core.delta_journal import DeltaJournal
from stategraph.core.effects import Effect, SaveCheckpoint, SaveWrites
from stategraph.core.settings import Settings, Thread
from stategraph.core.state import State
from stategraph.core.task import IdMaker

Source = Literal["input", "loop", "fork"]
"""What made a checkpoint: the run's input, a step, or a replay that starts a branch."""


class CheckpointMaker:
    """Makes the checkpoints of one run, and asks for them to be saved.

    Attributes:
        journal: The run's delta channels, if it has any.
        checkpoint: The latest, or what it will be made of if it waits for the end of the run.
        metadata: Its metadata.
        parent_id: Id of the checkpoint before it, or None.
        stored_id: Id of the last one that is stored, or None.
        undescribed: What ended last, if no checkpoint has been made of it.
    """

    __slots__ = (
        "_ids",
        "_last",
        "_outbox",
        "_settings",
        "_state",
        "_stored_versions",
        "_thread",
        "_waits",
        "checkpoint",
        "journal",
        "metadata",
        "parent_id",
        "stored_id",
        "undescribed",
    )

    def __init__(
        self,
        state: State,
        thread: Thread,
        settings: Settings,
        ids: IdMaker,
        journal: DeltaJournal | None,
        outbox: list[Effect],
    ) -> None:
        """Begin with the checkpoint that a run starts from.

        Args:
            state: The run's channels.
            thread: What it starts from.
            settings: When it stores, and how ids and times are made.
            ids: Makes ids of tasks, from each checkpoint in turn.
            journal: Its delta channels, if it has any.
            outbox: Gets the requests to save.
        """
        self.checkpoint = thread.checkpoint
        self.metadata = thread.metadata
        self.parent_id = thread.parent_id
        self.stored_id = thread.stored_id
        self.undescribed: Source | None = None
        # Whether a checkpoint waits for the end of the run to be stored, and how that is asked for, once it is known.
        self._waits = False
        self._last: SaveCheckpoint | None = None
        self._state = state
        self._thread = thread
        self._settings = settings
        self._ids = ids
        self.journal = journal
        self._outbox = outbox
        # In a namespace that the checkpoint does not come from, no value is stored yet.
        stored = settings.saves != "never" and not thread.moved
        self._stored_versions: checkpoints.Versions = dict(state.versioning.by_channel) if stored else {}
        for name in thread.unstored:
            self._stored_versions.pop(name, None)

    def make(self, source: Source, step: int, updated: Collection[str] | None) -> None:
        """Make the checkpoint of a step, and ask for it to be saved unless it waits for the end of the run.

        Args:
            source: What made it.
            step: The step's number.
            updated: The channels that the step changed; None if not known.
        """
        settings = self._settings
        metadata: checkpoints.Metadata = {"source": source, "step": step, "parents": settings.parents}
        if settings.marks is not None:
            metadata.update(settings.marks)
        if source == "fork":
            # It is made before anything is updated.
            updated = None
        if self.journal is not None:
            self.journal.count(self.metadata, metadata, updated or ())
        self.metadata, self.undescribed = metadata, None
        if settings.saves == "never":
            return
        checkpoint_id = settings.new_id(step)
        if settings.saves == "step":
            self._ask(self._frozen(checkpoint_id, updated))
        else:
            self.checkpoint = {**self.checkpoint, "id": checkpoint_id}
            self._waits = True
        self._ids.anchor(checkpoint_id, checkpoints.FORMAT_VERSION)

    def take_input(self, step: int, updated: Collection[str]) -> None:
        """Make the checkpoint of the input of a run that takes the short way, as far as anybody will see it."""
        settings = self._settings
        if settings.is_apart:
            self.undescribed = "input"
        elif settings.saves != "never":
            self.make("input", step, updated)

    def finish(self, step: int, updated: Collection[str] | None) -> None:
        """Ask for the checkpoint that waited for the end of the run to be saved.

        Args:
            step: The number of the step that would be next.
            updated: The channels that the last step changed; None if not known.
        """
        if self.undescribed is not None:
            self.metadata = {"source": self.undescribed, "step": step - 1, "parents": self._settings.parents}
            if self._settings.marks is not None:
                self.metadata.update(self._settings.marks)
        if self._waits or self.undescribed is not None:
            if self._last is None:
                if self.journal is not None:
                    self._save_kept(self.journal)
                self._last = self._frozen(self.checkpoint["id"], updated)
            self._ask(self._last)
            self._waits, self.undescribed = False, None

    def _frozen(self, checkpoint_id: str, updated: Collection[str] | None) -> SaveCheckpoint:
        """Freeze the channels under a new id and return the request to save the result."""
        state, versioning = self._state, self._state.versioning
        untracked = state.program.untracked
        if versioning.open:
            versioning.catch_up()
        moved = versioning.moved
        values = state.freeze()
        if self.journal is not None:
            values |= self.journal.snapshots(state, self.metadata, self._stored_versions)
        if untracked and TASKS in values:
            values[TASKS] = [status.tracked(packet, untracked) for packet in values[TASKS]]
        versions = versioning.by_channel.copy()
        checkpoint = {
            "v": checkpoints.FORMAT_VERSION,
            "ts": self._settings.now(),
            "id": checkpoint_id,
            "channel_values": values,
            "channel_versions": versions,
            "versions_seen": versioning.seen.copy(),
            "updated_channels": None if updated is None else sorted(updated),
        }
        # A journal gives versions that it knows by itself.
        before, now = self._stored_versions, moved if self.journal is None else versions
        new_versions = checkpoints.newer_versions(before, now if before else versions)
        return SaveCheckpoint(self.stored_id, checkpoint, self.metadata, new_versions)

    def _ask(self, request: SaveCheckpoint) -> None:
        """Ask for a checkpoint to be saved, and build on it."""
        self._outbox.append(request)
        checkpoint = request.checkpoint
        self._state.versioning.moved = {}
        self.checkpoint = checkpoint.copy()  # that one is the saver's
        self._stored_versions = checkpoint["channel_versions"].copy()
        self.parent_id = request.parent_id
        self.stored_id = checkpoint["id"]

    def _save_kept(self, journal: DeltaJournal) -> None:
        """Ask for the writes of all steps to be saved on the checkpoint the run started from."""
        thread = self._thread
        kept = journal.kept(self._state, self.metadata, built_on=thread.found and thread.addressed)
        if kept and not thread.found:
            root = checkpoints.empty(thread.checkpoint["id"], self._settings.now())
            self._outbox.append(SaveCheckpoint(None, root, {"step": -2}, {}))
            self.stored_id = root["id"]
        for task_id, path, writes in kept:
            assert self.stored_id is not None
            self._outbox.append(SaveWrites(self.stored_id, task_id, writes, path))
