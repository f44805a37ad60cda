"""A program on LangGraph itself: `python interop_langgraph.py STORE THREAD [ANSWER]`.

It begins or resumes a thread on a saver, and prints one JSON object: the engine, the values, the next nodes, and what
is asked.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import langgraph.graph
from interop_graph import builder
from langgraph.types import Command


def saver(store: str) -> AbstractContextManager[Any]:
    if store.startswith("sqlite"):
        from langgraph.checkpoint.sqlite import SqliteSaver

        return SqliteSaver.from_conn_string(store.removeprefix("sqlite:///"))
    from langgraph.checkpoint.postgres import PostgresSaver

    return PostgresSaver.from_conn_string(store)


def main(store: str, thread: str, answer: str | None = None) -> None:
    config: Any = {"configurable": {"thread_id": thread}}
    with saver(store) as opened:
        opened.setup()
        graph = builder.compile(checkpointer=opened)
        given: Any = {"done": ["start"]} if answer is None else Command(resume=answer)
        if answer != "":
            graph.invoke(given, config)
        state = graph.get_state(config)
        asked = [each.value for task in state.tasks for each in task.interrupts]
    found = {"engine": langgraph.graph.__file__, "values": state.values, "next": state.next, "asked": asked}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
