"""Parts of conditions: the terms of a conjunction, and which of them exclude a rule for a tool.

`tool.name == "send_email" && args.to != ""` is false for all other tools, whatever `args` is, so a policy need not
evaluate it for them. Terms are found in the tokens of the expression, and only where that is certain: a top level of
nothing but `&&`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final

from stategraph.governance.capability import without_version

Excludes = Callable[[str, str, str], bool]
"""Test of a rule that says it cannot match, given the id, name and risk of a tool."""

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<raw>[bB]?[rR][bB]?(?:\"{3}(?s:.)*?\"{3}|'{3}(?s:.)*?'{3}|"[^"\r\n]*"|'[^'\r\n]*'))
    |(?P<text>[bB]?(?:\"{3}(?:\\(?s:.)|[^\\])*?\"{3}|'{3}(?:\\(?s:.)|[^\\])*?'{3}
        |"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*'))
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9][0-9A-Za-z_.]*)
    |(?P<sign>&&|\|\||[=!<>]=|.)""",
    re.VERBOSE,
)
_PLAIN: Final = re.compile(r"\"[^\"\\]*\"|'[^'\\]*'")
_UNSURE: Final = ("'", '"', "\\", "`")
"""Signs that stand in no expression outside of texts: where one is found, the tokens are not what they seem."""

_FIELDS: Final = {"id": 0, "name": 1, "risk": 2}


def terms(source: str) -> list[str]:
    """Return the terms of a conjunction; of any other expression, the expression itself."""
    depth, begin, found = 0, 0, list[str]()
    for kind, text, at in tokens(source):
        if kind != "sign":
            continue
        if text in _UNSURE:
            return [source.strip()]
        if text in "([{":
            depth += 1
        elif text in ")]}":
            depth -= 1
        elif depth == 0 and text in ("||", "?"):
            return [source.strip()]
        elif depth == 0 and text == "&&":
            found.append(source[begin:at].strip())
            begin = at + len(text)
    return [*found, source[begin:].strip()]


def exclusion(source: str | None, patterns: tuple[str, ...]) -> Excludes | None:
    """Return the test that excludes a rule for a tool.

    Args:
        source: The condition of the rule; None: it has none.
        patterns: Its patterns of tools; empty: any.

    Returns:
        None if the rule may match for any tool.
    """
    tests = [each for term in (terms(source) if source else ()) if (each := _of_term(term)) is not None]
    if patterns:
        tests.append(lambda id, name, risk: not matches(patterns, id))
    if not tests:
        return None
    return lambda id, name, risk: any(each(id, name, risk) for each in tests)


def matches(patterns: tuple[str, ...], id: str) -> bool:
    """Return whether an id matches one of the patterns; a pattern without `@` matches every version."""
    return any(fnmatchcase(id if "@" in each else without_version(id), each) for each in patterns)


def _of_term(term: str) -> Excludes | None:
    """Return the test for `tool.name == "x"`, `tool.name in ["x", "y"]` or `tool.id.startsWith("x")`."""
    match [text for _, text, _ in tokens(term)]:
        case ["tool", ".", field, "==", text] if field in _FIELDS and _PLAIN.fullmatch(text):
            return _one_of(_FIELDS[field], frozenset({text[1:-1]}))
        case ["tool", ".", field, "in", "[", *items, "]"] if field in _FIELDS and _is_list(items):
            return _one_of(_FIELDS[field], frozenset(each[1:-1] for each in items[::2]))
        case ["tool", ".", field, ".", "startsWith", "(", text, ")"] if field in _FIELDS and _PLAIN.fullmatch(text):
            return _begins(_FIELDS[field], text[1:-1])
    return None


def _is_list(items: list[str]) -> bool:
    return bool(items) and all(
        each == "," if place % 2 else _PLAIN.fullmatch(each) is not None for place, each in enumerate(items)
    )


def _one_of(place: int, values: frozenset[str]) -> Excludes:
    return lambda *tool: tool[place] not in values


def _begins(place: int, text: str) -> Excludes:
    return lambda *tool: not tool[place].startswith(text)


def tokens(source: str) -> list[tuple[Any, str, int]]:
    """Return the tokens of an expression: the kind, the text and the place of each, without spaces and comments."""
    return [
        (each.lastgroup, each.group(), each.start()) for each in _TOKEN.finditer(source) if each.lastgroup != "space"
    ]
