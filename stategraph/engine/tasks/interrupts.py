"""``interrupt()``: a node asks, the run pauses, the answer comes with a later run.

Rules
-----
* The node runs again from its first line when the answer comes; its calls are
  matched to answers by their order.
* An answer that does not fit ``response_schema`` is not used up: the question
  can be answered again.
"""

from __future__ import annotations

from typing import Any

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    RESUME,
)
from stategraph.engine.config import foreign_types
from stategraph.engine.config.context import get_config
from stategraph.errors import mark_invalid_resume
from stategraph.types import Interrupt, interrupt_id


def interrupt(value: Any, *, response_schema: Any = None) -> Any:
    """Pause the run and ask for an answer; needs a checkpointer.

    The first call in a task ends the node. When the run is resumed with
    ``Command(resume=answer)``, the node runs again from its start and this call
    returns the answer.

    Args:
        value: The value to show to those who may answer.
        response_schema: What an answer looks like: a JSON schema (not checked),
            or a pydantic model, TypedDict or dataclass that answers are
            validated against. None accepts anything.

    Returns:
        The answer, validated if there is a schema that can.

    Raises:
        GraphInterrupt: If there is no answer yet. Do not catch it.
        pydantic.ValidationError: If the answer does not fit the schema.
        RuntimeError: If called outside of a node or task.
    """
    conf = get_config()[CONF]
    pad = conf[CONFIG_KEY_SCRATCHPAD]
    index = pad.interrupt_counter()
    check = _checker(response_schema)
    if index < len(pad.resume):
        answer = _checked(check, pad.resume[index])
        conf[CONFIG_KEY_SEND]([(RESUME, pad.resume[: index + 1])])
        return answer
    given = pad.get_null_resume(True)
    if given is not None:
        answer = _checked(check, given)
        pad.resume.append(given)
        conf[CONFIG_KEY_SEND]([(RESUME, pad.resume)])
        return answer
    question: Interrupt[Any] = Interrupt(
        value,
        interrupt_id(conf[CONFIG_KEY_CHECKPOINT_NS], len(pad.resume)),
        response_schema=response_schema if check is None else check.json_schema(),
    )
    raise foreign_types.pause((question,))


def is_answered() -> bool:
    """Return whether the running task, which has asked nothing yet, has an answer for its first interrupt.

    Raises:
        RuntimeError: Called outside of a node or task.
    """
    pad = get_config()[CONF][CONFIG_KEY_SCRATCHPAD]
    return bool(pad.resume) or pad.get_null_resume(False) is not None


def answers_so_far() -> list[Any]:
    """Return the answers that the running node was given to its interrupts, in order, also to those it is yet to reach.

    Raises:
        RuntimeError: Called outside of a node or task.
    """
    pad = get_config()[CONF][CONFIG_KEY_SCRATCHPAD]
    given = pad.get_null_resume(False)
    return [*pad.resume] if given is None else [*pad.resume, given]


def _checker(schema: Any) -> Any:
    if schema is None or isinstance(schema, dict):
        return None
    from pydantic import TypeAdapter  # only asked for with a schema

    return TypeAdapter(schema)


def _checked(check: Any, answer: Any) -> Any:
    if check is None:
        return answer
    try:
        return check.validate_python(answer)
    except Exception as error:
        mark_invalid_resume(error)
        raise
