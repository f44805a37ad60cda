"""`stategraph serve`: graphs and agents over HTTP, for LangGraph's clients and those of other protocols."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stategraph.cli.output import (
    Output,
    add_nats,
    add_probes,
    add_threads_store,
    checked_store,
    plain_command,
    port,
    positive,
    write,
)
from stategraph.cli.programs.targets import CONVERSING, imported
from stategraph.cli.resources import declared

if TYPE_CHECKING:
    from stategraph.server.serving import Execution
    from stategraph.server.settings import Announcement, Settings

#: Has the token of the server: a command line can be read by every user of the machine.
TOKEN_VARIABLE: Final = "STATEGRAPH_TOKEN"

_TOKEN: Final = (
    "give it a token that requests have to have, such as the output of "
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
)

_DEFAULT_PORT: Final = 2024

#: Is looked for in the present folder.
_CONFIG: Final = "langgraph.json"


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=f"{CONVERSING}; also served by the Run API (default: what --config names, else the embedded demo)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a langgraph.json: graphs, environment, store, auth, http (default: that of this folder, if there is "
        "one and no TARGET)",
    )
    declared.add_resources(parser, only=True)
    parser.add_argument("--settings", metavar="FILE", help="settings of the server in TOML: who is let in, limits")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; one that other machines reach needs a token in the environment variable "
        f"{TOKEN_VARIABLE}, or [auth] in the settings (default: %(default)s)",
    )
    parser.add_argument("--port", type=port, default=_DEFAULT_PORT, help="port; 0: any free one (default: %(default)s)")
    add_threads_store(parser, otherwise="that of the settings, else .stategraph/threads.db; 'memory' forgets all")
    add_nats(parser)
    parser.add_argument(
        "--announce",
        metavar="ADDRESS",
        help="register the agents in the directory of --nats, else in that of --store, under this address of the "
        "server, such as https://host-1.example.com:2024",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=0,
        metavar="N",
        help="processes that execute the runs of the protocols; 0: the server does by itself (default: %(default)s)",
    )
    parser.add_argument(
        "--capacity",
        type=_workers,
        metavar="N",
        help="runs that the server executes at a time; 0: other processes do, see 'stategraph worker' (default: 100)",
    )
    parser.add_argument("--files", metavar="TYPE", nargs="+", help="files that may be sent along, such as 'image/*'")
    parser.add_argument(
        "--protocols",
        metavar="NAME",
        nargs="+",
        help="those that are served: runs, langgraph, agui, vercel, openai, a2a, mcp (default: all)",
    )
    parser.add_argument(
        "--cors", metavar="ORIGIN", nargs="+", help="pages that may use the server, such as 'http://localhost:*'"
    )
    parser.add_argument(
        "--allowed-host",
        metavar="NAME",
        action="append",
        default=[],
        help="another name of this server, where it asks nobody who they are; several times",
    )
    parser.add_argument(
        "--drain",
        type=_seconds,
        metavar="S",
        help="seconds that runs have to end when the server is told to stop (default: 30)",
    )
    add_probes(parser)
    parser.add_argument("--access-log", action="store_true", help="write a line for each request to standard error")
    parser.add_argument(
        "--i-know-this-is-open", action="store_true", help="let other machines in without asking who they are"
    )
    parser.epilog = (
        "SIGTERM or Ctrl-C stops the server, a second one its runs at once. With a token in the environment variable "
        f"{TOKEN_VARIABLE} every request has it, as 'Authorization: Bearer TOKEN'. Exit code: 0 stopped as asked, 2 it "
        "does not work."
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    """Read an argument that is a number of seconds.

    Raises:
        ArgumentTypeError: It is less than 0, or no number.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop, and return the exit code."""
    return plain_command(_serve, arguments, as_json=False)


def _workers(text: str) -> int:
    """Read an argument that is a number, 0 or more."""
    return 0 if text == "0" else positive(text)


def _serve(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.operating.watching import measured
    from stategraph.errors import ConfigurationError
    from stategraph.server import serve
    from stategraph.server.serving import OpenServerError

    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and not token.strip():
        raise ConfigurationError(
            f"The environment variable {TOKEN_VARIABLE} is set, and empty: {_TOKEN}, or unset it for a server without "
            "a token that only this machine reaches"
        )
    output.log_to_stderr()
    if arguments.access_log:
        _show_access_log()
    settings = _settings(arguments)
    if settings.resources is not None:
        declared.take(arguments, settings.resources)
        settings = replace(settings, resources=None)
    config = arguments.config
    if config is None and arguments.target is None and arguments.resources is None and Path(_CONFIG).is_file():
        config = _CONFIG
    target = imported(arguments.target).path if arguments.target else None
    try:
        with measured(arguments.probes or settings.probes):
            serve(
                target,
                config=config,
                host=arguments.host,
                port=arguments.port,
                token=token,
                store=arguments.store if arguments.store == "memory" else checked_store(arguments.store),
                files=arguments.files,
                drain_s=arguments.drain,
                settings=settings,
                is_open=arguments.i_know_this_is_open,
                execution=_execution(arguments, config, target, settings),
                resources=declared.resources_of(arguments),
                say=write,
            )
    except OpenServerError as error:
        raise ConfigurationError(
            f"Other machines reach '{arguments.host}': set the environment variable {TOKEN_VARIABLE}: {_TOKEN}; or "
            "write [auth] into --settings; or let everybody in with --i-know-this-is-open"
        ) from error
    return 0


def _execution(arguments: argparse.Namespace, config: str | None, target: str | None, settings: Settings) -> Execution:
    """Return what executes the runs: processes of workers, if there are to be any."""
    from stategraph.server.serving import Execution

    if not arguments.workers:
        return Execution(capacity=arguments.capacity)
    if arguments.capacity:
        from stategraph.errors import ConfigurationError

        raise ConfigurationError(
            f"--workers {arguments.workers} execute the runs, so --capacity {arguments.capacity} would have no effect: "
            "leave one of them out"
        )
    from stategraph.cli.served import processes

    sessions = settings.sessions if isinstance(settings.sessions, str) else None
    beside = processes(
        arguments.workers,
        config=config,
        target=target,
        leases=settings.leases,
        sessions=sessions,
        resources=declared.words_of(arguments),
        nats=settings.nats,
    )
    return Execution(capacity=0, beside=beside)


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of a file, and over them those of the command line.

    Raises:
        ConfigurationError: They cannot be read, or make no sense.
        MissingPackageError: The extra `server` is not installed.
    """
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        from stategraph.server import configuring
        from stategraph.server.settings import PROTOCOLS, Settings
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "anyio"):
            raise
        raise MissingPackageError("stategraph[server]", "The server") from error

    settings = configuring.read(arguments.settings) if arguments.settings else Settings()
    if unknown := [each for each in arguments.protocols or () if each not in PROTOCOLS]:
        raise ConfigurationError(f"--protocols: there is no {unknown[0]!r}; known are {', '.join(PROTOCOLS)}")
    return replace(
        settings,
        protocols=tuple(arguments.protocols or settings.protocols),
        cors=tuple(arguments.cors or settings.cors),
        allowed_hosts=(*settings.allowed_hosts, *arguments.allowed_host),
        access_log=settings.access_log or arguments.access_log,
        probes=arguments.probes or settings.probes,
        nats=arguments.nats or settings.nats,
        announce=_announcement(arguments.announce) if arguments.announce else settings.announce,
    )


def _announcement(address: str) -> Announcement:
    from stategraph.errors import ConfigurationError
    from stategraph.server.configuring import settings_of

    try:
        found = settings_of({"announce": {"url": address}}, Path()).announce
    except ConfigurationError as error:
        raise ConfigurationError(f"--announce: {error}") from None
    assert found is not None
    return found


def _show_access_log() -> None:
    """Write the log of requests to standard error, a line for each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("stategraph.server.access_log")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
