"""The ends of runs are told to the addresses that requests name, once they are public or trusted."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partialmethod
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import ServiceSettings, open_service
from stategraph.server.service.outgoing import SIGNATURE, Outgoing
from stategraph.server.service.port import ANYONE, InvalidError, NotFoundError, RunRequest, UnavailableError
from stategraph.server.service.port import ConflictError as ServiceConflictError
from stategraph.server.service.runs import webhooks
from stategraph.server.service.runs.webhooks import Webhooks
from stategraph.workers.registry.port import ConflictError, StoreUnavailableError
from tests.server.planted import Failing, fail_statements
from tests.server.runs.graphs import ALL
from tests.server.serving import HOST

LIMIT_S = 60

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def receiver(
    *answers: int, waits: anyio.Event | None = None
) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Listen for requests; answer each with the next status, or with the last one, once it may."""
    found: list[tuple[dict[str, str], bytes]] = []
    left = list(answers)
    listener = await anyio.create_tcp_listener(local_host=HOST)

    async def handle(stream: Any) -> None:
        async with stream:
            raw = b""
            while b"\r\n\r\n" not in raw:
                raw += await stream.receive()
            head, _, body = raw.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")[1:]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive()
            found.append((headers, body))
            if waits is not None:
                await waits.wait()
            status = left.pop(0) if len(left) > 1 else left[0]
            await stream.send(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://{HOST}:{port}/told?key=secret", found
        group.cancel_scope.cancel()


async def told(found: list[Any], number: int) -> None:
    with anyio.fail_after(LIMIT_S):
        while len(found) < number:  # noqa: ASYNC110 # it is another task's list
            await anyio.sleep(0.01)


async def test_the_end_of_a_run_is_told_and_signed(url: str) -> None:
    outgoing = Outgoing([HOST], first_pause_s=0.01)
    async with (
        receiver(503, 200) as (address, found),
        open_service(
            ServedGraphs(ALL), url, ServiceSettings(drain_s=0, outgoing=outgoing, webhook_secret="shh")
        ) as opened,
    ):
        asked = RunRequest(assistant_id="steps", input={"log": []}, webhook=address, metadata={"for": "us"})
        run = await opened.service.runs.create(ANYONE, asked)
        await told(found, 2)  # the first time the receiver was not ready
    headers, body = found[1]
    assert found[0][1] == body
    assert headers[SIGNATURE.lower()] == hmac.new(b"shh", body, hashlib.sha256).hexdigest()
    said = json.loads(body)
    assert (said["run_id"], said["status"], said["values"]) == (run.run_id, "success", {"log": ["first", "second"]})
    assert said["metadata"]["for"] == "us"
    assert said["error"] is None


async def test_an_end_that_a_process_has_left_is_told_by_the_next(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outgoing = Outgoing([HOST])
    async with receiver(200) as (address, found):
        with monkeypatch.context() as patched:
            patched.setattr(webhooks, "AT_ONCE", 0)  # this process tells nothing
            async with open_service(ServedGraphs(ALL), url, ServiceSettings(drain_s=0, outgoing=outgoing)) as opened:
                asked = RunRequest(assistant_id="broken", input={"log": []}, webhook=address)
                run = await opened.service.runs.create(ANYONE, asked)
                with anyio.fail_after(LIMIT_S):
                    await opened.service.runs.wait(ANYONE, run.run_id)
        assert not found
        async with open_service(ServedGraphs(ALL), url, ServiceSettings(works=False, outgoing=outgoing)):
            await told(found, 1)
    said = json.loads(found[0][1])
    assert (said["status"], said["error"]) == ("error", {"error": "ValueError", "message": "it cannot be"})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """What grows with each look for ends to tell, of which there are many a second."""
    made: list[None] = []
    look = Webhooks._due

    async def counted(self: Webhooks) -> Any:
        found = await look(self)
        made.append(None)
        return found

    monkeypatch.setattr(Webhooks, "_due", counted)
    monkeypatch.setattr(Webhooks, "telling", partialmethod(Webhooks.telling, look_s=0.01))
    return made


async def test_a_look_while_a_run_is_begun_does_not_take_it_for_a_deleted_one(
    url: str, monkeypatch: pytest.MonkeyPatch, looks: list[None]
) -> None:
    async with (
        receiver(200) as (address, found),
        open_service(ServedGraphs(ALL), url, ServiceSettings(drain_s=0, outgoing=Outgoing([HOST]))) as opened,
    ):
        submit = opened.registry.submit

        async def late(*arguments: Any, **named: Any) -> Any:
            await told(looks, len(looks) + 2)
            return await submit(*arguments, **named)

        monkeypatch.setattr(opened.registry, "submit", late)
        asked = RunRequest(assistant_id="steps", input={"log": []}, webhook=address)
        run = await opened.service.runs.create(ANYONE, asked)
        await told(found, 1)
    assert json.loads(found[0][1])["run_id"] == run.run_id


@pytest.mark.parametrize("part", ["get", "output", "post", "forget"])
async def test_an_end_is_told_again_after_whatever_failure(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, looks: list[None], part: str
) -> None:
    monkeypatch.setattr(webhooks, "AGAIN_S", 0.001)
    outgoing = Outgoing([HOST])
    errors = [UnavailableError("away"), NotFoundError("this graph is not served"), RuntimeError("something new")]
    async with (
        receiver(200) as (address, found),
        open_service(ServedGraphs(ALL), url, ServiceSettings(drain_s=0, outgoing=outgoing)) as opened,
    ):
        runs, database = opened.service.runs, opened.registry.operations.database
        if part == "forget":
            errors = [ConflictError("deadlock"), StoreUnavailableError("away")]
            fail_statements(monkeypatch, database, "DELETE FROM sg_webhook", *errors)
        elif part == "post":
            monkeypatch.setattr(outgoing, "post", Failing(outgoing.post, *errors))
        else:
            errors = errors if part == "output" else [errors[0], errors[2]]  # what is not found at all is gone
            monkeypatch.setattr(runs, part, Failing(getattr(runs, part), *errors))
        asked = RunRequest(assistant_id="steps", input={"log": []}, webhook=address)
        run = await runs.create(ANYONE, asked)
        times = len(errors) + 1 if part == "forget" else 1  # its receiver had taken it
        await told(found, times)
        await forgotten(database)
    assert [json.loads(body)["run_id"] for _, body in found] == [run.run_id] * times
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info and "not told" in record.getMessage()]
    assert logged == errors


async def forgotten(database: Any) -> None:
    with anyio.fail_after(LIMIT_S):
        while await anyio.to_thread.run_sync(_rows, database):  # noqa: ASYNC110 # it is another task's row
            await anyio.sleep(0.01)


def _rows(database: Any) -> list[Any]:
    with database.transaction(write=False) as session:
        found: list[Any] = session.execute("SELECT run_id, held_until FROM sg_webhook")
    return found


async def test_an_end_whose_run_was_deleted_is_forgotten(
    url: str, monkeypatch: pytest.MonkeyPatch, looks: list[None]
) -> None:
    async with receiver(200) as (address, found):
        with monkeypatch.context() as patched:
            patched.setattr(webhooks, "AT_ONCE", 0)
            async with open_service(
                ServedGraphs(ALL), url, ServiceSettings(drain_s=0, outgoing=Outgoing([HOST]))
            ) as opened:
                runs, database = opened.service.runs, opened.registry.operations.database
                run = await runs.create(ANYONE, RunRequest(assistant_id="steps", input={"log": []}, webhook=address))
                with anyio.fail_after(LIMIT_S):
                    await runs.wait(ANYONE, run.run_id)
                await runs.delete(ANYONE, run.run_id)
                assert await anyio.to_thread.run_sync(_rows, database)
                patched.undo()
                await forgotten(database)
    assert not found


async def test_an_end_is_stored_with_its_run_or_not_at_all_and_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "AT_ONCE", 0)
    outgoing = Outgoing([HOST])
    async with open_service(ServedGraphs(ALL), url, ServiceSettings(works=False, outgoing=outgoing)) as opened:
        runs, database = opened.service.runs, opened.registry.operations.database
        thread = (await opened.service.threads.create(ANYONE)).thread_id
        named = "6b0f4c6e-6d5e-4a3f-9d5e-0a4b8a7c1d2e"
        asked = RunRequest(
            assistant_id="steps", thread_id=thread, input={}, webhook=f"http://{HOST}/told", run_id=named
        )
        await runs.create(ANYONE, asked)
        assert await anyio.to_thread.run_sync(_rows, database) == [(named, 0)]
        with pytest.raises(ServiceConflictError):
            await runs.create(ANYONE, replace(asked, run_id=None, multitask_strategy="reject"))
        assert await anyio.to_thread.run_sync(_rows, database) == [(named, 0)]
        await anyio.to_thread.run_sync(_forget, database)
        await runs.create(ANYONE, asked)  # the same request again: its run's end is told already
        assert not await anyio.to_thread.run_sync(_rows, database)


def _forget(database: Any) -> None:
    with database.transaction() as session:
        session.change("DELETE FROM sg_webhook")


async def test_a_process_that_ends_gives_back_what_it_tells(url: str, looks: list[None]) -> None:
    answers = anyio.Event()
    async with receiver(200, waits=answers) as (address, found):
        async with open_service(
            ServedGraphs(ALL), url, ServiceSettings(drain_s=0, outgoing=Outgoing([HOST]))
        ) as opened:
            asked = RunRequest(assistant_id="steps", input={"log": []}, webhook=address)
            await opened.service.runs.create(ANYONE, asked)
            await told(found, 1)
            ((_, held_until),) = await anyio.to_thread.run_sync(_rows, opened.registry.operations.database)
            assert held_until > 0
        answers.set()
        async with open_service(ServedGraphs(ALL), url, ServiceSettings(works=False, outgoing=Outgoing([HOST]))):
            await told(found, 2)  # not after the two minutes of the hold
    assert found[0][1] != found[1][1]  # each says when it was sent


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/told",
        "https://127.0.0.1/told",
        "https://localhost/told",
        "https://10.0.0.7/told",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/told",
        "https://user:word@example.com/told",
        "file:///etc/passwd",
        "/told",
    ],
)
async def test_an_address_that_is_not_public_is_refused(tmp_path: Any, address: str) -> None:
    async with open_service(
        ServedGraphs(ALL), f"sqlite:///{tmp_path / 'runs.db'}", ServiceSettings(works=False)
    ) as opened:
        service = opened.service
        with pytest.raises(InvalidError):
            await service.runs.create(ANYONE, RunRequest(assistant_id="steps", input={}, webhook=address))
        assert await service.threads.count(ANYONE) == 0
        schedule = {"assistant_id": "steps", "schedule": "0 0 1 1 *"}
        with pytest.raises(InvalidError):
            await service.crons.create(ANYONE, {**schedule, "webhook": address})
        made = await service.crons.create(ANYONE, schedule)
        with pytest.raises(InvalidError):
            await service.crons.update(ANYONE, made.cron_id, {"webhook": address})
