"""Calling models one after the other, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

from stategraph.agent.agent import Route
from stategraph.agent.facts import ModelCall, ModelEnded, ModelFailed, ModelStarted, ModelStreamed, Place
from stategraph.agent.llm import model_calls
from stategraph.engine.config import environment
from stategraph.errors import GraphBubbleUp, ModelAnswerError
from stategraph.testing import CountedIds, FakeClock
from tests.agent.recording_listener import RecordingListener

AT = Place("writer", "Writer", "llm", {})
ASKED: list[Any] = [HumanMessage("hi")]


class Model(Runnable[Any, Any]):
    """Answers with a message, pieces of one, or an error after them; notes what it is asked."""

    def __init__(self, *pieces: AIMessage | Exception) -> None:
        self.pieces = pieces
        self.asked: list[Any] = []

    def invoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        self.asked.append((input, config))
        (piece,) = self.pieces
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        return self.invoke(input, config)

    async def astream(self, input: Any, config: Any = None, **_: Any) -> AsyncIterator[Any]:
        self.asked.append((input, config))
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            await asyncio.sleep(1)
            yield piece


def route(*pieces: AIMessage | Exception, name: str = "m") -> Route:
    return Route(Model(*pieces), "p", name, f"traced {name}")


def never(_: Exception) -> bool:
    return False


Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async", "told"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls models in one of the three ways."""

    def asking(routes: list[Route], final: Any = never) -> Any:
        if request.param == "sync":
            return model_calls.call(routes, ASKED, {}, final)
        if request.param == "async":
            return asyncio.run(model_calls.acall(routes, ASKED, {}, final))
        about = ModelCall(AT, "", "", ASKED, 1)
        return FakeClock(grace_s=0).run(model_calls.tell(routes, about, {}, RecordingListener(), final))

    return asking


def test_the_first_model_that_answers_is_the_last_that_is_asked(ask: Ask) -> None:
    routes = [route(ValueError("one")), route(AIMessageChunk(content="two")), route(AIMessageChunk(content="three"))]
    answer = ask(routes)
    assert answer.content == "two"
    asked = [model.asked for model in (each.model for each in routes) if isinstance(model, Model)]
    assert [len(each) for each in asked] == [1, 1, 0]
    assert asked[1][0][0] == ASKED


def test_the_errors_of_all_models_are_returned_in_order(ask: Ask) -> None:
    errors = [ValueError("one"), LookupError("two")]
    assert ask([route(error) for error in errors]) == errors


def test_an_error_after_which_no_other_is_to_be_tried_is_the_last(ask: Ask) -> None:
    errors = [ValueError("one"), LookupError("two")]
    routes = [route(errors[0]), route(errors[1]), route(AIMessageChunk(content="three"))]
    assert ask(routes, lambda error: isinstance(error, LookupError)) == errors
    assert ask(routes, lambda error: isinstance(error, ValueError)) == errors[:1]
    assert ask([route(errors[1]), route(errors[0])], lambda error: isinstance(error, ValueError)) == errors[::-1]


def test_what_stops_the_graph_is_no_failure_of_a_model(ask: Ask) -> None:
    with pytest.raises(GraphBubbleUp):
        ask([route(GraphBubbleUp()), route(AIMessageChunk(content="two"))])


def test_a_call_has_the_run_id_that_a_simulation_gives(ask: Ask) -> None:
    asked = route(AIMessageChunk(content="a"))
    assert isinstance(asked.model, Model)
    ask([asked])
    assert asked.model.asked[0][1] == {}
    with environment.use(environment.current()._replace(ids=CountedIds())):
        ask([asked])
    assert asked.model.asked[1][1] == {"run_id": CountedIds().unique()}


# With a listener.


def tell(routes: list[Route], final: Any = never) -> tuple[Any, RecordingListener]:
    listener, clock = RecordingListener(), FakeClock(grace_s=0)

    async def main() -> Any:
        with clock.for_runs():
            return await model_calls.tell(routes, ModelCall(AT, "", "", ASKED, 1), {}, listener, final)

    return clock.run(main()), listener


def test_a_listener_hlistener_every_piece_and_which_model_it_is_of() -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    answer, listener = tell([route(AIMessageChunk(content="a"), AIMessageChunk(content="b", usage_metadata=usage))])
    assert answer.content == "ab"
    started, first, second, ended = listener.heard
    assert isinstance(started, ModelStarted) and isinstance(ended, ModelEnded)
    assert isinstance(first, ModelStreamed) and isinstance(second, ModelStreamed)
    assert (started.call.provider, started.call.model, started.call.traced_as) == ("p", "m", "traced m")
    assert (first.chunk.content, second.chunk.content) == ("a", "b")
    assert (ended.message, ended.elapsed_s) == (answer, 2.0)


def test_a_failure_is_told_where_another_model_is_tried_or_none_may_be() -> None:
    one, two = ValueError("one"), LookupError("two")
    errors, listener = tell([route(one), route(two)])
    assert errors == [one, two]
    assert listener.kinds() == ["ModelStarted", "ModelFailed", "ModelStarted"]
    failed = listener.heard[1]
    assert isinstance(failed, ModelFailed) and failed.error is one
    errors, listener = tell([route(one), route(two)], lambda _: True)
    assert errors == [one]
    assert listener.kinds() == ["ModelStarted", "ModelFailed"]
    _, listener = tell([route(one)], lambda _: True)
    assert listener.kinds() == ["ModelStarted", "ModelFailed"]


def test_a_stream_that_breaks_off_is_a_failure() -> None:
    broken = ValueError("broken")
    errors, listener = tell([route(AIMessageChunk(content="a"), broken)])
    assert errors == [broken]
    assert listener.kinds() == ["ModelStarted", "ModelStreamed"]


def test_a_stream_without_a_piece_is_a_failure() -> None:
    (error,), _ = tell([route()])
    assert isinstance(error, ValueError)
    assert str(error) == "The model 'm' of agent 'writer' ended its stream without a chunk"


def test_pieces_that_make_no_message_are_a_failure_that_names_the_model() -> None:
    odd = AIMessageChunk(content="b", additional_kwargs={"a": [1]})
    (error,), _ = tell([route(AIMessageChunk(content="a", additional_kwargs={"a": "x"}), odd)])
    assert isinstance(error, ModelAnswerError)
    assert str(error).startswith("The pieces of the answer of the model 'm' (p) do not make a message: TypeError: ")
    assert isinstance(error.__cause__, TypeError)


def test_pieces_of_a_chat_model_that_make_no_message_are_such_a_failure_too() -> None:
    class Odd(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "odd"

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            raise NotImplementedError

        async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
            for odd in ("x", [1]):
                yield ChatGenerationChunk(message=AIMessageChunk(content="a", additional_kwargs={"a": odd}))

    (error,), listener = tell([Route(Odd(), "p", "m", "")])
    assert str(error).startswith("The pieces of the answer of the model 'm' (p) do not make a message: TypeError: ")
    assert listener.kinds() == ["ModelStarted", "ModelStreamed", "ModelStreamed", "ModelStreamed"]


def test_a_model_without_usage_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("silent 1", "silent 1", "silent 2"):
        tell([route(AIMessageChunk(content="a"), name=name)])
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    tell([route(AIMessageChunk(content="a", usage_metadata=usage), name="talks")])
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [each.partition(" reports no usage")[0] for each in said] == [
        "The model 'silent 1' of agent 'writer' (p)",
        "The model 'silent 2' of agent 'writer' (p)",
    ]


def test_no_more_than_256_models_without_usage_are_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_calls, "_without_usage", {("p", str(number)) for number in range(255)})
    for name in ("the 256th", "the 257th"):
        tell([route(AIMessageChunk(content="a"), name=name)])
    (record,) = caplog.records
    assert "the 256th" in record.getMessage()


# Errors of several models.


def test_of_several_errors_the_first_is_raised_with_the_others_noted_on_it() -> None:
    one, two, three = ValueError("one"), LookupError("two"), KeyError("three")
    assert model_calls.first([one]) is one
    assert not hasattr(one, "__notes__")
    assert model_calls.first([one, two, three], "writer") is one
    assert one.__notes__ == [
        "The model was called by agent 'writer'.",
        "A fallback failed as well: LookupError: two",
        "A fallback failed as well: KeyError: 'three'",
    ]
    wrong = ModelAnswerError("odd")
    assert model_calls.first([wrong], "writer") is wrong
    assert (str(wrong), hasattr(wrong, "__notes__")) == ("Agent 'writer': odd", False)
