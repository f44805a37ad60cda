"""The kinds of resources by their names.

This module knows names only, so that a command which lists resources does not import pydantic; the model of a spec is
imported from `kinds` when a spec is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

GROUP: Final = "stategraph.dev"
API_VERSION: Final = f"{GROUP}/v1"
DEFAULT_NAMESPACE: Final = "default"

#: Groups whose documents are read as ours, in these versions; they are written back as `stategraph.dev/v1`.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {GROUP: ("v1", "v1alpha1"), "mastra.ai": ("v1", "v1alpha1")}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource.

    Attributes:
        name: As in manifests: `MCPServer`.
        plural: As in commands and paths: `mcpservers`.
        short_names: Shorter words for commands.
        aliases: Other words for `kind:` in manifests.
        namespaced: Whether its resources have a namespace.
        spec: The model of its spec, or its import path, `module:Class`; None for a custom kind.
        schema: The JSON Schema of a custom kind's spec; None if it has none, or is built in.
        group: The group of its `apiVersion`.
    """

    name: str
    plural: str
    short_names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    namespaced: bool = True
    spec: str | type[BaseModel] | None = None
    schema: Mapping[str, Any] | None = None
    group: str = GROUP

    @property
    def key(self) -> str:
        """Its name in keys: in small letters."""
        return self.name.lower()

    @property
    def words(self) -> tuple[str, ...]:
        """Every word for it, in small letters."""
        words = (self.name, self.plural, *self.short_names, *self.aliases, *(f"{each}s" for each in self.aliases))
        return tuple(word.lower() for word in words)

    def model(self) -> type[BaseModel] | None:
        """Return the model of its spec, which is imported if need be; None for a custom kind."""
        if not isinstance(self.spec, str):
            return self.spec
        module, _, name = self.spec.partition(":")
        found: type[BaseModel] = getattr(import_module(module), name)
        return found


class KindTable:
    """Kinds by their words. A table is never changed: `with_kinds` makes another one.

    Args:
        kinds: The kinds.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = tuple(kinds)
        self._by_word = {word: kind for kind in self._kinds for word in kind.words}

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds)

    def get(self, word: str) -> Kind | None:
        """Return the kind of a name, plural, short name or alias in any case; None if there is none."""
        return self._by_word.get(word.lower())

    def suggestion(self, word: str) -> str:
        """Return the name of the kind that was probably meant; empty if none is near."""
        names = {each: kind.name for each, kind in self._by_word.items()}
        near = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
        return names[near[0]] if near else ""

    def with_kinds(self, kinds: Iterable[Kind]) -> KindTable:
        """Return a table with further kinds; those that were there keep their words."""
        added = [kind for kind in kinds if kind.name.lower() not in self._by_word]
        table = KindTable((*self._kinds, *added))
        table._by_word.update(self._by_word)
        return table

    def is_ours(self, api_version: str) -> bool:
        """Return whether documents of an `apiVersion` may be of the built-in kinds."""
        group, _, version = api_version.partition("/")
        return version in GROUPS.get(group, ())


def _built_in(
    name: str,
    module: str,
    *short_names: str,
    aliases: tuple[str, ...] = (),
    plural: str | None = None,
    namespaced: bool = True,
) -> Kind:
    spec = f"stategraph.resources.kinds.{module}:{name}Spec"
    return Kind(name, plural or f"{name.lower()}s", short_names, aliases, namespaced, spec)


#: The built-in kinds.
KINDS: Final = KindTable(
    (
        _built_in("Agent", "agent", "ag"),
        _built_in("Model", "model", "mo", aliases=("LLM",)),
        _built_in("Tool", "tool", "to"),
        _built_in("MCPServer", "mcp_server", "mcp"),
        _built_in("Skill", "skill", "sk"),
        _built_in("Workflow", "workflow", "wf"),
        _built_in("Network", "network", "net"),
        _built_in("Policy", "policy", "pol", plural="policies"),
        _built_in("Budget", "budget", "bud"),
        _built_in("Plugin", "plugin", "pl"),
        _built_in("Worker", "worker", "wo"),
        _built_in("Schedule", "schedule", "sched"),
        _built_in("Secret", "secret", "sec"),
        _built_in("System", "system", "sys", aliases=("Bundle", "Pod")),
        _built_in("CustomResourceDefinition", "crd", "crd", "crds", namespaced=False),
    )
)
