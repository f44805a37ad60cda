"""`stategraph get`: resources listed, printed, and followed as they change."""

from __future__ import annotations

import argparse
import sys

from stategraph.cli.output import Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources import formats
from stategraph.cli.resources.asked import Asked, add_asked, asked_of, chosen, kinds_in
from stategraph.cli.resources.columns import columns
from stategraph.cli.resources.opening import add_store, opened_store, run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.model import Resource
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
            await _follow(store, version, wanted, arguments, output)
    return 0


async def kinds_for(arguments: argparse.Namespace, store: ResourceStore) -> KindTable:
    """Return the kinds that a command line may name; those of the store are read only where a word is none of ours."""
    words = [part for word in arguments.words for part in word.partition("/")[0].split(",")]
    return KINDS if not words or KINDS.get(words[0]) else await kinds_in(store)


async def _follow(
    store: ResourceStore, version: int, wanted: Asked, arguments: argparse.Namespace, output: Output
) -> None:
    """Print resources as they change, until the command is stopped."""
    several = len(wanted.kinds) != 1 and not wanted.keys
    async for change in store.watch(version):
        if not wanted.takes(change.key):
            continue
        found = await store.get(change.key)
        if found is not None and wanted.has_labels(found):
            _tell(found, arguments, output, several=several)
        elif found is None and not wanted.labels:
            output.show_json(f"{change.key} is deleted" if arguments.output in ("table", "wide") else str(change.key))


def _tell(resource: Resource, arguments: argparse.Namespace, output: Output, *, several: bool) -> None:
    if arguments.output not in ("table", "wide"):
        formats.show([resource], arguments, output, one=True)
        return
    shape = {"namespace": arguments.all_namespaces, "wide": arguments.output == "wide"}
    cells = formats.row(resource, kind=several, **shape)
    output.show_json(columns(formats.titles(**shape), [cells], Style(sys.stdout)).partition("\n")[2])
