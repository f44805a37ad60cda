"""Writers: they turn what a node returned into writes to channels.

A node has a list of writers, run in order on its return value. Each of them serves two callers:

* `write_into` and `awrite_into` are for the inner loop. They append `(channel, value)` pairs straight to the task's
  scope, and no callback run is made.
* `invoke` and `ainvoke` make it a LangChain Runnable, the last steps of a sequence, for a run that is traced. The
  pairs then go through the `send` function in the task's config.

Both pass the return value on unchanged, and both write all of a writer's pairs or, if it raises, none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import CONF, CONFIG_KEY_READ, CONFIG_KEY_SEND, END, START, TASKS
from stategraph.core.views import Keys
from stategraph.engine.compile.functions import RunnableCallable, plan_call
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.engine.config import foreign_types
from stategraph.engine.config.context import run_in_context
from stategraph.engine.config.runnable_config import ensure_config
from stategraph.errors import InvalidUpdateError
from stategraph.types import Send

Pair = tuple[str, Any]
"""A channel and what to write to it."""

Declared = tuple[str, Any, str | None]
"""A write that may happen, for drawing: channel (or `END`), value, label of the edge."""


_Mark = TypeVar("_Mark", bound=AnyRunnable)


class _Sentinel:
    """A value that only `is` can match."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


SKIP_WRITE: Final[Any] = _Sentinel("SKIP_WRITE")
"""Return value of an entry's mapper to leave its channel alone."""

PASSTHROUGH: Final[Any] = _Sentinel("PASSTHROUGH")
"""The value of an entry that writes the node's return value."""


class WriteScope(Protocol):
    """The attributes of a task that its writers need."""

    @property
    def writes(self) -> Any:
        """The task's writes: takes `append(pair)` and `extend(pairs)`."""

    @property
    def config(self) -> RunnableConfig:
        """The task's config."""

    def read(self, select: str | Sequence[str], fresh: bool) -> Any:
        """Return the state as the task sees it; `fresh` applies the task's own writes first."""

    def show(self, keys: Keys, mapper: Callable[[Any], Any]) -> Any:
        """Return the result of a mapper for several keys of the state, with the task's own writes applied."""


class FastWriter(Protocol):
    """A writer that the inner loop may call without LangChain."""

    @property
    def needs_await(self) -> bool:
        """True if an async run has to use `awrite_into`."""

    def write_into(self, value: object, scope: WriteScope) -> None:
        """Append the writes for a node's return value."""

    async def awrite_into(self, value: object, scope: WriteScope) -> None:
        """Like `write_into`, for a writer that has to await."""


class ChannelWriteEntry(NamedTuple):
    """One write to one channel."""

    channel: str
    value: Any = PASSTHROUGH
    """The value to write; `PASSTHROUGH` for the node's return value."""
    skip_none: bool = False
    """True to write nothing if the value is None."""
    mapper: Callable[[Any], object] | None = None
    """Applied to the value first; it may answer `SKIP_WRITE`."""


class ChannelWriteTupleEntry(NamedTuple):
    """Writes to channels that are only known from the value."""

    mapper: Callable[[Any], Sequence[Pair] | None]
    """Answers the pairs to write; None and an empty sequence both mean none."""
    value: Any = PASSTHROUGH
    """The value to give the mapper; `PASSTHROUGH` for the node's return value."""
    static: Sequence[Declared] | None = None
    """Writes the mapper may answer with, for drawing."""


WriteEntry = ChannelWriteEntry | ChannelWriteTupleEntry | Send


def assemble(entries: Iterable[WriteEntry], returned: object = PASSTHROUGH) -> list[Pair]:
    """Work out the pairs that entries write.

    Args:
        entries: What to write, in order.
        returned: The node's return value, taken wherever an entry says `PASSTHROUGH`.

    Returns:
        The pairs, in order.

    Raises:
        InvalidUpdateError: An entry names the channel that is reserved for `Send`.
        ValueError: Something else than an entry or a `Send` was given.
    """
    pairs: list[Pair] = []
    for entry in entries:
        if isinstance(entry, Send):
            pairs.append((TASKS, entry))
            continue
        if not isinstance(entry, (ChannelWriteEntry, ChannelWriteTupleEntry)):
            raise ValueError(f"A write must be a ChannelWriteEntry, a ChannelWriteTupleEntry or a Send, not {entry!r}")
        value = returned if entry.value is PASSTHROUGH else entry.value
        if isinstance(entry, ChannelWriteTupleEntry):
            pairs.extend(entry.mapper(value) or ())
            continue
        if entry.channel == TASKS:
            raise InvalidUpdateError(f"'{TASKS}' cannot be written by name: write a Send instead")
        if entry.mapper is not None:
            value = entry.mapper(value)
        if value is not SKIP_WRITE and not (entry.skip_none and value is None):
            pairs.append((entry.channel, value))
    return pairs


class ChannelWrite(Runnable[Any, Any]):
    """Writes a node's return value according to a list of entries."""

    needs_await: ClassVar[bool] = False

    writes: list[WriteEntry]
    tags: Sequence[str] | None

    def __init__(self, writes: Sequence[WriteEntry], *, tags: Sequence[str] | None = None) -> None:
        """Make a writer.

        Args:
            writes: What to write, in order.
            tags: Kept for readers; writers make no separate runs.
        """
        self.writes = list(writes)
        self.tags = tags

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Name the writer after the channels it writes."""
        if not name:
            name = f"{type(self).__name__}<{','.join(map(_target, self.writes))}>"
        return super().get_name(suffix, name=name)

    def pairs(self, value: object) -> list[Pair]:
        """Compute the writes for a node that returned `value`."""
        return assemble(self.writes, value)

    def write_into(self, value: object, scope: WriteScope) -> None:
        """Append the writes for a node's return value."""
        scope.writes.extend(self.pairs(value))

    async def awrite_into(self, value: object, scope: WriteScope) -> None:
        """Like `write_into`; nothing here awaits."""
        self.write_into(value, scope)

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Send the writes through the config and return the input."""
        _sender(config)(self.pairs(input))
        return input

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Like `invoke`; nothing here awaits."""
        return self.invoke(input, config)

    @staticmethod
    def do_write(config: RunnableConfig, writes: Sequence[WriteEntry], allow_passthrough: bool = True) -> None:
        """Write entries from inside a node.

        Args:
            config: The task's config.
            writes: What to write.
            allow_passthrough: Whether an entry without a value is accepted.

        Raises:
            InvalidUpdateError: An entry is not allowed here.
        """
        if not allow_passthrough and any(getattr(entry, "value", None) is PASSTHROUGH for entry in writes):
            raise InvalidUpdateError("Every write needs a value here: there is no return value to pass through")
        _sender(config)(assemble(writes))

    @staticmethod
    def is_writer(runnable: AnyRunnable) -> bool:
        """Tell writers from the work of a node."""
        return isinstance(runnable, (ChannelWrite, BranchWriter)) or hasattr(runnable, "_is_channel_writer")

    @staticmethod
    def get_static_writes(runnable: AnyRunnable) -> Sequence[Declared] | None:
        """List the writes that a writer says it may make, or None if it says nothing."""
        if isinstance(runnable, BranchWriter):
            return runnable.declared()
        if isinstance(runnable, ChannelWrite):
            entries = (entry for entry in runnable.writes if isinstance(entry, ChannelWriteTupleEntry))
            return [write for entry in entries for write in entry.static or ()] or None
        declared = getattr(runnable, "_is_channel_writer", None)
        if not declared:
            return None
        return [(*pair, label) for entry, label in declared for pair in assemble([entry])]

    @staticmethod
    def register_writer(
        runnable: _Mark, static: Sequence[tuple[ChannelWriteEntry | Send, str | None]] | None = None
    ) -> _Mark:
        """Mark any Runnable as a writer.

        Args:
            runnable: What writes; it must pass its input on.
            static: The writes it may make with the labels of their edges, for drawing.

        Returns:
            The same Runnable.
        """
        # Pydantic models and frozen dataclasses refuse ordinary assignment.
        object.__setattr__(runnable, "_is_channel_writer", static)
        return runnable


_NAMES: Final = frozenset((str, list, tuple))
"""Types of what routers mostly answer, none of them a Runnable; asking `isinstance` takes 0.5 us."""

_KNOWN_ANSWERS: Final = 256
"""Answers that a router's writer remembers; a router may make up names without end."""


class BranchWriter(Runnable[Any, Any]):
    """Asks a router where to go after a node, and writes the triggers of these nodes.

    The router is called with the state as it is after the node's own writes.
    """

    def __init__(
        self,
        path: AnyRunnable,
        ends: Mapping[Hashable, str] | None,
        *,
        select: str | list[str] | None,
        mapper: Callable[[Any], Any] | None = None,
        adds_output: bool = False,
        source: str | None = None,
    ) -> None:
        """Make the writer of one conditional edge.

        Args:
            path: The router.
            ends: What the router's answers mean; None (or nothing in it) if it answers with node names.
            select: The part of the state the router gets; None to give it the node's return value instead.
            mapper: Turns the read state into the router's input type.
            adds_output: Whether keys that the node returned but the state does not have are shown to the router too.
            source: The node that it comes after, for errors.
        """
        self.path = path
        self._source = source
        self.ends = dict(ends) if ends else None
        self.select = select
        # Writes by answers that are names; never changed in place.
        self._known: dict[str, list[Pair]] = {}
        self._reads = select if select is None or isinstance(select, str) else Keys(select)
        self.mapper = mapper
        self.adds_output = adds_output
        call, direct = _router_call(path), _async_router_call(path)
        self._call = path.invoke if call is None else call
        self.needs_await = call is None or direct is not None
        self._ask: Callable[[Any, RunnableConfig], Awaitable[object]] = path.ainvoke if direct is None else direct
        # True if a Runnable returned as an answer has to be invoked in turn: `ainvoke` does so itself.
        self._asks_on = direct is not None

    def share(self, known: dict[Keys, Keys]) -> None:
        """Name what the router gets by the same object as others do, if they get the same.

        It is looked up in every step; and to find names equal one by one takes as long as reading them.
        """
        if isinstance(self._reads, Keys):
            self._reads = known.setdefault(self._reads, self._reads)

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Name the writer after its router."""
        return super().get_name(suffix, name=name or f"BranchWriter<{self.path.get_name()}>")

    def declared(self) -> list[Declared] | None:
        """List where the router may go; None if that is unknown."""
        if self.ends is None:
            return None
        return [(end if end == END else f"branch:to:{end}", None, str(label)) for label, end in self.ends.items()]

    def write_into(self, value: object, scope: WriteScope) -> None:
        """Ask the router inline and append its triggers."""
        call = self._call
        answer = call(self._shown(value, scope), scope.config)
        pairs = self._known.get(answer) if type(answer) is str else None
        scope.writes.extend(self._pairs(answer) if pairs is None else pairs)

    async def awrite_into(self, value: object, scope: WriteScope) -> None:
        """Ask the router and append its triggers; a router that is a plain function is called inline."""
        if self.needs_await:
            state = self._shown(value, scope)
            answer = await self._ask(state, scope.config)
            pairs = self._known.get(answer) if type(answer) is str else None
            if pairs is None and self._asks_on and isinstance(answer, Runnable):
                answer = await answer.ainvoke(state, scope.config)
            scope.writes.extend(self._pairs(answer) if pairs is None else pairs)
        else:
            self.write_into(value, scope)

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Ask the router as a traced step, send the triggers, return the input."""
        config = config or ensure_config()
        answer = self.path.invoke(self._traced_state(input, config), config)
        return self._send(answer, input, config)

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Like `invoke`, awaiting the router; one that is a plain function is called inline."""
        return await self.atraced(input, config or ensure_config(), takes_turns=True)

    async def atraced(self, returned: object, config: RunnableConfig, *, takes_turns: bool) -> Any:
        """Ask the router as `ainvoke`; `takes_turns` says whether others run beside its node."""
        state = self._traced_state(returned, config)
        if self.needs_await:
            answer = await self.path.ainvoke(state, config)
        else:
            router = cast(RunnableCallable, self.path)
            answer = await router.ainvoke_at_once(state, config, takes_turns=takes_turns)
        return self._send(answer, returned, config)

    def _shown(self, returned: object, scope: WriteScope) -> object:
        if self.mapper is not None and isinstance(self._reads, Keys):
            return scope.show(self._reads, self.mapper)
        return self._state(returned, scope.read)

    def _traced_state(self, returned: object, config: RunnableConfig) -> object:
        return returned if self.select is None else self._state(returned, reader(config))

    def _state(self, returned: object, read: Callable[[str | Sequence[str], bool], object]) -> object:
        if self._reads is None:
            return returned
        state = read(self._reads, True)
        if self.mapper is not None:
            return self.mapper(state)
        if not self.adds_output or not isinstance(state, dict) or not isinstance(returned, dict):
            return state
        # Mostly there is nothing to add, and merging wide states costs more than reading them.
        return state if returned.keys() <= state.keys() else {**returned, **state}

    def _send(self, answer: object, returned: object, config: RunnableConfig) -> object:
        if pairs := self._pairs(answer):
            _sender(config)(pairs)
        return returned

    def _pairs(self, answer: object) -> list[Pair]:
        pairs = self._answered(answer)
        # Asked for by the class, as a string of another kind may equal one of these and mean something else.
        if type(answer) is str and len(self._known) < _KNOWN_ANSWERS:
            self._known[answer] = pairs
        return pairs

    def _answered(self, answer: object) -> list[Pair]:
        pairs: list[Pair] = []
        for item in answer if isinstance(answer, (list, tuple)) else (answer,):
            if not isinstance(item, (str, Send)):
                item = foreign_types.taken(item)
            end = item if self.ends is None or isinstance(item, Send) else self._end_for(item)
            if isinstance(end, Send):
                if end.node == END:
                    raise InvalidUpdateError(
                        f"{self._who} sent a packet to the END node, which runs nothing: return END instead"
                    )
                pairs.append((TASKS, end))
            elif end is None or end == START:
                raise ValueError(
                    f"{self._who} answered {item!r}, which leads nowhere: expected the name of a "
                    "node, END, a Send, or a list of these"
                )
            elif end != END:
                pairs.append((f"branch:to:{end}", None))
        return pairs

    @property
    def _who(self) -> str:
        """The router, in errors; a lambda has no name."""
        name = self.path.get_name()
        who = "Router" if name == RunnableCallable.__name__ else f"Router '{name}'"
        if self._source is None:
            return who
        return f"{who} after START" if self._source == START else f"{who} of node '{self._source}'"

    def _end_for(self, item: object) -> object:
        ends = self.ends or {}
        try:
            return ends[item]
        except KeyError:
            raise KeyError(
                f"{self._who} answered {item!r}, which its path map does not have; it has {list(ends)!r}"
            ) from None


_current_config = var_child_runnable_config.get


def _router_call(path: AnyRunnable) -> Callable[[Any, RunnableConfig], object] | None:
    """Return the router's own function, to be called without a run; None if it has to be invoked or awaited."""
    plan = plan_call(path)
    if plan is None or plan.func is None:
        return None
    func, is_plain = plan.func, plan.is_plain

    def call(state: object, config: RunnableConfig) -> Any:
        inside = _current_config() is config
        if inside and is_plain:
            answer = func(state)
        elif inside:
            answer = func(state, **plan.arguments(config))
        else:
            answer = run_in_context(config, func, state, **plan.arguments(config))
        if type(answer) in _NAMES or not (plan.recurse and isinstance(answer, Runnable)):
            return answer
        return answer.invoke(state, config)

    return call


def _async_router_call(path: AnyRunnable) -> Callable[[Any, RunnableConfig], Awaitable[object]] | None:
    """Return a function that starts an async router without a run and a coroutine around it; None for any other."""
    plan = plan_call(path)
    if plan is None or plan.afunc is None or not plan.recurse:
        return None
    afunc, is_plain = plan.afunc, plan.is_plain

    def ask(state: object, config: RunnableConfig) -> Any:
        return afunc(state) if is_plain else afunc(state, **plan.arguments(config))

    return ask


def reader(config: RunnableConfig) -> Callable[[str | Sequence[str], bool], Any]:
    """Return the function in a task's config that reads the state.

    Raises:
        RuntimeError: The config is not that of a task.
    """
    try:
        return config[CONF][CONFIG_KEY_READ]  # type: ignore[no-any-return]
    except KeyError:
        raise RuntimeError("There is no state to read here: this works only inside a task of a running graph") from None


def _sender(config: RunnableConfig | None) -> Callable[[Sequence[Pair]], None]:
    return (config or ensure_config())[CONF][CONFIG_KEY_SEND]  # type: ignore[no-any-return]


def _target(entry: WriteEntry) -> str:
    if isinstance(entry, Send):
        return entry.node
    return entry.channel if isinstance(entry, ChannelWriteEntry) else "..."
