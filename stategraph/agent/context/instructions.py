"""System instructions of an agent.

- It is one system message, sent before the history with every call and never part of it: what stays the same in every
  run, a blank line, and what may differ. Nothing to say is no message.
- A system message of the host in the history stays where it is, behind this one.
- With a provider that caches prompts, and asked to (`prompt_cache` among the client options), what stays the same is a
  block of its own that ends with the provider's mark. So the cached beginning, tools included, serves every run, and
  within a run everything does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import SystemMessage

from stategraph.agent.settings.inputs import AgentInputs, Providers
from stategraph.errors import ConfigurationError

_MARKS: Mapping[str, Literal["cache_control", "cache_point"]] = {
    Providers.ANTHROPIC: "cache_control",
    Providers.BEDROCK: "cache_point",
    "bedrock_converse": "cache_point",
    Providers.OPENROUTER: "cache_control",
}
"""The providers that are told what to cache, and how. Others cache by themselves or not at all."""


@dataclass(frozen=True, slots=True)
class PromptCache:
    """A provider's form of prompt caching.

    Attributes:
        mark: The form of the mark: a field of the block that it ends, or a block of its own behind it.
        ttl: How long the provider keeps what it cached.
    """

    mark: Literal["cache_control", "cache_point"]
    ttl: Literal["5m", "1h"] = "1h"

    def blocks(self, text: str) -> list[str | dict[Any, Any]]:
        """Return a text as content blocks, with the cache mark at its end."""
        # The short time is the providers' own default, which older models insist on.
        ttl = {} if self.ttl == "5m" else {"ttl": self.ttl}
        if self.mark == "cache_control":
            return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", **ttl}}]
        return [{"type": "text", "text": text}, {"cachePoint": {"type": "default", **ttl}}]


def prompt_cache(inputs: AgentInputs) -> PromptCache | None:
    """Return the prompt cache settings of an agent.

    Args:
        inputs: The agent.

    Returns:
        None if it was not asked for, or the provider is not told.

    Raises:
        ConfigurationError: The time to keep is not one that providers know.
    """
    options = inputs.options
    named = inputs.model.partition(":")[0] if isinstance(inputs.model, str) else None
    mark = _MARKS.get(inputs.provider or named or "")
    if mark is None or not options.get("promptCache", options.get("prompt_cache")):
        return None
    match options.get("promptCacheTtl", options.get("prompt_cache_ttl")):
        case None:
            return PromptCache(mark)
        case "5m" | "1h" as ttl:
            return PromptCache(mark, ttl)
        case other:
            raise ConfigurationError(
                f"the prompt cache of agent {inputs.agent_id!r} is to be kept for {other!r}, expected '5m' or '1h'"
            )


def system_message(
    stable: Iterable[str | None], dynamic: Iterable[str | None] = (), cache: PromptCache | None = None
) -> SystemMessage | None:
    """Join all instructions into one system message.

    Args:
        stable: Texts that are the same in every run; empty ones do not count.
        dynamic: Texts that may differ from run to run.
        cache: How the provider is told to cache; None: it is not.

    Returns:
        None if there is nothing to say.
    """
    first, last = _joined(stable), _joined(dynamic)
    if cache is None or not first:
        whole = _joined((first, last))
        return SystemMessage(content=whole) if whole else None
    return SystemMessage(content=[*cache.blocks(first), *([{"type": "text", "text": last}] if last else ())])


def _joined(parts: Iterable[str | None]) -> str:
    return "\n\n".join(part for part in parts if part)
