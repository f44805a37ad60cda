"""Writes of a tool beside its result, as policies see them: the commands that it returns, with every message and key.

- `facts` makes JSON of the commands that came of an execution, without the message that is the call's own result.
- `changed` puts the changes that a policy made of that JSON back into the commands. What has no place there, such as
  another class of message, is refused: then nothing of it is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import BaseMessage, ToolMessage
from pydantic import BaseModel

from stategraph import fields
from stategraph.agent.tools import tool_result
from stategraph.governance.approval.preview import shown_number
from stategraph.governance.canonical import same_json

_DEPTH: Final = 24
_OWN: Final = {"type": "tool", "content": "the result"}
"""Stands for the message that is the result of the call: policies see that as the result."""


class Unplaced(ValueError):
    """A policy changed something of a command that cannot be put back into it."""


def commands_of(kept: Any) -> list[Any]:
    """Return the commands in what is kept of an execution, and other messages than its result, in their order."""
    if not isinstance(kept, Mapping):
        return []
    if "output" in kept:  # of a tool node
        output = kept["output"]
        found = list(output) if isinstance(output, list | tuple) else [output]
        first = next((each for each in found if isinstance(each, ToolMessage)), None)
        return [each for each in found if each is not first and _is_written(each)]
    return list(kept.get("commands") or ())


def _is_written(value: Any) -> bool:
    return tool_result.is_command(value) or isinstance(value, BaseMessage)


def facts(commands: Sequence[Any], call_id: str) -> list[Any]:
    """Return what commands write as JSON.

    Args:
        commands: The commands.
        call_id: The call, whose own result is left out.
    """
    return [_command(each, call_id) if tool_result.is_command(each) else _json(each, 0, call_id) for each in commands]


def changed(kept: Mapping[str, Any], before: Sequence[Any], after: Any, call_id: str) -> dict[str, Any]:
    """Return what is kept of an execution with its commands as a policy has changed them.

    Args:
        kept: As it is.
        before: The facts that the policy was shown.
        after: What it made of them.
        call_id: The call.

    Raises:
        Unplaced: A change cannot be put back.
    """
    commands = commands_of(kept)
    if not isinstance(after, list) or len(after) != len(commands):
        raise Unplaced("the number of commands was changed")
    made = {
        id(one): one if same_json(old, new) else _patched_command(one, old, new, call_id)
        for one, old, new in zip(commands, before, after, strict=True)
    }
    if "output" not in kept:
        return {**kept, "commands": [made[id(one)] for one in commands]}
    output = kept["output"]
    if isinstance(output, list | tuple):
        return {**kept, "output": [made.get(id(one), one) for one in output]}
    return {**kept, "output": made.get(id(output), output)}


def _command(command: Any, call_id: str) -> dict[str, Any]:
    update: dict[str, Any] = {}
    for key, value in fields.update_items(command.update):
        update.setdefault(key, []).append(_json(value, 0, call_id))
    shown = {
        "graph": command.graph,
        "goto": _json(command.goto, 0, call_id),
        "resume": _json(command.resume, 0, call_id),
        "update": {key: each[0] if len(each) == 1 else each for key, each in update.items()},
    }
    return _without_nothing(shown)


def _without_nothing(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in shown.items() if each not in (None, [], {})}


def _patched_command(command: Any, before: Any, after: Any, call_id: str) -> Any:
    if not tool_result.is_command(command):
        return _patched(command, before, after, call_id)
    if not isinstance(after, Mapping) or after.keys() != before.keys() or after.get("graph") != before.get("graph"):
        raise Unplaced("a command has other fields")
    found: dict[str, Any] = {}
    for name in ("goto", "resume"):
        if name in after:
            found[name] = _patched(getattr(command, name), before[name], after[name], call_id)
    if "update" in after:
        items = fields.update_items(command.update)
        if not isinstance(after["update"], Mapping) or len({key for key, _ in items}) != len(items):
            raise Unplaced("the update of a command")
        old, new = before["update"], after["update"]
        if unknown := new.keys() - old.keys():
            raise Unplaced(f"a command writes {', '.join(unknown)}, which it did not")
        found["update"] = [(key, _patched(each, old[key], new[key], call_id)) for key, each in items if key in new]
    return replace(command, **found)


def _json(value: Any, depth: int, call_id: str) -> Any:
    """Return a value as JSON that policies can decide on; what is none is shown as its class and text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return shown_number(value)
    if depth > _DEPTH:
        return "[deeper]"
    if isinstance(value, ToolMessage) and value.tool_call_id == call_id:
        return dict(_OWN)
    if (parts := _parts(value)) is not None:
        return _without_nothing({name: _json(each, depth + 1, call_id) for name, each in parts.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(each, depth + 1, call_id) for each in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    return {"class": type(value).__qualname__, "text": str(value)}


def _parts(value: Any) -> dict[str, Any] | None:
    """Return the named parts of a value; None: it has none."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    if isinstance(value, BaseModel):
        return dict(value.__dict__)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "node") and hasattr(value, "arg"):  # a Send
        return {"node": value.node, "arg": value.arg}
    return None


def _patched(value: Any, before: Any, after: Any, call_id: str) -> Any:
    """Return a value with the changes that were made of its facts."""
    if same_json(before, after):
        return value
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return after
    if isinstance(value, ToolMessage) and value.tool_call_id == call_id:
        raise Unplaced("the result is changed as the result")
    if (parts := _parts(value)) is not None:
        return _patched_parts(value, parts, before, after, call_id)
    if isinstance(value, list | tuple) and isinstance(after, list):
        if len(after) == len(value):
            return [_patched(*each, call_id) for each in zip(value, before, after, strict=True)]
        if same_json(list(value), before):  # plain JSON, so what the policy made of it may stand for it
            return after
    raise Unplaced(f"a {type(value).__qualname__}")


def _patched_parts(value: Any, parts: Mapping[str, Any], before: Any, after: Any, call_id: str) -> Any:
    if not isinstance(after, Mapping) or not isinstance(before, Mapping):
        raise Unplaced(f"a {type(value).__qualname__}")
    if isinstance(value, Mapping):
        if unknown := after.keys() - before.keys():
            raise Unplaced(f"the key {next(iter(unknown))!r} was added")
        gone = before.keys() - after.keys()
        return {
            name: _patched(each, before[str(name)], after[str(name)], call_id) if str(name) in after else each
            for name, each in value.items()
            if str(name) not in gone
        }
    if after.keys() != before.keys():
        raise Unplaced(f"a field of a {type(value).__qualname__} was added or taken away")
    new = {
        name: _patched(parts[name], before[name], after[name], call_id)
        for name in after
        if not same_json(before[name], after[name])
    }
    if isinstance(value, BaseModel):
        return value.model_copy(update=new)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return replace(value, **new)
    return type(value)(**{**parts, **new})
