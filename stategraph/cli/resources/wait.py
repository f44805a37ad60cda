"""`stategraph wait`: until resources are in a state."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import NOTHING_DONE, Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_asked, asked_of, chosen
from stategraph.cli.resources.durations import add_timeout
from stategraph.cli.resources.formats import add_output
from stategraph.cli.resources.get import kinds_for
from stategraph.cli.resources.opening import add_store, opened_store, run_on_resources
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.store.following import changes_over_gaps

if TYPE_CHECKING:
    from stategraph.resources.store.port import ResourceStore

_DELETED: Final = "delete"


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_asked(parser)
    parser.add_argument(
        "--for",
        dest="state",
        default="condition=Ready",
        metavar="STATE",
        help="condition=NAME, condition=NAME=False, or delete (default: %(default)s)",
    )
    add_timeout(parser, 30.0, "how long to wait")
    add_output(parser, "text", "json", "name")
    add_store(parser)
    parser.epilog = "Exit code: 0 they are so, 1 they were not in that time, 2 something that was named is not there."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Wait, and return the exit code."""
    return run_on_resources(_wait, arguments, as_json=arguments.output == "json")


def state_of(text: str) -> tuple[str, str]:
    """Return the condition and its status that are waited for; `delete` for the end of a resource.

    Raises:
        ConfigurationError: It is something else.
    """
    from stategraph.errors import ConfigurationError

    what, _, rest = text.partition("=")
    if text == _DELETED:
        return _DELETED, ""
    name, _, status = rest.partition("=")
    status = status or "True"
    if what != "condition" or not name or status.capitalize() not in ("True", "False", "Unknown"):
        raise ConfigurationError(
            f"--for is '{text}'; expected condition=NAME, condition=NAME=False, or delete, as in --for=condition=Ready"
        )
    return name, status.capitalize()


async def _wait(arguments: argparse.Namespace, output: Output) -> int:
    name, status = state_of(arguments.state)
    until = time.monotonic() + arguments.timeout
    async with opened_store(arguments) as store:
        version = await store.version()
        wanted = asked_of(arguments, await kinds_for(arguments, store))
        if name == _DELETED and wanted.keys:
            keys = list(wanted.keys)  # those that are gone already are what is waited for
        else:
            keys = [each.key for each in await chosen(store, wanted)]
        waiting = dict.fromkeys(keys)
        changes: Any = changes_over_gaps(store, version)  # after a gap, too, all that is waited for is looked at
        async with aclosing(changes):
            change: asyncio.Task[Any] = asyncio.ensure_future(anext(changes))
            try:
                await _look(store, waiting, (name, status), output, arguments)
                while waiting and (left := until - time.monotonic()) > 0:
                    done, _ = await asyncio.wait({change}, timeout=left)
                    if done:
                        change.result()
                        change = asyncio.ensure_future(anext(changes))
                        await _look(store, waiting, (name, status), output, arguments)
            finally:
                change.cancel()
                await asyncio.wait({change})
        return await _say_end(store, waiting, keys, (name, status), output, arguments)


async def _look(
    store: ResourceStore,
    waiting: dict[ResourceKey, None],
    wanted: tuple[str, str],
    output: Output,
    arguments: argparse.Namespace,
) -> None:
    """Take those that are so out of the ones that are waited for, and tell."""
    for key in list(waiting):
        if _is_so(await store.get(key), *wanted):
            del waiting[key]
            if arguments.output == "text":
                output.show_json(f"{key} {'deleted' if wanted[0] == _DELETED else 'condition met'}")
            elif arguments.output == "name":
                output.show_json(str(key))


def _is_so(resource: Resource | None, name: str, status: str) -> bool:
    if name == _DELETED or resource is None:
        return resource is None and name == _DELETED
    found = resource.condition(name)
    return found is not None and found.status == status and found.observed_generation == resource.metadata.generation


async def _say_end(
    store: ResourceStore,
    waiting: dict[ResourceKey, None],
    keys: list[ResourceKey],
    wanted: tuple[str, str],
    output: Output,
    arguments: argparse.Namespace,
) -> int:
    name, _ = wanted
    told = []
    for key in waiting:
        resource = await store.get(key)
        found = None if resource is None else resource.condition(name)
        now = "it is gone" if resource is None else f"{name} is not said yet" if found is None else _now(found)
        told.append(f"{key} timed out: {'it is still there' if name == _DELETED else now}")
    if arguments.output == "json":
        output.show({"met": [str(key) for key in keys if key not in waiting], "timed_out": list(map(str, waiting))}, "")
    for each in told:
        output.complain(f"stategraph: {each}")
    if not keys:
        output.complain("stategraph: there is nothing to wait for")
    return NOTHING_DONE if waiting or not keys else 0


def _now(condition: Any) -> str:
    text = f"{condition.type} is {condition.status}, {condition.reason}"
    return f"{text}: {condition.message}" if condition.message else text
