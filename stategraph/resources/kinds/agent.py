"""Agent: a model with instructions and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from stategraph.resources.kinds.base import TEXT, Ref, Spec, Spelled, TargetSpec, parts
from stategraph.resources.kinds.model import InlineModel
from stategraph.resources.kinds.values import Duration, Flag, JsonSchema, Named, PositiveInt, Rollout


class Embedding(Spec):
    """A model that makes vectors of texts."""

    provider: str = Field(description="The provider, as `init_embeddings` of LangChain names it.")
    name: str = Field(description="The provider's name of the model.")


class MemorySpec(Spec):
    """Memory of an agent beyond one call."""

    enabled: Flag = Field(default=True, description="Whether it remembers.")
    type: Literal["thread", "vector"] = Field(
        default="thread",
        description="thread: the conversation of the thread. vector: also what is alike in earlier ones.",
    )
    top_k: PositiveInt = Field(default=4, description="vector: how many memories are recalled in a turn.")
    min_score: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.15, description="vector: how alike they have to be."
    )
    embedding: Embedding | None = Field(
        default=None, description="vector: the model that makes the vectors; none: of the letters, without any model."
    )
    max_items: PositiveInt = Field(default=10_000, description="vector: the most that is kept; the oldest go.")
    per_user: Flag = Field(default=True, description="vector: whether users of the run have memories apart.")


class OutputSpec(Spec):
    """Typed output of an agent."""

    json_schema: JsonSchema = Field(alias="schema", description="JSON Schema of the answer.")
    mode: Literal["auto", "native", "tool", "prompt"] = Field(
        default="auto", description="How the model is asked for it."
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        default=2, description="How often it is told that its answer does not fit."
    )


class Handoff(Spec):
    """An agent that the conversation may be handed over to."""

    to: Ref = Field(description="The agent.")
    description: str | None = Field(default=None, description="When to hand over, told to the model.")
    returns: Flag = Field(default=False, description="Whether the conversation comes back after its answer.")


def _handoff(given: Any) -> Any:
    if isinstance(given, Mapping) and "to" in given:
        return given
    return {"to": given}


#: The other spellings of a handoff: those of a reference.
_HANDOFF: Final = Spelled(TEXT, parts("name", "namespace", "kind"), parts("ref"), parts("refName"))


class Summarization(Spec):
    """Summarise messages that do not fit."""

    max_summary_tokens: PositiveInt | None = Field(default=None, description="The longest summary.")
    retain_turns: Annotated[int, Field(ge=0)] = Field(default=2, description="The newest turns that stay as they are.")


class Middleware(Spec):
    """One thing that is done around the calls of an agent's model and tools."""

    summarization: Summarization | None = Field(
        default=None, description="Summarise what does not fit; needs maxContextTokens."
    )
    context_pruning: Flag | None = Field(default=None, description="Shorten old results of tools.")
    max_tool_result_chars: PositiveInt | None = Field(default=None, description="The longest result of a tool.")

    @model_validator(mode="after")
    def _one(self) -> Middleware:
        given = (self.summarization, self.context_pruning, self.max_tool_result_chars)
        if sum(each is not None for each in given) != 1:
            raise ValueError("each middleware is one of summarization, contextPruning, maxToolResultChars")
        return self


class Scaling(Spec):
    """Number of workers that serve an agent, for a Worker and the operator."""

    min_replicas: Annotated[int, Field(ge=0)] = Field(default=1, description="At least so many.")
    max_replicas: PositiveInt = Field(default=1, description="At most so many.")

    @model_validator(mode="after")
    def _in_order(self) -> Scaling:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"maxReplicas is {self.max_replicas}, less than minReplicas, {self.min_replicas}")
        return self


class Expose(Spec):
    """The protocols by which a server offers an agent."""

    a2a: Flag = False
    mcp: Flag = False
    http: Flag = True
    openai: Flag = False


class AgentSpec(TargetSpec):
    """A model with instructions, tools and memory."""

    name: str | None = Field(default=None, description="For people; none: that of the resource.")
    description: str | None = Field(
        default=None, description="What it is good at, for those who choose between agents."
    )
    instructions: str | None = Field(default=None, description="What its model is told before each conversation.")
    model: InlineModel | None = Field(default=None, description="Its model, described here.")
    model_ref: Ref | None = Field(
        default=None, description="Its model; none and no `model`: the Model called `default`."
    )
    tools: tuple[Named, ...] = Field(
        default=(), description="Tools, and agents, workflows or MCP servers that are its tools."
    )
    skills: tuple[Ref, ...] = Field(default=(), description="Skills that it may read.")
    subagents: tuple[Named, ...] = Field(default=(), description="Agents that work on tasks for it.")
    handoffs: tuple[Annotated[Handoff, BeforeValidator(_handoff), _HANDOFF], ...] = Field(
        default=(), description="To hand over to."
    )
    memory: MemorySpec | None = Field(default=None, description="What it remembers beyond one call.")
    output: OutputSpec | None = Field(default=None, description="What its answer has to be; none: any text.")
    middleware: tuple[Middleware, ...] = Field(default=(), description="What is done around its model and tools.")
    max_context_tokens: PositiveInt | None = Field(default=None, description="The size of the model's context.")
    tool_timeout: Duration | None = Field(default=None, description="How long a call of any of its tools may take.")
    scaling: Scaling | None = Field(default=None, description="How many workers serve it.")
    expose: Expose = Field(default=Expose(), description="The protocols by which a server offers it.")
    rollout: Rollout = Field(default=Rollout(), description="What happens to threads that wait while it changes.")
    policy_ref: Ref | None = Field(default=None, description="The Policy that decides about its tools.")
    budget_ref: Ref | None = Field(default=None, description="The Budget of its runs.")

    @model_validator(mode="after")
    def _one_model(self) -> AgentSpec:
        if self.model is not None and self.model_ref is not None:
            raise ValueError("an agent has either a 'model' or a 'modelRef'")
        if any(each.summarization for each in self.middleware) and self.max_context_tokens is None:
            raise ValueError("summarization needs 'maxContextTokens', the size of the model's context")
        return self
