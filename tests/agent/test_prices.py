"""Prices: the host's own, and those of genai-prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest

from stategraph.agent.limits import prices as module
from stategraph.agent.limits.amounts import UsageTotals
from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.settings.limits import ModelPrice, Prices
from stategraph.errors import ConfigurationError, MissingPackageError

WHEN = datetime(2026, 6, 1, tzinfo=UTC)
KNOWN = PriceBook.of(Prices())


@pytest.mark.parametrize(
    ("provider", "model", "theirs"),
    [
        ("openAI", "gpt-4o-mini", "openai"),
        ("openai", "gpt-5-mini-2025-08-07", "openai"),
        ("anthropic", "claude-sonnet-4-5", "anthropic"),
        ("google_genai", "gemini-2.5-flash", "google"),
        ("mistral", "mistral-large-latest", "mistral"),
        ("xai", "grok-4", "x-ai"),
    ],
)
def test_a_call_costs_what_genai_prices_says(provider: str, model: str, theirs: str) -> None:
    usage = UsageTotals(model_calls=1, input_tokens=12_000, output_tokens=800, cached_tokens=4_000)
    given = genai_prices.Usage(input_tokens=12_000, output_tokens=800, cache_read_tokens=4_000)
    expected = genai_prices.calc_price(given, model, provider_id=theirs, genai_request_timestamp=WHEN).total_price
    assert KNOWN.cost(provider, model, usage, WHEN) == expected > 0


def test_what_is_written_into_a_cache_has_its_own_price() -> None:
    plain = KNOWN.cost("anthropic", "claude-sonnet-4-5", UsageTotals(input_tokens=1000), WHEN)
    put = KNOWN.cost("anthropic", "claude-sonnet-4-5", UsageTotals(input_tokens=1000, cache_write_tokens=1000), WHEN)
    assert plain is not None and put == plain * Decimal("1.25")


def test_the_most_that_a_call_may_cost_is_never_less_than_what_it_costs() -> None:
    for provider, model in (
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-4o-mini"),
        ("google", "gemini-2.5-pro"),
    ):
        most = KNOWN.most(provider, model, 300_000, 1000, WHEN)
        for cached in (0, 100_000):
            for put in (0, 200_000):
                usage = UsageTotals(1, 0, 300_000, 1000, cached, put)
                cost = KNOWN.cost(provider, model, usage, WHEN)
                assert most is not None and cost is not None and cost <= most


@pytest.mark.parametrize(
    ("provider", "model"), [("ollama", "llama3"), ("openai", "nobody-s"), ("openai", ""), ("", "x")]
)
def test_what_nobody_knows_has_no_price(provider: str, model: str) -> None:
    assert KNOWN.cost(provider, model, UsageTotals(input_tokens=1), WHEN) is None
    with pytest.raises(ConfigurationError, match=r"give it as prices\.models"):
        KNOWN.check(provider, model, WHEN)


def test_the_host_s_own_prices_come_first_the_first_that_fits() -> None:
    own = [
        ModelPrice(model="gpt-4o-mini", provider="azure_openai", input=1, output=1),
        ModelPrice(model="gpt-*", input=2, output=3, cached_input=0, call=0.25),
    ]
    book = PriceBook.of(Prices(models=tuple(own)))
    usage = UsageTotals(model_calls=1, input_tokens=1_000_000, output_tokens=1_000_000, cached_tokens=500_000)
    assert book.cost("azure_openai", "gpt-4o-mini", usage, WHEN) == 2
    assert book.cost("openai", "gpt-4o-mini", usage, WHEN) == Decimal("4.25")
    assert book.cost("anthropic", "claude-sonnet-4-5", usage, WHEN) == KNOWN.cost(
        "anthropic", "claude-sonnet-4-5", usage, WHEN
    )
    assert PriceBook.of(Prices(models=tuple(own), known=False)).cost("anthropic", "claude", usage, WHEN) is None


def test_a_package_that_is_not_there_is_named_unless_the_host_has_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"pip install 'stategraph\[prices\]'"):
        PriceBook.of(Prices())
    assert PriceBook.of(Prices(models=(ModelPrice(model="m", input=1, output=1),))).known is None
    assert PriceBook.of(Prices(known=False)).known is None
