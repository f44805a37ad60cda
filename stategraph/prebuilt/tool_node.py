"""The node that executes the calls of a message, and the router in front of it.

- What the node is given says which calls are meant: a state or a list of messages, of which the newest `AIMessage`
  counts; calls alone, whose tools see the state that an edge would have given the node; or one call with its state.
- A call is executed by `_run_one` (`_arun_one`) through the wrapper, if there is one, and by `_execute_tool_sync`
  (`_execute_tool_async`). Instrumentations replace these methods. Where there is no wrapper, nothing to inject and
  nothing replaced, no request is made.
- Errors and results are those of `tool_errors` and `tool_results`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool
from pydantic import BaseModel, ValidationError

from stategraph.agent.invocation.direct import ToolInvoker
from stategraph.constants import CONF, CONFIG_KEY_READ, CONFIG_KEY_READ_STATE
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.ports import ToolCalls
from stategraph.errors import is_invalid_resume
from stategraph.prebuilt import parallel, tool_errors
from stategraph.prebuilt.injection import AnyRuntime, AnyToolRuntime, InjectedArguments, ToolRuntime
from stategraph.prebuilt.steps import Step, Steps, atake, take
from stategraph.prebuilt.tool_errors import ErrorHandling, ToolInvocationError, only_invocation_errors
from stategraph.prebuilt.tool_request import (
    WITH_CONTEXT,
    AsyncToolCallWrapper,
    ToolCallRequest,
    ToolCallWrapper,
)
from stategraph.prebuilt.tool_results import InputKind, Outputs, ResultReader

Input = list[AnyMessage] | dict[str, Any] | BaseModel


def _of_its_own(config: RunnableConfig) -> RunnableConfig:
    """Return a config of a call's own, complete as LangChain makes it, for who listens to tools in ways of its own."""
    return get_config_list(config, 1)[0]


class ToolNode(RunnableCallable):
    """A node that executes the tool calls of the newest answer of a model, beside each other.

    What it is given, and what it returns:

    | input | output |
    |---|---|
    | a state with a list of messages | `{"messages": [...]}`: a `ToolMessage` for each call |
    | a list of messages | a list of `ToolMessage` |
    | a list of calls, as `Send` to the node carries them | as for a state |

    Where a tool returns a `Command`, the output is a list of commands and of updates of this form.

    Tools get more than the model's arguments by `InjectedState`, `InjectedStore` and `ToolRuntime`.

    Example:
        ```python
        builder.add_node("tools", ToolNode([search, calculate], handle_tool_errors=True))
        builder.add_conditional_edges("model", tools_condition)
        ```
    """

    name: str | None = "tools"

    def __init__(
        self,
        tools: Sequence[BaseTool | Callable[..., object]],
        *,
        name: str = "tools",
        tags: list[str] | None = None,
        handle_tool_errors: ErrorHandling = only_invocation_errors,
        messages_key: str = "messages",
        wrap_tool_call: ToolCallWrapper | None = None,
        awrap_tool_call: AsyncToolCallWrapper | None = None,
    ) -> None:
        """Make the node.

        Args:
            tools: The tools. Functions are made into tools.
            name: The name of the node.
            tags: Tags of its runs.
            handle_tool_errors: Which errors become an answer for the model. True: all, with the error's text; a
                string: all, with this text; classes: these; a function: those that its annotation names, with the text
                that it returns; False: none. The default answers arguments that do not fit a tool, and raises
                whatever else happens.
            messages_key: The key of the state for messages.
            wrap_tool_call: Called with each request and a function that executes one; returns the result.
            awrap_tool_call: The same for async runs. If None, these use `wrap_tool_call`, which then blocks the loop.

        Raises:
            ValueError: A parameter of a tool is marked twice with the same class.
        """
        super().__init__(self._func, self._afunc, name=name, tags=tags, trace=False)
        self._handle_tool_errors = handle_tool_errors
        self._messages_key = messages_key
        self._wrap_tool_call = wrap_tool_call
        self._awrap_tool_call = awrap_tool_call
        self._tools_by_name: dict[str, BaseTool] = {}
        self._injected_args: dict[str, InjectedArguments] = {}
        self._invokers: dict[str, ToolInvoker] = {}
        self._results = ResultReader(messages_key)
        for each in tools:
            tool = each if isinstance(each, BaseTool) else as_tool(each)
            self._tools_by_name[tool.name] = tool
            self._injected_args[tool.name] = InjectedArguments.of(tool)

    @property
    def tools_by_name(self) -> dict[str, BaseTool]:
        """The tools by their names."""
        return self._tools_by_name

    def _func(self, input: Input, config: RunnableConfig, runtime: AnyRuntime) -> object:
        # A tool may run an event loop of its own, which no thread can that runs one.
        return take(self._answering(input, config, runtime, in_place=not parallel.loop_is_running()))

    async def _afunc(self, input: Input, config: RunnableConfig, runtime: AnyRuntime) -> object:
        return await atake(self._answering(input, config, runtime, in_place=True))

    def _answering(self, input: Input, config: RunnableConfig, runtime: AnyRuntime, *, in_place: bool) -> Steps[object]:
        """Execute the calls; `in_place` tells whether a single one may run where the node does."""
        calls, kind = self._parse_input(input)
        if in_place and self._is_plain(calls):
            outputs = [(yield from self._calling(calls[0], calls[0], kind, config))]
        else:
            each = [*self._executions(input, calls, kind, config, runtime)]
            outputs = yield Step(
                lambda: parallel.run([partial(self._run_one, *one) for one in each], config.get("max_concurrency")),
                lambda: parallel.gather([self._arun_one(*one) for one in each]),
            )
        return self._results.combine(outputs, kind)

    def _parse_input(self, input: Input) -> tuple[list[ToolCall], InputKind]:
        """Find the calls in what the node was given.

        Raises:
            ValueError: There are no messages, or no model's among them.
        """
        messages: list[Any]
        if isinstance(input, list):
            if _is_calls(input):
                return cast("list[ToolCall]", input), "tool_calls"
            kind: InputKind = "list"
            messages = input
        else:
            if isinstance(input, dict) and input.get("__type") == WITH_CONTEXT:
                return [input["tool_call"]], "tool_calls"
            kind, messages = "dict", _messages_in(input, self._messages_key)
            if not messages:
                raise ValueError("No message found in input")
        for message in reversed(messages):
            if isinstance(message, AIMessage):
                return [*message.tool_calls], kind
        raise ValueError("No AIMessage found in input")

    def _executions(
        self,
        input: Input,
        calls: Sequence[ToolCall],
        kind: InputKind,
        config: RunnableConfig,
        runtime: AnyRuntime,
    ) -> Iterator[tuple[ToolCall, InputKind, AnyToolRuntime]]:
        """Yield the arguments for the execution of each call."""
        for call, own in zip(calls, get_config_list(config, len(calls)), strict=True):
            given: AnyToolRuntime = ToolRuntime(
                state=self._extract_state(input, own),
                tool_call_id=call["id"],
                config=own,
                context=runtime.context,
                store=runtime.store,
                stream_writer=runtime.stream_writer,
                tools=[*self._tools_by_name.values()],
                execution_info=runtime.execution_info,
                server_info=runtime.server_info,
            )
            yield call, kind, given

    def _extract_state(self, input: Input, config: RunnableConfig) -> Any:
        """Return the state that tools may see."""
        if isinstance(input, dict) and input.get("__type") == WITH_CONTEXT:
            return input["state"]
        if not isinstance(input, list) or not _is_calls(input):
            return input
        conf = config.get(CONF, {})
        if (read_state := conf.get(CONFIG_KEY_READ_STATE)) is not None:
            return read_state()
        # A task that was not sent has no such reader, and one of an older engine has none either.
        read = conf.get(CONFIG_KEY_READ)
        return {} if read is None else read([*read.args[1]], True)

    # One call.

    def _is_plain(self, calls: Sequence[ToolCall]) -> bool:
        """Return whether all there is to do is to call one tool that the node has."""
        injected = self._injected_args.get(calls[0]["name"]) if len(calls) == 1 else None
        if injected is None or not injected.change_nothing:
            return False
        if self._wrap_tool_call is not None or self._awrap_tool_call is not None:
            return False
        # By identity, and not of bound methods: a proxy in place of one equals it, and has its attributes.
        kind, own = type(self), vars(self)
        return all(getattr(kind, name) is method and name not in own for name, method in _EXECUTION)

    def _calling(
        self,
        filled: ToolCall,
        call: ToolCall,
        kind: InputKind,
        config: RunnableConfig,
        request: ToolCallRequest | None = None,
    ) -> Steps[Outputs]:
        """Call a tool.

        Args:
            filled: The call with its injected arguments.
            call: The call of the model.
            kind: What the node was given.
            config: The config of the call.
            request: The request, if there is one.

        Returns:
            What the tool returned, or an answer that tells its error.

        Raises:
            Exception: What the tool raised, if the node does not handle it.
        """
        invoker = self._invoker(call, request)
        try:
            output = yield Step(partial(invoker.invoke, filled, config), partial(invoker.ainvoke, filled, config))
        except Exception as error:
            return self._failed(call, error, of_tool=True)
        return self._read(output, call, kind, request)

    def _run_one(self, call: ToolCall, input_type: InputKind, tool_runtime: AnyToolRuntime) -> Outputs:
        """Execute a call, through the wrapper if there is one."""
        return take(self._wrapping(call, input_type, tool_runtime, self._wrap_tool_call, self._execute_tool_sync))

    async def _arun_one(self, call: ToolCall, input_type: InputKind, tool_runtime: AnyToolRuntime) -> Outputs:
        """Like `_run_one`, for async runs."""
        wrapper = self._awrap_tool_call
        if wrapper is None and self._wrap_tool_call is not None:
            return self._run_one(call, input_type, tool_runtime)
        return await atake(self._wrapping(call, input_type, tool_runtime, wrapper, self._execute_tool_async))

    def _wrapping(
        self,
        call: ToolCall,
        kind: InputKind,
        runtime: AnyToolRuntime,
        wrapper: Callable[..., Any] | None,
        executed: Callable[[ToolCallRequest, InputKind, RunnableConfig], Any],
    ) -> Steps[Outputs]:
        """Execute a call through a wrapper; it and `executed` are async in an async run."""
        config = runtime.config
        request = ToolCallRequest(call, self._tools_by_name.get(call["name"]), runtime.state, runtime)
        if wrapper is None:
            step = partial(executed, request, kind, config)
            return cast("Outputs", (yield Step(step, step)))
        step = partial(wrapper, request, lambda changed: executed(changed, kind, config))
        try:
            return cast("Outputs", (yield Step(step, step)))
        except Exception as error:
            return tool_errors.answer(request.tool_call, error, self._handle_tool_errors, of_wrapper=True)

    def _execute_tool_sync(self, request: ToolCallRequest, input_type: InputKind, config: RunnableConfig) -> Outputs:
        """Execute a request, and return what came of it."""
        return take(self._executing(request, input_type, config))

    async def _execute_tool_async(
        self, request: ToolCallRequest, input_type: InputKind, config: RunnableConfig
    ) -> Outputs:
        """Execute a request, and return what came of it."""
        return await atake(self._executing(request, input_type, config))

    def _executing(self, request: ToolCallRequest, kind: InputKind, config: RunnableConfig) -> Steps[Outputs]:
        """Execute a request.

        Raises:
            TypeError: The node has the tool, and a wrapper took it out of the request.
        """
        call = request.tool_call
        if request.tool is not None:
            filled = self._inject_tool_args(call, request.runtime, request.tool)
            return (yield from self._calling(filled, call, kind, config, request))
        if call["name"] in self._tools_by_name:
            raise TypeError(f"Tool {call['name']} is not registered with ToolNode")
        return tool_errors.no_such_tool(call, self._tools_by_name)

    def _inject_tool_args(
        self, tool_call: ToolCall, tool_runtime: AnyToolRuntime, tool: BaseTool | None = None
    ) -> ToolCall:
        """Return a call with the arguments that the graph fills.

        Args:
            tool_call: The call of the model.
            tool_runtime: Where the values come from.
            tool: The tool; needed if the node does not have it.
        """
        injected = self._injected_args.get(tool_call["name"])
        if injected is None and tool is not None:
            injected = InjectedArguments.of(tool)
        if injected is None or injected.change_nothing:
            return tool_call
        return injected.into(tool_call, tool_runtime, self._messages_key)

    def _invoker(self, call: ToolCall, request: ToolCallRequest | None) -> ToolCalls:
        """Return the invoker of the tool of a call; a wrapper may have put another tool into its request."""
        tool = self._tools_by_name[call["name"]] if request is None else cast("BaseTool", request.tool)
        invoker = self._invokers.get(tool.name)
        if invoker is None or invoker.tool is not tool:
            invoker = self._invokers[tool.name] = ToolInvoker(tool, _of_its_own)
        return invoker.taped

    def _read(self, output: object, call: ToolCall, kind: InputKind, request: ToolCallRequest | None) -> Outputs:
        if type(output) is ToolMessage and type(output.content) is str:
            return output
        try:
            return self._results.read(output, call, kind, None if request is None else request.state)
        except Exception as error:
            return self._failed(call, error)

    def _failed(self, call: ToolCall, error: Exception, *, of_tool: bool = False) -> ToolMessage:
        """Return the answer that tells an error; of a tool one about its arguments tells what the model can change.

        Raises:
            Exception: The error, if the node does not handle it.
        """
        if of_tool and isinstance(error, ValidationError) and not is_invalid_resume(error):
            injected = self._injected_args.get(call["name"])
            details = tool_errors.errors_of_model(error, injected.names if injected is not None else ())
            refused = ToolInvocationError(call["name"], error, call["args"], details)
            refused.__cause__ = error
            error = refused
        return tool_errors.answer(call, error, self._handle_tool_errors)


_EXECUTION = tuple(
    (name, getattr(ToolNode, name))
    for name in ("_run_one", "_arun_one", "_execute_tool_sync", "_execute_tool_async", "_inject_tool_args")
)
"""The methods that an instrumentation or a subclass may have replaced, as they are here."""


def _is_calls(input: Sequence[object]) -> bool:
    return isinstance(input[-1], dict) and input[-1].get("type") == "tool_call" if input else False


def _messages_in(state: Any, key: str) -> list[Any]:
    found = state.get(key) if isinstance(state, dict) else None
    return found or getattr(state, key, [])


def tools_condition(state: Input, messages_key: str = "messages") -> Literal["tools", "__end__"]:
    """Route to the node `tools` if the last message calls tools, and to the end if not.

    Args:
        state: The state, or a list of messages.
        messages_key: The key of the state for messages.

    Returns:
        `"tools"` or `"__end__"`.

    Raises:
        ValueError: There are no messages.
    """
    messages = state if isinstance(state, list) else _messages_in(state, messages_key)
    if not messages and not isinstance(state, list):
        raise ValueError(f"No messages found in input state to tool_edge: {state}")
    return "tools" if getattr(messages[-1], "tool_calls", None) else "__end__"
