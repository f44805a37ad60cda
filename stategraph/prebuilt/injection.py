"""Arguments that a tool gets from the graph and that its model never sees.

| a parameter | is filled with |
|---|---|
| `Annotated[..., InjectedState]` | the whole state |
| `Annotated[..., InjectedState("key")]` | one key of the state; may be missing if the parameter has a default |
| `Annotated[..., InjectedStore()]` | the store of the graph |
| annotated as `ToolRuntime`, or named `runtime` | the `ToolRuntime` of the call |
| any other `InjectedToolArg` | nothing; a value that the model wrote for it is taken out |

What is looked up in a tool's signature is looked up once, when its node is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools.base import (
    _DirectlyInjectedToolArg,
    _is_injected_arg_type,
    get_all_basemodel_annotations,
)
from pydantic import BaseModel
from typing_extensions import TypeVar

from stategraph.engine.checkpoints.saver_interfaces import BaseStore
from stategraph.engine.config.runtime import ExecutionInfo, Runtime, ServerInfo
from stategraph.engine.tracing.tool_events import tool_call_writer
from stategraph.types import StreamWriter

StateT = TypeVar("StateT", default=dict[Any, Any])
ContextT = TypeVar("ContextT", default=None)


@dataclass
class ToolRuntime(_DirectlyInjectedToolArg, Generic[ContextT, StateT]):
    """The argument of a tool that has a parameter annotated with this class, or named `runtime`.

    Example:
        A tool that looks at the conversation and at who asks:

        ```python
        @tool
        def recall(topic: str, runtime: ToolRuntime[Caller]) -> str:
            '''Recall what was said.'''
            said = runtime.state["messages"]
            return find(said, topic, runtime.context.user)
        ```

    Attributes:
        state: The state of the graph, as its node sees it.
        context: What the caller of the graph passed as `context=`.
        config: The config of the call.
        stream_writer: Writes one value to the `custom` stream.
        tool_call_id: The id of the call.
        store: The store of the graph; None if it has none.
        tools: All tools of the node.
        execution_info: Where the node executes; None outside of a graph.
        server_info: What a server says about the run; None without one.
    """

    state: StateT
    context: ContextT
    config: RunnableConfig
    stream_writer: StreamWriter
    tool_call_id: str | None
    store: BaseStore | None
    tools: list[BaseTool] = field(default_factory=list)
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None

    def emit_output_delta(self, delta: object) -> None:
        """Show a part of the output before the tool has ended, with `stream_mode="tools"`.

        Args:
            delta: The part, of any kind. Nothing happens with it where nobody streams tools.
        """
        writer = tool_call_writer.get()
        if writer is not None:
            writer(delta)


class InjectedState(InjectedToolArg):
    """Marks a parameter of a tool that is filled with the state of the graph.

    Args:
        field: The key of the state; None for the whole of it.
    """

    def __init__(self, field: str | None = None) -> None:
        self.field = field


class InjectedStore(InjectedToolArg):
    """Marks a parameter of a tool that is filled with the store of the graph."""


AnyRuntime: TypeAlias = Runtime[Any]
AnyToolRuntime: TypeAlias = ToolRuntime[Any, Any]

_Marker = type[InjectedState | InjectedStore | AnyToolRuntime]


@dataclass(frozen=True, slots=True)
class InjectedArguments:
    """The parameters of a tool that its model does not fill.

    Attributes:
        state: Of each parameter for the state the key, None for all of it.
        optional: Those of them that may be left out.
        store: The parameter for the store.
        runtime: The parameter for the runtime.
        hidden: All parameters that a model's values are taken out of.
    """

    state: Mapping[str, str | None]
    optional: frozenset[str]
    store: str | None
    runtime: str | None
    hidden: frozenset[str]

    @classmethod
    def of(cls, tool: BaseTool) -> InjectedArguments:
        """Look at a tool.

        Args:
            tool: The tool.

        Raises:
            ValueError: A parameter is marked twice with the same class.
        """
        schema = cast("type[BaseModel]", tool.get_input_schema())
        function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
        hints = get_type_hints(function, include_extras=True) if function else {}
        state: dict[str, str | None] = {}
        optional, hidden = set(), set()
        store: str | None = None
        runtime: str | None = None
        for name, annotation in {**hints, **get_all_basemodel_annotations(schema)}.items():
            if _is_injected_arg_type(annotation):
                hidden.add(name)
            if name == "runtime" or _marked(annotation, ToolRuntime) is not None:
                runtime = name
            if _marked(annotation, InjectedStore) is not None:
                store = name
            if (marker := _marked(annotation, InjectedState)) is not None:
                state[name] = key = (getattr(marker, "field", None) or None) if _is_instance(marker) else None
                declared = schema.model_fields.get(name)
                if key is not None and declared is not None and not declared.is_required():
                    optional.add(name)
        return cls(state, frozenset(optional), store, runtime, frozenset(hidden))

    @property
    def names(self) -> frozenset[str]:
        """The parameters that are filled."""
        return frozenset({*self.state, *(name for name in (self.store, self.runtime) if name)})

    @property
    def change_nothing(self) -> bool:
        """True if the arguments of a call are what the model wrote."""
        return not (self.state or self.store or self.runtime or self.hidden)

    def into(self, call: ToolCall, runtime: AnyToolRuntime, messages_key: str) -> ToolCall:
        """Copy a call with its injected arguments.

        Args:
            call: The call of the model.
            runtime: Where the values come from.
            messages_key: The key of a state that is a list of messages.

        Raises:
            KeyError: A key is missing in the state.
            AttributeError: An attribute is missing in the state.
            ValueError: There is no store, or the state is a list and a tool wants more of it than the messages.
        """
        given: dict[str, object] = {}
        if self.state:
            state = runtime.state
            if isinstance(state, list):
                state = {messages_key: self._checked_list(call, state, messages_key)}
            given = self._of_state(state)
        if self.store:
            if runtime.store is None:
                raise ValueError(
                    "Cannot inject store into tools with InjectedStore annotations - "
                    "please compile your graph with a store."
                )
            given[self.store] = runtime.store
        if self.runtime:
            given[self.runtime] = runtime
        # A model that makes up a value for such a parameter must not be believed.
        written = {name: value for name, value in call["args"].items() if name not in self.hidden}
        return {**call, "args": {**written, **given}}

    def _of_state(self, state: Any) -> dict[str, object]:
        is_dict = isinstance(state, dict)
        given = {}
        for name, key in self.state.items():
            if key is None:
                given[name] = state
            elif key in state if is_dict else hasattr(state, key):
                given[name] = state[key] if is_dict else getattr(state, key)
            elif name not in self.optional:
                raise KeyError(key) if is_dict else AttributeError(key)
        return given

    def _checked_list(self, call: ToolCall, state: list[object], messages_key: str) -> list[object]:
        wanted = [*self.state.values()]
        if wanted[0] is None or wanted == [messages_key]:
            return state
        keys = ", ".join(key for key in wanted if key)
        raise ValueError(
            f"Invalid input to ToolNode. Tool {call['name']} requires graph state dict as input."
            + (f" State should contain fields {keys}." if keys else "")
        )


def _marked(annotation: object, marker: _Marker) -> object:
    """Return the class or instance that marks an annotation; None if there is none.

    Raises:
        ValueError: There are several.
    """
    found = [part for arg in get_args(annotation) for part in _parts(arg) if _is(part, marker)]
    if len(found) > 1:
        raise ValueError(
            f"A tool argument should not be annotated with {marker.__name__} more than once. Found: {found}"
        )
    if found:
        return found[0]
    return annotation if _is(annotation, marker) else None


def _parts(annotation: object) -> Iterator[object]:
    """Yield what stands in unions and `Annotated`, at any depth."""
    if get_origin(annotation) in (Annotated, Union):
        for arg in get_args(annotation):
            yield from _parts(arg)
    else:
        yield annotation


def _is(part: object, marker: _Marker) -> bool:
    kind = get_origin(part) or part
    return isinstance(part, marker) or (isinstance(kind, type) and issubclass(kind, marker))


def _is_instance(marker: object) -> bool:
    return isinstance(marker, InjectedState)
