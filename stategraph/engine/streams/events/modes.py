"""The projections that show one stream mode of one run as it is.

A run's own events only: what happens in a nested run is found on the handle of that run.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Final, cast

from stategraph.core import explain
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import (
    Namespace,
    ProtocolEvent,
    ProtocolEventParams,
    StreamTransformer,
)
from stategraph.engine.streams.modes import MODES


class ModeTransformer(StreamTransformer):
    """Shows the payloads of a stream mode under the mode's name."""

    _native: ClassVar[bool] = True
    _mode: ClassVar[str]

    def __init__(self, scope: Namespace = ()) -> None:
        """Show the events of the run with this namespace."""
        super().__init__(scope)
        self._namespace = list(scope)
        self._log: StreamChannel[Any] = StreamChannel()

    def init(self) -> dict[str, Any]:
        """Return one queue, named like the mode."""
        return {self._mode: self._log}

    def process(self, event: ProtocolEvent) -> bool:
        """Show an event of the mode; let all pass."""
        if event["method"] == self._mode and event["params"]["namespace"] == self._namespace:
            self._take(event["params"])
        return True

    def _take(self, params: ProtocolEventParams) -> None:
        self._log.push(params["data"])


class ValuesTransformer(ModeTransformer):
    """Shows the state after each step."""

    _mode = "values"
    required_stream_modes = ("values",)

    def __init__(self, scope: Namespace = ()) -> None:
        """Show the states of the run with this namespace."""
        super().__init__(scope)
        self._latest: Any = None
        self._interrupts: list[Any] = []

    @property
    def error(self) -> BaseException | None:
        """The error that the run ended with; None if it is running or has ended well."""
        return self._log._error

    @property
    def _interrupted(self) -> bool:
        return bool(self._interrupts)

    def _take(self, params: ProtocolEventParams) -> None:
        self._latest = params["data"]
        self._interrupts.extend(params.get("interrupts", ()))
        super()._take(params)


class UpdatesTransformer(ModeTransformer):
    """Shows what each task wrote."""

    _mode = "updates"
    required_stream_modes = ("updates",)


class CustomTransformer(ModeTransformer):
    """Shows what nodes write with their stream writer."""

    _mode = "custom"
    required_stream_modes = ("custom",)


class TasksTransformer(ModeTransformer):
    """Shows the start and the result of each task."""

    _mode = "tasks"
    required_stream_modes = ("tasks",)


class CheckpointsTransformer(ModeTransformer):
    """Shows checkpoints in the form of `get_state`, if the run stores any."""

    _mode = "checkpoints"
    required_stream_modes = ("checkpoints",)


class DebugTransformer(ModeTransformer):
    """Shows checkpoints and tasks, each with its step and time."""

    _mode = "debug"
    required_stream_modes = ("debug",)


#: The transformers above by their modes; those of other modes are made when they are asked for.
_NAMED: Final = {kind._mode: kind for kind in ModeTransformer.__subclasses__()}


@cache
def transformer_of(mode: str) -> type[ModeTransformer]:
    """Return the transformer that shows a stream mode under the mode's name, for `transformers=`.

    Args:
        mode: Any mode but "values" and "messages", which every run shows.

    Raises:
        ValueError: There is no such mode, or every run shows it.
    """
    if mode not in MODES:
        raise ValueError(f"There is no stream mode {mode!r}. {explain.what_there_is(str(mode), tuple(MODES), 'modes')}")
    if mode in ("values", "messages"):
        raise ValueError(f"Every event stream shows the stream mode {mode!r}: read the run's projection of this name")
    if mode in _NAMED:
        return _NAMED[mode]
    about = {"__doc__": f"Shows the stream mode {mode!r}.", "__module__": __name__}
    shown = {"_mode": mode, "required_stream_modes": (mode,), **about}
    return cast("type[ModeTransformer]", type(f"{mode.title()}Transformer", (ModeTransformer,), shown))
