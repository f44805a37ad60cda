"""Checkpoints of delta channels, whose values only those before them hold: these have to be there to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from stategraph.core.deltas import COUNTERS_KEY
from stategraph.engine.checkpoints.saver_interfaces import Save


class Link(NamedTuple):
    """A checkpoint that is read together with the one before it.

    Attributes:
        namespace: The namespace of both.
        id: The checkpoint.
        parent_id: The one before it.
        channels: The channels of which it holds only what was added.
    """

    namespace: str
    id: str
    parent_id: str
    channels: Sequence[str]


def link_of(namespace: str, id: str, parent_id: str | None, metadata: Mapping[str, object]) -> Link | None:
    """Return how a checkpoint hangs on the one before it; None if it can be read alone."""
    counters = cast("Mapping[str, Sequence[int]]", metadata.get(COUNTERS_KEY))
    if not counters or not parent_id:
        return None
    channels = [name for name, counts in counters.items() if any(counts)]
    return Link(namespace, id, parent_id, channels) if channels else None


def links_of(saves: Iterable[Save]) -> list[Link]:
    """Return how checkpoints that are stored together hang on those that have to be there before."""
    stored: set[tuple[str, str]] = set()
    links: list[Link] = []
    for method, arguments in saves:
        if method != "put":
            continue
        config, checkpoint, metadata = arguments[:3]
        conf = config["configurable"]
        namespace = conf.get("checkpoint_ns", "")
        link = link_of(namespace, checkpoint["id"], conf.get("checkpoint_id"), metadata)
        if link is not None and (namespace, link.parent_id) not in stored:
            links.append(link)
        stored.add((namespace, checkpoint["id"]))
    return links


def erased(thread_id: str, link: Link) -> str:
    """Return the message that the checkpoint before one is gone."""
    channels = ", ".join(map(repr, link.channels))
    return (
        f"Thread '{thread_id}' was erased or pruned while this run went on: checkpoint '{link.id}' holds of {channels} "
        f"only what was added to checkpoint '{link.parent_id}', which is gone. It was not stored: begin the run anew"
    )
