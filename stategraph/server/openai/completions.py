"""The endpoint `/v1/chat/completions`.

A completion has the whole conversation in its messages, so it runs on a thread of its own, which is deleted at its end:
unless the run waits for an answer. Then the ids of the calls that ask name the thread, and their results continue it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stategraph.run.json_safe import to_json
from stategraph.server.access import caller_of
from stategraph.server.openai import answers, items, models
from stategraph.server.openai.chunks import Encoder
from stategraph.server.openai.errors import BadRequestError, body_of, json_of
from stategraph.server.projection import RunEnded
from stategraph.server.service.port import Caller, NotFoundError, RunRequest, Service, ServiceError
from stategraph.server.turns import conversation, questions
from stategraph.server.turns.forms import Fields, Json
from stategraph.server.turns.sse import EventStream, frame
from stategraph.workers.registry.port import StoreUnavailableError

logger = logging.getLogger(__name__)

#: Errors of the service, and of a database that is away.
_FAILURES: Final = (ServiceError, StoreUnavailableError)

#: Fields of a request that are seen to here; graphs find all others in `configurable["openai"]`.
_HANDLED: Final = frozenset(("model", "messages", "tools", "n", "stream", "stream_options"))

#: Fields that would have no effect, and what to do instead.
_REFUSED: Final = {
    "functions": "send 'tools'",
    "function_call": "send 'tool_choice'",
    "audio": "answers are text",
    "web_search_options": "tools of the provider are not there: give the agent a tool of its own",
}


@dataclass(frozen=True, slots=True)
class _Wanted:
    request: RunRequest
    thread_id: str
    model: str
    tools: list[str]
    is_streamed: bool
    shows_usage: bool


class Completions:
    """The endpoint.

    Args:
        service: Has the runs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, request: Request) -> Response:
        """Answer a conversation, as a whole or in chunks."""
        caller, body = caller_of(request), await json_of(request)
        wanted = await self._wanted(caller, body)
        await self._service.runs.create(caller, wanted.request)
        encoder = Encoder(wanted.thread_id, wanted.tools)
        if wanted.is_streamed:
            return EventStream(self._frames(caller, wanted, encoder), left=lambda: self._leave(caller, wanted))
        return await self._whole(caller, wanted, encoder)

    async def _wanted(self, caller: Caller, body: Fields) -> _Wanted:
        assistant = await models.assistant_of(self._service, caller, body.get("model"))
        messages, tools = _checked(body)
        thread_id, command = await self._resumed(caller, messages)
        if command is None:
            await models.check_takes_messages(self._service, caller, assistant)
        options = body.get("stream_options")
        run = RunRequest(
            assistant_id=assistant.assistant_id,
            thread_id=thread_id or str(uuid4()),
            if_not_exists="create",
            input=None if command is not None else {"messages": _read(messages)},
            command=command or None,
            config={
                "configurable": {
                    "client_tools": tools,
                    "openai": {key: value for key, value in body.items() if key not in _HANDLED and value is not None},
                }
            },
            metadata={"protocol": "openai-chat"},
            stream_modes=(),
            stream_subgraphs=True,
            multitask_strategy="enqueue",
            run_id=str(uuid4()),
        )
        names = [each["function"]["name"] for each in tools]
        shows_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        return _Wanted(run, run.thread_id or "", str(body["model"]), names, bool(body.get("stream")), shows_usage)

    async def _resumed(self, caller: Caller, messages: Sequence[Fields]) -> tuple[str, Json | None]:
        """Return the thread that the results at the end of the messages continue, and the command; or nothing."""
        given: dict[str, str] = {}
        thread_id = ""
        for each in reversed(messages):
            found = answers.read_call(str(each.get("tool_call_id") or "")) if each.get("role") == "tool" else None
            if found is None:
                break
            thread_id = found[0]
            given[found[1]] = answers.text_of_output(each.get("content"))
        if not given:
            return "", None
        asked = questions.open_questions(await conversation.state_of(self._service, caller, thread_id))
        by_id = {each.question_id: each for each in asked}
        found_answers = {key: answers.answer_of(text, by_id.get(key)) for key, text in given.items()}
        return thread_id, questions.resume(asked, found_answers)

    async def _whole(self, caller: Caller, wanted: _Wanted, encoder: Encoder) -> Response:
        text, thought, calls = "", "", list[Json]()
        async with aclosing(self._service.runs.events(caller, wanted.request.run_id)) as events:
            async for event in events:
                for delta in encoder.take(event):
                    text += delta.get("content") or ""
                    thought += delta.get("reasoning_content") or ""
                    _merge(calls, delta.get("tool_calls") or ())
        await self._tidy(caller, wanted, encoder)
        end = encoder.end
        assert end is not None
        if end.status not in ("success", "interrupted"):
            return JSONResponse(body_of("The run did not end well.", "server_error", code=end.status), 500)
        message: Json = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []}
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": encoder.finish_reason, "logprobs": None}
        return JSONResponse({**_head(wanted, "chat.completion"), "choices": [choice], "usage": _usage(end)})

    async def _frames(self, caller: Caller, wanted: _Wanted, encoder: Encoder) -> AsyncGenerator[str, None]:
        head = _head(wanted, "chat.completion.chunk")
        usage = {"usage": None} if wanted.shows_usage else {}
        async with aclosing(self._service.runs.events(caller, wanted.request.run_id)) as events:
            async for event in events:
                for delta in encoder.take(event):
                    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
                    yield frame(to_json({**head, "choices": [choice], **usage}))
        await self._tidy(caller, wanted, encoder)
        end = encoder.end
        assert end is not None
        if end.status not in ("success", "interrupted"):
            yield frame(to_json(body_of("The run did not end well.", "server_error", code=end.status)))
            return
        choice = {"index": 0, "delta": {}, "finish_reason": encoder.finish_reason, "logprobs": None}
        yield frame(to_json({**head, "choices": [choice], **usage}))
        if wanted.shows_usage:
            yield frame(to_json({**head, "choices": [], "usage": _usage(end)}))
        yield frame("[DONE]")

    async def _tidy(self, caller: Caller, wanted: _Wanted, encoder: Encoder) -> None:
        """Delete the thread of a completion, unless it waits for an answer."""
        if not encoder.asks:
            await self._delete(caller, wanted)

    async def _leave(self, caller: Caller, wanted: _Wanted) -> None:
        """Stop a completion whose reader has left, and delete its thread."""
        try:
            await self._service.runs.cancel(caller, wanted.request.run_id, wait=True)
        except NotFoundError:
            pass  # it has not begun
        except _FAILURES as error:
            logger.warning("The run of a completion whose reader left goes on: %s", error)
        await self._delete(caller, wanted)

    async def _delete(self, caller: Caller, wanted: _Wanted) -> None:
        """Delete the thread of a completion; that it stays is told to the log, as the answer is what counts."""
        try:
            await self._service.threads.delete(caller, wanted.thread_id)
        except NotFoundError:
            pass
        except _FAILURES as error:
            logger.warning(
                "The thread '%s' of a completion was not deleted, and stays until somebody does: %s",
                wanted.thread_id,
                error,
            )


def _checked(body: Fields) -> tuple[list[Json], list[Json]]:
    """Return the messages of a request, and the client's tools as chat models bind them.

    Raises:
        BadRequestError: They have not the form that the API says, or more than one choice is asked for.
    """
    if body.get("n") not in (None, 1):
        raise BadRequestError(f"'n' is {body['n']!r}: one choice is answered; send the request again for another", "n")
    for name, instead in _REFUSED.items():
        if body.get(name) is not None:
            raise BadRequestError(f"'{name}' has no effect here: {instead}", name)
    messages, tools = body.get("messages"), body.get("tools") or []
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise BadRequestError("'messages' is no list of messages", "messages")
    if not isinstance(tools, list):
        raise BadRequestError("'tools' is no list", "tools")
    return messages, [items.tool_of(each, f"tools[{number}]") for number, each in enumerate(tools)]


def _read(messages: Sequence[Fields]) -> list[BaseMessage]:
    """Return the messages of a completion as LangChain has them."""
    given: list[Json] = []
    for each in messages:
        role = each.get("role")
        if role == "tool":
            about = {"call_id": each.get("tool_call_id"), "output": each.get("content")}
            given.append({"type": "function_call_output", **about})
            continue
        calls = each.get("tool_calls") or []
        if each.get("content") or not calls:
            given.append({"type": "message", "role": role, "content": each.get("content")})
        for call in calls:
            function = call.get("function") or {}
            about = {"call_id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}
            given.append({"type": "function_call", **about})
    return [each for each in items.read(given) if not _is_question(each)]


def _is_question(message: BaseMessage) -> bool:
    """Return whether a message is of a question that was answered before, which the thread of then has."""
    if isinstance(message, AIMessage) and message.tool_calls:
        return all(answers.read_call(each["id"] or "") is not None for each in message.tool_calls)
    return isinstance(message, ToolMessage) and answers.read_call(message.tool_call_id) is not None


def _merge(calls: list[Json], deltas: Sequence[Fields]) -> None:
    for each in deltas:
        if each["index"] == len(calls):
            calls.append({"id": each["id"], "type": "function", "function": dict(each["function"])})
        else:
            calls[each["index"]]["function"]["arguments"] += each["function"]["arguments"]


def _head(wanted: _Wanted, kind: str) -> Json:
    name = f"chatcmpl-{wanted.request.run_id}"
    return {"id": name, "object": kind, "created": int(time.time()), "model": wanted.model, "system_fingerprint": None}


def _usage(end: RunEnded) -> Json:
    taken, made = sum(each.input_tokens for each in end.usage), sum(each.output_tokens for each in end.usage)
    return {
        "prompt_tokens": taken,
        "completion_tokens": made,
        "total_tokens": taken + made,
        "prompt_tokens_details": {"cached_tokens": sum(each.cached_tokens for each in end.usage)},
        "completion_tokens_details": {"reasoning_tokens": sum(each.reasoning_tokens for each in end.usage)},
    }
