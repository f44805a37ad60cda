"""`stategraph worker --nats` without a database: a node that does the jobs of pools, in processes of this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from stategraph.cli.output import Output
from stategraph.cli.progress import Progress
from stategraph.cli.stopping import drain_at_eof, obeying_signals


async def work_on_jobs(arguments: argparse.Namespace, output: Output) -> int:
    """Do jobs until told to stop, and return the exit code."""
    from stategraph.workers.cluster.node import NodeSettings
    from stategraph.workers.cluster.serving import node_at
    from stategraph.workers.process.supervisor import ProcessPool

    settings = NodeSettings(tuple(arguments.queues or ("default",)), drain_s=arguments.drain)
    progress = Progress(output)
    pool = ProcessPool(
        arguments.workers,
        allow=arguments.allow,
        max_concurrency_per_worker=arguments.capacity,
        max_jobs_per_worker=arguments.max_jobs,
        memory_limit_mb=arguments.memory_limit,
        pass_environment=arguments.pass_environment,
    )
    async with (
        node_at(arguments.nats, pool, settings, tenant=arguments.tenant, ack_wait_s=arguments.lease) as node,
        pool,
    ):
        with obeying_signals(node, progress):
            if arguments.drain_at_eof:
                drain_at_eof(node)
            queues = ", ".join(settings.queues)
            progress.tell(
                "ready",
                f"ready: {output.nats}, queue {queues}, {arguments.workers} processes ({node.name})",
                owner=node.name,
                nats=output.nats,
                queues=list(settings.queues),
                workers=arguments.workers,
            )
            await node.run()
        statistics = pool.statistics()
    facts = asdict(statistics)
    del facts["workers"]
    progress.tell("stopped", f"stopped: {statistics.succeeded} jobs succeeded, {statistics.failed} failed", **facts)
    return 0
