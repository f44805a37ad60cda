"""Typed output in a run: what the host sees of it, and together with tools, handoffs, pauses and other models."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from stategraph.agent.output.errors import OutputError
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from stategraph.run.history.stored_messages import format_agent_messages
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.questions import ask_user_question
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.openai_server import FakeOpenAIServer
from tests.run.hosting import THREAD, Host, ask, calls, get_weather, requests_of, run_of


class Invoice(BaseModel):
    """An invoice."""

    total: float
    items: list[str] = []


@dataclasses.dataclass
class Refusal:
    """Why there is no invoice."""

    reason: str


class Note(TypedDict):
    text: str


GOOD = {"total": 3, "items": ["tea"]}
INVOICE = Invoice(total=3, items=["tea"])


def final(args: Any = GOOD, name: str = "final_answer", id: str = "call_f") -> script.Reply:
    return script.reply(script.call(name, args, id=id))


def typed(*replies: Any, output_type: Any = Invoice, host: Host | None = None, **agent: Any) -> Run:
    config = {key: agent.pop(key) for key in ("compile_options", "human_in_the_loop") if key in agent}
    return asyncio.run(run_of(*replies, host=host, agent={"output_type": output_type, **agent}, **config))


def play(run: Run, text: str = "go", config: Mapping[str, object] | None = None) -> Any:
    return asyncio.run(run.process_stream(ask(text), config))


def told(host: Host, event: str) -> list[Any]:
    return [data for name, data in host.rows if name == event]


# What a host sees.


def test_an_output_is_an_event_a_part_and_a_value_of_its_type() -> None:
    host = Host()
    run = typed(final(), host=host)
    parts = play(run)
    assert run.output == INVOICE
    assert run.outputs == {"a": INVOICE}
    (given,) = told(host, "on_output")
    assert (given["type"], given["value"], given["agentId"]) == ("Invoice", {"total": 3.0, "items": ["tea"]}, "a")
    call, output = parts[-2:]
    assert call["tool_call"]["args"] == GOOD
    assert output == {"type": "output", "output": {"type": "Invoice", "value": GOOD}}
    assert host.content.content_parts[given["index"]] == {
        "type": "output",
        "output": {"type": "Invoice", "value": {"total": 3.0, "items": ["tea"]}},
    }
    opened = [data["id"] for data in told(host, "on_run_step")]
    assert opened == [data["id"] for data in sorted(told(host, "on_run_step_closed"), key=lambda each: each["index"])]
    assert given["id"] == opened[-1]


def test_the_value_in_events_has_its_defaults() -> None:
    host = Host()
    run = typed(final({"total": 1}), host=host)
    play(run)
    assert told(host, "on_output")[0]["value"] == {"total": 1.0, "items": []}


def test_partial_outputs_come_while_the_answer_is_written() -> None:
    host = Host()
    run = typed('{"total": 3, "items": ["tea", "milk"]}', host=host, output_mode="native")
    seen: list[Any] = []
    run.handler_registry.register("on_output_delta", lambda *_: seen.append(run.partial_output))
    play(run)
    assert seen[-1] == {"total": 3, "items": ["tea", "milk"]}
    assert {"total": 3, "items": ["tea", ""]} in seen or {"total": 3, "items": ["tea"]} in seen
    assert run.partial_output is None


def test_partial_outputs_of_a_tool_say_which_member_they_are_of() -> None:
    host = Host()
    run = typed(final({"reason": "no order"}, "final_answer_Refusal"), host=host, output_type=Invoice | Refusal)
    play(run)
    assert run.output == Refusal("no order")
    deltas = told(host, "on_output_delta")
    assert {each["type"] for each in deltas} == {"Refusal"}
    assert deltas[-1]["value"] == {"reason": "no order"}


def test_a_long_output_is_not_read_again_with_each_piece() -> None:
    host = Host()
    words = [f"word {number}" for number in range(3_000)]
    text = '{"text": "' + " ".join(words) + '"}'
    run = typed(text, output_type=Note, host=host, output_mode="native")
    play(run)
    pieces = len(told(host, "on_message_delta"))
    assert run.output == {"text": " ".join(words)}
    assert len(told(host, "on_output_delta")) < pieces / 4
    assert pieces > 5_000


def test_a_refused_answer_is_told_to_host_and_model() -> None:
    host = Host()
    run = typed(final({"total": "much"}), final(), host=host)
    play(run)
    assert run.output == INVOICE
    (refused,) = told(host, "on_output_refused")
    assert refused["problems"] == [
        "total: Input should be a valid number, unable to parse string as a number, found 'much'"
    ]
    _, second = requests_of(run)
    result = second.messages[-1]
    assert isinstance(result, ToolMessage)
    assert result.status == "error"
    assert "total: Input should be a valid number" in str(result.content)


def test_words_in_place_of_the_tool_are_refused_with_a_message() -> None:
    run = typed("Three, I think.", final())
    play(run)
    assert run.output == INVOICE
    said = requests_of(run)[1].messages[-1]
    assert isinstance(said, HumanMessage)
    assert "calling final_answer" in str(said.content)
    assert [type(each).__name__ for each in run.get_run_messages()] == [
        *("AIMessage", "HumanMessage", "AIMessage", "ToolMessage")
    ]


def test_json_in_words_counts_also_where_a_tool_was_asked_for() -> None:
    run = typed('```json\n{"total": 3, "items": ["tea"]}\n```')
    play(run)
    assert run.output == INVOICE


def test_the_error_has_the_answer_and_what_was_wrong() -> None:
    run = typed(*[final({"total": "much"})] * 3, output_retries=1)
    with pytest.raises(OutputError, match="Agent 'a' gave no output of the type Invoice: 2 answers were") as caught:
        play(run)
    error = caught.value
    assert error.answer is not None
    assert error.answer.tool_calls[0]["args"] == {"total": "much"}
    assert (error.agent_id, error.tries, len(error.problems)) == ("a", 2, 1)
    assert run.output is None
    assert len(requests_of(run)) == 2


def test_without_retries_the_first_answer_counts() -> None:
    run = typed(final({"total": "much"}), final(), output_retries=0)
    with pytest.raises(OutputError, match="the answer was not valid"):
        play(run)


def test_without_an_output_type_there_is_no_output() -> None:
    host = Host()
    run = asyncio.run(run_of('{"total": 3}', host=host))
    play(run)
    assert run.output is None
    assert run.outputs == {}
    assert not [event for event, _ in host.rows if event.startswith("on_output")]
    assert "output=a" not in run.graph.compiled.get_graph(xray=True).nodes


@pytest.mark.parametrize(("bad", "mode"), [(final({"total": "x"}), "tool"), ("no", "prompt")])
def test_a_limit_of_calls_holds_for_tries_and_the_turn_ends_without_an_output(bad: Any, mode: str) -> None:
    model = ScriptedChatModel(replies=[bad, bad, final()])
    agent = {"agent_id": "a", "model": model, "output_type": Invoice, "output_mode": mode, "output_retries": 5}
    config = {"run_id": "r", "graph_config": {"agents": [agent]}, "limits": {"model_calls": 2}}
    run = asyncio.run(Run.create(config))
    play(run)
    assert run.get_halt_reason()
    assert run.output is None
    assert len(model.requests) == 2


def test_a_person_may_be_asked_between_two_tries() -> None:
    settings: dict[str, Any] = {"compile_options": {"checkpointer": in_memory_saver()}}

    def limited(*replies: Any) -> Run:
        agent = {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies)), "output_type": Invoice}
        graph = {"agents": [agent], **settings}
        limits = {"model_calls": 1, "on_limit": "ask"}
        return asyncio.run(Run.create({"run_id": "r", "graph_config": graph, "limits": limits}))

    first = limited(final({"total": "x"}))
    play(first, config=THREAD)
    (asked,) = first.get_interrupts()
    second = limited(final())
    assert isinstance(asked.payload, Mapping)
    asyncio.run(second.resume({"type": "raise", "to": 3}, THREAD))
    assert second.output == INVOICE


def test_an_answer_that_hooks_hold_back_is_no_partial_output_before_they_approve_it() -> None:
    host = Host()
    hooks = HookRegistry()

    def review(happened: Mapping[str, Any]) -> dict[str, Any]:
        assert not told(host, "on_output_delta")
        return {"updatedOutput": '{"total": 4}'}

    hooks.register("AfterModel", review)
    agent = {"output_type": Invoice, "output_mode": "native"}
    run = asyncio.run(run_of('{"total": 3}', host=host, agent=agent, hooks=hooks))
    play(run)
    assert run.output == Invoice(total=4)
    assert told(host, "on_output_delta")[-1]["value"] == {"total": 4}


# With tools.


def test_tools_run_before_the_output() -> None:
    run = typed(calls(("get_weather", {"city": "Rome"})), final(), tools=[get_weather])
    play(run)
    assert run.output == INVOICE
    assert [each.tools for each in requests_of(run)] == [("get_weather", "final_answer")] * 2


def test_calls_beside_the_output_run_and_the_turn_ends() -> None:
    run = typed(calls(("final_answer", GOOD), ("get_weather", {"city": "Rome"})), tools=[get_weather])
    play(run)
    assert run.output == INVOICE
    assert [each.content for each in run.get_run_messages()[1:]] == ["The answer was accepted.", "Sunny in Rome"]
    assert len(requests_of(run)) == 1


def test_calls_beside_a_refused_output_run_and_the_model_goes_on() -> None:
    run = typed(calls(("final_answer", {}), ("get_weather", {"city": "Rome"})), final(), tools=[get_weather])
    play(run)
    assert run.output == INVOICE
    refused, weather = requests_of(run)[1].messages[-2:]
    assert "total: Field required" in refused.content
    assert weather.content == "Sunny in Rome"


def test_broken_calls_beside_a_valid_output_are_told_why_they_did_not_run() -> None:
    run = typed(calls(("final_answer", GOOD), ("get_weather", '{"city": ')), tools=[get_weather])  # type: ignore[arg-type]
    play(run)
    assert run.output == INVOICE
    broken = run.get_run_messages()[-1]
    assert isinstance(broken, ToolMessage)
    assert broken.status == "error"
    assert "The arguments" in str(broken.content)


def test_of_several_outputs_the_first_that_fits_counts() -> None:
    run = typed(calls(("final_answer", {"total": "x"}), ("final_answer", GOOD), ("final_answer", {"total": 9})))
    play(run)
    assert run.output == INVOICE
    results = [each for each in run.get_run_messages() if isinstance(each, ToolMessage)]
    assert [each.status for each in results] == ["error", "success", "success"]
    assert "Not used" in str(results[2].content)


def test_one_that_fits_makes_up_for_the_others_of_its_answer() -> None:
    run = typed(calls(("final_answer", {"total": "x"}), ("final_answer", GOOD)), output_retries=0)
    play(run)
    assert run.output == INVOICE


# Ways to ask.


def options(run: Run) -> Mapping[str, Any]:
    return dict(requests_of(run)[0].options)


def test_by_itself_a_model_is_asked_by_a_tool_that_it_has_to_call() -> None:
    run = typed(final())
    play(run)
    assert options(run)["tool_choice"] == "any"


def test_a_model_with_a_mode_of_its_provider_is_asked_by_that() -> None:
    model = ScriptedChatModel(replies=['{"total": 1}'], profile={"structured_output": True})
    run = typed(model=model)
    play(run)
    assert options(run)["response_format"]["json_schema"]["name"] == "Invoice"
    assert run.output == Invoice(total=1)


def test_with_tools_it_is_asked_by_a_tool() -> None:
    model = ScriptedChatModel(replies=[final()], profile={"structured_output": True})
    run = typed(model=model, tools=[get_weather])
    play(run)
    assert requests_of(run)[0].tools == ("get_weather", "final_answer")
    assert "response_format" not in options(run)


def test_a_model_that_cannot_call_tools_is_asked_by_its_instructions() -> None:
    model = ScriptedChatModel(replies=['{"total": 1}'], profile={"tool_calling": False})
    run = typed(model=model, instructions="Be brief.")
    play(run)
    system = requests_of(run)[0].messages[0].content
    assert system.startswith("Be brief.\n\n")
    assert '"total"' in system
    assert run.output == Invoice(total=1)


def test_a_model_that_cannot_be_made_to_call_one_is_not() -> None:
    model = ScriptedChatModel(replies=[final()], profile={"tool_choice": False})
    run = typed(model=model)
    play(run)
    assert "tool_choice" not in options(run)


def test_a_schema_is_strict_where_that_shuts_out_nothing() -> None:
    class Whole(BaseModel):
        a: int

    run = typed('{"a": 1}', output_type=Whole, output_mode="native")
    play(run)
    described = options(run)["response_format"]["json_schema"]
    assert described["strict"] is True
    assert described["schema"]["additionalProperties"] is False
    run = typed('{"total": 1}', output_mode="native")
    play(run)
    assert "strict" not in options(run)["response_format"]["json_schema"]


def test_words_are_an_output_where_text_is_a_member() -> None:
    run = typed("Nothing was ordered.", output_type=Invoice | str)
    play(run)
    assert run.output == "Nothing was ordered."
    assert "tool_choice" not in options(run)
    run = typed(final(GOOD, "final_answer_Invoice"), output_type=Invoice | str)
    play(run)
    assert run.output == INVOICE


def test_where_json_is_asked_for_broken_json_is_no_text() -> None:
    run = typed(
        '{"kind": "Invoice", "value": {"total": "x"}}', '"fine"', output_type=Invoice | str, output_mode="native"
    )
    play(run)
    assert len(requests_of(run)) == 2
    assert run.output == "fine"


def test_text_alone_asks_for_nothing() -> None:
    run = typed("Hello.", output_type=str)
    play(run)
    assert run.output == "Hello."
    assert options(run) == {}


def test_a_server_is_sent_the_schema_and_its_stream_is_read() -> None:
    host = Host()
    with FakeOpenAIServer() as server:
        server.script("gpt-5-mini", ['{"total": 3, "items": ["tea"]}'] * 2)
        client = {"base_url": server.base_url, "api_key": "sk-none-here"}
        run = typed(host=host, model="openai:gpt-5-mini", client_options=client)
        play(run)
        assert run.output == INVOICE
        result = run.graph.compiled.invoke({"messages": [("user", "go")]})
        assert run.graph.get_output(result["messages"]) == INVOICE
        bodies = [each.body for each in server.requests]
    assert [each["response_format"]["json_schema"]["name"] for each in bodies] == ["Invoice", "Invoice"]
    assert told(host, "on_output_delta")


def test_fallbacks_may_be_asked_in_another_way() -> None:
    native = {"structured_output": True}
    failing = ScriptedChatModel(replies=[script.Failure(500)], profile=native, model_name="first")
    second = ScriptedChatModel(replies=[final()], model_name="second")

    class Two:
        def resolve(self, provider: str, client_options: Any = None, reasoning_key: str | None = None) -> Any:
            return failing if provider == "one" else second

        def __len__(self) -> int:
            return 2

    agent = {
        "agent_id": "a",
        "provider": "one",
        "client_options": {"fallbacks": [{"provider": "two"}]},
        "output_type": Invoice,
    }
    run = asyncio.run(Run.create({"run_id": "r", "graph_config": {"agents": [agent]}}, models=Two()))
    play(run)
    assert run.output == INVOICE
    assert "response_format" in failing.requests[0].options
    assert second.requests[0].options["tool_choice"] == "any"
    # Both are offered the tool, as a history with its calls is refused by some where there is none.
    assert failing.requests[0].tools == second.requests[0].tools == ("final_answer",)


# Several agents.


def handing_over(*first: Any, second: Any, output_type: Any = Note, host: Host | None = None) -> Run:
    agents = [
        {"agent_id": "sales", "model": ScriptedChatModel(replies=list(first)), "output_type": Invoice},
        {"agent_id": "support", "model": ScriptedChatModel(replies=[second]), "output_type": output_type},
    ]
    graph = {"type": "multi-agent", "agents": agents, "edges": [{"from": "sales", "to": "support"}]}
    handlers = {} if host is None else host.handlers()
    return asyncio.run(Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": handlers}))


TRANSFER = ("lc_transfer_to_support", {})


def test_the_agent_that_ends_the_turn_gives_the_output() -> None:
    run = handing_over(calls(TRANSFER), second=final({"text": "hi"}))
    play(run)
    assert run.output == {"text": "hi"}
    assert run.outputs == {"support": {"text": "hi"}}
    run = handing_over(final(), second="unused")
    play(run)
    assert run.output == INVOICE
    run = handing_over(calls(TRANSFER), second="Hello.", output_type=None)
    play(run)
    assert run.output is None


def test_an_output_beside_a_handoff_is_not_used() -> None:
    run = handing_over(calls(("final_answer", GOOD), TRANSFER), second=final({"text": "hi"}))
    play(run)
    assert run.outputs == {"support": {"text": "hi"}}
    results = [each.content for each in run.get_run_messages() if isinstance(each, ToolMessage)]
    assert "being handed over" in results[0]


def test_agents_in_a_row_each_give_theirs() -> None:
    host = Host()
    agents = [
        {"agent_id": "one", "model": ScriptedChatModel(replies=[final()]), "output_type": Invoice},
        {"agent_id": "two", "model": ScriptedChatModel(replies=[final({"text": "hi"})]), "output_type": Note},
    ]
    edges = [{"from": "one", "to": "two", "edge_type": "direct"}]
    graph = {"type": "multi-agent", "agents": agents, "edges": edges}
    run = asyncio.run(Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": host.handlers()}))
    play(run)
    assert run.outputs == {"one": INVOICE, "two": {"text": "hi"}}
    assert run.output == {"text": "hi"}
    parts = [each for each in host.content.content_parts if each is not None and each["type"] == "output"]
    assert [(each["agentId"], each["output"]["type"]) for each in parts] == [("one", "Invoice"), ("two", "Note")]


@pytest.mark.parametrize(
    ("replies", "mode"),
    [([final({"total": "x"}), "no", final()], "tool"), (['{"total": "x"}', str(GOOD).replace("'", '"')], "native")],
)
def test_a_direct_edge_tells_the_output_and_not_the_tries(replies: list[Any], mode: str) -> None:
    second = ScriptedChatModel(replies=["Thanks."])
    agents = [
        {
            "agent_id": "one",
            "model": ScriptedChatModel(replies=replies),
            "output_type": Invoice,
            "output_mode": mode,
        },
        {"agent_id": "two", "model": second},
    ]
    edges = [{"from": "one", "to": "two", "edge_type": "direct", "prompt": "So far:\n{results}"}]
    graph = {"type": "multi-agent", "agents": agents, "edges": edges}
    run = asyncio.run(Run.create({"run_id": "r", "graph_config": graph}))
    play(run)
    told_second = str(second.requests[0].messages[-1].content)
    assert run.outputs == {"one": INVOICE}
    assert run.output is None
    assert told_second.replace(" ", "").replace('"', "") == "Sofar:\nAI:{total:3,items:[tea]}"


def test_other_agents_are_told_an_output_as_text_and_not_how_it_came() -> None:
    second = ScriptedChatModel(replies=[final({"text": "hi"})])
    first = [
        final({"total": "x"}),
        calls(("final_answer", GOOD), ("get_weather", {"city": "Rome"}), ("final_answer", {"total": 1})),
    ]
    one = {"agent_id": "one", "model": ScriptedChatModel(replies=first), "output_type": Invoice, "tools": [get_weather]}
    agents = [one, {"agent_id": "two", "model": second, "output_type": Note}]
    edges = [{"from": "one", "to": "two", "edge_type": "direct"}]
    graph = {"type": "multi-agent", "agents": agents, "edges": edges}
    run = asyncio.run(Run.create({"run_id": "r", "graph_config": graph}))
    play(run)
    assert run.outputs == {"one": INVOICE, "two": {"text": "hi"}}
    _, weather, result, output = second.requests[0].messages
    assert [call["name"] for call in weather.tool_calls] == ["get_weather"]
    assert result.content == "Sunny in Rome"
    assert (type(output), output.content) == (AIMessage, '{"total":3,"items":["tea"]}')


# Threads.


def test_a_run_resumed_elsewhere_ends_with_its_output() -> None:
    @tool
    def ask_user(question: str) -> str:
        """Asks."""
        return str(ask_user_question(question)["answer"])

    saver = in_memory_saver()
    settings: dict[str, Any] = {"compile_options": {"checkpointer": saver}, "tools": [ask_user]}
    first = typed(final({"total": "x"}), calls(("ask_user", {"question": "How much?"})), **settings)
    play(first, config=THREAD)
    assert first.output is None
    host = Host()
    second = typed(final({"total": "y"}), final(), host=host, **settings)
    asyncio.run(second.resume({"answer": "3"}, THREAD))
    assert second.output == INVOICE
    assert len(told(host, "on_output")) == 1


def test_tries_before_a_crash_count_after_it() -> None:
    settings: dict[str, Any] = {"compile_options": {"checkpointer": in_memory_saver()}, "output_retries": 2}
    config: Any = THREAD
    first = typed(final({"total": "x"}), final({"total": "y"}), script.Failure(500), **settings)
    with pytest.raises(script.ScriptedModelError):
        # The graph alone: a run would end the turn on its thread, as if it had failed there.
        first.graph.compiled.invoke({"messages": [("user", "go")]}, config, durability="sync")
    second = typed(final({"total": "z"}), **settings)
    with pytest.raises(OutputError) as caught:
        second.graph.compiled.invoke(None, config, durability="sync")
    assert caught.value.tries == 3
    refused = [each for each in requests_of(second)[0].messages if isinstance(each, ToolMessage)]
    assert [each.status for each in refused] == ["error", "error"]
    # The last answer is stored: given one more try, the model is told what was wrong with it.
    third = typed(final(), **{**settings, "output_retries": 3})
    asyncio.run(third.resume(None, THREAD))
    assert third.output == INVOICE


def test_an_answer_that_is_stored_is_not_asked_for_again() -> None:
    settings: dict[str, Any] = {"compile_options": {"checkpointer": in_memory_saver()}}
    pausing = {**settings["compile_options"], "interrupt_before": []}
    first = typed(final(), compile_options=pausing)
    config: Any = THREAD
    compiled = first.graph.compiled
    compiled.invoke({"messages": [("user", "go")]}, config, durability="sync")
    assert first.graph.get_output(compiled.get_state(config).values["messages"]) == INVOICE


def test_a_new_turn_does_not_have_the_output_of_the_one_before() -> None:
    settings: dict[str, Any] = {"compile_options": {"checkpointer": in_memory_saver()}}
    play(typed(final(), **settings), config=THREAD)
    later = typed(
        calls(("get_weather", {"city": "Rome"}), ("final_answer", {"total": 4})), tools=[get_weather], **settings
    )
    play(later, config=THREAD)
    assert later.output == Invoice(total=4)
    halted = typed("Hello.", output_type=None, **settings)
    play(halted, config=THREAD)
    assert halted.output is None


def test_an_output_of_another_type_than_the_agent_has_now_is_refused() -> None:
    settings: dict[str, Any] = {"compile_options": {"checkpointer": in_memory_saver()}}
    first = typed(final(), **settings)
    play(first, config=THREAD)
    other = typed(output_type=Note, **settings)
    config: Any = THREAD
    with pytest.raises(ValueError, match="the output is of the type 'Invoice'; expected one of Note"):
        other.graph.get_output(other.graph.compiled.get_state(config).values["messages"])


def test_a_host_that_stores_content_parts_gets_the_answer_back() -> None:
    run = typed(final())
    parts = play(run)
    messages = format_agent_messages([{"role": "assistant", "content": parts}], tools=["get_weather"]).messages
    answer, result = messages
    assert isinstance(answer, AIMessage)
    assert answer.tool_calls[0]["args"] == GOOD
    assert result.content == "The answer was accepted."


def test_a_summary_is_not_asked_for_as_an_output() -> None:
    long = "word " * 400
    model = ScriptedChatModel(replies=[calls(("get_weather", {"city": long})), "A summary.", final()])
    run = typed(
        model=model,
        tools=[get_weather],
        max_context_tokens=1_500,
        summarization_enabled=True,
        summarization_config={"retain_recent": {"turns": 0}},
    )
    asyncio.run(run.process_stream({"messages": [("user", long), ("assistant", long), ("user", "go")]}))
    asked = [each for each in model.requests if "tool_choice" not in each.options]
    assert len(asked) == 1
    assert run.output == INVOICE


# Without a run.


def test_the_graph_alone_gives_an_output_sync() -> None:
    run = typed("no", final())
    result = run.graph.compiled.invoke({"messages": [("user", "go")]})
    assert run.graph.get_output(result["messages"]) == INVOICE
    assert run.graph.get_outputs(result["messages"]) == {"a": INVOICE}
    assert run.graph.get_output([*result["messages"], HumanMessage("And now?")]) is None


# What makes no sense.


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        ({"output_type": 3}, "a value of type int is no output type"),
        ({"output_type": []}, "an output type has no members"),
        ({"output_type": "Invoice"}, "'Invoice' is no import path"),
        ({"output_type": "tests.run.nowhere:Invoice"}, "cannot be imported"),
        ({"output_type": Host}, "the output type 'Host' cannot be used"),
        ({"output_type": {"type": "nothing"}}, "no valid JSON schema"),
        ({"output_type": Invoice, "tool_end": True}, "'tool_end'"),
        ({"output_type": Invoice, "output_mode": "magic"}, "output_mode' is 'magic'"),
        ({"output_type": Invoice, "tools": [{"name": "final_answer"}]}, "rename the tool"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_run_is_made(agent: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        typed(**agent)


def test_a_type_may_be_named_by_its_import_path() -> None:
    run = typed(final({"name": "x", "description": "y"}), output_type="stategraph.agent.settings.inputs:ToolDefinition")
    play(run)
    assert type(run.output).__name__ == "ToolDefinition"
