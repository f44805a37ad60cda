"""Workflow: steps, as a graph.

References between steps are checked where the workflow is compiled, with the place of each problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from stategraph.resources.kinds.base import TEXT, Ref, Spec, Spelled, TargetSpec
from stategraph.resources.kinds.values import (
    Duration,
    Expression,
    FunctionPath,
    JsonSchema,
    Name,
    PositiveInt,
    Retry,
    Rollout,
)

Merge: TypeAlias = Literal["last", "append", "union", "update", "add", "messages"]


class Shape(Spec):
    """A JSON Schema, as far as fields of a state and of inputs need one."""

    type: str | tuple[str, ...] | None = Field(default=None, description="The type of JSON.")
    items: JsonSchema | None = Field(default=None, description="Of an array.")
    properties: JsonSchema | None = Field(default=None, description="Of an object.")
    required: tuple[str, ...] = Field(default=(), description="Of an object: the properties that it must have.")
    enum: tuple[Any, ...] | None = Field(default=None, description="The only values.")
    format: str | None = Field(default=None, description="Of a text.")
    title: str | None = Field(default=None, description="For people.")
    description: str | None = Field(default=None, description="For people.")
    default: Any = Field(default=None, description="The value where none was given.")


class StateField(Shape):
    """A field of a workflow's state."""

    merge: Merge | None = Field(
        default=None,
        description="How writes meet. none: one step at a time may write. last: of several at once the last. append: "
        "lists and single values are added to a list. union: the same without repetitions. update: mappings merge. "
        "add: numbers are summed. messages: a conversation, messages by their ids.",
    )


class InputField(Shape):
    """A field of a workflow's input."""

    optional: bool = Field(default=False, description="Whether it may be missing; so may one with a default.")

    @property
    def is_needed(self) -> bool:
        """True if it may not be missing."""
        return not self.optional and self.default is None


class Question(Spec):
    """A question to a person."""

    type: Name = Field(
        default="question", description="question: a text. approval: approved or not. Others: any answer."
    )
    prompt: str | None = Field(default=None, description="What is asked; may have expressions.")
    options: tuple[str | dict[str, str], ...] = Field(default=(), description="question: answers to choose from.")
    data: Any = Field(default=None, description="Shown with it; may have expressions.")


class Case(Spec):
    """A way out of a switch."""

    when: Expression | None = Field(default=None, description="The condition, in CEL; none: always.")
    next: Name = Field(description="The step to go to, or END.")


STEP_KINDS: Final = ("agent", "tool", "workflow", "network", "interrupt", "switch", "node", "set")
CALLS: Final = ("agent", "tool", "workflow", "network")


def _several(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


_Steps: TypeAlias = Annotated[tuple[Name, ...], BeforeValidator(_several), Spelled(TEXT)]


class Step(Spec):
    """A step of a workflow: exactly one of agent, tool, workflow, network, interrupt, switch, node, set."""

    id: Annotated[str, Field(min_length=1, pattern=r"^[^\s:|/]+$")] = Field(description="Its name in the workflow.")
    name: str | None = Field(default=None, description="For people.")
    description: str | None = Field(default=None, description="For people.")
    agent: Ref | None = Field(default=None, description="An agent is asked.")
    tool: Ref | None = Field(default=None, description="A tool is called.")
    workflow: Ref | None = Field(default=None, description="A workflow is executed.")
    network: Ref | None = Field(default=None, description="A network is asked.")
    interrupt: Question | None = Field(default=None, description="A person is asked; the thread waits.")
    switch: tuple[Case, ...] | None = Field(
        default=None, description="The way goes on by conditions; the first that holds."
    )
    node: FunctionPath | None = Field(default=None, description="A function of the state that returns an update of it.")
    set: dict[str, Any] | None = Field(default=None, description="Fields of the state are set.")
    each: str | tuple[Any, ...] | None = Field(
        default=None, description="A list: the step runs for each item, side by side."
    )
    as_: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = Field(
        default=None, alias="as", description="The name of the item in expressions; none: item."
    )
    max_concurrency: PositiveInt | None = Field(default=None, description="each: how many run at once; none: all.")
    on_error: Literal["fail", "settle"] = Field(
        default="fail", description="each: whether a failed item fails the workflow, or the others go on."
    )
    error_output: dict[str, Any] | None = Field(
        default=None, description="each, settle: written for a failed item; `error` has step, index, type and message."
    )
    input: Any = Field(default=None, description="What it is given; none: the result of the step before.")
    output: dict[str, Any] | None = Field(default=None, description="Fields of the state, by the `result` of the step.")
    next: _Steps | None = Field(default=None, description="The steps to go to, or END; none: END.")
    after: _Steps = Field(default=(), description="Steps that all have to have run before.")
    timeout: Duration | None = Field(default=None, description="How long one attempt may take.")
    retry: Retry | None = Field(default=None, description="Whether failed attempts are repeated.")

    @property
    def kind(self) -> str:
        """The one of `STEP_KINDS` that the step has."""
        return next(each for each in STEP_KINDS if getattr(self, each) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Step:
        given = [each for each in STEP_KINDS if getattr(self, each) is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"step {self.id!r} does exactly one of {', '.join(STEP_KINDS)}; found {found}")
        return self


def _names(given: Any) -> Any:
    if isinstance(given, Mapping):
        return given
    return {each: {} for each in given} if isinstance(given, list | tuple) else given


_LIST: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}


class WorkflowSpec(TargetSpec):
    """Steps, each of which says what comes after it."""

    name: str | None = Field(default=None, description="For people.")
    description: str | None = Field(default=None, description="What it does.")
    version: str | None = Field(default=None, description="For people; versions are told apart by their content.")
    inputs: dict[str, InputField] | None = Field(default=None, description="The fields of its input; none: any input.")
    outputs: Annotated[dict[str, Shape], BeforeValidator(_names), Spelled(_LIST)] | None = Field(
        default=None, description="The fields of its state that are its output; none: all."
    )
    state: dict[str, StateField] = Field(default_factory=dict, description="What its steps know together.")
    initial_step: _Steps | None = Field(default=None, description="The step, or steps, to begin with; none: the first.")
    steps: tuple[Step, ...] = Field(min_length=1, description="The steps.")
    max_steps: PositiveInt | None = Field(default=None, description="The most steps of one run; none: the engine's.")
    rollout: Rollout = Field(default=Rollout(), description="What happens to threads that wait while it changes.")
    policy_ref: Ref | None = Field(default=None, description="The Policy that decides about its tools.")
    budget_ref: Ref | None = Field(default=None, description="The Budget of its runs.")
