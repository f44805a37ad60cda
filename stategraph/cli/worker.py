"""`stategraph worker`: one or more processes that execute the runs of a database until they are told to stop.

With a NATS server and no database, the jobs of pools instead (`jobs`).

Signals
-------
* SIGTERM or SIGINT (Ctrl-C): nothing more is claimed, and runs have time to end (`--drain`).
* The second one: runs are cancelled and given back; other workers go on from their checkpoints.
* The third one kills the process, and all processes of a fleet, whatever they do. What they had is claimed by others
  when their leases have run out.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stategraph.cli import served
from stategraph.cli.jobs import work_on_jobs
from stategraph.cli.output import (
    NATS_VARIABLE,
    STORE_VARIABLE,
    Output,
    add_store,
    positive,
    run_command,
    store_of,
)
from stategraph.cli.progress import Progress
from stategraph.cli.stopping import drain_at_eof, obeying_signals

if TYPE_CHECKING:
    from stategraph.workers.leases import LeaseSettings
    from stategraph.workers.registry.runs import RunRegistry
    from stategraph.workers.worker import WorkerSettings


DEFAULT_POLL_S: Final = 0.5
DEFAULT_HEARTBEAT_S: Final = 5.0

_OF_RUNS: Final = ("graph_version", "poll", "heartbeat", "session_of", "probes")
_OF_JOBS: Final = ("tenant", "pass_environment", "memory_limit", "max_jobs")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_store(parser)
    parser.add_argument(
        "--allow",
        metavar="MODULE",
        nargs="+",
        action="extend",
        default=[],
        help="modules that graphs may be imported from, each with all modules in it; nothing else is imported",
    )
    served.prepare(parser)
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument(
        "--capacity",
        type=positive,
        default=10,
        metavar="N",
        help="runs at a time in each process (default: %(default)s)",
    )
    parser.add_argument(
        "--queue",
        metavar="NAME",
        action="append",
        dest="queues",
        help="a queue to claim from; several in the order of their importance (default: default)",
    )
    parser.add_argument("--graph-version", metavar="V", help="leave runs of another version of the graphs alone")
    parser.add_argument(
        "--session-of",
        metavar="MODULE:FUNCTION",
        help="makes the session of a run; of an allowed module, or with --config the sessions of the server",
    )
    parser.add_argument(
        "--poll", type=float, metavar="S", help=f"seconds between looks for runs (default: {DEFAULT_POLL_S})"
    )
    parser.add_argument(
        "--drain", type=float, default=30.0, metavar="S", help="time that runs have to end in (default: %(default)s)"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=15.0,
        metavar="S",
        help="seconds without a heartbeat after which others may claim a run (default: %(default)s)",
    )
    parser.add_argument(
        "--heartbeat",
        type=float,
        metavar="S",
        help=f"seconds between heartbeats; less than half of the lease (default: {DEFAULT_HEARTBEAT_S})",
    )
    parser.add_argument(
        "--tenant", default="", metavar="NAME", help="with --nats and without --store: whose jobs it takes"
    )
    parser.add_argument(
        "--pass-environment",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="with --nats and without --store: variables that job processes get besides the usual ones, such as keys",
    )
    parser.add_argument(
        "--memory-limit",
        type=positive,
        metavar="MIB",
        help="with --nats and without --store: resident memory above which a process is replaced, at twice killed",
    )
    parser.add_argument(
        "--max-jobs",
        type=positive,
        metavar="N",
        help="with --nats and without --store: jobs after which a process is replaced",
    )
    parser.add_argument("--drain-at-eof", action="store_true", help="drain when standard input ends, too")
    parser.epilog = (
        "SIGTERM or SIGINT drains, a second one gives the runs back and stops, a third one kills. Exit code: 0 stopped "
        "as asked, 2 it does not work."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Execute runs until told to stop, and return the exit code."""
    return run_command(_run, arguments, in_background=True)


async def _run(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError
    from stategraph.workers.leases import LeaseSettings
    from stategraph.workers.registry.runs import RunRegistry
    from stategraph.workers.worker import WorkerSettings

    if any(each is not None for each in (arguments.config, arguments.target, arguments.resources)):
        _refuse(arguments, (*_OF_JOBS, "graph_version", "poll"), "runs of a server's graphs")
        return await served.work(arguments, output)
    if not arguments.allow:
        raise ConfigurationError("A worker imports only what it is told to: name the modules with --allow my_app")
    if arguments.nats and not arguments.store:
        _refuse(arguments, _OF_RUNS, "runs of a database, and there is no --store")
        _look_for_modules(arguments.allow, arguments.app_dir)
        return await work_on_jobs(arguments, output)
    _refuse(arguments, _OF_JOBS, "jobs over NATS, and with --store the worker takes runs alone")
    url = store_of(arguments)
    settings = WorkerSettings(
        allow=arguments.allow,
        queues=tuple(arguments.queues or ("default",)),
        capacity=arguments.capacity,
        version=arguments.graph_version,
        poll_s=DEFAULT_POLL_S if arguments.poll is None else arguments.poll,
        drain_s=arguments.drain,
    )
    heartbeat_s = DEFAULT_HEARTBEAT_S if arguments.heartbeat is None else arguments.heartbeat
    leases = LeaseSettings(lease_s=arguments.lease, heartbeat_s=heartbeat_s)
    _look_for_modules(arguments.allow, arguments.app_dir)
    if arguments.probes and arguments.workers > 1:
        raise ConfigurationError(
            f"--probes are those of one process, and --workers {arguments.workers} are several: start each by itself, "
            "with an address of its own"
        )
    progress = Progress(output)
    registry = RunRegistry.from_url(url, settings=leases, bus=arguments.nats)
    try:
        await registry.set_up()
        if arguments.workers == 1:
            return await _work(url, registry, settings, progress, arguments)
    finally:
        await registry.aclose()
    return await _work_in_processes(url, arguments, settings, leases, progress)


def _refuse(arguments: argparse.Namespace, names: Sequence[str], purpose: str) -> None:
    """Refuse options that would have no effect.

    Raises:
        ConfigurationError: One was given.
    """
    from stategraph.errors import ConfigurationError

    given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) not in (None, "", [])]
    if given:
        raise ConfigurationError(f"{' and '.join(given)} would have no effect: it is for {purpose}. Leave it out")


async def _work(
    url: str, registry: RunRegistry, settings: WorkerSettings, progress: Progress, arguments: argparse.Namespace
) -> int:
    """Execute runs in this process."""
    from stategraph.cli.operating.watching import measured, observing, probed, watched
    from stategraph.savers.urls import saver_at
    from stategraph.workers.references import Targets
    from stategraph.workers.watching.watch import Watch
    from stategraph.workers.worker import Worker

    session_of = None if arguments.session_of is None else Targets(settings.allow).load(arguments.session_of)
    watch = Watch() if arguments.probes else None
    with measured(arguments.probes), probed(arguments.probes, watch, progress):
        async with saver_at(url) as saver, nullcontext() if watch is None else watch.watching(registry.operations):
            worker = Worker(registry, saver, settings, observing(progress, watch), session_of)
            with obeying_signals(worker, progress):
                if arguments.drain_at_eof:
                    drain_at_eof(worker)
                progress.ready(worker.owner, settings)
                await watched(worker, watch)
    health = worker.health()
    progress.tell("stopped", f"stopped: {health.finished} ended here, {health.lost} lost", **asdict(health))
    return 0


async def _work_in_processes(
    url: str, arguments: argparse.Namespace, settings: WorkerSettings, leases: LeaseSettings, progress: Progress
) -> int:
    """Execute runs in processes of their own."""
    from stategraph.cli.fleet import Fleet

    addresses = {STORE_VARIABLE: url, **({NATS_VARIABLE: arguments.nats} if arguments.nats else {})}
    fleet = Fleet(_command(arguments, settings, leases), addresses, arguments.workers, progress)
    with obeying_signals(fleet, progress, fleet.end):
        if arguments.drain_at_eof:
            drain_at_eof(fleet)
        await fleet.run()
    return 0


def _command(arguments: argparse.Namespace, settings: WorkerSettings, leases: LeaseSettings) -> list[str]:
    """Return the command line of one process; the database's address is not in it, as others could read it there."""
    given: list[object] = [sys.executable, "-m", "stategraph", "worker", "--drain-at-eof"]
    given += ["--allow", *settings.allow, "--app-dir", arguments.app_dir, "--capacity", settings.capacity]
    given += ["--poll", settings.poll_s, "--drain", settings.drain_s]
    given += ["--lease", leases.lease_s, "--heartbeat", leases.heartbeat_s]
    for queue in settings.queues:
        given += ["--queue", queue]
    if settings.version is not None:
        given += ["--graph-version", settings.version]
    if arguments.session_of is not None:
        given += ["--session-of", arguments.session_of]
    return [str(each) for each in (*given, *(["--json"] if arguments.json else []))]


def _look_for_modules(modules: Sequence[str], app_dir: str) -> None:
    """Put the program's folder on the import path, and look whether its modules are there.

    Raises:
        ConfigurationError: One is not.
    """
    from stategraph.errors import ConfigurationError

    folder = str(Path(app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"The module '{module}' cannot be found: {error}") from error
        if found is None:
            raise ConfigurationError(
                f"There is no module '{module}' in '{folder}' or elsewhere on the import path: name its folder with "
                "--app-dir"
            )
