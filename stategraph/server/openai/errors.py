"""Errors as OpenAI's API has them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stategraph.server.service.port import InvalidError, NotFoundError
from stategraph.server.turns.forms import Json


class BadRequestError(Exception):
    """A request makes no sense.

    Args:
        message: A sentence for the client.
        param: The field that is wrong.
        code: A word for programs.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class UnknownModelError(Exception):
    """No assistant has the name that a request gives for its model."""

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' does not exist: GET /v1/models lists those that do")


def body_of(message: str, kind: str, param: str | None = None, code: str | None = None) -> Json:
    """Return the body of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint whose errors about the request have the status and body of the API; others are passed on."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BadRequestError as error:
            return JSONResponse(body_of(str(error), "invalid_request_error", error.param, error.code), 400)
        except InvalidError as error:
            return JSONResponse(body_of(str(error), "invalid_request_error"), 400)
        except UnknownModelError as error:
            return JSONResponse(body_of(str(error), "invalid_request_error", "model", "model_not_found"), 404)
        except NotFoundError as error:
            return JSONResponse(body_of(str(error), "invalid_request_error", None, "not_found"), 404)

    return answer


async def json_of(request: Request) -> Json:
    """Read the body of a request; no body is an empty object.

    Raises:
        BadRequestError: It is no JSON object.
    """
    raw = await request.body()
    if not raw:
        return {}
    try:
        found = orjson.loads(raw)  # refuses half of a character, which is in no encoding
    except ValueError:
        raise BadRequestError("The body is no JSON") from None
    if not isinstance(found, dict):
        raise BadRequestError("The body is no JSON object")
    return found
