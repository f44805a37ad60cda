"""Agents and edges as hosts describe them."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from langchain_core.tools import tool
from pydantic import ValidationError

from stategraph.agent.messages.compaction import ContextPruning
from stategraph.agent.settings import inputs, validation
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge, Providers
from stategraph.agent.settings.usage import SummaryTrigger
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.testing import ScriptedChatModel


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def refused(given: Any, kind: Any = AgentInputs) -> list[str]:
    """What is said about settings that make no sense."""
    with pytest.raises(ConfigurationError) as raised:
        kind.of(given)
    assert raised.value.__context__ is None, "a chained error would show values that may be secret"
    return str(raised.value).split("\n")


def test_both_spellings_describe_the_same_agent() -> None:
    wire = {
        "agentId": "a",
        "provider": Providers.OPENAI,
        "clientOptions": {"model": "m"},
        "additional_instructions": "Tail.",
        "toolDefinitions": [{"name": "t", "responseFormat": "content"}],
        "summarizationConfig": {"trigger": {"type": "token_ratio", "value": 0.6}, "retainRecent": {"turns": 1}},
        "initialSummary": {"text": "Before.", "tokenCount": 3},
    }
    python = {
        "agent_id": "a",
        "provider": "openAI",
        "client_options": {"model": "m"},
        "additionalInstructions": "Tail.",
        "tool_definitions": [{"name": "t", "response_format": "content"}],
        "summarization_config": {"trigger": SummaryTrigger("token_ratio", 0.6), "retain_recent": {"turns": 1}},
        "initial_summary": {"text": "Before.", "token_count": 3},
    }
    assert AgentInputs.of(wire) == AgentInputs.of(python)
    assert AgentInputs.of(wire).summarization_config.trigger == SummaryTrigger("token_ratio", 0.6)


def test_an_agent_that_is_one_already_is_taken_as_it_is() -> None:
    agent = AgentInputs(agent_id="a", model="openai:m")
    assert AgentInputs.of(agent) is agent


def test_a_model_and_tools_are_kept_as_the_objects_they_are() -> None:
    model = ScriptedChatModel(replies=["hi"])
    built_in = {"type": "web_search"}
    agent = AgentInputs.of({"agentId": "a", "model": model, "tools": [add, len, built_in]})
    assert agent.model is model
    assert agent.tools == (add, len, built_in)


def test_none_is_the_same_as_not_given() -> None:
    given = {"agentId": "a", "model": "openai:m", "tools": None, "maxContextTokens": None, "toolEnd": None}
    assert AgentInputs.of(given) == AgentInputs(agent_id="a", model="openai:m")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "agent 'a' has no model; give one as 'model', or a 'provider' with its client options"),
        (
            {"model": "openai:m", "provider": "openAI"},
            "agent 'a' has both a model and a provider; give either the model, or provider and options",
        ),
        (
            {"model": ScriptedChatModel(script=["hi"]), "clientOptions": {"temperature": 0}},
            (
                "agent 'a' has both a ready model and client options; give the options to the"
                " model, or name the model as 'provider:model'"
            ),
        ),
        ({"model": "gpt"}, "agent 'a' has the model 'gpt'; expected the form 'provider:model'"),
        ({"model": ":gpt"}, "agent 'a' has the model ':gpt'; expected the form 'provider:model'"),
    ],
)
def test_there_is_exactly_one_way_to_a_model(given: dict[str, Any], said: str) -> None:
    assert refused({"agentId": "a", **given}) == [said]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agentId": "a", "maxContextTokns": 5}, "'maxContextTokns' is not a field of AgentInputs; did you mean"),
        ({"agentId": "a", "max_context_tokns": 5}, "did you mean 'max_context_tokens'?"),
        ({"agentId": "a", "maxContextTokns": 5}, "did you mean 'maxContextTokens'?"),
        ({"maxContextTokens": 5}, "'agentId' is missing from AgentInputs"),
        ({"max_context_tokens": 5}, "'agent_id' is missing from AgentInputs"),
        ({"agentId": ""}, "'agentId' is empty, expected at least 1 character"),
        ({"agentId": "a", "maxContextTokens": "many"}, "'maxContextTokens' is 'many', expected a whole number"),
        ({"agentId": "a", "maxContextTokens": 0}, "'maxContextTokens' is 0, expected greater than 0"),
        ({"agentId": "a", "reasoningKey": "x"}, "'reasoningKey' is 'x', expected 'reasoning_content' or 'reasoning'"),
        ({"agentId": "a", "model": 5}, "'model' is 5, expected an instance of BaseChatModel or a text"),
        ({"agentId": "a", "tools": "add"}, "'tools' is 'add', expected a list"),
        ({"agentId": "a", "tools": [add, 3]}, "'tools[1]': a value of type int is no tool; expected a LangChain tool,"),
        (
            {"agentId": "a", "toolDefinitions": [{"name": "t", "paramters": {}}]},
            "'toolDefinitions[0].paramters' is not a field of ToolDefinition; did you mean 'parameters'?",
        ),
        ({"agentId": "a", "toolRegistry": {"t": {}}}, "'toolRegistry.t.name' is missing from ToolDefinition"),
        ({"agentId": "a", "toolRegistry": {"t": 7}}, "'toolRegistry.t' is 7, expected a mapping"),
        (
            {"agentId": "a", "initialSummary": {"text": "t", "zzz": 1, "tokenCount": 1}},
            "'initialSummary.zzz' is not a field of InitialSummary; known are text, tokenCount",
        ),
        (
            {"agentId": "a", "summarizationConfig": {"trigger": {"type": "t", "value": 1, "when": 2}}},
            "'summarizationConfig.trigger.when' is not known there",
        ),
        (
            {"agentId": "a", "agent_id": "a", "model": "p:m"},
            "'agent_id' is given in both spellings (as 'agentId' too); give it once",
        ),
        (
            {"agentId": "a", "tools": add},
            "'tools': a value of type StructuredTool is one tool; expected a list of tools",
        ),
        (
            {"agentId": "a", "maxContextTokens": True},
            "'maxContextTokens' is True, expected a whole number",
        ),
        (
            {"agentId": "a", "model": "p:m", "tools": [add], "toolDefinitions": [{"name": "t"}]},
            "agent 'a' has 'tools' (add) and 'tool_definitions', whose tools the host executes; give those that run",
        ),
        (5, "AgentInputs is a value of type int, expected a mapping"),
        (None, "AgentInputs is None, expected a mapping"),
    ],
)
def test_a_problem_is_told_in_a_sentence_in_the_callers_spelling(given: Any, said: str) -> None:
    assert any(said in line for line in refused(given))


def test_every_problem_has_a_line_of_its_own() -> None:
    assert len(refused({"agentId": 1, "tools": 2, "nonsense": 3})) == 3


def test_what_may_be_secret_is_not_shown() -> None:
    agent = AgentInputs.of({"agentId": "a", "provider": "openAI", "clientOptions": {"apiKey": "sk-secret"}})
    assert "sk-secret" not in repr(agent)
    for given in ({"clientOptions": "sk-secret"}, {"apiKey": "sk-secret"}, {"clientOptions": ["sk-secret"]}):
        assert "sk-secret" not in "\n".join(refused({"agentId": "a", "provider": "openAI", **given}))
        with pytest.raises(ValidationError) as raised:
            AgentInputs.model_validate({"agentId": "a", "provider": "openAI", **given})
        assert "sk-secret" not in str(raised.value)


def test_context_pruning_is_off_unless_enabled() -> None:
    assert inputs.ContextPruningConfig().pruning() is None
    assert inputs.ContextPruningConfig(enabled=True).pruning() == ContextPruning()


def test_context_pruning_is_taken_over_field_by_field() -> None:
    given = {
        "enabled": True,
        "keepLastAssistants": 1,
        "minPrunableToolChars": 1000,
        "softTrimRatio": 0.1,
        "hardClearRatio": 0.2,
        "softTrim": {"maxChars": 800, "headChars": 200, "tailChars": 100},
        "hardClear": {"placeholder": "gone"},
    }
    agent = AgentInputs.of({"agentId": "a", "model": "openai:m", "contextPruningConfig": given})
    assert agent.context_pruning_config.pruning() == ContextPruning(1, 1000, 0.1, 0.2, 800, 200, 100, "gone")


def test_results_are_never_replaced_when_that_is_off() -> None:
    pruning = inputs.ContextPruningConfig(enabled=True, hard_clear=inputs.HardClear(enabled=False)).pruning()
    assert pruning is not None
    assert pruning.hard_age == math.inf


@pytest.mark.parametrize(
    ("edge", "direct"),
    [
        ({"from": "a", "to": "b"}, False),
        ({"from": "a", "to": ["b", "c"]}, True),
        ({"from": ["a"], "to": ["b", "c"]}, True),
        ({"from": ["a", "b"], "to": ["c", "d"]}, False),
        ({"from": "a", "to": ["b", "c"], "condition": lambda state: "b"}, False),
        ({"from": "a", "to": ["b", "c"], "edgeType": "handoff"}, False),
        ({"from_": "a", "to": "b", "edge_type": "direct"}, True),
    ],
)
def test_an_edge_is_direct_by_its_type_or_its_shape(edge: dict[str, Any], direct: bool) -> None:
    assert GraphEdge.of(edge).direct is direct


def test_the_ends_of_an_edge_are_lists_however_they_were_given() -> None:
    edge = GraphEdge(from_="a", to=["b"])
    assert (edge.from_, edge.to) == (("a",), ("b",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"from": "a"}, "'to' is missing from GraphEdge"),
        ({"to": "b"}, "'from' is missing from GraphEdge"),
        ({"from": "a", "to": []}, "'to' is empty, expected at least one"),
        ({"from": "a", "to": "b", "edgeType": "maybe"}, "'edgeType' is 'maybe', expected 'handoff' or 'direct'"),
        ({"from": "a", "to": "b", "prompt": 4}, "'prompt': a value of type int is no prompt; expected a text or a"),
        ({"from": "a", "to": "b", "prompt": len}, "the handoff from a to b has a function as its prompt; only direct"),
        ({"from": "a", "to": ["b", 4]}, "'to[1]' is 4, expected a text"),
    ],
)
def test_a_bad_edge_is_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    assert any(said in line for line in refused(given, GraphEdge))


def test_other_settings_are_checked_the_same_way() -> None:
    class Mine(validation.Settings):
        how_many: int

    assert validation.checked(Mine, {"howMany": 3}).how_many == 3
    with pytest.raises(ConfigurationError, match="'howMny' is not a field of Mine; did you mean 'howMany'"):
        validation.checked(Mine, {"howMany": 3, "howMny": 4})


def test_a_missing_package_is_an_import_error_that_says_what_to_install() -> None:
    error = pickle.loads(pickle.dumps(MissingPackageError("langchain-foo", "The provider 'foo'")))
    assert isinstance(error, ImportError)
    assert error.package == "langchain-foo"
    assert str(error) == (
        "The provider 'foo' needs the package 'langchain-foo', which is not installed: pip install langchain-foo"
    )


@pytest.mark.parametrize(
    ("where", "lowest", "highest"),
    [
        (("maxContextTokens",), 1, None),
        (("maxToolResultChars",), 1, None),
        (("toolSchemaTokens",), 0, None),
        (("summarizationConfig", "maxSummaryTokens"), 1, None),
        (("summarizationConfig", "reserveRatio"), 0, 1),
        (("summarizationConfig", "retainRecent", "turns"), 0, None),
        (("summarizationConfig", "retainRecent", "tokens"), 1, None),
        (("contextPruningConfig", "keepLastAssistants"), 0, None),
        (("contextPruningConfig", "minPrunableToolChars"), 0, None),
        (("contextPruningConfig", "softTrimRatio"), 0, 1),
        (("contextPruningConfig", "hardClearRatio"), 0, 1),
        (("contextPruningConfig", "softTrim", "maxChars"), 1, None),
        (("contextPruningConfig", "softTrim", "headChars"), 0, None),
        (("contextPruningConfig", "softTrim", "tailChars"), 0, None),
    ],
)
def test_numbers_have_their_limits_and_may_reach_them(where: tuple[str, ...], lowest: int, highest: int | None) -> None:
    def agent(number: float) -> dict[str, Any]:
        given: Any = number
        for key in reversed(where):
            given = {key: given}
        return {"agentId": "a", "model": "openai:m", **given}

    assert AgentInputs.of(agent(lowest))
    (line,) = refused(agent(lowest - 1))
    assert line.startswith(f"'{'.'.join(where)}' is {lowest - 1}, expected greater than ")
    if highest is not None:
        assert AgentInputs.of(agent(highest))
        (line,) = refused(agent(highest + 0.01))
        assert line.endswith(f"is {highest + 0.01}, expected less than or equal to {highest}")


@pytest.mark.parametrize(
    ("kind", "given", "where"),
    [
        (AgentInputs, {"agentId": "", "model": "openai:m"}, "agentId"),
        (AgentInputs, {"agentId": "a", "provider": ""}, "provider"),
        (
            AgentInputs,
            {"agentId": "a", "model": "openai:m", "toolDefinitions": [{"name": ""}]},
            "toolDefinitions[0].name",
        ),
        (GraphEdge, {"from": [""], "to": "b"}, "from[0]"),
        (GraphEdge, {"from": "a", "to": ["b", ""]}, "to[1]"),
        (GraphEdge, {"from": [], "to": "b"}, "from"),
        (GraphEdge, {"from": "a", "to": "b", "promptKey": ""}, "promptKey"),
    ],
)
def test_names_are_not_empty_and_may_be_one_letter(kind: Any, given: dict[str, Any], where: str) -> None:
    assert any(line.startswith(f"'{where}' is empty, expected at least ") for line in refused(given, kind))


def test_an_agent_of_which_little_is_said_has_the_usual_settings() -> None:
    agent = AgentInputs.of({"agentId": "a", "model": "p:m", "toolDefinitions": [{"name": "t"}]})
    assert agent.label == "a"
    assert AgentInputs.of({"agentId": "a", "model": "p:m", "name": "Ada"}).label == "Ada"
    assert not (agent.use_legacy_content or agent.tool_end or agent.summarization_enabled)
    assert (agent.client_options, agent.tool_map, agent.tool_policies, agent.tool_registry) == ({}, {}, {}, {})
    assert (agent.tools, agent.graph_tools, agent.discovered_tools) == ((), (), ())
    (definition,) = agent.tool_definitions
    assert not definition.defer_loading
    assert definition.allowed_callers is None
    config = agent.summarization_config
    assert (config.reserve_ratio, config.parameters) == (0.05, {})
    assert (config.retain_recent.turns, config.retain_recent.tokens) == (2, None)
    with pytest.raises(ValidationError, match="frozen"):
        agent.agent_id = "b"


def test_values_are_refused_in_the_sentences_of_mappings_and_lists_of_any_kind_are_taken() -> None:
    with pytest.raises(ConfigurationError, match="'modell' is not a field of AgentInputs; did you mean 'model'"):
        AgentInputs(agent_id="a", modell="openai:m")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="'tools' is 5, expected a list"):
        AgentInputs(agent_id="a", model="openai:m", tools=5)  # type: ignore[arg-type]
    nested = {"agent_id": "a", "model": "openai:m", "tool_definitions": [{"name": ""}]}
    with pytest.raises(ConfigurationError, match=r"'tool_definitions\[0\].name' is empty"):
        AgentInputs(**nested)  # type: ignore[arg-type]


def test_an_edge_is_the_same_as_a_value_and_from_the_wire() -> None:
    assert GraphEdge(from_="a", to=["b", "c"]) == GraphEdge.of({"from": "a", "to": ["b", "c"]})
    assert GraphEdge(from_=["a"], to="b").from_ == ("a",)
