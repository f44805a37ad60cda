"""`Threads`: what a host does with the threads of a saver beside running them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Literal

from stategraph.errors import AbortError, ConfigurationError
from stategraph.run.abort import RUNTIME_CLOSED
from stategraph.run.loop_affinity import LoopLock
from stategraph.run.ports import Settle
from stategraph.run.threads import arguments, conversation, copying, erasing, keeping, rules, transfer
from stategraph.run.threads.conversation import MESSAGES, Saved
from stategraph.run.threads.indexes import index_of
from stategraph.run.threads.keeping import now_s
from stategraph.run.threads.port import ErasesThreads, ThreadIndex
from stategraph.run.threads.rules import Row
from stategraph.run.threads.values import (
    Erased,
    Thread,
    ThreadOrder,
    ThreadPage,
    ThreadQuery,
    ThreadStatus,
    ThreadView,
    as_cursor,
    of_cursor,
    time_of,
)
from stategraph.run.turn import run_lock


class Threads:
    """The threads of a runtime's saver; `AgentRuntime.threads`.

    The index begins with the first call here, or with the runtime if it is given a `thread_index`; from then on runs of
    the runtime keep it. Threads that were there before, or that other programs wrote, are found by `repair`, which the
    first call does.

    Attributes:
        is_closed: Whether the runtime is closed; no run of it is executed then.

    Args:
        saver: Returns the saver; None: there is none, and every call is refused.
        store: Returns the long-term memory; None: there is none.
        erasers: Return what else may keep something of a thread.
        index: The index; None: that of the saver. True: the same, kept by runs from the start.
    """

    def __init__(
        self,
        saver: Callable[[], Any],
        store: Callable[[], Any] = lambda: None,
        erasers: Callable[[], Sequence[object]] = tuple,
        index: ThreadIndex | bool | None = None,
    ) -> None:
        self.is_closed = False
        self._saver = saver
        self._store = store
        self._erasers = erasers
        self._given = index
        self._index: ThreadIndex | None = None
        self._indexed: Any = None
        self._is_used = bool(index)
        self._opening = LoopLock()
        self._is_complete = False
        self._found = 0
        self._executed: dict[asyncio.Event, Callable[[], bool]] = {}

    # Lists.

    async def list(
        self,
        *,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: ThreadStatus | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        order: ThreadOrder = "updated",
        oldest_first: bool = False,
        limit: int = 50,
        after: str | None = None,
    ) -> ThreadPage:
        """Return a page of threads, the newest first.

        Args:
            owner: Of this owner; None: of any. A host with several people gives it always.
            metadata: Threads whose metadata have these values.
            status: Threads in this status.
            updated_after: Used at or after this time.
            updated_before: Used before this time.
            order: By which time they are sorted.
            oldest_first: Turns the order around.
            limit: How many, from 1 to 1,000.
            after: The `next` of the page before; None: the first page.

        Raises:
            ConfigurationError: An argument makes no sense, or the saver lists no threads.
        """
        return await self._page(
            ThreadQuery(
                owner=arguments.text("owner", owner),
                metadata=rules.checked_metadata(metadata),
                status=status,
                updated_after=arguments.seconds("updated_after", updated_after),
                updated_before=arguments.seconds("updated_before", updated_before),
                order=order,
                oldest_first=oldest_first,
                limit=limit,
                after=of_cursor(after),
                now=now_s(),
            )
        )

    async def search(
        self, text: str, *, owner: str | None = None, limit: int = 50, after: str | None = None
    ) -> ThreadPage:
        """Return threads whose title or metadata contain a text, in any case; messages are not searched.

        Args:
            text: The text.
            owner: Of this owner; None: of any.
            limit: How many, from 1 to 1,000.
            after: The `next` of the page before.

        Raises:
            ConfigurationError: As `list`; or the saver's threads have no titles.
        """
        index = await self._opened()
        index.check()
        sought, of = arguments.text("text", text or None) or "", arguments.text("owner", owner)
        return await self._page(ThreadQuery(text=sought, owner=of, limit=limit, after=of_cursor(after), now=now_s()))

    async def _page(self, query: ThreadQuery) -> ThreadPage:
        rows = await (await self._opened()).find(query)
        shown, more = rows[: query.limit], len(rows) > query.limit
        return ThreadPage(
            tuple(row.shown(query.now) for row in shown), as_cursor(shown[-1].place(query)) if more else None
        )

    # One thread.

    async def create(
        self,
        thread_id: str | None = None,
        *,
        title: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        if_exists: Literal["raise", "keep"] = "raise",
    ) -> Thread:
        """Make a thread, before its first run.

        Args:
            thread_id: Its name; None: a new one.
            title: For readers.
            owner: Whose it is.
            metadata: The host's own, as JSON.
            if_exists: `keep` returns the one that there is, as it is.

        Raises:
            ConfigurationError: There is one already, or an argument makes no sense.
        """
        if if_exists not in ("raise", "keep"):
            raise ConfigurationError(f"'if_exists' is {if_exists!r:.60}; expected 'raise' or 'keep'")
        index = await self._opened()
        row = _new(arguments.new_id(thread_id), title, owner, metadata)
        known = await self._found_row(index, row.id)
        if known is None and await index.put(row, None):
            return row.shown(row.created_at)
        known = known or await index.get(row.id)
        if if_exists == "keep" and known is not None:
            return known.shown(now_s())
        raise ConfigurationError(f"There is a thread '{row.id}' already: use another id, or if_exists='keep'")

    async def info(self, thread_id: str) -> Thread:
        """Return a thread as it is in lists.

        Raises:
            LookupError: There is none.
        """
        return (await self._known(await self._opened(), thread_id)).shown(now_s())

    async def get(self, thread_id: str, *, checkpoint_id: str | None = None) -> ThreadView:
        """Return a thread with its conversation, as messages and as content parts.

        Args:
            thread_id: Which.
            checkpoint_id: As it was at this checkpoint; None: as it is.

        Raises:
            LookupError: There is no such thread or checkpoint.
        """
        index = await self._opened()
        row = await self._known(index, thread_id)
        saved = await conversation.load(self._indexed, index, thread_id, checkpoint_id)
        if saved is None:
            if checkpoint_id is not None:
                raise LookupError(f"Thread '{thread_id}' has no checkpoint '{checkpoint_id}'")
            return ThreadView(row.shown(now_s()), (), (), (), None, {})
        values = await conversation.values_of(self._indexed, saved, thread_id)
        messages = conversation.said(values, saved)
        content, interrupts = conversation.content(messages), saved.interrupts(thread_id)
        return ThreadView(row.shown(now_s()), messages, content, interrupts, saved.id, values)

    async def rename(self, thread_id: str, title: str) -> Thread:
        """Give a thread a title.

        Raises:
            LookupError: There is none.
            ConfigurationError: The title is no text, or empty.
        """
        if title is None:
            raise ConfigurationError("'title' is None; expected a text that is not empty")
        return await self.update(thread_id, title=title)

    async def update(
        self,
        thread_id: str,
        *,
        title: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Thread:
        """Change the details of a thread.

        Args:
            thread_id: Which.
            title: The new title; None: as it is.
            owner: The new owner; None: as it is.
            metadata: Laid over the metadata that there are; None as a value takes a key away.

        Raises:
            LookupError: There is no such thread.
        """
        index = await self._opened()
        given = {"title": arguments.text("title", title), "owner": arguments.text("owner", owner)}
        laid = None if metadata is None else rules.checked_metadata(metadata)

        def change(row: Row | None) -> Row:
            return rules.changed(_there(row, thread_id), now_s(), metadata=laid, **given)

        await self._known(index, thread_id)
        row = await keeping.change(index, thread_id, change)
        assert row is not None
        return row.shown(now_s())

    # Copies.

    async def fork(
        self,
        thread_id: str,
        *,
        checkpoint_id: str | None = None,
        message_id: str | None = None,
        new_thread_id: str | None = None,
        title: str | None = None,
    ) -> Thread:
        """Copy a thread; both go on separately.

        Args:
            thread_id: The thread.
            checkpoint_id: The checkpoint to copy; None: the newest. If that waits for a person, the copy does.
            message_id: Copy the conversation up to this message, it included, as if a turn had ended there.
            new_thread_id: The name of the copy; None: a new one.
            title: Its title; None: that of the thread.

        Returns:
            The copy, with the owner and the metadata of the thread.

        Raises:
            LookupError: There is no such thread, checkpoint or message.
            ConfigurationError: There is a thread of the new name already, or the message is not at the end of any state
                of a graph whose states are not those of agents.
        """
        index = await self._opened()
        row = await self._known(index, thread_id)
        saver = self._indexed
        saved = await conversation.load(saver, index, thread_id, checkpoint_id)
        if saved is None:
            what = "nothing stored" if checkpoint_id is None else f"no checkpoint '{checkpoint_id}'"
            raise LookupError(f"Thread '{thread_id}' has {what}, so there is nothing to copy")
        target = arguments.new_id(new_thread_id)
        write = partial(copying.copy_state, saver, saved, thread_id, target)
        if message_id is not None:
            write = await self._up_to(thread_id, saved, message_id, target)
        details = {"title": row.title if title is None else title, "owner": row.owner, "metadata": row.metadata}
        made = await self._begin(target, write, details)
        if not index.keeps or message_id is not None or not saved.interrupts(target):
            return made
        waiting = await keeping.change(index, target, lambda row: replace(_there(row, target), status="interrupted"))
        return made if waiting is None else waiting.shown(now_s())

    async def _up_to(self, thread_id: str, saved: Saved, message_id: str, target: str) -> Any:
        """Return what copies a thread up to a message."""
        saver = self._indexed
        values = await conversation.values_of(saver, saved, thread_id)
        messages = conversation.said(values, saved)
        found = next((at for at, each in enumerate(messages) if each.id == message_id), None)
        if found is None:
            raise LookupError(f"Thread '{thread_id}' has no message '{message_id}'")
        if saved.is_of_agents:
            all_values = {**values, MESSAGES: messages}
            return partial(copying.copy_messages, saver, all_values, messages[: found + 1], target)
        async with aclosing(saver.alist(conversation.thread_config(thread_id))) as listing:
            async for each in listing:
                stored = each.checkpoint["channel_values"].get(MESSAGES)
                if isinstance(stored, Sequence) and stored and getattr(stored[-1], "id", None) == message_id:
                    return partial(copying.copy_state, saver, Saved(each, ()), thread_id, target)
        raise ConfigurationError(
            f"Thread '{thread_id}' is no thread of agents, and none of its checkpoints ends with message "
            f"'{message_id}': fork it at a checkpoint_id"
        )

    async def export(self, thread_id: str) -> dict[str, Any]:
        """Return a thread as JSON, see `stategraph.run.threads.transfer`.

        Raises:
            LookupError: There is none.
        """
        return transfer.exported(await self.get(thread_id))

    async def import_thread(
        self, exported: Mapping[str, Any], *, new_thread_id: str | None = None, owner: str | None = None
    ) -> Thread:
        """Make a thread of an export: with its messages, title and metadata, as if its last turn had ended.

        Args:
            exported: What `export` returned, perhaps elsewhere.
            new_thread_id: The name of the thread; None: the one that it had.
            owner: Whose it is; None: nobody's. The owner whom the export names is not taken over: whoever wrote it may
                have named another person.

        Raises:
            ConfigurationError: It is no export, or there is a thread of that name already.
        """
        await self._opened()
        read = transfer.imported(exported)
        target = arguments.new_id(new_thread_id or read.thread_id or None)
        write = partial(copying.copy_messages, self._indexed, {}, read.messages, target)
        details = {"title": read.title, "owner": owner, "metadata": read.metadata}
        return await self._begin(target, write, details)

    async def _begin(self, target: str, write: Callable[[], Any], details: Mapping[str, Any]) -> Thread:
        """Write a new thread: its row first, so that it is found if this process dies meanwhile."""
        index = await self._opened()
        row = _new(target, **details)
        is_there = await self._found_row(index, target) is not None
        if is_there or (index.keeps and not await index.put(row, None)):
            raise ConfigurationError(f"There is a thread '{target}' already: use another new_thread_id")
        try:
            await write()
        except BaseException:
            async with self._alone(index, target):
                await self._indexed.adelete_thread(target)
            raise
        return row.shown(row.created_at) if index.keeps else await self.info(target)

    # The end.

    async def delete(self, thread_id: str) -> None:
        """Delete a thread: its checkpoints, what its tasks wrote, and its place in lists.

        Args:
            thread_id: Which.

        Raises:
            LookupError: There is none.
            ConfigurationError: A run goes on in it, in this process or in another one.
        """
        index = await self._opened()
        arguments.check_known_id(thread_id)
        if await index.get(thread_id) is None:
            await self._known(index, thread_id)
        async with self._alone(index, thread_id):
            await self._indexed.adelete_thread(thread_id)

    async def erase(
        self,
        thread_id: str,
        *,
        store_namespaces: Sequence[tuple[str, ...]] | tuple[str, ...] | None = None,
        also: Sequence[ErasesThreads] = (),
    ) -> Erased:
        """Delete a thread with everything that is kept of it: entries of the long-term memory, runs and their events.

        Args:
            thread_id: Which. If it was deleted, what is left of it is erased.
            store_namespaces: Namespaces of the store to empty, with those below them, such as `[("memories", "ada")]`;
                or one namespace. None: all that have the thread's id as one of their parts.
            also: Others that keep something of it, such as a `RunRegistry`. The runtime's own are asked anyway.

        Returns:
            How much that was. Events in logs that the host keeps elsewhere are the host's to erase.

        Raises:
            LookupError: There is no such thread, and nothing was left of one.
            ConfigurationError: A run goes on in it, or an argument makes no sense; then nothing was erased.
        """
        arguments.check_known_id(thread_id)
        namespaces = erasing.checked_namespaces(store_namespaces, self._store())
        others = erasing.checked_erasers(also)
        index = await self._opened()
        saved = conversation.thread_config(thread_id)
        is_known = await index.get(thread_id) is not None or await self._indexed.aget_tuple(saved) is not None
        async with self._alone(index, thread_id):
            runs = 0
            for each in (*self._erasers(), *others):
                runs += await each.erase_thread(thread_id) if isinstance(each, ErasesThreads) else 0
            items = await erasing.empty(self._store(), thread_id, namespaces)
            await self._indexed.adelete_thread(thread_id)
        if not (is_known or runs or items):
            raise LookupError(f"There is no thread '{thread_id}'")
        return Erased(items, runs)

    @asynccontextmanager
    async def _alone(self, index: ThreadIndex, thread_id: str) -> AsyncIterator[None]:
        """Keep runs out of a thread, in this process and in others, and forget its row in the end."""
        with run_lock.deletion(self._indexed, thread_id):
            async with keeping.deleting(index, thread_id):
                yield

    async def repair(self) -> int:
        """Find threads that are not in the index, and end deletions that were cut off.

        Returns:
            How many threads were found or deleted.
        """
        is_first = not self._is_complete or self._indexed is not self._saver()
        index = await self._opened()
        return self._found if is_first else await self._repaired(index)

    async def _repaired(self, index: ThreadIndex) -> int:
        now, count = now_s(), 0
        for found in await index.unlisted():
            row = Row(found.id, created_at=time_of(found.first, now), updated_at=time_of(found.last, now))
            count += await index.put(replace(row, status="interrupted" if found.waits else "idle"), None)
        for row in await index.abandoned(now):
            try:
                async with self._alone(index, row.id):
                    await self._indexed.adelete_thread(row.id)
            except ConfigurationError:
                continue  # another process does it, or a run has begun on it
            count += 1
        return count

    # For the runtime.

    @asynccontextmanager
    async def executing(
        self,
        saver: object,
        thread_id: str,
        run_id: str,
        waits: Callable[[], bool],
        is_ending: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator[Settle | None]:
        """Keep the index while a run goes on, if there is one; see `keeping.executing`.

        Args:
            saver: The saver of the run.
            thread_id: Its thread.
            run_id: The run.
            waits: Tells at its end whether it waits for a person.
            is_ending: Tells whether readers of the run know its end already.

        Raises:
            AbortError: The runtime is closed.
        """
        if self.is_closed:
            raise AbortError(RUNTIME_CLOSED)
        if not self._is_used or not saver or saver is not self._saver():
            yield None
            return
        index = await self._entered()
        if not index.keeps:
            yield None
            return
        over = asyncio.Event()
        self._executed[over] = is_ending
        try:
            async with keeping.executing(index, thread_id, run_id, waits) as settle:
                yield settle
        finally:
            del self._executed[over]
            over.set()

    async def _opened(self) -> ThreadIndex:
        """Return the index once the saver's threads are in it: callers wait while the first of them repairs it."""
        index = await self._entered()
        for over in [each for each, is_ending in self._executed.items() if is_ending()]:
            await over.wait()  # whoever has read the end of a run is not told that it goes on
        if not self._is_complete:
            async with self._opening.lock:
                if not self._is_complete:
                    self._found = await self._repaired(index)
                    self._is_complete = True
        return index

    async def _entered(self) -> ThreadIndex:
        """Return the index, open. Runs need no more, and do not wait for a repair."""
        saver = self._saver()
        if not saver and self.is_closed:
            raise ConfigurationError("The runtime is closed, and so is its checkpointer: open it again")
        if not saver:
            raise ConfigurationError(
                "The runtime keeps no threads: give it a checkpointer, or a MultiProcessRuntime a store, and open it"
            )
        if self._index is None or self._indexed is not saver:
            async with self._opening.lock:
                if self._index is None or self._indexed is not saver:
                    index = index_of(saver) if self._given is None or isinstance(self._given, bool) else self._given
                    await index.open()
                    self._index, self._indexed, self._is_used, self._is_complete = index, saver, True, False
        return self._index

    async def _known(self, index: ThreadIndex, thread_id: str) -> Row:
        """Return the row of a thread, also of one that was not listed yet.

        Raises:
            LookupError: There is no such thread.
        """
        arguments.check_known_id(thread_id)
        return _there(await self._found_row(index, thread_id), thread_id)

    async def _found_row(self, index: ThreadIndex, thread_id: str) -> Row | None:
        """Return the row of a thread, also of one that another program wrote; None if there is no such thread."""
        row = await index.get(thread_id)
        if row is None:
            saved = await self._indexed.aget_tuple(conversation.thread_config(thread_id))
            if saved is not None:
                at = time_of(saved.checkpoint["id"], now_s())
                row = Row(thread_id, created_at=at, updated_at=at)
                if index.keeps and not await index.put(row, None):
                    row = await index.get(thread_id)
        return row


def _there(row: Row | None, thread_id: str) -> Row:
    if row is None or (row.status == "deleting"):
        raise LookupError(f"There is no thread '{thread_id}'")
    return row


def _new(thread_id: str, title: object, owner: object, metadata: object) -> Row:
    now = now_s()
    row = Row(thread_id, created_at=now, updated_at=now)
    row = rules.changed(row, now, title=arguments.text("title", title), owner=arguments.text("owner", owner))
    return rules.changed(row, now, metadata=rules.checked_metadata(metadata))
