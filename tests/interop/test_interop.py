"""The interchange harness itself, and a fast part of what it measures."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
BENCH_PYTHON = Path(os.environ.get("STATEGRAPH_BENCH_PYTHON") or HERE.parent.parent / ".venv-bench" / "bin" / "python")
A, B = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The module under a name of its own: the harness runs as scripts and is no package."""
    spec = importlib.util.spec_from_file_location("interop_plain", HERE / "plain.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blotted_ids_keep_their_links(plain: ModuleType) -> None:
    straight = plain.blot([A, B, A])
    assert straight == plain.blot([B, A, B])
    assert straight != plain.blot([A, B, B])


def test_times_are_blotted_and_texts_are_not(plain: ModuleType) -> None:
    assert plain.blot({"at": "2024-01-02T03:04:05.678901+00:00"}) == {"at": "<time>"}
    assert plain.blot({"text": "2024-01-02"}) == {"text": "2024-01-02"}


def test_a_difference_names_its_place(plain: ModuleType) -> None:
    assert plain.difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) is None
    assert plain.difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ".a[1].b: 3, expected 2"
    assert plain.difference([1], [1, 2]) == ": 2 items, expected 1"
    assert plain.difference({}, {"x": None}) == ".x: unexpected null"
    assert plain.difference({"x": True}, {"x": 1}) is not None


def test_types_that_json_hides_are_told_apart(plain: ModuleType) -> None:
    values = [(1, 2), [1, 2], {1, 2}, b"12", "12", {"1": 2}, ValueError("12")]
    encoded = [repr(plain.encode(value)) for value in values]
    assert len(set(encoded)) == len(values)


def test_only_the_order_of_interrupts_is_settled(plain: ModuleType) -> None:
    left, right = ({"!": "Interrupt", "value": side, "id": side} for side in ("left", "right"))
    assert plain.settle([right, left]) == [left, right]
    assert plain.settle(["right", "left"]) == ["right", "left"]


@pytest.mark.skipif(not BENCH_PYTHON.exists(), reason="needs the environment with LangGraph: make interop makes it")
def test_a_thread_that_waits_can_change_the_engine_and_come_back() -> None:
    cases = ("one_question", "breakpoints_after", "failure_beside_a_finished_task", "sends_not_yet_done")
    command = [sys.executable, str(HERE / "run.py"), "--python", str(BENCH_PYTHON), "--savers", "sqlite", "--quick"]
    command += [word for case in cases for word in ("--only", case)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cases, both directions" in done.stdout
