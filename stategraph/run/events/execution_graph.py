"""A run's graph as a host sees it, during the run and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage

from stategraph.agent.agent import Agent
from stategraph.agent.output import record
from stategraph.agent.output.output_type import OutputType
from stategraph.agent.state import turn_of
from stategraph.engine.config import environment
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.run.events.content_parts import content_parts
from stategraph.run.events.event_types import RunStep
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.ids import new_id
from stategraph.run.events.step_list import StepList
from stategraph.run.events.steps import StepTracker


class ExecutionGraph:
    """The graph of a run, its steps and its messages.

    Attributes:
        compiled: The graph, which can be drawn, inspected and time-travelled.
        handler_registry: The handlers of the run's events.
        agents: The agents, the first of which is the root.
        values: The newest state of a graph that the host made, or the result of its `@entrypoint`; None before there
            is one, and of agents.
    """

    values: Any = None

    def __init__(
        self,
        run_id: str,
        compiled: CompiledStateGraph[Any, Any, Any, Any],
        handler_registry: EventHandlerRegistry,
        agents: Sequence[Agent],
        *,
        several_agents: bool,
    ) -> None:
        self.compiled = compiled
        self.agents = tuple(agents)
        self._begin(run_id, handler_registry, several_agents)

    def _begin(self, run_id: str, handler_registry: EventHandlerRegistry, several_agents: bool) -> None:
        self.handler_registry = handler_registry
        steps = StepList(run_id, new_id=new_id, now_ms=_now_ms, several_agents=several_agents)
        self.tracker = StepTracker(steps)
        self.keep_messages(())

    # Messages and content.

    def get_run_messages(self) -> list[AnyMessage]:
        """Return the messages that the run has produced: answers, results, and those that the engine added.

        After an error or an abort: what was complete by then, and the answer that was cut off, which is marked.
        """
        return list(self._messages)

    def get_content_parts(self) -> list[dict[str, Any]]:
        """Return the content parts of the run's messages, also after its end."""
        return content_parts(self._messages)

    def keep_messages(self, messages: Sequence[AnyMessage]) -> None:
        """Take note of what the run has brought so far."""
        self._messages: list[AnyMessage] = list(messages)
        self._outputs: dict[int, Any] = {}

    # Outputs.

    @cached_property
    def output_types(self) -> Mapping[str, OutputType]:
        """The output types of the agents that have one, by agent."""
        return {agent.id: agent.output.type for agent in self.agents if agent.output is not None}

    def get_output(self, messages: Sequence[AnyMessage] | None = None) -> Any:
        """Return the output with which messages end, of its agent's type; None if their last answer is no output.

        Args:
            messages: The messages of a thread, such as `compiled.invoke` returns: those of the last turn count. None:
                those of the run.

        Raises:
            ValueError: It does not fit the type, which is another one than when it was given.
        """
        among = self._messages if messages is None else turn_of(messages)
        last = max((place for place, each in enumerate(among) if isinstance(each, AIMessage)), default=-1)
        found = [each for each in self._outputs_in(among) if each.place == last]
        return self._typed(found[-1], cached=messages is None) if found else None

    def get_outputs(self, messages: Sequence[AnyMessage] | None = None) -> dict[str, Any]:
        """Return the last output of each agent by its id, the newest last, each of its agent's type.

        Args:
            messages: As for `get_output`.

        Raises:
            ValueError: One does not fit its type, which is another one than when it was given.
        """
        found = self._outputs_in(self._messages if messages is None else turn_of(messages))
        latest = {each.agent_id: each for each in found}
        ordered = sorted(latest.values(), key=lambda each: each.place)
        return {each.agent_id: self._typed(each, cached=messages is None) for each in ordered}

    def _outputs_in(self, messages: Sequence[AnyMessage]) -> list[record.Output]:
        types = self.output_types
        return [each for each in record.outputs(messages) if each.agent_id in types] if types else []

    def _typed(self, output: record.Output, *, cached: bool) -> Any:
        if not cached:
            return self.output_types[output.agent_id].typed(output.name, output.given)
        if output.until not in self._outputs:
            self._outputs[output.until] = self._typed(output, cached=False)
        return self._outputs[output.until]

    # Steps.

    def get_run_step(self, step_id: str) -> RunStep | None:
        """Return a step by its id; None if there is none, or it was cleaned up."""
        return self.tracker.steps.get(step_id)

    def get_run_steps(self, agent_id: str | None = None) -> list[RunStep]:
        """Return the steps so far, by index, those of an earlier process too.

        Of a process that died, and did not pause, only those that it had left open are known.

        Args:
            agent_id: Only the steps of this agent.
        """
        return [step for step in self.tracker.steps if agent_id is None or step.get("agentId") == agent_id]

    def get_run_steps_by_agent(self) -> dict[str, list[RunStep]]:
        """Return the steps of each agent; empty if there is one agent only, since its steps do not name it."""
        agents = dict.fromkeys(step["agentId"] for step in self.tracker.steps if "agentId" in step)
        return {agent_id: self.get_run_steps(agent_id) for agent_id in agents}

    def get_active_agent_ids(self) -> list[str]:
        """Return the agents that have written steps."""
        return list(self.get_run_steps_by_agent())

    def get_content_part_agent_map(self) -> dict[int, str]:
        """Return the author of each content part, an agent's id by the part's index."""
        return {step["index"]: step["agentId"] for step in self.tracker.steps if "agentId" in step}

    @property
    def tool_call_step_ids(self) -> Mapping[str, str]:
        """The step of each tool call; of calls of several agents with one id, that of the last."""
        return self.tracker.tool_call_steps

    # The life of a run.

    def reset_values(self, keep_content: bool = False) -> None:
        """Forget the run before, at the start of the next.

        Args:
            keep_content: Keep its steps, so that indices go on.
        """
        self.keep_messages(())
        if not keep_content:
            self.tracker.clear()

    def clear_heavy_state(self) -> None:
        """Let go of steps at the end of a run; its messages stay."""
        self.tracker.clear()


def _now_ms() -> int:
    """Return the time as epoch milliseconds."""
    return int(environment.current().clock.time() * 1_000)
