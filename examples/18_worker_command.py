"""Runs in a database, executed by whichever worker claims them: here one that the command line starts.

Prints::

    run.attempt {'attempt': 1, 'reason': 'first'}
    updates {'check': {'done': ['checked 7']}}
    interrupted
    resumed: success
    worker stopped: 0
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stategraph.workers import RunRegistry, attach

HERE = Path(__file__).resolve().parent


async def runs(registry: RunRegistry) -> None:
    run_id = await registry.submit("order-7", {"order": "7", "done": []}, target="order_graph:graph")
    events = [event async for event in attach(registry, run_id)]  # from any process, at any time
    for event in events[:2]:
        print(event.type, event.data)
    print(events[-1].data["status"])
    resumed = await registry.resume(run_id, "Ada")
    async for event in attach(registry, resumed):
        if event.type == "run.end":
            print(f"resumed: {event.data['status']}")
    await registry.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/runs.db"
        command = [sys.executable, "-m", "stategraph", "worker", "--allow", "order_graph", "--app-dir", str(HERE)]
        # The address is not on the command line, where other users could read it.
        environment = {**os.environ, "STATEGRAPH_STORE": store}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as worker:
            try:
                asyncio.run(runs(RunRegistry.from_url(store)))
            finally:
                worker.terminate()
            print(f"worker stopped: {worker.wait()}")
