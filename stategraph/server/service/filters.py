"""Conditions on JSON columns, as SQL: what is searched for, and what a caller may see.

Rules
-----
* A search asks for containment, as `@>` of PostgreSQL: an object contains another one whose keys it has with contained
  values; a list contains another one if each element of that is contained in one of its own; anything else is equal,
  where true is not 1.
* The filter of an authorization handler is for the first level of the metadata: a value stands for equality, `$eq` for
  the same, `$contains` for a list that has a value, or all values of a list. `$and` and `$or` combine filters. One that
  is not understood lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stategraph.server.service.database import Tables, encoded
from stategraph.server.service.values import Filter, InvalidError, RefusedError

#: Values in a filter at most; each one is a part of a statement.
_MOST: Final = 100

#: Integers of SQLite are smaller.
_INTEGERS: Final = 2**63


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of a `WHERE`.

    Attributes:
        text: In the words of SQLite: parameters are question marks.
        values: Its parameters.
    """

    text: str
    values: tuple[Any, ...] = ()


def every(conditions: Sequence[Condition]) -> Condition:
    """Return a condition that holds where all do; without any it always does."""
    return _joined(conditions, " AND ", "1 = 1")


def _joined(conditions: Sequence[Condition], word: str, otherwise: str) -> Condition:
    text = word.join(f"({each.text})" for each in conditions) or otherwise
    return Condition(text, tuple(value for each in conditions for value in each.values))


def contains(tables: Tables, column: str, wanted: Mapping[str, Any] | None) -> Condition:
    """Return the condition that a column has some values.

    Args:
        tables: The database.
        column: A column that is JSON.
        wanted: The values, at any depth; None or empty: any.

    Raises:
        InvalidError: There are too many.
    """
    if not wanted:
        return every(())
    given = encoded(wanted)
    if sum(1 for _ in _leaves(wanted)) > _MOST:
        raise InvalidError(f"A search may ask for {_MOST} values at most")
    if tables.is_postgres:
        return Condition(f"{column} @> CAST(? AS JSONB)", (given,))
    return every([_at(column, key, value, 0, exactly=False) for key, value in wanted.items()])


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    yield value


def allowed(tables: Tables, column: str, filter: Filter | None) -> Condition:
    """Return the condition that a caller may see a row.

    Args:
        tables: The database.
        column: The row's metadata.
        filter: What `Caller.authorize` returned; None: all rows.

    Raises:
        RefusedError: The filter is not understood.
    """
    return every(()) if filter is None else every(list(_of_filter(tables, column, filter)))


def _of_filter(tables: Tables, column: str, filter: Filter) -> Iterator[Condition]:
    for key, value in filter.items():
        if key in ("$and", "$or"):
            parts = [allowed(tables, column, each) for each in _list(key, value)]
            yield _joined(parts, " OR ", "1 = 0") if key == "$or" else every(parts)
        elif isinstance(value, Mapping) and any(str(each).startswith("$") for each in value):
            for operator, operand in value.items():
                yield _of_operator(tables, column, key, operator, operand)
        else:
            yield _equal(tables, column, key, value)


def _list(key: str, value: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value):
        return value
    raise RefusedError(f"The filter of an authorization handler has '{key}' without a list of filters")


def _of_operator(tables: Tables, column: str, key: str, operator: str, operand: Any) -> Condition:
    if operator == "$eq":
        return _equal(tables, column, key, operand)
    if operator == "$contains":
        several = list(operand) if isinstance(operand, list | tuple | set | frozenset) else [operand]
        if tables.is_postgres:
            place = f"{column} -> CAST(? AS TEXT)"
            text = f"jsonb_typeof({place}) = 'array' AND ({place}) @> CAST(? AS JSONB)"
            return Condition(text, (key, key, encoded(several)))
        return _at(column, key, several, 0, exactly=False)
    raise RefusedError(
        f"The filter of an authorization handler has the operator '{operator}'; expected '$eq' or '$contains'"
    )


def _equal(tables: Tables, column: str, key: str, value: Any) -> Condition:
    if tables.is_postgres:
        return Condition(f"{column} -> CAST(? AS TEXT) = CAST(? AS JSONB)", (key, encoded(value)))
    return _at(column, key, value, 0, exactly=True)


def compared(tables: Tables, column: str, key: str, sign: str, value: Any) -> Condition:
    """Return the condition that the value at a key of an object is equal to another one, or less or greater.

    Args:
        tables: The database.
        column: A column that is an object.
        key: The key.
        sign: `=`, `<`, `<=`, `>` or `>=`; numbers and texts alone have an order.
        value: The other value.
    """
    if sign == "=":
        return _equal(tables, column, key, value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str):
        return Condition("1 = 0")
    if tables.is_postgres:
        kind, cast = ("number", "NUMERIC") if is_number else ("string", "TEXT")
        text = (
            f"CASE WHEN jsonb_typeof({column} -> CAST(? AS TEXT)) = '{kind}' "
            f"THEN CAST({column} ->> CAST(? AS TEXT) AS {cast}) {sign} CAST(? AS {cast}) ELSE FALSE END"
        )
        return Condition(text, (key, key, str(value)))
    types = "'integer', 'real'" if is_number else "'text'"
    text = (
        f"EXISTS (SELECT 1 FROM json_each({column}) AS e WHERE e.key = ? AND e.type IN ({types}) AND e.value {sign} ?)"
    )
    return Condition(text, (key, _number(value)))


def negated(condition: Condition) -> Condition:
    """Return the condition that another one does not hold."""
    return Condition(f"NOT COALESCE(({condition.text}), FALSE)", condition.values)


def _number(value: Any) -> Any:
    """Return a number that SQLite can be given; texts as they are."""
    return float(value) if isinstance(value, int) and not -_INTEGERS <= value < _INTEGERS else value


def _at(source: str, key: str, value: Any, depth: int, *, exactly: bool) -> Condition:
    """Return the condition, for SQLite, that an object has a value at a key."""
    found = _is(f"e{depth}", value, depth, exactly=exactly)
    text = f"EXISTS (SELECT 1 FROM json_each({source}) AS e{depth} WHERE e{depth}.key = ? AND {found.text})"
    return Condition(text, (key, *found.values))


def _is(row: str, value: Any, depth: int, *, exactly: bool) -> Condition:
    """Return the condition that a row of `json_each` is a value, or contains it."""
    match value:
        case None:
            return Condition(f"{row}.type = 'null'")
        case bool():
            return Condition(f"{row}.type = ?", ("true" if value else "false",))
        case int() | float():
            return Condition(f"{row}.type IN ('integer', 'real') AND {row}.value = ?", (_number(value),))
        case str():
            return Condition(f"{row}.type = 'text' AND {row}.value = ?", (value,))
    kind = "object" if isinstance(value, Mapping) else "array"
    if exactly:  # what is stored has sorted keys, as `encoded` writes them
        return Condition(f"{row}.type = '{kind}' AND json({row}.value) = json(?)", (encoded(value),))
    # What is no JSON is never read as JSON, in whichever order the database looks at the conditions.
    within = f"CASE WHEN {row}.type IN ('object', 'array') THEN {row}.value END"
    if isinstance(value, Mapping):
        parts = [_at(within, key, each, depth + 1, exactly=False) for key, each in value.items()]
    else:
        parts = [_has(within, each, depth + 1) for each in value]
    return every([Condition(f"{row}.type = '{kind}'"), *parts])


def _has(source: str, value: Any, depth: int) -> Condition:
    found = _is(f"e{depth}", value, depth, exactly=False)
    return Condition(f"EXISTS (SELECT 1 FROM json_each({source}) AS e{depth} WHERE {found.text})", found.values)
