"""The harness of the benchmarks: rows that exist, costs that are charged to whoever makes them, and honest verdicts."""

from __future__ import annotations

import gc
import importlib
from typing import Any

import pytest

from benchmarks import catalogue, docs, measure, report
from benchmarks.workloads import base, savers

KINDS = {"ratio", "growth", "bytes", "stored", "import", "fresh"}


def known(work: str, table: str = "WORKLOADS") -> bool:
    module, _, name = work.partition(":")
    return name in getattr(importlib.import_module(f"benchmarks.workloads.{module}"), table)


def test_each_row_names_work_that_exists() -> None:
    assert {row.kind for row in catalogue.ROWS} == KINDS
    for row in catalogue.ROWS:
        assert bool(row.code) == (row.kind == "import"), row.label
        assert all(known(work) for work in (row.workload, row.base) if work), row.label
        assert row.kind != "fresh" or known(row.workload, "ONCE"), row.label


def test_labels_are_unique_and_an_aim_is_beyond_its_must() -> None:
    labels = [row.label for row in catalogue.ROWS]
    assert len(labels) == len(set(labels))
    for row in catalogue.ROWS:
        assert (row.must is None) == (row.aim is None), row.label
        if row.must is not None and row.aim is not None:
            assert (row.aim < row.must) == (row.kind in ("growth", "bytes")), row.label


def test_a_sample_pays_for_its_own_garbage_and_leaves_none() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    collected: list[int] = []
    gc.callbacks.append(lambda phase, info: collected.append(info["collected"]) if phase == "stop" else None)
    gc.disable()
    try:
        with base.Stopwatch() as watch:
            collected.clear()
            watch.add(lambda: [Cycle() for _ in range(100)])
            assert not sum(collected)
            assert gc.get_freeze_count() > 1_000  # what lived before is not looked at
        assert sum(collected) >= 100
        assert gc.get_freeze_count() == 0
        assert watch.iterations == 1
    finally:
        gc.enable()
        gc.callbacks.pop()
        gc.unfreeze()


def fake(cpu_s: float) -> Any:
    class Fake:
        def sample(self, budget_s: float) -> base.Sample:
            return base.Sample(cpu_s, cpu_s, 1)

    return Fake()


def test_a_difference_is_that_of_its_halves_for_each_unit() -> None:
    assert base.Difference(fake(5.0), fake(3.0), 4).sample(0.1).cpu_s == 0.5


def test_a_difference_that_is_none_is_an_error_and_no_figure() -> None:
    with pytest.raises(base.LostInNoiseError, match="cost the same"):
        base.Difference(fake(1.0), fake(1.0)).sample(0.1)


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [("ratio", 4.0, "aim"), ("ratio", 3.0, "must"), ("ratio", 1.9, "no"), ("stored", 2.0, "must")],
)
def test_a_ratio_is_judged_by_how_high_it_is(kind: str, value: float, verdict: str) -> None:
    row = catalogue.Row("name", "", kind, "", must=2, aim=4)
    assert measure.Figure(row, 1.0, 1.0, value, value, value).verdict == verdict


def test_growth_is_judged_by_how_low_it_is() -> None:
    row = catalogue.Row("name", "", "growth", "", must=2, aim=1.2)
    found = [measure.Figure(row, 1.0, 1.0, value, value, value).verdict for value in (1.1, 1.5, 2.5)]
    assert found == ["aim", "must", "no"]


def test_the_table_names_the_savers_where_they_differ() -> None:
    row = catalogue.Row("name", "async", "stored", "")
    notes = {"langgraph": 2_000_000, "stategraph": 1_000, "data": 500, "savers": ["theirs.Saver", "ours.Saver"]}
    text = report.line(measure.Figure(row, 2e6, 1e3, 2000.0, 2000.0, 2000.0, notes=notes))
    assert "2 MB" in text
    assert "LangGraph 2,000,000, ours 1,000, for 500 of data" in text
    assert "LangGraph theirs.Saver, ours ours.Saver" in text


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("variant", ["async", "sync"])
def test_a_saver_is_opened_measured_emptied_and_closed(kind: str, variant: str) -> None:
    from benchmarks.workloads.threads import Thread

    kept = savers.opened(kind, variant)
    thread = Thread(kept, variant)
    assert [len(thread.turn()["messages"]) for _ in range(20)] == list(range(2, 42, 2))
    assert sum(kept.stored().values()) > 10_000
    kept.forget("thread")
    assert len(thread.turn()["messages"]) == 2
    kept.close()
    assert kept.folder is None or not kept.folder.exists()


def test_a_work_is_done_once_on_a_copy_of_what_was_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import once
    from benchmarks.workloads import threads

    prepared = threads.WORKLOADS["long_thread_fresh"]("sync")
    result = prepared.check()
    once.main("threads:long_thread_fresh", "sync", result["_folder"])
    cpu_s, wall_s = map(float, capsys.readouterr().out.split())
    assert cpu_s > 0
    assert wall_s > 0
    assert prepared.check()["messages"] == 10_003
    prepared.close()


DOCUMENT = """Words.

<!-- bench: begin -->
| old | heading |
|---|--:|
| `a async` | 1 |
| `gone` | 2 |
| `b` | 3 |
<!-- bench: end -->

More words.
"""


def test_rows_of_the_document_are_replaced_one_by_one_and_dropped_when_they_are_no_more() -> None:
    text = docs.written(DOCUMENT, "bench", {"b": ("4",), "c": ("5",)}, ["c", "a async", "b"])
    assert text.startswith("Words.\n\n<!-- bench: begin -->\n| row | LangGraph |")
    assert "-->\n\nMore words.\n" in text
    assert [line for line in text.splitlines() if line.startswith("| `")] == [
        "| `c` | 5 |",
        "| `a async` | 1 |",
        "| `b` | 4 |",
    ]
    assert docs.written(text, "bench", {}, ["c", "a async", "b"]) == text


def test_a_document_without_the_table_is_an_error() -> None:
    with pytest.raises(docs.NoTableError, match="chain: begin"):
        docs.written(DOCUMENT, "chain", {})


def test_the_document_has_a_table_for_each_and_every_row_of_it_is_measured() -> None:
    text = docs.PATH.read_text()
    for table in docs.HEADINGS:
        assert docs.written(text, table, {}) == text, table
    table = text.split("<!-- bench: begin -->")[1].split("<!-- bench: end -->")[0]
    rows = [line.split("|")[1].strip(" `") for line in table.splitlines() if line.startswith("| `")]
    assert rows == [row.label for row in catalogue.ROWS if row.label in rows]
    musts = {row.label for row in catalogue.ROWS if row.must is not None}
    assert musts <= set(rows)
