"""What the jobs of `23_jobs_over_nats.py` run: nodes import it by its name."""

import time
from pathlib import Path
from typing import Any

from stategraph.workers import current_port


def count_words(page: str) -> int:
    """Work that takes no time."""
    return len(page.split())


def read_slowly(given: dict[str, Any]) -> str:
    """Work that does not end until a file is there; the host makes it once it has killed the first node."""
    current_port().emit_from_thread("reading", given["page"])
    while not Path(given["goes_on"]).exists():
        time.sleep(0.05)
    return f"page {given['page']} is read"
