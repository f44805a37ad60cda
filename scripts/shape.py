"""Fail on functions that are too long to be read: the part of `make check` that no linter covers.

A docstring does not count, a nested function counts for itself and for the one around it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FUNCTION = 100


def main() -> int:
    found = [problem for file in sorted((ROOT / "stategraph").rglob("*.py")) for problem in problems(file)]
    found += [problem for file in sorted((ROOT / "compat").rglob("*.py")) for problem in problems(file)]
    print("\n".join(found) if found else f"no function is longer than {LONGEST_FUNCTION} lines")
    return 1 if found else 0


def problems(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > LONGEST_FUNCTION:
            where = f"{file.relative_to(ROOT)}:{node.lineno}"
            yield f"{where}: {node.name} has {length(node)} lines, at most {LONGEST_FUNCTION} are readable"


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())) as docstring, *_]:
            lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


if __name__ == "__main__":
    sys.exit(main())
