"""Models, tools and functions whose calls can be recorded and replayed.

Rules
-----
* Outside of a recording and a replay they do what they did before, and nothing else.
* Nothing is replaced in a library: `recorded` returns something of the same kind that is used in place of what it was
  given. A model is a copy in a class of its own below the model's, so that tools can be bound to it as to the model.
* Models of agents and of `create_react_agent`, and tools of agents and of `ToolNode`, need not be wrapped.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast, overload

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, ToolCall
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool

from stategraph.engine.config import environment
from stategraph.engine.ports import ToolCalls
from stategraph.errors import ConfigurationError
from stategraph.replay import asking, codec
from stategraph.replay.asking import Ask
from stategraph.replay.codec import Json

Stop: TypeAlias = list[str] | None

P = ParamSpec("P")
T = TypeVar("T")

MARK: Final = "recorded"
"""The key in what callbacks are told of a model that says that its calls are recorded."""


@overload
def recorded(outside: BaseChatModel, *, name: str | None = None) -> BaseChatModel: ...
@overload
def recorded(outside: BaseTool, *, name: str | None = None) -> BaseTool: ...
@overload
def recorded(outside: Embeddings, *, name: str | None = None) -> Embeddings: ...
@overload
def recorded(outside: Callable[P, T], *, name: str | None = None) -> Callable[P, T]: ...
def recorded(outside: Any, *, name: str | None = None) -> Any:
    """Make something from outside of a graph that a recording can hold: a model, a tool, embeddings or a function.

    In a run that is recorded, what its calls return is written down; in a replay it is returned from there, and
    nothing is called. In any other run it does what it did before. May be used as a decorator.

    Args:
        outside: A chat model (before tools are bound to it), a tool, embeddings, or a function, sync or async.
        name: Its name in recordings; None: its own.

    Returns:
        What is to be used in its place.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(outside, BaseChatModel):
        return model(outside)
    if isinstance(outside, BaseTool):
        return _tool(outside)
    if isinstance(outside, Embeddings):
        return _RecordedEmbeddings(outside, name or type(outside).__name__)
    if callable(outside) and not isinstance(outside, type):
        own: str = getattr(outside, "__qualname__", type(outside).__name__)
        return _function(outside, name or own)
    raise ConfigurationError(
        f"recorded() was given a {type(outside).__name__}; expected a chat model (tools are bound to what recorded() "
        "returns), a tool, embeddings or a function"
    )


# -- models ----------------------------------------------------------------------


class _RecordedModel:
    """The steps of a model that lead outside."""

    def to_json(self) -> Any:
        """Say to callbacks that calls are recorded."""
        return {**super().to_json(), MARK: True}  # type: ignore[misc]

    def _generate(
        self, messages: list[Any], stop: Stop = None, run_manager: object = None, **kwargs: object
    ) -> ChatResult:
        perform = partial(super()._generate, messages, stop=stop, run_manager=run_manager, **kwargs)  # type: ignore[misc]
        return cast("ChatResult", asking.tape().through(_of_model(self, messages, stop, kwargs), _naming(perform)))

    async def _agenerate(
        self, messages: list[Any], stop: Stop = None, run_manager: object = None, **kwargs: object
    ) -> ChatResult:
        perform = partial(super()._agenerate, messages, stop=stop, run_manager=run_manager, **kwargs)  # type: ignore[misc]

        async def named() -> ChatResult:
            return _named(await perform())

        return cast("ChatResult", await asking.tape().athrough(_of_model(self, messages, stop, kwargs), named))


class _RecordedStream:
    """The same of a model that streams."""

    def _stream(
        self, messages: list[Any], stop: Stop = None, run_manager: object = None, **kwargs: object
    ) -> Iterator[Any]:
        perform = partial(super()._stream, messages, stop=stop, run_manager=run_manager, **kwargs)  # type: ignore[misc]
        return asking.tape().stream(_of_model(self, messages, stop, kwargs), lambda: _pieces(perform()))


class _RecordedAsyncStream:
    """The same of a model that streams on an event loop."""

    def _astream(
        self, messages: list[Any], stop: Stop = None, run_manager: object = None, **kwargs: object
    ) -> AsyncIterator[Any]:
        perform = partial(super()._astream, messages, stop=stop, run_manager=run_manager, **kwargs)  # type: ignore[misc]
        return asking.tape().astream(_of_model(self, messages, stop, kwargs), lambda: _apieces(perform()))


def model(chat: BaseChatModel) -> BaseChatModel:
    """Return a copy of a chat model whose calls can be recorded; it shares what the model keeps for itself."""
    if isinstance(chat, _RecordedModel):
        return chat
    kind = _class_of(type(chat))
    copy: Any = object.__new__(kind)
    # As pydantic copies, but that private state is shared: a model counts or connects once, whoever asks it.
    object.__setattr__(copy, "__dict__", {name: each for name, each in vars(chat).items() if name != "_serialized"})
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(copy, slot, getattr(chat, slot))
    return cast("BaseChatModel", copy)


@lru_cache(maxsize=256)
def _class_of(kind: type[BaseChatModel]) -> type[Any]:
    bases: list[type] = [_RecordedModel]
    if kind._stream is not BaseChatModel._stream:
        bases.append(_RecordedStream)
    if kind._astream is not BaseChatModel._astream:
        bases.append(_RecordedAsyncStream)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    make: Any = type(kind)  # the metaclass of models
    made: type[Any] = make(kind.__name__, (*bases, kind), names)
    return made


def name_of(chat: object) -> str:
    """Return the name of a model in recordings: its class and what it says it is called."""
    said = next((each for each in (getattr(chat, "model_name", None), getattr(chat, "model", None)) if each), "")
    return f"{type(chat).__name__} {said}".strip() if isinstance(said, str) else type(chat).__name__


def _of_model(chat: object, messages: list[Any], stop: Stop, options: dict[str, object]) -> Ask:
    def request() -> Json:
        made = {"messages": [codec.encode(each) for each in messages]}
        given = {"stop": stop or None, "options": options or None}
        return made | {name: codec.encode(each) for name, each in given.items() if each is not None}

    return Ask("model", name_of(chat), request)


def _naming(perform: Callable[[], ChatResult]) -> Callable[[], ChatResult]:
    return lambda: _named(perform())


def _named(result: ChatResult) -> ChatResult:
    """Give answers of a taped run ids that a replay gives again; LangChain would make them."""
    if asking.tape() is not asking.UNTAPED:
        name: str | None = None
        for number, generation in enumerate(result.generations):
            if generation.message.id is None:
                name = name or f"lc_run--{environment.current().unique()}"
                generation.message.id = f"{name}-{number}"
    return result


class _Naming:
    """Gives the pieces of an answer in a taped run an id that a replay gives again, and adds the last piece.

    LangChain would make a random id, and add a piece with it behind the last one.
    """

    def __init__(self) -> None:
        self._is_taped = asking.tape() is not asking.UNTAPED
        self._name = f"lc_run--{environment.current().unique()}" if self._is_taped else ""
        self._latest: Any = None

    def __call__(self, piece: Any) -> Any:
        """Return a piece with an id."""
        if self._is_taped:
            piece.message.id = piece.message.id or self._name
            self._latest = piece.message
        return piece

    def rest(self) -> list[ChatGenerationChunk]:
        """Return the piece to add, if there is one."""
        if not isinstance(self._latest, AIMessageChunk) or self._latest.chunk_position == "last":
            return []
        content: Any = "" if isinstance(self._latest.content, str) else []
        last = AIMessageChunk(content=content, chunk_position="last", id=self._name)
        return [ChatGenerationChunk(message=last)]


def _pieces(pieces: Iterator[Any]) -> Iterator[Any]:
    naming = _Naming()
    yield from map(naming, pieces)
    yield from naming.rest()


async def _apieces(pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
    give_ids = _Naming()
    async for piece in pieces:
        yield give_ids(piece)
    for last in give_ids.rest():
        yield last


class Models:
    """The recorded copies of models, one for each that a run asks."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[BaseChatModel, BaseChatModel]] = {}

    def of(self, chat: BaseChatModel) -> BaseChatModel:
        """Return the copy of a model."""
        known = self._copies.get(id(chat))
        if known is None or known[0] is not chat:
            known = self._copies[id(chat)] = chat, model(chat)
        return known[1]


# -- tools and functions -----------------------------------------------------------


class TapedTool:
    """Makes the calls of a tool through a tape.

    Attributes:
        tool: The tool.

    Args:
        through: The tape.
        invoker: Makes the calls themselves.
    """

    def __init__(self, through: asking.CallTape, invoker: ToolCalls) -> None:
        self.tool = invoker.tool
        self._tape = through
        self._invoker = invoker

    def invoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        """Make a call."""
        return self._tape.through(of_tool(self.tool, call), lambda: self._invoker.invoke(call, asking.counted(config)))

    async def ainvoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        """Make a call on an event loop."""
        work = partial(self._invoker.ainvoke, call)
        return await self._tape.athrough(of_tool(self.tool, call), lambda: work(asking.counted(config)))


def of_tool(tool: BaseTool, call: ToolCall) -> Ask:
    """Return what a call of a tool asks for, without what is injected: state and stores are the program's own."""
    injected = _injected(tool)
    arguments = {name: each for name, each in call["args"].items() if name not in injected}
    request = {"args": arguments, "id": call.get("id")}
    return Ask("tool", tool.name, lambda: codec.encode(request), asks_persons=True)


def _injected(tool: BaseTool) -> frozenset[str]:
    """Return the names of the arguments that a model is not told of; a schema in JSON has none."""
    whole: Any = tool.get_input_schema()
    shown: Any = tool.tool_call_schema
    if isinstance(shown, dict) or not hasattr(whole, "model_fields"):
        return frozenset()
    return frozenset(whole.model_fields) - frozenset(shown.model_fields)


def _tool(tool: BaseTool) -> BaseTool:
    if not isinstance(tool, StructuredTool):
        raise ConfigurationError(
            f"The tool '{tool.name}' is a {type(tool).__name__}; recorded() takes tools made of functions. Call it "
            "through a ToolNode or an agent, which record by themselves, or give recorded() the function that it calls"
        )
    update: dict[str, Any] = {}
    for way in ("func", "coroutine"):
        function = getattr(tool, way)
        if function is not None:
            update[way] = _function(function, tool.name, "tool")
    return tool.model_copy(update=update)


def _function(function: Callable[..., Any], name: str, what: str = "function") -> Callable[..., Any]:
    def ask(args: tuple[object, ...], kwargs: dict[str, object]) -> Ask:
        return Ask(what, name, lambda: _of_function(function, args, kwargs), asks_persons=True)

    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004

        @functools.wraps(function)
        async def acalled(*args: object, **kwargs: object) -> Any:
            return await asking.tape().athrough(ask(args, kwargs), partial(function, *args, **kwargs))

        return acalled

    @functools.wraps(function)
    def called(*args: object, **kwargs: object) -> Any:
        return asking.tape().through(ask(args, kwargs), partial(function, *args, **kwargs))

    return called


def _of_function(function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> Json:
    """Return the arguments of a function; positional ones are named for whoever hides those that are secret."""
    names: list[str] = []
    try:
        for each in inspect.signature(function).parameters.values():
            if each.kind is each.VAR_POSITIONAL:
                names += [each.name] * (len(args) - len(names))
            elif each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
                names.append(each.name)
    except (TypeError, ValueError):
        names = []  # of a function in C that does not say
    given = [codec.encode(each) for each in args]
    named = [codec.argument(name, each) for name, each in zip(names, given, strict=False)]
    return {"args": [*named, *given[len(named) :]], "kwargs": codec.encode(kwargs)}


class _RecordedEmbeddings(Embeddings):
    """Embeddings whose calls can be recorded."""

    def __init__(self, embeddings: Embeddings, name: str) -> None:
        self._embeddings = embeddings
        self._name = name

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts."""
        found: list[list[float]] = self._through("documents", texts, self._embeddings.embed_documents)
        return found

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        found: list[float] = self._through("query", text, self._embeddings.embed_query)
        return found

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts on an event loop."""
        vectors: list[list[float]] = await self._awaited("documents", texts, self._embeddings.aembed_documents)
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a question on an event loop."""
        vector: list[float] = await self._awaited("query", text, self._embeddings.aembed_query)
        return vector

    def _through(self, kind: str, given: Json, embed: Callable[[Json], object]) -> Any:
        return asking.tape().through(self._ask(kind, given), partial(embed, given))

    async def _awaited(self, kind: str, given: Json, embed: Callable[[Json], Awaitable[object]]) -> Any:
        return await asking.tape().athrough(self._ask(kind, given), partial(embed, given))

    def _ask(self, kind: str, given: Json) -> Ask:
        return Ask("embeddings", self._name, lambda: {kind: given})
