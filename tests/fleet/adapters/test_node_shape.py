"""Messages of Mastra as Python writes them and as its host in Node does: both are held to one file of cases."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import stategraph.fleet.adapters
from stategraph.fleet.messages import convert

HERE = Path(__file__).resolve().parent
CASES: list[dict[str, Any]] = json.loads((HERE / "shapes.json").read_text(encoding="utf-8"))
SHAPE = Path(stategraph.fleet.adapters.__file__).with_name("node") / "shape.mjs"


@pytest.mark.parametrize("at", range(len(CASES)), ids=[each["case"] for each in CASES])
def test_python_writes_the_message_of_a_case(at: int) -> None:
    case = CASES[at]
    converted = convert([case["a2a"]], "a2a", "mastra")
    assert converted.messages == [case["mastra"]]
    assert converted.losses == case["losses"]


def test_node_writes_the_messages_of_all_cases() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, str(HERE / "shapes.mjs"), str(SHAPE), str(HERE / "shapes.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made == [{"message": each["mastra"], "losses": each["losses"]} for each in CASES]


def test_the_cases_have_every_kind_of_part_and_every_loss_of_a_user() -> None:
    kinds = {kind for each in CASES for part in each["a2a"]["parts"] for kind in part}
    assert kinds == {"text", "url", "raw", "data", "mediaType", "filename"}
    assert {loss for each in CASES for loss in each["losses"]} == {"media type", "data of a user"}
