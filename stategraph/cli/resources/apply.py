"""`stategraph apply`: manifests stored, and brought about.

Controllers run in this process until everything is ready, or nothing changes any more. A server that reconciles the
same database goes on with what is stored here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import FAILED, NOTHING_DONE, Output, counted
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_namespace
from stategraph.cli.resources.durations import add_timeout
from stategraph.cli.resources.formats import add_output
from stategraph.cli.resources.manifests import Manifests, add_files, read
from stategraph.cli.resources.opening import add_services, add_store, address_of, run_on_resources, runtime_on
from stategraph.cli.resources.settling import settle
from stategraph.cli.style import Style
from stategraph.resources.manifests.describing import state_of
from stategraph.resources.model import REGISTRY_MISSING, Resource

if TYPE_CHECKING:
    from stategraph.resources.runtime import Applied


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_files(parser, needed=True)
    add_namespace(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="store nothing; say what would be done ('diff' shows the fields)"
    )
    parser.add_argument("--no-wait", action="store_true", help="store only; another process brings it about")
    parser.add_argument("--force", action="store_true", help="take fields over that something else has changed")
    add_timeout(parser, 60.0, "how long to wait until all is ready")
    add_output(parser, "text", "json", "name")
    add_services(parser)
    add_store(parser)
    parser.epilog = (
        "What is right is applied, whatever else is wrong. Exit code: 0 all is ready, or waits for a server only, 1 "
        "something is not yet, 2 a manifest cannot be used."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Apply manifests, and return the exit code."""
    return run_on_resources(_apply, arguments, as_json=arguments.output == "json")


async def _apply(arguments: argparse.Namespace, output: Output) -> int:
    given = read(arguments.files, arguments.namespace)
    for problem in given.problems:
        output.complain(f"stategraph: {problem}")
    if arguments.dry_run:
        return await _say_what_would_be(given, arguments, output)
    async with runtime_on(address_of(arguments), arguments) as runtime:
        applied = await runtime.apply(given.resources, force=arguments.force)
        if arguments.output == "text":
            for each in applied:
                output.show_json(f"{each.key} {each.action}")
        keys = [each.key for each in applied]
        if arguments.no_wait:
            found = [resource for key in keys if (resource := await runtime.get(key)) is not None]
        else:
            found = await settle(runtime, keys, arguments.timeout)
    _show(applied, found, given, arguments, output)
    if given.problems:
        return FAILED
    return 0 if arguments.no_wait or all(each.is_ready or waits_for_server(each) for each in found) else NOTHING_DONE


def _show(
    applied: Sequence[Applied],
    found: Sequence[Resource],
    given: Manifests,
    arguments: argparse.Namespace,
    output: Output,
) -> None:
    """Print what became of it."""
    if arguments.output == "name":
        output.show_json("\n".join(str(each.key) for each in applied))
        return
    if arguments.output == "json":
        facts = {each.key: _facts(each) for each in found}
        told = [{"resource": str(each.key), "action": each.action, **facts.get(each.key, {})} for each in applied]
        output.show({"applied": told, "problems": [str(each) for each in given.problems]}, "")
        return
    if arguments.no_wait or not found:
        return
    _summarize(found, output)


def _summarize(found: Sequence[Resource], output: Output) -> None:
    """Print what is not ready and why, and how many are."""
    style = Style(sys.stdout)
    later = [each for each in found if waits_for_server(each)]
    waiting = [each for each in found if not each.is_ready and each not in later]
    for each in waiting:
        output.show_json(not_ready(each, style))
    for each in later:
        output.show_json(f"{each.key} waits for a server: 'stategraph serve --resources' on this database has its runs")
    ready = len(found) - len(waiting) - len(later)
    text = f"{ready} of {counted(len(found), 'resource')} {'is' if ready == 1 else 'are'} ready"
    text += f", {len(later)} {'waits' if len(later) == 1 else 'wait'} for a server." if later else "."
    output.show_json(style.added(text) if not waiting else style.asked(text))


def waits_for_server(resource: Resource) -> bool:
    """Return whether a resource is as ready as it can be without a server, which has the registry of runs."""
    ready, reason, _ = state_of(resource)
    return ready == "False" and reason == REGISTRY_MISSING


def not_ready(resource: Resource, style: Style) -> str:
    """Return why a resource is not ready, in lines."""
    _, reason, message = state_of(resource)
    told = f"{resource.key} is not ready: {style.removed(reason)}"
    return told + "".join(f"\n  {line}" for line in message.splitlines())


def _facts(resource: Resource) -> dict[str, Any]:
    ready, reason, message = state_of(resource)
    return {"ready": ready, "reason": reason, "message": message}


async def _say_what_would_be(given: Manifests, arguments: argparse.Namespace, output: Output) -> int:
    """Print what an apply would do, field by field where something changes."""
    from stategraph.cli.resources.comparing import compared

    found = await compared(given, arguments)
    rows = [(str(each.key), each.action) for each in found]
    text = "\n".join(f"{key} {action} (dry run)" for key, action in rows)
    if arguments.output == "json":
        told = [{"resource": key, "action": action} for key, action in rows]
        output.show({"applied": told, "problems": [str(each) for each in given.problems]}, "")
    elif text:
        output.show_json("\n".join(key for key, _ in rows) if arguments.output == "name" else text)
    return FAILED if given.problems else 0
