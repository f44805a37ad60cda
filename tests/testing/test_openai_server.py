"""The fake server, asked over real sockets: by hand and by the usual client."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stategraph.testing import Drop, Failure, FakeOpenAIServer, Fault, Gate, Hold, Think, call, reply

USER = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server() -> Iterator[FakeOpenAIServer]:
    with FakeOpenAIServer() as running:
        yield running


def post(server: FakeOpenAIServer, **body: Any) -> httpx.Response:
    return httpx.post(
        server.base_url + "/chat/completions", json={"model": "m", "messages": USER, **body}, trust_env=False
    )


def events(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_whole_answer(server: FakeOpenAIServer) -> None:
    server.script("m", [reply("Hello.", call("f", x=1), usage=(3, 4))])
    body = post(server).json()
    choice = body["choices"][0]
    assert choice["message"]["content"] == "Hello."
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert choice["finish_reason"] == "tool_calls"
    assert body["usage"]["total_tokens"] == 7


def test_a_streamed_answer_is_an_event_for_each_part(server: FakeOpenAIServer) -> None:
    server.script("m", [reply(Think("hm"), "one two", call("f", x=1), usage=(3, 4))])
    response = post(server, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"] == "text/event-stream"
    got = events(response)
    deltas = [e["choices"][0]["delta"] for e in got if e["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1] == {"reasoning_content": "hm"}
    assert [d["content"] for d in deltas[2:4]] == ["one ", "two"]
    assert deltas[4]["tool_calls"][0]["id"] == "call_0_0"
    assert "".join(d["tool_calls"][0]["function"]["arguments"] for d in deltas[4:7]) == '{"x":1}'
    assert got[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert got[-1]["choices"] == []
    assert got[-1]["usage"]["prompt_tokens"] == 3
    assert {e["id"] for e in got} == {"chatcmpl-1"}


def test_no_usage_event_unless_asked_for(server: FakeOpenAIServer) -> None:
    server.script("m", ["hi"])
    assert all(e["choices"] for e in events(post(server, stream=True)))


def test_a_query_is_recorded_and_disturbs_nobody(server: FakeOpenAIServer) -> None:
    server.script("m", ["hi"])
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    response = httpx.post(f"{server.base_url}/chat/completions?api-version=1", json=body)
    assert response.json()["choices"][0]["message"]["content"] == "hi"
    assert server.requests[0].path == "/v1/chat/completions?api-version=1"


@pytest.mark.parametrize("status", [400, 429, 500])
def test_refusals(server: FakeOpenAIServer, status: int) -> None:
    server.script("m", [Failure(status, "no", retry_after_s=2)])
    response = post(server)
    assert response.status_code == status
    assert response.json()["error"]["message"] == "no"
    assert response.headers["retry-after"] == "2"
    assert server.requests[0].wait_ended() == "refused"


@pytest.mark.parametrize("stream", [True, False])
def test_a_dropped_connection_breaks_the_client(server: FakeOpenAIServer, stream: bool) -> None:
    server.script("m", [reply("a b", Drop(), "c")])
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, stream=stream)
    assert server.requests[0].wait_ended() == "dropped"


def test_an_error_event_in_the_middle(server: FakeOpenAIServer) -> None:
    server.script("m", [reply("a b", Fault("overloaded"))])
    lines = [line for line in post(server, stream=True).text.splitlines() if line]
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["message"] == "overloaded"
    assert server.requests[0].wait_ended() == "faulted"


def test_the_models_are_listed(server: FakeOpenAIServer) -> None:
    server.script("m", ["hi"])
    body = httpx.get(server.base_url + "/models", trust_env=False).json()
    assert [entry["id"] for entry in body["data"]] == ["m"]
    assert httpx.get(server.base_url + "/nothing", trust_env=False).status_code == 404


def test_a_script_that_ran_out_is_told_to_the_client(server: FakeOpenAIServer) -> None:
    server.script("m", ["only"])
    post(server)
    response = post(server)
    assert response.status_code == 422
    assert "no reply left" in response.json()["error"]["message"]


def test_each_model_has_its_script_and_the_rest_share_one() -> None:
    with FakeOpenAIServer(["default"], by_model={"a": ["from a"]}) as server:
        assert post(server, model="a").json()["choices"][0]["message"]["content"] == "from a"
        assert post(server, model="b").json()["choices"][0]["message"]["content"] == "default"


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "at least one message"),
        ([*USER, {"role": "tool", "tool_call_id": "x", "content": ""}], "no preceding assistant message called"),
        ([*USER, {"role": "assistant", "tool_calls": [{"id": "x"}]}, *USER], "no tool message answers: x"),
        ([*USER, {"role": "assistant", "tool_calls": [{"id": "x"}]}], "no tool message answers: x"),
    ],
)
def test_a_broken_conversation_is_refused_as_the_service_does(
    server: FakeOpenAIServer, messages: list[Any], problem: str
) -> None:
    server.script("m", ["hi"])
    response = post(server, messages=messages)
    assert response.status_code == 400
    assert problem in response.json()["error"]["message"]


def test_requests_are_recorded(server: FakeOpenAIServer) -> None:
    server.script("m", ["hi"])
    post(server, tools=[{"type": "function", "function": {"name": "f"}}], temperature=0)
    (request,) = server.requests
    assert request.messages == USER
    assert request.tools == ["f"]
    assert request.body["temperature"] == 0
    assert request.headers["content-type"] == "application/json"
    assert request.wait_ended() == "completed"


def test_a_client_that_leaves_is_noticed_while_the_model_waits(server: FakeOpenAIServer) -> None:
    gate = Gate()
    server.script("m", [reply("a ", Hold(gate), "b")])
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    body = json.dumps({"model": "m", "messages": USER, "stream": True})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    gate.wait_reached()
    response.close()
    connection.close()
    assert server.requests[0].wait_ended() == "client_closed"


def test_a_connection_is_kept_alive_over_requests(server: FakeOpenAIServer) -> None:
    server.script("m", ["one", "two"])
    with httpx.Client(trust_env=False) as client:
        url = server.base_url + "/chat/completions"
        answers = [client.post(url, json={"model": "m", "messages": USER, "stream": n == 0}) for n in range(2)]
    assert [a.status_code for a in answers] == [200, 200]


def test_closing_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    gate = Gate()
    server = FakeOpenAIServer([reply("a ", Hold(gate))]).start()
    client = httpx.Client(trust_env=False)
    with client.stream(
        "POST", server.base_url + "/chat/completions", json={"model": "m", "messages": USER, "stream": True}
    ):
        gate.wait_reached()
        server.close()
    client.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.port


def test_many_clients_at_once_in_an_event_loop() -> None:
    async def scenario() -> list[str]:
        async with (
            FakeOpenAIServer([f"answer {n}" for n in range(20)]) as server,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            url = server.base_url + "/chat/completions"
            posts = [client.post(url, json={"model": "m", "messages": USER}) for _ in range(20)]
            answers = await asyncio.gather(*posts)
            return [a.json()["choices"][0]["message"]["content"] for a in answers]

    assert sorted(asyncio.run(scenario())) == sorted(f"answer {n}" for n in range(20))


def test_the_usual_openai_chat_model_streams_from_it(server: FakeOpenAIServer) -> None:
    openai = pytest.importorskip("langchain_openai")
    server.script("m", [reply("Look: ", call("f", {"x": 1}, id="c1"), usage=(3, 4))])
    model = openai.ChatOpenAI(model="m", base_url=server.base_url, api_key="none", stream_usage=True, max_retries=0)
    chunks = list(model.stream("hi"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert whole.content == "Look: "
    assert whole.tool_calls == [{"name": "f", "args": {"x": 1}, "id": "c1", "type": "tool_call"}]
    assert whole.usage_metadata["total_tokens"] == 7
