"""`langgraph-checkpoint-conformance` on one saver: `saver_capabilities.py ours sqlite compact URL`.

Prints what was found as a line of JSON: by the name of a test, why it failed, or null.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import saver_kinds
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import ProgressCallbacks


async def main(whose: str, database: str, mode: str, url: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}

    @checkpointer_test(name=f"{whose} {database} {mode}")
    async def opened() -> Any:
        async with saver_kinds.saver(whose, database, mode, url) as saver:
            yield saver

    def note(capability: str, test: str, passed: bool, why: str | None) -> None:
        lines = (why or "failed").strip().splitlines()
        found[f"{capability}::{test}"] = None if passed else lines[-1]

    await validate(opened, progress=ProgressCallbacks(on_test_result=note))
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
