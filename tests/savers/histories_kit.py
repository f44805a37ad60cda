"""Random histories of a thread: what its graph would have saved, with edits, forks and values changed in place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from stategraph.types import Send

#: Values for one channel each: what grows, what is set anew, what is deep.
CHANNELS = ("messages", "notes", "numbers", "files", "pad", "mixed")

texts = st.one_of(st.text(max_size=12), st.text(min_size=1, max_size=6).map(lambda text: text * 60))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=300),
)
messages = st.one_of(
    st.builds(HumanMessage, content=texts, id=st.text(max_size=3)),
    st.builds(
        AIMessage,
        content=st.one_of(texts, st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=2)),
        additional_kwargs=st.dictionaries(texts, scalars, max_size=2),
    ),
    st.builds(ToolMessage, content=texts, tool_call_id=st.text(max_size=3), artifact=scalars),
)
plain = st.recursive(
    st.one_of(scalars, messages),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3), st.tuples(inner, inner)
    ),
    max_leaves=8,
)
elements = {
    "messages": messages,
    "notes": texts,
    "numbers": st.one_of(st.integers(-5, 5), st.booleans(), st.just(1.0), st.none()),
    "files": st.tuples(texts, plain),
    "pad": plain,
    "mixed": st.one_of(plain, st.builds(Send, st.just("node"), plain)),
}

steps = st.one_of(
    *(
        st.tuples(st.just(move), st.just(name), st.integers(0, 40), st.lists(elements[name], min_size=1, max_size=4))
        for name in CHANNELS
        for move in ("append", "append", "edit", "remove", "overwrite", "mutate")
    ),
    st.tuples(st.just("fork"), st.just(""), st.integers(0, 40), st.just([])),
    st.tuples(st.just("turn"), st.just(""), st.just(0), st.just([])),
    st.tuples(st.just("nested"), st.just("messages"), st.integers(0, 40), st.lists(messages, min_size=1, max_size=2)),
    st.tuples(st.just("send"), st.just("mixed"), st.integers(0, 40), st.lists(plain, max_size=2)),
)


def _few(name: str, number: int) -> Any:
    """Return one of few values, each too large to stand in a node."""
    return HumanMessage(str(number) * 60) if name == "messages" else str(number) * 120


def _mixed_up(name: str, most: int) -> st.SearchStrategy[list[Any]]:
    """Some of few values, in an order without runs: many of them are a list in many pieces."""
    return st.builds(
        lambda seed, size: [_few(name, number) for number in random.Random(seed).choices(range(6), k=size)],
        st.integers(0, 2**32),
        st.integers(most // 2 + 1, most),
    )


pieces = st.one_of(
    *(
        st.tuples(st.just(move), st.just(name), st.integers(0, 200), _mixed_up(name, size))
        for name in ("messages", "notes")
        for move, size in (("append", 120), ("append", 120), ("append", 3), ("edit", 1), ("remove", 1), ("mutate", 1))
    ),
    st.tuples(st.just("fork"), st.just(""), st.integers(0, 40), st.just([])),
    st.tuples(st.just("turn"), st.just(""), st.just(0), st.just([])),
    st.tuples(st.just("prune"), st.just(""), st.integers(1, 4), st.just([])),
)


@dataclass
class Thread:
    """A thread of one graph, on several savers at once.

    Attributes:
        savers: The savers; each is given the same.
        values: The values of the channels.
        versions: Their versions.
        parent: The id of the checkpoint that the next one follows.
        ids: The ids of all checkpoints.
    """

    savers: Sequence[BaseCheckpointSaver[Any]]
    values: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    ids: list[str] = field(default_factory=list)

    def step(self, move: str, name: str, at: int, new: list[Any]) -> None:
        """Do one thing, and save it as a graph does: the writes first, then the checkpoint."""
        if move == "fork":
            self._fork(at)
            return
        if move == "turn":
            self._turn()
            return
        if move == "prune":
            self._prune(at)
            return
        if move == "nested":
            self._save({"configurable": self._at("child:1")}, {"messages": [*self._list("messages"), *new]}, f"n{at}")
            return
        writes = self._change(move, name, at, new)
        if self.parent is not None:
            config = {"configurable": {**self._at(""), "checkpoint_id": self.parent}}
            for saver in self.savers:
                saver.put_writes(config, writes, f"task-{len(self.ids)}", "~path")
        self.versions[name] = self.savers[0].get_next_version(self.versions.get(name), None)
        conf = {**self._at(""), **({} if self.parent is None else {"checkpoint_id": self.parent})}
        self.parent = self._save({"configurable": conf}, self.values, name)
        self.ids.append(self.parent)

    def _change(self, move: str, name: str, at: int, new: list[Any]) -> list[tuple[str, Any]]:
        now = self._list(name)
        if name == "files":
            now = {**self.values.get(name, {}), **dict(new)} if move != "remove" else dict(list(now.items())[:at])
            self.values[name] = now
            return [(name, dict(new))]
        if name == "pad":
            self.values[name] = new[0]
            return [(name, new[0])]
        match move:
            case "edit" if now:
                now[at % len(now)] = new[0]
            case "remove" if now:
                del now[at % len(now)]
            case "overwrite":
                now = list(new)
            case "mutate" if now and isinstance(now[at % len(now)], BaseMessage):
                changed = now[at % len(now)]
                changed.content = "changed in place"
                changed.response_metadata["at"] = {"depth": [at, bool(at % 2), at % 2]}
            case _:
                now += new
        self.values[name] = now
        if move == "send":
            return [("__pregel_tasks", Send("tools", {"state": dict(self.values), "call": {"id": at}})), (name, new)]
        return [(name, new), ("branch:to:x", None)]

    def _list(self, name: str) -> Any:
        found = self.values.get(name, {} if name == "files" else [])
        return found if name in ("files", "pad") else list(found)

    def _fork(self, at: int) -> None:
        if not self.ids:
            return
        self.parent = self.ids[at % len(self.ids)]
        found = self.savers[-1].get_tuple({"configurable": {**self._at(""), "checkpoint_id": self.parent}})
        assert found is not None
        self.values = dict(found.checkpoint["channel_values"])
        self.versions = dict(found.checkpoint["channel_versions"])

    def _turn(self) -> None:
        """Go on from what is loaded, as another run of the same process does; each is given values of its own."""
        if not self.ids:
            return
        config: Any = {"configurable": {**self._at(""), "checkpoint_id": self.parent}}
        found, *others = [saver.get_tuple(config) for saver in (self.savers[0], *self.savers)]
        for other in others:
            assert other is not None
            assert same(found, other)
        values, again = (each.checkpoint["channel_values"] for each in (found, others[0]))
        for name in ("messages", "mixed"):
            for one, other in zip(values.get(name, ()), again.get(name, ()), strict=True):
                assert not isinstance(one, BaseMessage) or one is not other
        self.values = dict(values)

    def _prune(self, keep_last: int) -> None:
        for saver in self.savers:
            saver.prune(["thread"], keep_last=keep_last)  # type: ignore[call-arg]
        left = [{each.checkpoint["id"] for each in saver.list(None)} for saver in self.savers]
        assert all(each == left[0] for each in left)
        self.ids = [each for each in self.ids if each in left[0]]
        if self.ids and self.parent not in left[0]:
            self._fork(-1)

    def _at(self, namespace: str) -> dict[str, Any]:
        return {"thread_id": "thread", "checkpoint_ns": namespace}

    def _save(self, config: Any, values: dict[str, Any], changed: str) -> str:
        id_ = f"{len(self.ids):06}{'' if config['configurable']['checkpoint_ns'] == '' else changed}"
        checkpoint: Any = {
            "v": 4,
            "id": id_,
            "ts": "2026-01-01T00:00:00+00:00",
            "channel_values": dict(values),
            "channel_versions": dict(self.versions),
            "versions_seen": {"__input__": {}, "node": dict(self.versions)},
            "updated_channels": [changed],
        }
        new_versions = {changed: self.versions.get(changed, "1")}
        for saver in self.savers:
            saver.put(config, checkpoint, {"source": "loop", "step": len(self.ids), "parents": {}}, new_versions)
        return id_


def read(saver: BaseCheckpointSaver[Any]) -> list[CheckpointTuple]:
    """Read all that a saver has."""
    return list(saver.list(None))


def same(one: CheckpointTuple | None, other: CheckpointTuple) -> bool:
    """Tell whether two checkpoints are equal, also in the types of their values and the order of keys in them."""
    return one is not None and _in_order(one) == _in_order(other)


def _in_order(found: CheckpointTuple) -> str:
    return repr(found._replace(checkpoint=dict(sorted(found.checkpoint.items()))))  # type: ignore[arg-type]
