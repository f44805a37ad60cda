"""Run a program of `examples/coming_from` and check what its models were sent: `-m tests.coming_from.after FILE`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from stategraph.testing import ScriptedChatModel
from tests.coming_from.scripts import never_sent


def run(path: Path) -> list[tuple[str, ...]]:
    """Run a program, and return the texts that its models should have been sent and were not."""
    names = runpy.run_path(str(path), run_name="__main__")
    models = [each for each in names.values() if isinstance(each, ScriptedChatModel)]
    requests = [" ".join(message.text for message in each.messages) for model in models for each in model.requests]
    return never_sent(path.stem.removeprefix("from_"), requests)


if __name__ == "__main__":
    if missing := run(Path(sys.argv[1])):
        sys.exit(f"The model was never sent {missing}")
