"""Values of Argo's workflows: variables, conditions, lists and locations of files, as expressions in CEL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from stategraph.resources.convert.conversion import Conversion, step_id

MARK: Final = re.compile(r"\{\{(.*?)\}\}")
_TOKEN: Final = re.compile(
    r"""\s*(\{\{.*?\}\}|"[^"]*"|'[^']*'|&&|\|\||==|!=|>=|<=|=~|!~|>|<|\(|\)|!|[^\s()&|=!<>~]+)"""
)
_OPERATORS: Final = frozenset({"==", "!=", ">=", "<=", ">", "<", "=~", "!~"})
_OF_FILE: Final = frozenset({"name", "path", "from", "mode", "optional", "archive", "description", "recurseMode"})
_FORMAT: Final = re.compile(r"[^%]*%0?\d*[dxX][^%]*")


Kind: TypeAlias = Literal["value", "fields", "answer"]


@dataclass(frozen=True, slots=True)
class Source:
    """Describe what others may read of a step.

    Attributes:
        kind: Its result is a `value`, has `fields`, or is the `answer` of a person.
        fields: Their names.
        is_loop: Whether it runs for each of several items.
    """

    kind: Kind
    fields: frozenset[str] = frozenset()
    is_loop: bool = False


@dataclass(slots=True)
class Reading:
    """The values of one template, as expressions.

    Attributes:
        into: What is converted; it is told what has no counterpart.
        sources: The steps of the template, by their ids.
        lists: Steps whose results are read as a list, which they have to keep.
    """

    into: Conversion
    sources: Mapping[str, Source]
    lists: set[str] = field(default_factory=set)

    def value(self, value: Any, place: str) -> Any:
        """Return a value with its variables as expressions."""
        if isinstance(value, str):
            return MARK.sub(lambda found: "${{ " + self.expression(found.group(1), place) + " }}", value)
        if isinstance(value, Mapping):
            return {str(key): self.value(each, place) for key, each in value.items()}
        return [self.value(each, place) for each in value] if isinstance(value, list) else value

    def expression(self, text: str, place: str) -> str:
        """Return a variable as an expression."""
        name = text.strip()
        if name.startswith("="):
            self.into.refuse("expression", place, "expressions of Argo's own language ({{=...}}) have no counterpart")
            return "null"
        match name.split("."):
            case ["item"]:
                return "item"
            case ["item", *fields]:
                return "item" + "".join(f'["{each}"]' for each in fields)
            case [("inputs" | "workflow"), "parameters", *rest] if rest:
                return f'input["{".".join(rest)}"]'
            case ["inputs", "artifacts", *rest] if rest:
                return f'input["{".".join(rest)}"]'
            case [("steps" | "tasks"), *step, "outputs", "result"] if step:
                return self._of_step(step_id(".".join(step)), None, place)
            case [("steps" | "tasks"), step, "outputs", ("parameters" | "artifacts"), *rest] if rest:
                return self._of_step(step_id(step), ".".join(rest), place)
        self.into.refuse("variable", place, f"the variable {name!r} has no counterpart")
        return "null"

    def _of_step(self, id: str, name: str | None, place: str) -> str:
        """Return the result of a step, or one field of it, as an expression."""
        source = self.sources.get(id)
        if source is None:
            self.into.refuse("variable", place, f"there is no step {id!r} here")
            return "null"
        if source.is_loop:
            if name is not None or source.kind != "value":
                self.into.refuse("variable", place, f"one field of the results of the loop {id!r}")
            self.lists.add(id)
            return f'state["{id}"]'
        if name is not None and name not in source.fields:
            self.into.refuse("variable", place, f"the step {id!r} has no output {name!r}")
        if name is None:
            return f'steps["{id}"]' if source.kind == "value" else f'steps["{id}"]["result"]'
        return f'steps["{id}"]["{name}"]'

    def written(self, text: str, place: str) -> tuple[str, str]:
        """Return the step that a variable is the result of, and its value where that step has ended.

        Args:
            text: One variable of the result of a step.
            place: Its field.
        """
        whole = MARK.fullmatch(text.strip())
        parts = [] if whole is None else whole.group(1).strip().split(".")
        if len(parts) < 4 or parts[0] not in ("steps", "tasks") or parts[2] != "outputs":
            return "", ""
        id = step_id(parts[1])
        found = self._of_step(id, None if parts[3] == "result" else ".".join(parts[4:]), place)
        return (
            ("", "") if self.sources[id].is_loop else (id, "${{ " + found.replace(f'steps["{id}"]', "result") + " }}")
        )

    # Conditions.

    def condition(self, text: str, place: str) -> str:
        """Return a condition as an expression."""
        tokens = _TOKEN.findall(text)
        if "".join(tokens).replace(" ", "") != re.sub(r"\s+", "", text).replace(" ", "") or not tokens:
            self.into.refuse("when", place, "a condition that cannot be read")
            return "true"
        parser = _Parser(tokens, self, place)
        found = parser.either()
        if parser.tokens or found is None:
            self.into.refuse("when", place, "a condition that is none of comparisons, &&, ||, ! and parentheses")
            return "true"
        return found

    def operand(self, text: str, place: str) -> str:
        """Return one side of a comparison as an expression."""
        bare = text.strip().strip("\"'")
        whole = MARK.fullmatch(bare)
        if whole is not None:
            return self.expression(whole.group(1), place)
        if MARK.search(bare):
            self.into.refuse("when", place, "a text with a variable inside of it")
        return "'" + bare.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(slots=True)
class _Parser:
    """A condition that is read from its tokens; what cannot be read is None."""

    tokens: list[str]
    reading: Reading
    place: str

    def either(self) -> str | None:
        """Read parts with `||` between them."""
        return self._several("||", self._all)

    def _all(self) -> str | None:
        return self._several("&&", self._one)

    def _several(self, word: str, read: Any) -> str | None:
        parts = [read()]
        while self.tokens and self.tokens[0] == word:
            self.tokens.pop(0)
            parts.append(read())
        if None in parts:
            return None
        return parts[0] if len(parts) == 1 else "(" + f" {word} ".join(parts) + ")"

    def _one(self) -> str | None:
        if not self.tokens:
            return None
        token = self.tokens.pop(0)
        if token == "!":
            found = self._one()
            return None if found is None else f"!({found})"
        if token == "(":
            found = self.either()
            return found if self.tokens and self.tokens.pop(0) == ")" else None
        if not self.tokens or self.tokens[0] not in _OPERATORS:
            if token in ("true", "false"):
                return token
            return f"string({self.reading.operand(token, self.place)}) == 'true'" if MARK.fullmatch(token) else None
        operator = self.tokens.pop(0)
        return self._compared(token, operator, self.tokens.pop(0)) if self.tokens else None

    def _compared(self, left: str, operator: str, right: str) -> str:
        sides = [self.reading.operand(each, self.place) for each in (left, right)]
        if operator in ("=~", "!~"):
            return f"{'!' if operator == '!~' else ''}string({sides[0]}).matches({sides[1]})"
        convert = "string" if operator in ("==", "!=") else "double"
        return f"{convert}({sides[0]}) {operator} {convert}({sides[1]})"


def listed(given: Any) -> list[Any] | None:
    """Return a list that is written in a manifest, also as JSON; None: it is worked out at run time."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return None
    return list(given) if isinstance(given, list) and not MARK.search(json.dumps(given, default=str)) else None


def sequence(given: Mapping[str, Any]) -> list[str] | None:
    """Return the texts of a `withSequence`; None: they are worked out at run time, or its format is not known."""
    texts = {name: str(given.get(name, "")) for name in ("start", "end", "count")}
    shape = str(given.get("format") or "%d")
    if any(text and not text.isdigit() for text in texts.values()) or not _FORMAT.fullmatch(shape):
        return None
    start = int(texts["start"] or 0)
    if texts["count"]:
        return [shape % each for each in range(start, start + int(texts["count"]))]
    end = int(texts["end"] or 0)
    step = 1 if end >= start else -1
    return [shape % each for each in range(start, end + step, step)]


def location(artifact: Mapping[str, Any]) -> Any:
    """Return where a file comes from, or its text; None: it is handed over by another step."""
    raw = artifact.get("raw")
    if isinstance(raw, Mapping):
        return raw.get("data")
    found = {key: value for key, value in artifact.items() if key not in _OF_FILE and value is not None}
    return found or None
