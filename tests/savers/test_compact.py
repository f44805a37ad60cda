"""The compact form against the plain one: whatever is saved, what is read is the same."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from stategraph.engine.checkpoints.allowlist import message_classes
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.savers import SqliteSaver
from tests.savers.histories_kit import Thread, read, same, steps
from tests.sqlite import connection

EXAMPLES = int(os.environ.get("STATEGRAPH_EXAMPLES", "60"))
AES = b"0123456789abcdef"


def serde() -> StrictSerializer:
    return StrictSerializer(message_classes())


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=30), st.booleans())
def test_every_checkpoint_of_a_random_history_is_the_same_in_both_forms(history: list[Any], again: bool) -> None:
    plain, compact = (SqliteSaver(connection(), serde=serde(), mode=mode) for mode in ("plain", "compact"))
    thread = Thread([compact, plain])
    for number, step in enumerate(history):
        thread.step(*step)
        if again and number % 5 == 4:
            # Another process goes on: it knows nothing of the thread.
            compact = SqliteSaver(compact.conn, serde=serde())
            thread.savers = [compact, plain]
            if number % 2:
                compact.get_tuple({"configurable": {"thread_id": "thread"}})
    for saver in (compact, SqliteSaver(compact.conn, serde=serde())):
        found, expected = read(saver), read(plain)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert same(one, other)
        for expected_one in expected:
            assert same(saver.get_tuple(expected_one.config), expected_one)
    compact.conn.close()
    plain.conn.close()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_thread_that_grows_stores_each_message_once(is_encrypted: bool) -> None:
    pytest.importorskip("Crypto")
    made = EncryptedSerializer.from_pycryptodome_aes(serde(), key=AES) if is_encrypted else serde()
    saver = SqliteSaver(connection(), serde=made)
    thread = Thread([saver])
    for number in range(100):
        thread.step("append", "messages", 0, [HumanMessage(f"message {number} " * 20)])
    (count,) = saver.conn.execute("SELECT COUNT(*) FROM sg_values").fetchone()
    (size,) = saver.conn.execute("SELECT SUM(LENGTH(checkpoint)) FROM checkpoints").fetchone()
    assert count == 100
    assert size < 100 * 600
    everything = b"".join(bytes(row[0]) for row in saver.conn.execute("SELECT value FROM sg_values"))
    assert (b"message 7 " in everything) is not is_encrypted
    found = SqliteSaver(saver.conn, serde=made).get_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"] == thread.values["messages"]
