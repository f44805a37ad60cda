"""`stategraph agents serve`: an agent of another framework, served over A2A in the framework's own environment."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stategraph.cli.output import Output, positive

if TYPE_CHECKING:
    from stategraph.fleet.adapters.supervisor import Started, Supervisor
    from stategraph.fleet.directory import Directory

#: The token that clients of the agent have to show.
TOKEN_VARIABLE: Final = "STATEGRAPH_ADAPTER_TOKEN"


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "framework",
        metavar="FRAMEWORK",
        help="adk, autogen, crewai, langchain, langgraph, mastra, openai_agents, semantic_kernel or custom",
    )
    parser.add_argument("target", metavar="TARGET", help="the agent: package.module:attribute, or file.mjs:attribute")
    parser.add_argument("--name", default="", help="its name (default: the attribute)")
    parser.add_argument(
        "--runtime", default="", metavar="PROGRAM", help="Python or Node of the framework's environment (default: this)"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where it runs, and modules are looked for first")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    parser.add_argument("--url", default="", help="address by which clients reach it (default: that of the port)")
    parser.add_argument("--instances", type=positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--register", action="store_true", help="keep it registered in the directory while it runs")
    parser.add_argument("--weight", type=int, default=1, metavar="N", help="its share of requests (default: 1)")
    parser.add_argument(
        "--capability", action="append", default=[], metavar="NAME", help="what it can do; may be given several times"
    )
    parser.add_argument(
        "--drain", type=float, default=30.0, metavar="S", help="seconds for turns to end at the end (default: 30)"
    )
    parser.add_argument(
        "--restarts",
        type=int,
        default=5,
        metavar="N",
        help="times that a process may end within 5 minutes (default: 5)",
    )
    parser.epilog = (
        "The framework's environment needs stategraph without its dependencies (pip install --no-deps stategraph), "
        f"a2a-sdk[http-server] and uvicorn, see docs/frameworks.md. With {TOKEN_VARIABLE} set, requests have to "
        "show that token; other addresses than this machine's need one. Exit code: 0 it was told to stop, 2 the agent "
        "cannot be served, or its process ended too often."
    )


async def serve(directory: Directory | None, arguments: argparse.Namespace, output: Output) -> int:
    """Serve an agent until the process is told to stop, and return the exit code."""
    from stategraph.fleet.adapters.launching import Asked, launch
    from stategraph.fleet.adapters.port import AdapterError
    from stategraph.fleet.adapters.supervisor import Restarts, Supervisor
    from stategraph.fleet.endpoint import AgentEndpoint

    name = arguments.name or arguments.target.rpartition(":")[2]
    if arguments.instances > 1 and (arguments.port or arguments.url):
        return output.fail(AdapterError("Several processes cannot have one port or URL: leave out --port and --url"))

    def endpoint(url: str) -> AgentEndpoint:
        return AgentEndpoint(agent=name, url=url, weight=arguments.weight, capabilities=frozenset(arguments.capability))

    def tell(what: str, about: Started | str) -> None:
        if isinstance(about, str):
            output.complain(about)
            return
        said = f"'{name}' is served at {about.url}" if what == "ready" else f"'{name}' at {about.url} is gone"
        output.show({"event": what, "agent": name, "url": about.url, "pid": about.pid, "instance": about.number}, said)

    asked = Asked(
        framework=arguments.framework,
        target=arguments.target,
        name=name,
        runtime=arguments.runtime,
        folder=arguments.folder,
        host=arguments.host,
        port=arguments.port,
        url=arguments.url,
        token=os.environ.get(TOKEN_VARIABLE, ""),
        drain_s=arguments.drain,
    )
    try:
        supervisor = Supervisor(
            launch(asked),
            instances=arguments.instances,
            directory=directory,
            endpoint=endpoint,
            restarts=Restarts(arguments.restarts),
            tell=tell,
        )
        with _stopped_by_signals(supervisor):
            await supervisor.run()
    except AdapterError as error:
        return output.fail(error)
    return 0


@contextlib.contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, supervisor.stop)
    try:
        yield
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
