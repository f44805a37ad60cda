"""Keep the table of licences in `docs/licences.md` what the installed packages say of themselves.

    .venv-empty-3.11/bin/python -I scripts/licences.py --check

It runs in an environment that holds the core's dependencies alone, which `make wheel` makes. Without `--check` it
writes the table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "licences.md"
BEGIN, END = "<!-- dependencies: begin -->\n", "<!-- dependencies: end -->"
SPDX = {"MIT License": "MIT", "Apache License, Version 2.0": "Apache-2.0", "Apache 2.0": "Apache-2.0"}
"""Names of licences from before there was one spelling."""


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + "".join(table()) + END + after
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        print(f"{PAGE.name} is not what the packages say; write it with {Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


def table() -> Iterator[str]:
    yield "| package | licence |\n|---|---|\n"
    found = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each for each in distributions()}
    for name in sorted(found.keys() - {"stategraph"}):
        yield f"| `{name}` | {licence(found[name])} |\n"


def licence(package: Distribution) -> str:
    """Return the licence of a package: its SPDX expression, or the first line of what stands in its place."""
    told = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
    line = told.strip().partition("\n")[0].strip()
    return SPDX.get(line, line) or "not said"


if __name__ == "__main__":
    sys.exit(main())
