"""Model endpoints that answer something else than the API says, and what is told of them."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

import langchain_core
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps

from stategraph import Run
from stategraph.agent.llm import model_calls, models
from stategraph.errors import ModelAnswerError
from stategraph.testing import FakeOpenAIServer, reply
from tests import loopback
from tests.agent.test_secrets import chain
from tests.conftest import Listen

OLD_LANGCHAIN = tuple(map(int, langchain_core.__version__.split(".")[:2])) < (1, 6)

pytestmark = pytest.mark.anyio

KEY = "sk-0123456789"
PASSWORD = "a-password"
HEADER = "a-header-of-a-gateway"


def chunk(delta: Any, finish: str | None = None, **more: Any) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return "data: " + json.dumps({"id": "x", "created": 1, "model": "m", "choices": choices, **more}) + "\n\n"


DONE = "data: [DONE]\n\n"
USELESS = {
    "no JSON": chunk({"content": "a"}) + "data: {nope}\n\n" + DONE,
    "numbers": "data: 5\n\ndata: []\n\n" + DONE,
    "null choices": 'data: {"id":"x","choices":null}\n\n' + DONE,
    "choices that are no objects": 'data: {"id":"x","choices":[1]}\n\n' + DONE,
    "a delta that is a list": chunk([1]) + DONE,
    "content that is a number": chunk({"content": 5}, "stop") + DONE,
    "tool calls that are numbers": chunk({"tool_calls": [3]}) + DONE,
    "usage in words": chunk({"content": "a"}, "stop", usage={"prompt_tokens": "x", "completion_tokens": -5}) + DONE,
    "nothing but its end": DONE,
    "nothing at all": "",
    "a page": "<html>Sign in</html>",
}


class Endpoint:
    """Answers every request with the same."""

    def __init__(self) -> None:
        self.status = 200
        self.body = ""
        self.kind = "text/event-stream"
        endpoint = self

        class Handler(loopback.Handler):
            def post(self) -> None:
                self.body()
                body = endpoint.body.replace("{sent}", self.headers["authorization"])
                self.answer(endpoint.status, body.encode(), endpoint.kind)

        self.handler = Handler
        self.where = ""


@pytest.fixture
def endpoint(listen: Listen) -> Endpoint:
    made = Endpoint()
    made.where = listen(made.handler)
    return made


def options(endpoint: Endpoint, **more: Any) -> dict[str, Any]:
    configuration = {
        "baseURL": f"http://user:{PASSWORD}@{endpoint.where}/v1",
        "defaultHeaders": {"x-gateway": HEADER},
    }
    return {"model": "m", "apiKey": KEY, "maxRetries": 0, "configuration": configuration, **more}


async def run(endpoint: Endpoint, **more: Any) -> Run:
    agent = {"agent_id": "helper", "provider": "openAI", "client_options": options(endpoint, **more)}
    return await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of the provider's client
@pytest.mark.parametrize("what", USELESS)
async def test_an_answer_that_is_none_names_agent_model_and_address(endpoint: Endpoint, what: str) -> None:
    endpoint.body = USELESS[what]
    going = await run(endpoint)
    with pytest.raises(ModelAnswerError) as caught:
        await going.process_stream({"messages": [("user", "hi")]})
    text = str(caught.value)
    assert text.startswith(f"Agent 'helper': The model 'm' (openAI, http://{endpoint.where}/v1) ")
    assert not any(each in text for each in (KEY, PASSWORD))


@pytest.mark.parametrize("what", ["a page", "no JSON", "null"])
@pytest.mark.parametrize("way", ["sync", "async", "sync stream", "async stream"])
async def test_a_useless_answer_is_the_same_error_in_every_way_of_asking(
    endpoint: Endpoint, what: str, way: str
) -> None:
    endpoint.body, endpoint.kind = {"null": ("null", "application/json")}.get(what) or (
        (USELESS[what], "text/html") if what == "a page" else (USELESS[what], "text/event-stream")
    )
    model = models.resolve("openai", options(endpoint))
    with pytest.raises(ModelAnswerError, match=r"The model 'm' \(openai, http://127"):
        match way:
            case "sync":
                model.invoke("hi")
            case "async":
                await model.ainvoke("hi")
            case "sync stream":
                list(model.stream("hi"))
            case _:
                async for _ in model.astream("hi"):
                    pass


async def test_an_answer_without_text_is_one(endpoint: Endpoint) -> None:
    endpoint.body = chunk({"role": "assistant", "content": ""}) + chunk({}, "stop") + DONE
    going = await run(endpoint)
    await going.process_stream({"messages": [("user", "hi")]})
    assert [message.content for message in going.get_run_messages()] == [""]


async def test_an_error_of_the_provider_keeps_its_class_and_says_whose_it_was(endpoint: Endpoint) -> None:
    endpoint.status, endpoint.kind = 401, "application/json"
    endpoint.body = '{"error": {"message": "wrong key: {sent}"}}'
    going = await run(endpoint, configuration={"baseURL": f"http://{endpoint.where}/v1"})
    with pytest.raises(Exception, match=r"wrong key: Bearer \[redacted\]|wrong key: \[redacted\]") as caught:
        await going.process_stream({"messages": [("user", "hi")]})
    assert "AuthenticationError" in type(caught.value).__name__
    told = "".join(traceback.format_exception(caught.value))
    assert f"model 'm' (openAI, http://{endpoint.where}/v1)" in told
    assert "agent 'helper'" in told
    assert not any(KEY in str(vars(each)) + repr(each) for each in chain(caught.value))


class Tracer(BaseCallbackHandler):
    """Notes all that tracers are told about a model."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        self.told += [repr(serialized), repr(more)]

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        self.told += ["".join(traceback.format_exception(error)), repr(error), repr(chain(error))]


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\u00e9"])
async def test_a_key_that_cannot_be_sent_is_in_no_error_and_no_trace(
    endpoint: Endpoint, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tracer = Tracer()
    going = await run(endpoint, apiKey=key, configuration={"baseURL": f"http://{endpoint.where}/v1"})
    with pytest.raises(Exception) as caught:
        await going.process_stream({"messages": [("user", "hi")]}, {"callbacks": [tracer]})
    assert len(tracer.told) == 5
    # The HTTP client's own log at this level has what it was given.
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("stategraph")]
    texts = [*tracer.told, *ours, *(f"{each} {each!r}" for each in chain(caught.value))]
    assert not any(KEY in text for text in texts)


async def test_a_model_shows_nothing_that_it_was_given_as_a_secret(endpoint: Endpoint) -> None:
    tracer = Tracer()
    endpoint.body = USELESS["a page"]
    model = models.resolve("openai", options(endpoint))
    with pytest.raises(ModelAnswerError):
        await model.ainvoke("hi", {"callbacks": [tracer]})
    for text in (repr(model), str(model), dumps(model), *tracer.told):
        assert not any(secret in text for secret in (KEY, PASSWORD, HEADER))


@pytest.mark.skipif(OLD_LANGCHAIN, reason="langchain-core before 1.6 tells tracers what a call was bound to as it is")
async def test_a_call_is_traced_without_secrets_and_without_searching_the_definitions_of_tools(
    endpoint: Endpoint,
) -> None:
    class Unsearched(str):
        __slots__ = ()

        def __contains__(self, text: str) -> bool:
            raise AssertionError("searched")

    tracer = Tracer()
    endpoint.body = chunk({"content": "hi"}, "stop") + DONE
    definition = {"type": "function", "function": {"name": "add", "description": Unsearched("Adds.")}}
    model = models.resolve("openai", options(endpoint)).bind(tools=[definition], metadata={"of": KEY})
    async for _ in model.astream("hi", {"callbacks": [tracer]}):
        pass
    assert "'name': 'add'" in tracer.told[1]
    assert "[redacted]" in tracer.told[1] and KEY not in tracer.told[1]


async def test_usage_is_asked_for_at_any_address_unless_the_host_says_no() -> None:
    for more, expected in (({}, True), ({"streamUsage": False}, False)):
        with FakeOpenAIServer([reply("hi", usage=(3, 4))]) as server:
            model = models.resolve("openai", {"model": "m", "apiKey": KEY, "baseURL": server.base_url, **more})
            pieces = [piece async for piece in model.astream("hi")]
        usage = [piece.usage_metadata for piece in pieces if getattr(piece, "usage_metadata", None)]
        assert bool(usage) is expected


async def test_a_provider_that_reports_no_usage_is_named_once(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_calls, "_without_usage", set())
    endpoint.body = chunk({"content": "hi"}, "stop") + DONE
    for _ in range(2):
        await (await run(endpoint)).process_stream({"messages": [("user", "hi")]})
    (said,) = [record.getMessage() for record in caplog.records if record.name == model_calls.__name__]
    assert said.startswith("The model 'm' of agent 'helper' (openAI) reports no usage")


async def test_a_model_named_with_its_provider_takes_options_beside_it(endpoint: Endpoint) -> None:
    endpoint.body = chunk({"content": "hi"}, "stop") + DONE
    given = options(endpoint, modelName="another", temperature=0.5, fallbacks=[{"provider": "openAI"}])
    given["fallbacks"] = [{"provider": "openAI", "client_options": options(endpoint, model="second")}]
    agent = models.AgentInputs.of({"agent_id": "a", "model": "openai:first", "client_options": given})
    first, second = models.candidates(agent)
    assert (first.name, second.name) == ("first", "second")
    assert first.model.temperature == 0.5  # type: ignore[attr-defined]
    assert (await first.model.ainvoke("hi", stream=True)).content == "hi"
