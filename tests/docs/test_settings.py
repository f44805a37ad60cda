"""The page on settings has every environment variable that the code reads, and every key of a config."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langchain_core.runnables.config import CONFIG_KEYS

from scripts import settings
from stategraph import RetryPolicy, RunLimits, StateGraph

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ELSEWHERE = {"LANGCHAIN_HANDLER", "LANGCHAIN_TRACING"}
"""Variables of LangChain's that the code names, to do as LangChain does."""


def variables() -> set[str]:
    """Return names of environment variables in the code: texts in capitals that begin like one."""
    found: set[str] = set()
    for file in (ROOT / "stategraph").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        found |= set(re.findall(r"\"((?:STATEGRAPH|MOSS|LANGGRAPH|LANGCHAIN|TIKTOKEN|AGENT|OTEL)_[A-Z_]+)\"", text))
        found |= set(re.findall(r"(?:environ\.get|getenv|environ\[)\(?\"([A-Z_]+)\"", text))
    return found - ELSEWHERE


def test_every_environment_variable_of_the_code_is_on_the_page_and_none_else() -> None:
    table = PAGE.partition("## Environment variables")[2].partition("\n\nKeys of models")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([A-Z_]+)`", " ".join(rows))) == variables()


def test_every_key_of_a_config_is_on_the_page() -> None:
    table = PAGE.partition("## The config of a call")[2].partition("\n\nOther keys")[0]
    named = {name.partition(".")[0] for name in re.findall(r"`([\w.]+)`", table)}
    assert set(CONFIG_KEYS) <= named


def test_a_setting_has_its_default_and_its_description() -> None:
    limits = {each.name: each for each in settings.settings(RunLimits)}
    assert (limits["on_limit"].default, bool(limits["on_limit"].text)) == ("'end'", True)
    retry = {each.name: each for each in settings.settings(RetryPolicy)}
    assert (retry["max_attempts"].default, retry["max_attempts"].text[:8]) == ("3", "Attempts")
    assert {each.name for each in settings.settings(StateGraph.compile)} >= {"checkpointer", "strict"}


def test_a_setting_without_a_description_is_refused() -> None:
    def load(path: str, *, mode: str = "r") -> None:
        """Load.

        Args:
            path: Where it is,
                as a text.
        """

    with pytest.raises(SystemExit, match="'mode' is not described"):
        list(settings.settings(load))
