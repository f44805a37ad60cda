"""Prices: what a call costs, by the host's own prices or by those of the package `genai-prices`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from stategraph.agent.limits.amounts import UsageTotals
from stategraph.agent.settings.limits import ModelPrice, Prices
from stategraph.errors import ConfigurationError, MissingPackageError

PACKAGE = "genai-prices"

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Finds prices.

    Attributes:
        models: The host's own prices.
        known: The package that knows others; None: it is not asked.
    """

    models: Sequence[ModelPrice]
    known: Any

    @classmethod
    def of(cls, prices: Prices) -> PriceBook:
        """Make the book that a host's settings describe.

        Raises:
            MissingPackageError: Other prices than the host's own are needed, and the package is not installed.
        """
        known = _package(required=not prices.models) if prices.known else None
        return cls(prices.models, known)

    def cost(self, provider: str, model: str, usage: UsageTotals, when: datetime) -> Decimal | None:
        """Return what a call costs, in US dollars.

        Args:
            provider: The provider's name; empty if unknown.
            model: The model's name; empty if unknown.
            usage: What the call takes.
            when: The time of the call; some prices change.

        Returns:
            The cost; None if the price is not known.
        """
        own = next((each for each in self.models if _fits(each, provider, model)), None)
        if own is not None:
            return _by_own(own, usage)
        return None if self.known is None or not model else _by_package(self.known, provider, model, usage, when)

    def most(self, provider: str, model: str, read: int, written: int, when: datetime) -> Decimal | None:
        """Return the most that a call may cost that reads and writes so many tokens; None if it has no known price."""
        plain = UsageTotals(model_calls=1, input_tokens=read, output_tokens=written)
        cached = UsageTotals(model_calls=1, input_tokens=read, output_tokens=written, cache_write_tokens=read)
        costs = [self.cost(provider, model, each, when) for each in (plain, cached)]
        return max((each for each in costs if each is not None), default=None)

    def check(self, provider: str, model: str, when: datetime) -> None:
        """Check that a model has a price.

        Raises:
            ConfigurationError: It has none.
        """
        if self.cost(provider, model, UsageTotals(model_calls=1, input_tokens=1, output_tokens=1), when) is None:
            asked = "'prices' has none" if self.known is None else f"neither 'prices' nor {PACKAGE} has one"
            whose = provider or "an unknown provider"
            raise ConfigurationError(
                f"The run has a cost limit, and the price of the model {model!r} of {whose} "
                f"is not known ({asked}): give it as prices.models, such as ModelPrice(model={model!r}, input=0.25, "
                "output=2.0) in US dollars for a million tokens, or limit tokens instead of the cost"
            )


def _package(*, required: bool) -> Any:
    """Return the package of prices; None if it is not installed and the host has prices of its own.

    It and its table take 0.2 s to import.
    """
    try:
        return importlib.import_module("genai_prices")
    except ModuleNotFoundError as error:
        if error.name != "genai_prices":
            raise
    if required:
        raise MissingPackageError("stategraph[prices]", "The cost of models that 'prices' does not name")
    return None


def _fits(price: ModelPrice, provider: str, model: str) -> bool:
    if price.provider is not None and price.provider.lower() != provider.lower():
        return False
    return model.startswith(price.model[:-1]) if price.model.endswith("*") else model == price.model


def _by_own(price: ModelPrice, usage: UsageTotals) -> Decimal:
    full = _decimal(price.input)
    cached = full if price.cached_input is None else _decimal(price.cached_input)
    put = full if price.cache_write is None else _decimal(price.cache_write)
    plain = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
    of_tokens = (
        plain * full
        + usage.cached_tokens * cached
        + usage.cache_write_tokens * put
        + usage.output_tokens * _decimal(price.output)
    )
    return of_tokens / _MILLION + usage.model_calls * _decimal(price.call)


def _decimal(price: float) -> Decimal:
    """Convert a price as it was written: 0.1 is a tenth."""
    return Decimal(str(price))


def _by_package(package: Any, provider: str, model: str, usage: UsageTotals, when: datetime) -> Decimal | None:
    taken = package.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        priced = package.calc_price(taken, model, provider_id=provider or None, genai_request_timestamp=when)
    except LookupError:
        return None
    cost: Decimal = priced.total_price
    return cost
