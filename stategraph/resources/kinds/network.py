"""Network: agents among which a router chooses, step by step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stategraph.resources.kinds.base import Ref, Spec, TargetSpec
from stategraph.resources.kinds.model import InlineModel
from stategraph.resources.kinds.values import Duration, Flag, Named, PositiveInt


class Router(Spec):
    """The router of a network, which chooses the next agent."""

    model: InlineModel | None = Field(default=None, description="A model that chooses, described here.")
    model_ref: Ref | None = Field(default=None, description="A model that chooses.")
    strategy: Literal["first", "round_robin", "sequence", "random", "capability"] | None = Field(
        default=None,
        description="A rule that chooses, without a model. first: the first agent answers. round_robin: each turn the "
        "next one. sequence: all of them, in order. random: one by chance. capability: the one whose description fits "
        "the question best.",
    )
    max_steps: PositiveInt = Field(default=10, description="The most agents that are asked in a turn.")

    @model_validator(mode="after")
    def _one(self) -> Router:
        given = [each for each in ("model", "model_ref", "strategy") if getattr(self, each) is not None]
        if len(given) > 1:
            raise ValueError("a router has one of model, modelRef, strategy")
        return self


class SharedState(Spec):
    """State that the agents of a network share."""

    persistence: Flag = Field(default=False, description="Whether it is in the database, not in memory.")
    ttl: Duration | None = Field(default=None, description="How long a value is kept after it was written.")


class NetworkSpec(TargetSpec):
    """Agents among which a router chooses, step by step, until the question is answered."""

    name: str | None = Field(default=None, description="For people.")
    description: str | None = Field(default=None, description="What it is good at.")
    instructions: str | None = Field(default=None, description="What the router's model is told.")
    agents: tuple[Named, ...] = Field(min_length=1, description="The agents.")
    router: Router = Field(
        default=Router(), description="Who chooses; without model and strategy the Model called `default`."
    )
    state: SharedState = Field(default=SharedState(), description="What they know together.")

    @model_validator(mode="after")
    def _distinct(self) -> NetworkSpec:
        names = [each.label for each in self.agents]
        twice = next((each for each in names if names.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"two agents of the network are called {twice!r}; give one another 'name'")
        return self
