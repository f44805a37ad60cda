"""Reading many keys at once, without looking at each of them on every step.

Rules
-----
* Names that are read together are one `Keys`; their values are one `View`, a dict of their values in the
  order of the names. A reader gets a copy of that dict.
* Only cells (channels whose attribute ``value`` is what nodes read) are kept in a view. Other channels and managed
  values have a place in it, and are asked by every reader.
* A write puts the new value into every view that shows the channel. If it is the channel's first value, or its last,
  the view is built again at the next read, so that the keys keep their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from stategraph.constants import MISSING
from stategraph.core.checkpoint import Values


class Keys(tuple[str, ...]):  # noqa: SLOT001 (a base of variable size allows no slots)
    """Names that are read together; hashed once, as a tuple of 500 strings takes longer to hash than to read."""

    _hash: int

    def __new__(cls, names: Iterable[str]) -> Keys:
        """Take the names in order."""
        keys = super().__new__(cls, names)
        keys._hash = tuple.__hash__(keys)
        return keys

    def __hash__(self) -> int:
        return self._hash


class Layout(NamedTuple):
    """The sorts of some keys, as known before any run.

    Attributes:
        names: The keys, to look up.
        cells: The names of cells among them.
        others: The names of other channels.
        managed: The names of managed values.
        simple: Whether all of them are cells.
    """

    names: frozenset[str]
    cells: frozenset[str]
    others: tuple[str, ...]
    managed: tuple[str, ...]
    simple: bool

    @classmethod
    def of(cls, keys: Keys, cells: frozenset[str], managed: Mapping[str, object]) -> Layout:
        """Sort keys by kind.

        Args:
            keys: What is read.
            cells: The names of all cells.
            managed: All managed values.
        """
        names = frozenset(keys)
        # A node may name a channel twice: as what it waits for, and as what it reads.
        others = tuple(name for name in dict.fromkeys(keys) if name not in cells and name not in managed)
        computed = tuple(name for name in keys if name in managed)
        return cls(names, names & cells, others, computed, not (others or computed))


class View:
    """The values of some keys, kept up to date; see also `Layout`.

    Attributes:
        keys: What is read.
        held: The cells' values by name, with None in the places of the rest; None if it has to be built again.
    """

    __slots__ = ("cells", "held", "keys", "managed", "names", "others", "simple")

    def __init__(self, keys: Keys, layout: Layout) -> None:
        """Begin without having read anything."""
        self.keys = keys
        self.names, self.cells, self.others, self.managed, self.simple = layout
        self.held: Values | None = None

    def build(self, channels: Mapping[str, Any]) -> Values:
        """Look at every cell.

        Args:
            channels: Live channels by name.

        Returns:
            What is now in ``held``.
        """
        held: Values = {}
        for name in self.keys:
            value = channels[name].value if name in self.cells else None
            if value is not MISSING:
                held[name] = value
        self.held = held
        return held

    def note(self, name: str, value: Any) -> None:
        """Take over a cell's new value."""
        held = self.held
        if held is None or name not in self.names:
            return
        if name in held and value is not MISSING:
            held[name] = value
        else:
            self.held = None
