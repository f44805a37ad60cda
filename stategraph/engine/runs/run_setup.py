"""The setup of a run: what its graph and the options of its call decide, whatever its input and its config are.

Rules
-----
* It is worked out once for a graph and some options, and kept with the graph's record for all runs that are called so.
* Options that cannot be looked up, such as lists of modes, are worked out for each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_TASK_ID
from stategraph.core.settings import UNHEARD, Settings, Ways
from stategraph.core.views import Keys
from stategraph.engine.checkpoints import histories
from stategraph.engine.compile.validate import validate_keys
from stategraph.engine.config.environment import SYSTEM
from stategraph.engine.config.runnable_config import DEFAULT_RECURSION_LIMIT
from stategraph.engine.spec import GraphSpec
from stategraph.engine.streams.projection import Format
from stategraph.types import All

_MOST_KEPT: Final = 64
"""How many setups are kept with a graph; a program that calls it in more ways makes the others anew."""


class Options(NamedTuple):
    """The options of a call that say what its caller sees, and where the run pauses; None means the graph's default.

    Attributes:
        collected: Whether the caller gets a result, as of ``invoke``, rather than chunks.
        stream_mode: The modes to stream.
        print_mode: The modes to print as well.
        version: The form of chunks.
        subgraphs: Whether chunks of nested graphs are shown too.
        debug: Whether every step is printed.
        output_keys: The channels of the result.
        interrupt_before: Nodes to pause before.
        interrupt_after: Nodes to pause after.
    """

    collected: bool
    stream_mode: str | Sequence[str]
    print_mode: str | Sequence[str] = ()
    version: Literal["v1", "v2"] = "v1"
    subgraphs: bool = False
    debug: bool | None = None
    output_keys: str | Sequence[str] | None = None
    interrupt_before: All | Sequence[str] | None = None
    interrupt_after: All | Sequence[str] | None = None

    @property
    def collects_values(self) -> bool:
        """True if the result is made of what version 1 streams: states, and updates for the interrupts among them."""
        return self.collected and self.stream_mode == "values" and self.version == "v1"


class RunSetup(NamedTuple):
    """The setup of a run; see the module.

    Attributes:
        options: The options.
        form: Which chunks are made for the caller, and how.
        at_end: Whether no chunks are made for a result, as it can be read from the channels when the run has ended.
        unread: Whether the caller sees no chunks at all.
        output_keys: The channels that make up the output.
        interrupt_before: Nodes to pause before; "*" for all.
        interrupt_after: Nodes to pause after; "*" for all.
        settings: How the machine of a run behaves that stores nothing, of which its config asks nothing, and that only
            its own caller hears of, at its end.
        ways: What these settings come to.
        stored_ways: The same of a run that stores its steps.
    """

    options: Options
    form: Format
    at_end: bool
    unread: bool
    output_keys: str | Keys
    interrupt_before: All | Sequence[str]
    interrupt_after: All | Sequence[str]
    settings: Settings
    ways: Ways
    stored_ways: Ways


def setup_of(spec: GraphSpec, options: tuple[Any, ...]) -> RunSetup:
    """Return the setup of a graph's runs with some options.

    Args:
        spec: The graph.
        options: The fields of `Options`. A plain tuple is made in a tenth of the time, and equals a named one.

    Raises:
        ValueError: If the graph has not all of the output keys.
    """
    kept = spec.setups
    try:
        setup: RunSetup | None = kept.get(options)
    except TypeError:  # of a list
        return _worked_out(spec, Options(*options))
    if setup is None:
        setup = _worked_out(spec, Options(*options))
        if len(kept) < _MOST_KEPT:
            kept[options] = setup
    return setup


def default_mode(spec: GraphSpec, config: RunnableConfig | None) -> str:
    """Return the mode to stream if the caller names none: as a node of another graph, a graph shows its state."""
    nested = config is not None and CONFIG_KEY_TASK_ID in config.get(CONF, {})
    return "values" if nested else spec.stream_mode


def _worked_out(spec: GraphSpec, options: Options) -> RunSetup:
    keys = options.output_keys
    if keys is None:
        keys = spec.output_channels if options.collected else spec.stream_channels
    else:
        validate_keys(keys, spec.channels)
    at_end = _reads_at_end(spec, options, keys)
    modes: str | Sequence[str] = options.stream_mode
    if at_end:
        modes = ()
    elif options.collects_values:
        modes = ["updates", "values"]
    v2 = options.version == "v2"
    form = Format(
        modes,
        ["updates", "values"] if options.debug or spec.debug else options.print_mode,
        options.subgraphs,
        options.version,
        spec.output_mapper if v2 else None,
        spec.state_mapper if v2 else None,
    )
    output_keys = keys if isinstance(keys, (str, Keys)) else Keys(keys)
    before = options.interrupt_before or spec.interrupt_before
    after = options.interrupt_after or spec.interrupt_after
    settings = _settings(spec, output_keys, before, after)
    return RunSetup(
        options,
        form,
        at_end,
        form.is_empty and not spec.stream_eager,
        output_keys,
        before,
        after,
        settings,
        Ways.of(spec.program, settings),
        Ways.of(spec.program, settings._replace(saves="step")),
    )


def _settings(
    spec: GraphSpec, output_keys: str | Keys, before: All | Sequence[str], after: All | Sequence[str]
) -> Settings:
    return Settings(
        ns="",
        nested=False,
        saves="never",
        limit=DEFAULT_RECURSION_LIMIT,
        output_keys=output_keys,
        interrupt_before=before,
        interrupt_after=after,
        parents={},
        new_id=SYSTEM.ids.checkpoint_id,
        now=SYSTEM.now,
        next_version=None,
        strict_resume=spec.strict,
        watch=UNHEARD,
        parent=None,
        deltas=histories.codec(spec.program) if spec.program.deltas else None,
    )


def _reads_at_end(spec: GraphSpec, options: Options, keys: str | Sequence[str]) -> bool:
    if not options.collected or options.stream_mode != "values":
        return False
    if options.print_mode or options.debug or spec.debug:
        return False
    return not ((isinstance(keys, str) and options.version != "v1") or spec.may_lose(keys))
