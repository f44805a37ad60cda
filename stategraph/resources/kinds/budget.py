"""Budget: what a run and all that it starts may take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stategraph.resources.kinds.base import TargetSpec
from stategraph.resources.kinds.values import Duration, PositiveInt


class BudgetSpec(TargetSpec):
    """Limits over the whole tree of a run: its agents, their subagents, and runs that they start elsewhere."""

    tokens: PositiveInt | None = Field(default=None, description="Tokens that models read and write.")
    usd: Annotated[float, Field(gt=0)] | None = Field(default=None, description="US dollars.")
    tool_calls: PositiveInt | None = Field(default=None, description="Tools that are executed.")
    wall: Duration | None = Field(
        default=None, description="Time from the start, without that in which a person is awaited."
    )
    on_limit: Literal["interrupt", "deny", "raise"] = Field(default="interrupt", description="What happens at a limit.")
    description: str | None = Field(default=None, description="For people.")

    @model_validator(mode="after")
    def _limits_something(self) -> BudgetSpec:
        if self.tokens is self.usd is self.tool_calls is self.wall is None:
            raise ValueError("a budget limits at least one of tokens, usd, toolCalls, wall")
        return self
