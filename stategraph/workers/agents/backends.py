"""The pools that runs may execute in, by the names of their backends, from the settings of a `MultiProcessRuntime`.

A setting that would have no effect is refused, as whoever gave it relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf

from stategraph.agent.settings.field_types import Count, PositiveInt
from stategraph.errors import ConfigurationError
from stategraph.run.runtime_settings import RuntimeSettings
from stategraph.savers.urls import check_address
from stategraph.workers.autoscale.driver import Autoscaler
from stategraph.workers.autoscale.machine import ScalingSettings
from stategraph.workers.cluster.pool import ClusterSettings, NatsPool
from stategraph.workers.hosting import HostingPool
from stategraph.workers.inline import InlinePool
from stategraph.workers.nats.address import read_address
from stategraph.workers.process.supervisor import ProcessPool
from stategraph.workers.thread import ThreadPool

Backend: TypeAlias = Literal["inline", "thread", "process", "nats"]


def _address(given: str) -> str:
    check_address(given)
    return given


class WorkerSettings(RuntimeSettings):
    """The settings of a `MultiProcessRuntime`, which has what they mean. Lists of names are read by `names`."""

    model_config = ConfigDict(title="MultiProcessRuntime")

    store: Annotated[str, AfterValidator(_address)] | None = Field(default=None, repr=False)
    workers: Count | None = None
    backend: Backend = "process"
    nats: str | None = Field(default=None, repr=False)
    cluster: InstanceOf[ClusterSettings] | None = None
    queue: Annotated[str, Field(min_length=1)] | None = None
    scaling: InstanceOf[ScalingSettings] | None = None
    max_runs_per_worker: PositiveInt | None = None
    memory_limit_mb: PositiveInt | None = None
    max_concurrency_per_worker: PositiveInt | None = None
    allow: Any = ()
    pass_environment: Any = ()
    environment: dict[str, str] | None = Field(default=None, repr=False)
    context_vars: Any = ()
    preload: Any = ()


T = TypeVar("T")

#: `...` where no value was given, for settings to which None means something.
Given: TypeAlias = T | EllipsisType

#: Modules that a worker imports before its first run.
_PRELOAD: Final = ("stategraph.workers.agents.agent_runs",)

#: What settings are for, and their names.
_FOR_NATS: Final = ("nats", "cluster", "queue")
_FOR_WORKERS: Final = ("max_runs_per_worker", "max_concurrency_per_worker")
_FOR_PROCESSES: Final = ("memory_limit_mb", "pass_environment", "environment", "preload")


@dataclass(frozen=True, kw_only=True, repr=False)
class PoolSettings:
    """Settings of a pool for runs, see `MultiProcessRuntime`. They may hold secrets, and are not shown.

    Raises:
        ConfigurationError: They make no sense, or one of them would have no effect.
    """

    backend: Backend = "process"
    workers: int | None = None
    allow: Sequence[str] = ()
    nats: str | None = None
    cluster: ClusterSettings | None = None
    queue: str | None = None
    scaling: ScalingSettings | None = None
    max_runs_per_worker: Given[int | None] = ...
    max_concurrency_per_worker: int | None = None
    memory_limit_mb: Given[int | None] = ...
    pass_environment: Sequence[str] = ()
    environment: Mapping[str, str] | None = None
    preload: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise ConfigurationError(f"'backend' is {self.backend!r}; expected one of {', '.join(get_args(Backend))}")
        if self.backend != "nats":
            self._refuse(_FOR_NATS, "for the backend 'nats'")
        elif self.nats is None:
            raise ConfigurationError(
                "The backend 'nats' needs the address of a server: MultiProcessRuntime(backend='nats', "
                "nats='nats://127.0.0.1:4222')"
            )
        else:
            read_address(self.nats)
        if not self.number and self.backend == "nats":
            here = (
                "for workers of this process, and there are none: nodes have settings of their own, on their command "
            )
            self._refuse((*_FOR_WORKERS, *_FOR_PROCESSES), f"{here}line. Leave it out, or give a number of 'workers'")
        elif self._kind != "process":
            self._refuse(_FOR_PROCESSES, f"for workers in processes, and these are of the kind '{self._kind}'")

        if self.scaling is not None:
            self._check_scaling(self.scaling)

    def _check_scaling(self, scaling: ScalingSettings) -> None:
        """Refuse to scale workers that are not there, or a number outside of the limits."""
        if self.backend == "inline" or not self.number:
            where = "'inline' has no workers" if self.backend == "inline" else "the workers are those of other nodes"
            raise ConfigurationError(f"'scaling' was given, and would have no effect: {where}")
        if scaling.least < 1:
            raise ConfigurationError("'scaling' has least=0; a pool of this process has at least 1 worker")
        if self.workers is not None and not scaling.least <= self.workers <= scaling.most:
            raise ConfigurationError(
                f"'workers' is {self.workers}, and 'scaling' has {scaling.least} to {scaling.most}: leave 'workers' "
                "out, or begin with a number within the limits"
            )

    def autoscaler(self, pool: HostingPool) -> Autoscaler | None:
        """Return what scales a pool of these settings; None if nothing does."""
        if self.scaling is None:
            return None
        return Autoscaler(pool, replace(self.scaling, capacity=self._capacity), workers=self.number)

    @property
    def _capacity(self) -> int:
        return 10 if self.max_concurrency_per_worker is None else self.max_concurrency_per_worker

    def _refuse(self, names: Sequence[str], purpose: str) -> None:
        """Refuse settings that were given and have no effect."""
        for name in names:
            if (given := getattr(self, name)) is not ... and given:
                raise ConfigurationError(f"{name!r} was given, and would have no effect: it is {purpose}")

    @property
    def number(self) -> int:
        """The number of workers of this machine."""
        if self.workers is None:
            if self.backend == "nats":
                return 0
            return 4 if self.scaling is None else max(1, self.scaling.least)
        return self.workers

    @property
    def _kind(self) -> str:
        """The kind of the workers of this machine."""
        return (self.cluster or ClusterSettings()).local if self.backend == "nats" else self.backend

    def pool(self) -> HostingPool:
        """Make a pool, which is not open."""
        settings: dict[str, Any] = {
            "allow": self.allow,
            "max_concurrency_per_worker": self._capacity,
            "max_jobs_per_worker": 1_000 if self.max_runs_per_worker is ... else self.max_runs_per_worker,
        }
        if self._kind == "process":
            settings |= {
                "memory_limit_mb": 1_024 if self.memory_limit_mb is ... else self.memory_limit_mb,
                "pass_environment": self.pass_environment,
                "environment": self.environment,
                "preload": (*_PRELOAD, *self.preload),
            }
        match self.backend:
            case "inline":
                return InlinePool(self.number, **settings)
            case "thread":
                return ThreadPool(self.number, **settings)
            case "process":
                return ProcessPool(self.number, **settings)
            case "nats":
                assert self.nats is not None
                return NatsPool(self.nats, self.number, settings=self.cluster, **settings)
