"""Write the table of `docs/frameworks.md` that says what each format of messages cannot say, from the formats.

python scripts/losses.py            rewrite the page (`make format`)
python scripts/losses.py --check    fail when it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stategraph.fleet.messages.conversion import FORMATS  # noqa: E402

PAGE = ROOT / "docs" / "frameworks.md"
BEGIN, END = "<!-- losses: begin -->\n", "<!-- losses: end -->\n"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + table() + END + after
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        print(f"{PAGE.relative_to(ROOT)} is out of date: run `make format`")
        return 1
    return 0


def table() -> str:
    """Return the table: a row for each thing that a format cannot say."""
    rows = ["| format | what | becomes |", "|---|---|---|"]
    names: dict[int, list[str]] = {}
    for name, each in FORMATS.items():
        names.setdefault(id(each.write), []).append(name)
    for same in names.values():
        shown = ", ".join(f"`{name}`" for name in same)
        rows += [f"| {shown} | {what} | {becomes} |" for what, becomes in FORMATS[same[0]].losses.items()]
    return "\n" + "\n".join(rows) + "\n\n"


if __name__ == "__main__":
    sys.exit(main())
