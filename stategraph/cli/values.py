"""Values of graphs and threads as JSON, and in a line.

Messages are flat objects of the fields that say something, and not as LangChain writes them to be loaded again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from stategraph.cli.style import harmless

#: Fields of a message that are shown if they are not empty, in this order.
_FIELDS: Final = ("type", "id", "name", "content", "tool_calls", "tool_call_id", "status", "usage_metadata")


def plain(value: object) -> Any:
    """Return a value as JSON has it."""
    from stategraph.run.json_safe import to_json

    return json.loads(to_json(_flat(value)))


def _flat(value: object) -> object:
    import ormsgpack
    from langchain_core.messages import BaseMessage

    from stategraph.core.channels.delta import snapshot_value

    value = snapshot_value(value)
    if isinstance(value, ormsgpack.Ext):
        from stategraph.cli import foreign  # savers, which a value of this kind comes from

        return _flat(foreign.fields_of(value))
    if isinstance(value, BaseMessage):
        return {name: _flat(shown) for name in _FIELDS if (shown := getattr(value, name, None)) or name == "content"}
    if isinstance(value, Mapping):
        return {key: _flat(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):  # no named tuples, which have names to keep
        return [_flat(each) for each in value]
    return value


def in_a_line(value: object, most: int = 120) -> str:
    """Return a value for people, in a line of at most so many characters; a text is itself, made harmless."""
    text = harmless(" ".join((value if isinstance(value, str) else _json(plain(value))).split()))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def message_in_a_line(message: Mapping[str, Any], most: int) -> str:
    """Return a message that `plain` made, for people."""
    calls = [f"{each['name']}({_json(each['args'])})" for each in message.get("tool_calls", ())]
    content = message["content"] if isinstance(message["content"], str) else _json(message["content"])
    return in_a_line(f"{message['type']}: {'  '.join(each for each in (content, *calls) if each)}", most)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
