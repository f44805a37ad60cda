"""A network of machines on this one: namespaces of Linux, each behind a link to one bridge that can be cut.

Rules
-----
* Everything is within a network and a mount namespace of the driver's own (`entered`), so that nothing is left, and
  nothing of this machine is changed, however the driver ends.
* A cut link takes and brings nothing, as an unplugged cable: no connection is ended, and nobody is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Says that a process is within the namespaces.
INSIDE: Final = "STATEGRAPH_TEST_NETWORK"

#: The driver's own address, at which the databases are.
HUB: Final = "10.77.0.1"

_BRIDGE: Final = "hub0"


def unavailable() -> str:
    """Return why no network can be made here; empty if one can."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, and this is {sys.platform}"
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            package = "iproute2" if program == "ip" else "util-linux"
            return f"the program '{program}' is not installed: it is in the package '{package}'"
    if os.geteuid() != 0:
        return "network namespaces with PostgreSQL as a user of its own need root: run it as root"
    command = "mount -t tmpfs tmpfs /run && ip link add hub0 type bridge && ip netns add trial"
    tried = subprocess.run([*_unshare(), "sh", "-c", command], capture_output=True, text=True)
    if tried.returncode:
        said = tried.stderr.strip().splitlines()[-1:] or ["no reason was told"]
        return f"network namespaces cannot be made here: {said[0]}"
    return ""


def _unshare() -> list[str]:
    return ["unshare", "--net", "--mount", "--propagation", "private", "--"]


def entered(module: str, arguments: Sequence[str]) -> int | None:
    """Run a module again within namespaces of its own, and return its exit code; None: this is within them."""
    if os.environ.get(INSIDE):
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{HUB}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        return None
    command = [*_unshare(), sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env={**os.environ, INSIDE: "1"}).returncode


@dataclass(slots=True, eq=False)
class Machine:
    """A machine: its name, its address, and its link.

    Attributes:
        name: Of its namespace.
        address: Of its end of the link.
        is_cut: Whether its link is cut.
    """

    name: str
    address: str
    is_cut: bool = False

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs on it, as the process that is started."""
        return ["ip", "netns", "exec", self.name, *command]

    def kill_all(self) -> None:
        """Kill every process that runs on it, as a power cut does."""
        _run("sh", "-c", f"ip netns pids {self.name} | xargs -r kill -9")

    def cut(self) -> None:
        """Unplug its cable."""
        _run("ip", "link", "set", f"v-{self.name}", "down")
        self.is_cut = True

    def heal(self) -> None:
        """Plug it in again."""
        _run("ip", "link", "set", f"v-{self.name}", "up")
        self.is_cut = False


def machines(number: int) -> list[Machine]:
    """Make machines, all of which reach the hub and each other."""
    return [_machine(f"host{at}", f"10.77.0.{10 + at}") for at in range(1, number + 1)]


def _machine(name: str, address: str) -> Machine:
    _run("ip", "netns", "add", name)
    _run("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
    _run("ip", "link", "set", f"v-{name}", "master", _BRIDGE, "up")
    for command in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
        _run("ip", "-n", name, *command.split())
    return Machine(name, address)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
