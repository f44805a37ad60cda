"""Events of a run, read from other processes than the one that tells them, across a change of worker.

Prints::

    1 run.attempt {'attempt': 1, 'reason': 'first'}
    2 updates {'pack': {'done': ['packed']}}
    the reader leaves after event 2, and the worker is killed
    3 run.attempt {'attempt': 2, 'reason': 'lease expired'}
    4 updates {'drive': {'done': ['driven']}}
    5 updates {'deliver': {'done': ['delivered']}}
    6 run.end {'status': 'success', 'error': None}
    a reader who comes later gets the same: 1 2 3 4 5 6
"""

import asyncio
import sys
import tempfile
from contextlib import aclosing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from worker_process import worker, written

from stategraph.workers import RunRegistry, attach


async def main(folder: Path) -> None:
    store = f"sqlite:///{folder / 'runs.db'}"
    registry = RunRegistry.from_url(store)
    given = {"folder": str(folder), "done": []}
    run_id = await registry.submit("parcel-7", given, target="parcel_graph:graph")
    seen = 0
    with worker(store, "parcel_graph") as first:
        async with aclosing(attach(registry, run_id)) as events:
            async for event in events:
                print(event.seq, event.type, event.data)
                seen = event.seq
                if event.type == "updates":
                    break
        await asyncio.to_thread(written, folder / "log", "drive")
        first.kill()
    print(f"the reader leaves after event {seen}, and the worker is killed")
    with worker(store, "parcel_graph"):
        async for event in attach(registry, run_id, after_seq=seen):
            print(event.seq, event.type, event.data)
    print("a reader who comes later gets the same:", *[event.seq async for event in attach(registry, run_id)])
    await registry.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
