"""A store in the service's database: `langgraph.store.base.BaseStore` on SQLite or PostgreSQL, for graphs and clients.

Rules
-----
* The operations of a batch are one transaction, in their order.
* Items whose time is over are not there, also before they are swept.
* There is no search by meaning: a query is left out of account, as by `InMemoryStore` without an index.
* Items are listed in the order in which they were first stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from stategraph.engine.checkpoints.store_interfaces import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
    TTLConfig,
)
from stategraph.server.service.database import Tables, decoded, encoded, when
from stategraph.server.service.filters import Condition, compared, contains, every, negated
from stategraph.workers.registry.port import Session

_LIVES: Final = Condition("(expires_at IS NULL OR expires_at > {now})")

_COLUMNS: Final = "namespace, key, CAST(value AS TEXT), created_at, updated_at"

#: With its table: `value` alone is a column of `json_each`.
_VALUE: Final = "sg_item.value"

_COMPARED: Final = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class ItemStore(BaseStore):
    """A store.

    Args:
        tables: Where the items are.
        ttl: `default_ttl` in minutes of items that nothing is said of; `refresh_on_read`, by default true. None: items
            live for ever, unless they are stored with a `ttl`.
    """

    supports_ttl = True

    def __init__(self, tables: Tables, ttl: TTLConfig | None = None) -> None:
        self._tables = tables
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        """Perform operations as one transaction, in the thread of the caller."""
        return self._tables.perform(*self._work(ops))

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        """Perform operations as one transaction."""
        work, writes = self._work(ops)
        return await (self._tables.write if writes else self._tables.read)(work)

    async def sweep(self) -> int:
        """Delete items whose time is over; return how many that were."""
        statement = self._tables.say("DELETE FROM sg_item WHERE expires_at <= {now}")
        return await self._tables.write(lambda session: session.change(statement))

    def _work(self, ops: Iterable[Any]) -> tuple[Callable[[Session], list[Any]], bool]:
        """Return what performs operations in a transaction, and whether that changes anything."""
        several = list(ops)
        return (lambda session: [self._perform(session, op) for op in several]), _writes(several)

    def _perform(self, session: Session, op: Any) -> Any:
        match op:
            case GetOp():
                return self._get(session, op)
            case SearchOp():
                return self._search(session, op)
            case PutOp():
                return self._put(session, op)
            case ListNamespacesOp():
                return self._list(session, op)
        raise TypeError(f"A store performs no {type(op).__name__}")

    def _get(self, session: Session, op: GetOp) -> Item | None:
        where = every([Condition("namespace = ? AND key = ?", (_joined(op.namespace), op.key)), _LIVES])
        rows = self._rows(session, where, "")
        if rows and op.refresh_ttl:
            self._refresh(session, rows)
        return _item(rows[0]) if rows else None

    def _search(self, session: Session, op: SearchOp) -> list[SearchItem]:
        where = every([_below(op.namespace_prefix), _LIVES, *self._conditions(op.filter)])
        more = "ORDER BY created_at, namespace, key LIMIT ? OFFSET ?"
        rows = self._rows(session, where, more, op.limit, op.offset)
        if op.refresh_ttl:
            self._refresh(session, rows)
        return [_search_item(row) for row in rows]

    def _rows(self, session: Session, where: Condition, more: str, *values: Any) -> list[tuple[Any, ...]]:
        statement = f"SELECT {_COLUMNS}, ttl_s FROM sg_item WHERE {where.text} {more}"
        return session.execute(self._tables.say(statement), (*where.values, *values))

    def _refresh(self, session: Session, rows: Sequence[tuple[Any, ...]]) -> None:
        statement = "UPDATE sg_item SET expires_at = {now} + ttl_s WHERE namespace = ? AND key = ?"
        if having := [(row[0], row[1]) for row in rows if row[-1] is not None]:
            session.change_many(self._tables.say(statement), having)

    def _conditions(self, filter: Mapping[str, Any] | None) -> Iterator[Condition]:
        for key, wanted in (filter or {}).items():
            if isinstance(wanted, Mapping) and any(str(each).startswith("$") for each in wanted):
                for operator, operand in wanted.items():
                    yield self._of_operator(key, operator, operand)
            elif isinstance(wanted, Mapping):
                yield contains(self._tables, _VALUE, {key: wanted})
            else:
                yield compared(self._tables, _VALUE, key, "=", wanted)

    def _of_operator(self, key: str, operator: str, operand: Any) -> Condition:
        if operator == "$eq":
            return compared(self._tables, _VALUE, key, "=", operand)
        if operator == "$ne":
            return negated(compared(self._tables, _VALUE, key, "=", operand))
        if operator in _COMPARED:
            return compared(self._tables, _VALUE, key, _COMPARED[operator], operand)
        raise ValueError(f"Unsupported operator: {operator}")

    def _put(self, session: Session, op: PutOp) -> None:
        where = (_joined(op.namespace), op.key)
        if op.value is None:
            session.change(self._tables.say("DELETE FROM sg_item WHERE namespace = ? AND key = ?"), where)
            return
        ttl_s = None if op.ttl is None else op.ttl * 60
        statement = """INSERT INTO sg_item (namespace, key, value, created_at, updated_at, ttl_s, expires_at)
            VALUES (?, ?, {given}, {now}, {now}, ?, {now} + ?)
            ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at,
            ttl_s = excluded.ttl_s, expires_at = excluded.expires_at"""
        session.change(self._tables.say(statement), (*where, encoded(dict(op.value)), ttl_s, ttl_s))

    def _list(self, session: Session, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        wide = every([_below(_plain(each.path)) for each in conditions if each.match_type == "prefix"])
        where = every([wide, _LIVES])
        statement = f"SELECT DISTINCT namespace FROM sg_item WHERE {where.text} ORDER BY namespace"
        rows = session.execute(self._tables.say(statement), where.values)
        found = [tuple(row[0].split(".")) for row in rows]
        matching = [each for each in found if all(_matches(each, condition) for condition in conditions)]
        shown = list(dict.fromkeys(each[: op.max_depth] for each in matching)) if op.max_depth else matching
        return sorted(shown)[op.offset : op.offset + op.limit]


def _writes(ops: Sequence[Any]) -> bool:
    return any(isinstance(op, PutOp) or getattr(op, "refresh_ttl", False) for op in ops)


def _joined(namespace: Sequence[str]) -> str:
    return ".".join(namespace)


def _below(prefix: Sequence[str]) -> Condition:
    """Return the condition of a namespace and those below it."""
    if not prefix:
        return every(())
    name = _joined(prefix)
    # "/" comes after "." and before all else that could follow.
    return Condition("namespace = ? OR (namespace >= ? AND namespace < ?)", (name, f"{name}.", f"{name}/"))


def _plain(path: Sequence[str]) -> Sequence[str]:
    """Return the labels before the first one that stands for any."""
    return path[: path.index("*")] if "*" in path else path


def _matches(namespace: Sequence[str], condition: MatchCondition) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


def _item(row: Sequence[Any]) -> Item:
    namespace, key, value, created_at, updated_at, _ = row
    return Item(
        value=decoded(value),
        key=key,
        namespace=tuple(namespace.split(".")),
        created_at=when(created_at),
        updated_at=when(updated_at),
    )


def _search_item(row: Sequence[Any]) -> SearchItem:
    namespace, key, value, created_at, updated_at, _ = row
    return SearchItem(tuple(namespace.split(".")), key, decoded(value), when(created_at), when(updated_at))
