"""Items and messages of the API to messages of LangChain, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.messages.truncation import compact_json, text_of
from stategraph.server.openai import answers
from stategraph.server.openai.errors import BadRequestError
from stategraph.server.turns.forms import Fields, Json

#: Where the metadata of a thread in which nothing has run keeps items for its first run.
WAITING: Final = "openai_items"

#: Items that carry nothing for the graph: the thread has what they stand for.
_SKIPPED: Final = (
    "reasoning",
    "item_reference",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
)

_AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def listed(given: Any) -> list[Any]:
    """Return the input of a response as items: a text is a message of the user.

    Raises:
        BadRequestError: It is neither.
    """
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise BadRequestError("'input' is neither a text nor a list of items", "input")
    return given


def read(items: Sequence[Fields]) -> list[BaseMessage]:
    """Return the messages of items; calls after each other are those of one message.

    Raises:
        BadRequestError: An item is of a type that has no meaning here.
    """
    found: list[BaseMessage] = []
    names: dict[str, str] = {}
    for number, each in enumerate(items):
        kind = each.get("type") or ("message" if "role" in each else None)
        if kind in _SKIPPED or answers.is_answer(each):
            continue
        match kind:
            case "message":
                found.append(_message(each, f"input[{number}]"))
            case "function_call" if each.get("name") != answers.FUNCTION:
                call = _call(each.get("name"), each.get("arguments"), each.get("call_id"))
                names[call["id"]] = call["name"]
                before = found[-1] if found else None
                if isinstance(before, AIMessage):
                    before.tool_calls.append(call)
                else:
                    found.append(AIMessage("", id=_new(each.get("id")), tool_calls=[call]))
            case "function_call_output":
                call_id = str(each.get("call_id"))
                text = answers.text_of_output(each.get("output"))
                found.append(ToolMessage(text, tool_call_id=call_id, id=_new(each.get("id")), name=names.get(call_id)))
            case "function_call":
                continue
            case _:
                raise BadRequestError(
                    f"input[{number}] is of type {kind!r}; messages, function calls and their outputs are taken",
                    "input",
                )
    return found


def waiting_in(metadata: Fields) -> list[BaseMessage]:
    """Return the messages that wait for the first run of a thread."""
    given = metadata.get(WAITING)
    return read(given) if isinstance(given, list) else []


def _message(item: Fields, where: str) -> BaseMessage:
    content, message_id = _content(item.get("content"), where), _new(item.get("id"))
    match item.get("role"):
        case "user":
            return HumanMessage(content, id=message_id)
        case "assistant":
            return AIMessage(content if isinstance(content, str) else text_of(content), id=message_id)
        case "system":
            return SystemMessage(content, id=message_id)
        case "developer":
            return SystemMessage(content, id=message_id, additional_kwargs={"__openai_role__": "developer"})
        case role:
            raise BadRequestError(
                f"{where} has the role {role!r}; expected user, assistant, system or developer", "input"
            )


def _new(given: Any) -> str:
    return given if isinstance(given, str) and given else f"msg_{uuid4().hex}"


def _call(name: Any, arguments: Any, call_id: Any) -> Any:
    try:
        args = json.loads(arguments or "{}")
    except (TypeError, ValueError):
        args = {}
    return {"name": str(name or ""), "args": args if isinstance(args, dict) else {}, "id": str(call_id or "")}


def _content(given: Any, where: str) -> Any:
    """Return content in LangChain's blocks; texts alone are a text."""
    if given is None or isinstance(given, str):
        return given or ""
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise BadRequestError(f"The content of {where} is neither a text nor a list of parts", "input")
    blocks = [_block(each, where) for each in given]
    if all(each["type"] == "text" for each in blocks):
        return "".join(each["text"] for each in blocks)
    return blocks


def _block(part: Fields, where: str) -> Json:
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return {"type": "text", "text": str(part.get("text") or "")}
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal") or "")}
        case "input_image" | "image_url":
            given = part.get("image_url")
            url = given.get("url") if isinstance(given, Mapping) else given
            return _source("image", url, part.get("file_id"))
        case "input_file" | "file":
            about = _inner(part, "file")
            return _source("file", about.get("file_url") or about.get("file_data"), about.get("file_id"))
        case "input_audio":
            audio = _inner(part, "input_audio")
            kind = _AUDIO.get(str(audio.get("format")), "audio/wav")
            return {"type": "audio", "base64": str(audio.get("data") or ""), "mime_type": kind}
        case kind:
            raise BadRequestError(f"The content of {where} has a part of type {kind!r}, which is not taken", "input")


def _inner(part: Fields, name: str) -> Fields:
    """Return the fields of a part, which chat completions put one level deeper than responses."""
    found = part.get(name)
    return found if isinstance(found, Mapping) else part


def _source(kind: str, url: Any, file_id: Any) -> Json:
    if isinstance(url, str) and url.startswith("data:"):
        head, _, data = url.partition(",")
        return {"type": kind, "base64": data, "mime_type": head.removeprefix("data:").partition(";")[0]}
    return {"type": kind, "url": url} if url else {"type": kind, "file_id": str(file_id or "")}


# Back.


def write(message: BaseMessage) -> Iterator[Json]:
    """Yield a message of a thread as items."""
    message_id = message.id or ""
    match message:
        case AIMessage():
            if text := text_of(message.content):
                part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
                yield _item(message_id, "assistant", [part])
            for each in message.tool_calls:
                about = {"name": each["name"], "arguments": compact_json(each["args"]), "status": "completed"}
                yield {"id": f"fc_{each['id']}", "type": "function_call", "call_id": each["id"], **about}
        case ToolMessage():
            output = message.content if isinstance(message.content, str) else text_of(message.content)
            about = {"call_id": message.tool_call_id, "output": output, "status": "completed"}
            yield {"id": message_id, "type": "function_call_output", **about}
        case HumanMessage():
            yield _item(message_id, "user", list(_parts(message.content)))
        case SystemMessage():
            role = str(message.additional_kwargs.get("__openai_role__") or "system")
            yield _item(message_id, role, list(_parts(message.content)))


def _item(message_id: str, role: str, content: list[Any]) -> Json:
    return {"id": message_id, "type": "message", "role": role, "status": "completed", "content": content}


def _parts(content: Any) -> Iterator[Json]:
    if isinstance(content, str):
        yield {"type": "input_text", "text": content}
        return
    for each in content:
        if isinstance(each, str) or each.get("type") == "text":
            yield {"type": "input_text", "text": each if isinstance(each, str) else each.get("text", "")}
        elif each.get("type") == "image":
            url = each.get("url") or f"data:{each.get('mime_type', 'image/png')};base64,{each.get('base64', '')}"
            yield {"type": "input_image", "detail": "auto", "image_url": url}


def tool_of(given: Any, where: str) -> Json:
    """Return a tool of the client as chat models bind it.

    Raises:
        BadRequestError: It is no function.
    """
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind != "function":
        raise BadRequestError(
            f"{where} is of type {kind!r}; functions of the client are taken, and the tools of the server are its own",
            "tools",
        )
    about = given.get("function", given)
    if not isinstance(about, Mapping) or not isinstance(about.get("name"), str) or not about["name"]:
        raise BadRequestError(f"{where} has no name", "tools")
    parameters = about.get("parameters")
    function = {
        "name": about["name"],
        "description": str(about.get("description") or ""),
        "parameters": dict(parameters) if isinstance(parameters, Mapping) else {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}
