"""Calls of ``invoke``, ``stream`` and their async forms, from the caller's arguments to the result.

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
from typing import Any, Final, NamedTuple, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_TASK_ID, INTERRUPT
from stategraph.engine.compile.validate import validate_keys
from stategraph.engine.config.runnable_config import ensure_config, inherited_config
from stategraph.engine.runs import adriver, driver, run_plan
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.run_plan import Options, Shown
from stategraph.engine.runs.teardown import Asking
from stategraph.engine.spec import GraphSpec
from stategraph.engine.streams.projection import Format
from stategraph.types import GraphOutput
from stategraph.warnings import LangGraphDeprecatedSinceV10

Modes = str | Sequence[str] | None

AT_END: Final = ()
"""No modes: the result of the run is read from the channels when it has ended. Told from the caller's by identity."""

_DURING_AND_DURABILITY = (
    "Cannot use both `checkpoint_during` and `durability` parameters. Please use `durability` instead."
)


def resolved(options: Options, deprecated: dict[str, Any]) -> Options:
    """Take deprecated options into account.

    Args:
        options: The caller's options.
        deprecated: Those by other names: ``checkpoint_during``, and for an ``invoke`` ``subgraphs`` and ``debug``.

    Raises:
        ValueError: If both ``checkpoint_during`` and ``durability`` are given.
    """
    if not deprecated:
        return options
    shown = {name: deprecated[name] for name in ("subgraphs", "debug") if name in deprecated}
    options = options._replace(shown=options.shown._replace(**shown))
    during = deprecated.get("checkpoint_during")
    if during is None:
        return options
    warnings.warn(
        "`checkpoint_during` is deprecated and will be removed. Please use `durability` instead.",
        category=LangGraphDeprecatedSinceV10,
        stacklevel=3,
    )
    if options.durability is not None:
        raise ValueError(_DURING_AND_DURABILITY)
    return options._replace(durability="async" if during else "exit")


def open_run(
    spec: GraphSpec,
    input: object,
    config: RunnableConfig | None,
    options: Options,
    modes: Modes = None,
) -> Execution:
    """Fill in defaults, decide how the graph is run, and open the run.

    Args:
        spec: The graph.
        input: Its input, a ``Command``, or None to continue.
        config: The caller's config, or None.
        options: The caller's options.
        modes: The modes to stream instead of the caller's, or None.
    """
    shown = options.shown
    if modes is None:
        modes = shown.stream_mode
    if modes is None:
        # A graph that runs as a node of another one shows its state unless told otherwise.
        nested = config is not None and CONFIG_KEY_TASK_ID in config.get(CONF, {})
        modes = "values" if nested else spec.stream_mode
    printed = ["updates", "values"] if shown.debug or spec.debug else shown.print_mode
    keys = options.output_keys
    if keys is None:
        keys = spec.stream_channels
    elif keys is not spec.output_channels:
        validate_keys(keys, spec.channels)
    v2 = shown.version == "v2"
    form = Format(
        modes,
        printed,
        shown.subgraphs,
        shown.version,
        spec.output_mapper if v2 else None,
        spec.state_mapper if v2 else None,
    )
    plan = run_plan.decide(spec, input, ensure_config(spec.config, config), options, form, keys)
    execution = Execution(plan)
    if plan.saver is None and options.durability is not None:
        warnings.warn("`durability` has no effect when no checkpointer is present.", stacklevel=4)
    return execution


# -- stream ------------------------------------------------------------------


def stream(spec: GraphSpec, input: object, config: RunnableConfig | None, options: Options) -> Iterator[Any]:
    """Run a graph; returns an iterator of what the caller asked to see."""
    return follow(open_run(spec, input, config, options))


def abegin(
    spec: GraphSpec, input: object, config: RunnableConfig | None, options: Options
) -> tuple[Asking[None], adriver.Request]:
    """Open a run as :func:`stream` where an event loop runs; returns what :func:`adriver.begin` does."""
    return adriver.begin(open_run(spec, input, config, options))


def follow(execution: Execution) -> Iterator[object]:
    """Run an execution, reporting to whoever listens; returns an iterator of what the caller asked to see."""
    return driver.Driver(execution).procedure()


_INSIDE = Options()
_QUIET = Format((), (), False, "v1")


def open_inside(spec: GraphSpec, input: object, config: RunnableConfig) -> Execution | None:
    """Open a run as :func:`open_run`, for a graph that is the work of a node, and so has nothing to be told.

    Args:
        spec: The graph.
        input: What the node is given.
        config: The config of the node's task, which is also the surrounding one.

    Returns:
        The run, to be read at its end; None if the graph has options that take the long way.
    """
    keys = spec.output_channels
    if spec.debug or spec.config is not None or spec.may_lose(keys):
        return None
    return Execution(run_plan.decide(spec, input, inherited_config(config), _INSIDE, _QUIET, keys))


# -- invoke ------------------------------------------------------------------


def invoke(spec: GraphSpec, input: object, config: RunnableConfig | None, options: Options) -> Any:
    """Run a graph to its end, or to its next interrupt."""
    execution, collector = _opened_to_collect(spec, input, config, options)
    return collect(follow(execution), collector)


async def ainvoke(spec: GraphSpec, input: object, config: RunnableConfig | None, options: Options) -> Any:
    """Run a graph as :func:`invoke`."""
    execution, collector = _opened_to_collect(spec, input, config, options)
    return await arun(execution, collector)


def _opened_to_collect(
    spec: GraphSpec, input: object, config: RunnableConfig | None, options: Options
) -> tuple[Execution, Collecting]:
    """Open a run for an ``invoke``, and return it with what puts its result together."""
    modes = _modes_to_collect(spec, options)
    execution = open_run(spec, input, config, options, modes)
    return execution, _AtEnd(execution, options) if modes is AT_END else Collector(options.shown)


def _modes_to_collect(spec: GraphSpec, options: Options) -> Modes:
    """Return the modes that an ``invoke`` follows; the caller's own if None."""
    if reads_at_end(spec, options):
        return AT_END
    return Collector(options.shown).modes


def reads_at_end(spec: GraphSpec, options: Options) -> bool:
    """Return whether the result can be read from the channels when the run has ended."""
    shown = options.shown
    if shown.stream_mode != "values" or shown.print_mode or shown.debug or spec.debug:
        return False
    keys = options.output_keys if options.output_keys is not None else spec.output_channels
    return not ((isinstance(keys, str) and shown.version != "v1") or spec.may_lose(keys))


def result(execution: Execution, options: Options) -> Any:
    """Return the result of an ``invoke`` that built no chunks."""
    machine = execution.machine
    value = _read_once(execution) if machine.values_seen else None
    if options.shown.version == "v2":
        mapper = execution.plan.spec.output_mapper
        if mapper is not None and isinstance(value, dict):
            value = mapper(value)
        return GraphOutput(value=value, interrupts=tuple(machine.interrupts))
    if machine.interrupts:
        shown = value if isinstance(value, dict) else {}
        return {**shown, INTERRUPT: list(machine.interrupts)}
    return value


def _read_once(execution: Execution) -> Any:
    """Read the output of a run that is over: plainly, as what makes many reads fast would serve for this one only."""
    keys = execution.plan.output_keys
    return execution.machine.state.read(keys if isinstance(keys, str) else list(keys))


class Collecting(Protocol):
    """Puts the result of an ``invoke`` together."""

    def add(self, chunk: Any) -> None:
        """Take in a chunk."""

    def result(self) -> Any:
        """Return what ``invoke`` returns."""


class _AtEnd(NamedTuple):
    """Reads the result of a run from the channels when it has ended."""

    execution: Execution
    options: Options

    def add(self, chunk: object) -> None:
        """Take in nothing: such a run builds no chunks."""

    def result(self) -> Any:
        """Return what ``invoke`` returns."""
        return result(self.execution, self.options)


class InsideResult(NamedTuple):
    """Reads the result of a run that :func:`open_inside` has opened: it has not paused, or it would have raised."""

    execution: Execution

    def add(self, chunk: object) -> None:
        """Take in nothing: such a run builds no chunks."""

    def result(self) -> Any:
        """Return what ``invoke`` returns."""
        return _read_once(self.execution) if self.execution.machine.values_seen else None


def collect(chunks: Iterator[object], collector: Collecting) -> Any:
    """Return the result of a run whose chunks a collector takes in."""
    for chunk in chunks:
        collector.add(chunk)
    return collector.result()


async def arun(execution: Execution, collector: Collecting) -> Any:
    """Run an execution to its end where an event loop runs; returns its result."""
    await adriver.run(execution, collector.add)
    return collector.result()


async def acollect(chunks: AsyncIterator[object], collector: Collecting) -> Any:
    """Return the result as :func:`collect`."""
    async for chunk in chunks:
        collector.add(chunk)
    return collector.result()


def invoke_through(
    stream: Callable[..., Iterator[Any]],
    input: object,
    config: RunnableConfig | None,
    options: Options,
    deprecated: dict[str, Any],
) -> Any:
    """Put the result of an ``invoke`` together from a ``stream`` that is not the engine's own.

    Args:
        stream: The method to call.
        input: The caller's input.
        config: The caller's config, or None.
        options: The caller's options.
        deprecated: Further ones, which `stream` knows too.
    """
    collector = Collector(options.shown)
    return collect(stream(input, config, **collector.asks(options), **deprecated), collector)


async def ainvoke_through(
    astream: Callable[..., AsyncIterator[Any]],
    input: object,
    config: RunnableConfig | None,
    options: Options,
    deprecated: dict[str, Any],
) -> Any:
    """Put the result together as :func:`invoke_through`, with an ``astream``."""
    collector = Collector(options.shown)
    return await acollect(astream(input, config, **collector.asks(options), **deprecated), collector)


class Collector:
    """Puts the result of an ``invoke`` together from its stream.

    Args:
        shown: The chunks that its caller asked for.
    """

    def __init__(self, shown: Shown) -> None:
        self._values = shown.stream_mode == "values"
        self._v2 = shown.version == "v2"
        self._latest: Any = None
        self._chunks: list[Any] = []
        self._interrupts: list[Any] = []

    @property
    def modes(self) -> str | list[str] | None:
        """Modes to stream; None for the caller's own."""
        return ["updates", "values"] if self._values and not self._v2 else None

    def asks(self, options: Options) -> dict[str, Any]:
        """Return the options for the stream to collect from; the version is named only if it is not the default."""
        shown, asked = options.shown, options._asdict()
        del asked["shown"]  # its other parts are no options of an ``invoke``
        asked |= {"stream_mode": self.modes or shown.stream_mode, "print_mode": shown.print_mode}
        return asked | {"version": shown.version} if self._v2 else asked

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
        """Return what ``invoke`` returns."""
        if not self._values:
            return self._chunks
        if self._v2:
            return GraphOutput(value=self._latest, interrupts=tuple(self._interrupts))
        if self._interrupts:
            shown = self._latest if isinstance(self._latest, dict) else {}
            return {**shown, INTERRUPT: self._interrupts}
        return self._latest
