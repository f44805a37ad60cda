"""Usage: values that are added up, by agent and by model.

- Tokens are those that providers report. Cached ones are part of the input, reasoning is part of the output.
- A cost is a decimal number of US dollars; None where nothing was priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from typing import Any, Self

from langchain_core.messages.ai import UsageMetadata

from stategraph.agent.settings import usage


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Usage of models and tools.

    Attributes:
        model_calls: Calls of models, failed ones included.
        tool_calls: Calls of tools.
        input_tokens: Tokens that models read.
        output_tokens: Tokens that they wrote.
        cached_tokens: Of those read, the ones that came from a provider's cache.
        cache_write_tokens: Of those read, the ones that were put into it.
        reasoning_tokens: Of those written, the ones of reasoning.
        unreported_calls: Calls that were answered without usage, or stopped before it came: their tokens are in no
            total, or are estimates where tokens are limited.
        cost: US dollars; None: no call was priced.
    """

    model_calls: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    unreported_calls: int = 0
    cost: Decimal | None = None

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: UsageTotals) -> UsageTotals:
        priced = [each for each in (self.cost, other.cost) if each is not None]
        return UsageTotals(
            self.model_calls + other.model_calls,
            self.tool_calls + other.tool_calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.unreported_calls + other.unreported_calls,
            sum(priced, Decimal(0)) if priced else None,
        )

    @classmethod
    def of_call(cls, reported: UsageMetadata | None, cost: Decimal | None = None) -> Self:
        """Return the usage of one call of a model that was answered, or whose answer had begun.

        Args:
            reported: As the provider reported it; None: it did not.
            cost: US dollars; None: not known.
        """
        if reported is None:
            return cls(model_calls=1, unreported_calls=1, cost=cost)
        total = usage.total_usage(reported)
        read = reported.get("input_token_details") or {}
        written = reported.get("output_token_details") or {}
        return cls(
            model_calls=1,
            input_tokens=total["input_tokens"],
            output_tokens=total["output_tokens"],
            cached_tokens=read.get("cache_read") or 0,
            cache_write_tokens=read.get("cache_creation") or 0,
            reasoning_tokens=written.get("reasoning") or 0,
            cost=cost,
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as events have it: names in camelCase, zeros of details left out."""
        told: dict[str, Any] = {
            "modelCalls": self.model_calls,
            "toolCalls": self.tool_calls,
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "totalTokens": self.total_tokens,
        }
        details = {
            "cachedTokens": self.cached_tokens,
            "cacheWriteTokens": self.cache_write_tokens,
            "reasoningTokens": self.reasoning_tokens,
            "unreportedCalls": self.unreported_calls,
        }
        told |= {name: value for name, value in details.items() if value}
        return told if self.cost is None else {**told, "cost": float(self.cost)}

    def stored(self) -> dict[str, Any]:
        """Return it as it can be stored, without what is zero."""
        kept = {name: value for name, value in asdict(self).items() if value}
        return kept if self.cost is None else {**kept, "cost": str(self.cost)}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        """Return it from what `stored` returned; names that a later version stored are left out."""
        known = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        cost = known.get("cost")
        return cls(**{**known, "cost": None if cost is None else Decimal(cost)})


def total(usages: Iterable[UsageTotals]) -> UsageTotals:
    """Add up usage."""
    return sum(usages, UsageTotals())


@dataclass(frozen=True, slots=True)
class RunUsage:
    """Usage of a run so far, over all of its executions.

    Attributes:
        total: Everything.
        by_agent: By the agents' ids.
        by_model: By `provider/model`; calls of tools are in none.
    """

    total: UsageTotals = field(default_factory=UsageTotals)
    by_agent: Mapping[str, UsageTotals] = field(default_factory=dict)
    by_model: Mapping[str, UsageTotals] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it with names in camelCase, everything first and then by agent and by model."""
        return {
            **self.total.as_json(),
            "byAgent": {name: each.as_json() for name, each in self.by_agent.items()},
            "byModel": {name: each.as_json() for name, each in self.by_model.items()},
        }

    def stored(self) -> dict[str, Any]:
        """Return it as JSON, for another process."""
        return {
            "total": self.total.stored(),
            "by_agent": {name: each.stored() for name, each in self.by_agent.items()},
            "by_model": {name: each.stored() for name, each in self.by_model.items()},
        }

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        """Return it from what `stored` returned."""
        by_agent = {name: UsageTotals.restored(each) for name, each in stored["by_agent"].items()}
        by_model = {name: UsageTotals.restored(each) for name, each in stored["by_model"].items()}
        return cls(UsageTotals.restored(stored["total"]), by_agent, by_model)
