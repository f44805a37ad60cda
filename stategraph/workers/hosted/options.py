"""Options of one run: what its worker streams, where it stops, how it stores.

They are stored with the run as JSON, so that every attempt on any worker executes it alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, Self, TypeAlias

from stategraph.errors import ConfigurationError

Nodes: TypeAlias = tuple[str, ...] | Literal["*"]

#: A stream mode of runs beside those of graphs: the events of `astream_events`.
EVENTS_MODE: Final = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of a run.

    Attributes:
        stream_modes: The stream modes that are told as events, `events` among them for those of `astream_events`; None:
            those of the worker.
        subgraphs: Whether what graphs inside of the graph stream is told too, as `mode|namespace|namespace`.
        interrupt_before: Nodes before which it stops; None: those of the graph.
        interrupt_after: Nodes after which it stops; None: those of the graph.
        durability: When checkpoints are stored; None: `sync`.
        checkpoint: Where it begins in place of the newest checkpoint, as `configurable` names it: `checkpoint_id`,
            `checkpoint_ns`, `checkpoint_map`. None: at the newest.
        erases_rollback: Whether the runs that it takes back have been erased before it begins, by the `GraphSource`.
            False: their checkpoints stay, and it begins at the one before them.
        session: A reference to the session in which it is executed, for hosts whose runs have contexts of their own;
            None: its context is the reference, if there is a session.
    """

    stream_modes: tuple[str, ...] | None = None
    subgraphs: bool = False
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    checkpoint: Mapping[str, Any] | None = None
    erases_rollback: bool = False
    session: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is stored: all that is not the default."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options of a run that was stored.

        Raises:
            ConfigurationError: They are of a newer version of this package.
        """
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(stored) - known):
            raise ConfigurationError(
                f"The run has options that this worker does not know: {', '.join(unknown)}. Use the same version of "
                "stategraph in all processes"
            )
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
        }
        return cls(**options)
