"""`stategraph get`: resources listed, printed, and followed as they change."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from stategraph.cli.output import Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources import formats
from stategraph.cli.resources.asked import Asked, add_asked, asked_of, chosen, kinds_in
from stategraph.cli.resources.columns import columns
from stategraph.cli.resources.opening import add_store, opened_store, run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.store.following import changes_over_gaps
from stategraph.resources.store.port import ResourceStore


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_asked(parser, needed=False, what=" (default: all)")
    formats.add_output(parser)
    parser.add_argument("-w", "--watch", action="store_true", help="go on, and print what changes")
    add_store(parser)
    parser.epilog = "Exit code: 0 done, 2 something that was named is not there. See docs/resource-commands.md."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print resources, and return the exit code."""
    return run_on_resources(_get, arguments, as_json=arguments.output == "json")


async def _get(arguments: argparse.Namespace, output: Output) -> int:
    async with opened_store(arguments) as store:
        wanted = asked_of(arguments, await kinds_for(arguments, store))
        version = await store.version()
        found = await chosen(store, wanted)
        if found:
            formats.show(found, arguments, output, one=len(wanted.keys) == 1)
        elif arguments.output in ("json", "yaml"):
            formats.show([], arguments, output)
        elif arguments.output != "name":
            output.complain(formats.nothing(wanted.namespace, wanted.labels))
        if arguments.watch:
            known = {each.key: each.metadata.resource_version for each in found}
            await _Follower(store, wanted, arguments, output, known).follow(version)
    return 0


async def kinds_for(arguments: argparse.Namespace, store: ResourceStore) -> KindTable:
    """Return the kinds that a command line may name; those of the store are read only where a word is none of ours."""
    words = [part for word in arguments.words for part in word.partition("/")[0].split(",")]
    return KINDS if not words or KINDS.get(words[0]) else await kinds_in(store)


@dataclass(slots=True)
class _Follower:
    """Prints resources as they change.

    Attributes:
        store: The store.
        wanted: Those that were asked for.
        arguments: The command line.
        output: Prints.
        known: The versions of what was printed last.
    """

    store: ResourceStore
    wanted: Asked
    arguments: argparse.Namespace
    output: Output
    known: dict[ResourceKey, int]

    async def follow(self, version: int) -> None:
        """Print what changes behind a version, until the command is stopped."""
        async for change in changes_over_gaps(self.store, version):
            if change is None:
                await self._list()
            elif self.wanted.takes(change.key):
                self._show(change.key, await self.store.get(change.key))

    async def _list(self) -> None:
        """Print what has changed meanwhile, where the log does not say it any more."""
        if self.wanted.keys:  # one that is gone is no error now
            found = dict(await self.store.get_many(self.wanted.keys))
        else:
            found = {each.key: each for each in await chosen(self.store, self.wanted)}
        for key in sorted({*self.known, *found}):
            resource = found.get(key)
            if resource is None or resource.metadata.resource_version != self.known.get(key):
                self._show(key, resource)

    def _show(self, key: ResourceKey, found: Resource | None) -> None:
        if found is not None and self.wanted.has_labels(found):
            self.known[key] = found.metadata.resource_version
            several = len(self.wanted.kinds) != 1 and not self.wanted.keys
            _tell(found, self.arguments, self.output, several=several)
        elif found is None and (self.known.pop(key, None) is not None or not self.wanted.labels):
            is_table = self.arguments.output in ("table", "wide")
            self.output.show_json(f"{key} is deleted" if is_table else str(key))


def _tell(resource: Resource, arguments: argparse.Namespace, output: Output, *, several: bool) -> None:
    if arguments.output not in ("table", "wide"):
        formats.show([resource], arguments, output, one=True)
        return
    shape = {"namespace": arguments.all_namespaces, "wide": arguments.output == "wide"}
    cells = formats.row(resource, kind=several, **shape)
    output.show_json(columns(formats.titles(**shape), [cells], Style(sys.stdout)).partition("\n")[2])
