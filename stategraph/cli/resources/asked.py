"""The resources that a command is about: kinds, names and labels, as kubectl takes them.

| words | |
|---|---|
| `workflows` | all of a kind, by any of its words |
| `workflows,agents` | all of several kinds |
| `all` | all of all kinds |
| `workflow nightly weekly` | these of a kind |
| `workflow/nightly agent/greeter` | these |
| `workflow/cooking/nightly` | one of another namespace |
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stategraph.resources.kind_table import DEFAULT_NAMESPACE, KINDS, Kind, KindTable
from stategraph.resources.model import Resource, ResourceKey

if TYPE_CHECKING:
    from stategraph.resources.store.port import ResourceStore


@dataclass(frozen=True, slots=True)
class Asked:
    """The resources that were asked for.

    Attributes:
        kinds: All resources of these kinds; empty where keys were named, or all kinds are meant.
        keys: These resources.
        namespace: Only those of this namespace; None: of all.
        labels: Only those with these labels.
    """

    kinds: tuple[Kind, ...]
    keys: tuple[ResourceKey, ...]
    namespace: str | None
    labels: Mapping[str, str]

    def takes(self, key: ResourceKey) -> bool:
        """Return whether a resource is meant, whatever its labels."""
        if self.keys:
            return key in self.keys
        of_kind = not self.kinds or any(each.key == key.kind for each in self.kinds)
        return of_kind and (self.namespace is None or key.namespace in (self.namespace, ""))

    def has_labels(self, resource: Resource) -> bool:
        """Return whether a resource has the labels."""
        return all(resource.metadata.labels.get(name) == value for name, value in self.labels.items())


def add_asked(parser: argparse.ArgumentParser, *, needed: bool = True, what: str = "") -> None:
    """Add the arguments that say which resources are meant.

    Args:
        parser: Parses the command.
        needed: Whether something has to be named.
        what: Ends the help of the words.
    """
    parser.add_argument(
        "words",
        metavar="KIND[/NAME]",
        nargs="+" if needed else "*",
        help=f"a kind and names, or kind/name: 'workflows', 'wf nightly', 'agent/greeter', 'all'{what}",
    )
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="those of all namespaces")
    parser.add_argument(
        "-l", "--selector", metavar="LABELS", help="those with these labels, as in app=kitchen,tier=web"
    )


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a namespace."""
    parser.add_argument(
        "-n", "--namespace", metavar="NAME", default=DEFAULT_NAMESPACE, help="the namespace (default: %(default)s)"
    )


def labels_of(text: str | None) -> dict[str, str]:
    """Return the labels of a selector.

    Raises:
        ConfigurationError: It is none.
    """
    from stategraph.errors import ConfigurationError

    found: dict[str, str] = {}
    for part in (text or "").split(",") if text else ():
        name, equals, value = part.partition("=")
        value = value.removeprefix("=")
        if not equals or not name or name.endswith("!"):
            raise ConfigurationError(f"--selector is '{text}'; expected labels with values, as in app=kitchen,tier=web")
        found[name.strip()] = value.strip()
    return found


def asked_of(arguments: argparse.Namespace, kinds: KindTable = KINDS) -> Asked:
    """Return what a command line asks for.

    Raises:
        ConfigurationError: A kind is not known, or words make no sense together.
    """
    words: Sequence[str] = arguments.words
    namespace = None if arguments.all_namespaces else arguments.namespace
    found, keys = _named(words, arguments.namespace, kinds)
    return Asked(found, keys, namespace, labels_of(arguments.selector))


def _named(words: Sequence[str], namespace: str, kinds: KindTable) -> tuple[tuple[Kind, ...], tuple[ResourceKey, ...]]:
    """Return the kinds and the keys that words name; neither for everything."""
    from stategraph.errors import ConfigurationError

    if any("/" in each for each in words):
        _check_form(words)
        return (), tuple(key_of(each, namespace, kinds) for each in words)
    first, *names = words or ["all"]
    if first == "all":
        if names:
            raise ConfigurationError(f"'all' means everything: leave '{names[0]}' out, or name its kind in its place")
        return (), ()
    if names and "," in first:
        raise ConfigurationError(f"Names are of one kind: write {first.partition(',')[0]}/{names[0]} for each")
    if names:
        return (), tuple(key_of(f"{first}/{name}", namespace, kinds) for name in names)
    return tuple(kind_of(each, kinds) for each in first.split(",") if each), ()


def _check_form(words: Sequence[str]) -> None:
    from stategraph.errors import ConfigurationError

    if alone := [each for each in words if "/" not in each]:
        raise ConfigurationError(
            f"'{alone[0]}' stands beside a resource of the form kind/name: write all in that form, or one kind and "
            "names"
        )


def kind_of(word: str, kinds: KindTable = KINDS) -> Kind:
    """Return the kind of a word.

    Raises:
        ConfigurationError: There is none.
    """
    from stategraph.errors import ConfigurationError

    kind = kinds.get(word)
    if kind is None:
        near = kinds.suggestion(word)
        hint = f", did you mean '{near}'?" if near else f". Kinds: {', '.join(each.plural for each in kinds)}"
        raise ConfigurationError(f"There is no kind '{word}'{hint}")
    return kind


def key_of(text: str, namespace: str, kinds: KindTable = KINDS) -> ResourceKey:
    """Return the key of a resource that is named as `kind/name` or `kind/namespace/name`.

    Raises:
        ConfigurationError: It is not, or there is no such kind.
    """
    from stategraph.errors import ConfigurationError

    kind_of(text.partition("/")[0], kinds)
    try:
        return ResourceKey.parse(text, namespace, kinds)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


async def chosen(store: ResourceStore, asked: Asked) -> list[Resource]:
    """Return the resources that were asked for, in the order of kinds and names.

    Raises:
        ConfigurationError: One that was named is not there.
    """
    if asked.keys:
        return [_labelled(await found_at(store, key), asked) for key in asked.keys]
    kinds: list[Any] = [each.key for each in asked.kinds] or [None]
    found: list[Resource] = []
    for kind in kinds:
        found += await store.list(kind, None, asked.labels or None)
    return [each for each in found if asked.takes(each.key)]


def _labelled(resource: Resource, asked: Asked) -> Resource:
    from stategraph.errors import ConfigurationError

    if not asked.has_labels(resource):
        raise ConfigurationError(f"'{resource.key}' has other labels: leave --selector out where names are given")
    return resource


async def found_at(store: ResourceStore, key: ResourceKey) -> Resource:
    """Return a resource.

    Raises:
        ConfigurationError: It is not there; the message names where it is, or what is spelled nearly so.
    """
    from stategraph.cli.parser import suggestion
    from stategraph.errors import ConfigurationError

    found = await store.get(key)
    if found is not None:
        return found
    others = await store.list(key.kind)
    elsewhere = sorted(each.namespace for each in others if each.name == key.name)
    if elsewhere:
        raise ConfigurationError(
            f"There is no {key.kind} '{key.name}' in the namespace '{key.namespace}', but in "
            f"{', '.join(map(repr, elsewhere))}: name it with -n {elsewhere[0]}"
        )
    here = [each.name for each in others if each.namespace == key.namespace]
    where = f" in the namespace '{key.namespace}'" if key.namespace else ""
    raise ConfigurationError(f"There is no {key.kind} '{key.name}'{where}{suggestion(key.name, here) or '.'}")


async def kinds_in(store: ResourceStore) -> KindTable:
    """Return the kinds that there are, with the custom ones of a store."""
    from stategraph.resources.custom_kinds import kinds_with

    return kinds_with(await store.list("customresourcedefinition"))
