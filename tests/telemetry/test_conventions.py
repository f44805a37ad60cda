"""What is recorded is what the conventions name, as the package with their names has it, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode

from stategraph import Run
from stategraph.run.ports import MeasuredExecution
from stategraph.telemetry import Telemetry, content, model_calls, names
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.telemetry.spans_kit import Collected

pytestmark = pytest.mark.anyio

DEPRECATED = {
    "gen_ai.system",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
}
PUBLISHED = {
    value
    for name, value in vars(gen_ai_attributes).items()
    if name.startswith("GEN_AI_") and value not in DEPRECATED and ".openai." not in value
}
CONTENT = {
    names.INPUT_MESSAGES,
    names.OUTPUT_MESSAGES,
    names.TOOL_DEFINITIONS,
    names.TOOL_ARGUMENTS,
    names.TOOL_RESULT,
    names.QUERY,
}


@tool
def look(city: str) -> str:
    """Look out of the window."""
    return f"sunny in {city}"


async def a_turn(collected: Collected, **settings: Any) -> None:
    """Execute a run with a tool and with usage."""
    called = script.reply(script.call("look", {"city": "Rome"}, id="c1"), usage=(100, 7))
    said = script.reply("Fine weather.", usage=script.Usage(100, 7, reasoning_tokens=3, cached_tokens=60), id="resp-1")
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {
                "agents": [
                    {
                        "agent_id": "a",
                        "model": ScriptedChatModel(replies=[called, said]),
                        "tools": [look],
                        "instructions": "Be brief.",
                    }
                ]
            },
            "telemetry": collected.telemetry(**settings),
        }
    )
    await run.process_stream({"messages": [HumanMessage("How is Rome?")]}, {"configurable": {"thread_id": "t"}})


def test_all_names_are_published() -> None:
    own = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    metrics = {names.TOKEN_USAGE, names.OPERATION_DURATION, names.FIRST_CHUNK}
    assert own - metrics <= PUBLISHED
    assert set(names.REQUEST_PARAMETERS.values()) <= PUBLISHED
    assert metrics <= {value for name, value in vars(gen_ai_metrics).items() if name.startswith("GEN_AI_")}
    assert names.ERROR_TYPE == error_attributes.ERROR_TYPE
    providers = {each.value for each in gen_ai_attributes.GenAiProviderNameValues}
    assert set(names.PROVIDERS.values()) <= providers
    operations = {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    assert set(names.Operation.__args__) <= operations  # type: ignore[attr-defined]


async def test_the_spans_of_a_turn_are_as_the_conventions_say(collected: Collected) -> None:
    await a_turn(collected)

    operations = {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    for span in collected.spans:
        about = span.attributes or {}
        assert {name for name in about if name.startswith("gen_ai.")} <= PUBLISHED - CONTENT
        assert about["gen_ai.operation.name"] in operations
        assert span.name.split()[0] == about["gen_ai.operation.name"]
        assert span.kind == (SpanKind.CLIENT if span.name.startswith("chat") else SpanKind.INTERNAL)
        assert span.status.status_code is StatusCode.UNSET
        assert not span.events
    chats = [span.attributes or {} for span in collected.spans if span.name == "chat scripted"]
    assert chats[-1] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scriptedchatmodel",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "t",
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.model": chats[-1]["gen_ai.response.model"],
        "gen_ai.response.finish_reasons": chats[-1]["gen_ai.response.finish_reasons"],
        "gen_ai.response.time_to_first_chunk": chats[-1]["gen_ai.response.time_to_first_chunk"],
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.reasoning.output_tokens": 3,
    }


async def test_tokens_are_added_up_on_the_agent_and_the_run(collected: Collected) -> None:
    await a_turn(collected)

    for name in ("invoke_agent a", "invoke_workflow"):
        about = collected.named(name).attributes or {}
        assert about["gen_ai.usage.input_tokens"] == 200
        assert about["gen_ai.usage.output_tokens"] == 14
        assert about["gen_ai.usage.reasoning.output_tokens"] == 3


async def test_metrics_are_those_of_the_conventions(collected: Collected) -> None:
    await a_turn(collected)

    tokens = {
        about["gen_ai.token.type"]: (point.count, point.sum) for about, point in collected.points(names.TOKEN_USAGE)
    }
    assert tokens == {"input": (2, 200), "output": (2, 14)}
    durations = collected.points(names.OPERATION_DURATION)
    counts = {about["gen_ai.operation.name"]: point.count for about, point in durations}
    assert counts == {"chat": 2, "execute_tool": 1, "invoke_agent": 1, "invoke_workflow": 1}
    assert durations[0][1].explicit_bounds == names.DURATION_BUCKETS
    ((about, point),) = collected.points(names.FIRST_CHUNK)
    assert (point.count, about["gen_ai.request.model"]) == (2, "scripted")
    assert all(set(about) <= PUBLISHED for about, _ in [*durations, (about, point)])


async def test_metrics_can_be_left_out(collected: Collected) -> None:
    await a_turn(collected, metrics=False)

    assert not collected.points(names.OPERATION_DURATION)
    assert len(collected.spans) == 5


async def test_content_is_recorded_on_request_alone(collected: Collected) -> None:
    await a_turn(collected)
    told = " ".join(span.to_json() for span in collected.spans)
    for said in ("How is Rome", "Fine weather", "Be brief", "sunny", "city"):
        assert said not in told

    collected.exporter.clear()
    await a_turn(collected, content=True)
    first, last = [span.attributes or {} for span in collected.spans if span.name == "chat scripted"]
    assert json.loads(str(first[names.INPUT_MESSAGES])) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "How is Rome?"}]},
    ]
    assert json.loads(str(last[names.OUTPUT_MESSAGES])) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "Fine weather."}],
            "finish_reason": last["gen_ai.response.finish_reasons"][0],  # type: ignore[index]
        }
    ]
    assert json.loads(str(first[names.TOOL_DEFINITIONS]))[0]["function"]["name"] == "look"
    about = collected.named("execute_tool look").attributes or {}
    assert json.loads(str(about[names.TOOL_ARGUMENTS])) == {"city": "Rome"}
    assert about[names.TOOL_RESULT] == "sunny in Rome"
    agent = collected.named("invoke_agent a").attributes or {}
    assert json.loads(str(agent[names.OUTPUT_MESSAGES]))[0]["parts"] == [{"type": "text", "content": "Fine weather."}]
    assert all(
        {name for name in span.attributes or {} if name.startswith("gen_ai.")} <= PUBLISHED for span in collected.spans
    )


@pytest.mark.parametrize(
    ("value", "on"),
    [("true", True), ("SPAN_ONLY", True), ("span_and_event", True), ("false", False), ("EVENT_ONLY", False)],
)
def test_the_environment_variable_of_the_conventions_asks_for_content(
    monkeypatch: pytest.MonkeyPatch, value: str, on: bool
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    assert Telemetry().records_content is on
    assert Telemetry(content=False).records_content is False


def test_parameters_of_a_request_are_those_that_the_conventions_name() -> None:
    asked = model_calls.request(
        {"ls_provider": "azure", "ls_model_name": "gpt-5", "ls_temperature": 0.5, "ls_max_tokens": 9},
        {
            "api_key": "sk-123456",
            "stop": "end",
            "n": 1,
            "top_p": True,
            "seed": 3,
            "extra_headers": {"authorization": "x"},
        },
        None,
    )
    assert {name: value for name, value in asked.attributes.items() if value is not None} == {
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ["end"],
        "gen_ai.request.seed": 3,
    }


def test_media_are_named_and_not_copied() -> None:
    blocks: list[Any] = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    ((written),) = json.loads(content.messages([HumanMessage(blocks)]))
    assert written["parts"] == [
        {"type": "text", "content": "Look:"},
        {"type": "blob", "modality": "image"},
        {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
    ]


def test_reasoning_and_calls_are_parts_of_an_answer() -> None:
    blocks: list[Any] = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "So:"}]
    message = AIMessage(blocks, tool_calls=[{"name": "look", "args": {}, "id": "c1"}])
    (written,) = json.loads(content.answer(message, None))
    assert written["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "So:"},
        {"type": "tool_call", "id": "c1", "name": "look", "arguments": {}},
    ]


async def test_the_secrets_of_a_model_are_in_no_span_also_with_content(collected: Collected) -> None:
    options = {
        "model": "gpt-x",
        "api_key": "sk-very-secret-1",
        "base_url": "http://127.0.0.1:9/very-secret-2/v1?key=very-secret-3",
        "default_headers": {"x-key": "very-secret-4"},
        "max_retries": 0,
        "temperature": 0.5,
    }
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {"agents": [{"agent_id": "a", "provider": "openAI", "client_options": options}]},
            "telemetry": collected.telemetry(content=True),
        }
    )
    with pytest.raises(Exception, match="Connection"):
        await run.process_stream({"messages": [HumanMessage("hi")]})

    told = " ".join(span.to_json() for span in collected.spans)
    assert "very-secret" not in told.replace("very-secret-2", "")  # the path of an address is none
    about = collected.named("chat gpt-x").attributes or {}
    assert about["gen_ai.provider.name"] == "openai"
    assert about["gen_ai.request.temperature"] == 0.5
    assert str(about["error.type"]).endswith("ConnectionError")
    assert collected.named("chat gpt-x").status.description


async def test_the_time_that_a_run_waited_for_a_worker_is_measured(collected: Collected) -> None:
    measured = collected.telemetry().measure(MeasuredExecution("r", "r", {"a": "a"}, queued_s=1.5))
    measured.end("completed", None)

    ((_, point),) = collected.points(names.QUEUE_DURATION)
    assert (point.count, point.sum) == (1, 1.5)
    assert (collected.named("invoke_workflow").attributes or {})["stategraph.run.queued"] == 1.5
