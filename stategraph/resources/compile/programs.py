"""Interface for programs: execute a workflow, ask an agent or a network.

    result = await runtime.get_workflow("default.data-processing").execute("rows.csv")
    answer = await runtime.get_network("research-network").generate("What is new?")

Every method has a sync form with `_sync` at its end, for callers without an event loop.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from stategraph.agent.state import is_synthetic, turn_of
from stategraph.constants import CONF, CONFIG_KEY_THREAD_ID
from stategraph.governance.context import Budget
from stategraph.resources.compile import agents, calls, governed
from stategraph.resources.compile.calls import Callee, GraphCall, Services, messages_of
from stategraph.resources.compile.data import Data, Fields, Graph, Object
from stategraph.resources.compile.networks import NetworkCall, NetworkPlan
from stategraph.resources.compile.rollout import Rollout, VersionThreads
from stategraph.resources.compile.workflows.plan import WorkflowPlan
from stategraph.resources.compile.workflows.state import INPUT, LAST
from stategraph.run import background_loop
from stategraph.types import Command, Interrupt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One execution of a step.

    Attributes:
        step: Its id.
        status: How it ended; `waiting`: it asks a person.
        error: Why it failed; None: it did not.
        writes: What it wrote to the state.
    """

    step: str
    status: Literal["completed", "failed", "waiting"]
    error: str | None = None
    writes: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkflowResult:
    """Outcome of an execution of a workflow.

    Attributes:
        status: `completed`, or `waiting` for an answer: see `interrupts` and `Workflow.resume`.
        output: The fields of its state that are its output.
        result: The result of the last step, where the workflow has no state; else the output.
        thread_id: Its thread.
        interrupts: What it waits for.
        history: The steps that were executed, in order.
        version: The version that it was executed with.
    """

    status: Literal["completed", "waiting"]
    output: Fields
    result: Data
    thread_id: str
    interrupts: tuple[Interrupt, ...] = ()
    history: tuple[StepRecord, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an agent or a network.

    Attributes:
        text: The answer.
        messages: What was said in the turn.
        thread_id: Its thread.
        structured: The typed output; None: there is none.
        agents: Of a network, the agents that were asked, in order.
        interrupts: What it waits for; then there is no answer yet.
    """

    text: str
    messages: tuple[BaseMessage, ...]
    thread_id: str
    structured: Data = None
    agents: tuple[str, ...] = ()
    interrupts: tuple[Interrupt, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a program: its namespace, its runtime, its limits.

    Attributes:
        namespace: The namespace of its resource.
        services: Objects that the program gave its runtime: `saver`, `store` and others.
        budget: The limits of each run; None: none.
    """

    namespace: str = "default"
    services: Services = field(default_factory=dict)
    budget: Budget | None = None

    @property
    def saver(self) -> Data:
        """The keeper of threads; None: they are not kept."""
        return self.services.get("saver")

    @property
    def store(self) -> Data:
        """Long-term memory; None: none."""
        return self.services.get("store")


class Program:
    """A graph and its threads: what an agent, a workflow or a network became.

    Args:
        name: The name of the resource.
        graph: Its graph.
        place: Where it runs.
        rollout: Its versions.

    Attributes:
        graph: Its graph, on the saver and store of the runtime.
        rollout: Its versions.
    """

    def __init__(self, name: str, graph: Graph, place: Place, rollout: Rollout) -> None:
        self.name = name
        self.graph = graph
        self.place = place
        self.rollout = rollout

    @property
    def description(self) -> str:
        """Description for models that choose."""
        return f"The {type(self).__name__.lower()} {self.name}."

    def callee(self, *, several: bool = False) -> Callee:
        """Return it as something that steps, tools and networks call within their own runs.

        Args:
            several: Whether it is asked several things at once.
        """
        raise NotImplementedError

    async def versions(self) -> list[VersionThreads]:
        """Return how many threads are on each version, the newest version first."""
        return await self.rollout.threads(self.place.saver)

    async def remove_version(self, version: str, *, force: bool = False) -> VersionThreads:
        """Remove an old version, and return the threads that were on it.

        Args:
            version: The version, or its number as `v1`.
            force: Whether threads that wait on it may be lost: they end as `error: version_removed`.

        Raises:
            VersionInUseError: Threads wait on it.
            ResourceError: There is no such version, or it is the newest.
        """
        return await self.rollout.remove(version, self.place.saver, force=force)

    def _limited(self, root: str) -> AbstractAsyncContextManager[None]:
        governance = governed.Governance.of(self.place.services)
        return governed.limited(self.name, self.place.namespace, self.place.budget, governance, root)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _config(self, thread_id: str | None, config: Fields | None) -> tuple[str, Object]:
        given = dict(config or {})
        conf = dict(given.get(CONF) or {})
        thread = thread_id or conf.get(CONFIG_KEY_THREAD_ID) or uuid.uuid4().hex
        return thread, {**given, CONF: {**conf, CONFIG_KEY_THREAD_ID: thread}}

    @staticmethod
    def _run_sync(function: Callable[..., Awaitable[T]], *arguments: Data, **named: Data) -> T:
        async def run() -> T:
            return await function(*arguments, **named)

        return background_loop.current().run(run)


def _alone(plan: WorkflowPlan | agents.AgentPlan | NetworkPlan, place: Place, what: str) -> Rollout:
    """Return the versions of a program that has one."""
    return Rollout(f"{place.namespace}/{plan.name}", plan.version, {plan.version: 1}, what=what)


class Workflow(Program):
    """A workflow to be executed.

    Args:
        plan: The workflow.
        place: Where it runs.
        graph: Its graph; None: that of the plan.
        rollout: Its versions; None: this one alone.
    """

    def __init__(self, plan: WorkflowPlan, place: Place, graph: Graph = None, rollout: Rollout | None = None) -> None:
        made = plan.graph(place.saver, place.store) if graph is None else graph
        super().__init__(plan.name, made, place, rollout or _alone(plan, place, "workflow"))
        self.plan = plan

    @property
    def description(self) -> str:
        """Description for models that choose."""
        return self.plan.parsed.description or super().description

    def callee(self, *, several: bool = False) -> Callee:
        """Return it as something that steps and tools call; it keeps its threads within theirs."""
        return WorkflowCall(self)

    def prepared(self, given: Data) -> Object:
        """Return an input as the graph takes it.

        Raises:
            ValueError: A declared field is missing, or one is given that is not declared.
        """
        declared = self.plan.names.inputs
        if declared is None:
            return {INPUT: given}
        expected = f"expected a mapping with {', '.join(declared)}"
        if isinstance(given, Mapping):
            values = dict(given)
        elif len(declared) == 1 and given is not None:
            values = {next(iter(declared)): given}
        elif given is None:
            values = {}
        else:
            raise ValueError(f"The input of the workflow {self.name!r} is {type(given).__name__}; {expected}")
        problems = [f"unknown {each!r}" for each in values if each not in declared]
        problems += [f"missing {name!r}" for name, each in declared.items() if name not in values and each.is_needed]
        if problems:
            raise ValueError(f"The input of the workflow {self.name!r}: {', '.join(problems)}; {expected}")
        return values

    async def execute(
        self, input: Data = None, *, thread_id: str | None = None, config: Fields | None = None
    ) -> WorkflowResult:
        """Execute it until it ends or waits.

        Args:
            input: Its input: the declared fields, or anything where none are declared.
            thread_id: The thread to keep it in; None: a new one.
            config: As a graph takes it.

        Raises:
            ValueError: The input does not fit.
            Exception: What a step raised; the thread keeps what came before.
        """
        return await self._executed(self.prepared(input), thread_id, config)

    async def resume(self, thread_id: str, answer: Data, *, config: Fields | None = None) -> WorkflowResult:
        """Go on with a thread that waits.

        Args:
            thread_id: The thread.
            answer: The answer to its only question, or answers by the ids of interrupts.
            config: As a graph takes it.
        """
        return await self._executed(Command(resume=answer), thread_id, config)

    async def _executed(self, given: Data, thread_id: str | None, config: Fields | None) -> WorkflowResult:
        thread, complete = self._config(thread_id, config)
        history: list[StepRecord] = []
        state: Fields = {}
        shown = {"output_keys": self.graph.output_channels}
        async with self._limited(thread):
            async for mode, chunk in self.graph.astream(given, complete, stream_mode=["tasks", "values"], **shown):
                if mode == "values":
                    state = chunk
                elif "input" not in chunk:
                    history.append(_record(chunk))
        output = {key: value for key, value in state.items() if key != "__interrupt__"}
        interrupts = tuple(state.get("__interrupt__") or ())
        result = output[LAST] if set(output) == {LAST} else output
        version = self.plan.version
        return WorkflowResult(
            "waiting" if interrupts else "completed", output, result, thread, interrupts, tuple(history), version
        )

    async def history(self, thread_id: str) -> list[Object]:
        """Return what happened in a thread, the newest first: each checkpoint with what was to come next.

        Args:
            thread_id: The thread.
        """
        config = {CONF: {CONFIG_KEY_THREAD_ID: thread_id}}
        return [
            {
                "step": each.metadata.get("step"),
                "next": list(each.next),
                "values": each.values,
                "at": each.created_at,
                "interrupts": [interrupt.value for interrupt in each.interrupts],
            }
            async for each in self.graph.aget_state_history(config)
        ]

    async def stream(
        self,
        input: Data = None,
        *,
        thread_id: str | None = None,
        config: Fields | None = None,
        **options: Data,
    ) -> AsyncIterator[Any]:
        """Execute it and yield what a graph streams; options are those of `astream`."""
        _, complete = self._config(thread_id, config)
        async for chunk in self.graph.astream(self.prepared(input), complete, **options):
            yield chunk

    def execute_sync(self, input: Data = None, **options: Data) -> WorkflowResult:
        """Execute it where nothing can be awaited; see `execute`."""
        return self._run_sync(self.execute, input, **options)

    def resume_sync(self, thread_id: str, answer: Data, **options: Data) -> WorkflowResult:
        """Go on where nothing can be awaited; see `resume`."""
        return self._run_sync(self.resume, thread_id, answer, **options)


def _record(chunk: Fields) -> StepRecord:
    error = chunk.get("error")
    writes = dict(chunk.get("result") or ()) if not error else {}
    status: Literal["completed", "failed", "waiting"] = (
        "failed" if error else "waiting" if chunk.get("interrupts") else "completed"
    )
    return StepRecord(chunk["name"], status, error, writes)


class Conversation(Program):
    """An agent or a network to be asked.

    Args:
        plan: The agent or the network.
        place: Where it runs.
        graph: Its graph; None: that of the plan.
        rollout: Its versions; None: this one alone.
    """

    def __init__(
        self,
        plan: agents.AgentPlan | NetworkPlan,
        place: Place,
        graph: Graph = None,
        rollout: Rollout | None = None,
    ) -> None:
        made = plan.graph(place.saver, place.store) if graph is None else graph
        super().__init__(plan.name, made, place, rollout or _alone(plan, place, type(self).__name__.lower()))
        self.plan = plan

    @property
    def description(self) -> str:
        """Description for models that choose."""
        return self.plan.description

    async def generate(
        self,
        messages: Data,
        *,
        thread_id: str | None = None,
        config: Fields | None = None,
    ) -> Answer:
        """Ask it and return its answer.

        Args:
            messages: A text, messages, or a mapping with `messages`.
            thread_id: The conversation to go on with; None: a new one.
            config: As a graph takes it.
        """
        return await self._turn({"messages": messages_of(messages)}, thread_id, config)

    async def resume(self, thread_id: str, answer: Data, *, config: Fields | None = None) -> Answer:
        """Go on with a conversation that waits for a person.

        Args:
            thread_id: The conversation.
            answer: The answer.
            config: As a graph takes it.
        """
        return await self._turn(Command(resume=answer), thread_id, config)

    async def _turn(self, given: Data, thread_id: str | None, config: Fields | None) -> Answer:
        thread, complete = self._config(thread_id, config)
        async with self._limited(f"{thread}-{uuid.uuid4().hex}"):
            state = await self.graph.ainvoke(given, complete)
        new = [each for each in turn_of(state["messages"]) if not is_synthetic(each)]
        final = next((each for each in reversed(new) if isinstance(each, AIMessage)), None)
        text = "" if final is None else str(final.text)
        return Answer(
            text,
            tuple(new),
            thread,
            agents.structured(new, text) if isinstance(self.plan, agents.AgentPlan) else None,
            tuple(state.get("asked") or ()),
            tuple(state.get("__interrupt__") or ()),
        )

    async def stream(
        self,
        messages: Data,
        *,
        thread_id: str | None = None,
        config: Fields | None = None,
        stream_mode: str | Sequence[str] = "messages",
        **options: Data,
    ) -> AsyncIterator[Any]:
        """Ask it and yield what a graph streams, by default the pieces of messages; options are those of `astream`."""
        _, complete = self._config(thread_id, config)
        given = {"messages": messages_of(messages)}
        async for chunk in self.graph.astream(given, complete, stream_mode=stream_mode, **options):
            yield chunk

    def generate_sync(self, messages: Data, **options: Data) -> Answer:
        """Ask it where nothing can be awaited; see `generate`."""
        return self._run_sync(self.generate, messages, **options)


class Agent(Conversation):
    """An agent to be asked."""

    plan: agents.AgentPlan

    def settings(self) -> Object:
        """Return it as `create_run` takes it: `agents`, and `edges` if there are any."""
        return self.plan.settings()

    def callee(self, *, several: bool = False) -> Callee:
        """Return it as something that steps, tools and networks ask."""
        remembers = self.plan.remembers and not several and self.place.saver is not None
        return agents.AgentCall(self.plan, remembers=remembers, store=self.place.store)


class Network(Conversation):
    """A network to be asked."""

    plan: NetworkPlan

    def callee(self, *, several: bool = False) -> Callee:
        """Return it as something that steps and tools ask."""
        return NetworkCall(self.plan, store=self.place.store)


class WorkflowCall(GraphCall):
    """A workflow as a step, a tool or a schedule executes it, within the run that asks.

    Args:
        program: The workflow.
    """

    def __init__(self, program: Workflow) -> None:
        super().__init__(program.plan.graph(store=program.place.store))
        self._program = program

    def prepared(self, given: Data, /) -> Data:
        """Return an input as its graph takes it."""
        return self._program.prepared(calls.said(given) if self._program.plan.names.inputs is not None else given)
