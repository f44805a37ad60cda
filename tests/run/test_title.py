"""Titles: how a model is asked, and what becomes of what it says."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from stategraph.run.history.title import generate_title
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
