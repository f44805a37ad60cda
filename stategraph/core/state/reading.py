"""The channels of a run as nodes read them.

Rules
-----
* Reading changes nothing that another reader could see.
* A node reads its own writes through an overlay: copies of the channels that it wrote, with its writes applied. If it
  is the only writer of a channel, applying the step adopts the copy, so no reducer runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from stategraph.constants import MISSING, PREVIOUS, START
from stategraph.core.channels.base import AnyChannel
from stategraph.core.checkpoint import Values
from stategraph.core.program import Mapper, Node, Program
from stategraph.core.state.live_channels import Channels
from stategraph.core.task import Draft, Fresh, Task, Write
from stategraph.core.views import Keys, Layout, View
from stategraph.errors import EmptyChannelError

Grouped = dict[str, list[Any]]
"""The values of writes by channel, in order."""

_NO_OVERLAY: Mapping[str, AnyChannel] = {}


class _Shown(NamedTuple):
    """A state that a router was shown.

    Attributes:
        writes: Those of its task that it shows.
        mapper: What made it.
        values: Of what.
        copied: Copies it; the original is never handed out.
    """

    writes: list[Write]
    mapper: Mapper
    values: Values
    copied: Callable[[], Any]


class Reader:
    """Reads the channels of one run.

    Attributes:
        channels: The live channels.
        program: The compiled graph.
        is_read: Whether values of channels, but the run's input, were given to other code than their reducers. What is
            made ready for a node counts when its step ends, before its writes are applied, in a run that stores
            something.
    """

    __slots__ = ("_last_view", "_shown", "_views", "channels", "is_read", "program")

    def __init__(self, program: Program, channels: Channels) -> None:
        """Args: program: The compiled graph; channels: Its channels."""
        self.program = program
        self.channels = channels
        self.is_read = False
        self._views: dict[Keys, View] = {}
        self._last_view: View | None = None
        self._shown: _Shown | None = None

    def forget_views(self) -> None:
        """Forget what was read, as the channels are others now."""
        self._views, self._last_view, self._shown = {}, None, None

    def read(self, select: str | Iterable[str]) -> Any:
        """Read one channel (None if empty) or several (empty ones left out)."""
        self.is_read = True
        if type(select) is Keys:
            return self._read_keys(select, None, _NO_OVERLAY)
        channels = self.channels
        if isinstance(select, str):
            try:
                return channels[select].get()
            except EmptyChannelError:
                return None
        values: Values = {}
        for name in select:
            try:
                values[name] = channels[name].get()
            except EmptyChannelError:
                pass
        return values

    def previous(self) -> Any:
        """Return the value that an entrypoint saved for its next run, or None."""
        if PREVIOUS not in self.program.specs:
            return None
        value = self.channels[PREVIOUS].checkpoint()
        return None if value is MISSING else value

    # -- the input of a node ---------------------------------------------

    def node_input(self, node: Node, task: Task) -> Any:
        """Read the state as a node would be given it now; MISSING if there is nothing to give.

        Args:
            node: The node.
            task: Its task, which managed values are computed from.
        """
        reads = node.reads
        try:
            if isinstance(reads, str):
                return self._bare_input(reads, node.mapper)
            # Mostly all nodes read the same keys, and looking them up takes longer than to copy what they hold.
            view = self._last_view
            if view is None or view.keys is not reads:
                view = self._last_view = self._views.get(reads) if self._views else None
            if view is not None and view.simple and view.held is not None:
                values = view.held.copy()
            else:
                values = self._read_keys(reads, task, _NO_OVERLAY)
            return values if node.mapper is None else self._mapped(values, node.mapper)
        except Exception as exc:
            exc.add_note(f"Before task with name '{node.name}' and path '{task.path[:3]}'")
            raise

    def _bare_input(self, name: str, mapper: Mapper | None) -> Any:
        channel = self.channels[name] if name in self.program.specs else None
        if channel is None or not channel.is_available():
            return MISSING
        if mapper is None:
            return channel.get()
        self.is_read = self.is_read or name != START
        return mapper(channel.get())

    def _mapped(self, values: Values, mapper: Mapper) -> Any:
        self.is_read = True
        shown = self._shown
        if shown is not None and shown.mapper is mapper and _same(shown.values, values):
            return shown.copied()
        return mapper(values)

    # -- the state as an attempt sees it ---------------------------------

    def read_for(self, draft: Draft, select: str | Sequence[str], fresh: bool) -> Any:
        """Read as an attempt sees it.

        Args:
            draft: The attempt's.
            select: One name or several; several may include managed values.
            fresh: Whether its own writes are applied first.
        """
        self.is_read = True
        if isinstance(select, str):
            return self._read_fresh(draft, select) if fresh else self.read(select)
        keys = select if type(select) is Keys else Keys(select)
        if not fresh:
            return self._read_keys(keys, draft.task, _NO_OVERLAY)
        return self._read_keys(keys, draft.task, self._overlay(draft), fresh=True)

    def show(self, draft: Draft, keys: Keys, mapper: Mapper) -> Any:
        """Apply a mapper to what an attempt reads after its writes.

        To validate a wide model can take longer than all else in a step. So if the next node is given the very same,
        it gets a copy: nodes of one step that read the same share it in that way too.
        """
        values = self.last_written(draft, keys)
        if values is None:
            return mapper(self.read_for(draft, keys, True))
        made = mapper(values)
        copied = getattr(mapper, "copied", None)
        if copied is None:
            return made
        shown = self._shown = _Shown(draft.writes, mapper, values, partial(copied, made))
        return shown.copied()

    def last_written(self, draft: Draft, keys: Keys) -> Values | None:
        """Read what an attempt reads after its writes, if all it reads are cells and it wrote each channel once.

        The short way of a router; None if it takes more: ask :meth:`read_for`.
        """
        self.is_read = True
        view = self._last_view
        if view is None or view.keys is not keys:
            view = self._views.get(keys)
        if view is None or view.held is None or not view.simple or writes_twice(draft.writes):
            return None
        last_values = self.program.last_values
        values = view.held.copy()
        for name, value in draft.writes:
            if name in values:
                values[name] = value if name in last_values else self._folded(draft, name, value)
            elif name in view.names:
                return None
        return values

    def _folded(self, draft: Draft, name: str, value: Any) -> Any:
        """Return the value of a channel with the only write of an attempt folded in, kept for applying the step."""
        fresh = draft.fresh
        if fresh is None:
            fresh = draft.fresh = {}
        ready = fresh.get(name)
        if ready is None or ready[0] != 1:
            channel: Any = self.channels[name].copy()
            ready = fresh[name] = (1, channel, channel.update((value,)))
        return ready[1].value

    def _read_keys(self, keys: Keys, task: Task | None, overlay: Mapping[str, Any], *, fresh: bool = False) -> Values:
        """Read several keys; empty ones are left out.

        Args:
            keys: What to read.
            task: The scratchpad that managed values are computed from.
            overlay: Channels to read in place of the live ones.
            fresh: Whether channels see the step as over.
        """
        view = self._views.get(keys)
        if view is None:
            program = self.program
            layout = program.layouts.get(keys) or Layout.of(keys, program.cells, program.managed)
            view = self._last_view = self._views[keys] = View(keys, layout)
        held = view.held
        if held is None:
            held = view.build(self.channels)
        values = held.copy()
        first = False
        for name, channel in overlay.items():
            if name in view.cells:
                first = first or name not in held
                values[name] = channel.value
        for name in view.others:
            channel = overlay.get(name)
            if channel is None:
                channel = self._after_step(name) if fresh else self.channels[name]
            if channel.is_available():
                values[name] = channel.get()
            else:
                del values[name]
        for name in view.managed:
            values[name] = self.program.managed[name].get(task)
        if first:  # a first value went to the end, and is to stand in its place
            return {name: values[name] for name in keys if name in values}
        return values

    def _after_step(self, name: str) -> AnyChannel:
        """Return a channel as it is once this step, which has not written it, is over."""
        channel = self.channels[name]
        if name in self.program.reacts_to_empty:
            channel = channel.copy()
            channel.update(())
        return channel

    def _read_fresh(self, draft: Draft, name: str) -> Any:
        """Read one channel with the attempt's own writes applied; None if empty."""
        channel = self._overlay(draft).get(name)
        if channel is None:
            channel = self._after_step(name)
        return channel.get() if channel.is_available() else None

    def _overlay(self, draft: Draft) -> dict[str, AnyChannel]:
        """Make copies of the channels that the attempt has written, with its writes applied."""
        grouped: Grouped = {}
        group_by_channel(draft.writes, self.program.specs, grouped)
        known = draft.fresh or {}
        fresh: Fresh = {}
        for name, values in grouped.items():
            ready = known.get(name)
            if ready is not None and ready[0] == len(values):
                fresh[name] = ready
                continue
            channel = self.channels[name].copy()
            fresh[name] = (len(values), channel, channel.update(values))
        draft.fresh = fresh
        return {name: ready[1] for name, ready in fresh.items()}


def group_by_channel(writes: Iterable[Write], specs: Mapping[str, AnyChannel], grouped: Grouped) -> list[str]:
    """Group the values of writes by channel.

    Args:
        writes: The writes.
        specs: Templates of all channels.
        grouped: Collects the values, behind those it has.

    Returns:
        Names that were written to and are no channel.
    """
    unknown = []
    for name, value in writes:
        values = grouped.get(name)
        if values is not None:
            values.append(value)
        elif name in specs:
            grouped[name] = [value]
        else:
            unknown.append(name)
    return unknown


def writes_twice(writes: Sequence[Write]) -> bool:
    """Return whether writes have a channel in common."""
    count = len(writes)
    if count < 3:
        return count == 2 and writes[0][0] == writes[1][0]
    return len({name for name, _ in writes}) != count


def _same(one: Values, other: Values) -> bool:
    """Return whether two dicts hold the very same objects."""
    return len(one) == len(other) and all(other.get(name, MISSING) is value for name, value in one.items())
