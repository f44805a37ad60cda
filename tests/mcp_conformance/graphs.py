"""The graphs of the server that the conformance suite looks at: each is a tool of the name that the suite calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from mcp.shared.exceptions import MCPError
from typing_extensions import TypedDict

from stategraph import START, MessagesState, StateGraph, get_stream_writer, interrupt
from stategraph.server.mcp import ToolSettings

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""

SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
"""A WAV without sound."""


def built(node: Callable[..., Any], given: type = dict) -> Any:
    """Return a graph of one node that returns the content of an answer."""

    async def answer(state: Any) -> dict[str, Any]:
        content = node(state)
        return {"messages": [AIMessage(await content if isinstance(content, Awaitable) else content)]}

    builder = StateGraph(MessagesState, input_schema=given)
    builder.add_node("answer", answer, input_schema=given)
    builder.add_edge(START, "answer")
    return builder.compile()


class Nothing(TypedDict, total=False):
    """No arguments."""


class Named(TypedDict):
    """A name."""

    name: str


class Asked(TypedDict):
    """A prompt."""

    prompt: str


class Told(TypedDict):
    """A message."""

    message: str


class Slow(TypedDict, total=False):
    """How long to work."""

    seconds: float
    label: str


class FileName(TypedDict):
    """A file."""

    filename: str


def text(state: Any) -> str:
    return "This is a simple text response for testing."


def image(state: Any) -> list[Any]:
    return [{"type": "image", "base64": PIXEL, "mime_type": "image/png"}]


def audio(state: Any) -> list[Any]:
    return [{"type": "audio", "base64": SILENCE, "mime_type": "audio/wav"}]


def resource(state: Any) -> list[Any]:
    said = "This is an embedded resource content."
    return [{"type": "text-plain", "url": "test://embedded-resource", "mime_type": "text/plain", "text": said}]


def mixed(state: Any) -> list[Any]:
    data = '{"test": "data", "value": 123}'
    return [
        {"type": "text", "text": "Multiple content types test:"},
        *image(state),
        {"type": "text-plain", "url": "test://mixed-content-resource", "mime_type": "application/json", "text": data},
    ]


async def logging(state: Any) -> str:
    write = get_stream_writer()
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        write({"type": "log", "level": "info", "data": said})
        await asyncio.sleep(0.05)
    return "Tool with logging executed successfully"


async def progress(state: Any) -> str:
    write = get_stream_writer()
    for done in (0, 50, 100):
        write({"type": "progress", "progress": done, "total": 100, "message": f"Completed step {done} of 100"})
        await asyncio.sleep(0.05)
    return "done"


def sampling(state: Any) -> str:
    return f"LLM response: {sampled(state['prompt'], 100)}"


def sampled(prompt: str, tokens: int, key: str = "sampled") -> str:
    params = {"messages": [{"role": "user", "content": {"type": "text", "text": prompt}}], "maxTokens": tokens}
    given = interrupt({"type": "mcp_request", "method": "sampling/createMessage", "params": params, "key": key})
    return str(given["content"]["text"])


def elicited(key: str, message: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    given = interrupt({"type": "mcp_elicitation", "message": message, "requestedSchema": dict(schema), "key": key})
    return dict(given)


def form(**fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


def elicitation(state: Any) -> str:
    given = elicited("response", state["message"], form(response={"type": "string", "description": "User's response"}))
    return f"User response: action={given['action']}, content={given.get('content', {})}"


def defaults(state: Any) -> str:
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    given = elicited("defaults", "Please provide user information", {"type": "object", "properties": fields})
    return f"Elicitation completed: action={given['action']}, content={given.get('content', {})}"


def enums(state: Any) -> str:
    levels = [("low", "Low Priority"), ("medium", "Medium Priority"), ("high", "High Priority")]
    kinds = [("feature", "New Feature"), ("bug", "Bug Fix"), ("docs", "Documentation")]
    fields = {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": [{"const": each, "title": title} for each, title in levels]},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": [{"const": each, "title": title} for each, title in kinds]},
        },
    }
    given = elicited("enums", "Please select values", {"type": "object", "properties": fields})
    return f"Elicitation completed: action={given['action']}, content={given.get('content', {})}"


def failing(state: Any) -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


# Questions of 2026-07-28.

NAME = form(name={"type": "string"})
OK = form(ok={"type": "boolean"})


def greeted(state: Any) -> str:
    return f"Hello, {elicited('user_name', 'What is your name?', NAME)['content']['name']}!"


def capital(state: Any) -> str:
    return sampled("What is the capital of France?", 100, "capital_question")


def roots(state: Any) -> str:
    found = interrupt({"type": "mcp_request", "method": "roots/list", "params": {}, "key": "client_roots"})
    return "Roots: " + ", ".join(each["uri"] for each in found["roots"])


def confirmed(state: Any) -> str:
    elicited("confirm", "Please confirm", OK)
    return "state-ok"


def rounds(state: Any) -> str:
    name = elicited("step1", "Step 1: What is your name?", NAME)["content"]["name"]
    asked = form(color={"type": "string"})
    color = elicited("step2", "Step 2: What is your favorite color?", asked)["content"]["color"]
    return f"{name} likes {color}"


def side_by_side(**asking: Callable[[], str]) -> Any:
    """Return a graph whose nodes ask at the same time."""
    builder = StateGraph(MessagesState, input_schema=Nothing)

    def node(ask: Callable[[], str]) -> Callable[[Any], dict[str, Any]]:
        return lambda state: {"messages": [AIMessage(ask())]}

    for name, ask in asking.items():
        builder.add_node(name, node(ask), input_schema=Nothing)
        builder.add_edge(START, name)
    return builder.compile()


def asked_name(key: str = "user_name") -> str:
    return str(elicited(key, "What is your name?", NAME)["content"]["name"])


# Tasks.


async def slow(state: Any) -> str:
    await asyncio.sleep(state.get("seconds", 1))
    return f"Computed {state.get('label', '')}"


async def job(state: Any) -> str:
    await asyncio.sleep(1)
    raise RuntimeError("The job failed")


async def broken(state: Any) -> str:
    raise MCPError(-32603, "The server broke")


def deleted(state: Any) -> str:
    given = elicited("confirm", f"Delete {state['filename']}?", form(confirm={"type": "boolean"}))
    return "deleted" if given.get("content", {}).get("confirm") else "kept"


class Contact(TypedDict, total=False):
    """What the tool of the JSON schema scenario is given."""

    name: str
    address: dict[str, Any]


CONTACT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

HEADERS = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "priority": {"type": "integer", "x-mcp-header": "Priority"},
        "verbose": {"type": "boolean", "x-mcp-header": "Verbose"},
    },
}


def graphs() -> dict[str, Any]:
    """Return the graphs by the names of their tools."""
    return {
        "test_simple_text": built(text, Nothing),
        "test_image_content": built(image, Nothing),
        "test_audio_content": built(audio, Nothing),
        "test_embedded_resource": built(resource, Nothing),
        "test_multiple_content_types": built(mixed, Nothing),
        "test_tool_with_logging": built(logging, Nothing),
        "test_tool_with_progress": built(progress, Nothing),
        "test_sampling": built(sampling, Asked),
        "test_elicitation": built(elicitation, Told),
        "test_elicitation_sep1034_defaults": built(defaults, Nothing),
        "test_elicitation_sep1330_enums": built(enums, Nothing),
        "test_error_handling": built(failing, Nothing),
        "test_reconnection": built(logging, Nothing),
        "json_schema_2020_12_tool": built(text, Contact),
        "test_custom_headers": built(text, Nothing),
        "test_input_required_result_elicitation": built(greeted, Nothing),
        "test_input_required_result_sampling": built(capital, Nothing),
        "test_input_required_result_list_roots": built(roots, Nothing),
        "test_input_required_result_request_state": built(confirmed, Nothing),
        "test_input_required_result_tampered_state": built(confirmed, Nothing),
        "test_input_required_result_multiple_inputs": side_by_side(
            name=asked_name,
            greeting=lambda: sampled("Generate a greeting", 50, "greeting"),
            roots=lambda: roots({}),
        ),
        "test_input_required_result_multi_round": built(rounds, Nothing),
        "test_input_required_result_capabilities": side_by_side(
            name=asked_name, greeting=lambda: sampled("Generate a greeting", 50, "greeting")
        ),
        "greet": built(lambda state: f"Hello, {state['name']}!", Named),
        "slow_compute": built(slow, Slow),
        "failing_job": built(job, Nothing),
        "protocol_error_job": built(broken, Nothing),
        "confirm_delete": built(deleted, FileName),
        "multi_input": side_by_side(one=lambda: asked_name("first"), two=lambda: asked_name("second")),
        "test_tool_with_task": built(greeted, Nothing),
        "test_missing_capability": built(capital, Nothing),
        "test_streaming_elicitation": built(greeted, Nothing),
        "test_logging_tool": built(logging, Nothing),
    }


SETTINGS = {
    **{name: ToolSettings(task="never") for name in graphs()},
    "json_schema_2020_12_tool": ToolSettings(task="never", input_schema=CONTACT),
    "test_custom_headers": ToolSettings(task="never", input_schema=HEADERS),
    "slow_compute": ToolSettings(),
    "failing_job": ToolSettings(task="required"),
    "protocol_error_job": ToolSettings(),
    "confirm_delete": ToolSettings(),
    "multi_input": ToolSettings(),
    "test_tool_with_task": ToolSettings(task="required", asks_first=True),
}
