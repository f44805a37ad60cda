"""Calls of models by the budget of their tree: through LangChain's callbacks, so whichever graph or agent makes them.

Rules
-----
* Handlers are found in context variables, as LangChain looks there for every call of a model: of agents, subagents,
  graphs that know nothing of budgets, and code in nodes and tools.
* In an event loop a call is admitted by the first handler, which waits without blocking the loop. Callbacks of sync
  callers cannot await: the second one admits these. Neither is inline: LangChain makes a coroutine for each inline
  handler, and leaves the others behind if one raises.
* What a call took is settled when it has ended. One that failed before it was answered took nothing. Of one that was
  stopped, or whose provider reports no usage, nobody knows: it took what was reserved.
* The most that it may read is bounded by the bytes of its messages and tools. What it may write is what its settings
  say; without a maximum, and for images and other media, `assumed_tokens` is reserved.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.context import register_configure_hook

from stategraph.agent.limits import bounds
from stategraph.agent.limits.amounts import UsageTotals
from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.limits.unfinished import answer_of
from stategraph.engine.config import environment
from stategraph.governance.budget.admission import Admission
from stategraph.governance.budget.port import NOTHING, Amounts, Reservation

first: ContextVar[BaseCallbackHandler | None] = ContextVar("stategraph_budget_first", default=None)
second: ContextVar[BaseCallbackHandler | None] = ContextVar("stategraph_budget_second", default=None)
last: ContextVar[BaseCallbackHandler | None] = ContextVar("stategraph_budget_last", default=None)

for _each in (first, second, last):
    register_configure_hook(_each, inheritable=True)


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates of the most that a call of a model may take.

    Attributes:
        prices: Finds prices, for a budget of US dollars; None: there is none.
        assumed_tokens: Tokens that a call is assumed to read or write, where that has no known bound.
    """

    prices: PriceBook | None = None
    assumed_tokens: int = 8_192

    def most(self, provider: str, model: str, sent: Sequence[AnyMessage], settings: Mapping[str, Any]) -> Amounts:
        """Return the most that a call may take.

        Raises:
            ConfigurationError: US dollars are limited, and the model has no known price.
        """
        known = cast("Any", SimpleNamespace(model_kwargs=settings))
        read = bounds.most_read(known, sent)
        if settings.get("tools"):
            read += bounds.most_read(known, [HumanMessage(str(settings["tools"]))])
        tokens_read, tokens_written = self._known(read), self._known(bounds.most_written(known))
        cost: Decimal | None = Decimal(0)
        if self.prices is not None:
            when = environment.current().datetime()
            self.prices.check(provider, model, when)
            cost = self.prices.most(provider, model, tokens_read, tokens_written, when)
        return Amounts.reported(tokens_read + tokens_written, cost or Decimal(0))

    def _known(self, tokens: float) -> int:
        return self.assumed_tokens if math.isinf(tokens) else int(tokens)

    def took(self, call: _Call, answer: AIMessage | None) -> Amounts:
        """Return what a call took; None: it failed before it was answered."""
        if answer is None:
            return NOTHING
        used = UsageTotals.of_call(answer.usage_metadata)
        if used.unreported_calls:
            return call.reservation.amounts
        cost = None
        if self.prices is not None:
            cost = self.prices.cost(call.provider, call.model, used, environment.current().datetime())
        return Amounts.reported(used.total_tokens, call.reservation.amounts.usd if cost is None else cost)


@dataclass(frozen=True, slots=True)
class _Call:
    provider: str
    model: str
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class _Wanted:
    run_id: UUID
    provider: str
    model: str
    amounts: Amounts
    key: str
    place: str


@dataclass(eq=False)
class ModelBudget:
    """Admits and settles the calls of models of one execution; three handlers share it.

    Attributes:
        admission: Admits calls.
        estimates: How much is reserved.
    """

    admission: Admission
    estimates: Estimates
    _calls: dict[UUID, _Call] = field(default_factory=dict)
    _decided: set[UUID] = field(default_factory=set)
    _numbers: dict[str, itertools.count[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handlers(self) -> tuple[BaseCallbackHandler, BaseCallbackHandler, BaseCallbackHandler]:
        """Return the handlers for `first`, `second` and `last`."""
        return BudgetCheck(self), SyncBudgetCheck(self), TextBudgetCheck(self)

    def begins(self, run_id: UUID) -> bool:
        """Return whether a call is to be admitted; False if another handler has."""
        with self._lock:
            is_new = run_id not in self._decided
            self._decided.add(run_id)
            return is_new

    def wanted(self, given: Mapping[str, Any], sent: Sequence[AnyMessage], run_id: UUID) -> _Wanted:
        """Return what a call asks for.

        Args:
            given: What LangChain tells with the call.
            sent: Its messages.
            run_id: LangChain's id of it.
        """
        about = given.get("metadata") or {}
        provider, model = str(about.get("ls_provider") or ""), str(about.get("ls_model_name") or "")
        settings = dict(given.get("invocation_params") or {})
        if (most := about.get("ls_max_tokens")) is not None:
            settings.setdefault("max_tokens", most)
        amounts = self.estimates.most(provider, model, sent, settings)
        place = str(about.get("langgraph_checkpoint_ns") or "")
        if not place:
            return _Wanted(run_id, provider, model, amounts, f"model/{run_id}", f"model/{run_id}")
        # The same number in the node's next execution, if it calls its models in the same order.
        with self._lock:
            number = next(self._numbers.setdefault(place, itertools.count()))
        return _Wanted(run_id, provider, model, amounts, f"model/{place}/{number}", place_of(place))

    def keep(self, wanted: _Wanted, reservation: Reservation) -> None:
        """Note a call that has begun."""
        self._calls[wanted.run_id] = _Call(wanted.provider, wanted.model, reservation)

    def settle(self, run_id: UUID, answer: AIMessage | None) -> None:
        """Settle a call that has ended; those that did not begin are left alone."""
        self._decided.discard(run_id)
        call = self._calls.pop(run_id, None)
        if call is not None:
            self.admission.ledger.settle_later(call.reservation, self.estimates.took(call, answer))

    def close(self) -> None:
        """Settle what has not ended: of such calls nobody knows what they took."""
        for run_id in list(self._calls):
            self.settle(run_id, AIMessage(""))


class BudgetHandler(BaseCallbackHandler):
    """Settings and budget of the handlers; LangChain's warnings name the class of one that refuses a call."""

    run_inline = False
    raise_error = True
    ignore_llm = True
    ignore_agent = True
    ignore_chain = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, budget: ModelBudget) -> None:
        self._budget = budget


class BudgetCheck(BudgetHandler, AsyncCallbackHandler):
    """Admits calls that are made in an event loop."""

    async def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Admit a call of a model.

        Raises:
            BudgetExceeded: It must not begin.
            GraphInterrupt: A person is asked.
        """
        budget = self._budget
        if budget.begins(run_id):
            wanted = budget.wanted(kwargs, _sent(messages), run_id)
            budget.keep(wanted, await budget.admission.admit(wanted.amounts, wanted.key, wanted.place))


class SyncBudgetCheck(BudgetHandler):
    """Admits calls that are made without an event loop."""

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Admit a call of a model, unless the first handler has.

        Raises:
            BudgetExceeded: It must not begin.
            GraphInterrupt: A person is asked.
        """
        budget = self._budget
        if budget.begins(run_id):
            wanted = budget.wanted(kwargs, _sent(messages), run_id)
            budget.keep(wanted, budget.admission.admit_sync(wanted.amounts, wanted.key, wanted.place))


class TextBudgetCheck(BudgetHandler):
    """Settles calls, and admits those of models for texts."""

    run_inline = True
    ignore_llm = False
    ignore_chat_model = True

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """Admit a call of a model for texts.

        Raises:
            BudgetExceeded: It must not begin.
            GraphInterrupt: A person is asked.
        """
        budget = self._budget
        if budget.begins(run_id):
            wanted = budget.wanted(kwargs, [HumanMessage(text) for text in prompts], run_id)
            budget.keep(wanted, budget.admission.admit_sync(wanted.amounts, wanted.key, wanted.place))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle a call by what its answer took."""
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        message = generation.message if isinstance(generation, ChatGeneration) else None
        self._budget.settle(run_id, message if isinstance(message, AIMessage) else AIMessage(""))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle a call that failed or was stopped."""
        self._budget.settle(run_id, answer_of(kwargs.get("response"), error))


def place_of(namespace: str) -> str:
    """Return the name of a node's execution, whose calls of models and actions share one line of interrupts."""
    return f"node/{namespace}"


def _sent(messages: list[list[BaseMessage]]) -> Sequence[AnyMessage]:
    return cast("Sequence[AnyMessage]", messages[0] if messages else ())
