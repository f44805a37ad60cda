"""The inspector of a server: reads threads at any time, and changes them if that was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig

from stategraph.dev.conversations import Conversations
from stategraph.dev.inspector import comparing, editing, explaining, graphs, paths, steps, values
from stategraph.dev.inspector.graphs import Graph, Graphs, Place
from stategraph.dev.inspector.listing import Listing
from stategraph.dev.inspector.steps import Step
from stategraph.dev.inspector.values import Json
from stategraph.dev.replies import RefusedError
from stategraph.drawing.picture import Picture
from stategraph.engine.state.account import asking
from stategraph.engine.state.account.comparing import step_lines
from stategraph.engine.state.account.explanation import Explanation
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.run.threads.values import Thread

READ_ONLY: Final = (
    "This server only shows threads. To branch, edit and rerun, start it with editing on: stategraph dev --edit, or "
    "serve(..., edit=True)"
)

#: Messages of a page, and characters of one.
_MESSAGES: Final = 100
_LONG: Final = 20_000


class Inspector:
    """Reads and changes the threads of a server.

    Attributes:
        edits: Whether it changes anything.
        listing: Lists threads.

    Args:
        conversations: The server's.
        edits: Whether it changes anything.
        tells_errors: Whether texts of errors are told.
    """

    def __init__(self, conversations: Conversations, *, edits: bool, tells_errors: bool) -> None:
        self.edits = edits
        self.listing = Listing(conversations.runtime.threads)
        self._conversations = conversations
        self._tells_errors = tells_errors
        self._graphs = Graphs(conversations.runtime, conversations.target)
        self._picture: Picture | None = None

    def reopen(self) -> None:
        """Prepare for a runtime that is opened, perhaps again."""
        self._graphs.forget()
        self._picture = None

    async def about(self) -> Json:
        """Return what a page has to know: whether threads may be changed, and the graph as SVG.

        A graph that cannot be made, as for want of a key, or drawn is told as a `problem`.
        """
        told: Json = {"edits": self.edits, "read_only": None if self.edits else READ_ONLY}
        try:
            svg = graphs.svg_of(await self._drawn(), self._conversations.target.name)
        except (ConfigurationError, MissingPackageError) as error:
            return {**told, "svg": None, "problem": str(error)}
        except Exception as error:  # of nodes that cannot be drawn: the steps can be read all the same
            return {**told, "svg": None, "problem": f"The graph cannot be drawn: {type(error).__name__}"}
        return {**told, "svg": svg, "problem": None}

    async def _drawn(self) -> Picture:
        if self._picture is None:
            self._picture = await self._graphs.picture()
        return self._picture

    async def steps(self, place: Place, before: str | None, limit: int) -> Json:
        """Return a page of the steps of a thread; see `steps.listed`.

        Raises:
            LookupError: There is no such thread.
        """
        thread = await self._conversations.runtime.threads.info(place.thread_id)
        found = await steps.listed(await self._reader(place), place, before, limit)
        return {"thread": thread.to_json(), **found}

    async def step(self, place: Place, checkpoint_id: str) -> Json:
        """Return a step in detail.

        Raises:
            RefusedError: There is none.
        """
        graph = await self._reader(place)
        step = await steps.at(graph, place, checkpoint_id)
        told = await asyncio.to_thread(step.detail, tells_errors=self._tells_errors)
        is_newest = await steps.newest(graph, place) == step.id
        if is_newest:
            live = await graph.aget_state(place.config())
            told["waiting"] = [each.id for each in live.interrupts]
        nodes = [] if place.namespace else editing.nodes_of(graph, step)
        return {**told, "newest": is_newest, "nodes": nodes}

    async def path(self, place: Place, checkpoint_id: str) -> Json:
        """Return the way that a turn took up to a step.

        Raises:
            RefusedError: There is no such step.
        """
        return paths.taken(await self._account(place, checkpoint_id), await self._drawn())

    async def explanation(self, place: Place, checkpoint_id: str) -> Json:
        """Return why each node of a turn ran, waits or did not run, up to a step, and who wrote what.

        Raises:
            RefusedError: There is no such step.
        """
        return explaining.told(await self._account(place, checkpoint_id))

    async def _account(self, place: Place, checkpoint_id: str) -> Explanation:
        graph = await self._reader(place)
        await steps.at(graph, place, checkpoint_id)
        nested = graphs.nested_in(graph, place.namespace)
        return await asking.aexplain_stored(
            getattr(graph, "checkpointer", None),
            cast("RunnableConfig", place.config(checkpoint_id)),
            graph=nested,
            errors=self._tells_errors,
        )

    async def value(self, place: Place, checkpoint_id: str, name: str) -> Json:
        """Return a value of a state in full, as the text of its JSON, and why it cannot be set, if so.

        It is told as text as a browser would round long numbers.

        Raises:
            RefusedError: There is no such step or value.
        """
        graph = await self._reader(place)
        state = (await steps.at(graph, place, checkpoint_id)).state.values
        value = _value(state, name)
        problem = None if place.namespace else editing.why_not(graph, name, value)
        text = json.dumps(value, ensure_ascii=False, indent=2)
        return {"name": name, "text": text, "type": values.kind_of(value), "problem": problem}

    async def messages(self, place: Place, checkpoint_id: str, name: str, end: int | None) -> Json:
        """Return messages of a state, with long texts: those before the position `end`; None: the newest.

        Raises:
            RefusedError: There is no such step or value, or it is no conversation.
        """
        state = (await steps.at(await self._reader(place), place, checkpoint_id)).state.values
        value = _value(state, name)
        if not values.is_conversation(value):
            raise RefusedError(400, f"'{name}' holds no messages: read it as a value")
        last = len(value) if end is None else min(end, len(value))
        first = max(0, last - _MESSAGES)
        shown = [values.message_shown(each, _LONG) for each in value[first:last]]
        return {"name": name, "count": len(value), "begins": first, "messages": shown}

    async def compare(self, one: tuple[Place, str], other: tuple[Place, str]) -> Json:
        """Compare two branches, each by its last step; an empty one is the newest.

        Raises:
            RefusedError: There is no such step.
        """
        graph = await self._graphs.compiled()
        ends: list[Step] = []
        for place, checkpoint_id in (one, other):
            await self._conversations.runtime.threads.info(place.thread_id)
            found = checkpoint_id or await steps.newest(graph, place)
            if found is None:
                raise RefusedError(404, f"Thread '{place.thread_id}' has no steps yet")
            ends.append(await steps.at(graph, place, found))
        one_end, other_end = (cast("RunnableConfig", each.place.config(each.id)) for each in ends)
        told = await asking.adiff_stored(getattr(graph, "checkpointer", None), one_end, other_end, graph=graph)
        return {**await comparing.compared(graph, ends[0], ends[1]), "words": list(step_lines(told))}

    # Changes.

    def check_edits(self) -> None:
        """Check that threads may be changed.

        Raises:
            RefusedError: They may not.
        """
        if not self.edits:
            raise RefusedError(403, READ_ONLY)

    async def branch(
        self, place: Place, checkpoint_id: str, given: Mapping[str, Any] | None, as_node: str | None, *, runs: bool
    ) -> Json:
        """Begin a branch at a step, perhaps with other values, and perhaps run it.

        Args:
            place: The thread.
            checkpoint_id: The step.
            given: Values to be set; None: the state stays as it is.
            as_node: See `editing.branch`.
            runs: Whether what comes next is run.

        Returns:
            The new step, and the run if there is one.

        Raises:
            RefusedError: A value does not fit, a run goes on in the thread, or nothing comes next.
        """
        self.check_edits()
        if place.namespace:
            raise RefusedError(400, "A step of a nested graph is not changed by itself: begin at the step around it")
        graph = await self._graphs.compiled()
        async with self._conversations.resting(place.thread_id, getattr(graph, "checkpointer", None)):
            step = await steps.at(graph, place, checkpoint_id)
            if runs and not step.state.next and not given:
                raise RefusedError(409, "Nothing comes after this step: choose one before it, or change the state")
            made = await self._made(graph, step, given, as_node)
            row = (await steps.at(graph, place, made)).row()
            run = await self._conversations.run_again(place.thread_id) if runs and row["next"] else None
            if run is None:
                await self._listed(graph, row, place.thread_id)
                self._conversations.forget(place.thread_id)
        return {"step": row, "run": None if run is None else self._conversations.shown(run)}

    async def _listed(self, graph: Graph, row: Json, thread_id: str) -> None:
        """Give a thread the time and status of its new step in lists, as a run does that ends with it."""
        saver = getattr(graph, "checkpointer", None)
        waits = bool(row["interrupts"])
        async with self._conversations.runtime.threads.executing(saver, thread_id, f"edit-{row['id']}", lambda: waits):
            pass

    async def _made(self, graph: Graph, step: Step, given: Mapping[str, Any] | None, as_node: str | None) -> str:
        try:
            return await editing.branch(graph, step, given, as_node)
        except editing.GraphRefusedError as error:
            text = steps.error_text(error.error, is_told=self._tells_errors)
            raise RefusedError(400, f"{error}: {text}") from error

    async def copy(self, place: Place, checkpoint_id: str, title: str | None) -> Thread:
        """Copy a thread at a step to a thread of its own.

        Raises:
            LookupError: There is no such thread or step.
        """
        self.check_edits()
        made = await self._conversations.runtime.threads.fork(
            place.thread_id, checkpoint_id=checkpoint_id, title=title or None
        )
        self._conversations.changes.notify()
        return made

    async def _reader(self, place: Place) -> Graph:
        """Return the graph that reads steps at a place.

        Raises:
            RefusedError: A nested graph is meant that the target does not have.
        """
        graph = await self._graphs.compiled()
        if graphs.nested_in(graph, place.namespace) is None:
            raise RefusedError(404, f"The graph has no nested graph '{graphs.path_of(place.namespace)}'")
        return graph


def _value(state: object, name: str) -> Any:
    found = values.named(state)
    if name not in found:
        raise RefusedError(404, f"The state has no '{name}'; it has {', '.join(found) or 'nothing'}")
    return values.plain_as(name, found[name])
