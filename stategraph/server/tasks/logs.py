"""The event log of a run, read for its end, its questions and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.server.service.port import LoggedEvent

ATTEMPT: Final = "run.attempt"
END: Final = "run.end"

_INTERRUPT: Final = "__interrupt__"


@dataclass(slots=True)
class Outcome:
    """The end of a run, gathered from its events.

    Attributes:
        status: How the registry ended it, such as `success` or `cancelled`; None: it goes on.
        error: The kind of error that it failed with; None if it did not.
        interrupts: What it waits for: interrupts with `id` and `value`.
        values: Its last values, if it logged any.
        has_values: Whether it logged any.
    """

    status: str | None = None
    error: str | None = None
    interrupts: list[Any] = field(default_factory=list)
    values: Any = None
    has_values: bool = False

    def add(self, event: LoggedEvent) -> None:
        """Take note of the next event of the run."""
        match event.type:
            case "updates":
                self._add_update(event.data)
            case "values":
                self.values, self.has_values = event.data, True
            case "run.attempt":
                self.interrupts.clear()
            case "run.end":
                self.status, self.error = event.data.get("status"), event.data.get("error")

    def _add_update(self, data: Any) -> None:
        if isinstance(data, Mapping) and isinstance(asked := data.get(_INTERRUPT), (list, tuple)):
            known = {interrupt_id(each) for each in self.interrupts}
            self.interrupts += [each for each in asked if interrupt_id(each) not in known]


def interrupt_id(interrupt: Any) -> str:
    """Return the id of an interrupt, which is an object or what it is as JSON."""
    found = interrupt.get("id", "") if isinstance(interrupt, Mapping) else getattr(interrupt, "id", "")
    return str(found)


def interrupt_value(interrupt: Any) -> Any:
    """Return what an interrupt asks."""
    return interrupt.get("value") if isinstance(interrupt, Mapping) else getattr(interrupt, "value", interrupt)
