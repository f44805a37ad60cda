"""Calling a model: one route after the other, until one answers; each as often as its retry policy says.

- A model is called through LangChain's own interface, so every chat model works and every error is the provider's;
  what of that is only for listeners is left out where there are none (`direct`).
- With a listener the answer is streamed to it piece by piece; without one, it is one call, and
  LangChain streams by itself if a callback handler asks for it.
- What comes out of a listener is no failure of the model: it ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Never, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableBinding, RunnableConfig

from stategraph.agent.agent import Route
from stategraph.agent.facts import Logged, ModelCall, ModelEnded, ModelFailed, ModelStarted, ModelStreamed
from stategraph.agent.invocation import direct
from stategraph.agent.limits.meter import Meter
from stategraph.agent.llm import held_answer, metering, retries, time_limits
from stategraph.agent.llm.shielded import Shielded, secrets_of
from stategraph.agent.messages import mending, problems, storable
from stategraph.agent.ports import Listener
from stategraph.engine.config import environment
from stategraph.engine.config.procedures import adrive, drive
from stategraph.errors import ConfigurationError, GraphBubbleUp, ModelAnswerError

_log = logging.getLogger(__name__)

_MODELS_NOTED = 256
_without_usage: set[tuple[str, str]] = set()
"""Models of which it has been said that they report no usage."""

Answer: TypeAlias = AIMessage | list[Exception]
"""An answer, or the errors of all routes that were tried, in their order: at least one."""

_Step: TypeAlias = tuple[Callable[[], Any], Callable[[], Awaitable[Any]]]
"""What is done for a call, sync and async: a request to a model, the wait for a rate limit, a pause."""

Final: TypeAlias = Callable[[Exception], bool]
"""Predicate for errors after which no other route is to be tried."""

Request: TypeAlias = tuple[Sequence[Route], list[AnyMessage], RunnableConfig, Final, Sequence[AnyMessage]]
"""The arguments of `call`."""

Review: TypeAlias = Callable[[AIMessage], Awaitable[AIMessage]]
"""Reviews an answer before it is told to be whole, and returns the one that counts."""


def call(
    routes: Sequence[Route],
    messages: list[AnyMessage],
    config: RunnableConfig,
    final: Final,
    history: Sequence[AnyMessage] = (),
) -> Answer:
    """Call and wait.

    Args:
        routes: The models to try.
        messages: The messages that they are sent.
        config: Of the running node.
        final: Ends the trying.
        history: The conversation that the answer becomes part of.

    Returns:
        The first answer, or the errors.
    """
    return drive(_trying(routes, messages, config, final, history), lambda step: step[0]())


async def acall(
    routes: Sequence[Route],
    messages: list[AnyMessage],
    config: RunnableConfig,
    final: Final,
    history: Sequence[AnyMessage] = (),
) -> Answer:
    """Like `call`, async."""
    return await adrive(_trying(routes, messages, config, final, history), lambda step: step[1]())


def _asking(route: Route, messages: list[AnyMessage], config: RunnableConfig) -> _Step:
    model = direct.taped(route.model)
    if route.timeouts is None:
        return partial(direct.ask, model, messages, config), partial(direct.aask, model, messages, config)
    limited = partial(time_limits.within, direct.aask, (model, messages, config), route.timeouts, route.name)
    return partial(_refuse_sync, route.name), limited


def _refuse_sync(name: str) -> Never:
    raise ConfigurationError(
        f"The model '{name}' has time limits (model_timeouts), and was called with invoke() or stream(), "
        "where nothing can end a call: use ainvoke() or astream(), or a Run"
    )


def _own(config: RunnableConfig) -> RunnableConfig:
    """Return the config of one call of a model; in a simulation it brings the id of the call's run."""
    run_id = environment.current().run_id()
    return config if run_id is None else {**config, "run_id": run_id}


def _trying(
    routes: Sequence[Route],
    messages: list[AnyMessage],
    config: RunnableConfig,
    final: Final,
    history: Sequence[AnyMessage],
) -> Generator[_Step, AIMessage, Answer]:
    """Yield a request to one model after the other until one answers, and what to wait for before.

    Returns:
        The answer as it is stored, or the errors of all.
    """
    errors: list[Exception] = []
    for route in routes:
        attempt = 0
        pause: float | None = 0.0
        while pause is not None:
            attempt += 1
            try:
                if route.limiter is not None:
                    yield route.limiter.acquire, route.limiter.aacquire
                answer = yield _asking(route, messages, _own(config))
                return storable.storable(mending.mended(answer, history), config)
            except GraphBubbleUp:
                raise
            except Exception as error:
                failed = _without_secrets(route, error)
            if final(failed):
                return [*errors, failed]
            pause = _pause(route, attempt, failed)
            if pause is not None:
                _log.info("%s", _retried(route, attempt, failed, pause)[0])
                clock = environment.current().clock
                yield partial(clock.sleep, pause), partial(clock.asleep, pause)
        errors.append(failed)
    return errors


def _pause(route: Route, attempt: int, error: Exception, *, began: bool = False) -> float | None:
    """Return the pause before a model is called again; None if it is not.

    Args:
        route: The model.
        attempt: The number of the attempt that failed.
        error: What it failed with.
        began: Whether somebody has read the beginning of the answer.
    """
    policy = route.retry
    if policy is None or (began and not policy.after_first_token):
        return None
    now = environment.current()
    return retries.pause_s(policy, attempt, error, now_s=now.clock.time(), chance=now.ids.random())


def _retried(route: Route, attempt: int, error: Exception, pause: float) -> tuple[str, dict[str, Any]]:
    """Return what is told of a call that is made again, without what the provider said."""
    assert route.retry is not None
    status = retries.status_of(error)
    data = {
        "provider": route.provider,
        "model": route.name,
        "error": type(error).__name__,
        "status": status,
        "attempt": attempt,
        "maxAttempts": route.retry.max_attempts,
        "delayS": round(pause, 3),
    }
    kind = type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"
    again = f"attempt {attempt + 1} of {route.retry.max_attempts} in {pause:.1f} s"
    return f"The model '{route.name}' failed ({kind}): {again}", data


async def tell(
    routes: Sequence[Route],
    about: ModelCall,
    config: RunnableConfig,
    listener: Listener,
    final: Final,
    history: Sequence[AnyMessage] = (),
    review: Review | None = None,
    meter: Meter | None = None,
) -> Answer:
    """Like `acall`, telling a listener every piece of the answer.

    Args:
        routes: The models to try.
        about: The call; its provider and model are those of the route that is tried.
        config: Of the running node.
        listener: The listener.
        final: Ends the trying.
        history: The conversation that the answer becomes part of.
        review: Reviews the answer once it is whole; None: it stays as it is.
        meter: Counts each model that is tried, and keeps the run's limits; None: nothing is counted.

    Returns:
        The first answer, or the errors.

    Raises:
        LimitReachedError: A limit of the run is reached.
        GraphInterrupt: A person is asked about that.
    """
    errors: list[Exception] = []
    for route in routes:
        call = about.of_model(route.provider, route.name, route.traced_as)
        number = 0
        pause: float | None = 0.0
        while pause is not None:
            number += 1
            if route.limiter is not None:
                await route.limiter.aacquire()
            answer, began = await _told(call, route, config, listener, history, review, meter)
            if isinstance(answer, AIMessage):
                return answer
            failed, ends = answer, final(answer)
            pause = None if ends else _pause(route, number, failed, began=began and held_answer.has_told(listener))
            if ends or pause is not None or len(errors) + 1 < len(routes):
                await listener.hear(ModelFailed(call, failed))
            if pause is not None:
                text, data = _retried(route, number, failed, pause)
                await listener.hear(Logged(call.at, "warn", "model", text, data, detail=False))
                await environment.current().clock.asleep(pause)
        errors.append(failed)
        if ends:
            break
    return errors


async def _told(
    call: ModelCall,
    route: Route,
    config: RunnableConfig,
    listener: Listener,
    history: Sequence[AnyMessage],
    review: Review | None,
    meter: Meter | None,
) -> tuple[AIMessage | Exception, bool]:
    """Call a model once, and tell its answer; return it or its error, and whether any of it was told."""
    ticket = None if meter is None else await metering.admitted(meter, call, route.model, listener)
    clock = environment.current().clock
    started = clock.monotonic()
    mender = mending.Mender(history)
    answering = _stream(call, route, config, listener, mender)
    if meter is None or ticket is None:
        answer, began = await answering
    else:
        answer, began = await metering.settled(meter, ticket, listener, answering, mender)
    if isinstance(answer, AIMessage):
        if answer.usage_metadata is None:
            _say_without_usage(call, route)
        elapsed_s = clock.monotonic() - started
        if review is not None:
            answer = await review(answer)
        await listener.hear(ModelEnded(call, answer, elapsed_s))
    return answer, began


async def tell_whole(about: ModelCall, message: AIMessage, listener: Listener) -> None:
    """Tell a listener an answer that no model gave, as one piece.

    Args:
        about: The call that was not made.
        message: The answer.
        listener: The listener.
    """
    await listener.hear(ModelStarted(about))
    await listener.hear(ModelStreamed(about, message))
    await listener.hear(ModelEnded(about, message, 0.0))


async def _stream(
    call: ModelCall, route: Route, config: RunnableConfig, listener: Listener, mender: mending.Mender
) -> tuple[AIMessage | Exception, bool]:
    """Tell an answer piece by piece; return it whole, or what the model failed with, and whether any of it was told."""
    await listener.hear(ModelStarted(call))
    stream = direct.astream(route.model, call.messages, _own(config))
    if route.timeouts is not None:
        stream = time_limits.timed(stream, route.timeouts, route.name)
    began = False
    async with aclosing(cast("Any", stream)):
        while True:
            try:
                chunk = mender.piece(await anext(stream))
            except StopAsyncIteration:
                break
            except GraphBubbleUp:
                raise
            except Exception as error:
                return _without_secrets(route, error), began
            began = began or time_limits.says_something(chunk)
            await listener.hear(ModelStreamed(call, chunk))
    if mender.is_empty:
        said = f"The model '{route.name}' of agent '{call.at.agent_id}' ended its stream without a chunk"
        return ValueError(said), False
    try:
        return storable.storable(mender.whole(), config), began
    except (TypeError, ValueError) as error:
        said = f"The pieces of the answer of the model '{route.name}' ({route.provider}) do not make a message"
        broken = ModelAnswerError(f"{said}: {problems.named(error)}")
        broken.__cause__ = error
        return _without_secrets(route, broken), began


def _without_secrets(route: Route, error: Exception) -> Exception:
    """Hide in an error what a model was given as a secret; models made here have done that themselves."""
    model = _unbound(route.model)
    if isinstance(model, Shielded) or not isinstance(model, BaseChatModel):
        return error
    return cast("Exception", secrets_of(model).error(error))


def _unbound(model: Any) -> Any:
    """Return a model without the options that are bound to it."""
    while isinstance(model, RunnableBinding):
        model = model.bound
    return model


def _say_without_usage(call: ModelCall, route: Route) -> None:
    """Say once of each model that its answers come without usage; not of one whose class says that it expects none."""
    if not getattr(_unbound(route.model), "expects_usage", True):
        return
    if len(_without_usage) < _MODELS_NOTED and (key := (call.provider, call.model)) not in _without_usage:
        _without_usage.add(key)
        _log.warning(
            "The model '%s' of agent '%s' (%s) reports no usage: its tokens are in no total. If its provider reports "
            "usage when asked, see that the option 'stream_usage' is not off; said once",
            *(call.model, call.at.agent_id, call.provider),
        )


def first(errors: Sequence[Exception], agent_id: str | None = None) -> Exception:
    """Choose the error of the first route, which the author chose; the others are noted on it.

    Args:
        errors: Those of all routes, in order.
        agent_id: Whose model it was; None: nothing is said about that.
    """
    chosen, *others = errors
    if agent_id is not None:
        if isinstance(chosen, ModelAnswerError):
            chosen.args = (f"Agent '{agent_id}': {chosen}",)
        else:
            chosen.add_note(f"The model was called by agent '{agent_id}'.")
    for error in others:
        chosen.add_note(f"A fallback failed as well: {problems.named(error)}")
    return chosen
