"""The output node: takes an answer as the agent's output, or tells the model what is wrong with it.

- An answer comes here if it calls a tool that takes an output, or calls nothing. Each call of such a tool gets its
  result here; the answer's other calls are left to the tools node, which runs them before the turn goes on or ends.
- What a model is told stays in the conversation, so each try is a step of its own: a run that dies between two of them
  goes on from there, and tries are counted by what is in the conversation.
- The first call that fits is the output. Where the conversation is being handed over, there is none.
- After as many tries as the agent's settings say, the turn fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.agent.agent import Agent
from stategraph.agent.facts import Fact, Injected, OutputGiven, OutputRefused, Place, ToolAnswered
from stategraph.agent.messages import truncation
from stategraph.agent.output import record, texts
from stategraph.agent.output.agent_output import AgentOutput
from stategraph.agent.output.checks import InvalidOutput
from stategraph.agent.output.errors import OutputError
from stategraph.agent.output.output_type import Found
from stategraph.agent.ports import AgentContext, agent_context
from stategraph.agent.state import AgentState
from stategraph.agent.tools.tool_calls import OpenCalls
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config import environment
from stategraph.engine.config.runtime import Runtime


@dataclass(slots=True)
class _Verdict:
    """The judgement on an answer.

    Attributes:
        answer: The answer.
        results: Calls of tools that take an output, with their results.
        found: The output; None if it is not valid.
        problems: What is wrong with it.
        correction: The message that tells the model so, if no result does.
        changed: The answer where it takes the place of the one in the conversation.
    """

    answer: AIMessage
    results: list[tuple[ToolCall, ToolMessage]] = field(default_factory=list)
    found: Found | None = None
    problems: tuple[str, ...] = ()
    correction: HumanMessage | None = None
    changed: AIMessage | None = None

    @property
    def written(self) -> list[AnyMessage]:
        """The messages to be written, in their order."""
        several = (self.changed, *(message for _, message in self.results), self.correction)
        return [each for each in several if each is not None]


class OutputNode:
    """Takes the output of an agent.

    Args:
        agent: The agent.
        output: The output that it has to give.
    """

    def __init__(self, agent: Agent, output: AgentOutput) -> None:
        self._agent = agent
        self._output = output

    def as_runnable(self) -> Runnable[Any, Any]:
        """Return the node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self._agent.output_node, trace=False)

    def takes(self, answer: AIMessage) -> bool:
        """Return whether an answer comes to this node.

        Args:
            answer: An answer of the agent's model.
        """
        calls = [*answer.tool_calls, *answer.invalid_tool_calls]
        return not calls or any(call["name"] in self._output.type.by_tool for call in calls)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        """Take the answer, or write what is wrong with it.

        Raises:
            OutputError: The model has been told as often as it may be.
        """
        return {"messages": self._judged(state["messages"]).written}

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Like `call`, telling a listener what comes of it."""
        context = agent_context(runtime.context)
        listener = context.listener
        if listener is None:
            return self.call(state, config, runtime)
        if (memory := state.get("memory")) is not None:
            listener.recall(memory)
        at = self._agent.place(self._agent.output_node, config, state["messages"], context.within)
        verdict = self._judged(state["messages"])
        for fact in self._facts(at, verdict):
            await listener.hear(fact)
        update: dict[str, Any] = {"messages": verdict.written}
        return update if (memory := listener.memory()) is None else {**update, "memory": memory}

    def after(self, messages: Sequence[AnyMessage]) -> str | None:
        """Return the agent's node to go to next; None if its turn is over.

        Args:
            messages: The conversation.
        """
        if OpenCalls.of(messages).calls:
            return self._agent.tools_node
        return None if self.is_given(messages) else self._agent.llm_node

    def is_given(self, messages: Sequence[AnyMessage]) -> bool:
        """Return whether the last answer of a conversation gave the output."""
        return record.is_given(messages, self._agent.id)

    # Rules.

    def _judged(self, messages: Sequence[AnyMessage]) -> _Verdict:
        answer = next(each for each in reversed(messages) if isinstance(each, AIMessage))
        verdict = _Verdict(answer)
        number = record.refusals(messages, self._agent.id) + 1
        open_calls = OpenCalls.of(messages)
        if answer.tool_calls or answer.invalid_tool_calls:
            self._judge_calls(verdict, open_calls, number)
        else:
            self._judge_text(verdict, number)
        if verdict.problems and number > self._output.retries:
            raise self._error(answer, verdict.problems, number)
        return verdict

    def _judge_calls(self, verdict: _Verdict, open_calls: OpenCalls, number: int) -> None:
        kind, handoffs = self._output.type, self._agent.handoffs
        calls = [call for call in open_calls.calls if call["name"] in kind.by_tool]
        leaves = any(call["name"] in handoffs for call in open_calls.calls)
        unused = record.unused(self._agent.id)
        for call in calls:
            if leaves:
                verdict.results.append((call, _result(call, texts.HANDED_OVER, additional_kwargs=unused)))
                continue
            if verdict.found is not None:
                verdict.results.append((call, _result(call, texts.SURPLUS, additional_kwargs=unused)))
                continue
            try:
                why = open_calls.unreadable.get(call["id"] or "")
                if why is not None:
                    raise InvalidOutput(why)
                verdict.found = kind.of_arguments(call["name"], call["args"])
            except InvalidOutput as invalid:
                verdict.problems += invalid.problems
                text = f"{texts.refusal(invalid.problems)}\nCall {call['name']} again, with the whole answer corrected."
                mark = record.refused(self._agent.id, number)
                verdict.results.append((call, _result(call, text, status="error", additional_kwargs=mark)))
            else:
                mark = record.accepted(self._agent.id, verdict.found)
                verdict.results.append((call, _result(call, texts.ACCEPTED, additional_kwargs=mark)))
        if verdict.found is not None:
            verdict.problems = ()
        if open_calls.mended is not None and len(calls) == len(open_calls.calls):
            # Else the tools node writes it, which needs to know yet why a call cannot run.
            verdict.changed = open_calls.mended

    def _judge_text(self, verdict: _Verdict, number: int) -> None:
        output, answer, agent_id = self._output, verdict.answer, self._agent.id
        try:
            verdict.found = output.type.of_text(truncation.text_of(answer.content), as_json=output.is_json)
        except InvalidOutput as invalid:
            verdict.problems = invalid.problems
            text = texts.correction(invalid.problems, output.tool_names, as_json=output.is_json)
            unique = environment.current().unique()
            verdict.correction = record.correction(text, agent_id, number, unique)
            return
        marks = {**answer.additional_kwargs, **record.accepted(agent_id, verdict.found)}
        verdict.changed = answer.model_copy(update={"additional_kwargs": marks})

    def _error(self, answer: AIMessage, problems: Sequence[str], tries: int) -> OutputError:
        several = f"{tries} answers were" if tries > 1 else "the answer was"
        return OutputError(
            f"Agent '{self._agent.id}' gave no output of the type {self._output.type.name}: {several} not valid. Wrong "
            f"with the last one: {'; '.join(problems)}. Let it try more often with 'output_retries', use another model "
            "or a simpler type",
            agent_id=self._agent.id,
            answer=answer,
            problems=problems,
            tries=tries,
        )

    def _facts(self, at: Place, verdict: _Verdict) -> list[Fact]:
        facts: list[Fact] = [ToolAnswered(at, call, each, str(each.content)) for call, each in verdict.results]
        if verdict.found is not None:
            value = self._output.type.json(verdict.found)
            return [*facts, OutputGiven(at, verdict.found.name, value, verdict.answer.id)]
        if verdict.correction is not None:
            facts.append(Injected(at, [verdict.correction]))
        if verdict.problems:
            facts.append(OutputRefused(at, verdict.problems))
        return facts


def _result(call: ToolCall, text: str, **more: Any) -> ToolMessage:
    unique = environment.current().unique()
    return ToolMessage(content=text, name=call["name"], tool_call_id=call["id"] or "", id=unique, **more)
