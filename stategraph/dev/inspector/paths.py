"""The way that a turn took through the graph, up to one of its steps: what an account marks in the drawing."""

from __future__ import annotations

from stategraph.dev.inspector.values import Json
from stategraph.drawing.picture import Picture
from stategraph.engine.state.account import drawn
from stategraph.engine.state.account.facts import Account


def taken(explanation: Account, picture: Picture) -> Json:
    """Return the way that a turn took up to a step as JSON: `visits`, `edges`, `current`, `upcoming`, `cut`.

    Args:
        explanation: The account of the turn.
        picture: The graph as it is drawn.
    """
    marks = drawn.marks_of(explanation, picture)
    return {
        "visits": marks.visits,
        "edges": [{"source": source, "target": target} for source, target in sorted(marks.edges)],
        "current": marks.current,
        "upcoming": marks.upcoming,
        "cut": marks.cut,
    }
