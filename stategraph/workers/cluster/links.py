"""The messages between a host and the node that runs a job: one link for each attempt, over the subjects of both.

Rules
-----
* Messages of one moment are one frame; one that is too large for a message of NATS is stored, and its name is sent.
* A frame that is not acknowledged is sent again after a while, and when the connection was made again.
* A link that the other end does not know is over: it answers so, and the sender of the frame stops. Frames of a job
  that may begin here at any moment are kept until it does.
* A link that was ended here goes on acknowledging for a while, as an acknowledgement may have been lost.
* What can never be sent or fetched breaks the link: its job ends with that error, and does not wait for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from stategraph.errors import TransferError
from stategraph.workers.cluster.channel import Channel, Frame
from stategraph.workers.cluster.queue import JobQueue, check_payload, check_size
from stategraph.workers.nats.connection import NatsUnavailableError
from stategraph.workers.wire import Message, pack, unpack

if TYPE_CHECKING:
    from nats.aio.msg import Msg

logger = logging.getLogger("stategraph.workers")

#: The job and the number of the attempt.
Key: TypeAlias = tuple[str, int]

#: Time after which a frame without an acknowledgement is sent again.
AGAIN_S: Final = 1.0

#: Time after which something that was taken is acknowledged, if nothing is sent that could carry it.
ACK_S: Final = 0.01

#: Time for which an ended link still acknowledges.
LINGER_S: Final = 60.0

#: So often something that is stored is fetched from a server that is there and does not give it.
_FETCHES: Final = 5

#: Bytes around the body of a frame and the id of its job.
_AROUND_BYTES: Final = 64

#: Frames that are sent again at a time.
_AGAIN: Final = 64

_DATA, _OBJECT, _ACK, _GONE = "data", "object", "ack", "gone"


class Link:
    """One end of a link.

    Args:
        links: All links of this process.
        key: Its job and attempt.
        to: The subject of the other end.
        deliver: Called with each message, in order.
        gone: Called when the other end does not know the link.

    Attributes:
        broken: Called, once, with an error after which messages are missing; what is sent from then on is the end.
    """

    def __init__(
        self, links: Links, key: Key, to: str, deliver: Callable[[Message], None], gone: Callable[[], None]
    ) -> None:
        self.broken: Callable[[Exception], None] = lambda error: self.lose()
        self.key = key
        self.to = to
        self.channel = Channel()
        self.gone = gone
        self.moved_at = 0.0
        self.ended_at: float | None = None
        self._links = links
        self._deliver = deliver
        self._outbox: deque[bytes] = deque()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._is_gone = False
        self._misses_some = False
        self._is_behind = False
        self._is_broken = False

    def send(self, message: Message) -> None:
        """Send a message, in order.

        Raises:
            TransferError: It is too large.
        """
        if self.ended_at is not None or self._is_gone:
            self._misses_some = True
            return
        packed = pack(message)
        check_size(len(packed), f"A message of the kind {message[0]!r}")
        self._outbox.append(packed)
        self._settled.clear()
        if self._sending is None:
            self._sending = self._links.spawn(self._send())

    async def settled(self) -> bool:
        """Wait until the other end has taken everything; return whether it has, or does not know the link any more."""
        await self._settled.wait()
        # It forgets the link of a job that was given back as soon as it has taken that.
        return not self._is_gone or (self.channel.is_settled and not self._outbox and not self._misses_some)

    def end(self) -> None:
        """Deliver nothing any more; go on acknowledging for a while."""
        if self.ended_at is None:
            self.ended_at = asyncio.get_running_loop().time()
            self.acknowledge()
        if self._sending is not None:
            self._sending.cancel()

    def lose(self) -> None:
        """Take note that the other end does not know the link."""
        if not self._is_gone:
            self._is_gone = True
            self._settled.set()
            if self.ended_at is None:
                self.gone()

    def _break(self, error: Exception) -> None:
        """Tell the owner of an error after which messages are missing; lose the link if that was said before."""
        logger.error("The link of job '%s' is broken: %s: %s", self.key[0], type(error).__name__, error)
        self._outbox.clear()
        if self._is_broken:
            self.lose()
        elif self.ended_at is None:
            self._is_broken = True
            self.broken(error)

    async def _send(self) -> None:
        await asyncio.sleep(0)  # what is said in the same moment goes with it
        try:
            while self._outbox:
                kind, content = await self._next_content()
                frame = self.channel.send(pack((kind, content)))
                self.moved_at = self.moved_at or asyncio.get_running_loop().time()
                self._links.write_frame(self, frame)
        except Exception as error:  # such as a server that refuses to store more
            self._sending = None
            self._break(error)
        else:
            self._sending = None

    async def _next_content(self) -> tuple[str, object]:
        limit = self._links.queue.inline_bytes
        if len(self._outbox[0]) > limit:
            return _OBJECT, await self._links.stored(self._outbox.popleft())
        batch, size = [], 0
        while self._outbox and size + len(self._outbox[0]) <= limit:
            size += len(self._outbox[0]) + 8
            batch.append(self._outbox.popleft())
        return _DATA, batch

    def receive(self, number: int, ack: int, body: bytes) -> None:
        """Take a frame that came."""
        self.take_ack(ack)
        if self.channel.receive(Frame(number, body)) and self.ended_at is None:
            kind, content = unpack(body)
            self._inbox.append((kind, content))
            self._drain_inbox()
        if self.channel.ack_is_urgent:
            self.acknowledge()
        elif self.channel.owes_ack:
            asyncio.get_running_loop().call_later(ACK_S, self._acknowledge_if_owed)

    def _drain_inbox(self) -> None:
        while self._receiving is None and self._inbox and self.ended_at is None:
            kind, content = self._inbox.popleft()
            if kind == _OBJECT:
                self._receiving = self._links.spawn(self._fetch(str(content)))
            else:
                for message in content:
                    self._hand_over(message)  # type: ignore[arg-type]

    async def _fetch(self, name: str) -> None:
        try:
            self._hand_over(await self._links.loaded(name))
        except TransferError as error:
            logger.error("A message of job '%s' is lost: %s", self.key[0], error)
            self._receiving = None
            self.lose()
        except Exception as error:  # such as a server that refuses access to what it stores
            self._receiving = None
            self._break(error)
        else:
            self._receiving = None
            self._drain_inbox()

    def _hand_over(self, message: bytes) -> None:
        if self.ended_at is None:
            self._deliver(unpack(message))

    def take_ack(self, ack: int) -> None:
        """Take an acknowledgement."""
        news = self.channel.acknowledged(ack)
        if self.channel.is_settled:
            self.moved_at, self._is_behind = 0.0, False
            if not self._outbox and self._sending is None:
                self._settled.set()
        elif news and self._is_behind:
            self.send_again()
        elif news:
            self.moved_at = asyncio.get_running_loop().time()

    def acknowledge(self) -> None:
        """Acknowledge what was taken, now."""
        self._links.write(self, _ACK, 0, b"")

    def _acknowledge_if_owed(self) -> None:
        if self.channel.owes_ack:
            self.acknowledge()

    def send_again(self) -> None:
        """Send the first of what was not acknowledged; the rest follows when these are."""
        self._is_behind = True
        self.moved_at = asyncio.get_running_loop().time()
        first = self.channel.unacknowledged()[:_AGAIN]
        try:
            for frame in first:
                size = len(frame.body) + len(self.key[0].encode()) + _AROUND_BYTES
                check_payload(size, self._links.queue.session.max_payload, f"A message of job '{self.key[0]}'")
        except TransferError as error:  # it was made for a server that was there before
            self.channel.blank(pack((_DATA, ())))
            self._break(error)
            first = self.channel.unacknowledged()[:_AGAIN]
        if self.ended_at is not None:
            return
        for frame in first:
            self._links.write_frame(self, frame)


class Links:
    """The links of this process, and the one who writes for all of them.

    Args:
        queue: Stores what is too large.
        here: The subject on which frames for this process come.
    """

    def __init__(self, queue: JobQueue, here: str) -> None:
        self.queue = queue
        self.here = here
        self._links: dict[Key, Link] = {}
        self._expected: dict[str, list[Message]] = {}
        self._to_write: deque[tuple[str, bytes]] = deque()
        self._written = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._transferring: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to hear and to write.

        Raises:
            NatsUnavailableError: The server does not answer.
        """
        await self.queue.session.subscribe(self.here, self._heard)
        self.queue.session.when_up.append(self._send_all_again)
        self._tasks = [asyncio.ensure_future(self._write()), asyncio.ensure_future(self._look_after())]

    async def aclose(self) -> None:
        """Write what waits, and stop."""
        for link in self._links.values():
            link.end()
        if self.queue.session.is_up and self._tasks:
            await self._idle.wait()
        tasks = (*self._tasks, *self._transferring)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, transfer: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin to send or fetch something for a link; it is cancelled when all links are closed."""
        task = asyncio.ensure_future(transfer)
        self._transferring.add(task)
        task.add_done_callback(self._transferring.discard)
        return task

    def link(self, key: Key, to: str, deliver: Callable[[Message], None], gone: Callable[[], None]) -> Link:
        """Make a link; what came for it before is delivered."""
        made = self._links[key] = Link(self, key, to, deliver, gone)
        for frame in self._expected.pop(key[0], ()):
            if (frame[0], frame[1]) == key:
                asyncio.get_running_loop().call_soon(self._take, made, frame)
        return made

    def expect(self, job_id: str) -> None:
        """Keep what comes for a link of a job that is not there yet."""
        self._expected[job_id] = []

    def expect_no_more(self, job_id: str) -> None:
        """Keep nothing any more; the job does not begin here."""
        self._expected.pop(job_id, None)

    def drop(self, link: Link) -> None:
        """Forget a link whose other end is to stop, and tell it so."""
        link.end()
        if self._links.get(link.key) is link:
            del self._links[link.key]
        self._queue_up(link.to, (*link.key, _GONE, 0, 0, b""))

    def unknown(self, keys: Iterable[Key]) -> list[Key]:
        """Return those of some keys of which there is no link here."""
        return [key for key in keys if key not in self._links]

    async def stored(self, data: bytes) -> str:
        """Store something large, as soon as there is a server."""
        while True:
            try:
                return await self.queue.store(data)
            except NatsUnavailableError:
                await self._wait()

    async def loaded(self, name: str) -> bytes:
        """Load something large and delete it, as soon as there is a server.

        Raises:
            TransferError: It is not there, not whole, or could not be fetched in several tries.
        """
        for tries in itertools.count(1):
            try:
                data = await self.queue.load(name)
                break
            except NatsUnavailableError as error:
                if self.queue.session.is_up and tries >= _FETCHES:
                    raise TransferError(f"The object '{name}' with a value could not be fetched: {error}") from error
                await self._wait()
        await self.queue.discard(name)
        return data

    async def _wait(self) -> None:
        await asyncio.sleep(0.1)
        await self.queue.session.wait_until_up()

    # Writing.

    def write_frame(self, link: Link, frame: Frame) -> None:
        """Send a frame."""
        self.write(link, _DATA, frame.number, frame.body)

    def write(self, link: Link, kind: str, number: int, body: bytes) -> None:
        """Send something on a link, with an acknowledgement of what was taken there."""
        self._queue_up(link.to, (*link.key, kind, number, link.channel.acknowledge(), body))

    def _queue_up(self, to: str, message: Message) -> None:
        self._to_write.append((to, pack(message)))
        self._written.set()
        self._idle.clear()

    async def _write(self) -> None:
        while True:
            while self._to_write:
                to, data = self._to_write.popleft()
                await self.queue.session.publish(to, data, self.here)
            self._idle.set()
            await self._written.wait()
            self._written.clear()

    # Hearing.

    def _heard(self, message: Msg) -> None:
        frame = unpack(message.data)
        job_id, attempt, kind, *_ = frame
        link = self._links.get((job_id, attempt))
        if link is not None:
            self._take(link, frame)
        elif job_id in self._expected:
            self._expected[job_id].append(frame)
        elif kind != _GONE and message.reply:
            self._queue_up(message.reply, (job_id, attempt, _GONE, 0, 0, b""))

    def _take(self, link: Link, frame: Message) -> None:
        _, _, kind, number, ack, body = frame
        if kind == _GONE:
            link.lose()
        elif kind == _ACK:
            link.take_ack(ack)
        else:
            link.receive(number, ack, body)

    async def _look_after(self) -> None:
        """Send again what was not acknowledged, and forget links that ended long ago."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(AGAIN_S / 4)
            now = loop.time()
            for link in list(self._links.values()):
                if link.ended_at is not None:
                    if now - link.ended_at > LINGER_S:
                        del self._links[link.key]
                elif link.moved_at and now - link.moved_at > AGAIN_S:
                    link.send_again()

    def _send_all_again(self) -> None:
        for link in list(self._links.values()):
            if link.ended_at is None and not link.channel.is_settled:
                link.send_again()
