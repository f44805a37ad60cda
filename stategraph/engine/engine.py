"""StateGraphEngine: a compiled graph that can be run, streamed and asked for the state of its threads.

A thin face: what the graph consists of is in its base, ``definition.py``; running is in ``runs/entrypoints.py`` and the
drivers, reading and writing a thread's state in ``state/snapshots.py`` and ``state/editing.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from langchain_core.runnables import RunnableConfig
from typing_extensions import Unpack

from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.pump import Procedure
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.config.runtime import RunControl
from stategraph.engine.definition import GraphDefinition
from stategraph.engine.runs import adriver, entrypoints
from stategraph.engine.runs.run_plan import given_by
from stategraph.engine.state import editing, snapshots
from stategraph.stream_parts import StreamMode
from stategraph.types import All, Command, DeprecatedKwargs, Durability, StateSnapshot, StateUpdate
from stategraph.typing import ContextT, InputT, OutputT, StateT

if TYPE_CHECKING:
    from langchain_core.runnables.schema import StreamEvent

    from stategraph.engine.state.account.asking import DiffOptions, ExplainOptions
    from stategraph.engine.state.account.comparing import Comparison
    from stategraph.engine.state.account.explanation import Explanation
    from stategraph.engine.streams.events.run import AsyncGraphRunStream, GraphRunStream

Modes = StreamMode | Sequence[StreamMode]


def _explained(engine: CompiledGraph, thread: RunnableConfig | str, options: ExplainOptions) -> Procedure[Explanation]:
    from stategraph.engine.state.account import asking  # loaded when somebody asks: it takes several milliseconds

    return asking.explained_by(engine, thread, options)


def _compared(
    engine: CompiledGraph, one: RunnableConfig | str, other: RunnableConfig | str, options: DiffOptions
) -> Procedure[Comparison]:
    from stategraph.engine.state.account import asking  # as above

    return asking.compared_by(engine, one, other, options)


class StateGraphEngine(
    GraphDefinition[StateT, ContextT, InputT, OutputT],
    Generic[StateT, ContextT, InputT, OutputT],
):
    """A graph of nodes over channels, run in supersteps.

    Most people get one from ``StateGraph(...).compile()`` or ``@entrypoint``;
    building one from nodes and channels gives full control. Its attributes are
    those of :class:`~stategraph.engine.definition.GraphDefinition`.
    """

    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode = "values",
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Any,
    ) -> dict[str, Any] | Any:
        """Run the graph to its end, or to its next interrupt.

        Args:
            input: The input, a ``Command`` (to resume, update or go somewhere),
                or None to continue the thread.
            config: Names the thread; limits, callbacks, tags.
            context: What nodes get as ``runtime.context``.
            stream_mode: "values" for the result; any other mode for a list of
                its chunks.
            print_mode: Modes to print as well.
            output_keys: The channels of the result; None for the graph's.
            interrupt_before: Nodes to pause before; None for the graph's.
            interrupt_after: Nodes to pause after; None for the graph's.
            durability: When checkpoints are stored: "sync" before the next step,
                "async" (the default) during it, "exit" at the end.
            control: A switch to drain the run with.
            version: "v2" returns a ``GraphOutput``.
            **kwargs: The deprecated ``checkpoint_during``, ``subgraphs``, ``debug``.

        Returns:
            The result, with the waiting interrupts under ``__interrupt__`` if the
            run paused; None if the graph wrote nothing.

        Raises:
            GraphRecursionError: If the recursion limit is reached.
            InvalidUpdateError: If nodes write what the state cannot take.
            BaseException: What a node failed with.
        """
        options = (True, stream_mode, print_mode, version, False, None, output_keys, interrupt_before, interrupt_after)
        given = given_by(context, durability, control)
        if type(self).stream is not _STREAM or "stream" in self.__dict__:
            result = entrypoints.invoke_through(self.stream, self._named(options), input, config, given, kwargs)
        else:
            result = entrypoints.run(entrypoints.open_run(self.spec, options, input, config, given, kwargs))
        return result if self._output_check is None else entrypoints.checked(result, self.spec, options)

    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode = "values",
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Any,
    ) -> dict[str, Any] | Any:
        """Like :meth:`invoke`; several tasks of a step run concurrently on the event loop."""
        options = (True, stream_mode, print_mode, version, False, None, output_keys, interrupt_before, interrupt_after)
        given = given_by(context, durability, control)
        if type(self).astream is not _ASTREAM or "astream" in self.__dict__:
            named = self._named(options)
            result = await entrypoints.ainvoke_through(self.astream, named, input, config, given, kwargs)
        else:
            result = await entrypoints.arun(entrypoints.open_run(self.spec, options, input, config, given, kwargs))
        if self._output_check is not None:
            result = entrypoints.checked(result, self.spec, options)
        return result

    def _named(self, options: tuple[Any, ...]) -> tuple[Any, ...]:
        """Name the channels of the result as the graph does: who overrides `stream` may look at them."""
        *shown, keys, before, after = options
        return (*shown, self.output_channels if keys is None else keys, before, after)

    def invoke_inside(self, input: Any, config: RunnableConfig) -> Any:
        """Like :meth:`invoke`, for the engine: the graph is a node's work, and the outer run has no listeners.

        Args:
            input: What the node is given.
            config: The config of the node's task.
        """
        kind, own = type(self), self.__dict__
        # An override or a wrapper wants to see the run.
        seen = kind.invoke is not _INVOKE or kind.stream is not _STREAM or "invoke" in own or "stream" in own
        execution = None if seen else entrypoints.open_inside(self.spec, input, config)
        if execution is None:
            return self.invoke(input, config)
        return entrypoints.run(execution)

    async def ainvoke_inside(self, input: Any, config: RunnableConfig) -> Any:
        """Like :meth:`invoke_inside`, async."""
        kind, own = type(self), self.__dict__
        seen = kind.ainvoke is not _AINVOKE or kind.astream is not _ASTREAM or "ainvoke" in own or "astream" in own
        execution = None if seen else entrypoints.open_inside(self.spec, input, config)
        if execution is None:
            return await self.ainvoke(input, config)
        return await entrypoints.arun(execution)

    def stream(  # type: ignore[override]
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes | None = None,
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Unpack[DeprecatedKwargs],
    ) -> Iterator[dict[str, Any] | Any]:
        """Run the graph and yield what happens while it happens.

        Args:
            input: As for :meth:`invoke`.
            config: As for :meth:`invoke`.
            context: As for :meth:`invoke`.
            stream_mode: One mode, or a list of them, which yields (mode,
                payload); None for the graph's own. Modes are "values",
                "updates", "messages", "custom", "tasks", "checkpoints", "debug"
                and "tools"; `stategraph/stream_parts.py` says what each shows.
            print_mode: Modes to print as well.
            output_keys: As for :meth:`invoke`.
            interrupt_before: As for :meth:`invoke`.
            interrupt_after: As for :meth:`invoke`.
            durability: As for :meth:`invoke`.
            control: As for :meth:`invoke`.
            subgraphs: Whether to show what happens in subgraphs too; then the
                namespace comes first in each yielded item.
            debug: Whether to print every step; None for the graph's setting.
            version: "v2" yields dicts with ``type``, ``ns`` and ``data``.
            **kwargs: The deprecated ``checkpoint_during``.

        Yields:
            Payloads, or tuples as described above.
        """
        shown = stream_mode, print_mode, version, subgraphs, debug
        options = (False, *shown, output_keys, interrupt_before, interrupt_after)
        yield from entrypoints.follow(
            entrypoints.open_run(self.spec, options, input, config, given_by(context, durability, control), {**kwargs})
        )

    async def astream(  # type: ignore[override]
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes | None = None,
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Unpack[DeprecatedKwargs],
    ) -> AsyncIterator[dict[str, Any] | Any]:
        """Like :meth:`stream`."""
        shown = stream_mode, print_mode, version, subgraphs, debug
        options = (False, *shown, output_keys, interrupt_before, interrupt_after)
        given = given_by(context, durability, control)
        execution = entrypoints.open_run(self.spec, options, input, config, given, {**kwargs})
        procedure, request = adriver.begin(execution)
        # What `procedures.adrive` does, and shows chunks between: tracers and `RunnableLambda` ask whether this is an
        # async generator function, and one more async generator inside of it takes longer than the rest of a chunk.
        send: Callable[[Any], object] = procedure.send
        go_on, answer = send, None
        try:
            while True:
                each = go_on(answer)
                try:
                    if each is request:
                        answer = await request.awaitable
                    else:
                        answer = yield each
                    go_on = send
                except BaseException as error:  # a cancellation, or the caller leaves
                    go_on, answer = procedure.throw, error
        except StopIteration:
            return
        finally:
            del answer  # an error refers to this frame

    # -- state ---------------------------------------------------------------

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the state of a thread.

        Args:
            config: Names the thread, and optionally a checkpoint or the namespace
                of a subgraph.
            subgraphs: Whether tasks that run subgraphs carry those graphs' states.

        Raises:
            ValueError: If the graph has no saver.
        """
        return snapshots.get_state(self, config, subgraphs=subgraphs)

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Like :meth:`get_state`."""
        return await snapshots.aget_state(self, config, subgraphs=subgraphs)

    def has_work_left(self, config: RunnableConfig) -> bool:
        """Return whether a run that goes on with ``invoke(None, config)`` would find something to do.

        It includes the writes recorded behind the latest checkpoint, so it is also true for a thread that was cut off
        between a step and its checkpoint, or whose next step waits for an answer.

        Args:
            config: Names the thread; a checkpoint id in it is ignored.

        Returns:
            Whether a node, an answer or the end of a step is outstanding; False for a thread that does not exist.

        Raises:
            ValueError: If the graph has no checkpointer.
        """
        return snapshots.has_work_left(self, config)

    async def ahas_work_left(self, config: RunnableConfig) -> bool:
        """Like :meth:`has_work_left`."""
        return await snapshots.ahas_work_left(self, config)

    def get_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield the states of a thread, newest first.

        Args:
            config: Names the thread.
            filter: Metadata that a checkpoint must have.
            before: A checkpoint's config; only older ones are yielded.
            limit: The most to yield; None for all.
        """
        yield from snapshots.get_state_history(self, config, filter=filter, before=before, limit=limit)

    async def aget_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Like :meth:`get_state_history`."""
        history = snapshots.aget_state_history(self, config, filter=filter, before=before, limit=limit)
        async for snapshot in history:
            yield snapshot

    def update_state(
        self,
        config: RunnableConfig,
        values: dict[str, Any] | Any | None,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> RunnableConfig:
        """Write to a thread's state as if a node had.

        Args:
            config: Names the thread or checkpoint.
            values: What the node returned; None only moves on past it.
            as_node: The node; None for the one that wrote last.
            task_id: The id of its task, or None.

        Returns:
            The config of the new checkpoint.

        Raises:
            InvalidUpdateError: If it is not clear which node wrote last.
        """
        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    async def aupdate_state(
        self,
        config: RunnableConfig,
        values: dict[str, Any] | Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> RunnableConfig:
        """Like :meth:`update_state`."""
        return await self.abulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """Write several steps of updates to a thread's state, a checkpoint for each.

        Raises:
            ValueError: If there is no saver, or nothing to write.
            InvalidUpdateError: If an update does not fit the graph.
        """
        return editing.bulk_update_state(self, config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """Like :meth:`bulk_update_state`."""
        return await editing.abulk_update_state(self, config, supersteps)

    # -- accounts ----------------------------------------------------------------

    def explain(self, thread: RunnableConfig | str, **options: Unpack[ExplainOptions]) -> Explanation:
        """Say why each node ran, waits or did not run, and who wrote what, from what is stored of a thread.

        Args:
            thread: The config or the id of a thread; a config may name a checkpoint, or the namespace of a subgraph.
            **options: `steps`, the most steps of the run that are looked at, the newest (100), also of each graph
                inside; `subgraphs`, whether these are accounted for (True); `redact`, which is given each text that is
                to be shown and returns it without what must not be, beside what is always hidden.

        Raises:
            ValueError: If the graph has no saver.
        """
        return pump.run(_explained(self, thread, options))

    async def aexplain(self, thread: RunnableConfig | str, **options: Unpack[ExplainOptions]) -> Explanation:
        """Like :meth:`explain`."""
        procedure = _explained(self, thread, options)
        return await pump.arun(procedure)

    def diff(
        self, one: RunnableConfig | str, other: RunnableConfig | str, **options: Unpack[DiffOptions]
    ) -> Comparison:
        """Say how two checkpoints differ, or two runs, also of two threads: values, nodes, and where they first part.

        Args:
            one: The config or the id of a thread; a config may name a checkpoint.
            other: The one that it is compared with.
            **options: `redact`, as for :meth:`explain`.

        Raises:
            ValueError: If the graph has no saver, or nothing is stored of one of them.
        """
        return pump.run(_compared(self, one, other, options))

    async def adiff(
        self, one: RunnableConfig | str, other: RunnableConfig | str, **options: Unpack[DiffOptions]
    ) -> Comparison:
        """Like :meth:`diff`."""
        procedure = _compared(self, one, other, options)
        return await pump.arun(procedure)

    # -- events ------------------------------------------------------------------

    @overload  # type: ignore[override]
    def stream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        version: Literal["v3"],
        control: RunControl | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> GraphRunStream: ...

    @overload
    def stream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **kwargs: Any,
    ) -> Iterator[StreamEvent]: ...

    def stream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        version: Literal["v1", "v2", "v3"] = "v2",
        **kwargs: Any,
    ) -> Any:
        """Return the run as a handle with projections; it advances while they are read.

        Args:
            input: As for :meth:`invoke`.
            config: As for :meth:`invoke`.
            version: "v3"; langchain-core streams events of the other versions asynchronously only.
            transformers: Makers of further transformers, called with a namespace once for the run and for each
                nested run that is followed. They come after those of the graph.
            **kwargs: Options of :meth:`stream`, except for ``stream_mode`` and ``subgraphs``.

        Raises:
            TypeError: If an option is not the caller's to set, or a transformer is not a maker of one.
            ValueError: If two transformers have a projection of the same name.
            RuntimeError: If a transformer needs an event loop.
            NotImplementedError: For versions 1 and 2.
        """
        if version != "v3":
            return super().stream_events(input, config, version=version, **kwargs)
        # Imported here: it takes 15 ms, which other runs need not pay.
        from stategraph.engine.streams.events import opening

        opening.refuse_own_options(kwargs)
        return opening.open_run(self, input, config, transformers, kwargs)

    @overload  # type: ignore[override]
    def astream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        version: Literal["v3"],
        control: RunControl | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Awaitable[AsyncGraphRunStream]: ...

    @overload
    def astream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **kwargs: Any,
    ) -> AsyncIterator[StreamEvent]: ...

    def astream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        version: Literal["v1", "v2", "v3"] = "v2",
        **kwargs: Any,
    ) -> AsyncIterator[StreamEvent] | Awaitable[Any]:
        """Stream the events of every runnable in the run, or for version 3 as in :meth:`stream_events`.

        Args:
            input: As for :meth:`invoke`.
            config: As for :meth:`invoke`.
            version: The form of the events; the handle of version 3 has to be awaited.
            transformers: As for :meth:`stream_events`; for version 3.
            **kwargs: Options of :meth:`astream`, and for versions 1 and 2 filters for events.

        Raises:
            TypeError: As for :meth:`stream_events`.
            ValueError: As for :meth:`stream_events`.
        """
        if version != "v3":
            return super().astream_events(input, config, version=version, **kwargs)
        from stategraph.engine.streams.events import opening  # see `stream_events`

        opening.refuse_own_options(kwargs)
        return opening.aopen_run(self, input, config, transformers, kwargs)


# Methods that a run checks for overrides, by a subclass, an instance or an instrumentation.
_INVOKE, _AINVOKE = StateGraphEngine.invoke, StateGraphEngine.ainvoke
_STREAM, _ASTREAM = StateGraphEngine.stream, StateGraphEngine.astream
