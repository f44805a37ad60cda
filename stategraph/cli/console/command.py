"""`stategraph console`: the command."""

from __future__ import annotations

import argparse

from stategraph.cli.output import Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_namespace
from stategraph.cli.resources.opening import add_store, opened_store, run_on_resources


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="those of all namespaces")
    parser.add_argument("--write", action="store_true", help="let resources be deleted")
    add_store(parser)
    parser.epilog = "Needs the extra 'console'. Exit code: 0 left, 2 it does not work. See docs/resource-commands.md."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show resources until the person leaves, and return the exit code."""
    return run_on_resources(_show, arguments, as_json=False)


async def _show(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        from stategraph.cli.console.app import ResourceConsole
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        raise MissingPackageError("stategraph[console]", "The console in the terminal") from error
    import sys

    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise ConfigurationError("The console needs a terminal: 'stategraph get -w' follows resources elsewhere")
    async with opened_store(arguments) as store:
        namespace = None if arguments.all_namespaces else arguments.namespace
        await ResourceConsole(store, namespace, writes=arguments.write).run_async()
    return 0
