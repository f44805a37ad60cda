"""`python -m stategraph.fleet.adapters`: serve an agent of a framework over A2A, in the framework's environment.

`stategraph agents serve` starts this with the Python of that environment, keeps it running and registers it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from stategraph.fleet.adapters.port import AdapterError
from stategraph.fleet.adapters.ready import TOKEN_VARIABLE, UNUSABLE


def main(given: list[str] | None = None) -> int:
    """Serve an agent and return the exit code."""
    arguments = _parser().parse_args(given)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("stategraph").setLevel(logging.INFO)
    try:
        from stategraph.fleet.adapters import loading, serving
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"{error.name!r} is not installed in {sys.prefix}: an adapter needs a2a-sdk[http-server] and uvicorn\n"
        )
        return UNUSABLE
    out = sys.stdout
    sys.stdout = sys.stderr  # frameworks print; standard output is for the line that says that the agent is ready

    def say(line: str) -> None:
        out.write(f"{line}\n")
        out.flush()

    try:
        adapter = loading.load(arguments.framework, arguments.target)
        settings = serving.Serving(
            name=arguments.name or arguments.target.partition(":")[2],
            host=arguments.host,
            port=arguments.port,
            url=arguments.url,
            token=os.environ.pop(TOKEN_VARIABLE, ""),
            drain_s=arguments.drain,
            with_parent=arguments.with_parent,
            most_conversations=arguments.conversations,
        )
        serving.serve(adapter, settings, say)
    except AdapterError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stategraph.fleet.adapters", description=__doc__.split("\n")[0])
    parser.add_argument("framework", help="the framework, or 'custom'")
    parser.add_argument("target", help="the agent: package.module:attribute")
    parser.add_argument("--name", default="", help="its name (default: the attribute)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    parser.add_argument("--url", default="", help="address by which clients reach it (default: that of the port)")
    parser.add_argument("--drain", type=float, default=30.0, metavar="S", help="seconds for turns to end (30)")
    parser.add_argument("--conversations", type=int, default=1_000, metavar="N", help="kept open (1000)")
    parser.add_argument("--with-parent", action="store_true", help="drain when standard input ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
