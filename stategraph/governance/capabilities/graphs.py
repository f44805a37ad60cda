"""Compiled graphs as capabilities.

- A graph whose input has `messages` is given a task, and its result is the text of its last message. Any other graph is
  given the arguments as its input, and its result is its output as JSON. `input_schema` says otherwise.
- It is nested in the graph of the caller: it pauses and resumes with it, and its checkpoints are part of the thread.
- Its digest is over names, schemas, the nodes with the code of their functions, and the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol, get_type_hints, is_typeddict

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, create_model
from pydantic.errors import PydanticUserError

from stategraph.agent.messages import truncation
from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities import digests
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult, Offer
from stategraph.governance.capabilities.traits import Traits, described
from stategraph.run.json_safe import to_json

TASK: Final = "task"
_MESSAGES: Final = "messages"
_UNNAMED: Final = "LangGraph"

_TASK_SCHEMA: Final = {
    "type": "object",
    "properties": {TASK: {"type": "string", "description": "The whole task: it is told nothing else."}},
    "required": [TASK],
}


class Graph(Protocol):
    """A graph that can be invoked."""

    def get_name(self) -> str:
        """Return its name."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, /) -> Any:
        """Run it and return its output."""

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, /) -> Any:
        """Run it and return its output."""


def offer(
    graph: Graph,
    traits: Traits | None = None,
    *,
    input_schema: Mapping[str, Any] | None = None,
    output: str | None = None,
) -> Offer:
    """Make a capability of a compiled graph.

    Args:
        graph: The graph; a remote one needs `input_schema`, and a version in `traits` that follows its changes.
        traits: What the host says of it. It needs a description, and a name where the graph has none.
        input_schema: The JSON Schema of its input; None: see the rules of this module.
        output: The key of its output that is the result; None: all of it.

    Raises:
        ConfigurationError: It has no name, description or schema.
    """
    said = traits or Traits()
    name = said.name or graph.get_name()
    if name == _UNNAMED or not said.description:
        missing = "name" if name == _UNNAMED else "description"
        raise ConfigurationError(
            f"A graph needs a {missing} for models to become a capability: Traits(name='refund', description='...')"
        )
    natural = _schema_of(graph, "input") if input_schema is None else dict(input_schema)
    if natural is None:
        raise ConfigurationError(f"The graph {name!r} has no schema of its input: give input_schema")
    by_task = input_schema is None and _MESSAGES in natural.get("properties", {})
    schema = _TASK_SCHEMA if by_task else natural
    output_schema = None if by_task or output is not None else _schema_of(graph, "output")
    digest, parts = digests.of_parts(
        {
            "name": name,
            "description": said.description,
            "input_schema": schema,
            "output_schema": output_schema,
            "code": sorted(_nodes(graph)),
            "edges": _edges(graph),
        }
    )
    made = described(
        "graph",
        "graphs",
        name,
        said,
        digest,
        description=said.description,
        input_schema=schema,
        output_schema=output_schema,
    )
    return Offer(made, GraphExecutor(graph, by_task=by_task, output=output), parts=parts)


class GraphExecutor:
    """Executes calls with a graph.

    Args:
        graph: The graph.
        by_task: Whether it is given a task as a message.
        output: The key of its output that is the result; None: the last message's text, or all of the output.
    """

    def __init__(self, graph: Graph, *, by_task: bool, output: str | None) -> None:
        self._graph = graph
        self._by_task = by_task
        self._output = output

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        """Run the graph in an event loop."""
        return self._result(await self._graph.ainvoke(self._input(call), call.config))

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        """Run the graph and wait."""
        return self._result(self._graph.invoke(self._input(call), call.config))

    def _input(self, call: CapabilityCall) -> Any:
        if not self._by_task:
            return dict(call.arguments)
        # An id that stays: a node that is run again does not tell the task twice.
        return {_MESSAGES: [HumanMessage(str(call.arguments[TASK]), id=f"task-{call.call_id}")]}

    def _result(self, state: Any) -> CapabilityResult:
        if self._output is not None:
            return CapabilityResult(_text(state[self._output]))
        if self._by_task:
            messages = state[_MESSAGES] if isinstance(state, Mapping) else getattr(state, _MESSAGES)
            return CapabilityResult(truncation.text_of(messages[-1].content))
        return CapabilityResult(_text(state))


def _schema_of(graph: object, end: Literal["input", "output"]) -> dict[str, Any] | None:
    """Return the schema of a graph's input or output; None: it does not say."""
    known: Callable[[], dict[str, Any]] | None = getattr(graph, f"get_{end}_jsonschema", None)
    if known is None:
        return None
    try:
        return known()
    except PydanticUserError:  # a `typing.TypedDict`, of which pydantic reads the fields alone before Python 3.12
        state = getattr(getattr(graph, "builder", None), f"{end}_schema", None)
        if state is None or not is_typeddict(state):
            raise
        fields: dict[str, Any] = {
            name: (hint, ...) for name, hint in get_type_hints(state, include_extras=True).items()
        }
        made: type[BaseModel] = create_model(state.__name__, **fields)
        return made.model_json_schema()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def _nodes(graph: Any, within: str = "", depth: int = 8) -> Iterator[str]:
    """Yield the nodes of a graph and of the graphs in it, each with the digest of its code or the name of its class."""
    nodes = getattr(graph, "nodes", None)
    for name, node in nodes.items() if isinstance(nodes, Mapping) else ():
        work = getattr(node, "bound", node)
        work = (getattr(work, "steps", None) or [work])[0]
        code = digests.of_code(getattr(work, "func", None) or getattr(work, "afunc", None))
        yield f"{within}{name} {code or f'{type(work).__module__}.{type(work).__qualname__}'}"
        if depth:
            yield from _nodes(work, f"{within}{name}/", depth - 1)


def _edges(graph: Any) -> list[str] | None:
    drawn = getattr(graph, "get_graph", None)
    if drawn is None or not isinstance(getattr(graph, "nodes", None), Mapping):
        return None
    return sorted(f"{each.source} {each.target} {bool(each.conditional)}" for each in drawn().edges)
