"""An MCP server for tests to start: `mcp_specimen.py stdio|http PORT FILE`. It offers the tools that the file names.

Over HTTP it says on its output which port it listens on; with 0, the system chooses.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from mcp.server import MCPServer

server = MCPServer("specimen", log_level="CRITICAL")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def pid() -> int:
    """Tell the process."""
    return os.getpid()


def die() -> str:
    """Be killed in the middle."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "unreachable"


def variable(name: str) -> str:
    """Tell a variable of the environment."""
    return os.environ.get(name, "")


TOOLS = {each.__name__: each for each in (add, pid, die, variable)}


def main(transport: str, port: str, file: str) -> None:
    for name in Path(file).read_text().split():
        server.add_tool(TOOLS[name], structured_output=False)
    if transport == "stdio":
        server.run()
        return
    import uvicorn

    listening = socket.create_server(("127.0.0.1", int(port)))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
