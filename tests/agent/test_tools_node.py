"""The tools node in a graph: every call gets one result, whatever the tool does."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from pydantic import BaseModel, Field

from stategraph.agent.context.discovery import discovered
from stategraph.agent.graphs import agent_graph, assemble
from stategraph.agent.llm.llm_node import LlmNode
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.agent.state import AgentState
from stategraph.agent.tools import tool_result
from stategraph.agent.tools.tools_node import ToolsNode
from stategraph.constants import END, START
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import ConfigurationError
from stategraph.graph.state import StateGraph
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command, RetryPolicy
from tests.conftest import Driver

THREAD = {"configurable": {"thread_id": "t"}}
AT_ONCE = RetryPolicy(initial_interval=0, jitter=False, retry_on=Exception)


def calling(*calls: Mapping[str, Any], **fields: Any) -> AIMessage:
    made = [{"type": "tool_call", "args": {}, "id": f"c{number}", **call} for number, call in enumerate(calls, 1)]
    return AIMessage(content="", id="m", tool_calls=made, **fields)


def agent_of(*tools: Any, saver: Any = None, store: Any = None, **inputs: Any) -> tuple[Any, ScriptedChatModel]:
    """A graph that begins with the tools of an agent, and its model, which just ends the turn."""
    model = ScriptedChatModel(replies=script.Script(["Done."], repeat_last=True))
    agent = assemble.make_agent(AgentInputs(agent_id="a", model=model, tools=tools, **inputs))
    builder = StateGraph(AgentState)
    builder.add_node("tools", ToolsNode(agent).as_runnable())
    builder.add_node("model", LlmNode(agent).as_runnable())
    builder.add_edge(START, "tools")
    builder.add_conditional_edges("tools", lambda state: END if state.get("halt_reason") else "model", ["model", END])
    return builder.compile(checkpointer=saver, store=store), model


def results(driver: Driver, compiled: Any, answer: AIMessage, config: Any = None) -> list[ToolMessage]:
    """What the tools node makes of an answer."""
    values = driver.invoke(compiled, {"messages": [HumanMessage("hi"), answer]}, config or {})
    return [message for message in values["messages"] if isinstance(message, ToolMessage)]


@tool
def echo(text: str) -> str:
    """Says it back."""
    return text


@tool
def boom(text: str) -> str:
    """Fails."""
    raise KeyError(text)


def test_results_come_in_the_order_of_the_calls_and_failures_tell_the_model(driver: Driver) -> None:
    compiled, model = agent_of(echo, boom)
    answer = calling({"name": "boom", "args": {"text": "x"}}, {"name": "echo", "args": {"text": "y"}}, {"name": "nope"})
    failed, fine, unknown = results(driver, compiled, answer)
    assert (failed.tool_call_id, failed.status) == ("c1", "error")
    assert failed.content == "Error: KeyError: 'x'\n Please fix your mistakes."
    assert (fine.tool_call_id, fine.content, fine.status) == ("c2", "y", "success")
    assert unknown.content == 'Error: Tool "nope" not found.\n Please fix your mistakes.'
    sent = model.requests[0].messages
    assert [type(message) for message in sent] == [HumanMessage, AIMessage, ToolMessage, ToolMessage, ToolMessage]


def test_an_answer_with_missing_and_repeated_ids_and_names_is_mended_and_each_call_answered(driver: Driver) -> None:
    compiled, model = agent_of(echo)
    answer = calling(
        {"name": "echo", "args": {"text": "a"}, "id": "same"},
        {"name": "echo", "args": {"text": "b"}, "id": "same"},
        {"name": "echo", "args": {"text": "c"}, "id": None},
        {"name": "", "id": "empty"},
    )
    made = results(driver, compiled, answer)
    assert [message.content for message in made[:3]] == ["a", "b", "c"]
    assert made[3].content.startswith('Error: Tool "nameless_tool" not found.')
    (mended,) = [message for message in model.requests[0].messages if isinstance(message, AIMessage)]
    ids = [call["id"] for call in mended.tool_calls]
    assert len(set(ids)) == 4
    assert ids[0] == "same"
    assert all(ids)
    assert ids == [message.tool_call_id for message in made]
    assert [call["name"] for call in mended.tool_calls] == ["echo", "echo", "echo", "nameless_tool"]


def test_a_call_whose_arguments_cannot_be_read_does_not_run_and_the_model_is_told_why(driver: Driver) -> None:
    compiled, model = agent_of(echo)
    broken = [
        {"type": "invalid_tool_call", "name": "echo", "args": '{"text": "Par', "id": "c1", "error": None},
        {"type": "invalid_tool_call", "name": "echo", "args": "[1, 2", "id": "c2", "error": None},
        {"type": "invalid_tool_call", "name": "echo", "args": "nonsense", "id": "c3", "error": None},
    ]
    made = results(driver, compiled, AIMessage(content="", id="m", invalid_tool_calls=broken))
    assert [message.status for message in made] == ["error", "error", "error"]
    assert """not a JSON object: '{"text": "Par'""" in made[0].content
    assert "not a JSON object: '[1, 2'" in made[1].content
    (mended,) = [message for message in model.requests[0].messages if isinstance(message, AIMessage)]
    assert mended.invalid_tool_calls == []
    assert [call["args"] for call in mended.tool_calls] == [{}, {}, {}]


@pytest.mark.parametrize("calls", [1, 2])
def test_what_a_tool_keeps_beside_its_result_and_cannot_be_stored_is_left_out(driver: Driver, calls: int) -> None:
    @tool(response_format="content_and_artifact")
    def locked() -> tuple[str, Any]:
        """Returns a lock."""
        return "done", threading.Lock()

    compiled, _ = agent_of(locked, saver=in_memory_saver())
    made = results(driver, compiled, calling(*[{"name": "locked"}] * calls), THREAD)
    assert [(message.content, message.artifact) for message in made] == [("done", None)] * calls


def test_whatever_a_tool_returns_becomes_a_result(driver: Driver) -> None:
    class Own(BaseTool):
        name: str = "own"
        description: str = "Has an invoke of its own."

        def _run(self) -> str:
            return "unused"

        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return {"raw": 1}

        async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return {"raw": 1}

    @tool
    def number() -> int:
        """A number."""
        return 7

    @tool
    def mapping() -> dict[str, int]:
        """A mapping."""
        return {"a": 1}

    @tool
    def blocks() -> list[dict[str, str]]:
        """Content blocks."""
        return [{"type": "text", "text": "hi"}]

    @tool
    def nothing() -> None:
        """Nothing."""

    @tool(response_format="content_and_artifact")
    def file() -> tuple[str, dict[str, str]]:
        """A file."""
        return "see the file", {"id": "f1"}

    compiled, _ = agent_of(Own(), number, mapping, blocks, nothing, file)
    names = ["own", "number", "mapping", "blocks", "nothing", "file"]
    made = results(driver, compiled, calling(*({"name": name} for name in names)))
    assert [message.content for message in made] == [
        '{"raw":1}',
        "7",
        '{"a": 1}',
        [{"type": "text", "text": "hi"}],
        "null",
        "see the file",
    ]
    assert made[-1].artifact == {"id": "f1"}


def test_a_list_that_a_tool_returns_is_one_result_unless_all_in_it_are_results(driver: Driver) -> None:
    class Own(BaseTool):
        description: str = "Has an invoke of its own."
        output: Any = None

        def _run(self) -> str:
            return "unused"

        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return self.output(input["id"])

        async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return self.output(input["id"])

    def result(call_id: str, text: Any = "mine") -> ToolMessage:
        return ToolMessage(text, tool_call_id=call_id)

    numbered = [{"type": "text", "text": "x", "at": float("nan")}]
    outputs: dict[str, Any] = {
        "numbers": lambda call_id: [1, 2],
        "empty": lambda call_id: [],
        "results": lambda call_id: [result("another"), result(call_id), result(call_id, "again")],
        "blocks": lambda call_id: result(call_id, numbered),
    }
    compiled, _ = agent_of(*(Own(name=name, output=output) for name, output in outputs.items()))
    made = results(driver, compiled, calling(*({"name": name} for name in outputs)))
    *lists, blocks = [message.content for message in made]
    assert lists == ["[1,2]", "[]", "mine"]
    # JSON, which providers are sent, has no such number.
    assert isinstance(blocks, str)
    assert '"text":"x"' in blocks


def test_commands_of_tools_change_the_state_and_their_calls_have_results(driver: Driver) -> None:
    @tool
    def with_result(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Halts."""
        said = ToolMessage("I did.", tool_call_id=tool_call_id)
        return Command(update={"halt_reason": "enough", "messages": [said]})

    @tool
    def without_result() -> Command[Any]:
        """Says nothing."""
        return Command(update={"halt_reason": "enough"})

    @tool
    def several(tool_call_id: Annotated[str, InjectedToolCallId]) -> list[Any]:
        """A result and a command."""
        return [ToolMessage("Both.", tool_call_id=tool_call_id), Command(update={"halt_reason": "enough"})]

    compiled, model = agent_of(with_result, without_result, several)
    made = results(driver, compiled, calling({"name": "with_result"}, {"name": "without_result"}, {"name": "several"}))
    assert [(message.tool_call_id, message.content) for message in made] == [
        ("c1", "I did."),
        ("c2", "Done."),
        ("c3", "Both."),
    ]
    assert model.requests == []


def test_a_command_of_an_installed_langgraph_is_taken_like_ours(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class TheirCommand(ToolOutputMixin):
        graph: Any = None
        update: Any = None
        resume: Any = None
        goto: Any = ()

    their_class: Any = type("Command", (TheirCommand,), {"__module__": "langgraph.types"})
    module = ModuleType("langgraph.types")
    vars(module).update(Command=their_class, Send=object)
    monkeypatch.setitem(sys.modules, "langgraph.types", module)

    @tool
    def halt(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Halts."""
        said = ToolMessage("I did.", tool_call_id=tool_call_id)
        return their_class(update={"halt_reason": "enough", "messages": [said]})

    compiled, model = agent_of(halt)
    (made,) = results(driver, compiled, calling({"name": "halt"}))
    assert (made.content, model.requests) == ("I did.", [])


def test_langchains_own_handling_of_errors_is_kept(driver: Driver) -> None:
    def refuse(text: str) -> str:
        """Refuses."""
        raise ToolException("try later")

    class Text(BaseModel):
        text: str = Field(max_length=2)

    handled = StructuredTool.from_function(refuse, name="handled", handle_tool_error="handled it")
    validated = StructuredTool.from_function(
        refuse, name="validated", args_schema=Text, handle_validation_error=lambda error: "too long"
    )
    compiled, _ = agent_of(handled, validated)
    arguments = {"text": "abc"}
    made = results(
        driver, compiled, calling({"name": "handled", "args": arguments}, {"name": "validated", "args": arguments})
    )
    assert [(message.content, message.status) for message in made] == [("handled it", "error"), ("too long", "error")]


def test_results_are_cut_to_the_tools_limit_or_the_agents(driver: Driver) -> None:
    @tool
    def other(text: str) -> str:
        """Says it back."""
        return text

    policies = {"other": ToolPolicy(max_result_chars=300)}
    compiled, _ = agent_of(echo, other, max_tool_result_chars=500, tool_policies=policies)
    long = {"text": "x" * 2000}
    made = results(driver, compiled, calling({"name": "echo", "args": long}, {"name": "other", "args": long}))
    assert [len(message.content) for message in made] == [500, 300]


def test_a_tool_is_tried_again_as_its_policy_says_and_then_the_model_is_told(driver: Driver) -> None:
    tried: Counter[str] = Counter()

    @tool
    def flaky(name: str, good_after: int) -> str:
        """Fails at first."""
        tried[name] += 1
        if tried[name] <= good_after:
            raise ConnectionError(f"lost {tried[name]}")
        return "there"

    compiled, _ = agent_of(flaky, tool_policies={"flaky": ToolPolicy(retry=AT_ONCE)})
    made = results(
        driver,
        compiled,
        calling(
            {"name": "flaky", "args": {"name": "a", "good_after": 2}},
            {"name": "flaky", "args": {"name": "b", "good_after": 9}},
        ),
    )
    assert made[0].content == "there"
    assert made[1].content == "Error: lost 3\n Please fix your mistakes."
    assert tried == {"a": 3, "b": 3}


def test_a_tool_that_takes_too_long_is_an_error_for_the_model() -> None:
    @tool
    async def stubborn() -> str:
        """Does not stop when told to."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await gate.wait()
        return "late"

    async def run() -> list[ToolMessage]:
        nonlocal gate
        gate = asyncio.Event()
        compiled, _ = agent_of(stubborn, echo, tool_policies={"stubborn": ToolPolicy(timeout_s=0.02)})
        answer = calling({"name": "stubborn"}, {"name": "echo", "args": {"text": "x"}})
        values = await compiled.ainvoke({"messages": [HumanMessage("hi"), answer]})
        gate.set()
        return [message for message in values["messages"] if isinstance(message, ToolMessage)]

    gate = asyncio.Event()
    slow, fine = asyncio.run(run())
    assert slow.content == "Error: The tool 'stubborn' did not return within 0.02 s\n Please fix your mistakes."
    assert (slow.status, fine.content) == ("error", "x")


def test_a_time_limit_needs_an_async_run() -> None:
    compiled, _ = agent_of(echo, tool_policies={"echo": ToolPolicy(timeout_s=1)})
    with pytest.raises(TypeError, match=r"The tool 'echo' has a time limit of 1 s, which .* ainvoke\(\)"):
        results(_SYNC, compiled, calling({"name": "echo", "args": {"text": "x"}}))


def test_tools_of_a_host_need_a_host(driver: Driver) -> None:
    definition = {"name": "lookup", "parameters": {"type": "object", "properties": {}}}
    compiled, _ = agent_of(tool_definitions=[definition])
    with pytest.raises(LookupError, match="Agent 'a' called lookup, which only the host can execute"):
        results(driver, compiled, calling({"name": "lookup"}))


def test_what_a_host_alone_could_run_fails_the_batch_before_anything_runs(driver: Driver) -> None:
    ran: list[str] = []

    @tool
    def note() -> None:
        """Notes."""
        ran.append("note")

    compiled, _ = agent_of(graph_tools=[note], tool_definitions=[{"name": "lookup"}])
    with pytest.raises(LookupError, match="lookup"):
        results(driver, compiled, calling({"name": "note"}, {"name": "lookup"}))
    assert ran == []


@pytest.mark.parametrize("policy", [{}, {"boom": ToolPolicy(retry=AT_ONCE)}])
@pytest.mark.parametrize(("own", "told"), [(("its own",), "its own"), ((), "cancelled")])
def test_a_cancellation_that_a_tool_raises_itself_is_a_failure_of_the_tool(
    policy: Any, own: tuple[str, ...], told: str
) -> None:
    @tool("boom")
    async def cancels() -> str:
        """Cancels nothing."""
        raise asyncio.CancelledError(*own)

    async def run() -> Any:
        compiled, _ = agent_of(cancels, echo, tool_policies=policy)
        answer = calling({"name": "boom"}, {"name": "echo", "args": {"text": "x"}})
        return await compiled.ainvoke({"messages": [HumanMessage("hi"), answer]})

    values = asyncio.run(run())
    made = [message for message in values["messages"] if isinstance(message, ToolMessage)]
    assert made[0].status == "error"
    assert (told if not policy else "cancelled") in made[0].text
    assert "tool_attempt" not in made[0].text
    assert made[1].content == "x"


def test_what_is_no_exception_ends_the_run(driver: Driver) -> None:
    class Stop(BaseException):
        pass

    @tool
    def stop() -> str:
        """Stops everything."""
        raise Stop

    compiled, _ = agent_of(stop, echo)
    for answer in (calling({"name": "stop"}), calling({"name": "stop"}, {"name": "echo", "args": {"text": "x"}})):
        with pytest.raises(Stop):
            results(driver, compiled, answer)


# Waiting for a person.


def asking_tools(ran: Counter[str]) -> tuple[Any, Any]:
    @tool("ask")
    def ask(question: str) -> str:
        """Asks."""
        ran[question] += 1
        return f"{question} {interrupt({'question': question})}"

    @tool("count")
    def count(name: str) -> str:
        """Counts."""
        ran[name] += 1
        if name == "bad":
            raise ValueError("bad")
        return f"{name} {ran[name]}"

    return ask, count


def test_siblings_that_ended_do_not_run_again_when_a_paused_batch_goes_on(driver: Driver) -> None:
    ran: Counter[str] = Counter()
    saver = in_memory_saver()
    answer = calling(
        {"name": "count", "args": {"name": "a"}},
        {"name": "ask", "args": {"question": "ok?"}},
        {"name": "count", "args": {"name": "bad"}},
    )
    compiled, _ = agent_of(*asking_tools(ran), saver=saver)
    assert results(driver, compiled, answer, THREAD) == []
    # As another process would have it: the same thread, everything else made anew.
    elsewhere, _ = agent_of(*asking_tools(ran), saver=saver)
    (waiting,) = driver.get_state(elsewhere, THREAD).interrupts
    values = driver.invoke(elsewhere, Command(resume={waiting.id: "yes"}), THREAD)
    made = [message.content for message in values["messages"] if isinstance(message, ToolMessage)]
    assert made == ["a 1", "ok? yes", "Error: bad\n Please fix your mistakes."]
    assert ran == {"a": 1, "ok?": 2, "bad": 1}


def test_all_questions_of_a_batch_are_shown_and_each_is_answered_by_its_id(driver: Driver) -> None:
    ran: Counter[str] = Counter()
    compiled, _ = agent_of(*asking_tools(ran), saver=in_memory_saver())
    answer = calling({"name": "ask", "args": {"question": "a?"}}, {"name": "ask", "args": {"question": "b?"}})
    results(driver, compiled, answer, THREAD)
    first, second = driver.get_state(compiled, THREAD).interrupts
    assert [each.value for each in (first, second)] == [{"question": "a?"}, {"question": "b?"}]
    driver.invoke(compiled, Command(resume={second.id: 2}), THREAD)
    assert [each.id for each in driver.get_state(compiled, THREAD).interrupts] == [first.id]
    values = driver.invoke(compiled, Command(resume={first.id: 1}), THREAD)
    made = [message.content for message in values["messages"] if isinstance(message, ToolMessage)]
    assert made == ["a? 1", "b? 2"]
    # What still waits begins anew whenever the batch goes on.
    assert ran == {"a?": 3, "b?": 2}


def test_a_tool_that_asks_twice_and_is_tried_again_gets_its_answers_in_order(driver: Driver) -> None:
    tried: Counter[str] = Counter()

    @tool
    def twice() -> str:
        """Asks two things, and fails once in between."""
        first, second = interrupt("first"), interrupt("second")
        tried["complete"] += 1
        if tried["complete"] == 1:
            raise ConnectionError("lost")
        return f"{first} {second}"

    compiled, _ = agent_of(twice, saver=in_memory_saver(), tool_policies={"twice": ToolPolicy(retry=AT_ONCE)})
    results(driver, compiled, calling({"name": "twice"}), THREAD)
    driver.invoke(compiled, Command(resume="1"), THREAD)
    values = driver.invoke(compiled, Command(resume="2"), THREAD)
    assert values["messages"][-2].content == "1 2"
    assert tried["complete"] == 2


# Which tools there are.


def test_a_turn_may_end_after_the_tools(driver: Driver) -> None:
    model = ScriptedChatModel(replies=[script.reply(script.call("echo", text="x")), "unused"])
    agent = assemble.make_agent(AgentInputs(agent_id="a", model=model, tools=[echo], tool_end=True))
    compiled = agent_graph.agent_subgraph(agent).compile()
    values = driver.invoke(compiled, {"messages": [HumanMessage("hi")]})
    assert values["messages"][-1].content == "x"
    assert len(model.requests) == 1


def test_a_tool_may_be_called_by_another_name_that_the_model_is_not_told(driver: Driver) -> None:
    compiled, model = agent_of(boom, tool_map={"alias": echo})
    (made,) = results(driver, compiled, calling({"name": "alias", "args": {"text": "x"}}))
    assert made.content == "x"
    assert model.requests[0].tools == ("boom",)


def test_the_model_is_told_about_deferred_tools_once_they_are_discovered_and_never_about_those_for_code(
    driver: Driver,
) -> None:
    registry = {
        "echo": {"name": "echo", "defer_loading": True},
        "boom": {"name": "boom", "allowed_callers": ["code_execution"]},
    }

    @tool
    def plain() -> str:
        """Plain."""
        return "plain"

    for found, shown in (((), ("plain",)), (("echo",), ("echo", "plain"))):
        compiled, model = agent_of(echo, boom, plain, tool_registry=registry, discovered_tools=found)
        made = results(driver, compiled, calling({"name": "echo", "args": {"text": "x"}}))
        assert made[0].content == "x"
        assert model.requests[0].tools == shown


def test_a_tool_that_was_found_in_the_conversation_is_shown_from_then_on(driver: Driver) -> None:
    @tool(response_format="content_and_artifact")
    def tool_search(query: str) -> tuple[str, dict[str, Any]]:
        """Finds tools."""
        return "found", {"tool_references": [{"tool_name": "echo", "match_score": 1}, {"tool_name": "other"}]}

    replies = [
        script.reply(script.call("tool_search", query="x")),
        script.reply(script.call("echo", text="y")),
        "Done.",
    ]
    model = ScriptedChatModel(replies=replies)
    registry = {"echo": {"name": "echo", "defer_loading": True}}
    given = AgentInputs(agent_id="a", model=model, tools=[tool_search, echo], tool_registry=registry)
    compiled = agent_graph.agent_subgraph(assemble.make_agent(given)).compile()
    values = driver.invoke(compiled, {"messages": [HumanMessage("hi")]})
    assert [request.tools for request in model.requests] == [("tool_search",), *[("tool_search", "echo")] * 2]
    assert values["messages"][-2].content == "y"
    assert discovered(values["messages"]) == ("echo", "other")


def test_artifacts_of_other_shapes_bring_nothing_up() -> None:
    for artifact in (None, "x", {"tool_references": "echo"}, {"tool_references": [1, {"tool_name": 2}, {}]}):
        assert discovered([ToolMessage("found", tool_call_id="c", artifact=artifact)]) == ()


def test_a_policy_for_a_tool_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="tool_policies names unknown tool 'ecko'"):
        agent_of(echo, tool_policies={"ecko": ToolPolicy(timeout_s=1)})
    with pytest.raises(ValueError, match="greater than 0 seconds"):
        ToolPolicy(timeout_s=0)
    with pytest.raises(ValueError, match="at least 1"):
        ToolPolicy(max_result_chars=0)


def test_sync_calls_of_one_answer_run_side_by_side() -> None:
    barrier = threading.Barrier(2, timeout=10)

    @tool
    def meet() -> str:
        """Waits for the other."""
        barrier.wait()
        return "met"

    for saver in (None, in_memory_saver()):
        compiled, _ = agent_of(meet, saver=saver)
        made = results(_SYNC, compiled, calling({"name": "meet"}, {"name": "meet"}), THREAD)
        assert [message.content for message in made] == ["met", "met"]


class _Sync:
    def invoke(self, compiled: Any, given: Any, config: Any = None, **options: Any) -> Any:
        return compiled.invoke(given, config, **options)


_SYNC: Any = _Sync()


def test_tools_that_a_model_could_not_tell_apart_or_use_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="Agent 'a' has two tools called 'echo'"):
        agent_of(echo, StructuredTool.from_function(lambda text: text, name="echo", description="Another."))
    assert agent_of(echo, graph_tools=[echo])
    with pytest.raises(ConfigurationError, match="Agent 'a' has two tools called 'lookup'"):
        agent_of(tool_definitions=[{"name": "lookup"}, {"name": "lookup", "description": "Another."}])
    with pytest.raises(ConfigurationError, match="Agent 'a' has two tools called 'echo'"):
        agent_of(graph_tools=[echo], tool_definitions=[{"name": "echo"}])

    def undescribed(text: str) -> str:
        return text

    with pytest.raises(ConfigurationError, match=r"undescribed' of agent 'a' cannot be made a tool: .*docstring"):
        agent_of(undescribed)


def test_a_tool_of_the_provider_may_be_any_mapping() -> None:
    search = {"type": "web_search", "name": "web_search"}
    agent = assemble.make_agent(AgentInputs(agent_id="a", model=ScriptedChatModel(), tools=[MappingProxyType(search)]))
    route: Any = agent.routes[0].model
    assert [(type(each), each) for each in route.kwargs["tools"]] == [(dict, search)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("Nowhere"), "KeyError: 'Nowhere'"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError("no road"), "no road"),
    ],
)
def test_the_model_is_told_what_failed_also_where_the_error_has_no_words(error: Exception, said: str) -> None:
    result = tool_result.failed({"name": "t", "args": {}, "id": "1"}, error)
    assert result.message is not None
    assert result.message.content == f"Error: {said}\n Please fix your mistakes."
    assert result.shown == f"Error processing tool: {said}"
