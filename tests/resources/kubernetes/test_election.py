"""One of several operators leads: by a Lease, with clocks that differ, and when the leader is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stategraph.resources.crds import definitions
from stategraph.resources.operator import connecting
from stategraph.resources.operator.cluster import Cluster
from stategraph.resources.operator.election import NAME, Candidate, Election, LeadershipLostError
from tests.resources.kubernetes.api_server import ApiServer, failure, serving
from tests.resources.kubernetes.operating import created, eventually, operating

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

LEASE = ("coordination.k8s.io", "leases", "default", NAME)


class Machine:
    """A candidate with a clock of its own.

    Args:
        name: Its name.
        cluster: The API server.
        off: By how many seconds its clock is wrong.
    """

    def __init__(self, name: str, cluster: Cluster, off: float = 0.0) -> None:
        self.now = 1000.0 + off
        self.election = Election(
            cluster,
            Candidate(name),
            clock=lambda: self.now,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def machines(server: ApiServer, *offs: float) -> AsyncIterator[list[Machine]]:
    """Yield candidates whose clocks are wrong by so many seconds."""
    async with serving(server) as address, Cluster(connecting.at(address)) as cluster:
        yield [Machine("abc"[number], cluster, off) for number, off in enumerate(offs)]


def holder(server: ApiServer) -> str:
    found: str = server.objects.get(LEASE, {}).get("spec", {}).get("holderIdentity", "")
    return found


async def test_one_of_two_that_come_at_once_leads() -> None:
    server = ApiServer()
    async with machines(server, 0.0, 0.0) as (a, b):
        won = await asyncio.gather(a.election.attempt(), b.election.attempt())
        assert sorted(won) == [False, True]


async def test_a_silent_leader_is_followed_after_the_lease_however_wrong_its_clock_is() -> None:
    server = ApiServer()
    for off in (-86400.0, 86400.0):
        server.objects.pop(LEASE, None)
        async with machines(server, off, 0.0) as (a, b):
            assert await a.election.attempt()
            assert not await b.election.attempt()
            b.now += 14.0
            assert not await b.election.attempt()
            a.now += 14.0
            assert await a.election.attempt()  # it is not silent
            b.now += 14.0
            assert not await b.election.attempt()
            b.now += 15.0
            assert await b.election.attempt()
            assert not await a.election.attempt()
            assert server.objects[LEASE]["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_cannot_renew_stops_before_another_may_lead() -> None:
    server = ApiServer()
    async with machines(server, 0.0) as (a,):
        assert await a.election.attempt()
        begun = a.now
        server.refuse = lambda _: failure(500, "etcd is away")
        with pytest.raises(LeadershipLostError, match="10 s"):
            await a.election.hold()
        assert a.now - begun < 15.0


async def test_a_leader_that_was_replaced_stops() -> None:
    server = ApiServer()
    async with machines(server, 0.0) as (a,):
        assert await a.election.attempt()
        server.objects[LEASE]["spec"]["holderIdentity"] = "somebody else"
        with pytest.raises(LeadershipLostError, match="does not hold"):
            await a.election.hold()


async def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    server = ApiServer()
    async with machines(server, 0.0, 0.0) as (a, b):
        await a.election.win()
        assert not await b.election.attempt()
        await b.election.give_back()  # it is not its own
        assert holder(server) == "a"
        await a.election.give_back()
        assert await b.election.attempt()


def test_times_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="retry_s < renew_s < lease_s"):
        Candidate("a", renew_s=20.0)


async def test_an_operator_that_loses_the_lease_stops_working() -> None:
    server = ApiServer(definitions())
    candidate = Candidate("a", lease_s=90.0, renew_s=60.0, retry_s=0.1)
    with pytest.raises(LeadershipLostError):
        async with operating(server, candidate=candidate, kinds=("Secret",), fails=True) as running:
            await running.create("Secret", "one", {"valueFrom": {"env": "TOKEN"}})
            await eventually(lambda: running.status("Secret", "one").get("phase") == "Ready")
            before = server.objects[LEASE]
            spec = {**before["spec"], "holderIdentity": "b"}
            await server.put(LEASE, {**before, "metadata": dict(before["metadata"]), "spec": spec}, before)
            await asyncio.wait((running.task,), timeout=60)
            running.task.result()


async def _operator(folder: Path, address: str, name: str) -> asyncio.subprocess.Process:
    # A Lease that no slow machine lets slip: a leader that loses it ends, as it should, and nobody starts it again.
    words = ("operator", "--server", address, "--elect", "--lease", "600", "--lease-namespace", "default")
    variables: dict[str, Any] = {**os.environ, "POD_NAME": name, "TOKEN": "x", "PYTHONWARNINGS": "ignore"}
    log = await asyncio.to_thread((folder / f"{name}.log").open, "wb")
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stategraph", *words), cwd=folder, env=variables, stdout=log, stderr=log
        )
    finally:
        log.close()


async def test_another_operator_goes_on_when_the_leader_is_killed(tmp_path: Path) -> None:
    server = ApiServer(definitions())

    def status(name: str) -> str:
        found: str = server.objects[("stategraph.dev", "secrets", "default", name)].get("status", {}).get("phase", "")
        return found

    async with serving(server) as address:
        processes = {name: await _operator(tmp_path, address, name) for name in ("a", "b")}
        try:
            await created(server, "Secret", "one", {"valueFrom": {"env": "TOKEN"}})
            await eventually(lambda: status("one") == "Ready", 120)
            leader = holder(server).partition("_")[0]
            processes[leader].send_signal(signal.SIGKILL)
            await processes[leader].wait()
            before = server.objects[LEASE]
            assert before["spec"]["leaseDurationSeconds"] == 600
            # As if it had asked for one second: the other one waits for so long by its own clock, and takes it over.
            spec = {**before["spec"], "leaseDurationSeconds": 1}
            await server.put(LEASE, {**before, "metadata": dict(before["metadata"]), "spec": spec}, before)
            await created(server, "Secret", "two", {"valueFrom": {"env": "TOKEN"}})
            await eventually(lambda: status("two") == "Ready", 120)
            other = processes["b" if leader == "a" else "a"]
            assert holder(server).partition("_")[0] == ("b" if leader == "a" else "a")
            other.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(other.wait(), 60) == 0, await asyncio.to_thread(
                (tmp_path / f"{'b' if leader == 'a' else 'a'}.log").read_text
            )
            assert holder(server) == ""  # given back
        finally:
            for each in processes.values():
                if each.returncode is None:
                    each.kill()
                    await each.wait()


@pytest.mark.parametrize("moment", ["while it looks around", "while it works"])
async def test_an_operator_that_is_stopped_says_nothing_of_what_it_cut_short(tmp_path: Path, moment: str) -> None:
    server = ApiServer(definitions())

    def phase() -> str:
        found: str = server.objects[("stategraph.dev", "secrets", "default", "s0")].get("status", {}).get("phase", "")
        return found

    async with serving(server) as address:
        for number in range(5):
            await created(server, "Secret", f"s{number}", {"valueFrom": {"env": "TOKEN"}})
        process = await _operator(tmp_path, address, "a")
        try:
            await eventually(lambda: phase() == "Ready" if moment == "while it works" else holder(server), 120)
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    log = await asyncio.to_thread((tmp_path / "a.log").read_text)
    assert code == 0, log
    assert "never retrieved" not in log and "Traceback" not in log, log
