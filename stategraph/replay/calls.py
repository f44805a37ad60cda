"""One call of a graph, as a recording holds it, and what it came to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from stategraph.constants import CONF
from stategraph.engine.checkpoints.saver_interfaces import BaseCheckpointSaver, CheckpointTuple
from stategraph.engine.config.context import await_in_context
from stategraph.engine.config.runnable_config import merge_configs
from stategraph.replay import codec
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError
from stategraph.replay.lines import Cleaner

OPTIONS: Final = frozenset(
    {
        *("context", "stream_mode", "print_mode", "output_keys", "interrupt_before", "interrupt_after"),
        *("durability", "subgraphs", "version"),
    }
)
"""Arguments of `invoke` and `stream` that a recording holds."""

_CONFIG: Final = ("tags", "metadata", "run_name", "max_concurrency", "recursion_limit", "run_id")
_VERSION: Final = re.compile(r"^0*(\d+)\.[\d.e-]+$")


Graph: TypeAlias = Any
"""A compiled graph, of any state."""

Config: TypeAlias = Any
"""A RunnableConfig, as the caller gave it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a graph.

    Attributes:
        method: Which method is called.
        is_async: Whether it is the async one.
        input: The graph's input.
        config: Its config, as the caller gave it.
        options: Further arguments.
    """

    method: Literal["invoke", "stream"]
    is_async: bool
    input: Any
    config: Mapping[str, Json] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_line(self) -> dict[str, Json]:
        """Return what a recording holds of it.

        Raises:
            RecordingError: It cannot be written as data.
        """
        held = {name: each for name, each in self.options.items() if name != "control"}  # its owner's, not the run's
        unknown = sorted(held.keys() - OPTIONS)
        if unknown:
            raise RecordingError(
                f"{self.method}() was given {', '.join(unknown)}, which a recording cannot hold; it holds: "
                f"{', '.join(sorted(OPTIONS))}"
            )
        return {
            "kind": "begin",
            "method": self.method,
            "is_async": self.is_async,
            "input": codec.check_returns(self.input, "The input of the graph"),
            "config": codec.check_returns(_kept(self.config or {}), "The config"),
            "options": codec.check_returns(held, "An option of the call"),
        }

    @classmethod
    def of_line(cls, line: Mapping[str, Json]) -> Call:
        """Return the call that a line tells of."""
        given = [codec.decode(line[name]) for name in ("input", "config", "options")]
        return cls(line["method"], line["is_async"], *given)

    @property
    def thread_id(self) -> str | None:
        """The thread that the config names."""
        found = ((self.config or {}).get(CONF) or {}).get("thread_id")
        return None if found is None else str(found)

    def invoking(self, graph: Graph, config: Config, context: Context) -> Callable[[], object]:
        """Return the request that invokes a graph in a context; of an async call its result is awaited."""
        if not self.is_async:
            return partial(context.run, graph.invoke, self.input, config, **self.options)
        return lambda: awaited(context.run(graph.ainvoke, self.input, config, **self.options), context)

    def stored(self, graph: Graph) -> Callable[[], object]:
        """Return the request for the checkpoints of the call's thread; of an async call its result is awaited."""
        return partial(astored if self.is_async else stored, graph, self)

    def merged(self, handler: object) -> Config:
        """Return the config with a handler of callbacks."""
        return merge_configs(self.config, {"callbacks": [handler]})  # type: ignore[arg-type]


def _kept(config: Mapping[str, Json]) -> dict[str, Json]:
    kept = {name: config[name] for name in _CONFIG if config.get(name) is not None}
    conf = {name: each for name, each in (config.get(CONF) or {}).items() if not name.startswith("__")}
    if "run_id" in kept:
        kept["run_id"] = str(kept["run_id"])
    return {**kept, CONF: conf} if conf else kept


def streamed(graph: Graph, call: Call, config: Config, context: Context) -> Iterator[Any]:
    """Make a call of `stream` in a context, and yield what it yields."""
    with closing(context.run(graph.stream, call.input, config, **call.options)) as parts:
        while True:
            try:
                part = context.run(next, parts)
            except StopIteration:
                return
            yield part


async def astreamed(graph: Graph, call: Call, config: Config, context: Context) -> AsyncIterator[Any]:
    """Make a call of `astream` in a context, and yield what it yields."""
    async with aclosing(graph.astream(call.input, config, **call.options)) as parts:
        while True:
            try:
                part = await awaited(parts.__anext__(), context)
            except StopAsyncIteration:
                return
            yield part


async def awaited(work: Any, context: Context) -> Any:
    """Await something in a context, in the caller's task."""

    async def waiting() -> Any:
        try:
            return True, await work
        except StopAsyncIteration:
            return False, None

    goes_on, value = await await_in_context(context, waiting())
    if not goes_on:
        raise StopAsyncIteration
    return value


# -- what is stored -------------------------------------------------------------------


def saver_of(graph: Graph) -> BaseCheckpointSaver[Any] | None:
    """Return the saver of a graph; None if it stores nothing."""
    found = graph.checkpointer
    return found if isinstance(found, BaseCheckpointSaver) else None


def stored(graph: Graph, call: Call) -> list[CheckpointTuple]:
    """Return the checkpoints of a call's thread."""
    saver = saver_of(graph)
    return [] if saver is None else list(saver.list({CONF: {"thread_id": call.thread_id}}))


async def astored(graph: Graph, call: Call) -> list[CheckpointTuple]:
    """Return the checkpoints of a call's thread, on an event loop."""
    if (found := saver_of(graph)) is None:
        return []
    return [each async for each in found.alist({CONF: {"thread_id": call.thread_id}})]


def digests(found: list[CheckpointTuple], cleaner: Cleaner) -> list[Json]:
    """Return a line for each checkpoint: where it is, and a digest of all that it holds.

    Version numbers count without the random digits that savers put behind them.
    """
    lines = []
    for each in found:
        conf = each.config[CONF]
        parent = (each.parent_config or {}).get(CONF, {}).get("checkpoint_id")
        whole = [each.checkpoint, each.metadata, sorted(each.pending_writes or [], key=lambda write: write[0])]
        encoded = _plain(codec.encode(whole))
        encoded[2] = [_write(each, cleaner) for each in encoded[2]]
        text = codec.text(cleaner.clean(encoded))
        lines.append(
            [
                conf.get("checkpoint_ns", ""),
                conf["checkpoint_id"],
                parent,
                sha256(text.encode(errors="surrogatepass")).hexdigest(),
            ]
        )
    return sorted(lines, key=lambda line: (line[0], line[1]))


def _write(write: Json, cleaner: Cleaner) -> Json:
    """Return a write that is stored with a checkpoint, with its value cleaned by its channel."""
    items = write.get("items") if isinstance(write, dict) else write
    if not isinstance(items, list) or len(items) != 3:
        return write
    cleaned = [*items[:2], cleaner.named(items[1], items[2])]
    return {**write, "items": cleaned} if isinstance(write, dict) else cleaned


def _plain(value: Json) -> Json:
    if isinstance(value, str):
        version = _VERSION.match(value)
        return version[1] if version and len(value) > 32 else value
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value
