"""Rules of the Agent Skills specification for the fields of a SKILL.md.

| field | rule |
|---|---|
| `name` | needed; 1 to 64 of `a-z`, `0-9` and `-`, no hyphen at an end and no two in a row; the name of the folder |
| `description` | needed; 1 to 1024 characters |
| `license` | a text |
| `compatibility` | a text of at most 500 characters |
| `metadata` | texts by name; `version` is the version |
| `allowed-tools` | a text: names separated by spaces |

Any other field is a fault. `skills-ref`, the reference, lets pass what is stricter here: names with letters of other
alphabets, which can look like one another; and a `license`, `metadata` or `allowed-tools` that is no text (texts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

LONGEST_NAME: Final = 64
LONGEST_DESCRIPTION: Final = 1024
LONGEST_COMPATIBILITY: Final = 500

FIELDS: Final = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")

_NAME: Final = re.compile(r"[a-z0-9-]*")
_TOOL: Final = re.compile(r"[^\s,()]+(?:\([^()]*\))?")


def problems(fields: Mapping[str, Any], folder: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the fields of a skill: the field, and the fault.

    Args:
        fields: The frontmatter, as `stategraph.governance.skills.frontmatter` reads it.
        folder: The name of the skill's folder.
    """
    for field in fields:
        if field not in FIELDS:
            yield (
                field,
                f"there is no such field; there are: {', '.join(FIELDS)}. What is your own goes into 'metadata'",
            )
    for field in ("name", "description"):
        if field not in fields:
            yield field, "is missing"
        elif not isinstance(fields[field], str) or not fields[field].strip():
            yield field, f"must be a text that is not empty; found {_shown(fields[field])}"
    for field in ("license", "compatibility", "allowed-tools"):
        if not isinstance(fields.get(field, ""), str):
            yield field, f"must be a text; found {_shown(fields[field])}"
    if isinstance(name := fields.get("name"), str) and name.strip():
        yield from (("name", fault) for fault in _name_faults(name.strip(), folder))
    yield from _too_long(fields, "description", LONGEST_DESCRIPTION)
    yield from _too_long(fields, "compatibility", LONGEST_COMPATIBILITY)
    yield from _metadata_faults(fields.get("metadata", ""))


def _name_faults(name: str, folder: str) -> Iterator[str]:
    if len(name) > LONGEST_NAME:
        yield f"has {len(name)} characters; at most {LONGEST_NAME}"
    if _NAME.fullmatch(name) is None:
        others = "".join(dict.fromkeys(_NAME.sub("", name)))
        yield f"{name!r} has {others!r}; only a-z, 0-9 and '-' are taken"
    if name.startswith("-") or name.endswith("-"):
        yield f"{name!r} begins or ends with a hyphen"
    if "--" in name:
        yield f"{name!r} has two hyphens in a row"
    if name != folder:
        yield f"is {name!r}, and the folder is called {folder!r}: give both one name"


def _too_long(fields: Mapping[str, Any], field: str, most: int) -> Iterator[tuple[str, str]]:
    value = fields.get(field)
    if isinstance(value, str) and len(value) > most:
        yield field, f"has {len(value)} characters; at most {most}"


def _metadata_faults(metadata: Any) -> Iterator[tuple[str, str]]:
    if metadata == "":
        return
    if not isinstance(metadata, Mapping):
        yield "metadata", f"must be texts by name; found {_shown(metadata)}"
        return
    for name, value in metadata.items():
        if not isinstance(value, str):
            yield f"metadata.{name}", f"must be a text; found {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return "an empty one" if not value.strip() else "a text"
    return "a list" if isinstance(value, list) else "a mapping"


def tools_in(allowed: str) -> tuple[str, ...]:
    """Return the names in an `allowed-tools`; what stands in parentheses belongs to the name before it."""
    return tuple(dict.fromkeys(_TOOL.findall(allowed)))
