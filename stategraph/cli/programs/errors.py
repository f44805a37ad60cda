"""Errors of a program that a command runs: with the lines of the program if it raised them, else in a sentence.

A traceback is of use to whoever wrote the lines in it. So an error that lines of the program raised is shown with these
alone; any other, of the engine or a library, says what was found, and where in a library that was if it is not one of
the engine's own.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import Final

import stategraph

#: Folders whose lines are left out: the engine, Python's own library, and what is installed.
_ENGINE: Final = Path(stategraph.__file__).resolve().parent
_PYTHON: Final = Path(sysconfig.get_path("stdlib")).resolve()
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


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


def in_a_sentence(error: BaseException) -> str:
    """Return an error that no line of a program raised, without a traceback.

    Args:
        error: One of the engine, whose message says all; or one of a library, with its class and the place.
    """
    text = str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)
    if type(error).__module__.partition(".")[0] == "stategraph":
        return text or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({_near(frames[-1].filename)}, line {frames[-1].lineno}; --traceback shows more)" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def _is_of_program(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or not _INSTALLED.isdisjoint(path.parts):
        return False
    return not path.is_relative_to(_ENGINE) and not path.is_relative_to(_PYTHON)


def _near(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
