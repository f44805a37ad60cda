"""Operations of HTTP APIs that OpenAPI describes, as tools.

The document is read when the tool is compiled and its references are followed within it; nothing is fetched but the
operation itself, when the tool is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.tool import HttpTool

_METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
_DEEPEST: Final = 32
_LONGEST: Final = 1024 * 1024
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, as it is called.

    Attributes:
        method: The method of HTTP.
        url: The address, with `{name}` for parameters of the path.
        places: Where each parameter goes: `path`, `query` or `header`.
        has_body: Whether the argument `body` is sent as JSON.
        headers: Headers of every request; they may hold a token.
    """

    method: str
    url: str
    places: Mapping[str, str]
    has_body: bool
    headers: Mapping[str, str]

    def request(self, arguments: Fields) -> Object:
        """Return the arguments of a request of HTTPX."""
        url, query, headers = self.url, {}, dict(self.headers)
        for name, place in self.places.items():
            if arguments.get(name) is None:
                continue
            value = arguments[name]
            if place == "path":
                url = url.replace("{" + name + "}", quote(str(value), safe=""))
            elif place == "query":
                query[name] = value
            else:
                headers[name] = str(value)
        body = {"json": arguments["body"]} if self.has_body and arguments.get("body") is not None else {}
        return {"method": self.method.upper(), "url": url, "params": query, "headers": headers, **body}


def tool_of(name: str, spec: HttpTool, token: str | None, root: Path | None = None) -> BaseTool:
    """Return the tool of an operation.

    Args:
        name: The tool's name.
        spec: What was declared.
        token: A token, sent as `Authorization: Bearer`; None: none.
        root: The folder that paths of documents are relative to; None: that of the process.

    Raises:
        InvalidResource: The document cannot be read, or has no such operation.
    """
    document = _document(spec, root)
    path, method, item, found = _found(document, spec.operation_id)
    base = _address(document, spec)
    parameters = [_resolved(document, each) for each in (*item.get("parameters", ()), *found.get("parameters", ()))]
    used = {str(each["name"]): each for each in parameters if each.get("in") in ("path", "query", "header")}
    body = _body(document, found)
    headers = {**spec.headers, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    places = {name: str(each["in"]) for name, each in used.items()}
    operation = Operation(method, base.rstrip("/") + path, places, body is not None, headers)
    described = str(found.get("description") or found.get("summary") or spec.operation_id)
    return _made(name, described, _arguments(document, used, body), operation)


def _address(document: Fields, spec: HttpTool) -> str:
    """Return the address of an API.

    Raises:
        InvalidResource: Neither the tool nor the document has one.
    """
    base = spec.server or next((str(each.get("url")) for each in document.get("servers") or ()), "")
    if base.startswith(("http://", "https://")):
        return base
    raise InvalidResource(
        f"the API has no address: {base!r}; expected 'server: https://...'", path=("spec", "http", "server")
    )


def _arguments(document: Fields, used: Fields, body: tuple[Object, bool] | None) -> Object:
    """Return the JSON Schema of the arguments of an operation."""
    properties = {name: _schema(document, each) for name, each in used.items()}
    required = [name for name, each in used.items() if each.get("required") or each.get("in") == "path"]
    if body is not None:
        properties["body"] = body[0]
        required += ["body"] if body[1] else []
    return {"type": "object", "properties": properties, "required": required}


def _made(name: str, description: str, schema: Fields, operation: Operation) -> BaseTool:
    import httpx  # 60 ms, and only these tools need it

    def call(**arguments: Data) -> Data:
        with httpx.Client(timeout=_TIMEOUT_S) as client:
            return _answer(name, client.request(**operation.request(arguments)))

    async def acall(**arguments: Data) -> Data:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            return _answer(name, await client.request(**operation.request(arguments)))

    return StructuredTool(
        name=name,
        description=description,
        args_schema=dict(schema),
        func=call,
        coroutine=acall,
        handle_tool_error=False,
    )


def _answer(name: str, response: Data) -> Data:
    if len(response.content) > _LONGEST:
        raise ToolException(f"{name}: the answer has {len(response.content):,} bytes; at most {_LONGEST:,} are read")
    if response.status_code >= 400:
        raise ToolException(f"{name}: the server answered {response.status_code}: {response.text[:500]}")
    kind = response.headers.get("content-type", "")
    return response.json() if "json" in kind and response.content else response.text


def _document(spec: HttpTool, root: Path | None) -> Fields:
    if not isinstance(spec.openapi, str):
        return spec.openapi
    path = (root or Path()) / spec.openapi
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            read = json.loads(text)
        else:
            import yaml  # only for documents in that form

            read = yaml.safe_load(text)
    except (OSError, ValueError) as error:
        raise InvalidResource(f"the document cannot be read: {error}", path=("spec", "http", "openapi")) from None
    if not isinstance(read, Mapping):
        raise InvalidResource("the document is no mapping", path=("spec", "http", "openapi"))
    return read


def _operations(document: Fields) -> Iterator[tuple[str, str, Fields, Fields]]:
    for path, item in (document.get("paths") or {}).items():
        for method in _METHODS:
            if isinstance(item, Mapping) and isinstance(item.get(method), Mapping):
                yield path, method, item, item[method]


def _found(document: Fields, id: str) -> tuple[str, str, Fields, Fields]:
    for each in _operations(document):
        if each[3].get("operationId") == id:
            return each
    known = ", ".join(str(each[3].get("operationId")) for each in _operations(document)) or "none"
    raise InvalidResource(
        f"the document has no operation {id!r}; it has: {known}", path=("spec", "http", "operationId")
    )


def _resolved(document: Fields, value: Data, depth: int = 0) -> Data:
    """Return a value with its references within the document followed."""
    if depth > _DEEPEST:
        return {}
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            target: Data = document
            for part in value["$ref"].removeprefix("#/").split("/"):
                target = (
                    target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
                )
            return _resolved(document, target, depth + 1)
        return {key: _resolved(document, each, depth + 1) for key, each in value.items()}
    return [_resolved(document, each, depth + 1) for each in value] if isinstance(value, list) else value


def _schema(document: Fields, parameter: Fields) -> Object:
    schema = dict(_resolved(document, parameter.get("schema") or {"type": "string"}))
    if parameter.get("description"):
        schema["description"] = parameter["description"]
    return schema


def _body(document: Fields, operation: Fields) -> tuple[Object, bool] | None:
    body = _resolved(document, operation.get("requestBody") or {})
    content = (body.get("content") or {}).get("application/json")
    return None if content is None else (dict(content.get("schema") or {}), bool(body.get("required")))
