"""Calls of models and tools that a tool makes by itself, by the meter of its run.

Callbacks come from any thread and cannot wait, so a call begins while others are under way, whatever they may take:
side by side, each may take what one call takes beyond a limit of tokens or cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from stategraph.agent.facts import ModelCall, Place
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter
from stategraph.agent.limits.unfinished import answer_of

#: The key under which LangChain's agents name themselves.
_NAME = "lc_agent_name"


def handlers_of(meter: Meter) -> list[BaseCallbackHandler]:
    """Return callback handlers that count calls by a meter, and refuse those that begin at a limit."""
    calls: dict[UUID, ModelCall] = {}
    return [LimitCheck(meter, calls), UsageCount(meter, calls)]


class LimitCheck(BaseCallbackHandler):
    """Counts calls that begin.

    Args:
        meter: The run's meter.
        calls: Calls of models that are under way, by their runs.
    """

    # Not inline: LangChain makes a coroutine for each inline handler, awaits one after the other, and leaves the rest
    # behind if one raises. It takes a thread for each event, so pieces of answers are ignored (`ignore_llm`).
    run_inline = False
    raise_error = True
    ignore_llm = True
    ignore_chain = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, meter: Meter, calls: dict[UUID, ModelCall]) -> None:
        self._meter = meter
        self._calls = calls

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Count a call of a model.

        Raises:
            LimitReachedError: A limit is reached.
            ConfigurationError: The run has a cost limit, and the model no known price.
        """
        about = metadata or {}
        sent = cast("Sequence[AnyMessage]", messages[0] if messages else ())
        provider, name = str(about.get("ls_provider") or ""), str(about.get("ls_model_name") or "")
        call = ModelCall(_place(about), provider, name, sent, len(sent))
        self._meter.begin_alone(provider, name)
        self._calls[run_id] = call

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Count a call of a tool; one that begins again after a pause is counted once.

        Raises:
            LimitReachedError: It would exceed a limit.
        """
        at = _place(metadata or {})
        reached = self._meter.begin_tools(at, [str(kwargs.get("tool_call_id") or run_id)])
        if reached is not None:
            raise LimitReachedError(reached.name, reached.allowed, reached.used)


class UsageCount(BaseCallbackHandler):
    """Counts what calls of models took.

    Args:
        meter: The run's meter.
        calls: Calls of models that are under way, by their runs.
    """

    run_inline = True
    ignore_agent = True
    ignore_chain = True
    ignore_chat_model = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, meter: Meter, calls: dict[UUID, ModelCall]) -> None:
        self._meter = meter
        self._calls = calls

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Count what an answer took."""
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        message = generation.message if isinstance(generation, ChatGeneration) else None
        self._settle(run_id, message if isinstance(message, AIMessage) else None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Count a call that failed or was stopped."""
        self._settle(run_id, answer_of(kwargs.get("response"), error))

    def _settle(self, run_id: UUID, message: AIMessage | None) -> None:
        call = self._calls.pop(run_id, None)
        if call is not None:
            self._meter.took(call, message)


def _place(metadata: Mapping[str, Any]) -> Place:
    node = str(metadata.get("langgraph_node") or "")
    name = str(metadata.get(_NAME) or node)
    return Place(name, name, node, metadata)
