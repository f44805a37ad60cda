"""Context of a governed run: the caller, the agent, and what it may use.

A context is made by the host from an authenticated request. It is runtime context: it is passed beside the state of a
graph, and is never written to channels, checkpoints or events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn

from stategraph.core import explain
from stategraph.errors import ConfigurationError
from stategraph.governance.capability import RISKS, Risk


def _check_text(owner: str, name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{owner}: {name} is {value!r}; it must be a text that is not empty")


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller, as the host knows it; never taken from what a model or a client sent.

    Attributes:
        org_id: The organisation. It is the tenant: everything that is stored is kept apart by it.
        user_id: The user within it.
        roles: Names of roles, as policies ask for them.
        claims: Further claims of the token that authenticated the caller, as JSON.
        on_behalf_of: The principal that delegated to this one, such as the user of an agent that calls another agent;
            None: the caller acts for itself.
    """

    org_id: str
    user_id: str
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    on_behalf_of: Principal | None = None

    def __post_init__(self) -> None:
        for name in ("org_id", "user_id"):
            _check_text("Principal", name, getattr(self, name))
        roles: object = self.roles
        if isinstance(roles, str):
            raise ConfigurationError(
                f"Principal: roles is the text {roles!r}; expected several: frozenset({{{roles!r}}})"
            )
        object.__setattr__(self, "roles", frozenset(self.roles))
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    def chain(self) -> Iterator[Principal]:
        """Yield this principal, the one that it acts for, and so on to the first."""
        principal: Principal | None = self
        while principal is not None:
            yield principal
            principal = principal.on_behalf_of

    @property
    def name(self) -> str:
        """The name in logs and audit rows, such as `acme/ann`."""
        return f"{self.org_id}/{self.user_id}"


@dataclass(frozen=True, slots=True)
class AgentRef:
    """The agent of a run.

    Attributes:
        id: Its id.
        version: The version of its configuration; empty: not versioned.
    """

    id: str
    version: str = ""

    def __post_init__(self) -> None:
        _check_text("AgentRef", "id", self.id)


@dataclass(frozen=True, slots=True)
class CapabilitySelector:
    """Chooses capabilities by their ids.

    Attributes:
        include: Patterns as of `fnmatch`, such as `mcp:github/*`; a capability needs one that matches. One without a
            version (`@`) matches every version.
        exclude: Patterns of capabilities that are left out, whatever `include` says.
        max_risk: Leave out what is riskier; None: leave out nothing.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_risk: Risk | None = None

    def __post_init__(self) -> None:
        if self.max_risk is not None and self.max_risk not in RISKS:
            raise ConfigurationError(
                f"CapabilitySelector: max_risk is {self.max_risk!r}; it must be one of {', '.join(RISKS)}, or None"
            )
        for name in ("include", "exclude"):
            patterns = getattr(self, name)
            if isinstance(patterns, str):
                raise ConfigurationError(
                    f"CapabilitySelector: {name} is the text {patterns!r}; expected several: ({patterns!r},)"
                )
            object.__setattr__(self, name, tuple(patterns))


_ON_LIMIT: Final = ("interrupt", "deny", "raise")

_WHOLE: Final = frozenset({"tokens", "tool_calls"})

LARGEST_LIMITS: Final[Mapping[str, int]] = {"tokens": 10**18, "usd": 10**9, "tool_calls": 10**18, "wall_s": 10**15}
"""The most that each limit of a budget may be: a ledger stores 64 bits, of US dollars billionths."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits over the whole tree of a run: its agents, their subagents, and runs that they start elsewhere.

    What a call may take at most is reserved before it, and given back when it has ended. None: no limit.

    Attributes:
        tokens: Tokens that models read and write.
        usd: US dollars, by the run's prices.
        tool_calls: Actions that are executed.
        wall_s: Seconds from the start of the root run, without the time in which it waits for a person.
        on_limit: `interrupt` asks a person, who may raise the limit; `deny` refuses the action with a reason for the
            model; `raise` ends the run with `BudgetExceeded`.

    Raises:
        ConfigurationError: A limit is no number, is below 0, or above `LARGEST_LIMITS`; `tokens` or
            `tool_calls` is no whole number; `on_limit` is something else.
    """

    tokens: int | None = None
    usd: float | None = None
    tool_calls: int | None = None
    wall_s: float | None = None
    on_limit: Literal["interrupt", "deny", "raise"] = "interrupt"

    def __post_init__(self) -> None:
        for name in LARGEST_LIMITS:
            value = getattr(self, name)
            if value is not None:
                check_amount(f"Budget: {name}", name, value, ", or None for no limit")
        if self.on_limit not in _ON_LIMIT:
            raise ConfigurationError(f"Budget: on_limit is {self.on_limit!r}; it must be one of {', '.join(_ON_LIMIT)}")


def as_amount(unit: str, value: object) -> float | None:
    """Return a number as an amount of a unit: a whole one, such as `100.0` of JSON, where it has to be; else None."""
    whole = unit in _WHOLE
    if whole and isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int | float) and _is_limit(value, LARGEST_LIMITS[unit], whole=whole) else None


def check_amount(what: str, unit: str, value: object, otherwise: str = "") -> None:
    """Check an amount of a budget.

    Args:
        what: What it is called in the message.
        unit: Its unit, by its field of `Budget`.
        value: The amount.
        otherwise: What else it may be, for the message.

    Raises:
        ConfigurationError: It is no number, below 0, above `LARGEST_LIMITS`, or has to be a whole number and is not.
    """
    most, whole = LARGEST_LIMITS[unit], unit in _WHOLE
    if not _is_limit(value, most, whole=whole):
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{what} is {explain.shown(value)}; it must be {kind} from 0 to {most}{otherwise}")


def _is_limit(value: object, most: int, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float | Decimal):
        return False
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    return 0 <= value <= most


@dataclass(frozen=True, slots=True)
class RuntimeSessionContext:
    """Facts of a session that are fixed before a model decides anything.

    Attributes:
        principal: Who acts.
        agent: Through which agent.
        session_id: The conversation, such as the id of its thread.
        policies: Names of the policies that apply, in order; none: those of the executor.
        capabilities: What the agent may see at all.
        budget: Limits over the tree of a run; None: no limits.
        locale: The language of texts for people, such as `en` or `de-CH`; None: not known.
        trace: The trace of the request, as a W3C `traceparent`; None: there is none.
        approver: Who answers the questions with which this call of the run goes on, as an approver in a back office
            does for somebody else's run; None: the principal itself.
    """

    principal: Principal
    agent: AgentRef
    session_id: str
    policies: tuple[str, ...] = ()
    capabilities: CapabilitySelector = CapabilitySelector()
    budget: Budget | None = None
    locale: str | None = None
    trace: str | None = None
    approver: Principal | None = None

    def __post_init__(self) -> None:
        _check_text("RuntimeSessionContext", "session_id", self.session_id)

    @property
    def tenant(self) -> str:
        """The organisation of the principal, by which everything that is stored is kept apart."""
        return self.principal.org_id

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A RuntimeSessionContext is not stored or sent: a stored one would act with rights that were taken away "
            "since. Make it anew from the authenticated request, and keep it out of a graph's state"
        )
