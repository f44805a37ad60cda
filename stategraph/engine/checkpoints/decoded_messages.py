"""Messages of stored fields, made without validation where validation would change nothing.

Most of the time that it takes to load a conversation goes into constructors of messages, which check fields that
were those of a message when they were stored. So a message of a plain form is made as `pickle` would make it.

Rules
-----
* Only exactly LangChain's own classes, and only while their validators are the ones that are known here.
* All fields are there, no others, and each of a type that its validators leave as it is. Anything else goes through the
  constructor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

_CALL: Final = ("name", "args", "id", "type")
_USAGE: Final = ("input_tokens", "output_tokens", "total_tokens")
_TEXT: Final = (str, type(None))
_BASE: Final = frozenset({"content", "additional_kwargs", "response_metadata", "type", "name", "id"})


def _is_plain(fields: Mapping[str, Any]) -> bool:
    return (
        type(fields["content"]) is str
        and fields["additional_kwargs"] == {}
        and type(fields["response_metadata"]) is dict
        and type(fields["id"]) in _TEXT
        and type(fields["name"]) in _TEXT
    )


def _is_plain_answer(fields: Mapping[str, Any]) -> bool:
    usage = fields["usage_metadata"]
    return (
        _is_plain(fields)
        and fields["invalid_tool_calls"] == []
        and type(calls := fields["tool_calls"]) is list
        and all(map(_is_call, calls))
        and (usage is None or (type(usage) is dict and (*usage,) == _USAGE and {int} == set(map(type, usage.values()))))
    )


def _is_plain_result(fields: Mapping[str, Any]) -> bool:
    return _is_plain(fields) and type(fields["tool_call_id"]) is str and fields["status"] in ("success", "error")


def _is_call(call: Any) -> bool:
    return (
        type(call) is dict
        and (*call,) == _CALL
        and call["type"] == "tool_call"
        and type(call["name"]) is str
        and type(call["id"]) in _TEXT
        and type(args := call["args"]) is dict
        and set(map(type, args)) <= {str}
    )


class _Form(NamedTuple):
    """The stored form of a class of messages.

    Attributes:
        kind: The value of its field `type`.
        fields: The names of its fields.
        is_plain: Returns whether validation leaves such fields as they are.
    """

    kind: str
    fields: frozenset[str]
    is_plain: Callable[[Mapping[str, Any]], bool]


def _known() -> dict[type[BaseMessage], _Form]:
    answer = _BASE | {"tool_calls", "invalid_tool_calls", "usage_metadata"}
    result = _BASE | {"tool_call_id", "artifact", "status"}
    forms: dict[type[BaseMessage], tuple[_Form, set[str]]] = {
        HumanMessage: (_Form("human", _BASE, _is_plain), set()),
        SystemMessage: (_Form("system", _BASE, _is_plain), set()),
        AIMessage: (_Form("ai", answer, _is_plain_answer), {"_backwards_compat_tool_calls"}),
        ToolMessage: (_Form("tool", result, _is_plain_result), {"coerce_args"}),
    }
    return {cls: form for cls, (form, validators) in forms.items() if _is_as_known(cls, form, validators)}


def _is_as_known(cls: type[BaseMessage], form: _Form, validators: set[str]) -> bool:
    """Return whether a class has the fields and validators that its form was written for."""
    found: Any = cls.__pydantic_decorators__
    return (
        form.fields == cls.model_fields.keys()
        and found.model_validators.keys() == validators
        and not (found.field_validators or found.validators or found.root_validators)
        and cls.__private_attributes__ == {}
    )


_FORMS: Final = _known()


def of_fields(cls: type[BaseMessage], fields: dict[str, Any]) -> BaseMessage | None:
    """Return a message with stored fields; None if they have to go through its constructor.

    Args:
        cls: Any class.
        fields: Its stored fields, which become the message's.
    """
    form = _FORMS.get(cls)
    if form is None or fields.keys() != form.fields or fields["type"] != form.kind or not form.is_plain(fields):
        return None
    message: BaseMessage = cls.__new__(cls)
    message.__setstate__(
        {
            "__dict__": fields,
            "__pydantic_fields_set__": set(form.fields),
            "__pydantic_extra__": {},
            "__pydantic_private__": None,
        }
    )
    return message
