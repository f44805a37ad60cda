"""Check manifests beside each other, without a store: specs against their kinds, references against what is there."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Problem
from stategraph.resources.references import Found, references
from stategraph.resources.schema import check, parsed

if TYPE_CHECKING:
    from stategraph.resources.kinds.schedule import ScheduleSpec
    from stategraph.resources.kinds.workflow import WorkflowSpec

#: Whether the times of a schedule are any at all is the same at each moment.
_ANY_TIME: Final = datetime(2024, 1, 1, tzinfo=UTC)


def problems_of(
    resources: Sequence[Resource],
    others: Sequence[Resource] = (),
    *,
    kinds: KindTable = KINDS,
    environment: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Return what is wrong with manifests, in their order.

    Args:
        resources: The manifests.
        others: What is there beside them, and is not checked.
        kinds: The kinds that there are.
        environment: The variables of `${VAR}`; None: none are set.
    """
    there = {each.key: each for each in (*others, *resources)}
    waits = _waits(there, kinds)
    found: list[Problem] = []
    for each in resources:
        wrong = check(each, kinds=kinds, environment=environment)
        wrong = wrong or [
            *_of_steps(each, kinds, environment),
            *_of_times(each, kinds, environment),
            *_of_references(each, there, kinds),
            *_of_circles(each, waits, kinds),
        ]
        found += wrong
    return found


def _of_steps(resource: Resource, kinds: KindTable, environment: Mapping[str, str] | None) -> Iterator[Problem]:
    """Yield what is wrong with the steps and expressions of a workflow; nothing for other kinds."""
    if resource.key.kind != "workflow":
        return
    from stategraph.resources.compile.workflows import checks  # the engine, which other kinds do not need

    spec = parsed(resource, kinds=kinds, environment=environment)
    for each in checks.problems_of(cast("WorkflowSpec", spec)):
        yield replace(each, source=resource.source, resource=str(resource.key))


def _of_times(resource: Resource, kinds: KindTable, environment: Mapping[str, str] | None) -> Iterator[Problem]:
    """Yield what is wrong with the times of a schedule; nothing for other kinds."""
    if resource.key.kind != "schedule":
        return
    from stategraph.workers.registry import cron_times  # croniter, which other kinds do not need

    spec = cast("ScheduleSpec", parsed(resource, kinds=kinds, environment=environment))
    try:
        cron_times.next_after(spec.cron, spec.timezone, _ANY_TIME)
    except cron_times.CronError as error:
        path = ("spec", "timezone" if "timezone" in str(error) else "cron")
        yield Problem(str(error), path, resource.source, resource=str(resource.key))
    except cron_times.NeverDue as error:
        yield Problem(f"it is never due: {error}", ("spec", "cron"), resource.source, resource=str(resource.key))


def _waits(there: Mapping[ResourceKey, Resource], kinds: KindTable) -> dict[ResourceKey, list[ResourceKey]]:
    """Return what resources are made of, for those that are in a circle or lead to one."""
    edges = {key: [used for _, used in _made_of(each, kinds) if used in there] for key, each in there.items()}
    users: defaultdict[ResourceKey, list[ResourceKey]] = defaultdict(list)
    for key, used in edges.items():
        for each in used:
            users[each].append(key)
    left = {key: len(used) for key, used in edges.items()}
    ends = [key for key, number in left.items() if not number]
    while ends:
        gone = ends.pop()
        del left[gone]
        for each in users[gone]:
            left[each] -= 1
            if not left[each]:
                ends.append(each)
    return {key: [each for each in edges[key] if each in left] for key in left}


def _made_of(resource: Resource, kinds: KindTable) -> Iterator[tuple[Found, ResourceKey]]:
    """Yield the references whose targets have to be ready first; agents may hand over to each other."""
    for each in references(resource, kinds):
        key = each.key(resource.namespace, kinds)
        if key is not None and "handoffs" not in each.path:
            yield each, key


def _of_circles(
    resource: Resource, waits: Mapping[ResourceKey, Sequence[ResourceKey]], kinds: KindTable
) -> Iterator[Problem]:
    """Yield the references over which a resource would wait for itself."""
    if resource.key not in waits:
        return
    for each, key in _made_of(resource, kinds):
        way = _way(key, resource.key, waits)
        if way:
            told = " -> ".join(str(one) for one in (resource.key, *way))
            yield _problem(resource, each, f"these wait for each other: {told}")


def _way(start: ResourceKey, end: ResourceKey, waits: Mapping[ResourceKey, Sequence[ResourceKey]]) -> list[ResourceKey]:
    """Return the shortest way from one resource to another over what they are made of; empty if there is none."""
    ways = {start: [start]}
    front = [start] if start in waits else []
    for at in front:
        if at == end:
            return ways[at]
        for each in waits[at]:
            if each not in ways:
                ways[each] = [*ways[at], each]
                front.append(each)
    return []


def _of_references(resource: Resource, there: Mapping[ResourceKey, Resource], kinds: KindTable) -> Iterator[Problem]:
    """Yield the references of a resource that lead nowhere, or to what it may not use."""
    for each in references(resource, kinds):
        if each.reference is None or each.kind is None:
            continue
        try:
            key = each.reference.key(each.kind, resource.namespace, kinds)
        except ResourceError as error:
            yield _problem(resource, each, str(error))
            continue
        target = there.get(key)
        if target is None:
            yield _missing(resource, each, key, there)
        elif not _may_use(resource, target):
            yield _problem(
                resource,
                each,
                f"the {key.kind} '{key.name}' of the namespace '{key.namespace}' may not be used from "
                f"'{resource.namespace}'",
                expected=f"'{resource.namespace}' in its allowedNamespaces ({target.place(('spec',))})",
            )


def _may_use(resource: Resource, target: Resource) -> bool:
    if target.namespace in ("", resource.namespace):
        return True
    allowed = target.spec.get("allowedNamespaces") or ()
    return "*" in allowed or resource.namespace in allowed


def _missing(resource: Resource, found: Found, key: ResourceKey, there: Collection[ResourceKey]) -> Problem:
    names = [_spelled(each, resource.namespace) for each in there if each.kind == key.kind]
    wanted = _spelled(key, resource.namespace)
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    expected = f"one of {', '.join(sorted(names))}" if names and not near else ""
    return _problem(resource, found, f"there is no {key.kind} '{wanted}'", expected, near[0] if near else "")


def _spelled(key: ResourceKey, namespace: str) -> str:
    return key.name if key.namespace in ("", namespace) else f"{key.namespace}/{key.name}"


def _problem(resource: Resource, found: Found, message: str, expected: str = "", suggestion: str = "") -> Problem:
    return Problem(message, found.path, resource.source, "", expected, suggestion, str(resource.key))
