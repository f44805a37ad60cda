"""Gates around calls of models: what they see and change, what they end, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import interrupt
from stategraph.agent.graphs import assemble
from stategraph.agent.ports import AgentContext, Halt, ModelGate, ModelRequest, ModelReview, ModelVerdict
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.errors import ConfigurationError
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command
from tests.agent.recording_listener import RecordingListener
from tests.conftest import Driver
from tests.run.hosting import THREAD, Host, ask, run_of


class Gate:
    """Notes what it is shown, and says what it is told to."""

    def __init__(
        self, name: str = "gate", log: list[Any] | None = None, *, before: Any = None, after: Any = None
    ) -> None:
        self.name = name
        self.log = [] if log is None else log
        self.requests: list[ModelRequest] = []
        self._before = before
        self._after = after

    def before(self, request: ModelRequest, /) -> ModelVerdict:
        self.log.append(f"{self.name} before {request.messages[-1].content}")
        verdict: ModelVerdict = request if self._before is None else self._before(request)
        self.requests.append(verdict if isinstance(verdict, ModelRequest) else request)
        return verdict

    def after(self, request: ModelRequest, answer: AIMessage, /) -> ModelReview:
        assert any(request is each for each in self.requests)
        self.log.append(f"{self.name} after {answer.content}")
        return answer if self._after is None else self._after(answer)


class AsyncGate(Gate):
    """The same, async."""

    async def before(self, request: ModelRequest, /) -> ModelVerdict:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().before(request)

    async def after(self, request: ModelRequest, answer: AIMessage, /) -> ModelReview:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().after(request, answer)


class Told:
    """An agent's graph, run without a listener or with one.

    Args:
        driver: Runs it.
        replies: What its model answers.
        listens: Whether there is a listener.
        settings: Further settings of the agent.
    """

    def __init__(self, driver: Driver, replies: Sequence[Any], *, listens: bool = False, **settings: Any) -> None:
        self.model = ScriptedChatModel(replies=list(replies))
        inputs = AgentInputs.of({"agent_id": "a", "model": self.model, **settings})
        self.graph = assemble.build([inputs])[1].compile()
        self.listener = RecordingListener() if listens else None
        self._driver = driver

    def run(self, *gates: ModelGate, text: str = "hi", **context: Any) -> dict[str, Any]:
        values = AgentContext(listener=self.listener, model_gates=gates, **context)
        result: dict[str, Any] = self._driver.invoke(self.graph, ask(text), context=values)
        return result


ways = pytest.mark.parametrize("listens", [False, True], ids=["alone", "heard"])


def said(messages: Sequence[AnyMessage]) -> list[tuple[str, Any]]:
    return [(each.type, each.content) for each in messages]


def in_capitals(answer: AIMessage) -> AIMessage:
    return AIMessage(str(answer.content).upper())


@pytest.fixture
def either(driver: Driver, listens: bool) -> Driver:
    if listens and driver.name == "sync":
        pytest.skip("listeners are async")
    return driver


@ways
def test_gates_are_each_around_the_next(either: Driver, listens: bool) -> None:
    log: list[Any] = []

    def more(request: ModelRequest) -> ModelRequest:
        return replace(request, messages=[*request.messages, HumanMessage("more")])

    told = Told(either, ["Hello."], listens=listens)
    outer, inner = Gate("outer", log, before=more), Gate("inner", log, after=in_capitals)
    result = told.run(outer, inner)
    assert log == ["outer before hi", "inner before more", "inner after Hello.", "outer after HELLO."]
    assert said(result["messages"]) == [("human", "hi"), ("ai", "HELLO.")]
    assert said(told.model.requests[0].messages) == [("human", "hi"), ("human", "more")]


@ways
def test_a_gate_sees_what_is_known_of_the_call(either: Driver, listens: bool) -> None:
    gate = Gate()
    told = Told(either, ["Hello."], listens=listens, instructions="Sys", max_context_tokens=1000)
    told.run(gate, token_counter=lambda message: len(str(message.content)))
    (request,) = gate.requests
    assert said(request.messages) == [("system", "Sys"), ("human", "hi")]
    assert (request.at.agent_id, request.at.node) == ("a", "agent=a")
    assert request.tokens is not None and request.tokens >= 5
    told = Told(either, ["Hello."], listens=listens)
    told.run(gate)
    assert gate.requests[1].tokens is None


@ways
def test_options_of_gates_reach_the_model(either: Driver, listens: bool) -> None:
    gate = Gate(before=lambda request: replace(request, options={"stop": ["END"], "temperature": 0}))
    told = Told(either, ["Hello.", "Hello."], listens=listens)
    told.run(gate)
    assert told.model.requests[0].options == {"stop": ["END"], "temperature": 0}


@ways
def test_a_gate_that_answers_is_the_innermost_and_no_model_is_called(either: Driver, listens: bool) -> None:
    log: list[Any] = []
    told = Told(either, [], listens=listens)
    gates = [
        Gate("outer", log),
        Gate("cache", log, before=lambda _: AIMessage("From the cache.")),
        Gate("unseen", log),
    ]
    result = told.run(*gates)
    assert log == ["outer before hi", "cache before hi", "cache after From the cache.", "outer after From the cache."]
    assert said(result["messages"]) == [("human", "hi"), ("ai", "From the cache.")]
    assert result["messages"][-1].id
    assert told.model.requests == []
    if told.listener is not None:
        assert told.listener.kinds()[-3:] == ["ModelStarted", "ModelStreamed", "ModelEnded"]
        assert told.listener.heard[-1].call.provider == ""  # type: ignore[union-attr]


@ways
@pytest.mark.parametrize("message", [None, AIMessage("Not today.")], ids=["silent", "with words"])
def test_a_gate_ends_the_turn_before_the_call(either: Driver, listens: bool, message: AIMessage | None) -> None:
    told = Told(either, [], listens=listens)
    result = told.run(Gate(before=lambda _: Halt("over budget", message)))
    assert result["halt_reason"] == "over budget"
    assert said(result["messages"]) == [("human", "hi"), *([] if message is None else [("ai", "Not today.")])]
    assert told.model.requests == []
    if told.listener is not None:
        assert ("ModelEnded" in told.listener.kinds()) is (message is not None)


@ways
def test_a_turn_that_ends_after_an_answer_runs_no_tools_and_leaves_no_call_open(either: Driver, listens: bool) -> None:
    log: list[Any] = []
    reply = script.reply("Let me see.", script.call("get_weather", {"city": "Oslo"}), usage=(3, 4))
    told = Told(either, [reply], listens=listens)
    inner = Gate("inner", log, after=lambda _: Halt("enough"))
    result = told.run(Gate("outer", log), inner)
    assert log[-2:] == ["inner after Let me see.", "outer after Let me see."]
    assert result["halt_reason"] == "enough"
    last = result["messages"][-1]
    assert (last.content, last.tool_calls, last.usage_metadata["total_tokens"]) == ("Let me see.", [], 7)


@ways
def test_an_answer_that_is_replaced_keeps_its_id_and_its_usage(either: Driver, listens: bool) -> None:
    told = Told(either, [script.reply("secret", usage=(3, 4))], listens=listens)
    gate = Gate(after=in_capitals)
    result = told.run(gate)
    (answer,) = result["messages"][1:]
    assert (answer.content, answer.usage_metadata["total_tokens"]) == ("SECRET", 7)
    assert result["usage"]["total_tokens"] == 7
    if told.listener is not None:
        ended = [each for each in told.listener.heard if type(each).__name__ == "ModelEnded"]
        assert ended[0].message.content == "SECRET"  # type: ignore[union-attr]


@ways
def test_an_end_with_other_words_replaces_the_answer(either: Driver, listens: bool) -> None:
    told = Told(either, ["secret"], listens=listens)
    result = told.run(Gate(after=lambda _: Halt("leak", AIMessage("I cannot say."))))
    assert (result["halt_reason"], result["messages"][-1].content) == ("leak", "I cannot say.")


@pytest.mark.parametrize("message", [None, AIMessage("No.")])
def test_no_other_agent_goes_on_with_a_turn_that_a_gate_ended(driver: Driver, message: AIMessage | None) -> None:
    models = {name: ScriptedChatModel(replies=["Hello."]) for name in ("writer", "editor")}
    inputs = [AgentInputs.of({"agent_id": name, "model": model}) for name, model in models.items()]
    for prompt in ({}, {"prompt": "Edit this."}):
        edge = GraphEdge.of({"from": "writer", "to": "editor", "edge_type": "direct", **prompt})
        graph = assemble.build(inputs, [edge])[1].compile()
        context = AgentContext(model_gates=[Gate(before=lambda _: Halt("no", message))])
        result = driver.invoke(graph, ask(), context=context)
        assert result["halt_reason"] == "no"
        assert [each for each in result["messages"] if each.type == "human"] == result["messages"][:1]
    assert [model.requests for model in models.values()] == [[], []]


@ways
def test_a_gate_waits_for_a_person_and_decides_with_the_answer(either: Driver, listens: bool) -> None:
    def wait(request: ModelRequest) -> ModelVerdict:
        return request if interrupt("go on?") == "yes" else Halt("declined")

    for answer, reason in (("yes", None), ("no", "declined")):
        model = ScriptedChatModel(replies=["Hello."])
        inputs = AgentInputs.of({"agent_id": "a", "model": model})
        graph = assemble.build([inputs])[1].compile(checkpointer=InMemorySaver())
        listener = RecordingListener() if listens else None
        context = AgentContext(model_gates=[Gate(before=wait)], listener=listener)
        waiting = either.invoke(graph, ask(), THREAD, context=context)
        assert waiting["__interrupt__"][0].value == "go on?"
        result = either.invoke(graph, Command(resume=answer), THREAD, context=context)
        assert result.get("halt_reason") == reason
        assert len(model.requests) == (reason is None)


def test_gates_may_be_async_in_an_async_run_alone() -> None:
    model = ScriptedChatModel(replies=["Hello."])
    graph = assemble.build([AgentInputs.of({"agent_id": "a", "model": model})])[1].compile()
    gate = AsyncGate(after=in_capitals)
    context = AgentContext(model_gates=[gate])
    result = asyncio.run(graph.ainvoke(ask(), context=context))
    assert (result["messages"][-1].content, len(gate.log)) == ("HELLO.", 2)
    with pytest.raises(TypeError, match=r"AsyncGate.before is async: run the graph with ainvoke\(\)"):
        graph.invoke(ask(), context=context)


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        (Gate(before=lambda _: "text"), "before returned a str; expected a ModelRequest, an AIMessage or a Halt"),
        (Gate(after=lambda _: SystemMessage("x")), "after returned a SystemMessage; expected an AIMessage or a Halt"),
    ],
)
def test_what_a_gate_returns_is_checked(driver: Driver, gate: Gate, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        Told(driver, ["Hello."]).run(gate)


def test_a_gate_is_asked_about_each_call_of_a_turn_and_not_reviewed_if_all_models_fail(driver: Driver) -> None:
    gate = Gate()
    told = Told(driver, [LookupError("away")])
    with pytest.raises(LookupError):
        told.run(gate)
    assert gate.log == ["gate before hi"]


@pytest.mark.anyio
async def test_a_run_ends_as_a_gate_says() -> None:
    host = Host()
    run = await run_of(
        "Hello.", host=host, model_gates=[Gate(before=lambda _: Halt("over budget", AIMessage("Stop.")))]
    )
    await run.process_stream(ask(), THREAD)
    assert run.get_halt_reason() == "over budget"
    assert [message.content for message in run.get_run_messages()] == ["Stop."]
    assert host.content.content_parts == [{"type": "text", "text": "Stop."}]


@pytest.mark.anyio
async def test_what_is_no_gate_is_refused_when_the_run_is_made() -> None:
    with pytest.raises(ConfigurationError, match="model_gates"):
        await run_of("Hello.", model_gates=[print])
