"""What the page on the event stream names exists."""

from __future__ import annotations

import re
from pathlib import Path

from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.opening import ALWAYS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "event-stream.md").read_text(encoding="utf-8")


def test_the_table_names_the_projections_that_every_run_has() -> None:
    named = re.findall(r"^\| `(\w+)` .* always \|$", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(StreamMux(factories=ALWAYS).extensions)
