"""A chat model that performs a script inside the process.

Rules: one request takes one entry, whichever of invoke, stream and their async
forms makes it; a part of the reply is a chunk of a stream; a failure raises
:class:`ScriptedModelError` from the place in the reply where the script has it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, InvalidToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCall as MessageToolCall
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, field_validator

from stategraph.engine.config.procedures import adrive, drive
from stategraph.testing import script as scripts

_Answer: TypeAlias = scripts.Reply | scripts.Failure | BaseException
_Step: TypeAlias = scripts.Pause | scripts.Hold | ChatGenerationChunk


class ScriptedChatModel(BaseChatModel):
    """A chat model whose replies a test wrote down.

    Attributes:
        replies: A :class:`~stategraph.testing.script.Script`, one entry, or a
            list of entries.
        model_name: The name that traces and requests carry.
        expects_usage: Whether to be warned of replies that report no usage: not here, where a test wrote them.

    Example:
        >>> model = ScriptedChatModel(replies=["Hello there.", "Bye."])
        >>> model.invoke("hi").content
        'Hello there.'
    """

    replies: scripts.Script = Field(default_factory=scripts.Script)
    model_name: str = "scripted"
    expects_usage: ClassVar[bool] = False

    if TYPE_CHECKING:  # what the validator takes

        def __init__(
            self,
            *,
            replies: scripts.Script | scripts.Entry | Sequence[scripts.Entry] = ...,
            model_name: str = ...,
            **options: Any,
        ) -> None: ...

    _requests: list[scripts.ModelRequest[BaseMessage]] = PrivateAttr(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.RLock)

    @field_validator("replies", mode="before")
    @classmethod
    def _as_script(cls, value: Any) -> scripts.Script:
        return scripts.Script.of(value)

    @property
    def requests(self) -> list[scripts.ModelRequest[BaseMessage]]:
        """Every request so far, in the order in which they came."""
        return self._requests

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer `tools` with every request; the requests record their names."""
        offered = [convert_to_openai_tool(tool) for tool in tools]
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=offered, **kwargs)

    def _open(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any], *, stream: bool
    ) -> _Answer:
        if stop is not None:
            options = {**options, "stop": stop}
        tools = tuple(_tool_name(tool) for tool in options.get("tools") or ())
        with self._lock:
            number = len(self._requests)
            request = scripts.ModelRequest(number, self.model_name, tuple(messages), tools, stream, options)
            self._requests.append(request)
            return self.replies.answer(request)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return drive(self._answered(messages, stop, kwargs), _wait_sync)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await adrive(self._answered(messages, stop, kwargs), _wait_async)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for step in self._streamed(messages, stop, kwargs):
            _wait_sync(step)
            if isinstance(step, ChatGenerationChunk):
                if run_manager is not None:
                    run_manager.on_llm_new_token(step.text, chunk=step)
                yield step

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for step in self._streamed(messages, stop, kwargs):
            await _wait_async(step)
            if isinstance(step, ChatGenerationChunk):
                if run_manager is not None:
                    await run_manager.on_llm_new_token(step.text, chunk=step)
                yield step

    def _answered(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]
    ) -> Generator[_Step, object, ChatResult]:
        """Open a request; yield what its reply waits for, and return the reply."""
        opened = self._open(messages, stop, options, stream=False)
        yield from _performed(opened)
        return _whole(_accepted(opened), self.model_name)

    def _streamed(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, object]
    ) -> Iterator[_Step]:
        """Open a request; yield what a stream of its reply waits for and sends."""
        opened = self._open(messages, stop, options, stream=True)
        yield from _performed(opened, gaps=True)
        yield _last_chunk(_accepted(opened), self.model_name)


def _tool_name(tool: Any) -> str:
    if isinstance(tool, dict):
        function = tool.get("function")
        named = function if isinstance(function, dict) else tool
        return str(named.get("name", "?"))
    return str(getattr(tool, "name", tool))


def _refuse(answer: scripts.Failure | BaseException) -> BaseException:
    if isinstance(answer, scripts.Failure):
        return scripts.ScriptedModelError(answer.message, status=answer.status, code=answer.code)
    return answer


def _accepted(answer: _Answer) -> scripts.Reply:
    if isinstance(answer, scripts.Reply):
        return answer
    raise _refuse(answer)


def _performed(answer: _Answer, *, gaps: bool = False) -> Iterator[_Step]:
    """Yield what to wait for and what to send, in the order of the script, up to where it fails.

    Args:
        answer: What the script says.
        gaps: Whether to wait between chunks, as a stream does.
    """
    if not isinstance(answer, BaseException) and answer.delay_s:
        yield scripts.Pause(answer.delay_s)
    reply = _accepted(answer)
    for part in reply.parts:
        if isinstance(part, scripts.Pause | scripts.Hold):
            yield part
        _break(part)
        chunk = _chunk(part, reply)
        if chunk is not None:
            yield chunk
            if gaps and reply.gap_s:
                yield scripts.Pause(reply.gap_s)


def _wait_sync(step: _Step) -> None:
    if isinstance(step, scripts.Pause):
        time.sleep(step.seconds_s)
    elif isinstance(step, scripts.Hold):
        step.gate.wait_open()


async def _wait_async(step: _Step) -> None:
    if isinstance(step, scripts.Pause):
        await asyncio.sleep(step.seconds_s)
    elif isinstance(step, scripts.Hold):
        await step.gate.wait_open_async()


def _break(part: scripts.Part) -> None:
    if isinstance(part, scripts.Drop):
        raise ConnectionResetError("the script dropped the connection in the middle of a reply")
    if isinstance(part, scripts.Fault):
        raise scripts.ScriptedModelError(part.message)


def _chunk(part: scripts.Part, opened: scripts.Reply) -> ChatGenerationChunk | None:
    match part:
        case scripts.Text(text):
            message = AIMessageChunk(content=text, id=opened.id)
        case scripts.Think(text):
            message = AIMessageChunk(content="", additional_kwargs={"reasoning_content": text}, id=opened.id)
        case scripts.CallPart(index, arguments, name, call_id):
            piece = tool_call_chunk(name=name, args=arguments, id=call_id, index=index)
            message = AIMessageChunk(content="", tool_call_chunks=[piece], id=opened.id)
        case _:
            return None
    return ChatGenerationChunk(message=message)


def _last_chunk(opened: scripts.Reply, model_name: str) -> ChatGenerationChunk:
    message = AIMessageChunk(
        content="",
        id=opened.id,
        usage_metadata=_usage(opened.usage),
        response_metadata={"finish_reason": opened.finish, "model_name": model_name},
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message, generation_info={"finish_reason": opened.finish})


def _whole(opened: scripts.Reply, model_name: str) -> ChatResult:
    calls: list[MessageToolCall] = []
    invalid: list[InvalidToolCall] = []
    for tool_call in opened.calls():
        args = _json_object(tool_call.arguments())
        if args is None:
            invalid.append(
                InvalidToolCall(
                    type="invalid_tool_call",
                    name=tool_call.name,
                    args=tool_call.arguments(),
                    id=tool_call.id,
                    error="the arguments are not a JSON object",
                )
            )
        else:
            calls.append(MessageToolCall(type="tool_call", name=tool_call.name, args=args, id=tool_call.id))
    reasoning = opened.reasoning()
    message = AIMessage(
        content=opened.text(),
        id=opened.id,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=_usage(opened.usage),
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
        response_metadata={"finish_reason": opened.finish, "model_name": model_name},
    )
    return ChatResult(generations=[ChatGeneration(message=message, generation_info={"finish_reason": opened.finish})])


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _usage(usage: scripts.Usage | None) -> UsageMetadata | None:
    if usage is None:
        return None
    counted = UsageMetadata(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens
    )
    if usage.reasoning_tokens:
        counted["output_token_details"] = {"reasoning": usage.reasoning_tokens}
    if usage.cached_tokens:
        counted["input_token_details"] = {"cache_read": usage.cached_tokens}
    return counted
