"""The conformance suite, installed by npm as `packages.json` pins it; it needs Node 22."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import npm

LOCK = Path(__file__).with_name("packages.json")
SUITE = "@modelcontextprotocol/conformance"
OLDEST_NODE = 22


def installed(folder: Path) -> tuple[Path, str]:
    """Install the suite, unless it is there already.

    Args:
        folder: Where.

    Returns:
        The folder of the suite, and a program that runs it.
    """
    try:
        modules = npm.install(LOCK, folder)
        return modules / SUITE, npm.node(modules, OLDEST_NODE)
    except npm.NpmError as error:
        sys.exit(f"The conformance suite is an npm package: {error}")
