"""A process that starts the server again when a file of the program changes.

The port stays open meanwhile: who connects then waits for the new process. Threads are in the database, and runs that
were cut off go on from their checkpoints.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.supervisors.statreload import StatReload

#: Files beside those of Python that are watched in the server's folder.
_OTHERS: Final = ("langgraph.json", ".env")

#: Folders that hold no code of the program.
_LEFT_OUT: Final = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__", ".stategraph"})


def serve(run: Callable[..., None], opened: socket.socket, folder: Path) -> None:
    """Run a server in a process of its own, and again whenever a file changes, until this one is told to stop.

    Args:
        run: Runs the server; picklable. Called with the sockets that it listens on, as `sockets`.
        opened: The socket.
        folder: Where files are watched.
    """
    config = uvicorn.Config("stategraph.dev:serve", reload=True, reload_dirs=[str(folder)], log_config=None)
    Watcher(config, run, [opened]).run()


class Watcher(StatReload):
    """Watches files by their times."""

    def iter_py_files(self) -> Iterator[Path]:
        """Yield the files that are watched."""
        for folder in self.config.reload_dirs:
            yield from _below(folder)
            yield from (each for name in _OTHERS if (each := folder / name).is_file())


def _below(folder: Path) -> Iterator[Path]:
    """Yield files of Python; links to folders are not followed."""
    entries: list[Path] = []
    with suppress(OSError):  # it may have been deleted just now
        entries = sorted(folder.iterdir())
    for each in entries:
        if each.suffix == ".py" and each.is_file():
            yield each.resolve()
        elif each.name not in _LEFT_OUT and each.is_dir() and not each.is_symlink():
            yield from _below(each)
