"""A title for a conversation, by one call of a model.

The model is asked in one of three ways: for plain text, for structured output, or to call a function; the last two also
tell the language of the conversation. A model that cannot do those is asked for plain text, and one that answers in
plain text although it was asked for more is taken by its word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, get_args

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import BaseModel, Field

from stategraph.agent.messages.truncation import text_of
from stategraph.errors import ConfigurationError

TitleMethod = Literal["completion", "structured", "functions"]

_PROMPT = (
    "Provide a concise, 5-word-or-less title for the conversation, using title case conventions. "
    "Only return the title itself."
)
_REASONING = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)
_TEMPLATE = "User: {input}\nAI: {output}"
_PLACES = re.compile(r"\{(?:input|output)\}")


class Title(TypedDict):
    """A title.

    Attributes:
        title: The title, one line; empty if the model gave none.
        language: The conversation's language, if the model was asked for it.
    """

    title: str
    language: NotRequired[str]


class _TitleOnly(BaseModel):
    """A title for the conversation."""

    title: str = Field(description="A concise title of at most five words")


class _TitleAndLanguage(_TitleOnly):
    """A title for the conversation, and its language."""

    language: str = Field(description="The language of the conversation, in English")


async def generate_title(
    model: BaseChatModel,
    input_text: str,
    content_parts: Sequence[Mapping[str, Any] | None],
    *,
    method: TitleMethod = "structured",
    prompt: str | None = None,
    prompt_template: str | None = None,
    skip_language: bool = False,
    config: RunnableConfig | None = None,
) -> Title:
    """Ask a model for a title.

    Args:
        model: The model.
        input_text: The person's message.
        content_parts: The answer, with None where a step had no content.
        method: How to ask.
        prompt: The prompt, with `{convo}` where the conversation goes, else it goes at the end; None: a prompt of
            this package.
        prompt_template: How the conversation is written, with `{input}` and `{output}`.
        skip_language: Do not ask for the language.
        config: For the call of the model.

    Returns:
        The title.

    Raises:
        ConfigurationError: The template lacks a place, or the method is unknown.
    """
    if method not in get_args(TitleMethod):
        raise ConfigurationError(
            f"The title's method is {method!r}; expected one of {', '.join(get_args(TitleMethod))}"
        )
    answer = "".join(str(part.get("text") or "") for part in content_parts if part and part.get("type") == "text")
    asked = [
        HumanMessage(_question(prompt or _PROMPT, _conversation(prompt_template or _TEMPLATE, input_text, answer)))
    ]
    structured = None if method == "completion" else _structured(model, method, skip_language)
    if structured is None:
        return Title(title=_line(text_of((await model.ainvoke(asked, config)).content)))
    answered = await structured.ainvoke(asked, config)
    found, said = answered["parsed"], text_of(answered["raw"].content)
    if isinstance(found, _TitleAndLanguage):
        return Title(title=_line(found.title), language=found.language)
    if isinstance(found, _TitleOnly):
        return Title(title=_line(found.title))
    return Title(title="" if said.lstrip().startswith(("{", "[")) else _line(said))


def _structured(model: BaseChatModel, method: TitleMethod, skip_language: bool) -> Runnable[Any, Any] | None:
    """Return the model with a structured answer next to its raw one; None if it cannot be asked for one."""
    schema = _TitleOnly if skip_language else _TitleAndLanguage
    how = "function_calling" if method == "functions" else "json_schema"
    try:
        return model.with_structured_output(schema, method=how, include_raw=True)
    except (NotImplementedError, TypeError, ValueError):
        return None


def _line(said: str) -> str:
    """Clean a title: without reasoning in tags and without quotes around it."""
    return " ".join(_REASONING.sub("", said).split()).strip('"')


def _conversation(template: str, input_text: str, answer: str) -> str:
    missing = [place for place in ("{input}", "{output}") if place not in template]
    if missing:
        raise ConfigurationError(f"The title's template lacks {' and '.join(missing)}; it is {template!r}")
    # In one go: what was said may have these words in it.
    said = {"{input}": input_text, "{output}": answer}
    return _PLACES.sub(lambda place: said[place[0]], template)


def _question(prompt: str, conversation: str) -> str:
    if "{convo}" in prompt:
        return prompt.replace("{convo}", conversation)
    return f"{prompt}\n\nConversation:\n{conversation}"
