"""The capabilities of a session as a source of tools for agents (`stategraph.agent.ports.ToolSource`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stategraph.governance import session
from stategraph.governance.capabilities.shown import Actor, CapabilityTool
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph, CapabilityView

Contexts = Callable[[], RuntimeSessionContext]

_KEPT: Final = 64


class CapabilityTools:
    """Gives agents the tools of a view, as they are when they are asked for.

    Args:
        registry: All capabilities.
        actor: Carries out the calls of the tools.
        context: Returns who acts; None: the session that is active where tools are asked for.
        refresh: Whether sources that come and go are asked first, so that what went away is not shown.
    """

    def __init__(
        self, registry: Registry, actor: Actor, *, context: Contexts | None = None, refresh: bool = True
    ) -> None:
        self._registry = registry
        self._actor = actor
        self._context = context
        self._refresh = refresh
        self._made: dict[str, list[CapabilityTool]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """No names: a session sees one set."""
        return ()

    async def open(self) -> None:
        """Do nothing: the host opens the sessions that sources need."""

    async def aclose(self) -> None:
        """Forget the tools that were made."""
        self._made.clear()

    async def view(self) -> CapabilityView:
        """Return the view of the session, with what there is now.

        Raises:
            NoSessionError: Nothing says who acts.
            AuditUnavailable: What changed cannot be recorded.
        """
        context = self._who()
        if self._refresh:
            await self._registry.refresh()
        return CapabilityGraph.build(self._registry, context)

    async def tools(self, *names: str) -> list[CapabilityTool]:
        """Return the tools of the session; raises as `view` does."""
        view, context = await self.view(), None if self._context is None else self._who()
        if context is not None:  # they act for this caller alone
            return view.tools(self._actor, context)
        if view.digest not in self._made:
            while len(self._made) >= _KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[view.digest] = view.tools(self._actor)
        return list(self._made[view.digest])

    def _who(self) -> RuntimeSessionContext:
        return session.current().context if self._context is None else self._context()
