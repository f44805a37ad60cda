"""The status of a resource: what its reconciling came to, as conditions by the conventions of Kubernetes.

| outcome | Valid | ReferencesResolved | Ready |
|---|---|---|---|
| the spec does not fit | False | Unknown | False, `Invalid` |
| a reference leads nowhere | True | False | False, `ReferencesUnresolved` |
| something is not ready | True | True | False, and the reason |
| the controller failed, or took too long | True | Unknown | False, `ReconcileFailed`, `ReconcileTimeout` |
| success | True | True | True, or as the controller says |

A resource whose last good version goes on serving is `Degraded`: that of an earlier generation, or of the present one
if something that it needs was there and is not any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from stategraph.resources.controller import ReconcileResult
from stategraph.resources.errors import InvalidResource, NotReady, UnresolvedReference
from stategraph.resources.model import Condition, Resource

#: The phase of a resource that is deleted, while what it became is cleaned up.
DELETING: Final = "Deleting"

_OWN: Final = ("conditions", "observedGeneration", "phase")
_WAITING: Final = frozenset({"DependencyNotReady", "Progressing", "DependencyCycle"})


def succeeded(result: ReconcileResult) -> list[Condition]:
    """Return the conditions of a controller's answer."""
    given = {each.type: each for each in result.conditions}
    conditions = [
        Condition("Valid", "True", "Valid", "the spec fits its kind"),
        Condition("ReferencesResolved", "True", "Resolved", "every reference leads to a resource"),
        Condition("Ready", "True", "Ready", "everything is as declared"),
    ]
    return [given.pop(each.type, each) for each in conditions] + list(given.values())


def failed(error: BaseException, resource: Resource) -> list[Condition]:
    """Return the conditions of an error of a controller."""
    valid = Condition("Valid", "True", "Valid", "the spec fits its kind")
    match error:
        case InvalidResource():
            message = "; ".join(
                str(replace(each, resource="", source=each.source or resource.source)) for each in error.problems
            )
            return [
                Condition("Valid", "False", error.reason, message),
                Condition("ReferencesResolved", "Unknown", "Invalid", "the spec does not fit its kind"),
                Condition("Ready", "False", "Invalid", message),
            ]
        case UnresolvedReference():
            message = resource.about(error.path, error.message)
            unresolved = Condition("ReferencesResolved", "False", error.reason, message)
            return [valid, unresolved, Condition("Ready", "False", "ReferencesUnresolved", message)]
        case NotReady():
            message = resource.about(error.path, error.message)
            resolved = Condition("ReferencesResolved", "True", "Resolved", "every reference leads to a resource")
            return [valid, resolved, Condition("Ready", "False", error.reason, message)]
        case TimeoutError():
            reason, message = "ReconcileTimeout", str(error)
        case _:
            reason, message = "ReconcileFailed", f"{type(error).__name__}: {error}"
    unknown = Condition("ReferencesResolved", "Unknown", reason, "the controller did not come to an end")
    return [valid, unknown, Condition("Ready", "False", reason, message)]


def degraded(failed: Sequence[Condition]) -> Condition:
    """Return the condition of a resource that was ready as it is declared, and goes on serving as it was then.

    Args:
        failed: Its conditions now.
    """
    ready = next(each for each in failed if each.type == "Ready")
    return Condition("Degraded", "True", ready.reason, f"it goes on serving as it was compiled last; {ready.message}")


def status_of(
    resource: Resource,
    conditions: Sequence[Condition],
    fields: Mapping[str, Any] | None,
    serving: int | None,
    now: Callable[[], str],
) -> dict[str, Any]:
    """Return the status of a resource.

    Args:
        resource: The resource, with its present status.
        conditions: What there is to say of its present generation.
        fields: What else its controller says; None keeps what was said before.
        serving: The generation of the last good version, if that goes on serving in place of the present one.
        now: The time, for conditions that change.
    """
    generation = resource.metadata.generation
    before = {each.type: each for each in resource.conditions}
    found = list(conditions)
    if serving is not None:
        message = f"generation {serving} goes on serving until generation {generation} is ready"
        found.append(Condition("Degraded", "True", "LastGoodVersion", message))
    elif "Degraded" in before and all(each.type != "Degraded" for each in found):
        found.append(Condition("Degraded", "False", "AsDeclared", "the present generation serves"))
    stamped = []
    for each in found:
        known = before.get(each.type)
        since = known.last_transition_time if known is not None and known.status == each.status else ""
        stamped.append(replace(each, observed_generation=generation, last_transition_time=since or now()))
    rest = resource.status if fields is None else fields
    return {
        "phase": _phase(resource, {each.type: each for each in stamped}),
        "observedGeneration": generation,
        "conditions": [each.to_dict() for each in stamped],
        **{key: value for key, value in rest.items() if key not in _OWN},
    }


def _phase(resource: Resource, conditions: Mapping[str, Condition]) -> str:
    ready, degraded = conditions.get("Ready"), conditions.get("Degraded")
    if resource.is_deleting:
        return DELETING
    if degraded is not None and degraded.status == "True":
        return "Degraded"
    if ready is None or ready.status == "Unknown":
        return "Pending"
    if ready.status == "True":
        return "Ready"
    progressing = conditions.get("Progressing")
    if progressing is not None and progressing.status == "True":
        return "Progressing"
    return "Pending" if ready.reason in _WAITING else "Failed"
