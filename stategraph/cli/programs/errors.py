"""Errors of a program that a command runs, told with the lines of the program."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

import stategraph

#: Folders whose lines are left out: the engine and the libraries between it and the program.
_ENGINE: Final = Path(stategraph.__file__).resolve().parent
_LIBRARIES: Final = ("/langchain_core/", "/asyncio/", "/concurrent/", "/langgraph/", "/anyio/", "/threading.py")


def of_program(error: BaseException) -> str | None:
    """Return an error with the lines of the program that raised it; None if no line of a program did."""
    told = traceback.TracebackException.from_exception(error)
    frames = [each for each in told.stack if _is_of_program(each.filename)]
    if not frames:
        return None
    lines = [f"{''.join(told.format_exception_only()).rstrip()}"]
    for frame in frames:
        lines.append(f"  at {_near(frame.filename)}, line {frame.lineno}, in {frame.name}")
        if frame.line:
            lines.append(f"     {frame.line}")
    return "\n".join(lines)


def _is_of_program(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or any(each in path.as_posix() for each in _LIBRARIES):
        return False
    return not path.is_relative_to(_ENGINE)


def _near(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
