"""Count the lines that a sync function and its async twin have in common: written, and to be changed, twice.

Twins are `f` and `af`, or `_f` and `_af`, in one class or module; equally named methods of `X` and `AsyncX`; and
equally named functions of the modules `x` and `ax`. Lines are compared without `async`, `await` and the `a` and `Async`
of names.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[str, str, str]
"""Module, class or an empty text, function: as they are called when the marks of async are taken off."""

_DUNDERS = {"aenter": "enter", "aexit": "exit", "aiter": "iter", "anext": "next"}
_BRACKETS = frozenset((")", "]", "}", "else:", "try:", "pass", "..."))


@dataclass(frozen=True, slots=True)
class Source:
    """A module's text, parsed and walked once, which takes longer than all that is asked of it.

    Attributes:
        text: The text.
        tree: The text, parsed.
        nodes: All nodes of the tree.
    """

    text: str
    tree: ast.Module
    nodes: list[ast.AST]


def parse(text: str) -> Source:
    """Parse a module."""
    tree = ast.parse(text)
    return Source(text, tree, list(ast.walk(tree)))


def common_lines(sources: Mapping[str, Source]) -> int:
    """Count the common lines of all twins.

    Args:
        sources: Modules by name.
    """
    known = {node.name for source in sources.values() for node in source.nodes if isinstance(node, Function)}
    sync: dict[Place, list[str]] = {}
    twins: list[tuple[Place, list[str]]] = []
    for module, source in sources.items():
        lines = source.text.splitlines()
        for owner, node in _functions(source.tree):
            body = [_plain(line, known) for line in _body(lines, node)]
            place = (_sync_module(module, sources), _sync_class(owner), _sync_name(node.name, known))
            if place == (module, owner, node.name):
                sync[place] = body
            else:
                twins.append((place, body))
    return sum(_common(sync[place], body) for place, body in twins if place in sync)


def code_lines(source: Source) -> list[str]:
    """Return the lines of a source that are code: no blank ones, no comments, no docstrings."""
    documented = set[int]()
    for node in source.nodes:
        match node:
            case ast.Module(body=[first, *_]) | ast.ClassDef(body=[first, *_]) | ast.FunctionDef(body=[first, *_]):
                documented |= _docstring(first)
            case ast.AsyncFunctionDef(body=[first, *_]):
                documented |= _docstring(first)
    numbered = enumerate(source.text.splitlines(), 1)
    return [line for at, line in numbered if at not in documented and line.strip() and line.strip()[0] != "#"]


def _docstring(first: ast.stmt) -> set[int]:
    match first:
        case ast.Expr(value=ast.Constant(value=str())):
            return set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return set()


def _functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    for node in tree.body:
        if isinstance(node, Function):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            yield from ((node.name, each) for each in node.body if isinstance(each, Function))


def _body(lines: list[str], node: Function) -> Iterator[str]:
    begin = node.body[0]
    documented = _docstring(begin)
    for at in range(begin.lineno, (node.end_lineno or begin.lineno) + 1):
        line = lines[at - 1].strip()
        if at not in documented and line and line[0] != "#" and line not in _BRACKETS:
            yield line


def _plain(line: str, known: set[str]) -> str:
    line = re.sub(r"\b(async|await) ", "", line)
    line = re.sub(r"\b(_?)Async(?=[A-Z])", r"\1", line)
    return re.sub(r"\w+", lambda word: _sync_name(word[0], known), line)


def _sync_name(name: str, known: set[str]) -> str:
    """Take the `a` off a name, if that leaves the name of a function."""
    bare = name.strip("_")
    if bare in _DUNDERS:
        return name.replace(bare, _DUNDERS[bare])
    stem = re.sub(r"^(_*)a(?=\w)", r"\1", name)
    return stem if stem in known and name in known else name


def _sync_class(name: str) -> str:
    return re.sub(r"^(_?)Async(?=[A-Z])", r"\1", name)


def _sync_module(name: str, modules: Mapping[str, Source]) -> str:
    package, _, last = name.rpartition(".")
    stem = f"{package}.{last[1:]}"
    return stem if last[:1] == "a" and stem in modules else name


def _common(one: list[str], other: list[str]) -> int:
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)
