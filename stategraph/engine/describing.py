"""What a compiled graph says about itself: its picture, and the schemas of its input, output and context.

Nothing here is needed to run a graph; `Described` keeps it out of the engine's way.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import deprecated

from stategraph.core.channels.base import BaseChannel
from stategraph.engine import json_schema
from stategraph.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:  # drawing code is loaded by whoever draws
    from langchain_core.runnables.graph import Graph
    from pydantic import BaseModel

    from stategraph.engine.node import PregelNode
    from stategraph.engine.protocol import GraphProtocol

_CONFIG_SCHEMA_GONE = "`config_schema` is deprecated. Use `get_context_jsonschema` for the relevant schema instead."
_CONFIG_JSONSCHEMA_GONE = "`get_config_jsonschema` is deprecated. Use `get_context_jsonschema` instead."


class Described(Runnable[Any, Any]):
    """The part of a compiled graph that describes it.

    Attributes:
        nodes: The compiled nodes.
        channels: The channels, and managed values if there are any.
        input_channels: The channel, or channels, that the input is written to.
        output_channels: The channel, or channels, that the output is read from.
        interrupt_before_nodes: Where runs stop before a node; ``"*"`` for everywhere.
        interrupt_after_nodes: As ``interrupt_before_nodes``.
        context_schema: The type of the run context, or None.
    """

    nodes: Mapping[str, PregelNode]
    channels: Mapping[str, Any]
    input_channels: str | Sequence[str]
    output_channels: str | Sequence[str]
    interrupt_before_nodes: str | Sequence[str]
    interrupt_after_nodes: str | Sequence[str]
    context_schema: Any

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, GraphProtocol[Any, Any, Any, Any]]]:
        """Yield the graphs that nodes run, with the names of these nodes."""
        raise NotImplementedError

    def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, GraphProtocol[Any, Any, Any, Any]]]:
        """As `get_subgraphs`."""
        raise NotImplementedError

    # --- the picture ---

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Draw the graph.

        Args:
            config: Handed on to the subgraphs.
            xray: How many levels of subgraphs are drawn in place of their nodes; True for all.
        """
        if not xray:
            return self._draw({})
        deeper = _one_level_less(xray)
        return self._draw({name: graph.get_graph(config, xray=deeper) for name, graph in self.get_subgraphs()})

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """As `get_graph`, for subgraphs that have to be asked over a network."""
        if not xray:
            return self._draw({})
        deeper = _one_level_less(xray)
        found = [item async for item in self.aget_subgraphs()]
        pictures = await asyncio.gather(*(graph.aget_graph(config, xray=deeper) for _, graph in found))
        return self._draw({name: picture for (name, _), picture in zip(found, pictures, strict=True)})

    def _draw(self, subgraphs: Mapping[str, Graph]) -> Graph:
        from stategraph.engine import draw  # 4 ms that only drawing needs

        plan = draw.plan_of(
            self.nodes,
            self.channels,
            input_channels=self.input_channels,
            interrupt_before=self.interrupt_before_nodes,
            interrupt_after=self.interrupt_after_nodes,
        )
        return draw.draw(plan, subgraphs=subgraphs)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """What a notebook shows."""
        return {"text/plain": repr(self), "image/png": self.get_graph().draw_mermaid_png()}

    # --- the schemas ---

    @property
    def InputType(self) -> Any:  # noqa: N802  the public name
        """The type of the one channel that the input is written to; None if it goes to several."""
        return self._type_of(self.input_channels, "UpdateType")

    @property
    def OutputType(self) -> Any:  # noqa: N802  the public name
        """The type of the one channel that the output is read from; None if it is read from several."""
        return self._type_of(self.output_channels, "ValueType")

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """A model of the input."""
        if isinstance(self.input_channels, str):
            return cast("type[BaseModel]", super().get_input_schema(config))
        return self._model_of("Input", self.input_channels or self.channels, "UpdateType")

    def get_output_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """A model of the output."""
        if isinstance(self.output_channels, str):
            return cast("type[BaseModel]", super().get_output_schema(config))
        return self._model_of("Output", self.output_channels, "ValueType")

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """The JSON schema of the input."""
        return self.get_input_schema(config).model_json_schema()

    def get_output_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """The JSON schema of the output."""
        return self.get_output_schema(config).model_json_schema()

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """The JSON schema of the run context; None if the graph declares none.

        Raises:
            ValueError: If the context's type is neither a model, nor a typed dict, nor a dataclass.
        """
        return json_schema.context_json_schema(self.context_schema)

    @deprecated(_CONFIG_SCHEMA_GONE, category=None)
    def config_schema(self, *, include: Sequence[str] | None = None) -> type[BaseModel]:
        """A model of the config, with the context as ``configurable``. Deprecated.

        Args:
            include: Other keys of the config to put into the model.
        """
        warnings.warn(_CONFIG_SCHEMA_GONE, category=LangGraphDeprecatedSinceV10, stacklevel=2)
        return self._config_model(include or ())

    @deprecated(_CONFIG_JSONSCHEMA_GONE, category=None)
    def get_config_jsonschema(self, *, include: Sequence[str] | None = None) -> dict[str, Any]:
        """The JSON schema of the config, with the context as ``configurable``. Deprecated.

        Args:
            include: Other keys of the config to put into the schema.
        """
        warnings.warn(_CONFIG_JSONSCHEMA_GONE, category=LangGraphDeprecatedSinceV10, stacklevel=2)
        return self._config_model(include or ()).model_json_schema()

    def _config_model(self, include: Sequence[str]) -> type[BaseModel]:
        fields = {"configurable": (self.context_schema, None)} if self.context_schema else {}
        for name, type_ in get_type_hints(RunnableConfig).items():
            if name in include and name != "configurable":
                fields[name] = (type_, None)
        return json_schema.model_of(self.get_name("Config"), fields)

    def _type_of(self, channels: str | Sequence[str], which: str) -> Any:
        channel = self.channels[channels] if isinstance(channels, str) else None
        return getattr(channel, which) if isinstance(channel, BaseChannel) else None

    def _model_of(self, suffix: str, names: Sequence[str] | Mapping[str, Any], which: str) -> type[BaseModel]:
        channels = ((name, self.channels[name]) for name in names)
        fields = {
            name: (getattr(channel, which), None) for name, channel in channels if isinstance(channel, BaseChannel)
        }
        return json_schema.model_of(self.get_name(suffix), fields)


def _one_level_less(xray: int | bool) -> int | bool:
    return xray if isinstance(xray, bool) or xray <= 0 else xray - 1
