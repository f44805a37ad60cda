"""Opening of a run by `stream_events`, up to its handle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_STREAM_MESSAGES_V2, NS_SEP
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.config.runnable_config import ensure_config, patch_configurable
from stategraph.engine.streams.events.conversation import MessagesTransformer
from stategraph.engine.streams.events.lifecycle import LifecycleTransformer
from stategraph.engine.streams.events.modes import ValuesTransformer
from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.run import AsyncGraphRunStream, GraphRunStream
from stategraph.engine.streams.events.subgraphs import SubgraphTransformer
from stategraph.engine.streams.events.transformer import Namespace, StreamTransformer, TransformerFactory

ALWAYS: Final[tuple[TransformerFactory, ...]] = (
    ValuesTransformer,
    MessagesTransformer,
    LifecycleTransformer,
    SubgraphTransformer,
)
"""The transformers of every run."""

_OWN_OPTIONS: Final = ("stream_mode", "subgraphs")


def open_run(
    graph: CompiledGraph,
    input: object,
    config: RunnableConfig | None,
    transformers: Sequence[TransformerFactory] | None,
    options: Mapping[str, object],
) -> GraphRunStream:
    """Prepare a run; it starts when it is first read.

    Args:
        graph: Whose run.
        input: The caller's.
        config: The caller's.
        transformers: The caller's, behind those of the graph.
        options: For the graph's `stream`.

    Raises:
        TypeError: If a transformer is not a factory.
        ValueError: If projections have the same name.
        RuntimeError: If a transformer needs an event loop.
    """
    mux = _mux(graph, config, transformers, is_async=False)
    return GraphRunStream(iter(graph.stream(input, _marked(config), **_options(mux, options))), mux)


async def aopen_run(
    graph: CompiledGraph,
    input: object,
    config: RunnableConfig | None,
    transformers: Sequence[TransformerFactory] | None,
    options: Mapping[str, object],
) -> AsyncGraphRunStream:
    """Like `open_run`."""
    mux = _mux(graph, config, transformers, is_async=True)
    return AsyncGraphRunStream(aiter(graph.astream(input, _marked(config), **_options(mux, options))), mux)


def refuse_own_options(options: Mapping[str, object]) -> None:
    """Check that the caller does not set what the transformers decide.

    Raises:
        TypeError: If so.
    """
    given = [name for name in _OWN_OPTIONS if name in options]
    if given:
        raise TypeError(
            f"An event stream of version 'v3' takes no {' and no '.join(given)}: the transformers say which modes they "
            "need, and nested runs are always followed. For other modes, pass transformers=[...]."
        )


def factories_of(specs: Sequence[Any] | None) -> list[TransformerFactory]:
    """Check that transformers can be made again for every nested run.

    Raises:
        TypeError: If one is an instance, or cannot be called.
    """
    for spec in specs or ():
        if isinstance(spec, StreamTransformer):
            kind = type(spec).__name__
            raise TypeError(
                f"transformers= takes what makes a transformer for a namespace, not a pre-built instance: pass "
                f"{kind}, or lambda scope: {kind}(scope, ...)"
            )
        if not callable(spec):
            raise TypeError(f"transformers= takes callables, not {spec!r}")
    return list(specs or ())


def _mux(
    graph: CompiledGraph,
    config: RunnableConfig | None,
    transformers: Sequence[TransformerFactory] | None,
    *,
    is_async: bool,
) -> StreamMux:
    factories = [*ALWAYS, *factories_of(graph.stream_transformers), *factories_of(transformers)]
    return StreamMux(factories=factories, scope=_scope(graph, config), is_async=is_async)


def _scope(graph: CompiledGraph, config: RunnableConfig | None) -> Namespace:
    """Return the namespace of the run: that of the task, if a task of another run opens it."""
    ns = ensure_config(graph.config, config)[CONF].get(CONFIG_KEY_CHECKPOINT_NS)
    return tuple(ns.split(NS_SEP)) if ns else ()


def _marked(config: RunnableConfig | None) -> RunnableConfig:
    return patch_configurable(config, {CONFIG_KEY_STREAM_MESSAGES_V2: True})


def _options(mux: StreamMux, options: Mapping[str, object]) -> dict[str, Any]:
    return {
        "interrupt_before": None,
        "interrupt_after": None,
        "control": None,
        **options,
        "stream_mode": mux.stream_modes,
        "subgraphs": True,
        "version": "v2",
    }
