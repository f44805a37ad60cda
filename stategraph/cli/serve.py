"""`stategraph serve`: the run API over HTTP, for backends and scripts."""

from __future__ import annotations

import argparse
import os
from typing import Final

from stategraph.cli.output import Output, add_threads_store, checked_store, plain_command, port, write
from stategraph.cli.programs.targets import CONVERSING, imported

#: Has the token of the server: a command line can be read by every user of the machine.
TOKEN_VARIABLE: Final = "STATEGRAPH_TOKEN"

_TOKEN: Final = (
    "give it a token that requests have to have, such as the output of "
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
)

_DEFAULT_PORT: Final = 8000
_DEFAULT_DRAIN_S: Final = 30.0


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("target", nargs="?", metavar="TARGET", help=f"{CONVERSING} (default: the embedded demo)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; one that other machines reach needs a token in the environment variable "
        f"{TOKEN_VARIABLE} (default: %(default)s)",
    )
    parser.add_argument("--port", type=port, default=_DEFAULT_PORT, help="port; 0: any free one (default: %(default)s)")
    add_threads_store(parser, otherwise="that of the settings, else .stategraph/threads.db; 'memory' forgets all")
    parser.add_argument("--files", metavar="TYPE", nargs="+", help="files that may be sent along, such as 'image/*'")
    parser.add_argument(
        "--drain",
        type=_seconds,
        default=_DEFAULT_DRAIN_S,
        metavar="S",
        help="seconds that runs have to end when the server is told to stop (default: %(default)s)",
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


def _serve(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.dev.listening import is_loopback
    from stategraph.errors import ConfigurationError
    from stategraph.server import serve

    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and not token.strip():
        raise ConfigurationError(
            f"The environment variable {TOKEN_VARIABLE} is set, and empty: {_TOKEN}, or unset it for a server without "
            "a token that only this machine reaches"
        )
    if token is None and not is_loopback(arguments.host):
        raise ConfigurationError(
            f"Other machines reach '{arguments.host}': set the environment variable {TOKEN_VARIABLE}: {_TOKEN}"
        )
    output.log_to_stderr()
    serve(
        imported(arguments.target).path if arguments.target else None,
        host=arguments.host,
        port=arguments.port,
        token=token,
        store=arguments.store if arguments.store == "memory" else checked_store(arguments.store),
        files=arguments.files,
        drain_s=arguments.drain,
        say=write,
    )
    return 0
