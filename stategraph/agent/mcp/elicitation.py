"""Questions of servers to a person (elicitation), and their answers.

- A tool that runs in a graph asks by an interrupt: the run pauses, and goes on with the answer. Elsewhere the host's
  function answers, or else the server is told `cancel`.
- In form mode the server wants values; what it may want is what the protocol allows: texts, numbers, truths and
  choices, without nesting. Answers are checked, and values that are left out get their defaults (SEP-1034).
- In URL mode the person is to open a page of the server's. Nothing is opened here: the address is shown, if it is
  https or, for a server on this machine, of this machine.
- What a server asks is data of a stranger: its size is limited, and the host's secrets in it are hidden.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, TypeAlias, cast, get_args

from pydantic import AfterValidator

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINTER, CONFIG_KEY_SCRATCHPAD
from stategraph.engine.config.context import get_config
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import InvalidAnswerError

#: The type of such an interrupt's payload.
MCP_ELICITATION: Final = "mcp_elicitation"

Action: TypeAlias = Literal["accept", "decline", "cancel"]
"""The person answers; says no; or leaves without either."""

LARGEST_SCHEMA: Final = 64 * 1024
LONGEST_MESSAGE: Final = 20_000
MOST_QUESTIONS: Final = 20
"""Bytes of a form, characters of a message, and questions of one call."""


@dataclass(frozen=True, slots=True)
class Elicitation:
    """A question of a server.

    Attributes:
        server: The server's name.
        mode: `form`: values are wanted; `url`: a page is to be opened.
        message: What it says, for a person.
        schema: JSON schema of the values, flat; None in URL mode.
        url: The page; None in form mode.
        elicitation_id: The server's id of it, in URL mode.
    """

    server: str
    mode: Literal["form", "url"]
    message: str
    schema: Mapping[str, Any] | None = None
    url: str | None = None
    elicitation_id: str | None = None

    def payload(self) -> dict[str, Any]:
        """Return it as the JSON of an interrupt."""
        asked: dict[str, Any] = {"type": MCP_ELICITATION, "server": self.server, "mode": self.mode}
        asked["message"] = self.message
        if self.mode == "form":
            asked["requestedSchema"] = dict(self.schema or {})
        else:
            asked["url"] = self.url
            if self.elicitation_id is not None:
                asked["elicitationId"] = self.elicitation_id
        return asked

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Elicitation:
        """Read it from the payload of an interrupt."""
        said, server = str(payload.get("message")), str(payload.get("server"))
        if payload.get("mode") == "url":
            return cls(server, "url", said, url=payload.get("url"), elicitation_id=payload.get("elicitationId"))
        return cls(server, "form", said, payload.get("requestedSchema"))

    @property
    def digest(self) -> str:
        """A digest of the question."""
        return sha256(json.dumps(self.payload(), sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ElicitationAnswer:
    """A person's answer.

    Attributes:
        action: What was done with the question.
        content: The values, if a form was accepted.
    """

    action: Action
    content: Mapping[str, Any] | None = None


CANCEL: Final = ElicitationAnswer("cancel")

OnElicitation: TypeAlias = Callable[[Elicitation], Awaitable[ElicitationAnswer | Mapping[str, Any] | str]]
"""A host's function that answers."""


@dataclass(eq=False, slots=True)
class Round:
    """Questions that a server asks at once before it goes on with a call (protocols since 2026-07-28).

    Attributes:
        requests: Its requests by key, as they came.
        state: What it wants back with the answers; None: nothing.
        asked: The questions among them, as payloads of interrupts; None as long as they were not looked at.
    """

    requests: Mapping[str, Any]
    state: str | None
    asked: dict[str, dict[str, Any]] | None = None


@dataclass(eq=False, slots=True)
class Question:
    """An elicitation that a call waits with.

    Attributes:
        asked: What is asked.
        answer: Its answer.
        round: The round that it is of, if it is the first one there.
        again: Whether the call was made again from its beginning, so that it may have been answered before.
        record: What is recorded of it with a run that it pauses; None as long as nothing is.
    """

    asked: Elicitation
    answer: asyncio.Future[ElicitationAnswer]
    round: Round | None = None
    again: bool = False
    record: str | dict[str, Any] | None = None

    def settle(self, answer: ElicitationAnswer) -> None:
        """Give the answer, unless there is one."""
        if not self.answer.done():
            self.answer.set_result(answer)


def flaw(asked: Elicitation) -> str | None:
    """Say why a question cannot be put to a person; None if it can.

    Args:
        asked: What a server sent.
    """
    if len(asked.message) > LONGEST_MESSAGE:
        return f"the message has more than {LONGEST_MESSAGE} characters"
    if asked.schema is None:
        return None
    try:
        size = len(json.dumps(asked.schema))
    except (TypeError, ValueError, RecursionError):
        return "the schema has no form in JSON"
    if size > LARGEST_SCHEMA:
        return f"the schema has more than {LARGEST_SCHEMA} bytes"
    fields = asked.schema.get("properties", {})
    if not isinstance(fields, Mapping):
        return "the schema's properties are no object"
    for name, field in fields.items():
        if (why := _flaw_of_field(field)) is not None:
            return f"the field {str(name)[:80]!r} {why}"
    required = asked.schema.get("required") or []
    if not isinstance(required, list) or not all(isinstance(name, str) and name in fields for name in required):
        return "a required field is not described"
    return None


def _flaw_of_field(field: object) -> str | None:
    kind = field.get("type") if isinstance(field, Mapping) else None
    if not isinstance(field, Mapping) or not isinstance(kind, str) or kind not in _TYPES:
        return f"is none of {', '.join(_TYPES)}"
    if not isinstance(field.get("items") or {}, Mapping):
        return "has items that are no object"
    return None


async def put(asked: Elicitation, answer: OnElicitation | None) -> ElicitationAnswer:
    """Ask a person.

    Args:
        asked: What a server asks.
        answer: The host's function; None: by an interrupt, if a graph is running that can pause.

    Raises:
        GraphInterrupt: There is no answer yet.
    """
    if answer is not None:
        return read(asked, await answer(asked))
    if not can_pause():
        return CANCEL
    payload = asked.payload()
    return cast(
        "ElicitationAnswer",
        interrupt(payload, response_schema=Annotated[Any, AfterValidator(partial(read, asked))]),
    )


def can_pause() -> bool:
    """Return whether this is called in a graph whose thread is stored, so that it may pause."""
    try:
        conf = get_config().get(CONF) or {}
    except RuntimeError:
        return False
    return bool(conf.get(CONFIG_KEY_CHECKPOINTER)) and CONFIG_KEY_SCRATCHPAD in conf


def check(payload: Mapping[str, Any], answer: object) -> ElicitationAnswer:
    """Read an answer to the payload of an interrupt.

    Raises:
        InvalidAnswerError: It does not fit.
    """
    return read(Elicitation.of(payload), answer)


def read(asked: Elicitation, answer: object) -> ElicitationAnswer:
    """Read a person's answer.

    Args:
        asked: The question.
        answer: An `ElicitationAnswer`, `{"action": ..., "content": {...}}`, or the action alone.

    Returns:
        The answer, with the defaults of values that were left out.

    Raises:
        InvalidAnswerError: It is none, or its values are not those that were asked for.
    """
    action: object
    content: object = None
    match answer:
        case ElicitationAnswer():
            action, content = answer.action, answer.content
        case str():
            action = answer
        case Mapping():
            action, content = answer.get("action"), answer.get("content")
        case _:
            action = None
    if action not in get_args(Action):
        found = repr(action) if isinstance(action, str) else type(answer).__name__
        raise InvalidAnswerError(
            f"The answer to a question of MCP server {asked.server!r} is {found}; expected {{'action': 'accept', "
            "'content': {...}}, {'action': 'decline'} or {'action': 'cancel'}"
        )
    if action != "accept" or asked.mode == "url":
        return ElicitationAnswer(cast("Action", action))
    if not isinstance(content, Mapping | None):
        raise InvalidAnswerError(f"The content of an answer is a mapping of values; found {type(content).__name__}")
    values = _with_defaults(asked.schema or {}, content or {})
    if wrong := "; ".join(_problems(asked.schema or {}, values)):
        raise InvalidAnswerError(f"The answer to a question of MCP server {asked.server!r} does not fit: {wrong}")
    return ElicitationAnswer("accept", values)


def _with_defaults(schema: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    fields: Mapping[str, Mapping[str, Any]] = schema.get("properties") or {}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field and name not in content}
    return {**content, **defaults}


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


def _problems(schema: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    fields: Mapping[str, Mapping[str, Any]] = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in values:
            yield f"{name!r} is missing"
    for name, value in values.items():
        if name not in fields:
            yield f"{name!r} was not asked for; the fields are {', '.join(map(repr, fields)) or 'none'}"
        elif (why := _misfit(fields[name], value)) is not None:
            yield f"{name!r} {why}"


def _misfit(field: Mapping[str, Any], given: object) -> str | None:
    """Say why a value does not fit a field; None if it does. Formats and patterns are left to the server."""
    kind = field["type"]
    if not isinstance(given, _TYPES[kind]) or (isinstance(given, bool) and kind != "boolean"):
        return f"is {type(given).__name__}; expected {kind}"
    value: Any = given
    if kind == "array":
        choices = _choices(field.get("items") or {})
        if choices is not None and any(each not in choices for each in value):
            return f"has a value that is none of {', '.join(map(repr, choices))}"
        return _out_of_range(field, len(value), ("minItems", "maxItems"), "values")
    if (choices := _choices(field)) is not None and value not in choices:
        return f"is none of {', '.join(map(repr, choices))}"
    if kind == "string":
        return _out_of_range(field, len(value), ("minLength", "maxLength"), "characters")
    return None if kind == "boolean" else _out_of_range(field, value, ("minimum", "maximum"), "")


def _choices(field: Mapping[str, Any]) -> list[Any] | None:
    """Return the values to choose from: `enum`, or the `const`s of `oneOf` or `anyOf` (SEP-1330)."""
    if isinstance(found := field.get("enum"), list):
        return found
    for name in ("oneOf", "anyOf"):
        if isinstance(found := field.get(name), list):
            return [each["const"] for each in found if isinstance(each, Mapping) and "const" in each]
    return None


def _out_of_range(field: Mapping[str, Any], size: float, names: tuple[str, str], unit: str) -> str | None:
    least, most = (field.get(name) for name in names)
    found = f"has {size} {unit}" if unit else f"is {size}"
    if isinstance(least, int | float) and size < least:
        return f"{found}; at least {least} expected"
    if isinstance(most, int | float) and size > most:
        return f"{found}; at most {most} expected"
    return None
