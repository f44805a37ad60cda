"""A middleware with which LangChain's agents act through an executor; it needs `langchain`.

    agent = create_agent(model, tools, middleware=[action_middleware(executor)], checkpointer=saver)

- After the model has answered, people are asked about all of its calls that need approval, in one interrupt. Each call
  is decided about once more when it is executed, and claimed then.
- What a person answered is kept in the agent's state until the calls are executed; it has no secrets that the calls
  have not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Final, NotRequired, TypeAlias

from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph.engine.config.context import get_config
from stategraph.errors import MissingPackageError
from stategraph.governance import session
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor, action_of
from stategraph.governance.gates.requests import request_of, unreadable_calls
from stategraph.governance.gates.tool_results import Handled, Handler, NodeRequest, Output, answer_of
from stategraph.governance.pipeline.action import Action
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.prebuilt.steps import Steps, atake, take

KEY: Final = "stategraph_actions"
"""The key of the agent's state for how calls stand, by their ids."""


State: TypeAlias = Mapping[str, Any]
Runtime: TypeAlias = Any
"""The runtime of a node, of LangGraph's or of LangChain's making."""


def action_middleware(
    executor: ActionExecutor, *, context: RuntimeSessionContext | None = None, view_digest: str | None = None
) -> Any:
    """Return a middleware for `create_agent`.

    Args:
        executor: The executor.
        context: Who acts; None: the session that is active, or the context of the agent.
        view_digest: The digest of the capabilities that the model was shown, to be compared at each call; None: not
            compared.

    Raises:
        MissingPackageError: `langchain` is not installed.
    """
    try:
        from langchain.agents.middleware.types import (  # type: ignore[import-not-found]
            AgentMiddleware,
            PrivateStateAttr,
        )
    except ImportError as error:
        raise MissingPackageError("langchain", "A middleware for its agents") from error

    state = TypedDict("ActionState", {KEY: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]})  # type: ignore
    calls = _Calls(executor, context, view_digest)

    class ActionMiddleware(AgentMiddleware[Any, Any]):  # type: ignore[misc]
        """Has the calls of an agent pass the pipeline of an executor."""

        state_schema = state

        def after_model(self, state: State, runtime: Runtime) -> State | None:
            """Decide about the calls of the answer."""
            return take(calls.deciding(state, runtime))

        async def aafter_model(self, state: State, runtime: Runtime) -> State | None:
            """Decide about the calls of the answer."""
            return await atake(calls.deciding(state, runtime))

        def wrap_tool_call(self, request: NodeRequest, handler: Handler) -> Output:
            """Execute a call."""
            return take(calls.executing(request, handler))

        async def awrap_tool_call(self, request: NodeRequest, handler: Handler) -> Output:
            """Execute a call."""
            return await atake(calls.executing(request, handler))

    return ActionMiddleware()


class _Calls:
    """The calls of an agent.

    Args:
        executor: The executor.
        context: Who acts; None: as the session or the agent's context says.
        view_digest: Of the capabilities that the model was shown.
    """

    def __init__(
        self, executor: ActionExecutor, context: RuntimeSessionContext | None, view_digest: str | None
    ) -> None:
        self._executor = executor
        self._context = context
        self._view_digest = view_digest

    def deciding(self, state: State, runtime: Runtime) -> Steps[State | None]:
        """Decide about the calls of the last answer, and return what is kept of it in the state."""
        answer = _last_answer(state)
        if answer is None:
            return None
        actions = [self._action(call, state, runtime, get_config()) for call in answer.tool_calls]
        cleared = yield from self._executor.clearing(actions)
        for call, why in unreadable_calls(answer):
            yield from self._executor.refusing(self._action(call, state, runtime, get_config()), why)
        if not cleared:
            return None
        return {KEY: {each.call_id: asdict(each) for each in cleared}}

    def executing(self, request: NodeRequest, handler: Handler) -> Steps[Output]:
        """Execute a call."""
        action, cleared = self._begun(request)
        if cleared is not None and cleared.kind == "answer":
            return answer_of(request.tool_call, cleared)
        handled = Handled(request, handler)
        return handled.end((yield from self._executor.carrying_out(replace(action, execution=handled.execution))))

    def _begun(self, request: NodeRequest) -> tuple[Action, Cleared | None]:
        """Return the action of a call that is to be executed, and how it stood when the model had answered."""
        call: ToolCall = request.tool_call
        action = self._action(call, request.state, request.runtime, request.runtime.config)
        stored = (request.state.get(KEY) or {}).get(call["id"])
        if stored is None:
            return action, None
        cleared = Cleared(**stored)
        return replace(action, asked=cleared.arguments), cleared

    def _action(self, call: ToolCall, state: State, runtime: Runtime, config: RunnableConfig) -> Action:
        answer = _last_answer(state)
        context = self._context or session.context_of(runtime.context)
        # The answer is decided about in one node, and its calls are executed in others.
        place = f"answer:{answer.id if answer is not None else ''}"
        return action_of(request_of(call, context, config, place, self._view_digest), config)


def _last_answer(state: State) -> AIMessage | None:
    for message in reversed(state.get("messages") or ()):
        if isinstance(message, AIMessage):
            return message
    return None
