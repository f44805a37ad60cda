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
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from langchain_core.runnables import RunnableConfig

from stategraph.constants import INTERRUPT
from stategraph.engine.config.run_config import run_config
from stategraph.engine.config.runnable_config import inherited_config
from stategraph.engine.runs import adriver, driver, run_plan, run_setup
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.run_plan import NOTHING, Given
from stategraph.engine.runs.run_setup import Options
from stategraph.engine.spec import GraphSpec
from stategraph.types import GraphOutput
from stategraph.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from stategraph.engine.config.limits import GraphLimits

_DURING_AND_DURABILITY = (
    "Cannot use both `checkpoint_during` and `durability` parameters. Please use `durability` instead."
)
_MODE: Final = Options._fields.index("stream_mode")


def open_run(
    spec: GraphSpec,
    options: tuple[Any, ...],
    input: object,
    config: RunnableConfig | None,
    given: Given,
    deprecated: dict[str, Any],
) -> Execution:
    """Decide how a graph is run, and open the run.

    Args:
        spec: The graph.
        options: The fields of `run_setup.Options`, in a plain tuple.
        input: Its input, a ``Command``, or None to continue.
        config: The caller's config, or None.
        given: What else the caller gave.
        deprecated: Options by other names: ``checkpoint_during``, and for an ``invoke`` ``subgraphs`` and ``debug``.

    Raises:
        ValueError: If both ``checkpoint_during`` and ``durability`` are given.
    """
    if deprecated or options[_MODE] is None:
        options, given = _completed(spec, options, config, given, deprecated)
    setup = run_setup.setup_of(spec, options)
    if given.control is not None and given.control.limited:
        config = cast("GraphLimits", given.control).completed(config)
    plan = run_plan.decide(spec, setup, input, run_config(spec.config, config), given)
    execution = Execution(plan)
    if plan.saver is None and given.durability is not None:
        warnings.warn("`durability` has no effect when no checkpointer is present.", stacklevel=3)
    return execution


def _completed(
    spec: GraphSpec, options: tuple[Any, ...], config: RunnableConfig | None, given: Given, deprecated: dict[str, Any]
) -> tuple[tuple[Any, ...], Given]:
    """Take the graph's default mode and deprecated options into account, as :func:`open_run` is given them."""
    collected, mode, *shown, subgraphs, debug, keys, before, after = options
    if mode is None:
        mode = run_setup.default_mode(spec, config)
    subgraphs, debug = deprecated.get("subgraphs", subgraphs), deprecated.get("debug", debug)
    during = deprecated.get("checkpoint_during")
    if during is not None:
        warnings.warn(
            "`checkpoint_during` is deprecated and will be removed. Please use `durability` instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=4,
        )
        if given.durability is not None:
            raise ValueError(_DURING_AND_DURABILITY)
        given = given._replace(durability="async" if during else "exit")
    return (collected, mode, *shown, subgraphs, debug, keys, before, after), given


# -- stream ------------------------------------------------------------------


def follow(execution: Execution) -> Iterator[object]:
    """Run an execution, reporting to whoever listens; returns an iterator of what the caller asked to see."""
    return driver.Driver(execution).procedure()


def open_inside(spec: GraphSpec, input: object, config: RunnableConfig) -> Execution | None:
    """Open a run as :func:`open_run`, for a graph that is the work of a node, and so has nothing to be told.

    Args:
        spec: The graph.
        input: What the node is given.
        config: The config of the node's task, which is also the surrounding one.

    Returns:
        The run, to be read at its end; None if the graph has options that take the long way.
    """
    setup = run_setup.setup_of(spec, _INSIDE)
    if not setup.at_end or spec.config is not None:
        return None
    return Execution(run_plan.decide(spec, setup, input, inherited_config(config), NOTHING))


_INSIDE: Final = Options(True, "values")


# -- invoke ------------------------------------------------------------------


def run(execution: Execution) -> Any:
    """Run an execution of an ``invoke``; returns its result."""
    if not execution.plan.setup.at_end:
        return collect(follow(execution), Collector(execution.plan.setup.options))
    for chunk in follow(execution):
        _take_none(chunk)
    return _result(execution)


async def arun(execution: Execution) -> Any:
    """Run an execution as :func:`run`, where an event loop runs."""
    if execution.plan.setup.at_end:
        await adriver.run(execution, _take_none)
        return _result(execution)
    collector = Collector(execution.plan.setup.options)
    await adriver.run(execution, collector.add)
    return collector.result()


def _result(execution: Execution) -> Any:
    """Read the result of an ``invoke`` that built no chunks from the channels of the run, which is over."""
    machine, setup = execution.machine, execution.plan.setup
    value = None
    if machine.values_seen:
        keys = setup.output_keys
        # Plainly, as what makes many reads fast would serve for this one only.
        value = machine.state.read(keys if isinstance(keys, str) else list(keys))
    if setup.form.version == "v2":
        mapper = execution.plan.spec.output_mapper
        if mapper is not None and isinstance(value, dict):
            value = mapper(value)
        return GraphOutput(value=value, interrupts=tuple(machine.interrupts))
    if machine.interrupts:
        shown = value if isinstance(value, dict) else {}
        return {**shown, INTERRUPT: list(machine.interrupts)}
    return value


def checked(result: Any, spec: GraphSpec, options: tuple[Any, ...]) -> Any:
    """Return the result of an ``invoke`` of a graph that checks its output, as an instance of the output schema.

    Args:
        result: The result; as it is, if the run has paused, or its caller asked for something else than the output.
        spec: The graph.
        options: The fields of `run_setup.Options`, in a plain tuple.
    """
    asked = Options(*options)
    if asked.stream_mode != "values" or asked.output_keys not in (None, spec.output_channels):
        return result
    output, check = result, spec.output_check
    if isinstance(result, GraphOutput):
        output = None if result.interrupts else result.value
        output = dict(vars(output)) if is_dataclass(output) else output
    elif isinstance(result, dict) and INTERRUPT in result:
        output = None
    if check is None or not isinstance(output, dict):
        return result
    try:
        output = check(output)
    except ValueError:
        return result  # the run has not ended, or it would have failed: it pauses, or a limit has stopped it
    return GraphOutput(value=output) if isinstance(result, GraphOutput) else output


def _take_none(_: object) -> None:
    """Take in nothing: no chunks are made for a result that is read at the end."""


class Collecting(Protocol):
    """Puts the result of an ``invoke`` together."""

    def add(self, chunk: Any) -> None:
        """Take in a chunk."""

    def result(self) -> Any:
        """Return what ``invoke`` returns."""


def collect(chunks: Iterator[object], collector: Collecting) -> Any:
    """Return the result of a run whose chunks a collector takes in."""
    for chunk in chunks:
        collector.add(chunk)
    return collector.result()


async def acollect(chunks: AsyncIterator[object], collector: Collecting) -> Any:
    """Return the result as :func:`collect`."""
    async for chunk in chunks:
        collector.add(chunk)
    return collector.result()


def invoke_through(
    stream: Callable[..., Iterator[Any]],
    options: tuple[Any, ...],
    input: object,
    config: RunnableConfig | None,
    given: Given,
    deprecated: dict[str, Any],
) -> Any:
    """Put the result of an ``invoke`` together from a ``stream`` that is not the engine's own.

    Args:
        stream: The method to call.
        options: The fields of `run_setup.Options`, in a plain tuple.
        input: The caller's input.
        config: The caller's config, or None.
        given: What else the caller gave.
        deprecated: Further options, which `stream` knows too.
    """
    collector = Collector(Options(*options))
    return collect(stream(input, config, **collector.asks(given), **deprecated), collector)


async def ainvoke_through(
    astream: Callable[..., AsyncIterator[Any]],
    options: tuple[Any, ...],
    input: object,
    config: RunnableConfig | None,
    given: Given,
    deprecated: dict[str, Any],
) -> Any:
    """Put the result together as :func:`invoke_through`, with an ``astream``."""
    collector = Collector(Options(*options))
    return await acollect(astream(input, config, **collector.asks(given), **deprecated), collector)


class Collector:
    """Puts the result of an ``invoke`` together from its stream.

    Args:
        options: Its caller's options.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._values = options.stream_mode == "values"
        self._v2 = options.version == "v2"
        self._latest: Any = None
        self._chunks: list[Any] = []
        self._interrupts: list[Any] = []

    def asks(self, given: Given) -> dict[str, Any]:
        """Return the options for the stream to collect from; the version is named only if it is not the default."""
        options = self._options
        asked = {
            "context": given.context,
            "stream_mode": ["updates", "values"] if options.collects_values else options.stream_mode,
            "print_mode": options.print_mode,
            "output_keys": options.output_keys,
            "interrupt_before": options.interrupt_before,
            "interrupt_after": options.interrupt_after,
            "durability": given.durability,
            "control": given.control,
        }
        return asked | {"version": options.version} if self._v2 else asked

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
