"""Two processes that carry out one approved action at once: one does, and the other has what comes of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stategraph.governance.actions import ActionOutcome, Reason
from stategraph.workers.ledger.machine import EffectState
from tests.governance.executing.kit import BOB, STRICT, World, asked, world

PROGRAM = """
import sys
from pathlib import Path
from tests.governance.executing.kit import asked, world

folder = Path(sys.argv[1])

def wait():
    (folder / "began").touch()
    sys.stdin.readline()
    (folder / "sink").write_text("done")

with world(folder) as made:
    made.office.meanwhile = wait
    print(made.executor().act_sync(asked("send_mail", to="ann")).content)
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield stack.enter_context(world(tmp_path))


def until(there: Any) -> None:
    ends = time.monotonic() + 60
    while not there():
        assert time.monotonic() < ends
        time.sleep(0.01)


def approved(office: World) -> None:
    assert office.executor().act_sync(asked("send_mail", to="ann")).reason == Reason.APPROVAL_REQUIRED
    office.approvals.vote("acme", office.approvals.newest("acme")[0].id, BOB, "approve")


def acting(office: World, text: str | None = None) -> ActionOutcome:
    return office.executor(**({} if text is None else {"text": text})).act_sync(asked("send_mail", to="ann"))


@pytest.mark.parametrize("idempotent", [False, True])
def test_the_second_waits_for_what_the_first_has_under_way(office: World, tmp_path: Path, idempotent: bool) -> None:
    with world(tmp_path) as other:  # as in another process: a registry, a ledger and an executor of its own
        began, go = threading.Event(), threading.Event()

        def wait() -> None:
            began.set()
            assert go.wait(60)

        traits = {"idempotent": idempotent}
        office.office.meanwhile = other.office.meanwhile = wait
        first, second = (each.executor(traits=traits) for each in (office, other))
        assert first.act_sync(asked("send_mail", to="ann")).reason == Reason.APPROVAL_REQUIRED
        office.approvals.vote("acme", office.approvals.newest("acme")[0].id, BOB, "approve")

        async def main() -> list[ActionOutcome]:
            one = asyncio.create_task(asyncio.to_thread(first.act_sync, asked("send_mail", to="ann")))
            assert await asyncio.to_thread(began.wait, 60)
            two = asyncio.create_task(second.act(asked("send_mail", to="ann")))
            await asyncio.to_thread(until, lambda: "policy.decided" in other.log.types)
            await asyncio.sleep(0.1)  # it waits, whatever it does meanwhile
            assert not two.done()
            go.set()
            return [await one, await two]

        outcomes = asyncio.run(main())
    assert [(each.status, each.content) for each in outcomes] == [("completed", "sent to ann")] * 2
    assert office.office.done == [("send_mail", "ann", "")]
    assert "action.in_doubt" not in office.log.types + other.log.types
    assert [str(each.state) for each in office.approvals.newest("acme")] == ["consumed"]


def begun(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    until((tmp_path / "began").exists)
    return process


def test_a_process_that_is_killed_leaves_a_doubt_at_once_and_one_that_lives_its_result(
    office: World, tmp_path: Path
) -> None:
    approved(office)
    with begun(tmp_path) as process:
        refused = acting(office, STRICT)  # what another process does is not in doubt, also where it is refused by now
        assert (refused.status, refused.reason) == ("rejected", Reason.UNDER_WAY)
        waits: list[ActionOutcome] = []
        waiting = threading.Thread(target=lambda: waits.append(acting(office)))
        waiting.start()
        process.kill()
        process.wait(60)
        waiting.join(60)
    assert [(each.status, each.reason) for each in waits] == [("in_doubt", Reason.IN_DOUBT)]
    assert not (tmp_path / "sink").exists()


def test_a_process_that_lives_is_waited_for(office: World, tmp_path: Path) -> None:
    approved(office)
    with begun(tmp_path) as process:
        waits: list[ActionOutcome] = []
        waiting = threading.Thread(target=lambda: waits.append(acting(office)))
        waiting.start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        waiting.join(60)
        said = process.stdout.read().strip()
    assert said == "sent to ann"
    assert [(each.status, each.content) for each in waits] == [("completed", said)]
    assert (tmp_path / "sink").exists() and office.office.done == []


def test_a_claim_is_renewed_while_its_call_goes_on_and_lapses_after(office: World, tmp_path: Path) -> None:
    book = office.ledger.book
    approved(office)
    with world(tmp_path) as other:
        began, go = threading.Event(), threading.Event()

        def wait() -> None:
            began.set()
            assert go.wait(60)

        office.office.meanwhile = wait
        waiting = threading.Thread(target=acting, args=(office,))
        waiting.start()
        assert began.wait(60)
        key = office.log.of("action.started")[0].data["effect"]
        assert other.ledger.book.is_under_way("acme", key)
        other.ledger.book.lease_s = -1.0  # it has run out, as that of a machine that is away
        assert not other.ledger.book.is_under_way("acme", key)
        row = book.read("acme", key)
        assert row is not None
        book._renew({("acme", key): row.claimant})
        other.ledger.book.lease_s = 60.0
        assert other.ledger.book.is_under_way("acme", key)
        go.set()
        waiting.join(60)
        assert not other.ledger.book.is_under_way("acme", key)
        settled = book.read("acme", key)
        assert settled is not None and settled.state is EffectState.COMMITTED
