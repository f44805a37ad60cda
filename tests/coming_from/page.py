"""The programs of `docs/coming-from.md`, as they stand there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "coming-from.md"
_SECTION = re.compile(
    r"\n## From (?P<title>[^\n]+)\n.*?"
    r"```(?P<language>python|js)\n(?P<before>.*?)```.*?"
    r"`(?P<path>examples/coming_from/\w+\.py)`.*?"
    r"```python\n(?P<after>.*?)```",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A program in another framework, and the same program here.

    Attributes:
        title: The framework's name.
        language: Of `before`: `python` or `js`.
        before: The program in the other framework.
        path: The file in `examples/` that has the program here.
        after: The program here, as the page shows it.
    """

    title: str
    language: str
    before: str
    path: Path
    after: str

    @property
    def name(self) -> str:
        """The name of the framework's file, such as `langchain`."""
        return self.path.stem.removeprefix("from_")


def pairs() -> list[Pair]:
    """Return the pairs of programs, in the order of the page."""
    found = _SECTION.finditer(PAGE.read_text(encoding="utf-8"))
    return [Pair(each["title"], each["language"], each["before"], ROOT / each["path"], each["after"]) for each in found]


def shown(path: Path) -> str:
    """Return what the page has to show of a program: all but its docstring."""
    source = path.read_text(encoding="utf-8")
    docstring, *_ = ast.parse(source).body
    return "\n".join(source.splitlines()[docstring.end_lineno :]).strip() + "\n"
