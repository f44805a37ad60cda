"""The meter of a run: one for all of its agents, whoever calls them, and over all of its executions.

- It counts a call of a model when it begins and what it took when it has ended; between the two, it holds the most that
  the call may take, see `ledger`.
- Calls that wait for others belong to one event loop. Counts are read and changed from any thread: by calls that tools
  make in threads of their own.
- What it has counted is stored with the run's memory, so that another process goes on counting.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import Runnable

from stategraph.agent.facts import ModelCall, Place
from stategraph.agent.limits import bounds, ledger
from stategraph.agent.limits.amounts import RunUsage, UsageTotals, total
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.ledger import Hold, Reached, Verdict
from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.settings.limits import LimitName, RunLimits
from stategraph.engine.config import environment

#: Whose a model's usage is: the agent, the provider and the model.
_Key = tuple[str, str, str]


_FAILED = UsageTotals(model_calls=1)

#: So many calls, with what they sent, are kept until they are added up.
_MOST_LATER = 16


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """The permission of one call of a model.

    Attributes:
        call: The call.
        hold: The most that it may take.
    """

    call: ModelCall
    hold: Hold

    @property
    def key(self) -> _Key:
        """The agent, the provider and the model of its usage."""
        return self.call.at.agent_id, self.call.provider, self.call.model


class Meter:
    """Counts what a run takes, and lets calls begin while its limits allow.

    Args:
        limits: The limits.
        prices: Finds prices; None: nothing is priced.
        count: Counts the tokens of a message where a provider reports none; None: they are not counted.

    Attributes:
        limits: The limits, as they were given.
        prices: Finds prices.
        closed: Whether the turn is to end, and nobody is asked any more.
    """

    def __init__(
        self, limits: RunLimits, prices: PriceBook | None = None, count: Callable[[AnyMessage], int] | None = None
    ) -> None:
        self.limits = limits
        self.prices = prices
        self.closed = False
        self._count = count
        self._given = dict(limits.given())
        self._of_tokens = limits.of_tokens
        # Re-entrant: a host's counter of tokens is called within, and may read the run's usage.
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Begin a turn: nothing was taken, and no limit was raised."""
        with self._lock:
            self.closed = False
            self._added: dict[_Key, UsageTotals] = {}
            self._later: list[tuple[ModelCall, AIMessage | None]] = []
            self._tools: dict[str, int] = {}
            self._model_calls = self._tool_calls = 0
            self._allowed = dict(self._given)
            self._open: dict[str, list[str]] = {}
            self._tickets: set[Ticket] = set()
            self._waiting: list[asyncio.Future[None]] = []
            self._silent: set[tuple[str, str]] = set()
            # Provider and model of calls whose price is not known, and whether that was told.
            self._unpriced: dict[tuple[str, str], bool] = {}
            self._elapsed_s = 0.0
            self._since: float | None = None

    # Time.

    def start(self) -> None:
        """Let the time of an execution run."""
        self._since = environment.current().clock.monotonic()

    def stop(self) -> None:
        """Stop the time: the execution ended, or waits for a person."""
        self._elapsed_s, self._since = self.elapsed_s, None

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has executed."""
        running = 0.0 if self._since is None else environment.current().clock.monotonic() - self._since
        return self._elapsed_s + running

    @property
    def remaining_s(self) -> float | None:
        """Seconds that the run may still execute; None: it has no such limit."""
        limit = self._allowed.get(LimitName.WALL_TIME)
        return None if limit is None else max(0.0, limit - self.elapsed_s)

    # Calls of models.

    async def admit(self, call: ModelCall, model: Runnable[Any, Any]) -> Ticket:
        """Let a call of a model begin, once other calls that are under way leave room for it.

        Args:
            call: The call.
            model: The model.

        Returns:
            Its ticket, to be given back with `settle`, however the call ends.

        Raises:
            LimitReachedError: A limit is reached.
            ConfigurationError: The run has a cost limit, and the model no known price.
        """
        hold = ledger.NOTHING
        if self._of_tokens:
            hold = self._most(call, model)
        ticket = Ticket(call, hold)
        while not self._begins(ticket):
            await self._settlement()
        return ticket

    def _begins(self, ticket: Ticket | None = None) -> bool:
        """Count a call if it may begin; return whether it does.

        Args:
            ticket: Its ticket; None: it has none, and does not wait for others.

        Raises:
            LimitReachedError: A limit is reached.
        """
        with self._lock:
            verdict = self._verdict()
            if isinstance(verdict, Reached):
                raise LimitReachedError(verdict.name, verdict.allowed, verdict.used)
            if ticket is not None:
                if verdict is Verdict.WAIT:
                    return False
                self._tickets.add(ticket)
            self._model_calls += 1
            return True

    def settle(self, ticket: Ticket, answer: AIMessage | None = None, *, whole: bool = True) -> bool:
        """Take what a call took; one that is settled already stays as it is.

        Args:
            ticket: The call's ticket.
            answer: The answer; None: the call failed before there was any of it, and took nothing.
            whole: Whether it is whole; of one that failed or was stopped, the usage may not have come.

        Returns:
            Whether to tell that its model reports no usage: once for each model.
        """
        if ticket not in self._tickets:
            return False
        with self._lock:
            if ticket not in self._tickets:
                return False
            self._tickets.remove(ticket)
            # Added up when somebody wants to know: a call that nothing but its number limits costs next to nothing.
            self._later.append((ticket.call, answer))
            if self.prices is not None or len(self._later) == _MOST_LATER:
                self._add_up()  # by the prices of now
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
        if not whole or answer is None or answer.usage_metadata is not None or ticket.key[1:] in self._silent:
            return False
        self._silent.add(ticket.key[1:])
        return True

    def _add_up(self) -> dict[_Key, UsageTotals]:
        """Return what calls that have ended took."""
        later, self._later = self._later, []
        for call, answer in later:
            key = call.at.agent_id, call.provider, call.model
            used = _FAILED if answer is None else self._used(call, answer)
            before = self._added.get(key)
            self._added[key] = used if before is None else before + used
        return self._added

    def begin_alone(self, provider: str, model: str) -> None:
        """Count a call of a model that begins at once, without a ticket: one of a graph that the host made.

        Args:
            provider: The provider's name; empty if unknown.
            model: The model's name; empty if unknown.

        Raises:
            LimitReachedError: A limit is reached. The call is not counted, and must not begin.
            ConfigurationError: The run has a cost limit, and the model no known price.
        """
        if self.prices is not None and LimitName.COST in self._allowed:
            self.prices.check(provider, model, environment.current().datetime())
        self._begins()

    def took(self, call: ModelCall, answer: AIMessage | None) -> None:
        """Take what a call without a ticket took.

        Args:
            call: The call.
            answer: The answer; None: the call failed.
        """
        with self._lock:
            self._later.append((call, answer))
            self._add_up()

    @property
    def allows_all_tools(self) -> bool:
        """True if no limit keeps a tool from being called."""
        return self.limits.tool_calls is None and self.limits.wall_time_s is None

    @property
    def asks(self) -> bool:
        """True if a person is to be asked about a limit that is reached."""
        return self.limits.on_limit == "ask" and not self.closed

    def raise_to(self, name: LimitName, allowed: int | float) -> None:
        """Raise a limit for the rest of the turn; one that is as high already stays as it is."""
        with self._lock:
            self._allowed[name] = max(self._allowed.get(name, 0), allowed)

    def _verdict(self) -> Verdict | Reached:
        if len(self._allowed) == 1:
            # The limit that every run has, and nothing else to look at.
            limit = self._allowed[LimitName.MODEL_CALLS]
            calls = self._model_calls
            return Verdict.BEGIN if calls < limit else Reached(LimitName.MODEL_CALLS, limit, calls)
        holds = [each.hold for each in self._tickets] if self._of_tokens else ()
        return ledger.model_call(self._allowed, self._taken(), self.elapsed_s, holds)

    def _taken(self) -> UsageTotals:
        taken = total(self._add_up().values())
        return UsageTotals(
            model_calls=self._model_calls,
            tool_calls=self._tool_calls,
            input_tokens=taken.input_tokens,
            output_tokens=taken.output_tokens,
            cost=taken.cost,
        )

    async def _settlement(self) -> None:
        """Wait until a call has ended."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _most(self, call: ModelCall, model: Runnable[Any, Any]) -> Hold:
        """Return the most that a call may take."""
        read, written = bounds.most_read(model, call.messages), bounds.most_written(model)
        if LimitName.COST not in self._allowed or self.prices is None:
            return Hold(read, written, Decimal(0))
        when = environment.current().datetime()
        self.prices.check(call.provider, call.model, when)
        if math.isinf(read) or math.isinf(written):
            return Hold(read, written)
        cost = self.prices.most(call.provider, call.model, int(read), int(written), when)
        return Hold(read, written) if cost is None else Hold(read, written, cost)

    def _used(self, call: ModelCall, answer: AIMessage) -> UsageTotals:
        used = UsageTotals.of_call(answer.usage_metadata)
        if used.unreported_calls and self._of_tokens and self._count is not None:
            read, written = sum(map(self._count, call.messages)), self._count(answer)
            used += UsageTotals(input_tokens=read, output_tokens=written)
        if self.prices is None or (used.unreported_calls and not used.total_tokens):
            return used
        cost = self.prices.cost(call.provider, call.model, used, environment.current().datetime())
        if cost is None:
            self._unpriced.setdefault((call.provider, call.model), False)
        return used + UsageTotals(cost=cost)

    def unpriced(self, call: ModelCall) -> bool:
        """Return whether to tell that the price of a call that has ended is not known: once for each model.

        Args:
            call: The call.
        """
        if not self._unpriced:
            return False
        with self._lock:
            key = call.provider, call.model
            told = self._unpriced.get(key, True)
            self._unpriced[key] = True
            return not told

    # Calls of tools.

    def begin_tools(self, at: Place, calls: Sequence[str]) -> Reached | None:
        """Count calls of tools that begin; those of a node that runs again are counted once.

        Args:
            at: The place of the calls.
            calls: Their ids.

        Returns:
            The limit that they would exceed; then none is counted. None: they may begin.
        """
        with self._lock:
            fresh = self._fresh(at, calls)
            if not fresh:
                return None
            _, reached = ledger.tool_calls(self._allowed, self._taken(), self.elapsed_s, len(fresh))
            if reached is None:
                self.count_tools(at, fresh)
            return reached

    def room_for_tools(self, at: Place, calls: Sequence[str]) -> int:
        """Return how many calls of tools may begin, the first ones."""
        with self._lock:
            fresh = self._fresh(at, calls)
            count, _ = ledger.tool_calls(self._allowed, self._taken(), self.elapsed_s, len(fresh))
            return len(calls) - len(fresh) + count

    def count_tools(self, at: Place, calls: Sequence[str]) -> None:
        """Count calls of tools that were allowed, whatever the limits say."""
        with self._lock:
            fresh = self._fresh(at, calls)
            if fresh:
                self._open.setdefault(batch_of(at), []).extend(fresh)
                self._tool_calls += len(fresh)
                self._tools[at.agent_id] = self._tools.get(at.agent_id, 0) + len(fresh)

    def end_tools(self, at: Place) -> None:
        """Forget which calls of a node were counted: it does not run again."""
        with self._lock:
            self._open.pop(batch_of(at), None)

    def _fresh(self, at: Place, calls: Sequence[str]) -> list[str]:
        known = self._open.get(batch_of(at), ())
        return [each for each in calls if each not in known]

    # What was taken.

    @property
    def usage(self) -> RunUsage:
        """The usage so far, of calls that are under way only their number."""
        with self._lock:
            by_agent = {agent: UsageTotals(tool_calls=count) for agent, count in self._tools.items()}
            ended, keys = dict(self._add_up()), [ticket.key for ticket in self._tickets]
        by_model: dict[str, UsageTotals] = {}
        under_way: dict[_Key, UsageTotals] = {}
        for key in keys:
            under_way[key] = under_way.get(key, UsageTotals()) + UsageTotals(model_calls=1)
        for counted in (ended, under_way):
            for (agent, provider, model), used in counted.items():
                by_agent[agent] = by_agent.get(agent, UsageTotals()) + used
                name = f"{provider}/{model}"
                by_model[name] = by_model.get(name, UsageTotals()) + used
        return RunUsage(total(by_agent.values()), by_agent, by_model)

    def memory(self) -> dict[str, Any]:
        """Return what another process needs to go on counting, as JSON."""
        with self._lock:
            raised = {name: limit for name, limit in self._allowed.items() if limit != self._given.get(name)}
            return {
                "models": [[*key, used.stored()] for key, used in self._add_up().items()],
                "tools": dict(self._tools),
                "open": {batch: list(calls) for batch, calls in self._open.items()},
                "raised": {str(name): limit for name, limit in raised.items()},
                "elapsed_s": self.elapsed_s,
                **({"closed": True} if self.closed else {}),
            }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on counting where `memory` stood, in place of what was counted here."""
        with self._lock:
            self._later.clear()
            self._added = {(key[0], key[1], key[2]): UsageTotals.restored(used) for *key, used in memory["models"]}
            self._tools = dict(memory["tools"])
            self._open = {batch: list(calls) for batch, calls in memory["open"].items()}
            self._model_calls = sum(each.model_calls for each in self._added.values()) + len(self._tickets)
            self._tool_calls = sum(self._tools.values())
            for name, limit in memory["raised"].items():
                self.raise_to(LimitName(name), limit)
            self._elapsed_s = max(self._elapsed_s, memory["elapsed_s"])
            self.closed = self.closed or memory.get("closed", False)


def batch_of(at: Place) -> str:
    """Return a name for the execution of a node that stays the same when the node runs again."""
    return str(at.metadata.get("langgraph_checkpoint_ns") or at.agent_id)
