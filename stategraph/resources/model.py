"""The values of this package: resources, their keys, metadata and conditions.

Rules
-----
* All of them are frozen: a change is a new value, written to a store under the version that was read.
* `spec` is what a person wrote, with `${VAR}` in it; it is expanded where it is used and never stored expanded.
* A kind in a key is written in small letters and is the kind's own name, not an alias: `model`, never `llm`.
* Cluster-wide kinds have the empty namespace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import DEFAULT_NAMESPACE, KINDS, KindTable
from stategraph.resources.places import Path, Source, dotted

#: The beginning of the target of a run whose graph is a resource; its key follows.
TARGET: Final = "stategraph.resources:"

#: The reason of a condition of what needs the registry of runs, in a process that has none.
REGISTRY_MISSING: Final = "RegistryMissing"

#: What names may be, as in Kubernetes (RFC 1123), and how long.
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST_NAME: Final = 253

Status: TypeAlias = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, order=True)
class ResourceKey:
    """The name of a resource in a store.

    Attributes:
        kind: The kind's own name in small letters; written in any case, it is made so.
        namespace: Its namespace; empty for kinds that have none.
        name: Its name.
    """

    kind: str
    namespace: str
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind.lower())

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @staticmethod
    def parse(text: str, namespace: str = DEFAULT_NAMESPACE, kinds: KindTable = KINDS) -> ResourceKey:
        """Read a key as people write it.

        Args:
            text: `workflow/data-processing`, `workflow/default/data-processing`, or with a plural, a short name or an
                alias of the kind: `agents/greeter`, `wf/x`, `llm/y`.
            namespace: The namespace of a key that names none.
            kinds: The kinds that there are.

        Raises:
            ResourceError: It is no key, or there is no such kind.
        """
        parts = text.strip().split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise ResourceError(f"A resource is named 'kind/name' or 'kind/namespace/name'; found {text!r}")
        kind = kinds.get(parts[0])
        if kind is None:
            near = kinds.suggestion(parts[0])
            hint = f"; did you mean '{near}'?" if near else f"; kinds are {', '.join(each.name for each in kinds)}"
            raise ResourceError(f"There is no kind '{parts[0]}'{hint}")
        if not kind.namespaced:
            return ResourceKey(kind.name, "", parts[-1])
        place, dot, name = parts[-1].partition(".")
        if len(parts) == 2 and dot and place and name:
            return ResourceKey(kind.name, place, name)
        return ResourceKey(kind.name, parts[1] if len(parts) == 3 else namespace, parts[-1])


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of a resource's state, by the conventions of Kubernetes.

    Attributes:
        type: `Ready`, `Valid`, `ReferencesResolved`, `Progressing`, `Degraded`, or a kind's own.
        status: "True", "False" or "Unknown".
        reason: Why, as one word in CamelCase.
        message: Why, for people; names file, line and field where there is one.
        observed_generation: The generation of the spec that this is about.
        last_transition_time: When `status` last changed (RFC 3339); set by the loop if it is empty.
    """

    type: str
    status: Status
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as in manifests."""
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": self.last_transition_time,
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Condition:
        """Make one of its form in manifests; what is missing has its default."""
        return Condition(
            value["type"],
            value["status"],
            value.get("reason", ""),
            value.get("message", ""),
            value.get("observedGeneration", 0),
            value.get("lastTransitionTime", ""),
        )


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """The resource that another one belongs to, and with which it is deleted.

    Attributes:
        kind: The owner's kind.
        name: Its name; it is in the same namespace.
        uid: Its uid: another resource of the same name is not the owner.
    """

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """Name, labels and bookkeeping of a resource.

    Attributes:
        name: Its name.
        namespace: Its namespace; empty for kinds that have none.
        labels: Words to select resources by.
        annotations: Words that nobody selects by.
        uid: Given by the store; never that of another resource.
        generation: Grows by one with each change of the spec; 0 before it is stored.
        resource_version: Grows with each change of anything, over the whole store; 0 before it is stored.
        owner_references: Its owners.
        finalizers: Names that hold up its deletion until a controller has cleaned up.
        creation_timestamp: When it was stored first (RFC 3339).
        deletion_timestamp: When its deletion was asked for; empty if it was not.
    """

    name: str
    namespace: str = DEFAULT_NAMESPACE
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    generation: int = 0
    resource_version: int = 0
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: as it was declared, and how it is.

    Attributes:
        api_version: Group and version, `stategraph.dev/v1` for the built-in kinds.
        kind: Its kind, as written in manifests (`MCPServer`).
        metadata: Name, labels and what the store keeps of it.
        spec: What was declared, as written.
        status: What controllers say; `conditions` in it is a list of dictionaries.
        source: Where it was read from, if it was.
    """

    api_version: str
    kind: str
    metadata: Metadata
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None

    @property
    def key(self) -> ResourceKey:
        """Its name in a store."""
        return ResourceKey(self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        """Its name, without kind and namespace."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.metadata.namespace

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of its status."""
        return tuple(Condition.from_dict(each) for each in self.status.get("conditions", ()))

    @property
    def is_ready(self) -> bool:
        """True if it is ready in its present generation."""
        ready = self.condition("Ready")
        return (
            ready is not None and ready.status == "True" and ready.observed_generation == self.metadata.generation > 0
        )

    @property
    def is_deleting(self) -> bool:
        """True if its deletion was asked for."""
        return bool(self.metadata.deletion_timestamp)

    def condition(self, type: str) -> Condition | None:
        """Return the condition of a type; None if there is none yet."""
        return next((each for each in self.conditions if each.type == type), None)

    def place(self, path: Path = ()) -> str:
        """Return `file:line:column` of a field, or the resource's key where no file is known."""
        return str(self.key) if self.source is None else self.source.place(path)

    def about(self, path: Path, message: object) -> str:
        """Return a message with the place and the name of the field that it is about; empty path: it is about none."""
        if not path:
            return str(message)
        place = f"{self.place(path)}: " if self.source is not None else ""
        text = str(message)
        return f"{place}{text}" if text.startswith(dotted(path)) else f"{place}{dotted(path)}: {text}"

    def with_metadata(self, **changes: Any) -> Resource:
        """Return it with other metadata."""
        return replace(self, metadata=replace(self.metadata, **changes))
