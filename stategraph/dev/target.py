"""The agents or the graph that the server runs, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Kinds of files that any model can read: they are sent as text.
TEXTS = "text/*"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A message that the empty page offers.

    Attributes:
        title: What it shows.
        text: The message.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The agents or the graph that a turn of the chat runs.

    Attributes:
        name: For the page's title.
        settings: Keywords of `create_run`, without a name of the run.
        config: The config of each execution, beside the thread.
        agents: The agents' names by their ids, as events and messages have them.
        accepts: Kinds of files that may be sent along, such as `image/*`.
        suggestions: Messages that the empty page offers.
        note: A sentence that the empty page shows; empty: none.
    """

    name: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    agents: Mapping[str, str]
    accepts: tuple[str, ...] = (TEXTS,)
    suggestions: tuple[Suggestion, ...] = ()
    note: str = ""

    @property
    def graph(self) -> Any:
        """The compiled graph that it runs; None if it runs agents."""
        return self.settings.get("graph")
