"""A graph that the host made, as its run sees it: its input, its thread, and what a paused run keeps there.

Rules
-----
* What goes in is the graph's own input. Messages in it get ids where the graph's state has a conversation.
* What the process that goes on with a paused run has to know (steps, usage, calls without a result) is kept beside the
  checkpoint that waits, and is not in the state.
* A turn that was cut off ends on its thread as if it had ended there: nothing is left to be run, what parallel tasks
  finished stays, and each tool call has a result. A graph whose state has no conversation is left as its engine does,
  to be run again.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.messages import AnyMessage, BaseMessage, ToolCall
from langchain_core.runnables import RunnableConfig

from stategraph.agent.facts import Place
from stategraph.agent.messages import history
from stategraph.constants import END, START
from stategraph.errors import ConfigurationError
from stategraph.run import pauses
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.graphs import loading
from stategraph.run.pauses import Pause, RunInterrupt
from stategraph.run.turn import turn_inputs
from stategraph.types import Command, Send

_ENGINE_ADDRESS = "langgraph.types"


@dataclass(frozen=True, slots=True)
class GraphAgent:
    """Stands for a graph where a run names its first agent.

    Attributes:
        id: The graph's name.
        host_tool_names: None: a graph executes its tools by itself.
        handoffs: None: they are tools like others.
        output: None: what a graph returns is in its values.
        subagents: None: they are told with the graph.
        routes: None: its models are known when they are called.
        summarising: None: a graph does that by itself.
    """

    id: str
    host_tool_names: tuple[str, ...] = ()
    handoffs: tuple[str, ...] = ()
    output: None = None
    subagents: Mapping[str, Any] = field(default_factory=dict)
    routes: tuple[Any, ...] = ()
    summarising: None = None

    @property
    def name(self) -> str:
        """The graph's name."""
        return self.id


class HostedGraph(ExecutionGraph):
    """A graph that the host made, its steps and its messages.

    Args:
        run_id: The run.
        compiled: The graph.
        handlers: The handlers of the run's events.
        shows_updates: Whether updates of the state are told.

    Attributes:
        calls: Tool calls without a result, by their scope and id.
    """

    def __init__(
        self, run_id: str, compiled: Any, handlers: EventHandlerRegistry, *, shows_updates: bool = False
    ) -> None:
        agent = cast("Any", GraphAgent(str(compiled.get_name() or "graph")))
        super().__init__(run_id, compiled, handlers, [agent], several_agents=True)
        self.calls: dict[tuple[str, str], tuple[Place, ToolCall]] = {}
        self._earlier: Any = None
        self._has_output = True
        self._run_id = run_id
        self._modes = ["messages", "tasks", "custom", "values", *(["updates"] if shows_updates else [])]
        self._foreign = loading.is_foreign(compiled)
        self.has_messages = loading.takes_messages(compiled)

    def get_output(self, messages: Sequence[AnyMessage] | None = None) -> Any:
        """Return the `structured_response` of the graph's state, which LangChain's agents have; None without one.

        Args:
            messages: Of no effect: the state has it, and not its messages.
        """
        return None if self.is_earlier else structured_response(self.values)

    @property
    def is_earlier(self) -> bool:
        """True if the state has the structured response of an earlier turn, and none of this one."""
        return self._earlier is not None and structured_response(self.values) is self._earlier

    def note(self, values: Any, *, is_first: bool) -> None:
        """Take note of a state.

        Args:
            values: The state.
            is_first: Whether nothing has ended yet in this execution.
        """
        self.values, found = values, structured_response(values)
        if not is_first:
            self._has_output = self._has_output or (found is not None and found is not self._earlier)
        elif not self._has_output:
            self._earlier = found

    def reset_values(self, keep_content: bool = False) -> None:
        """Forget the run before, with its state; see the base class."""
        super().reset_values(keep_content)
        self.values = self._earlier = None
        self._has_output = False

    # What goes in.

    def inputs_of(self, given: object) -> tuple[object, list[AnyMessage]]:
        """Return the graph's input for what a host gave, and the messages in it.

        Raises:
            ConfigurationError: The graph's state has a conversation, and what is to go there cannot be read.
        """
        if not isinstance(given, Mapping):
            return given, []
        fields = dict(given)
        if fields.get("messages") is None or not (self.has_messages or is_conversation(fields)):
            return fields, []
        fields["messages"] = messages = turn_inputs.messages_of(fields)
        return fields, messages

    def config_of(self, config: RunnableConfig, host: Mapping[str, Any]) -> RunnableConfig:
        """Return the config of an execution: a graph has a limit of steps of its own."""
        if "recursion_limit" in host or "recursionLimit" in host:
            return config
        return cast("RunnableConfig", {key: value for key, value in config.items() if key != "recursion_limit"})

    def astream(self, given: object, config: RunnableConfig, **options: Any) -> AsyncIterator[Any]:
        """Run the graph and yield the namespace, mode and payload of what it shows."""
        if self._foreign and isinstance(given, Command):
            given = _theirs(given)
        modes = cast("Any", self._modes)
        return self.compiled.astream(given, config, stream_mode=modes, subgraphs=True, **options)

    @property
    def command(self) -> Callable[..., Any]:
        """Makes a `Command` of the engine that the graph is of."""
        return cast("Callable[..., Any]", getattr(_module(), "Command", Command) if self._foreign else Command)

    # What a thread waits for.

    async def pause(self, config: RunnableConfig) -> Pause:
        """Return what a thread waits for, with what the run that paused has kept there.

        Args:
            config: The thread.
        """
        state = await self.compiled.aget_state(config, subgraphs=True)
        where = (state.config or {}).get("configurable") or {}
        thread_id = (config.get("configurable") or {})["thread_id"]
        interrupts = tuple(
            RunInterrupt(each.id, thread_id, each.value, where.get("checkpoint_id"), where.get("checkpoint_ns", ""))
            for each in state.interrupts
        )
        unfinished = bool(state.next or state.tasks)
        memory = await self._stored(state.config) if unfinished else None
        said = messages_in(state.values)
        return Pause(interrupts, unfinished, said, memory, said)

    async def _stored(self, config: RunnableConfig) -> Mapping[str, Any] | None:
        saved = await self._saver.aget_tuple(config)
        return pauses.furthest_memory(pauses.kept(saved.pending_writes or ())) if saved else None

    async def keep(self, config: RunnableConfig, memory: Mapping[str, Any]) -> None:
        """Keep what another process has to know to go on with the run.

        Args:
            config: The thread, which waits.
            memory: The listener's memory.
        """
        state = await self.compiled.aget_state(config)
        calls = [
            [scope, call_id, at.agent_id, at.agent_name, at.node, at.group_id, dict(call)]
            for (scope, call_id), (at, call) in self.calls.items()
        ]
        await pauses.keep(self._saver, state.config, {**memory, "calls": calls, "has_output": self._has_output})

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take up the calls without a result that an earlier process knew of."""
        if memory.get("run") != self._run_id:
            return
        self._has_output = bool(memory.get("has_output", True))
        for scope, call_id, agent_id, name, node, group, call in memory.get("calls", ()):
            place = Place(agent_id, name, node, {}, group, scope=scope)
            self.calls.setdefault((scope, call_id), (place, cast("ToolCall", call)))

    @property
    def _saver(self) -> Any:
        return self.compiled.checkpointer

    # The end of a turn that was cut off.

    async def commit(self, config: RunnableConfig, messages: Sequence[AnyMessage]) -> None:
        """Bring a thread to the state that a turn leaves which was cut off.

        Args:
            config: The thread.
            messages: Those that went in, and those of the turn.
        """
        if not self.has_messages:
            return
        thread: RunnableConfig = {"configurable": {"thread_id": (config.get("configurable") or {})["thread_id"]}}
        state = await self.compiled.aget_state(thread)
        if state.next or state.tasks:
            # What tasks have finished is in the state that was read, and on the thread only after this.
            await self.compiled.aupdate_state(thread, None, as_node=END)
            state = await self.compiled.aget_state(thread)
        known = messages_in(state.values)
        ids = {message.id for message in known}
        whole = history.repair([*known, *(each for each in messages if each.id is None or each.id not in ids)])
        missing = [message for message in whole if message.id is None or message.id not in ids]
        if missing:
            await self.compiled.aupdate_state(thread, {"messages": missing}, as_node=self._writer)
        if missing or state.next:
            await self.compiled.aupdate_state(thread, None, as_node=END)

    @property
    def _writer(self) -> str:
        """The node to write as: one without a router behind it, which would be asked where to go."""
        routed = getattr(getattr(self.compiled, "builder", None), "branches", {})
        nodes = sorted(
            (name for name in self.compiled.nodes),
            key=lambda name: (name in routed and bool(routed[name]), name == START),
        )
        if not nodes:
            raise ConfigurationError("A graph without nodes has no thread to be mended")
        return nodes[0]


def structured_response(values: Any) -> Any:
    """Return what an agent with a `response_format` of LangChain's left in its state; None if there is nothing."""
    return values.get("structured_response") if isinstance(values, Mapping) else None


def is_conversation(given: object) -> bool:
    """Return whether an input has messages that cannot be anything else: LangChain's, or mappings with a role."""
    said = given.get("messages") if isinstance(given, Mapping) else None
    if not isinstance(said, Sequence) or isinstance(said, str) or not said:
        return False
    return all(isinstance(each, BaseMessage) or (isinstance(each, Mapping) and "role" in each) for each in said)


def messages_in(values: Any) -> list[AnyMessage]:
    """Return the conversation in a state; empty if there is none."""
    said = values.get("messages") if isinstance(values, Mapping) else getattr(values, "messages", None)
    if not isinstance(said, Sequence):
        return []
    return cast("list[AnyMessage]", [each for each in said if isinstance(each, BaseMessage)])


def _module() -> object:
    return sys.modules.get(_ENGINE_ADDRESS)


def _theirs(command: Command[Any]) -> Any:
    """Return a command as an object of the installed LangGraph, whose graphs know no other."""
    theirs, send = getattr(_module(), "Command", Command), getattr(_module(), "Send", Send)

    def goto(target: Any) -> Any:
        return send(target.node, target.arg) if isinstance(target, Send) else target

    ways = command.goto if isinstance(command.goto, str | Send) else [goto(each) for each in command.goto]
    return theirs(graph=command.graph, update=command.update, resume=command.resume, goto=goto(ways))
