"""References between resources: every spelling, read by one function.

| written | read as |
|---|---|
| `recipe-finder` | that name in the namespace of the resource that refers to it |
| `cooking/recipe-finder`, `cooking.recipe-finder` | a name in a namespace |
| `agents/greeter`, `agent/greeter`, `ag/greeter` | a kind, by any of its names, and a name |
| `agent/cooking/greeter` | kind, namespace, name |
| `{name: x}`, `{name: x, namespace: y, kind: z}` | the same in parts |
| `{ref: ...}`, `{refName: ...}` | one of the above, inside |

Before a slash, a word that names a kind is the kind, and else a namespace; a namespace that is called like a kind is
written in parts. `stategraph fmt` writes `name` or `namespace/name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.model import ResourceKey

_PARTS: Final = frozenset({"name", "namespace", "kind", "ref", "refName", "apiVersion"})
_SPELLINGS: Final = "a name, 'namespace/name', 'kind/name', or {name, namespace}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference, as read; not looked up.

    Attributes:
        name: The name of the resource.
        namespace: Its namespace; None for that of the resource that refers to it.
        kind: Its kind in small letters; None if only the place of the reference says it.
    """

    name: str
    namespace: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        return self.name if self.namespace is None else f"{self.namespace}/{self.name}"

    def key(self, kind: str, namespace: str, kinds: KindTable = KINDS) -> ResourceKey:
        """Return the key of the resource.

        Args:
            kind: The kind that the place of the reference stands for.
            namespace: The namespace of the resource that refers to it.
            kinds: The kinds that there are.

        Raises:
            ResourceError: The reference names another kind than this place takes.
        """
        expected = kinds.get(kind)
        wanted = kind.lower() if expected is None else expected.key
        if self.kind is not None and self.kind != wanted:
            raise ResourceError(f"the reference '{self.kind}/{self}' names a {self.kind}; expected a {wanted}")
        if expected is not None and not expected.namespaced:
            return ResourceKey(wanted, "", self.name)
        return ResourceKey(wanted, self.namespace or namespace, self.name)


def parse(value: Any, kinds: KindTable = KINDS) -> Reference:
    """Read a reference in any of its spellings.

    Raises:
        ResourceError: It is none; the message says what was found and expected.
    """
    match value:
        case Reference():
            return value
        case ResourceKey():
            return Reference(value.name, value.namespace or None, value.kind)
        case str():
            return _from_text(value, kinds)
        case Mapping():
            return _from_parts(value, kinds)
    raise ResourceError(f"a reference is {_SPELLINGS}; found {type(value).__name__}")


def _from_text(text: str, kinds: KindTable) -> Reference:
    parts = text.strip().split("/")
    if not all(parts) or len(parts) > 3:
        raise ResourceError(f"a reference is {_SPELLINGS}; found {text!r}")
    kind = kinds.get(parts[0]) if len(parts) > 1 else None
    match parts:
        case [name]:
            namespace, dot, rest = name.partition(".")
            return Reference(rest, namespace) if dot and rest and namespace else Reference(name)
        case [_, name] if kind is not None:
            return Reference(name, None, kind.key)
        case [namespace, name]:
            return Reference(name, namespace)
        case [word, namespace, name]:
            return Reference(name, namespace, word.lower() if kind is None else kind.key)
    raise AssertionError(parts)


def _from_parts(value: Mapping[str, Any], kinds: KindTable) -> Reference:
    unknown = sorted(str(key) for key in value if key not in _PARTS)
    if unknown:
        raise ResourceError(f"a reference has no field '{unknown[0]}'; expected {', '.join(sorted(_PARTS))}")
    inner = value.get("ref", value.get("refName"))
    if inner is not None:
        return parse(inner, kinds)
    for key in ("name", "namespace", "kind"):
        if not isinstance(value.get(key, ""), str):
            raise ResourceError(f"the field '{key}' of a reference is text; found {type(value[key]).__name__}")
    name = value.get("name")
    if not name:
        raise ResourceError("a reference in parts needs the field 'name'")
    word = str(value.get("kind") or "")
    kind = kinds.get(word)
    return Reference(name, value.get("namespace") or None, kind.key if kind else word.lower() or None)
