"""`stategraph top`: what a database does now: runs, queues, workers, graphs, plug-ins, budgets, agents.

It works on a registry without resources, on resources without a registry, and on a directory of agents. It reads only.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import NOTHING_DONE, Output, expected, masked
from stategraph.cli.parser import Parser
from stategraph.cli.resources.durations import seconds
from stategraph.cli.resources.opening import add_store, check_there, run_on_resources
from stategraph.cli.style import Style

if TYPE_CHECKING:
    from stategraph.cli.observing.figures import Collector, Figures


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--once", action="store_true", help="print the figures of now, and end")
    parser.add_argument("--json", action="store_true", help="print the figures of now as JSON, and end")
    parser.add_argument(
        "--window", type=seconds, default=900.0, metavar="TIME", help="what ended in this time counts (default: 15m)"
    )
    parser.add_argument(
        "--interval", type=_interval, default=2.0, metavar="TIME", help="time between two looks (default: 2s)"
    )
    parser.add_argument(
        "--agents",
        metavar="URL",
        help="the database of a directory of agents (default: that of --store, if it has one)",
    )
    add_store(parser)
    parser.epilog = (
        "The live view needs a terminal and the extra 'console'; elsewhere the figures are printed once. Exit code: 0 "
        "done, 1 there is nothing to show, 2 it does not work. See docs/resource-commands.md."
    )
    parser.set_defaults(run=run)


def _interval(text: str) -> float:
    """Read an argument that is a time between two looks.

    Raises:
        ArgumentTypeError: It is none, or too short.
    """
    found = seconds(text)
    if found < 0.2:
        raise argparse.ArgumentTypeError(
            f"'{text}' is too short: the database is asked each time; expected 200ms or more"
        )
    return found


def run(arguments: argparse.Namespace) -> int:
    """Show figures, and return the exit code."""
    return run_on_resources(_top, arguments, as_json=arguments.json)


async def _top(arguments: argparse.Namespace, output: Output) -> int:
    async with _collector(arguments) as collector:
        if arguments.json or arguments.once or not _is_terminal():
            return _show(await collector.read(), arguments, output)
        screen = _screen(collector, arguments, output)
        await screen.run_async()
    return 0


def _is_terminal() -> bool:
    return all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout))


def _show(figures: Figures, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.observing.screen import WIDE, lines_of

    if arguments.json:
        output.show(asdict(figures), "")
    else:
        style = Style(sys.stdout)
        room = shutil.get_terminal_size((WIDE, 40)).columns
        output.show_json("\n".join(lines_of(figures, _where(arguments), style, room)))
    is_empty = not (figures.resources or figures.graphs or figures.workers or figures.agents)
    return NOTHING_DONE if is_empty else 0


def _where(arguments: argparse.Namespace) -> str:
    return masked(check_there(arguments))


def _screen(collector: Collector, arguments: argparse.Namespace, output: Output) -> Any:
    """Return the live view.

    Raises:
        MissingPackageError: The extra is not installed.
    """
    from stategraph.errors import MissingPackageError

    try:
        from stategraph.cli.observing.live import TopScreen
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("textual", "rich"):
            raise
        raise MissingPackageError("stategraph[console]", "The live view; 'stategraph top --once' needs none") from error
    del output
    return TopScreen(collector.read, _where(arguments), arguments.interval, expected)


@asynccontextmanager
async def _collector(arguments: argparse.Namespace) -> AsyncIterator[Collector]:
    """Open what a database has, for a block."""
    from stategraph.cli.observing import figures
    from stategraph.errors import ConfigurationError
    from stategraph.fleet.sources.database import DatabaseSource
    from stategraph.resources.store.opening import open_store
    from stategraph.workers.registry.databases import open_database
    from stategraph.workers.registry.runs import RunRegistry

    url = check_there(arguments)
    plain = url.replace("libsql:", "sqlite:", 1) if url.startswith("libsql:") else url  # a file that SQLite reads too
    async with AsyncExitStack() as stack:
        tables = await figures.tables_of(open_database(plain, create=False))
        registry = store = agents = None
        if figures.RUNS in tables:
            registry = RunRegistry.from_url(plain, create=False)
            stack.push_async_callback(registry.aclose)
        if figures.RESOURCES in tables:
            store = open_store(url)
            stack.push_async_callback(store.close)
        if arguments.agents or figures.AGENTS in tables:
            agents = DatabaseSource.from_url(arguments.agents or plain)
            stack.push_async_callback(agents.close)
        if registry is None and store is None and agents is None:
            raise ConfigurationError(
                f"'{masked(url)}' has neither runs nor resources nor agents: name another database with --store"
            )
        yield figures.Collector(registry, store, agents, arguments.window)
