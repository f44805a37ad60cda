"""Registry of capabilities: all that can be done, in its versions, wherever it comes from.

Rules
-----
* A version is immutable: another digest needs another version. What another party describes gets one by itself, see
  `stategraph.governance.capabilities.versions`, and is not used before a person has released it.
* Readers are given snapshots and take no lock; a change makes the next snapshot.
* Sources that come and go are asked by `refresh`, at each planning step, and by nothing else: to read the registry
  contacts no network. What a source had and has no more is remembered as gone, with the reason.
* A registry may stand on another one, such as that of an organisation on that of the host. What it registers itself
  goes before what it stands on, and is seen by nobody else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from stategraph.errors import ConfigurationError
from stategraph.governance.actions import Reason
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink, Severity
from stategraph.governance.capabilities import versions as pins
from stategraph.governance.capabilities.port import CapabilityExecutor, CapabilitySource, Offer, SourceListing
from stategraph.governance.capabilities.selection import compiled
from stategraph.governance.capability import Capability, VersionKey, version_key, without_version
from stategraph.governance.errors import CapabilityDenied

State: TypeAlias = Literal["usable", "quarantined", "gone"]

_VIEWS_KEPT: Final = 128
"""Views that are kept, of each kind: a model that was shown an older one has to plan again."""

_MOST_GONE: Final = 1_000
"""Capabilities that are gone and remembered, to say why."""

_MOST_TOLD: Final = 1_000
"""Changes that wait to be recorded; the oldest are dropped, so that a registry without a reader stays small."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A capability in a registry.

    Attributes:
        offer: The capability and how it is executed.
        state: Whether it can be used.
        why: Why not, in words; empty if it can.
        released_by: Who has released it, where another party describes it.
        capability: The capability.
        key: Its id without the version.
        age: Sorts entries: those that can be used last, and of these the newest version.
        fingerprint: All of it that the digest of a view covers.
    """

    offer: Offer
    state: State = "usable"
    why: str = ""
    released_by: str | None = field(default=None, compare=False)
    capability: Capability = field(init=False)
    key: str = field(init=False, repr=False, compare=False)
    age: tuple[bool, VersionKey, str] = field(init=False, repr=False, compare=False)
    fingerprint: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made = self.offer.capability
        keep = object.__setattr__
        keep(self, "capability", made)
        keep(self, "key", without_version(made.id))
        keep(self, "age", (self.state == "usable", version_key(made.version), made.id))
        keep(self, "fingerprint", f"{made.id}\0{made.digest}\0{made.risk}\0{made.trust}")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a registry.

    Attributes:
        kind: `added`; `changed`: another description, in quarantine; `released`; `gone`; `back`: it was gone.
        capability: The capability as it is now, or was.
        before: The digest of the description before it, where one changed.
        parts: What changed of it.
        why: A reason, in words.
        by: Who released it.
    """

    kind: Literal["added", "changed", "released", "gone", "back"]
    capability: Capability
    before: str | None = None
    parts: tuple[str, ...] = ()
    why: str = ""
    by: str | None = None


OnChange: TypeAlias = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A registry at one moment.

    Attributes:
        generation: Counts changes, of the registries below too.
        entries: All entries by id, those below first.
    """

    generation: tuple[int, ...]
    entries: Mapping[str, Entry]


@dataclass(slots=True)
class _Views:
    """Views that were built, for `stategraph.governance.view`: by what was asked for, and by digest."""

    by_request: dict[Any, tuple[tuple[int, ...], Any]] = field(default_factory=dict)
    by_digest: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, kept: dict[Any, Any], key: Any, value: Any) -> None:
        """Keep a value in one of these, without the oldest where there are many."""
        with self.lock:
            kept.pop(key, None)
            kept[key] = value
            while len(kept) > _VIEWS_KEPT:
                del kept[next(iter(kept))]


class Registry:
    """Capabilities by id; thread-safe.

    Args:
        *offers: Capabilities to begin with.
        base: The registry that this one stands on; None: none.
        tenant: The organisation whose it is: no view of it is built for another one, and its events are this
            organisation's. None: the host's.
        versions: Remembers which descriptions were released; None: the memory of this object, in which a restart
            forgets what was pinned.
        first: What becomes of the first description of a capability that another party describes: `release` it, or
            `quarantine` it until a person has looked at it.
        audit: Told of changes, as `capability.changed`; see `tell`.
        on_change: Called with each change, by the thread that made it; in `refresh` not that of the event loop.
        clock: Returns the time.

    Raises:
        ConfigurationError: Two offers have one id.
    """

    def __init__(
        self,
        *offers: Offer,
        base: Registry | None = None,
        tenant: str | None = None,
        versions: pins.VersionStore | None = None,
        first: pins.First = "release",
        audit: AuditSink | None = None,
        on_change: OnChange | None = None,
        clock: pins.Clock = pins.utc_now,
    ) -> None:
        self.base = base
        self.tenant = tenant
        self.views = _Views()
        self._versions = pins.MemoryVersions() if versions is None else versions
        self._first: pins.First = first
        self._audit = audit
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._sources: list[CapabilitySource] = []
        self._generation = 0
        self._snapshot: Snapshot | None = None
        self._untold: deque[Change] = deque(maxlen=_MOST_TOLD)
        self.add(*offers)

    def __repr__(self) -> str:
        whose = "" if self.tenant is None else f" of {self.tenant!r}"
        return f"<Registry{whose}: {len(self._entries)} capabilities, {len(self._sources)} sources>"

    @property
    def scope(self) -> str:
        """The scope of versions that other parties describe: the tenant, or `host`."""
        return "host" if self.tenant is None else self.tenant

    # Reading.

    def snapshot(self) -> Snapshot:
        """Return all entries as they are now."""
        below = None if self.base is None else self.base.snapshot()
        known = self._snapshot
        generation = (self._generation, *(() if below is None else below.generation))
        if known is not None and known.generation == generation:
            return known
        with self._lock:
            entries = {**({} if below is None else below.entries), **self._entries}
            generation = (self._generation, *(() if below is None else below.generation))
            self._snapshot = made = Snapshot(generation, MappingProxyType(entries))
        return made

    def __iter__(self) -> Iterator[Capability]:
        """Yield the capabilities that can be used, by id."""
        entries = self.snapshot().entries
        return iter([entries[id].capability for id in sorted(entries) if entries[id].state == "usable"])

    def __len__(self) -> int:
        """Return how many capabilities can be used."""
        return sum(entry.state == "usable" for entry in self.snapshot().entries.values())

    def entries(self, *patterns: str) -> tuple[Entry, ...]:
        """Return entries by id, whether they can be used or not.

        Args:
            *patterns: As of `CapabilitySelector`; none: all.
        """
        matches = compiled(patterns or ("*",))
        entries = self.snapshot().entries
        return tuple(entries[id] for id in sorted(entries) if matches(id))

    def find(self, *patterns: str) -> tuple[Capability, ...]:
        """Return the capabilities that match a pattern and can be used, by id; see `entries`."""
        return tuple(entry.capability for entry in self.entries(*patterns) if entry.state == "usable")

    def named(self, name: str) -> tuple[Capability, ...]:
        """Return the capabilities that models would call by a name, of any source and version, by id."""
        return tuple(capability for capability in self if capability.name == name)

    def versions(self, id: str) -> tuple[Entry, ...]:
        """Return all versions of a capability.

        Args:
            id: Its id, with a version or without.
        """
        key = id if "@" not in id else without_version(id)
        return tuple(entry for entry in self.entries() if without_version(entry.capability.id) == key)

    def get(self, id: str) -> Capability:
        """Return a capability that can be used.

        Args:
            id: Its id with the version.

        Raises:
            CapabilityDenied: There is none, or it is gone or in quarantine.
        """
        return self._usable(id).capability

    def executor(self, capability: Capability) -> CapabilityExecutor:
        """Return what executes a capability.

        Args:
            capability: As a view has it.

        Raises:
            CapabilityDenied: It is gone, in quarantine, not the same any more, or executed by an agent's own graph.
        """
        entry = self._usable(capability.id)
        if entry.capability.digest != capability.digest:
            raise CapabilityDenied(
                f"{capability.id} is not what it was: its digest is {entry.capability.digest}, expected "
                f"{capability.digest}",
                Reason.CAPABILITY_CHANGED,
            )
        if entry.offer.executor is None:
            raise CapabilityDenied(
                f"{capability.id} is executed by the graph of its agent alone, which hands over or calls a subagent",
                Reason.CAPABILITY_UNKNOWN,
            )
        return entry.offer.executor

    def _usable(self, id: str) -> Entry:
        entry = self.snapshot().entries.get(id)
        if entry is None:
            there = ", ".join(each.capability.id for each in self.versions(id)) or "none of this name"
            raise CapabilityDenied(f"There is no capability {id!r}; there is: {there}", Reason.CAPABILITY_UNKNOWN)
        if entry.state != "usable":
            raise CapabilityDenied(f"{id} cannot be used: {entry.why}", REASONS[entry.state])
        return entry

    # Changing.

    def add(self, *offers: Offer) -> tuple[Capability, ...]:
        """Register capabilities; one that is there already, with the same digest, is executed by the new offer.

        Args:
            *offers: The capabilities.

        Returns:
            The capabilities as they are registered: those that another party describes, with their versions.

        Raises:
            ConfigurationError: An id is registered with another digest.
        """
        with self._lock:
            placed = self._placed(offers)
            taken = {**self._entries}
            for entry in placed:
                id, there = entry.capability.id, taken.get(entry.capability.id)
                if there is not None and there.capability.digest != entry.capability.digest:
                    raise ConfigurationError(
                        f"{id} is registered already, and differs (digest {there.capability.digest[:12]}, now "
                        f"{entry.capability.digest[:12]}): give what changed another version, or withdraw the first one"
                    )
                taken[id] = entry
            changes = self._changes(placed)
            self._replace(taken)
        self._note(changes)
        return tuple(entry.capability for entry in placed)

    def _placed(self, offers: Iterable[Offer]) -> list[Entry]:
        """Return entries of offers, with the versions that the store knows them by."""
        given = list(offers)
        elsewhere = {without_version(each.capability.id): each for each in given if each.described_elsewhere}
        known = (
            self._versions.note(
                self.scope,
                [_seen(key, each) for key, each in elsewhere.items()],
                first=self._first,
                now=self._clock(),
            )
            if elsewhere
            else {}
        )
        return [
            _versioned(each, known[without_version(each.capability.id)]) if each.described_elsewhere else Entry(each)
            for each in given
        ]

    def _changes(self, placed: Sequence[Entry]) -> list[Change]:
        changes = []
        for entry in placed:
            now = entry.capability
            before = self._entries.get(now.id)
            if entry.state == "quarantined":
                if before is None or before.state != "quarantined":
                    changes.append(self._change_of(entry))
            elif before is None:
                changes.append(Change("added", now))
            elif before.state == "gone":
                changes.append(Change("back", now))
            elif before.state == "quarantined":
                changes.append(Change("released", now, by=entry.released_by))
        return changes

    def _change_of(self, entry: Entry) -> Change:
        """Return the change that put an entry into quarantine, compared with the version that was used before."""
        key, now = without_version(entry.capability.id), entry.capability
        others = [each for id, each in self._entries.items() if without_version(id) == key and id != now.id]
        if not others:
            return Change("changed", now, why=entry.why)
        old = max(others, key=lambda each: (each.state == "usable", version_key(each.capability.version)))
        return Change("changed", now, old.capability.digest, _differing(old.offer.parts, entry.offer.parts), entry.why)

    def withdraw(self, *patterns: str, why: str = "It was withdrawn.") -> tuple[Capability, ...]:
        """Take capabilities of this registry away; calls of them are refused as gone.

        Args:
            *patterns: As of `CapabilitySelector`.
            why: A reason, for the model and the log.

        Returns:
            Those that were usable.
        """
        matches = compiled(patterns)
        with self._lock:
            left = [entry for id, entry in self._entries.items() if matches(id) and entry.state == "usable"]
            self._replace(self._entries | {each.capability.id: replace(each, state="gone", why=why) for each in left})
        self._note([Change("gone", entry.capability, why=why) for entry in left])
        return tuple(entry.capability for entry in left)

    def release(self, id: str, *, by: str) -> Capability:
        """Release a version from quarantine.

        Args:
            id: The capability with its version.
            by: Who has looked at it, as `Principal.name`.

        Returns:
            The capability, which can be used now if it is there.

        Raises:
            GovernanceError: There is no such version.
            CapabilityDenied: The version is known, and its source does not describe it so any more.
        """
        self._versions.release(self.scope, id, by=by, now=self._clock())
        with self._lock:
            entry = self._entries.get(id)
            if entry is not None and entry.state == "quarantined":
                entry = Entry(entry.offer)
                self._replace(self._entries | {id: entry})
                change = Change("released", entry.capability, by=by)
            else:
                change = None
        if change is not None:
            self._note([change])
        return self.get(id)

    def quarantined(self) -> tuple[pins.KnownVersion, ...]:
        """Return the versions of this registry's scope that wait for a person, whether their source is there or not."""
        return tuple(each for each in self._versions.versions(self.scope) if not each.released)

    def connect(self, *sources: CapabilitySource) -> None:
        """Add sources that `refresh` asks from now on.

        Args:
            *sources: The sources.

        Raises:
            ConfigurationError: Two sources have one name.
        """
        with self._lock:
            known = [name for each in (*self._sources, *sources) for name in each.sources]
            for name in known:
                if known.count(name) > 1:
                    raise ConfigurationError(f"Two sources of capabilities are called {name!r}: rename one of them")
            self._sources += sources

    async def refresh(self) -> tuple[Change, ...]:
        """Ask all sources what there is, those of the registries below too; done at each planning step.

        Returns:
            What changed, which is recorded when this returns.

        Raises:
            AuditUnavailable: What changed cannot be recorded.
        """
        below = () if self.base is None else await self.base.refresh()
        sources = tuple(self._sources)
        listings = await asyncio.gather(*(each.listing() for each in sources))
        changes: list[Change] = []
        for source, listing in zip(sources, listings, strict=True):
            # Versions may be in a file that another process writes to: the loop does not wait for it.
            changes += await asyncio.to_thread(self._take, source.sources, listing)
        await self.tell()
        return (*below, *changes)

    def _take(self, sources: Sequence[str], listing: SourceListing) -> list[Change]:
        """Take over what a source has now."""
        with self._lock:
            placed = {entry.capability.id: entry for entry in self._placed(listing.offers)}
            changes = self._changes(list(placed.values()))
            now = {without_version(id): entry for id, entry in placed.items()}
            after = {**self._entries}
            for id, entry in self._entries.items():
                if entry.capability.source not in sources or id in placed or not entry.offer.described_elsewhere:
                    continue
                if entry.state == "quarantined":  # nobody was shown it, and the store of versions knows it
                    del after[id]
                    continue
                why = _why_gone(entry, listing.away, now.get(without_version(id)))
                after[id] = replace(entry, state="gone", why=why)
                if entry.state == "usable":
                    changes.append(Change("gone", entry.capability, why=why))
            for id, entry in placed.items():
                there = after.get(id)
                if there is None or (there.capability, there.state) != (entry.capability, entry.state):
                    after[id] = entry
            _forget(after)
            if after != self._entries:
                self._replace(after)
        self._note(changes)
        return changes

    def _replace(self, entries: dict[str, Entry]) -> None:
        self._entries = entries
        self._generation += 1

    # Telling.

    def _note(self, changes: Sequence[Change]) -> None:
        if self._audit is not None:
            self._untold.extend(change for change in changes if change.kind != "added")
        if self._on_change is not None:
            for change in changes:
                self._on_change(change)

    async def tell(self) -> None:
        """Record the changes that were made since, such as by `release`; `refresh` does so too.

        Raises:
            AuditUnavailable: They cannot be recorded.
        """
        while self._audit is not None and self._untold:
            change = self._untold.popleft()
            try:
                await self._audit.record(self._event(change))
            except BaseException:
                self._untold.appendleft(change)
                raise

    def _event(self, change: Change) -> AuditEvent:
        data = {
            "change": change.kind,
            "digest": change.capability.digest,
            "before": change.before,
            "parts": list(change.parts),
            "why": change.why or None,
        }
        return AuditEvent(
            type=AuditEventType.CAPABILITY_CHANGED,
            tenant=self.scope,
            at=self._clock(),
            id=uuid.uuid4().hex,
            severity=Severity.WARNING if change.kind in ("changed", "gone") else Severity.INFO,
            principal=change.by,
            capability_id=change.capability.id,
            data={name: value for name, value in data.items() if value},
        )


REASONS: Final[Mapping[State, Reason]] = MappingProxyType(
    {"quarantined": Reason.CAPABILITY_QUARANTINED, "gone": Reason.CAPABILITY_GONE}
)
"""Codes with which capabilities are refused that cannot be used."""


def _seen(key: str, offer: Offer) -> pins.Seen:
    capability = offer.capability
    contents = {
        "title": capability.title,
        "description": capability.description,
        "input_schema": capability.input_schema,
        "output_schema": capability.output_schema,
    }
    text = json.dumps(contents, ensure_ascii=False, indent=2, sort_keys=True, default=repr)
    return pins.Seen(key, capability.digest, capability.description, offer.parts, text)


def _versioned(offer: Offer, known: pins.KnownVersion) -> Entry:
    capability = offer.capability.model_copy(update={"version": str(known.version), "id": known.id})
    placed = replace(offer, capability=capability)
    if known.released:
        return Entry(placed, released_by=known.released_by)
    why = f"'{capability.source}' describes it so since {known.seen_at:%Y-%m-%d %H:%M} UTC, and nobody has released it."
    return Entry(placed, "quarantined", why)


def _forget(entries: dict[str, Entry]) -> None:
    """Forget the oldest capabilities that are gone, where there are many."""
    for id in [id for id, entry in entries.items() if entry.state == "gone"][:-_MOST_GONE]:
        del entries[id]


def _why_gone(entry: Entry, away: Mapping[str, str], now: Entry | None) -> str:
    source = entry.capability.source
    if now is not None:
        return f"'{source}' describes it differently now, as version {now.capability.version}. {now.why}".strip()
    if source in away:
        return f"'{source}' is not connected: {away[source]}"
    return f"'{source}' does not offer it any more."


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))
