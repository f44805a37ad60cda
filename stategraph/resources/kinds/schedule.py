"""Schedule: runs that begin at times."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from stategraph.resources.kinds.base import Ref, Spec


class ScheduleSpec(Spec):
    """Runs of an agent, a workflow or a network, at times."""

    cron: str = Field(min_length=1, description="Five fields as of cron(5), a sixth one is seconds; also '@daily'.")
    timezone: str | None = Field(None, min_length=1, description="IANA name of the clock that it goes by; none: UTC.")
    ref: Ref = Field(description="The agent, workflow or network; written with its kind: 'workflow/data-processing'.")
    input: Any = Field(None, description="What the graph is called with.")
    thread_id: str | None = Field(
        None, min_length=1, description="The thread of all its runs; none: a new one for each run."
    )
    on_conflict: Literal["reject", "enqueue", "interrupt", "rollback"] = Field(
        "enqueue", description="What a run does if its thread has another one; 'reject': it is left out."
    )
    queue: str = Field("default", min_length=1, description="The queue of its runs.")
    suspend: bool = Field(False, description="Begin no runs.")

    @field_validator("ref")
    @classmethod
    def _kind(cls, value: Any) -> Any:
        if value.kind not in ("agent", "workflow", "network"):
            raise ValueError(
                f"a schedule runs an agent, a workflow or a network: write the kind, 'workflow/{value.name}'"
            )
        return value
