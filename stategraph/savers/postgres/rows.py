"""Saves as rows of the tables, and rows as one statement.

Rules
-----
* A statement writes the rows of any number of saves: it is one transaction and one round trip, whatever they are.
* Within it each row stands once, as saves one after the other would have left it: of checkpoints, and of errors,
  interrupts and answers, the last one; of blobs and other writes, the first.
* In the plain form `None`, text, numbers and booleans stand in the checkpoint itself, as with
  `langgraph-checkpoint-postgres`. What JSON in PostgreSQL cannot hold, or would bring back as another type, is a blob,
  which their savers read all the same: text with a NUL, numbers that are not finite, objects of subclasses.
* In the compact form a statement claims its thread first, and writes nothing if the thread is not what the plan was
  made for: another process has stored values under the same numbers, or deleted some.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from langgraph.checkpoint.base import WRITES_IDX_MAP, get_serializable_checkpoint_metadata
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.savers.chains import link_of
from stategraph.savers.compact.plan import CheckpointRow, Plan
from stategraph.savers.plain import is_inline

Statement: TypeAlias = tuple[str, tuple[Any, ...]]
Key: TypeAlias = tuple[Any, ...]

#: The code of a division by zero, with which a statement fails if the thread is not what its plan was made for.
CHANGED: Final = "22012"

#: The code of a negative square root, with which a statement fails if a checkpoint is gone that another is read with.
ERASED: Final = "2201F"

_IS_THERE: Final = (
    "sqrt((SELECT count(*) FROM checkpoints WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s) - 1)"
)
"""The root of 0, or of -1 if a checkpoint is not there."""

NOTHING: Final[Statement] = ("SELECT", ())
"""Stores nothing."""

_PLACE: Final = ("thread_id text", "checkpoint_ns text", "checkpoint_id text")
_CHECKPOINT: Final = (*_PLACE, "parent_checkpoint_id text", "checkpoint jsonb", "metadata jsonb")
_WRITE: Final = (*_PLACE, "task_id text", "idx int", "task_path text", "channel text", "type text", "blob bytea")
_BLOB: Final = ("thread_id text", "checkpoint_ns text", "channel text", "version text", "type text", "blob bytea")
_VALUE: Final = ("number int", "type text", "value bytea", "refs text")
_COMPACT: Final = ("type text", "body bytea", "refs text")

#: Rows that are sent as their values. A statement is prepared for each number of them; more come in arrays.
_FEW: Final = 3

_CLAIMS: Final = {
    "new": "INSERT INTO sg_threads (thread_id, epoch, next) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING id",
    "more": "UPDATE sg_threads SET next = %s WHERE id = %s AND epoch = %s AND next = %s RETURNING id",
    "same": "SELECT id FROM sg_threads WHERE id = %s AND epoch = %s AND next = %s FOR SHARE",
}


class Rows:
    """The rows of saves.

    Attributes:
        blobs: Values of channels, by thread, namespace, channel and version; in the plain form only.
        writes: Writes of tasks, by thread, namespace, checkpoint, task and index, that keep a row which is there.
        replacing: Writes that replace such a row.
        checkpoints: Checkpoints, by thread, namespace and id.
        parents: Thread, namespace and id of checkpoints that have to be there, as those that are stored are read with
            them.
    """

    __slots__ = ("blobs", "checkpoints", "parents", "replacing", "writes")

    def __init__(self) -> None:
        self.blobs: dict[Key, tuple[Any, ...]] = {}
        self.writes: dict[Key, tuple[Any, ...]] = {}
        self.replacing: dict[Key, tuple[Any, ...]] = {}
        self.checkpoints: dict[Key, tuple[Any, ...]] = {}
        self.parents: list[Key] = []

    def add(self, serde: SerializerProtocol, save: Save) -> None:
        """Add the rows of a save in the plain form; of one that fails, none.

        Args:
            serde: Serialises values.
            save: The save.

        Raises:
            Exception: A value cannot be serialised.
        """
        method, arguments = save
        if method == "put_writes":
            self._add_writes(serde, *arguments)
        else:
            self._add_checkpoint(serde, *arguments)

    def _add_checkpoint(
        self, serde: SerializerProtocol, config: Any, checkpoint: Any, metadata: Any, new_versions: Mapping[str, Any]
    ) -> None:
        conf = config["configurable"]
        thread_id, namespace = str(conf["thread_id"]), conf.get("checkpoint_ns", "")
        inline: dict[str, Any] = {}
        blobs: dict[Key, tuple[Any, ...]] = {}
        for channel, value in checkpoint["channel_values"].items():
            if is_inline(value):
                inline[channel] = value
                continue
            if isinstance(value, _DeltaSnapshot):
                inline[channel] = True
            if channel in new_versions:
                key = (thread_id, namespace, channel, str(new_versions[channel]))
                blobs[key] = serde.dumps_typed(value)
        stored = json.dumps({**checkpoint, "channel_values": inline})
        place = (thread_id, namespace, checkpoint["id"])
        self._put_checkpoint(place, conf.get("checkpoint_id"), metadata, (stored, _about(config, metadata)))
        for key, blob in blobs.items():
            self.blobs.setdefault(key, blob)

    def _put_checkpoint(
        self, place: Key, parent_id: str | None, metadata: Mapping[str, object], row: tuple[Any, ...]
    ) -> None:
        link = link_of(place[1], place[2], parent_id, metadata)
        if link is not None and (parent := (*place[:2], link.parent_id)) not in self.checkpoints:
            self.parents.append(parent)
        parent_id = self.checkpoints[place][0] if place in self.checkpoints else parent_id
        self.checkpoints[place] = (parent_id, *row)

    def _add_writes(
        self,
        serde: SerializerProtocol,
        config: Any,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        conf = config["configurable"]
        at = (str(conf["thread_id"]), conf.get("checkpoint_ns", ""), conf["checkpoint_id"], task_id)
        rows: list[tuple[Key, tuple[Any, ...]]] = [
            ((*at, WRITES_IDX_MAP.get(channel, index)), (task_path, channel, *serde.dumps_typed(value)))
            for index, (channel, value) in enumerate(writes)
        ]
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        for key, row in rows:
            self._put_write(key, row, replaces=replaces)

    def _put_write(self, key: Key, row: tuple[Any, ...], *, replaces: bool) -> None:
        if replaces:
            self.writes.pop(key, None)
            self.replacing[key] = row
        elif key not in self.replacing:
            self.writes.setdefault(key, row)

    def add_plan(self, plan: Plan) -> None:
        """Add the rows of saves in the compact form."""
        for row in plan.rows:
            if isinstance(row, CheckpointRow):
                place = (plan.thread_id, row.namespace, row.id)
                about = _about(row.config, row.metadata)
                self._put_checkpoint(place, row.parent_id, row.metadata, ("{}", about, row.kind, row.body, row.refs))
            else:
                key = (plan.thread_id, row.namespace, row.checkpoint_id, row.task_id, row.position)
                value = (row.task_path, row.channel, row.kind, row.value, row.refs)
                self._put_write(key, value, replaces=row.replaces)

    def statement(self, *, wide: bool, check: Statement | None = None) -> Statement | None:
        """Return the statement that stores the rows in the plain form; None if there are none.

        Args:
            wide: Whether the tables have the columns of the compact form, which say then that this is not it.
            check: A query that is part of it. If it fails, nothing is stored.
        """
        tables: dict[str, Any] = {name: rows for name in _PLAIN if (rows := getattr(self, name))}
        if wide:
            for name, fill in (("checkpoints", (None, None, None)), ("writes", (None,)), ("replacing", (None,))):
                if name in tables:
                    tables[name] = {key: (*row, *fill) for key, row in tables[name].items()}
        if not tables:
            return None
        checks, given = self._checks(check)
        return _text("", _counted(tables), wide=wide, checks=checks), given + _given(tables)

    def claiming(self, plan: Plan, *, fails: bool = False, check: Statement | None = None) -> Statement | None:
        """Return the statement that stores a plan and its rows in the compact form; None if there is nothing to store.

        If the plan claims its thread, it returns the thread's number, or no row if the thread is not what the plan was
        made for, and then nothing was stored.

        Args:
            plan: The plan.
            fails: Whether the statement fails then, with a division by zero, in place of returning no row: so nothing
                is stored of what is in the same transaction.
            check: As for `statement`.
        """
        tables: dict[str, Any] = {name: rows for name in _ROWS if (rows := getattr(self, name))}
        known = plan.known
        assert known is not None
        claim, given = "", tuple[Any, ...]()
        if plan.values:
            tables = {"values": {(value.number,): value[1:] for value in plan.values}, **tables}
            if known.id:
                claim, given = "more", (plan.next, known.id, known.epoch, plan.first)
            else:
                claim, given = "new", (plan.thread_id, known.epoch, plan.next)
        elif claims(plan):
            claim, given = "same", (known.id, known.epoch, plan.first)
        if not tables:
            return None
        checks, first = self._checks(check)
        return _text(claim, _counted(tables), wide=True, fails=fails, checks=checks), first + given + _given(tables)

    def _checks(self, check: Statement | None) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Return the queries that fail if nothing is to be stored, and their parameters."""
        checks = [] if check is None else [check]
        if self.parents:
            query = "SELECT " + ", ".join([_IS_THERE] * len(self.parents))
            checks.append((query, tuple(value for parent in self.parents for value in parent)))
        return tuple(text for text, _ in checks), tuple(value for _, given in checks for value in given)


def _counted(tables: Mapping[str, Mapping[Key, tuple[Any, ...]]]) -> tuple[tuple[str, int], ...]:
    """Return the tables, each with how many rows it gets; 0 for as many as there are in arrays."""
    return tuple((name, len(rows) if len(rows) <= _FEW else 0) for name, rows in tables.items())


def _given(tables: Mapping[str, Mapping[Key, tuple[Any, ...]]]) -> tuple[Any, ...]:
    """Return the parameters of a statement: the values of few rows, or an array for each column."""
    given: list[Any] = []
    for rows in tables.values():
        if len(rows) <= _FEW:
            for key, row in rows.items():
                given += key
                given += row
        else:
            given += map(list, zip(*[(*key, *row) for key, row in rows.items()], strict=True))
    return tuple(given)


def _insert(
    table: str, columns: Sequence[str], conflict: str, source: str, count: int, first: tuple[str, str] = ("", "")
) -> str:
    """Return the statement that inserts rows.

    Args:
        table: The table.
        columns: Names and types.
        conflict: What is done about rows that are there.
        source: Another table that the rows are joined with, and a comma; empty for none.
        count: How many rows, given as their values; 0 if an array is given for each column.
        first: A column and its value in that table, before the others.
    """
    named = [column.split() for column in columns]
    names = ", ".join(name for name, _ in named)
    # Text is sent as it is: an array of JSON would be taken for one value.
    sent = [(name, "text" if kind == "jsonb" else kind) for name, kind in named]
    taken = ", ".join(f"r.{name}::jsonb" if kind == "jsonb" else f"r.{name}" for name, kind in named)
    into, value = first
    if count == 1:  # values are sent, and read, in a fraction of the time of arrays
        rows = f"(SELECT {', '.join(f'%b::{kind} AS {name}' for name, kind in sent)}) AS r"
    elif count:
        one = f"({', '.join(f'%b::{kind}' for _, kind in sent)})"
        rows = f"(VALUES {', '.join([one] * count)}) AS r ({names})"
    else:
        rows = f"unnest({', '.join(f'%b::{kind}[]' for _, kind in sent)}) AS r ({names})"
    return f"INSERT INTO {table} ({into}{names}) SELECT {value}{taken} FROM {source}{rows} {conflict}"


def _part(name: str, source: str, count: int, *, wide: bool) -> str:
    more, refs = (_COMPACT, ("refs text",)) if wide else ((), ())
    match name:
        case "values":
            return _insert("sg_values", _VALUE, "", source, count, ("thread, ", "claimed.id, "))
        case "blobs":
            conflict = "ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING"
            return _insert("checkpoint_blobs", _BLOB, conflict, source, count)
        case "checkpoints":
            conflict = "ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE SET "
            conflict += _set("checkpoint", "metadata", *more)
            return _insert("checkpoints", (*_CHECKPOINT, *more), conflict, source, count)
    conflict = "ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING"
    if name == "replacing":
        conflict = conflict.replace("NOTHING", f"UPDATE SET {_set('channel', 'type', 'blob', *refs)}")
    return _insert("checkpoint_writes", (*_WRITE, *refs), conflict, source, count)


def _set(*columns: str) -> str:
    return ", ".join(f"{name} = EXCLUDED.{name}" for name in (column.split()[0] for column in columns))


_ROWS: Final = ("writes", "replacing", "checkpoints")
_PLAIN: Final = ("blobs", *_ROWS)


@lru_cache(maxsize=512)
def _text(
    claim: str,
    tables: tuple[tuple[str, int], ...],
    *,
    wide: bool,
    fails: bool = False,
    checks: tuple[str, ...] = (),
) -> str:
    """Return the statement that fills tables; one statement, so that they are filled all or none."""
    *parts, last = [_part(name, "claimed, " if claim else "", count, wide=wide) for name, count in tables]
    named = [f"t{number} AS ({text})" for number, text in enumerate(parts)]
    if claim or checks:
        named.append(f"t{len(named)} AS ({last})")
        last = "SELECT max(id) AS id, 1 / count(*) AS held FROM claimed" if fails else "SELECT id FROM claimed"
    if claim:
        named.insert(0, f"claimed AS ({_CLAIMS[claim]})")
    if checks:  # a query is executed if the last one reads it
        named[:0] = [f"c{number} AS MATERIALIZED ({text})" for number, text in enumerate(checks)]
        read = ", ".join(f"c{number}" for number in range(len(checks)))
        last = f"{last}, {read}" if claim else f"SELECT FROM {read}"
    return "WITH " + ",\n".join(named) + "\n" + last if named else last


def _about(config: Any, metadata: Any) -> str:
    return json.dumps(get_serializable_checkpoint_metadata(config, metadata))


def claims(plan: Plan) -> bool:
    """Return whether a plan holds for what is known of its thread only: it has values, or refers to some."""
    return bool(plan.values) or any(row.refs for row in plan.rows)


def check_of(before: Sequence[Statement] | None) -> Statement | None:
    """Return the only statement that comes before, if it is a query, which can be part of the statement that stores."""
    if before is not None and len(before) == 1 and before[0][0].startswith("SELECT "):
        return before[0]
    return None


def of_all_saves(serde: SerializerProtocol, saves: Sequence[Save]) -> Rows:
    """Return the rows of saves in the plain form.

    Raises:
        Exception: One of them cannot be serialised.
    """
    rows = Rows()
    for save in saves:
        rows.add(serde, save)
    return rows


def of_saves(serde: SerializerProtocol, saves: Sequence[Save]) -> tuple[Rows, int]:
    """Return the rows of saves in the plain form, up to the first that cannot be serialised, and how many these are.

    Raises:
        Exception: The first one cannot be.
    """
    rows = Rows()
    for number, save in enumerate(saves):
        try:
            rows.add(serde, save)
        except Exception:
            if number == 0:
                raise
            return rows, number
    return rows, len(saves)
