"""What a call of ``invoke``, ``stream`` and their async forms does, from the caller's arguments to the result.

Rules
-----
* One callback manager is configured per run, and only if somebody listens.
* ``invoke`` builds no chunks: it reads the result from the channels when the
  run has ended. Only if an output channel can lose its value again, or
  somebody prints or listens, does it follow the stream.
* Where ``stream`` is not the engine's own (a subclass has another one, a test
  or an instrumentation has wrapped it), ``invoke`` goes through it: so whoever
  puts something there sees every run.
* The run of a traced graph ends with its output, or with its error.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_TASK_ID, INTERRUPT
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.compile.validate import validate_keys
from stategraph.engine.config.runnable_config import ensure_config, inherited_config
from stategraph.engine.config.runtime import RunControl
from stategraph.engine.runs import adriver, driver, listeners
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.request import Request
from stategraph.engine.streams.projection import Format
from stategraph.types import All, Durability, GraphOutput
from stategraph.warnings import LangGraphDeprecatedSinceV10


class Options(NamedTuple):
    """The options of a run, as its caller gave them; None means the graph's default."""

    context: Any = None
    stream_mode: str | Sequence[str] | None = None
    print_mode: str | Sequence[str] = ()
    output_keys: str | Sequence[str] | None = None
    interrupt_before: All | Sequence[str] | None = None
    interrupt_after: All | Sequence[str] | None = None
    durability: Durability | None = None
    control: RunControl | None = None
    subgraphs: bool = False
    debug: bool | None = None
    version: Literal["v1", "v2"] = "v1"


_DURING_AND_DURABILITY = (
    "Cannot use both `checkpoint_during` and `durability` parameters. Please use `durability` instead."
)


def durability_from(durability: Durability | None, deprecated: dict[str, Any]) -> Durability | None:
    """Take the deprecated ``checkpoint_during`` into account.

    Raises:
        ValueError: If both are given.
    """
    during = deprecated.get("checkpoint_during")
    if during is None:
        return durability
    warnings.warn(
        "`checkpoint_during` is deprecated and will be removed. Please use `durability` instead.",
        category=LangGraphDeprecatedSinceV10,
        stacklevel=4,
    )
    if durability is not None:
        raise ValueError(_DURING_AND_DURABILITY)
    return "async" if during else "exit"


def open_run(
    engine: CompiledGraph,
    input: Any,
    config: RunnableConfig | None,
    options: Options,
    modes: str | Sequence[str] | None = None,
) -> Execution:
    """Fill in defaults and parse the config.

    Args:
        engine: The graph.
        input: Its input, a ``Command``, or None to continue.
        config: The caller's config, or None.
        options: The caller's options.
        modes: The modes to stream instead of the caller's, or None.
    """
    if modes is None:
        modes = options.stream_mode
    if modes is None:
        # A graph that runs as a node of another one shows its state unless told otherwise.
        nested = config is not None and CONFIG_KEY_TASK_ID in config.get(CONF, {})
        modes = "values" if nested else engine.stream_mode
    printed = ["updates", "values"] if options.debug or engine.debug else options.print_mode
    v2 = options.version == "v2"
    keys = options.output_keys
    if keys is None:
        keys = engine.stream_channels_asis
    else:
        validate_keys(keys, engine.channels)
    request = Request(
        input=input,
        config=ensure_config(engine.config, config),
        context=options.context,
        format=Format(
            modes,
            printed,
            options.subgraphs,
            options.version,
            engine._output_mapper if v2 else None,
            engine._state_mapper if v2 else None,
        ),
        output_keys=keys,
        interrupt_before=options.interrupt_before or engine.interrupt_before_nodes,
        interrupt_after=options.interrupt_after or engine.interrupt_after_nodes,
        durability=options.durability,
        control=options.control,
    )
    execution = Execution(engine, request)
    if execution.saver is None and options.durability is not None:
        warnings.warn("`durability` has no effect when no checkpointer is present.", stacklevel=4)
    return execution


def follow(execution: Execution) -> Iterator[Any]:
    """Run an execution, reporting to whoever listens; returns an iterator of what the caller asked to see."""
    if listeners.needed(execution):
        return _follow_traced(execution)
    return driver.Driver(execution).run(None)


def _follow_traced(execution: Execution) -> Iterator[Any]:
    manager = listeners.start(execution)
    try:
        yield from driver.Driver(execution).run(manager)
        manager.on_chain_end(execution.output())
    except BaseException as error:
        manager.on_chain_error(error)
        raise


def afollow(execution: Execution) -> AsyncIterator[Any]:
    """As :func:`follow`; to be called where an event loop runs."""
    if listeners.needed(execution):
        return _afollow_traced(execution)
    return adriver.AsyncDriver(execution).run(None)


async def _afollow_traced(execution: Execution) -> AsyncIterator[Any]:
    manager = await listeners.astart(execution)
    try:
        async with aclosing(adriver.AsyncDriver(execution).run(manager)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk
        await manager.on_chain_end(execution.output())
    except BaseException as error:
        await listeners.report(manager, error)
        raise


def open_quiet_run(
    engine: CompiledGraph,
    input: Any,
    config: RunnableConfig | None,
    options: Options,
) -> Execution:
    """As :func:`open_run`, for a caller who only wants the result."""
    return open_run(engine, input, config, options, ())


_QUIET = Format((), (), False, "v1")


def open_inside(engine: CompiledGraph, input: Any, config: RunnableConfig) -> Execution | None:
    """As :func:`open_quiet_run`, for a graph that is the work of a node, and so has nothing to be told.

    Args:
        engine: The graph.
        input: What the node is given.
        config: The config of the node's task, which is also the surrounding one.

    Returns:
        The run, to be read at its end; None if the graph has options that take the long way.
    """
    keys = engine.output_channels
    shown = (keys,) if isinstance(keys, str) else keys
    if engine.debug or engine.config is not None or _may_lose_value(engine, shown):
        return None
    return Execution(
        engine,
        Request(
            input,
            inherited_config(config),
            None,
            _QUIET,
            keys,
            engine.interrupt_before_nodes,
            engine.interrupt_after_nodes,
            None,
            None,
        ),
    )


# -- invoke ------------------------------------------------------------------


def reads_at_end(engine: CompiledGraph, options: Options) -> bool:
    """Whether the result can be read from the channels when the run has ended."""
    if options.stream_mode != "values" or options.print_mode or options.debug or engine.debug:
        return False
    keys = options.output_keys if options.output_keys is not None else engine.output_channels
    if isinstance(keys, str):
        return options.version == "v1" and not _may_lose_value(engine, (keys,))
    return not _may_lose_value(engine, keys)


def _may_lose_value(engine: CompiledGraph, keys: Sequence[str]) -> bool:
    return not engine.program.loses.isdisjoint(keys)


def result(execution: Execution, options: Options) -> Any:
    """The result of an ``invoke`` that built no chunks."""
    machine = execution.machine
    value = _read_once(execution) if machine.values_seen else None
    if options.version == "v2":
        mapper = execution.engine._output_mapper
        if mapper is not None and isinstance(value, dict):
            value = mapper(value)
        return GraphOutput(value=value, interrupts=tuple(machine.interrupts))
    if machine.interrupts:
        shown = value if isinstance(value, dict) else {}
        return {**shown, INTERRUPT: list(machine.interrupts)}
    return value


def result_inside(execution: Execution) -> Any:
    """As :func:`result`, of a run that :func:`open_inside` has opened: it has not paused, or it would have raised."""
    return _read_once(execution) if execution.machine.values_seen else None


def _read_once(execution: Execution) -> Any:
    """The output of a run that is over: read plainly, as what makes many reads fast would serve for this one only."""
    return execution.machine.state.read(execution.request.output_keys)


def invoke_through(
    stream: Callable[..., Iterator[Any]],
    input: Any,
    config: RunnableConfig | None,
    options: dict[str, Any],
    deprecated: dict[str, Any],
) -> Any:
    """Put the result of an ``invoke`` together from a ``stream`` that is not the engine's own.

    Args:
        stream: The method to call.
        input: The caller's input.
        config: The caller's config, or None.
        options: The caller's options by name.
        deprecated: Further ones, which `stream` knows too.
    """
    collector = Collector(options["stream_mode"], options["version"])
    for chunk in stream(input, config, **collector.asks(options), **deprecated):
        collector.add(chunk)
    return collector.result()


async def ainvoke_through(
    astream: Callable[..., AsyncIterator[Any]],
    input: Any,
    config: RunnableConfig | None,
    options: dict[str, Any],
    deprecated: dict[str, Any],
) -> Any:
    """As :func:`invoke_through`, with an ``astream``."""
    collector = Collector(options["stream_mode"], options["version"])
    async for chunk in astream(input, config, **collector.asks(options), **deprecated):
        collector.add(chunk)
    return collector.result()


class Collector:
    """Puts the result of an ``invoke`` together from its stream.

    Args:
        stream_mode: The caller's.
        version: The form of the chunks.
    """

    def __init__(self, stream_mode: Any, version: str) -> None:
        self._values = stream_mode == "values"
        self._v2 = version == "v2"
        self._latest: Any = None
        self._chunks: list[Any] = []
        self._interrupts: list[Any] = []

    @property
    def modes(self) -> str | list[str] | None:
        """The modes to stream; None for the caller's own."""
        return ["updates", "values"] if self._values and not self._v2 else None

    def asks(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options for the stream to collect from; the version is named only if it is not the default."""
        asked = {**options, "stream_mode": self.modes or options["stream_mode"]}
        if not self._v2:
            del asked["version"]
        return asked

    def add(self, chunk: Any) -> None:
        """Take in a chunk."""
        if not self._values:
            self._chunks.append(chunk)
        elif self._v2:
            self._latest = chunk["data"]
            self._interrupts.extend(chunk.get("interrupts", ()))
        else:
            mode, payload = chunk[-2:]  # with `subgraphs`, a namespace comes first
            if mode == "values":
                self._latest = payload
            elif isinstance(payload, dict) and payload.get(INTERRUPT) is not None:
                self._interrupts.extend(payload[INTERRUPT])

    def result(self) -> Any:
        """What ``invoke`` returns."""
        if not self._values:
            return self._chunks
        if self._v2:
            return GraphOutput(value=self._latest, interrupts=tuple(self._interrupts))
        if self._interrupts:
            shown = self._latest if isinstance(self._latest, dict) else {}
            return {**shown, INTERRUPT: self._interrupts}
        return self._latest
