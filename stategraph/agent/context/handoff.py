"""Handing the conversation over: the call that does it, and what the agent that gets it is shown.

- An agent hands over by calling a tool, `lc_transfer_to_<id>`, or `conditional_transfer` where a condition decides.
  Several such calls in one answer send their destinations off side by side, in the order of the calls.
- The call and its result stay in the state like any other: every provider accepts the history, and all that is known
  about a transfer is read from its result. So it survives pauses, other processes and edits of the state.
- An agent that is handed the conversation on a way that returns gives it back when it has answered, unless it hands
  over itself.
- Outputs of other agents' types are shown as their texts, as an agent may have the tool that took them itself.
- No agent is shown transfers: routing is no part of the conversation. What one agent tells the other along with it is
  a message of a user to the receiver, which writes it into the state when it answers.
"""

from __future__ import annotations

import hashlib
import inspect
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

from stategraph import fields
from stategraph.agent.messages import history, truncation
from stategraph.agent.output import record
from stategraph.agent.settings.inputs import ToolDefinition
from stategraph.agent.state import AgentState, turn_of
from stategraph.engine.config import environment
from stategraph.graph.reducers import merge_messages
from stategraph.types import Command

TRANSFER = "lc_transfer_to_"
"""Prefix of the name of a tool that hands over to one agent."""

CONDITIONAL = "conditional_transfer"
"""The tool that hands over to the agents that a condition chooses."""

_SOURCE = "handoff_source_name"
_INSTRUCTIONS = "handoff_instructions"
_DESTINATIONS = "handoff_destinations"
_PARALLEL = "handoff_parallel"
_RETURNS = "handoff_returns_to"

#: The longest name of a tool that every provider takes.
_MOST_CHARACTERS = 64

#: Groups of parallel handoffs are told from those of a graph's edges, which count from one, by their size.
_GROUPS = range(2**40, 2**53)

_DONE = "Successfully transferred to"
_BRIDGE = "These are the results so far."
_CUE = "Go on with your own part of the task, from what was said above."
_BACK = "The conversation is back with you. Go on from what was said above."


# The tool.


def tool_name(agent_id: str) -> str:
    """Return the name of the tool that hands over to an agent.

    Providers take names of 64 characters at most. A longer one is cut, and ends with a hash of the id: it is the same
    in every process, and another one for every agent.

    Args:
        agent_id: The agent.
    """
    name = f"{TRANSFER}{agent_id}"
    if len(name) <= _MOST_CHARACTERS:
        return name
    digest = hashlib.sha256(agent_id.encode()).hexdigest()[:10]
    return f"{name[: _MOST_CHARACTERS - len(digest) - 1]}_{digest}"


@dataclass(frozen=True, slots=True)
class Handoff:
    """A tool that hands the conversation over.

    Attributes:
        name: The name for the model.
        description: When to call it.
        source_name: The name by which others know the agent that has it.
        destinations: The agents that it may lead to.
        parameter: The parameter for instructions to the receiver; None: there is none.
        parameter_description: The parameter's description.
        condition: Chooses destinations, or says whether to go; None: always, to all.
        returns_to: The agent that gets the conversation back when a destination has answered; None: none does.
    """

    name: str
    description: str
    source_name: str
    destinations: tuple[str, ...]
    parameter: str | None = None
    parameter_description: str = ""
    condition: Callable[..., Any] | None = None
    returns_to: str | None = None

    @property
    def definition(self) -> ToolDefinition:
        """The tool as models are offered it."""
        properties = {}
        if self.parameter is not None:
            properties[self.parameter] = {"type": "string", "description": self.parameter_description}
        schema = {"type": "object", "properties": properties, "required": []}
        return ToolDefinition(name=self.name, description=self.description, parameters=schema)

    def take(self, call: ToolCall, state: AgentState) -> ToolMessage | Command[Any]:
        """Execute the handoff and return its result.

        Args:
            call: The call.
            state: The state for the condition.

        Returns:
            The command that hands over, with the call's result; or a result alone if the condition says no.

        Raises:
            TypeError: The condition is async.
            ValueError: The condition chose an agent to which this tool does not lead.
        """
        choice = True if self.condition is None else self.condition(state)
        if inspect.isawaitable(choice):
            if inspect.iscoroutine(choice):
                choice.close()
            raise TypeError(f"The condition of '{self.name}' is async: run the graph with ainvoke() or astream()")
        return self._outcome(call, choice)

    async def atake(self, call: ToolCall, state: AgentState) -> ToolMessage | Command[Any]:
        """Execute the handoff and return its result; the condition may be async."""
        choice = True if self.condition is None else self.condition(state)
        return self._outcome(call, await choice if inspect.isawaitable(choice) else choice)

    def _outcome(self, call: ToolCall, choice: object) -> ToolMessage | Command[Any]:
        destinations = chosen(choice, self.destinations, f"The condition of '{self.name}'")
        if not destinations:
            text = "Not transferred: the condition for it does not hold now."
            return ToolMessage(content=text, name=self.name, tool_call_id=call["id"] or "")
        text = f"{_DONE} {', '.join(destinations)}"
        marks: dict[str, Any] = {_SOURCE: self.source_name}
        told = call["args"].get(self.parameter) if self.parameter is not None else None
        if self.parameter is not None and isinstance(told, str) and told.strip():
            text += f"\n\n{self.parameter[0].upper()}{self.parameter[1:]}: {told}"
            marks[_INSTRUCTIONS] = told
        if self.condition is not None or len(f"{TRANSFER}{destinations[0]}") > _MOST_CHARACTERS:
            marks[_DESTINATIONS] = list(destinations)
        if self.returns_to is not None:
            marks[_RETURNS] = self.returns_to
        result = ToolMessage(content=text, name=self.name, tool_call_id=call["id"] or "", additional_kwargs=marks)
        return Command(graph=Command.PARENT, goto=list(destinations), update={"messages": [result]})


def chosen(choice: object, destinations: Sequence[str], who: str) -> tuple[str, ...]:
    """Return the destinations that a condition's result stands for.

    Args:
        choice: Its return value: a destination, several, or whether to go to all of them; None means no.
        destinations: Those there are.
        who: Name of the condition, for an error.

    Returns:
        Destinations, each once.

    Raises:
        ValueError: It names another agent.
    """
    if choice is None or isinstance(choice, bool):
        return tuple(destinations) if choice else ()
    named = (choice,) if isinstance(choice, str) else choice
    if isinstance(named, Sequence) and all(each in destinations for each in named):
        return tuple(dict.fromkeys(named))
    raise ValueError(f"{who} chose {choice!r}; expected one or several of {', '.join(destinations)}, or a bool")


# Leaving.


def leaves(outputs: Sequence[ToolMessage | Command[Any]]) -> bool:
    """Return whether one of the outputs of an agent's tools leaves the agent's graph."""
    return any(isinstance(output, Command) and output.graph == Command.PARENT for output in outputs)


def departure(
    state: AgentState,
    outputs: Sequence[ToolMessage | Command[Any]],
    injected: Sequence[AnyMessage],
    memory: Mapping[str, Any] | None,
) -> Command[Any]:
    """Build the single command with which an agent leaves, from everything that its tools returned.

    It does not say where handoffs lead: callers read that from the state with `destinations`, so that it still holds
    when the state of a paused run is edited.

    Args:
        state: The agent's state, which would be lost otherwise.
        outputs: The outputs of its tools, in the order of the calls.
        injected: Messages to add after the results.
        memory: The listener's state to keep; None: nothing.

    Returns:
        A command for the graph of agents.
    """
    results: list[AnyMessage] = []
    update: list[tuple[str, Any]] = [] if memory is None else [("memory", memory)]
    goto: list[Any] = []
    for output in outputs:
        if isinstance(output, ToolMessage):
            results.append(output)
            continue
        said: list[AnyMessage] = []
        for key, value in fields.update_items(output.update):
            if key == "messages":
                said.extend(value if isinstance(value, list) else [value])
            else:
                update.append((key, value))
        results.extend(said)
        if output.graph == Command.PARENT and not any(map(_leads_to, said)):
            goto.extend(output._targets())
    names = list(dict.fromkeys(name for message in results for name in _leads_to(message)))
    if len(names) > 1:
        results = _in_parallel(results, names)
    messages = merge_messages(state["messages"], [*results, *injected])
    return Command(graph=Command.PARENT, update=[("messages", messages), *update], goto=goto)


def _in_parallel(results: Sequence[AnyMessage], names: Sequence[str]) -> list[AnyMessage]:
    """Return results marked as having destinations that run in parallel."""
    group = _GROUPS[int(environment.current().ids.random() * len(_GROUPS)) % len(_GROUPS)]
    mark = {_PARALLEL: {"agents": list(names), "groupId": group}}
    return [
        message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, **mark}})
        if _leads_to(message)
        else message
        for message in results
    ]


def destinations(messages: Sequence[AnyMessage]) -> tuple[str, ...]:
    """Return the agents that the author of the newest messages handed over to, in the order of its calls."""
    found: list[str] = []
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            break
        found[:0] = _leads_to(message)
    return tuple(dict.fromkeys(found))


# Arriving.


@dataclass(frozen=True, slots=True)
class Arrival:
    """A handoff as the receiving agent sees it.

    Attributes:
        source_name: The agent that handed it over.
        instructions: Its instructions for the receiver; empty for none.
        message_id: The id of the message that carries the instructions.
        parallel: Other agents that got it at the same time.
        group_id: The number of their group; None for an agent on its own.
        returns_to: The agent that gets the conversation back; None: none does.
    """

    source_name: str
    instructions: str
    message_id: str
    parallel: tuple[str, ...] = ()
    group_id: int | None = None
    returns_to: str | None = None


def arrival_of(agent_id: str, messages: Sequence[AnyMessage]) -> Arrival | None:
    """Return the last handoff to an agent in this turn.

    Args:
        agent_id: The agent.
        messages: The conversation.

    Returns:
        None if it was not handed over to.
    """
    found: list[ToolMessage] = []
    for message in reversed(turn_of(messages)):
        if isinstance(message, ToolMessage) and agent_id in _leads_to(message):
            found.insert(0, message)
        elif isinstance(message, AIMessage) and found:
            break
    if not found:
        return None
    marks = found[0].additional_kwargs
    told = [each.additional_kwargs[_INSTRUCTIONS] for each in found if _INSTRUCTIONS in each.additional_kwargs]
    parallel = marks.get(_PARALLEL) or {"agents": (), "groupId": None}
    return Arrival(
        source_name=marks[_SOURCE],
        instructions="\n\n".join(told),
        # The same every time, so that a node that runs again does not tell it twice.
        message_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{found[0].id or found[0].tool_call_id}:{agent_id}")),
        parallel=tuple(each for each in parallel["agents"] if each != agent_id),
        group_id=parallel["groupId"],
        returns_to=marks.get(_RETURNS),
    )


def is_back(agent_id: str, messages: Sequence[AnyMessage]) -> bool:
    """Return whether the newest answer of a conversation is by an agent that has given it back to this one.

    Args:
        agent_id: The agent.
        messages: The conversation.
    """
    if not messages or not isinstance(messages[-1], AIMessage) or messages[-1].tool_calls:
        return False
    transfers = (each for each in reversed(turn_of(messages)) if isinstance(each, ToolMessage) and _is_transfer(each))
    last = next(transfers, None)
    return last is not None and last.additional_kwargs.get(_RETURNS) == agent_id


def last_destinations(messages: Sequence[AnyMessage]) -> tuple[str, ...]:
    """Return the agents that a conversation was last handed to, also if marks of the transfer were lost.

    Args:
        messages: The conversation.
    """
    for message in reversed(messages):
        if isinstance(message, ToolMessage) and _is_transfer(message):
            if (back := message.additional_kwargs.get(_RETURNS)) is not None:
                return (back,)
            if found := _leads_to(message):
                return tuple(found)
            told = truncation.text_of(message.content).removeprefix(_DONE).partition("\n")[0]
            return tuple(each.strip() for each in told.split(","))
    return ()


def _leads_to(message: AnyMessage) -> Sequence[str]:
    """Return the agents that a message hands over to, if it is the result of a transfer."""
    marks = message.additional_kwargs
    if not isinstance(message, ToolMessage) or _SOURCE not in marks:
        return ()
    return marks.get(_DESTINATIONS) or [(message.name or "").removeprefix(TRANSFER)]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The part of a conversation that an agent is sent.

    Attributes:
        system: Its instructions; None for none.
        messages: The conversation as it is shown to this agent.
        added: Messages among them that the state does not have yet.
    """

    system: SystemMessage | None
    messages: Sequence[AnyMessage]
    added: tuple[AnyMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """An agent's part in a graph of several agents.

    Attributes:
        agent_id: The agent.
        names: Names by which agents know each other, by id.
        has_tools: Whether its model is offered tools.
        needs_cue: Whether its provider would take up the text of the agent before it where that comes last.
        sticky: Whether the next turn begins with the agent that was called last.
    """

    agent_id: str
    names: Mapping[str, str]
    has_tools: bool
    needs_cue: bool
    sticky: bool = False

    def group_id(self, messages: Sequence[AnyMessage]) -> int | None:
        """Return the group of agents that received the conversation together with this one; None if there is none."""
        arrival = arrival_of(self.agent_id, messages)
        return None if arrival is None else arrival.group_id

    def look(self, system: SystemMessage | None, messages: Sequence[AnyMessage]) -> Outlook:
        """Return what the agent is sent.

        Args:
            system: Its own instructions.
            messages: The conversation.
        """
        seen = record.in_words(without_transfers(messages), but_of=self.agent_id)
        added: tuple[AnyMessage, ...] = ()
        arrival = arrival_of(self.agent_id, messages)
        if arrival is not None:
            system = self._introduced(system, arrival)
            if arrival.instructions and all(message.id != arrival.message_id for message in messages):
                added = (routing_message(arrival.instructions, arrival.message_id),)
                seen = [*seen, *added]
        seen = list(_bridged(seen) if self.has_tools else flattened(seen))
        if is_back(self.agent_id, messages):
            seen.append(routing_message(_BACK))
        elif self.needs_cue and seen and isinstance(seen[-1], AIMessage):
            seen.append(routing_message(_CUE))
        return Outlook(system, seen, added)

    def _introduced(self, system: SystemMessage | None, arrival: Arrival) -> SystemMessage:
        """Return the instructions, preceded by the agent's name, who handed over, and who runs in parallel with it."""
        lines = [
            "## Multi-Agent Workflow",
            f'You are "{self.names.get(self.agent_id, self.agent_id)}", transferred from "{arrival.source_name}".',
        ]
        if arrival.parallel:
            beside = ", ".join(self.names.get(each, each) for each in arrival.parallel)
            lines.append(f"Running in parallel with: {beside}.")
        lines.append(
            "Execute only tasks relevant to your role. "
            "Routing is already handled if requested, unless you can route further."
        )
        preamble = "\n".join(lines)
        if system is None:
            return SystemMessage(content=preamble)
        if isinstance(system.content, str):
            return SystemMessage(content=f"{preamble}\n\n{system.content}")
        # Blocks have a beginning that the provider caches, which must not change.
        return SystemMessage(content=[*system.content, {"type": "text", "text": preamble}])


# Conversations as agents see them.


def routing_message(text: str, message_id: str | None = None) -> HumanMessage:
    """Return a user message that no person wrote: text from an agent, or an edge, for the next agent.

    Args:
        text: Its content.
        message_id: The message's id; None: given when the state takes it up.
    """
    provenance = {"version": 1, "parts": [{"attribution": "synthetic"}]}
    marks = {"role": "user", "isMeta": True, "source": "routing", "provenance": provenance}
    return HumanMessage(content=text, id=message_id, additional_kwargs=marks)


def without_transfers(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Return a conversation without transfers and their results; the same object if there are none."""
    if not any(isinstance(message, ToolMessage) and _is_transfer(message) for message in messages):
        return messages
    seen: list[AnyMessage] = []
    for message, results in _exchanges(messages):
        gone = {result.tool_call_id for result in results if _is_transfer(result)}
        kept: AnyMessage | None = message
        if gone and isinstance(message, AIMessage):
            kept = _without(message, gone)
        if kept is not None:
            seen.append(kept)
        seen.extend(result for result in results if result.tool_call_id not in gone)
    return seen


def _is_transfer(result: ToolMessage) -> bool:
    """Return whether a result is that of a transfer; its marks are lost where a host stores content alone."""
    stored = (result.name or "").startswith(TRANSFER) and truncation.text_of(result.content).startswith(_DONE)
    return stored or _SOURCE in result.additional_kwargs


def _without(message: AIMessage, gone: set[str]) -> AIMessage | None:
    """Return an answer without some of its calls: only its text if no calls are left, None if that is empty."""
    called = {call["id"] or "" for call in (*message.tool_calls, *message.invalid_tool_calls)}
    kept = history.with_calls(message, called - gone)
    if kept.tool_calls or kept.invalid_tool_calls:
        return kept
    return AIMessage(content=kept.content, id=kept.id) if truncation.text_of(kept.content).strip() else None


def _exchanges(messages: Sequence[AnyMessage]) -> Iterator[tuple[AnyMessage, list[ToolMessage]]]:
    """Yield each message that is not a tool result, with the results that follow it."""
    position = 0
    while position < len(messages):
        end = position + 1
        while end < len(messages) and isinstance(messages[end], ToolMessage):
            end += 1
        yield messages[position], cast("list[ToolMessage]", list(messages[position + 1 : end]))
        position = end


def _bridged(messages: Sequence[AnyMessage]) -> Iterator[AnyMessage]:
    """Insert an answer between results and the routing message after them: some providers insist on one."""
    before: AnyMessage | None = None
    for message in messages:
        if isinstance(before, ToolMessage) and message.additional_kwargs.get("source") == "routing":
            yield AIMessage(content=_BRIDGE)
        yield message
        before = message


def flattened(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Put calls and their results into text: providers refuse them from agents that have no tools.

    Args:
        messages: A conversation. It is not changed.

    Returns:
        The same object if there are none.
    """
    if not any(isinstance(each, ToolMessage) or (isinstance(each, AIMessage) and each.tool_calls) for each in messages):
        return messages
    return list(_flattened(messages))


def _flattened(messages: Sequence[AnyMessage]) -> Iterator[AnyMessage]:
    for message, results in _exchanges(messages):
        if not (isinstance(message, AIMessage) and (message.tool_calls or results)):
            yield message
            continue
        if truncation.text_of(message.content).strip():
            yield history.with_calls(message, set())
        arguments = {call["id"]: truncation.compact_json(call["args"]) for call in message.tool_calls}
        told = [
            f"{result.name} {arguments.get(result.tool_call_id, '')}\n{truncation.text_of(result.content)}"
            for result in results
        ]
        yield routing_message("\n\n".join(["Results of tools that were used before:", *told]))
