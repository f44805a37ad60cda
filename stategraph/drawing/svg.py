"""A picture as SVG.

Lines and text are dark on light and light on dark, as the reader prefers. Nodes and edges carry `data-node`,
`data-source` and `data-target`, by which a page can mark a path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape
from typing import Final

from stategraph.drawing.layout import Layout, Route, Slot, layout
from stategraph.drawing.picture import Node, Picture

_CHARACTER: Final = 8.4
_BOX: Final = 34.0
_BETWEEN: Final = 56.0
_GAP: Final = 36.0
_MARGIN: Final = 16.0

_STYLE: Final = (
    ".sg{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:#1f2328}"
    "@media (prefers-color-scheme:dark){.sg{color:#e6edf3}}"
    ".sg rect{fill:none;stroke:currentColor;stroke-width:1.4}"
    ".sg .start rect,.sg .end rect{stroke-dasharray:none;opacity:.65}"
    ".sg path{fill:none;stroke:currentColor;stroke-width:1.3;opacity:.8}"
    ".sg .conditional path{stroke-dasharray:5 4}"
    ".sg text{fill:currentColor;text-anchor:middle;dominant-baseline:central}"
    ".sg .edge text{font-size:12px}"
    ".sg marker path{fill:currentColor;stroke:none;opacity:1}"
)


_MARKS: Final = (
    ".sg .taken rect{stroke-width:2.6}.sg .taken path{stroke-width:2.6;opacity:1}"
    ".sg .waits rect{stroke-width:2.6;stroke-dasharray:6 4}"
    ".sg.marked g:not(.taken):not(.waits){opacity:.5}"
)


def as_svg(
    picture: Picture,
    *,
    title: str = "Graph",
    nodes: Mapping[str, str] | None = None,
    edges: Collection[tuple[str, str]] = (),
) -> str:
    """Draw a picture as one SVG element.

    Args:
        picture: The graph.
        title: Names the picture to those who cannot see it.
        nodes: Classes of nodes that are marked: `taken` or `waits`. None: nothing is marked.
        edges: Edges that are marked as taken.
    """
    labels = {node.id: node.label for node in picture.nodes}
    found = layout(picture, lambda node: max(56.0, _CHARACTER * len(labels[node]) + 24.0), _GAP)
    slots = [slot for layer in found.layers for slot in layer]
    labelled = max((len(each.label) for each in picture.edges), default=0)
    wide = max((slot.x + slot.width / 2 for slot in slots), default=0.0) + 2 * _MARGIN + _CHARACTER * labelled / 2
    high = max(len(found.layers) * (_BOX + _BETWEEN) - _BETWEEN, 0.0) + 2 * _MARGIN
    marked, taken = nodes or {}, frozenset(edges)
    body = [_edge(route, found, _mark((route.edge.source, route.edge.target) in taken)) for route in found.routes]
    body += [
        _loop(found.slot_of(each.source), each.label, _mark((each.source, each.target) in taken))
        for each in picture.edges
        if each.source == each.target
    ]
    body += [
        _node(node, found.slot_of(node.id), f" {marked[node.id]}" if node.id in marked else "")
        for node in picture.nodes
    ]  # fmt: skip
    kind, style = ("sg", _STYLE) if nodes is None else ("sg marked", _STYLE + _MARKS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" role="img" width="{wide:.0f}" height="{high:.0f}" '
        f'viewBox="0 0 {wide:.0f} {high:.0f}"><title>{escape(title)}</title><style>{style}</style>'
        '<defs><marker id="sg-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z"/></marker></defs>' + "".join(body) + "</svg>"
    )


def _top(slot: Slot) -> float:
    return _MARGIN + slot.layer * (_BOX + _BETWEEN)


def _mark(is_taken: bool) -> str:
    return " taken" if is_taken else ""


def _node(node: Node, slot: Slot, mark: str) -> str:
    left, top = _MARGIN + slot.x - slot.width / 2, _top(slot)
    round_ = _BOX / 2 if node.kind != "node" else 5
    return (
        f'<g class="{node.kind}{mark}" data-node="{escape(node.id)}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{slot.width:.1f}" height="{_BOX:.0f}" rx="{round_:.0f}"/>'
        f'<text x="{_MARGIN + slot.x:.1f}" y="{top + _BOX / 2:.1f}">{escape(node.label)}</text></g>'
    )


def _edge(route: Route, found: Layout, mark: str) -> str:
    points: list[tuple[float, float]] = []
    for at, slot in enumerate(route.slots):
        x = _MARGIN + slot.x + (_port(route, found, at) if slot.node is not None else 0.0)
        top = _top(slot)
        if at:
            points.append((x, top))
        if at < len(route.slots) - 1:
            points.append((x, top + _BOX))
    way = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for at in range(0, len(points) - 1, 2):
        (x, y), (to_x, to_y) = points[at], points[at + 1]
        middle = (y + to_y) / 2
        way += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
        if at + 2 < len(points):
            way += f"L{points[at + 2][0]:.1f} {points[at + 2][1]:.1f}"
    head = "marker-start" if route.upward else "marker-end"
    edge = route.edge
    label = ""
    if edge.label:
        (x, y), (to_x, to_y) = (points[0], points[1]) if route.upward else (points[-2], points[-1])
        middle_x = (x + to_x) / 2 + _CHARACTER * len(edge.label) / 2
        label = f'<text x="{middle_x:.1f}" y="{(y + to_y) / 2:.1f}">{escape(edge.label)}</text>'
    return (
        f'<g class="edge{" conditional" if edge.conditional else ""}{mark}" data-source="{escape(edge.source)}" '
        f'data-target="{escape(edge.target)}"><path d="{way}" {head}="url(#sg-head)"/>{label}</g>'
    )


def _port(route: Route, found: Layout, at: int) -> float:
    """Return how far from the middle of its box an edge begins or ends, so that edges beside each other stay apart."""
    slot = route.slots[at]
    own = [each for each in found.routes if each.slots[at and -1] is slot]
    own.sort(key=lambda each: each.slots[-2 if at else 1].x)
    room = min(18.0, (slot.width - 16.0) / max(len(own), 1))
    return (own.index(route) - (len(own) - 1) / 2) * room


def _loop(slot: Slot, label: str, mark: str) -> str:
    x, y = _MARGIN + slot.x + slot.width / 2, _top(slot) + _BOX / 2
    text = f'<text x="{x + 26:.1f}" y="{y:.1f}">{escape(label)}</text>' if label else ""
    way = f"M{x:.1f} {y - 8:.1f}C{x + 28:.1f} {y - 18:.1f} {x + 28:.1f} {y + 18:.1f} {x:.1f} {y + 8:.1f}"
    return (
        f'<g class="edge{mark}" data-source="{escape(slot.node or "")}" data-target="{escape(slot.node or "")}">'
        f'<path d="{way}" marker-end="url(#sg-head)"/>{text}</g>'
    )
