"""`stategraph delete`: resources, with what they own."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from stategraph.cli.output import NOTHING_DONE, Output, counted
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
    parser.add_argument(
        "--version",
        metavar="VERSION",
        help="only an earlier version of a workflow or an agent, such as v1; 'describe' names them",
    )
    parser.add_argument(
        "--force", action="store_true", help="also where threads wait for an answer: they can not go on then"
    )
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
    if arguments.dry_run and arguments.version is not None:
        raise ConfigurationError(
            "--dry-run does not tell of versions: 'stategraph describe' of the resource lists them, with their threads"
        )
    url = check_there(arguments)
    keys = await _keys(arguments)
    if arguments.dry_run:
        _tell(keys, "deleted (dry run)", arguments, output)
        return 0 if keys else NOTHING_DONE
    if arguments.version is not None:
        async with runtime_on(url, arguments) as runtime:
            return await _remove_version(runtime, keys, arguments, output)
    if not arguments.force:
        await _check_nobody_waits(url, keys)
    return await _ask(url, keys, arguments, output)


async def _ask(url: str, keys: Sequence[ResourceKey], arguments: argparse.Namespace, output: Output) -> int:
    """Ask for the deletion of resources, wait for it, and return the exit code."""
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


async def _check_nobody_waits(url: str, keys: Sequence[ResourceKey]) -> None:
    """Check that no threads of workflows and agents wait for an answer.

    Raises:
        ConfigurationError: Some do.
    """
    wanted = [each for each in keys if each.kind in ("workflow", "agent")]
    if not wanted or url.startswith(("memory:", "libsql:")):
        return
    from stategraph.errors import ConfigurationError
    from stategraph.resources.compile.rollout import Rollout
    from stategraph.resources.controllers import rollouts
    from stategraph.resources.state.store import StateStores
    from stategraph.savers.urls import saver_at

    states = StateStores(url)
    try:
        async with saver_at(url) as saver:
            for key in wanted:
                name = f"{key.namespace}/{key.name}"
                known = await states.scope(rollouts.scope_of(key.kind, name)).all()
                numbers = {version: int(each["number"]) for version, each in known.items()}
                several = await Rollout(name, "", numbers, what=key.kind).threads(saver)
                lost = {version for version, each in known.items() if each.get("removed")}
                waiting = [each for each in several if each.waiting and each.version not in lost]
                if waiting:
                    told = ", ".join(f"{each.waiting} on v{each.number or '?'}" for each in waiting)
                    raise ConfigurationError(
                        f"Threads of {key} wait for an answer: {told}. Answer them first ('stategraph thread list "
                        "--status interrupted'), or delete it with --force: they can not go on then"
                    )
    finally:
        await states.close()


async def _remove_version(
    runtime: Runtime, keys: Sequence[ResourceKey], arguments: argparse.Namespace, output: Output
) -> int:
    """Remove an earlier version of a workflow or an agent, and return the exit code.

    Raises:
        ConfigurationError: Something else than one of these was named.
        UnknownResource: It is not ready.
        VersionInUseError: Threads wait on the version.
    """
    from stategraph.errors import ConfigurationError

    if len(keys) != 1 or keys[0].kind not in ("workflow", "agent"):
        raise ConfigurationError(
            "--version is of one workflow or agent: name it, as in 'delete workflow/dinner --version v1'"
        )
    with suppress(TimeoutError):
        await runtime.settled(arguments.timeout)
    ended = await runtime.compiled(keys[0]).remove_version(arguments.version, force=arguments.force)
    told = {"resource": str(keys[0]), "version": ended.number, "threads": ended.threads, "waiting": ended.waiting}
    lost = f"; {counted(ended.waiting, 'thread')} that waited end as 'error: version_removed'" if ended.waiting else ""
    output.show(told, f"v{ended.number} of {keys[0]} is removed{lost}")
    return 0


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
