"""Models and tools called without LangChain's wrapping, where no listener could notice.

LangChain surrounds every call of a model or a tool with callback managers, run ids and copies of messages for tracers,
which costs more than a graph's whole step. All of it is for listeners. So only the inner part is called here:

- Of a model, the class's own step from messages to a result, or LangChain's around that where it keeps a rate limit; of
  one that streams, its own stream. Answers and pieces are given what LangChain gives them: ids, what is known of the
  answer, a last piece.
- Of a tool made from a function, the function, with arguments that its schema has checked.

That is done only if

- there are no listeners: no callbacks of the run, the model or the tool, no tracing, no debug or verbose output;
- nothing else is done on the way: no class or library has replaced the methods that are left out, no answers are
  cached or put together from a stream, no content of messages has to be converted, no error is handled, no argument is
  injected.

In every other case the call takes LangChain's way. The results are the same on both.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextvars import copy_context
from functools import cached_property, lru_cache, partial
from operator import attrgetter, is_
from types import FunctionType, MethodType
from typing import Any, Literal, NamedTuple, TypeAlias, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, chat_models
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables import base as runnables
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import base as base_tools
from langchain_core.tools import structured as structured_tools
from langchain_core.utils.utils import LC_ID_PREFIX
from langchain_core.utils.uuid import uuid7
from pydantic import BaseModel, RootModel

from stategraph.agent.invocation import injection
from stategraph.engine.config import context as run_context
from stategraph.engine.config import environment
from stategraph.engine.config import runnable_config as run_config
from stategraph.engine.ports import ToolCalls
from stategraph.engine.tasks import threads

# Models.

#: Blocks that LangChain converts before a model sees them.
_CONVERTED = frozenset({"audio", "file", "image", "input_audio"})

_TEXT = frozenset({str})
_content = attrgetter("content")

_STEPS = "invoke", "ainvoke", "generate_prompt", "agenerate_prompt", "generate", "agenerate", "_convert_input"
_WAYS = "invoke", "ainvoke", "astream"
_METHODS = frozenset((*_STEPS, *_WAYS))
_of_model = attrgetter(*_STEPS)
_of_stream = attrgetter("astream", "_convert_input")
_of_binding = attrgetter(*_WAYS)
_TOOL_STEPS = "invoke", "ainvoke", "run", "arun", "_run", "_arun", "_parse_input", "_to_args_and_kwargs"
_of_tool = attrgetter(*_TOOL_STEPS)


_Methods: TypeAlias = tuple[Any, ...]


def _found(methods_of: attrgetter[_Methods], owner: type[Any]) -> _Methods | None:
    """Return methods of a class; None if this version of LangChain lacks one: most of them are private."""
    try:
        return methods_of(owner)
    except AttributeError:
        return None


def _originals(methods: _Methods | None, *modules: Any) -> _Methods | None:
    """Return methods of LangChain that are bypassed; None if an instrumentation library has replaced one already."""
    own = [vars(module) for module in modules]
    for method in methods or ():
        if type(method) is not FunctionType or all(method.__globals__ is not each for each in own):
            return None
    return methods


def _has(known: _Methods | None, owner: type[Any], methods_of: attrgetter[_Methods]) -> bool:
    """Return whether a class has known methods: by identity, as a proxy in place of one equals it."""
    return known is not None and all(map(is_, methods_of(owner), known))


def _is_replaced(owner: object, methods: Collection[str]) -> bool:
    """Return whether an object has methods of its own in place of its class's, such as those of a test or a tracer."""
    return not vars(owner).keys().isdisjoint(methods)


_of_inner = attrgetter("_generate_with_cache", "_agenerate", "_agenerate_with_cache", "_stream", "_astream")
_SYNC_ONLY = _found(_of_inner, BaseChatModel)
_MODEL = None if _SYNC_ONLY is None else _originals(_found(_of_model, BaseChatModel), chat_models)
_of_step = attrgetter("_generate_with_cache", "_agenerate_with_cache", "_should_stream")
_STEP = _originals(_found(_of_step, BaseChatModel), chat_models)
_STREAM = _originals(_found(_of_stream, BaseChatModel), chat_models)
_BINDING = _originals(_found(_of_binding, RunnableBinding), runnables)
_TOOL = _originals(_found(_of_tool, StructuredTool), base_tools, structured_tools)


#: Steps of LangChain's streams: whether a model streams, what is told of a piece beside its content, and the conversion
#: of blocks before the model sees them. None if this version of LangChain lacks them.
_should_stream = getattr(BaseChatModel, "_should_stream", None)
_metadata: Callable[[Any], dict[str, Any]] | None = getattr(chat_models, "_gen_info_and_msg_metadata", None)
_normalize: Callable[[Any], list[Any]] | None = getattr(chat_models, "_normalize_messages", None)


class DirectModel(NamedTuple):
    """A model that may be asked without LangChain's wrapping.

    Attributes:
        model: The model as it was given.
        chat: The chat model in it.
        arguments: What is bound to it.
    """

    model: Runnable[Any, Any]
    chat: BaseChatModel
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, model: Runnable[Any, Any], config: RunnableConfig) -> DirectModel | None:
        """Find out whether a model may be asked directly.

        Args:
            model: A chat model, perhaps with arguments bound to it, or any other Runnable.
            config: Of the running node.

        Returns:
            None if somebody could notice.
        """
        unbound = _unbound(model)
        if unbound is None:
            return None
        chat, arguments = unbound
        if not _has(_MODEL, type(chat), _of_model) or run_config.has_listeners(config):
            return None
        return None if _does_more(chat, arguments) else cls(model, chat, arguments)

    def ask(self, messages: Any, config: RunnableConfig) -> AIMessage:
        """Ask the model and return its answer.

        Args:
            messages: Usually a list of messages; any other input of a model takes LangChain's way.
            config: Of the running node.
        """
        if not _needs_conversion(messages):
            return _result(self.chat, [*messages], self.arguments)
        return cast("AIMessage", self.model.invoke(messages, config))

    async def aask(self, messages: Any, config: RunnableConfig) -> AIMessage:
        """Ask the model and return its answer."""
        if _needs_conversion(messages):
            return cast("AIMessage", await self.model.ainvoke(messages, config))
        if _has(_SYNC_ONLY, type(self.chat), _of_inner) and self.chat.rate_limiter is None:
            # LangChain would take a thread for the innermost part; ours are quicker to reach.
            step = partial(_result, self.chat, [*messages], self.arguments)
            return await asyncio.get_running_loop().run_in_executor(threads.pool(), copy_context().run, step)
        chat, run = self.chat, _AsyncUnheard()
        if not _has_only_its_step(chat):
            return _answer(await chat._agenerate_with_cache([*messages], run_manager=run, **self.arguments), run)
        given = _given(chat._agenerate, run, self.arguments)
        return _answer(_described(await chat._agenerate([*messages], **given)), run)


def ask(model: Runnable[Any, Any], messages: list[AnyMessage], config: RunnableConfig) -> AIMessage:
    """Ask a model and return its answer, as `model.invoke` does.

    Args:
        model: A chat model, perhaps with arguments bound to it.
        messages: The messages that it is sent.
        config: Of the running node.
    """
    direct = DirectModel.of(model, config)
    return cast("AIMessage", model.invoke(messages, config)) if direct is None else direct.ask(messages, config)


async def aask(model: Runnable[Any, Any], messages: list[AnyMessage], config: RunnableConfig) -> AIMessage:
    """Ask a model and return its answer, as `model.ainvoke` does."""
    direct = DirectModel.of(model, config)
    if direct is None:
        return cast("AIMessage", await model.ainvoke(messages, config))
    return await direct.aask(messages, config)


def taped(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return the model to ask in a run that is recorded or replayed; in any other the model itself.

    Args:
        model: A chat model, perhaps with arguments bound to it; any other Runnable stays as it is.
    """
    tape = environment.current().tape
    if tape is None:
        return model
    if isinstance(model, BaseChatModel):
        return tape.model(model)
    if isinstance(model, RunnableBinding) and isinstance(model.bound, BaseChatModel):
        return model.model_copy(update={"bound": tape.model(model.bound)})
    return model


def _result(chat: BaseChatModel, messages: list[AnyMessage], arguments: Mapping[str, Any]) -> AIMessage:
    """Return what a model answers, as its `_generate_with_cache` does if nothing is cached or streamed."""
    run = _SyncUnheard()
    if not _has_only_its_step(chat):
        return _answer(chat._generate_with_cache(cast("Any", messages), run_manager=run, **arguments), run)
    given = _given(chat._generate, run, arguments)
    return _answer(_described(chat._generate(cast("Any", messages), **given)), run)


class _Unheard:
    """Manages the callbacks of a model's run that nobody listens to: models may use theirs without asking for it."""

    def __init__(self) -> None:
        # The base constructor is not called: it wants the id, which few models ask for.
        self.handlers: list[Any] = []
        self.inheritable_handlers: list[Any] = []
        self.parent_run_id: UUID | None = None
        self.tags: list[str] = []
        self.inheritable_tags: list[str] = []
        self.metadata: dict[str, Any] = {}
        self.inheritable_metadata: dict[str, Any] = {}

    # Made when it is first asked for.
    run_id: Any = cached_property(lambda _: environment.current().run_id() or uuid7())


class _SyncUnheard(_Unheard, CallbackManagerForLLMRun):
    """Manages those of a sync run."""


class _AsyncUnheard(_Unheard, AsyncCallbackManagerForLLMRun):
    """Manages those of an async run."""


def _has_only_its_step(chat: BaseChatModel) -> bool:
    """Return whether LangChain's step does nothing around a model's own but describe its answers."""
    if chat.rate_limiter is not None or chat.output_version == "v1":
        return False
    return _has(_STEP, type(chat), _of_step) and _metadata is not None


def _given(method: Any, run: _Unheard, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a class's own step; the manager of its run only if it takes one."""
    if _takes_run_manager(getattr(method, "__func__", method)):
        return {"stop": None, "run_manager": run, **arguments}
    return {"stop": None, **arguments}


@lru_cache(maxsize=256)
def _takes_run_manager(function: Callable[..., Any]) -> bool:
    # LangChain looks at the signature in every call, which takes longer than a step of a graph.
    return "run_manager" in inspect.signature(function).parameters


def _described(result: ChatResult) -> ChatResult:
    """Add what is known of each answer to its metadata, as LangChain's step does."""
    assert _metadata is not None
    for generation in result.generations:
        generation.message.response_metadata = _metadata(generation)
    if len(result.generations) == 1 and result.llm_output is not None:
        message = result.generations[0].message
        message.response_metadata = {**result.llm_output, **message.response_metadata}
    return result


def astream(
    model: Runnable[Any, Any], messages: Sequence[AnyMessage], config: RunnableConfig
) -> AsyncIterator[AIMessage]:
    """Ask a model and return an iterator over the pieces of its answer, as `model.astream` does.

    Args:
        model: A chat model, perhaps with arguments bound to it.
        messages: The messages that it is sent.
        config: Of the running node; the id of the call's run, if it has one, is that of the pieces.
    """
    model = taped(model)
    unbound = _unbound(model)
    if unbound is None or not _are_messages(messages) or not _streams_directly(*unbound, config):
        return cast("AsyncIterator[AIMessage]", model.astream(cast("Any", messages), config))
    return _pieces(*unbound, messages, f"{LC_ID_PREFIX}-{config.get('run_id') or uuid7()}")


def _streams_directly(chat: BaseChatModel, arguments: Mapping[str, Any], config: RunnableConfig) -> bool:
    if not _has(_STREAM, type(chat), _of_stream) or None in (_should_stream, _metadata, _normalize):
        return False
    if chat.callbacks or chat.verbose or chat.output_version == "v1" or run_config.has_listeners(config):
        return False
    own = {name: value for name, value in arguments.items() if name != "stop"}
    return bool(chat._should_stream(async_api=True, **{**own, "stream": True}))


async def _pieces(
    chat: BaseChatModel, arguments: Mapping[str, Any], messages: Sequence[AnyMessage], run_name: str
) -> AsyncGenerator[AIMessage, None]:
    """Yield the pieces of an answer, as `BaseChatModel.astream` makes them of those of the class's own stream."""
    assert _metadata is not None and _normalize is not None
    if chat.rate_limiter:
        await chat.rate_limiter.aacquire(blocking=True)
    message: AIMessage | None = None
    given = _normalize(messages) if _needs_conversion(messages) else [*messages]
    stream = chat._astream(given, **{"stop": None, **arguments})
    try:
        async for chunk in stream:
            message = cast("AIMessage", chunk.message)
            if message.id is None:
                message.id = run_name
            if chunk.generation_info:
                message.response_metadata = _metadata(chunk)
            yield message
    except Exception:
        await _take_turns()
        raise
    finally:
        # Of a stream that nobody reads on, LangChain leaves the provider's connection to the garbage collector.
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    if isinstance(message, AIMessageChunk) and not message.chunk_position:
        content: str | list[str | dict[str, Any]] = "" if isinstance(message.content, str) else []
        yield AIMessageChunk(content=content, chunk_position="last", id=run_name)
    await _take_turns()
    if message is None:
        raise ValueError("No generation chunks were returned")


async def _take_turns() -> None:
    """Wait as long as LangChain does at the end of an answer, so that others run and a cancellation is noticed.

    A model may wait for nothing, and LangChain tells handlers of the end in a task, even if there are none.
    """
    await asyncio.shield(asyncio.get_running_loop().create_task(_nothing()))


async def _nothing() -> None:
    """Do nothing."""


def _unbound(model: Runnable[Any, Any]) -> tuple[BaseChatModel, Mapping[str, Any]] | None:
    """Return a chat model and the arguments bound to it; None for other Runnables, and where more is bound."""
    if not isinstance(model, RunnableBinding):
        return (model, {}) if isinstance(model, BaseChatModel) and not _is_replaced(model, _METHODS) else None
    bound: RunnableBinding[Any, Any] = model
    if _is_replaced(bound, _METHODS):
        return None
    if bound.config or bound.config_factories or not _has(_BINDING, type(bound), _of_binding):
        return None
    if any(name.endswith("structured_output_format") for name in bound.kwargs):
        return None
    inner = bound.bound
    return (inner, bound.kwargs) if isinstance(inner, BaseChatModel) and not _is_replaced(inner, _METHODS) else None


def _does_more(model: BaseChatModel, arguments: Mapping[str, Any]) -> bool:
    """Return whether a model reports its calls, remembers answers, or puts them together from a stream."""
    if model.callbacks or model.verbose:
        return True
    if arguments.get("stream") or getattr(model, "streaming", False):
        return True  # its pieces have the id of LangChain's run
    return model.cache is not False and (model.cache is not None or get_llm_cache() is not None)


def _needs_conversion(messages: Any) -> bool:
    """Return whether LangChain would convert the input of a model, or blocks in it, before the model sees it."""
    if not _are_messages(messages):
        return True
    if set(map(type, map(_content, messages))) <= _TEXT:
        return False
    contents = [message.content for message in messages if not isinstance(message.content, str)]
    return any(isinstance(block, dict) and block.get("type") in _CONVERTED for blocks in contents for block in blocks)


def _are_messages(messages: Any) -> bool:
    return type(messages) is list and all(map(_is_message, set(map(type, messages))))


@lru_cache(maxsize=256)
def _is_message(kind: type) -> bool:
    return issubclass(kind, BaseMessage)


def _answer(result: ChatResult, run: _Unheard) -> AIMessage:
    message = cast("AIMessage", result.generations[0].message)
    if message.id is None:
        message.id = f"{LC_ID_PREFIX}-{run.run_id}-0"
    return message


# Tools.

_format_output = getattr(base_tools, "_format_output", None)

#: Names with a special meaning in LangChain.
_RESERVED = frozenset({"args", "callbacks", "config", "kwargs", "run_manager", "self"})


class ToolInvoker:
    """Invokes a tool, and remembers what the first call has found out about it.

    Args:
        tool: The tool.
        prepare: Makes the config that the tool is given on LangChain's way; None: it is that of the call.

    Attributes:
        tool: The tool.
    """

    def __init__(self, tool: BaseTool, prepare: Callable[[RunnableConfig], RunnableConfig] | None = None) -> None:
        self.tool = tool
        self._prepare = prepare
        self._checked: tuple[object, ...] = ()
        self._is_direct = False

    def invoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        """Call the tool, as `tool.invoke` does with a tool call."""
        function = self._function("func", config)
        if function is None:
            return self.tool.invoke(cast("Any", {**call, "type": "tool_call"}), self._prepared(config))
        return copy_context().run(self._run, function, call)

    async def ainvoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        """Call the tool, as `tool.ainvoke` does with a tool call."""
        coroutine = self._function("coroutine", config)
        if coroutine is not None:
            # As in a separate task: calls that run in parallel all begin before one of them ends.
            await asyncio.sleep(0)
            work = coroutine(**self._arguments(call))
            return self._output(call, await run_context.await_in_context(copy_context(), work))
        function = self._function("func", config)
        if function is None or getattr(self.tool, "coroutine", None) is not None:
            return await self.tool.ainvoke(cast("Any", {**call, "type": "tool_call"}), self._prepared(config))
        run = partial(copy_context().run, self._run, function, call)
        return await asyncio.get_running_loop().run_in_executor(threads.pool(), run)

    @property
    def taped(self) -> ToolCalls:
        """The invoker to call: this one, or in a run that is recorded or replayed the one in its place."""
        tape = environment.current().tape
        return self if tape is None else tape.invoker(self)

    def _prepared(self, config: RunnableConfig) -> RunnableConfig:
        return config if self._prepare is None else self._prepare(config)

    def _run(self, function: Callable[..., Any], call: ToolCall) -> Any:
        return self._output(call, function(**self._arguments(call)))

    def _arguments(self, call: ToolCall) -> dict[str, Any]:
        """Validate a model's arguments by the schema."""
        schema = cast("type[BaseModel]", cast("StructuredTool", self.tool).args_schema)
        if not schema.model_fields:
            return {}
        checked = schema.model_validate(call["args"])
        return {name: getattr(checked, name) for name in checked.model_dump() if name in schema.model_fields}

    def _output(self, call: ToolCall, output: Any) -> Any:
        assert _format_output is not None
        return _format_output(output, None, call["id"], self.tool.name, "success")

    def _function(self, way: Literal["func", "coroutine"], config: RunnableConfig) -> Callable[..., Any] | None:
        """Return the tool's function if it is to be called directly."""
        tool = self.tool
        if type(tool) is not StructuredTool or _does_more_than_call(tool):
            return None
        function: Callable[..., Any] | None = getattr(tool, way)
        if function is None or not _has(_TOOL, StructuredTool, _of_tool):
            return None
        parts = (function, tool.args_schema)
        if parts != self._checked:
            self._checked = parts
            self._is_direct = (
                _format_output is not None
                and (way == "func" or inspect.iscoroutinefunction(function))
                and _takes_its_schema(tool, function)
            )
        return None if not self._is_direct or run_config.has_listeners(config) else function


def _does_more_than_call(tool: StructuredTool) -> bool:
    """Return whether a tool reports its calls, handles errors, or returns artifacts."""
    return bool(
        tool.callbacks
        or tool.verbose
        or tool.response_format != "content"
        or tool.handle_tool_error
        or tool.handle_validation_error
        or _is_replaced(tool, _TOOL_STEPS)
    )


def _takes_its_schema(tool: StructuredTool, function: object) -> bool:
    """Return whether a function takes exactly the fields of a plain schema, all of them from the model."""
    schema = tool.args_schema
    if not isinstance(function, FunctionType | MethodType) or not isinstance(schema, type):
        return False
    if not issubclass(schema, BaseModel) or issubclass(schema, RootModel):
        return False
    settings = schema.model_config
    if settings.get("extra") == "allow" or settings.get("serialize_by_alias") or schema.model_computed_fields:
        return False
    parameters = inspect.signature(function).parameters
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return (
        parameters.keys() == schema.model_fields.keys()
        and not parameters.keys() & _RESERVED
        and all(each.kind in keywords for each in parameters.values())
        and not injection.is_wanted(tool)
    )
