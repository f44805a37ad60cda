"""The short way into models and tools, held to LangChain's own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Any

import langchain_core
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, chat_models
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, ToolException, tool
from langchain_core.tools import base as base_tools
from pydantic import BaseModel, Field, computed_field

from stategraph.agent.invocation import direct
from stategraph.types import Command

pytestmark = pytest.mark.anyio
WAYS = ("sync", "async")


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What LangChain's own way has set up: nothing as long as everything goes the short way."""
    seen: list[str] = []
    for module in (chat_models, base_tools):
        for name in ("CallbackManager", "AsyncCallbackManager"):
            original = getattr(module, name)

            def configure(*args: Any, original: Any = original, **kwargs: Any) -> Any:
                seen.append(original.__name__)
                return original.configure(*args, **kwargs)

            monkeypatch.setattr(module, name, type(name, (original,), {"configure": staticmethod(configure)}))
    return seen


# Models.


class Sync(BaseChatModel):
    """A model that is only sync, and says what it was given."""

    said: AIMessage = AIMessage("fine")

    @property
    def _llm_type(self) -> str:
        return "test"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        message = self.said.model_copy(update={"additional_kwargs": {"given": [len(messages), stop, kwargs]}})
        generation = ChatGeneration(message=message, generation_info={"finish_reason": "stop"})
        return ChatResult(generations=[generation], llm_output={"model": "m"})


class Async(Sync):
    """A model that is async too."""

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self._generate(messages, stop, run_manager, **kwargs)


class Demanding(Async):
    """A model that has to be given everything."""

    def _generate(self, messages: Any, stop: Any, run_manager: Any, **kwargs: Any) -> ChatResult:  # type: ignore[override]
        return super()._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(self, messages: Any, stop: Any, run_manager: Any, **kwargs: Any) -> ChatResult:  # type: ignore[override]
        return super()._generate(messages, stop, run_manager, **kwargs)


class Telling(Async):
    """A model that tells of its answer without asking whether somebody listens, and gives it the id of its run."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        run_manager.on_llm_new_token("fine")
        told = run_manager.tags, run_manager.handlers, type(run_manager.run_id)
        message = AIMessage(f"fine {told}", id=f"lc_run-{run_manager.run_id}-0")
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        await run_manager.on_llm_new_token("fine")
        return self._generate(messages, stop, run_manager.get_sync(), **kwargs)


class TellingSync(Sync):
    """The same, as a sync model."""

    _generate = Telling._generate


class Plain(BaseChatModel):
    """A model that is told neither of callbacks nor of its name, and gives several answers."""

    answers: int = 1

    @property
    def _llm_type(self) -> str:
        return "test"

    def _generate(self, messages: Any, stop: Any = None, **kwargs: Any) -> ChatResult:
        info = {"given": [len(messages), stop, kwargs]}
        made = [ChatGeneration(message=AIMessage("fine"), generation_info=info) for _ in range(self.answers)]
        return ChatResult(generations=made, llm_output={"model": "m", "given": None})

    async def _agenerate(self, messages: Any, stop: Any = None, **kwargs: Any) -> ChatResult:
        return self._generate(messages, stop, **kwargs)


class Streaming(Async):
    """A model that streams whenever it is asked."""

    streaming: bool = False

    def _stream(self, messages: Any, stop: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for text in ("fi", "ne"):
            yield ChatGenerationChunk(message=AIMessageChunk(text))

    async def _astream(self, messages: Any, stop: Any = None, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


class Failing(Async):
    """A model that fails."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise RuntimeError("overloaded")


class Limit(BaseRateLimiter):
    """A limit that is never reached, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


MODELS: dict[str, Callable[[], Any]] = {
    "sync": Sync,
    "async": Async,
    "its own id": lambda: Async(said=AIMessage("fine", id="mine")),
    "blocks": lambda: Async(said=AIMessage([{"type": "text", "text": "fine"}])),
    "calls": lambda: Async(said=AIMessage("", tool_calls=[ToolCall(name="t", args={"x": 1}, id="c")])),
    "v1": lambda: Async(output_version="v1"),
    "without a run manager": Plain,
    "with everything": Demanding,
    "one that tells of its answer": Telling,
    "one that tells of its answer, sync": TellingSync,
    "one that tells of its answer, limited": lambda: Telling(rate_limiter=Limit()),
    "several answers": lambda: Plain(answers=2),
    "streaming on request": Streaming,
    "bound": lambda: Async().bind(stop=["x"], tools=[{"name": "t"}]),
    "limited": lambda: Async(rate_limiter=Limit()),
    "failing": Failing,
}
HISTORY = [HumanMessage("hi"), AIMessage([{"type": "text", "text": "yes?"}]), HumanMessage("go on")]


async def ask(way: str, model: Any, config: RunnableConfig, messages: Any = HISTORY) -> AIMessage:
    return direct.ask(model, messages, config) if way == "sync" else await direct.aask(model, messages, config)


async def ask_wrapped(way: str, model: Any) -> AIMessage:
    answer = model.invoke(HISTORY) if way == "sync" else await model.ainvoke(HISTORY)
    assert isinstance(answer, AIMessage)
    return answer


async def outcome(work: Any) -> Any:
    """What came of a call, with random ids blotted out."""
    try:
        found = await work
    except Exception as error:
        return type(error), str(error)
    if isinstance(found, AIMessage) and found.id is not None and found.id.startswith("lc_run-"):
        length = len(found.id)
        return found.model_copy(update={"id": f"random, {length} letters"})
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
async def test_a_model_answers_the_same_on_the_short_way(name: str, way: str, wrapped: list[str]) -> None:
    make = MODELS[name]
    short = await outcome(ask(way, make(), {}))
    assert wrapped == []
    assert short == await outcome(ask_wrapped(way, make()))
    assert wrapped != []


@pytest.mark.parametrize("way", WAYS)
async def test_a_rate_limit_holds_on_the_short_way(way: str) -> None:
    limit = Limit()
    await ask(way, Sync(rate_limiter=limit), {})
    assert limit.asked == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_class_s_own_step_is_called_without_langchains_around_it(way: str) -> None:
    callers: list[str] = []

    class Looking(Async):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            callers.append(sys._getframe(1).f_globals["__name__"])
            return super()._generate(*args, **kwargs)

        async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
            callers.append(sys._getframe(1).f_globals["__name__"])
            return super()._generate(*args, **kwargs)

    await ask(way, Looking(), {})
    assert callers == [direct.__name__]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Sync, Async])
async def test_a_library_that_wraps_langchains_step_sees_every_call(
    kind: type[Sync], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    name = "_generate_with_cache" if way == "sync" else "_agenerate_with_cache"
    original = getattr(BaseChatModel, name)

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append("called")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(BaseChatModel, name, spy)
    await ask(way, kind(), {})
    assert seen == ["called"]


class Overriding(Async):
    """A model whose class has replaced what the short way leaves out."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        return super().generate(*args, **kwargs)


LONG_WAY: dict[str, tuple[Callable[[], Any], RunnableConfig, Any]] = {
    "a handler of the run": (Async, {"callbacks": [BaseCallbackHandler()]}, HISTORY),
    "a handler of the model": (lambda: Async(callbacks=[BaseCallbackHandler()]), {}, HISTORY),
    "a handler that is bound": (lambda: Async().with_config(callbacks=[BaseCallbackHandler()]), {}, HISTORY),
    "output for people": (lambda: Async(verbose=True), {}, HISTORY),
    "cached answers": (lambda: Async(cache=InMemoryCache()), {}, HISTORY),
    "a class of its own ways": (Overriding, {}, HISTORY),
    "a stream": (lambda: Streaming(streaming=True), {}, HISTORY),
    "a stream asked for": (lambda: Streaming().bind(stream=True), {}, HISTORY),
    "content to convert": (
        Async,
        {},
        [HumanMessage([{"type": "image", "source_type": "url", "url": "https://example.org/a.png"}])],
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LONG_WAY)
async def test_a_model_goes_the_long_way_where_somebody_could_tell(name: str, way: str, wrapped: list[str]) -> None:
    make, config, messages = LONG_WAY[name]
    assert (await ask(way, make(), config, messages)).content == "fine"
    assert wrapped != []


@pytest.mark.parametrize("way", WAYS)
async def test_a_cache_for_all_models_is_asked_unless_a_model_wants_none(
    way: str, wrapped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_core.globals._llm_cache", InMemoryCache())
    await ask(way, Async(cache=False), {})
    assert wrapped == []
    for model in (Async(), Async(cache=True)):
        wrapped.clear()
        await ask(way, model, {})
        assert wrapped != []


@pytest.mark.parametrize("way", WAYS)
async def test_a_library_that_instruments_models_sees_every_call(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for name in ("generate", "agenerate"):
        original = getattr(BaseChatModel, name)

        def spy(self: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            seen.append("called")
            return original(self, *args, **kwargs)

        monkeypatch.setattr(BaseChatModel, name, spy)
    await ask(way, Async(), {})
    assert seen == ["called"]


class Proxy:
    """Stands for a method and equals it, as the wrappers of some instrumentation libraries do."""

    def __init__(self, method: Any, seen: list[str]) -> None:
        self.method, self.seen = method, seen

    def __get__(self, instance: object, owner: type) -> Proxy:
        return Proxy(self.method.__get__(instance, owner), self.seen)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.seen.append("called")
        return self.method(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return bool(self.method == other)

    __hash__ = object.__hash__


@pytest.mark.parametrize("owner", ["model", "bound model", "binding"])
@pytest.mark.parametrize("way", [*WAYS, "stream"])
async def test_a_method_that_a_model_has_in_place_of_its_class_s_is_called(way: str, owner: str) -> None:
    chat = Streaming()
    model: Any = chat if owner == "model" else chat.bind(stop=["x"])
    answer = AIMessageChunk("replaced")

    async def ainvoke(*_: Any, **__: Any) -> AIMessage:
        return answer

    async def astream(*_: Any, **__: Any) -> AsyncIterator[AIMessage]:
        yield answer

    for name, method in ("invoke", lambda *_, **__: answer), ("ainvoke", ainvoke), ("astream", astream):
        object.__setattr__(model if owner == "binding" else chat, name, method)
    given: list[Any] = [HumanMessage("q")]
    if way == "stream":
        assert [piece async for piece in direct.astream(model, given, {})] == [answer]
    else:
        assert (direct.ask(model, given, {}) if way == "sync" else await direct.aask(model, given, {})) is answer


@pytest.mark.parametrize("way", WAYS)
async def test_a_library_whose_wrappers_equal_the_methods_sees_every_call(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for name in ("generate", "agenerate"):
        monkeypatch.setattr(BaseChatModel, name, Proxy(getattr(BaseChatModel, name), seen))
    await ask(way, Async(), {})
    assert seen == ["called"]


def loaded_without(owner: Any, name: str) -> Any:
    """The module as it is with a version of LangChain whose class lacks a method."""
    spec = importlib.util.spec_from_file_location("direct_without", direct.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(owner, name)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["_generate_with_cache", "_agenerate_with_cache", "_convert_input"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_version_of_langchain_without_its_inner_steps_is_taken_its_own_way(
    way: str, name: str, wrapped: list[str]
) -> None:
    other = loaded_without(BaseChatModel, name)
    answer = other.ask(Async(), HISTORY, {}) if way == "sync" else await other.aask(Async(), HISTORY, {})
    assert answer.content == "fine"
    assert wrapped != []


@pytest.mark.parametrize("way", WAYS)
async def test_a_class_with_an_inner_step_of_its_own_is_asked_through_it(way: str, wrapped: list[str]) -> None:
    class Counting(Sync):
        def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
            seen.append(way)
            return super()._generate_with_cache(*args, **kwargs)

    seen: list[str] = []
    short = await outcome(ask(way, Counting(), {}))
    assert wrapped == []
    counted = list(seen)
    assert short == await outcome(ask_wrapped(way, Counting()))
    assert seen == counted * 2


# Streams of models.


ASKED: list[Any] = list(HISTORY)


class Talking(Async):
    """A model that streams given pieces, with what is told beside them; an error among them is raised."""

    pieces: Sequence[Any] = ()
    infos: Mapping[int, dict[str, Any]] = Field(default_factory=dict)

    async def _astream(self, messages: Any, stop: Any = None, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for place, piece in enumerate(self.pieces):
            if isinstance(piece, Exception):
                raise piece
            yield ChatGenerationChunk(message=piece.model_copy(), generation_info=self.infos.get(place))
        given = AIMessageChunk("", additional_kwargs={"given": [len(messages), stop, kwargs]})
        if kwargs:
            yield ChatGenerationChunk(message=given)


class TalkingSync(Sync):
    """A model whose stream is sync."""

    def _stream(self, messages: Any, stop: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for text in ("fi", "ne"):
            yield ChatGenerationChunk(message=AIMessageChunk(text))


class Choosy(Talking):
    """A model that says for itself when it streams."""

    def _should_stream(self, **kwargs: Any) -> bool:
        return super()._should_stream(**kwargs) and not kwargs.get("whole")


def two(**more: Any) -> list[Any]:
    return [AIMessageChunk("fi"), AIMessageChunk("ne", **more)]


USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
TALKING: dict[str, Callable[[], Any]] = {
    "two pieces": lambda: Talking(pieces=two()),
    "a sync stream": TalkingSync,
    "one that streams both ways": Streaming,
    "its own ids": lambda: Talking(pieces=[AIMessageChunk("fi", id="mine"), AIMessageChunk("ne")]),
    "the end told": lambda: Talking(pieces=two(chunk_position="last")),
    "usage": lambda: Talking(pieces=two(usage_metadata=USAGE)),
    "told of itself": lambda: Talking(
        pieces=two(response_metadata={"model": "m", "kept": 1}), infos={1: {"finish_reason": "stop", "kept": 2}}
    ),
    "blocks": lambda: Talking(pieces=[AIMessageChunk([{"type": "text", "text": "fine", "index": 0}])]),
    "calls": lambda: Talking(
        pieces=[
            AIMessageChunk("", tool_call_chunks=[{"name": "t", "args": "", "id": "c", "index": 0}]),
            AIMessageChunk("", tool_call_chunks=[{"name": None, "args": '{"x":1}', "id": None, "index": 0}]),
        ]
    ),
    "reasoning": lambda: Talking(pieces=[AIMessageChunk("", additional_kwargs={"reasoning_content": "hm"}), *two()]),
    "no piece": Talking,
    "failing": lambda: Talking(pieces=[AIMessageChunk("fi"), ConnectionError("gone")]),
    "failing at once": lambda: Talking(pieces=[ConnectionError("gone")]),
    "bound": lambda: Talking(pieces=two()).bind(stop=["x"], tools=[{"name": "t"}]),
    "bound to stream": lambda: Talking(pieces=two()).bind(stream=True),
    "streaming by itself": lambda: Streaming(streaming=True),
    "limited": lambda: Talking(pieces=two(), rate_limiter=Limit()),
    "choosy": lambda: Choosy(pieces=two()),
    "with a cache, which streams leave out": lambda: Talking(pieces=two(), cache=InMemoryCache()),
}


async def streamed(pieces: AsyncIterator[Any]) -> tuple[list[Any], Any]:
    """The pieces of an answer, and what ended it; a random id is blotted out, and the pieces that have it are known."""
    found: list[Any] = []
    error: Any = None
    try:
        async for piece in pieces:
            found.append(piece)
    except Exception as raised:
        error = type(raised), str(raised)
    ids = {piece.id for piece in found if str(piece.id).startswith("lc_run-")}
    assert len(ids) <= 1
    named = {each: f"random, {len(each)} letters" for each in ids}
    return [piece.model_copy(update={"id": named.get(piece.id, piece.id)}) for piece in found], error


@pytest.mark.parametrize("name", TALKING)
async def test_a_model_streams_the_same_on_the_short_way(name: str, wrapped: list[str]) -> None:
    make = TALKING[name]
    short = await streamed(direct.astream(make(), ASKED, {}))
    assert wrapped == []
    assert short == await streamed(make().astream(HISTORY))
    assert wrapped != []


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source_type": "url", "url": "https://example.org/a.png"},
        {"type": "image", "base64": "aaaa", "mime_type": "image/png"},
        {"type": "input_audio", "input_audio": {"data": "aaaa", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aaaa"}},
        {"type": "file", "source_type": "base64", "mime_type": "image/png"},
    ],
)
async def test_content_is_converted_for_a_stream_on_the_short_way(block: Any, wrapped: list[str]) -> None:
    class Seeing(Talking):
        async def _astream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
            shown = json.dumps([message.model_dump() for message in messages])
            seen.append(re.sub(r"lc_[0-9a-f-]{36}", "lc_random", shown))
            async for chunk in super()._astream(messages, *args, **kwargs):
                yield chunk

    seen: list[Any] = []
    asked: list[Any] = [*ASKED, HumanMessage([{"type": "text", "text": "what is it?"}, block])]
    before = asked[-1].model_dump()
    short = await streamed(direct.astream(Seeing(pieces=two()), asked, {}))
    assert wrapped == []
    assert short == await streamed(Seeing(pieces=two()).astream(asked))
    assert (short[1] is None) == (len(seen) == 2)  # a file without data cannot be converted
    assert seen[:1] == seen[1:]
    assert asked[-1].model_dump() == before


async def test_pieces_have_the_id_of_the_run_that_a_config_gives() -> None:
    run_id = uuid.UUID(int=7)
    for astream in (direct.astream, lambda model, *given: model.astream(*given)):
        pieces = [piece async for piece in astream(Talking(pieces=two()), HISTORY, {"run_id": run_id})]
        assert {piece.id for piece in pieces} == {f"lc_run--{run_id}"}


async def test_a_rate_limit_holds_for_streams_on_the_short_way() -> None:
    limit = Limit()
    await streamed(direct.astream(Talking(pieces=two(), rate_limiter=limit), ASKED, {}))
    assert limit.asked == 1


async def test_a_stream_that_nobody_reads_on_is_closed_on_the_short_way() -> None:
    closed: list[bool] = []

    class Watched(Talking):
        async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
            try:
                async for chunk in super()._astream(*args, **kwargs):
                    yield chunk
            finally:
                closed.append(True)

    pieces: Any = direct.astream(Watched(pieces=two()), ASKED, {})
    assert (await anext(pieces)).content == "fi"
    assert closed == []
    await pieces.aclose()
    assert closed == [True]


@pytest.mark.parametrize("pieces", [two(), [AIMessageChunk("fi"), ConnectionError("gone")]], ids=["whole", "failing"])
@pytest.mark.parametrize("astream", [direct.astream, Talking.astream], ids=["short", "long"])
async def test_a_cancellation_is_noticed_at_the_end_of_a_stream_that_waits_for_nothing(
    astream: Any, pieces: list[Any]
) -> None:
    async def cancelled_in_the_middle() -> None:
        async for _ in astream(Talking(pieces=pieces), HISTORY, {}):
            task.cancel()
        pytest.fail("it went on")

    task = asyncio.create_task(cancelled_in_the_middle())
    await asyncio.wait([task])
    assert task.cancelled()


async def test_streams_beside_each_other_take_the_same_turns_on_both_ways() -> None:
    async def seen_of(astream: Any) -> list[str]:
        seen: list[str] = []

        async def read(name: str) -> None:
            async for piece in astream(Talking(pieces=two()), HISTORY, {}):
                seen.append(f"{name} {piece.content}")
            seen.append(f"{name} has ended")

        await asyncio.gather(read("a"), read("b"))
        return seen

    short = await seen_of(direct.astream)
    assert short == await seen_of(Talking.astream)
    assert short.index("b fi") < short.index("a has ended")


class OverridingStream(Talking):
    """A model whose class has replaced what the short way into a stream leaves out."""

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in super().astream(*args, **kwargs):
            yield piece


LONG_STREAMS: dict[str, tuple[Callable[[], Any], RunnableConfig, Any]] = {
    "a handler of the run": (lambda: Talking(pieces=two()), {"callbacks": [BaseCallbackHandler()]}, HISTORY),
    "a handler of the model": (lambda: Talking(pieces=two(), callbacks=[BaseCallbackHandler()]), {}, HISTORY),
    "a handler that is bound": (
        lambda: Talking(pieces=two()).with_config(callbacks=[BaseCallbackHandler()]),
        {},
        HISTORY,
    ),
    "output for people": (lambda: Talking(pieces=two(), verbose=True), {}, HISTORY),
    "a class of its own ways": (lambda: OverridingStream(pieces=two()), {}, HISTORY),
    "blocks of the newest form": (lambda: Talking(pieces=two(), output_version="v1"), {}, HISTORY),
    "a format that is bound": (lambda: Talking(pieces=two()).bind(ls_structured_output_format={}), {}, HISTORY),
    "no stream": (Async, {}, HISTORY),
    "a stream switched off": (lambda: Streaming(disable_streaming=True), {}, HISTORY),
    "a stream switched off with tools": (
        lambda: Streaming(disable_streaming="tool_calling").bind(tools=[{"name": "t"}]),
        {},
        HISTORY,
    ),
    "a stream that the model refuses": (lambda: Choosy(pieces=two()).bind(whole=True), {}, HISTORY),
    "a text in place of messages": (lambda: Talking(pieces=two()), {}, "hi"),
}


@pytest.mark.parametrize("name", LONG_STREAMS)
async def test_a_stream_goes_the_long_way_where_somebody_could_tell(name: str, wrapped: list[str]) -> None:
    make, config, messages = LONG_STREAMS[name]
    short = await streamed(direct.astream(make(), messages, config))
    assert wrapped != []
    assert short == await streamed(make().astream(messages, config))


async def test_a_library_that_instruments_streams_sees_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = BaseChatModel.astream
    for spy in (Proxy(original, seen), lambda *args, **kwargs: Proxy(original, seen)(*args, **kwargs)):
        monkeypatch.setattr(BaseChatModel, "astream", spy)
        await streamed(direct.astream(Talking(pieces=two()), ASKED, {}))
        assert seen == ["called"]
        seen.clear()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BaseChatModel, "_should_stream"),
        (BaseChatModel, "_convert_input"),
        (chat_models, "_gen_info_and_msg_metadata"),
        (chat_models, "_normalize_messages"),
    ],
)
async def test_streams_of_a_version_of_langchain_without_their_inner_steps_are_taken_its_own_way(
    owner: Any, name: str, wrapped: list[str]
) -> None:
    other = loaded_without(owner, name)
    pieces, error = await streamed(other.astream(Talking(pieces=two()), HISTORY, {}))
    assert ([piece.content for piece in pieces], error) == (["fi", "ne", ""], None)
    assert wrapped != []


# Tools.


class Place(BaseModel):
    """A place."""

    city: str
    country: str = "IT"


class Query(BaseModel):
    """A schema of its own."""

    text: str = Field(alias="q")
    limit: Annotated[int, Field(ge=1)] = 5


class Nothing(BaseModel):
    """No arguments."""


class Computed(BaseModel):
    """A schema that has more than its fields."""

    x: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.x


def weather(place: Place, days: int = 1, *, unit: str = "C") -> str:
    return f"{type(place).__name__} {place.city} {place.country} {days} {unit}"


def search(text: str, limit: int) -> dict[str, Any]:
    return {"text": text, "limit": limit}


def nothing() -> list[Any]:
    return [{"type": "text", "text": "empty"}]


def whatever(x: Any) -> Any:
    """Return or raise what `x` names."""
    made = {
        "none": None,
        "number": 3,
        "list": [1, 2],
        "message": ToolMessage("own", tool_call_id="call"),
        "command": Command(update={"x": 1}),
        "error": ToolException("no"),
        "bug": KeyError("x"),
    }[x]
    if isinstance(made, Exception):
        raise made
    return made


def _both(function: Any, **kwargs: Any) -> Callable[[], BaseTool]:
    async def coroutine(**given: Any) -> Any:
        return function(**given)

    coroutine.__signature__ = __import__("inspect").signature(function)  # type: ignore[attr-defined]
    return lambda: StructuredTool.from_function(
        function, coroutine, name="t", description="A tool.", infer_schema=True, **kwargs
    )


def _only_sync(function: Any, **kwargs: Any) -> Callable[[], BaseTool]:
    return lambda: StructuredTool.from_function(function, name="t", description="A tool.", **kwargs)


TOOLS: dict[str, tuple[Callable[..., Callable[[], BaseTool]], Any, dict[str, Any], dict[str, Any]]] = {
    f"{kind}, {name}": (make, function, settings, args)
    for kind, make in (("sync", _only_sync), ("both", _both))
    for name, function, settings, args in (
        ("nested", weather, {}, {"place": {"city": "Rome"}}),
        ("all given", weather, {}, {"place": {"city": "Rome", "country": "US"}, "days": 2, "unit": "F"}),
        ("too much given", weather, {}, {"place": {"city": "Rome"}, "more": 1}),
        ("too little given", weather, {}, {}),
        ("wrongly given", weather, {}, {"place": "Rome"}),
        ("by alias", search, {"args_schema": Query}, {"q": "x"}),
        ("out of bounds", search, {"args_schema": Query}, {"q": "x", "limit": 0}),
        ("no arguments", nothing, {"args_schema": Nothing}, {"x": 1}),
        *(
            (f"returning {what}", whatever, {}, {"x": what})
            for what in ("none", "number", "list", "message", "command")
        ),
        *((f"raising {what}", whatever, {}, {"x": what}) for what in ("error", "bug")),
    )
}


async def run(way: str, door: Any, args: dict[str, Any], config: RunnableConfig) -> Any:
    call = ToolCall(name="t", args=args, id="call")
    return door.invoke(call, config) if way == "sync" else await door.ainvoke(call, config)


async def run_wrapped(way: str, tool: BaseTool, args: dict[str, Any]) -> Any:
    call: Any = {"name": "t", "args": args, "id": "call", "type": "tool_call"}
    return tool.invoke(call) if way == "sync" else await tool.ainvoke(call)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_returns_the_same_on_the_short_way(name: str, way: str, wrapped: list[str]) -> None:
    if name.endswith("by alias") and tuple(map(int, langchain_core.__version__.split(".")[:2])) < (1, 6):
        pytest.skip("langchain-core before 1.6 cannot call a tool by the alias of an argument; the short way can")
    make, function, settings, args = TOOLS[name]
    made = make(function, **settings)()
    short = await outcome(run(way, direct.ToolInvoker(made), args, {}))
    assert wrapped == []
    assert short == await outcome(run_wrapped(way, made, args))
    assert wrapped != []


@pytest.mark.parametrize("way", WAYS)
async def test_tools_of_a_version_of_langchain_without_their_inner_steps_are_called_its_own_way(
    way: str, wrapped: list[str]
) -> None:
    other = loaded_without(BaseTool, "_parse_input")
    door = other.ToolInvoker(_only_sync(whatever)())
    assert (await run(way, door, {"x": "number"}, {})).content == "3"
    assert wrapped != []


@tool
def with_config(x: int, config: RunnableConfig) -> str:
    """Wants the config."""
    return f"{x} {config['metadata']}"


@tool
def with_call_id(x: int, call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Wants the call's id."""
    return f"{x} {call_id}"


@tool
def with_optional(x: int, user: Annotated[str | None, InjectedToolArg] = None) -> str:
    """Has an argument that no model gives."""
    return f"{x} {user}"


@tool(response_format="content_and_artifact")
def with_artifact(x: int) -> tuple[str, int]:
    """Returns an artifact."""
    return str(x), x


def times(x: int, **more: Any) -> str:
    return f"{x} {sorted(more)}"


def stay(x: int) -> str:
    return str(x)


def refuse(x: int) -> str:
    raise ToolException("no")


class Own(BaseTool):
    """A tool that is a class."""

    name: str = "t"
    description: str = "A tool."

    def _run(self, x: int) -> str:
        return str(x)


LONG_WAY_TOOLS: dict[str, tuple[BaseTool, RunnableConfig]] = {
    "config": (with_config, {"metadata": {"a": 1}}),
    "call id": (with_call_id, {}),
    "injected": (with_optional, {}),
    "artifact": (with_artifact, {}),
    "any arguments": (StructuredTool.from_function(times, name="t", description="A tool."), {}),
    "more than fields": (
        StructuredTool.from_function(stay, name="t", description="A tool.", args_schema=Computed),
        {},
    ),
    "JSON schema": (
        StructuredTool(name="t", description="A tool.", args_schema={"type": "object", "properties": {}}, func=stay),
        {},
    ),
    "errors handled": (
        StructuredTool.from_function(refuse, name="t", description="A tool.", handle_tool_error=True),
        {},
    ),
    "own class": (Own(), {}),
    "listener": (
        StructuredTool.from_function(stay, name="t", description="A tool."),
        {"callbacks": [BaseCallbackHandler()]},
    ),
    "own listener": (
        StructuredTool.from_function(stay, name="t", description="A tool.", callbacks=[BaseCallbackHandler()]),
        {},
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LONG_WAY_TOOLS)
async def test_a_tool_goes_the_long_way_where_somebody_could_tell(name: str, way: str, wrapped: list[str]) -> None:
    made, config = LONG_WAY_TOOLS[name]
    output = await run(way, direct.ToolInvoker(made), {"x": 3}, config)
    assert wrapped != []
    assert isinstance(output, ToolMessage)
    assert output.content.startswith("3") or output.status == "error"


async def test_a_sync_tool_of_an_async_run_works_in_another_thread_with_the_context_of_the_call() -> None:
    user: ContextVar[str] = ContextVar("user")

    def who(x: int) -> str:
        found = f"{user.get()} {threading.current_thread() is threading.main_thread()}"
        user.set("changed")
        return found

    user.set("ann")
    door = direct.ToolInvoker(StructuredTool.from_function(who, name="t", description="A tool."))
    assert (await run("async", door, {"x": 1}, {})).content == "ann False"
    assert (await run("sync", door, {"x": 1}, {})).content == "ann True"
    assert user.get() == "ann"


@pytest.mark.parametrize("way", WAYS)
async def test_a_method_that_a_tool_has_in_place_of_its_class_s_is_called(way: str) -> None:
    made = StructuredTool.from_function(stay, name="t", description="A tool.")

    async def arun(*_: Any, **__: Any) -> str:
        return "replaced"

    object.__setattr__(made, "run", lambda *_, **__: "replaced")
    object.__setattr__(made, "arun", arun)
    assert await run(way, direct.ToolInvoker(made), {"x": 1}, {}) == "replaced"


@pytest.mark.parametrize("way", WAYS)
async def test_a_function_that_is_replaced_is_looked_at_again(way: str) -> None:
    made = StructuredTool.from_function(stay, name="t", description="A tool.")
    door = direct.ToolInvoker(made)
    assert (await run(way, door, {"x": 1}, {})).content == "1"
    made.func = times
    assert (await run(way, door, {"x": 1}, {})).content == "1 []"
