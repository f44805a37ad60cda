"""``make bench``, a part of it: what a call of a plug-in's tool costs in a thread, a process and a sandbox.

    python -m benchmarks.plugins                         some seconds on a quiet machine

Each place is asked one call after the other, as an agent does, and then 32 at a time. The design document of plug-ins
that users brought measured 437 calls/s at 2.28 ms; its figures stand beside ours. Never exits with 1 because of one.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Final

from stategraph.resources.plugins.errors import PluginError
from stategraph.resources.plugins.host import PluginHost
from stategraph.resources.plugins.spec import PluginSpec

CALLS: Final = 1_000
AT_ONCE: Final = 32
PLACES: Final = {"a thread": "trusted", "a process": "verified", "a sandbox": "public"}
PEER: Final = "their document: 437 calls/s, 2.28 ms"
MODULE: Final = "tests.resources.plugins.samples"


async def measure(trust: str) -> tuple[float, float, float]:
    """Return the median and the 99th percentile of one call in seconds, and the calls per second of several at once."""
    async with PluginHost(allow=(MODULE,)) as host:
        await host.apply(PluginSpec("p", module=f"{MODULE}:Greeter", trust=trust))  # type: ignore[arg-type]
        await asyncio.gather(*(host.call("p", "add", {"a": each}) for each in range(AT_ONCE)))
        took = []
        for each in range(CALLS):
            begun = time.perf_counter()
            assert await host.call("p", "add", {"a": each, "b": 1}) == each + 1
            took.append(time.perf_counter() - begun)

        async def several() -> None:
            for each in range(CALLS // AT_ONCE):
                await host.call("p", "add", {"a": each})

        begun = time.perf_counter()
        await asyncio.gather(*(several() for _ in range(AT_ONCE)))
        rate = CALLS // AT_ONCE * AT_ONCE / (time.perf_counter() - begun)
    return statistics.median(took), statistics.quantiles(took, n=100)[98], rate


def main() -> int:
    """Print the rows."""
    for place, trust in PLACES.items():
        try:
            median, slow, rate = asyncio.run(measure(trust))
        except PluginError as error:
            print(f"a call of a plug-in in {place} is left out: {error}")
            continue
        what = f"a call of a plug-in's tool in {place} ({1000 * slow:.2f} ms at p99)"
        print(f"{what:<72} {1000 * median:>7.2f} ms   {PEER}")
        print(f"{f'the same, {AT_ONCE} at a time':<72} {rate:>7,.0f} /s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
