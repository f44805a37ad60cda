"""`stategraph dev`: a chat page for an agent or a graph, on this machine."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from stategraph.cli.output import FAILED, checked_store, write
from stategraph.cli.programs.targets import imported


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target", nargs="?", metavar="MODULE:NAME", help="an agent, a graph, or settings (default: the embedded demo)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=_port, help="port; 0: any free one (default: 8123, or the next that is free)")
    parser.add_argument(
        "--store",
        metavar="URL",
        help="database of the sessions; 'memory' forgets them (default: .stategraph/threads.db)",
    )
    parser.add_argument("--files", metavar="TYPE", nargs="+", help="files that may be sent along, such as 'image/*'")
    parser.add_argument(
        "--allowed-host", metavar="NAME", action="append", default=[], help="another name of this server"
    )
    parser.add_argument("--edit", action="store_true", help="let the inspector branch, edit and rerun threads")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.epilog = "Ctrl-C stops the server. Exit code: 0 stopped as asked, 2 it does not work."
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    """Read an argument that is the number of a port, or 0.

    Raises:
        ArgumentTypeError: There is no such port.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"'{text}' is no port; expected a number from 0 to 65535")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop, and return the exit code."""
    return serve_page(
        arguments.target,
        host=arguments.host,
        port=arguments.port,
        store=arguments.store,
        files=arguments.files,
        allowed_hosts=arguments.allowed_host,
        open_browser=arguments.open,
        edit=arguments.edit,
    )


def serve_page(target: str | None, **options: Any) -> int:
    """Serve the chat page, and return the exit code.

    Args:
        target: The import path of what answers; None: the embedded demo.
        **options: As for `stategraph.dev.serve`.
    """
    from stategraph.dev import serve  # a second, which the help of other commands does not take
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        if options.get("store") != "memory":
            checked_store(options.get("store"))
        serve(imported(target).path if target else None, say=write, **options)
    except (ConfigurationError, MissingPackageError) as error:
        print(f"stategraph: {error}", file=sys.stderr)
        return FAILED
    return 0
