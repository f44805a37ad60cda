"""A model that follows a script, and what tests do with agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda


class Scripted(BaseChatModel):
    """Answers with its messages in turn, and keeps what it was asked."""

    answers: list[AIMessage]
    asked: list[list[BaseMessage]]
    tools: list[Any]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        self.tools.extend(tools)
        return self

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return RunnableLambda(
            lambda messages: {"schema": schema.__name__, "of": [message.content for message in messages]}
        )

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.asked.append([*messages])
        answer = self.answers[(len(self.asked) - 1) % len(self.answers)].model_copy()
        return ChatResult(generations=[ChatGeneration(message=answer)])


def call(name: str, id: str = "c1", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


def asking(*calls: dict[str, Any]) -> AIMessage:
    return AIMessage("", tool_calls=[*calls], id=f"asks-{calls[0]['id']}")


def model(*answers: AIMessage | str) -> Scripted:
    """A model with these answers, the last of which is given for ever."""
    made = [each if isinstance(each, AIMessage) else AIMessage(each, id=f"says-{each}") for each in answers]
    return Scripted(answers=made, asked=[], tools=[])


def plain(message: BaseMessage) -> tuple[Any, ...]:
    """A message less what differs from run to run."""
    fields = ("type", "content", "name", "tool_call_id", "status", "artifact", "tool_calls", "additional_kwargs")
    return tuple(getattr(message, field, None) for field in fields)


def said(state: Any) -> list[tuple[Any, ...]]:
    messages = state["messages"] if isinstance(state, dict) else state.messages
    return [plain(message) for message in messages]
