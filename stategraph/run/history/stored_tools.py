"""Tools in stored messages: those that the agent does not have are left out, and skills are told again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from stategraph.agent.context import handoff
from stategraph.agent.output.output_type import TOOL as OUTPUT_TOOL
from stategraph.run.history.stored_parts import Indexed, Part, arguments

_SEARCH: Final = "tool_search"
"""The tool that brings up others, as hosts call it."""
_SKILL: Final = "skill"
"""The tool that reads a skill, as hosts call it."""
_SUBAGENT: Final = "subagent"


class KnownTools:
    """The tools that an agent has, and those that stored searches have found, in the order of a conversation.

    Args:
        names: The agent's; None: all tools are known.
    """

    def __init__(self, names: Collection[str] | None) -> None:
        self._names = None if names is None else set(names)

    def kept(self, parts: Sequence[Indexed]) -> list[Indexed]:
        """Return the parts without calls of unknown tools, and without what texts say of those calls."""
        if self._names is None:
            return [*parts]
        kept: list[Indexed] = []
        gone: set[str] = set()
        for index, part in parts:
            if part is None:
                continue
            if part.get("type") != "tool_call" or self._knows(_call(part)):
                kept.append((index, part))
            else:
                gone.add(_call(part).get("id") or "")
        return [(index, _without(part, gone)) for index, part in kept]

    def _knows(self, call: Part) -> bool:
        assert self._names is not None
        name = call.get("name") or ""
        if name == _SEARCH:
            self._names.update(_found(call.get("output")))
        own = name in (handoff.CONDITIONAL, _SUBAGENT) or name.startswith((handoff.TRANSFER, OUTPUT_TOOL))
        return own or name in self._names


def _call(part: Part) -> Part:
    return part.get("tool_call") or {}


def _without(part: Part | None, gone: set[str]) -> Part | None:
    """Return a text without the ids of calls that are gone."""
    ids = part.get("tool_call_ids") if part is not None else None
    if part is None or not isinstance(ids, list) or not gone.intersection(ids):
        return part
    left = [each for each in ids if each not in gone]
    rest = {key: value for key, value in part.items() if key != "tool_call_ids"}
    return {**rest, "tool_call_ids": left} if left else rest


def _found(output: object) -> Iterator[str]:
    """Yield the names of tools that a search found: its output is JSON, perhaps after other text."""
    text = output if isinstance(output, str) else ""
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        return
    for each in found.get("tools") or () if isinstance(found, dict) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            yield each["name"]


def skills(parts: Sequence[Indexed]) -> list[str]:
    """Return the names of the skills that calls have read, each once."""
    names = [
        arguments(_call(part).get("args")).get("skillName")
        for _, part in parts
        if part is not None and part.get("type") == "tool_call" and _call(part).get("name") == _SKILL
    ]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def preferred(parts: Sequence[Indexed]) -> Mapping[str, int]:
    """Return, by the id of each call, the position of the part that counts: the first that has a result."""
    found: dict[str, tuple[bool, int]] = {}
    for index, part in parts:
        if part is None or part.get("type") != "tool_call" or not (call_id := _call(part).get("id")):
            continue
        answered = _call(part).get("output") not in (None, "")
        if call_id not in found or (answered and not found[call_id][0]):
            found[call_id] = answered, index
    return {call_id: index for call_id, (_, index) in found.items()}
