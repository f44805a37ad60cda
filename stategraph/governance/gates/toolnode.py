"""Wrappers with which tool nodes act through an executor.

    gate = ToolCallGate(executor)
    tools = ToolNode([search, send_mail], wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap)
    agent = create_react_agent(model, tools)

- A node that executes all calls of an answer asks people about those that need approval together, in one interrupt.
  Where each call is a task of its own (`create_react_agent(version="v2")`, `Send`), each asks by itself, and they wait
  together.
- An error that the node does not handle is raised as before, after it was told to the log.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, ToolCall
from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_SCRATCHPAD
from stategraph.governance import session
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor, action_of, place_of
from stategraph.governance.gates.requests import request_of, unreadable_calls
from stategraph.governance.gates.tool_results import Handled, Handler, NodeRequest, Output, answer_of, by_call
from stategraph.governance.pipeline.action import Action
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.prebuilt.steps import Step, Steps, atake, take

_MOST_BATCHES: Final = 1000


@dataclass(frozen=True, slots=True)
class _Batch:
    """The calls that one execution of a node makes.

    Attributes:
        pad: Belongs to that execution alone, and keeps its `id` from being used again.
        cleared: How the calls stand, by their ids.
    """

    pad: object
    cleared: Future[dict[str, Cleared]]


class ToolCallGate:
    """Has the calls of tool nodes pass the pipeline of an executor.

    Args:
        executor: The executor.
        context: Who acts; None: the session that is active, or the context of the graph.
        view_digest: The digest of the capabilities that the model was shown, to be compared at each call; None: not
            compared.
        messages_key: The key of the state for messages, as that of the node.
    """

    def __init__(
        self,
        executor: ActionExecutor,
        *,
        context: RuntimeSessionContext | None = None,
        view_digest: str | None = None,
        messages_key: str = "messages",
    ) -> None:
        self._executor = executor
        self._context = context
        self._view_digest = view_digest
        self._messages_key = messages_key
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        self._lock = threading.Lock()

    def wrap(self, request: NodeRequest, handler: Handler) -> Output:
        """Execute a call, for `wrap_tool_call`."""
        return take(self._wrapping(request, handler))

    async def awrap(self, request: NodeRequest, handler: Handler) -> Output:
        """Execute a call, for `awrap_tool_call`."""
        return await atake(self._wrapping(request, handler))

    def _wrapping(self, request: NodeRequest, handler: Handler) -> Steps[Output]:
        batch, is_first = self._batch(request)
        if is_first:
            actions = [self._action(request, call) for call in self._calls(request)]
            try:
                batch.cleared.set_result(by_call((yield from self._executor.clearing(actions))))
            except BaseException as error:
                batch.cleared.set_exception(error)
                raise
            yield from self._refused(request)
        # Shielded: a call that is cancelled would cancel it for those beside it.
        found = yield Step(batch.cleared.result, lambda: asyncio.shield(asyncio.wrap_future(batch.cleared)))
        cleared: Cleared = found[request.tool_call["id"] or ""]
        if cleared.kind == "answer":
            return answer_of(request.tool_call, cleared)
        handled = Handled(request, handler)
        return handled.end((yield from self._executor.carrying_out(self._cleared(request, handled, cleared))))

    def _refused(self, request: NodeRequest) -> Steps[None]:
        """Tell the log of the calls of the same answer that cannot be read, by its first call that can."""
        answer = self._answer(request)
        if answer is not None and answer.tool_calls[0]["id"] == request.tool_call["id"]:
            for call, why in unreadable_calls(answer):
                yield from self._executor.refusing(self._action(request, call), why)

    def _cleared(self, request: NodeRequest, handled: Handled, cleared: Cleared) -> Action:
        """Return the action of a call that may be carried out."""
        action = self._action(request, request.tool_call)
        # Of calls beside each other in one task none can ask by itself: their questions have no order.
        asks = action.asks and len(self._calls(request)) == 1
        return replace(action, asked=cleared.arguments, asks=asks, execution=handled.execution)

    def _batch(self, request: NodeRequest) -> tuple[_Batch, bool]:
        """Return the batch of a call, and whether this call is the first of it to come, which clears all of them."""
        config = request.runtime.config
        place, pad = place_of(config), (config.get(CONF) or {}).get(CONFIG_KEY_SCRATCHPAD)
        alone = pad is None or len(self._calls(request)) == 1
        with self._lock:
            known = None if alone else self._batches.get(place)
            if known is not None and known.pad is pad:
                return known, False
            made = _Batch(pad, Future())
            if not alone:
                self._batches[place] = made
                self._batches.move_to_end(place)
                if len(self._batches) > _MOST_BATCHES:
                    self._batches.popitem(last=False)
            return made, True

    def _calls(self, request: NodeRequest) -> Sequence[ToolCall]:
        """Return the calls that this execution of the node makes."""
        call: ToolCall = request.tool_call
        metadata = request.runtime.config.get("metadata") or {}
        path = metadata.get("langgraph_path") or ()
        if path and path[0] == "__pregel_push":  # a task for this call alone
            return [call]
        answer = self._answer(request)
        ids = [] if answer is None else [each["id"] for each in answer.tool_calls]
        return [call] if answer is None or len(set(ids)) < len(ids) else answer.tool_calls

    def _answer(self, request: NodeRequest) -> AIMessage | None:
        """Return the answer that a call is of; None: the state does not have it."""
        for message in reversed(self._messages(request)):
            if isinstance(message, AIMessage):
                return message if request.tool_call["id"] in [each["id"] for each in message.tool_calls] else None
        return None

    def _action(self, request: NodeRequest, call: ToolCall) -> Action:
        config: RunnableConfig = request.runtime.config
        context = self._context or session.context_of(request.runtime.context)
        return action_of(request_of(call, context, config, place_of(config), self._view_digest), config)

    def _messages(self, request: NodeRequest) -> Sequence[AnyMessage]:
        state = request.state
        return (state if isinstance(state, list) else _value(state, self._messages_key)) or ()


def _value(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)
