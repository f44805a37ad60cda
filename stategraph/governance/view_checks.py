"""Validation of what a session sees: faults that would show only when a model calls something."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from stategraph.agent.output.checks import SchemaCheck
from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities.skills import SkillReader
from stategraph.governance.capability import Capability
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityView, is_readable_skill


def problems(registry: Registry, view: CapabilityView) -> list[str]:
    """Return a sentence for each fault of a view; none: there is none.

    Nothing is contacted or executed. Found are patterns of the selector that match nothing, capabilities without a
    description, schemas that arguments cannot be held against, effect keys that name arguments which need not be given,
    capabilities that nobody can use, and `allowed-tools` of skills that allow nothing here.

    Args:
        registry: The registry of the view.
        view: The view.
    """
    found = [f"The selector's pattern '{each}' matches nothing that there is" for each in view.unmatched]
    for capability in view:
        found += (f"{capability.id}: {fault}" for fault in _faults(capability))
        if is_readable_skill(capability):
            found += (f"{capability.id}: {fault}" for fault in _of_skill(registry, view, capability))
    found += (f"{entry.capability.id} is {entry.state}: {entry.why}" for entry in registry.entries() if entry.why)
    return found


def _faults(capability: Capability) -> Iterator[str]:
    if not capability.description.strip():
        yield "it has no description, so models do not know what it is for"
    for name in ("input_schema", "output_schema"):
        schema = getattr(capability, name)
        if schema is not None:
            try:
                SchemaCheck(dict(schema))
            except ConfigurationError as error:
                yield f"its {name} cannot be used: {error}"
    required = capability.input_schema.get("required") or ()
    for argument in _named(capability.effect_key):
        if argument not in required:
            yield (
                f"its effect key '{capability.effect_key}' needs the argument '{argument}', which its input_schema "
                "does not require: a call without it is refused"
            )


def _named(effect_key: str | None) -> list[str]:
    """Return the names of the arguments in an effect key."""
    fields = [field for _, field, _, _ in Formatter().parse(effect_key or "") if field]
    return [field.partition(".")[0].partition("[")[0] for field in fields]


def _of_skill(registry: Registry, view: CapabilityView, capability: Capability) -> Iterator[str]:
    reader = registry.executor(capability)
    if not isinstance(reader, SkillReader):
        return
    for name in reader.skill.allowed_tools or ():
        if not any(view.allows(each, [name]) for each in view):
            yield f"its allowed-tools name '{name}', which allows nothing that this session sees"
