"""`stategraph delete`: resources, with what they own."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stategraph.cli.output import NOTHING_DONE, Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_asked, asked_of, chosen
from stategraph.cli.resources.durations import add_timeout
from stategraph.cli.resources.formats import add_output
from stategraph.cli.resources.get import kinds_for
from stategraph.cli.resources.manifests import add_files, read
from stategraph.cli.resources.opening import (
    add_services,
    add_store,
    check_there,
    opened_store,
    run_on_resources,
    runtime_on,
)
from stategraph.resources.model import ResourceKey

if TYPE_CHECKING:
    from stategraph.resources.runtime import Runtime


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_asked(parser, needed=False, what="; or -f")
    add_files(parser, needed=False)
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; say what would be deleted")
    parser.add_argument("--ignore-not-found", action="store_true", help="what is not there is no error")
    parser.add_argument("--no-wait", action="store_true", help="ask for the deletion only; another process does it")
    add_timeout(parser, 30.0, "how long to wait until they are gone")
    add_output(parser, "text", "json", "name")
    add_services(parser)
    add_store(parser)
    parser.epilog = "Exit code: 0 they are gone, 1 some are not yet, or there was nothing, 2 it does not work."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delete resources, and return the exit code."""
    return run_on_resources(_delete, arguments, as_json=arguments.output == "json")


async def _delete(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError

    if bool(arguments.words) == bool(arguments.files):
        raise ConfigurationError("Name what is to be deleted, by kind and name or with -f: one of the two")
    url = check_there(arguments)
    keys = await _keys(arguments)
    if arguments.dry_run:
        _tell(keys, "deleted (dry run)", arguments, output)
        return 0 if keys else NOTHING_DONE
    async with runtime_on(url, arguments) as runtime:
        asked = [key for key in keys if await runtime.delete(key)]
        gone = asked if arguments.no_wait else await _gone(runtime, asked, arguments.timeout)
    held = [key for key in asked if key not in gone]
    _tell(gone, "deletion asked for" if arguments.no_wait else "deleted", arguments, output)
    for key in held:
        output.complain(f"stategraph: {key} is not gone yet: 'stategraph describe {key}' says what holds it up")
    if not keys:
        output.complain("stategraph: there was nothing to delete")
    return NOTHING_DONE if held or not asked else 0


async def _keys(arguments: argparse.Namespace) -> list[ResourceKey]:
    """Return the resources that are to be deleted."""
    async with opened_store(arguments) as store:
        if arguments.files:
            found = [key for key in read(arguments.files, arguments.namespace).keys if await store.get(key)]
            return list(reversed(found))  # what was declared last may need what was declared first
        wanted = asked_of(arguments, await kinds_for(arguments, store))
        if arguments.ignore_not_found and wanted.keys:
            return [key for key in wanted.keys if await store.get(key) is not None]
        return [each.key for each in await chosen(store, wanted)]


async def _gone(runtime: Runtime, keys: Sequence[ResourceKey], limit_s: float) -> list[ResourceKey]:
    """Return those that are gone, once all are or the time is over."""

    async def is_gone(key: ResourceKey) -> bool:
        try:
            await runtime.wait(key, "Deleted", limit_s)
        except TimeoutError:
            return False
        return True

    answers = await asyncio.gather(*map(is_gone, keys))
    return [key for key, gone in zip(keys, answers, strict=True) if gone]


def _tell(keys: Sequence[ResourceKey], what: str, arguments: argparse.Namespace, output: Output) -> None:
    if arguments.output == "json":
        output.show([str(each) for each in keys], "")
    elif keys:
        output.show_json("\n".join(str(each) if arguments.output == "name" else f"{each} {what}" for each in keys))
