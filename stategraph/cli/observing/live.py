"""Figures in the terminal as they change: a screen that is read anew every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from stategraph.cli.observing.figures import Figures
from stategraph.cli.observing.screen import lines_of
from stategraph.cli.output import since
from stategraph.cli.style import Style

#: Columns that the border and the scroll bar take.
_EDGE = 2


class TopScreen(App[None]):
    """Shows figures.

    Args:
        read: Returns the figures of now.
        where: The database, without its password.
        interval_s: Seconds between two looks.
        expected: Returns the error that the person can do something about, of one that `read` raised; None: none.
    """

    TITLE = "stategraph top"
    CSS = "#problem { color: $error; } #figures { width: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("p", "pause", "Pause"),
        Binding("r", "refresh", "Now"),
    ]

    def __init__(
        self,
        read: Callable[[], Awaitable[Figures]],
        where: str,
        interval_s: float,
        expected: Callable[[BaseException], BaseException | None] = lambda error: None,
    ) -> None:
        super().__init__()
        self._read = read
        self._where = where
        self._interval_s = interval_s
        self._expected = expected
        self._figures: Figures | None = None
        self._paused = False
        self._now = asyncio.Event()

    def compose(self) -> ComposeResult:
        """Make the screen."""
        with VerticalScroll():
            yield Static("", id="figures")
        yield Static("", id="problem")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self._follow()

    @work(exclusive=True)
    async def _follow(self) -> None:
        while True:
            try:
                self._figures = await self._read()
            except Exception as error:
                known = self._expected(error)
                if known is None:
                    raise
                self._tell(f"{known} Tried again in {since(self._interval_s)}.")
            else:
                self._tell("")
                self._show()
            self._now.clear()
            try:
                await asyncio.wait_for(self._now.wait(), None if self._paused else self._interval_s)
            except TimeoutError:
                continue

    def _show(self) -> None:
        if self._figures is not None:
            room = max(40, self.size.width - _EDGE)
            text = "\n".join(lines_of(self._figures, self._where, Style(None), room))
            self.query_one("#figures", Static).update(Text(text))

    def _tell(self, text: str) -> None:
        self.query_one("#problem", Static).update(Text("paused" if self._paused and not text else text))

    def on_resize(self) -> None:
        """Fit what is shown into the new width."""
        self._show()

    def action_refresh(self) -> None:
        """Look now."""
        self._now.set()

    def action_pause(self) -> None:
        """Stop looking, or go on."""
        self._paused = not self._paused
        self._tell("")
        self._now.set()
