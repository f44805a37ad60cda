"""Words for figures: the table, line by line as rows finish, and the same for machines."""

from __future__ import annotations

from typing import Any

from benchmarks.catalogue import Row
from benchmarks.measure import Effort, Figure

CLOCKS = {"cpu": "processor", "wall": "elapsed"}


def columns(other: str) -> str:
    """Return the titles; the other clock is the one whose ratio stands beside the value."""
    costs = f"{'benchmark':44} {'LangGraph':>10} {'ours':>10}"
    return f"{costs} {'value':>8} {'quartiles':>15} {other:>8} {'must':>6} {'aim':>6}  reached"


def heading(descriptions: list[dict[str, Any]], effort: Effort) -> str:
    """What is compared, and the column titles."""
    theirs, ours = descriptions
    other = "wall" if effort.clock == "cpu" else "cpu"
    return (
        f"LangGraph {theirs['langgraph_installed']} and {ours['engine']} on Python {theirs['python']}, "
        f"{theirs['loop']}; {effort.rounds} interleaved rounds, samples of at least {effort.budget_s} s, "
        f"{CLOCKS[effort.clock]} time{', all on one core' if effort.one_core else ''}.\n"
        "value = median of the per-round ratios LangGraph / ours (higher is better);\n"
        "of growth and bytes rows: growth of our own cost (lower is better).\n"
        f"{other} = the same ratio in {CLOCKS[other]} time.\n\n"
        f"{columns(other)}\n{'-' * len(columns(other))}"
    )


def quantity(row: Row, value: float) -> str:
    """A cost in a readable unit, or a growth factor."""
    if row.kind in ("growth", "bytes"):
        return f"{value:.2f}x"
    if row.kind == "stored":
        return f"{value / 1e6:.3g} MB"
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def line(figure: Figure) -> str:
    """One row of the table."""
    row = figure.row
    targets = [f"{target:g}x" if target is not None else "" for target in (row.must, row.aim)]
    quartiles = f"{figure.low:.3g} - {figure.high:.3g}"
    other = "" if figure.other_clock is None else f"{figure.other_clock:.3g}x"
    text = (
        f"{row.label:44} {quantity(row, figure.theirs):>10} {quantity(row, figure.ours):>10} {figure.value:>7.3g}x "
        f"{quartiles:>15} {other:>8} {targets[0]:>6} {targets[1]:>6}  {figure.verdict}"
    ).rstrip()
    if "langgraph" in figure.notes:
        text += f"\n{'':8}stored bytes: LangGraph {figure.notes['langgraph']:,}, ours {figure.notes['stategraph']:,}"
        if "data" in figure.notes:
            text += f", for {figure.notes['data']:,} of data"
    savers = figure.notes.get("savers", ())
    if len(set(savers)) > 1:
        text += f"\n{'':8}savers: LangGraph {savers[0]}, ours {savers[1]}"
    return text


def failed(row: Row, error: Exception) -> str:
    """The line of a row that could not be measured."""
    last = str(error).strip().splitlines()[-1]
    return f"{row.label:44} FAILED: {last[:200]}"


def summary(figures: list[Figure], failures: list[tuple[str, str]], mixed: list[str], spent_s: float) -> str:
    """The totals, and the full text of every failure."""
    judged = [figure.verdict for figure in figures if figure.verdict]
    reached, aims = len(judged) - judged.count("no"), judged.count("aim")
    text = f"\n{reached} of {len(judged)} musts reached, {aims} aims; {spent_s:.0f} s."
    if mixed:
        text += f"\nWARNING: our side ran with modules of LangGraph itself: {', '.join(mixed)}"
    for label, error in failures:
        text += f"\n\nFAILED {label}: {error}"
    return text


def as_json(figures: list[Figure], failures: list[tuple[str, str]]) -> dict[str, Any]:
    """The figures for machines; costs are in seconds."""
    rows = [
        {
            "name": figure.row.name,
            "variant": figure.row.variant,
            "kind": figure.row.kind,
            "langgraph": figure.theirs,
            "ours": figure.ours,
            "value": figure.value,
            "quartiles": [figure.low, figure.high],
            "other_clock": figure.other_clock,
            "must": figure.row.must,
            "aim": figure.row.aim,
            "reached": figure.verdict,
            "notes": figure.notes,
        }
        for figure in figures
    ]
    return {"rows": rows, "failures": [{"name": name, "error": error} for name, error in failures]}
