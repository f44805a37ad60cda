"""Databases of the registry that are not there, or hold none."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import StoreUnavailableError

LIMIT_S = 30


def together(number: int, act: Any) -> list[Exception]:
    """Call something in several threads; return what they raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    return raised


def test_calls_that_wait_for_a_server_share_one_attempt_to_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    psycopg = pytest.importorskip("psycopg")
    from stategraph.workers.registry.postgres import PostgresDatabase

    callers = 5
    database = PostgresDatabase("postgresql://u:a-pass-word@127.0.0.1:1/db")
    registry = RegistryOperations(database)
    attempts: list[str] = []
    waiting = threading.Semaphore(0)
    opening = database._opening

    class Noted:
        """The lock, which tells how many have come to it."""

        def __enter__(self) -> None:
            waiting.release()
            opening.acquire()

        def __exit__(self, *_: object) -> None:
            opening.release()

    def connect(url: str, **_: Any) -> Any:
        attempts.append(url)
        for _ in range(callers if len(attempts) == 1 else 1):
            assert waiting.acquire(timeout=LIMIT_S)
        raise psycopg.OperationalError("connection refused. Is the server running?")

    monkeypatch.setattr(database, "_opening", Noted())
    monkeypatch.setattr(database, "_connect", connect)
    raised = together(callers, lambda: registry.newest(None, None, None, 1))
    assert len(attempts) == 1
    assert {type(each) for each in raised} == {StoreUnavailableError}
    (message,) = {str(each) for each in raised}
    assert message.startswith("The registry's PostgreSQL cannot be reached: connection refused. Is the server running?")
    assert "Check host, port" in message
    assert "a-pass-word" not in message
    assert len(together(1, registry.set_up)) == 1  # a later call tries again
    assert len(attempts) == 2
    database.close()
