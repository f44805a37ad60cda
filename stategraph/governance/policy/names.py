"""Check of the names that a condition reads below parts whose fields are known when the file is loaded.

`tool`, `principal` and the other parts that `snapshot` makes have fixed fields, and `data` is written in the file.
A name that they cannot have would make the condition undecidable in every call, so it is an error of the file. What
`args`, `resource`, `annotations`, claims and messages have is known only when the policy is asked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from stategraph.governance.policy.conditions import tokens

_TEXT: Final = ("content", "text")


def _fields(*names: str) -> Mapping[str, None]:
    return dict.fromkeys(names)


FIXED: Final[Mapping[str, Mapping[str, Any]]] = {
    "principal": _fields("org_id", "user_id", "roles", "claims", "on_behalf_of"),
    "agent": _fields("id", "version"),
    "session": _fields("id", "locale"),
    "ifc": _fields("labels"),
    "tool": _fields("id", "name", "kind", "source", "version", "risk", "trust", "idempotent", "digest"),
    "startup": _fields("capabilities", "view_digest"),
    "input": _fields(*_TEXT),
    "request": _fields("model", "messages", "tools"),
    "response": _fields(*_TEXT, "tool_calls"),
    "result": _fields(*_TEXT, "status", "writes"),
    "output": _fields(*_TEXT),
    "shutdown": _fields("status", "error"),
}
"""The fields of the parts of snapshots, as `stategraph.governance.policy.snapshot` makes them."""

_MACROS: Final = ("all", "exists", "exists_one", "filter", "map")


def unknown_name(source: str, data: Mapping[str, Any]) -> str | None:
    """Return a sentence about a name that cannot exist; None: there is none.

    Args:
        source: A condition that compiles.
        data: The constants of the policy.
    """
    texts = [(kind, text) for kind, text, _ in tokens(source)]
    bound = set(_bound(texts))
    roots: Mapping[str, Any] = {**FIXED, "data": data}
    for at, (kind, text) in enumerate(texts):
        if kind != "word" or text not in roots or text in bound or (at and texts[at - 1][1] == "."):
            continue
        problem = _missing(text, roots[text], list(_steps(texts, at + 1)))
        if problem is not None:
            return problem
    return None


def _bound(texts: list[tuple[Any, str]]) -> Iterator[str]:
    """Yield the variables of macros, which hide parts of the same name."""
    for (_, macro), (_, opens), (kind, name), (_, comma) in zip(texts, texts[1:], texts[2:], texts[3:], strict=False):
        if macro in _MACROS and opens == "(" and kind == "word" and comma == ",":
            yield name


def _steps(texts: list[tuple[Any, str]], at: int) -> Iterator[str]:
    """Yield the names that are read one below the other, as `.name` or `["name"]`, up to a call or another index."""
    while at + 1 < len(texts):
        (_, sign), (kind, text) = texts[at], texts[at + 1]
        after = texts[at + 2][1] if at + 2 < len(texts) else ""
        if sign == "." and kind == "word" and after != "(":
            yield text
            at += 2
        elif sign == "[" and kind == "text" and after == "]" and "\\" not in text and text[:3] not in ('"""', "'''"):
            yield text[1:-1]
            at += 3
        else:
            return


def _missing(root: str, fields: Any, steps: list[str]) -> str | None:
    path = root
    for step in steps:
        if not isinstance(fields, Mapping):
            return None
        if step not in fields:
            near = difflib.get_close_matches(step, fields, n=1, cutoff=0.6)
            hint = f"did you mean '{path}.{near[0]}'?" if near else f"'{path}' has {', '.join(fields) or 'nothing'}"
            return f"there is no '{path}.{step}'; {hint}"
        path, fields = f"{path}.{step}", fields[step]
    return None
