"""Draw the states of a run into `docs/architecture.md` from the table that drives them.

python scripts/diagram.py            rewrite the drawing (`make format`)
python scripts/diagram.py --check    fail when it is out of date (`make check`)
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stategraph.core.moves import TRANSITIONS  # noqa: E402 - the script runs from the work tree

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- states: begin -->\n", "<!-- states: end -->\n"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"{PAGE.name} has no place for the drawing: {BEGIN.strip()} ... {END.strip()}", file=sys.stderr)
        return 1
    wanted = before + BEGIN + drawing() + END + after
    if "--check" in sys.argv[1:]:
        if page != wanted:
            print(f"the drawing in {PAGE.name} is out of date: run `make format`", file=sys.stderr)
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


def drawing() -> str:
    """Return the table as a mermaid state diagram; a state without a legal move ends the run."""
    lines = [f"[*] --> {next(iter(TRANSITIONS))}"]
    for state, moves in TRANSITIONS.items():
        lines += [f"{state} --> {target}: {move}" for move, targets in moves.items() for target in targets]
        lines += [] if moves else [f"{state} --> [*]"]
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```", ""])


if __name__ == "__main__":
    sys.exit(main())
