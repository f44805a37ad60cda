"""Assistants as tools.

Rules
-----
* A tool is named after its assistant, in the characters that the protocol allows; of two with one name, the later one
  has part of its id behind it.
* A graph with `messages` in its input takes a `message`, its other inputs, and the `thread_id` of a conversation that
  is to go on. It returns `text`, the `thread_id`, and its other outputs.
* Another graph takes what its input schema says and returns what its output schema says.
* Blocks of an answer become content: texts, images, sound, files. Nothing is fetched.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as wire
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import SchemaError, best_match  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from stategraph.run.json_safe import to_json
from stategraph.server.mcp.settings import McpSettings, ToolSettings
from stategraph.server.service.port import Assistant, Caller, Page, Service
from stategraph.server.tasks.schemas import KnownSchemas

logger = logging.getLogger(__name__)

_PAGE: Final = 100

#: Assistants that are tools, for each caller.
MOST: Final = 1_000

_REFUSED: Final = re.compile(r"[^A-Za-z0-9_.-]+")

_MESSAGE: Final = {"type": "string", "description": "What to say to the agent"}
_THREAD: Final = {"type": "string", "description": "The conversation to go on with; left out: a new one"}


@dataclass(frozen=True, slots=True)
class AssistantTool:
    """An assistant as a tool.

    Attributes:
        assistant: The assistant.
        tool: What clients see.
        settings: How it is called.
        takes_messages: Whether it takes a message, and is a conversation.
    """

    assistant: Assistant
    tool: wire.Tool
    settings: ToolSettings
    takes_messages: bool


class Tools:
    """The assistants of a service as tools.

    Args:
        service: Has the assistants and graphs.
        settings: Of the protocol.
    """

    def __init__(self, service: Service, settings: McpSettings) -> None:
        self._service = service
        self._settings = settings
        self._schemas = KnownSchemas(service)

    async def all(self, caller: Caller) -> list[AssistantTool]:
        """Return all tools of a caller."""
        found: dict[str, AssistantTool] = {}
        async for assistant in self._assistants(caller):
            name = _REFUSED.sub("_", assistant.name or assistant.graph_id)[:100] or "agent"
            if name in found:
                name = f"{name}_{assistant.assistant_id[:8]}"
            found[name] = await self._tool(caller, assistant, name)
        return list(found.values())

    async def find(self, caller: Caller, name: str) -> AssistantTool | None:
        """Return the tool of a name; None if the caller has none of that name."""
        return next((each for each in await self.all(caller) if each.tool.name == name), None)

    async def _assistants(self, caller: Caller) -> AsyncIterator[Assistant]:
        seen = 0
        while seen < MOST:
            page = await self._service.assistants.search(caller, page=Page(_PAGE, seen, "created_at", "asc"))
            for each in page:
                if self._is_exposed(each):
                    yield each
            seen += len(page)
            if len(page) < _PAGE:
                return

    def _is_exposed(self, assistant: Assistant) -> bool:
        said = assistant.metadata.get("mcp")
        hidden = isinstance(said, Mapping) and said.get("exposed") is False
        exposed = self._settings.exposed
        return not hidden and (exposed is None or assistant.graph_id in exposed)

    async def _tool(self, caller: Caller, assistant: Assistant, name: str) -> AssistantTool:
        schemas = await self._schemas.of(caller, assistant)
        settings = self._settings.tool(assistant.graph_id)
        takes_messages = settings.input_schema is None and "messages" in schemas.input.get("properties", {})
        about = assistant.description or self._service.graphs.description(assistant.graph_id)
        tool = wire.Tool(
            name=name,
            title=settings.title,
            description=about or f"The agent '{assistant.name or assistant.graph_id}'",
            input_schema=dict(settings.input_schema or _input_schema(schemas.input, takes_messages)),
            output_schema=_as_object(settings.output_schema or _output_schema(schemas.output, takes_messages)),
            annotations=wire.ToolAnnotations(
                title=settings.title,
                read_only_hint=settings.read_only,
                destructive_hint=settings.destructive,
                idempotent_hint=settings.idempotent,
                open_world_hint=settings.open_world,
            ),
        )
        return AssistantTool(assistant, tool, settings, takes_messages)


def _input_schema(schema: Mapping[str, Any], takes_messages: bool) -> Mapping[str, Any]:
    if not takes_messages:
        return {**schema, "type": "object"}
    others = {name: about for name, about in schema.get("properties", {}).items() if name != "messages"}
    required = [name for name in schema.get("required", ()) if name != "messages"]
    return {
        "type": "object",
        "properties": {"message": _MESSAGE, **others, "thread_id": _THREAD},
        "required": ["message", *required],
        **_definitions(schema, others),
    }


def _output_schema(schema: Mapping[str, Any], takes_messages: bool) -> Mapping[str, Any]:
    if not takes_messages:
        return schema
    others = {name: about for name, about in schema.get("properties", {}).items() if name != "messages"}
    return {
        "type": "object",
        "properties": {"text": {"type": "string"}, "thread_id": {"type": "string"}, **others},
        "required": ["text", "thread_id"],
        **_definitions(schema, others),
    }


def _definitions(schema: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions of a schema, unless nothing of it refers to one."""
    return {"$defs": schema["$defs"]} if "$defs" in schema and "$ref" in json.dumps(used, default=str) else {}


def _as_object(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema of objects; None for others, which the older revision does not know."""
    return dict(schema) if schema.get("type") == "object" else None


def problem_of(tool: AssistantTool, arguments: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the arguments of a call, as a sentence for the model; None if they fit."""
    if tool.takes_messages and "messages" in arguments:
        return "The tool has no argument 'messages': say it in 'message', as a text"
    schema = dict(tool.tool.input_schema)
    if tool.settings.input_schema is None:  # a graph takes part of its state, and what it writes itself is in it too
        schema["required"] = ["message"] if tool.takes_messages else []
    validator = Draft202012Validator(schema, registry=Registry())
    try:
        found = best_match(validator.iter_errors(dict(arguments)))
    except (SchemaError, Unresolvable) as error:  # a schema of the settings
        logger.warning("The input schema of the tool '%s' is none: %s", tool.tool.name, type(error).__name__)
        return None
    if found is None:
        return None
    where = "".join(f"[{each!r}]" for each in found.absolute_path)
    return f"The arguments{where} do not fit the tool's input schema: {found.message:.400}"


def run_input(tool: AssistantTool, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the input of the graph for arguments of a call, and the thread that is to go on."""
    given = dict(arguments)
    if not tool.takes_messages:
        return given, None
    thread_id, message = given.pop("thread_id", None), given.pop("message", "")
    return {**given, "messages": [{"type": "human", "content": message}]}, thread_id


def result_of(tool: AssistantTool, values: Any, thread_id: str) -> wire.CallToolResult:
    """Return the result of a call for what the graph returned."""
    plain = json.loads(to_json(values))
    messages = values.get("messages") if isinstance(values, Mapping) else None
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = content_of(last.get("content") if isinstance(last, Mapping) else getattr(last, "content", None))
    text = "\n".join(each.text for each in content if isinstance(each, wire.TextContent))
    if tool.takes_messages and isinstance(plain, Mapping):
        others = {name: value for name, value in plain.items() if name != "messages"}
        structured: Any = {**others, "text": text, "thread_id": thread_id}
    else:
        structured = plain
    if not content:
        content = [wire.TextContent(text=json.dumps(structured, ensure_ascii=False))]
    known = tool.tool.output_schema is not None and isinstance(structured, dict)
    return wire.CallToolResult(content=content, structured_content=structured if known else None)


def error_of(sentence: str) -> wire.CallToolResult:
    """Return the result of a call that failed."""
    return wire.CallToolResult(content=[wire.TextContent(text=sentence)], is_error=True)


def content_of(content: Any) -> list[wire.ContentBlock]:
    """Return the content of a message as content of a result."""
    if isinstance(content, str):
        return [wire.TextContent(text=content)] if content else []
    if not isinstance(content, Sequence):
        return []
    found = [_block(each) for each in content]
    return [each for each in found if each is not None]


def _block(block: Any) -> wire.ContentBlock | None:
    if isinstance(block, str):
        return wire.TextContent(text=block)
    if not isinstance(block, Mapping):
        return None
    mime = str(block.get("mime_type") or "application/octet-stream")
    match block:
        case {"type": "text", "text": str(text)}:
            return wire.TextContent(text=text)
        case {"type": "image", "base64": str(encoded)}:
            return wire.ImageContent(data=encoded, mime_type=mime)
        case {"type": "audio", "base64": str(encoded)}:
            return wire.AudioContent(data=encoded, mime_type=mime)
        case {"text": str(text), "url": str(address)}:
            return wire.EmbeddedResource(resource=wire.TextResourceContents(uri=address, mime_type=mime, text=text))
        case {"base64": str(encoded)}:
            uri = str(block.get("url") or "file:///file")
            return wire.EmbeddedResource(resource=wire.BlobResourceContents(uri=uri, mime_type=mime, blob=encoded))
        case {"url": str(address)}:
            return wire.ResourceLink(name=str(block.get("title") or address), uri=address, mime_type=mime)
    return None
