"""The interface of the runtime of resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeAlias

from stategraph.resources.controller import Controller
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Problem
from stategraph.resources.store.port import Change

#: A resource's name as callers write it: a key, `agent/greeter`, or `cooking.greeter` where the kind is known.
Name: TypeAlias = ResourceKey | str | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Applied:
    """Outcome of applying one resource.

    Attributes:
        key: The resource.
        action: `created`, `configured` or `unchanged`.
        problems: What is wrong with it: it is stored, and its condition `Valid` says the same.
    """

    key: ResourceKey
    action: Literal["created", "configured", "unchanged"]
    problems: tuple[Problem, ...] = ()


class Runtime(Protocol):
    """A store, the loop that reconciles what is in it, and what the resources became."""

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        allow: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        bus: str | None = None,
        **services: Any,
    ) -> Self:
        """Make a runtime on the store of an address; nothing is opened before its first use.

        Args:
            url: `memory:`, `sqlite:///app.db`, `libsql:///app.db` or `postgresql://...`.
            allow: Prefixes of modules that manifests may name, such as `app.`.
            environment: The variables of `${VAR}`; None for those of the process.
            bus: `nats://...` for an event bus over several processes; None for one within this process.
            services: What controllers find in `Ctx.services`, such as `model_factory`.
        """

    def register(self, controller: Controller) -> None:
        """Let a controller reconcile its kind; before `start`."""

    async def start(self) -> None:
        """Begin to reconcile, in the background."""

    async def stop(self) -> None:
        """Stop reconciling and close the store."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def apply(self, resources: Sequence[Resource], *, force: bool = False) -> list[Applied]:
        """Store resources as declared, by server-side apply: fields that an earlier apply set and this one lacks go."""

    async def load_from_string(self, text: str) -> list[Applied]:
        """Apply the documents of a text in YAML or JSON."""

    async def get(self, name: Name) -> Resource | None:
        """Return a resource; None if there is none."""

    async def list(
        self, kind: str | None = None, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources in the order of their keys."""

    def watch(self, from_version: int | None = None) -> AsyncIterator[Change]:
        """Yield every change behind a version; None for those from now on."""

    async def delete(self, name: Name, *, force: bool = False) -> bool:
        """Ask for the deletion of a resource and what it owns; returns whether it was there."""

    async def wait(self, name: Name, condition: str = "Ready", timeout: float = 30.0) -> Resource:  # noqa: ASYNC109 - a name that callers know
        """Wait until a condition is true for the present generation (`Deleted` for its end); seconds.

        Raises:
            TimeoutError: It did not become so; the message has the conditions.
        """

    def compiled(self, name: Name) -> Any:
        """Return what a resource became in this process.

        Raises:
            UnknownResource: Nothing yet.
        """

    def agent(self, name: Name) -> Any:
        """Return what an agent became."""

    def graph(self, name: Name) -> Any:
        """Return the graph of a workflow, network or agent."""

    def get_workflow(self, name: Name) -> Any:
        """Return a workflow, with `execute`."""

    def get_network(self, name: Name) -> Any:
        """Return a network, with `generate`."""
