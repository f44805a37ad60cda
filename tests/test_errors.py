"""The error tree: what is caught by what, what errors carry, and that they survive a process boundary."""

import copy
import pickle
import sys
from typing import Any

import pytest
from langgraph.checkpoint.base import EmptyChannelError as SaverError

import stategraph.engine.config.langchain_registration  # noqa: F401 (tells the lower packages what langchain looks for)
from stategraph import errors, types, wire
from stategraph.core.channels.base import is_empty_channel
from stategraph.errors import (
    EmptyChannelError,
    ErrorCode,
    GraphBubbleUp,
    GraphDrained,
    GraphInterrupt,
    GraphRecursionError,
    NodeCancelledError,
    NodeError,
    NodeInterrupt,
    NodeTimeoutError,
    ParentCommand,
    UnknownInterruptError,
    create_error_message,
    is_invalid_resume,
    mark_invalid_resume,
)
from stategraph.types import Command, Interrupt
from stategraph.warnings import (
    LangGraphDeprecatedSinceV05,
    LangGraphDeprecatedSinceV10,
    LangGraphDeprecatedSinceV11,
    LangGraphDeprecationWarning,
)


def test_control_is_told_from_failures_by_one_base() -> None:
    control = {name for name in errors.__all__ if issubclass(type(getattr(errors, name)), type)}
    control = {name for name in control if issubclass(getattr(errors, name), GraphBubbleUp)}

    assert control == {"GraphBubbleUp", "GraphDrained", "GraphInterrupt", "NodeInterrupt", "ParentCommand"}


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    raised = [cls.__name__ for cls in classes if isinstance(cls, type) and issubclass(cls, BaseException)]

    assert errors.__doc__ is not None
    assert [name for name in raised if f"─ {name} " not in errors.__doc__] == []


def test_a_recursion_error_of_a_graph_is_one_of_python() -> None:
    assert issubclass(GraphRecursionError, RecursionError)


def test_a_node_timeout_is_no_operating_system_error() -> None:
    assert not issubclass(NodeTimeoutError, OSError)


def timeout() -> NodeTimeoutError:
    return NodeTimeoutError("slow", 1.25, kind="idle", idle_timeout=1, run_timeout=9)


def deprecated_interrupt() -> NodeInterrupt:
    with pytest.warns(LangGraphDeprecatedSinceV10, match="NodeInterrupt is deprecated. Please use"):
        return NodeInterrupt("ask", id="i")


CARRIERS: list[Any] = [
    timeout,
    deprecated_interrupt,
    lambda: NodeCancelledError("node"),
    lambda: GraphDrained("sigterm"),
    lambda: GraphInterrupt((Interrupt("ask", id="i"),)),
    lambda: ParentCommand(Command(goto="x")),
    lambda: UnknownInterruptError("no", reason="not_pending", interrupt_ids=["a"], pending_ids=["b"]),
    lambda: EmptyChannelError("nothing"),
]


@pytest.mark.parametrize("make", CARRIERS)
def test_errors_survive_copying_with_all_they_carry(make: Any) -> None:
    error = make()
    error.add_note("seen")

    twin = copy.copy(error)

    assert type(twin) is type(error)
    assert (twin.args, vars(twin)) == (error.args, vars(error))
    assert str(twin) == str(error)


@pytest.mark.parametrize("make", CARRIERS)
def test_errors_survive_pickling_with_all_they_carry(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, wire.ADDRESS, types)  # as with the drop-in
    error = make()

    twin = pickle.loads(pickle.dumps(error))

    assert type(twin) is type(error)
    assert (twin.args, vars(twin)) == (error.args, vars(error))


def test_a_timeout_says_which_limit_it_was() -> None:
    error = timeout()

    assert str(error) == "Node 'slow' exceeded its idle timeout of 1.000s without making progress (elapsed: 1.250s)."
    assert (error.node, error.kind, error.timeout, error.elapsed) == ("slow", "idle", 1, 1.25)
    assert (error.idle_timeout, error.run_timeout) == (1, 9)
    assert str(NodeTimeoutError("slow", 2, kind="run", run_timeout=1)) == (
        "Node 'slow' exceeded its run timeout of 1.000s (elapsed: 2.000s)."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "idle", "run_timeout": 1}, "idle_timeout is required when kind='idle'"),
        ({"kind": "run", "idle_timeout": 1}, "run_timeout is required when kind='run'"),
        ({"kind": "walk"}, "kind must be 'idle' or 'run'"),
    ],
)
def test_a_timeout_without_its_limit_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeTimeoutError("slow", 1, **arguments)


def test_interrupts_are_carried_as_they_were_given() -> None:
    interrupts = (Interrupt("ask", id="i"),)

    assert GraphInterrupt(interrupts).args == (interrupts,)
    assert GraphInterrupt().args == ((),)
    assert deprecated_interrupt().args == ([Interrupt("ask", id="i")],)


def test_a_drained_run_says_why() -> None:
    assert (str(GraphDrained()), GraphDrained().reason) == ("Graph drained: shutdown", "shutdown")


def test_a_refused_answer_says_what_still_waits() -> None:
    error = UnknownInterruptError("no", reason="ambiguous", pending_ids=["a", "b"])

    assert (error.reason, error.interrupt_ids, error.pending_ids) == ("ambiguous", (), ("a", "b"))


def test_a_message_ends_with_the_page_of_help() -> None:
    text = create_error_message(message="No.", error_code=ErrorCode.GRAPH_RECURSION_LIMIT)

    assert text.splitlines()[0] == "No."
    assert text.endswith("/GRAPH_RECURSION_LIMIT")


def test_an_empty_channel_is_recognised_in_both_directions() -> None:
    class Derived(SaverError):
        pass

    with pytest.raises(SaverError):
        raise EmptyChannelError
    assert is_empty_channel(EmptyChannelError())
    assert is_empty_channel(SaverError())
    assert is_empty_channel(Derived())
    assert not is_empty_channel(KeyError("EmptyChannelError"))


def test_only_marked_errors_are_refused_answers() -> None:
    error = ValueError("bad")
    assert not is_invalid_resume(error)

    mark_invalid_resume(error)

    assert is_invalid_resume(error)
    assert not is_invalid_resume(ValueError("bad"))


def test_a_node_error_is_a_value() -> None:
    cause = ValueError("bad")

    assert NodeError("node", cause) == NodeError(node="node", error=cause)


@pytest.mark.parametrize(
    ("category", "since", "removal"),
    [
        (LangGraphDeprecatedSinceV05, "0.5", "2.0"),
        (LangGraphDeprecatedSinceV10, "1.0", "2.0"),
        (LangGraphDeprecatedSinceV11, "1.1", "3.0"),
    ],
)
def test_a_deprecation_says_since_when_and_until_when(category: Any, since: str, removal: str) -> None:
    assert issubclass(category, LangGraphDeprecationWarning)
    assert str(category("Use x.")) == f"Use x. Deprecated in LangGraph V{since} to be removed in V{removal}."


def test_a_deprecation_lasts_until_the_next_major_version_unless_it_says_otherwise() -> None:
    assert LangGraphDeprecationWarning("x", since=(1, 2)).expected_removal == (2, 0)
    assert LangGraphDeprecationWarning("x", since=(1, 2), expected_removal=(4, 0)).expected_removal == (4, 0)
