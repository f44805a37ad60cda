"""The contract of the worker pool, on each backend, and on backends that break it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest

from stategraph.errors import AbortError
from stategraph.workers.cluster.pool import ClusterSettings, NatsPool
from stategraph.workers.hosting import HostingPool
from stategraph.workers.inline import InlineLink, InlinePool
from stategraph.workers.process.supervisor import ProcessPool
from stategraph.workers.scheduling import WorkerLink
from stategraph.workers.thread import ThreadPool
from stategraph.workers.wire import Message
from tests.workers import contract
from tests.workers.contract import CONTRACT, Clause

BACKENDS: dict[str, Callable[..., HostingPool]] = {
    "inline": InlinePool,
    "thread": ThreadPool,
    "process": ProcessPool,
    "nats": NatsPool,
}


async def held_to(make: Callable[..., HostingPool], clause: Clause) -> None:
    async with asyncio.timeout(contract.LIMIT_S), make(workers=2, allow=["tests.workers"], grace_s=2.0) as pool:
        await clause(pool)


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda each: each.__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend(backend: str, clause: Clause, request: pytest.FixtureRequest) -> None:
    make = BACKENDS[backend]
    if backend == "nats":
        make = partial(make, request.getfixturevalue("nats_url"))
    asyncio.run(held_to(make, clause))


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


Fault: TypeAlias = Callable[[Message], list[Message]]


def faulty_inline(make_fault: Callable[[], Fault], request: pytest.FixtureRequest) -> Callable[..., HostingPool]:
    class FaultyPool(InlinePool):
        def _start(self, name: str) -> WorkerLink:
            return Faulty(self, name, make_fault())

    return FaultyPool


def faulty_nats(make_fault: Callable[[], Fault], request: pytest.FixtureRequest) -> Callable[..., HostingPool]:
    fault = make_fault()

    class FaultyPool(NatsPool):
        def _told(self, placed: Any, attempt: int, message: Message) -> None:
            for each in fault(message):
                super()._told(placed, attempt, each)

        def _go(self, placed: Any, node: str, to: str) -> None:
            super()._go(placed, node, to)
            send = placed.hosted.send
            placed.hosted.send = lambda message: [send(each) for each in fault(message)]

    return partial(FaultyPool, request.getfixturevalue("nats_url"), settings=ClusterSettings(local="thread"))


FAULTY = {"inline": faulty_inline, "nats": faulty_nats}


@pytest.mark.parametrize("backend", FAULTY)
@pytest.mark.parametrize("name", sorted({name for _, name in BROKEN.values()}))
def test_the_backend_that_the_faults_are_put_into_passes_without_them(
    name: str, backend: str, request: pytest.FixtureRequest
) -> None:
    sound = FAULTY[backend](lambda: lambda message: [message], request)

    (clause,) = [each for each in CONTRACT if each.__name__ == name]
    asyncio.run(held_to(sound, clause))


@pytest.mark.parametrize("backend", FAULTY)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_backend_that_breaks_the_contract_does_not_pass(
    fault: str, backend: str, request: pytest.FixtureRequest
) -> None:
    make_fault, name = BROKEN[fault]
    make = FAULTY[backend](make_fault, request)

    def broken(*arguments: Any, **settings: Any) -> HostingPool:
        return make(*arguments, **{**settings, "grace_s": 0.05})

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
