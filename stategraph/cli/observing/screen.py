"""Figures as a person reads them, in as many columns as the terminal has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from stategraph.cli.observing.figures import AgentFigures, BudgetFigures, Doing, Figures, GraphFigures, PluginFigures
from stategraph.cli.output import counted, since
from stategraph.cli.resources.columns import columns, fitted
from stategraph.cli.style import Style

if TYPE_CHECKING:
    from stategraph.workers.registry.overview import QueueInfo

#: Rows of a table of which there may be many.
_ROWS: Final = 15

#: Columns of a screen that nobody looks at as it is written.
WIDE: Final = 120


def lines_of(figures: Figures, where: str, style: Style, room: int = WIDE) -> list[str]:
    """Return figures in lines.

    Args:
        figures: The figures.
        where: The database, without its password.
        style: Colours texts, or does not.
        room: Columns of the terminal.
    """
    return [line for section in _sections(figures, where, style, room) for line in (*section.splitlines(), "")][:-1]


def _sections(figures: Figures, where: str, style: Style, room: int) -> Iterator[str]:
    yield "\n".join(_head(figures, where, style, room))
    for titles, rows in _tables(figures):
        if rows:
            yield columns(titles, rows[:_ROWS], style, room)
        if len(rows) > _ROWS:
            yield f"and {counted(len(rows) - _ROWS, 'row')} more; --json has all"


def _tables(figures: Figures) -> Iterator[tuple[Sequence[str], Sequence[Sequence[str]]]]:
    """Yield the tables: their titles and rows."""
    yield ("QUEUE", "WAITING", "LATER", "RUNNING", "OLDEST"), [_queue(each) for each in figures.queues]
    yield ("WORKER", "RUNS", "SEEN", "STATE", "DOES"), _workers(figures)
    yield ("POOL", "WORKERS", "BUSY", "QUEUED", "READY"), [tuple(map(str, each)) for each in figures.pools]
    titles = ("GRAPH", "READY", "ENDED", "NOW", "ERRORS", "P50", "P95", "TOKENS")
    yield titles, [_graph(each) for each in figures.graphs]
    plugins = ("PLUG-IN", "STATE", "PID", "RESTARTS", "ISOLATION", "READY")
    yield plugins, [_plugin(each) for each in figures.plugins]
    budgets = ("BUDGET OF RUN", "TENANT", "UNIT", "SPENT", "HELD", "CAP", "USED")
    yield budgets, [_budget(each) for each in figures.budgets]
    yield ("AGENT", "URL", "WEIGHT", "STATE", "CAPABILITIES"), [_agent(each) for each in figures.agents]


def _queue(each: QueueInfo) -> tuple[str, ...]:
    oldest = since(each.oldest_s) if each.waiting else "-"
    return each.queue, str(each.waiting), str(each.later), str(each.running), oldest


def _plugin(each: PluginFigures) -> tuple[str, ...]:
    pid = "-" if each.pid is None else str(each.pid)
    return each.name, each.state, pid, str(each.restarts), each.isolation, each.ready


def _head(figures: Figures, where: str, style: Style, room: int) -> Iterator[str]:
    at = datetime.fromtimestamp(figures.at).strftime("%H:%M:%S")
    yield style.bold(fitted(f"{where}  {at}", room))
    waiting = sum(each.waiting for each in figures.queues)
    running = sum(each.running for each in figures.queues)
    ended = ", ".join(f"{number:,} {status}" for status, number in sorted(figures.statuses.items())) or "none"
    parts = [f"Runs: {waiting:,} waiting, {running:,} running; ended in {since(figures.window_s)}: {ended}"]
    if figures.ready is not None:
        parts.append(f"Resources: {figures.ready:,} of {figures.resources:,} ready")
    text = "   ".join(parts)
    yield from ([text] if len(text) <= room else [fitted(each, room) for each in parts])


def _workers(figures: Figures) -> list[tuple[str, ...]]:
    return [
        (
            each.worker_id,
            f"{each.busy} of {each.capacity}",
            since(figures.at - each.seen_at),
            "gone" if each.gone else "lives",
            "; ".join(map(_does, doing)) or "-",
        )
        for each, doing in figures.workers
    ]


def _does(doing: Doing) -> str:
    return f"{doing.graph} ({since(doing.for_s)})"


def _graph(each: GraphFigures) -> tuple[str, ...]:
    now = f"{each.running}" + (f"+{each.waiting}" if each.waiting else "")
    errors = f"{each.errors} ({100 * each.errors / each.ended:.0f} %)" if each.errors else "0"
    tokens = "-" if each.tokens is None else f"{each.tokens:,}"
    return each.graph, each.ready, str(each.ended), now, errors, _took(each.p50_s), _took(each.p95_s), tokens


def _budget(each: BudgetFigures) -> tuple[str, ...]:
    amounts = (_amount(each.spent), _amount(each.reserved), _amount(each.cap))
    return each.run_id, each.tenant or "-", each.unit, *amounts, _part(each.spent, each.cap)


def _agent(each: AgentFigures) -> tuple[str, ...]:
    state = "takes requests" if each.weight else "drained"
    return each.agent, each.url, str(each.weight), state, ", ".join(each.capabilities) or "-"


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else since(seconds)


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".")


def _part(spent: float, cap: float | None) -> str:
    return "-" if not cap else f"{100 * spent / cap:.0f} %"
