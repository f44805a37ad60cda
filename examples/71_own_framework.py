"""An agent of a framework of one's own, served as a process, found in a directory and asked through a router.

Prints::

    registered: shouting
    HELLO
    WHO AM I? (2 messages before)
    1 request failed: RuntimeError: nobody shouts that
    registered after the end: nothing
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from stategraph.fleet import A2aTransport, AgentEndpoint, Directory, Router, message
from stategraph.fleet.adapters import Fact, Supervisor, Turn
from stategraph.fleet.adapters.launching import Asked, launch
from stategraph.fleet.answers import Answer
from stategraph.fleet.sources.database import DatabaseSource


async def shout(turn: Turn) -> AsyncGenerator[Fact | str]:
    """Say it louder."""
    if turn.message.text == "whisper":
        raise RuntimeError("nobody shouts that")
    yield turn.message.text.upper()
    if turn.history:
        yield f" ({len(turn.history)} messages before)"


async def ask(router: Router[Any, Any], text: str) -> Answer:
    """Ask the agent, and print what it says."""
    answer, said = Answer(), ""
    async for event in router.stream(message(text, context_id="a conversation"), agent="shouting"):
        said += answer.take(event)
    print(said if answer.state == "completed" else f"1 request {answer.state}: {said}")
    return answer


async def main() -> None:
    here = Path(__file__)
    asked = Asked(framework="custom", target=f"{here.stem}:shout", name="shouting", folder=here.parent)
    ready = asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        source = DatabaseSource.from_url(f"sqlite:///{folder}/agents.db")
        async with Directory(source) as directory, A2aTransport() as transport:
            supervisor = Supervisor(
                launch(asked),
                directory=directory,
                endpoint=lambda url: AgentEndpoint(agent="shouting", url=url),
                tell=lambda what, about: ready.set() if what == "ready" else None,
            )
            running = asyncio.create_task(supervisor.run())
            await asyncio.wait_for(ready.wait(), 60)
            print("registered:", ", ".join(directory.agents()))
            router = Router(directory, transport)
            for text in ("hello", "who am I?", "whisper"):
                await ask(router, text)
            supervisor.stop()
            await running
            print("registered after the end:", ", ".join(directory.agents()) or "nothing")


if __name__ == "__main__":
    asyncio.run(main())
