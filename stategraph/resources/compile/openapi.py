"""Operations of HTTP APIs that OpenAPI describes, as tools.

The document is read and checked when the tool is compiled; nothing is fetched but the operation itself, when the tool
is called. Arguments are the parameters by their names, and `body` for what is sent in the request.

| of the document | becomes |
|---|---|
| parameters in `path`, `query`, `header`, `cookie` | arguments, at these places; a list in a query is repeated |
| a body that is JSON or a form | the argument `body` |
| `servers`, with the defaults of their variables | the address, unless the tool has one |
| an answer that is JSON | its value; any other is a text |
| an answer from 400 on | an error of the tool, which a retry repeats for 408, 429 and from 500 on only |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final
from urllib.parse import quote

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from stategraph.resources.compile import api_documents
from stategraph.resources.compile.api_documents import ApiDocument, Found
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.tool import HttpTool
from stategraph.resources.places import Path

_LONGEST: Final = 1024 * 1024
_TIMEOUT_S: Final = 60.0
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_AGAIN: Final = frozenset({408, 429})
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")


class RequestFailed(ToolException):
    """A request got no answer, or one that may be another one next time."""


class RequestRefused(ToolException, ValueError):
    """A request was answered with an error that repeating it does not change; as a ValueError it is not retried."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, as it is called.

    Attributes:
        method: The method of HTTP.
        url: The address, with `{name}` for parameters of the path.
        places: Where each parameter goes: `path`, `query`, `header` or `cookie`.
        required: The arguments that it cannot do without.
        body: The content type of the argument `body`; None: there is none.
        headers: Headers of every request; they may hold a token.
        secret: A value that no message may have; None: there is none.
        timeout_s: Seconds in which an answer has to begin, and to go on.
    """

    method: str
    url: str
    places: Mapping[str, str]
    required: tuple[str, ...]
    body: str | None
    headers: Mapping[str, str]
    secret: str | None = None
    timeout_s: float = _TIMEOUT_S

    def request(self, arguments: Fields) -> Object:
        """Return the arguments of a request of HTTPX.

        Raises:
            RequestRefused: An argument is missing, or there is no such.
        """
        given = self._checked(arguments)
        places: dict[str, Object] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
        for name, place in self.places.items():
            if name in given:
                places[place][name] = given[name]
        url = _VARIABLE.sub(lambda found: quote(_text(places["path"][found[1]]), safe=""), self.url)
        headers = {**self.headers, **{name: _text(value) for name, value in places["header"].items()}}
        if places["cookie"]:
            headers["Cookie"] = "; ".join(f"{name}={quote(_text(each))}" for name, each in places["cookie"].items())
        request: Object = {"method": self.method.upper(), "url": url, "params": places["query"], "headers": headers}
        if self.body is not None and "body" in given:
            request["json" if self.body == _JSON else "data"] = given["body"]
        return request

    def _checked(self, arguments: Fields) -> Object:
        """Return the arguments that were given.

        Raises:
            RequestRefused: One is missing, or there is no such.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        missing = [name for name in self.required if name not in given]
        known = {*self.places, *(["body"] if self.body else [])}
        unknown = sorted(set(given) - known)
        if missing or unknown:
            told = [f"missing {each!r}" for each in missing] + [f"unknown {each!r}" for each in unknown]
            raise RequestRefused(f"{', '.join(told)}; expected {', '.join(sorted(known)) or 'no arguments'}")
        return given

    def hidden(self, text: str) -> str:
        """Return a text without the secret."""
        return text.replace(self.secret, "***") if self.secret else text


def _text(value: Data) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def tool_of(
    name: str, spec: HttpTool, token: str | None, root: FilePath | None = None, timeout_s: float | None = None
) -> BaseTool:
    """Return the tool of an operation.

    Args:
        name: The tool's name.
        spec: What was declared.
        token: A token, sent as `Authorization: Bearer`; None: none.
        root: The folder that paths of documents are relative to; None: that of the process.
        timeout_s: Seconds that the tool may take; None: a minute.

    Raises:
        InvalidResource: The document cannot be read, makes no sense, or has no such operation.
    """
    document = api_documents.opened(spec.openapi, root)
    found = document.operation(spec.operation_id)
    parameters = document.parameters(found)
    body = _body(document, found)
    places = _places(document, found, parameters, has_body=body is not None)
    schema = _arguments(document, parameters, body)
    headers = {**spec.headers, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    operation = Operation(
        found.method,
        _address(document, spec).rstrip("/") + found.url,
        places,
        tuple(schema["required"]),
        None if body is None else body[0],
        headers,
        token,
        timeout_s or _TIMEOUT_S,
    )
    described = found.operation.get("description") or found.operation.get("summary") or spec.operation_id
    return _made(name, str(described), schema, operation)


def _places(
    document: ApiDocument, found: Found, parameters: list[tuple[Fields, Path]], *, has_body: bool
) -> dict[str, str]:
    """Return where each parameter goes.

    Raises:
        InvalidResource: Two have one name, or the path has a variable that is no parameter.
    """
    places: dict[str, str] = {}
    for parameter, path in parameters:
        name = str(parameter["name"])
        if name in places or (has_body and name == "body"):
            raise document.wrong(f"two arguments would be called {name!r}; a tool can have one", path)
        places[name] = str(parameter["in"])
        if places[name] == "path" and f"{{{name}}}" not in found.url:
            raise document.wrong(f"the path {found.url!r} has no {{{name}}}", path)
    missing = [each for each in _VARIABLE.findall(found.url) if places.get(each) != "path"]
    if missing:
        raise document.wrong(f"nothing describes the variable {{{missing[0]}}} of the path", found.place)
    return places


def _address(document: ApiDocument, spec: HttpTool) -> str:
    """Return the address of an API.

    Raises:
        InvalidResource: Neither the tool nor the document has one.
    """
    servers = document.content.get("servers") or ()
    first = document.mapping(servers[0], ("servers", 0)) if isinstance(servers, list | tuple) and servers else {}
    variables = document.mapping(first.get("variables"), ("servers", 0, "variables"))
    defaults = {
        key: str(document.mapping(each, ("servers", 0, "variables", key)).get("default"))
        for key, each in variables.items()
    }
    url = _VARIABLE.sub(lambda found: defaults.get(found[1], found[0]), str(first.get("url") or ""))
    base = spec.server or url
    if base.startswith(("http://", "https://")):
        return base
    raise InvalidResource(
        f"the API has no address: {base!r}; expected 'server: https://...'", path=("spec", "http", "server")
    )


def _arguments(
    document: ApiDocument, parameters: list[tuple[Fields, Path]], body: tuple[str, Object, bool] | None
) -> Object:
    """Return the JSON Schema of the arguments of an operation."""
    properties = {str(each["name"]): api_documents.schema_of(document, each, path) for each, path in parameters}
    required = [str(each["name"]) for each, _ in parameters if each.get("required") or each["in"] == "path"]
    if body is not None:
        properties["body"] = body[1]
        required += ["body"] if body[2] else []
    return {"type": "object", "properties": properties, "required": required}


def _body(document: ApiDocument, found: Found) -> tuple[str, Object, bool] | None:
    """Return the content type, the JSON Schema, and the need of the body of a request; None: it has none.

    Raises:
        InvalidResource: It has one of no known type that cannot be left out.
    """
    path: Path = (*found.place, "requestBody")
    body = document.mapping(document.resolved(found.operation.get("requestBody"), path), path)
    contents = document.mapping(body.get("content"), (*path, "content"))
    for kind in (_JSON, _FORM):
        if kind in contents:
            content = document.mapping(contents[kind], (*path, "content", kind))
            schema = document.mapping(content.get("schema"), (*path, "content", kind, "schema"))
            return kind, dict(schema), bool(body.get("required"))
    if contents and body.get("required"):
        known = ", ".join(map(str, contents))
        raise document.wrong(f"is of {known}; expected {_JSON} or {_FORM}", (*path, "content"))
    return None


def _made(name: str, description: str, schema: Fields, operation: Operation) -> BaseTool:
    import httpx  # 60 ms, and only these tools need it

    def lost(error: httpx.HTTPError) -> RequestFailed:
        asked = f"{operation.method.upper()} {operation.url}"
        if isinstance(error, httpx.TimeoutException):
            return RequestFailed(f"{name}: {asked} was not answered within {operation.timeout_s:g} s")
        return RequestFailed(operation.hidden(f"{name}: {asked} failed: {error or type(error).__name__}"))

    def asked(arguments: Fields) -> Object:
        try:
            return operation.request(arguments)
        except RequestRefused as error:
            raise RequestRefused(f"{name}: {error}") from None

    def call(**arguments: Data) -> Data:
        request = asked(arguments)
        try:
            with httpx.Client(timeout=operation.timeout_s) as client:
                return _answer(name, client.request(**request), operation)
        except httpx.HTTPError as error:
            raise lost(error) from error

    async def acall(**arguments: Data) -> Data:
        request = asked(arguments)
        try:
            async with httpx.AsyncClient(timeout=operation.timeout_s) as client:
                return _answer(name, await client.request(**request), operation)
        except httpx.HTTPError as error:
            raise lost(error) from error

    return StructuredTool(
        name=name,
        description=description,
        args_schema=dict(schema),
        func=call,
        coroutine=acall,
        handle_tool_error=False,
    )


def _answer(name: str, response: Data, operation: Operation) -> Data:
    status = response.status_code
    if status >= 400:
        kind = RequestFailed if status >= 500 or status in _AGAIN else RequestRefused
        raise kind(operation.hidden(f"{name}: the server answered {status}: {response.text[:500]}"))
    if len(response.content) > _LONGEST:
        raise RequestRefused(f"{name}: the answer has {len(response.content):,} bytes; at most {_LONGEST:,} are read")
    if "json" not in response.headers.get("content-type", "") or not response.content:
        return response.text
    try:
        return response.json()
    except ValueError as error:
        raise RequestRefused(f"{name}: the answer says that it is JSON, and is none: {error}") from None
