"""Draw the pictures of the documentation into `docs/pictures/`.

    python scripts/pictures.py            rewrite them (`make format`)
    python scripts/pictures.py --check    fail when one is out of date (`make check`)

A picture is boxes on a grid and arrows between them, written as SVG without scripts and fonts of others, so that it
looks the same on a page, in a repository's viewer and without a network. That of a run's states is drawn from the table
that drives them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stategraph.core.moves import TRANSITIONS  # noqa: E402 - the script runs from the work tree

FOLDER = ROOT / "docs" / "pictures"
WIDTH, HEIGHT, LINE, MARGIN = 150, 46, 15, 24


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow from one box to another.

    Attributes:
        start: The box where it begins.
        end: The box that it points to.
        label: What stands beside it.
        dashed: Whether it is dashed.
    """

    start: str
    end: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes on a grid, and arrows.

    Attributes:
        title: What it shows, for those who cannot see it.
        boxes: Column and row of each box, by its text; fractions are between two places. Lines are parted by `|`.
        arrows: The arrows, by the first lines of the boxes.
        accent: Boxes that stand out.
        step: How far columns and rows are from each other.
    """

    title: str
    boxes: Mapping[str, tuple[float, float]]
    arrows: Sequence[Arrow]
    accent: frozenset[str] = field(default_factory=frozenset)
    step: tuple[int, int] = (220, 86)


def states() -> Picture:
    """Return the picture of a run's states."""
    places = {
        "loading": (0.0, 0.0),
        "planning": (1.0, 0.0),
        "stepping": (2.4, 0.0),
        "done": (-0.35, 1.1),
        "out_of_steps": (-0.35, 2.1),
        "draining": (0.1, 3.1),
        "interrupt_before": (1.0, 3.6),
        "interrupt_after": (3.3, 1.8),
        "paused": (2.4, 3.6),
    }
    moves: dict[tuple[str, str], list[str]] = {}
    for state, legal in TRANSITIONS.items():
        for move, targets in legal.items():
            for target in targets:
                moves.setdefault((state, target), []).append(move)
    arrows = [Arrow(start, end, ", ".join(names)) for (start, end), names in moves.items()]
    ends = frozenset(state for state, legal in TRANSITIONS.items() if not legal)
    return Picture("The states of a run", {state: places[state] for state in TRANSITIONS}, arrows, ends)


PICTURES = {
    "two-products": Picture(
        "Two products: the engine, and the Run API on top of it",
        {
            "your LangGraph program|langgraph.graph, langgraph.types": (0, 0),
            "your graphs|from stategraph import StateGraph": (1.25, 0),
            "your chat backend|agents, tools, MCP servers": (2.5, 0),
            "Run API|turns, events, approvals, threads": (2.5, 1),
            "engine|steps, streams, interrupts, retries": (1.25, 2),
            "savers|SQLite, PostgreSQL, memory, any other": (1.25, 3),
            "workers|processes, machines, recovery": (2.5, 2),
        },
        [
            Arrow("your LangGraph program", "engine", "the flag"),
            Arrow("your graphs", "engine"),
            Arrow("your chat backend", "Run API"),
            Arrow("Run API", "engine"),
            Arrow("Run API", "workers", "if you want"),
            Arrow("workers", "engine"),
            Arrow("engine", "savers", "a checkpoint each step"),
        ],
        frozenset({"engine", "Run API"}),
        (250, 92),
    ),
    "versions": Picture(
        "A thread of version 1 is loaded by a graph of version 3",
        {
            "stored|by version 1": (0, 0),
            "in flight and pinned?": (1.1, 0),
            "graph of version 1|until it ends": (2.3, 0),
            "migration 1 to 2": (1.1, 1),
            "migration 2 to 3": (1.1, 2),
            "graph of version 3|runs the next step": (2.3, 2),
            "checkpoint|of version 3": (3.4, 2),
        },
        [
            Arrow("stored", "in flight and pinned?", "load"),
            Arrow("in flight and pinned?", "graph of version 1", "yes"),
            Arrow("in flight and pinned?", "migration 1 to 2", "no"),
            Arrow("migration 1 to 2", "migration 2 to 3"),
            Arrow("migration 2 to 3", "graph of version 3"),
            Arrow("graph of version 3", "checkpoint", "store"),
        ],
        frozenset({"migration 1 to 2", "migration 2 to 3"}),
    ),
    "typed-graphs": Picture(
        "What is checked, and where: when the program is written, when it runs, when a thread is loaded",
        {
            "type checker|state, nodes, result": (0, 0),
            "input": (0, 1),
            "node|returns an update": (1.2, 1),
            "state|written as checked": (2.4, 1),
            "output|an instance": (3.6, 1),
            "checkpoint|names the schema": (2.4, 2),
            "thread is loaded|by the next release": (3.6, 2),
        },
        [
            Arrow("type checker", "node", "the types it takes", dashed=True),
            Arrow("input", "node", "updates"),
            Arrow("node", "state", "updates"),
            Arrow("state", "output", "output"),
            Arrow("state", "checkpoint", "store"),
            Arrow("checkpoint", "thread is loaded", "fingerprint"),
        ],
        frozenset({"state", "output"}),
    ),
    "limits": Picture(
        "A limit is reached: between two steps the run stops, and its caller's choice decides",
        {
            "step|of the run, or of a graph inside": (0, 1),
            "limit reached?|steps, seconds, tokens": (1.2, 1),
            "next step": (1.2, 0),
            "stored|all graphs of the run": (2.4, 1),
            "raise|an error": (3.6, 0),
            "return_partial|the state so far": (3.6, 1),
            "interrupt|may it go on?": (3.6, 2),
            "a person|raises the limit, or ends": (2.4, 2),
        },
        [
            Arrow("step", "limit reached?"),
            Arrow("limit reached?", "next step", "no"),
            Arrow("limit reached?", "stored", "yes"),
            Arrow("stored", "raise"),
            Arrow("stored", "return_partial"),
            Arrow("stored", "interrupt"),
            Arrow("interrupt", "a person"),
        ],
        frozenset({"limit reached?"}),
        (215, 92),
    ),
    "node-limits": Picture(
        "Attempts of a node with limits: a line and places for each key of its input",
        {
            "attempt|of any run of the process": (0, 1),
            "key|of the node's input": (1.1, 1),
            "line of ann|first come, first served": (2.25, 0.4),
            "line of bob|first come, first served": (2.25, 1.6),
            "places|as many as concurrency": (3.5, 0.4),
            "places |as many as concurrency": (3.5, 1.6),
            "node": (4.7, 1),
        },
        [
            Arrow("attempt", "key"),
            Arrow("key", "line of ann"),
            Arrow("key", "line of bob"),
            Arrow("line of ann", "places", "rate"),
            Arrow("line of bob", "places ", "rate"),
            Arrow("places", "node"),
            Arrow("places ", "node"),
        ],
        frozenset({"places", "places "}),
        (200, 92),
    ),
    "hot-resume": Picture(
        "An answer comes: the node goes on where it asked, or runs again from its first line",
        {
            "node|asks, and is parked": (0, 1),
            "checkpoint|question stored, run over": (1.2, 1),
            "answer": (2.3, 1),
            "still parked here?|same process, thread not moved": (3.4, 1),
            "goes on|where it asked": (4.7, 0.3),
            "runs again|from its first line": (4.7, 1.7),
        },
        [
            Arrow("node", "checkpoint"),
            Arrow("checkpoint", "answer"),
            Arrow("answer", "still parked here?"),
            Arrow("still parked here?", "goes on", "yes"),
            Arrow("still parked here?", "runs again", "no"),
        ],
        frozenset({"goes on"}),
        (215, 92),
    ),
    "explain": Picture(
        "Checkpoints, what is recorded on them, and the graph become one account; all that is shown is made of it",
        {
            "checkpoints|versions, and who has seen them": (0, 0.3),
            "records|writes, questions, errors": (0, 1.2),
            "graph|edges, routers, rules": (0, 2.1),
            "account|facts": (1.3, 1.2),
            "words|str, JSON": (2.6, 0),
            "drawing|the way that was taken": (2.6, 0.8),
            "inspector|Why": (2.6, 1.6),
            "command|thread explain, diff": (2.6, 2.4),
        },
        [
            Arrow("checkpoints", "account"),
            Arrow("records", "account"),
            Arrow("graph", "account", "", dashed=True),
            Arrow("account", "words"),
            Arrow("account", "drawing"),
            Arrow("account", "inspector"),
            Arrow("account", "command"),
        ],
        frozenset({"account"}),
        (230, 84),
    ),
    "a-step": Picture(
        "One step: nodes read one state and run side by side; reducers merge what they write",
        {
            "state|version 4": (0, 1),
            "node a|reads version 4": (1, 0),
            "node b|reads version 4": (1, 1),
            "node c|reads version 4": (1, 2),
            "reducers|merge the writes in a fixed order": (2.15, 1),
            "state |version 5": (3.3, 1),
            "checkpoint|stored by the saver": (3.3, 2),
        },
        [
            Arrow("state", "node a"),
            Arrow("state", "node b"),
            Arrow("state", "node c"),
            Arrow("node a", "reducers"),
            Arrow("node b", "reducers"),
            Arrow("node c", "reducers"),
            Arrow("reducers", "state "),
            Arrow("state ", "checkpoint"),
        ],
        frozenset({"reducers"}),
    ),
    "an-agent": Picture(
        "An agent: the model is called until it calls no tool any more",
        {
            "messages|of the person": (0, 0),
            "model|answers, or calls tools": (1.1, 0),
            "answer|the turn ends": (2.2, 0),
            "hooks and approvals|allow, change, ask, deny": (0.6, 1),
            "tools|functions, MCP servers, agents": (1.7, 1),
        },
        [
            Arrow("messages", "model"),
            Arrow("model", "answer", "no calls"),
            Arrow("model", "hooks and approvals", "calls"),
            Arrow("hooks and approvals", "tools"),
            Arrow("tools", "model", "results"),
        ],
        frozenset({"model"}),
        (230, 100),
    ),
    "events": Picture(
        "Events have numbers: a browser that comes back says the last one it saw",
        {
            "run|events 1, 2, 3 ...": (0, 0.5),
            "event log|keeps the newest 4,096": (1.1, 0.5),
            "browser|has seen 1 to 57": (2.4, 0),
            "the same browser|after the lost connection": (2.4, 1),
        },
        [
            Arrow("run", "event log", "put"),
            Arrow("event log", "browser", "attach(after_seq=0)"),
            Arrow("browser", "the same browser", "connection lost", dashed=True),
            Arrow("event log", "the same browser", "attach(after_seq=57)"),
        ],
        frozenset({"event log"}),
        (250, 100),
    ),
    "pause": Picture(
        "A run that waits for a person needs no process: the thread is in the database",
        {
            "process 1|runs until interrupt()": (0, 0),
            "database|the thread, and its question": (1.25, 0.5),
            "process 2|resumes with the answer": (2.5, 0),
            "person|answers, minutes or days later": (1.25, 1.6),
        },
        [
            Arrow("process 1", "database", "stores, and ends"),
            Arrow("database", "person", "asks"),
            Arrow("person", "process 2", "answers"),
            Arrow("database", "process 2", "reads"),
        ],
        frozenset({"database"}),
        (280, 92),
    ),
    "workers": Picture(
        "Workers: a run is a row with a lease; a worker that dies loses it, and another goes on",
        {
            "your backend|submits runs, reads events": (0, 0.5),
            "database|runs, leases, checkpoints, events": (1.3, 0.5),
            "worker 1|was killed": (2.6, 0),
            "worker 2|goes on from the checkpoint": (2.6, 1),
        },
        [
            Arrow("your backend", "database", "submit"),
            Arrow("worker 1", "database", "lease runs out", dashed=True),
            Arrow("worker 2", "database", "claims the run"),
        ],
        frozenset({"database"}),
        (270, 92),
    ),
    "states": states(),
}


def main() -> int:
    wanted = {f"{name}.svg": draw(picture) for name, picture in PICTURES.items()}
    if "--check" not in sys.argv[1:]:
        FOLDER.mkdir(exist_ok=True)
        for name, text in wanted.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
        return 0
    old = [name for name, text in wanted.items() if _read(FOLDER / name) != text]
    if old:
        print(f"out of date in docs/pictures: {', '.join(old)}; run `make format`", file=sys.stderr)
    return int(bool(old))


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


@dataclass(frozen=True, slots=True)
class Box:
    """A box as it is drawn: its middle, half its size, its lines."""

    x: float
    y: float
    w: float
    h: float
    lines: tuple[str, ...]


def draw(picture: Picture) -> str:
    """Return a picture as SVG."""
    boxes = {text.partition("|")[0]: _box(text, place, picture.step) for text, place in picture.boxes.items()}
    left = min(box.x - box.w for box in boxes.values()) - MARGIN
    top = min(box.y - box.h for box in boxes.values()) - MARGIN
    right = max(box.x + box.w for box in boxes.values()) + MARGIN
    bottom = max(box.y + box.h for box in boxes.values()) + MARGIN
    size = f"{right - left:.0f} {bottom - top:.0f}"
    pairs = {(arrow.start, arrow.end) for arrow in picture.arrows}
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {size}" role="img" '
            f'width="{right - left:.0f}" font-family="system-ui, sans-serif" font-size="13">'
        ),
        f"<title>{escape(picture.title)}</title>",
        (
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 1 L9 5 L0 9 z" fill="#5b6472"/></marker></defs>'
        ),
        (
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" rx="10" '
            'fill="#ffffff"/>'
        ),
    ]
    for arrow in picture.arrows:
        parts += _arrow(arrow, boxes, both=(arrow.end, arrow.start) in pairs)
    for name, box in boxes.items():
        parts += _drawn(box, accent=name in picture.accent)
    return "\n".join([*parts, "</svg>", ""])


def _box(text: str, place: tuple[float, float], step: tuple[int, int]) -> Box:
    lines = tuple(line.strip() for line in text.split("|"))
    width = max(WIDTH, max(len(line) for line in lines) * 6.6 + 22)
    return Box(place[0] * step[0], place[1] * step[1], width / 2, HEIGHT / 2, lines)


def _drawn(box: Box, *, accent: bool) -> Iterator[str]:
    fill, edge = ("#e3ecff", "#3563c9") if accent else ("#f5f6f8", "#a6adb8")
    yield (
        f'<rect x="{box.x - box.w:.1f}" y="{box.y - box.h:.1f}" width="{2 * box.w:.1f}" height="{2 * box.h:.1f}" '
        f'rx="7" fill="{fill}" stroke="{edge}"/>'
    )
    first = box.y - (len(box.lines) - 1) * LINE / 2 + 4.5
    for number, line in enumerate(box.lines):
        style = 'font-weight="600" fill="#1b1f26"' if number == 0 else 'font-size="12" fill="#4a5260"'
        place = f'x="{box.x:.1f}" y="{first + number * LINE:.1f}"'
        yield f'<text {place} text-anchor="middle" {style}>{escape(line)}</text>'


def _arrow(arrow: Arrow, boxes: Mapping[str, Box], *, both: bool) -> Iterator[str]:
    start, end = boxes[arrow.start], boxes[arrow.end]
    dashes = ' stroke-dasharray="5 4"' if arrow.dashed else ""
    if start is end:
        x, y = start.x + start.w, start.y
        path = f"M{x:.1f} {y - 10:.1f} c34 -16 34 36 0 20"
        label = (x + 42, y)
    else:
        dx, dy = end.x - start.x, end.y - start.y
        length = (dx * dx + dy * dy) ** 0.5
        away = 9.0 if both else 0.0
        off = (-dy / length * away, dx / length * away)
        (x1, y1), (x2, y2) = _edge(start, dx, dy, off), _edge(end, -dx, -dy, off)
        path = f"M{x1:.1f} {y1:.1f} L{x2:.1f} {y2:.1f}"
        label = ((x1 + x2) / 2, (y1 + y2) / 2 - (8 if abs(dy) < 1 else 0) + (1 if off[1] >= 0 else -1) * abs(off[1]))
    yield f'<path d="{path}" fill="none" stroke="#5b6472" stroke-width="1.4" marker-end="url(#head)"{dashes}/>'
    if arrow.label:
        yield (
            f'<text x="{label[0]:.1f}" y="{label[1] + 4:.1f}" text-anchor="middle" font-size="11.5" fill="#39404c" '
            f'stroke="#ffffff" stroke-width="4" paint-order="stroke">{escape(arrow.label)}</text>'
        )


def _edge(box: Box, dx: float, dy: float, off: tuple[float, float]) -> tuple[float, float]:
    """Return where a line from the middle of a box leaves it."""
    scale = min(box.w / abs(dx) if dx else float("inf"), box.h / abs(dy) if dy else float("inf"))
    return box.x + dx * scale + off[0], box.y + dy * scale + off[1]


if __name__ == "__main__":
    sys.exit(main())
