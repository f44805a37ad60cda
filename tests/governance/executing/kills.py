"""Kill a process at random while it acts: each effect at the sink began in the audit log, and none happened twice.

    python -m tests.governance.executing.kills --number 2000 --seed 1

The sink is a file to which each effect adds a line by one `write`, which a killed process has either made or not. The
processes that act are forks of this one, which has imported everything and opened nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import rfc8785

from stategraph.governance.actions import ActionRequest, RunRef
from stategraph.governance.audit.filters import AuditFilter
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.reader import AuditReader
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.registry import Registry
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.registry.runs import RunRegistry

IMPORTED = (jsonschema, rfc8785)


@dataclass(frozen=True)
class Killed:
    """What was found.

    Attributes:
        kills: How often a process was killed while it acted.
        effects: Effects at the sink.
        twice: Orders that were paid more than once.
        untold: Effects without an `action.started`.
        doubts: Calls that ended in doubt.
        lost: Orders that were neither paid nor left in doubt.
        verified: What is wrong with the chain; empty: nothing.
    """

    kills: int
    effects: int
    twice: Sequence[str]
    untold: Sequence[str]
    doubts: int
    lost: Sequence[str]
    verified: str

    @property
    def is_well(self) -> bool:
        return not (self.twice or self.untold or self.lost or self.verified)


def act(folder: Path, number: int) -> None:
    """Carry out what is left of the actions."""
    append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    sink, ended = os.open(folder / "sink", append), os.open(folder / "ended", append)
    over = set((folder / "ended").read_text().split())

    def pay(order: int) -> str:
        """Pay an order."""
        os.write(sink, b"%d\n" % order)
        return "paid"

    registry = Registry(offer(pay, Traits(source="bank", risk="destructive")))
    runs = RunRegistry.from_url(f"sqlite:///{folder / 'runs.db'}")
    context = RuntimeSessionContext(Principal("acme", "ann"), AgentRef("payer"), "s")
    with AuditLog(f"sqlite:///{folder / 'audit.db'}") as log:
        executor = ActionExecutor(registry, ledger=EffectLedger(runs), audit=log)
        for order in range(number):
            if str(order) not in over:
                request = ActionRequest("pay", {"order": order}, f"call-{order}", RunRef("run", "thread"), context)
                outcome = executor.act_sync(request)
                assert outcome.status in ("completed", "in_doubt"), outcome
                os.write(ended, b"%d\n" % order)
    runs.operations.close()


def kill(folder: Path, number: int, seed: int, longest_s: float = 0.4) -> Killed:
    """Act so often, with kills at random, until all is done.

    Args:
        folder: An empty folder.
        number: Actions.
        seed: Of the times of kills.
        longest_s: Longest life of a process.
    """
    chance, kills = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            try:
                act(folder, number)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        deadline = time.monotonic() + chance.uniform(0.02, longest_s)
        done, status = os.waitpid(child, os.WNOHANG)
        while not done and time.monotonic() < deadline:
            time.sleep(0.002)
            done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return _found(folder, number, kills)
        if code != -signal.SIGKILL:
            raise RuntimeError(f"A process that acts ended with {code}")
        kills += 1
        longest_s *= 1.01  # also a slow machine comes to an end


def _found(folder: Path, number: int, kills: int) -> Killed:
    paid = Counter((folder / "sink").read_text().split())
    storage = storage_at(f"sqlite:///{folder / 'audit.db'}")
    try:
        reader = AuditReader(storage, Principal("acme", "auditor", frozenset({"auditor"})))
        told = {
            type: {
                str(entry.event.call_id).removeprefix("call-") for entry in reader.entries(AuditFilter(types=(type,)))
            }
            for type in ("action.started", "action.in_doubt")
        }
        verified = "; ".join(str(each.message) for each in reader.verify().findings)
    finally:
        storage.close()
    known = paid.keys() | told["action.in_doubt"]
    return Killed(
        kills,
        paid.total(),
        [order for order, times in paid.items() if times > 1],
        sorted(paid.keys() - told["action.started"]),
        len(told["action.in_doubt"]),
        [str(order) for order in range(number) if str(order) not in known],
        verified,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.governance.executing.kills", description=__doc__)
    parser.add_argument("--number", type=int, default=2000, help="actions (default: 2000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = kill(Path(folder), options.number, options.seed)
    print(
        f"{options.number} risky actions, killed {found.kills} times, {time.monotonic() - began:.0f} s: "
        f"{found.effects} effects, {len(found.twice)} twice, {len(found.untold)} without action.started, "
        f"{found.doubts} in doubt, {len(found.lost)} lost; chain: {found.verified or 'verified'}"
    )
    return not found.is_well


if __name__ == "__main__":
    sys.exit(main())
