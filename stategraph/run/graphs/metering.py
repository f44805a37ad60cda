"""The budget of a run in a graph that the host made: calls are counted, and limits kept, through callbacks.

Rules
-----
* A call of a model or a tool that a limit forbids does not begin: its callback raises. A graph may take that for an
  error like others, so the run ends with the next item of the stream in any case.
* What a call takes is known after it. Unlike those of agents, calls beside each other do not wait for each other.
* Nobody can be asked: where a person was to be, the turn ends.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage

from stategraph.agent.facts import ModelCall, Place
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter
from stategraph.errors import ConfigurationError


class GraphBudget:
    """Counts the calls of a graph. May be told of them from any thread.

    Args:
        meter: The run's meter.

    Attributes:
        reached: The limit that is reached, or that a model has no known price by which to keep it; None if none is.
    """

    def __init__(self, meter: Meter) -> None:
        self.reached: LimitReachedError | ConfigurationError | None = None
        self._meter = meter
        self._lock = threading.Lock()

    def model_begins(self, metadata: Mapping[str, Any]) -> bool:
        """Count a call of a model, by the metadata of its run; return whether it may begin."""
        provider, model = (str(metadata.get(name) or "") for name in ("ls_provider", "ls_model_name"))
        with self._lock:
            if self.reached is None:
                try:
                    self._meter.begin_alone(provider, model)
                except (LimitReachedError, ConfigurationError) as error:
                    self.reached = error
            return self.reached is None

    def model_ended(self, call: ModelCall, answer: AIMessage | None) -> None:
        """Take what a call of a model took; None for one that failed."""
        with self._lock:
            self._meter.took(call, answer)

    def unpriced(self, call: ModelCall) -> bool:
        """Return whether to tell that the price of a call is not known: once for each model."""
        return self._meter.unpriced(call)

    def tool_begins(self, at: Place, call_id: str) -> bool:
        """Count a call of a tool; return whether it may begin."""
        with self._lock:
            if self.reached is None and (found := self._meter.begin_tools(at, [call_id])) is not None:
                self.reached = LimitReachedError(found.name, found.allowed, found.used)
            return self.reached is None

    def check(self) -> None:
        """Raise the limit that is reached, if one is.

        Raises:
            LimitReachedError: One is.
            ConfigurationError: The cost is limited, and a model has no known price.
        """
        if self.reached is not None:
            raise self.reached


class LimitCheck(BaseCallbackHandler):
    """Keeps calls from beginning once a limit is reached, by raising it; comes after the handler that counts them.

    It is not called inline: an inline handler that raises leaves langchain-core's other handlers without their turn.

    Args:
        budget: Knows the limit.
    """

    raise_error = True
    ignore_llm = True  # of each piece of an answer; that a chat model starts is another matter
    ignore_chain = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, budget: GraphBudget) -> None:
        self._budget = budget

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        """Raise the limit that is reached, if one is."""
        self._budget.check()

    def on_tool_start(self, *_: Any, **__: Any) -> None:
        """Raise the limit that is reached, if one is."""
        self._budget.check()
