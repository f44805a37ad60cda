"""A picture in characters.

Lines that are taken only sometimes are dashed. A label stands beside the head of its line; one that finds no room there
is listed below the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from stategraph.drawing.channels import Box, Line, channels
from stategraph.drawing.layout import Slot, layout
from stategraph.drawing.picture import Edge, Picture

#: Columns between two boxes.
GAP: Final = 3

#: A box with many lines is as wide as its lines want, up to this.
WIDEST_FOR_LINES: Final = 41

_HEIGHT: Final = 3

_N, _E, _S, _W, _DASHED = 1, 2, 4, 8, 16

_UNICODE: Final = dict(
    zip(
        (_N | _S, _E | _W, _S | _E, _S | _W, _N | _E, _N | _W, _N | _S | _E, _N | _S | _W, _E | _W | _S, _E | _W | _N),
        "│─┌┐└┘├┤┬┴",
        strict=True,
    )
) | {_N: "│", _S: "│", _E: "─", _W: "─", _N | _E | _S | _W: "┼"}
_UNICODE_DASHED: Final = {_N | _S: "┆", _E | _W: "┄", _N: "┆", _S: "┆"}
_ASCII: Final = {_N | _S: "|", _E | _W: "-", _N: "|", _S: "|", _E: "-", _W: "-"}
_ASCII_DASHED: Final = {_N | _S: ":", _E | _W: ".", _N: ":", _S: ":"}


class _Canvas:
    """Cells with lines that leave them in four directions, and characters that cover them."""

    def __init__(self, *, ascii_only: bool) -> None:
        self._signs = (_ASCII, _ASCII_DASHED) if ascii_only else (_UNICODE, _UNICODE_DASHED)
        self._other = "+" if ascii_only else "?"
        self._bits: dict[tuple[int, int], int] = defaultdict(int)
        self._written: dict[tuple[int, int], str] = {}

    def line(self, at: tuple[int, int], to: tuple[int, int], dashed: int) -> None:
        """Draw a vertical or horizontal line, both ends included; cells are (row, column)."""
        (row, column), (last_row, last_column) = sorted([at, to])
        before, after = (_N, _S) if column == last_column else (_W, _E)
        cells = [(row, x) for x in range(column, last_column + 1)] if row == last_row and column != last_column else []
        cells = cells or [(y, column) for y in range(row, last_row + 1)]
        for cell in cells:
            self._bits[cell] |= (before if cell != cells[0] else 0) | (after if cell != cells[-1] else 0)
            if dashed:
                self._bits[cell] |= _DASHED

    def stub(self, at: tuple[int, int], bits: int) -> None:
        """Have a line leave a cell."""
        self._bits[at] |= bits

    def write(self, row: int, column: int, text: str) -> None:
        """Cover cells with a text."""
        for x, sign in enumerate(text, column):
            self._written[row, x] = sign

    def is_free(self, row: int, columns: range) -> bool:
        """Return whether nothing is in some cells of a row."""
        return not any((row, x) in self._bits or (row, x) in self._written for x in columns)

    def text(self) -> str:
        """Return what was drawn."""
        cells = {at: self._sign(bits) for at, bits in self._bits.items()} | self._written
        rows: dict[int, dict[int, str]] = defaultdict(dict)
        for (row, column), sign in cells.items():
            rows[row][column] = sign
        lines = []
        for y in range(max(rows, default=-1) + 1):
            row_of = rows.get(y, {})
            lines.append("".join(row_of.get(x, " ") for x in range(max(row_of, default=-1) + 1)))
        return "\n".join(lines)

    def _sign(self, bits: int) -> str:
        plain, dashed = self._signs
        directions = bits & ~_DASHED
        return (bits & _DASHED and dashed.get(directions)) or plain.get(directions, self._other)


def as_text(picture: Picture, *, ascii_only: bool = False) -> str:
    """Draw a picture with characters.

    Args:
        picture: The graph.
        ascii_only: Use no characters but those of ASCII for lines; labels stay as they are.

    Returns:
        The lines, without trailing spaces.
    """
    labels = _labels(picture, "(again)" if ascii_only else "↻")
    found = layout(picture, partial(_width, labels, _degrees(picture)), GAP)
    box_of = _boxes(found.layers)
    canvas = _Canvas(ascii_only=ascii_only)
    left_out: list[Edge] = []
    top = 0
    for layer, lines in zip(found.layers, channels(found, box_of), strict=True):
        dashed = {line.upper: _DASHED for line in lines if line.route.edge.conditional}
        for slot in layer:
            _draw_slot(canvas, top, slot, box_of[slot], labels, dashed.get(slot, 0))
        first = top + _HEIGHT
        last = first + max((line.row + 1 for line in lines if line.row), default=0)
        _draw_lines(canvas, first, last, lines, "^v" if ascii_only else "▲▼")
        left_out += _draw_labels(canvas, first, last, lines)
        top = last + 1
    arrow = "->" if ascii_only else "→"
    listed = [f"{each.source} {arrow} {each.target}: {each.label}" for each in left_out]
    return "\n".join([canvas.text(), *(["", *listed] if listed else [])])


def _labels(picture: Picture, again: str) -> dict[str, str]:
    """Return the text in each node's box, with a sign if the node leads to itself."""
    circles = {edge.source for edge in picture.edges if edge.source == edge.target}
    return {node.id: f"{node.label} {again}" if node.id in circles else node.label for node in picture.nodes}


def _degrees(picture: Picture) -> dict[str, int]:
    """Return how many lines each node has."""
    found = dict.fromkeys((node.id for node in picture.nodes), 0)
    for edge in picture.edges:
        if edge.source != edge.target:
            found[edge.source] += 1
            found[edge.target] += 1
    return found


def _width(labels: Mapping[str, str], degrees: Mapping[str, int], node: str) -> float:
    return max(len(labels[node]) + 4, min(2 * degrees[node] + 1, WIDEST_FOR_LINES))


def width(drawn: str) -> int:
    """Return the columns that a drawn picture takes."""
    return max((len(line) for line in drawn.splitlines()), default=0)


def as_list(picture: Picture, *, ascii_only: bool = False) -> str:
    """Write a picture as a list of its edges, for where a drawing has no room."""
    arrow, dashed = ("->", "..>") if ascii_only else ("→", "⇢")
    rows = [
        f"{edge.source} {dashed if edge.conditional else arrow} {edge.target}"
        + (f"  ({edge.label})" * bool(edge.label))
        for edge in picture.edges
    ]
    alone = [node.id for node in picture.nodes if not any(node.id in (e.source, e.target) for e in picture.edges)]
    return "\n".join([*rows, *alone])


def _boxes(layers: Sequence[Sequence[Slot]]) -> dict[Slot, Box]:
    """Return whole columns for places, far enough from each other after rounding."""
    found = {}
    for layer in layers:
        free = 0
        for slot in layer:
            left = max(free, round(slot.x - slot.width / 2))
            found[slot] = box = Box(left, left + int(slot.width) - 1)
            free = box.right + 1 + (GAP if slot.node is not None else 1)
    return found


def _draw_slot(canvas: _Canvas, top: int, slot: Slot, box: Box, labels: dict[str, str], dashed: int) -> None:
    bottom = top + _HEIGHT - 1
    if slot.node is None:  # an edge passes
        canvas.line((top, box.left), (bottom, box.left), dashed)
        canvas.stub((top, box.left), _N)
        canvas.stub((bottom, box.left), _S)
        return
    for at, to in (
        ((top, box.left), (top, box.right)),
        ((bottom, box.left), (bottom, box.right)),
        ((top, box.left), (bottom, box.left)),
        ((top, box.right), (bottom, box.right)),
    ):
        canvas.line(at, to, 0)
    label = labels[slot.node]
    canvas.write(top + 1, box.left + 1, label.center(box.right - box.left - 1))


def _draw_lines(canvas: _Canvas, first: int, last: int, lines: Sequence[Line], heads: str) -> None:
    for line in lines:
        _draw_line(canvas, first, last, line)
    for line in lines:
        if line.is_head:
            at = (first, line.leaves) if line.route.upward else (last, line.arrives)
            canvas.write(*at, heads[0 if line.route.upward else 1])


def _draw_line(canvas: _Canvas, first: int, last: int, line: Line) -> None:
    dashed = _DASHED if line.route.edge.conditional else 0
    begins, ends = (first, line.leaves), (last, line.arrives)
    if line.row:
        turn = first + line.row
        canvas.line(begins, (turn, line.leaves), dashed)
        canvas.line((turn, line.leaves), (turn, line.arrives), dashed)
        canvas.line((turn, line.arrives), ends, dashed)
    else:
        canvas.line(begins, ends, dashed)
    canvas.stub(begins, _N)
    canvas.stub(ends, _S)
    is_upper_head, is_lower_head = line.is_head and line.route.upward, line.is_head and not line.route.upward
    if not is_upper_head and line.upper.node is not None:
        canvas.stub((first - 1, line.leaves), _S)
    if not is_lower_head and line.lower.node is not None:
        canvas.stub((last + 1, line.arrives), _N)


def _draw_labels(canvas: _Canvas, first: int, last: int, lines: Sequence[Line]) -> list[Edge]:
    """Write labels beside heads of lines; returns the edges whose labels find no room."""
    left_out = []
    for line in lines:
        edge = line.route.edge
        if not (line.is_head and edge.label):
            continue
        row, column = (first, line.leaves) if line.route.upward else (last, line.arrives)
        length = len(edge.label)
        if canvas.is_free(row, range(column + 1, column + 3 + length)):
            canvas.write(row, column + 2, edge.label)
        elif column > length + 1 and canvas.is_free(row, range(column - length - 2, column)):
            canvas.write(row, column - length - 1, edge.label)
        else:
            left_out.append(edge)
    return left_out
