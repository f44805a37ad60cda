"""Two processes and one thread: a policy says which of them writes, and a fenced saver refuses the other.

Prints::

    this process has the thread
    a second process, reject: was refused: ThreadBusy
    a second process, interrupt: wrote
    this process: AbortError
    its late write: LeaseLost
    the thread has: ['by the first process', 'by the second process: interrupt']
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from thread_writer import THREAD, graph, opened

from stategraph import AbortError
from stategraph.workers import LeaseLost, hold

HERE = Path(__file__).resolve().parent


def second(file: str, policy: str) -> None:
    command = [sys.executable, str(HERE / "thread_writer.py"), file, policy]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"a second process, {policy}: {said.strip()}")


async def main(file: str) -> None:
    async with opened(file) as (registry, saver):
        other = None
        try:
            async with hold(registry, "order-7") as held:
                print("this process has the thread")
                fenced = graph.copy({"checkpointer": held.fence(saver)})
                await fenced.ainvoke({"said": ["by the first process"]}, THREAD)
                await asyncio.to_thread(second, file, "reject")
                other = asyncio.create_task(asyncio.to_thread(second, file, "interrupt"))
                await asyncio.sleep(60)  # some work, in the middle of which it is stopped
        except AbortError as error:
            stopped = type(error).__name__
        await other
        print(f"this process: {stopped}")
        try:
            await fenced.ainvoke({"said": ["too late"]}, THREAD)
        except LeaseLost as error:
            print(f"its late write: {type(error).__name__}")
        state = await graph.copy({"checkpointer": saver}).aget_state(THREAD)
        print("the thread has:", state.values["said"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(f"{folder}/runs.db"))
