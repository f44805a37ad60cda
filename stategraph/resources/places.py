"""Places in documents, and what is wrong there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

#: A field of a document: keys and indexes, from its root (`("spec", "steps", 0, "id")`).
Path: TypeAlias = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """Return a path as text: `spec.steps[0].id`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Source:
    """The place in a file where a document is.

    Attributes:
        file: The file, as it was named; `-` for standard input.
        line: The document's first line, from 1.
        positions: Line and column (from 1) of fields, by their path.
    """

    file: str
    line: int
    positions: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path = ()) -> str:
        """Return `file:line:column` of a field or the nearest one around it; `file:line` if none has a place."""
        for size in range(len(path), -1, -1):
            if path[:size] in self.positions:
                line, column = self.positions[path[:size]]
                return f"{self.file}:{line}:{column}"
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a manifest.

    Attributes:
        message: What is wrong, in a sentence without a full stop.
        path: The field, from the root of the document; empty for the document itself.
        source: Where the document came from, if that is known.
        found: The value or name that was found, as text.
        expected: What was expected in its place.
        suggestion: The name that was probably meant.
        resource: The resource, as `workflow/default/name`.
    """

    message: str
    path: Path = ()
    source: Source | None = None
    found: str = ""
    expected: str = ""
    suggestion: str = ""
    resource: str = ""

    @property
    def place(self) -> str:
        """The place as `file:line:column`, or that of the nearest field around it; empty if there is none."""
        return "" if self.source is None else self.source.place(self.path)

    def __str__(self) -> str:
        parts = [part for part in (self.place or self.resource, dotted(self.path)) if part]
        text = ": ".join([*parts, self.message])
        if self.found:
            text += f"; found {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.suggestion:
            text += f"; did you mean '{self.suggestion}'?"
        return text
