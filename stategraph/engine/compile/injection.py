"""Arguments that a function is given beyond its input, decided once from its signature.

A parameter counts if its name is in the table and its annotation is one of those listed with it.

| parameter | annotation | filled with | if there is none |
|---|---|---|---|
| `config` | `RunnableConfig`, the same or None, or nothing | the task's config | |
| `runtime` | any | the task's `Runtime` | error |
| `previous` | any | `Runtime.previous` | error |
| `store` | `BaseStore` or nothing | `Runtime.store` | error |
| `store` | `BaseStore` or None | `Runtime.store` | None |
| `writer` | `StreamWriter` or nothing | `Runtime.stream_writer` | a function that does nothing |
| `error` | `NodeError` | the failure that an error handler handles | None |
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Optional

from langchain_core.runnables import RunnableConfig
from langgraph.store.base import BaseStore

from stategraph.constants import CONF, CONFIG_KEY_NODE_ERROR, CONFIG_KEY_RUNTIME, MISSING
from stategraph.engine.config.runtime import _no_op_stream_writer
from stategraph.errors import NodeError
from stategraph.types import StreamWriter

_ANYTHING: Final = object()
_EMPTY: Final = inspect.Parameter.empty
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

Source = Literal["config", "runtime", "error", "attribute"]


@dataclass(frozen=True, slots=True)
class Want:
    """One argument that a function wants to be given.

    Attributes:
        name: The parameter.
        source: Where the value comes from: the config itself, the runtime itself, the failure in the config, or an
            attribute of the runtime.
        attribute: Which attribute of the runtime; empty for the other sources.
        default: What to pass if there is none. `MISSING` makes that an error.
    """

    name: str
    source: Source
    attribute: str = ""
    default: object = MISSING


# In this order, because the later of two matching rows wins.
_TABLE: Final[tuple[tuple[Want, tuple[Any, ...]], ...]] = (
    (
        Want("config", "config"),
        (RunnableConfig, Optional[RunnableConfig], "RunnableConfig", "Optional[RunnableConfig]", _EMPTY),  # noqa: UP045
    ),
    (
        Want("writer", "attribute", "stream_writer", _no_op_stream_writer),
        (StreamWriter, "StreamWriter", _EMPTY),
    ),
    (
        Want("store", "attribute", "store"),
        (BaseStore, "BaseStore", _EMPTY),
    ),
    (
        Want("store", "attribute", "store", None),
        (Optional[BaseStore], "Optional[BaseStore]"),  # noqa: UP045
    ),
    (Want("previous", "attribute", "previous"), (_ANYTHING,)),
    (Want("runtime", "runtime"), (_ANYTHING,)),
    (Want("error", "error", default=None), (NodeError, "NodeError")),
)


def _spelled(annotation: object) -> object:
    """Bring an annotation that was left as text into the spelling of the table.

    `X | None`, in either order, is `Optional[X]`; names of modules in front do not matter.
    """
    if not isinstance(annotation, str):
        return annotation
    parts = [part.strip() for part in annotation.split("|")]
    named = [part for part in parts if part != "None"]
    if len(named) != 1:
        return annotation
    if len(parts) == 2:
        return f"Optional[{named[0].rpartition('.')[2]}]"
    outer, bracket, inner = named[0].rstrip("]").partition("[")
    names = [part.rpartition(".")[2] for part in (outer, inner)]
    return f"{names[0]}[{names[1]}]" if bracket else names[0]


def wanted_arguments(func: Callable[..., object]) -> tuple[Want, ...]:
    """Find out which arguments a function wants to be given, from its signature.

    Warns if a parameter named `config` is annotated as something that it will not get.
    """
    try:
        parameters = inspect.signature(func).parameters
    except ValueError:  # a builtin without a signature wants nothing
        return ()
    wants: dict[str, Want] = {}
    for want, accepted in _TABLE:
        parameter = parameters.get(want.name)
        if parameter is None or parameter.kind not in _BY_NAME:
            continue
        if accepted[0] is _ANYTHING or _spelled(parameter.annotation) in accepted:
            wants[want.name] = want
        elif want.name == "config":
            warnings.warn(
                "The 'config' parameter should be typed as 'RunnableConfig' or 'RunnableConfig | None', "
                f"not '{parameter.annotation}'. ",
                UserWarning,
                stacklevel=5,
            )
    return tuple(wants.values())


def fetch_arguments(
    wants: Sequence[Want], config: RunnableConfig, given: dict[str, object], owner: object
) -> dict[str, object]:
    """Add the arguments that a function wants to those it is given.

    Args:
        wants: What the function wants.
        config: The config of its task.
        given: Arguments already decided, which stay as they are. Changed in place.
        owner: Named in the error.

    Returns:
        `given`.

    Raises:
        ValueError: If a wanted value does not exist and cannot be left out.
    """
    conf = config.get(CONF) or {}
    runtime = conf.get(CONFIG_KEY_RUNTIME)
    for want in wants:
        if want.name in given:
            continue
        source = want.source
        if source == "config":
            value: object = config
        elif source == "error":
            value = conf.get(CONFIG_KEY_NODE_ERROR, MISSING)
        elif not runtime:
            value = MISSING
        elif source == "runtime":
            value = runtime
        else:
            value = getattr(runtime, want.attribute, MISSING)
        if value is MISSING:
            if want.default is MISSING:
                raise ValueError(
                    f"'{owner}' has a parameter '{want.name}', which only a running graph can fill in, and there is "
                    f"none around this call. Call it within a graph, or pass {want.name}=... to invoke()."
                )
            value = want.default
        given[want.name] = value
    return given
