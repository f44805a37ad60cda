"""The table: cases from values and from files.

A row in a file has the fields of :class:`Case`, but `checks` in place of evaluators: a list of objects with one key
each, `{"contains": "moon"}`, `{"tool_called": {"name": "search", "args": {"q": "tides"}}}`, or one with several keys.
Nothing in a file names code.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from stategraph.testing.evaluation.evaluators import AtMost, Contains, Equals, JSONSchema, Regex, ToolCalled
from stategraph.testing.evaluation.judge import LLMJudge
from stategraph.testing.evaluation.outcomes import Case, Evaluator

__all__ = ["CHECKS", "Case", "cases_of"]

#: Checks that files may name, and how their values are read.
CHECKS: Final[Mapping[str, Callable[[Any], Evaluator]]] = {
    "equals": lambda value: Equals(value),
    "contains": lambda value: Contains(**value) if isinstance(value, Mapping) else Contains(value),
    "regex": lambda value: Regex(value),
    "json_schema": lambda value: JSONSchema(value),
    "tool_called": lambda value: ToolCalled(**value) if isinstance(value, Mapping) else ToolCalled(value),
    "judge": lambda value: LLMJudge(**value) if isinstance(value, Mapping) else LLMJudge(value),
    "at_most": lambda value: AtMost(**value),
}

#: Columns of CSV files that are no metadata.
_COLUMNS: Final = ("input", "expected", "name", "tags")
_FIELDS: Final = ("input", "expected", "name", "tags", "metadata", "checks", "evaluators")
_NAME_CHARS: Final = 60


def cases_of(source: str | Path | Iterable[Case | Mapping[str, object]], *, tags: Sequence[str] = ()) -> list[Case]:
    """Return the cases of a list or a file, each with a name of its own.

    Args:
        source: Cases, mappings with their fields, or a file: `.jsonl` with an object in each line, `.json` with a list,
            `.csv` with a head line, `.yaml` with a list. In a CSV file, columns named as checks are
            checks if they are not empty, `tags` are separated by spaces or commas, and columns that are not known are
            metadata, unless they are a known one in other letters, such as `Expected`.
        tags: Only cases that have one of these; none: all.

    Raises:
        ValueError: A row is not as it should be, two have one name, or nothing is left; the message says where.
        OSError: The file cannot be read.
    """
    rows = _rows(Path(source)) if isinstance(source, str | Path) else _numbered(source)
    cases = [_case(row, where) for where, row in rows]
    if not cases:
        raise ValueError(f"There are no cases in {source if isinstance(source, str | Path) else 'the list'}")
    named = _named(cases)
    chosen = [each for each in named if not tags or set(tags) & set(each.tags)]
    if not chosen:
        known = ", ".join(sorted({tag for each in named for tag in each.tags})) or "none"
        raise ValueError(f"No case has a tag of {', '.join(tags)}; tags of the cases: {known}")
    return chosen


def _numbered(rows: Iterable[object]) -> Iterator[tuple[str, object]]:
    return ((f"case {number}", row) for number, row in enumerate(rows, 1))


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    kind = path.suffix.lower()
    if kind == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            yield from (
                (f"{path}, line {reader.line_num}", _of_csv(row, f"{path}, line {reader.line_num}")) for row in reader
            )
        return
    text = path.read_text(encoding="utf-8-sig")
    if kind == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):  # U+2028 and the like may stand in JSON's texts
            if line.strip():
                yield f"{path}, line {number}", _json(line, f"{path}, line {number}")
        return
    if kind == ".json":
        rows = _json(text, str(path))
    elif kind in (".yaml", ".yml"):
        import yaml  # langchain-core has it; only for such files

        try:
            rows = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {error}") from None
    else:
        raise ValueError(f"Cases cannot be read from {path}: expected .jsonl, .json, .csv or .yaml")
    if not isinstance(rows, list):
        raise ValueError(f"{path} has {type(rows).__name__}; expected a list of cases")
    yield from ((f"{path}, case {number}", row) for number, row in enumerate(rows, 1))


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from None


def _of_csv(row: Mapping[str | None, Any], where: str) -> dict[str, Any]:
    if None in row:
        raise ValueError(f"{where}: there are more values than columns")
    for name in (str(each).strip() for each in row):
        meant = name.lower()
        if name != meant and meant in (*_COLUMNS, *CHECKS):
            raise ValueError(f"{where}: the column {name!r} is not known, but {meant!r} is: write it so")
    cells = {str(name).strip(): value for name, value in row.items() if value}
    checks = {name: cells.pop(name) for name in CHECKS if name in cells}
    for name in ("json_schema", "at_most"):
        if name in checks:
            checks[name] = _json(checks[name], f"{where}, {name}")
    known: dict[str, Any] = {name: cells.pop(name) for name in _COLUMNS if name in cells}
    return {**known, "checks": checks, "metadata": cells}


def _case(row: object, where: str) -> Case:
    if isinstance(row, Case):
        return row
    if not isinstance(row, Mapping):
        raise ValueError(f"{where} is {type(row).__name__}; expected an object with 'input'")
    if unknown := [str(each) for each in row if each not in _FIELDS]:
        raise ValueError(
            f"{where} has unknown fields: {', '.join(unknown)}; known are {', '.join(_FIELDS)}. What is your own goes "
            "into 'metadata'"
        )
    if "input" not in row:
        raise ValueError(f"{where} has no 'input'")
    given = row.get("tags") or ()
    tags = given.replace(",", " ").split() if isinstance(given, str) else [str(each) for each in given]
    return Case(
        row["input"],
        row.get("expected"),
        str(row.get("name") or ""),
        (*_checks(row.get("checks") or (), where), *(row.get("evaluators") or ())),
        tuple(tags),
        dict(row.get("metadata") or {}),
    )


def _checks(given: object, where: str) -> Iterator[Evaluator]:
    if not isinstance(given, Mapping | list | tuple):
        raise ValueError(
            f'{where}: \'checks\' is {type(given).__name__}; expected a list of objects such as {{"contains": "moon"}}'
        )
    for check in [given] if isinstance(given, Mapping) else given:
        if not isinstance(check, Mapping):
            raise ValueError(f'{where}: a check is {check!r:.80}; expected an object such as {{"contains": "moon"}}')
        for name, value in check.items():
            make = CHECKS.get(name)
            if make is None:
                raise ValueError(f"{where}: the check {name!r} is not known; known are {', '.join(CHECKS)}")
            try:
                yield make(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{where}: the check {name!r} cannot be {value!r:.80}: {error}") from None


def _named(cases: Sequence[Case]) -> list[Case]:
    """Return cases with names; two that a person gave are not the same."""
    given = Counter(each.name for each in cases if each.name)
    if twice := sorted(name for name, times in given.items() if times > 1):
        raise ValueError(f"Several cases are named {', '.join(twice)}: names say in reports which case it was")
    taken: set[str] = set(given)
    named: list[Case] = []
    for case in cases:
        named.append(case if case.name else replace(case, name=_new_name(case.input, taken)))
    return named


def _new_name(given: object, taken: set[str]) -> str:
    """Return the beginning of an input, with a number if another case begins so, and note it as taken."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
    short = " ".join(text.split())[:_NAME_CHARS] or "empty"
    name, number = short, 1
    while name in taken:
        number += 1
        name = f"{short} ({number})"
    taken.add(name)
    return name
