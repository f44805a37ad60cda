"""The interface of controllers: what one is asked, what it is handed, what it answers.

A controller brings about what one resource declares. It is level-triggered: it is given the resource as it is now,
never a change, and may be asked again at any time. It raises an error of `errors` where something is missing; the loop
makes conditions of that, keeps what was compiled before, and asks again when a resource that was looked at changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from stategraph.resources.kind_table import Kind, KindTable
from stategraph.resources.model import Condition, Resource, ResourceKey
from stategraph.resources.places import Path

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """Answer of a controller: its conditions, the rest of the status, and what the resource became.

    Attributes:
        conditions: Conditions beside `Valid` and `ReferencesResolved`, which the loop sets; without a `Ready` among
            them the resource is ready. `observed_generation` and `last_transition_time` are filled in.
        status: What else its status says, as JSON; it takes the place of what was said before.
        requeue_after: Reconcile again after so many seconds, at the latest; None for not before something changes.
        compiled: What the resource became in this process: a graph, a model. `Ctx.compiled` and `Runtime` give it out;
            None keeps what was compiled before.
    """

    conditions: Sequence[Condition] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    requeue_after: float | None = None
    compiled: Any = None


class Ctx(Protocol):
    """Everything that a controller may look at; what it looked at, its resource depends on."""

    @property
    def kinds(self) -> KindTable:
        """The kinds that there are, custom ones among them."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of `${VAR}`."""

    @property
    def allow(self) -> Sequence[str]:
        """Prefixes of the modules that manifests may name: `("app.",)`."""

    @property
    def leads(self) -> bool:
        """True if this process may write, and do what must happen once; the others only compile for themselves."""

    @property
    def previous(self) -> Any:
        """The value that the resource was compiled to last; None if it never was."""

    @property
    def services(self) -> Mapping[str, Any]:
        """Objects that the program gave the runtime: `model_factory`, `registry`, `saver` and others."""

    def spec(self, resource: Resource) -> Mapping[str, Any]:
        """Return a resource's spec with `${VAR}` expanded.

        Raises:
            InvalidResource: A variable is missing; the message names file and line.
        """

    def parsed(self, resource: Resource) -> BaseModel:
        """Return a resource's spec as the model of its kind, with `${VAR}` expanded.

        Raises:
            InvalidResource: It does not fit.
        """

    async def get(self, key: ResourceKey) -> Resource | None:
        """Return a resource; the one that is reconciled is asked again when that changes, appears or goes."""

    async def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources of a kind; asked again when any of that kind changes."""

    async def resolve(self, ref: Any, kind: str, *, path: Path = ()) -> Resource:
        """Return the resource that a reference of the reconciled one leads to.

        Args:
            ref: The reference, in any spelling.
            kind: The kind that it stands for.
            path: The field that has it.

        Raises:
            UnresolvedReference: There is none, or it is in another namespace and does not allow this one.
        """

    async def compiled(self, key: ResourceKey, *, path: Path = ()) -> Any:
        """Return what a resource became in this process, as its controller compiled it last.

        Raises:
            NotReady: Nothing yet, or it is not ready; or the two wait for each other, which the message tells by name.
        """

    async def secret(self, ref: Any, key: str | None = None, *, path: Path = ()) -> str:
        """Return a value of a Secret; it must not be stored, logged or told.

        Args:
            ref: The Secret, in any spelling of references.
            key: Which of its values; None if it has one.
            path: The field that has the reference.

        Raises:
            UnresolvedReference: There is no such Secret, or it has no such key.
            NotReady: Its value is not there.
        """

    async def apply_children(self, children: Sequence[Resource]) -> Sequence[Resource]:
        """Make these resources owned by the reconciled one, change those that are there, delete its others.

        Returns:
            The children as they are stored, in the same order.
        """

    def define_kind(self, kind: Kind, controller: Controller | None = None) -> None:
        """Let there be a kind, with its controller if it has one; its resources are reconciled."""

    def undefine_kind(self, name: str) -> None:
        """Take a kind back that was defined, by its name."""

    async def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Tell subscribers of the event bus something, as JSON."""


class Controller(Protocol):
    """Brings about what the resources of one kind declare.

    A controller may have two more attributes. `everywhere = True` lets it reconcile also in the processes that do not
    lead, for kinds that are compiled and used in each of them: `Ctx.leads` says where nothing may be done. `aclose` is
    awaited when the runtime stops; so is that of what a resource became, when it is replaced or goes.

    Attributes:
        kind: The kind, in any of its words.
        depends_on: Kinds to be reconciled before, where both wait.
    """

    kind: ClassVar[str]
    depends_on: ClassVar[tuple[str, ...]]

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Bring about what a valid resource declares, or find that it is so already.

        Raises:
            InvalidResource: Its spec makes no sense, beyond what its schema says.
            UnresolvedReference: A reference leads nowhere.
            NotReady: Something that it needs is not ready.
        """

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """Clean up before a resource goes, and say whether that is done; if not, it is asked again with backoff."""


class Reconciler:
    """Base of controllers that have nothing to clean up: their resources are deleted at once."""

    depends_on: ClassVar[tuple[str, ...]] = ()

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """Do nothing."""
        del resource, ctx
        return True


def cleans_up(controller: Controller) -> bool:
    """Return whether a controller has a `finalize` of its own, so that deletions wait for it."""
    nothing: object = Reconciler.finalize
    return type(controller).finalize is not nothing
