"""Turns of a framework's agent as tasks of A2A 1.0.

Rules
-----
* The first event is the whole task. Text comes as artifacts, piece by piece; calls of tools, their results and thoughts
  are messages of the status `working`, with parts as `messages.a2a` writes them; files and values are artifacts.
* A turn ends as `completed`, `input-required` after a question, `failed` with the error's text, or `canceled`. The last
  status has the metadata `stategraph.dev/usage` and `stategraph.dev/losses`, where there are any.
* What a client is told of an error has no traceback, and none of the secrets of the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import Message as A2aMessage
from a2a.types import Part as A2aPart
from a2a.types import Task, TaskState, TaskStatus
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import MessageToDict, ParseDict

from stategraph.fleet.adapters.conversations import Conversations
from stategraph.fleet.adapters.masking import masked
from stategraph.fleet.adapters.port import Fact, Losses, Question, Said, Usage
from stategraph.fleet.adapters.statistics import Counter, End
from stategraph.fleet.messages import a2a as shape
from stategraph.fleet.messages.common import Data, File, Message, MessageError, Notes, Part

logger = logging.getLogger("stategraph.fleet.adapters")

#: Metadata of the last status.
USAGE: Final = "stategraph.dev/usage"
LOSSES: Final = "stategraph.dev/losses"

#: Why a turn was stopped.
_CANCELED: Final = "canceled"

#: Seconds that a framework has to end a turn that is cancelled.
CANCEL_S: Final = 5.0


@dataclass(slots=True)
class _Running:
    work: asyncio.Task[None]
    reason: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Executor(AgentExecutor):
    """Executes turns.

    Args:
        conversations: Has the framework's conversations.
        counter: Counts.
    """

    def __init__(self, conversations: Conversations, counter: Counter) -> None:
        self._conversations = conversations
        self._counter = counter
        self._running: dict[str, _Running] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Execute a turn and publish what happens."""
        task_id, context_id = context.task_id or "", context.context_id or ""
        said = _message(context)
        if context.current_task is None:
            submitted = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
            history = [context.message] if context.message is not None else []
            await event_queue.enqueue_event(Task(id=task_id, context_id=context_id, status=submitted, history=history))
        updater = TaskUpdater(event_queue, task_id, context_id)
        told = _Told(updater, self._counter)
        running = _Running(asyncio.create_task(self._turn(context_id, said, told), name=f"turn {task_id}"))
        self._running[task_id] = running
        try:
            await asyncio.wait([running.work])
            await told.end(*_ended(running))
        except asyncio.CancelledError:  # the server goes away
            running.work.cancel()
            await asyncio.wait([running.work], timeout=CANCEL_S)
            told.count("failed")
            raise
        finally:
            self._running.pop(task_id, None)
            running.over.set()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a turn, or the task that waits for an answer."""
        running = self._running.get(context.task_id or "")
        if running is None:
            await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()
            return
        await _stop(running, _CANCELED)

    async def stop(self, reason: str) -> None:
        """End all turns under way as failed.

        Args:
            reason: What their clients are told.
        """
        await asyncio.gather(*(_stop(each, reason) for each in list(self._running.values())))

    async def _turn(self, context_id: str, said: Message, told: _Told) -> None:
        async with (
            self._conversations.turn(context_id) as conversation,
            contextlib.aclosing(conversation.ask(said)) as facts,
        ):
            await told.begin()
            async for fact in facts:
                await told.take(fact)


class _Told:
    """Events of a task, as its clients are told them."""

    def __init__(self, updater: TaskUpdater, counter: Counter) -> None:
        self._updater = updater
        self._counter = counter
        self._began = counter.begin()
        self._has_answered = False
        self._is_counted = False
        self._text_id = ""
        self._usage = [0, 0]
        self._losses: dict[str, int] = {}
        self._question: Question | None = None

    async def begin(self) -> None:
        await self._updater.start_work()

    async def take(self, fact: Fact) -> None:
        match fact:
            case Usage(input_tokens=sent, output_tokens=received):
                self._usage = [self._usage[0] + sent, self._usage[1] + received]
                self._counter.take_tokens(sent, received)
            case Losses(counts=counts):
                for name, count in counts.items():
                    self._losses[name] = self._losses.get(name, 0) + count
            case Question():
                self._question = fact
            case Said(text=text):
                if text:
                    await self._say(text)
            case File() | Data():
                await self._end_text()
                await self._updater.add_artifact([_part(fact)], name="value" if isinstance(fact, Data) else "file")
            case _:
                await self._end_text()
                message = self._updater.new_agent_message([_part(fact)])
                await self._updater.update_status(TaskState.TASK_STATE_WORKING, message)
        if not self._has_answered and not isinstance(fact, (Usage, Losses)):
            self._has_answered = True
            self._counter.first(self._began)

    async def end(self, end: End, text: str) -> None:
        await self._end_text()
        metadata = self._metadata()
        if end == "completed" and self._question is not None:
            end, parts = "input_required", [A2aPart(text=self._question.text)]
            if self._question.value is not None:
                parts.append(_part(Data(self._question.value)))
            message: A2aMessage | None = self._updater.new_agent_message(parts)
        else:
            message = self._updater.new_agent_message([A2aPart(text=text)]) if text else None
        self.count(end)
        await self._updater.update_status(_STATES[end], message, metadata=metadata)

    def count(self, end: End) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._counter.end(self._began, end)

    def _metadata(self) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        if any(self._usage):
            found[USAGE] = {"inputTokens": self._usage[0], "outputTokens": self._usage[1]}
        if self._losses:
            found[LOSSES] = dict(self._losses)
        return found or None

    async def _say(self, text: str) -> None:
        is_new = not self._text_id
        self._text_id = self._text_id or str(uuid.uuid4())
        await self._updater.add_artifact(
            [A2aPart(text=text)], artifact_id=self._text_id, name="answer", append=not is_new
        )

    async def _end_text(self) -> None:
        if self._text_id:
            await self._updater.add_artifact([], artifact_id=self._text_id, name="answer", append=True, last_chunk=True)
            self._text_id = ""


_STATES: Final[Mapping[End, TaskState]] = {
    "completed": TaskState.TASK_STATE_COMPLETED,
    "failed": TaskState.TASK_STATE_FAILED,
    "canceled": TaskState.TASK_STATE_CANCELED,
    "input_required": TaskState.TASK_STATE_INPUT_REQUIRED,
}


async def _stop(running: _Running, reason: str) -> None:
    running.reason = running.reason or reason
    running.work.cancel()
    await running.over.wait()


def _ended(running: _Running) -> tuple[End, str]:
    """Return how a turn ended, and what a client is told of it."""
    if running.work.cancelled():
        if running.reason == _CANCELED:
            return "canceled", ""
        return "failed", running.reason or "The agent's framework cancelled the turn"
    error = running.work.exception()
    if error is None:
        return "completed", ""
    if running.reason == _CANCELED:  # the framework made an error of the cancellation
        logger.info("A turn was cancelled, and ended with %s", type(error).__name__)
        return "canceled", ""
    logger.error("A turn failed", exc_info=error)
    return "failed", masked(f"{type(error).__name__}: {error}")


def _message(context: RequestContext) -> Message:
    """Return what is said, in the common shape.

    Raises:
        InvalidParamsError: It is no message that an agent can be given.
    """
    try:
        (said,) = shape.read([MessageToDict(context.message)] if context.message is not None else [])
    except (MessageError, ValueError) as error:
        raise InvalidParamsError(message=f"The message cannot be read: {error}") from error
    if not said.parts:
        raise InvalidParamsError(message="The message has no parts")
    return said


def _part(part: Part) -> A2aPart:
    """Return a part as A2A has it."""
    (written,) = shape.write([Message("assistant", (part,), "part")], Notes(shape.LOSSES))
    part_of_a2a: A2aPart = ParseDict(written["parts"][0], A2aPart())
    return part_of_a2a
