"""Rows as checkpoints: what is stored, read in one transaction, and the values that it refers to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from langgraph.checkpoint.base import CheckpointTuple, writes_sort_key

from stategraph.savers.compact import records
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.found import CheckpointFound, WriteFound, config_of, written
from stategraph.savers.compact.known import Known, KnownThreads
from stategraph.savers.compact.nodes import Run, read_refs, union
from stategraph.savers.sqlite.schema import MASK, SHIFT, Schema

_VALUES: Final = "SELECT id, type, value, refs FROM sg_values WHERE id BETWEEN ? AND ?"


class Reader:
    """Reads checkpoints; the caller has the connection for itself, and keeps a transaction open.

    Args:
        connection: The database.
        schema: What its tables are like.
        threads: What is known of threads.
    """

    def __init__(self, connection: sqlite3.Connection, schema: Schema, threads: KnownThreads) -> None:
        self._connection = connection
        self._has_refs = schema.has_refs
        self._threads = threads
        path = "task_path" if schema.has_paths else "''"
        refs = "refs" if schema.has_refs else "NULL"
        self.checkpoints = (
            "SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata, "
            f"{refs} FROM checkpoints"
        )
        self.writes = f"SELECT task_id, channel, type, value, {path}, idx, {refs} FROM writes"

    def find(self, thread_id: str, namespace: str, checkpoint_id: str | None) -> CheckpointFound | None:
        """Find a checkpoint; with no id the newest of a namespace."""
        where = " WHERE thread_id = ? AND checkpoint_ns = ?"
        if checkpoint_id:
            statement, parameters = f"{self.checkpoints}{where} AND checkpoint_id = ?", [checkpoint_id]
        else:
            statement, parameters = f"{self.checkpoints}{where} ORDER BY checkpoint_id DESC LIMIT 1", []
        row = self._connection.execute(statement, (thread_id, namespace, *parameters)).fetchone()
        return None if row is None else CheckpointFound(*row)

    def load(self, found: CheckpointFound, coder: Coder, *, is_start: bool) -> CheckpointTuple:
        """Load a checkpoint with its pending writes.

        Args:
            found: Its row.
            coder: Opens and decodes.
            is_start: Whether something may be saved after it.

        Raises:
            ValueError: What is stored is no checkpoint, or lacks a value.
        """
        place = (found.thread_id, found.namespace, found.id)
        where = " WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
        writes = [WriteFound(*row) for row in self._connection.execute(self.writes + where, place)]
        writes.sort(key=lambda each: writes_sort_key(each.task_path, each.task_id, each.position))
        known = self.values(found.thread_id, coder, [found.refs, *[each.refs for each in writes]])
        decoder = Decoder(coder, known.values)
        checkpoint = self._checkpoint(found, coder, decoder, known if is_start else None)
        self._threads.keep(found.thread_id, known)
        parent = None if not found.parent_id else (found.thread_id, found.namespace, found.parent_id)
        return CheckpointTuple(
            config_of(*place),
            cast("Any", checkpoint),
            json.loads(found.metadata) if found.metadata is not None else {},
            None if parent is None else config_of(*parent),
            [written(each, coder, decoder) for each in writes],
        )

    def opened(self, found: CheckpointFound, coder: Coder) -> records.Opened | None:
        """Open a record without decoding its values; None if the row holds what the serializer alone has made."""
        kind, body = coder.open(found.kind, found.body)
        return records.open_checkpoint(coder, found.id, body) if records.is_record(kind) else None

    def values(self, thread_id: str, coder: Coder, refs: Iterable[str | None]) -> Known:
        """Return what is known of a thread, and have it hold the values that rows refer to."""
        row = None
        if self._has_refs:
            statement = "SELECT id, epoch, next FROM sg_threads WHERE thread_id = ?"
            row = self._connection.execute(statement, (thread_id,)).fetchone()
        known = self._threads.get(thread_id)
        if row is None:
            return Known() if known is None or known.id else known
        if known is None or (known.id, known.epoch) != row[:2]:
            known = Known(*row)
        known.next = max(known.next, row[2])
        runs = union(run for text in refs if text for run in read_refs(text))
        while missing := known.missing(runs):
            runs = union(self._fetch(known, coder, missing))
        return known

    def _fetch(self, known: Known, coder: Coder, runs: Sequence[Run]) -> list[Run]:
        """Read values; returns the numbers that these refer to."""
        base = known.id << SHIFT
        further: list[Run] = []
        for first, last in runs:
            for key, kind, value, refs in self._connection.execute(_VALUES, (base | first, base | last)):
                known.learn(key & MASK, *coder.open(kind, value))
                if refs:
                    further += read_refs(refs)
        return further

    def _checkpoint(
        self, found: CheckpointFound, coder: Coder, decoder: Decoder, known: Known | None
    ) -> dict[str, Any]:
        opened = self.opened(found, coder)
        if opened is None:
            return cast("dict[str, Any]", coder.serde.loads_typed((found.kind, found.body)))
        return records.read_checkpoint(decoder, opened, known, found.namespace)
