"""Expressions in manifests: CEL inside of `${{ }}`, compiled once, and evaluated where a step needs the value.

| written | value |
|---|---|
| `"${{ state.items }}"` | the value of the expression, of any type |
| `"Hello ${{ input.name }}"` | a text; what is no text stands in it as JSON |
| `{"q": "${{ item }}", "n": 3}` | a mapping with the values inside; lists alike |
| anything else | itself |

- An expression is of the language of policies: it always ends, calls no code, and sees only the names that it is given.
- An expression without a value (a missing field, a division by zero) fails the step, and the error names both.
- A path such as `state.items` is followed without CEL, with the same result, and hands on the object as it is: that is
  how messages travel from one step to the next. Everywhere else messages are mappings with `type` and `content`.
- A condition that compares a path with a number or a text is evaluated without CEL, too (`comparisons`).
- Only the parts of the state that an expression names are converted for it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stategraph.governance.policy import cel
from stategraph.resources.compile import comparisons
from stategraph.resources.compile.data import Data, Fields, Object

Scope: TypeAlias = Fields
"""The values of the names that an expression may use."""

Reads: TypeAlias = Mapping[str, "frozenset[str] | None"]
"""The names that an expression uses, each with the fields below it that it uses; None: all of them."""

_MARKED: Final = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_TEXTS: Final = re.compile(r"""r?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_FIELD: Final = re.compile(r"""\s*(?:\.\s*(\w+)|\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\])""")
_RESERVED: Final = frozenset({"true", "false", "null"})


class ExpressionError(ValueError):
    """An expression has no value, or is none.

    Attributes:
        place: The step and the field that it stands in.
        source: The expression.
    """

    def __init__(self, place: str, source: str, why: str) -> None:
        super().__init__(f"{place}: the expression {source!r} {why}")
        self.place, self.source, self.why = place, source, why

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.place, self.source, self.why)


class Template:
    """A value with expressions in it, ready to be evaluated.

    Attributes:
        place: The step and the field that it stands in, for errors.
        reads: What it reads of its scope.
        is_constant: Whether it has no expression.
        path: The names of a path such as `state.items`, if it is one and nothing else; empty: it is not.
    """

    __slots__ = ("_evaluate", "is_constant", "path", "place", "reads")

    def __init__(
        self,
        place: str,
        evaluate: Callable[[Scope], Data],
        reads: Reads,
        *,
        is_constant: bool,
        path: tuple[str, ...] = (),
    ) -> None:
        self.place = place
        self.path = path
        self._evaluate = evaluate
        self.reads = reads
        self.is_constant = is_constant

    def value(self, scope: Scope) -> Data:
        """Return the value.

        Args:
            scope: The values of the names that it may use.

        Raises:
            ExpressionError: An expression in it has none.
        """
        return self._evaluate(scope)


def template(written: Data, variables: frozenset[str], place: str) -> Template:
    """Compile a value of a manifest.

    Args:
        written: The value, with expressions anywhere in it.
        variables: The names that expressions may use.
        place: The step and the field that it stands in, for errors.

    Raises:
        ExpressionError: An expression in it is none, or uses another name.
        MissingPackageError: The extra `governance` is not installed.
    """
    if isinstance(written, str):
        return _of_text(written, variables, place)
    if isinstance(written, Mapping):
        parts = {str(key): template(each, variables, f"{place}.{key}") for key, each in written.items()}
        items = tuple((key, each._evaluate) for key, each in parts.items())
        return _joined(
            place, written, list(parts.values()), lambda scope: {key: evaluate(scope) for key, evaluate in items}
        )
    if isinstance(written, Sequence) and not isinstance(written, bytes):
        several = [template(each, variables, f"{place}[{index}]") for index, each in enumerate(written)]
        evaluations = tuple(each._evaluate for each in several)
        return _joined(place, written, several, lambda scope: [evaluate(scope) for evaluate in evaluations])
    return Template(place, lambda scope: written, {}, is_constant=True)


def condition(written: str, variables: frozenset[str], place: str) -> Template:
    """Compile a condition, with or without `${{ }}` around it; its value is True or False.

    Args:
        written: The expression.
        variables: The names that it may use.
        place: The step and the field that it stands in.

    Raises:
        ExpressionError: It is no expression. Its evaluation raises it too, for a value that is no truth value.
    """
    source = whole(written) or written.strip()
    inner = _expression(source, variables, place)
    quick = comparisons.quick(source)

    def holds(scope: Scope) -> bool:
        if quick is not None and (known := quick(scope)) is not None:
            return known
        found = inner.value(scope)
        if found is True or found is False:
            return bool(found)
        raise ExpressionError(place, source, f"is {type(found).__name__}; a condition is true or false")

    return Template(place, holds, inner.reads, is_constant=False)


def whole(written: str) -> str | None:
    """Return the expression of a text that is one expression and nothing else; None for other texts."""
    found = _MARKED.fullmatch(written.strip())
    return None if found is None or "${{" in found.group(1) else found.group(1).strip()


def sources(written: Data) -> Iterator[str]:
    """Yield the expressions in a value of a manifest, without `${{ }}`."""
    if isinstance(written, str):
        alone = whole(written)
        yield from (found.group(1).strip() for found in _MARKED.finditer(written)) if alone is None else (alone,)
    elif isinstance(written, Mapping):
        for each in written.values():
            yield from sources(each)
    elif isinstance(written, Sequence) and not isinstance(written, bytes):
        for each in written:
            yield from sources(each)


def together(reads: Sequence[Reads]) -> Reads:
    """Return what several templates read."""
    merged: dict[str, frozenset[str] | None] = {}
    for each in reads:
        for name, fields in each.items():
            known = merged.get(name, frozenset())
            merged[name] = None if fields is None or known is None else known | fields
    return merged


def _joined(place: str, written: Data, parts: Sequence[Template], evaluate: Callable[[Scope], Data]) -> Template:
    if all(each.is_constant for each in parts):
        # A fresh one each time: what it is handed to may change it.
        return Template(place, lambda scope: copy.deepcopy(written), {}, is_constant=True)
    return Template(place, evaluate, together([each.reads for each in parts]), is_constant=False)


def _of_text(written: str, variables: frozenset[str], place: str) -> Template:
    alone = whole(written)
    if alone is not None:
        return _expression(alone, variables, place)
    pieces: list[str | Template] = []
    end = 0
    for found in _MARKED.finditer(written):
        pieces += [written[end : found.start()], _expression(found.group(1).strip(), variables, place)]
        end = found.end()
    if not pieces:
        if "${{" in written:
            raise ExpressionError(place, written, "has no end: `}}` is missing")
        return Template(place, lambda scope: written, {}, is_constant=True)
    pieces.append(written[end:])
    reads = together([each.reads for each in pieces if isinstance(each, Template)])
    return Template(
        place,
        lambda scope: "".join(each if isinstance(each, str) else _shown(each.value(scope)) for each in pieces),
        reads,
        is_constant=False,
    )


def _shown(value: Data) -> str:
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


def _expression(source: str, variables: frozenset[str], place: str) -> Template:
    try:
        program = cel.compile_value(source, variables)
    except ValueError as error:
        why = str(error).replace("known at its points", "known here")
        raise ExpressionError(place, source, f"is none: {why}") from None
    reads = reads_of(source, variables)
    if _PATH.fullmatch(source) and source not in _RESERVED:
        return Template(place, _path(source, place), reads, is_constant=False, path=tuple(source.split(".")))
    names = tuple(reads.items())

    def evaluate(scope: Scope) -> Data:
        try:
            return program.value(cel.facts({name: _chosen(scope[name], fields) for name, fields in names}))
        except KeyError as error:
            raise ExpressionError(place, source, f"reads {error.args[0]!r}, which is not known there") from None
        except ValueError as error:
            raise ExpressionError(place, source, f"has no value: {_why(str(error))}") from None
        except RuntimeError as error:  # of the binding, for facts that it cannot read
            raise ExpressionError(place, source, f"cannot be evaluated: {_why(str(error))}") from None

    return Template(place, evaluate, reads, is_constant=not names)


def _path(source: str, place: str) -> Callable[[Scope], Data]:
    root, *fields = source.split(".")

    def follow(scope: Scope) -> Data:
        try:
            found = scope[root]
        except KeyError:
            raise ExpressionError(place, source, f"reads {root!r}, which is not known there") from None
        for field in fields:
            if not isinstance(found, Mapping):
                found = plain(found)
            if not isinstance(found, Mapping):
                kind = type(found).__name__
                raise ExpressionError(place, source, f"has no value: {field!r} is asked of a value of type {kind}")
            if field not in found:
                known = ", ".join(sorted(map(str, found))) or "none"
                raise ExpressionError(place, source, f"has no value: there is no field {field!r}; there are: {known}")
            found = found[field]
        return found

    return follow


def _why(text: str) -> str:
    kind, _, rest = text.partition(": ")
    told = rest if kind.isupper() and rest else text
    return told.replace("Key not found in map : ", "there is no field ")


def reads_of(source: str, variables: frozenset[str]) -> Reads:
    """Return what an expression reads: the names in it, and of each the fields that it asks for; never too little."""
    bare = _TEXTS.sub(lambda found: '"' + "\0" * (len(found.group()) - 2) + '"', source)
    reads: dict[str, frozenset[str] | None] = {}
    for found in re.finditer(r"(?<![\w.\0])([A-Za-z_]\w*)", bare):
        name = found.group(1)
        if name not in variables:
            continue
        field = _FIELD.match(source, found.end())
        asked = None if field is None else frozenset({next(each for each in field.groups() if each is not None)})
        known = reads.get(name, frozenset())
        reads[name] = None if asked is None or known is None else known | asked
    return reads


def _chosen(value: Data, fields: frozenset[str] | None) -> Data:
    if fields is None or not isinstance(value, Mapping):
        return plain(value)
    return {field: plain(value[field]) for field in fields if field in value}


def plain(value: Data) -> Data:
    """Return a value as plain data: what JSON has, and bytes and times.

    Messages are mappings with `type`, `content` and what else they have; models of pydantic and dataclasses are
    mappings of their fields.

    Raises:
        ValueError: It cannot be told as data.
    """
    if isinstance(value, str):
        return value if type(value) is str else str(value)
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return plain(dump(mode="json"))
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if hasattr(value, "isoformat"):
        return value
    raise ValueError(f"a value of type {type(value).__name__} is no data; expected texts, numbers, lists or mappings")


@dataclass(frozen=True, slots=True)
class Reading:
    """The parts of a state that templates read, to be handed to tasks that do not see the state.

    Attributes:
        names: Each name with its fields; None: all.
    """

    names: Reads

    def of(self, scope: Scope) -> Object:
        """Return these parts of a scope."""
        parts: Object = {}
        for name, fields in self.names.items():
            if name not in scope:
                continue
            value = scope[name]
            if fields is not None and isinstance(value, Mapping):
                value = {field: value[field] for field in fields if field in value}
            parts[name] = value
        return parts
