"""Answers of MCP servers as content blocks and messages of LangChain, and as plain values.

Rules for content:

- Text is text, also that of an embedded resource. A link to a resource becomes text that names it: the model can then
  ask for it, which it could not do with an address that only the server understands.
- A result of nothing but text is one string, its parts joined by line breaks.
- Images, sound and other data become LangChain's standard blocks, base64 as they came. In the result of a tool, sound
  and video are files with their type: LangChain takes no such blocks there, and would put the data into the text.
- A result without content but with structured content shows that, as JSON.

The artifact of a tool's result has what is not text, and the structured content, both spelled as the protocol does.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.messages import AIMessage, HumanMessage

from stategraph.agent.mcp.errors import bounded
from stategraph.agent.settings.secrets import Secrets

if TYPE_CHECKING:
    import mcp_types as wire

LONGEST_FAILURE: Final = 20_000
"""Characters of what a tool says about its failure: it may be the output of a compiler."""

Content: TypeAlias = str | list[str | dict[Any, Any]]
"""Content of a LangChain message."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something a server lets be read.

    Attributes:
        uri: Its address on that server.
        name: Its name for programs.
        title: Its name for people.
        description: Its description.
        mime_type: Its type of data, if the server gives one.
        size: Bytes, if the server says.
    """

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceTemplate:
    """A family of resources: a URI template (RFC 6570) whose variables are to be filled in."""

    uri_template: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceContents:
    """Contents of a resource: either text or data.

    Attributes:
        uri: Its address; each file of a folder has its own address.
        text: The text, if it is one.
        data: The bytes, if it is not.
        mime_type: Its type of data, if the server gives one.
    """

    uri: str
    text: str | None = None
    data: bytes | None = None
    mime_type: str | None = None


@dataclass(frozen=True, slots=True)
class PromptArgument:
    """An argument of a prompt."""

    name: str
    description: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that a server offers."""

    name: str
    title: str | None = None
    description: str | None = None
    arguments: tuple[PromptArgument, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt with its arguments filled in."""

    messages: tuple[HumanMessage | AIMessage, ...]
    description: str | None = None


def tool_result(result: wire.CallToolResult) -> tuple[Content, dict[str, Any] | None]:
    """Turn a tool's result into a message's content and its artifact.

    Args:
        result: The server's answer.

    Returns:
        The content, and the artifact or None if the content says everything.
    """
    shown = _in_tool_message(content(result.content))
    artifact: dict[str, Any] = {}
    if other := [_as_json(block) for block in result.content if block.type != "text"]:
        artifact["content"] = other
    if result.structured_content is not None:
        artifact["structuredContent"] = result.structured_content
        if not result.content:
            shown = json.dumps(result.structured_content, ensure_ascii=False)
    return shown, artifact or None


def _in_tool_message(shown: Content) -> Content:
    if isinstance(shown, str):
        return shown
    return [
        {**block, "type": "file"} if isinstance(block, dict) and block["type"] in ("audio", "video") else block
        for block in shown
    ]


def failure(result: wire.CallToolResult, secrets: Secrets) -> str:
    """Return what a tool says about why it failed.

    Args:
        result: The server's answer.
        secrets: Texts to hide in it.
    """
    shown = content(result.content)
    if not isinstance(shown, str):
        shown = "\n".join(block["text"] for block in shown if isinstance(block, dict) and block["type"] == "text")
    return bounded(secrets.text(shown), LONGEST_FAILURE) or "The tool failed and does not say why."


def content(blocks: Sequence[wire.ContentBlock]) -> Content:
    """Turn content of the protocol into that of a message.

    Args:
        blocks: As the server sent them.

    Returns:
        A string if all of it is text, else a list of blocks.
    """
    return _one_text([_block(block) for block in blocks])


def _one_text(shown: list[dict[str, Any]]) -> Content:
    if all(block["type"] == "text" for block in shown):
        return "\n".join(block["text"] for block in shown)
    return list(shown)


def _block(block: wire.ContentBlock) -> dict[str, Any]:
    match block.type:
        case "text":
            return _text(block.text)
        case "image" | "audio":
            return _data(block.type, block.data, block.mime_type)
        case "resource":
            held = block.resource
            if (text := getattr(held, "text", None)) is not None:
                return _text(text)
            blob: str = getattr(held, "blob", "")
            return _data(_kind(held.mime_type), blob, held.mime_type)
        case "resource_link":
            named = f"{block.title or block.name} ({block.mime_type})" if block.mime_type else block.title or block.name
            about = f": {block.description}" if block.description else ""
            return _text(f"[{named}]({block.uri}){about}")


def _kind(mime_type: str | None) -> str:
    kind = (mime_type or "").partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "file"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _data(kind: str, base64_data: str, mime_type: str | None) -> dict[str, Any]:
    return {"type": kind, "base64": base64_data, "mime_type": mime_type or "application/octet-stream"}


def _as_json(block: wire.ContentBlock) -> dict[str, Any]:
    return block.model_dump(mode="json", by_alias=True, exclude_none=True)


def resource(found: wire.Resource) -> Resource:
    """Take a resource out of a listing."""
    return Resource(found.uri, found.name, found.title, found.description, found.mime_type, found.size)


def resource_template(found: wire.ResourceTemplate) -> ResourceTemplate:
    """Take a resource template out of a listing."""
    return ResourceTemplate(found.uri_template, found.name, found.title, found.description, found.mime_type)


def contents(read: wire.TextResourceContents | wire.BlobResourceContents) -> ResourceContents:
    """Take what was read.

    Raises:
        ValueError: Its data are no base64.
    """
    blob: str | None = getattr(read, "blob", None)
    data = None if blob is None else base64.b64decode(blob)
    return ResourceContents(read.uri, getattr(read, "text", None), data, read.mime_type)


def resource_result(read: Sequence[ResourceContents]) -> tuple[Content, dict[str, Any]]:
    """Turn what was read into a message's content and its artifact.

    Args:
        read: The contents of a resource.

    Returns:
        The content, and the address and type of each part.
    """
    shown = [
        _text(one.text or "")
        if one.data is None
        else _data(_kind(one.mime_type), base64.b64encode(one.data).decode(), one.mime_type)
        for one in read
    ]
    about = [{"uri": one.uri, **({"mimeType": one.mime_type} if one.mime_type else {})} for one in read]
    return _in_tool_message(_one_text(shown)), {"contents": about}


def prompt(found: wire.Prompt) -> Prompt:
    """Take a prompt out of a listing."""
    arguments = tuple(
        PromptArgument(argument.name, argument.description, bool(argument.required))
        for argument in found.arguments or ()
    )
    return Prompt(found.name, found.title, found.description, arguments)


def prompt_text(got: wire.GetPromptResult) -> PromptText:
    """Turn a filled-in prompt into messages."""
    roles: Mapping[str, type[HumanMessage] | type[AIMessage]] = {"user": HumanMessage, "assistant": AIMessage}
    return PromptText(
        tuple(roles[message.role](content=content([message.content])) for message in got.messages), got.description
    )
