"""The worker's side of jobs, told its messages by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from stategraph.workers.execution import JobPort, JobWorker, job_target
from stategraph.workers.hosting import fields_of
from stategraph.workers.pool import Job
from stategraph.workers.references import Targets
from stategraph.workers.wire import Message, encode

_ends_slowly = asyncio.Event()


@job_target
async def asks_twice(port: JobPort) -> Any:
    """Ask the host; an attempt that is superseded takes its time to end."""
    try:
        return await port.call("ask")
    except asyncio.CancelledError:
        if port.is_superseded:
            await _ends_slowly.wait()
        raise


def test_an_attempt_that_ends_late_does_not_take_the_next_one_of_its_job_with_it() -> None:
    async def main() -> None:
        sent: list[Message] = []
        worker = JobWorker("w", Targets(["tests.workers"]), sent.append)
        given = fields_of(Job(id="j", kind="run", target=f"{__name__}:asks_twice"))

        async def until_sent(kind: str, number: int) -> None:
            async with asyncio.timeout(30):
                while sum(each[0] == kind for each in sent) < number:  # noqa: ASYNC110
                    await asyncio.sleep(0)

        worker.receive(("job", given))
        await until_sent("call", 1)
        worker.receive(("superseded", "j"))
        worker.receive(("cancel", "j", None))
        worker.receive(("job", given))
        await until_sent("call", 2)
        _ends_slowly.set()
        await until_sent("cancelled", 1)
        for _ in range(5):  # until the task that said so has ended
            await asyncio.sleep(0)

        worker.receive(("reply", "j", 1, True, encode("answer", "it")))

        await until_sent("done", 1)
        assert worker.codec.decode(sent[-1][2], "it") == "answer"
        await worker.aclose()

    asyncio.run(main())


def test_the_end_of_a_worker_ends_each_attempt_of_a_job() -> None:
    async def main() -> None:
        sent: list[Message] = []
        worker = JobWorker("w", Targets(["tests.workers"]), sent.append)
        given = fields_of(Job(id="j", kind="run", target=f"{__name__}:asks_twice"))
        for _ in range(2):
            worker.receive(("job", given))
        async with asyncio.timeout(30):
            while len(sent) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await worker.aclose()
        assert [each for each in asyncio.all_tasks() if each.get_name() == "job j"] == []

    asyncio.run(main())
