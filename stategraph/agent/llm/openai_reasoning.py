"""OpenAI's chat models with the reasoning that compatible servers send.

OpenAI's own API has no such field, so LangChain's classes drop it: servers call it `reasoning_content` or `reasoning`
and send it next to the content, streamed or whole. Here it is kept in `additional_kwargs` under `reasoning_key`. And
headers and query parameters, which often carry keys of gateways, stay out of the `repr` and of what tracers are given.

The module imports the provider's package and must itself be imported lazily: that takes about a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import langchain_openai
from pydantic import Field

from stategraph.agent.messages import reasoning

if TYPE_CHECKING:
    import openai
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_openai.chat_models.base import BaseChatOpenAI as _Base
else:
    # Not a model by itself: as one, its inherited fields would hide those that the classes below redefine.
    _Base = object


class _WithReasoning(_Base):
    if TYPE_CHECKING:
        reasoning_key: str

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        choices = chunk.get("choices") or (chunk.get("chunk") or {}).get("choices")
        if converted is not None and choices:
            thought = reasoning.text_of(choices[0].get("delta") or {})
            if thought is not None:
                converted.message.additional_kwargs[self.reasoning_key] = thought
        return converted

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        # The client's classes keep fields that they do not know, and give them back here.
        sent = response if isinstance(response, dict) else response.model_dump(warnings=False)
        choices: Sequence[Mapping[str, Any]] = sent.get("choices") or ()
        for generation, choice in zip(result.generations, choices, strict=False):
            thought = reasoning.text_of(choice.get("message") or {})
            if thought is not None:
                generation.message.additional_kwargs[self.reasoning_key] = thought
        return result


class ChatOpenAI(_WithReasoning, langchain_openai.ChatOpenAI):
    """LangChain's class of this name, with reasoning."""

    reasoning_key: str = "reasoning_content"
    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    default_query: Mapping[str, object] | None = Field(default=None, exclude=True, repr=False)


class AzureChatOpenAI(_WithReasoning, langchain_openai.AzureChatOpenAI):
    """LangChain's class of this name, with reasoning."""

    reasoning_key: str = "reasoning_content"
    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    default_query: Mapping[str, object] | None = Field(default=None, exclude=True, repr=False)
