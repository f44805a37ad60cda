"""Sessions: how the context of the caller reaches every action of a run, without being part of the run's state.

Rules
-----
* A `Session` is active for the execution of a run. It is kept in a context variable, which tasks and threads inherit:
  agents, subagents, nodes, subgraphs and tools of any graph find it, whatever the schema of the graph's context is.
* It is never in channels, checkpoints, events, or rows of a registry. It has no stored form, and asking for one raises.
* What another process executes is sent a `SessionReference`: an opaque text, and the host's function that makes the
  session anew from it. Rights that were taken away meanwhile are so found missing.
* A run that is started within a session belongs to its tree, and to its tenant: one of another tenant is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol
from uuid import uuid4

from stategraph.errors import ConfigurationError
from stategraph.governance.actions import RunRef
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.errors import GovernanceError


class NoSessionError(GovernanceError):
    """No session is active where one is needed."""


class TenantMismatchError(GovernanceError):
    """Something that belongs to one tenant was to be used in the session of another."""


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """The session of the code that asks.

    Attributes:
        context: Who acts, with what.
        run: The run in which it acts.
    """

    context: RuntimeSessionContext
    run: RunRef

    @property
    def tenant(self) -> str:
        """The organisation by which everything that is stored is kept apart."""
        return self.context.tenant

    def __reduce__(self) -> NoReturn:
        raise TypeError("An active session is not stored or sent; see RuntimeSessionContext")


_active: ContextVar[ActiveSession | None] = ContextVar("stategraph_session", default=None)


def current() -> ActiveSession:
    """Return the session that is active here.

    Raises:
        NoSessionError: There is none.
    """
    found = _active.get()
    if found is None:
        raise NoSessionError(
            "No session is active here: give the run one, as create_run(session=Session(context)), or enter it around "
            "the call of a graph, as `async with Session(context).active(run_id)`"
        )
    return found


def current_or_none() -> ActiveSession | None:
    """Return the session that is active here; None if there is none."""
    return _active.get()


def context_of(runtime_context: object = None) -> RuntimeSessionContext:
    """Return the context by which an action is to be governed.

    Args:
        runtime_context: What the node or tool has as `runtime.context`. Hosts that give a run no session may give a
            graph a `RuntimeSessionContext` as its context, or one that has it as its attribute `session`.

    Raises:
        NoSessionError: There is none.
        TenantMismatchError: The graph's context is of another tenant than the session of its run.
    """
    own = getattr(runtime_context, "context", None) if _is_agents(runtime_context) else runtime_context
    given = own if isinstance(own, RuntimeSessionContext) else getattr(own, "session", None)
    if not isinstance(given, RuntimeSessionContext):
        return current().context
    active = _active.get()
    if active is not None:
        check_tenant(active.tenant, given.tenant, "The context of the graph")
    return given


def _is_agents(context: object) -> bool:
    """Return whether a context is that of an agent's graph, which has the host's in it."""
    from stategraph.agent.ports import AgentContext  # for those who have agents

    return isinstance(context, AgentContext)


def check_tenant(expected: str, found: str, what: str) -> None:
    """Check that something belongs to a tenant.

    Raises:
        TenantMismatchError: It belongs to another one; the message does not name it, as its reader may be of the first.
    """
    if expected != found:
        raise TenantMismatchError(
            f"{what} belongs to another tenant than the session '{expected}': start it outside of that session"
        )


class SessionPart(Protocol):
    """Something that is open while a session is active, such as the budget of a run."""

    def entered(self, session: ActiveSession, /) -> Any:
        """Return an async context manager for an execution."""

    def entered_sync(self, session: ActiveSession, /) -> Any:
        """Return a context manager for an execution in a thread without an event loop."""


class Session:
    """The session of a run; give it to a run as `session=`, or enter it around the call of a graph.

    It may be entered many times, also at once, as a run is that goes on after a pause.

    Args:
        context: Who acts, with what.
        parts: What is open while it is active, in this order, such as `RunBudget`.
        root_run_id: The run at the root of the tree, for a run that was started by one elsewhere. None: the run of the
            session in which it is entered, if any, or the run itself.
    """

    __slots__ = ("_parts", "_root", "context")

    def __init__(
        self, context: RuntimeSessionContext, *, parts: Sequence[SessionPart] = (), root_run_id: str | None = None
    ) -> None:
        if not isinstance(context, RuntimeSessionContext):
            raise ConfigurationError(
                f"Session was given a value of type {type(context).__name__}; expected a RuntimeSessionContext"
            )
        self.context = context
        self._parts = tuple(parts)
        self._root = root_run_id

    def __repr__(self) -> str:
        return f"<Session of {self.context.principal.name} through {self.context.agent.id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Session is not stored or sent; give a SessionReference to what other processes execute")

    def _activated(self, run_id: str | None, thread_id: str | None) -> ActiveSession:
        outer = _active.get()
        root = self._root
        if outer is not None:
            check_tenant(outer.tenant, self.context.tenant, "A session that was to be entered here")
            root = root or outer.run.root
        return ActiveSession(self.context, RunRef(run_id or str(uuid4()), thread_id, root))

    @asynccontextmanager
    async def active(self, run_id: str | None = None, thread_id: str | None = None) -> AsyncIterator[ActiveSession]:
        """Be the session of what happens in the block, and of tasks and threads that are started in it.

        Args:
            run_id: The run; None: a new one.
            thread_id: Its thread; None: none.

        Raises:
            TenantMismatchError: The block is inside of a session of another tenant.
        """
        session = self._activated(run_id, thread_id)
        token = _active.set(session)
        try:
            async with AsyncExitStack() as exits:
                for part in self._parts:
                    await exits.enter_async_context(part.entered(session))
                yield session
        finally:
            _active.reset(token)

    @contextmanager
    def active_sync(self, run_id: str | None = None, thread_id: str | None = None) -> Iterator[ActiveSession]:
        """Be the session of what happens in the block; see `active`."""
        session = self._activated(run_id, thread_id)
        token = _active.set(session)
        try:
            with ExitStack() as exits:
                for part in self._parts:
                    exits.enter_context(part.entered_sync(session))
                yield session
        finally:
            _active.reset(token)


@dataclass(frozen=True, slots=True)
class SessionReference:
    """Names a session to another process, which makes it anew; give it to a run as `session=`.

    Attributes:
        reference: An opaque text without secrets or rights, such as an id, or what `SessionSigner.issue` returned.
        restore: The host's function that makes the session of a reference, in the process that executes the run. It is
            sent by its import path, and imported from modules that the worker allows. May be async.
    """

    reference: str = field(repr=False)
    restore: Callable[[str], Session | Awaitable[Session]]

    def __post_init__(self) -> None:
        if not isinstance(self.reference, str) or not self.reference:
            raise ConfigurationError("SessionReference: reference must be a text that is not empty")
        if not callable(self.restore):
            raise ConfigurationError(
                f"SessionReference: restore is a value of type {type(self.restore).__name__}; expected a function that "
                "takes the reference and returns a Session"
            )

    @asynccontextmanager
    async def active(self, run_id: str, thread_id: str | None = None) -> AsyncIterator[ActiveSession]:
        """Make the session, and be it in the block.

        Raises:
            ConfigurationError: The function returned something else.
            Exception: What the function raised, as where the user has no rights any more. The run does not begin.
        """
        made = self.restore(self.reference)
        session = await made if inspect.isawaitable(made) else made
        if not isinstance(session, Session):
            raise ConfigurationError(
                f"The function that restores a session returned a value of type {type(session).__name__}; expected a "
                "Session"
            )
        async with session.active(run_id, thread_id) as active:
            yield active
