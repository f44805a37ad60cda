"""Hooks: a policy for tools by their names."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["MAX_PATTERN_LENGTH", "createToolPolicyHook", "hasNestedQuantifier", "matchesQuery"]

MAX_PATTERN_LENGTH = 512
"""The longest pattern that is looked at."""
_OTHERWISE = {"default": "ask", "bypass": "allow", "dontAsk": "deny"}


def createToolPolicyHook(config: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, str]]:
    """Make a hook of `PreToolUse` that decides by names of tools.

    Args:
        config: `deny`, `ask` and `allow`: names, with `*` for any characters, which count in this order; `mode`: what
            happens to other tools, `default` (a person is asked), `bypass` (they run) or `dontAsk` (they do not);
            `reason`: why, with `{tool}` for the name.
    """
    rules = [(decision, _matcher(config.get(decision) or ())) for decision in ("deny", "ask", "allow")]
    otherwise = _OTHERWISE[config.get("mode") or "default"]

    def decide(happened: Mapping[str, Any]) -> dict[str, str]:
        name = happened.get("toolName", happened.get("tool_name")) or ""
        decision = next((decision for decision, matches in rules if matches(name)), otherwise)
        reason = config.get("reason")
        if decision == "allow" or reason is None:
            return {"decision": decision}
        return {"decision": decision, "reason": reason.replace("{tool}", name)}

    return decide


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    compiled = [re.compile("".join(".*" if each == "*" else re.escape(each) for each in name)) for name in patterns]
    return lambda name: any(pattern.fullmatch(name) for pattern in compiled)


def matchesQuery(pattern: str | None, query: str | None) -> bool:
    """Return whether a hook's pattern is for a tool: without one it is for all."""
    if not pattern:
        return True
    if query is None or len(pattern) > MAX_PATTERN_LENGTH or hasNestedQuantifier(pattern):
        return False
    try:
        return re.search(pattern, query) is not None
    except re.error:
        return False


def hasNestedQuantifier(pattern: str) -> bool:
    """Return whether a group that repeats has something that repeats in it: matching may take for ever."""
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "x", pattern)  # escapes and classes repeat nothing themselves
    plain = re.sub(r"\((?:\?(?:<?[=!]|:|<[^>]*>))?", "(", plain)
    open_groups = [False]
    for index, character in enumerate(plain):
        if character == "(":
            open_groups.append(False)
        elif character == ")" and len(open_groups) > 1:
            inside, repeats = open_groups.pop(), plain[index + 1 : index + 2] in tuple("*+?{")
            if inside and repeats:
                return True
            open_groups[-1] |= inside or repeats
        elif character in "*+?{":
            open_groups[-1] = True
    return False
