"""`stategraph dev`: a chat page for an agent or a graph, and LangGraph's API, on this machine."""

from __future__ import annotations

import argparse
import threading
import webbrowser
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from stategraph.cli.output import FAILED, add_threads_store, checked_store, port, write, write_error
from stategraph.cli.programs.targets import CONVERSING, imported
from stategraph.cli.resources import declared

#: Is looked for in the present folder.
_CONFIG: Final = "langgraph.json"


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=f"{CONVERSING} (default: the graphs of a langgraph.json in this folder, else the embedded demo)",
    )
    parser.add_argument("--config", metavar="FILE", help="a langgraph.json; the page talks to its first graph")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=port, help="port; 0: any free one (default: 8123, or the next that is free)")
    add_threads_store(parser, otherwise="that of the settings, else .stategraph/threads.db; 'memory' forgets all")
    parser.add_argument("--files", metavar="TYPE", nargs="+", help="files that may be sent along, such as 'image/*'")
    parser.add_argument(
        "--allowed-host", metavar="NAME", action="append", default=[], help="another name of this server"
    )
    parser.add_argument(
        "--cors",
        metavar="ORIGIN",
        nargs="+",
        default=[],
        help="pages of other origins that may use LangGraph's API, such as 'http://localhost:*'",
    )
    parser.add_argument(
        "--reload", action="store_true", help="start again when a Python file of this folder, or its settings, change"
    )
    parser.add_argument("--edit", action="store_true", help="let the inspector branch, edit and rerun threads")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    declared.add_resources(parser)
    parser.add_argument("--write", action="store_true", help="let the console of resources run, apply and delete them")
    parser.epilog = "Ctrl-C stops the server. Exit code: 0 stopped as asked, 2 it does not work."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop, and return the exit code."""
    return _checked(partial(_run, arguments))


def _run(arguments: argparse.Namespace) -> None:
    declared.check_writes(arguments)
    config = arguments.config
    if config is None and arguments.target is None and Path(_CONFIG).is_file():
        config = _CONFIG
    options = {
        "host": arguments.host,
        "port": arguments.port,
        "store": arguments.store,
        "files": arguments.files,
        "allowed_hosts": arguments.allowed_host,
        "edit": arguments.edit,
        "console": declared.console_of(arguments),
    }
    if arguments.reload:
        serving = partial(serve_page, arguments.target, config=config, origins=arguments.cors, **options)
        _reload(serving, options, open_browser=arguments.open)
    else:
        _serve(arguments.target, config, arguments.cors, {**options, "open_browser": arguments.open})


def _reload(serving: Callable[..., Any], options: Mapping[str, Any], *, open_browser: bool) -> None:
    """Serve in a process that is started again when a file changes."""
    from stategraph.dev import listening, reloading
    from stategraph.dev.serving import listen

    with listen(options["host"], options["port"]) as opened:
        if open_browser:  # who connects waits for the server
            address = listening.address_of(options["host"], opened.getsockname()[1])
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        reloading.serve(serving, opened, Path.cwd())


def serve_page(
    target: str | None, *, config: str | None = None, origins: tuple[str, ...] | list[str] = (), **options: Any
) -> int:
    """Serve the chat page and LangGraph's API, and return the exit code.

    Args:
        target: The import path of what answers; None: the first graph of `config`, else the embedded demo.
        config: A `langgraph.json`.
        origins: Pages of other origins that may use the API.
        **options: As for `stategraph.dev.serve`.
    """
    return _checked(partial(_serve, target, config, origins, options))


def _serve(target: str | None, config: str | None, origins: Any, options: dict[str, Any]) -> None:
    from stategraph.dev import loading, serve  # a second, which the help of other commands does not take
    from stategraph.server.development import application as development

    if options.get("store") != "memory":
        checked_store(options.get("store"))
    path = imported(target).path if target else None
    if config is None or path is not None:
        loaded, found = loading.load(path, options.get("files")), None
    else:
        loaded, found = development.target_of(config, options.get("files"))
    name = development.name_of(path, loaded)
    make = partial(development.application, name=name, config=found, origins=origins)
    serve(loaded, say=write, make=make, **options)


def _checked(serving: Callable[[], None]) -> int:
    """Serve, and return the exit code."""
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        serving()
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        write_error(f"stategraph: {MissingPackageError('stategraph[dev]', 'The development server')}")
        return FAILED
    except (ConfigurationError, MissingPackageError) as error:
        write_error(f"stategraph: {error}")
        return FAILED
    return 0
