"""What an agent is told first."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import SystemMessage

from stategraph.agent.context import instructions
from stategraph.agent.context.instructions import PromptCache
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.errors import ConfigurationError


def agent(provider: str, **options: Any) -> AgentInputs:
    return AgentInputs(agent_id="a", provider=provider, client_options=options)


def test_instructions_are_one_message_with_a_blank_line() -> None:
    message = instructions.system_message(["Stable rules."], ["Dynamic tail."])
    assert message == SystemMessage(content="Stable rules.\n\nDynamic tail.")


@pytest.mark.parametrize(
    ("stable", "dynamic", "content"),
    [
        (["A"], [], "A"),
        ([None, "A", ""], [None], "A"),
        ([], ["B"], "B"),
        ([None], ["", "B", "C"], "B\n\nC"),
        (["A", "B"], ["C"], "A\n\nB\n\nC"),
    ],
)
def test_empty_parts_do_not_count(stable: list[str | None], dynamic: list[str | None], content: str) -> None:
    assert instructions.system_message(stable, dynamic) == SystemMessage(content=content)


def test_nothing_to_say_is_no_message() -> None:
    assert instructions.system_message([None], [""]) is None
    assert instructions.system_message([], [], PromptCache("cache_control")) is None


@pytest.mark.parametrize(
    ("provider", "options", "cache"),
    [
        ("anthropic", {"promptCache": True}, PromptCache("cache_control", "1h")),
        ("anthropic", {"prompt_cache": True, "prompt_cache_ttl": "5m"}, PromptCache("cache_control", "5m")),
        ("openrouter", {"promptCache": True, "promptCacheTtl": "1h"}, PromptCache("cache_control", "1h")),
        ("bedrock", {"promptCache": True}, PromptCache("cache_point", "1h")),
        ("anthropic", {}, None),
        ("anthropic", {"promptCache": False}, None),
        ("openAI", {"promptCache": True}, None),
    ],
)
def test_a_provider_is_told_to_cache_if_it_takes_that_and_somebody_asks(
    provider: str, options: dict[str, Any], cache: PromptCache | None
) -> None:
    assert instructions.prompt_cache(agent(provider, **options)) == cache


def test_a_ready_model_is_not_told_to_cache() -> None:
    assert instructions.prompt_cache(AgentInputs(agent_id="a", model="anthropic:m")) is None


def test_an_unknown_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="agent 'a' is to be kept for '2d', expected '5m' or '1h'"):
        instructions.prompt_cache(agent("anthropic", promptCache=True, promptCacheTtl="2d"))


def test_the_mark_stands_before_what_may_differ() -> None:
    message = instructions.system_message(["Stable."], ["Today."], PromptCache("cache_control", "1h"))
    assert message is not None
    assert message.content == [
        {"type": "text", "text": "Stable.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Today."},
    ]
    message = instructions.system_message(["Stable."], ["Today."], PromptCache("cache_point", "5m"))
    assert message is not None
    assert message.content == [
        {"type": "text", "text": "Stable."},
        {"cachePoint": {"type": "default"}},
        {"type": "text", "text": "Today."},
    ]


def test_what_may_differ_alone_is_not_cached() -> None:
    message = instructions.system_message([None], ["Today."], PromptCache("cache_control"))
    assert message == SystemMessage(content="Today.")


def test_what_is_the_same_alone_ends_with_the_mark() -> None:
    message = instructions.system_message(["Stable."], [], PromptCache("cache_control", "5m"))
    assert message is not None
    assert message.content == [{"type": "text", "text": "Stable.", "cache_control": {"type": "ephemeral"}}]
