"""The contract of the worker pool, on each backend, and on backends that break it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stategraph.errors import AbortError
from stategraph.workers.inline import InlineLink, InlinePool
from stategraph.workers.process.supervisor import ProcessPool
from stategraph.workers.scheduling import ScheduledPool, WorkerLink
from stategraph.workers.thread import ThreadPool
from stategraph.workers.wire import Message
from tests.workers import contract
from tests.workers.contract import CONTRACT, Clause

BACKENDS: dict[str, Callable[..., ScheduledPool]] = {
    "inline": InlinePool,
    "thread": ThreadPool,
    "process": ProcessPool,
}


async def held_to(make: Callable[..., ScheduledPool], clause: Clause) -> None:
    async with asyncio.timeout(contract.LIMIT_S), make(2, allow=["tests.workers"], grace_s=2.0) as pool:
        await clause(pool)


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda each: each.__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend(backend: str, clause: Clause) -> None:
    asyncio.run(held_to(BACKENDS[backend], clause))


class Faulty(InlineLink):
    """An inline worker whose messages pass through a fault."""

    def __init__(self, pool: InlinePool, name: str, fault: Callable[[Message], list[Message]]) -> None:
        self._fault = fault
        super().__init__(pool, name)

    def reply(self, message: Message) -> None:
        for each in self._fault(message):
            super().reply(each)

    def send(self, message: Message) -> None:
        for each in self._fault(message):
            super().send(each)


def drops_an_event(message: Message) -> list[Message]:
    match message:
        case ("event", _, 5, *_):
            return []
        case ("event", job_id, number, *rest) if number > 5:
            return [("event", job_id, number - 1, *rest)]
    return [message]


class Reorders:
    """Exchanges an event with the one after it, under the numbers that they should have had."""

    def __init__(self) -> None:
        self._held: Message | None = None

    def __call__(self, message: Message) -> list[Message]:
        if message[0] == "event" and message[2] == 2:
            self._held = message
            return []
        if message[0] == "event" and message[2] == 3 and self._held is not None:
            second, self._held = self._held, None
            return [(*second[:3], *message[3:]), (*message[:3], *second[3:])]
        return [message]


def loses_a_cancel(message: Message) -> list[Message]:
    return [] if message[0] == "cancel" else [message]


BROKEN: dict[str, tuple[Callable[[], Callable[[Message], list[Message]]], str]] = {
    "drops an event": (lambda: drops_an_event, "tells_events_in_order_without_a_gap"),
    "reorders events": (Reorders, "tells_events_in_order_without_a_gap"),
    "loses a cancel": (lambda: loses_a_cancel, "cancels_a_running_job_and_lets_it_clean_up"),
}


@pytest.mark.parametrize("name", sorted({name for _, name in BROKEN.values()}))
def test_the_backend_that_the_faults_are_put_into_passes_without_them(name: str) -> None:
    class Sound(InlinePool):
        def _start(self, name: str) -> WorkerLink:
            return Faulty(self, name, lambda message: [message])

    (clause,) = [each for each in CONTRACT if each.__name__ == name]
    asyncio.run(held_to(Sound, clause))


@pytest.mark.parametrize("fault", BROKEN)
def test_a_backend_that_breaks_the_contract_does_not_pass(fault: str) -> None:
    make_fault, name = BROKEN[fault]

    class Broken(InlinePool):
        def _start(self, name: str) -> WorkerLink:
            return Faulty(self, name, make_fault())

    def broken(*arguments: Any, **settings: Any) -> ScheduledPool:
        return Broken(*arguments, **{**settings, "grace_s": 0.05})

    (clause,) = [each for each in CONTRACT if each.__name__ == name]
    with pytest.raises((AssertionError, AbortError)):
        asyncio.run(held_to(broken, clause))


def test_numbers_of_events_that_are_missing_end_the_job() -> None:
    class Lossy(InlinePool):
        def _start(self, name: str) -> WorkerLink:
            return Faulty(self, name, lambda message: [] if message[:3] == ("event", "job", 5) else [message])

    async def main() -> None:
        async with Lossy(1, allow=["tests.workers"]) as pool:
            handle = await pool.submit(contract.job("counts", 20))
            with pytest.raises(Exception, match="Event 6 of job 'job' came after event 4"):
                await handle.result()

    asyncio.run(main())
