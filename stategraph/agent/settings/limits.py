"""Limits of a run and prices of models, as a host gives them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Literal

from pydantic import Field

from stategraph.agent.settings.field_types import Amount, Count, Flag, PositiveNumber
from stategraph.agent.settings.validation import Settings, Several

MODEL_CALLS = 100
"""Default for the calls of models in a run: more than a turn takes, and the end of one that goes round in circles."""


class LimitName(StrEnum):
    """The limits of a run, by their fields of `RunLimits`."""

    MODEL_CALLS = "model_calls"
    TOOL_CALLS = "tool_calls"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    COST = "cost"
    WALL_TIME = "wall_time_s"

    @property
    def reason(self) -> str:
        """The halt reason of a turn that this limit ends, such as `model_calls_limit`."""
        return f"{self.removesuffix('_s') if self == LimitName.WALL_TIME else self.value}_limit"


class RunLimits(Settings):
    """Limits of one run, over all of its agents, the agents that they use as tools, and summaries.

    Each is checked before a call. What a call takes is known after it, so a run takes at most the limit and what its
    last call takes; of calls, never more than the limit.

    Attributes:
        model_calls: Calls of models, those that fail among them. For practically no limit, give a high number.
        tool_calls: Calls of tools, transfers to other agents among them.
        input_tokens: Tokens that models read, as their providers count them, cached ones included.
        output_tokens: Tokens that models write, reasoning included.
        total_tokens: Both together.
        cost: US dollars, by the run's prices.
        wall_time_s: Seconds that the run executes; the time in which it waits for a person does not count. Where the
            run ends or raises, this limit also ends a call that goes on, and what was streamed of it is kept.
        on_limit: `end` ends the turn with what there is; `ask` asks a person, who may raise the limit; `raise` raises
            LimitReachedError.
    """

    model_calls: Count = MODEL_CALLS
    tool_calls: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    total_tokens: Count | None = None
    cost: Amount | None = None
    wall_time_s: PositiveNumber | None = None
    on_limit: Literal["end", "ask", "raise"] = "end"

    def given(self) -> Iterator[tuple[LimitName, int | float]]:
        """Yield the limits that there are."""
        for name in LimitName:
            value: int | float | None = getattr(self, name)
            if value is not None:
                yield name, value

    @property
    def of_tokens(self) -> bool:
        """True if tokens or their cost are limited, so that it matters how many a call may take."""
        return any(each is not None for each in (self.input_tokens, self.output_tokens, self.total_tokens, self.cost))


class ModelPrice(Settings):
    """The price of a model, in US dollars for a million tokens.

    Attributes:
        model: The model's name, as the provider is sent it; one that ends with `*` is that of all models whose names
            begin so.
        provider: The provider's name as agents name it; None: any.
        input: Tokens that the model reads.
        output: Tokens that it writes, reasoning included.
        cached_input: Of those that it reads, the ones that come from the provider's cache; None: as `input`.
        cache_write: Of those that it reads, the ones that are put into the cache; None: as `input`.
        call: Each call, in US dollars.
    """

    model: str = Field(min_length=1)
    provider: str | None = None
    input: Amount
    output: Amount
    cached_input: Amount | None = None
    cache_write: Amount | None = None
    call: Amount = 0


class Prices(Settings):
    """The prices by which a run's cost is counted.

    Attributes:
        models: The host's own prices; the first one that fits a model holds.
        known: Whether the package `genai-prices` is asked for the price of other models, see the extra `prices`. It
            is not updated from the network, unless the host does that.
    """

    models: Several[ModelPrice] = ()
    known: Flag = True
