"""`stategraph dev`: a chat page for an agent or a graph, on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from stategraph.cli.output import FAILED, add_threads_store, checked_store, port, write, write_error
from stategraph.cli.programs.targets import CONVERSING, imported


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("target", nargs="?", metavar="TARGET", help=f"{CONVERSING} (default: the embedded demo)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=port, help="port; 0: any free one (default: 8123, or the next that is free)")
    add_threads_store(parser, otherwise="that of the settings, else .stategraph/threads.db; 'memory' forgets all")
    parser.add_argument("--files", metavar="TYPE", nargs="+", help="files that may be sent along, such as 'image/*'")
    parser.add_argument(
        "--allowed-host", metavar="NAME", action="append", default=[], help="another name of this server"
    )
    parser.add_argument("--edit", action="store_true", help="let the inspector branch, edit and rerun threads")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.epilog = "Ctrl-C stops the server. Exit code: 0 stopped as asked, 2 it does not work."
    parser.set_defaults(run=run)


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
        write_error(f"stategraph: {error}")
        return FAILED
    return 0
