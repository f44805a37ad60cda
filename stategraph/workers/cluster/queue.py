"""The jobs that wait and run, in JetStream: each stays there until a node has acknowledged that it is over.

    NAMESPACE.TENANT.jobs.QUEUE.LEVEL     a stream with work-queue retention, one consumer for each queue and level
    NAMESPACE.TENANT.dead.QUEUE           the dead letters, for a week
    a bucket of objects                   what is too large for a message

Rules
-----
* JetStream knows no priorities: there are three levels, and a node asks the highest one first.
* A tenant has streams and a bucket of its own. Names are written by `naming.token`.
* What is on the server already is compared with what is wanted, and never changed: other processes rely on it.
* A consumer has no limit of messages that are not acknowledged; its default would be 1,000 running jobs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

from stategraph.errors import ConfigurationError, TransferError, WorkerError
from stategraph.workers.cluster.session import Session
from stategraph.workers.naming import token
from stategraph.workers.nats.connection import NatsUnavailableError

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

T = TypeVar("T")

#: The levels of priority, the first one first.
LEVELS: Final = ("high", "normal", "low")

#: The largest part of a message that is sent as it is, in bytes; what is larger becomes an object.
INLINE_BYTES: Final = 256 * 1024

#: The largest job, event, argument or result, in bytes.
MOST_BYTES: Final = 64 * 1024 * 1024

#: Bytes of a message that its headers, subject and envelope may take.
_ENVELOPE: Final = 8 * 1024

#: For so long the server takes a job with the id of another one for the same.
DUPLICATES_S: Final = 120.0

_KEPT_S: Final = 7 * 86_400.0
_CHUNK: Final = 128 * 1024
_OBJECT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was given up.

    Attributes:
        job_id: The job.
        queue: Its queue.
        reason: Why it was given up.
        at: When, in seconds since the epoch.
        job: What was submitted, as it was in the queue.
    """

    job_id: str
    queue: str
    reason: str
    at: float
    job: bytes


class Delivery:
    """A job that was delivered to this process, and is its own until it is acknowledged or the server waits in vain.

    Args:
        message: The message.
        session: The connection.
    """

    def __init__(self, message: Msg, session: Session) -> None:
        self.data = message.data
        self.deliveries = message.metadata.num_delivered
        self._reply = message.reply
        self._session = session

    async def acknowledge(self) -> None:
        """Take the job off the queue, and wait until the server has.

        Raises:
            NatsUnavailableError: It did not answer.
        """
        await self._session.request(self._reply, b"+ACK")

    async def give_back(self) -> None:
        """Have it delivered again at once."""
        await self._session.publish(self._reply, b"-NAK")

    async def keep(self) -> None:
        """Tell the server that it is still being worked on."""
        await self._session.publish(self._reply, b"+WPI")


class JobQueue:
    """The queue of a tenant.

    Args:
        session: The connection.
        tenant: The tenant.
        ack_wait_s: After so many seconds without a sign of life of its node a job is delivered to another one.

    Attributes:
        made_at: When the stream of jobs was made, as far as is known: another time means that the server has lost it.
    """

    def __init__(self, session: Session, tenant: str, ack_wait_s: float) -> None:
        self.made_at: datetime | None = None
        self.session = session
        self.tenant = tenant
        self.ack_wait_s = ack_wait_s
        namespace, part = session.address.namespace, token(tenant)
        self._prefix = f"{namespace}.{part}"
        self._jobs = f"{namespace}=jobs={part}"
        self._dead = f"{namespace}=dead={part}"
        digest = hashlib.blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self._bucket = f"{namespace}_objects_{digest}"
        self._inbox: Any = None
        self._inbox_of: Any = None

    def subject(self, *parts: str) -> str:
        """Return a subject in the part of the tenant; the parts are written safely."""
        return ".".join((self._prefix, *map(token, parts)))

    @property
    def inline_bytes(self) -> int:
        """The largest content that goes into a message, in bytes."""
        return min(INLINE_BYTES, self.session.max_payload - _ENVELOPE)

    # Setting up.

    async def set_up(self, queues: Iterable[str] = ()) -> None:
        """Create what is not there on the server, and compare what is.

        Args:
            queues: The queues that need consumers.

        Raises:
            ConfigurationError: The server has no JetStream, or has something else under one of the names.
            NatsUnavailableError: The server does not answer.
        """
        from nats.js import api

        await self._act(lambda js: js.account_info())
        self.made_at = await self._ensure_stream(
            api.StreamConfig(
                name=self._jobs,
                subjects=[f"{self._prefix}.jobs.>"],
                retention=api.RetentionPolicy.WORK_QUEUE,
                storage=api.StorageType.FILE,
                max_age=_KEPT_S,
                duplicate_window=DUPLICATES_S,
            )
        )
        await self._ensure_stream(
            api.StreamConfig(
                name=self._dead,
                subjects=[f"{self._prefix}.dead.>"],
                retention=api.RetentionPolicy.LIMITS,
                storage=api.StorageType.FILE,
                max_age=_KEPT_S,
            )
        )
        objects = api.ObjectStoreConfig(ttl=_KEPT_S + 86_400.0, storage=api.StorageType.FILE)
        await self._act(lambda js: js.create_object_store(self._bucket, config=objects))
        for queue in queues:
            for level in LEVELS:
                await self._ensure_consumer(queue, level)

    async def _ensure_stream(self, wanted: Any) -> datetime | None:
        """Create a stream or compare it; return when it was made."""
        from nats.js.errors import NotFoundError

        try:
            found = await self._act(lambda js: js.stream_info(wanted.name), NotFoundError)
        except NotFoundError:
            return (await self._act(lambda js: js.add_stream(wanted))).created
        self._compare(f"stream '{wanted.name}'", wanted, found.config, ("subjects", "retention", "storage"))
        return found.created

    async def _ensure_consumer(self, queue: str, level: str) -> None:
        from nats.js import api
        from nats.js.errors import NotFoundError

        name = self._consumer(queue, level)
        wanted = api.ConsumerConfig(
            durable_name=name,
            filter_subject=self.subject("jobs", queue, level),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self.ack_wait_s,
            max_deliver=-1,
            max_ack_pending=-1,
        )
        try:
            found = (await self._act(lambda js: js.consumer_info(self._jobs, name), NotFoundError)).config
        except NotFoundError:
            await self._act(lambda js: js.add_consumer(self._jobs, wanted))
            return
        self._compare(f"consumer '{name}' of stream '{self._jobs}'", wanted, found, ("filter_subject", "ack_wait"))

    def _compare(self, what: str, wanted: Any, found: Any, names: Iterable[str]) -> None:
        pairs = [(name, _plain(getattr(found, name)), _plain(getattr(wanted, name))) for name in names]
        differences = [f"{name} {there!r}, not {here!r}" for name, there, here in pairs if there != here]
        if differences:
            raise ConfigurationError(
                f"The NATS server at {self.session.address.where} has a {what} with another configuration "
                f"({'; '.join(differences)}): start all processes with the same settings, delete it, or use another "
                "namespace"
            )

    def _consumer(self, queue: str, level: str) -> str:
        return f"{token(queue)}={level}"

    # Jobs.

    async def put(self, job_id: str, queue: str, priority: int, data: bytes, *, again: str = "") -> int:
        """Put a job into its queue, and return its number there.

        Args:
            job_id: The job; of two with one id within two minutes the second one is refused, unless the first one is in
                the queue with the same data.
            queue: Its queue.
            priority: Decides the level.
            data: What nodes are given.
            again: Not empty: the job was in the queue before, and this tells the times apart.

        Raises:
            NatsUnavailableError: The server does not answer; nothing is known of the job.
            TransferError: The server takes no message of this size, as one did before.
            WorkerError: Another host, or an earlier life of this one, has put it there.
        """
        check_payload(len(data), self.session.max_payload, f"Job '{job_id}'")
        subject = self.subject("jobs", queue, LEVELS[(priority <= 0) + (priority < 0)])
        headers = {"Nats-Msg-Id": f"{token(job_id)}{again}"}
        put = await self._act(lambda js: js.publish(subject, data, headers=headers))
        if put.duplicate and not await self._is_there(put.seq, data):
            raise WorkerError(
                f"Job '{job_id}' was not accepted: a job of this id was submitted by another process in the last "
                f"{DUPLICATES_S:g} s"
            )
        return put.seq

    async def _is_there(self, number: int, data: bytes) -> bool:
        """Return whether the queue has a message with the same data, which name the host."""
        from nats.js.errors import NotFoundError

        try:
            return (await self._act(lambda js: js.get_msg(self._jobs, number), NotFoundError)).data == data
        except NotFoundError:
            return False

    async def withdraw(self, number: int) -> None:
        """Take a job off the queue that no node has begun; one that is not there any more does no harm."""
        from nats.js.errors import APIError

        with suppress(APIError, NatsUnavailableError):
            await self.session.jetstream(lambda js: js.delete_msg(self._jobs, number))

    async def numbers(self) -> range:
        """Return the numbers that jobs in the queue may have, and note when its stream was made.

        Raises:
            NatsUnavailableError: The server does not answer.
        """
        found = await self._act(lambda js: js.stream_info(self._jobs))
        self.made_at = found.created
        return range(found.state.first_seq, found.state.last_seq + 1)

    async def pull(self, queue: str) -> Delivery | None:
        """Return the next job of a queue; None if there is none now.

        Raises:
            NatsUnavailableError: The server does not answer.
        """
        for level in LEVELS:
            message = await self._next(f"$JS.API.CONSUMER.MSG.NEXT.{self._jobs}.{self._consumer(queue, level)}")
            if message is not None:
                return Delivery(message, self.session)
        return None

    async def _next(self, subject: str) -> Msg | None:
        """Ask a consumer for one message, and do not wait if there is none.

        What was delivered for an earlier question, whose answer came too late, is taken as well: none is left lying.
        """

        async def ask(client: Any) -> Msg:
            if self._inbox_of is not client:
                inbox = client.new_inbox()
                self._inbox, self._inbox_of = (inbox, await client.subscribe(inbox)), client
            name, answers = self._inbox
            await client.publish(subject, b'{"batch":1,"no_wait":true}', name)
            answer: Msg = await answers.next_msg(timeout=2.0)
            return answer

        message = await self.session.act(ask)
        status = (message.headers or {}).get("Status")
        if status is None:
            return message
        if status == "503":  # the consumer is not there
            raise NatsUnavailableError(f"The NATS server has lost the queue of stream '{self._jobs}'")
        return None

    # Dead letters.

    async def bury(self, job_id: str, queue: str, reason: str, data: bytes) -> None:
        """Keep a job that is given up among the dead letters."""
        about = json.dumps({"job": job_id, "queue": queue, "reason": reason[:2_000], "at": time.time()})
        subject, headers = self.subject("dead", queue), {"Stategraph-Dead": about}
        await self._act(lambda js: js.publish(subject, data, headers=headers))

    async def dead(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters, the newest first.

        Raises:
            NatsUnavailableError: The server does not answer.
        """
        from nats.js.errors import NotFoundError

        state = (await self._act(lambda js: js.stream_info(self._dead))).state
        letters: list[DeadLetter] = []
        for number in range(state.last_seq, state.first_seq - 1, -1):
            if len(letters) == limit or not state.messages:
                break
            with suppress(NotFoundError):
                letters.append(await self._letter(number))
        return letters

    async def _letter(self, number: int) -> DeadLetter:
        from nats.js.errors import NotFoundError

        found = await self._act(lambda js: js.get_msg(self._dead, number), NotFoundError)
        about = json.loads((found.headers or {})["Stategraph-Dead"])
        return DeadLetter(about["job"], about["queue"], about["reason"], about["at"], found.data or b"")

    # Objects.

    async def store(self, data: bytes) -> str:
        """Store something that is too large for a message, and return its name.

        Raises:
            NatsUnavailableError: The server does not answer.
            TransferError: It is too large for anything.
        """
        from nats.js import api

        check_size(len(data), "A value")
        name = uuid4().hex
        chunk = min(_CHUNK, self.session.max_payload - _ENVELOPE)
        meta = api.ObjectMeta(name=name, options=api.ObjectMetaOptions(max_chunk_size=chunk))
        await self._with_objects(lambda objects: objects.put(name, data, meta=meta))
        return name

    async def load(self, name: str) -> bytes:
        """Return what was stored.

        Raises:
            NatsUnavailableError: The server does not answer.
            TransferError: It is not there any more, or not all of it.
        """
        from nats.js.errors import BadObjectMetaError, DigestMismatchError, NotFoundError

        where = f"The object '{name}' with a value"
        try:
            found = await self._with_objects(lambda objects: self._whole(objects, name), NotFoundError)
        except NotFoundError:
            raise TransferError(f"{where} is no longer in the NATS server") from None
        except (BadObjectMetaError, DigestMismatchError) as error:
            raise TransferError(f"{where} is damaged in the NATS server: {type(error).__name__}") from error
        return bytes(found.data)

    async def _whole(self, objects: Any, name: str) -> Any:
        """Fetch an object; the client would wait for ever for a part that is not there.

        Raises:
            TransferError: A part is not there.
        """
        about = await objects.get_info(name)
        parts = f"$O.{self._bucket}.C.{about.nuid}"
        kept = await self._act(lambda js: js.stream_info(f"OBJ_{self._bucket}", subjects_filter=parts))
        there = (kept.state.subjects or {}).get(parts, 0)
        if there != about.chunks:
            raise TransferError(
                f"The object '{name}' with a value lacks parts in the NATS server: {there} of {about.chunks} are there"
            )
        return await objects.get(name)

    async def discard(self, name: str) -> None:
        """Delete what was stored, if it can be; the server deletes it after a week in any case."""
        from nats.js.errors import APIError

        with suppress(APIError, NatsUnavailableError, ConfigurationError):
            await self._with_objects(lambda objects: objects.delete(name), APIError)

    async def _with_objects(self, act: Callable[[Any], Awaitable[T]], *passed: type[Exception]) -> T:
        async def use(js: JetStreamContext) -> T:
            return await asyncio.wait_for(act(await js.object_store(self._bucket)), _OBJECT_S)

        return await self._act(use, *passed)

    async def _act(self, act: Callable[[JetStreamContext], Awaitable[T]], *passed: type[Exception]) -> T:
        """Do something with JetStream.

        Args:
            act: What is done.
            passed: Errors of the server that the caller understands.
        """
        from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

        where = self.session.address.where
        try:
            return await self.session.jetstream(act)
        except passed:
            raise
        except ServiceUnavailableError as error:
            if error.code is None:
                raise ConfigurationError(
                    f"The NATS server at {where} has no JetStream, which keeps the jobs: start it with '-js', or allow "
                    "JetStream for this account"
                ) from None
            raise NatsUnavailableError(f"The NATS server at {where} cannot do this now: {error.description}") from error
        except NoStreamResponseError as error:
            raise NatsUnavailableError(f"The NATS server at {where} has no stream for the job") from error
        except APIError as error:
            raise ConfigurationError(f"The NATS server at {where} refuses this: {error.description}") from error


def check_size(size: int, what: str) -> None:
    """Refuse a value that is too large to be sent.

    Raises:
        TransferError: It is.
    """
    if size > MOST_BYTES:
        raise TransferError(
            f"{what} has {size:,} bytes; at most {MOST_BYTES:,} can be sent to or from a worker. Store the value and "
            "send its key"
        )


def check_payload(size: int, most: int, what: str) -> None:
    """Refuse a message that the server does not take, as one did that there was a connection to before.

    Raises:
        TransferError: It does not.
    """
    if size > most:
        raise TransferError(
            f"{what} has {size:,} bytes, and the NATS server takes messages of at most {most:,} (max_payload): give "
            "all servers the same limit"
        )


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)
