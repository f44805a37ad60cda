"""Messages of the protocol to inputs of graphs, and what graphs say back to parts.

Rules
-----
* A graph with `messages` in its input is given a `HumanMessage` with the id of the message. Parts become LangChain's
  content blocks; files are handed on as they are, by their bytes or their address, and nothing is fetched.
* A data part whose keys are all inputs of the graph is input beside the messages.
* A graph without `messages` is given the data, or the text as its only text input.
* The message itself is in the run's config, under `configurable`, for nodes that want to know more of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, Final

from a2a.types import Message, Part, Role
from a2a.utils.errors import ContentTypeNotSupportedError, InvalidParamsError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct, Value

from stategraph.run.json_safe import to_json
from stategraph.server.service.port import RunRecord

#: The key in `configurable` under which nodes find the message, as JSON.
MESSAGE_KEY: Final = "a2a_message"

_KINDS: Final = ("image", "audio", "video")


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON."""
    found: dict[str, Any] = MessageToDict(message)
    return found


def check_modes(message: Message, modes: Sequence[str]) -> None:
    """Make sure that all parts have media types that are taken.

    Raises:
        ContentTypeNotSupportedError: One has not.
    """
    for part in message.parts:
        kind = part.media_type.partition(";")[0].strip().lower()
        if kind and not any(fnmatch(kind, mode) for mode in modes):
            raise ContentTypeNotSupportedError(
                f"The media type '{kind}' of a part is not supported; supported are: {', '.join(modes)}"
            )


def run_input(message: Message, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input of a graph for a message.

    Args:
        message: The message.
        schema: JSON schema of the graph's input.

    Raises:
        InvalidParamsError: The graph takes no such message.
    """
    known = schema.get("properties", {})
    data = [_value(part.data) for part in message.parts if part.WhichOneof("content") == "data"]
    objects = [each for each in data if isinstance(each, dict) and each]
    inputs = _inputs(objects, known)
    if "messages" in known:
        return {**inputs, "messages": [_human(message, inputs)]}
    if inputs:
        return inputs
    texts = [name for name, about in known.items() if about.get("type") == "string"]
    if len(texts) == 1 and (text := text_of(message)):
        return {texts[0]: text}
    if not known and objects:
        return objects[0]
    raise InvalidParamsError(
        f"The agent takes a data part with some of these keys: {', '.join(known)}; the message has none"
    )


def _inputs(objects: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data that is input beside messages."""
    found: dict[str, Any] = {}
    for each in objects:
        if all(key in known and key != "messages" for key in each):
            found |= each
    return found


def answer_in(message: Message) -> Any:
    """Return what a waiting graph is answered with: the data of a message, else its text."""
    for part in message.parts:
        if part.WhichOneof("content") == "data":
            return _value(part.data)
    return text_of(message)


def text_of(message: Message) -> str:
    """Return all text of a message, each part on lines of its own."""
    return "\n".join(part.text for part in message.parts if part.WhichOneof("content") == "text")


def sent_with(run: RunRecord, task_id: str, context_id: str) -> Message | None:
    """Return the message with which a run was begun; None if there was none.

    A run that another protocol began has a message made of the last one of its input.
    """
    stored = (run.kwargs.get("config") or {}).get("configurable", {}).get(MESSAGE_KEY)
    if isinstance(stored, Mapping):
        found: Message = ParseDict(dict(stored), Message(), ignore_unknown_fields=True)
        found.task_id, found.context_id = task_id, context_id
        return found
    text = _input_text(run)
    if not text:
        return None
    return Message(
        message_id=f"{run.run_id}:input",
        task_id=task_id,
        context_id=context_id,
        role=Role.ROLE_USER,
        parts=[Part(text=text)],
    )


def agent_message(message_id: str, task_id: str, context_id: str, parts: Sequence[Part]) -> Message:
    """Make a message of the agent."""
    return Message(message_id=message_id, task_id=task_id, context_id=context_id, role=Role.ROLE_AGENT, parts=parts)


def data_part(value: Any) -> Part:
    """Return a part with data; what is no JSON in it becomes text."""
    return Part(data=ParseDict(plain(value), Value()))


def struct(value: Mapping[str, Any]) -> Struct:
    """Return data as the protocol's metadata."""
    found: Struct = ParseDict(plain(value), Struct())
    return found


def block_parts(content: Any) -> list[Part]:
    """Return the parts for the content of a message that are not its text: files and data."""
    if not isinstance(content, list):
        return []
    return [part for block in content if isinstance(block, Mapping) and (part := _block_part(block)) is not None]


def _block_part(block: Mapping[str, Any]) -> Part | None:
    extras = block.get("extras")
    named = {**(extras if isinstance(extras, Mapping) else {}), **block}
    name, kind = str(named.get("filename") or named.get("name") or ""), str(block.get("mime_type") or "")
    if isinstance(encoded := block.get("base64", block.get("data")), str):
        return Part(raw=base64.b64decode(encoded), filename=name, media_type=kind)
    if isinstance(address := block.get("url"), str):
        return Part(url=address, filename=name, media_type=kind)
    if block.get("type") == "non_standard" and isinstance(block.get("value"), Mapping):
        return data_part(block["value"])
    return None


def _human(message: Message, inputs: Mapping[str, Any]) -> dict[str, Any]:
    blocks = [block for part in message.parts if (block := _block(part, inputs)) is not None]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    content: Any = "\n".join(texts) if len(texts) == len(blocks) else blocks
    return {"type": "human", "id": message.message_id, "content": content}


def _block(part: Part, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    match part.WhichOneof("content"):
        case "text":
            return {"type": "text", "text": part.text}
        case "data":
            value = _value(part.data)
            taken = isinstance(value, dict) and value and all(key in inputs for key in value)
            return None if taken else {"type": "text", "text": to_json(value)}
        case "raw":
            return {**_file(part), "base64": base64.b64encode(part.raw).decode()}
        case "url":
            return {**_file(part), "url": part.url}
        case _:
            return None


def _file(part: Part) -> dict[str, Any]:
    kind = part.media_type.partition("/")[0]
    block: dict[str, Any] = {"type": kind if kind in _KINDS else "file"}
    if part.media_type:
        block["mime_type"] = part.media_type
    if part.filename:
        block["extras"] = {"filename": part.filename}
    return block


def _value(value: Value) -> Any:
    return _whole(MessageToDict(value))


def _whole(value: Any) -> Any:
    """Return JSON with whole numbers where the protocol's have a fraction of zero."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dict():
            return {key: _whole(each) for key, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value


def plain(value: Any) -> Any:
    """Return a value as JSON; what has no form in JSON is left out."""
    return json.loads(to_json(value))


def _input_text(run: RunRecord) -> str:
    given, command = run.kwargs.get("input"), run.kwargs.get("command")
    if isinstance(command, Mapping) and command.get("resume") is not None:
        answers = command["resume"]
        return answers if isinstance(answers, str) else to_json(answers)
    if isinstance(given, Mapping) and isinstance(messages := given.get("messages"), list) and messages:
        last = messages[-1]
        content = last.get("content") if isinstance(last, Mapping) else getattr(last, "content", last)
        return content if isinstance(content, str) else to_json(content)
    return "" if given is None else given if isinstance(given, str) else to_json(given)
