"""The account of a thread as callers get it: the facts, with their words and their drawing."""

from __future__ import annotations

from dataclasses import dataclass

from stategraph.drawing.picture import Drawable
from stategraph.engine.state.account import drawn as drawing
from stategraph.engine.state.account import words
from stategraph.engine.state.account.facts import Account


@dataclass(frozen=True, slots=True)
class Explanation(Account):
    """The account of a run: for each node why it ran, waits or did not run, and who wrote what; see `Account`.

    `str()` of it is the account in words, `to_json()` as JSON, `svg()` the drawing of the graph with it.
    """

    def __str__(self) -> str:
        return words.of(self)

    def svg(self, drawn: Drawable) -> str:
        """Draw the graph with what ran and what waits, and the edges that were taken, as one SVG element.

        Args:
            drawn: What the graph's `get_graph()` returns; with `xray=True`, the graphs inside are marked as well.
        """
        return drawing.svg_of(self, drawn)
