"""Values checked against the schemas of a graph: what nodes write, and what a run answers.

Rules
-----
* A value is checked as pydantic checks a field of its type, and in the same mode: "1" is an int unless the type is
  strict. Without a reducer it is written as pydantic returns it, so that the state has the types that it declares; what
  a reducer is given stays as it is.
* An output is checked as a whole: keys that are missing, models with their validators.
* Nothing of a node's update is written if a part of it does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from inspect import isclass
from typing import Annotated, Any, Final, Literal, NamedTuple, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

from stategraph.constants import MISSING
from stategraph.core.channels import reducers
from stategraph.core.channels.base import BaseChannel
from stategraph.engine.compile.typed_dicts import readable
from stategraph.errors import ConfigurationError, InvalidUpdateError
from stategraph.graph import schema as schemas
from stategraph.graph.typed import key_types
from stategraph.graph.typed.key_types import Declared, KeyType
from stategraph.graph.typed.shown import cause, reason, shown
from stategraph.graph.typed.words import told
from stategraph.types import Command

Validate = Literal["updates", "output", "all"]
"""The checks that there are: `updates`, of the input and what nodes write; `output`, of what a run answers; or all."""

_MODES: Final = frozenset(("updates", "output", "all"))


class StateValidationError(InvalidUpdateError, ValueError):
    """A value does not fit the type that the schema gives it; raised by graphs with `validate`.

    The message names the node, the key, what was found and what was expected. The cause is pydantic's error.

    Attributes:
        node: The node that wrote it; None for the input and for an output.
        keys: The keys that do not fit.
    """

    def __init__(self, message: str, node: str | None = None, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.node = node
        self.keys = tuple(keys)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the attributes."""
        return type(self), (str(self), self.node, self.keys)


def wanted(validate: object, what: Literal["updates", "output"]) -> bool:
    """Return whether something is to be checked.

    Raises:
        ConfigurationError: It is said in no word that is known.
    """
    if validate is not None and validate not in _MODES:
        raise ConfigurationError(
            f"validate={validate!r} is unknown; expected 'updates', 'output' or 'all', or None for no checks"
        )
    return validate in (what, "all")


# -- updates -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Key:
    """The check of one key.

    Attributes:
        expected: The type in words.
        schema: The schema that declares it.
        of_update: Checks an update; None if nothing is known of its type.
        of_value: Checks a value that is put in place of the state.
        becomes_value: Whether an update is written as the check returns it.
    """

    expected: str
    schema: str
    of_update: Callable[[Any], Any] | None
    of_value: Callable[[Any], Any]
    becomes_value: bool


class UpdateCheck:
    """Checks the pairs of key and value that a node writes."""

    __slots__ = ("_keys",)

    def __init__(self, types: Iterable[KeyType], channels: Mapping[str, BaseChannel[Any, Any, Any]]) -> None:
        """Prepare the checks.

        Args:
            types: The types of the keys.
            channels: The channels by key.

        Raises:
            ConfigurationError: A type cannot be checked.
        """
        self._keys = {each.key: _key(each, channels[each.key]) for each in types}

    def __call__(self, pairs: Iterable[tuple[str, Any]], node: str) -> list[tuple[str, Any]]:
        """Return the pairs as they are to be written.

        Args:
            pairs: Keys of the state and updates.
            node: The node that writes them; empty for the input.

        Raises:
            StateValidationError: One or more of them do not fit.
        """
        taken: list[tuple[str, Any]] = []
        wrong: list[tuple[str, Any, _Key, ValidationError]] = []
        for name, value in pairs:
            key = self._keys.get(name)
            if key is not None:
                try:
                    value = _checked(key, value)
                except ValidationError as error:
                    wrong.append((name, value, key, error))
            taken.append((name, value))
        if wrong:
            raise _misfit(wrong, node) from cause(wrong[0][3], wrong[0][0])
        return taken


class UpdateChecks(NamedTuple):
    """The checks of all that is written to the state of a graph.

    Attributes:
        of_nodes: Of what nodes write.
        of_input: Of the input.
    """

    of_nodes: UpdateCheck
    of_input: UpdateCheck

    @classmethod
    def of(cls, declared: Declared, input_schema: type[object]) -> UpdateChecks:
        """Prepare the checks of a graph.

        Raises:
            ConfigurationError: A type cannot be checked.
        """
        channels = {key: declared.channels[key] for key in declared.schemas[input_schema] if key in declared.channels}
        return cls(
            UpdateCheck(key_types.of_graph(declared).values(), declared.channels),
            UpdateCheck(key_types.of_schema(input_schema, channels), channels),
        )


class CommandCheck:
    """Checks what a command writes that is the input of a run, any key of the state."""

    __slots__ = ("_check",)

    def __init__(self, check: UpdateCheck) -> None:
        self._check = check

    def __call__(self, command: Command[Any]) -> Command[Any]:
        """Return the command with its update as it is to be written.

        Raises:
            StateValidationError: One or more of its values do not fit.
        """
        pairs = command._update_as_tuples() if command.update is not None else []
        return replace(command, update=self._check(pairs, "")) if pairs else command


def _key(key_type: KeyType, channel: BaseChannel[Any, Any, Any]) -> _Key:
    type_, becomes_value = key_types.update_type(key_type, channel)
    of_value = _adapter(key_type.type_, key_type.key, key_type.schema).validate_python
    of_update = None
    if type_ is not MISSING:
        of_update = of_value if becomes_value else _adapter(type_, key_type.key, key_type.schema).validate_python
    expected = told(key_type.type_ if type_ is MISSING else type_, frozenset())
    return _Key(expected, _name(key_type.schema), of_update, of_value, becomes_value)


def _checked(key: _Key, value: Any) -> Any:
    put = reducers.overwritten(value) if not key.becomes_value and isinstance(value, reducers.REPLACING) else MISSING
    if put is not MISSING:
        key.of_value(put)
        return value
    if key.of_update is None:
        return value
    checked = key.of_update(value)
    return checked if key.becomes_value else value


def _misfit(wrong: Sequence[tuple[str, Any, _Key, ValidationError]], node: str) -> StateValidationError:
    who = f"Node '{node}' wrote" if node else "The input has"
    parts = [
        f"'{name}' = {shown(value, name)}, expected {key.expected} ({_reason(error, name)})"
        for name, value, key, error in wrong
    ]
    return StateValidationError(
        f"{who} what does not fit {wrong[0][2].schema}: {'; '.join(parts)}. Nothing of it was written. Mend the "
        f"{'node' if node else 'input'} or the type, or compile without validate",
        node or None,
        [name for name, *_ in wrong],
    )


# -- outputs -------------------------------------------------------------------


class OutputCheck:
    """Checks the output of a run as a whole.

    Attributes:
        schema: What it is checked against.
    """

    __slots__ = ("_make", "schema")

    def __init__(self, schema: type[object], keys: Sequence[str]) -> None:
        """Prepare the check.

        Args:
            schema: The output schema.
            keys: Its stored keys.

        Raises:
            ConfigurationError: A type cannot be checked.
        """
        self.schema = schema
        is_model = isclass(schema) and issubclass(schema, BaseModel)
        model = schemas.coercer(keys, schema) if is_model else None
        self._make: Callable[[Any], Any] = model or _adapter(schema, "", schema).validate_python

    def __call__(self, values: object) -> Any:
        """Return the output as an instance of the schema; for a TypedDict, a dict.

        Args:
            values: The output: a dict by key, or the value of a state that is one.

        Raises:
            StateValidationError: It does not fit.
        """
        try:
            return self._make(values)
        except ValidationError as error:
            misfit, why = self._misfit(error), cause(error)
        raise misfit from why

    def _misfit(self, error: ValidationError) -> StateValidationError:
        parts, keys = [], []
        for problem in error.errors(include_url=False):
            place = ".".join(map(str, problem["loc"]))
            found = "nothing" if problem["type"] == "missing" else shown(problem["input"], *problem["loc"])
            said = reason(problem)
            parts.append(f"'{place}': found {found} ({said})" if place else f"found {found} ({said})")
            keys += [str(each) for each in problem["loc"][:1] if each not in keys]
        return StateValidationError(
            f"The output does not fit {_name(self.schema)}: {'; '.join(parts)}. Mend the nodes that write it or the "
            "output schema, or compile without validate; validate='all' tells which node wrote it",
            keys=keys,
        )


# -- pydantic ------------------------------------------------------------------


def _adapter(type_: Any, key: str, schema: type[object]) -> TypeAdapter[Any]:
    """Return what checks a type.

    Raises:
        ConfigurationError: Pydantic cannot check it.
    """
    inner = type_
    while get_origin(inner) is Annotated:
        inner = get_args(inner)[0]
    has_config = isclass(inner) and (issubclass(inner, BaseModel) or is_dataclass(inner) or is_typeddict(inner))
    own = getattr(schema, "model_config", None) or getattr(schema, "__pydantic_config__", None) or {}
    config = cast("ConfigDict", {"arbitrary_types_allowed": True, **own})
    try:
        return TypeAdapter(readable(type_), config=None if has_config else config)
    except PydanticUserError as error:
        what = f"Key '{key}' of {_name(schema)}" if key else f"{_name(schema)}"
        raise ConfigurationError(
            f"{what} has a type that cannot be checked: {_first_line(error)} Give it a type that pydantic knows, or "
            "compile without validate"
        ) from error


def _name(schema: object) -> str:
    return str(getattr(schema, "__name__", schema))


def _reason(error: ValidationError, name: str) -> str:
    problems = [
        f"{'.'.join(map(str, each['loc']))}: {reason(each, name)}" if each["loc"] else reason(each, name)
        for each in error.errors(include_url=False)
    ]
    return "; ".join(dict.fromkeys(problems))


def _first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0].strip()
    return line if line.endswith(".") else f"{line}."
