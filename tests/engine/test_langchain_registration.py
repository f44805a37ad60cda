"""What our types mean to packages that read their annotations."""

from __future__ import annotations

from typing import NotRequired, get_origin, get_type_hints

from langchain_core.messages import AnyMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import EmptyChannelError

import stategraph.engine.config.langchain_registration  # noqa: F401 (tells the lower packages what langchain looks for)
from stategraph import errors, stream_parts, types


def test_optional_keys_are_marked_as_such() -> None:
    part = stream_parts.CheckpointTask
    marked = {key for key, kind in part.__annotations__.items() if get_origin(kind) is NotRequired}
    assert marked == set(part.__optional_keys__) != set()


def test_names_that_the_core_does_not_import_are_classes_to_who_reads_annotations() -> None:
    assert get_type_hints(types.StateSnapshot)["config"] is RunnableConfig
    assert types.StateSnapshot.__annotations__["parent_config"] == RunnableConfig | None
    assert AnyMessage in stream_parts.MessagesStreamPart.__annotations__["data"].__args__


def test_our_classes_are_of_the_families_that_others_look_for() -> None:
    assert isinstance(types.Command(), ToolOutputMixin)
    assert issubclass(errors.EmptyChannelError, EmptyChannelError)
