"""A run's graph as a host sees it, during the run and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AnyMessage

from stategraph.agent.agent import Agent
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
    """

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
        self._messages: list[AnyMessage] = []

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
        self._messages = list(messages)

    # Steps.

    def get_run_step(self, step_id: str) -> RunStep | None:
        """Return a step by its id; None if there is none, or it was cleaned up."""
        return self.tracker.steps.get(step_id)

    def get_run_steps(self, agent_id: str | None = None) -> list[RunStep]:
        """Return the steps so far, by index; of an earlier process's steps only those that it left open.

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
        self._messages = []
        if not keep_content:
            self.tracker.clear()

    def clear_heavy_state(self) -> None:
        """Let go of steps at the end of a run; its messages stay."""
        self.tracker.clear()


def _now_ms() -> int:
    """Return the time as epoch milliseconds."""
    return int(environment.current().clock.time() * 1_000)
