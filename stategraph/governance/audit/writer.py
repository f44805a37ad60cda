"""The thread that stores what is recorded: in batches, until it is stored, however long the storage is away.

This module must never know who records, nor what is in a record.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stategraph.governance.audit import storage as storing
from stategraph.governance.audit.chain import HEAD_US, SignedHead
from stategraph.governance.audit.intake import Intake, Item
from stategraph.governance.audit.lines import head_line
from stategraph.governance.audit.storage import Appended, AuditStorage
from stategraph.governance.audit.storages import files
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.keyring import Keyring

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
"""Seconds between two tries to store a batch, at most."""

AT_EXIT_S: Final = 5.0
"""Seconds that a log that nobody closed has to store its rows when the interpreter ends."""

_MICROSECONDS: Final = 1_000_000

_logger = logging.getLogger("stategraph.governance.audit")


class Writer:
    """Stores batches of an intake, by a thread of its own.

    Args:
        intake: The intake.
        storage: Where they are stored.
        keyring: Signs heads; None: they are not signed.
        heads_file: A file that each signed head is added to, as a line of JSON; None: none.
        now: A clock, in microseconds since 1970.

    Attributes:
        keyring: The present keyring.
        stored: Rows that were stored.
        retries: Times that a batch could not be stored and was tried again.
        failure: What the storage said last, while it is away; empty: it is there.
    """

    def __init__(
        self,
        intake: Intake,
        storage: AuditStorage,
        keyring: Keyring | None,
        heads_file: str | None,
        now: Callable[[], int],
    ) -> None:
        self.keyring = keyring
        self.stored = 0
        self.retries = 0
        self.failure = ""
        self._intake = intake
        self._storage = storage
        self._heads_file = heads_file
        self._now = now
        self._unsigned: dict[str, int] = {}  # tenants, and when their first row was stored that no head covers
        self._batch: list[Item] = []  # that is being stored
        self._lost = 0
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._hurry = threading.Event()
        self._gives_up_at: float | None = None

    def start(self) -> None:
        """Start the thread, once.

        Raises:
            AuditUnavailable: This process is a fork of the one that it was started in.
        """
        if self._process == os.getpid():
            return
        with self._starting:
            if self._process == os.getpid():
                return
            if self._process:
                raise AuditUnavailable(
                    "This audit log was made before the process was forked, and has no thread in it: make one here"
                )
            self._thread = threading.Thread(target=self._run, name="stategraph-audit", daemon=True)
            self._process = os.getpid()
            self._thread.start()

    def close(self, timeout_s: float) -> int:
        """Store what was recorded, sign the ends of the chains, and end the thread.

        Args:
            timeout_s: Seconds that this may take.

        Returns:
            Rows that could not be stored.
        """
        self._intake.close("The audit log is closed")
        if self._thread is None or self._process != os.getpid():
            self._storage.close()
            return 0
        self._gives_up_at = time.monotonic() + timeout_s
        self._hurry.set()
        self._thread.join(timeout_s + 1.0)
        if not self._thread.is_alive():
            self._storage.close()
            return self._lost
        # It hangs in the storage: nobody may close that under it, and its rows may be stored yet.
        return self._intake.fail([], "The audit log was closed before this was stored") + len(self._batch)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            # Nothing is stored any more, so nothing is taken: actions that depend on it do not begin.
            _logger.exception("The thread of the audit log failed")
            why = f"The thread of the audit log failed: {type(error).__name__}: {error}"
            self._intake.close(why)
            self._lost = self._intake.fail(self._batch, why)

    def _work(self) -> None:
        while True:
            batch = self._intake.take(self._next_signing())
            if batch:
                if not self._store(batch):
                    return
            elif self._hurry.is_set() and self._intake.is_empty:
                self._sign(everything=True)
                return
            self._sign(everything=False)

    def _next_signing(self) -> float | None:
        """Return when the next head is due, by the monotonic clock; None: none is."""
        if not self._unsigned:
            return None
        oldest = min(self._unsigned.values())
        return time.monotonic() + max(0.0, (oldest + HEAD_US - self._now()) / _MICROSECONDS)

    def _store(self, batch: list[Item]) -> bool:
        """Store a batch, however often that has to be tried; False if it was given up."""
        seen: dict[str, int] = {}
        pause = FIRST_PAUSE_S
        self._batch = batch
        while True:
            records = [item.record for item in batch if item.record is not None and item.wanted]
            try:
                if records:
                    done = storing.append(self._storage, records, now=self._now(), keyring=self.keyring, seen=seen)
                    self._after(done)
            except Exception as error:
                if not self._again(error, pause):
                    why = f"The audit log was closed, and its storage is away: {self.failure}"
                    self._lost = self._intake.fail(batch, why)
                    return False
                pause = min(LONGEST_PAUSE_S, pause * 2)
                continue
            self.failure = ""
            self.stored += len(records)
            self._intake.done(batch)
            self._batch = []
            return True

    def _again(self, error: Exception, pause: float) -> bool:
        """Wait before another try; False if the log is being closed and there is no time left for one."""
        said = " ".join(str(error).split())
        if not self.failure:
            _logger.warning("The audit log cannot be stored in %s, and tries again: %s", self._storage.name, said)
        self.failure = f"{type(error).__name__}: {said}"
        self.retries += 1
        if self._gives_up_at is not None:
            left = self._gives_up_at - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
        else:
            self._hurry.wait(pause * random.uniform(0.7, 1.3))
        return True

    def _after(self, done: Appended) -> None:
        for tenant, head in done.heads.items():
            if head.seq > head.signed_seq:
                self._unsigned.setdefault(tenant, head.unsigned_since)
            else:
                self._unsigned.pop(tenant, None)
        self._tell(done.signed)

    def _sign(self, *, everything: bool) -> None:
        """Sign the heads that are due; a storage that is away is asked again when the next one is due."""
        keyring = self.keyring
        if keyring is None or keyring.signer is None:
            self._unsigned.clear()
            return
        limit = self._now() - HEAD_US
        due = [tenant for tenant, since in self._unsigned.items() if everything or since <= limit]
        if not due:
            return
        try:
            done = storing.sign_heads(self._storage, due, keyring, self._now())
        except Exception as error:
            _logger.warning("The audit log's heads cannot be signed now: %s", " ".join(str(error).split()))
            for tenant in due:
                self._unsigned.pop(tenant, None)  # the next row of the tenant brings it back
            return
        self._after(done)

    def _tell(self, signed: list[SignedHead]) -> None:
        if not signed or self._heads_file is None:
            return
        try:
            files.append(Path(self._heads_file), map(head_line, signed))
        except OSError as error:
            _logger.warning("Signed heads of the audit log cannot be written to %s: %s", self._heads_file, error)


def close_at_exit(writer: Writer) -> None:
    """Close a log that nobody closed: it is not used any more, or the interpreter ends."""
    lost = writer.close(AT_EXIT_S)
    if lost:
        _logger.error("%d rows of an audit log that was not closed could not be stored", lost)
