"""JSON as LangGraph's server writes it, bodies of requests, and who asks."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final

import orjson
from langchain_core.messages import BaseMessage
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from stategraph.run.json_safe import to_json
from stategraph.server.service.port import ANYONE, Caller, InvalidError, RunRecord
from stategraph.types import Command, Send

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS

#: Where the middleware that knows who asks leaves that.
_CALLER: Final = "stategraph.server.caller"


def encode(value: Any) -> bytes:
    """Encode a value as JSON: messages by their fields, errors as kind and message, sets as lists."""
    try:
        return orjson.dumps(value, _plain, _OPTIONS)
    except (TypeError, ValueError, RecursionError):  # half of a character, or a number of more than 64 bits
        return to_json(_by_fields(value)).encode()


def _plain(value: Any) -> Any:
    """Return what stands for a value that JSON does not have."""
    if isinstance(value, BaseMessage | BaseModel):
        return value.model_dump()
    match value:
        case Send():
            return {"node": value.node, "args": value.arg}
        case Command():
            return {**_fields(value), "goto": value.goto or None}
        case BaseException():
            return {"error": type(value).__name__, "message": str(value)}
        case set() | frozenset() | deque():
            return list(value)
        case tuple() if hasattr(value, "_asdict"):
            return value._asdict()
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "replace")
        case Decimal() | PurePath():
            return str(value)
        case Mapping():
            return dict(value)
    if isinstance(value, type):
        return value.__name__
    if dataclasses.is_dataclass(value):
        return _fields(value)
    return json.loads(to_json(value))


def _fields(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}


def _by_fields(value: Any) -> Any:
    match value:
        case BaseMessage() | BaseModel():
            return _by_fields(value.model_dump())
        case Mapping():
            return {str(name): _by_fields(each) for name, each in value.items()}
        case list() | tuple():
            return [_by_fields(each) for each in value]
    return value


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON body."""
    return Response(encode(value), status, headers, "application/json")


async def body_of(request: Request) -> Any:
    """Read the body of a request.

    Raises:
        InvalidError: It is no JSON.
    """
    raw = await request.body()
    if not raw:
        return {}
    try:
        return orjson.loads(raw)
    except ValueError as error:
        raise InvalidError("Invalid JSON in request body") from error


def caller_of(request: Request) -> Caller:
    """Return who asks."""
    caller: Caller = request.scope.get(_CALLER, ANYONE)
    return caller


def time(moment: datetime) -> str:
    """Return a time as text."""
    return moment.isoformat()


def record(run: RunRecord) -> dict[str, Any]:
    """Return a run as JSON."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "metadata": dict(run.metadata),
        "status": run.status,
        "kwargs": run.kwargs,
        "multitask_strategy": run.multitask_strategy,
        "created_at": time(run.created_at),
        "updated_at": time(run.updated_at),
        "langsmith_session_name": None,
    }
