"""Clients are told of tasks by requests that the server sends.

Rules
-----
* What is told: each status, and each artifact once it is complete, as a `StreamResponse`. Not every piece of a text.
* At least once: the replica that follows a task may die, and another one then tells the task as it is, and goes on.
* Addresses are looked at by `service.outgoing`; requests have the client's token, and its credentials as it gave them.
* Secrets that a client gave are not shown again, neither to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from contextlib import aclosing
from functools import partial
from typing import Final

from a2a import types as wire
from a2a.types import (
    Artifact,
    StreamResponse,
    TaskArtifactUpdateEvent,
    TaskPushNotificationConfig,
    TaskStatusUpdateEvent,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
from google.protobuf.json_format import MessageToDict, Parse

from stategraph.server.a2a.events import Event, collect
from stategraph.server.a2a.push_store import HOLD_S, Push, PushStore
from stategraph.server.a2a.views import Views
from stategraph.server.service.outgoing import Outgoing
from stategraph.server.service.port import ANYONE, Caller, NotFoundError, ServiceError
from stategraph.server.tasks.chains import Task, TaskState
from stategraph.server.tasks.work import Tasks

logger = logging.getLogger(__name__)

#: Addresses for a task.
MOST: Final = 20

_TOKEN: Final = "X-A2A-Notification-Token"


class Pushes:
    """Tells clients of tasks.

    Args:
        store: Keeps where.
        tasks: Finds tasks.
        views: Shows what becomes of them.
        outgoing: Sends.
        secrets: Whether clients may give tokens and credentials, which are stored.
    """

    def __init__(
        self, store: PushStore, tasks: Tasks, views: Views, outgoing: Outgoing, *, secrets: bool = True
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._views = views
        self._outgoing = outgoing
        self._secrets = secrets
        self._holder = uuid.uuid4().hex
        self._known: dict[tuple[str, str], TaskState] = {}
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._claiming = asyncio.Lock()

    def start(self) -> None:
        """Follow what nobody follows, from time to time; in the event loop that runs."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="a2a pushes")

    async def aclose(self) -> None:
        """Stop; what is not told yet another replica tells."""
        working = [*self._following.values(), *([self._watching] if self._watching is not None else [])]
        for each in working:
            each.cancel()
        if working:
            await asyncio.wait(working)
        await self._outgoing.aclose()
        if self._watching is None:
            return
        try:
            await self._store.give_back(await self._store.hold(self._holder), self._holder)
        except Exception:
            logger.warning("Tasks are told by another replica in %s s", HOLD_S, exc_info=True)

    async def check(self, config: TaskPushNotificationConfig) -> None:
        """Make sure that a client may be told there.

        Raises:
            InvalidParamsError: It may not.
        """
        try:
            await self._outgoing.check(config.url)
        except ServiceError as error:
            raise InvalidParamsError(str(error)) from error
        if not self._secrets and (config.token or config.authentication.credentials):
            raise InvalidParamsError("This server stores no tokens and credentials of clients: give the address alone")
        for value in (config.token, config.authentication.scheme, config.authentication.credentials):
            if not value.isprintable() or not value.isascii():
                raise InvalidParamsError(
                    "Token, scheme and credentials are headers: letters, digits and signs of ASCII"
                )

    async def add(self, caller: Caller, task: Task, config: TaskPushNotificationConfig) -> TaskPushNotificationConfig:
        """Have a client told of a task.

        Raises:
            InvalidParamsError: The address is not allowed, or the task has too many.
        """
        del caller  # that it may see the task has been looked at
        await self.check(config)
        kept = await self._store.of_task(task.task_id)
        push_id = config.id or str(uuid.uuid4())
        if len(kept) >= MOST and push_id not in {each.push_id for each in kept}:
            raise InvalidParamsError(f"The task has {MOST} addresses already: delete one")
        document = TaskPushNotificationConfig()
        document.CopyFrom(config)
        document.task_id, document.id = task.task_id, push_id
        push = Push(task.task_id, push_id, json.dumps(MessageToDict(document)))
        self._stop_following(push.key)
        self._known[push.key] = task.state
        await self._store.put(push, ended=task.has_ended)
        self.start()
        await self._claim()
        return _shown(push)

    async def get(self, task: Task, push_id: str) -> TaskPushNotificationConfig:
        """Return one, without its secrets.

        Raises:
            TaskNotFoundError: There is none.
        """
        for each in await self._store.of_task(task.task_id):
            if each.push_id == push_id:
                return _shown(each)
        raise TaskNotFoundError(f"Task '{task.task_id}' has no push notification config '{push_id}'")

    async def list(self, task: Task) -> list[TaskPushNotificationConfig]:
        """List those of a task, without their secrets."""
        return [_shown(each) for each in await self._store.of_task(task.task_id)]

    async def delete(self, task: Task, push_id: str) -> None:
        """Tell a client no more."""
        await self._store.delete(task.task_id, push_id)
        self._stop_following((task.task_id, push_id))

    async def _watch(self) -> None:
        while True:
            try:
                async with self._claiming:  # else what was just claimed would look as if nobody followed it
                    held = await self._store.hold(self._holder)
                    for key in set(self._following) - held:
                        self._stop_following(key)
                    if left := held - set(self._following):  # following them has failed
                        await self._store.give_back(left, self._holder)
                await self._claim()
            except Exception:
                logger.warning("Tasks whose clients are to be told could not be looked at", exc_info=True)
            await asyncio.sleep(HOLD_S / 3)

    async def _claim(self) -> None:
        async with self._claiming:
            for push in await self._store.claim(self._holder):
                follower = asyncio.create_task(self._follow(push), name=f"a2a push of {push.task_id}")
                self._following[push.key] = follower
                follower.add_done_callback(partial(self._forget, push.key))

    def _forget(self, key: tuple[str, str], done: asyncio.Task[None]) -> None:
        if self._following.get(key) is done:
            del self._following[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            # The row is given back with the next look, and taken again by whoever looks first.
            logger.error("A client could not be told of task '%s'; it is tried again", key[0], exc_info=error)

    def _stop_following(self, key: tuple[str, str]) -> None:
        if (follower := self._following.pop(key, None)) is not None:
            follower.cancel()

    async def _follow(self, push: Push) -> None:
        """Tell a client of a task until that has ended."""
        if (task := await self._found(push)) is not None:
            await self._tell(push, task)
        await self._store.end(push, self._holder)

    async def _found(self, push: Push) -> Task | None:
        """Return the task of an address; None: it was deleted with its thread."""
        try:
            return await self._tasks.find(ANYONE, push.task_id)
        except NotFoundError:
            return None

    async def _tell(self, push: Push, task: Task) -> None:
        try:
            artifacts: dict[str, Artifact] = {}
            stream = self._views.stream(ANYONE, task, 0, to_the_end=not task.has_ended)
            async with aclosing(stream) as events:
                shown = await anext(events)
                if self._known.pop(push.key, None) != task.state and isinstance(shown, wire.Task):
                    # The replica before this one may not have told it.
                    await self._send(push, StreamResponse(task=shown))
                async for event in events:
                    if (told := _told(event, artifacts)) is not None:
                        await self._send(push, told)
        except NotFoundError:  # not there any more, or something that it needs is not served here
            if await self._found(push) is not None:
                raise

    async def _send(self, push: Push, told: StreamResponse) -> None:
        config = _config(push)
        headers = {}
        if config.token:
            headers[_TOKEN] = config.token
        if config.authentication.scheme and config.authentication.credentials:
            headers["Authorization"] = f"{config.authentication.scheme} {config.authentication.credentials}"
        body = json.dumps(MessageToDict(told), ensure_ascii=False).encode()
        await self._outgoing.post(config.url, body, headers, secret=config.token)


def _told(event: Event, artifacts: dict[str, Artifact]) -> StreamResponse | None:
    """Return what a client is told of an event; None: nothing yet."""
    if isinstance(event, TaskStatusUpdateEvent):
        return StreamResponse(status_update=event)
    if isinstance(event, TaskArtifactUpdateEvent):
        collect(artifacts, [event])
        if event.last_chunk:
            whole = TaskArtifactUpdateEvent()
            whole.CopyFrom(event)
            whole.append = False
            whole.artifact.CopyFrom(artifacts[event.artifact.artifact_id])
            return StreamResponse(artifact_update=whole)
    return None


def _config(push: Push) -> TaskPushNotificationConfig:
    found: TaskPushNotificationConfig = Parse(push.document, TaskPushNotificationConfig(), ignore_unknown_fields=True)
    return found


def _shown(push: Push) -> TaskPushNotificationConfig:
    """Return a config without its secrets."""
    found = _config(push)
    found.ClearField("token")
    found.authentication.ClearField("credentials")
    if not found.authentication.scheme:
        found.ClearField("authentication")
    return found
