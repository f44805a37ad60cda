"""One call of a model on its way through the gates of a run: to the model, and back.

- `before` asks the gates in order, each with what the one before it let pass; `after` asks those that saw the request
  in reverse. A gate that answers, or ends the turn, is the innermost one.
- A turn that ends keeps the answer that there is, without its calls: no tool would give them a result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage

from stategraph.agent.agent import Route
from stategraph.agent.facts import ModelCall, ModelEnded
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter
from stategraph.agent.llm import metering, model_calls
from stategraph.agent.llm.held_answer import HeldListener, StoppedAnswer
from stategraph.agent.messages import history, mending, storable
from stategraph.agent.ports import (
    Halt,
    Hold,
    Listener,
    ModelGate,
    ModelRequest,
    ModelReview,
    ModelVerdict,
    StreamGate,
)
from stategraph.engine.config import environment
from stategraph.engine.config.procedures import adrive, drive

_Step: TypeAlias = "partial[Any]"
"""A method of a gate with its arguments."""

Outcome: TypeAlias = model_calls.Answer | Halt
"""An answer, the errors of all models that were tried, or the end of the turn."""


class Passage:
    """One call of a model while it passes gates.

    Args:
        gates: The gates, the outermost first.
        request: The call.
    """

    def __init__(self, gates: Sequence[ModelGate], request: ModelRequest) -> None:
        self._gates = gates
        self._request = request
        self._seen: list[tuple[ModelGate, ModelRequest]] = []

    def entering(self) -> Generator[_Step, Any, ModelVerdict]:
        """Yield the gates' decisions before the call, to be sent them; return the last one.

        Raises:
            TypeError: A gate returned something else than a verdict.
        """
        verdict: ModelVerdict = self._request
        for gate in self._gates:
            if not isinstance(verdict, ModelRequest):
                break
            seen, step = verdict, partial(gate.before, verdict)
            verdict = yield step
            if not isinstance(verdict, ModelRequest | AIMessage | Halt):
                raise _misfit(step, verdict, "a ModelRequest, an AIMessage or a Halt")
            self._seen.append((gate, verdict if isinstance(verdict, ModelRequest) else seen))
        return verdict

    def leaving(self, answer: ModelReview) -> Generator[_Step, Any, ModelReview]:
        """Yield the reviews of what came of the call, to be sent them; return what counts.

        Args:
            answer: The answer, or the end of the turn.

        Raises:
            TypeError: A gate returned something else than a review.
        """
        reason, message = answer.reason if isinstance(answer, Halt) else None, message_of(answer)
        for gate, request in reversed(self._seen):
            if message is None:
                break
            step = partial(gate.after, request, message)
            review = yield step
            if isinstance(review, Halt):
                reason = review.reason if reason is None else reason
                review = review.message or message
            if not isinstance(review, AIMessage):
                raise _misfit(step, review, "an AIMessage or a Halt")
            message = _in_place_of(message, review)
        if reason is None and message is not None:
            return message
        if message is not None and (message.tool_calls or message.invalid_tool_calls):
            message = history.with_calls(message, frozenset())
        return Halt(reason or "", message)

    def hold(self) -> Hold:
        """Return how much of the answer the gates hold back."""
        held = {gate.hold(request) for gate, request in self._seen if isinstance(gate, StreamGate)}
        holds: tuple[Hold, ...] = ("answer", "sentence")
        return next((each for each in holds if each in held), "nothing")

    async def approve(self, text: str, before: str) -> str | Halt:
        """Have the gates that hold back sentences review one, the innermost first.

        Args:
            text: The sentence.
            before: The text that was told before it.

        Raises:
            TypeError: A gate returned something else than a text or the end of the turn.
        """
        for gate, request in reversed(self._seen):
            if isinstance(gate, StreamGate) and gate.hold(request) == "sentence":
                step = partial(gate.piece, request, text, before)
                said = await step()
                if isinstance(said, Halt):
                    return said
                if not isinstance(said, str):
                    raise _misfit(step, said, "a str or a Halt")
                text = said
        return text


def call(passage: Passage | None, request: model_calls.Request) -> Outcome:
    """Call models and wait, as `model_calls.call`, if the gates let the call pass.

    Args:
        passage: The call's way through the gates; None: there are none.
        request: What to call, and with what, if no gate changes it.

    Raises:
        TypeError: A gate is async, or returned what it must not.
    """
    return model_calls.call(*request) if passage is None else drive(_passing(passage, request, model_calls.call), _now)


async def acall(passage: Passage | None, request: model_calls.Request) -> Outcome:
    """Like `call`, async; gates may be, too."""
    if passage is None:
        return await model_calls.acall(*request)
    return await adrive(_passing(passage, request, model_calls.acall), _awaited)


def _passing(passage: Passage, request: model_calls.Request, ask: Callable[..., Any]) -> Generator[_Step, Any, Outcome]:
    answer = yield from passage.entering()
    if isinstance(answer, ModelRequest):
        answer = yield partial(ask, *changed(request, answer))
    return answer if isinstance(answer, list) else stored((yield from passage.leaving(answer)), request)


async def tell(
    passage: Passage | None,
    request: model_calls.Request,
    about: ModelCall,
    listener: Listener,
    meter: Meter | None = None,
) -> Outcome:
    """Like `acall`, telling a listener every piece of the answer, whoever gives it.

    Args:
        passage: The call's way through the gates; None: there are none.
        request: What to call, and with what, if no gate changes it.
        about: The call.
        listener: The listener.
        meter: Counts the models that are tried; None: they are not counted.

    Raises:
        LimitReachedError: A limit of the run is reached, and its limits say that this raises.
        GraphInterrupt: A person is asked about that.
    """
    routes, _, config, final, before = request
    try:
        if passage is None:
            return await model_calls.tell(routes, about, config, listener, final, before, meter=meter)
        return await _through_gates(passage, request, about, listener, meter)
    except LimitReachedError as reached:
        return metering.end(meter, reached)


async def _through_gates(
    passage: Passage,
    request: model_calls.Request,
    about: ModelCall,
    listener: Listener,
    meter: Meter | None,
) -> Outcome:
    """Do what `tell` does, as long as no limit is reached."""
    _, _, config, final, before = request
    verdict = await adrive(passage.entering(), _awaited)
    if not isinstance(verdict, ModelRequest):
        outcome = stored(await adrive(passage.leaving(verdict), _awaited), request)
        if (message := message_of(outcome)) is not None:
            await model_calls.tell_whole(about, message, listener)
        return outcome
    halt: Halt | None = None
    hold = passage.hold()
    held = None if hold == "nothing" else HeldListener(listener, passage.approve if hold == "sentence" else None)

    async def review(answer: AIMessage) -> AIMessage:
        nonlocal halt
        if held is not None:
            answer = await held.finished(answer)
        outcome = stored(await adrive(passage.leaving(answer), _awaited), request)
        halt = outcome if isinstance(outcome, Halt) else None
        message = message_of(outcome) or answer
        if held is not None:
            held.replaced = message is not answer
        return message

    routes, sent, *_ = changed(request, verdict)
    about = replace(about, messages=sent)
    try:
        answer = await model_calls.tell(routes, about, config, held or listener, final, before, review, meter)
    except StoppedAnswer as stopped:
        outcome = stored(await adrive(passage.leaving(stopped.halt), _awaited), request)
        message = message_of(outcome) or AIMessage(content="")
        await listener.hear(ModelEnded(stopped.call, message, stopped.elapsed_s))
        return outcome
    return halt or answer


def message_of(review: ModelReview) -> AIMessage | None:
    """Return the answer of a call; None if the turn ends without one."""
    return review.message if isinstance(review, Halt) else review


def changed(request: model_calls.Request, verdict: ModelRequest) -> model_calls.Request:
    """Return the arguments of a call with the changes of gates."""
    routes, _, config, final, before = request
    return with_options(routes, verdict), list(verdict.messages), config, final, before


def with_options(routes: Sequence[Route], verdict: ModelRequest) -> Sequence[Route]:
    """Return models with the options that gates want."""
    if not verdict.options:
        return routes
    return [replace(route, model=route.model.bind(**verdict.options)) for route in routes]


def stored(review: ModelReview, request: model_calls.Request) -> ModelReview:
    """Return what came of a call with its message as it is stored, with an id."""
    message = message_of(review)
    if message is None:
        return review
    if message.id is None:
        message = message.model_copy(update={"id": environment.current().unique()})
    message = storable.storable(mending.mended(message, request[4]), request[2])
    return replace(review, message=message) if isinstance(review, Halt) else message


def _in_place_of(answer: AIMessage, review: AIMessage) -> AIMessage:
    """Return what replaces an answer, with the id and the usage of the call."""
    if review is answer:
        return answer
    update: dict[str, Any] = {"id": answer.id or review.id}
    if review.usage_metadata is None:
        update["usage_metadata"] = answer.usage_metadata
        update["response_metadata"] = answer.response_metadata | review.response_metadata
    return review.model_copy(update=update)


def _now(step: _Step) -> Any:
    value = step()
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(f"The gate's method {_name(step)} is async: run the graph with ainvoke() or astream()")
    return value


async def _awaited(step: _Step) -> Any:
    value = step()
    return await value if inspect.isawaitable(value) else value


def _misfit(step: _Step, found: object, expected: str) -> TypeError:
    return TypeError(f"The gate's method {_name(step)} returned a {type(found).__name__}; expected {expected}")


def _name(step: _Step) -> str:
    method: Callable[..., Any] = step.func
    return str(getattr(method, "__qualname__", None) or type(method).__name__)
