"""The sandbox of a plug-in: what its process can see.

| | in the sandbox |
|---|---|
| network | none, or the host's with the permission `network` |
| files, read-only | the system's programs and libraries, the interpreter, installed packages, the plug-in's code |
| further files, read-only | `files:read:...` |
| files to write | `/work` and `/tmp`, in memory and gone afterwards; `files:write:...` |
| environment | `PATH`, `HOME`, `LANG` and the like: nothing of the host |
| processes | its own, ended with it |

Where there is no bubblewrap, or it does not work, a plug-in that needs the sandbox does not start.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Final

from stategraph.resources.plugins import permissions
from stategraph.resources.plugins.errors import IsolationUnavailable
from stategraph.resources.plugins.spec import PluginSpec
from stategraph.workers.process import bubblewrap

ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/work",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
}

#: Folders of installed packages, by their last part.
_PACKAGES: Final = ("site-packages", "dist-packages")

_SCRATCH_BYTES: Final = 64 * 1024 * 1024
_CHECK_S: Final = 30.0


def command(spec: PluginSpec, target: str, program: str = "bwrap") -> list[str]:
    """Return the command line of the sandbox, which that of the plug-in's process follows.

    Args:
        spec: The plug-in.
        target: Where its code is, `package.module:Class`.
        program: Name or path of bubblewrap.

    Raises:
        IsolationUnavailable: There is no bubblewrap here.
    """
    found = bubblewrap.program(program)
    if found is None:
        raise IsolationUnavailable(
            f"Plugin '{spec.name}' has the trust level '{spec.trust}' and runs in bubblewrap, and "
            f"{bubblewrap.why_missing(program)}: install it (on Debian `apt install bubblewrap`), or raise its trust "
            "level if you answer for its code"
        )
    line = bubblewrap.around(
        found,
        ENVIRONMENT,
        _code(target),
        scratch_bytes=_SCRATCH_BYTES,
        network="network" in spec.permissions,
    )
    for kind, option in (("files:read", "--ro-bind"), ("files:write", "--bind")):
        for path in permissions.arguments(spec.permissions, kind):
            line += [option, path, path]
    return [*line, *bubblewrap.end()]


def _code(target: str) -> list[Path]:
    """Return the folders and files of all code that a plug-in may import."""
    package = Path(__file__).parents[2]
    found = [Path(sys.base_prefix), package, *package.parent.glob("stategraph-*.dist-info")]
    found += [Path(each) for each in sys.path if Path(each).name in _PACKAGES and Path(each).is_dir()]
    top = target.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top)  # imports nothing: it is no part of a package
    if spec is not None:
        folders = spec.submodule_search_locations
        found += [Path(each) for each in folders] if folders else [Path(spec.origin)] if spec.origin else []
    unique = dict.fromkeys(each.absolute() for each in found if each.exists())
    return [each for each in unique if not any(each != other and each.is_relative_to(other) for other in unique)]


async def check(spec: PluginSpec, target: str, program: str = "bwrap") -> None:
    """Find out whether the sandbox works here, by starting one.

    Raises:
        IsolationUnavailable: It does not; the message says why.
    """
    line = [*command(spec, target, program), "/usr/bin/env", "true"]
    process = await asyncio.create_subprocess_exec(
        *line, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_CHECK_S):
            _, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise IsolationUnavailable(
            f"Plugin '{spec.name}' has the trust level '{spec.trust}' and runs in bubblewrap, which does not work "
            f"here: {errors.decode(errors='replace').strip() or process.returncode}. It needs user namespaces (sysctl "
            "kernel.unprivileged_userns_clone=1, and no seccomp profile of a container that forbids them)"
        )
