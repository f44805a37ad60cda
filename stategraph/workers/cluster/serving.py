"""A node for a process of its own, from an address to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stategraph.workers.cluster.links import Links
from stategraph.workers.cluster.node import Node, NodeSettings
from stategraph.workers.cluster.queue import JobQueue
from stategraph.workers.cluster.session import Session
from stategraph.workers.ids import new_owner
from stategraph.workers.nats.address import read_address
from stategraph.workers.scheduling import ScheduledPool
from stategraph.workers.wakeups.buses import open_bus


@asynccontextmanager
async def node_at(
    url: str, workers: ScheduledPool, settings: NodeSettings, *, tenant: str = "", ack_wait_s: float = 15.0
) -> AsyncGenerator[Node, None]:
    """Connect a pool of this machine to a NATS server, as a node that is then told to `run`.

    Args:
        url: The server.
        workers: Does the jobs; open.
        settings: What the node takes on.
        tenant: Whose jobs it takes.
        ack_wait_s: After so many seconds without a sign of life the node is lost. The same in all processes.

    Yields:
        The node.

    Raises:
        ConfigurationError: The server refuses this process, has no JetStream, or has something else under one of the
            names.
        NatsUnavailableError: The server cannot be reached.
    """
    session, bus, name = Session(read_address(url), "stategraph node"), open_bus(url, url), new_owner()
    queue = JobQueue(session, tenant, ack_wait_s)
    links = Links(queue, queue.subject("nodes", name, "frames"))
    await session.open()
    try:
        await queue.set_up(settings.queues)
        await links.open()
        yield Node(queue, links, workers, bus, settings, name)
    finally:
        await links.aclose()
        await asyncio.to_thread(bus.close)
        await session.aclose()
