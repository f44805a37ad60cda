"""The packages of npm that front ends are made of: Vercel's AI SDK in two versions, and the client of AG-UI.

The calls are those of `tests/server/protocols/test_front_ends.py`, made to a running server: the chat, the transport,
the checks of the stream and of the order of events are the packages'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests import npm
from tests.judges import calls
from tests.judges.frame import ROOT, Asked, Judge, JudgeError, Verdict
from tests.server.protocols import test_front_ends

CALLS = "tests/server/protocols/test_front_ends.py"
HERE = Path(__file__).resolve().parent
FOLDER = ROOT / ".cache" / "front-ends"
#: The AI SDK needs it.
OLDEST_NODE = 22
#: By a word in the names of tests, what is judged.
PACKAGES = {"[ai 7": "vercel (ai 7)", "[ai 6": "vercel (ai 6)", "client_of_ag_ui": "@ag-ui/client"}


def judge(asked: Asked) -> Sequence[Verdict]:
    """Have the packages installed, and make the calls."""
    try:
        modules = npm.install(HERE / "packages.json", FOLDER)
        node = npm.node(modules, OLDEST_NODE)
    except npm.NpmError as error:
        raise JudgeError(str(error)) from error
    variables = {
        "STATEGRAPH_FRONT_END_ADDRESS": asked.url,
        "STATEGRAPH_NODE_MODULES": str(modules),
        "STATEGRAPH_NODE": node,
    }
    found = calls.made(asked, CALLS, variables)
    verdicts = []
    for word, name in PACKAGES.items():
        group = [(test, passed) for test, passed in found if word in test]
        notes = [f"fails: {test}" for test, passed in group if not passed]
        verdicts.append(Verdict(name, sum(passed for _, passed in group), len(group), notes=notes))
    return verdicts


JUDGES = [
    Judge(
        name="front-ends",
        judge=judge,
        graphs={name: f"{HERE / 'graphs.py'}:{name}" for name in test_front_ends.GRAPHS},
    )
]
