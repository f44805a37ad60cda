"""A worker is killed in the middle of a run, and another one goes on from the checkpoint.

Prints::

    worker 1 was killed in the middle of drive
    worker 2 goes on: attempt 2, lease expired
    success
    begun: pack drive drive deliver
    the thread has: packed, driven, delivered
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from stategraph.savers import AsyncSqliteSaver

sys.path.insert(0, str(Path(__file__).parent))

import parcel_graph
from worker_process import worker, written

from stategraph.workers import RunRegistry, attach


async def main(folder: Path) -> None:
    store = f"sqlite:///{folder / 'runs.db'}"
    registry = RunRegistry.from_url(store)
    given = {"folder": str(folder), "done": []}
    run_id = await registry.submit("parcel-7", given, target="parcel_graph:graph")
    log = folder / "log"
    with worker(store, "parcel_graph") as first:
        await asyncio.to_thread(written, log, "drive")
        first.kill()
    print("worker 1 was killed in the middle of drive")
    with worker(store, "parcel_graph"):
        async for event in attach(registry, run_id):
            if event.type == "run.attempt" and event.attempt == 2:
                print(f"worker 2 goes on: attempt 2, {event.data['reason']}")
    print((await registry.get(run_id)).status)
    print("begun:", *log.read_text().split())  # what was stored before is not done again
    async with AsyncSqliteSaver.from_conn_string(str(folder / "runs.db")) as saver:
        graph = parcel_graph.graph.copy({"checkpointer": saver})
        state = await graph.aget_state({"configurable": {"thread_id": "parcel-7"}})
        print("the thread has:", ", ".join(state.values["done"]))
    await registry.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
