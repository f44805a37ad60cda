"""Every thread that `docs/features.md` names has a program in the tests that is called after it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = ("tests/dataflow", "tests/engine")


def test_every_thread_that_was_answered_has_a_program() -> None:
    page = (ROOT / "docs" / "features.md").read_text()
    threads = {f"{kind.lower()}_{number}" for kind, number in re.findall(r"^\| \[(\w+)#(\d+)\]\(", page, re.MULTILINE)}
    assert len(threads) > 15
    code = "\n".join(file.read_text() for place in PLACES for file in sorted((ROOT / place).glob("test_*.py")))
    named = " ".join(re.findall(r"^(?:async )?def (test_\w+)", code, re.MULTILINE))
    missing = {thread for thread in threads if not re.search(rf"(?:test|[a-z0-9])_{thread}_", named)}
    assert not missing, f"no test in {PLACES} is named after: {', '.join(sorted(missing))}"
