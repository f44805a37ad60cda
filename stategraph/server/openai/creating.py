"""A request for a response to a run of the service.

Rules
-----
* `conversation` is the thread. Without one, `previous_response_id` names the thread of that response, and the
  checkpoint at its end: if others came after it, the thread forks there. Without either the thread is new.
* `instructions` are the first message of a thread, under an id of their own, so that those of a later request take
  their place; graphs also find them in `configurable["instructions"]`.
* All other fields, such as `temperature` and `text`, are in `configurable["openai"]`, tools of the client in
  `configurable["client_tools"]`: what they mean is the graph's. `prompt`, a template that OpenAI has, is refused.
* With `store: false` the thread is deleted after the end, and the response cannot be retrieved or continued.
* What the request said is kept in the run's metadata, for those who retrieve the response.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from langchain_core.messages import BaseMessage, RemoveMessage, SystemMessage

from stategraph.server.openai import answers, ids, items, models
from stategraph.server.openai.errors import BadRequestError
from stategraph.server.service.port import (
    Caller,
    ConflictError,
    InvalidError,
    NotFoundError,
    RunRecord,
    RunRequest,
    Service,
)
from stategraph.server.turns import conversation, questions
from stategraph.server.turns.forms import Fields, Json
from stategraph.types import StateSnapshot

#: Where the metadata of a run keeps what the request said.
KEPT: Final = "openai"

INSTRUCTIONS_ID: Final = "instructions"

#: Checkpoints that are looked through for the end of a response.
_FURTHEST: Final = 500

#: Fields of a request that are seen to here; graphs find all others in their config.
_HANDLED: Final = frozenset(
    (
        "model", "input", "instructions", "tools", "conversation", "previous_response_id", "background", "stream",
        "stream_options", "store", "metadata",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run to be, and the fields of the response that the request settles.

    Attributes:
        request: The run.
        response: The fields.
        is_background: Whether the client does not wait for it.
        is_streamed: Whether the client reads events.
        kept: What the run's metadata keeps for the encoder.
    """

    request: RunRequest
    response: Json
    is_background: bool
    is_streamed: bool
    kept: Json


@dataclass(frozen=True, slots=True)
class _Where:
    """The thread of a response, where it begins there, and the state at that place."""

    thread_id: str
    checkpoint: Fields | None = None
    snapshot: StateSnapshot | None = None
    waiting: Sequence[BaseMessage] = ()


async def wanted_of(service: Service, caller: Caller, body: Fields) -> Wanted:
    """Return the run that a request asks for.

    Raises:
        BadRequestError: The request makes no sense.
        UnknownModelError: Its model is no assistant.
        NotFoundError: There is no such conversation, or no such earlier response.
    """
    assistant = await models.assistant_of(service, caller, body.get("model"))
    given = items.listed(body.get("input"))
    tools = [items.tool_of(each, f"tools[{number}]") for number, each in enumerate(_list(body, "tools"))]
    is_stored = _is_stored(body)
    where = await _where(service, caller, body)
    asked = questions.open_questions(where.snapshot)
    decided = answers.answers_in(given)
    command = questions.resume(asked, decided) if decided else None
    if command is None:
        await models.check_takes_messages(service, caller, assistant)
    run_id = str(uuid4())
    response = _response(body, ids.response_id(run_id), where.thread_id if is_stored else "", tools)
    kept = {
        "response": response,
        "client_tools": [each["function"]["name"] for each in tools],
        "answered": {
            each.approval.call_id: [each.approval.name, dict(each.approval.args)]
            for each in asked
            if each.approval is not None and each.question_id in decided
        },
        "input": given,
    }
    configurable = {
        "client_tools": tools,
        "instructions": body.get("instructions"),
        "openai": {key: value for key, value in body.items() if key not in _HANDLED and value is not None},
    }
    request = RunRequest(
        assistant_id=assistant.assistant_id,
        thread_id=where.thread_id if is_stored else None,
        if_not_exists="create",
        input=None if command is not None else {"messages": _messages(body, given, where)},
        command=command or None,
        checkpoint=where.checkpoint,
        config={"configurable": configurable, "metadata": {"response_id": response["id"]}},
        metadata={"protocol": "openai", KEPT: kept},
        stream_modes=(),
        stream_subgraphs=True,
        stream_resumable=True,
        multitask_strategy="enqueue",
        run_id=run_id,
    )
    return Wanted(request, response, bool(body.get("background")), bool(body.get("stream")), kept)


def _is_stored(body: Fields) -> bool:
    """Return whether the response is to be stored.

    Raises:
        BadRequestError: It is not to be, and the request needs that it is; or the request names a stored template.
    """
    if body.get("prompt") is not None:
        raise BadRequestError("Templates of prompts are not stored here: send 'input' and 'instructions'", "prompt")
    if body.get("store") is not False:
        return True
    for name in ("conversation", "previous_response_id", "background"):
        if body.get(name):
            raise BadRequestError(
                f"With 'store': false there is no '{name}', as nothing is stored: leave one of them out, or send the "
                "whole conversation as 'input'",
                "store",
            )
    return False


def _list(body: Fields, name: str) -> list[Any]:
    found = body.get(name) or []
    if not isinstance(found, list):
        raise BadRequestError(f"'{name}' is no list", name)
    return found


async def _where(service: Service, caller: Caller, body: Fields) -> _Where:
    given, previous = body.get("conversation"), body.get("previous_response_id")
    name = given.get("id") if isinstance(given, Mapping) else given
    if name and previous:
        raise BadRequestError("'conversation' and 'previous_response_id' exclude each other", "previous_response_id")
    if name:
        thread_id = ids.thread_id(str(name))
        thread = await service.threads.get(caller, thread_id)
        snapshot = await conversation.state_of(service, caller, thread_id)
        return _Where(thread_id, None, snapshot, () if snapshot else items.waiting_in(thread.metadata))
    if not previous:
        return _Where(str(uuid4()))
    try:
        before: RunRecord | None = await service.runs.get(caller, ids.run_id(str(previous)))
    except NotFoundError:
        before = None
    if before is None or not is_stored(before):
        raise BadRequestError(
            f"Previous response with id '{previous}' not found.", "previous_response_id", "previous_response_not_found"
        )
    if before.status in ("pending", "running"):
        raise ConflictError(f"The response '{previous}' is still in progress: wait for its end, or cancel it")
    return await _end_of(service, caller, before)


async def _end_of(service: Service, caller: Caller, before: RunRecord) -> _Where:
    """Return the place at the end of a run: the newest of its thread, unless others came after it."""
    snapshot = await conversation.state_of(service, caller, before.thread_id)
    newest = await service.runs.list(caller, before.thread_id, limit=1)
    if newest and newest[0].run_id == before.run_id:
        return _Where(before.thread_id, None, snapshot)
    known = {ids.response_id(before.run_id), before.run_id}
    for each in await service.threads.history(caller, before.thread_id, limit=_FURTHEST):
        about: Fields = each.metadata or {}
        if known & {about.get("response_id"), about.get("run_id")}:
            return _Where(before.thread_id, conversation.checkpoint_of(each), each)
    raise InvalidError(
        f"The checkpoint at the end of the response '{ids.response_id(before.run_id)}' is not there any more: continue "
        "the conversation, or send its items"
    )


def _messages(body: Fields, given: list[Any], where: _Where) -> list[BaseMessage]:
    said = [*where.waiting, *items.read(given)]
    known = conversation.messages_of(conversation.values_of(where.snapshot))
    has_own = any(each.id == INSTRUCTIONS_ID for each in known)
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        if has_own or not known:
            return [SystemMessage(instructions, id=INSTRUCTIONS_ID), *said]
    elif has_own:
        return [RemoveMessage(id=INSTRUCTIONS_ID), *said]
    return said


def _response(body: Fields, response_id: str, thread_id: str, tools: list[Any]) -> Json:
    """Return the fields of a response that the request settles."""
    metadata = body.get("metadata")
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "model": body.get("model"),
        "instructions": body.get("instructions"),
        "metadata": dict(metadata) if isinstance(metadata, Mapping) else {},
        "previous_response_id": body.get("previous_response_id"),
        "conversation": {"id": ids.conversation_id(thread_id)} if thread_id else None,
        "background": bool(body.get("background")),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "max_output_tokens": body.get("max_output_tokens"),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [{"type": "function", "strict": False, **each["function"]} for each in tools],
        "text": body.get("text") or {"format": {"type": "text"}},
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "truncation": body.get("truncation") or "disabled",
        "store": body.get("store") is not False,
        "incomplete_details": None,
        "user": body.get("user"),
    }


def is_stored(record: RunRecord) -> bool:
    """Return whether a response may be retrieved and continued; those that other protocols began may."""
    kept = record.metadata.get(KEPT)
    return not isinstance(kept, Mapping) or kept["response"].get("store") is not False


def fields_of(record: RunRecord) -> Json:
    """Return the fields of a response for a run that another protocol began."""
    found = _response({"model": record.assistant_id}, ids.response_id(record.run_id), record.thread_id, [])
    return {**found, "created_at": int(record.created_at.timestamp())}
