"""Records the metrics: what the pipeline, budgets, approvals and the audit log tell.

One recorder serves a program. Where OpenTelemetry has no SDK, its API does nothing, at the cost of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from stategraph.errors import MissingPackageError
from stategraph.governance.actions import ActionOutcome, Reason
from stategraph.governance.approval.port import ApprovalStore
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink, Severity
from stategraph.governance.capability import Capability
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.metrics import instruments
from stategraph.governance.metrics.instruments import Instrument

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

_KNOWN_REASONS: Final = frozenset(map(str, Reason))


class AuditFigures(Protocol):
    """Tells the figures of an audit log, as `stategraph.governance.audit.log.AuditStatistics` has them."""

    @property
    def queued(self) -> int:
        """Events in the queue."""

    @property
    def waiting(self) -> int:
        """Events that wait for a place in it."""

    @property
    def failure(self) -> str:
        """The last failure of the storage, while it is away; empty: it is there."""


class GovernanceMetrics:
    """Metrics of governed actions; give it to an `ActionExecutor` as `metrics` and to a budget ledger as `observer`.

    Args:
        meter_provider: Makes the meter; None: OpenTelemetry's global one.

    Raises:
        MissingPackageError: OpenTelemetry is not installed.
    """

    def __init__(self, meter_provider: Any = None) -> None:
        try:
            from opentelemetry import metrics  # an extra
        except ImportError as error:
            raise MissingPackageError("stategraph[otel]", "Metrics of governed actions") from error
        self._observation: type[Observation] = metrics.Observation
        self._meter = metrics.get_meter("stategraph.governance", meter_provider=meter_provider)
        made: dict[str, Any] = {}
        for each in instruments.ALL:
            if each.kind == "counter":
                made[each.name] = self._meter.create_counter(each.name, each.unit, each.description)
            elif each.kind == "level":
                made[each.name] = self._meter.create_up_down_counter(each.name, each.unit, each.description)
            elif each.kind == "duration":
                made[each.name] = self._meter.create_histogram(
                    each.name,
                    each.unit,
                    each.description,
                    explicit_bucket_boundaries_advisory=instruments.DURATION_BUCKETS,
                )
        self._made: Mapping[str, Any] = made

    def _add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        self._made[instrument.name].add(amount, attributes)

    # Actions.

    def action(self, outcome: ActionOutcome, capability: Capability | None, /) -> None:
        """Count an action that has ended."""
        about: dict[str, str] = {
            "status": outcome.status,
            "kind": "unknown" if capability is None else capability.kind,
            "risk": "unknown" if capability is None else capability.risk,
        }
        reason = outcome.reason or "none"
        # Reasons of policies are texts of their authors, and may be many.
        code = reason if reason in (*_KNOWN_REASONS, "none") else "policy"
        self._made[instruments.ACTIONS.name].add(1, {**about, "reason": code})
        if outcome.duration_ms is not None:
            self._made[instruments.ACTION_DURATION.name].record(outcome.duration_ms / 1_000, about)

    # Budgets.

    def moved(self, unit: str, reserved: float, spent: float, /) -> None:
        """Take note of amounts that were reserved or given back, and spent."""
        if reserved:
            self._add(instruments.BUDGET_RESERVED, reserved, unit=unit)
        if spent:
            self._add(instruments.BUDGET_SPENT, spent, unit=unit)

    def refused(self, unit: str, /) -> None:
        """Count a call that a cap kept from beginning."""
        self._add(instruments.BUDGET_REFUSALS, unit=unit)

    def lapsed(self, unit: str, amount: float, /) -> None:
        """Count a reservation that was lost with its process."""
        del amount  # `moved` tells it
        self._add(instruments.BUDGET_LAPSES, unit=unit)

    # The audit log.

    def event(self, event: AuditEvent) -> None:
        """Count an event of the audit log, and the decision, request for approval or secret that it tells of."""
        known = event.type in set(AuditEventType)
        kind = event.type if known else "plugin"
        self._add(instruments.AUDIT_EVENTS, type=kind, severity=Severity(event.severity).name.lower())
        if event.type == AuditEventType.POLICY_DECIDED and event.decision is not None:
            self._add(instruments.DECISIONS, decision=event.decision)
        elif event.type.startswith("approval."):
            self._add(instruments.APPROVALS, event=event.type.removeprefix("approval."))
        elif event.type == AuditEventType.SECRET_ACCESSED:
            self._add(instruments.SECRETS)

    def unavailable(self) -> None:
        """Count an event that the audit log could not take."""
        self._add(instruments.AUDIT_UNAVAILABLE)

    def sink(self, sink: AuditSink) -> AuditSink:
        """Return an audit log that counts what it is told, for all who tell events."""
        return _MeasuredSink(sink, self)

    # Figures that are asked for when metrics are read.

    def watch_audit(self, statistics: Callable[[], AuditFigures]) -> None:
        """Measure the queue of an audit log.

        Args:
            statistics: Returns the figures, such as `AuditLog.statistics`.
        """

        def queue() -> float:
            figures = statistics()
            return figures.queued + figures.waiting

        self._watch(instruments.AUDIT_QUEUE, queue)
        self._watch(instruments.AUDIT_AWAY, lambda: float(bool(statistics().failure)))

    def watch_approvals(self, store: ApprovalStore) -> None:
        """Measure the requests that wait for a person, of all tenants; in one process of those that share a store.

        Args:
            store: Keeps the requests, as operators see them.
        """
        self._watch(instruments.APPROVALS_WAITING, lambda: store.waiting().requests)
        self._watch(instruments.APPROVALS_OLDEST, lambda: store.waiting().oldest_s)

    def _watch(self, instrument: Instrument, read: Callable[[], float]) -> None:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [self._observation(read())]

        self._meter.create_observable_gauge(instrument.name, [observe], instrument.unit, instrument.description)


class _MeasuredSink:
    """An `AuditSink` that counts what it is told."""

    def __init__(self, sink: AuditSink, metrics: GovernanceMetrics) -> None:
        self._sink, self._metrics = sink, metrics

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        """Take an event; see `AuditSink`."""
        try:
            await self._sink.record(event, durable=durable)
        except AuditUnavailable:
            self._metrics.unavailable()
            raise
        self._metrics.event(event)

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        """Take an event in a thread without an event loop."""
        try:
            self._sink.record_sync(event, durable=durable)
        except AuditUnavailable:
            self._metrics.unavailable()
            raise
        self._metrics.event(event)
