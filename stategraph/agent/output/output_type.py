"""The output type of an agent: its members, what a model is told of them, and what an answer comes to.

- One member is given as it is where it is an object, else as the `value` of one. Of several, each is a tool of its own;
  where the answer is one JSON text, that has the member's name as `kind` and the member as `value`.
- An answer is read as it came, whichever way the model was asked: a call of one of the tools, else its text. A text
  that is no JSON is an output if text is one of the members.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from stategraph import import_paths
from stategraph.agent.output import checks, schemas, texts
from stategraph.agent.output.checks import Check, InvalidOutput
from stategraph.agent.output.schemas import KIND, VALUE, Schema
from stategraph.agent.settings.inputs import ToolDefinition

TOOL: Final = "final_answer"
"""The name of the tool that takes the output; of several members each has one, with its name behind it."""

Form: TypeAlias = Literal["whole", "value", "text"]
"""Where an output is: all of what was given, its `value`, or the text as it is."""

_NAME_CHARS = 64
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """A value that fits.

    Attributes:
        name: The member's name.
        form: Where the value is in what the model gave.
        given: The value as the model gave it, JSON.
        value: The value of the member's type.
    """

    name: str
    form: Form
    given: object
    value: object


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an output type.

    Attributes:
        name: Its name among the members.
        tool: The tool that takes it.
        check: Validates it.
        description: What it is, for the model.
    """

    name: str
    tool: str
    check: Check
    description: str

    @property
    def is_text(self) -> bool:
        """True if any text is one."""
        return self.check.schema == {"type": "string"}

    @property
    def schema(self) -> Schema:
        """Its JSON schema."""
        return schemas.resolved_root(self.check.schema)

    @property
    def is_whole(self) -> bool:
        """True if it is an object, which needs none around it."""
        return schemas.is_object(self.schema)

    @property
    def parameters(self) -> Schema:
        """The schema of an object that is it, or has it as its value."""
        return self.schema if self.is_whole else schemas.wrapped(self.check.schema)

    @property
    def definition(self) -> ToolDefinition:
        """The tool that takes it, as models are offered it."""
        return ToolDefinition(name=self.tool, description=texts.tool(self.description), parameters=self.parameters)

    def of_object(self, data: object) -> Found:
        """Return what an object comes to that is this member, or has it as its value.

        Raises:
            InvalidOutput: It does not fit.
        """
        if self.is_whole:
            return Found(self.name, "whole", data, self.check.typed(data))
        if not isinstance(data, Mapping) or VALUE not in data:
            raise InvalidOutput(f"{VALUE}: it is missing")
        return self.of_value(data[VALUE])

    def of_value(self, value: object) -> Found:
        """Return what the value of an object comes to.

        Raises:
            InvalidOutput: It does not fit.
        """
        return Found(self.name, "value", value, self.check.typed(value))


class OutputType:
    """The output type of an agent.

    Args:
        members: Types, JSON schemas and import paths, see `stategraph.agent.settings.output_members`.

    Raises:
        ConfigurationError: One of them cannot be imported, validated or described.
        MissingPackageError: One of them needs a package that is not installed.
    """

    def __init__(self, members: Sequence[object]) -> None:
        kinds = [import_paths.imported(each, "The output type") if isinstance(each, str) else each for each in members]
        names = _unique([_name_of(each) for each in kinds])
        tools = [TOOL] if len(kinds) == 1 else _unique([f"{TOOL}_{each}"[:_NAME_CHARS] for each in names])
        self.members = tuple(
            Member(name, tool, checks.check_of(kind), _description_of(kind))
            for name, tool, kind in zip(names, tools, kinds, strict=True)
        )
        self._by_name = {each.name: each for each in self.members}
        self.by_tool: Mapping[str, Member] = {each.tool: each for each in self.members}

    @cached_property
    def name(self) -> str:
        """Its name, of several members all of them."""
        return "_or_".join(self._by_name)[:_NAME_CHARS]

    @property
    def takes_text(self) -> bool:
        """True if an answer in words is an output."""
        return any(each.is_text for each in self.members)

    @property
    def is_text(self) -> bool:
        """True if nothing else is one."""
        return all(each.is_text for each in self.members)

    @cached_property
    def schema(self) -> Schema:
        """The JSON schema of an answer that is one JSON text."""
        if len(self.members) == 1:
            return self.members[0].parameters
        return schemas.one_of({each.name: each.check.schema for each in self.members})

    @property
    def description(self) -> str:
        """Its description for the model; empty if nothing is known, or there are several members."""
        return self.members[0].description if len(self.members) == 1 else ""

    def of_arguments(self, tool: str, arguments: object) -> Found:
        """Return what the arguments of a call come to.

        Args:
            tool: One of the tools of `by_tool`.
            arguments: The arguments.

        Raises:
            InvalidOutput: They do not fit.
        """
        return self.by_tool[tool].of_object(arguments)

    def of_text(self, text: str, *, as_json: bool) -> Found:
        """Return what an answer without calls comes to.

        Args:
            text: The answer.
            as_json: Whether the model was asked for JSON: then a text that begins as such is meant to be.

        Raises:
            InvalidOutput: It does not fit.
        """
        data = texts.json_in(text)
        plain = next((each for each in self.members if each.is_text), None)
        try:
            if data is texts.NO_JSON or (plain is not None and not as_json and isinstance(data, str)):
                raise InvalidOutput(*texts.no_json(text))
            return self._of_data(data)
        except InvalidOutput:
            said = texts.without_thought(text).strip()
            if plain is None or not said or (as_json and texts.seems_json(said)):
                raise
            return Found(plain.name, "text", said, said)

    def _of_data(self, data: object) -> Found:
        named = self._named(data)
        if named is not None and isinstance(data, Mapping) and VALUE in data:
            return named.of_value(data[VALUE])
        if len(self.members) == 1:
            (member,) = self.members
            if member.is_whole or (isinstance(data, Mapping) and VALUE in data):
                return member.of_object(data)
            return Found(member.name, "whole", data, member.check.typed(data))
        # One that its answer names beside its fields is tried first; its fields alone would not be found again.
        means = named is not None and isinstance(data, Mapping) and _fits(named, _without_kind(data))
        for member in self.members if named is None else (named, *(() if means else self.members)):
            try:
                return Found(member.name, "whole", data, member.check.typed(data))
            except InvalidOutput:
                continue
        raise InvalidOutput(
            f"expected an object with '{KIND}', one of {', '.join(self._by_name)}, and '{VALUE}', which fits its schema"
        )

    def _named(self, data: object) -> Member | None:
        """Return the member of a union that an answer names as its kind; None if it names none."""
        kind = data.get(KIND) if len(self.members) > 1 and isinstance(data, Mapping) else None
        return self._by_name.get(kind) if isinstance(kind, str) else None

    def typed(self, name: str, given: object) -> Any:
        """Return a value as one of a member's type again, such as after it was read from a conversation.

        Args:
            name: The member's name.
            given: The value, as the model gave it.

        Raises:
            InvalidOutput: It does not fit, or there is no such member, as the type is another one now.
        """
        member = self._by_name.get(name)
        if member is None:
            raise InvalidOutput(f"the output is of the type {name!r}; expected one of {', '.join(self._by_name)}")
        return member.check.typed(given)

    def json(self, found: Found) -> object:
        """Return a value that fits as JSON, with the defaults that were filled in."""
        return checks.as_json(self._by_name[found.name].check, found.value, found.given)

    def partial(self, tool: str | None, data: object) -> tuple[str | None, object]:
        """Return the member that the beginning of an answer is of, None if that is not known yet, and its value.

        Args:
            tool: The tool whose arguments it is; None: it is the beginning of a text.
            data: As much of the JSON as has come; `NO_JSON` for the value if there is nothing of it yet.
        """
        if tool is not None:
            member = self.by_tool[tool]
            return member.name, data if member.is_whole else _inner(data)
        if len(self.members) > 1:
            named = self._named(data)
            return (None, texts.NO_JSON) if named is None else (named.name, _inner(data))
        (member,) = self.members
        is_inner = not member.is_whole and isinstance(data, Mapping)
        return member.name, _inner(data) if is_inner else data


def _fits(member: Member, data: object) -> bool:
    try:
        member.check.typed(data)
    except InvalidOutput:
        return False
    return True


def _without_kind(data: Mapping[str, object]) -> Mapping[str, object]:
    return {key: value for key, value in data.items() if key != KIND}


def _inner(data: object) -> object:
    return data.get(VALUE, texts.NO_JSON) if isinstance(data, Mapping) else texts.NO_JSON


def _name_of(kind: object) -> str:
    name = kind.get("title") if isinstance(kind, Mapping) else getattr(kind, "__name__", None)
    if getattr(kind, "__args__", None):
        name = str(kind).replace("typing.", "")
    return _FOREIGN.sub("_", str(name or "output")).strip("_")[:_NAME_CHARS] or "output"


def _description_of(kind: object) -> str:
    if isinstance(kind, Mapping):
        return str(kind.get("description") or "")
    if not isinstance(kind, type) or kind.__module__ == "builtins":
        return ""
    text = kind.__dict__.get("__doc__") or ""
    # A dataclass without a docstring has its signature as one, and an enum's is its base class's.
    return "" if text.startswith(f"{kind.__name__}(") else " ".join(text.split())


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, each = 1, name
        while each in found:
            number += 1
            suffix = f"_{number}"
            each = f"{name[: _NAME_CHARS - len(suffix)]}{suffix}"
        found.append(each)
    return found
