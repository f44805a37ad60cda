"""The llm node: one call of a model.

- What does not fit the model's context is left out, see `stategraph.agent.context.context_window`. What is known about
  that is written to the state with the answer.
- If messages are to be summarised before, the node calls no model and writes that: the graph then goes to the node that
  summarises, and comes back.
- Each call passes the gates of the run, see `stategraph.agent.ports.ModelGate`. One that ends the turn is written with
  its reason.
- If a call fails, the next route is tried; when all fail, the first error is raised. A prompt that a provider refuses
  as too long is shortened and sent again, a few times.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.agent.agent import Agent, Route
from stategraph.agent.context import context_window
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.context_window import Prompt, Window
from stategraph.agent.context.subagent import SubagentTurnsError
from stategraph.agent.facts import ContextUsed, Logged, ModelCall, Place
from stategraph.agent.llm import model_calls, model_gates, summaries
from stategraph.agent.messages import history as histories
from stategraph.agent.ports import AgentContext, Halt, Listener, ModelRequest, ModelReview, agent_context
from stategraph.agent.state import AgentState
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config.procedures import adrive, drive
from stategraph.engine.config.runtime import Runtime


class LlmNode:
    """Calls the model of an agent with the conversation.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._window = Window(agent.fitting)

    def as_runnable(self) -> Runnable[Any, Any]:
        """Return the node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self._agent.llm_node, trace=False)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Call the model and wait.

        Raises:
            EmptyContextError: Nothing of the conversation fits the model's context.
            TypeError: If there is a listener: listeners are async.
        """
        context = agent_context(runtime.context)
        if context.listener is not None:
            raise TypeError(
                f"Agent '{self._agent.id}' was run with invoke() or stream() and a listener in its context; a listener "
                "is awaited: use ainvoke() or astream(), or Run.process_stream()"
            )

        def ask(prompt: Prompt) -> model_gates.Outcome:
            return model_gates.call(*self._request(prompt, config, state, context))

        return self._update(state, *drive(self._asking(state, context), ask))

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Call the model, telling a listener about every piece of the answer.

        Raises:
            EmptyContextError: Nothing of the conversation fits the model's context.
        """
        context = agent_context(runtime.context)
        listener = context.listener
        if listener is not None and (memory := state.get("memory")) is not None:
            listener.recall(memory)
        at = self._agent.place(self._agent.llm_node, config, state["messages"], context.within)

        async def ask(prompt: Prompt) -> model_gates.Outcome:
            if listener is not None:
                return await self._reported(prompt, context, at, config, listener, state["messages"])
            return await model_gates.acall(*self._request(prompt, config, state, context))

        prompt, answer = await adrive(self._asking(state, context), ask)
        if listener is not None and answer is None:
            await listener.hear(Logged(at, "info", "graph", "Summarization triggered"))
        return self._update(state, prompt, answer, listener)

    def _asking(
        self, state: AgentState, context: AgentContext
    ) -> Generator[Prompt, model_gates.Outcome, tuple[Prompt, ModelReview | None]]:
        """Yield one prompt after another; return the last one and what came of it, None if a summary comes first.

        Raises:
            SubagentTurnsError: It is a subagent, whose model has been called as often as it may be.
        """
        _check_turns(state, context, self._agent.id)
        prompt = self._prepare(state, context, self._context_state(state))
        while not prompt.context_state.wanted:
            answer = yield prompt
            if not isinstance(answer, list):
                return prompt, answer
            prompt = self._prepare(state, context, _next_try(prompt, answer, self._agent.id))
        return prompt, None

    def _context_state(self, state: AgentState) -> ContextState:
        """Return the context state of the last call; a summary wanted then, in an aborted run, is decided on again."""
        context_state = ContextState.of_agent(state, self._agent.id)
        return replace(context_state, wanted=False) if context_state.wanted else context_state

    def _prepare(self, state: AgentState, context: AgentContext, context_state: ContextState) -> Prompt:
        """Choose what the model is sent; the prompt's context state may ask for a summary first."""
        agent, how = self._agent, self._agent.summarising
        seen = agent.look(histories.repair(state["messages"]), context_state)
        prompt = self._window.prompt(seen, context_state, context, agent.id)
        if how is None or prompt.trimmed is None:
            return prompt
        if summaries.due(how, prompt):
            return replace(prompt, context_state=replace(prompt.context_state, wanted=True))
        return self._window.prompt(seen, context_state, context, agent.id, summarise=False) if prompt.empty else prompt

    def _request(
        self, prompt: Prompt, config: RunnableConfig, state: AgentState, context: AgentContext
    ) -> tuple[model_gates.Passage | None, model_calls.Request]:
        """Return the arguments of a call of the models that has no listener.

        Raises:
            EmptyContextError: Nothing of the conversation fits the model's context.
        """
        self._window.check(prompt)
        history = state["messages"]
        request = (self._agent.routes_for(history), prompt.whole, config, prompt.refused_by, history)
        if not context.model_gates:
            return None, request
        at = self._agent.place(self._agent.llm_node, config, history, context.within)
        return _passage(context, at, prompt, request[0]), request

    async def _reported(
        self,
        prompt: Prompt,
        context: AgentContext,
        at: Place,
        config: RunnableConfig,
        listener: Listener,
        history: Sequence[AnyMessage],
    ) -> model_gates.Outcome:
        """Call the models in order, telling a listener each choice and its reason; return an answer, or all errors."""
        routes = self._agent.routes_for(history)
        for row in prompt.log:
            await listener.hear(Logged(at, row.level, "prune", row.message, row.data))
        if prompt.empty:
            error, row = self._window.refusal(prompt)
            await listener.hear(Logged(at, row.level, "graph", row.message, row.data))
            raise error
        if prompt.trimmed is not None and context.token_counter is not None:
            figures = self._window.figures(prompt, context.token_counter)
            overhead = prompt.context_state.calibration.instruction_overhead
            await listener.hear(ContextUsed(at, figures, overhead, prompt.context_state.tier))
        sent = len(prompt.history)
        data: dict[str, Any] = {"messageCount": sent, "provider": routes[0].provider}
        await listener.hear(Logged(at, "debug", "graph", "Invoking LLM", data, detail=False))
        tokens = prompt.corrected
        about = ModelCall(at, "", "", prompt.whole, sent, tokens.total, tokens.tools)
        request = (routes, prompt.whole, config, prompt.refused_by, history)
        answer = await model_gates.tell(_passage(context, at, prompt, routes), request, about, listener, context.meter)
        if isinstance(answer, list) and (again := context_window.rejected(prompt, answer[-1])) is not None:
            text = "The provider refused the prompt as too long: it is shortened and sent again"
            await listener.hear(Logged(at, "warn", "graph", text, _shortening(prompt, again)))
        return answer

    def _update(
        self, state: AgentState, prompt: Prompt, review: ModelReview | None, listener: Listener | None = None
    ) -> dict[str, Any]:
        """Return the node's update; without an answer or an end of the turn, one that asks for a summary first."""
        answer = None if review is None else model_gates.message_of(review)
        update: dict[str, Any] = {} if answer is None else {"messages": [*prompt.added, answer]}
        if isinstance(review, Halt):
            messages = state["messages"]
            update |= {"halt_reason": review.reason, "halted_at": messages[-1].id if messages else None}
        if self._agent.role is not None and self._agent.role.sticky:
            update["active_agent"] = self._agent.id
        if prompt.trimmed is not None:
            context_state = prompt.context_state if answer is None else context_window.answered(prompt, answer)
            update |= context_state.update(self._agent.id)
        memory = None if listener is None else listener.memory()
        return update if memory is None else {**update, "memory": memory}


def _check_turns(state: AgentState, context: AgentContext, agent_id: str) -> None:
    """See whether the model of a subagent may be called once more; its conversation has its own answers alone."""
    if context.max_turns is None:
        return
    if sum(isinstance(each, AIMessage) for each in state["messages"]) >= context.max_turns:
        raise SubagentTurnsError(
            f"The agent '{agent_id}' has used all of its turns (max_turns={context.max_turns}) and has not ended"
        )


def _next_try(prompt: Prompt, errors: Sequence[Exception], agent_id: str) -> ContextState:
    """Return the context state for a retry after a prompt was refused as too long, or raise the first error.

    Raises:
        Exception: The error of the first route if that is not so, or nothing can be made shorter any more.
    """
    again = context_window.rejected(prompt, errors[-1])
    if again is None:
        raise model_calls.first(errors, agent_id)
    return again


def _passage(context: AgentContext, at: Place, prompt: Prompt, routes: Sequence[Route]) -> model_gates.Passage | None:
    if not context.model_gates:
        return None
    request = ModelRequest(at, prompt.whole, routes[0].provider, routes[0].name, prompt.tokens)
    return model_gates.Passage(context.model_gates, request)


def _shortening(prompt: Prompt, again: ContextState) -> dict[str, Any]:
    return {
        "previousBudget": None if prompt.settings is None else prompt.settings.max_context_tokens,
        "recoveredBudget": None if again.size is None else again.size.tokens,
        "providerReportedPromptTokens": None if again.reported is None else again.reported[0],
        "attempt": again.rejected,
    }
