"""Helpers that other packages import by LangGraph's private names: channels of a checkpoint, and shared settings."""

from __future__ import annotations

import asyncio
import operator
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels import BinaryOperatorAggregate, DeltaChannel, LastValue
from stategraph.engine.config import runnable_config
from stategraph.engine.interop import checkpoint_helpers as helpers


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    return [*value, *(item for update in updates for item in update)]


class Managed:
    """Stands for a managed value: no channel."""


def specs() -> dict[str, Any]:
    made: dict[str, Any] = {
        "last": LastValue(int),
        "total": BinaryOperatorAggregate(int, operator.add),
        "log": DeltaChannel(extend, list, snapshot_frequency=2),
        "managed": Managed,
    }
    for name in ("last", "total", "log"):
        made[name].key = name
    return made


class Saver:
    """A saver that knows histories."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, list[str]]] = []

    def get_delta_channel_history(self, *, config: Any, channels: list[str]) -> Any:
        self.asked.append((config, channels))
        return {"log": {"seed": _DeltaSnapshot(["a"]), "writes": [("task", "log", ["b"])]}}

    async def aget_delta_channel_history(self, *, config: Any, channels: list[str]) -> Any:
        return self.get_delta_channel_history(config=config, channels=channels)


def thaw_async(*args: Any, **options: Any) -> Any:
    return asyncio.run(helpers.achannels_from_checkpoint(*args, **options))


both = pytest.mark.parametrize("thaw", [helpers.channels_from_checkpoint, thaw_async], ids=["sync", "async"])


@both
def test_channels_are_thawed_and_managed_values_set_apart(thaw: Callable[..., Any]) -> None:
    stored: Any = checkpoints.empty("id", "now") | {
        "channel_values": {"last": 1, "log": _DeltaSnapshot(["x"])},
        "channel_versions": {"last": 1, "log": 1},
    }
    channels, managed = thaw(specs(), stored)
    assert channels.keys() == {"last", "total", "log"}
    assert (channels["last"].get(), channels["log"].get(), channels["total"].get()) == (1, ["x"], 0)
    assert managed == {"managed": Managed}


@both
def test_what_is_stored_as_its_writes_is_replayed_from_the_savers_history(thaw: Callable[..., Any]) -> None:
    stored: Any = checkpoints.empty("id", "now") | {"channel_values": {"last": 1}, "channel_versions": {"log": 2}}
    saver, place = Saver(), {"configurable": {"thread_id": "t"}}
    channels, _ = thaw(specs(), stored, saver=saver, config=place)
    assert channels["log"].get() == ["a", "b"]
    assert channels["last"].get() == 1
    assert saver.asked == [(place, ["log"])]


@both
@pytest.mark.parametrize("given", [{}, {"saver": Saver()}, {"config": {}}], ids=["nothing", "a saver", "a config"])
def test_a_history_needs_a_saver_and_a_place(thaw: Callable[..., Any], given: Any) -> None:
    stored: Any = checkpoints.empty("id", "now") | {"channel_versions": {"log": 2}}
    with pytest.raises(ValueError, match=r"DeltaChannel \['log'\] has history to replay but no checkpointer or config"):
        thaw(specs(), stored, **given)


def test_an_empty_checkpoint_is_new_and_holds_nothing() -> None:
    one, other = helpers.empty_checkpoint(), helpers.empty_checkpoint()
    assert one["channel_values"] == one["channel_versions"] == one["versions_seen"] == {}
    assert one["v"] == checkpoints.FORMAT_VERSION
    assert UUID(one["id"]) != UUID(other["id"])
    assert one["ts"] <= other["ts"]
    assert one["ts"].endswith("+00:00")


def test_channels_are_due_for_a_snapshot_after_so_many_updates_or_supersteps(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = specs()
    del channels["managed"]
    channels["log"] = channels["log"].from_checkpoint(_DeltaSnapshot(["x"]))

    def due(updates: int, supersteps: int) -> set[str]:
        return helpers.delta_channels_to_snapshot(channels, {"log": (updates, supersteps)}, {"log": 1, "last": 1})

    assert due(1, 1) == set()
    assert due(2, 2) == {"log"}
    assert helpers.delta_channels_to_snapshot(channels, {}, {"log": 1}) == set()
    monkeypatch.setattr(runnable_config, "DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", 7)
    assert due(1, 6) == set()
    assert due(1, 7) == {"log"}


def test_a_setting_that_programs_patch_is_set_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    patched, reader = ModuleType("patched_for_a_test"), ModuleType("reader_of_a_test")
    patched.LIMIT = reader.LIMIT_S = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "patched_for_a_test", patched)
    helpers.share_setting("patched_for_a_test", "LIMIT", reader, "LIMIT_S")

    patched.LIMIT = 2  # type: ignore[attr-defined]
    patched.OTHER = 3  # type: ignore[attr-defined]
    assert (patched.LIMIT, reader.LIMIT_S) == (2, 2)  # type: ignore[attr-defined]
    assert not hasattr(reader, "OTHER")
    assert not hasattr(reader, "LIMIT")

    helpers.share_setting("patched_for_a_test", "SIZE", reader)
    patched.SIZE = 4  # type: ignore[attr-defined]
    assert reader.SIZE == 4  # type: ignore[attr-defined]
