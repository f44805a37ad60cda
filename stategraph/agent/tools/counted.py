"""Models and graphs that a tool calls by itself, counted in the run that the tool is called in."""

from __future__ import annotations

from typing import cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig

from stategraph.agent.limits.callbacks import handlers_of
from stategraph.agent.ports import agent_context
from stategraph.engine.config.runtime import get_runtime


def counted(config: RunnableConfig | None = None) -> RunnableConfig:
    """Return a config with which a tool calls a model or a graph, so that its run counts and limits it.

    Not needed for agents that are used as tools: they are counted by themselves, and would be twice with it.

    Args:
        config: A config to begin with; it is not changed. None: an empty one.

    Returns:
        The config with callbacks of the run; unchanged if the tool is called in no run.

    Example:
        ```python
        async def summarize(text: str) -> str:
            answer = await model.ainvoke(f"Summarize: {text}", counted())
            return answer.text
        ```
    """
    given = config or {}
    try:
        meter = agent_context(get_runtime().context).meter
    except (AttributeError, RuntimeError):  # called outside of a graph
        meter = None
    if meter is None:
        return given
    handlers = handlers_of(meter)
    callbacks = given.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        for handler in handlers:
            manager.add_handler(handler, inherit=True)
        return cast("RunnableConfig", {**given, "callbacks": manager})
    return {**given, "callbacks": [*(callbacks or []), *handlers]}
