"""The console as an application of textual: a table of resources, and the one that is chosen in words.

Both follow the log of the store. Nothing is changed unless `writes` is set, and then only after a question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Header, Input, Label, Static

from stategraph.cli.resources.columns import age
from stategraph.cli.resources.describe import text_of
from stategraph.cli.style import Style
from stategraph.resources.custom_kinds import kinds_with
from stategraph.resources.manifests import describing
from stategraph.resources.model import Resource, ResourceKey

if TYPE_CHECKING:
    from stategraph.resources.store.port import ResourceStore

_COLOURS: Final = {"True": "green", "False": "red", "Unknown": "yellow"}
_COLUMNS: Final = ("NAME", "READY", "REASON", "AGE")

#: Seconds between two looks at the ages.
_TICK_S: Final = 10.0


class Confirm(ModalScreen[bool]):
    """Asks whether something is to be done: `y`, or anything else.

    Args:
        question: The question.
    """

    DEFAULT_CSS = "Confirm { align: center middle; } Confirm > Label { padding: 1 2; background: $panel; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Make the question."""
        yield Label(Text(f"{self._question}  (y/n)"))

    def action_answer(self, answer: bool) -> None:
        """Close with an answer."""
        self.dismiss(answer)


class ResourceConsole(App[None]):
    """Resources of a store.

    Args:
        store: The store; it stays open.
        namespace: Only those of this namespace; None: of all.
        writes: Whether resources may be deleted.
    """

    TITLE = "stategraph"
    CSS = """
    #table { width: 1fr; min-width: 40; }
    #detail { width: 1fr; padding: 0 1; border-left: solid $primary; }
    #search { display: none; }
    #search.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("escape", "leave_search", "All", show=False),
        Binding("n", "next_unready", "Next not ready"),
        Binding("d", "delete", "Delete"),
    ]

    def __init__(self, store: ResourceStore, namespace: str | None = None, *, writes: bool = False) -> None:
        super().__init__()
        self._store = store
        self._namespace = namespace
        self._writes = writes
        self._resources: dict[ResourceKey, Resource] = {}
        self._wanted = ""
        self._chosen: ResourceKey | None = None

    def compose(self) -> ComposeResult:
        """Make the table and what is beside it."""
        yield Header()
        yield Input(placeholder="Kind, name or reason", id="search")
        with Horizontal():
            yield DataTable(id="table", cursor_type="row")
            with VerticalScroll(id="detail"):
                yield Static(id="words")
        yield Footer()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action is offered: nothing is deleted by a console that only reads."""
        del parameters
        return self._writes or action != "delete"

    async def on_mount(self) -> None:
        """Read everything, and follow the log from there."""
        self._table.add_columns(*_COLUMNS)
        version = await self._load()
        self._table.focus()
        self.set_interval(_TICK_S, self._fill)
        self._follow(version)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#table", DataTable)

    async def _load(self) -> int:
        listing = await self._store.snapshot()
        self._resources = {each.key: each for each in listing.resources}
        self._fill()
        return listing.version

    @work(exclusive=True)
    async def _follow(self, version: int) -> None:
        from stategraph.resources.store.port import WatchGapError

        while True:
            try:
                async for change in self._store.watch(version):
                    found = await self._store.get(change.key)
                    if found is None:
                        self._resources.pop(change.key, None)
                    else:
                        self._resources[change.key] = found
                    self._fill()
                return
            except WatchGapError:
                version = await self._load()

    def _shown(self) -> list[Resource]:
        wanted = self._wanted.lower()
        return [
            each
            for key, each in sorted(self._resources.items())
            if (self._namespace is None or key.namespace in (self._namespace, ""))
            and wanted in f"{key} {describing.state_of(each)[1]}".lower()
        ]

    def _fill(self) -> None:
        """Write the table anew, and leave the cursor on the resource that was chosen."""
        table, shown = self._table, self._shown()
        table.clear()
        for each in shown:
            table.add_row(*_cells(each), key=str(each.key))
        keys = [each.key for each in shown]
        if keys and self._chosen not in keys:
            self._chosen = keys[0]
        if self._chosen in keys:
            table.move_cursor(row=keys.index(self._chosen))
        ready = sum(each.is_ready for each in shown)
        self.sub_title = f"{ready} of {len(shown)} ready"
        self._describe()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the resource that the cursor is on."""
        found = next((key for key in self._resources if str(key) == event.row_key.value), None)
        if found is not None and found != self._chosen:
            self._chosen = found
            self._describe()

    def _describe(self) -> None:
        resource = self._resources.get(self._chosen) if self._chosen is not None else None
        words = self.query_one("#words", Static)
        if resource is None:
            words.update(Text("Nothing is applied yet: stategraph apply -f FOLDER"))
            return
        everything = list(self._resources.values())
        around = describing.Around(everything, kinds_with(everything))
        words.update(Text(text_of(resource, around, Style(None))))

    def action_search(self) -> None:
        """Begin to search."""
        field = self.query_one("#search", Input)
        field.add_class("shown")
        field.focus()

    def action_leave_search(self) -> None:
        """Show everything again."""
        field = self.query_one("#search", Input)
        field.value = ""
        field.remove_class("shown")
        self._table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what has the words."""
        self._wanted = event.value
        self._fill()

    def on_input_submitted(self) -> None:
        """Go to the table."""
        self._table.focus()

    def action_next_unready(self) -> None:
        """Choose the next resource that is not ready."""
        shown = self._shown()
        keys = [each.key for each in shown]
        at = keys.index(self._chosen) + 1 if self._chosen in keys else 0
        found = next((each for each in (*shown[at:], *shown[:at]) if not each.is_ready), None)
        if found is None:
            self.notify("Everything is ready.")
            return
        self._chosen = found.key
        self._fill()

    def action_delete(self) -> None:
        """Ask, and delete the resource that is chosen."""
        key = self._chosen
        if not self._writes or key is None:
            return

        async def answered(answer: bool | None) -> None:
            if answer:
                held = await self._store.delete(key)
                self.notify(f"{key} {'is being deleted' if held is not None else 'is deleted'}.")

        self.push_screen(Confirm(f"Delete {key}?"), answered)


def _cells(resource: Resource) -> tuple[Any, ...]:
    ready, reason, _ = describing.state_of(resource)
    return (
        Text(str(resource.key)),
        Text(ready, _COLOURS.get(ready, "")),
        Text(reason),
        Text(age(resource.metadata.creation_timestamp)),
    )
