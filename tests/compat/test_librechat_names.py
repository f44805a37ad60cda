"""Every name of `@librechat/agents` 3.9.2 is here, or the document says why not; functions do what its do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import librechat_agents as agents
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from stategraph.errors import ConfigurationError
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import get_weather

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = (ROOT / "docs" / "librechat.md").read_text(encoding="utf-8")

#: The names that the package's main entry exports at run time, as `Object.keys` tells them.
EXPORTED = (HERE / "librechat_agents_3.9.2.txt").read_text(encoding="utf-8").split()
RECORDED: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "golden" / "vectors" / "librechat_helpers.json").read_text(encoding="utf-8")
)


def left_out() -> list[str]:
    """Return the names that the document lists as left out."""
    _, _, section = PAGE.partition("\n## Left out\n")
    lists = [part for part in section.split("\n\n") if part.startswith("`")]
    return [name for part in lists for name in re.findall(r"`(\w+)`", part)]


def test_each_exported_name_is_here_or_left_out_for_a_reason() -> None:
    assert len(EXPORTED) == len(set(EXPORTED)) == 579
    missing = {name for name in EXPORTED if not hasattr(agents, name)}
    listed = left_out()
    assert len(listed) == len(set(listed))
    assert missing - set(listed) == set(), "neither here nor in docs/librechat.md"
    assert set(listed) - missing == set(), "listed as left out, and here or no name of the package"


def test_each_list_of_names_has_its_reason_before_it() -> None:
    _, _, section = PAGE.partition("\n## Left out\n")
    parts = [part for part in section.strip().split("\n\n") if part]
    reasons, lists = parts[::2], parts[1::2]
    assert len(reasons) == len(lists)
    assert all(re.match(r"\*\*[^*]+\.\*\* \S", reason) for reason in reasons)


def test_names_that_the_page_says_are_there_are_there() -> None:
    section = PAGE.partition("\n## There\n")[2].partition("\n## Left out\n")[0]
    named = set(re.findall(r"`(\w+)`", "\n".join(line for line in section.splitlines() if line.startswith("|"))))
    assert named
    assert {name for name in named if not hasattr(agents, name)} == set()


def built(value: Any) -> Any:
    """Make messages of their recorded form."""
    if isinstance(value, list):
        return [built(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$human": content}:
            return HumanMessage(content)
        case {"$system": content}:
            return SystemMessage(content)
        case {"$ai": content}:
            return AIMessage(content, tool_calls=value.get("calls") or [], additional_kwargs=value.get("kwargs") or {})
        case {"$tool": content}:
            return ToolMessage(content, tool_call_id=value["id"], name=value["name"], artifact=value.get("artifact"))
        case {"$undefined": _}:
            return None
    return {key: built(each) for key, each in value.items()}


def shown(value: Any) -> Any:
    """Return a result in its recorded form; a field that is undefined is none."""
    if isinstance(value, BaseMessage):
        calls = [{key: call[key] for key in ("id", "name", "args")} for call in getattr(value, "tool_calls", ())]
        marks = {key: each for key, each in value.additional_kwargs.items() if key != "provenance"}
        fields = {
            "tool_calls": calls,
            "tool_call_id": getattr(value, "tool_call_id", None),
            "name": value.name,
            "additional_kwargs": marks,
        }
        told = {key: each for key, each in fields.items() if each}
        return {"type": value.type, "content": value.content, **told}
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {str(key): shown(each) for key, each in value.items() if each is not None}
    return value


@pytest.mark.vector
@pytest.mark.parametrize("number", range(len(RECORDED)), ids=lambda number: f"{RECORDED[number]['function']}-{number}")
def test_a_function_returns_what_the_original_was_recorded_to_return(number: int) -> None:
    row = RECORDED[number]
    given = [(lambda each: each % 2 == 0) if each == "$even" else each for each in built(row["args"])]
    result = getattr(agents, row["function"])(*given)
    if "called_with" in row:
        result = result(row["called_with"])
    assert shown(result) == shown(row["result"])


def test_every_function_that_could_be_recorded_is_compared() -> None:
    from librechat_agents import counting, formatting, hooks, tools, values

    pure = {name for module in (counting, formatting, hooks, tools, values) for name in module.__all__}
    pure = {name for name in pure if callable(getattr(agents, name))}
    elsewhere = {
        "TokenEncoderManager",
        "calculateTotalTokens",  # the vectors of `tests/agent/test_helpers.py`, as the next four
        "shouldTriggerSummarization",
        "truncateToolInput",
        "truncateToolResultContent",
        "formatAgentMessages",  # `tests/run/test_messages.py`
        "composeAbortSignals",
        "createSchemaOnlyTool",
        "createSchemaOnlyTools",
        "createTokenCounter",
        "encodingOfTokenCounter",
        "getAvailableMcpServers",
        "getContextOverflowInfo",
        "getTokenCountForMessage",
        "isContextOverflowError",
        "isLikelyContextOverflowError",
        "sleep",
    }
    assert pure - {row["function"] for row in RECORDED} == elsewhere


# What is no function of data alone.


@pytest.mark.anyio
async def test_the_program_of_the_page_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(program, scope)
    model = ScriptedChatModel(replies=[script.reply(script.call("get_weather", {"city": "Rome"})), "Fine."])
    agent = {"agentId": "a", "model": model, "tools": [get_weather]}
    sent: list[str] = []

    async def send(event: str, data: Any) -> None:
        sent.append(event)

    parts = await scope["answer"]([{"role": "user", "content": "How is Rome?"}], agent, "m1", send)
    assert [part["text"] for part in parts if part and part["type"] == "text"] == ["Fine."]
    assert "on_message_delta" in sent


@pytest.mark.anyio
async def test_a_policy_of_tools_decides_as_a_hook() -> None:
    hooks = agents.HookRegistry()
    policy = agents.createToolPolicyHook({"allow": ["get_*"], "mode": "dontAsk", "reason": "{tool} is not allowed"})
    hooks.register("PreToolUse", {"hooks": [policy]})
    calls = [script.call("get_weather", {"city": "Rome"}, id="c1"), script.call("other", {}, id="c2")]
    run = await agents.Run.create(
        {
            "runId": "r",
            "graphConfig": {
                "agents": [
                    {
                        "agentId": "a",
                        "model": ScriptedChatModel(replies=[script.reply(*calls), "So."]),
                        "tools": [get_weather],
                    }
                ]
            },
            "hooks": hooks,
        }
    )
    await run.processStream({"messages": [HumanMessage("hi")]})
    results = {each.tool_call_id: each.content for each in run.getRunMessages() if isinstance(each, ToolMessage)}
    assert results["c1"] == "Sunny in Rome"
    assert "other is not allowed" in results["c2"]


@pytest.mark.anyio
async def test_a_tool_without_a_function_is_the_hosts() -> None:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}}
    (made,) = agents.createSchemaOnlyTools([{"name": "look", "description": "Looks.", "parameters": parameters}])
    assert (made.name, made.description, made.args_schema) == ("look", "Looks.", parameters)
    with pytest.raises(RuntimeError, match="executed by the host"):
        await made.ainvoke({"q": "x"})


@pytest.mark.anyio
async def test_counters_and_their_encodings() -> None:
    counter = await agents.createTokenCounter()
    assert agents.encodingOfTokenCounter(counter) == "o200k_base"
    assert agents.encodingOfTokenCounter(len) is None
    assert agents.getTokenCountForMessage(HumanMessage("four"), len) > 4
    await agents.TokenEncoderManager.initialize()
    assert agents.TokenEncoderManager.isInitialized()
    await agents.sleep(0)


def test_signals_are_composed() -> None:
    first, second = agents.AbortController(), agents.AbortController()
    assert agents.composeAbortSignals(None, second.signal) is second.signal
    assert agents.composeAbortSignals(first.signal, first.signal) is first.signal
    both = agents.composeAbortSignals(first.signal, second.signal)
    assert both is not None
    assert not both.aborted
    second.abort("enough")
    assert both.aborted
    assert both.reason == "enough"


def test_a_refusal_as_too_long_is_recognised() -> None:
    told = ValueError("This model's maximum context length is 8192 tokens, however you requested 9000 tokens")
    assert agents.isContextOverflowError(told)
    info = agents.getContextOverflowInfo(told)
    assert info is not None
    assert info["limitTokens"] == 8192
    assert agents.getContextOverflowInfo(ValueError("no")) is None
    assert not agents.isLikelyContextOverflowError("no")


def test_metadata_of_answers_is_collected() -> None:
    made = agents.createMetadataAggregator()
    message = AIMessage("hi", response_metadata={"model_name": "m"})
    made.handleLLMEnd(LLMResult(generations=[[ChatGeneration(message=message)]]))
    made.handleLLMEnd(LLMResult(generations=[[]]))
    assert made.collected == [{"model_name": "m"}]


def test_servers_of_deferred_tools() -> None:
    registry = {
        name: {"name": name, "defer_loading": deferred}
        for name, deferred in (("get_mcp_files", True), ("put_mcp_mail", False), ("plain", True))
    }
    assert agents.getAvailableMcpServers(registry) == ["files"]
    assert agents.getAvailableMcpServers(registry, False) == ["files", "mail"]
    assert agents.getAvailableMcpServers(None) == []


def test_labels_are_added_and_known_again() -> None:
    made = agents.withIntent({"type": "object", "properties": {"q": {"type": "string"}}})
    assert list(made["properties"]) == ["intent", "q"]
    assert agents.isIntentLabelProperty(made["properties"]["intent"])
    assert agents.withoutIntent(made) == {"type": "object", "properties": {"q": {"type": "string"}}}
    assert agents.withoutIntent(None) is None


def test_questions_about_messages() -> None:
    assert agents.isAIMessage(AIMessage("x"))
    assert not agents.isToolMessage(AIMessage("x"))
    assert agents.isToolMessage(ToolMessage("x", tool_call_id="c"))
    assert agents.isBaseMessage(HumanMessage("x"))
    assert agents.isInterrupted({"__interrupt__": []})
    assert not agents.isInterrupted({})
    removed = agents.messagesStateReducer([HumanMessage("a")], [agents.createRemoveAllMessage(), HumanMessage("b")])
    assert [message.content for message in removed] == ["b"]
    assert isinstance(agents.createRemoveAllMessage(), RemoveMessage)


def test_models_are_made_by_the_names_of_their_providers() -> None:
    pytest.importorskip("langchain_openai")
    make = agents.getChatModelClass(agents.Providers.OPENAI)
    assert make({"modelName": "gpt-5-mini", "apiKey": "sk-test"}).model_name == "gpt-5-mini"
    with pytest.raises(ConfigurationError, match="the provider 'nobody' is not known"):
        agents.getChatModelClass("nobody")({})
    given = {"provider": "openAI", "clientOptions": {"model": "gpt-5-mini", "apiKey": "sk-test"}}
    assert agents.initializeModel(given).model_name == "gpt-5-mini"
    bound = agents.initializeModel({"overrideModel": make({"model": "m", "apiKey": "k"}), "tools": [get_weather]})
    assert [each["function"]["name"] for each in bound.kwargs["tools"]] == ["get_weather"]
    keys = [agents.getMaxOutputTokensKey(each) for each in ("google", agents.Providers.VERTEXAI, "openAI")]
    assert keys == ["maxOutputTokens", "maxOutputTokens", "maxTokens"]
