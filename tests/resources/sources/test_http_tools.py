"""Tools that are operations of a real HTTP API: places of arguments, secrets, errors, retries, and bad documents."""

from __future__ import annotations

import pytest

from stategraph.resources.compile.openapi import RequestFailed, RequestRefused
from stategraph.resources.runtime import Runtime
from stategraph.testing import call, reply
from tests.resources.sources import http_specimen
from tests.resources.sources.kit import Models, called, running

pytestmark = pytest.mark.anyio

HTTP = """
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: NAME}
spec:
  retry: {max: 3, backoff: 1ms, jitter: false}
  http: {openapi: api.yaml, operationId: NAME, server: "ADDRESS", headers: {X-Client: tests}, secretRef: token}
---
"""
SECRET = """
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: token}
spec: {valueFrom: {env: TOKEN}}
---
"""
FLOW = """
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: flow}
spec:
  state: {answer: {}}
  steps: [{id: ask, tool: read, input: {id: a1}, output: {answer: "${{ result }}"}}]
---
"""
AGENT = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: clerk}
spec: {instructions: Help., model: "openai:gpt", tools: [read, change]}
---
"""


@pytest.fixture
def api():
    with http_specimen.serving() as found:
        yield found


@pytest.fixture
def document(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "api.yaml"
    file.write_text(http_specimen.DOCUMENT)
    return file


def tool(name, api, **changes):
    text = HTTP.replace("NAME", name).replace("ADDRESS", api.address)
    for old, new in changes.items():
        text = text.replace(f"  {old}:", f"  {new}:")
    return text


def declared(text, **settings):
    return running(text + SECRET, environment={"TOKEN": "hunter22"}, **settings)


async def test_arguments_go_to_path_query_header_and_body(api, document):
    async with declared(tool("read", api) + tool("change", api)) as runtime:
        answer = await called(runtime, "read", **{"id": "a/1 b", "fields": ["x", "y"], "X-Trace": "t1"})
        assert answer == {
            "method": "GET",
            "path": "/orders/a%2F1%20b",
            "query": [["fields", "x"], ["fields", "y"]],
            "body": None,
        }
        headers = api.requests[0]["headers"]
        assert (headers["x-trace"], headers["x-client"]) == ("t1", "tests")
        assert headers["authorization"] == "Bearer hunter22"
        changed = await called(runtime, "change", id="7", body={"item": "tea"})
        assert (changed["method"], changed["path"], changed["body"]) == ("PUT", "/orders/7", {"item": "tea"})
        shown = runtime.compiled("tool/change").tool.args
        assert shown["body"]["properties"] == {"item": {"type": "string"}, "next": {}}, "what comes back is any value"
        with pytest.raises(RequestRefused, match="change: missing 'body', unknown 'fields'; expected body, id"):
            await called(runtime, "change", id="7", fields=1)
        assert "hunter22" not in repr(await runtime.list())


async def test_answers_are_values_or_texts_within_their_limit(api, document):
    async with declared(tool("text", api) + tool("large", api)) as runtime:
        assert await called(runtime, "text") == "plain words"
        with pytest.raises(RequestRefused, match="has 1,048,577 bytes; at most 1,048,576 are read"):
            await called(runtime, "large")


async def test_what_may_go_well_next_time_is_tried_again_by_steps_and_agents(api, document):
    models = Models(agent__default__clerk=[reply("", call("read", {"id": "1"})), "done"])
    async with declared(tool("read", api) + tool("change", api) + FLOW + AGENT, model_factory=models) as runtime:
        await runtime.wait("agent/clerk", "Ready", 60)
        api.statuses[:] = [503, 429]
        result = await runtime.get_workflow("flow").execute()
        assert result.output["answer"]["path"] == "/orders/a1"
        assert len(api.requests) == 3
        api.statuses[:] = [500, 500]
        answer = await runtime.agent("clerk").generate("go")
        assert "/orders/1" in next(each.text for each in answer.messages if each.type == "tool")
        assert len(api.requests) == 6
        api.statuses[:] = [500] * 3
        with pytest.raises(RequestFailed, match=r"read: the server answered 500: .*planned 500"):
            await runtime.get_workflow("flow").execute()
        assert len(api.requests) == 9


async def test_what_was_refused_is_not_asked_again(api, document):
    async with declared(tool("read", api) + FLOW) as runtime:
        api.statuses[:] = [404]
        with pytest.raises(RequestRefused, match=r"read: the server answered 404: .*planned 404"):
            await runtime.get_workflow("flow").execute()
        assert len(api.requests) == 1


async def test_an_api_that_does_not_answer_in_time_or_is_not_there_fails(api, document):
    slow = tool("slow", api).replace("retry: {max: 3, backoff: 1ms, jitter: false}", "timeout: 50ms")
    gone = tool("text", api).replace(api.address, "http://127.0.0.1:9")
    async with declared(slow + gone) as runtime:
        with pytest.raises(RequestFailed, match=r"slow: GET http://.*/slow was not answered within 0.05 s"):
            await called(runtime, "slow")
        with pytest.raises(RequestFailed, match=r"text: GET http://127.0.0.1:9/text failed"):
            await called(runtime, "text")
        with pytest.raises(RequestFailed):
            runtime.compiled("tool/text").tool.invoke({})


def test_an_operation_is_called_where_nothing_can_be_awaited(api, document):
    from stategraph.resources import BlockingRuntime

    with BlockingRuntime(Runtime.from_url("memory:", environment={"TOKEN": "x"})) as runtime:
        runtime.load_from_string(tool("text", api) + SECRET)
        assert runtime.compiled("tool/text").tool.invoke({}) == "plain words"


LINES = http_specimen.DOCUMENT.splitlines()


def line(part):
    return next(number for number, each in enumerate(LINES, 1) if part in each)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("openapi: 3.1.0", 'swagger: "2.0"', "the document has swagger 2.0; expected 'openapi: 3.x'"),
        ("openapi: 3.1.0", "openapi: [3.1.0", "this is no YAML"),
        ("paths:", "paths: 3\nunused:", "paths: is int; expected a mapping"),
        (
            "in: path",
            "at: path",
            f"api.yaml:{line('in: path')}:9: paths./orders/{{id}}.parameters.0: the parameter has no 'in'",
        ),
        (
            "in: path",
            "in: url",
            f"api.yaml:{line('in: path')}:20: paths./orders/{{id}}.parameters.0.in: is 'url'; expected one of",
        ),
        ("name: id", "name: nr", "the path '/orders/{id}' has no {nr}"),
        ("/orders/{id}:", "/orders/{id}/{day}:", "nothing describes the variable {day} of the path"),
        ("name: fields", "name: X-Trace", "two arguments would be called 'X-Trace'"),
        ("operationId: change", "operationId: read", "2 operations are called 'read': GET /orders/{id}, PUT"),
        ("operationId: read", "operationId: red", "the document has no operation 'read'; it has: red, change"),
        ("schema: {type: array, items: {type: string}}", "schema: {$ref: '#/x'}", "'#/x' leads to nothing"),
        ("schema: {type: array, items: {type: string}}", "schema: {$ref: 'a.yaml#/x'}", "leads out of the document"),
    ],
)
async def test_a_bad_document_is_told_by_line_and_field(api, document, old, new, told):
    text = http_specimen.DOCUMENT.replace(old, new, 1)
    assert text != http_specimen.DOCUMENT
    document.write_text(text)
    async with declared(tool("read", api)) as runtime:
        found = (await runtime.get("tool/read")).condition("Valid")
        assert found.status == "False"
        assert told in found.message


async def test_a_bad_document_inside_of_a_manifest_is_told_by_its_line(api):
    inline = """apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: read}
spec:
  http:
    operationId: read
    server: http://127.0.0.1:9
    openapi:
      openapi: 3.1.0
      paths:
        /a:
          get:
            operationId: read
            requestBody: {required: true, content: {image/png: {}}}
"""
    async with running(inline) as runtime:
        found = (await runtime.get("tool/read")).condition("Valid")
        assert "<text>:14:" in found.message
        assert "spec.http.openapi.paths./a.get.requestBody.content" in found.message
        assert "is of image/png; expected application/json or" in found.message


async def test_schemas_that_stand_for_too_much_are_refused(api, document):
    lines = ["components:", "  schemas:", "    S0: {type: string}"]
    for each in range(1, 16):
        ref = f'{{$ref: "#/components/schemas/S{each - 1}"}}'
        lines.append(f"    S{each}: {{properties: {{a: {ref}, b: {ref}, c: {ref}}}}}")
    text = http_specimen.DOCUMENT.partition("components:")[0] + "\n".join(lines)
    document.write_text(text.replace("schemas/Order", "schemas/S15"))
    async with declared(tool("change", api)) as runtime:
        found = (await runtime.get("tool/change")).condition("Valid")
        assert "stand for more than 20,000 values" in found.message
