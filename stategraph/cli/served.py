"""Workers that execute the runs of a server: they know the same graphs by the same names.

`stategraph serve --workers 4` starts such processes; `stategraph worker --config langgraph.json --store URL` is one, on
this machine or on another.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from stategraph.cli.output import NATS_VARIABLE, STORE_VARIABLE, Output, add_probes, store_of
from stategraph.cli.progress import Progress
from stategraph.cli.resources import declared
from stategraph.cli.stopping import drain_at_eof, obeying_signals

if TYPE_CHECKING:
    from stategraph.workers.leases import LeaseSettings
    from stategraph.workers.worker import Worker


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments that say where graphs are, and where the process is watched."""
    parser.add_argument("--app-dir", default=".", metavar="DIR", help="where those modules are (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="execute runs of a server's graphs, those of a langgraph.json")
    parser.add_argument("--target", metavar="TARGET", help="execute runs of a server's target, as 'serve' takes it")
    declared.add_resources(parser, allows=True, only=True)
    add_probes(parser)


def processes(
    number: int,
    *,
    config: str | None,
    target: str | None,
    leases: LeaseSettings,
    sessions: str | None = None,
    resources: Sequence[str] = (),
    nats: str = "",
) -> Callable[[str], Awaitable[None]]:
    """Return what keeps processes of workers running for the database of a server, until it is cancelled.

    Args:
        number: How many.
        config: The server's langgraph.json.
        target: The import path of the server's target.
        sessions: Where that is which makes the sessions of runs; None: they have none.
        leases: How long their leases last.
        resources: Options that say what is declared, as `serve` takes them.
        nats: The address of the server's NATS server; empty: it has none.
    """
    command = [sys.executable, "-m", "stategraph", "worker", "--drain-at-eof"]
    command += ["--config", config] if config is not None else []
    command += ["--target", target] if target is not None else []
    command += ["--session-of", sessions] if sessions is not None else []
    command += resources
    command += ["--lease", str(leases.lease_s), "--heartbeat", str(leases.heartbeat_s)]

    async def run(url: str) -> None:
        from stategraph.cli.fleet import Fleet

        # Addresses are not on the command line, as others could read them there.
        variables = {STORE_VARIABLE: url, **({NATS_VARIABLE: nats} if nats else {})}
        await Fleet(command, variables, number, Progress(Output(as_json=False, store=url))).run()

    return run


async def work(arguments: argparse.Namespace, output: Output) -> int:
    """Execute runs of a server's graphs until told to stop, and return the exit code."""
    from stategraph.cli.operating.watching import measured, observing, probed, watched
    from stategraph.server.application import Served, graphs_of, name_of, sessions_of
    from stategraph.server.hosting import executing
    from stategraph.server.settings import Settings
    from stategraph.workers.leases import LeaseSettings
    from stategraph.workers.watching.watch import Watch
    from stategraph.workers.worker import WorkerSettings

    heartbeat_s = arguments.lease / 3 if arguments.heartbeat is None else arguments.heartbeat
    leases = LeaseSettings(lease_s=arguments.lease, heartbeat_s=heartbeat_s)
    loaded = None
    if arguments.target is not None:
        from stategraph.dev import loading

        loaded = loading.load(arguments.target)
    resources = declared.resources_of(arguments)
    watch = Watch() if arguments.probes else None
    served = Served(loaded, graphs_of(arguments.config), name_of(arguments.target, loaded), Settings(), resources)
    hosting = served.hosting(
        store_of(arguments),
        capacity=arguments.capacity,
        drain_s=arguments.drain,
        leases=leases,
        sessions=sessions_of(arguments.session_of),
        watch=watch,
        nats=arguments.nats or "",
    )
    if hosting is None:
        return 0
    progress = Progress(output)

    async def run(worker: Worker) -> None:
        with obeying_signals(worker, progress):
            if arguments.drain_at_eof:
                drain_at_eof(worker)
            progress.ready(worker.owner, WorkerSettings(allow=["graph"], capacity=arguments.capacity))
            await watched(worker, watch)

    with measured(arguments.probes), probed(arguments.probes, watch, progress):
        await executing(hosting, run, observing(progress, watch))
    return 0
