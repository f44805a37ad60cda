"""OpenAI's own client: the calls of `tests/server/protocols/test_openai.py`, made to a running server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.judges import calls
from tests.judges.frame import Asked, Judge, Verdict

CALLS = "tests/server/protocols/test_openai.py"
#: The variable that `ADDRESS` there is read from.
ADDRESS = "STATEGRAPH_OPENAI_ADDRESS"
GRAPHS = ("agent", "branches", "expert", "counting", "asking", "failing", "slow", "deleting", "telling")
HERE = Path(__file__).resolve().parent


def judge(asked: Asked) -> Sequence[Verdict]:
    """Make the calls."""
    found = calls.made(asked, CALLS, {ADDRESS: asked.url})
    notes = [f"fails: {test}" for test, passed in found if not passed]
    return [Verdict("openai", sum(passed for _, passed in found), len(found), notes=notes)]


JUDGES = [
    Judge(
        name="openai",
        judge=judge,
        graphs={name: f"{HERE / 'graphs.py'}:{name}" for name in GRAPHS}
        | {"client-tool": f"{HERE / 'graphs.py'}:client_tool"},
    )
]
