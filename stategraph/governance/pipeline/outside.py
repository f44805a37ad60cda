"""Ports of the pipeline that are small enough to be met by other things than this package's own."""

from __future__ import annotations

from typing import Any, Protocol

from stategraph.governance.actions import ActionOutcome
from stategraph.governance.capability import Capability


class Redacting(Protocol):
    """Hides secrets, as `stategraph.governance.redaction.Redactor` does."""

    def clean(self, value: Any, /) -> Any:
        """Return JSON or text without secrets; never raises."""


class Metrics(Protocol):
    """Counts actions, as `stategraph.governance.metrics` does."""

    def action(self, outcome: ActionOutcome, capability: Capability | None, /) -> None:
        """Count an action that has ended."""
