"""Tools that are shown to the model once it has found them.

A tool that searches tells what it found in the artifact of its result: `{"tool_references": [{"tool_name": ...}]}`.
What was found is read from the conversation, so it holds in every process and for as long as the result is there. A
host that keeps conversations without artifacts gives the names again, as `discovered_tools`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_core.messages import AnyMessage, ToolMessage

_REFERENCES = "tool_references"


def discovered(messages: Sequence[AnyMessage]) -> tuple[str, ...]:
    """Return the names of the tools that a conversation has discovered.

    Args:
        messages: The conversation.

    Returns:
        Names, each once, in the order in which they were found.
    """
    names: dict[str, None] = {}
    for message in messages:
        artifact = message.artifact if isinstance(message, ToolMessage) else None
        references = artifact.get(_REFERENCES) if isinstance(artifact, Mapping) else None
        for each in references if isinstance(references, list | tuple) else ():
            name = each.get("tool_name") if isinstance(each, Mapping) else None
            if isinstance(name, str):
                names[name] = None
    return tuple(names)
