"""The calls of a graph as type checkers see them, from its schemas to what `invoke` returns.

The engine has one signature of each call, for graphs of any kind. What a state graph returns is known from its schemas:

* the output of a graph with a TypedDict is a dict of that type;
* that of one with a dataclass or a pydantic model is a plain dict, as LangGraph's is; with `version="2"` of a call, or
  `compile(validate="output")`, it is an instance;
* a call with `output_keys`, or with a mode or a version that is only known when it runs, may return anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Generic, Literal, Protocol, overload

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel
from typing_extensions import TypeVar, Unpack

from stategraph.engine.engine import StateGraphEngine
from stategraph.graph.typed.options import RunOptions
from stategraph.stream_parts import StreamMode, StreamPart
from stategraph.types import Command, GraphOutput, StateSnapshot
from stategraph.typing import ContextT, DataclassLike, InputT, OutputT, StateT

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")

Output_co = TypeVar("Output_co", covariant=True)
State_co = TypeVar("State_co", covariant=True)

class Returns(Protocol[Output_co]):
    """A graph, by its output: what tells an overload that it is not a TypedDict."""

    @property
    def _output_type(self) -> Output_co: ...

class Holds(Protocol[State_co]):
    """A graph, by its state."""

    @property
    def _state_type(self) -> State_co: ...

Modes = StreamMode | Sequence[StreamMode] | None

class StateGraphCalls(StateGraphEngine[StateT, ContextT, InputT, OutputT], Generic[StateT, ContextT, InputT, OutputT]):
    """The calls of a compiled state graph."""

    # For overloads only; no graph has them.
    @property
    def _output_type(self) -> OutputT: ...
    @property
    def _state_type(self) -> StateT: ...
    @overload
    def invoke(
        self: Returns[DataclassLike | BaseModel],
        input: InputT | dict[str, Any] | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> dict[str, Any]: ...
    @overload
    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> OutputT: ...
    @overload
    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v2"],
        **options: Unpack[RunOptions[ContextT]],
    ) -> GraphOutput[OutputT]: ...
    @overload
    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode = "values",
        output_keys: str | Sequence[str] | None = None,
        version: Literal["v1", "v2"] = "v1",
        **options: Any,
    ) -> Any: ...
    @overload
    async def ainvoke(
        self: Returns[DataclassLike | BaseModel],
        input: InputT | dict[str, Any] | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> dict[str, Any]: ...
    @overload
    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> OutputT: ...
    @overload
    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v2"],
        **options: Unpack[RunOptions[ContextT]],
    ) -> GraphOutput[OutputT]: ...
    @overload
    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode = "values",
        output_keys: str | Sequence[str] | None = None,
        version: Literal["v1", "v2"] = "v1",
        **options: Any,
    ) -> Any: ...
    @overload  # type: ignore[override]
    def stream(
        self: Holds[DataclassLike | BaseModel],
        input: InputT | dict[str, Any] | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values", "updates"] | None = None,
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> Iterator[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"],
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> Iterator[StateT]: ...
    @overload
    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["updates"] | None = None,
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> Iterator[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["messages"],
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> Iterator[tuple[BaseMessage, dict[str, Any]]]: ...
    @overload
    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: list[StreamMode] | tuple[StreamMode, ...],
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> Iterator[tuple[StreamMode, Any]]: ...
    @overload
    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Modes = None,
        output_keys: None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v2"],
        **options: Unpack[RunOptions[ContextT]],
    ) -> Iterator[StreamPart[StateT, OutputT]]: ...
    @overload
    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes = None,
        output_keys: str | Sequence[str] | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v1", "v2"] = "v1",
        **options: Any,
    ) -> Iterator[Any]: ...
    @overload  # type: ignore[override]
    def astream(
        self: Holds[DataclassLike | BaseModel],
        input: InputT | dict[str, Any] | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values", "updates"] | None = None,
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> AsyncIterator[dict[str, Any]]: ...
    @overload
    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"],
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> AsyncIterator[StateT]: ...
    @overload
    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["updates"] | None = None,
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> AsyncIterator[dict[str, Any]]: ...
    @overload
    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["messages"],
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> AsyncIterator[tuple[BaseMessage, dict[str, Any]]]: ...
    @overload
    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: list[StreamMode] | tuple[StreamMode, ...],
        output_keys: None = None,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> AsyncIterator[tuple[StreamMode, Any]]: ...
    @overload
    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Modes = None,
        output_keys: None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v2"],
        **options: Unpack[RunOptions[ContextT]],
    ) -> AsyncIterator[StreamPart[StateT, OutputT]]: ...
    @overload
    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes = None,
        output_keys: str | Sequence[str] | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v1", "v2"] = "v1",
        **options: Any,
    ) -> AsyncIterator[Any]: ...
    @overload
    def get_state(
        self: Holds[DataclassLike | BaseModel], config: RunnableConfig, *, subgraphs: bool = False
    ) -> StateSnapshot[dict[str, Any]]: ...
    @overload
    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot[StateT]: ...
    @overload
    async def aget_state(
        self: Holds[DataclassLike | BaseModel], config: RunnableConfig, *, subgraphs: bool = False
    ) -> StateSnapshot[dict[str, Any]]: ...
    @overload
    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot[StateT]: ...

class FunctionGraph(StateGraphEngine[Any, ContextT, Any, Any], Generic[ArgumentT, ResultT, ContextT]):
    """The calls of the graph that `@entrypoint` makes of a function."""

    @overload
    def invoke(
        self,
        input: ArgumentT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> ResultT: ...
    @overload
    def invoke(
        self,
        input: ArgumentT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode = "values",
        output_keys: str | Sequence[str] | None = None,
        version: Literal["v1", "v2"] = "v1",
        **options: Any,
    ) -> Any: ...
    @overload
    async def ainvoke(
        self,
        input: ArgumentT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        stream_mode: Literal["values"] = "values",
        output_keys: None = None,
        version: Literal["v1"] = "v1",
        **options: Unpack[RunOptions[ContextT]],
    ) -> ResultT: ...
    @overload
    async def ainvoke(
        self,
        input: ArgumentT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode = "values",
        output_keys: str | Sequence[str] | None = None,
        version: Literal["v1", "v2"] = "v1",
        **options: Any,
    ) -> Any: ...
