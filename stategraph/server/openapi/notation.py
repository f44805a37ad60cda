"""Schemas (JSON Schema 2020-12) in short words.

| word | schema |
|---|---|
| `text`, `int`, `number`, `bool`, `object`, `any` | of that type |
| `uuid`, `time` | texts of that format |
| `a/b` | one of these texts |
| `[text]` | a list |
| `text?` | or null |
| `Thread` | a schema of this name |
| `text + [text]` | either |
| `0..100` | a whole number in between; `0..` has no end |

The fields of an object are `name: word`; one that has to be there is `name!`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_PLAIN: Final[Mapping[str, Mapping[str, Any]]] = {
    "text": {"type": "string"},
    "int": {"type": "integer"},
    "number": {"type": "number"},
    "bool": {"type": "boolean"},
    "object": {"type": "object"},
    "any": {},
    "null": {"type": "null"},
    "uuid": {"type": "string", "format": "uuid"},
    "time": {"type": "string", "format": "date-time"},
}

_RANGE: Final = re.compile(r"(\d+)\.\.(\d*)")


def schema(word: str) -> dict[str, Any]:
    """Return the schema that a word stands for."""
    word = word.strip()
    if " + " in word:
        return {"anyOf": [schema(each) for each in word.split(" + ")]}
    if word.endswith("?"):
        return {"anyOf": [schema(word[:-1]), {"type": "null"}]}
    if word.startswith("["):
        return {"type": "array", "items": schema(word[1:-1])}
    if word in _PLAIN:
        return dict(_PLAIN[word])
    if found := _RANGE.fullmatch(word):
        most = {"maximum": int(found[2])} if found[2] else {}
        return {"type": "integer", "minimum": int(found[1]), **most}
    if "/" in word or word.startswith("="):
        return {"type": "string", "enum": word.removeprefix("=").split("/")}
    return {"$ref": f"#/components/schemas/{word}"}


def fields(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of an object with fields."""
    needed = [name[:-1] for name in given if name.endswith("!")]
    properties = {name.removesuffix("!"): schema(word) for name, word in given.items()}
    return {"type": "object", "properties": properties, **({"required": needed} if needed else {})}
