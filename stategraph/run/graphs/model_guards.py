"""Hooks and gates around the models of a graph that the host made.

Rules
-----
* A call of a model that is made by one of the functions below passes the gates as an agent's does: they see what is
  sent and the answer, may change both, answer in the model's place, hold the answer back from readers, or end the turn.
* Models that are called inside of such a call are a part of it, such as those of a chain, or a fallback: gates see what
  the whole is given and returns. Tasks that go on after it are no part of it.
* Where a run has gates, any other call of a model is refused before the model is asked, and ends the run: a guardrail
  must not be missing without a word. The tag `UNGUARDED` of a model says that its calls pass them by.
* Gates are asked in the event loop of the run. Where a caller blocks that loop, they are asked in one of their own, and
  answers are held back as a whole.
* Gates are asked again when a node runs again: nothing that they said is kept with a waiting run.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    MessageLikeRepresentation,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config

from stategraph.agent.facts import Place
from stategraph.agent.llm import model_gates, models
from stategraph.agent.llm.held_answer import StoppedAnswer
from stategraph.agent.llm.model_gates import Passage
from stategraph.agent.ports import Halt, ModelGate, ModelRequest, ModelReview, ModelVerdict
from stategraph.engine.config import environment
from stategraph.engine.config.procedures import adrive, drive
from stategraph.errors import ConfigurationError
from stategraph.run import loop_affinity
from stategraph.run.abort import AbortController
from stategraph.run.graphs import recorder
from stategraph.run.graphs.recorder import Guard, HeardCall, Recorder
from stategraph.run.hooks.model_hooks import ModelHookGate

#: Tag of a model whose calls pass by the hooks and gates of a run.
UNGUARDED: Final = "stategraph:unguarded"

_WAY_OUT = (
    "call it by stategraph.run.graphs.model_guards.run_model, or give create_agent a middleware with guard_model, see "
    f"docs/runs-of-graphs.md; a model with the tag {UNGUARDED!r} is called without them"
)


class ModelDeniedError(Exception):
    """A hook or gate of a run did not let a model be called, or its answer become part of the conversation.

    The turn ends, whatever the graph does about this error; only where the call was made with `off_record` is it the
    caller's to handle.

    Attributes:
        reason: The halt reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"A hook or gate of the run refused a call of a model: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a turn that gates have decided on.

    Attributes:
        at: Where the model was called.
        reason: The halt reason.
        message: The answer that the turn ends with; None: there is none.
        call: The call that they reviewed; None: no model was called.
        elapsed_s: How long the model took.
    """

    at: Place
    reason: str
    message: AIMessage | None
    call: HeardCall | None = None
    elapsed_s: float = 0.0


@dataclass(slots=True)
class RunModels:
    """The gates of an execution, for the models of its graph. Made in the event loop of the run.

    Attributes:
        gates: The gates, the outermost first.
        find: Returns the place of a task, by its metadata.
        heard: Hears the models.
        stop: Stops the graph where the turn ends.
        ended: The end of the turn that gates want; None: they want none.
        refused: A model was called past the gates; None: none was.
    """

    gates: Sequence[ModelGate]
    find: Callable[[Mapping[str, object]], Place]
    heard: Recorder
    stop: AbortController = field(default_factory=AbortController)
    ended: Ended | None = None
    refused: ConfigurationError | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _thread: int = field(default_factory=threading.get_ident)
    _reading: set[HeardCall] = field(default_factory=set)
    _left: bool = False

    def may_begin(self, metadata: Mapping[str, object], tags: Sequence[str]) -> bool:
        """Return whether a model may be called that is about to be: gates have let it, or it needs none to."""
        if self.ended is not None:
            return False
        if recorder.open_guard() is not None or UNGUARDED in tags:
            return True
        name, node = metadata.get("ls_model_name"), metadata.get("langgraph_node")
        which, where = f"The model '{name}'" if name else "A model", f" in the node '{node}'" if node else ""
        self.refused = self.refused or ConfigurationError(
            f"{which} was to be called{where} past the hooks and gates of the run: {_WAY_OUT}"
        )
        return False

    def check(self) -> None:
        """Raise that a model was called past the gates, if one was.

        Raises:
            ConfigurationError: One was.
        """
        if self.refused is not None:
            raise self.refused

    async def stopped(self, call: HeardCall, stopped: StoppedAnswer) -> None:
        """End the turn, as a sentence was refused.

        Args:
            call: The call.
            stopped: Why, and what readers were told.
        """
        assert call.guard is not None
        outcome = await adrive(call.guard.passage.leaving(stopped.halt), _awaited)
        message = model_gates.message_of(outcome) or AIMessage("")
        self.end(Ended(stopped.call.at, _reason(outcome, stopped.halt), _with_id(message), call, stopped.elapsed_s))

    def end(self, ended: Ended) -> None:
        """End the turn; the first of those that want to, of calls beside each other, says how."""
        if self.ended is None:
            self.ended = ended
            self.stop.abort(ended.reason)

    def ends_with(self, call: HeardCall) -> bool:
        """Return whether the turn ends with what came of a call."""
        return self.ended is not None and self.ended.call is call

    def leave(self) -> None:
        """Let go of threads that wait for the reader of the stream, which has left."""
        self._left = True
        for call in self._reading:
            call.let_go()

    def _check_goes_on(self) -> None:
        """See whether the run goes on: a thread that nothing can stop may come too late.

        Raises:
            ModelDeniedError: It has ended.
        """
        if self._left:
            raise ModelDeniedError("the run has ended" if self.ended is None else self.ended.reason)

    async def review(self, guard: Guard, call: HeardCall | None, answer: AIMessage) -> ModelReview:
        """Have the gates review an answer; in the event loop of the run, if they hold back sentences.

        Args:
            guard: The gates.
            call: The call that gave it; None: of a model that was not heard.
            answer: The answer.
        """
        self._check_goes_on()
        if call is not None and call.hold == "sentence":
            self._reading.add(call)
            await call.read()
            self._reading.discard(call)
            self._check_goes_on()
            if call.held is not None:
                try:
                    answer = await call.held.finished(answer)
                except StoppedAnswer as stopped:
                    return await adrive(guard.passage.leaving(stopped.halt), _awaited)
        return await adrive(guard.passage.leaving(answer), _awaited)

    @property
    def is_blocked(self) -> bool:
        """True for a caller that blocks the event loop of the run."""
        return threading.get_ident() == self._thread

    async def act(self, step: _Step) -> Any:
        """Do a step of a call, for an async caller in any event loop."""
        if not isinstance(step, _Gates):
            return await step()
        if asyncio.get_running_loop() is self._loop:
            return await step.ask()
        return await loop_affinity.await_in(self._loop, step.ask)

    def act_sync(self, step: _Step) -> Any:
        """Do a step of a call, for a caller in a thread, or one that blocks the event loop of the run."""
        if not isinstance(step, _Gates):
            return step()
        if not self.is_blocked:
            return loop_affinity.wait_in(self._loop, step.ask)
        with ThreadPoolExecutor(1) as another:
            return another.submit(copy_context().run, asyncio.run, step.ask()).result()


current: ContextVar[RunModels | None] = ContextVar("stategraph_run_models", default=None)
"""The gates of the run whose graph is running; None outside of a run, and of one without gates."""


class Unguarded(BaseCallbackHandler):
    """Keeps models from being called past the gates, by raising; comes after the handler that hears them.

    Args:
        run_models: The gates of the execution.
    """

    raise_error = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, run_models: RunModels) -> None:
        self._models = run_models

    def on_chat_model_start(self, *_: object, **__: object) -> None:
        """Raise that a model was called past the gates, or that the turn ends."""
        self._models.check()
        if self._models.ended is not None:
            raise ModelDeniedError(self._models.ended.reason)

    def on_llm_start(
        self, *_: object, tags: list[str] | None = None, metadata: dict[str, object] | None = None, **__: object
    ) -> None:
        """Refuse a model that is no chat model, which gates cannot see."""
        if UNGUARDED not in (tags or ()):
            self._models.may_begin(metadata or {}, ())
        self.on_chat_model_start()


def guards(gates: Sequence[ModelGate]) -> Sequence[ModelGate]:
    """Return the gates of a run that have something to say about models: hooks may be for tools alone."""
    return [gate for gate in gates if not (isinstance(gate, ModelHookGate) and gate.is_idle)]


# For the nodes of a graph.


async def run_model(
    model: Runnable[LanguageModelInput, AIMessage],
    messages: Sequence[MessageLikeRepresentation],
    config: RunnableConfig | None = None,
    *,
    off_record: bool = False,
    **options: Any,
) -> AIMessage:
    """Call a model within the hooks and gates of the run. Outside of a run, and in one without, it is just called.

    Args:
        model: A chat model, also with tools bound, with retries or fallbacks.
        messages: What it is sent, in any form that LangChain takes.
        config: Of the call, as for `ainvoke`; None: that of the running node.
        off_record: Whether the answer is no part of the conversation, as that of a summary or of a router: a denial
            refuses this call alone.
        **options: For this call, such as `temperature` or `stop`; gates may change them.

    Returns:
        The answer that counts, or what a hook or gate has answered in the model's place.

    Raises:
        ModelDeniedError: A hook or gate refused the call, or its answer, and the turn ends; of a call `off_record` the
            call alone. Let it pass otherwise.
        GraphInterrupt: A gate asks a person, who has not answered. Do not catch it.
        TypeError: The model's answer is no message.
        Exception: What the model raised.
    """
    run_models, sent = current.get(), convert_to_messages(messages)
    if run_models is None:
        return await model.ainvoke(sent, config, **options)

    def ask(request: ModelRequest) -> Awaitable[AIMessage]:
        return model.ainvoke(list(request.messages), config, **request.options)

    asked = _request(run_models, model, sent, options, off_record=off_record)
    return cast("AIMessage", await adrive(_passing(run_models, asked, ask, _Messages()), run_models.act))


def run_model_sync(
    model: Runnable[LanguageModelInput, AIMessage],
    messages: Sequence[MessageLikeRepresentation],
    config: RunnableConfig | None = None,
    *,
    off_record: bool = False,
    **options: Any,
) -> AIMessage:
    """Call a model as `run_model`, in a sync node."""
    run_models, sent = current.get(), convert_to_messages(messages)
    if run_models is None:
        return model.invoke(sent, config, **options)

    def ask(request: ModelRequest) -> AIMessage:
        return model.invoke(list(request.messages), config, **request.options)

    asked = _request(run_models, model, sent, options, off_record=off_record)
    passing = _passing(run_models, asked, ask, _Messages(), blocks=run_models.is_blocked)
    return cast("AIMessage", drive(passing, run_models.act_sync))


async def guard_model(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
    """Call an agent's model within the hooks and gates of the run: for `awrap_model_call` of a LangChain middleware.

    Outside of a run, and in one without hooks and gates, it just calls the model. Middleware around it sees what gates
    have let through; middleware inside of it is a part of the call.

    Args:
        request: The `ModelRequest` of `langchain.agents.middleware`.
        handler: Calls the model.

    Returns:
        A message or a `ModelResponse`, as of the handler or as gates have changed it. A structured response that was
        read from a text that gates replaced is left out.

    Raises:
        ModelDeniedError: As `run_model`.
        GraphInterrupt: As `run_model`.
    """
    run_models = current.get()
    if run_models is None:
        return await handler(request)
    asked = _asked(run_models, request)

    def ask(changed: ModelRequest) -> Awaitable[Any]:
        return handler(_theirs(request, asked, changed))

    return await adrive(_passing(run_models, asked, ask, _Responses()), run_models.act)


def guard_model_sync(request: Any, handler: Callable[[Any], Any]) -> Any:
    """Call the model of an agent as `guard_model`: for `wrap_model_call`, which sync calls of an agent use."""
    run_models = current.get()
    if run_models is None:
        return handler(request)
    asked = _asked(run_models, request)

    def ask(changed: ModelRequest) -> Any:
        return handler(_theirs(request, asked, changed))

    passing = _passing(run_models, asked, ask, _Responses(), blocks=run_models.is_blocked)
    return drive(passing, run_models.act_sync)


# One call.


@dataclass(frozen=True, slots=True)
class _Gates:
    """A question to the gates, to be asked in the event loop of the run."""

    ask: Callable[[], Coroutine[object, object, Any]]


_Step: TypeAlias = "_Gates | partial[Any]"
"""A question to the gates, or the call of the model."""


class _Messages:
    """The answers of a chat model."""

    def answer(self, response: object) -> AIMessage:
        """Return the answer in a response."""
        if not isinstance(response, AIMessage):
            raise TypeError(
                f"run_model() was given a model whose answer is of type {type(response).__name__}; expected a message. "
                "Give it the chat model itself, and parse what it returns"
            )
        return response

    def response(self, message: AIMessage, given: Any = None) -> Any:
        """Return a response with an answer in place of the one that was given, if one was."""
        return message


class _Responses(_Messages):
    """The answers of a model of LangChain's agents: a message, or a response that has one in it."""

    def answer(self, response: object) -> AIMessage:
        """Return the answer in a response."""
        if isinstance(response, AIMessage):
            return response
        result = getattr(getattr(response, "model_response", response), "result", None)
        for message in result if isinstance(result, list) else ():
            if isinstance(message, AIMessage):
                return message
        raise TypeError(f"The model's response has no AIMessage in it: {type(response).__name__}")

    def response(self, message: AIMessage, given: Any = None) -> Any:
        """Return a response with an answer in place of the one that was given, if one was."""
        if given is None or isinstance(given, AIMessage):
            return message
        if hasattr(given, "model_response"):
            return replace(given, model_response=self.response(message, given.model_response))
        known = {call["id"] for call in message.tool_calls}
        results = [each for each in given.result if getattr(each, "tool_call_id", None) in known]
        return replace(
            given, result=[message, *results], structured_response=given.structured_response if results else None
        )


def _passing(
    run_models: RunModels,
    request: ModelRequest,
    ask: Callable[[ModelRequest], Any],
    shape: _Messages,
    *,
    blocks: bool = False,
) -> Generator[_Step, Any, Any]:
    """Yield the steps of a call, to be sent what comes of them; return the response that counts.

    Args:
        run_models: The gates.
        request: What the model is to be called with.
        ask: Calls it.
        shape: Reads and makes responses.
        blocks: Whether the caller blocks the event loop of the run: then nobody could read a sentence.
    """
    if run_models.ended is not None:
        raise ModelDeniedError(run_models.ended.reason)
    passage = Passage(run_models.gates, request)
    verdict: ModelVerdict = yield _Gates(lambda: adrive(passage.entering(), _awaited))
    if not isinstance(verdict, ModelRequest):
        review: ModelReview = yield _Gates(lambda: adrive(passage.leaving(verdict), _awaited))
        return shape.response(_counts(run_models, request, review, None))
    hold = passage.hold()
    # A call off the record is refused alone, while a sentence that is refused ends the turn.
    as_whole = hold == "sentence" and (blocks or request.off_record)
    guard = Guard(passage, "answer" if as_whole else hold)
    try:
        before = recorder.guarding.set(guard)
        try:
            response = yield partial(ask, verdict)
        finally:
            guard.is_open = False
            recorder.guarding.reset(before)
        given = shape.answer(response)
        call = _call_of(guard, given)
        review = yield _Gates(lambda: run_models.review(guard, call, given))
        message = _counts(run_models, request, review, call)
        if call is not None:
            guard.ended.remove(call)
            run_models.heard.release(call, message)
        return response if message is given else shape.response(message, response)
    finally:
        for each in guard.ended:
            if not run_models.ends_with(each):
                run_models.heard.release(each, None)


def _counts(run_models: RunModels, request: ModelRequest, review: ModelReview, call: HeardCall | None) -> AIMessage:
    """Return the answer that counts.

    Raises:
        ModelDeniedError: The turn ends, or the call is refused.
    """
    if isinstance(review, AIMessage):
        return _with_id(review)
    if not request.off_record:
        message = None if review.message is None else _with_id(review.message)
        elapsed_s = 0.0 if call is None else call.elapsed_s
        run_models.end(Ended(request.at, review.reason, message, call, elapsed_s))
    raise ModelDeniedError(review.reason)


def _call_of(guard: Guard, answer: AIMessage) -> HeardCall | None:
    """Return the call that gave an answer: its message has the same id, as others may have copied it."""
    same = [each for each in guard.ended if each.answer is not None and each.answer.id == answer.id]
    return same[-1] if same else None


def _request(
    run_models: RunModels,
    model: Any,
    messages: Sequence[BaseMessage],
    options: Mapping[str, object],
    *,
    off_record: bool = False,
) -> ModelRequest:
    at = run_models.find(ensure_config().get("metadata") or {})
    provider = name = ""
    with contextlib.suppress(ConfigurationError):  # of a chain, whose models are known when they are called
        provider, name = models.provider_of(model), models.model_name(model)
    return ModelRequest(at, cast("Sequence[AnyMessage]", messages), provider, name, None, dict(options), off_record)


def _asked(run_models: RunModels, request: Any) -> ModelRequest:
    first = [] if request.system_message is None else [request.system_message]
    return _request(run_models, request.model, [*first, *request.messages], request.model_settings)


def _theirs(request: Any, asked: ModelRequest, changed: ModelRequest) -> Any:
    """Return a request of LangChain's with the changes of gates."""
    if changed is asked:
        return request
    messages, system = list(changed.messages), None
    if messages and isinstance(messages[0], SystemMessage):
        system, *messages = messages
    return request.override(messages=messages, system_message=system, model_settings=dict(changed.options))


def _reason(outcome: ModelReview, halt: Halt) -> str:
    return outcome.reason if isinstance(outcome, Halt) else halt.reason


def _with_id(message: AIMessage) -> AIMessage:
    return message if message.id else message.model_copy(update={"id": environment.current().unique()})


async def _awaited(step: partial[Any]) -> Any:
    value = step()
    return await value if inspect.isawaitable(value) else value
