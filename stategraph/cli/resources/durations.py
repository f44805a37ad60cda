"""Durations on the command line, as kubectl takes them: `30s`, `5m`, `1h`, or a number of seconds."""

from __future__ import annotations

import argparse
import re
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


def seconds(text: str) -> float:
    """Read a duration, and return it in seconds.

    Raises:
        ArgumentTypeError: It is none.
    """
    parts = _PART.findall(text)
    if parts and "".join(f"{number}{unit}" for number, unit in parts) == text:
        return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
    try:
        given = float(text)
    except ValueError:
        given = -1.0
    if not 0 <= given < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration: write it as in 30s, 5m or 1h30m")
    return given


def add_timeout(parser: argparse.ArgumentParser, default: float, what: str) -> None:
    """Add the option that says how long something may take."""
    parser.add_argument(
        "--timeout", type=seconds, default=default, metavar="TIME", help=f"{what}, as in 30s (default: {default:.0f}s)"
    )
