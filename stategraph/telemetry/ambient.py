"""The handler that hears everything in a context, without being named in configs; LangChain looks for it."""

from __future__ import annotations

from contextvars import ContextVar

from langchain_core.tracers.context import register_configure_hook

from stategraph.engine.tracing.graph_runs import GraphRunHandler

current: ContextVar[GraphRunHandler | None] = ContextVar("stategraph_telemetry", default=None)

register_configure_hook(current, inheritable=True)
