"""Readers of runs that go from replica to replica, and what they have to have read."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import httpx

from tests.server.replicas.script import STEPS, script

#: Seconds after which a reader goes elsewhere.
HOP_S: Final = 0.2

#: Seconds before it asks again, after nobody answered.
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a stream of server-sent events, with its fields."""

    id: str
    event: str
    data: str


@dataclass(slots=True)
class Reader:
    """A reader of one run.

    Attributes:
        path: Where the run's stream is.
        frames: What it has read.
        hops: How often it has gone elsewhere.
        hop_s: Seconds after which it goes elsewhere, on average.
        refused: Answers that were no stream, by status.
    """

    path: str
    hop_s: float = HOP_S
    frames: list[Frame] = field(default_factory=list)
    hops: int = 0
    refused: list[str] = field(default_factory=list)

    async def read(self, client: httpx.AsyncClient, choose: Callable[[], str], chosen: random.Random) -> None:
        """Read the run to its end, a while at each replica.

        Args:
            client: Sends the requests.
            choose: Returns the address of a replica.
            chosen: Chooses how long it stays.
        """
        while True:
            self.hops += 1
            try:
                async with asyncio.timeout(chosen.uniform(0.5, 1.5) * self.hop_s):
                    await self._read_at(client, choose() + self.path)
                return
            except (TimeoutError, httpx.TransportError):
                await asyncio.sleep(chosen.uniform(0.0, _PAUSE_S))

    async def _read_at(self, client: httpx.AsyncClient, address: str) -> None:
        """Read until the stream ends."""
        last = self.frames[-1].id if self.frames else "-1"
        async with client.stream("GET", address, headers={"Last-Event-ID": last}) as answer:
            if answer.status_code != 200:
                self.refused.append(f"{answer.status_code}: {(await answer.aread())[:200]!r}")
                raise httpx.ReadError("no stream")
            async for frame in frames_of(answer.aiter_bytes()):
                self.frames.append(frame)


async def frames_of(parts: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """Yield the frames of a stream, each when it is whole."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n\n")
        for each in whole:
            lines = [line.partition(b": ") for line in each.split(b"\n") if not line.startswith(b":")]
            said = {name.decode(): value.decode() for name, _, value in lines if name}
            if said:
                yield Frame(said.get("id", ""), said.get("event", ""), said.get("data", ""))


def faults(name: str, frames: Sequence[Frame]) -> list[str]:
    """Return what is wrong with what a reader of a run has read.

    A model that was stopped by a kill is asked again by the next attempt; what it had said belongs to a message that
    never came to be. The text of a run is that of the messages which its updates name, in their order.

    Args:
        name: Of the run, see `script`.
        frames: What was read.
    """
    found: list[str] = []
    places = [tuple(int(each) for each in frame.id.split("-")) for frame in frames if frame.id]
    if len(places) != len(frames):
        found.append(f"{len(frames) - len(places)} frames without an id")
    if [number for _, number in places] != list(range(1, len(places) + 1)):
        holes = [pair for pair in pairwise(places) if pair[1][1] != pair[0][1] + 1]
        found.append(f"ids are not 1, 2, 3 ...: {places[:1]} {holes[:3]}")
    if len({began for began, _ in places}) > 1:
        found.append("ids begin differently")
    if other := [frame for frame in frames if frame.event not in ("metadata", "messages", "updates")]:
        found.append(f"a frame of another kind: {other[0]}")
    return found + _wrong_texts(name, frames)


def _wrong_texts(name: str, frames: Sequence[Frame]) -> list[str]:
    said: dict[str, list[str]] = {}
    told: list[tuple[str, str]] = []
    for frame in frames:
        data: Any = json.loads(frame.data)
        if frame.event == "messages":
            message, _ = data
            said.setdefault(message["id"], []).append(message["content"])
        elif frame.event == "updates":
            again = bool(data.pop("__metadata__", {}).get("cached"))
            for each in (each for node in data.values() for each in node["messages"]):
                # A step that was stored, and not its checkpoint, is told again by the next attempt, and marked so.
                if not again or each["id"] not in {message_id for message_id, _ in told}:
                    told.append((each["id"], each["content"]))
    found = []
    expected = [script(name, step) for step in range(STEPS)]
    if [text for _, text in told] != ["".join(words) for words in expected]:
        found.append(f"updates tell {len(told)} messages, which are not those of the script: {told}"[:500])
        return found
    for step, (message_id, _) in enumerate(told):
        heard = [each for each in said.pop(message_id, []) if each]
        if heard != expected[step]:
            found.append(f"step {step}: {len(heard)} words where the script has {len(expected[step])}")
    for heard in said.values():
        words = [each for each in heard if each]
        if not any(words == whole[: len(words)] for whole in expected):
            found.append("a message that was given up is not the beginning of one of the script")
    return found
