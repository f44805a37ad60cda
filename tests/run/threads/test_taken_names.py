"""Names of threads that are taken or that none can have, and threads in one event loop after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from stategraph import AgentRuntime
from stategraph.errors import ConfigurationError
from tests.run.threads.conftest import Savers
from tests.run.threads.test_threads import ids, turn

WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "create": lambda threads, exported: threads.create("theirs", owner="eve"),
    "fork": lambda threads, exported: threads.fork("mine", new_thread_id="theirs"),
    "import": lambda threads, exported: threads.import_thread(exported, new_thread_id="theirs"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("how", WAYS)
async def test_a_thread_that_another_process_has_made_meanwhile_is_not_written_to(savers: Savers, how: str) -> None:
    async with savers.open() as first, savers.open() as second:
        here, there = AgentRuntime(checkpointer=first), AgentRuntime(checkpointer=second)
        async with here, there:
            await turn(here, "mine", "Hello.")
            exported = await here.threads.export("mine")
            await turn(there, "theirs", "Of another.", text="secret", run_id="r2")  # which keeps no index
            with pytest.raises(ConfigurationError, match="There is a thread 'theirs' already"):
                await WAYS[how](here.threads, exported)
            view = await here.threads.get("theirs")
            assert [each.content for each in view.messages] == ["secret", "Of another."]
            assert view.thread.owner is None
            kept = await here.threads.create("theirs", if_exists="keep")
            assert (kept.id, kept.owner) == ("theirs", None)


@pytest.mark.anyio
async def test_names_that_no_thread_can_have_are_told_from_what_is_no_name(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        threads = runtime.threads
        calls: list[Callable[[Any], Any]] = [
            *(threads.info, threads.get, threads.delete, threads.erase, threads.fork, threads.export),
            lambda name: threads.rename(name, "A title"),
        ]
        for call in calls:
            for name in (None, 5, ["t"]):
                with pytest.raises(ConfigurationError, match=r"'thread_id' is .*; expected the id of a thread"):
                    await call(name)
            for name in ("", "a\0b", "\ud800"):
                with pytest.raises(LookupError, match="There is no thread"):
                    await call(name)
        await turn(runtime, "t", "Hello.")
        with pytest.raises(ConfigurationError, match="'title' is None"):
            await threads.rename("t", None)  # type: ignore[arg-type]
        for cursor in ("WzEsICJcdWQ4MDAiXQ", "WzEsICJcdTAwMDAiXQ", "W05hTiwgImEiXQ"):
            with pytest.raises(ConfigurationError, match="expected the 'next' of the page before"):
                await threads.list(after=cursor)


def test_a_runtime_that_is_opened_in_several_event_loops_lists_threads_from_several_tasks(tmp_path: Path) -> None:
    runtime = AgentRuntime(checkpointer=f"sqlite:///{tmp_path / 'threads.db'}")

    async def listed() -> None:
        async with runtime:
            assert await asyncio.gather(*(ids(runtime) for _ in range(5))) == [[]] * 5

    for _ in range(3):
        asyncio.run(listed())


class TextStore(InMemoryStore):
    """A store that compares namespaces as texts, as those of older releases of databases do."""

    async def asearch(self, prefix: Any, /, **how: Any) -> Any:  # type: ignore[override]
        limit, offset = how.get("limit", 10), how.get("offset", 0)
        search, found = super().asearch, list[Any]()
        for namespace in await self.alist_namespaces():
            if ".".join(namespace).startswith(".".join(prefix)):
                found += [item for item in await search(namespace, limit=1000) if item.namespace == namespace]
        return found[offset : offset + limit]


@pytest.mark.anyio
async def test_entries_of_somebody_with_a_longer_name_are_not_erased() -> None:
    store = TextStore()
    for name in ("ada", "adam"):
        for number in range(120):
            await store.aput(("memories", name), str(number), {"v": number})
    async with AgentRuntime(checkpointer=InMemorySaver(), store=store) as runtime:
        await turn(runtime, "t", "Hello.")
        erased = await runtime.threads.erase("t", store_namespaces=[("memories", "ada")])
    assert erased.store_items == 120
    assert {item.namespace for item in await store.asearch(("memories",), limit=1000)} == {("memories", "adam")}
