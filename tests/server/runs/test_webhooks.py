"""The ends of runs are told to the addresses that requests name, once they are public or trusted."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import ServiceSettings, open_service
from stategraph.server.service.outgoing import SIGNATURE, Outgoing
from stategraph.server.service.port import ANYONE, InvalidError, RunRequest
from stategraph.server.service.runs import webhooks
from tests.server.runs.graphs import ALL
from tests.server.serving import HOST

LIMIT_S = 60

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Listen for requests; answer each with the next status, or with the last one."""
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
