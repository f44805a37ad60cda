"""Worker: a pool that executes the runs of queues."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator

from stategraph.resources.kinds.base import Spec


class Replicas(Spec):
    """Limits of the number of workers."""

    min: Annotated[StrictInt, Field(ge=0)] = Field(1, description="At least so many.")
    max: Annotated[StrictInt, Field(ge=1)] = Field(1, description="At most so many.")
    target_queue_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, description="Seconds within which runs that wait should have begun; there are more workers otherwise."
    )
    target_latency_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds that runs should take in all; there are more workers while all of them are full."
    )
    up_after_seconds: Annotated[float, Field(ge=0)] = Field(
        5.0, description="Seconds from one change of the number until there are more."
    )
    down_after_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="Seconds for which fewer have to be enough before there are fewer."
    )

    @model_validator(mode="after")
    def _order(self) -> Replicas:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, which is more than max, {self.max}")
        return self


class WorkerSpec(Spec):
    """Workers of a queue."""

    queue: str = Field("default", min_length=1, description="The queue whose runs they execute.")
    queues: tuple[str, ...] = Field((), description="Further queues, less important ones last.")
    replicas: Replicas = Field(default_factory=lambda: Replicas.model_validate({}), description="How many there are.")
    capacity: Annotated[StrictInt, Field(ge=1)] = Field(10, description="Runs that one worker executes at a time.")
    executor: Literal["inline", "external"] = Field(
        "inline",
        description="'inline': in the process of the runtime; 'external': elsewhere, as in pods, only counted.",
    )
    drain_seconds: Annotated[float, Field(ge=0)] = Field(30.0, description="Seconds that its runs have to end.")
