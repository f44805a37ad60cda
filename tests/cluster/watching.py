"""What a client of the fleet sees of a cluster: who is there, who is well, and how long requests take.

It finds the hosts in the directory alone, in the bucket of the NATS server that they register in.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from stategraph.fleet import (
    A2aTransport,
    CardCache,
    Directory,
    FleetError,
    HealthChecks,
    NatsSource,
    RequestLostError,
    Router,
    message,
)
from stategraph.fleet.answers import Answer
from tests.cluster.hosts import TOKEN, Hosts

AGENT: Final = "waiting"

#: Seconds between two looks, and between two requests.
LOOK_S: Final = 0.1
ASK_S: Final = 1.0


@dataclass(slots=True)
class Seen:
    """The things that were seen.

    Attributes:
        found_s: Seconds from a host's start until it was in the directory.
        noticed_s: Seconds from a host's end, or the cut of its link, until no more requests were sent to it.
        first_s: Seconds until the first byte of each answer.
        moved_s: Of those whose first endpoint failed.
        answered: Requests that were answered to their end.
        broken: Requests whose host went away in the middle of its answer; nothing was sent again.
        failed: Requests that nobody took.
        wrong: Answers that were something else.
    """

    found_s: list[float] = field(default_factory=list)
    noticed_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    moved_s: list[float] = field(default_factory=list)
    answered: int = 0
    broken: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what is told of it."""
        return [
            f"discovery: {len(self.found_s)} hosts found, {_range(self.found_s)} after they listened",
            f"health: {len(self.noticed_s)} hosts that were gone were passed over {_range(self.noticed_s)} later",
            f"failover: {self.answered} requests answered, first byte {_range(self.first_s)}",
            f"failover: {len(self.moved_s)} of these went to another host, first byte {_range(self.moved_s)}",
            f"failover: {self.broken} lost in the middle of an answer, {len(self.failed)} taken by nobody",
        ]


def _range(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.2f} s (median), {ordered[-1]:.2f} s (worst)"


class Watch:
    """Watches the hosts of a cluster, as long as the block of `watching` runs."""

    def __init__(self, hosts: Hosts, directory: Directory, router: Router[Any, Any], moved: _Moves) -> None:
        self._hosts = hosts
        self._directory = directory
        self._router = router
        self._moved = moved
        self._known: set[tuple[str, float]] = set()
        self._judged = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen = Seen()
        self.found = asyncio.Event()

    async def look(self) -> None:
        """Look who is there, from time to time."""
        while True:
            now, there = time.monotonic(), self._hosts.running
            well = {
                each.endpoint.url.removesuffix(f"/a2a/{AGENT}")
                for each in self._directory.endpoints()
                if each.endpoint.agent == AGENT and each.takes_requests(self._directory.clock())
            }
            for host in self._hosts.running:
                if (host.address, host.started_at) not in self._known and host.address in well:
                    self._known.add((host.address, host.started_at))
                    self.seen.found_s.append(now - host.started_at)
                    self.found.set()
            if self._judged < len(self._hosts.away):
                address, since = self._hosts.away[self._judged]
                if address not in well:
                    self._judged += 1
                    self.seen.noticed_s.append(now - since)
                elif any(each.address == address and max(each.started_at, each.back_at) > since for each in there):
                    self._judged += 1  # it was back before anybody noticed
                elif now - since > 30:
                    self._judged += 1
                    self.seen.wrong.append(f"{address} was still sent requests 30 s after it was gone")
            await asyncio.sleep(LOOK_S)

    async def ask(self) -> None:
        """Send a request from time to time."""
        number = 0
        while True:
            number += 1
            task = asyncio.create_task(self._ask(f"request {number}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(ASK_S)

    async def _ask(self, text: str) -> None:
        request, answer = message(text), Answer()
        began, first_s = time.monotonic(), 0.0
        try:
            async for event in self._router.stream(request, agent=AGENT, repeatable=True):
                if not first_s:
                    first_s = time.monotonic() - began
                    self.seen.first_s.append(first_s)
                    if request.message.message_id in self._moved.messages:
                        self.seen.moved_s.append(first_s)
                answer.take(event)
        except RequestLostError:
            self.seen.broken += 1
        except FleetError as error:
            self.seen.failed.append(str(error))
        else:
            self.seen.answered += 1
            if answer.state != "completed":
                self.seen.wrong.append(f"{text} ended as {answer.state!r}")

    async def end(self) -> None:
        """Wait until the requests that are under way are answered."""
        await asyncio.gather(*self._tasks)


class _Moves(A2aTransport):
    """Notes which messages were sent more than once."""

    def __init__(self, client: httpx.AsyncClient, cards: CardCache) -> None:
        super().__init__(client, cards=cards, plain_http=True)
        self._sent: set[str] = set()
        self.messages: set[str] = set()

    async def stream(self, endpoint, request):  # type: ignore[no-untyped-def]
        message_id = request.message.message_id
        (self.messages if message_id in self._sent else self._sent).add(message_id)
        async with contextlib.aclosing(super().stream(endpoint, request)) as events:
            async for event in events:
                yield event


@contextlib.asynccontextmanager
async def watching(hosts: Hosts) -> AsyncGenerator[Watch]:
    """Watch the hosts for a block."""
    timeout = httpx.Timeout(5.0, connect=0.5, read=None)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as client:
        cards = CardCache(client, timeout_s=2.0)
        async with (
            Directory(NatsSource(hosts.nats), refresh_s=0.5) as directory,
            _Moves(client, cards) as transport,
            HealthChecks(directory, cards, every_s=2.0),
        ):
            router = Router(directory, transport, strategy="least_outstanding", first_byte_s=8.0, fallback=3)
            watch = Watch(hosts, directory, router, transport)
            tasks = [asyncio.create_task(watch.look())]
            await watch.found.wait()
            asking = asyncio.create_task(watch.ask())
            try:
                yield watch
                asking.cancel()
                await watch.end()
            finally:
                for task in (*tasks, asking):
                    task.cancel()
                await asyncio.gather(*tasks, asking, return_exceptions=True)
