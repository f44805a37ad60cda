"""Execution of runs and nodes on workers, so that nothing is lost or done twice.

- `pool` is the port for execution: jobs that are data, handles with events, a result and a way to stop. Its backends
  are `inline`, `thread`, `process` and, on many machines, `cluster`. `execution` is the worker's side of a job and
  `handle` the host's; `wire` is what crosses between them, and `references` how code is named rather than sent.
- A registry in the database of the checkpoints holds every run; any worker claims one, keeps its lease alive, and
  writes under a token that a later claim makes worthless. What a run does to the outside world goes through a ledger,
  and what it says through a log that any process can read. `wakeups` tells those who wait for the database when to
  look at it.

This package stands on `run`, `agent` and `engine`. It must never know HTTP, YAML, tenants or policies: those pass
through as an opaque context. It never imports code because stored data says so, except from modules that the worker was
told of.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.workers.agents.runtime import MultiProcessRuntime as MultiProcessRuntime
    from stategraph.workers.autoscale.driver import Autoscaler as Autoscaler
    from stategraph.workers.autoscale.machine import ScalingSettings as ScalingSettings
    from stategraph.workers.cluster.pool import ClusterSettings as ClusterSettings
    from stategraph.workers.cluster.pool import NatsPool as NatsPool
    from stategraph.workers.cluster.queue import DeadLetter as DeadLetter
    from stategraph.workers.eventlog import LoggedEvent as LoggedEvent
    from stategraph.workers.eventlog import attach as attach
    from stategraph.workers.execution import JobPort as JobPort
    from stategraph.workers.execution import current_port as current_port
    from stategraph.workers.execution import job_target as job_target
    from stategraph.workers.fencing.guard import Guard as Guard
    from stategraph.workers.fencing.saver import FencedSaver as FencedSaver
    from stategraph.workers.holding import hold as hold
    from stategraph.workers.inline import InlinePool as InlinePool
    from stategraph.workers.leases import LeaseLost as LeaseLost
    from stategraph.workers.leases import LeaseSettings as LeaseSettings
    from stategraph.workers.leases import RunStatus as RunStatus
    from stategraph.workers.ledger.effects import EffectLedger as EffectLedger
    from stategraph.workers.ledger.effects import effect as effect
    from stategraph.workers.ledger.records import EffectFailed as EffectFailed
    from stategraph.workers.ledger.records import EffectRecord as EffectRecord
    from stategraph.workers.ledger.records import Found as Found
    from stategraph.workers.ledger.records import InDoubt as InDoubt
    from stategraph.workers.ledger.records import NotFound as NotFound
    from stategraph.workers.ledger.records import current_effect as current_effect
    from stategraph.workers.ledger.tools import effect_tool as effect_tool
    from stategraph.workers.nodes.executor import close_node_workers as close_node_workers
    from stategraph.workers.nodes.executor import configure_node_workers as configure_node_workers
    from stategraph.workers.pool import Job as Job
    from stategraph.workers.pool import JobHandle as JobHandle
    from stategraph.workers.pool import PoolHealth as PoolHealth
    from stategraph.workers.pool import PoolStatistics as PoolStatistics
    from stategraph.workers.pool import WorkerPool as WorkerPool
    from stategraph.workers.process.supervisor import ProcessPool as ProcessPool
    from stategraph.workers.references import imported as imported
    from stategraph.workers.registry.pruning import Pruned as Pruned
    from stategraph.workers.registry.runs import RunRegistry as RunRegistry
    from stategraph.workers.registry.values import Lease as Lease
    from stategraph.workers.registry.values import RunInfo as RunInfo
    from stategraph.workers.registry.values import ThreadBusy as ThreadBusy
    from stategraph.workers.registry.values import UnknownRunError as UnknownRunError
    from stategraph.workers.registry.values import WorkerInfo as WorkerInfo
    from stategraph.workers.thread import ThreadPool as ThreadPool
    from stategraph.workers.wire import encode as encode
    from stategraph.workers.worker import RunNotice as RunNotice
    from stategraph.workers.worker import Worker as Worker
    from stategraph.workers.worker import WorkerSettings as WorkerSettings

_PUBLIC = {
    "autoscale.driver": ("Autoscaler",),
    "autoscale.machine": ("ScalingSettings",),
    "cluster.pool": ("ClusterSettings", "NatsPool"),
    "cluster.queue": ("DeadLetter",),
    "eventlog": ("LoggedEvent", "attach"),
    "fencing.guard": ("Guard",),
    "fencing.saver": ("FencedSaver",),
    "holding": ("hold",),
    "leases": ("LeaseLost", "LeaseSettings", "RunStatus"),
    "ledger.effects": ("EffectLedger", "effect"),
    "ledger.records": ("EffectFailed", "EffectRecord", "Found", "InDoubt", "NotFound", "current_effect"),
    "ledger.tools": ("effect_tool",),
    "registry.pruning": ("Pruned",),
    "registry.runs": ("RunRegistry",),
    "registry.values": ("Lease", "RunInfo", "ThreadBusy", "UnknownRunError", "WorkerInfo"),
    "worker": ("RunNotice", "Worker", "WorkerSettings"),
    "execution": ("JobPort", "current_port", "job_target"),
    "inline": ("InlinePool",),
    "nodes.executor": ("close_node_workers", "configure_node_workers"),
    "pool": ("Job", "JobHandle", "PoolHealth", "PoolStatistics", "WorkerPool"),
    "process.supervisor": ("ProcessPool",),
    "references": ("imported",),
    "agents.runtime": ("MultiProcessRuntime",),
    "thread": ("ThreadPool",),
    "wire": ("encode",),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]
