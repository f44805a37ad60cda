"""System: its members become resources that it owns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from stategraph.resources import documents
from stategraph.resources.controller import Ctx, Reconciler, ReconcileResult
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kind_table import API_VERSION, GROUP
from stategraph.resources.kinds.system import SystemSpec
from stategraph.resources.model import NAME, Condition, Metadata, Resource, ResourceKey
from stategraph.resources.places import Path, Problem, Source


class SystemController(Reconciler):
    """Makes the members of a system and says how many of them are ready."""

    kind: ClassVar[str] = "System"
    #: Its members come first: it says how many of them are ready, once and not after each of them.
    depends_on: ClassVar[tuple[str, ...]] = ("Workflow", "Network", "Plugin", "Policy", "Budget", "Worker", "Schedule")

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Apply the members, and delete those that the system has no more."""
        spec = ctx.parsed(resource)
        assert isinstance(spec, SystemSpec)
        children = _children(resource, spec, ctx)
        stored = await ctx.apply_children(children)
        current = [await ctx.get(each.key) or each for each in stored]
        ready = [each for each in current if each.is_ready]
        waiting = [str(each.key) for each in current if not each.is_ready]
        told = f"{len(ready)}/{len(current)} members are ready"
        conditions = [
            Condition("Ready", "True", "MembersReady", told)
            if not waiting
            else Condition("Ready", "False", "MembersNotReady", f"{told}; not ready: {', '.join(waiting)}")
        ]
        members = [{"kind": each.kind, "name": each.name, "ready": each.is_ready} for each in current]
        status = {"ready": f"{len(ready)}/{len(current)}", "members": members}
        return ReconcileResult(conditions, status)


def _children(resource: Resource, spec: SystemSpec, ctx: Ctx) -> Sequence[Resource]:
    """Return the members as resources; `${VAR}` in them stays, for their own controllers."""
    children: dict[ResourceKey, Resource] = {}
    problems: list[Problem] = []
    for field, index, word, member in spec.members():
        path: Path = ("spec", field, index)
        kind = ctx.kinds.get(word)
        if kind is None:
            near = ctx.kinds.suggestion(word)
            problems.append(Problem(f"there is no kind '{word}'", (*path, "kind"), resource.source, suggestion=near))
            continue
        if not NAME.fullmatch(member.name):
            problems.append(Problem("this is no name", (*path, "name"), resource.source, repr(member.name)))
            continue
        metadata = Metadata(member.name, resource.namespace, member.labels, member.annotations)
        written = resource.spec[field][index].get("spec") or {}
        source = None if resource.source is None else documents.below(resource.source, path)
        group = API_VERSION if kind.group == GROUP else f"{kind.group}/v1"
        child = Resource(group, kind.name, metadata, written, {}, _of_member(source))
        if child.key in children:
            problems.append(Problem(f"{child.key} is written twice", (*path, "name"), resource.source))
        children[child.key] = child
    if problems:
        raise InvalidResource(problems)
    return list(children.values())


def _of_member(source: Source | None) -> Source | None:
    """Return the source of a member as that of a document: its name is in its metadata."""
    if source is None:
        return None
    positions = dict(source.positions)
    if ("name",) in positions:
        positions["metadata", "name"] = positions["name",]
    return Source(source.file, source.line, positions)
