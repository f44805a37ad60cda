"""Copy figures from the table of `docs/performance.md` to the README.

    python scripts/figures.py            rewrite the README's table (`make format`)
    python scripts/figures.py --check    fail when it has other figures (`make check`)

The table in `docs/performance.md` is written by `make bench ARGS=--docs`. Nothing is typed by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "performance.md"
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

ROWS = {
    "sequential_1000 async": "a graph of 1,000 nodes in a row",
    "fanout_to_subgraph_100x async": "100 `Send`s, each to a nested graph",
    "short_run async": "20 runs of three nodes",
    "react_agent_100x async": "`create_react_agent`, 100 rounds of tools",
    "agent_sqlite_async async": "an agent of 100 rounds, stored in SQLite",
    "agent_postgres_async async": "the same in PostgreSQL",
    "agent_sqlite_bytes": "bytes that it stores",
    "chat_800_turns_bytes": "bytes of a chat of 800 turns",
    "chat_turn_800_sqlite async": "the 800th turn of that chat",
    "token_streaming async": "one streamed token",
    "import_of_a_backend": "importing what a backend needs",
}
"""Rows of the table, and what they are for somebody who does not know their names: strong ones and weak ones."""


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"{PAGE.name} has no place for the figures: {BEGIN.strip()} ... {END.strip()}", file=sys.stderr)
        return 1
    wanted = before + BEGIN + table(SOURCE.read_text(encoding="utf-8")) + END + after
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        print(f"{PAGE.name} has other figures than {SOURCE.name}: run `make format`", file=sys.stderr)
        return 1
    return 0


def table(source: str) -> str:
    """Return the README's table from the text of the page on performance."""
    lines = ["| | LangGraph | stategraph | |\n", "|---|--:|--:|--:|\n"]
    for row, words in ROWS.items():
        found = re.search(rf"^\| `{re.escape(row)}` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", source, re.MULTILINE)
        if found is None:
            raise SystemExit(f"{SOURCE.name} has no row {row!r}")
        theirs, ours, ratio = (cell.strip() for cell in found.groups())
        lines.append(f"| {words} | {theirs} | {ours} | {ratio} |\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
