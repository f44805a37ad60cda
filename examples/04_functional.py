"""The functional API: plain control flow, with tasks that run in parallel and are remembered.

Prints::

    run 1: {'words': 9, 'runs': 1}
    run 2: {'words': 4, 'runs': 2}
    counted: ['a short text', 'and one that is longer', 'three', 'three', 'two more words']
"""

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import entrypoint, task

counted: list[str] = []


@task
def count(text: str) -> int:
    counted.append(text)
    return len(text.split())


@entrypoint(checkpointer=InMemorySaver())
def total(texts: list[str], *, previous: dict[str, int] | None = None) -> dict[str, int]:
    futures = [count(text) for text in texts]
    runs = previous["runs"] if previous else 0
    return {"words": sum(future.result() for future in futures), "runs": runs + 1}


thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
print("run 1:", total.invoke(["a short text", "and one that is longer", "three"], thread))
print("run 2:", total.invoke(["two more words", "three"], thread))
print("counted:", sorted(counted))
