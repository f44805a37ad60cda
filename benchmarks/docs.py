"""The tables of docs/performance.md: written by the benchmarks themselves, row by row, so that no figure is typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.measure import Figure

PATH = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
HEADINGS = {
    "bench": ("row", "LangGraph", "ours", "ratio", "must", "aim", "reached"),
    "runs": ("engine", "runs/s", "P50", "P99", "CPU of a run", "peak RSS"),
    "memory": ("engine", "runs/s", "P50", "P99", "CPU of a run", "peak RSS"),
    "sqlite": ("engine", "runs/s", "P50", "P99", "CPU of a run", "peak RSS"),
    "tokens": ("engine", "tokens/s", "P50 of the first", "P99 of the gaps", "CPU of a token", "peak RSS"),
    "server": ("", "stategraph", "langgraph dev"),
    "dataflow": ("graph of", "LangGraph", "barrier", "dataflow", "longest path", "above it", "within 5 %"),
    "dataflow-off": ("", "LangGraph", "barrier", "of these, of dataflow", "dataflow"),
    "chain": ("engine", "async API", "sync API"),
}
"""The columns of each table, by its name in the markers `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""


class NoTableError(RuntimeError):
    """The document has no markers for a table."""


def cells_of(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a row of `make bench`, without its label."""
    row = figure.row
    targets = ("" if target is None else f"{target:g}x" for target in (row.must, row.aim))
    theirs, ours = (report.quantity(row, cost) for cost in (figure.theirs, figure.ours))
    return (theirs, ours, f"{figure.value:.3g}x", *targets, figure.verdict)


def written(text: str, table: str, rows: Mapping[str, Sequence[str]], order: Sequence[str] = ()) -> str:
    """Return a document with the rows of a table replaced; rows that are not given stay.

    Args:
        text: The document.
        table: The table's name.
        rows: Cells by the row's label.
        order: Labels in the order of the table; rows with others are dropped, as they are no longer measured. Empty:
            those that were there, then new ones.

    Raises:
        NoTableError: The document has no such table.
    """
    begin, end = f"<!-- {table}: begin -->\n", f"<!-- {table}: end -->"
    if begin not in text or end not in text:
        raise NoTableError(f"the document has no lines {begin.strip()!r} and {end!r}")
    before, rest = text.split(begin, 1)
    old, after = rest.split(end, 1)
    kept = {line.split("|")[1].strip(" `"): line for line in old.splitlines()[2:]}
    kept |= {label: f"| `{label}` | {' | '.join(cells)} |" for label, cells in rows.items()}
    head = [f"| {' | '.join(HEADINGS[table])} |", "|---" + "|--:" * (len(HEADINGS[table]) - 1) + "|"]
    lines = [kept[label] for label in (order or kept) if label in kept]
    return before + begin + "\n".join([*head, *lines]) + "\n" + end + after


def write(table: str, rows: Mapping[str, Sequence[str]], order: Sequence[str] = (), path: Path = PATH) -> None:
    """Replace the rows of a table in docs/performance.md, see `written`."""
    path.write_text(written(path.read_text(), table, rows, order))
