"""What servers answer and list, as messages and tools: every kind of content, and what no agent can have."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from stategraph.agent.mcp import listing, results
from stategraph.agent.mcp.listing import EndlessListing
from stategraph.agent.settings.secrets import Secrets

wire: Any = pytest.importorskip("mcp_types")

NOTHING = Secrets([])


def answer(*blocks: dict[str, Any], **more: Any) -> Any:
    return wire.CallToolResult.model_validate({"content": list(blocks), **more})


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


DATA = base64.b64encode(b"data").decode()


# -- results of tools ----------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        ([], ""),
        ([text("a"), text("b")], "a\nb"),
        (
            [text("a"), {"type": "image", "data": DATA, "mimeType": "image/png"}],
            [text("a"), {"type": "image", "base64": DATA, "mime_type": "image/png"}],
        ),
        (
            [{"type": "audio", "data": DATA, "mimeType": "audio/wav"}],
            [{"type": "file", "base64": DATA, "mime_type": "audio/wav"}],
        ),
        ([{"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}], "inside"),
        (
            [{"type": "resource", "resource": {"uri": "file:///a", "blob": DATA, "mimeType": "video/mp4"}}],
            [{"type": "file", "base64": DATA, "mime_type": "video/mp4"}],
        ),
        (
            [{"type": "resource", "resource": {"uri": "file:///a", "blob": DATA, "mimeType": "text/csv"}}],
            [{"type": "file", "base64": DATA, "mime_type": "text/csv"}],
        ),
        (
            [{"type": "resource", "resource": {"uri": "file:///a", "blob": DATA}}],
            [{"type": "file", "base64": DATA, "mime_type": "application/octet-stream"}],
        ),
        ([{"type": "resource_link", "uri": "file:///a", "name": "n"}], "[n](file:///a)"),
        (
            [
                {
                    "type": "resource_link",
                    "uri": "file:///a",
                    "name": "n",
                    "title": "T",
                    "mimeType": "text/csv",
                    "description": "about",
                }
            ],
            "[T (text/csv)](file:///a): about",
        ),
    ],
)
def test_each_kind_of_content_is_shown_in_its_way(blocks: Any, shown: Any) -> None:
    assert results.tool_result(answer(*blocks))[0] == shown


def test_what_is_no_text_is_kept_beside_the_result_as_the_server_sent_it() -> None:
    image = {"type": "image", "data": DATA, "mimeType": "image/png"}
    _, artifact = results.tool_result(answer(text("a"), image))
    assert artifact == {"content": [image]}
    assert results.tool_result(answer(text("a"))) == ("a", None)


def test_structured_content_is_kept_and_shown_where_nothing_else_is() -> None:
    shown, artifact = results.tool_result(answer(structuredContent={"größe": 1}))
    assert (json.loads(str(shown)), artifact) == ({"größe": 1}, {"structuredContent": {"größe": 1}})
    assert "größe" in str(shown)
    shown, artifact = results.tool_result(answer(text("a"), structuredContent={"n": 1}))
    assert (shown, artifact) == ("a", {"structuredContent": {"n": 1}})


def test_a_failure_says_its_texts_and_no_secrets() -> None:
    image = {"type": "image", "data": DATA, "mimeType": "image/png"}
    assert results.failure(answer(text("no key-1234567890"), image, text("sorry")), Secrets(["key-1234567890"])) == (
        "no [redacted]\nsorry"
    )
    assert results.failure(answer(text("no")), NOTHING) == "no"
    for nothing in (answer(), answer(image), answer(text(""))):
        assert results.failure(nothing, NOTHING) == "The tool failed and does not say why."


# -- resources and prompts -----------------------------------------------


def test_resources_are_taken_as_they_are_listed() -> None:
    about = {"uri": "file:///a", "name": "n", "title": "T", "description": "d", "mimeType": "text/csv", "size": 7}
    found = results.resource(wire.Resource.model_validate(about))
    assert (str(found.uri), found.name, found.title, found.description) == ("file:///a", "n", "T", "d")
    assert (found.mime_type, found.size) == ("text/csv", 7)
    about = {"uriTemplate": "file:///{x}", "name": "n", "title": "T", "description": "d", "mimeType": "text/csv"}
    family = results.resource_template(wire.ResourceTemplate.model_validate(about))
    assert family == results.ResourceTemplate("file:///{x}", "n", "T", "d", "text/csv")


def test_contents_are_text_or_data() -> None:
    read = results.contents(
        wire.TextResourceContents.model_validate({"uri": "file:///a", "text": "t", "mimeType": "m/n"})
    )
    assert (str(read.uri), read.text, read.data, read.mime_type) == ("file:///a", "t", None, "m/n")
    read = results.contents(wire.BlobResourceContents.model_validate({"uri": "file:///a", "blob": DATA}))
    assert (read.text, read.data, read.mime_type) == (None, b"data", None)


def test_a_prompt_says_what_it_wants_to_know() -> None:
    about: Any = {"name": "p", "description": "d", "arguments": [{"name": "a", "required": True}, {"name": "b"}]}
    found = results.prompt(wire.Prompt.model_validate(about))
    assert found.arguments == (results.PromptArgument("a", None, True), results.PromptArgument("b", None, False))
    assert (found.name, found.title, found.description) == ("p", None, "d")
    assert results.prompt(wire.Prompt.model_validate({"name": "p"})).arguments == ()


def test_a_prompt_that_is_filled_in_is_a_conversation() -> None:
    said = [{"role": "user", "content": text("hi")}, {"role": "assistant", "content": text("ho")}]
    filled = results.prompt_text(wire.GetPromptResult.model_validate({"messages": said, "description": "d"}))
    assert filled.messages == (HumanMessage("hi"), AIMessage("ho"))
    assert filled.description == "d"


# -- listings ------------------------------------------------------------


class Pages:
    """Pages of a listing by cursor."""

    def __init__(self, pages: dict[str | None, tuple[list[Any], str | None]]) -> None:
        self.pages = pages
        self.asked: list[str | None] = []

    async def __call__(self, cursor: str | None) -> Any:
        self.asked.append(cursor)
        return self.pages[cursor]


@pytest.mark.anyio
async def test_a_listing_is_fetched_page_by_page() -> None:
    pages = Pages({None: ([1], "a"), "a": ([2, 3], "b"), "b": ([], "")})
    assert await listing.all_pages(pages) == (1, 2, 3)
    assert pages.asked == [None, "a", "b"]


@pytest.mark.anyio
async def test_a_page_that_comes_again_with_nothing_new_ends_a_listing() -> None:
    pages = Pages({None: ([1], "a"), "a": ([], "a")})
    with pytest.raises(EndlessListing, match="comes back to a page that it had, with nothing new"):
        await listing.all_pages(pages)
    assert pages.asked == [None, "a"]


@pytest.mark.anyio
async def test_a_listing_has_its_most_pages_entries_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_PAGES", 3)
    with pytest.raises(EndlessListing, match="has more than 3 pages, 3 entries so far"):
        await listing.all_pages(Pages({None: ([1], "a"), "a": ([2], "b"), "b": ([3], "c")}))
    assert await listing.all_pages(Pages({None: ([1], "a"), "a": ([2], "b"), "b": ([3], None)})) == (1, 2, 3)
    monkeypatch.setattr(listing, "MOST_ENTRIES", 2)
    assert await listing.all_pages(Pages({None: ([1, 2], None)})) == (1, 2)
    with pytest.raises(EndlessListing, match="has 3 entries of 0 bytes and more; at most 2"):
        await listing.all_pages(Pages({None: ([1, 2], "a"), "a": ([3], None)}))
    prompt = wire.Prompt.model_validate({"name": "n"})
    size = len(prompt.model_dump_json(exclude_unset=True))
    monkeypatch.setattr(listing, "MOST_BYTES", 2 * size)
    assert len(await listing.all_pages(Pages({None: ([prompt, prompt], None)}))) == 2
    monkeypatch.setattr(listing, "MOST_BYTES", 2 * size - 1)
    with pytest.raises(EndlessListing, match=f"has 2 entries of {2 * size} bytes"):
        await listing.all_pages(Pages({None: ([prompt, prompt], None)}))


def tool(name: str, **schema: Any) -> Any:
    return wire.Tool.model_construct(name=name, input_schema=schema)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({}, None),
        ({"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}, None),
        ({"type": "array"}, "its arguments are of type 'array', expected 'object'"),
        ({"properties": []}, "the properties of its arguments are no object"),
        ({"required": "x"}, "the required arguments are no list of names"),
        ({"required": [1]}, "the required arguments are no list of names"),
        ({"default": float}, "its schema has no form in JSON"),
        ({"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}, None),
        ({"properties": {"x": {"$ref": "#/$defs/a"}}}, "its schema refers to '#/$defs/a', which is not in it"),
        ({"properties": {"x": {"$ref": "other.json"}}}, "its schema refers to 'other.json', which is not in it"),
        ({"properties": {"x": {"$ref": "#anchor"}}}, None),
        ({"properties": {"x": {"$ref": 7}}}, None),
        ({"anyOf": [{"type": "string"}], "properties": {"x": {"$ref": "#/anyOf/0"}}}, None),
        ({"anyOf": [{"type": "string"}], "properties": {"x": {"$ref": "#/anyOf/1"}}}, "refers to '#/anyOf/1'"),
        ({"anyOf": [{"type": "string"}], "properties": {"x": {"$ref": "#/anyOf/first"}}}, "refers to '#/anyOf/first'"),
        ({"$defs": {"a/b~c": {}}, "properties": {"x": {"$ref": "#/$defs/a~1b~0c"}}}, None),
        ({"anyOf": [{"properties": {"x": {"$ref": "#/nowhere"}}}]}, "refers to '#/nowhere'"),
        ({"not": nested(listing.DEEPEST - 2)}, None),
        ({"not": nested(listing.DEEPEST - 1)}, f"its schema has more than {listing.DEEPEST} levels"),
    ],
)
def test_a_tool_that_a_provider_would_refuse_is_left_out_with_the_reason(schema: Any, wrong: str | None) -> None:
    good, dropped = listing.usable([tool("t", **schema)])
    if wrong is None:
        assert ([each.name for each in good], dropped) == (["t"], [])
    else:
        assert good == []
        (said,) = dropped
        assert said.startswith("tool 't': ")
        assert wrong in said


def test_a_tool_without_a_name_and_one_that_is_listed_twice_are_left_out() -> None:
    first = tool("t", title="first")
    good, dropped = listing.usable([tool(" "), first, tool("t"), tool("u")])
    assert [each.name for each in good] == ["t", "u"]
    assert good[0] is first
    assert dropped == ["a tool without a name: it cannot be called", "tool 't': listed twice; the first one is taken"]
