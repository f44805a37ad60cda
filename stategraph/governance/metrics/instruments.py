"""The metrics, by name: what is measured, in which unit, with which attributes.

Attributes are few and of known values: no ids of runs, users or calls. Prometheus has the names with `_` for `.`, with
their units, and `_total` behind counters, as OpenTelemetry's exporter makes them
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_PREFIX: Final = "stategraph.governance."


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric.

    Attributes:
        name: Its name.
        kind: `counter` grows, `level` goes up and down as it is told, `gauge` is asked when it is read, `duration` is a
            distribution.
        unit: Its unit, as of UCUM; those in braces are no part of the name in Prometheus.
        description: What it says.
        attributes: The names of its attributes.
    """

    name: str
    kind: Literal["counter", "level", "gauge", "duration"]
    unit: str
    description: str
    attributes: tuple[str, ...] = ()

    @property
    def prometheus(self) -> tuple[str, ...]:
        """The names of its series in Prometheus."""
        name = self.name.replace(".", "_") + ("_seconds" if self.unit == "s" else "")
        if self.kind == "counter":
            return (f"{name}_total",)
        return tuple(f"{name}_{part}" for part in ("bucket", "sum", "count")) if self.kind == "duration" else (name,)


def _instrument(name: str, kind: Literal["counter", "level", "gauge", "duration"], unit: str, *rest: str) -> Instrument:
    return Instrument(_PREFIX + name, kind, unit, rest[0], rest[1:])


ACTIONS: Final = _instrument("actions", "counter", "{action}", "Actions that ended", "status", "kind", "risk", "reason")
ACTION_DURATION: Final = _instrument(
    "action.duration", "duration", "s", "Time that actions were executed", "status", "kind", "risk"
)
DECISIONS: Final = _instrument("decisions", "counter", "{decision}", "Decisions of policies that were told", "decision")
APPROVALS: Final = _instrument("approvals", "counter", "{approval}", "Requests for approval, by what happened", "event")
APPROVALS_WAITING: Final = _instrument("approvals.waiting", "gauge", "{approval}", "Requests that wait for a person")
APPROVALS_OLDEST: Final = _instrument("approvals.oldest", "gauge", "s", "Age of the request that waits longest")
BUDGET_RESERVED: Final = _instrument(
    "budget.reserved",
    "level",
    "{amount}",
    "Amounts that this process holds for calls that are under way",
    "unit",
)
BUDGET_SPENT: Final = _instrument("budget.spent", "level", "{amount}", "Amounts that were spent", "unit")
BUDGET_REFUSALS: Final = _instrument(
    "budget.refusals", "counter", "{call}", "Calls that a cap kept from beginning", "unit"
)
BUDGET_LAPSES: Final = _instrument(
    "budget.lapses", "counter", "{reservation}", "Reservations that were lost with their process", "unit"
)
AUDIT_EVENTS: Final = _instrument(
    "audit.events", "counter", "{event}", "Events that the audit log was told", "type", "severity"
)
AUDIT_UNAVAILABLE: Final = _instrument(
    "audit.unavailable", "counter", "{event}", "Events that the audit log could not take"
)
AUDIT_QUEUE: Final = _instrument("audit.queue", "gauge", "{event}", "Events that are to be stored")
AUDIT_AWAY: Final = _instrument("audit.away", "gauge", "1", "1 while the storage of the audit log is away")
SECRETS: Final = _instrument("secrets.accessed", "counter", "{access}", "Secrets that were resolved")

ALL: Final = tuple(each for each in vars().values() if isinstance(each, Instrument))

DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
