"""Views of a registry: the capabilities that one session sees, hashed, the same for planner and executor.

Rules
-----
* A view is frozen. Its digest covers the names that a model is shown, and of each capability its id, digest, risk and
  trust: equal digests are equal sets, in every process.
* To build one contacts nothing and executes nothing: it is what the registry knows. It is built when it is first asked
  for after a change of the registry, and the same object until the next one.
* Of several versions the newest one that the selector matches is seen.
* No two have one name: where names clash, each gets its source in front (`github_search`), and a short digest where
  that still clashes. The order of registration makes no difference.
* What is not in a view is refused with the reason: unknown, not selected, changed, in quarantine, or gone.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from stategraph.governance.actions import Reason, RunRef
from stategraph.governance.capabilities import selection
from stategraph.governance.capabilities.shown import READ_SKILL, Actor, Bound, CapabilityTool, skill_tool, tool_of
from stategraph.governance.capability import (
    RISKS,
    Capability,
    CapabilityKind,
    Risk,
    Trust,
    without_version,
)
from stategraph.governance.context import CapabilitySelector, RuntimeSessionContext
from stategraph.governance.errors import CapabilityDenied, GovernanceError
from stategraph.governance.registry import REASONS, Entry, Registry, Snapshot

LONGEST_NAME: Final = 64
"""Characters of a name that every model provider takes; letters, digits, `_` and `-`."""

_ACCEPTED: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}").fullmatch
_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_SELECTED: Final = "It is not among what this agent may use."
_age: Final = attrgetter("age")
_MOST_NAMED: Final = 12
_RANK: Final = {risk: number for number, risk in enumerate(RISKS)}


@dataclass(frozen=True, slots=True)
class _Absent:
    """A capability that a registry knows and a view does not have."""

    reason: Reason
    why: str
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class CapabilityView:
    """The capabilities of a session at one moment; frozen. Two are equal if their digests are.

    Attributes:
        digest: SHA-256 in hex over all of it.
        names: The capabilities by the name that a model calls them by, in the order of names.
        unmatched: Patterns of the selector that match nothing: misspelled, or of a source that is away.
        in_place: Ids of those that an agent's own graph executes and shows, such as handoffs.
    """

    digest: str
    names: Mapping[str, Capability]
    unmatched: tuple[str, ...] = ()
    in_place: frozenset[str] = frozenset()
    _by_id: Mapping[str, Capability] = field(default_factory=dict, repr=False)
    _absent: Mapping[str, _Absent] = field(default_factory=dict, repr=False)
    _prints: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CapabilityView) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __iter__(self) -> Iterator[Capability]:
        """Yield the capabilities, in the order of their names."""
        return iter(self.names.values())

    def __len__(self) -> int:
        """Return how many capabilities there are."""
        return len(self.names)

    def __contains__(self, name_or_id: object) -> bool:
        """Return whether `get` would find a capability."""
        return isinstance(name_or_id, str) and self._found(name_or_id) is not None

    def get(self, name_or_id: str) -> Capability:
        """Return a capability.

        Args:
            name_or_id: The name that the model was shown, or its id with the version or without.

        Raises:
            CapabilityDenied: It is not in this view; `reason` says why, and the message what there is.
        """
        found = self._found(name_or_id)
        if found is None:
            raise self._denied(name_or_id)
        return found

    require = get

    def name_of(self, capability: Capability) -> str:
        """Return the name by which models of this view call a capability.

        Raises:
            CapabilityDenied: It is not in this view.
        """
        for name, each in self.names.items():
            if each.id == capability.id:
                return name
        raise self._denied(capability.id)

    def locate(self, name: str, arguments: Mapping[str, Any]) -> tuple[Capability, Mapping[str, Any]]:
        """Return the capability that a model's call is for, and the arguments for it.

        They are those of the call, but for `read_skill`, whose argument `skill` names the capability.

        Args:
            name: As the model called it, or an id.
            arguments: As the model gave them.

        Raises:
            CapabilityDenied: It is not in this view, or is the name of a skill, which is read with `read_skill`.
        """
        if name != READ_SKILL or READ_SKILL in self.names:
            found = self.get(name)
            if name in self.names and is_readable_skill(found):
                raise CapabilityDenied(
                    f"{name!r} is a skill, and no tool: {self._way_to_call(found)}", Reason.CAPABILITY_NOT_A_TOOL
                )
            return found, arguments
        skill = arguments.get("skill")
        for each in self.skills():
            if skill in (self.name_of(each), each.name, each.id):
                return each, {key: value for key, value in arguments.items() if key != "skill"}
        names = ", ".join(self.name_of(each) for each in self.skills()) or "there are none"
        raise CapabilityDenied(f"There is no skill {skill!r}. Skills: {names}", Reason.CAPABILITY_UNKNOWN)

    def select(
        self,
        *patterns: str,
        kind: CapabilityKind | None = None,
        source: str | None = None,
        risk: Risk | None = None,
        max_risk: Risk | None = None,
        trust: Trust | None = None,
    ) -> tuple[Capability, ...]:
        """Return the capabilities that fit all that is asked for, in the order of their names.

        Args:
            *patterns: Ids as of `CapabilitySelector`; none: all.
            kind: Their kind; None: any, as with all that follows.
            source: Their source.
            risk: Exactly this risk.
            max_risk: This risk or a smaller one.
            trust: Who answers for them.
        """
        matches = selection.compiled(patterns or ("*",))
        asked = [(name, value) for name, value in (("kind", kind), ("source", source), ("risk", risk)) if value]
        asked += [("trust", trust)] if trust else []
        return tuple(
            each
            for each in self
            if matches(each.id)
            and all(getattr(each, name) == value for name, value in asked)
            and (max_risk is None or _RANK[each.risk] <= _RANK[max_risk])
        )

    def skills(self) -> tuple[Capability, ...]:
        """Return the skills that can be read; their scripts are capabilities of their own."""
        return tuple(each for each in self if is_readable_skill(each))

    def tools(
        self, actor: Actor | None = None, context: RuntimeSessionContext | None = None, *, run: RunRef | None = None
    ) -> list[CapabilityTool]:
        """Return the tools that a model is shown: one for each capability, and one that reads all skills.

        Their calls go to the executor, with this view's digest, and nowhere else.

        Args:
            actor: Carries out the calls; None: the tools can be bound to a model, and every call is refused.
            context: Who acts; None: as the session says that is active where a call is made, see
                `stategraph.governance.session`.
            run: The run of the calls; None: that of the active session, or what the config of each call says.
        """
        bound = None if actor is None else Bound(actor, context, run)
        skills = {each.id: name for name, each in self.names.items() if is_readable_skill(each)}
        shown = [item for item in self.names.items() if item[1].id not in skills and item[1].id not in self.in_place]
        tools = [tool_of(name, each, self.digest, bound) for name, each in shown]
        return [*tools, skill_tool(list(skills.values()), self.digest, bound)] if skills else tools

    def allows(self, capability: Capability, allowed: Iterable[str]) -> bool:
        """Return whether names as of a skill's `allowed-tools` allow a capability of this view.

        Args:
            capability: The capability.
            allowed: Names that models are shown, names of capabilities, or patterns of ids. One with arguments, such
                as `Bash(git:*)`, allows nothing here: what it means is known to its own client alone.
        """
        return _allowed(self.name_of(capability), capability, _Allowed.of(allowed))

    def narrowed(self, allowed: Iterable[str], *, keep: Iterable[str] = ()) -> CapabilityView:
        """Return a view of what some names allow, with the same names; never more than this one.

        Args:
            allowed: As of a skill's `allowed-tools`; see `allows`.
            keep: Ids that stay, such as that of the skill itself.
        """
        given, kept = _Allowed.of(allowed), frozenset(keep)
        left = {name: each for name, each in self.names.items() if each.id in kept or _allowed(name, each, given)}
        why = "The skill that is followed does not allow it."
        absent = dict(self._absent)
        for name, each in self.names.items():
            if name not in left:
                gone = _Absent(Reason.CAPABILITY_NOT_SELECTED, why, each.source)
                absent |= {name: gone, each.id: gone, without_version(each.id): gone}
        return _view(left, self._prints, self.unmatched, absent, self.in_place)

    def _found(self, name_or_id: str) -> Capability | None:
        return self.names.get(name_or_id) or self._by_id.get(name_or_id)

    def _denied(self, name_or_id: str) -> CapabilityDenied:
        absent = self._absent.get(name_or_id)
        key = without_version(name_or_id)
        if absent is not None:
            tools = self._callable()
            left = [name for name in tools if name in self.names and self.names[name].source == absent.source] or tools
            return CapabilityDenied(f"{name_or_id!r} cannot be used: {absent.why} {_there(left)}", absent.reason)
        if (newest := self._by_id.get(key)) is not None:
            why = f"{name_or_id!r} is not the version that is used now: it is {newest.id}."
            way = self._way_to_call(newest)
            return CapabilityDenied(f"{why} {way[0].upper()}{way[1:]}", Reason.CAPABILITY_CHANGED)
        tools = self._callable()
        near = difflib.get_close_matches(name_or_id, tools, n=2, cutoff=0.6)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        return CapabilityDenied(
            f"There is no capability {name_or_id!r}.{hint} {_there(tools)}", Reason.CAPABILITY_UNKNOWN
        )

    def _callable(self) -> list[str]:
        """Return the names of tools: skills are read with one tool for all of them."""
        tools = [name for name, each in self.names.items() if not is_readable_skill(each)]
        return tools if len(tools) == len(self.names) else [*tools, READ_SKILL]

    def _way_to_call(self, capability: Capability) -> str:
        name = self.name_of(capability)
        return f"read it with {READ_SKILL}(skill={name!r})" if is_readable_skill(capability) else f"call {name!r}"


class _Allowed(NamedTuple):
    """Names as of a skill's `allowed-tools`."""

    names: frozenset[str]
    matches: selection.Matches

    @classmethod
    def of(cls, allowed: Iterable[str]) -> _Allowed:
        given = [each for each in allowed if "(" not in each]
        return cls(frozenset(given), selection.compiled(tuple(each for each in given if ":" in each)))


def _allowed(name: str, capability: Capability, allowed: _Allowed) -> bool:
    return name in allowed.names or capability.name in allowed.names or allowed.matches(capability.id)


def is_readable_skill(capability: Capability) -> bool:
    """Return whether a capability is a skill to be read, and not a script of one."""
    return capability.kind == "skill" and capability.id.count("/") == 1


def _there(names: Sequence[str]) -> str:
    if not names:
        return "Nothing is left."
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"Available: {', '.join(names[:_MOST_NAMED])}{more}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A call that was resolved.

    Attributes:
        capability: What it is for.
        arguments: Its arguments.
        view: The view in which the executor found it.
    """

    capability: Capability
    arguments: Mapping[str, Any]
    view: CapabilityView


class CapabilityGraph:
    """Builds views, and resolves what was planned on one."""

    @staticmethod
    def build(registry: Registry, context: RuntimeSessionContext) -> CapabilityView:
        """Return the view of a session; the same object as before if nothing changed.

        Args:
            registry: All capabilities.
            context: Who acts, and what may be seen.

        Raises:
            GovernanceError: The registry is that of another organisation.
        """
        if registry.tenant is not None and registry.tenant != context.tenant:
            raise GovernanceError(
                f"The capabilities of {registry.tenant!r} were asked for by a caller of {context.tenant!r}; use the "
                "registry of the caller's organisation"
            )
        selector, views, snapshot = context.capabilities, registry.views, registry.snapshot()
        known = views.by_request.get(selector)
        if known is not None and known[0] == snapshot.generation:
            view: CapabilityView = known[1]
            return view
        view = _built(snapshot, selector)
        views.keep(views.by_digest, view.digest, view)
        views.keep(views.by_request, selector, (snapshot.generation, view))
        return view

    @staticmethod
    def narrowed(registry: Registry, view: CapabilityView, allowed: Iterable[str], skill: str) -> CapabilityView:
        """Return what a skill's `allowed-tools` leave of a view, and remember it for `resolve`.

        Args:
            registry: The registry of the view.
            view: The view.
            allowed: As of the skill's `allowed-tools`.
            skill: The skill, by name or id; it and its scripts stay.

        Raises:
            CapabilityDenied: The skill is not in the view.
        """
        own = view.get(skill)
        scripts = f"{without_version(own.id)}/"
        narrow = view.narrowed(allowed, keep=[each.id for each in view if each is own or each.id.startswith(scripts)])
        registry.views.keep(registry.views.by_digest, narrow.digest, narrow)
        return narrow

    @staticmethod
    def resolve(
        registry: Registry,
        context: RuntimeSessionContext,
        name: str,
        arguments: Mapping[str, Any],
        view_digest: str | None = None,
    ) -> Resolved:
        """Find what a call is for, and prove that planner and executor mean the same.

        With the digest of the view that the model was shown, what it called has to be in that view, and the same now:
        other capabilities may have changed meanwhile.

        Args:
            registry: All capabilities.
            context: Who acts.
            name: As the model called it, or an id.
            arguments: As the model gave them.
            view_digest: The digest of the view that the model was shown; None: not known.

        Raises:
            CapabilityDenied: It is not in the view that was shown, nor in the one of now, or it is not the same; with
                the reason `view_changed` if that view is not known here.
        """
        view = CapabilityGraph.build(registry, context)
        if view_digest is None or view_digest == view.digest:
            return Resolved(*view.locate(name, arguments), view)
        shown: CapabilityView | None = registry.views.by_digest.get(view_digest)
        if shown is None:
            raise CapabilityDenied(
                "What was planned on has changed since, and is not known here: plan again with the capabilities of now",
                Reason.VIEW_CHANGED,
            )
        planned, left = shown.locate(name, arguments)
        now = view.get(planned.id)
        if now.digest != planned.digest:
            raise CapabilityDenied(f"{planned.id} is not what the model was shown", Reason.CAPABILITY_CHANGED)
        return Resolved(now, left, view)


def _built(snapshot: Snapshot, selector: CapabilitySelector) -> CapabilityView:
    included, excluded = selection.compiled(selector.include), selection.compiled(selector.exclude)
    most = len(RISKS) if selector.max_risk is None else _RANK[selector.max_risk]
    seen: dict[str, Entry] = {}
    absent: dict[str, _Absent] = {}
    # Newest last, and what cannot be used before all that can.
    for entry in sorted(snapshot.entries.values(), key=_age):
        capability, key = entry.capability, entry.key
        id = capability.id
        if not included(id, key) or excluded(id, key) or _RANK[capability.risk] > most:
            why = _Absent(Reason.CAPABILITY_NOT_SELECTED, _NOT_SELECTED, capability.source)
        elif entry.state != "usable":
            why = _Absent(REASONS[entry.state], entry.why, capability.source)
        else:
            seen[key] = entry
            continue
        absent[id] = absent[key] = absent[capability.name] = why
    capabilities = [entry.capability for entry in seen.values()]
    unmatched = () if selector.include == ("*",) else selection.unmatched(selector.include, [*seen])
    in_place = frozenset(entry.capability.id for entry in seen.values() if entry.offer.executor is None)
    prints = {entry.capability.id: entry.fingerprint for entry in seen.values()}
    return _view(_named(capabilities), prints, unmatched, absent, in_place)


def _named(capabilities: Sequence[Capability]) -> dict[str, Capability]:
    """Name capabilities so that no two have one name; see the rules of this module."""
    named: dict[str, Capability] = {}
    left = list(capabilities)
    reserved = [READ_SKILL] if any(map(is_readable_skill, capabilities)) else []
    for candidate in (_own_name, _qualified_name):
        proposed = [(candidate(each), each) for each in left]
        uses = Counter((*(name for name, _ in proposed), *named, *reserved))
        named |= {name: each for name, each in proposed if uses[name] == 1}
        left = [each for name, each in proposed if uses[name] > 1]
    named |= {_digested_name(each): each for each in left}
    return dict(sorted(named.items()))


def _own_name(capability: Capability) -> str:
    return _accepted(capability.name)


def _qualified_name(capability: Capability) -> str:
    return _accepted(f"{capability.source.rpartition('.')[2]}_{capability.name}")


def _digested_name(capability: Capability) -> str:
    key = hashlib.sha256(without_version(capability.id).encode()).hexdigest()[:8]
    return f"{_qualified_name(capability)[: LONGEST_NAME - len(key) - 1]}_{key}"


def _accepted(name: str) -> str:
    return name if _ACCEPTED(name) else _REFUSED.sub("_", name)[:LONGEST_NAME]


def _view(
    names: Mapping[str, Capability],
    prints: Mapping[str, str],
    unmatched: tuple[str, ...],
    absent: Mapping[str, _Absent],
    in_place: frozenset[str],
) -> CapabilityView:
    by_id: dict[str, Capability] = {}
    lines: list[str] = []
    for name, each in names.items():
        id = each.id
        by_id[id] = by_id[without_version(id)] = each
        lines.append(f"{name}\0{prints[id]}\n")
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
    left = {key: why for key, why in absent.items() if key not in names and key not in by_id}
    frozen = (MappingProxyType(by_id), MappingProxyType(left), prints)
    return CapabilityView(digest, MappingProxyType(names), unmatched, in_place, *frozen)
