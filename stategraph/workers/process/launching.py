"""Start the process of a worker, and say in words how one ended."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

#: Seconds between SIGTERM and SIGKILL.
KILL_S: Final = 0.5

#: Sets the host's import path before anything of ours is imported.
_BOOT: Final = (
    "import json, sys; connection, parent, settings, path = map(json.loads, sys.argv[1:]); sys.path[:] = path; "
    "from {module} import main; main(connection, parent, settings)"
)


def command(module: str, descriptor: int, settings: Mapping[str, Any]) -> list[str]:
    """Return the command that starts a fresh interpreter with the host's import path.

    Args:
        module: Its `main` is called with the descriptor, the process id of the host, and the settings.
        descriptor: The file descriptor of the connection, which the process inherits.
        settings: Plain values for `main`.
    """
    numbers = [str(descriptor), str(os.getpid())]
    return [sys.executable, "-c", _BOOT.format(module=module), *numbers, json.dumps(settings), json.dumps(sys.path)]


def ended_how(code: int) -> str:
    """Return a sentence's end about an exit code, as `subprocess` has it: negative for a signal."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "an unknown one"
    return f"was killed by signal {-code} ({name})"
