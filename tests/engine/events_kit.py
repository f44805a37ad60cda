"""Reading an event stream one way, sync or async, so that one test body covers both; and graphs worth reading."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypedDict

from stategraph.constants import START
from stategraph.engine.streams.events.envelope import enveloped
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import ProtocolEvent, StreamTransformer
from stategraph.graph.state import StateGraph


class SyncReader:
    """Opens a run and reads it."""

    name = "sync"
    is_async = False

    def open(self, graph: Any, input: Any, config: Any = None, **options: Any) -> SyncReader:
        self.run = graph.stream_events(input, config, version="v3", **options)
        return self

    def next_of(self, projection: Any) -> Callable[[], Any]:
        """Become the reader of a projection; what is returned gives its next item."""
        reader = iter(projection)
        return lambda: next(reader)

    def read(self, projection: Any) -> list[Any]:
        return list(projection)

    def interleave(self, *names: str) -> Iterator[Any]:
        return iter(self.run.interleave(*names))

    def get(self, name: str) -> Any:
        """`output`, `interrupted` or `interrupts`."""
        return getattr(self.run, name)

    def abort(self) -> None:
        self.run.abort()

    def answer(self, message: Any) -> Any:
        """The whole of a message that is streamed."""
        return message.output


class AsyncReader:
    """As `SyncReader`, on an event loop of its own that only runs while something is awaited."""

    name = "async"
    is_async = True

    def __init__(self, runner: asyncio.Runner) -> None:
        self._do = runner.run

    def open(self, graph: Any, input: Any, config: Any = None, **options: Any) -> AsyncReader:
        async def open() -> Any:
            return await graph.astream_events(input, config, version="v3", **options)

        self.run = self._do(open())
        return self

    def next_of(self, projection: Any) -> Callable[[], Any]:
        reader = aiter(projection)

        async def following() -> Any:
            return await anext(reader)

        return lambda: self._do(following())

    def read(self, projection: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [item async for item in projection]

        return self._do(read())

    def interleave(self, *names: str) -> Iterator[Any]:
        following = self.next_of(self.run.interleave(*names))
        while True:
            try:
                item = following()
            except StopAsyncIteration:
                return
            yield item

    def get(self, name: str) -> Any:
        return self._do(getattr(self.run, name)())

    def abort(self) -> None:
        self._do(self.run.abort())

    def answer(self, message: Any) -> Any:
        async def answer() -> Any:
            return await message

        return self._do(answer())


Reader = SyncReader | AsyncReader


class State(TypedDict, total=False):
    value: str
    items: Annotated[list[str], operator.add]


def chain(*nodes: Callable[..., Any] | Any, **options: Any) -> Any:
    """A graph whose nodes `n0`, `n1` ... follow each other."""
    builder = StateGraph(State)
    for position, node in enumerate(nodes):
        builder.add_node(f"n{position}", node)
        builder.add_edge(f"n{position - 1}" if position else START, f"n{position}")
    return builder.compile(**options)


def writes(letter: str) -> Callable[[State], State]:
    """A node that appends a letter to the value."""

    def node(state: State) -> State:
        return {"value": state.get("value", "") + letter, "items": [letter]}

    return node


def fails(state: State) -> State:
    raise ValueError("boom")


class Probe(StreamTransformer):
    """Notes all that it is told; its projection is a queue of the methods of the events."""

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self.queue: StreamChannel[str] = StreamChannel("probe")
        self.told: list[Any] = []

    def init(self) -> dict[str, Any]:
        return {"probe": self.queue}

    def process(self, event: ProtocolEvent) -> bool:
        self.queue.push(event["method"])
        return True

    def finalize(self) -> None:
        self.told.append("finalize")

    def fail(self, err: BaseException) -> None:
        self.told.append(err)


def event(method: str, data: Any = None, *namespace: str) -> ProtocolEvent:
    return enveloped(method, data, list(namespace))
