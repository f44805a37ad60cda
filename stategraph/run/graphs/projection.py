"""Items of a graph's stream to facts.

Rules
-----
* Each item of the stream becomes facts in the order in which items come; what callbacks said is told between them.
* A message is told once. One that a model streamed was told by its pieces; one that a node just returns is told whole.
* A tool call has its result when the stream shows the message that is the result, as the conversation will have it;
  if no message does, as after a handover to the graph around, when the state has it.
* A model that failed, and whose task went on, was replaced by another: its steps are closed as failed. If the task
  failed with it, its text is what is left of the answer.
* Messages of a graph inside of a tool are told, and are no part of what the run brought.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
)

from stategraph.agent import facts
from stategraph.agent.facts import Fact, ModelCall, Place
from stategraph.agent.llm import metering
from stategraph.agent.llm.held_answer import HeldListener
from stategraph.agent.messages.truncation import text_of
from stategraph.agent.ports import Listener
from stategraph.run.events.event_types import CustomEvent, GraphEvents, StateUpdate
from stategraph.run.events.listener import RunListener
from stategraph.run.graphs import recorder
from stategraph.run.graphs.metering import GraphBudget
from stategraph.run.graphs.model_guards import Ended, RunModels
from stategraph.run.graphs.naming import Namespace, Naming
from stategraph.run.graphs.recorder import HeardCall, HeardTool, Record, Recorder

#: Keys of an update that are no nodes.
_NO_NODES = ("__interrupt__", "__metadata__")


class Projection:
    """Tells a listener what a graph's stream shows.

    Args:
        listener: Is told.
        calls: Calls without a result, by their scope and id: those of an execution that is gone on with.
        budget: Counts calls, and keeps limits.

    Attributes:
        models: The gates around models; None: there are none.
        recorder: To be given to the graph as a callback handler.
        calls: Calls without a result.
        at_top: Ids of messages of the outermost graph.
        in_tools: Ids of messages of graphs inside of tools.
        interrupts: The interrupts that the stream showed, by their ids.
        has_ended: Whether a task has ended.
        ear: Is told facts: the listener, unless somebody else hears them too.
        hear: Tells it a fact.
    """

    def __init__(
        self, listener: RunListener, calls: dict[tuple[str, str], tuple[Place, ToolCall]], budget: GraphBudget
    ) -> None:
        self.recorder = Recorder(self._model_begins, self._tool_begins)
        self.models: RunModels | None = None
        self._budget = budget
        self.calls = calls
        self.at_top: set[str] = set()
        self.in_tools: set[str] = set()
        self.interrupts: dict[str, Any] = {}
        self.has_ended = False
        self.ear: Listener = listener
        self.hear: Callable[[Fact], Awaitable[None]] = listener.hear
        self._listener = listener
        self._naming = Naming()
        self._models: dict[HeardCall, ModelCall] = {}
        self._unheard: dict[tuple[str, str | None], tuple[ModelCall, list[AIMessageChunk]]] = {}
        self._failed: dict[HeardCall, Exception] = {}
        self._namespaces: dict[str, Namespace] = {}
        self._answered: set[str] = set()
        self._in_state: set[str | None] = set()
        self._shown: set[str | None] = set()

    def tell_to(self, listener: Listener) -> None:
        """Have a listener hear the facts, who passes them on."""
        self.ear, self.hear = listener, listener.hear

    def place_of_task(self, metadata: Mapping[str, Any]) -> Place:
        """Return the place of a task, by its metadata."""
        return self._place(self._namespace(metadata), metadata)

    def call_of(self, model: ModelCall) -> HeardCall:
        """Return the call that was told as a fact."""
        return next(heard for heard, told in self._models.items() if told is model)

    def place_of_call(self, metadata: Mapping[str, Any], call_id: str) -> Place:
        """Return the place of a tool call.

        Args:
            metadata: Of the task that runs the tool.
            call_id: The call.
        """
        ns = self._namespace(metadata)
        known = self.calls.get(("|".join(ns), call_id))
        return self._place(ns, metadata) if known is None else known[0]

    async def take(self, ns: Namespace, mode: str, payload: Any) -> None:
        """Tell what an item of the stream shows.

        Args:
            ns: The graphs around it.
            mode: Its stream mode.
            payload: Its payload.
        """
        if mode == "messages":
            message, metadata = payload
            if isinstance(message, BaseMessage):  # a graph on a server may show something else
                await self._message(ns, message, metadata or {})
            return
        await self._records(self.recorder.due(ends=mode != "custom"))
        match mode:
            case "tasks":
                await self._task(ns, payload)
            case "custom":
                data = CustomEvent(data=payload, namespace=list(ns))
                await self._listener.emit(GraphEvents.ON_CUSTOM_EVENT, data, self._of_graph(ns))
            case "updates":
                await self._updates(ns, payload)
            case "values":
                await self._state(ns, payload)

    async def end(self) -> None:
        """Tell what is left at the end of a run that did not fail."""
        await self._records(self.recorder.rest())
        for call in list(self._failed):
            await self._replaced(call)

    def finish(self) -> None:
        """Take note of answers that were whole when a run was cut off, and that nobody was told of as such.

        Calls that were not counted are counted: these, those that failed, and those that were stopped.
        """
        due = list(self.recorder.due())
        for record in (*due, *self.recorder.rest()):
            if isinstance(record, recorder.CallEnded):
                self._count(record.call, record.message)
            elif isinstance(record, recorder.CallFailed):
                self._count(record.call, record.call.beginning(record.error))
        for call in self.recorder.cut_off():
            self._count(call, call.beginning())
        for record in due:
            if isinstance(record, recorder.CallEnded) and record.call.shown:
                model = self._models.get(record.call)
                if model is not None:
                    self._listener.partial.pop(id(model), None)
                    self._keep_message(model.at, record.message)
                    self._listener.produced.append(record.message)

    async def halt(self, ended: Ended) -> None:
        """Tell the answer with which gates end the turn."""
        message = ended.message
        if message is not None and message.id is not None:
            self.at_top.add(message.id)
            self.in_tools.discard(message.id)
        if ended.call is None:
            if message is not None:
                await self.hear(facts.MessageReturned(ended.at, message))
            return
        model, held = await self._model(ended.call), ended.call.held
        if held is not None:
            held.replaced = True
        hear = self.hear if held is None else held.hear
        await hear(facts.ModelEnded(model, message or AIMessage(""), ended.elapsed_s))

    def _model_begins(self, metadata: Mapping[str, Any], tags: Sequence[str]) -> bool:
        if self.models is not None and not self.models.may_begin(metadata, tags):
            return False
        return self._budget.model_begins(metadata)

    def _tool_begins(self, tool: HeardTool) -> bool:
        return self._budget.tool_begins(self.place_of_call(tool.metadata, tool.call_id), tool.call_id)

    # Tasks.

    async def _task(self, ns: Namespace, task: Mapping[str, Any]) -> None:
        if "triggers" in task:
            self._naming.began(ns, task["id"])
            return
        self.has_ended = True
        self._naming.ended(ns, task["id"])
        own = f"{task['name']}:{task['id']}"
        if not ns:
            await self._records(self.recorder.rest(own))
        for interrupt in task.get("interrupts") or ():
            identifier, value = _interrupt(interrupt)
            self.interrupts.setdefault(identifier, value)
        if task.get("error") is None:
            path = "|".join((*ns, own))
            for call in [each for each in self._failed if recorder.task_of(each.metadata).startswith(path)]:
                await self._replaced(call)

    async def _updates(self, ns: Namespace, updates: Mapping[str, Any]) -> None:
        for node, update in updates.items():
            if node not in _NO_NODES:
                data = StateUpdate(node=node, update=update, namespace=list(ns))
                await self._listener.emit(GraphEvents.ON_STATE_UPDATE, data, self._of_graph(ns))

    async def _state(self, ns: Namespace, values: Any) -> None:
        """Tell messages that only the state has.

        These are results in a command for the graph around the tool's, and answers that a node returned in a form that
        becomes a message in the state, such as a tuple or a dict.
        """
        said = values.get("messages") if isinstance(values, Mapping) else None
        if not isinstance(said, list):
            return
        if self.calls:
            await self._results(said)
        if ns:
            return
        if not self.has_ended:  # before the first step: what the thread had
            self._in_state.update(each.id for each in said if isinstance(each, BaseMessage))
            return
        new: list[BaseMessage] = []
        for message in reversed(said):
            if not isinstance(message, BaseMessage) or message.id in self._in_state:
                break
            new.append(message)
        self._in_state.update(message.id for message in new)
        for message in reversed(new):
            if type(message) is AIMessage and message.id not in self._shown:
                at = self._of_graph(ns)
                self._keep_message(at, message)
                await self._returned(at, message)

    async def _results(self, said: Sequence[object]) -> None:
        """Tell the results that open calls have in the state."""
        waiting, found = {call_id for _, call_id in self.calls}, []
        for message in reversed(said):
            if isinstance(message, ToolMessage) and message.tool_call_id in waiting:
                found.append(message)
            elif isinstance(message, AIMessage) and any(each["id"] in waiting for each in message.tool_calls):
                break
        for message in reversed(found):
            at, _ = cast("tuple[Place, ToolCall]", self._call("", message.tool_call_id))
            await self._result(at, message)

    def _of_graph(self, ns: Namespace) -> Place:
        return self._naming.place(ns[:-1], {"langgraph_checkpoint_ns": "|".join(ns), "langgraph_node": _node(ns)})

    # Messages.

    async def _message(self, ns: Namespace, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
        found = self.recorder.find(message)
        if found is None:
            at = self._place(ns, metadata)
            self._keep_message(at, message)
            await self._records(recorder.due_of(self.recorder.queue_of(metadata)))
            await self._whole(at, message)
            return
        call, piece = found
        if not (call.queue and call.queue[0] is piece):
            self._place(ns, metadata)
            await self._records(recorder.due_of(call.queue))
        model = self._models.get(call) or await self._model(call, ns)
        self._keep_message(model.at, message)
        hear = self.hear if call.guard is None else self._held(call)
        await hear(facts.ModelStreamed(model, cast("AIMessage", message)))
        piece.taken = True
        call.was_taken()
        await self._records(recorder.due_of(call.queue))

    def _held(self, call: HeardCall) -> Callable[[Fact], Awaitable[None]]:
        """Return who hears the pieces of a guarded call: what holds them back, if anything does."""
        hold = call.hold
        if hold == "nothing" or call.guard is None:
            return self.hear
        if call.held is None or (hold == "answer" and not call.held.is_whole):
            call.held = HeldListener(self.ear, call.guard.passage.approve if hold == "sentence" else None)
        return call.held.hear

    def _place(self, ns: Namespace, metadata: Mapping[str, Any]) -> Place:
        self._namespaces.setdefault(recorder.task_of(metadata), ns)
        return self._naming.place(ns, metadata)

    def _keep_message(self, at: Place, message: BaseMessage) -> None:
        if message.id is not None:
            self._shown.add(message.id)
            if not at.scope:
                self.at_top.add(message.id)
            elif self._naming.inside_tool(tuple(at.scope.split("|"))):
                self.in_tools.add(message.id)

    async def _whole(self, at: Place, message: BaseMessage) -> None:
        """Tell a message that no model was heard to stream."""
        match message:
            case AIMessageChunk():
                await self._unheard_piece(at, message)
            case AIMessage():
                await self._returned(at, message)
            case ToolMessage():
                await self._result(at, message)
            case HumanMessage():
                await self.hear(facts.Injected(at, (message,)))

    async def _returned(self, at: Place, message: AIMessage) -> None:
        unheard = self._unheard.pop((at.scope, message.id), None)
        if unheard is not None:
            await self._ended(unheard[0], message, 0.0)
            return
        self._remember(at, message)
        await self.hear(facts.MessageReturned(at, message))

    async def _unheard_piece(self, at: Place, chunk: AIMessageChunk) -> None:
        """Tell a piece of an answer whose model cannot be heard, such as one of a graph on a server."""
        key = at.scope, chunk.id
        known = self._unheard.get(key)
        if known is None:
            known = self._unheard[key] = ModelCall(at, "", "", (), 0), []
            await self.hear(facts.ModelStarted(known[0]))
        call, pieces = known
        pieces.append(chunk)
        await self.hear(facts.ModelStreamed(call, chunk))
        if chunk.chunk_position == "last":
            del self._unheard[key]
            whole = pieces[0] if len(pieces) == 1 else pieces[0] + pieces[1:]
            await self._ended(call, AIMessage(**_fields(whole)), 0.0)

    async def _ended(
        self, call: ModelCall, message: AIMessage, elapsed_s: float, held: HeldListener | None = None
    ) -> None:
        if not call.off_record:
            self._keep_message(call.at, message)
            self._remember(call.at, message)
        await (self.hear if held is None else held.hear)(facts.ModelEnded(call, message, elapsed_s))

    def _remember(self, at: Place, message: AIMessage) -> None:
        for call in message.tool_calls:
            self.calls[at.scope, call["id"] or ""] = at, call

    async def _result(self, at: Place, message: ToolMessage) -> None:
        if message.id is not None:
            if message.id in self._answered:
                return
            self._answered.add(message.id)
        unknown = at, ToolCall(name=message.name or "", args={}, id=message.tool_call_id)
        where, call = self._call(at.scope, message.tool_call_id) or unknown
        self.calls.pop((where.scope, message.tool_call_id), None)
        await self.hear(facts.ToolAnswered(where, call, message, text_of(message.content)))

    def _call(self, scope: str, call_id: str) -> tuple[Place, ToolCall] | None:
        """Return a call without a result: of the graph, else of any graph, the newest."""
        known = self.calls.get((scope, call_id))
        if known is None:
            same = [each for (_, one), each in self.calls.items() if one == call_id]
            known = same[-1] if same else None
        return known

    # Records.

    async def _records(self, records: Iterator[Record]) -> None:
        for record in records:
            await self._record(record)

    async def _record(self, record: Record) -> None:
        match record:
            case recorder.CallBegan(call):
                await self._model(call)
            case recorder.CallEnded(call, message, elapsed_s, replaced):
                model = await self._model(call)
                del self._models[call]
                self._budget.model_ended(model, message)
                if call.held is not None:
                    call.held.replaced = replaced
                await self._ended(model, message, elapsed_s, call.held)
                if self._budget.unpriced(model):
                    await self.hear(metering.unpriced(model))
            case recorder.CallFailed(call, error):
                self._budget.model_ended(await self._model(call), call.beginning(error))
                self._failed[call] = error
            case recorder.Dispatched(name, data, metadata):
                ns = self._namespace(metadata)
                event = CustomEvent(data=data, namespace=list(ns), name=name)
                await self._listener.emit(GraphEvents.ON_CUSTOM_EVENT, event, self._place(ns, metadata))
            case _:
                await self._tool(record)

    async def _tool(self, record: recorder.ToolBegan | recorder.ToolReturned | recorder.ToolRaised) -> None:
        at, call = self._of_tool(record.tool)
        fact: Fact
        match record:
            case recorder.ToolBegan(tool):
                self._naming.tools.setdefault(recorder.task_of(tool.metadata), []).append(tool.name)
                fact = facts.ToolStarted(at, call)
            case recorder.ToolReturned(_, output):
                fact = facts.ToolEnded(at, call, output)
            case recorder.ToolRaised(_, error):
                fact = facts.ToolFailed(at, call, error)
        await self.hear(fact)

    def _of_tool(self, tool: HeardTool) -> tuple[Place, ToolCall]:
        ns = self._namespace(tool.metadata)
        known = self.calls.get(("|".join(ns), tool.call_id))
        if known is not None:
            return known
        return self._place(ns, tool.metadata), ToolCall(name=tool.name, args=dict(tool.args), id=tool.call_id)

    async def _model(self, heard: HeardCall, ns: Namespace | None = None) -> ModelCall:
        """Return a model's call, which is told at first."""
        model = self._models.get(heard)
        if model is not None:
            return model
        task = recorder.task_of(heard.metadata)
        for failed in [each for each in self._failed if recorder.task_of(each.metadata) == task]:
            await self._replaced(failed)
        model = self._models[heard] = self._model_call(heard, ns)
        await self.hear(facts.ModelStarted(model))
        return model

    def _model_call(self, heard: HeardCall, ns: Namespace | None = None) -> ModelCall:
        place = self._place(self._namespace(heard.metadata) if ns is None else ns, heard.metadata)
        provider = str(heard.metadata.get("ls_provider") or "")
        name = str(heard.metadata.get("ls_model_name") or "")
        sent = cast("Sequence[AnyMessage]", heard.messages)
        silent = not heard.shown
        return ModelCall(place, provider, name, sent, len(sent), off_record=silent, traced_as=provider)

    def _count(self, heard: HeardCall, answer: AIMessage | None) -> None:
        """Count a call of which nothing more is told."""
        self._budget.model_ended(self._models.get(heard) or self._model_call(heard), answer)

    async def _replaced(self, call: HeardCall) -> None:
        error = self._failed.pop(call)
        model = self._models.pop(call, None)
        if model is not None:
            await self.hear(facts.ModelFailed(model, error))

    def _namespace(self, metadata: Mapping[str, Any]) -> Namespace:
        """Return the graphs around a task, before the stream has shown anything of it: calls of tasks do not count."""
        task = recorder.task_of(metadata)
        known = self._namespaces.get(task)
        if known is not None:
            return known
        path: Sequence[Any] = metadata.get("langgraph_path") or ()
        drop = 1
        while len(path) == 4 and path[-1] is True and isinstance(path[1], Sequence):
            drop, path = drop + 1, path[1]
        return tuple(task.split("|"))[:-drop]


def _node(ns: Namespace) -> str:
    return ns[-1].partition(":")[0] if ns else ""


def _interrupt(given: Any) -> tuple[str, Any]:
    if isinstance(given, Mapping):
        return str(given.get("id")), given.get("value")
    return str(given.id), given.value


def _fields(message: AIMessage) -> dict[str, Any]:
    kept = ("content", "id", "name", "tool_calls", "invalid_tool_calls", "usage_metadata", "additional_kwargs")
    return {name: getattr(message, name) for name in kept}
