"""Random programs on this engine, against what LangGraph came to with them; see `tests/fuzz/recorded.py`."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.fuzz import generate, recorded, worker


@pytest.mark.parametrize("line", recorded.entries(), ids=lambda line: str(line["case"]))
def test_a_random_program_comes_to_the_same_as_on_langgraph(line: dict[str, Any]) -> None:
    case = generate.case(line["seed"], line["case"])
    assert recorded.digest(case) == line["program"], "other programs are drawn now: record them again"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = recorded.entry(line["seed"], line["case"], case, worker.report(case))

    assert found == line, f"make fuzz SEED={line['seed']} CASE={line['case']} shows what differs"
