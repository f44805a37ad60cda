"""Titles: how a model is asked, and what becomes of what it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from pydantic import Field

from stategraph.errors import ConfigurationError
from stategraph.run.history.title import generate_title
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

pytestmark = pytest.mark.anyio


async def titled(model: Any, **settings: Any) -> Any:
    return await generate_title(model, "hi", [{"type": "text", "text": "Hello."}], **settings)


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ('"A Friendly Greeting"', "A Friendly Greeting"),
        ("<think>They said hi.\nShort, then.</think>\nA Friendly Greeting", "A Friendly Greeting"),
        ("A\nFriendly  Greeting\n", "A Friendly Greeting"),
        ("", ""),
    ],
)
async def test_a_title_in_plain_text_is_one_line_without_quotes_and_reasoning(said: str, title: str) -> None:
    assert await titled(ScriptedChatModel(replies=[said]), method="completion") == {"title": title}


async def test_what_was_said_is_told_as_it_was_whatever_it_looks_like() -> None:
    model = ScriptedChatModel(replies=["A Title"])
    parts = [{"type": "text", "text": "It is {input}."}]
    await generate_title(model, "What is {output}?", parts, method="completion", prompt="Name it: {convo}")
    (request,) = model.requests
    assert request.messages[0].content == "Name it: User: What is {output}?\nAI: It is {input}."


@pytest.mark.parametrize("method", ["structured", "functions"])
async def test_a_model_without_structured_output_is_asked_for_plain_text(method: Any) -> None:
    assert await titled(FakeListChatModel(responses=["A Greeting"]), method=method) == {"title": "A Greeting"}


async def test_a_function_that_is_called_gives_title_and_language() -> None:
    call = script.call("_TitleAndLanguage", {"title": "A Greeting", "language": "English"})
    model = ScriptedChatModel(replies=[script.reply(call)])
    assert await titled(model, method="functions") == {"title": "A Greeting", "language": "English"}


async def test_a_model_that_answers_in_text_although_it_should_call_is_taken_by_its_word() -> None:
    assert await titled(ScriptedChatModel(replies=["A Greeting"]), method="functions") == {"title": "A Greeting"}


async def test_an_answer_that_is_no_title_makes_none() -> None:
    call = script.call("_TitleAndLanguage", {"name": "A Greeting"})
    assert await titled(ScriptedChatModel(replies=[script.reply(call)]), method="functions") == {"title": ""}


class Asked(ScriptedChatModel):
    """A model that notes how it is asked for structured output."""

    asked: list[Any] = Field(default_factory=list)

    def with_structured_output(self, schema: Any, **how: Any) -> Any:
        self.asked.append((schema, how))
        return super().with_structured_output(schema, **how)


@pytest.mark.parametrize(
    ("method", "skip_language", "how", "fields"),
    [
        ("structured", False, "json_schema", ["title", "language"]),
        ("functions", False, "function_calling", ["title", "language"]),
        ("functions", True, "function_calling", ["title"]),
    ],
)
async def test_a_model_is_told_in_the_schema_what_is_wanted(
    method: Any, skip_language: bool, how: str, fields: list[str]
) -> None:
    model = Asked(replies=["A Greeting"])
    await titled(model, method=method, skip_language=skip_language)
    ((schema, given),) = model.asked
    assert given == {"method": how, "include_raw": True}
    described = schema.model_json_schema()["properties"]
    assert list(described) == fields
    assert all(each["description"] for each in described.values())


async def test_a_model_is_asked_for_title_and_language_unless_the_method_is_named() -> None:
    model = Asked(replies=["A Greeting"])
    await titled(model)
    ((schema, given),) = model.asked
    assert given["method"] == "json_schema"
    assert list(schema.model_fields) == ["title", "language"]


class Heard(BaseCallbackHandler):
    """Notes the tags of the calls that it hears of."""

    def __init__(self) -> None:
        self.tags: list[Any] = []

    def on_chat_model_start(self, *about: Any, tags: Any = None, **more: Any) -> None:
        self.tags.append(tags)


def titling(model: Any) -> Any:
    """A run whose models are one model, whatever is asked for."""
    asked: list[Any] = []

    def made(provider: str, options: Any) -> Any:
        asked.append((provider, options))
        return model

    run = Run.__new__(Run)
    run._models = SimpleNamespace(resolve=made)  # type: ignore[assignment]
    return run, asked


async def test_a_run_asks_for_a_title_as_its_host_says() -> None:
    model = ScriptedChatModel(replies=["A Greeting"])
    run, asked = titling(model)
    handler = Heard()
    title = await run.generate_title(
        provider="openAI",
        input_text="hi",
        content_parts=[
            None,
            {"type": "text", "text": "Hello."},
            {"type": "text", "text": None},
            {"type": "think", "think": "hm"},
            {"type": "summary", "text": "of what came before"},
        ],
        client_options={"model": "m"},
        title_method="completion",
        title_prompt="Name: {convo}",
        title_prompt_template="P {input} A {output}",
        chain_options={"callbacks": [handler], "tags": ["title"]},
    )
    assert title == {"title": "A Greeting"}
    assert asked == [("openAI", {"model": "m"})]
    assert model.requests[0].messages[0].content == "Name: P hi A Hello."
    assert handler.tags == [["title"]]


@pytest.mark.parametrize(("given", "language"), [({}, True), ({"skip_language": True}, False)])
async def test_a_run_asks_for_the_language_unless_its_host_does_not_want_it(given: Any, language: bool) -> None:
    name = "_TitleAndLanguage" if language else "_TitleOnly"
    answer = {"title": "A Greeting", **({"language": "English"} if language else {})}
    run, _ = titling(ScriptedChatModel(replies=[script.reply(script.call(name, answer))]))
    title = await run.generate_title(
        provider="openAI", input_text="hi", content_parts=[], title_method="functions", **given
    )
    assert title == answer


async def test_what_makes_no_sense_about_a_title_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="The title's method is 'guess'; expected one of "):
        await titled(ScriptedChatModel(replies=[]), method="guess")
    with pytest.raises(ConfigurationError, match=r"The title's template lacks \{output\}; it is 'of \{input\}'"):
        await titled(ScriptedChatModel(replies=[]), prompt_template="of {input}")


async def test_a_conversation_goes_where_the_prompt_says_or_at_its_end() -> None:
    for prompt, question in (
        ("A: {convo}!", "A: User: hi\nAI: Hello.!"),
        ("A", "A\n\nConversation:\nUser: hi\nAI: Hello."),
    ):
        model = ScriptedChatModel(replies=["T"])
        await titled(model, method="completion", prompt=prompt)
        assert model.requests[0].messages[0].content == question


async def test_json_that_is_no_title_makes_none() -> None:
    for said in ('{"a": 1}', ' ["a"]'):
        assert await titled(ScriptedChatModel(replies=[said]), method="functions") == {"title": ""}
