"""JSON in and out. Every error is `{"error": sentence}` with a fitting status."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stategraph.errors import ConfigurationError, DamagedCheckpointError, InvalidAnswerError, UnknownInterruptError
from stategraph.run.json_safe import to_json

_log = logging.getLogger(__name__)

#: Bytes of a request's body at most; a file is a third longer in it.
LARGEST_BODY = 24 * 1024 * 1024

#: Surrogates, of which a lone one is in no encoding: neither a database nor a model's API takes it.
_HALVES = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")

#: Numbers of events have fewer digits; Python refuses to read thousands.
_NUMBER = re.compile(r"[0-9]{1,16}")

Endpoint = Callable[[Request], Awaitable[Response]]


class RefusedError(Exception):
    """A request that cannot be done.

    Args:
        status: The HTTP status.
        problem: Why, as a sentence.
    """

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def reply(value: object, status: int = 200) -> Response:
    """Return a value as JSON; what JSON does not have is converted as closely as possible."""
    return Response(to_json(value), status, media_type="application/json", headers={"Cache-Control": "no-store"})


def refusal(status: int, problem: str) -> Response:
    """Return an error as JSON."""
    return reply({"error": problem}, status)


async def body_of(request: Request, *known: str) -> dict[str, Any]:
    """Return the JSON object in a request; halves of characters (lone surrogates) become U+FFFD.

    Args:
        request: The request.
        *known: The fields that it may have.

    Raises:
        RefusedError: There is none, it is too large, or it has other fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of another site can send forms without asking, but no JSON.
        raise RefusedError(415, f"The body is {kind or 'of no type'}; send JSON, with 'Content-Type: application/json'")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise RefusedError(413, f"The request is larger than {LARGEST_BODY // 1024**2} MiB; send smaller files")
    try:
        value = json.loads(bytes(body))
        if _HALVES.search(body):
            value = json.loads(_whole(json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"The body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, f"The body is a JSON {type(value).__name__}; send an object with {', '.join(known)}")
    if unknown := [name for name in value if name not in known]:
        raise RefusedError(
            400, f"The body has unknown fields: {', '.join(unknown)[:200]}; known are {', '.join(known)}"
        )
    return value


def text_of(body: Mapping[str, Any], name: str, *, needed: bool = True, most: int = 1_000_000) -> str:
    """Return a text field of a body; empty if it is missing and not needed.

    Raises:
        RefusedError: It is no text, too long, or missing.
    """
    value = body.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise RefusedError(400, f"'{name}' is {_shown(value)}; send a text that is not empty")
    if len(value) > most:
        raise RefusedError(400, f"'{name}' has {len(value):,} characters; send {most:,} at most")
    return value


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """Return a number of the query, from 0 to `most`.

    Raises:
        RefusedError: It is no such number.
    """
    given = request.query_params.get(name)
    if given is None or given == "":
        return default
    number = as_number(given)
    if number is None or number > most:
        raise RefusedError(400, f"'{name}' is {given!r:.40}; send a number from 0 to {most}")
    return number


def as_number(text: str) -> int | None:
    """Return the number that a text of 1 to 16 digits is; None: it is no such text."""
    return int(text) if _NUMBER.fullmatch(text) else None


async def failed(_: Request, error: Exception) -> Response:
    """Return the reply for an error that an endpoint raised."""
    match error:
        case RefusedError():
            return refusal(error.status, str(error))
        case HTTPException():
            return refusal(error.status_code, f"{error.detail}: there is nothing at this address that can do this")
        case KeyError() | IndexError():  # a fault of the program, not a thing that is missing
            _log.error("A request failed", exc_info=error)
        case LookupError():
            return refusal(404, str(error.args[0]) if error.args else "There is no such thing")
        case UnknownInterruptError():
            return refusal(409, str(error))
        case DamagedCheckpointError():
            _log.error("A checkpoint cannot be read", exc_info=error)
            return refusal(409, str(error))
        case InvalidAnswerError() | ConfigurationError():
            return refusal(400, str(error))
    return refusal(500, f"The server failed with {type(error).__name__}; its log has the details")


#: Errors that are answered, each with its handler.
HANDLERS: Mapping[Any, Any] = dict.fromkeys(
    (
        RefusedError,
        HTTPException,
        LookupError,
        ConfigurationError,
        InvalidAnswerError,
        UnknownInterruptError,
        DamagedCheckpointError,
        Exception,
    ),
    failed,
)


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.60}"


def _whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
