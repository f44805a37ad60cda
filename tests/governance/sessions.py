"""Sessions for tests of governed actions, and graphs and agents that say which session they find."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import tool
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.governance import session as sessions
from stategraph.governance.context import AgentRef, Budget, Principal, RuntimeSessionContext
from stategraph.governance.session import Session
from stategraph.governance.session_signing import SessionSigner, session_of_runs
from stategraph.graph.state import StateGraph
from stategraph.workers.hosted.sources import StoredRun

CANARY = "canary-5e55104e-of-a-claim"
KEYS = {"k1": b"0123456789abcdef0123456789abcdef"}
SIGNER = SessionSigner(KEYS)


def context(tenant: str = "acme", user: str = "ann", *, budget: Budget | None = None) -> RuntimeSessionContext:
    """A context with a claim that must be found nowhere."""
    principal = Principal(tenant, user, frozenset({f"role-{CANARY}"}), {"token": CANARY})
    return RuntimeSessionContext(principal, AgentRef("helper"), "session-1", budget=budget, locale=f"xx-{CANARY}")


def restore(reference: str) -> Session:
    """Make a session of a reference, as a host does from its own database."""
    ids = SIGNER.read(reference)
    return Session(context(ids.org_id, ids.user_id), root_run_id=ids.root_run_id)


async def worker_session(run: StoredRun) -> Any:
    """Make the session of a run, for the command line: a function of this module."""
    return await _session_of(run)


_session_of: Any = session_of_runs(restore)


def seen() -> str:
    """Say which session is active."""
    found = sessions.current_or_none()
    return "nobody" if found is None else f"{found.context.principal.name} in {found.run.root}"


@tool
def whoami() -> str:
    """Say who acts."""
    return seen()


class Own(TypedDict):
    region: str


class State(TypedDict, total=False):
    messages: list[Any]
    seen: str


def make_graph(checkpointer: Any = None) -> Any:
    """A graph with a context schema of its own, and a subgraph with none."""
    inner = StateGraph(State)
    inner.add_node("look", lambda _: {"seen": seen()})
    inner.add_edge(START, "look")
    inner.add_edge("look", END)
    outer = StateGraph(State, context_schema=Own)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    outer.add_edge("inner", END)
    return outer.compile(checkpointer=checkpointer)


graph = make_graph()
