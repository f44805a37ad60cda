"""Chat models from providers' names and options."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import types
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from pydantic import ConfigDict

from stategraph.agent.llm import models
from stategraph.agent.settings.inputs import AgentInputs, Providers, ToolDefinition
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.testing import FakeOpenAIServer, ScriptedChatModel, Think, ToolCall, reply
from stategraph.testing import openai_wire as wire

T = TypeVar("T")

KEY = "sk-very-secret"


class Recorder(BaseChatModel):
    """Takes what it is given, as a provider's class would."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    @property
    def _llm_type(self) -> str:
        return "recorder"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    @property
    def taken(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Strict(Recorder):
    """Refuses what it does not know, and what it knows if it is wrong."""

    model_config = ConfigDict(extra="forbid")

    model: str
    temperature: float = 0.0
    api_key: str = ""


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers' packages that are not installed here."""
    for module, name in {
        "langchain_anthropic": "ChatAnthropic",
        "langchain_aws": "ChatBedrockConverse",
        "langchain_cohere": "ChatCohere",
        "langchain_google_genai": "ChatGoogleGenerativeAI",
        "langchain_ollama": "ChatOllama",
    }.items():
        fake = types.ModuleType(module)
        setattr(fake, name, Recorder)
        monkeypatch.setitem(sys.modules, module, fake)
    strict = types.ModuleType("langchain_groq")
    strict.ChatGroq = Strict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "langchain_groq", strict)


def taken(provider: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the provider's class was given."""
    model = models.resolve(provider, options)
    assert isinstance(model, Recorder)
    return model.taken


def openai(server: FakeOpenAIServer, **options: Any) -> BaseChatModel:
    given = {"model": "m", "apiKey": KEY, "configuration": {"baseURL": server.base_url}, "maxRetries": 0}
    return models.resolve(Providers.OPENAI, given | options)


# Names.


def test_a_host_written_for_typescript_gets_the_model_that_it_describes() -> None:
    model: Any = models.resolve(
        "openAI",
        {
            "model": "m",
            "openAIApiKey": KEY,
            "configuration": {"baseURL": "http://gateway/v1", "defaultHeaders": {"x-key": KEY}, "fetch": object()},
            "streaming": True,
            "streamUsage": True,
            "disableStreaming": False,
            "maxRetries": 0,
            "maxTokens": 7,
            "topP": 0.5,
            "temperature": 0.1,
            "modelKwargs": {"topLevel": 1},
            "fallbacks": [],
            "_lc_stream_delay": 25,
            "frequencyPenalty": None,
        },
    )
    assert model.model_name == "m"
    assert model.openai_api_key.get_secret_value() == KEY
    assert model.openai_api_base == "http://gateway/v1"
    assert model.default_headers == {"x-key": KEY}
    assert (model.streaming, model.stream_usage, model.disable_streaming) == (True, True, False)
    assert (model.max_retries, model.max_tokens, model.top_p, model.temperature) == (0, 7, 0.5, 0.1)
    assert model.model_kwargs == {"topLevel": 1}


def test_options_in_snake_case_describe_the_same_model() -> None:
    typescript = models.resolve(
        "openAI", {"modelName": "m", "apiKey": KEY, "configuration": {"baseURL": "http://g/v1"}}
    )
    python = models.resolve("openai", {"model": "m", "api_key": KEY, "base_url": "http://g/v1"})
    assert typescript.model_dump() == python.model_dump()


def test_the_callers_options_are_left_as_they_are() -> None:
    options = {"model": "m", "apiKey": KEY, "modelKwargs": {"a": 1, "temperature": 0.5}}
    with pytest.warns(UserWarning, match="temperature"):
        models.resolve("openAI", options)
    assert options == {"model": "m", "apiKey": KEY, "modelKwargs": {"a": 1, "temperature": 0.5}}


def test_a_text_names_provider_and_model() -> None:
    model = models.resolve("openai:gpt-x:latest", {"apiKey": KEY})
    assert models.model_name(model) == "gpt-x:latest"
    assert models.provider_of(model) == "openai"


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("provider", "options", "parameters"),
    [
        ("anthropic", {"streamUsage": True, "topK": 3}, {"stream_usage": True, "top_k": 3}),
        ("anthropic", {"clientOptions": {"baseURL": "http://u"}, "promptCache": True}, {"base_url": "http://u"}),
        ("anthropic", {"invocationKwargs": {"x": 1}}, {"model_kwargs": {"x": 1}}),
        (
            "bedrock",
            {
                "region": "eu",
                "credentials": {"accessKeyId": "i", "secretAccessKey": KEY},
                "endpointHost": "h",
                "streamUsage": True,
            },
            {"region_name": "eu", "aws_access_key_id": "i", "aws_secret_access_key": KEY, "base_url": "https://h"},
        ),
        ("bedrock_converse", {"guardrailConfig": {"trace": "on"}}, {"guardrail_config": {"trace": "on"}}),
        ("cohere", {"apiKey": KEY, "maxRetries": 2, "timeout": 3}, {"cohere_api_key": KEY, "timeout_seconds": 3}),
        ("google", {"customHeaders": {"h": "v"}, "maxOutputTokens": 5, "streamUsage": True}, None),
        ("google_genai", {"credentials": {"type": "t"}}, {"credentials": {"type": "t"}}),
        ("ollama", {"baseUrl": "u", "maxTokens": 9, "apiKey": "x"}, {"base_url": "u", "num_predict": 9}),
    ],
)
def test_options_are_called_what_the_providers_class_calls_them(
    provider: str, options: dict[str, Any], parameters: dict[str, Any] | None
) -> None:
    expected = parameters or {"additional_headers": {"h": "v"}, "max_output_tokens": 5}
    assert taken(provider, {"model": "m", **options}) == {"model": "m", **expected}


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({"azureOpenAIApiInstanceName": "inst", "azureOpenAIApiDeploymentName": "d"}, "https://inst.openai.azure.com/"),
        ({"azureOpenAIEndpoint": "https://own/", "azureOpenAIApiDeploymentName": "d"}, "https://own/"),
        ({"azureOpenAIBasePath": "https://base/openai/deployments/", "azureOpenAIApiDeploymentName": "d"}, None),
    ],
)
def test_azure_is_found_by_each_of_its_addresses(options: dict[str, Any], address: str | None) -> None:
    model: Any = models.resolve("azureOpenAI", {**options, "azureOpenAIApiKey": KEY, "azureOpenAIApiVersion": "v1"})
    assert model.azure_endpoint == address
    assert model.openai_api_base == (None if address else "https://base/openai/deployments/d")
    assert model.openai_api_version == "v1"
    assert model.openai_api_key.get_secret_value() == KEY


def test_moonshot_speaks_openais_api_at_its_own_address_with_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not this one")
    monkeypatch.delenv("MOONSHOT_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="set MOONSHOT_API_KEY"):
        models.resolve("moonshot:kimi")
    monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
    model: Any = models.resolve("moonshot:kimi")
    assert model.openai_api_base == "https://api.moonshot.ai/v1"
    assert model.openai_api_key.get_secret_value() == KEY


# Refusals.


def test_every_provider_that_a_host_may_store_is_known() -> None:
    assert {each.value for each in Providers} <= models._PROVIDERS.keys()


def test_an_unknown_provider_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'acme' is not known; known are anthropic, .*, openAI, .*, xai\. A"):
        models.resolve("acme:m")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(MissingPackageError, match="pip install langchain-deepseek") as raised:
        models.resolve("deepseek:m")
    assert raised.value.package == "langchain-deepseek"


def test_a_package_that_is_there_but_broken_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "langchain_xai.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        models.resolve("xai:m")


def test_a_provider_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the provider 'openAI' was given no model"):
        models.resolve("openAI", {"apiKey": KEY})


@pytest.mark.usefixtures("packages")
def test_a_class_refuses_in_its_own_words_but_without_values() -> None:
    with pytest.raises(ConfigurationError) as raised:
        models.resolve("groq:m", {"temperature": KEY, "apiKy": KEY, "apiKey": {"key": KEY}})
    said = str(raised.value)
    assert "Strict refuses the client options of the provider 'groq'" in said
    assert "'temperature' is a value of type str, expected a valid number" in said
    assert "'api_ky' is not a field of Strict; did you mean 'api_key'?" in said
    assert KEY not in said
    assert raised.value.__context__ is None


def test_a_missing_key_is_a_setting_of_an_agent_and_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError) as raised:
        models.candidates(AgentInputs.of({"agent_id": "helper", "model": "openai:m"}))
    said = str(raised.value)
    assert said.startswith(
        "Agent 'helper': ChatOpenAI refuses the client options of the provider 'openai': OpenAIError"
    )
    assert "OPENAI_API_KEY" in said


def test_what_a_class_raises_is_not_repeated_where_it_has_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky:
        def __init__(self, **given: Any) -> None:
            raise RuntimeError(f"cannot use {given['default_headers']}")

    monkeypatch.setattr(models, "_load", lambda *_: Leaky)
    with pytest.raises(ConfigurationError) as raised:
        models.resolve("openai:m", {"defaultHeaders": {"x-key": KEY}})
    assert str(raised.value).endswith("of the provider 'openai': RuntimeError")
    assert raised.value.__context__ is None


def test_keys_and_headers_are_in_no_text_about_the_model() -> None:
    options = {"model": "m", "apiKey": KEY, "defaultHeaders": {"x-key": KEY}, "defaultQuery": {"k": KEY}}
    agent = AgentInputs.of({"agentId": "a", "provider": "openAI", "clientOptions": options})
    (candidate,) = models.candidates(agent)
    for text in (repr(agent), repr(candidate), repr(candidate.model), str(candidate.model), dumps(candidate.model)):
        assert KEY not in text


def test_no_providers_package_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, stategraph.agent.llm.models\n"
        "print([m for m in sys.modules if m in ('openai', 'langchain_openai')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Candidates.


def test_a_ready_model_is_the_only_candidate() -> None:
    model = ScriptedChatModel(replies=["hi"])
    (candidate,) = models.candidates(AgentInputs(agent_id="a", model=model))
    assert candidate.model is model
    assert candidate.provider == models.provider_of(model)


def test_a_text_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (candidate,) = models.candidates(AgentInputs(agent_id="a", model="openai:m", reasoning_key="reasoning"))
    assert (candidate.provider, candidate.name) == ("openai", "m")
    assert candidate.model.reasoning_key == "reasoning"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("packages")
def test_fallbacks_come_after_the_first_choice_in_order() -> None:
    options = {
        "model": "first",
        "apiKey": KEY,
        "fallbacks": [
            {"provider": "anthropic", "clientOptions": {"model": "second"}},
            {"provider": "openAI", "client_options": {"model": "third", "api_key": KEY}},
        ],
    }
    agent = AgentInputs.of({"agentId": "a", "provider": "openAI", "clientOptions": options})
    found = [(each.provider, type(each.model).__name__) for each in models.candidates(agent)]
    assert found == [("openAI", "ChatOpenAI"), ("anthropic", "Recorder"), ("openAI", "ChatOpenAI")]
    assert [each.name for each in models.candidates(agent)] == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("fallbacks", "said"),
    [
        ("openAI", "the fallbacks of agent 'a' are a value of type str, expected a list of mappings"),
        ({"provider": "openAI"}, "the fallbacks of agent 'a' are a value of type dict, expected a list"),
        ([{"clientOptions": {}}], "a fallback has no model; give one as 'model', or a 'provider'"),
        ([{"provider": "acme", "clientOptions": {"model": "m"}}], "the provider 'acme' is not known"),
    ],
)
def test_bad_fallbacks_are_found_before_anything_runs(fallbacks: Any, said: str) -> None:
    agent = AgentInputs(
        agent_id="a", provider="openAI", client_options={"model": "m", "apiKey": KEY, "fallbacks": fallbacks}
    )
    with pytest.raises(ConfigurationError, match=said):
        models.candidates(agent)


# Reasoning.


@pytest.fixture(params=["reasoning_content", "reasoning"])
def thinker(request: pytest.FixtureRequest) -> Iterator[FakeOpenAIServer]:
    """A server that thinks before it speaks, and says so in one of two fields."""
    thought = reply(Think("Let me "), Think("think."), "The answer.")
    with FakeOpenAIServer([thought, thought], reasoning_field=request.param) as server:
        yield server


async def _closing(model: Any, work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    finally:
        await model.root_async_client.close()


async def _collect(model: BaseChatModel) -> list[AIMessageChunk]:
    return [chunk async for chunk in model.astream("hi")]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_streamed_reasoning_is_kept_piece_by_piece(thinker: FakeOpenAIServer, way: str) -> None:
    model = openai(thinker, streaming=True)
    chunks = list(model.stream("hi")) if way == "sync" else asyncio.run(_closing(model, _collect(model)))
    thoughts = [chunk.additional_kwargs.get("reasoning_content") for chunk in chunks]
    assert [each for each in thoughts if each] == ["Let ", "me ", "think."]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.additional_kwargs["reasoning_content"] == "Let me think."
    assert whole.text == "The answer."


@pytest.mark.parametrize("way", ["sync", "async"])
def test_whole_reasoning_is_kept(thinker: FakeOpenAIServer, way: str) -> None:
    model = openai(thinker)
    message = model.invoke("hi") if way == "sync" else asyncio.run(_closing(model, model.ainvoke("hi")))
    assert message.additional_kwargs["reasoning_content"] == "Let me think."
    assert message.text == "The answer."
    assert message.usage_metadata is not None


def test_reasoning_is_kept_where_the_agent_looks_for_it(thinker: FakeOpenAIServer) -> None:
    options = {"model": "m", "apiKey": KEY, "baseURL": thinker.base_url}
    model = models.resolve("openAI", options, reasoning_key="reasoning")
    assert model.invoke("hi").additional_kwargs["reasoning"] == "Let me think."


def test_a_model_that_does_not_think_has_no_reasoning() -> None:
    with FakeOpenAIServer(["Hello.", "Hello."]) as server:
        model = openai(server)
        assert "reasoning_content" not in model.invoke("hi").additional_kwargs
        assert all("reasoning_content" not in chunk.additional_kwargs for chunk in model.stream("hi"))


def test_azure_keeps_reasoning_too() -> None:
    options = {"azureOpenAIEndpoint": "https://azure/", "deploymentName": "d", "apiVersion": "v1", "apiKey": KEY}
    answer = wire.completion(reply(Think("Hm."), "Yes."), id="i", model="m", reasoning_field="reasoning_content")
    piece = wire.chunk("i", "m", {"role": "assistant", "reasoning_content": "Hm."})

    def serve(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/openai/deployments/d/chat/completions"
        if json.loads(request.content).get("stream"):
            return httpx.Response(200, text=f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n")
        return httpx.Response(200, json=answer)

    with httpx.Client(transport=httpx.MockTransport(serve)) as client:
        model = models.resolve("azureOpenAI", {**options, "httpClient": client})
        assert model.invoke("hi").additional_kwargs["reasoning_content"] == "Hm."
        assert next(model.stream("hi")).additional_kwargs["reasoning_content"] == "Hm."


def test_a_subclass_is_loaded_again_as_the_class_that_it_extends() -> None:
    model = models.resolve("openai:m", {"apiKey": KEY})
    assert '"id": ["langchain", "chat_models", "openai", "ChatOpenAI"]' in dumps(model)
    assert model.get_name() == "ChatOpenAI"


# Tools.


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_tools_and_definitions_are_offered_with_every_call() -> None:
    definition = ToolDefinition(
        name="look", description="Look.", parameters={"type": "object", "properties": {"x": {}}}
    )
    bare = ToolDefinition(name="bare")
    with FakeOpenAIServer([reply(ToolCall("add", {"a": 1, "b": 2})), "Done."]) as server:
        bound = models.bind(openai(server), [add, definition, bare, {"type": "function", "function": {"name": "raw"}}])
        answer = bound.invoke("hi")
        bound.invoke("again")
        first, second = (each.body["tools"] for each in server.requests)
    assert isinstance(answer, AIMessage)
    assert [call["name"] for call in answer.tool_calls] == ["add"]
    assert [each["function"]["name"] for each in first] == ["add", "look", "bare", "raw"]
    assert first[1]["function"]["parameters"] == {"type": "object", "properties": {"x": {}}}
    assert first[2]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert second == first


def test_without_tools_the_model_stays_itself() -> None:
    model = ScriptedChatModel(replies=["hi"])
    assert models.bind(model, []) is model


def test_a_model_that_cannot_call_tools_says_so() -> None:
    model = FakeListChatModel(responses=["hi"])
    with pytest.raises(ConfigurationError, match=r"\(FakeListChatModel\) cannot call tools, and the agent has 1"):
        models.bind(model, [add])


def test_facts_about_a_model_are_found_through_what_was_bound_to_it() -> None:
    model = models.resolve("openai:m", {"apiKey": KEY})
    bound = models.bind(model, [add]).with_config(tags=["x"])
    assert (models.provider_of(bound), models.model_name(bound)) == ("openai", "m")


def test_what_is_no_model_has_no_facts() -> None:
    with pytest.raises(ConfigurationError, match="RunnableLambda is no chat model"):
        models.model_name(RunnableLambda(len))


# Models that are used again.


def test_the_models_that_were_used_last_are_kept_and_no_more() -> None:
    kept = models.Models(kept=2)

    def of(key: str) -> BaseChatModel:
        return kept.resolve("openai", {"model": "m", "api_key": key})

    first, second = of("one"), of("two")
    assert of("one") is first
    of("three")
    assert len(kept) == 2
    assert of("one") is first
    assert of("two") is not second


def test_options_that_are_no_json_make_a_model_of_their_own() -> None:
    kept = models.Models()
    around: dict[str, Any] = {}
    around["self"] = around
    for options in ({"metadata": {"function": print}}, {"metadata": around}):
        kept.resolve("openai", {"model": "m", "api_key": KEY, **options})
    assert len(kept) == 0


# Models that summarise.


def summarising(agent: dict[str, Any], **config: Any) -> Any:
    return models.summarisers(AgentInputs.of({"agent_id": "a", **agent, "summarization_config": config}))


OWN = {
    "provider": "openAI",
    "client_options": {"model": "m", "apiKey": "sk-none", "maxTokens": 900, "temperature": 0.2},
}


def test_an_agent_summarises_with_its_own_model_unless_told_otherwise() -> None:
    assert summarising(OWN) is None
    assert summarising({"model": ScriptedChatModel()}) is None


def test_another_model_of_the_same_provider_has_the_agent_s_options() -> None:
    (found,) = summarising(OWN, model="m-small", max_summary_tokens=100)
    assert (found.provider, found.name) == ("openAI", "m-small")
    assert (found.model.max_tokens, found.model.temperature) == (100, 0.2)


def test_the_limit_may_be_among_the_parameters() -> None:
    (found,) = summarising(OWN, parameters={"maxSummaryTokens": 50})
    assert (found.name, found.model.max_tokens) == ("m", 50)


def test_a_model_of_another_provider_has_its_own_options_alone() -> None:
    (found,) = summarising(OWN, provider="moonshot", model="kimi", parameters={"api_key": "sk-other"})
    assert (found.provider, found.name) == ("moonshot", "kimi")
    assert found.model.temperature is None


def test_a_model_named_with_its_provider_summarises_as_another_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    (found,) = summarising({"model": "openai:m"}, max_summary_tokens=100)
    assert (found.provider, found.name, found.model.max_tokens) == ("openai", "m", 100)


def test_a_ready_model_cannot_be_given_other_parameters() -> None:
    with pytest.raises(ConfigurationError, match=r"the summarization of agent 'a' names model.*name a 'provider'"):
        summarising({"model": ScriptedChatModel()}, model="m-small")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "disabled"}}, False),
    ],
)
def test_whether_a_model_thinks_is_read_from_its_options(options: dict[str, Any], expected: bool) -> None:
    model = models.resolve("openai", {"model": "m", "api_key": "sk-none", "model_kwargs": options})
    assert models.thinks(model) is expected
