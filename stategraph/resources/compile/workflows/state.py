"""The state of a workflow as a schema of a graph, and what expressions see of it.

| channel | when there is one | holds |
|---|---|---|
| each field of `state` | always | what steps wrote |
| each field of `inputs` | where inputs are declared | what the workflow was given |
| `input` | where no inputs are declared | the same, of any form |
| `last` | where a step without `input` follows another, or an expression reads it | the result of the step before |
| `steps` | where an expression reads the result of a step | results by the ids of steps |
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypedDict

from pydantic import WithJsonSchema

from stategraph.resources.compile import expr
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.compile.workflows import merges
from stategraph.resources.kinds.workflow import InputField, Shape, StateField, WorkflowSpec

INPUT: Final = "input"
LAST: Final = "last"
STEPS: Final = "steps"

_WORDS: Final = frozenset({"merge", "optional", "default"})
_TYPES: Final[Mapping[str, type]] = {"integer": int, "array": list, "object": dict, "string": str, "boolean": bool}


@dataclass(frozen=True, slots=True)
class Names:
    """Names that the steps of a workflow may read, and their places in the state.

    Attributes:
        inputs: Declared inputs; None: the input has any form.
        fields: The fields of the state.
        defaults: Their values where nothing was written yet.
        records: Steps whose results are kept by their ids.
        keeps_last: Whether the result of the step before is kept.
    """

    inputs: Mapping[str, InputField] | None
    fields: Mapping[str, StateField]
    defaults: Fields = field(default_factory=dict)
    records: frozenset[str] = frozenset()
    keeps_last: bool = False

    @property
    def variables(self) -> frozenset[str]:
        """The names that expressions may use everywhere."""
        return frozenset({"state", INPUT, LAST, STEPS})

    def scope(self, state: Fields, names: Collection[str]) -> Object:
        """Return the values of names.

        Args:
            state: The state of the graph.
            names: Which; others are left out.
        """
        found: Object = {}
        for name in names:
            if name == "state":
                found[name] = self._fields_of(state)
            elif name == INPUT:
                found[name] = self.input_of(state)
            elif name == STEPS:
                found[name] = state.get(STEPS, {})
            elif name == LAST and LAST in state:
                found[name] = state[LAST]
        return found

    def field_of(self, path: Sequence[str]) -> str | None:
        """Return the field of the graph's state that a path of expressions leads to; None if it is not just a field.

        Args:
            path: The names of the path, such as `state` and `items`.
        """
        match path:
            case ("state", field) if field not in self.defaults:
                return field
            case ("input", field) if self.inputs is not None and field in self.inputs:
                return field if self.inputs[field].default is None else None
        return None

    def _fields_of(self, state: Fields) -> Fields:
        if not self.defaults:
            return state
        missing = {name: copy.deepcopy(value) for name, value in self.defaults.items() if name not in state}
        return {**missing, **state}

    def input_of(self, state: Fields) -> Data:
        """Return the input of the workflow."""
        if self.inputs is None:
            return state.get(INPUT)
        given = {name: state[name] for name in self.inputs if name in state}
        for name, declared in self.inputs.items():
            if name not in given and declared.default is not None:
                given[name] = copy.deepcopy(declared.default)
        return given


def json_schema(shape: Shape) -> Object:
    """Return the JSON Schema of a field, without what is not of JSON Schema."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in shape.model_dump(by_alias=True, exclude_unset=True).items()
        if key not in _WORDS
    }


def schemas(spec: WorkflowSpec, names: Names) -> tuple[type, type, type]:
    """Return the classes of the state, the input and the output of a workflow's graph."""
    state: Object = {name: _annotation(shape, shape.merge) for name, shape in spec.state.items()}
    if spec.inputs is None:
        inputs: Object = {INPUT: Data}
    else:
        inputs = {name: _input(shape, spec.state.get(name)) for name, shape in spec.inputs.items()}
    helpers: Object = {}
    if names.keeps_last:
        helpers[LAST] = Annotated[Any, merges.last]
    if names.records:
        helpers[STEPS] = Annotated[dict, merges.update]
    outputs = {name: state[name] for name in (spec.state if spec.outputs is None else spec.outputs)}
    if not outputs and names.keeps_last:
        outputs = {LAST: helpers[LAST]}
    everything = {**{name: each for name, each in inputs.items() if name not in state}, **state, **helpers}
    return (
        TypedDict("WorkflowState", everything, total=False),  # type: ignore[operator]
        TypedDict("WorkflowInput", inputs, total=False),  # type: ignore[operator]
        TypedDict("WorkflowOutput", outputs or dict(everything), total=False),  # type: ignore[operator]
    )


def _input(shape: InputField, field: StateField | None) -> Data:
    """Return the annotation of an input; one that is a field of the state too is written as that field is."""
    return _annotation(shape, None) if field is None else _annotation(shape, field.merge, field.type)


def _annotation(shape: Shape, merge: str | None, type: str | tuple[str, ...] | None = None) -> Data:
    schema = WithJsonSchema(json_schema(shape))
    if merge is None:
        return Annotated[Any, Declared(shape), schema]
    kind, reducer = merges.REDUCERS[merge]
    if merge == "add" and (type or shape.type) == "integer":
        kind = int
    return Annotated[kind, Declared(shape), schema, reducer]


@dataclass(frozen=True, slots=True)
class Declared:
    """Marks an annotation with the field of the manifest that it was made of.

    Attributes:
        shape: The field.
    """

    shape: Shape


def reads_fields(reads: expr.Reads, name: str) -> Collection[str]:
    """Return the fields of a name that are read; none if all may be."""
    return reads.get(name) or ()
