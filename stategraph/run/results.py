"""The results of a run, during its execution and after it: messages, outputs, usage, what the next run takes up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from langchain_core.messages import AnyMessage

from stategraph.agent.context.discovery import discovered
from stategraph.agent.limits.amounts import RunUsage
from stategraph.agent.limits.meter import Meter
from stategraph.agent.messages.fading_tier import FadingTier
from stategraph.run.config import RunConfig
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_calls import HandlerStatistics
from stategraph.run.events.listener import RunListener
from stategraph.run.pauses import RunInterrupt
from stategraph.run.turn.turn_execution import TurnExecution


class RunResults:
    """The readable side of a `Run`."""

    graph: ExecutionGraph
    _config: RunConfig
    _listener: RunListener
    _meter: Meter
    _last: TurnExecution | None

    def get_run_messages(self) -> list[AnyMessage]:
        """Return the messages that the run has produced."""
        return self.graph.get_run_messages()

    @property
    def output(self) -> Any:
        """The output with which the turn ended, of the `output_type` of the agent that gave it.

        None before the end, and of a turn that ended with something else: a halt, or an agent without an output type.

        Raises:
            ValueError: It was given in another process, and does not fit the type that the agent has here.
        """
        return self.graph.get_output()

    @property
    def outputs(self) -> dict[str, Any]:
        """The last output of each agent in the turn, by its id, the newest last."""
        return self.graph.get_outputs()

    @property
    def partial_output(self) -> Any:
        """As much as has come of the output that is being written: JSON, not validated; None if there is nothing."""
        return None if self._listener.outputs is None else self._listener.outputs.latest

    def get_interrupt(self) -> RunInterrupt | None:
        """Return the interrupt that the run waits for; the first if there are several, None if it does not wait."""
        return next(iter(self.get_interrupts()), None)

    def get_interrupts(self) -> list[RunInterrupt]:
        """Return all interrupts that the run waits for."""
        return [] if self._last is None else list(self._last.interrupts)

    @property
    def paused(self) -> bool:
        """True if the last execution paused: it waits for answers, or stands at a breakpoint, which has no question."""
        return self._last is not None and self._last.paused

    def get_discovered_tools(self) -> tuple[str, ...]:
        """Return the tools that this turn has discovered, for the `discovered_tools` of the next."""
        return discovered(self.graph.get_run_messages())

    def get_halt_reason(self) -> str | None:
        """Return the reason why the turn was ended early; None if it was not."""
        return None if self._last is None else self._last.halt_reason

    def get_halt_message(self) -> str | None:
        """Return the reason that a hook gave for refusing the prompt; None if it gave none, or none refused it.

        The model is not told it, nor are readers of events: it is for the host, which may show it to the person.
        """
        return None if self._last is None else self._last.halt_message

    def get_active_agent(self) -> str | None:
        """Return the agent that spoke last, for the `active_agent` of the conversation's next run; None if none did."""
        return self._listener.active_agent or self._config.active_agent

    @property
    def usage(self) -> RunUsage:
        """The usage so far, over all executions of the turn."""
        return self._meter.usage

    def get_calibration_ratio(self) -> float:
        """Return reported tokens per counted token, for the conversation's next run; that of the first agent."""
        used = self._listener.contexts.get(self.graph.agents[0].id)
        return self._config.calibration_ratio if used is None else used.figures["calibrationRatio"]

    def get_resolved_instruction_overhead(self) -> int | None:
        """Return the true tokens of the first agent's instructions and tools; None until usage is reported."""
        used = self._listener.contexts.get(self.graph.agents[0].id)
        return None if used is None else used.instruction_overhead

    def get_fading_tiers(self) -> dict[str, dict[str, Any]]:
        """Return the degree to which tool results are shortened, by agent, for the conversation's next run.

        Agents whose results are as long as they came are left out.
        """
        tiers = self._config.tiers() | {agent_id: used.tier for agent_id, used in self._listener.contexts.items()}
        return {agent_id: asdict(tier) for agent_id, tier in tiers.items() if tier != FadingTier()}

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return the cost of each handler, the most expensive first: the run waits for them."""
        return self._listener.statistics()
