"""A graph on a server that speaks LangGraph's API, as a graph of this process.

It is a node like any other: the graph around it sees its stream and its interrupts. Sync and async share everything
but the call of the client.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, NoReturn, Self, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Graph
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient, get_client, get_sync_client
from langgraph_sdk.schema import Context, QueryParamTypes

from stategraph.constants import CONF, CONFIG_KEY_THREAD_ID
from stategraph.engine.compile.protocol import GraphProtocol, Version
from stategraph.engine.config.runnable_config import merge_configs
from stategraph.engine.remote import wire
from stategraph.engine.remote.relay import Relay, choose_modes
from stategraph.engine.remote.run import AsyncRemoteRunStream, RemoteRunStream
from stategraph.engine.runs.entrypoints import acollect, collect
from stategraph.stream_parts import StreamMode
from stategraph.types import All, GraphOutput, StateSnapshot

logger = logging.getLogger(__name__)

EVENT_RUN_OPTIONS: Final = frozenset({"metadata", "headers"})
"""Options of a run with `version="v3"`, in addition to input and config."""

DEFAULT_HISTORY_LIMIT: Final = 10


class _Given(NamedTuple):
    """Arguments of a run that the client library takes under the same names."""

    context: Context | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    headers: dict[str, str] | None
    params: QueryParamTypes | None


class _Unsupported(NamedTuple):
    """Arguments that a run with `version="v3"` refuses, unless they are empty."""

    interrupt_before: object
    interrupt_after: object
    transformers: object
    control: object


class RemoteGraph(GraphProtocol[Any, Any, Any, Any]):
    """A graph that runs on a server."""

    assistant_id: str
    name: str | None

    def __init__(
        self,
        assistant_id: str,
        /,
        *,
        url: str | None = None,
        api_key: str | None = None,
        headers: dict[str, str] | None = None,
        client: LangGraphClient | None = None,
        sync_client: SyncLangGraphClient | None = None,
        config: RunnableConfig | None = None,
        name: str | None = None,
        distributed_tracing: bool = False,
    ) -> None:
        """Name a graph on a server.

        Args:
            assistant_id: Id of the assistant, or name of the graph.
            url: Where the server is. Clients that are not given are made for it.
            api_key: Key for the clients made here; None lets the client library look in the environment.
            headers: Headers that the clients made here always send.
            client: The client for async calls. Without it and a `url` there are no async calls.
            sync_client: The client for sync calls, in the same way.
            config: Defaults for the config of every call.
            name: Name of this graph as a node; None means `assistant_id`.
            distributed_tracing: Whether the server's trace shall hang below the caller's.
        """
        self.assistant_id = assistant_id
        self.name = assistant_id if name is None else name
        self.config = config
        self.distributed_tracing = distributed_tracing
        if url is not None:
            client = client or get_client(url=url, api_key=api_key, headers=headers)
            sync_client = sync_client or get_sync_client(url=url, api_key=api_key, headers=headers)
        self.client = client
        self.sync_client = sync_client

    def copy(self, update: dict[str, Any]) -> Self:
        """Return a copy with some of the constructor's arguments replaced."""
        arguments = vars(self) | update
        return type(self)(arguments.pop("assistant_id"), **arguments)

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Self:
        """Return a copy with defaults for every run's config."""
        return self.copy({"config": merge_configs(self.config, config, cast(RunnableConfig, kwargs))})

    # --- clients and configs ---

    def _validate_client(self) -> LangGraphClient:
        if self.client is None:
            _no_client("Async", "client")
        return self.client

    def _validate_sync_client(self) -> SyncLangGraphClient:
        if self.sync_client is None:
            _no_client("Sync", "sync_client")
        return self.sync_client

    def _sanitize_config(self, config: RunnableConfig) -> RunnableConfig:
        return wire.sendable_config(config)

    def _headers(self, headers: dict[str, str] | None) -> dict[str, str] | None:
        return wire.merge_tracing_headers(headers) if self.distributed_tracing else headers

    def _thread_and_config(self, config: RunnableConfig | None) -> tuple[str | None, RunnableConfig]:
        """Return the thread to run on, or None, and the config to send, in which the thread is left out."""
        sent = self._sanitize_config(merge_configs(self.config, config))
        return sent.get(CONF, {}).pop(CONFIG_KEY_THREAD_ID, None), sent

    # --- drawing ---

    def get_graph(
        self,
        config: RunnableConfig | None = None,
        *,
        xray: int | bool = False,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> Graph:
        """Return the drawing, made by the server.

        Args:
            config: Not used.
            xray: How many levels of subgraphs to unfold, True for all.
            headers: Headers of this request.
            params: Query parameters of this request.
        """
        assistants = self._validate_sync_client().assistants
        return wire.drawing_of(assistants.get_graph(self.assistant_id, xray=xray, headers=headers, params=params))

    async def aget_graph(
        self,
        config: RunnableConfig | None = None,
        *,
        xray: int | bool = False,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> Graph:
        """Like `get_graph`."""
        assistants = self._validate_client().assistants
        return wire.drawing_of(await assistants.get_graph(self.assistant_id, xray=xray, headers=headers, params=params))

    # --- state ---

    def get_state(
        self,
        config: RunnableConfig,
        *,
        subgraphs: bool = False,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> StateSnapshot:
        """Return the state at the checkpoint the config names, or the latest of its thread.

        Args:
            config: Names the thread, and perhaps a checkpoint.
            subgraphs: Whether to read the state of nested graphs too.
            headers: Headers of this request.
            params: Query parameters of this request.

        Raises:
            KeyError: The config names no thread.
        """
        request = self._state_request(config, subgraphs=subgraphs, headers=headers, params=params)
        return wire.snapshot_of(self._validate_sync_client().threads.get_state(**request))

    async def aget_state(
        self,
        config: RunnableConfig,
        *,
        subgraphs: bool = False,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> StateSnapshot:
        """Like `get_state`."""
        request = self._state_request(config, subgraphs=subgraphs, headers=headers, params=params)
        return wire.snapshot_of(await self._validate_client().threads.get_state(**request))

    def get_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield the states of a thread, newest first.

        Args:
            config: Names the thread.
            filter: Metadata that the checkpoints must have.
            before: Only checkpoints older than the one it names.
            limit: At most so many; None and 0 mean 10.
            headers: Headers of this request.
            params: Query parameters of this request.

        Raises:
            KeyError: The config names no thread.
        """
        request = self._history_request(config, filter, before, limit)
        client = self._validate_sync_client()
        yield from map(wire.snapshot_of, client.threads.get_history(**request, headers=headers, params=params))

    async def aget_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Like `get_state_history`."""
        request = self._history_request(config, filter, before, limit)
        client = self._validate_client()
        for state in await client.threads.get_history(**request, headers=headers, params=params):
            yield wire.snapshot_of(state)

    def update_state(
        self,
        config: RunnableConfig,
        values: object,
        as_node: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> RunnableConfig:
        """Write to the state as if a node had; answers the config of the new checkpoint.

        Args:
            config: Names the thread, and perhaps a checkpoint to branch off from.
            values: What to write.
            as_node: Whose turn it counts as; None lets the server find out.
            headers: Headers of this request.
            params: Query parameters of this request.

        Raises:
            KeyError: The config names no thread.
        """
        request = self._state_request(config, values=values, as_node=as_node, headers=headers, params=params)
        return wire.updated_config(self._validate_sync_client().threads.update_state(**request))

    async def aupdate_state(
        self,
        config: RunnableConfig,
        values: object,
        as_node: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
    ) -> RunnableConfig:
        """Like `update_state`."""
        request = self._state_request(config, values=values, as_node=as_node, headers=headers, params=params)
        return wire.updated_config(await self._validate_client().threads.update_state(**request))

    def bulk_update_state(self, config: RunnableConfig, updates: object) -> RunnableConfig:
        """Raise an error: the server's API changes a thread by one update at a time.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a remote graph takes one update at a time; call update_state() for each")

    async def abulk_update_state(self, config: RunnableConfig, updates: object) -> RunnableConfig:
        """Like `bulk_update_state`.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a remote graph takes one update at a time; call aupdate_state() for each")

    def _state_request(self, config: RunnableConfig, **rest: Any) -> dict[str, Any]:
        merged = merge_configs(self.config, config)
        return {"thread_id": wire.thread_of(merged), "checkpoint": wire.checkpoint_of(merged), **rest}

    def _history_request(
        self,
        config: RunnableConfig,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> dict[str, Any]:
        rest = {"metadata": filter, "before": wire.checkpoint_of(before), "limit": limit or DEFAULT_HISTORY_LIMIT}
        return self._state_request(config, **rest)

    # --- runs ---

    def stream(  # type: ignore[override]
        self,
        input: object,
        config: RunnableConfig | None = None,
        *,
        context: Context | None = None,
        stream_mode: StreamMode | list[StreamMode] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        subgraphs: bool = False,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
        version: Version = "v1",
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Run and yield what happens.

        Args:
            input: Input for the graph, or a `Command`.
            config: Its `thread_id` names the thread, which is made if it does not exist. Without one nothing is kept.
            context: Context for the nodes; the client library must be able to send it.
            stream_mode: What to yield; a list yields pairs of mode and payload. None means `updates`.
            interrupt_before: Nodes to stop before.
            interrupt_after: Nodes to stop after.
            subgraphs: Whether to yield from nested graphs too, namespaces first.
            headers: Headers of this request.
            params: Query parameters of this request.
            version: `v2` yields typed parts.
            **kwargs: More of what the client's `runs.stream` takes.

        Raises:
            RemoteException: The graph failed on the server.
            GraphInterrupt: It waits for answers, and runs as a node of another graph.
            ParentCommand: One of its nodes sent a command to the graph around it.
        """
        runs: Any = self._validate_sync_client().runs
        relay = Relay.of(choose_modes(stream_mode, config), config, subgraphs=subgraphs, version=version)
        given = _Given(context, interrupt_before, interrupt_after, self._headers(headers), params)
        for part in runs.stream(**self._run_request(input, config, relay), **given._asdict(), **kwargs):
            yield from relay.take(part)

    async def astream(  # type: ignore[override]
        self,
        input: object,
        config: RunnableConfig | None = None,
        *,
        context: Context | None = None,
        stream_mode: StreamMode | list[StreamMode] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        subgraphs: bool = False,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
        version: Version = "v1",
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Like `stream`."""
        runs: Any = self._validate_client().runs
        relay = Relay.of(choose_modes(stream_mode, config), config, subgraphs=subgraphs, version=version)
        given = _Given(context, interrupt_before, interrupt_after, self._headers(headers), params)
        async for part in runs.stream(**self._run_request(input, config, relay), **given._asdict(), **kwargs):
            for chunk in relay.take(part):
                yield chunk

    def _run_request(self, input: object, config: RunnableConfig | None, relay: Relay) -> dict[str, Any]:
        thread_id, sent = self._thread_and_config(config)
        plain, command = wire.split_input(input)
        return {
            "thread_id": thread_id,
            "assistant_id": self.assistant_id,
            "input": plain,
            "command": command,
            "config": sent,
            "stream_mode": [*relay.modes.sent],
            "stream_subgraphs": relay.subgraphs or relay.modes.listener is not None,
            "if_not_exists": "create",
        }

    def invoke(
        self,
        input: object,
        config: RunnableConfig | None = None,
        *,
        context: Context | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
        version: Version = "v1",
        **kwargs: Any,
    ) -> Any:
        """Run and answer the last state; None if the server sent none.

        Args:
            input: Input for the graph, or a `Command`.
            config: As for `stream`.
            context: As for `stream`.
            interrupt_before: Nodes to stop before.
            interrupt_after: Nodes to stop after.
            headers: Headers of this request.
            params: Query parameters of this request.
            version: `v2` answers a `GraphOutput`.
            **kwargs: More of what the client's `runs.stream` takes.

        Raises:
            RemoteException: The graph failed on the server.
            GraphInterrupt: It waits for answers, and runs as a node of another graph.
            ParentCommand: One of its nodes sent a command to the graph around it.
        """
        given = _Given(context, interrupt_before, interrupt_after, headers, params)._asdict()
        chunks = self.stream(input, config, stream_mode="values", version=version, **given, **kwargs)
        return collect(chunks, _LastState(version))

    async def ainvoke(
        self,
        input: object,
        config: RunnableConfig | None = None,
        *,
        context: Context | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        headers: dict[str, str] | None = None,
        params: QueryParamTypes | None = None,
        version: Version = "v1",
        **kwargs: Any,
    ) -> Any:
        """Like `invoke`."""
        given = _Given(context, interrupt_before, interrupt_after, headers, params)._asdict()
        chunks = self.astream(input, config, stream_mode="values", version=version, **given, **kwargs)
        return await acollect(chunks, _LastState(version))

    # --- events ---

    def stream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        control: object = None,
        transformers: Sequence[object] | None = None,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the events of a run.

        Args:
            input: Input for the graph, or `Command(resume=...)`.
            config: As for `stream`.
            version: `v3` answers the handle of a run, to be entered with `with`. Others are every Runnable's.
            interrupt_before: Not to be had in `v3`, and so are the next three.
            interrupt_after: See there.
            control: See there.
            transformers: See there.
            headers: Headers of the requests.
            **kwargs: `metadata` of the run.

        Raises:
            NotImplementedError: Something was asked for that the server's API cannot do.
        """
        projected = version == "v3"
        if not projected:
            return super().stream_events(input, config, version=version, **kwargs)
        unsupported = _Unsupported(interrupt_before, interrupt_after, transformers, control)
        where, run = self._event_run(input, config, headers, unsupported, kwargs)
        client = self._validate_sync_client()
        return RemoteRunStream(sync_client=client, sdk_thread=client.threads.stream(**where), **run)

    async def astream_events(  # type: ignore[override]
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        control: object = None,
        transformers: Sequence[object] | None = None,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Like `stream_events`, for `v3` alone: `async with await graph.astream_events(..., version="v3") as run`.

        Raises:
            NotImplementedError: Another version, or something that the server's API cannot do.
        """
        if version != "v3":
            raise NotImplementedError(
                f"astream_events(version={version!r}) is not implemented for a remote graph: "
                "use version='v3', or astream()"
            )
        unsupported = _Unsupported(interrupt_before, interrupt_after, transformers, control)
        where, run = self._event_run(input, config, headers, unsupported, kwargs)
        client = self._validate_client()
        return AsyncRemoteRunStream(client=client, sdk_thread=client.threads.stream(**where), **run)

    def _event_run(
        self,
        input: object,
        config: RunnableConfig | None,
        headers: dict[str, str] | None,
        unsupported: _Unsupported,
        kwargs: dict[str, object],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments for the stream of a thread, and those for the handle of a run in it.

        Raises:
            NotImplementedError: Something was asked for that the server's API cannot do.
        """
        self._reject_v3_unsupported(extra_kwargs=kwargs, **unsupported._asdict())
        thread_id, sent = self._thread_and_config(config)
        thread = {"thread_id": thread_id, "assistant_id": self.assistant_id, "headers": self._headers(headers)}
        return thread, {"input": input, "config": sent, "metadata": kwargs.get("metadata")}

    def _reject_v3_unsupported(self, *, extra_kwargs: dict[str, Any], **named: Any) -> None:
        refused = [name for name, value in named.items() if value]
        refused += sorted(extra_kwargs.keys() - EVENT_RUN_OPTIONS)
        if refused:
            raise NotImplementedError(
                f"a remote run with version='v3' does not support {', '.join(f'`{name}=`' for name in refused)}; "
                f"in addition to input and config it takes {' and '.join(sorted(EVENT_RUN_OPTIONS))}"
            )


def _no_client(kind: str, argument: str) -> NoReturn:
    raise ValueError(f"{kind} client is not initialized: please provide `url` or `{argument}` to `RemoteGraph`.")


class _LastState:
    """Keeps the last state that the server sent."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._last: Any = None

    def add(self, chunk: Any) -> None:
        """Take in a state."""
        self._last = chunk

    def result(self) -> Any:
        """Return what `invoke` returns."""
        last = self._last
        if last is None:
            logger.warning("the remote graph sent no state")
            return None
        return GraphOutput(value=last["data"], interrupts=tuple(last["interrupts"])) if self._version == "v2" else last
