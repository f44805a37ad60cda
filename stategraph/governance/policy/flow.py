"""Information flow: levels of sensitivity, the clearance of tools, and labels of what tools bring.

A flow is allowed if the clearance of the tool dominates every label of what the model had read. Labels are ordered from
the least to the most sensitive. What is not known denies: a label that is no level, a tool without clearance, a
snapshot without labels (section 11 of the Agent Control Specification). The host carries the labels on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.governance.policy.conditions import matches

LEVELS: Final = ("public", "internal", "confidential", "secret")
VIOLATION: Final = "ifc_clearance_violation"


@dataclass(frozen=True, slots=True)
class Flow:
    """The flow that a policy allows.

    Attributes:
        levels: The labels, from the least to the most sensitive.
        clearance: Patterns of tools and the level up to which each may be given data; the first that matches counts.
        unlabelled: The level of data without any label; None: such a flow is denied.
        produces: Patterns of tools and the labels of what they bring; all that match count.
    """

    levels: tuple[str, ...] = LEVELS
    clearance: Mapping[str, str] = field(default_factory=dict)
    unlabelled: str | None = None
    produces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def violation(self, snapshot: Mapping[str, Any]) -> str | None:
        """Return why data may not flow to the tool of a snapshot; None: it may."""
        ifc, tool = snapshot.get("ifc"), snapshot.get("tool")
        labels = ifc.get("labels") if isinstance(ifc, Mapping) else None
        if not isinstance(labels, list):
            return "the labels of the data are not known"
        if unknown := [each for each in labels if each not in self.levels]:
            return f"{len(unknown)} of the labels of the data are none of {', '.join(self.levels)}"
        highest = self.highest(labels) or self.unlabelled
        if highest is None:
            return "the data has no label"
        id = tool.get("id") if isinstance(tool, Mapping) else None
        cleared = self._clearance(id) if isinstance(id, str) else None
        if cleared is None:
            return "the tool has no clearance"
        if self.levels.index(highest) > self.levels.index(cleared):
            return f"the data is {highest}, and the tool is cleared up to {cleared}"
        return None

    def highest(self, labels: Iterable[str]) -> str | None:
        """Return the most sensitive of some labels; None: there are none."""
        return max(labels, key=self.levels.index, default=None)

    def brought(self, snapshot: Mapping[str, Any]) -> frozenset[str]:
        """Return the labels of what the tool of a snapshot brings."""
        tool = snapshot.get("tool")
        id = tool.get("id") if isinstance(tool, Mapping) else None
        if not isinstance(id, str):
            return frozenset()
        return frozenset(
            each for pattern, labels in self.produces.items() if matches((pattern,), id) for each in labels
        )

    def _clearance(self, id: str) -> str | None:
        return next((level for pattern, level in self.clearance.items() if matches((pattern,), id)), None)
