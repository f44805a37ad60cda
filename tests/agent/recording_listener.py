"""A listener of tests: it hears the facts of an agent, and remembers what it is told to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.agent.facts import Fact, Logged


class RecordingListener:
    """Hears facts, and remembers."""

    def __init__(self) -> None:
        self.heard: list[Fact] = []
        self.remembers: dict[str, Any] | None = None
        self.recalled: list[Mapping[str, Any]] = []

    async def hear(self, fact: Fact, /) -> None:
        self.heard.append(fact)

    def memory(self) -> dict[str, Any] | None:
        return self.remembers

    def recall(self, memory: Mapping[str, Any], /) -> None:
        self.recalled.append(memory)

    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.heard]

    def logs(self, scope: str) -> list[tuple[str, str, Any]]:
        rows = [each for each in self.heard if isinstance(each, Logged) and each.scope == scope]
        return [(each.level, each.message, each.data) for each in rows]
