"""Limits of a run with a way out: its result so far, or a question whether it may go on.

Rules
-----
* A limit stops the whole tree of a run between two steps: the graph that reaches it, and the graphs around that when
  the other tasks of their step have ended. All of them are stored, so that the thread can go on.
* What becomes of it is decided at the root: an error, the state so far, or a question.
* The limits are one object for a run and the graphs inside it, handed over as the switch that drains the run. Of a
  graph on a server, the tokens count that its messages tell of.
"""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.runnables import RunnableConfig

from stategraph.engine.config.runnable_config import merge_configs
from stategraph.engine.config.runtime import RunControl
from stategraph.engine.ports import Clock
from stategraph.errors import ConfigurationError, GraphDrained

LimitKind: TypeAlias = Literal["steps", "seconds", "tokens"]
OnLimit: TypeAlias = Literal["raise", "return_partial", "interrupt"]

KIND: Final = "limit_reached"
"""The type of the question, in its payload."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A limit that a run has reached.

    Attributes:
        limit: Which: steps of one graph, or seconds or tokens of the run.
        allowed: How much there was.
        used: How much was used when the run stopped; of tokens and seconds it may be more.
        nested: Of steps, whether they are those of a graph inside of the run's.
    """

    limit: LimitKind
    allowed: float
    used: float
    nested: bool = False

    def question(self) -> dict[str, Any]:
        """Return the payload of the question whether the run may go on."""
        return {"type": KIND, **asdict(self)}


class GraphLimitError(RuntimeError):
    """A run has reached its limit of seconds or tokens, and `on_limit` is "raise"; its state is stored.

    Attributes:
        reached: The limit.
    """

    def __init__(self, reached: LimitReached) -> None:
        super().__init__(
            f"The run has used {reached.used:g} of {reached.allowed:g} {reached.limit}. Its state is stored: go on "
            'with invoke(None, config) and higher limits, or pass on_limit="return_partial" or "interrupt"'
        )
        self.reached = reached

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it again from the limit."""
        return type(self), (self.reached,)


class LimitHalt(GraphDrained):
    """A graph inside of another has stopped at a limit, and the ones around it stop as well."""

    def __init__(self, reached: LimitReached) -> None:
        super().__init__(f"limit of {reached.limit}")
        self.reached = reached

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it again from the limit."""
        return type(self), (self.reached,)


class GraphLimits(RunControl):
    """Limits of one run of a graph, with those of the graphs inside it; pass a new one as `control` of each run.

    Attributes:
        steps: Steps of each graph, as `recursion_limit`; None: that of the config.
        seconds: Seconds from the beginning of the run, of the clock of the run. None: no limit.
        tokens: Tokens that models report, read and written. None: no limit.
        on_limit: What the run ends with. "raise": GraphRecursionError for steps, else GraphLimitError.
            "return_partial": the state so far; `reached` says so. "interrupt": a question, which needs a checkpointer;
            `Command(resume={"type": "raise", "to": n})` goes on, `{"type": "end"}` ends with the state so far.
        reached: The limit that has stopped the run; None: it ended by itself, or has not ended.
    """

    limited = True

    __slots__ = (
        "_asked",
        "_begun_at",
        "_clock",
        "_elsewhere",
        "_lock",
        "_usage",
        "on_limit",
        "reached",
        "seconds",
        "steps",
        "tokens",
    )

    def __init__(
        self,
        *,
        steps: int | None = None,
        seconds: float | None = None,
        tokens: int | None = None,
        on_limit: OnLimit = "raise",
    ) -> None:
        """Set the limits; see the class.

        Raises:
            ConfigurationError: One is no number above 0, or `on_limit` is none of the three.
        """
        for name, value in (("steps", steps), ("seconds", seconds), ("tokens", tokens)):
            if value is not None and not _is_amount(value, whole=name != "seconds"):
                kind = "number" if name == "seconds" else "whole number"
                raise ConfigurationError(f"{name} is {value!r}; expected a {kind} above 0, or None for no limit")
        if on_limit not in ("raise", "return_partial", "interrupt"):
            raise ConfigurationError(f"on_limit is {on_limit!r}; expected 'raise', 'return_partial' or 'interrupt'")
        self._asked: str | None = None
        super().__init__()
        self.steps, self.seconds, self.tokens, self.on_limit = steps, seconds, tokens, on_limit
        self.reached: LimitReached | None = None
        self._lock = threading.Lock()
        self._clock: Clock | None = None
        self._begun_at = 0.0
        self._usage = UsageMetadataCallbackHandler() if tokens is not None else None
        # Tokens of messages that graphs on servers have told of, by the ids of the messages.
        self._elsewhere: dict[str, int] = {}

    # -- asked by the run ------------------------------------------------

    @property
    def drain_reason(self) -> str | None:
        """The reason to stop after this step: somebody asked, or a limit is reached; None: the run goes on."""
        if self._asked is None and self.reached is None:
            self._check()
        return self._asked if self.reached is None else f"limit of {self.reached.limit}"

    @drain_reason.setter
    def drain_reason(self, reason: str | None) -> None:
        self._asked = reason

    def begin(self, clock: Clock) -> None:
        """Begin to measure; the graphs inside of a run find that begun.

        Raises:
            ConfigurationError: It was the control of another run.
        """
        if self._clock is not None:
            raise ConfigurationError("GraphLimits are those of one run: make new ones for each")
        self._clock, self._begun_at = clock, clock.monotonic()

    def completed(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """Return the config of a run with what the limits need in it."""
        own: dict[str, Any] = {}
        if self.steps is not None:
            own["recursion_limit"] = self.steps
        if self._usage is not None:
            own["callbacks"] = [self._usage]
        return merge_configs(config, cast(RunnableConfig, own)) if own else config

    def count_elsewhere(self, message_id: str, tokens: int) -> None:
        """Count the tokens of a message that a model has written on a server; a message counts once."""
        with self._lock:
            self._elsewhere[message_id] = tokens

    def note(self, reached: LimitReached) -> LimitReached:
        """Note the limit that stops the run: the first counts."""
        with self._lock:
            self.reached = self.reached or reached
        return self.reached

    def end(self, reached: LimitReached) -> None:
        """End this run before it does anything, with the state so far."""
        self.reached, self.on_limit = reached, "return_partial"

    def raise_to(self, reached: LimitReached, to: float) -> None:
        """Allow this run the seconds or tokens that an answer adds to those that the run before has used."""
        if reached.limit == "seconds":
            self.seconds = to - reached.used
        else:
            self.tokens = math.ceil(to - reached.used)
            self._usage = self._usage or UsageMetadataCallbackHandler()

    def _check(self) -> None:
        if self.seconds is not None and self._clock is not None:
            used = self._clock.monotonic() - self._begun_at
            if used >= self.seconds:
                self.note(LimitReached("seconds", self.seconds, used))
        if self.tokens is not None and self._usage is not None:
            total = sum(each["total_tokens"] for each in list(self._usage.usage_metadata.values()))
            total += sum(list(self._elsewhere.values()))
            if total >= self.tokens:
                self.note(LimitReached("tokens", self.tokens, total))


def _is_amount(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return math.isfinite(value) and value > 0
