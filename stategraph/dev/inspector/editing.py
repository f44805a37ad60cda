"""States changed from any step, each as a branch of its own: what was stored stays.

- A value is set, and not merged: what a reducer keeps is replaced (`Overwrite`).
- It is checked against the type that the graph's state declares, else against the value that was there.
- A changed state counts as that of a node, which decides what comes next: by its edges, asked anew. What they cannot
  have decided goes on as it did, see `upcoming`.
- A branch without changes is a copy of its step, without what its tasks have written: they run again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, NotRequired, Required, Union, get_args, get_origin

from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from typing_extensions import ReadOnly

from stategraph import types
from stategraph.agent.settings.secrets import HIDDEN
from stategraph.dev.inspector import graphs, steps, upcoming, values
from stategraph.dev.inspector.graphs import Graph
from stategraph.dev.inspector.steps import EDITED_AS, Step
from stategraph.dev.inspector.values import kind_of
from stategraph.dev.replies import RefusedError
from stategraph.run.graphs.loading import is_foreign

#: Channels that hold a value that can be set.
_SETTABLE: Final = ("LastValue", "LastValueAfterFinish", "AnyValue", "UntrackedValue")

_COPY: Final = "__copy__"

#: Declarations around a type, and types that say nothing of what is in a value.
_MARKS: Final = (Annotated, NotRequired, Required, ReadOnly)
_BARE: Final = (None, Any, list, dict, object)


class GraphRefusedError(Exception):
    """A state that the graph itself refuses.

    Args:
        node: The node that the state was to count as that of.
        error: The error of the graph.
    """

    def __init__(self, node: str, error: Exception) -> None:
        super().__init__(f"The state was not changed: the graph refused it as that of '{node}'")
        self.error = error


async def branch(graph: Graph, step: Step, given: Mapping[str, Any] | None, as_node: str | None) -> str:
    """Begin a branch at a step, and return the id of its first checkpoint.

    Args:
        graph: The compiled graph.
        step: Where.
        given: Values of JSON to be set, by their names; None: the state stays as it is.
        as_node: The node that the state is to count as that of; None: the one that made the step.

    Raises:
        RefusedError: A value does not fit, a node or value is not known, or what comes next would be lost.
        GraphRefusedError: The graph refuses the state.
    """
    config = {**step.place.config(step.id), "metadata": {}}
    if not given:
        return steps.id_of(await graph.aupdate_state(config, None, as_node=_COPY))
    node = _node(graph, step, as_node)
    update: Any = {name: _checked(graph, step, name, value) for name, value in given.items()}
    module = _types(graph)
    for name, value in update.items():
        if graphs.reducer_of(graph.channels[name]) is not None:
            update[name] = module.Overwrite(value)
    if goes_on := await upcoming.kept(graph, step, node, _made(graph, step), chosen=as_node is not None):
        update = module.Command(update=update, goto=goes_on)
    config["metadata"] = {EDITED_AS: node}
    try:
        return steps.id_of(await graph.aupdate_state(config, update, as_node=node))
    except Exception as error:  # of the graph's own routers, or of a schema that checks its states
        raise GraphRefusedError(node, error) from error


def nodes_of(graph: Graph, step: Step) -> list[str]:
    """Return the nodes that a changed state may count as that of, the one that made the step first."""
    return list(dict.fromkeys([*_made(graph, step), *graph.nodes]))


def _made(graph: Graph, step: Step) -> list[str]:
    """Return the nodes that made a step, or the one that its changed state counts as that of."""
    edited = (step.state.metadata or {}).get(EDITED_AS)
    made = [edited] if isinstance(edited, str) else [task.name for task in step.ran()]
    return [name for name in dict.fromkeys(made) if name in graph.nodes]


def why_not(graph: Graph, name: str, value: Any) -> str | None:
    """Return why a value cannot be set, as a sentence; None: it can."""
    channel = graph.channels.get(name)
    if channel is None:
        return f"The graph's state has no '{name}'; it has {', '.join(_names(graph))}"
    if graphs.reducer_of(channel) is None and type(channel).__name__ not in _SETTABLE:
        return f"'{name}' is kept by a channel of type {type(channel).__name__}, which cannot be set"
    if value is not None and HIDDEN in json.dumps(value, ensure_ascii=False):
        return f"'{name}' has a part that is hidden here ({HIDDEN}), which would be stored in its place"
    return None


def _node(graph: Graph, step: Step, as_node: str | None) -> str:
    known = nodes_of(graph, step)
    if as_node is None:
        return known[0]
    if as_node not in known:
        raise RefusedError(400, f"'as_node' is {as_node!r:.80}; the graph's nodes are {', '.join(known)}")
    return as_node


def _names(graph: Graph) -> list[str]:
    return [name for name in graph.channels if not name.startswith(("__", "branch:", "join:"))]


def _checked(graph: Graph, step: Step, name: str, value: Any) -> Any:
    """Return a value of JSON as the graph's state holds it.

    Raises:
        RefusedError: It is of another type, or cannot be set.
    """
    if (problem := why_not(graph, name, value)) is not None:
        raise RefusedError(400, problem)
    declared = _unmarked(graphs.types_of(graph).get(name))
    before = values.named(step.state.values).get(name)
    if _holds_messages(declared):
        return _messages(name, value)
    if declared in _BARE or (adapter := _adapter(declared)) is None:
        return _like(name, value, before)
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise RefusedError(400, _sentence(name, error)) from None
    except (KeyError, TypeError, ValueError) as error:  # of a class that looks into what it is made of
        raise RefusedError(400, f"'{name}' cannot be read: {type(error).__name__}: {error}") from None


def _unmarked(declared: Any) -> Any:
    """Return a declared type without its reducer and what says whether it is required."""
    while get_origin(declared) in _MARKS:
        declared = get_args(declared)[0]
    return declared


def _holds_messages(declared: Any) -> bool:
    """Return whether a declared type is a list of messages; their base class says nothing of how they are read."""
    if get_origin(declared) not in (list, Sequence):
        return False
    (inner,) = get_args(declared)
    return all(isinstance(each, type) and issubclass(each, BaseMessage) for each in _alternatives(_unmarked(inner)))


def _alternatives(declared: Any) -> list[Any]:
    if get_origin(declared) in (Union, UnionType):
        return [_unmarked(each) for each in get_args(declared)]
    return [declared]


def _adapter(declared: Any) -> TypeAdapter[Any] | None:
    """Return what checks values of a declared type; None if nothing can."""
    try:
        return TypeAdapter(declared, config=ConfigDict(arbitrary_types_allowed=True, val_json_bytes="base64"))
    except PydanticUserError:
        try:  # a model or a dataclass has a config of its own
            return TypeAdapter(declared)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError):
            return None
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None


def _like(name: str, value: Any, before: Any) -> Any:
    """Return a value as one that is like the value before; messages are read as such."""
    shown = values.plain(before)
    if shown is not None and value is not None and kind_of(shown) != kind_of(value):
        raise RefusedError(
            400, f"'{name}' is of the kind {kind_of(value)}; expected the kind {kind_of(shown)}, as it was before"
        )
    if values.is_conversation(shown):
        return _messages(name, value)
    if values.is_message(shown):
        return _message(name, value)
    if shown != before:
        raise RefusedError(
            400,
            f"'{name}' holds a value of type {type(before).__name__}, and the graph's state does not declare how it is "
            "read from JSON: declare its type, as a dataclass or a model of pydantic",
        )
    return value


def _messages(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RefusedError(400, f"'{name}' is of the kind {kind_of(value)}; expected a list of messages")
    return [_message(f"{name}[{at}]", each) for at, each in enumerate(value)]


def _message(path: str, value: Any) -> Any:
    if not values.is_message(value):
        raise RefusedError(
            400, f"'{path}' is no message; expected an object with 'type' (human, ai, tool, system, ...) and 'content'"
        )
    fields = {key: each for key, each in value.items() if key != "type"}
    try:
        return values.MESSAGES[value["type"]](**fields)
    except ValidationError as error:
        raise RefusedError(400, _sentence(path, error)) from None
    except KeyError as error:
        raise RefusedError(400, f"'{path}' is a message of type '{value['type']}' and has no {error}") from None
    except (TypeError, ValueError) as error:
        raise RefusedError(400, f"'{path}' cannot be read: {type(error).__name__}: {error}") from None


def _sentence(name: str, error: ValidationError) -> str:
    """Return what does not fit in a value: where, what was found, what was expected."""
    told = []
    for each in error.errors(include_url=False, include_context=False)[:3]:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"])
        found = each.get("input")
        told.append(f"{name}{where}: {each['msg']}; found {kind_of(values.plain(found))} {_short(found)}")
    more = error.error_count() - len(told)
    return "The state was not changed. " + "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def _short(value: object) -> str:
    text = json.dumps(values.plain(value), ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _types(graph: Graph) -> Any:
    """Return the module with the `Command` and `Overwrite` that a graph knows: its own engine's."""
    found = sys.modules.get("langgraph.types") if is_foreign(graph) else None
    return found or types
