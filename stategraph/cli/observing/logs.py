"""`stategraph logs`: what the runs of a resource told, from the event log of the registry.

It reads the database alone: runs of any process are there, also of resources that are reconciled elsewhere. Values of
Secrets, and what looks like one, are not shown.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from stategraph.cli.output import NOTHING_DONE, Output, positive
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_namespace, found_at, key_of, kinds_in
from stategraph.cli.resources.durations import seconds
from stategraph.cli.resources.opening import add_store, check_there, opened_store, run_on_resources
from stategraph.cli.style import Style

if TYPE_CHECKING:
    from stategraph.cli.observing.selecting import Selection
    from stategraph.cli.observing.told import Lines, Told
    from stategraph.resources.model import Resource
    from stategraph.resources.store.port import ResourceStore
    from stategraph.workers.registry.runs import RunRegistry
    from stategraph.workers.registry.values import RunInfo

#: Runs that are shown unless a time or a number is said.
_RUNS: Final = 10

#: Runs that are looked at, to find those of a Schedule among those of its graph.
_LOOKED_AT: Final = 1_000

#: Seconds between two looks for new events.
_LOOK_S: Final = 0.5

_EVER_S: Final = 1e9


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "resource",
        metavar="KIND/NAME",
        help="an agent, a workflow, a network, a schedule, a tool or a system, as 'workflow/nightly'",
    )
    add_namespace(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on, and print what is told, also by new runs")
    parser.add_argument(
        "--since", type=seconds, metavar="TIME", help="what was told in this time, as in 10m (default: all)"
    )
    parser.add_argument("--run", dest="run_id", metavar="ID", help="of one run; the end of its id is enough")
    parser.add_argument(
        "--runs", type=positive, metavar="N", help=f"of so many runs, the newest (default: {_RUNS}; all with --since)"
    )
    parser.add_argument("--tail", type=positive, metavar="N", help="so many events, the newest (default: all)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each event, with all of it")
    add_store(parser)
    parser.epilog = (
        "Exit code: 0 done, 1 nothing was told, 2 there is no such resource, or it has no runs. "
        "See docs/resource-commands.md."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what runs told, and return the exit code."""
    return run_on_resources(_logs, arguments, as_json=arguments.json)


async def _logs(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.observing.hiding import hiding, unknown
    from stategraph.cli.observing.told import Lines
    from stategraph.workers.registry.runs import RunRegistry

    url = check_there(arguments)
    registry = RunRegistry.from_url(url, create=False)
    try:
        async with opened_store(arguments) as store:
            selection, everything = await _selected(store, registry, arguments)
        style = Style(sys.stdout)
        room = shutil.get_terminal_size().columns if style.is_terminal else None
        reader = Reader(registry, selection, arguments.run_id, arguments.runs)
        if names := unknown(everything):
            output.complain(
                f"stategraph: the values of {', '.join(names)} cannot be read here, so they are not known where a run "
                "told them: set them as where the runs are executed"
            )
        with hiding(everything) as redactor:
            lines = Lines(selection, redactor, style, room, names=len(set(selection.targets.values())) > 1)
            return await _show(reader, lines, arguments, output)
    finally:
        await registry.aclose()


async def _selected(
    store: ResourceStore, registry: RunRegistry, arguments: argparse.Namespace
) -> tuple[Selection, Sequence[Resource]]:
    """Return the runs that are asked for, and everything that is declared.

    Raises:
        ConfigurationError: There is no such resource, or it is of a kind that has no runs.
    """
    from stategraph.cli.observing.selecting import KINDS, selection_of
    from stategraph.errors import ConfigurationError
    from stategraph.resources.manifests.describing import Around

    kinds = await kinds_in(store)
    key = key_of(arguments.resource, arguments.namespace, kinds)
    if key.kind not in KINDS:
        raise ConfigurationError(
            f"A {key.kind} has no runs. Those of {', '.join(f'{each}s' for each in KINDS)} are shown; "
            f"'stategraph describe {key}' says how it is"
        )
    everything = (await store.snapshot()).resources
    resource = next((each for each in everything if each.key == key), None)
    selection = selection_of(key, resource, everything, Around(everything, kinds))
    if resource is None and not await registry.overview.of_targets(list(selection.targets), _EVER_S, 1):
        await found_at(store, key)  # says what is spelled nearly so
    return selection, everything


async def _show(reader: Reader, lines: Lines, arguments: argparse.Namespace, output: Output) -> int:
    since = None if arguments.since is None else time.time() - arguments.since
    found = [each for each in await reader.stored(since) if lines.is_about(each)]
    for each in found[-arguments.tail :] if arguments.tail else found:
        _print(each, lines, arguments, output)
    if arguments.follow:
        async for each in reader.following(since):
            if lines.is_about(each):
                _print(each, lines, arguments, output)
    if not found:
        output.complain(f"{lines.selection.key} has told nothing{'' if since is None else ' in that time'}.")
    return 0 if found else NOTHING_DONE


def _print(told: Told, lines: Lines, arguments: argparse.Namespace, output: Output) -> None:
    from stategraph.cli.observing.told import dumped

    for line in [dumped(lines.as_json(told))] if arguments.json else lines.of(told):
        output.show_json(line)


class Reader:
    """Reads the events of the runs of a selection.

    Args:
        registry: Has the runs.
        selection: Which of them.
        run_id: Only the run whose id ends so; None: all.
        runs: Only so many, the newest; None: the usual number, or all where a time is said.
    """

    def __init__(self, registry: RunRegistry, selection: Selection, run_id: str | None, runs: int | None) -> None:
        self._registry = registry
        self._selection = selection
        self._run_id = run_id
        self._number = runs
        self._read: dict[str, int] = {}
        self._ended: set[str] = set()

    async def stored(self, since: float | None) -> list[Told]:
        """Return what is stored, in the order in which it was told.

        Args:
            since: Leave out what was told before, in seconds since 1970; None: nothing.
        """
        runs = await self._runs(since)
        number = self._number or (None if since is not None else _RUNS)
        chosen = runs if number is None or self._run_id else runs[-number:]
        self._ended |= {each.run_id for each in runs if each not in chosen}
        found = [told for each in chosen for told in await self._events(each)]
        return sorted((each for each in found if since is None or each.at >= since), key=lambda each: each.at)

    async def following(self, since: float | None) -> AsyncIterator[Told]:
        """Yield what is told from now on, also by runs that begin; never ends by itself."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for each in await self._runs(since):
                if each.run_id not in self._ended:
                    for told in await self._events(each):
                        yield told

    async def _runs(self, since: float | None) -> list[RunInfo]:
        """Return the runs that are meant, the oldest first.

        Raises:
            ConfigurationError: One was named, and there is none.
        """
        from stategraph.errors import ConfigurationError

        past = _EVER_S if since is None else max(0.0, time.time() - since)
        found = await self._registry.overview.of_targets(list(self._selection.targets), past, _LOOKED_AT)
        found = [each for each in found if self._selection.takes(each)]
        if self._run_id is None:
            return found
        chosen = [each for each in found if each.run_id.endswith(self._run_id)]
        if not chosen:
            newest = ", ".join(each.run_id for each in found[-3:]) or "none"
            raise ConfigurationError(f"{self._selection.key} has no run '{self._run_id}'; its newest runs: {newest}")
        return chosen

    async def _events(self, run: RunInfo) -> Sequence[Told]:
        """Return what a run has told since it was read last."""
        from stategraph.cli.observing.told import Told
        from stategraph.workers.eventlog import logged

        found = []
        while rows := await self._registry.overview.events(run.run_id, self._read.get(run.run_id, 0)):
            for each in rows:
                event = logged(self._registry, run.run_id, each.row)
                found.append(Told(run, self._selection.targets[run.target], event, each.at))
            self._read[run.run_id] = rows[-1].row[0]
        if run.finished_at is not None:  # what it told last was stored with its end
            self._ended.add(run.run_id)
        return found
