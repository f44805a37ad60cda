"""Threads in flight that go on with the version of the graph that began them.

Rules
-----
* A thread of a pinned version with work left goes on with that version's graph: resumed, answered, read and edited.
* New input begins a new run, with the newest version: the thread is brought up first. If no migration leads from its
  version, the thread stays with it for good.
* Which version a thread is of is asked of the saver before each call: one more read, by graphs with pinned ones only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Generic, Self, TypeAlias, cast

from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_RESUMING,
)
from stategraph.core.checkpoint import Values
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.engine.config.runnable_config import ensure_config, patch_configurable
from stategraph.engine.state.account import asking
from stategraph.engine.state.account.explanation import Explanation
from stategraph.errors import ConfigurationError
from stategraph.graph.compiled import AnyStateGraph, CompiledStateGraph
from stategraph.graph.versions.bringing import GraphVersions, version_of
from stategraph.graph.versions.fingerprinted import FingerprintedVersions
from stategraph.types import Command
from stategraph.typing import ContextT, InputT, OutputT, StateT

_Arguments: TypeAlias = tuple[object, ...]

_TAKE_INPUT: Final = frozenset(("stream", "astream"))
"""Methods whose first argument is an input, before the config."""


def pin(compiled: AnyStateGraph, pinned: Mapping[str, AnyStateGraph]) -> None:
    """Give a graph the graphs of earlier versions.

    Raises:
        ConfigurationError: The graph has no version, or one of the others is not of the version it is given for.
    """
    if not isinstance(compiled, PinnedStateGraph) or compiled._versions is None or not compiled._versions.current:
        raise ConfigurationError(
            "`pinned` has graphs of earlier versions, and the graph has no version: pass `version`"
        )
    for version, graph in pinned.items():
        if not isinstance(graph, CompiledStateGraph):
            raise ConfigurationError(f"pinned[{version!r}] is a {type(graph).__name__}; expected a compiled graph")
        own = None if graph._versions is None else graph._versions.current
        if own != version or version == compiled._versions.current:
            raise ConfigurationError(
                f"pinned[{version!r}] is a graph of version {own!r}, below one of version "
                f"{compiled._versions.current!r}: expected compile(version={version!r}) of an earlier one"
            )
    compiled.__dict__["_pinned"] = {
        version: graph if graph.checkpointer is not None else graph.copy({"checkpointer": compiled.checkpointer})
        for version, graph in pinned.items()
    }


def _target(
    self: _Pinned,
    name: str,
    given: _Arguments,
    options: dict[str, object],
    found: tuple[AnyStateGraph, RunnableConfig] | None,
) -> Callable[[], Any]:
    """Return a method with its arguments: of this graph, or of the pinned one that was found."""
    if found is None:
        return partial(getattr(CompiledStateGraph, name), self, *given, **options)
    graph, config = found
    if options.get("output_keys") == self.output_channels:
        options["output_keys"] = None  # `invoke` names those of this graph; the other may have others
    first = (given[0], config, *given[2:]) if name in _TAKE_INPUT else (config, *given[1:])
    return partial(getattr(graph, name), *first, **options)


def _sync(name: str, *, streams: bool = False) -> Any:
    """Make a sync method that is called on the graph that a thread goes on with."""

    def call(self: _Pinned, *given: object, **options: object) -> Any:
        given, options = _positional(name, given, options)
        return _target(self, name, given, options, pump.run(self._choose(name, given)))()

    def stream(self: _Pinned, *given: object, **options: object) -> Iterator[object]:
        yield from call(self, *given, **options)

    return stream if streams else call


def _of_loop(name: str, *, streams: bool = False) -> Any:
    """Make an async method that is called on the graph that a thread goes on with."""

    async def call(self: _Pinned, *given: object, **options: object) -> Any:
        given, options = _positional(name, given, options)
        called = _target(self, name, given, options, await pump.arun(self._choose(name, given)))()
        return called if streams else await called

    async def stream(self: _Pinned, *given: object, **options: object) -> AsyncIterator[object]:
        async for each in await call(self, *given, **options):
            yield each

    return stream if streams else call


def _positional(name: str, given: _Arguments, options: dict[str, object]) -> tuple[_Arguments, dict[str, object]]:
    """Move the input and the config in front, which may be passed by name."""
    rest = dict(options)
    for place, argument in enumerate(("input", "config") if name in _TAKE_INPUT else ("config",)):
        if place >= len(given):
            given = (*given, rest.pop(argument, None))
    return given, rest


def _explained(self: _Pinned, thread: RunnableConfig | str, **options: Any) -> Explanation:
    """Explain a thread by the graph that it goes on with."""
    found = pump.run(self._choose("explain", (asking.config_of(thread),)))
    graph, config = (self, thread) if found is None else found
    return CompiledStateGraph.explain(graph, config, **options)


async def _explained_on_loop(self: _Pinned, thread: RunnableConfig | str, **options: Any) -> Explanation:
    """Like `_explained`."""
    found = await pump.arun(self._choose("explain", (asking.config_of(thread),)))
    graph, config = (self, thread) if found is None else found
    return await CompiledStateGraph.aexplain(graph, config, **options)


class PinnedStateGraph(
    CompiledStateGraph[StateT, ContextT, InputT, OutputT], Generic[StateT, ContextT, InputT, OutputT]
):
    """A compiled graph beside graphs of its earlier versions; made by `compile(pinned=...)`."""

    _pinned: Mapping[str, AnyStateGraph] = {}

    def _rebuilt(self, attributes: Values) -> Self:
        twin = super()._rebuilt(attributes)
        twin.__dict__["_pinned"] = self._pinned
        return twin

    # -- which graph -----------------------------------------------------

    def _pinned_to(self, saved: CheckpointTuple | None) -> tuple[AnyStateGraph, bool] | None:
        """Return the graph of the version that a thread is of, and whether it is of that for good."""
        if saved is None:
            return None
        chain = cast("GraphVersions | FingerprintedVersions", self._versions).chain
        version = version_of(saved) or chain.oldest
        graph = self._pinned.get(version)
        return None if graph is None else (graph, not chain.reaches(version))

    def _choose(self, name: str, given: _Arguments) -> Procedure[tuple[AnyStateGraph, RunnableConfig] | None]:
        """Find the pinned graph that a thread goes on with, and the config to call it with; None: this graph.

        Args:
            name: The method that is called.
            given: Its arguments.
        """
        config, begins = given[0], False
        if name in _TAKE_INPUT:
            config, begins = given[1], not (given[0] is None or isinstance(given[0], Command))
        named = cast("RunnableConfig | None", config)
        complete = ensure_config(self.config, named) if self.config else ensure_config(named)
        saver = self.spec.saver_of(complete[CONF])
        if saver is None or not complete[CONF]:
            return None
        asked = self.spec.own_config(complete)
        if CONFIG_KEY_CHECKPOINTER not in complete[CONF] and complete[CONF].get(CONFIG_KEY_CHECKPOINT_NS):
            # The caller means a graph inside of this one, whose versions are its own.
            asked = patch_configurable(asked, {CONFIG_KEY_CHECKPOINT_NS: "", CONFIG_KEY_CHECKPOINT_ID: None})
        saved: CheckpointTuple | None = yield Ask(saver, "get_tuple", (asked,))
        found = self._pinned_to(saved)
        if found is None:
            return None
        graph, for_good = found
        if not for_good:
            # A graph inside of another that goes on is given that one's state again.
            begins = begins and not complete[CONF].get(CONFIG_KEY_RESUMING)
            has_work: bool = not begins and (yield Ask(graph, "has_work_left", (asked,)))
            if not has_work:
                return None
        return graph, complete

    # -- calls, each by the graph that the thread goes on with -------------

    stream = _sync("stream", streams=True)
    astream = _of_loop("astream", streams=True)
    get_state = _sync("get_state")
    aget_state = _of_loop("aget_state")
    get_state_history = _sync("get_state_history", streams=True)
    aget_state_history = _of_loop("aget_state_history", streams=True)
    has_work_left = _sync("has_work_left")
    ahas_work_left = _of_loop("ahas_work_left")
    bulk_update_state = _sync("bulk_update_state")
    abulk_update_state = _of_loop("abulk_update_state")
    explain = _explained
    aexplain = _explained_on_loop


_Pinned: TypeAlias = PinnedStateGraph[Any, Any, Any, Any]
