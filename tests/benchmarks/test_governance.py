"""The rows of `python -m benchmarks.governance` can be measured, and a budget that is missed is said."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.governance.__main__ import PARTS, peer_figures
from benchmarks.governance.rows import Row


@pytest.mark.parametrize("part", [part for part in PARTS if part == "policies"])
def test_each_row_of_a_part_can_be_measured(part) -> None:
    rows = importlib.import_module(f"benchmarks.governance.{part}").rows()
    assert [row.name for row in rows if row.measure(1) <= 0] == []


def test_a_figure_is_judged_by_its_budget() -> None:
    assert Row("a", lambda rounds: 1.0, most=25).judged(24.9) == "< 25"
    assert Row("a", lambda rounds: 1.0, most=25).judged(25.0) == "< 25  OVER"
    assert Row("a", lambda rounds: 1.0, "rows/s", least=20_000).judged(19_999) == ">= 20,000  UNDER"
    assert Row("a", lambda rounds: 1.0).judged(1.0) == ""


def test_a_peer_that_is_not_there_is_said(tmp_path, capsys) -> None:
    assert peer_figures(tmp_path / "python", 1) == {}
    assert capsys.readouterr().out == "peer: not installed here\n"
