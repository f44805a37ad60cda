"""Interrupts of a paused thread, and the matching of answers to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.limits.questions import LIMIT_REACHED
from stategraph.agent.settings.limits import RunLimits
from stategraph.constants import RETURN
from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError, InvalidAnswerError, UnknownInterruptError
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.run.questions import TOOL_APPROVAL, check_answer
from stategraph.types import StateSnapshot

#: Channel of the memory that a paused run keeps as a pending write of the checkpoint that waits: it belongs to no task,
#: so no engine applies it, and the state stays as it is.
_MEMORY = "__stategraph_run__"


@dataclass(frozen=True, slots=True)
class RunInterrupt:
    """An interrupt that a run waits for.

    Attributes:
        interrupt_id: Its id, to be answered by.
        thread_id: The thread that waits.
        payload: The question, as JSON.
        checkpoint_id: The state that it waits in.
        checkpoint_ns: The namespace of that state.
    """

    interrupt_id: str
    thread_id: str
    payload: Any
    checkpoint_id: str | None
    checkpoint_ns: str

    @property
    def needs_approval(self) -> bool:
        """True if it asks for a decision about tool calls."""
        return isinstance(self.payload, Mapping) and self.payload.get("type") == TOOL_APPROVAL

    @property
    def is_governed(self) -> bool:
        """True if people may decide about its calls elsewhere too, each of which is a request for approval."""
        if not self.needs_approval or not isinstance(self.payload, Mapping):
            return False
        requests = self.payload.get("action_requests")
        return isinstance(requests, list) and all(isinstance(each, Mapping) and "approval" in each for each in requests)


@dataclass(frozen=True, slots=True)
class Pause:
    """The paused state of a thread.

    Attributes:
        interrupts: The interrupts that it waits for.
        unfinished: Whether there is something to go on with, if need be without an answer.
        messages: The conversation as the agent sees it that got furthest.
        memory: State of the listener of the run that paused; None if it did not.
        said: The conversation as all agents see it together.
        places: The states of the graph and of the agents in it that are not done.
        active_agent: The agent of a sticky graph that spoke last; None: not known.
    """

    interrupts: tuple[RunInterrupt, ...]
    unfinished: bool
    messages: Sequence[AnyMessage] = ()
    memory: Mapping[str, object] | None = None
    said: Sequence[AnyMessage] = ()
    places: Sequence[RunnableConfig] = ()
    active_agent: str | None = None

    @classmethod
    async def of(cls, compiled: CompiledStateGraph[Any, Any, Any, Any], config: RunnableConfig) -> Pause:
        """Look at the states of a thread; `found` looks at what was stored beside them as well.

        Args:
            compiled: The graph, which has a checkpointer.
            config: The thread.
        """
        state = await compiled.aget_state(config, subgraphs=True)
        where = (state.config or {}).get("configurable") or {}
        thread_id = (config.get("configurable") or {})["thread_id"]
        interrupts = [
            RunInterrupt(each.id, thread_id, each.value, where.get("checkpoint_id"), where.get("checkpoint_ns", ""))
            for each in state.interrupts
        ]
        states = list(_states(state))
        values = [each.values or {} for each in states]
        furthest = max(values, key=lambda each: _progress(each.get("memory")))
        said = {message.id: message for each in values for message in each.get("messages", ())}
        return cls(
            tuple(interrupts),
            bool(state.next),
            furthest.get("messages", ()),
            furthest.get("memory"),
            tuple(said.values()),
            tuple(each.config for each in states),
            furthest.get("active_agent"),
        )

    @classmethod
    async def found(cls, compiled: CompiledStateGraph[Any, Any, Any, Any], config: RunnableConfig) -> Pause:
        """Look at a thread that is to go on, here or in another process.

        Its memory is the one that got furthest: of a state that is not done, of the run when it paused, or of a
        subagent that ended while another agent worked.

        Args:
            compiled: The graph, which has a checkpointer.
            config: The thread.
        """
        pause = await cls.of(compiled, config)
        if not pause.unfinished:
            return pause
        writes = await pause._writes(compiled)
        ended = [memory for each in _results(writes) if isinstance(memory := each.get("memory"), Mapping)]
        return replace(pause, memory=furthest_memory([pause.memory, *kept(writes), *ended]))

    async def results(self, compiled: CompiledStateGraph[Any, Any, Any, Any]) -> list[ToolMessage]:
        """Return the results of calls that ended while another waits: they are stored, and in no state yet.

        Args:
            compiled: The graph, which has a checkpointer.
        """
        return [each["message"] for each in _results(await self._writes(compiled))]

    async def _writes(self, compiled: CompiledStateGraph[Any, Any, Any, Any]) -> list[tuple[str, str, Any]]:
        """Return what is stored beside the states that are not done."""
        saved = [await compiled.checkpointer.aget_tuple(place) for place in self.places]  # type: ignore[union-attr]
        return [write for each in saved if each for write in each.pending_writes or ()]


async def keep(saver: Any, waiting: RunnableConfig, memory: Mapping[str, Any]) -> None:
    """Keep the memory of a run that pauses, for the process that goes on with it.

    Args:
        saver: The saver of the thread.
        waiting: The checkpoint that waits.
        memory: The listener's memory.
    """
    await saver.aput_writes(waiting, [(_MEMORY, memory)], environment.current().unique())


def kept(writes: Iterable[tuple[str, str, Any]]) -> list[Mapping[str, Any]]:
    """Return the memories among the pending writes of a checkpoint."""
    return [value for _, channel, value in writes if channel == _MEMORY]


def furthest_memory(memories: Iterable[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Return the memory that got furthest; None if there is none."""
    return max(memories, key=_progress, default=None)


def _progress(memory: Mapping[str, Any] | None) -> tuple[int, float]:
    """Return how far a memory got: one listener hears all agents, so one that heard more has all that others have."""
    known = memory or {}
    return known.get("count", 0), (known.get("usage") or {}).get("elapsed_s", 0.0)


def _results(writes: Iterable[tuple[str, str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the stored results of calls among pending writes, which may also be what tasks of tools returned."""
    for _, channel, value in writes:
        for each in value if channel == RETURN and isinstance(value, list) else ():
            if isinstance(each, Mapping) and isinstance(each.get("message"), ToolMessage):
                yield each


def _states(state: StateSnapshot) -> Iterator[StateSnapshot]:
    """Yield the states of a graph, and of the agents in it that are not done."""
    yield state
    for task in state.tasks:
        if isinstance(task.state, StateSnapshot):
            yield from _states(task.state)


def after(message_id: str | None, messages: Sequence[AnyMessage]) -> list[AnyMessage] | None:
    """Return the messages after the one with an id; None if it is missing."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].id == message_id:
            return list(messages[index + 1 :])
    return None


def answers(waiting: Sequence[RunInterrupt], value: object) -> dict[str, Any]:
    """Match an answer to the pending interrupts, by their ids.

    Args:
        waiting: The pending interrupts.
        value: The answer, or a mapping from ids of interrupts to answers; not all of them have to be answered.

    Returns:
        Answers by the ids of interrupts.

    Raises:
        UnknownInterruptError: Nothing waits, or several do and the answer does not say for which it is.
        InvalidAnswerError: An answer does not fit what was asked.
    """
    asked = {each.interrupt_id: each.payload for each in waiting}
    if not asked:
        problem = "The run was resumed, but nothing waits for an answer; nothing is stored of a turn that was cut off, "
        problem += "if its 'durability' was 'exit' (the default)"
        raise UnknownInterruptError(problem, reason="not_pending")
    if isinstance(value, Mapping) and value and set(value) <= set(asked):
        given = dict(value)
    elif len(asked) == 1:
        given = {next(iter(asked)): value}
    else:
        problem = f"The run waits for {len(asked)} answers; give a mapping from their ids to answers: "
        raise UnknownInterruptError(problem + ", ".join(asked), reason="ambiguous", pending_ids=list(asked))
    for interrupt_id, answer in given.items():
        check_answer(asked[interrupt_id], answer)
    return given


def check_decided_elsewhere(run_id: str, pause: Pause) -> None:
    """See whether a run can go on without an answer.

    Raises:
        UnknownInterruptError: Nothing waits.
        InvalidAnswerError: Nothing that waits can be decided elsewhere.
    """
    if not pause.interrupts:
        answers((), None)
    if not any(each.is_governed for each in pause.interrupts):
        raise InvalidAnswerError(
            f"Run '{run_id}' was resumed without an answer, and waits for one to "
            f"{', '.join(each.interrupt_id for each in pause.interrupts)}: only requests for approval of governed "
            "actions are decided elsewhere"
        )


def not_kept(run_id: str) -> ConfigurationError:
    """Return the error of a run that is to be resumed and has no checkpointer."""
    return ConfigurationError(
        f"Run '{run_id}' cannot wait or be resumed without a checkpointer: give one as "
        "graph_config.compile_options.checkpointer, or enable human_in_the_loop"
    )


def not_asking(run_id: str) -> ConfigurationError:
    """Return the error of a run that waits for the approval of tool calls, and would not hear of it."""
    return ConfigurationError(
        f"Run '{run_id}' waits for the approval of tool calls, and was created without human_in_the_loop, so "
        "the decision would be lost: create it with human_in_the_loop enabled, and with its hooks"
    )


def check_limits(run_id: str, pause: Pause, limits: RunLimits) -> None:
    """See whether a run that goes on asks about the limits at which it waits: else the answer would be lost.

    Args:
        run_id: The run.
        pause: What it goes on from.
        limits: The run's limits. A limit that is lower than the one that is asked about is reached as well.

    Raises:
        ConfigurationError: It would go on, or end, as if nobody had answered.
    """
    asker = run_id if pause.memory is None else pause.memory.get("run")
    for payload in (each.payload for each in pause.interrupts):
        if not isinstance(payload, Mapping) or payload.get("type") != LIMIT_REACHED:
            continue
        name, allowed = payload["limit"], payload["allowed"]
        given = getattr(limits, name, None)
        if asker != run_id:
            raise ConfigurationError(
                f"Run '{run_id}' is to answer for run '{asker}', which waits at its limit {name}={allowed:g}, and does "
                f"not know what that has used, so the answer would be lost: create it with run_id={asker!r}"
            )
        if limits.on_limit != "ask" or given is None or given > allowed:
            raise ConfigurationError(
                f"Run '{run_id}' waits for an answer about its limit {name}={allowed:g}, and was created with "
                f"{name}={given} and on_limit={limits.on_limit!r}, so the answer would be lost: create it with "
                f"RunLimits({name}={allowed:g}, on_limit='ask')"
            )
