"""A payment is made once, or the run says that it does not know: a worker dies between the charge and its answer.

Prints::

    the worker died: the bank has charged ['apples', 'pears'], and no answer was stored
    apples, with a hook that asks the bank: success
    pears, without one: interrupted
    asked: effect_in_doubt charge:pears
    answered: success
    the bank has charged ['apples', 'pears']
"""

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from payment_graph import charged
from worker_process import worker

from stategraph.workers import RunRegistry, attach


async def ended(registry: RunRegistry, run_id: str) -> tuple[str, list]:
    """Wait for the end of a run; return its status, and the questions that it asks."""
    asked: list = []
    async for event in attach(registry, run_id):
        if event.type == "updates":
            asked += event.data.get("__interrupt__", [])
    return (await registry.get(run_id)).status, asked


async def main(folder: str) -> None:
    def orders() -> list[str]:
        return sorted(line.split()[0] for line in charged(folder))

    store = f"sqlite:///{folder}/runs.db"
    registry = RunRegistry.from_url(store)
    runs = {}
    for order, graph in {"apples": "reconciled", "pears": "asking"}.items():
        given = {"folder": folder, "order": order}
        runs[order] = await registry.submit(f"order of {order}", given, target=f"payment_graph:{graph}")
    with worker(store, "payment_graph") as first:
        await asyncio.to_thread(first.wait)
    print(f"the worker died: the bank has charged {orders()}, and no answer was stored")
    with worker(store, "payment_graph"):
        status, _ = await ended(registry, runs["apples"])
        print(f"apples, with a hook that asks the bank: {status}")
        status, (question,) = await ended(registry, runs["pears"])
        print(f"pears, without one: {status}")
        doubt = question.value
        print(f"asked: {doubt['type']} {doubt['key']}")
        answer = {"happened": True, "result": "receipt for pears"}  # after a look at the account
        status, _ = await ended(registry, await registry.resume(runs["pears"], answer))
        print(f"answered: {status}")
    print(f"the bank has charged {orders()}")
    await registry.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(name))
