"""Whether a node only looks things up in its state, which then need not be copied for it.

A node gets a dict of its own, because it may change it, or keep it while the run goes on. To copy a wide state takes
longer than all else in a small step; and much of what such a node does with it is `state["key"]`. Where its code shows
that it does nothing else, it is lent the dict that the run itself reads.

Rules
-----
* Only what is certain counts: a plain function whose every use of its first parameter is a look-up of a constant key.
  Whatever hands the dict on, binds it to another name, or is not understood, means no.
* Code that can reach the variables of a function by other means than their names means no.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Final

_KEEPS_ITS_FRAME: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_REACHES_FRAMES: Final = frozenset(
    ("locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe", "stack", "breakpoint")
)
_NO_STEPS: Final = frozenset(("CACHE", "NOP", "RESUME"))
_LOADS: Final = frozenset(("LOAD_FAST", "LOAD_FAST_BORROW"))


def only_looks_up(func: Callable[..., Any] | None) -> bool:
    """Whether a function does nothing with its first argument but look up constant keys.

    Args:
        func: A function or coroutine function; anything else means no.
    """
    if type(func) is not FunctionType:
        return False
    code = func.__code__
    if not code.co_argcount or code.co_flags & _KEEPS_ITS_FRAME or not _REACHES_FRAMES.isdisjoint(code.co_names):
        return False
    name = code.co_varnames[0]
    return name not in code.co_cellvars and _looks_up(code, name)


def _looks_up(code: CodeType, name: str) -> bool:
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_STEPS]
    for number, step in enumerate(steps):
        if "FAST" not in step.opname or not _names(step.argval, name):
            continue
        following = steps[number + 1 : number + 3]
        if step.opname not in _LOADS or len(following) < 2 or any(each.is_jump_target for each in following):
            return False
        key, use = following
        if not key.opname.startswith("LOAD_CONST") or not isinstance(key.argval, str) or not _is_subscript(use):
            return False
    return True


def _names(argument: Any, name: str) -> bool:
    return argument == name or (isinstance(argument, tuple) and name in argument)


def _is_subscript(step: dis.Instruction) -> bool:
    return step.opname == "BINARY_SUBSCR" or (step.opname == "BINARY_OP" and step.argrepr == "[]")
