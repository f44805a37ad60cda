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
    command = _command(config, target, sessions, resources, leases)

    async def run(url: str) -> None:
        from stategraph.cli.fleet import Fleet

        # Addresses are not on the command line, as others could read them there.
        variables = {STORE_VARIABLE: url, **({NATS_VARIABLE: nats} if nats else {})}
        await Fleet(command, variables, number, Progress(Output(as_json=False, store=url))).run()

    return run


def _command(
    config: str | None, target: str | None, sessions: str | None, resources: Sequence[str], leases: LeaseSettings
) -> list[str]:
    """Return what starts one process."""
    command = [sys.executable, "-m", "stategraph", "worker", "--drain-at-eof"]
    command += ["--config", config] if config is not None else []
    command += ["--target", target] if target is not None else []
    command += ["--session-of", sessions] if sessions is not None else []
    return [*command, *resources, "--lease", str(leases.lease_s), "--heartbeat", str(leases.heartbeat_s)]


async def _work_in_processes(arguments: argparse.Namespace, leases: LeaseSettings, output: Output) -> int:
    """Execute runs of a server's graphs in several processes; manifests of a folder are stored first, once.

    Raises:
        ConfigurationError: A manifest cannot be read, or the processes are to share the address of their probes.
    """
    from stategraph.cli.fleet import Fleet
    from stategraph.errors import ConfigurationError

    if arguments.probes:
        raise ConfigurationError(
            f"--probes are those of one process, and --workers {arguments.workers} are several: start each by itself, "
            "with an address of its own"
        )
    url, progress = store_of(arguments), Progress(output)
    resources = declared.resources_of(arguments)
    if resources is not None:
        await resources.store(url)
    command = _command(arguments.config, arguments.target, arguments.session_of, declared.words_of(arguments), leases)
    command += ["--app-dir", arguments.app_dir, "--capacity", str(arguments.capacity), "--drain", str(arguments.drain)]
    command += [word for each in arguments.queues or () for word in ("--queue", each)]
    command += ["--json"] if arguments.json else []
    variables = {STORE_VARIABLE: url, **({NATS_VARIABLE: arguments.nats} if arguments.nats else {})}
    fleet = Fleet(command, variables, arguments.workers, progress)
    with obeying_signals(fleet, progress, fleet.end):
        if arguments.drain_at_eof:
            drain_at_eof(fleet)
        await fleet.run()
    return 0


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
    if arguments.workers > 1:
        return await _work_in_processes(arguments, leases, output)
    queues = tuple(arguments.queues or ("default",))
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
        queues=queues,
    )
    if hosting is None:
        return 0
    progress = Progress(output)

    async def run(worker: Worker) -> None:
        with obeying_signals(worker, progress):
            if arguments.drain_at_eof:
                drain_at_eof(worker)
            progress.ready(worker.owner, WorkerSettings(["graph"], queues, arguments.capacity))
            await watched(worker, watch)

    with measured(arguments.probes), probed(arguments.probes, watch, progress):
        await executing(hosting, run, observing(progress, watch))
    return 0
