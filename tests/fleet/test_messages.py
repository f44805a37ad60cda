"""Conversion of messages: what a format does not say that it loses comes back as it was."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from a2a.types import Message as A2aMessage
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.fleet.messages import (
    FORMATS,
    Data,
    File,
    Message,
    MessageError,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    convert,
    read,
    write,
)

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
names = st.text("abcdefgh_", min_size=1, max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
media_types = st.sampled_from(["", "image/png", "image/jpeg", "application/pdf", "audio/wav"])
texts: st.SearchStrategy[Part] = st.builds(Text, words)
thoughts: st.SearchStrategy[Part] = st.builds(Reasoning, words)
values: st.SearchStrategy[Part] = st.builds(Data, st.dictionaries(names, json_values, max_size=3))
urls = names.map(lambda name: f"https://files.example/{name}")
contents = st.binary(min_size=1, max_size=6).map(lambda data: base64.b64encode(data).decode())
files: st.SearchStrategy[Part] = st.builds(File, media_types, urls, name=st.just("") | names) | st.builds(
    File, media_types, data=contents, name=st.just("") | names
)
calls: st.SearchStrategy[Part] = st.builds(ToolCall, names, names, st.dictionaries(names, json_values, max_size=3))
results: st.SearchStrategy[Part] = st.builds(ToolResult, names, words, st.just("") | names, st.booleans())
ids = st.just("") | names


def of(role: str, parts: st.SearchStrategy[Part], most: int = 4) -> st.SearchStrategy[Message]:
    lists = st.lists(parts, min_size=1, max_size=most).map(tuple)
    return st.builds(Message, st.just(role), lists, ids, ids if role != "tool" else st.just(""))  # type: ignore[arg-type]


messages = st.one_of(
    of("system", texts),
    of("user", texts | files | values),
    of("assistant", texts | thoughts | files | values | calls),
    of("tool", results, 1),
)
conversations = st.lists(messages, min_size=1, max_size=4)


def plain(found: Sequence[Message]) -> list[Message]:
    """Return messages as they compare: who speaks and what is said, texts that follow one another as one."""
    return [Message(each.role, joined(each.parts), each.id, each.name) for each in found]


def joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    found: list[Part] = []
    for part in parts:
        if found and isinstance(part, Text) and isinstance(found[-1], Text):
            found[-1] = Text(found[-1].text + part.text)
        else:
            found.append(part)
    return tuple(found)


@pytest.mark.parametrize("name", FORMATS)
@given(said=conversations)
def test_what_is_not_told_as_lost_comes_back(name: str, said: list[Message]) -> None:
    converted = write(said, name)
    back = read(converted.messages, name)
    if not converted.losses:
        assert plain(back) == plain(said)
    assert set(converted.losses) <= set(FORMATS[name].losses)
    # Nothing more is lost when it goes the same way again.
    again = write(back, name)
    assert plain(read(again.messages, name)) == plain(back) or again.losses


@pytest.mark.parametrize("name", FORMATS)
@given(said=st.lists(of("user", texts) | of("assistant", texts), min_size=1, max_size=4))
def test_text_is_never_lost(name: str, said: list[Message]) -> None:
    back = read(write(said, name).messages, name)
    assert [(each.role, each.text) for each in back] == [(each.role, each.text) for each in said]


@given(said=conversations)
def test_a2a_reads_what_is_written(said: list[Message]) -> None:
    for each in write(said, "a2a").messages:
        parsed = ParseDict(each, A2aMessage())
        assert read([MessageToDict(parsed)], "a2a") == read([each], "a2a")


#: One conversation, as each framework writes it itself.
SAMPLES: dict[str, list[Any]] = {
    "a2a": [
        {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "Rome?"}, {"url": "https://a.example/map.png"}]},
        {"messageId": "m2", "role": "ROLE_AGENT", "parts": [{"data": {"degrees": 20}}]},
    ],
    "adk": [
        {"role": "user", "parts": [{"text": "Rome?"}, {"file_data": {"file_uri": "https://a.example/map.png"}}]},
        {
            "role": "model",
            "parts": [{"thought": True, "text": "look"}, {"function_call": {"name": "w", "args": {"c": 1}}}],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "w", "response": {"degrees": 20}}}]},
        {"parts": [{"text": "no role is a user's"}]},
    ],
    "autogen": [
        {"id": "m1", "source": "user", "models_usage": None, "metadata": {}, "content": "Rome?", "type": "TextMessage"},
        {"source": "bob", "content": "look", "type": "ThoughtEvent"},
        {
            "source": "bob",
            "content": [{"id": "c", "arguments": '{"c": 1}', "name": "w"}],
            "type": "ToolCallRequestEvent",
        },
        {
            "source": "bob",
            "content": [{"content": "20", "name": "w", "call_id": "c", "is_error": True}],
            "type": "ToolCallExecutionEvent",
        },
        {"source": "bob", "content": ["a map", {"data": "aGk="}], "type": "MultiModalMessage"},
    ],
    "openai_chat": [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "w", "arguments": ""}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "20"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
    ],
    "openai_responses": [
        {"role": "user", "content": "Rome?"},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "look"}]},
        {"type": "function_call", "call_id": "c", "name": "w", "arguments": '{"c": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": "20"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "20", "annotations": []}]},
    ],
    "semantic_kernel": [
        {"role": "user", "content_type": "message", "content": "Rome?"},
        {
            "role": "assistant",
            "items": [
                {
                    "content_type": "function_call",
                    "id": "c",
                    "name": None,
                    "plugin_name": "weather",
                    "function_name": "now",
                    "arguments": {"c": 1},
                }
            ],
        },
        {
            "role": "tool",
            "items": [{"content_type": "function_result", "id": "c", "name": "weather-now", "result": 20}],
        },
    ],
    "mastra": [
        {
            "id": "m1",
            "role": "user",
            "parts": [{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,aGk="}],
        },
        {
            "id": "m2",
            "role": "assistant",
            "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "look"},
                {
                    "type": "tool-w",
                    "toolCallId": "c",
                    "state": "output-available",
                    "input": {"c": 1},
                    "output": {"d": 20},
                },
                {"type": "text", "text": "20"},
            ],
        },
    ],
}


def test_samples_are_read() -> None:
    found = {name: [(each.role, each.parts) for each in read(sample, name)] for name, sample in SAMPLES.items()}
    look, call = Reasoning("look"), ToolCall("c", "w", {"c": 1})
    assert found == {
        "a2a": [
            ("user", (Text("Rome?"), File(url="https://a.example/map.png"))),
            ("assistant", (Data({"degrees": 20}),)),
        ],
        "adk": [
            ("user", (Text("Rome?"), File(url="https://a.example/map.png"))),
            ("assistant", (look, ToolCall("", "w", {"c": 1}))),
            ("tool", (ToolResult("", '{"degrees": 20}', "w"),)),
            ("user", (Text("no role is a user's"),)),
        ],
        "autogen": [
            ("user", (Text("Rome?"),)),
            ("assistant", (look, call)),
            ("tool", (ToolResult("c", "20", "w", True),)),
            ("assistant", (Text("a map"), File("image/png", data="aGk="))),
        ],
        "openai_chat": [
            ("system", (Text("be kind"),)),
            ("user", (File("image/png", data="aGk="),)),
            ("assistant", (ToolCall("c", "w", {}),)),
            ("tool", (ToolResult("c", "20"),)),
            ("assistant", (Text("no"),)),
        ],
        "openai_responses": [
            ("user", (Text("Rome?"),)),
            ("assistant", (look, call)),
            ("tool", (ToolResult("c", "20"),)),
            ("assistant", (Text("20"),)),
        ],
        "semantic_kernel": [
            ("user", (Text("Rome?"),)),
            ("assistant", (ToolCall("c", "weather-now", {"c": 1}),)),
            ("tool", (ToolResult("c", "20", "weather-now"),)),
        ],
        "mastra": [
            ("user", (File("image/png", data="aGk="),)),
            ("assistant", (look, call, Text("20"))),
            ("tool", (ToolResult("c", '{"d": 20}', "w"),)),
        ],
    }


def test_langchain_has_objects() -> None:
    said = [
        SystemMessage("be kind"),
        HumanMessage([{"type": "text", "text": "Rome?"}, {"type": "image", "url": "https://a.example/map.png"}]),
        AIMessage("look", tool_calls=[{"id": "c", "name": "w", "args": {"c": 1}}], id="m", name="bob"),
        ToolMessage("20", tool_call_id="c", status="error"),
    ]
    found = read(said, "langchain")
    assert found == [
        Message("system", (Text("be kind"),)),
        Message("user", (Text("Rome?"), File(url="https://a.example/map.png"))),
        Message("assistant", (Text("look"), ToolCall("c", "w", {"c": 1})), "m", "bob"),
        Message("tool", (ToolResult("c", "20", "", True),)),
    ]
    assert convert(said, "langchain", "autogen").messages[-1]["content"][0]["is_error"]
    assert read([("user", "hi")], "langchain") == [Message("user", (Text("hi"),))]


@pytest.mark.parametrize(
    ("name", "messages", "said"),
    [
        ("a2a", [{"role": "ROLE_X", "parts": []}], r"message 0.role is 'ROLE_X'; expected one of"),
        ("a2a", [{"role": "user"}], r"message 0 has no 'parts'; it has \['role'\]"),
        (
            "a2a",
            [{"role": "user", "parts": [{"type": "x"}]}],
            r"message 0.parts\[0\] has \['type'\]; expected one of text",
        ),
        ("adk", [{"role": "user", "parts": [{"text": 1}]}], r"content 0.parts\[0\].text is 1; expected str"),
        ("autogen", [{"source": "user"}], "message 0 has no 'type'"),
        ("langchain", [{"x": 1}], "LangChain reads no messages in this"),
        ("openai_chat", ["hi"], "message 0 is 'hi'; expected an object"),
        ("openai_chat", [{"role": "tool", "content": ""}], "message 0 has no 'tool_call_id'"),
        (
            "openai_chat",
            [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "w", "arguments": "{"}}]}],
            r"message 0.tool_calls\[0\].function.arguments is no JSON",
        ),
        ("openai_responses", [{"type": "function_call", "name": "w"}], "item 0 has no 'call_id'"),
        ("mastra", [{"role": "user", "content": "hi"}], "message 0 has no 'parts'"),
        ("semantic_kernel", [{"role": "nobody"}], "message 0.role is 'nobody'"),
        ("crewai", {"role": "user"}, "What is to be read is .*; expected a list"),
        ("telex", [], "There is no format 'telex'; expected one of a2a, adk"),
    ],
)
def test_what_is_no_message_is_told(name: str, messages: Any, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        read(messages, name)


@pytest.mark.parametrize("name", FORMATS)
@given(
    rubbish=st.lists(json_values | st.dictionaries(st.sampled_from(["role", "parts", "content", "type"]), json_values))
)
def test_rubbish_is_an_error_of_ours(name: str, rubbish: list[Any]) -> None:
    try:
        read(rubbish, name)
    except MessageError as error:
        assert str(error)


def test_the_page_has_every_loss() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "frameworks.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, each in FORMATS.items():
        for what, becomes in each.losses.items():
            assert any(f"`{name}`" in row and row.endswith(f" | {what} | {becomes} |") for row in rows), (name, what)
