"""Call a target with the input of a case, and count what it takes of models.

- A function is called with the input; a sync one in a thread of its own, which does not keep the process alive.
- A compiled graph is invoked on a thread of its own. A text, or a list of messages, becomes its `messages`.
- Agents, or a mapping of settings of `create_run`, make a run.
- Any other Runnable is invoked with the input.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.context import register_configure_hook

from stategraph.testing.evaluation.outcomes import Usage

if TYPE_CHECKING:
    from stategraph.agent.limits.prices import PriceBook
    from stategraph.agent.settings.limits import Prices


@dataclass(slots=True)
class Called:
    """The result of calling a target; it is filled in while the target is called.

    Attributes:
        output: What it returned; None if it raised, or was cancelled.
        usage: What it took of models, also if it raised or was cancelled.
    """

    output: Any = None
    usage: Usage = field(default_factory=Usage)


Call = Callable[[object, Called], Awaitable[None]]


def caller(target: object, *, prices: Prices | None = None, config: Mapping[str, Any] | None = None) -> Call:
    """Return an async function that calls a target with an input, and fills in what came of it.

    Args:
        target: See the module.
        prices: A `Prices`, by which calls of models cost something; None: costs are known of agents with prices alone.
        config: Laid under the config of graphs, runs and Runnables.

    Raises:
        TypeError: It is none of these.
    """
    settings = _run_settings(target)
    if settings is not None:
        return partial(_run, settings, prices, dict(config or {}))
    call: Callable[[object], Awaitable[object]]
    if hasattr(target, "ainvoke"):
        call = partial(_invoke, target, dict(config or {}))
    elif callable(target):
        call = partial(_function, target)
    else:
        raise TypeError(
            f"The target is of type {type(target).__name__}; expected a function, a compiled graph, an AgentInputs, a "
            "list of them, or a mapping of settings of create_run"
        )
    return partial(_counted, call, prices)


async def _counted(
    call: Callable[[object], Awaitable[object]], prices: Prices | None, given: object, called: Called
) -> None:
    with _counting(prices) as counter:
        try:
            called.output = await call(given)
        finally:
            called.usage = counter.usage()


async def _function(target: Callable[[object], Any], given: object) -> object:
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None)):  # noqa: B004
        return await target(given)
    work = partial(contextvars.copy_context().run, target, given)
    returned = await asyncio.wrap_future(_in_thread(work))
    return await returned if inspect.isawaitable(returned) else returned


def _in_thread(work: Callable[[], object]) -> Future[object]:
    """Call a function in a thread of its own: one that hangs holds up no other, nor the end of the process."""
    future: Future[object] = Future()
    future.set_running_or_notify_cancel()  # it cannot be cancelled

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="evaluation", daemon=True).start()
    return future


async def _invoke(target: Any, config: Mapping[str, Any], given: object) -> object:
    if not hasattr(target, "aget_state"):
        return await target.ainvoke(given, config or None)
    configurable = {"thread_id": f"evaluation-{uuid4()}", **config.get("configurable", {})}
    return await target.ainvoke(_as_messages(given), {**config, "configurable": configurable})


async def _run(
    settings: Mapping[str, Any], prices: Prices | None, config: Mapping[str, Any], given: object, called: Called
) -> None:
    from stategraph.run.runtime import create_run  # agents alone need it

    priced = {"prices": prices, **settings} if prices is not None else settings
    run = await create_run(run_id=uuid4().hex, **priced)
    inputs = _as_messages(given)
    configurable = {"thread_id": f"evaluation-{uuid4()}", **config.get("configurable", {})}
    try:
        await run.process_stream(inputs, {**config, "configurable": configurable})
    finally:
        total = run.usage.total
        cost = None if total.cost is None else float(total.cost)
        called.usage = Usage(total.model_calls, total.input_tokens, total.output_tokens, cost)
    if waiting := run.get_interrupts():
        raise RuntimeError(f"The run waits for an answer: {waiting[0].payload!r:.300}")
    said = [each for each in run.get_run_messages() if each.type != "human"]
    called.output = {"messages": [*_messages_of(inputs), *said]}


def _messages_of(inputs: object) -> list[BaseMessage]:
    given = inputs.get("messages") if isinstance(inputs, Mapping) else None
    return [each for each in given if isinstance(each, BaseMessage)] if isinstance(given, list) else []


def _as_messages(given: Any) -> Any:
    if isinstance(given, str):
        return {"messages": [("user", given)]}
    if isinstance(given, BaseMessage):
        return {"messages": [given]}
    return {"messages": given} if isinstance(given, list) else given


def _run_settings(target: object) -> Mapping[str, Any] | None:
    """Return settings of `create_run`; None if the target is something else."""
    if type(target).__name__ == "AgentInputs":
        return {"agents": [target]}
    if isinstance(target, Mapping) and ("agents" in target or "graph" in target):
        return target
    if isinstance(target, list | tuple) and target and all(type(each).__name__ == "AgentInputs" for each in target):
        return {"agents": list(target)}
    return None


# What is taken of models, wherever they are called below.


class _Counter(BaseCallbackHandler):
    """Adds up what calls of models take."""

    run_inline = True

    def __init__(self, prices: Prices | None) -> None:
        self._book = _book(prices)
        self._lock = threading.Lock()
        self._providers: dict[UUID, str] = {}
        self._calls: list[Usage] = []

    def on_chat_model_start(self, serialized: object, messages: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Note the provider."""
        told = kwargs.get("metadata") or {}
        with self._lock:
            self._providers[run_id] = str(told.get("ls_provider") or "")

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: object) -> None:
        """Count a call."""
        answers = [each.message for row in response.generations for each in row if isinstance(each, ChatGeneration)]
        with self._lock:
            provider = self._providers.pop(run_id, "")
            self._calls.append(sum((self._usage(each, provider) for each in answers[:1]), Usage()))

    def _usage(self, message: BaseMessage, provider: str) -> Usage:
        reported = message.usage_metadata if isinstance(message, AIMessage) else None
        if reported is None:
            return Usage(1)
        cost = None
        if self._book is not None:
            from stategraph.agent.limits.amounts import UsageTotals

            model = str(message.response_metadata.get("model_name") or "")
            found = self._book.cost(provider, model, UsageTotals.of_call(reported), datetime.now(UTC))
            cost = None if found is None else float(found)
        return Usage(1, reported["input_tokens"], reported["output_tokens"], cost)

    def usage(self) -> Usage:
        """Return the sum."""
        with self._lock:
            return sum(self._calls, Usage())


def _book(prices: Prices | None) -> PriceBook | None:
    if prices is None:
        return None
    from stategraph.agent.limits.prices import PriceBook

    return PriceBook.of(prices)


@lru_cache(maxsize=1)
def _variable() -> ContextVar[_Counter | None]:
    """Return the variable whose handler LangChain adds to all calls; it is made when somebody evaluates."""
    made: ContextVar[_Counter | None] = ContextVar("stategraph_evaluation", default=None)
    register_configure_hook(cast("ContextVar[BaseCallbackHandler | None]", made), inheritable=True)
    return made


@contextmanager
def _counting(prices: Prices | None) -> Iterator[_Counter]:
    counter, variable = _Counter(prices), _variable()
    token = variable.set(counter)
    try:
        yield counter
    finally:
        variable.reset(token)
