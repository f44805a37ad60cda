"""A program with nodes on workers that is killed: prints the ids of their processes and waits."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from stategraph.workers import configure_node_workers
from stategraph.workers.nodes.executor import node_workers
from tests.workers import nodes
from tests.workers.test_nodes import graph_of


def main() -> None:
    configure_node_workers(2, allow=["tests.workers"])
    mark = Path(sys.argv[1])
    graph_of(nodes.doubles).invoke({"number": 1, "seen": []})
    given = {"path": str(mark), "seen": []}
    threading.Thread(target=graph_of(nodes.loops_for_ever).invoke, args=(given,), daemon=True).start()
    while not (mark.exists() and mark.read_text() and len(node_workers()._there) == 2):
        time.sleep(0.01)
    print(*(each.pid for each in node_workers()._there), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
