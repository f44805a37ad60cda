"""The node that calls an agent's model: what it asks, asks again, tells and stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable

from stategraph.agent.agent import Agent, Route, Summarising
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.context_window import Fitting
from stategraph.agent.context.trimming import TrimSettings
from stategraph.agent.facts import ModelFailed, ModelStarted
from stategraph.agent.llm.llm_node import LlmNode
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.inputs import RetainRecent
from stategraph.engine.config.runtime import Runtime
from stategraph.errors import EmptyContextError
from tests.agent.recording_listener import RecordingListener

TOO_LONG = ValueError("prompt is too long: 500 tokens > 400 maximum")


class Model(Runnable[Any, Any]):
    """Raises or answers one outcome after the other."""

    def __init__(self, *outcomes: str | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[list[Any]] = []

    def invoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        self.asked.append(list(input))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return AIMessageChunk(content=outcome)

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        return self.invoke(input)

    async def astream(self, input: Any, config: Any = None, **_: Any) -> AsyncIterator[Any]:
        yield self.invoke(input)


def counter(message: AnyMessage) -> int:
    return len(str(message.content))


def call(
    models: list[Model],
    messages: list[AnyMessage],
    *,
    size: int | None = 1000,
    listener: RecordingListener | None = None,
    sync: bool = False,
    memory: Any = None,
    windows: Any = None,
    **agent: Any,
) -> dict[str, Any]:
    """Run the node; return the update."""
    routes = tuple(Route(model, f"p{number}", f"m{number}") for number, model in enumerate(models))
    fitting = None if size is None else Fitting(TrimSettings(max_context_tokens=size))
    flags = {"offers_tools": True, "plain_text": False, "tool_end": False}
    node = LlmNode(Agent(id="writer", name="Writer", routes=routes, fitting=fitting, **(flags | agent)))
    given: Any = {"messages": messages, "windows": windows, "memory": memory}
    runtime: Any = Runtime(context=AgentContext(token_counter=counter, listener=listener))
    return node.call(given, {}, runtime) if sync else asyncio.run(node.acall(given, {}, runtime))


def texts(messages: list[Any]) -> list[str]:
    return [str(each.content)[:2] for each in messages]


def turns(number: int, tokens: int = 100) -> list[AnyMessage]:
    return [HumanMessage(f"q{each}".ljust(tokens, "x"), id=f"q{each}") for each in range(number)]


both = pytest.mark.parametrize("sync", [True, False])


@both
def test_the_answer_is_stored_with_what_is_known_of_the_context(sync: bool) -> None:
    model = Model("hello")
    update = call([model], turns(2), sync=sync, system=SystemMessage("S"))
    assert texts(model.asked[0]) == ["S", "q0", "q1"]
    (answer,) = update["messages"]
    assert answer.content == "hello"
    assert ContextState.of_agent(update, "writer").counts == {"q0": 100, "q1": 100}
    assert "memory" not in update
    update = call([Model("hello")], turns(2), size=None, sync=sync)
    assert update.keys() == {"messages"}


def test_a_listener_is_for_the_async_way_alone() -> None:
    model = Model("hello")
    with pytest.raises(TypeError, match=r"Agent 'writer' was run with invoke\(\) or stream\(\) and a listener"):
        call([model], turns(1), listener=RecordingListener(), sync=True)
    assert model.asked == []


@both
def test_a_prompt_that_is_refused_as_too_long_is_shortened_and_sent_again(sync: bool) -> None:
    model = Model(TOO_LONG, "hello")
    update = call([model], turns(6), sync=sync)
    assert len(model.asked[0]) == 6
    assert 0 < len(model.asked[1]) < 6
    assert texts(model.asked[1])[-1] == "q5"
    state = ContextState.of_agent(update, "writer")
    assert state.rejected == 0  # the next prompt may be refused as often again
    assert state.size is not None and state.size.said == 1000


@both
def test_the_error_of_the_last_model_says_whether_to_send_less(sync: bool) -> None:
    first, second = Model(LookupError("one"), "hello"), Model(TOO_LONG)
    assert call([first, second], turns(6), sync=sync)["messages"][0].content == "hello"
    assert len(first.asked[1]) < len(first.asked[0])
    refused, unasked = Model(TOO_LONG, "hello"), Model()
    call([refused, unasked], turns(6), sync=sync)
    assert (len(refused.asked), unasked.asked) == (2, [])


@both
def test_if_all_models_fail_the_error_of_the_first_is_raised_with_the_others_noted(sync: bool) -> None:
    with pytest.raises(LookupError, match="one") as caught:
        call([Model(LookupError("one")), Model(ValueError("two"))], turns(1), sync=sync)
    assert caught.value.__notes__ == [
        "The model was called by agent 'writer'.",
        "A fallback failed as well: ValueError: two",
    ]


@both
def test_a_context_in_which_nothing_fits_is_an_error_and_no_model_is_asked(sync: bool) -> None:
    model = Model("hello")
    with pytest.raises(EmptyContextError):
        call([model], turns(1, 5000), sync=sync, size=100, system=SystemMessage("S" * 300))
    assert model.asked == []


# With a listener.


def test_a_shortened_prompt_is_told_with_its_figures() -> None:
    listener = RecordingListener()
    call([Model(TOO_LONG, "hello")], turns(6), listener=listener)
    ((level, message, data),) = [row for row in listener.logs("graph") if row[0] == "warn"]
    assert (level, message) == ("warn", "The provider refused the prompt as too long: it is shortened and sent again")
    assert data is not None
    assert (data["previousBudget"], data["attempt"], data["providerReportedPromptTokens"]) == (1000, 1, 500)
    assert data["recoveredBudget"] < 1000
    assert [type(each).__name__ for each in listener.heard].count("ContextUsed") == 2
    asking = [row for row in listener.logs("graph") if row[1] == "Invoking LLM"]
    assert asking[0] == ("debug", "Invoking LLM", {"messageCount": 6, "provider": "p0"})


def test_an_error_of_another_kind_is_told_as_no_shortening() -> None:
    listener = RecordingListener()
    with pytest.raises(LookupError):
        call([Model(LookupError("one"))], turns(2), listener=listener)
    assert [row for row in listener.logs("graph") if row[0] == "warn"] == []
    assert not any(isinstance(each, ModelFailed) for each in listener.heard)


def test_what_a_model_is_asked_is_told_with_its_history_and_instructions() -> None:
    listener = RecordingListener()
    call([Model("hello")], turns(2), listener=listener, system=SystemMessage("S" * 7))
    (started,) = [each for each in listener.heard if isinstance(each, ModelStarted)]
    assert (started.call.history, len(started.call.messages)) == (2, 3)
    assert (started.call.instruction_tokens, started.call.tool_schema_tokens) == (7, 0)
    assert (started.call.provider, started.call.model, started.call.at.node) == ("p0", "m0", "agent=writer")


def test_nothing_that_fits_is_told_before_it_is_raised() -> None:
    listener = RecordingListener()
    with pytest.raises(EmptyContextError):
        call([Model()], turns(1, 5000), size=100, listener=listener, system=SystemMessage("S" * 300))
    assert len(listener.logs("graph")) == 1
    assert listener.logs("prune") != []
    assert not any(isinstance(each, ModelStarted) for each in listener.heard)


def test_what_a_listener_remembers_is_given_back_and_kept() -> None:
    listener = RecordingListener()
    assert "memory" not in call([Model("hello")], turns(1), listener=listener, memory={"n": 1})
    assert listener.recalled == [{"n": 1}]
    listener.remembers = {"n": 2}
    update = call([Model("hello")], turns(1), listener=listener)
    assert (listener.recalled, update["memory"], len(update["messages"])) == ([{"n": 1}], {"n": 2}, 1)
    assert "memory" not in call([Model("hello")], turns(1), memory={"n": 1})


# With summaries.

HOW = Summarising((), "Summarise.", "Go on.", retain=RetainRecent(turns=1))


@both
def test_where_a_summary_is_due_no_model_is_asked_and_the_state_says_so(sync: bool) -> None:
    model = Model("hello")
    update = call([model], turns(8), size=500, sync=sync, summarising=HOW)
    assert model.asked == []
    assert update.keys() == {"windows"}
    assert ContextState.of_agent(update, "writer").wanted


def test_a_summary_that_was_wanted_before_is_decided_on_again_and_told() -> None:
    listener = RecordingListener()
    wanted = {"writer": replace(ContextState(), wanted=True).stored()}
    model = Model("hello")
    update = call([model], turns(2), windows=wanted, listener=listener, summarising=HOW)
    assert (len(model.asked), ContextState.of_agent(update, "writer").wanted) == (1, False)
    assert "Summarization triggered" not in [row[1] for row in listener.logs("graph")]
    call([model], turns(8), size=500, listener=listener, summarising=HOW)
    assert listener.logs("graph")[-1] == ("info", "Summarization triggered", None)


@both
def test_where_no_summary_can_be_made_the_model_is_sent_what_fits(sync: bool) -> None:
    model = Model("hello")
    failed = {"writer": replace(ContextState(), failed_after="q7").stored()}
    update = call([model], turns(8), size=500, sync=sync, windows=failed, summarising=HOW)
    assert texts(model.asked[0])[-1] == "q7"
    assert 0 < len(model.asked[0]) < 8
    assert len(update["messages"]) == 1
