"""Tokens that the answers of a run report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

from stategraph.server.projection.facts import Usage


class UsageCount:
    """Sums tokens by model."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], list[int]] = {}

    def add(self, message: AIMessage, metadata: Mapping[str, Any]) -> None:
        """Count what an answer, or a piece of one, reports; nothing if it reports none."""
        usage = message.usage_metadata
        if usage is None:
            return
        model = metadata.get("ls_model_name") or message.response_metadata.get("model_name")
        sums = self._of.setdefault((str(metadata.get("ls_provider") or ""), str(model or "")), [0, 0, 0, 0])
        sums[0] += usage["input_tokens"]
        sums[1] += usage["output_tokens"]
        sums[2] += usage.get("input_token_details", {}).get("cache_read") or 0
        sums[3] += usage.get("output_token_details", {}).get("reasoning") or 0

    def totals(self) -> tuple[Usage, ...]:
        """Return the sums, one for each model."""
        return tuple(Usage(provider, model, *sums) for (provider, model), sums in self._of.items())
