"""The tables of the page about OpenTelemetry are those of the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from stategraph.telemetry import Telemetry, names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "opentelemetry.md").read_text(encoding="utf-8")


def test_the_fields_of_telemetry_are_described() -> None:
    table = PAGE.partition("| Field of `Telemetry` |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert re.findall(r"`(\w+)`", " ".join(rows)) == [each.name for each in fields(Telemetry)]


def test_the_metrics_are_described() -> None:
    own = {names.TOKEN_USAGE, names.OPERATION_DURATION, names.FIRST_CHUNK, names.SAVE_DURATION, names.QUEUE_DURATION}
    table = PAGE.partition("| Metric |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE)) == own


def test_each_kind_of_span_is_described() -> None:
    for operation in names.Operation.__args__:  # type: ignore[attr-defined]
        assert f"`{operation}" in PAGE
