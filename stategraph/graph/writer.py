"""Conversion of the return value of a state graph's node to writes.

A node may return
* None: nothing to write;
* a dict of state keys, of which unknown ones are left out;
* an object of a class with annotations: the attributes that are state keys;
* a `Command`: its update, then a trigger for each node in `goto`. One that is meant for the parent graph is raised;
* a list of these with at least one `Command` in it.

In a graph whose state is one value (the key `__root__`) anything else is the new value.
Updates come before triggers, and the triggers of plain edges come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from stategraph.constants import END, TASKS
from stategraph.core import explain
from stategraph.engine.compile.write import (
    ChannelWrite,
    ChannelWriteEntry,
    ChannelWriteTupleEntry,
    Declared,
    Pair,
    WriteScope,
)
from stategraph.engine.config import foreign_types
from stategraph.engine.runs import strictness
from stategraph.errors import ErrorCode, IgnoredInputError, InvalidUpdateError, ParentCommand, create_error_message
from stategraph.fields import annotated_keys, set_items
from stategraph.graph.schema import ROOT
from stategraph.types import Command, Send

if TYPE_CHECKING:  # loaded for graphs that check, which are few
    from stategraph.graph.typed.validation import UpdateCheck


class StateWriter(ChannelWrite):
    """Writes what a node returned, and the triggers of the plain edges that leave it."""

    copies_dicts: ClassVar[bool] = True
    """Marks that of a dict only the state's keys are written, and its values are not examined."""

    def __init__(
        self, keys: UpdateKeys, ends: Sequence[str] | Mapping[str, str] | None = None, *, node: str = ""
    ) -> None:
        """Make the writer of one node.

        Args:
            keys: The state keys the node may write.
            ends: Where the node says its commands may go, for drawing.
            node: The node's name, for messages; empty for the run's input.
        """
        super().__init__(
            (
                ChannelWriteTupleEntry(keys.updates),
                ChannelWriteTupleEntry(control_writes, static=declared_ends(ends)),
            )
        )
        self._keys = keys
        self._plain = None if keys.is_root or keys.aliases or keys.strict or keys.check else keys.allowed
        self._fixed: list[Pair] = []
        self._node = node

    def add(self, channel: str, value: object) -> None:
        """Write a constant as well, for every return value of the node."""
        self.writes.append(ChannelWriteEntry(channel, value))
        self._fixed.append((channel, value))

    @property
    def step_count(self) -> int:
        """Number of steps of a traced sequence that it counts as: LangGraph has a separate writer for each edge."""
        return 1 + len(self._fixed)

    def pairs(self, value: object) -> list[Pair]:
        """Convert the node's return value to writes."""
        if type(value) is not Command:
            value = foreign_types.taken(value)
        # Both before either is written: a command for the parent graph leaves no trace here.
        try:
            updates = self._keys.updates(value)
        except InvalidUpdateError as error:
            explain.add_words(error, self._expected(value))
            raise
        except IgnoredInputError as error:
            explain.add_words(error, f"It was written by node '{self._node}'." if self._node else "It came as input.")
            raise
        if self._keys.check is not None:
            updates = self._keys.check(updates, self._node)
        return [*updates, *control_writes(value), *self._fixed]

    def _expected(self, value: object) -> str:
        who = f"Node '{self._node}' returned" if self._node else "The input is"
        keys = explain.listing(self._keys.allowed, "keys").removeprefix("The graph's keys are: ")
        return (
            f"{who} a value of type {type(value).__qualname__}; what is expected is a dict with any of the keys {keys}"
            f"{', a Command, a list of these with a Command in it, or None' if self._node else ''}."
        )

    def write_into(self, value: object, scope: WriteScope) -> None:
        """Append the writes for a node's return value."""
        writes = scope.writes
        if value is not None:
            allowed = self._plain
            if allowed is None or type(value) is not dict:
                writes.extend(self.pairs(value))
                return
            if allowed.issuperset(value):
                writes.extend(value.items())
            else:
                writes.extend([pair for pair in value.items() if pair[0] in allowed])
        if self._fixed:
            writes.extend(self._fixed)


class UpdateKeys:
    """The state keys that a node may write; one object serves all nodes of a graph."""

    __slots__ = ("aliases", "allowed", "check", "is_root", "order", "strict")

    def __init__(
        self,
        keys: Sequence[str],
        aliases: Mapping[str, str] | None = None,
        *,
        strict: bool = False,
        check: UpdateCheck | None = None,
    ) -> None:
        """Take the keys.

        Args:
            keys: In the order in which the attributes of a returned object are written.
            aliases: Other names under which a dict may give them.
            strict: Whether other keys are an error.
            check: Checks the values against the types of the keys; None for no check.
        """
        self.check = check
        self.order = tuple(keys)
        self.allowed = frozenset(keys)
        self.aliases = aliases
        self.strict = strict
        self.is_root = self.order == (ROOT,)

    def updates(self, value: object) -> list[Pair]:
        """Return the state updates in a node's return value.

        Raises:
            InvalidUpdateError: It is nothing that a node may return.
        """
        if value is None:
            return []
        if isinstance(value, Command):
            # A command for the parent graph is raised, by `control_writes`; its update is not for this graph.
            items = [] if value.graph == Command.PARENT else value._update_as_tuples()
            return items if self.is_root else self._kept(items)
        if isinstance(value, (list, tuple)) and any(isinstance(item, Command) for item in value):
            return [pair for item in value for pair in self._of_listed(item)]
        if self.is_root:
            return [(ROOT, value)]
        if isinstance(value, dict):
            if self.aliases:
                value = _by_name(value, self.aliases)
            return self._kept(value.items())
        if annotated_keys(type(value)):
            return set_items(value, self.order)
        raise InvalidUpdateError(
            create_error_message(
                message=f"Expected dict, got {value}", error_code=ErrorCode.INVALID_GRAPH_NODE_RETURN_VALUE
            )
        )

    def _kept(self, pairs: Iterable[Pair]) -> list[Pair]:
        if self.strict:
            pairs = list(pairs)
            strictness.refuse_keys((key for key, _ in pairs), self.allowed, "Update")
        return [pair for pair in pairs if pair[0] in self.allowed]

    def _of_listed(self, item: object) -> list[Pair]:
        # Among commands, the single value of a root state may be anything, a list or None included.
        return [(ROOT, item)] if self.is_root and not isinstance(item, Command) else self.updates(item)


def _by_name(values: dict[str, object], aliases: Mapping[str, str]) -> dict[str, object]:
    """Give values that came under an alias their key's name; as in pydantic, the alias wins if both are there."""
    named = {aliases[key]: value for key, value in values.items() if key in aliases}
    return {**{key: value for key, value in values.items() if key not in aliases}, **named}


def control_writes(value: object) -> list[Pair]:
    """Return the triggers in a node's return value.

    Raises:
        ParentCommand: It has a command that is meant for the graph around this one.
        TypeError: A command goes to something else than nodes and `Send`s.
    """
    if isinstance(value, Send):
        return [(TASKS, value)]
    if isinstance(value, Command):
        return list(_triggers(value))
    if isinstance(value, (list, tuple)):
        return [pair for item in value if isinstance(item, Command) for pair in _triggers(item)]
    return []


def _triggers(command: Command[Any]) -> Iterator[Pair]:
    if command.graph == Command.PARENT:
        raise ParentCommand(command)
    for target in command._targets():
        if isinstance(target, Send):
            yield TASKS, target
        elif target != END:
            yield branch_channel(target), None


def declared_ends(ends: Sequence[str] | Mapping[str, str] | None) -> list[Declared] | None:
    """Return the triggers that a node says its commands may write."""
    if ends is None:
        return None
    labels: Mapping[str, str | None] = ends if isinstance(ends, Mapping) else dict.fromkeys(ends)
    return [(end if end == END else branch_channel(end), None, label) for end, label in labels.items()]


def branch_channel(node: str) -> str:
    """Return the channel that triggers a node."""
    return f"branch:to:{node}"


def join_channel(starts: Sequence[str], end: str) -> str:
    """Return the channel that triggers a node when all of several others have run."""
    return f"join:{'+'.join(starts)}:{end}"
