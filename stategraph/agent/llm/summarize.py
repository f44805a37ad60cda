"""The summarize node: has a model write a summary of what does not fit.

- The conversation is not touched. The context state says from where on the summary stands for it. Messages for which
  every agent has a summary are removed at the end of the turn, by the done node.
- The model is sent the messages unchanged, followed by the request: the prompt, and the previous summary if any.
- Messages that are too long for the model that summarises are summarised in two parts, one after the other, and those
  again if need be.
- Its calls pass the gates of the run, off the record; one that a gate refuses makes no summary.
- A summary that cannot be made is no failure of the run: it is told, and the call goes on with what fits.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.agent.agent import Agent, Summarising
from stategraph.agent.context import context_window, overflow, tokens
from stategraph.agent.context.calibration import Calibration
from stategraph.agent.context.context_state import ContextState, Summary, uncovered
from stategraph.agent.facts import (
    Fact,
    Logged,
    ModelCall,
    ModelStreamed,
    SummaryEnded,
    SummaryStarted,
    SummaryStreamed,
)
from stategraph.agent.llm import model_calls, model_gates, summaries
from stategraph.agent.messages import history, problems, truncation
from stategraph.agent.ports import AgentContext, Halt, Listener, ModelRequest, agent_context
from stategraph.agent.state import AgentState, is_synthetic
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config.procedures import adrive, drive
from stategraph.engine.config.runtime import Runtime

#: Providers refuse conversations in which the model speaks first, as it does where a summary ended between its calls.
_BEFORE = "What was said before this is left out."
_GOES_ON = "; the run continues with the messages that fit"

#: So often are messages halved that are too long for the model that summarises.
_MOST_SPLITS = 3


class SummaryRefusedError(Exception):
    """A gate, or a limit of the run, refused the call of a model that was to write a summary."""


@dataclass(frozen=True, slots=True)
class _Job:
    """The messages to be summarised.

    Attributes:
        covered: The messages that the summary will stand for.
        left: Those that stay.
        before: The summary that it goes on from.
        version: The summary's number.
    """

    covered: Sequence[AnyMessage]
    left: Sequence[AnyMessage]
    before: str | None
    version: int


class SummarizeNode:
    """Summarises what does not fit the context of an agent.

    Args:
        agent: The agent.
        how: How it summarises.
    """

    def __init__(self, agent: Agent, how: Summarising) -> None:
        self._agent = agent
        self._how = how

    def as_runnable(self) -> Runnable[Any, Any]:
        """Return the node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self._agent.summarize_node, trace=False)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Summarise and wait."""
        context = agent_context(runtime.context)
        request_of = partial(self._request, context, config, state)

        def summarise(job: _Job) -> Summary | None:
            answer = drive(self._asking(job), lambda prompt: model_gates.call(*request_of(prompt)))
            return self._summary(job, answer, context)

        return drive(self._updating(state), summarise)

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Summarise, telling a listener about it."""
        context = agent_context(runtime.context)
        listener = context.listener
        if listener is not None and (memory := state.get("memory")) is not None:
            listener.recall(memory)

        async def summarise(job: _Job) -> Summary | None:
            if listener is not None:
                return await self._reported(job, state, config, context, listener)
            requests = partial(self._request, context, config, state)
            answer = await adrive(self._asking(job), lambda prompt: model_gates.acall(*requests(prompt)))
            return self._summary(job, answer, context)

        update = await adrive(self._updating(state), summarise)
        memory = None if listener is None else listener.memory()
        return update if memory is None else {**update, "memory": memory}

    def _updating(self, state: AgentState) -> Generator[_Job, Summary | None, dict[str, Any]]:
        """Yield what to summarise, if there is anything, to be sent the summary, and return the node's update."""
        context_state, job = self._job(state)
        if not job.covered:
            return self._stored(replace(context_state, wanted=False))
        summary = yield job
        return self._stored(_after(context_state, job, summary))

    def _job(self, state: AgentState) -> tuple[ContextState, _Job]:
        agent, how = self._agent, self._how
        context_state = ContextState.of_agent(state, agent.id)
        seen = agent.look(history.repair(state["messages"]), context_state)
        messages = uncovered(seen.messages, context_state.summary)
        size = 0 if agent.fitting is None else agent.fitting.size(context_state)
        first, end = summaries.span(messages, how.retain, lambda each: context_state.counts.get(each.id or "", 0), size)
        before = how.initial if context_state.summary is None else context_state.summary.text
        version = 1 + (context_state.summary.version if context_state.summary is not None else before is not None)
        return context_state, _Job(messages[first:end], messages[end:], before, version)

    def _request(
        self, context: AgentContext, config: RunnableConfig, state: AgentState, prompt: list[AnyMessage]
    ) -> tuple[model_gates.Passage | None, model_calls.Request]:
        """Return the way of a call through the gates of the run, None if there are none, and what is called."""
        routes = self._how.routes
        request: model_calls.Request = (routes, prompt, config, _never, ())
        if not context.model_gates:
            return None, request
        at = self._agent.place(self._agent.summarize_node, config, state["messages"], context.within)
        about = ModelRequest(at, prompt, routes[0].provider, routes[0].name, off_record=True)
        return model_gates.Passage(context.model_gates, about), request

    def _asking(self, job: _Job) -> Generator[list[AnyMessage], model_gates.Outcome, model_calls.Answer]:
        """Yield one request after another; return the last answer."""
        return self._asking_about(job.covered, job.before, _MOST_SPLITS)

    def _asking_about(
        self, covered: Sequence[AnyMessage], before: str | None, splits: int
    ) -> Generator[list[AnyMessage], model_gates.Outcome, model_calls.Answer]:
        """Ask for a summary of messages; in two halves, one after the other, if they are too long for the model."""
        prompt = self._how.prompt
        if before is not None:
            prompt = f"{self._how.update_prompt}\n\n<previous-summary>\n{before}\n</previous-summary>"
        lead = [] if isinstance(covered[0], HumanMessage) else [HumanMessage(content=_BEFORE)]
        outcome = yield [*lead, *covered, HumanMessage(content=prompt)]
        answer: model_calls.Answer = outcome if not isinstance(outcome, Halt) else [SummaryRefusedError(outcome.reason)]
        half = _half(covered)
        if isinstance(answer, AIMessage) or not splits or not half or overflow.recognise(answer[-1]) is None:
            return answer
        first = yield from self._asking_about(covered[:half], before, splits - 1)
        if not isinstance(first, AIMessage):
            return first
        return (yield from self._asking_about(covered[half:], truncation.text_of(first.content), splits - 1))

    async def _reported(
        self, job: _Job, state: AgentState, config: RunnableConfig, context: AgentContext, listener: Listener
    ) -> Summary | None:
        at = self._agent.place(self._agent.summarize_node, config, state["messages"], context.within)
        route = self._how.routes[0]
        figures = {"messagesToRefineCount": len(job.covered), "summaryVersion": job.version}
        trigger = "default" if self._how.trigger is None else self._how.trigger.type
        about = {"provider": route.provider, "model": route.name, **figures}
        await listener.hear(SummaryStarted(at, about, trigger))
        listening = _SummaryListener(listener)

        async def ask(prompt: list[AnyMessage]) -> model_gates.Outcome:
            about = ModelCall(at, "", "", prompt, len(prompt) - 1, off_record=True)
            # If a limit ends the turn, the call that the summary is for is refused as well.
            return await model_gates.tell(
                *self._request(context, config, state, prompt), about, listening, context.meter
            )

        answer = await adrive(self._asking(job), ask)
        summary = self._summary(job, answer, context)
        if summary is None:
            kind, text = _problem(answer)
            await listener.hear(SummaryEnded(at, None, kind + _GOES_ON))
            await listener.hear(Logged(at, "warn", "summarize", kind + text + _GOES_ON))
        else:
            by = {"provider": listening.provider, "model": listening.model}
            await listener.hear(SummaryEnded(at, _told(summary, job) | by, left=len(job.left)))
            await listener.hear(Logged(at, "info", "summarize", "Summary persisted"))
        return summary

    def _summary(self, job: _Job, answer: model_calls.Answer, context: AgentContext) -> Summary | None:
        text = truncation.text_of(answer.content).strip() if isinstance(answer, AIMessage) else ""
        covers = next((each.id for each in reversed(job.covered) if each.id is not None), None)
        if not text or covers is None:
            return None
        count = context.token_counter or tokens.create_token_counter()
        return Summary(text, count(context_window.summary_message(text)), job.version, covers)

    def _stored(self, context_state: ContextState) -> dict[str, Any]:
        return context_state.update(self._agent.id)


class _SummaryListener:
    """Tells the pieces of an answer as pieces of a summary as well, and notes whose they are."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.memory = listener.memory
        self.recall = listener.recall
        self.provider = self.model = ""

    async def hear(self, fact: Fact, /) -> None:
        """Pass a fact on."""
        await self._listener.hear(fact)
        if isinstance(fact, ModelStreamed) and (text := truncation.text_of(fact.chunk.content)):
            self.provider, self.model = fact.call.provider, fact.call.model
            await self._listener.hear(SummaryStreamed(fact.call.at, text))


def _half(messages: Sequence[AnyMessage]) -> int:
    """About half of some messages, such that no result is parted from its call; 0 if they cannot be parted."""
    half = len(messages) // 2
    while half and isinstance(messages[half], ToolMessage):
        half -= 1
    return half


def _never(_: Exception) -> bool:
    return False


def _after(context_state: ContextState, job: _Job, summary: Summary | None) -> ContextState:
    """Return the context state after a summary was made, or could not be."""
    if summary is None:
        failed_after = summaries.newest_turn([*job.covered, *job.left])
        return replace(context_state, wanted=False, failed_after=failed_after)
    # The messages left are recounted, and of what was learned from earlier calls only the ratio stays valid.
    learned = Calibration(context_state.calibration.ratio)
    kept = ContextState(
        calibration=learned,
        tools=context_state.tools,
        size=context_state.size,
        rejected=context_state.rejected,
        writes=context_state.writes,
    )
    return replace(kept, summary=summary, summarised_at=len(job.left))


def _problem(answer: model_calls.Answer) -> tuple[str, str]:
    """Return why there is no summary, and the provider's message, which may name prompts, addresses and keys."""
    if isinstance(answer, AIMessage):
        return "The summary is empty", ""
    error = model_calls.first(answer)
    return f"No summary could be made: {type(error).__name__}", f": {problems.text(error)}"


def _told(summary: Summary, job: _Job) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": "summary",
        "content": [{"type": "text", "text": summary.text}],
        "tokenCount": summary.tokens,
        "summaryVersion": summary.version,
    }
    kept = next((each.id for each in job.left if each.id is not None and not is_synthetic(each)), None)
    return told if kept is None else {**told, "coverage": {"retainedFromMessageId": kept}}
