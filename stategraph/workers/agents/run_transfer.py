"""A run's configuration as data: code in it becomes import paths, parts that stay with the host are left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from types import FunctionType
from typing import Any, get_origin

from pydantic import SecretStr

from stategraph.agent.settings import output_members
from stategraph.agent.settings.validation import Settings
from stategraph.engine.compile import identity
from stategraph.errors import TransferError
from stategraph.run.config import RunConfig
from stategraph.workers.references import Reference, recipe_of, reference_to

#: Parts that the host keeps: they are asked by calls, or applied there.
_HOSTS = ("custom_handlers", "hooks", "return_content", "event_log_size")


def as_data(config: RunConfig) -> dict[str, Any]:
    """Return a run's configuration for a worker.

    Args:
        config: The configuration.

    Returns:
        A mapping that `RunConfig` takes once its references are resolved. Handlers, hooks, signals and the checkpointer
        are not in it.

    Raises:
        TransferError: Code in it has no import path; the message names the field.
    """
    fields = {name: getattr(config, name) for name in config.model_fields_set if name not in _HOSTS}
    graph, hosts = fields.pop("graph_config", config.graph_config), fields.pop("graph", None)
    plain = {name: _plain(value, name) for name, value in fields.items()}
    plain["graph_config"] = _graph(graph)
    if hosts is not None:
        path = hosts if isinstance(hosts, str) else None
        if path is None and recipe_of(hosts) is None and not isinstance(hosts, FunctionType):
            path = identity.import_path_of(hosts)
        plain["graph"] = reference_to(hosts, "The graph of a run") if path is None else Reference(path)
    return plain


def _graph(graph: Any) -> dict[str, object]:
    options = graph.compile_options
    kept: dict[str, Any] = {
        "type": graph.type,
        "agents": [_settings(agent, f"agent {agent.agent_id!r}") for agent in graph.agents],
        "edges": [_settings(edge, f"the edge to {', '.join(edge.to)}") for edge in graph.edges],
        "compile_options": {
            "interrupt_before": list(options.interrupt_before),
            "interrupt_after": list(options.interrupt_after),
        },
    }
    if options.store is not None:
        kept["compile_options"]["store"] = reference_to(options.store, "The store of a run")
    return kept


def _settings(settings: Settings, what: str) -> dict[str, object]:
    fields = {name: getattr(settings, name) for name in settings.model_fields_set}
    if fields.get("output_type") is not None:
        fields["output_type"] = [_output_type(each, what) for each in output_members.names(fields["output_type"])]
    return {name: _plain(value, f"{what}: {name}") for name, value in fields.items()}


def _output_type(member: object, what: str) -> object:
    """Return a member of an output type; an import path as a reference, as workers import from their list alone."""
    if get_origin(member) is not None:
        raise TransferError(
            f"The output type {member!r} of {what} cannot be sent to a worker, as it has no import path of its own: "
            "give it a name in a module, and that as the type: output_type='package.module:Name'"
        )
    return Reference(member) if isinstance(member, str) and member not in output_members.SCALARS else member


def _plain(value: object, what: str) -> Any:
    """Return a value as data, with references for code."""
    match value:
        case Reference():
            return value
        case Enum():
            return value.value
        case None | bool() | int() | float() | str() | bytes() | SecretStr():
            return value
        case Settings():
            return _settings(value, what)
        case Mapping():
            return {key: _plain(each, f"{what}[{key!r}]") for key, each in value.items()}
        case list() | tuple() | set() | frozenset() if not hasattr(value, "_fields"):
            return [_plain(each, f"{what}[{index}]") for index, each in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and recipe_of(value) is None:
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
        made_by = reference_to(type(value), f"The class of {what}")
        return Reference(made_by.target, _plain(fields, what))
    return reference_to(value, what[0].upper() + what[1:])
