"""`make load` in its short form: a few runs and streams of our engine, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks.load import __main__ as load
from benchmarks.load import child


def test_the_short_form_measures_every_load_and_writes_it_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "load.json"
    # This environment has no LangGraph, so its drop-in is our engine, without a flag.
    code = load.main(["--quick", "--engine", "stategraph", "--python", sys.executable, "--json", str(written)])
    assert code == 0, capsys.readouterr().out
    found = {each["table"]: each for each in json.loads(written.read_text())}
    assert set(found) == {"runs", "memory", "sqlite", "tokens", "chain", "sync_chain"}
    for table in ("runs", "memory", "sqlite", "tokens"):
        assert found[table]["p50_s"] > 0
        assert found[table]["per_s"] > 0
        assert found[table]["peak_mb"] > 10
    assert "5 streams of 5 tokens, 20 ms apart" in capsys.readouterr().out


def test_an_engine_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".venv-load-burr" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)  # an environment without burr
    options = ["--quick", "--engine", "burr", "--only", "runs", "--python", sys.executable, "--peers", str(tmp_path)]
    assert load.main(options) == 1
    out = capsys.readouterr().out
    assert "FAILED runs, burr" in out
    assert "No module named 'burr'" in out


def test_engines_that_are_not_installed_are_named(tmp_path: Path) -> None:
    assert load.peers(tmp_path) == ([], list(load.PEERS))


def test_a_wrong_result_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.load import peers

    async def does_nothing(_: int) -> int:
        return 0

    monkeypatch.setitem(peers.PEERS, "idle", lambda: (does_nothing, None))
    with pytest.raises(child.WrongResultError, match="ended with 0"):
        asyncio.run(child.runs("idle", 3))
    assert child.measure("sync_chain", engine="idle", number=1) == {}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_percentiles_are_of_the_nearest_rank(share: float, value: int) -> None:
    assert child.percentile(range(100, 0, -1), share) == value


def test_medians_are_taken_figure_by_figure() -> None:
    assert load.medians([{"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 9.0}, {"a": 2.0, "b": 4.0}]) == {"a": 2.0, "b": 4.0}
