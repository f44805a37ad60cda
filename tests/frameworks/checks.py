"""The checks that every framework's agent is held to; each raises AssertionError with what was found."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from tests.frameworks.frame import Asking, Heard
from tests.frameworks.model import BROKEN

WAIT_S = 60.0


def expect(holds: bool, what: str, found: object) -> None:
    """Raise unless something holds."""
    if not holds:
        raise AssertionError(f"{what}; found {found!r}"[:600])


async def answers(asks: Asking) -> None:
    """One message, one answer."""
    heard = await asks.ask("Good morning")
    expect(heard.state == "completed", "the task is not completed", (heard.state, heard.problem))
    expect("Good morning to you all" in heard.text, "the answer's text is another", heard.text)
    expect(heard.text.count("Good morning to you all") == 1, "the answer came twice", heard.text)


async def streams(asks: Asking) -> None:
    """The answer comes in pieces, the first one long before the last."""
    heard = await asks.ask("Good morning")
    expect(heard.pieces > 2, "the answer came in one piece", heard)


async def calls_a_tool(asks: Asking) -> None:
    """The framework calls the agent's tool, and the call and its result are told."""
    heard = await asks.ask("How is the weather in Rome?")
    expect(heard.state == "completed", "the task is not completed", (heard.state, heard.problem))
    expect("sunny in Rome" in heard.text, "the answer says nothing of the tool's result", heard)
    expect(("weather", {"city": "Rome"}) in heard.calls, "the call was not told", heard.calls)
    expect(len(heard.calls) == 1, "the call was told more than once", heard.calls)
    expect(any("sunny in Rome" in each for each in heard.results), "the result was not told", heard.results)


async def remembers(asks: Asking) -> None:
    """The second turn knows what was said in the first one, and another conversation does not."""
    first = await asks.ask("Hello, my name is Ada", "remember-1")
    expect(first.context_id == "remember-1", "the conversation got another id", first.context_id)
    second = await asks.ask("who am I?", "remember-1")
    expect("You are Ada" in second.text, "the second turn does not know the first one", second)
    other = await asks.ask("who am I?", "remember-2")
    expect("nobody" in other.text, "a conversation knows another one's messages", other)


async def tells_errors(asks: Asking) -> None:
    """An error of the model is the end of the task, with the model's words; the next turn works."""
    heard = await asks.ask("please fail", "errors")
    expect(heard.state == "failed", "the task did not fail", heard)
    expect(BROKEN in heard.problem, "the error is not told", heard)
    expect(os.environ.get("MODEL_KEY", "sk-secret-of-the-model") not in heard.problem, "a key is told", heard.problem)
    after = await asks.ask("Good morning", "errors")
    expect(after.state == "completed", "the conversation did not recover", (after.state, after.problem))


async def cancels(asks: Asking) -> None:
    """A task under way is cancelled at once, and the next turn works."""
    endpoint, heard = asks.of("cancelled"), Heard()
    state = ""
    async with asyncio.timeout(WAIT_S):
        async for event in asks.stream("speak slowly", "cancelled"):
            heard.take(event)
            if not state and heard.state == "working":
                state = await asks.cancel(endpoint, heard.task_id)
    expect(state == "TASK_STATE_CANCELED", "it was not cancelled", state)
    expect(heard.state == "canceled", "the stream did not end so", heard)
    after = await asks.ask("Good morning", "cancelled")
    expect(after.state == "completed", "the conversation did not recover", (after.state, after.problem))


async def counts(asks: Asking) -> None:
    """Health, the card's ETag and the statistics of every instance."""
    total: dict[str, int] = {}
    for each in asks.directory.agents()[asks.agent.name]:
        url = each.endpoint.url
        health = await asks.http.get(f"{url}/health")
        expect(health.status_code == 200, "the instance is not well", health.text)
        card = await asks.http.get(each.endpoint.card_url)
        again = await asks.http.get(each.endpoint.card_url, headers={"If-None-Match": card.headers.get("etag", "")})
        expect(again.status_code == 304, "the card has no ETag that holds", again.status_code)
        said = (await asks.http.get(f"{url}/statistics")).json()
        for name in ("requests", "completed", "failed", "canceled", "input_tokens", "output_tokens", "active"):
            total[name] = total.get(name, 0) + said[name]
    expect(total["requests"] >= 8 and total["active"] == 0, "turns are not counted", total)
    expect(total["failed"] >= 1 and total["canceled"] >= 1, "ends are not counted", total)
    expect(total["input_tokens"] > 0 and total["output_tokens"] > 0, "tokens are not counted", total)


async def survives(asks: Asking) -> None:
    """An instance is killed: requests go to the other one, and a new one is registered."""
    endpoint = asks.of("killed")
    before = await asks.ask("Good morning", "killed")
    expect(before.state == "completed", "it did not answer before", before)
    os.kill(asks.agent.pids[endpoint.url], signal.SIGKILL)
    after = await asks.ask("Good morning", "killed", repeatable=True)
    expect(after.state == "completed", "the other instance did not answer", after)
    async with asyncio.timeout(WAIT_S):
        await asks.agent.replaced(endpoint.url)
    again = await asks.ask("Good morning", "killed", repeatable=True)
    expect(again.state == "completed", "it did not answer after the restart", again)


#: The columns of the table, in the order in which they run.
CHECKS: Mapping[str, Callable[[Asking], Awaitable[None]]] = {
    "answer": answers,
    "stream": streams,
    "tool": calls_a_tool,
    "second turn": remembers,
    "error": tells_errors,
    "cancel": cancels,
    "statistics": counts,
    "kill": survives,
}
