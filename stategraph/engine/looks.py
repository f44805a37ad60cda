"""Whether a node only looks things up in its state, which then need not be copied for it.

A node gets a dict of its own, because it may change it, or keep it while the run goes on. To copy a wide state takes
longer than all else in a small step; and much of what such a node does with it is `state["key"]`. Where its code shows
that it does nothing else, it is lent the dict that the run itself reads.

Rules
-----
* Only what is certain counts: a plain function whose every use of its first parameter is a look-up of a constant key,
  or a call of another such function with it alone. Whatever hands the dict on in another way, binds it to another name,
  or is not understood, means no.
* Code that can reach the variables of a function by other means than their names means no.
* Names may be bound anew, and functions be given other code, while a program runs. So the answer is asked for each
  time, and holds only for what was read.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

_KEEPS_ITS_FRAME: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_REACHES_FRAMES: Final = frozenset(
    ("locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe", "stack", "breakpoint")
)
_NO_STEPS: Final = frozenset(("CACHE", "NOP", "RESUME", "PRECALL"))
_LOADS: Final = frozenset(("LOAD_FAST", "LOAD_FAST_BORROW"))


class _Read(NamedTuple):
    """A function that was read.

    Attributes:
        func: The function.
        code: Its code then.
        fetch: Finds what its caller calls now; None for the node's own.
    """

    func: FunctionType
    code: CodeType
    fetch: Callable[[], Any] | None


def only_looks_up(func: Any) -> Callable[[], bool]:
    """Read a function.

    Args:
        func: A function or coroutine function; anything else does more than to look things up.

    Returns:
        Tells whether it does nothing with its first argument but look up constant keys.
    """
    read: list[_Read] = []
    if not _reads(func, None, read):
        return _no

    def still_does() -> bool:
        for func, code, fetch in read:
            if func.__code__ is not code or (fetch is not None and fetch() is not func):
                return False
        return True

    return still_does


def _no() -> bool:
    return False


def _reads(func: Any, fetch: Callable[[], Any] | None, read: list[_Read]) -> bool:
    """Read a function and those that it calls with its first argument; returns whether all of them only look up."""
    if type(func) is not FunctionType:
        return False
    code = func.__code__
    keeps = _KEEPS_ITS_FRAME if fetch is None else _KEEPS_ITS_FRAME | inspect.CO_COROUTINE
    if not code.co_argcount or code.co_flags & keeps or not _REACHES_FRAMES.isdisjoint(code.co_names):
        return False
    if any(one.func is func for one in read):
        return False  # calls itself
    read.append(_Read(func, code, fetch))
    name = code.co_varnames[0]
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_STEPS]
    uses = [n for n, step in enumerate(steps) if "FAST" in step.opname and _names(step.argval, name)]
    return name not in code.co_cellvars and all(_is_harmless(func, steps, number, read) for number in uses)


def _names(argument: Any, name: str) -> bool:
    return argument == name or (isinstance(argument, tuple) and name in argument)


def _is_harmless(func: FunctionType, steps: Sequence[dis.Instruction], number: int, read: list[_Read]) -> bool:
    """Whether what a step loads is used to look up a constant key, or given to a function that does only that."""
    following = steps[number + 1 : number + 3]
    if steps[number].opname not in _LOADS or len(following) < 2 or following[0].is_jump_target:
        return False
    first, second = following
    if first.opname == "CALL" and first.argval == 1 and not steps[number].is_jump_target:
        fetch = _callee(func, steps[max(number - 2, 0) : number])
        return fetch is not None and _reads(fetch(), fetch, read)
    is_key = first.opname.startswith("LOAD_CONST") and isinstance(first.argval, str)
    return is_key and not second.is_jump_target and _is_subscript(second)


def _is_subscript(step: dis.Instruction) -> bool:
    return step.opname == "BINARY_SUBSCR" or (step.opname == "BINARY_OP" and step.argrepr == "[]")


def _callee(func: FunctionType, before: Sequence[dis.Instruction]) -> Callable[[], Any] | None:
    """Finds what is called, by the up to two steps before its only argument; None if that is no plain name."""
    if not before or before[-1].is_jump_target:
        return None
    if before[-1].opname == "LOAD_GLOBAL" and "NULL" in before[-1].argrepr:
        found, name = func.__globals__, before[-1].argval
        return lambda: found.get(name)
    loads = [step for step in before if step.opname == "LOAD_DEREF"]
    if len(loads) != 1 or not any(step.opname == "PUSH_NULL" for step in before):
        return None
    free = func.__code__.co_freevars
    if loads[0].argval not in free:
        return None
    cell = (func.__closure__ or ())[free.index(loads[0].argval)]
    return lambda: _held(cell)


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is bound there yet, or any more
        return None
