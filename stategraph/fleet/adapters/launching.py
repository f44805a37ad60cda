"""The commands that start hosts: with the Python or the Node of the framework's environment."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stategraph.fleet.adapters.loading import CUSTOM, FRAMEWORKS
from stategraph.fleet.adapters.port import AdapterError
from stategraph.fleet.adapters.ready import TOKEN_VARIABLE
from stategraph.fleet.adapters.supervisor import Launch

#: The framework of Node.
MASTRA: Final = "mastra"

#: All frameworks that have an adapter.
NAMES: Final = (*sorted([*FRAMEWORKS, MASTRA]), CUSTOM)

_NODE_HOST: Final = Path(__file__).with_name("node") / "host.mjs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Agent that is to be served.

    Attributes:
        framework: One of `NAMES`.
        target: `package.module:attribute`; for Mastra `path/of/module.mjs:attribute`.
        name: The agent's name.
        runtime: The Python or the Node of the framework's environment; empty: this Python, or `node`.
        folder: Where the process runs, and modules are looked for first; None: here.
        host: The address to listen at.
        port: The port; 0: a free one for each process.
        url: The address by which clients reach it; empty: that of the port.
        token: What requests have to show; empty: anybody may ask, from this machine.
        drain_s: Seconds that turns have when the process is told to stop.
    """

    framework: str
    target: str
    name: str
    runtime: str = ""
    folder: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    token: str = ""
    drain_s: float = 30.0


def launch(asked: Asked) -> Launch:
    """Return what starts a host.

    Raises:
        AdapterError: There is no adapter for the framework, or no program that could run it.
    """
    if asked.framework not in NAMES:
        raise AdapterError(f"There is no adapter for {asked.framework!r}; expected one of {', '.join(NAMES)}")
    is_node = asked.framework == MASTRA
    given = asked.runtime or ("node" if is_node else sys.executable)
    program = shutil.which(given)
    if program is None:
        raise AdapterError(f"The program {given!r} that runs the agent was not found")
    program = str(Path(program).absolute())  # not resolved: an environment's Python is a link
    command = [program, str(_NODE_HOST)] if is_node else [program, "-m", "stategraph.fleet.adapters"]
    command += [asked.framework, asked.target, "--name", asked.name, "--host", asked.host, "--port", str(asked.port)]
    command += ["--drain", str(asked.drain_s), "--with-parent"]
    if asked.url:
        command += ["--url", asked.url]
    environment = {TOKEN_VARIABLE: asked.token, "PYTHONUNBUFFERED": "1"}
    return Launch(command=command, environment=environment, folder=asked.folder, drain_s=asked.drain_s)
