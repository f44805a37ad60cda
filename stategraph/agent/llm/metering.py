"""Calls of models by the meter of their run: whether one may begin, what it took, and what is told about that."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from stategraph.agent.facts import Logged, ModelCall
from stategraph.agent.limits import questions
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter, Ticket
from stategraph.agent.messages.mending import Mender
from stategraph.agent.ports import Halt, Listener
from stategraph.agent.settings.limits import LimitName


async def admitted(meter: Meter, call: ModelCall, model: Runnable[Any, Any], listener: Listener) -> Ticket:
    """Let a call begin; where the run's limits say so, a person is asked about one that is reached.

    Args:
        meter: The run's meter.
        call: The call.
        model: The model.
        listener: Hears of a limit that is reached.

    Returns:
        The call's ticket, for `settled`.

    Raises:
        LimitReachedError: A limit is reached.
        GraphInterrupt: A person is asked.
    """
    while True:
        try:
            return await meter.admit(call, model)
        except LimitReachedError as reached:
            await listener.hear(log_of(reached, call))
            if not meter.asks:
                raise
            await ask(meter, reached, call.at.agent_id)


async def ask(meter: Meter, reached: LimitReachedError, agent_id: str) -> None:
    """Ask a person about a limit, and raise it as they say.

    Raises:
        LimitReachedError: The turn is to end.
        GraphInterrupt: There is no answer yet.
    """
    answer = await questions.ask(reached, agent_id)
    if answer is None:
        meter.closed = True
        raise reached
    meter.raise_to(*answer)


async def settled(
    meter: Meter,
    ticket: Ticket,
    listener: Listener,
    answering: Awaitable[tuple[AIMessage | Exception, bool]],
    mender: Mender,
) -> tuple[AIMessage | Exception, bool]:
    """Await the answer of a model, and count what it took, however the call ends.

    Args:
        meter: The run's meter.
        ticket: The call's ticket.
        listener: Hears of a model that reports no usage, and of a call that failed before it did.
        answering: The call.
        mender: Has the pieces of the answer that have come.

    Returns:
        What the call returns: the answer, or what the model failed with, and whether any of it was told.
    """
    try:
        answer, began = await answering
    except BaseException:
        # Of one that was stopped, nobody knows what it took until its stream has said so.
        meter.settle(ticket, mender.so_far() or AIMessage(""), whole=False)
        raise
    whole = isinstance(answer, AIMessage)
    if isinstance(answer, AIMessage):
        silent = meter.settle(ticket, answer)
    else:
        beginning = mender.so_far()
        silent = beginning is not None and beginning.usage_metadata is None
        meter.settle(ticket, beginning, whole=False)
    if silent:
        call = ticket.call
        what = "are estimated" if meter.limits.of_tokens else "are in no total"
        how = "reports no usage" if whole else "failed before it reported its usage"
        text = f"The model '{call.model}' ({call.provider}) {how}: its tokens {what}"
        await listener.hear(Logged(call.at, "warn", "usage", text))
    if meter.unpriced(ticket.call):
        await listener.hear(unpriced(ticket.call))
    return answer, began


def unpriced(call: ModelCall) -> Logged:
    """Return what is told of a model without a known price."""
    whose = f" ({call.provider})" if call.provider else ""
    text = (
        f"The price of the model {call.model!r}{whose} is not known: its calls are in no cost of the run; give it as "
        f"prices.models, such as ModelPrice(model={call.model!r}, input=0.25, output=2.0) in US dollars for a million "
        "tokens"
    )
    return Logged(call.at, "warn", "usage", text)


def log_of(reached: LimitReachedError, call: ModelCall) -> Logged:
    """Return what is told of a limit that keeps a call of a model from beginning."""
    figures = {"limit": reached.limit, "allowed": reached.allowed, "used": reached.used}
    text = f"No more calls of models: the limit {reached.limit}={reached.allowed:g} is reached"
    return Logged(call.at, "warn", "limits", text, figures)


def end(meter: Meter | None, reached: LimitReachedError) -> Halt:
    """Return how a turn ends that has reached a limit.

    Args:
        meter: The run's meter; None: the limit is another's.
        reached: The limit.

    Raises:
        LimitReachedError: The run's limits say so, or the limit is another's.
    """
    if meter is None or meter.limits.on_limit == "raise":
        raise reached
    return Halt(LimitName(reached.limit).reason)
