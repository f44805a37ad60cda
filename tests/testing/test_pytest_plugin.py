"""The fixtures of the test kit, in a project that has nothing but them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stategraph.testing import Recorded
from stategraph.testing.differences import explain

PROJECT = """
def test_nothing_was_imported_for_a_test_that_needs_nothing():
    import sys

    assert not {"stategraph.testing", "stategraph.engine", "langchain_core"} & set(sys.modules)


def test_a_model(scripted_model):
    assert scripted_model("Hello.").invoke("Hi").text == "Hello."


def test_a_reply_too_many(scripted_model):
    scripted_model("one", "two").invoke("Hi")


def test_a_failure_before_the_last_reply(scripted_model):
    assert scripted_model("one", "two").invoke("Hi").text == "two"


def test_a_server(fake_openai):
    from langchain_openai import ChatOpenAI

    server = fake_openai("Hello over HTTP.")
    assert ChatOpenAI(model="any").invoke("Hi").text == "Hello over HTTP."
    assert len(server.requests) == 1


def test_time_and_ids(fake_clock, counted_ids):
    async def hour():
        import asyncio

        await asyncio.sleep(3_600)
        return fake_clock.now()

    assert fake_clock.run(hour()) == 1_700_003_600
    assert counted_ids


def test_events():
    from stategraph.testing import Recorded

    assert [Recorded("updates", {"a": 1})] == [Recorded("updates", {"a": 2})]


def test_stable_events():
    from stategraph import START, StateGraph
    from stategraph.testing import StreamRecorder

    graph = StateGraph(dict).add_node("node", lambda state: {"b": 3}).add_edge(START, "node").compile()
    recorder = StreamRecorder(graph, stream_mode=["values", "updates"], subgraphs=True)
    recorder.run({"b": 1})
    assert recorder.stable() == [*recorder.stable()[:-1], {"mode": "values", "ns": [], "payload": {"b": 4}}]


def test_no_events():
    assert [] == [{"mode": "values", "ns": [], "payload": {"b": 4}}]


def test_other_lists():
    assert [{"mode": "values"}] == [{"mode": "updates"}]
"""


def test_fixtures_are_there_for_a_project_of_a_stranger(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PROJECT)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "stategraph.pytest_plugin",
            "-p",
            "no:cacheprovider",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "5 failed, 5 passed, 1 error" in done.stdout, done.stdout
    assert "3 events, expected 3; they differ from event 3 on" in done.stdout, done.stdout
    assert "- values: {'b': 4}" in done.stdout
    assert "+ values: {'b': 3}" in done.stdout
    assert "0 events, expected 1; they differ from event 1 on" in done.stdout
    assert "assert [{'mode': 'values'}] == [{'mode': 'updates'}]" in done.stdout  # pytest's own words
    assert "a scripted model was asked 1 times and has 2 replies" in done.stdout
    assert "1 events, expected 1; they differ from event 1 on" in done.stdout


def test_differences_of_events_are_shown_with_what_is_around_them() -> None:
    events = [Recorded("updates", {"n": n}) for n in range(9)]
    found = [*events[:6], Recorded("updates", {"n": 60}), *events[7:]]
    assert explain(found, events) == [
        "9 events, expected 9; they differ from event 7 on",
        "  ... 4 equal events",
        "  updates: {'n': 4}",
        "  updates: {'n': 5}",
        "- updates: {'n': 6}",
        "+ updates: {'n': 60}",
        "  updates: {'n': 7}",
        "  updates: {'n': 8}",
    ]
    assert explain(events, events)[0].startswith("9 events that differ in nothing but generated ids")
