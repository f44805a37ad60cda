"""Contexts of runs, fitted to the schemas of graphs as LangGraph's server does it.

Rules
-----
* A graph whose context is a dataclass or a pydantic model always has one: without anything from the client, what the
  fields say by themselves. A required field that is missing fails the run.
* What a client sends beside the fields of a dataclass is left out; a pydantic model says itself what it takes.
* Other graphs have no context if the client sent nothing or an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel


def fitted(schema: Any, context: Any) -> Any:
    """Return the context that a graph is called with; None: none.

    Args:
        schema: The graph's context schema; None: it has none.
        context: What the run was submitted with.
    """
    if context is not None and not isinstance(context, Mapping):
        return context
    given = dict(context or {})
    if is_dataclass(schema):
        names = {each.name for each in fields(schema) if each.init}
        return {name: value for name, value in given.items() if name in names}
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return given
    return given or None
