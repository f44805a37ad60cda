"""Compare the operations that `langgraph dev` describes with those of our server.

.venv-server/bin/python -m tests.server.paths            prints what is missing, and what is not in the list
.venv-server/bin/python -m tests.server.paths --write    writes the list anew
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.server.serving import ENGINES, running

HERE = Path(__file__).resolve().parent
LIST = HERE / "langgraph_paths.txt"


def listed() -> set[str]:
    """Return the operations of the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def operations(document: Mapping[str, Any]) -> set[str]:
    """Return the operations of an OpenAPI document, as `METHOD path`."""
    return {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found}


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the operations of LangGraph's server with ours.")
    parser.add_argument("--write", action="store_true", help="write the list anew")
    options = parser.parse_args()
    from stategraph.server.openapi.document import document
    from stategraph.server.settings import PROTOCOLS

    with tempfile.TemporaryDirectory(prefix="stategraph-paths-") as scratch:
        graphs = {"talk": f"{HERE / 'graphs.py'}:talk"}
        with (
            running(Path(sys.executable), ENGINES[0], Path(scratch) / "server", graphs) as server,
            urllib.request.urlopen(f"{server.url}/openapi.json") as answer,
        ):
            theirs = operations(json.load(answer))
    if options.write:
        first = LIST.read_text(encoding="utf-8").splitlines()[0]
        LIST.write_text("\n".join([first, *sorted(theirs)]) + "\n", encoding="utf-8")
    missing = sorted(theirs - operations(document(PROTOCOLS, secured=False)))
    for each in missing:
        print(f"not in ours: {each}")
    for each in sorted(theirs ^ listed()):
        print(f"the list differs: {each}")
    print(f"operations: {len(theirs) - len(missing)} of {len(theirs)}")
    return 1 if missing or theirs != listed() else 0


if __name__ == "__main__":
    sys.exit(main())
