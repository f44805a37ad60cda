"""Models and tools of a graph, heard through callbacks, in step with the graph's stream.

Rules
-----
* The stream says what is shown, and in which order. It does not say which call of a model a piece belongs to, when a
  call began and ended, or that a tool runs; callbacks do, but they are ahead of the stream's reader.
* So each task of the outermost graph has a queue of what callbacks said in it. A record leaves it when the reader has
  taken every piece of an answer that was given before the record. A piece is known again by its identity: both are
  handed the same object.
* Callbacks come from any thread, and never wait.
* The end of a call that gates have let begin is no record of its own accord: it is one when they have reviewed it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from stategraph.agent.llm.held_answer import HeldListener
from stategraph.agent.llm.model_gates import Passage
from stategraph.agent.ports import Hold
from stategraph.engine.config import environment

#: Tag of a model whose answers a graph's stream leaves out.
_UNSTREAMED = "nostream"
#: Exceptions by which a tool leaves without having failed, of either engine.
_LEAVING = frozenset({"GraphBubbleUp", "CancelledError"})


Queue: TypeAlias = "deque[Record | Piece]"


@dataclass(slots=True, eq=False)
class HeardCall:
    """One call of a model.

    Attributes:
        messages: What was sent.
        metadata: Of the running task, and of the model.
        began: When, by the clock.
        queue: The records of the task of the outermost graph that it is in.
        shown: Whether the graph's stream shows its answer.
        streamed: How many pieces came.
        usage: As far as the pieces report it; None: not yet.
        guard: The gates that have let it begin; None: there are none.
        taken: How many pieces the reader of the stream has told or held back.
        answer: The whole answer, which gates are reviewing; None: there is none yet.
        elapsed_s: How long that took.
        held: Holds its pieces back; None: they are told as they come.
    """

    messages: Sequence[BaseMessage]
    metadata: Mapping[str, Any]
    began: float
    queue: Queue
    shown: bool = True
    streamed: int = 0
    usage: UsageMetadata | None = None
    guard: Guard | None = None
    taken: int = 0
    answer: AIMessage | None = None
    elapsed_s: float = 0.0
    held: HeldListener | None = None
    _read: asyncio.Event | None = None

    @property
    def hold(self) -> Hold:
        """The part of the answer that is held back: all of one that came as a whole."""
        hold: Hold = "nothing" if self.guard is None or not self.shown else self.guard.hold
        return "answer" if hold == "sentence" and self.answer is not None and not self.streamed else hold

    def was_taken(self) -> None:
        """Take note that the reader of the stream has taken a piece."""
        self.taken += 1
        if self.taken >= self.streamed:
            self.let_go()

    def let_go(self) -> None:
        """Wake who waits in `read`."""
        if self._read is not None:
            self._read.set()

    async def read(self) -> None:
        """Wait until the reader of the stream has taken every piece of a call that has ended; in its event loop."""
        if self.taken < self.streamed:
            self._read = asyncio.Event()
            await self._read.wait()

    def beginning(self, error: BaseException | None = None) -> AIMessage | None:
        """Return what stands for the answer of a call that was cut off, with the usage that was reported.

        Args:
            error: What ended it; None: it was stopped.

        Returns:
            None for one that failed before it was answered, and took nothing.
        """
        if isinstance(error, Exception) and not self.streamed and self.answer is None:
            return None
        return AIMessage("", usage_metadata=self.usage)


@dataclass(slots=True, eq=False)
class Guard:
    """Lets calls of models begin, and reviews the answer.

    Attributes:
        passage: The way through the gates.
        hold: How much of an answer they hold back.
        ended: Calls that have an answer, in their order.
        is_open: Whether models may be called still: until the guarded call has returned.
    """

    passage: Passage
    hold: Hold
    ended: list[HeardCall] = field(default_factory=list)
    is_open: bool = True


guarding: ContextVar[Guard | None] = ContextVar("stategraph_model_guard", default=None)
"""The gates that have let a model be called, in whose call this is; None: none have. Tasks that it began keep it."""


def open_guard() -> Guard | None:
    """Return the gates that have let the models be called that are called here; None: none have."""
    guard = guarding.get()
    return guard if guard is not None and guard.is_open else None


@dataclass(frozen=True, slots=True)
class HeardTool:
    """One execution of a tool.

    Attributes:
        name: Its name.
        args: Its arguments.
        call_id: The id of the model's call; that of the execution if no model called it.
        metadata: Of the running task.
    """

    name: str
    args: Mapping[str, Any]
    call_id: str
    metadata: Mapping[str, Any]


@dataclass(slots=True)
class Piece:
    """A piece of an answer.

    Attributes:
        taken: Whether the reader of the stream has told it.
    """

    taken: bool = False


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A model is called."""

    call: HeardCall


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A model has answered; `replaced`: gates have put something else in the place of its answer."""

    call: HeardCall
    message: AIMessage
    elapsed_s: float
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A model raised, perhaps after the beginning of an answer."""

    call: HeardCall
    error: Exception


@dataclass(frozen=True, slots=True)
class ToolBegan:
    """A tool starts."""

    tool: HeardTool


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool returned."""

    tool: HeardTool
    output: object


@dataclass(frozen=True, slots=True)
class ToolRaised:
    """A tool raised."""

    tool: HeardTool
    error: Exception


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An event was dispatched in LangChain's way."""

    name: str
    data: object
    metadata: Mapping[str, Any]


class SupersededError(Exception):
    """A model has answered, and its answer is not the one that gates have reviewed: nobody is told it."""


Record: TypeAlias = CallBegan | CallEnded | CallFailed | ToolBegan | ToolReturned | ToolRaised | Dispatched


_ENDS = (CallEnded, CallFailed, ToolReturned, ToolRaised)


def task_of(metadata: Mapping[str, Any] | None) -> str:
    """Return the namespace of the task that callbacks or messages come from; empty if it has none."""
    return str((metadata or {}).get("langgraph_checkpoint_ns") or "")


def has_failed(error: BaseException) -> bool:
    """Return whether an error of a tool is a failure, and not a question, a handover or a cancellation."""
    return not _LEAVING.intersection(cls.__name__ for cls in type(error).__mro__)


def due_of(queue: Queue, *, ends: bool = True) -> Iterator[Record]:
    """Yield the records of a queue that nothing is left to be shown before.

    Args:
        queue: The queue.
        ends: Whether to yield an end that is its newest record.
    """
    while queue:
        first = queue[0]
        if isinstance(first, Piece):
            if not first.taken:
                return
            queue.popleft()
        elif not ends and len(queue) == 1 and isinstance(first, _ENDS):
            return
        else:
            queue.popleft()
            yield first


class Recorder(BaseCallbackHandler):
    """Takes note of models and tools.

    Args:
        model_begins: Called before a model is, with its metadata and tags; returns whether it may be. One that may not
            is not noted.
        tool_begins: The same for a tool, given its execution.
    """

    run_inline = True
    ignore_chain = True
    ignore_retriever = True
    ignore_retry = True

    def __init__(
        self,
        model_begins: Callable[[Mapping[str, Any], Sequence[str]], bool],
        tool_begins: Callable[[HeardTool], bool],
    ) -> None:
        self._model_begins = model_begins
        self._tool_begins = tool_begins
        self._queues: dict[str, deque[Record | Piece]] = {}
        self._calls: dict[UUID, HeardCall] = {}
        self._stopped: list[HeardCall] = []
        self._reviewed: dict[HeardCall, None] = {}
        self._tools: dict[UUID, HeardTool] = {}
        self._pieces: dict[int, tuple[BaseMessage, HeardCall, Piece]] = {}

    # The reader.

    def find(self, message: BaseMessage) -> tuple[HeardCall, Piece] | None:
        """Return the call of a model that a message is a piece of, and the piece; None if it is none.

        Args:
            message: The object that the stream yielded. It is forgotten.
        """
        known = self._pieces.pop(id(message), None)
        return None if known is None or known[0] is not message else known[1:]

    def due(self, *, ends: bool = True) -> Iterator[Record]:
        """Yield the records that nothing is left to be shown before.

        Args:
            ends: Whether to yield an end that is the newest record of its queue: what the stream shows next may have
                come before it.
        """
        for queue in list(self._queues.values()):
            yield from due_of(queue, ends=ends)

    def queue_of(self, metadata: Mapping[str, Any]) -> Queue:
        """Return the queue of a task, which has the records of all tasks in the same task of the outermost graph."""
        task = task_of(metadata).partition("|")[0]
        queue = self._queues.get(task)
        return self._queues.setdefault(task, deque()) if queue is None else queue

    def rest(self, task: str | None = None) -> Iterator[Record]:
        """Yield all records that are left of a task that has ended.

        Args:
            task: The task of the outermost graph, as `node:id`; None: of all tasks.
        """
        for name in list(self._queues) if task is None else [task]:
            queue = self._queues.pop(name, ())
            yield from (each for each in list(queue) if not isinstance(each, Piece))

    def cut_off(self) -> list[HeardCall]:
        """Return the calls of models that were stopped, and forget them."""
        # LangChain tells of some of them only.
        stopped = [*self._stopped, *self._calls.values(), *self._reviewed]
        self._stopped.clear()
        self._calls.clear()
        self._reviewed.clear()
        return stopped

    def release(self, call: HeardCall, message: AIMessage | None) -> None:
        """Take note that gates have reviewed an answer.

        Args:
            call: The call.
            message: The answer that counts; None: it is none of the conversation's.
        """
        self.forget(call)
        assert call.answer is not None
        if message is None:
            call.queue.append(CallFailed(call, SupersededError("Another answer took its place")))
        else:
            call.queue.append(CallEnded(call, message, call.elapsed_s, message is not call.answer))

    def forget(self, call: HeardCall) -> None:
        """Forget an answer that gates were reviewing, and of which the caller tells."""
        self._reviewed.pop(call, None)

    def _put(self, metadata: Mapping[str, Any], record: Record) -> None:
        self.queue_of(metadata).append(record)

    # Models.

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take note that a model is called."""
        if not self._model_begins(metadata or {}, tags or ()):
            return
        shown = metadata is not None and bool(task_of(metadata)) and _UNSTREAMED not in (tags or ())
        now = environment.current().clock.monotonic()
        about, queue = metadata or {}, self.queue_of(metadata or {})
        call = self._calls[run_id] = HeardCall(
            messages[0] if messages else (), about, now, queue, shown, guard=open_guard()
        )
        queue.append(CallBegan(call))

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        """Take note of a piece of an answer."""
        call = self._calls.get(run_id)
        if call is None or not isinstance(chunk, ChatGenerationChunk):
            return
        call.streamed += 1
        message = chunk.message
        if (usage := getattr(message, "usage_metadata", None)) is not None:
            call.usage = add_usage(call.usage, usage)
        if call.shown:
            self._note(call, message)

    def _note(self, call: HeardCall, message: BaseMessage) -> None:
        piece = Piece()
        self._pieces[id(message)] = message, call, piece
        call.queue.append(piece)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Take note of an answer."""
        call = self._calls.pop(run_id, None)
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        if call is None or not isinstance(generation, ChatGeneration):
            return
        message = generation.message
        elapsed_s = environment.current().clock.monotonic() - call.began
        if call.guard is not None and isinstance(message, AIMessage):
            # Before the stream can show anything of it.
            call.answer, call.elapsed_s, call.usage = message, elapsed_s, message.usage_metadata or call.usage
            self._reviewed[call] = None
            call.guard.ended.append(call)
        if call.shown and not call.streamed:
            self._note(call, message)
        if call.guard is None and isinstance(message, AIMessage):
            call.queue.append(CallEnded(call, message, elapsed_s))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Take note that a model raised; of one that was cancelled only what it took."""
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        if isinstance(error, Exception):
            call.queue.append(CallFailed(call, error))
        else:
            self._stopped.append(call)

    # Tools.

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take note that a tool starts."""
        name = str((serialized or {}).get("name") or kwargs.get("name") or "")
        args = dict(inputs) if isinstance(inputs, Mapping) else {"input": input_str}
        call_id = str(kwargs.get("tool_call_id") or run_id)
        tool = HeardTool(name, args, call_id, metadata or {})
        if not self._tool_begins(tool):
            return
        self._tools[run_id] = tool
        self._put(tool.metadata, ToolBegan(tool))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Take note of what a tool returned."""
        tool = self._tools.pop(run_id, None)
        if tool is not None:
            self._put(tool.metadata, ToolReturned(tool, output))

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Take note that a tool raised; one that asks something, or was cancelled, has not failed."""
        tool = self._tools.pop(run_id, None)
        if tool is None or not isinstance(error, Exception):
            return
        if has_failed(error):
            self._put(tool.metadata, ToolRaised(tool, error))

    def on_custom_event(
        self, name: str, data: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Take note of an event that was dispatched."""
        self._put(metadata or {}, Dispatched(name, data, metadata or {}))
