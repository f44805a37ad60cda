"""The values that authors hold: how they compare, print, are stored and are read as updates."""

import dataclasses
import pickle
import subprocess
import sys
import typing
from typing import Any

import pytest
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

import stategraph.engine.config.langchain_registration  # noqa: F401 (tells the lower packages what langchain looks for)
from stategraph import stream_parts, types
from stategraph.constants import MISSING, RESERVED
from stategraph.types import (
    Command,
    GraphOutput,
    Interrupt,
    Overwrite,
    PregelTask,
    Send,
    StateSnapshot,
    StateUpdate,
    TimeoutPolicy,
    ensure_valid_checkpointer,
    interrupt_id,
)
from stategraph.warnings import LangGraphDeprecatedSinceV10, LangGraphDeprecatedSinceV11


@pytest.mark.parametrize("module", ["types", "errors", "stream_parts", "core.channels"])
def test_importing_the_lower_rooms_loads_neither_langchain_nor_pydantic(module: str) -> None:
    code = f"""
import sys
import stategraph.{module}
heavy = {{name.partition(".")[0] for name in sys.modules}} & {{"langchain_core", "langgraph", "pydantic", "asyncio"}}
sys.exit(f"loaded {{heavy}}" if heavy else 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr


# How values are stored. The bytes were written by LangGraph 1.2.22.


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (Send("a", {"x": 1}), b"\xc7\x1d\x01\x93\xaflanggraph.types\xa4Send\x92\xa1a\x81\xa1x\x01"),
        (
            Send("a", 1, timeout=3),
            (
                b"\xc7p\x01\x93\xaflanggraph.types\xa4Send\x93\xa1a\x01\xc7S\x02\x93\xaflanggraph.types\xad"
                b"TimeoutPolicy\x83\xabrun_timeout\xcb@\x08\x00\x00\x00\x00\x00\x00\xacidle_timeout\xc0\xaarefresh_on\xa4auto"
            ),
        ),
        (
            Interrupt("v", id="i"),
            b"\xc7:\x02\x93\xaflanggraph.types\xa9Interrupt\x83\xa5value\xa1v\xa2id\xa1i\xafresponse_schema\xc0",
        ),
        (
            Command(update={"a": 1}, goto="x"),
            b"\xc7;\x02\x93\xaflanggraph.types\xa7Command\x84\xa5graph\xc0\xa6update\x81\xa1a\x01\xa6resume\xc0\xa4goto\xa1x",
        ),
        (
            Overwrite([1]),
            b"\xc77\x02\x93\xaflanggraph.types\xa9Overwrite\x82\xa5value\x91\x01\xa4type\xad__overwrite__",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_stored_byte_for_byte_as_langgraph_stores_them(value: Any, stored: bytes) -> None:
    assert JsonPlusSerializer().dumps_typed(value) == ("msgpack", stored)


def test_no_value_is_never_stored() -> None:
    with pytest.raises(TypeError):
        JsonPlusSerializer().dumps_typed(MISSING)


def test_no_value_stays_itself_when_copied_or_pickled() -> None:
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert dataclasses.replace(Overwrite(MISSING)).value is MISSING
    assert repr(MISSING) == "MISSING"


def test_reserved_names_cannot_be_added_to() -> None:
    assert "__interrupt__" in RESERVED
    assert "__start__" not in RESERVED
    assert isinstance(RESERVED, frozenset)


# Send.


def test_sends_to_the_same_node_with_the_same_input_are_equal() -> None:
    assert Send("a", 1) == Send("a", 1)
    assert hash(Send("a", 1)) == hash(Send("a", 1))
    assert Send("a", 1) != Send("b", 1)
    assert Send("a", 1) != Send("a", 1, timeout=2)
    assert Send("a", 1) != ("a", 1)


def test_a_send_prints_its_timeout_only_if_it_has_one() -> None:
    assert repr(Send("a", {"x": 1})) == "Send(node='a', arg={'x': 1})"
    assert repr(Send("a", 1, timeout=2)).startswith("Send(node='a', arg=1, timeout=TimeoutPolicy(run_timeout=2.0")


def test_a_send_takes_seconds_as_a_run_timeout() -> None:
    assert Send("a", 1, timeout=2).timeout == TimeoutPolicy(run_timeout=2.0)
    with pytest.raises(ValueError, match="run_timeout must be greater than 0"):
        Send("a", 1, timeout=0)


# Command.


def test_a_command_prints_what_it_says() -> None:
    assert repr(Command()) == "Command()"
    assert repr(Command(update={"a": 1}, goto=["x"])) == "Command(update={'a': 1}, goto=['x'])"
    assert repr(Command(graph=Command.PARENT, resume="yes")) == "Command(graph='__parent__', resume='yes')"


def test_a_command_with_a_value_that_has_no_truth_can_be_printed() -> None:
    class Table:
        """As an array or a data frame, whose elements would each be a truth value."""

        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

        def __repr__(self) -> str:
            return "Table()"

    assert repr(Command(resume=Table())) == "Command(resume=Table())"


def test_a_command_cannot_be_changed_and_has_only_named_arguments() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Command().update = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        Command("graph")  # type: ignore[misc]


def test_a_tool_may_return_a_command() -> None:
    @tool
    def jump() -> Command[str]:
        """Jump."""
        return Command(goto="x")

    assert isinstance(Command(), ToolOutputMixin)
    assert jump.invoke({"type": "tool_call", "id": "1", "name": "jump", "args": {}}) == Command(goto="x")


def test_adopting_twice_changes_nothing() -> None:
    before = Command.__mro__

    types.adopt_tool_output(ToolOutputMixin)

    assert Command.__mro__ == before


@pytest.mark.parametrize("cls", [Command, Send, Interrupt, Overwrite, StateUpdate, GraphOutput, TimeoutPolicy])
def test_annotations_can_be_resolved_without_the_drop_in(cls: type) -> None:
    assert typing.get_type_hints(cls)


# Interrupts.


@pytest.mark.parametrize(
    ("ns", "answered", "digest"),
    [
        ("node:1", 0, "bd00ab1d89bcbb85b2b33c0e6efdaeb0"),
        ("node:1", 1, "13a0affd4742089361b2452b7d0735af"),
        ("a:1|b:2", 12, "cb672e762d1d15bbf8468bcb13a653bc"),
    ],
)
def test_an_interrupts_id_is_the_one_that_langgraph_gives_it(ns: str, answered: int, digest: str) -> None:
    assert interrupt_id(ns, answered) == digest


def test_the_first_interrupt_of_a_task_is_named_after_its_namespace() -> None:
    assert Interrupt.from_ns("ask", "node:1") == Interrupt("ask", id=interrupt_id("node:1", 0))


def test_an_interrupt_stored_by_an_old_version_keeps_its_id() -> None:
    old = Interrupt(value="ask", resumable=True, when="during", ns=["a:b", "c:d"])  # type: ignore[call-arg]

    assert old == Interrupt.from_ns("ask", "a:b|c:d")
    assert Interrupt("ask", id="mine", ns=["a:b"]).id == "mine"  # type: ignore[call-arg]


def test_the_old_name_of_an_interrupts_id_warns() -> None:
    with pytest.warns(LangGraphDeprecatedSinceV10, match="`interrupt_id` is deprecated. Use `id` instead."):
        assert Interrupt("ask", id="mine").interrupt_id == "mine"


def test_an_interrupt_prints_all_it_has() -> None:
    assert repr(Interrupt("ask", id="i")) == "Interrupt(value='ask', id='i', response_schema=None)"
    assert repr(Interrupt("ask")) == "Interrupt(value='ask', id='placeholder-id', response_schema=None)"


# What a graph shows.


def test_snapshots_and_tasks_are_tuples_in_the_public_order() -> None:
    assert StateSnapshot._fields == (
        *("values", "next", "config", "metadata", "created_at", "parent_config", "tasks", "interrupts"),
    )
    assert PregelTask("id", "name", ()) == ("id", "name", (), None, (), None, None)
    assert StateUpdate({"a": 1}) == ({"a": 1}, None, None)


def test_an_executable_task_can_be_referred_to_weakly() -> None:
    fields = [field.name for field in dataclasses.fields(types.PregelExecutableTask)]

    assert fields[:4] == ["name", "input", "proc", "writes"]
    assert hasattr(types.PregelExecutableTask, "__weakref__")


def test_an_output_can_still_be_read_like_a_dict() -> None:
    output = GraphOutput({"a": 1}, interrupts=(Interrupt("ask"),))

    with pytest.warns(LangGraphDeprecatedSinceV11, match=r"Accessing GraphOutput via `result\[key\]` is deprecated"):
        assert output["a"] == 1
    with pytest.warns(LangGraphDeprecatedSinceV11):
        assert output["__interrupt__"] == (Interrupt("ask"),)
    with pytest.warns(LangGraphDeprecatedSinceV11), pytest.raises(KeyError):
        output["b"]
    with pytest.warns(LangGraphDeprecatedSinceV11, match="Accessing GraphOutput via `key in result` is deprecated"):
        assert "a" in output
    with pytest.warns(LangGraphDeprecatedSinceV11):
        assert "__interrupt__" in output


def test_an_output_that_is_an_object_is_read_by_attribute() -> None:
    @dataclasses.dataclass
    class State:
        a: int

    output = GraphOutput(State(1))

    with pytest.warns(LangGraphDeprecatedSinceV11):
        assert output["a"] == 1
    with pytest.warns(LangGraphDeprecatedSinceV11), pytest.raises(KeyError):
        output["b"]
    with pytest.warns(LangGraphDeprecatedSinceV11):
        assert "a" in output
    with pytest.warns(LangGraphDeprecatedSinceV11):
        assert "b" not in output
    with pytest.warns(LangGraphDeprecatedSinceV11):
        assert "__interrupt__" not in output


# Checkpointers.


def test_a_checkpointer_is_a_saver_or_a_flag() -> None:
    saver = InMemorySaver()

    assert ensure_valid_checkpointer(saver) is saver
    assert [ensure_valid_checkpointer(flag) for flag in (True, False, None)] == [True, False, None]


@pytest.mark.parametrize("wrong", [object(), "sqlite://", 1, InMemorySaver])
def test_anything_else_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"Invalid checkpointer provided: {type(wrong).__name__}"):
        ensure_valid_checkpointer(wrong)


def test_a_factorys_context_manager_is_told_apart() -> None:
    class Factory:
        def __enter__(self) -> InMemorySaver:
            return InMemorySaver()

    with pytest.raises(TypeError, match="enter it with `with`"):
        ensure_valid_checkpointer(Factory())  # type: ignore[arg-type]


def test_stream_parts_are_told_apart_by_their_type() -> None:
    parts = [typing.get_origin(part) or part for part in typing.get_args(stream_parts.StreamPart.__value__)]

    tags = [typing.get_args(part.__annotations__["type"])[0] for part in parts]

    assert sorted(tags) == sorted(typing.get_args(stream_parts.StreamMode))
    assert {part.__name__ for part in parts} <= {*stream_parts.__all__}


@pytest.mark.parametrize(
    "cls",
    [
        types.PregelExecutableTask,
        PregelTask,
        StateSnapshot,
        stream_parts.CheckpointPayload,
        stream_parts.CheckpointTask,
    ],
)
def test_annotations_that_name_langchains_types_can_be_resolved_once_the_engine_is_there(cls: type) -> None:
    hints = typing.get_type_hints(cls, include_extras=True)

    assert not any(isinstance(hint, (str, typing.ForwardRef)) for hint in hints.values())


def test_optional_keys_of_a_payload_stay_optional() -> None:
    assert stream_parts.CheckpointTask.__optional_keys__ == {"error", "result", "interrupts"}
    assert typing.get_origin(stream_parts.CheckpointTask.__annotations__["error"]) is typing.NotRequired
