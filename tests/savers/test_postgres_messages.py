"""Messages on PostgreSQL, by savers of theirs and ours: encoded once in a run, decoded once in a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

psycopg = pytest.importorskip("psycopg")

from langgraph.checkpoint.memory import InMemorySaver  # noqa: E402
from langgraph.checkpoint.postgres import PostgresSaver as TheirSaver  # noqa: E402
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver as TheirAsyncSaver  # noqa: E402

from stategraph import END, START, MessagesState, StateGraph  # noqa: E402
from stategraph.savers.postgres.saver import AsyncPostgresSaver, PostgresSaver  # noqa: E402
from tests.savers.drivers import opened  # noqa: E402

THREAD: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 200}
ROUNDS = 30
CLASSES: Any = {"theirs": (TheirSaver, TheirAsyncSaver), "ours": (PostgresSaver, AsyncPostgresSaver)}


@pytest.fixture(params=["theirs", "compact", "plain"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=["sync", "async"])
def saver(request: pytest.FixtureRequest, kind: str, postgres: str) -> Iterator[Any]:
    sync, asynchronous = CLASSES["theirs" if kind == "theirs" else "ours"]
    options = {} if kind == "theirs" else {"mode": kind}
    with opened(
        request.param,
        lambda: sync.from_conn_string(postgres, **options),
        lambda: asynchronous.from_conn_string(postgres, **options),
    ) as found:
        yield found


class Counts:
    """Counts messages that a saver's serializer is given, and gives back, in lists or by themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, saver: Any) -> None:
        self.encoded = self.decoded = 0
        cls: Any = type(saver.serde)
        monkeypatch.setattr(cls, "dumps_typed", self._dumping(cls.dumps_typed))
        monkeypatch.setattr(cls, "loads_typed", self._loading(cls.loads_typed))

    def _dumping(self, dumps: Any) -> Any:
        def counted(serde: Any, value: Any) -> Any:
            self.encoded += _messages_in(value)
            return dumps(serde, value)

        return counted

    def _loading(self, loads: Any) -> Any:
        def counted(serde: Any, data: Any) -> Any:
            value = loads(serde, data)
            self.decoded += _messages_in(value)
            return value

        return counted


def _messages_in(value: Any) -> int:
    return sum(isinstance(each, BaseMessage) for each in (value if isinstance(value, list) else [value]))


class Agent:
    """An agent that looks something up again and again, on one thread of a saver."""

    def __init__(self, saver: Any) -> None:
        self._run = getattr(saver, "run", None)
        builder = StateGraph(MessagesState).add_node("ask", self._ask).add_node("find", self._find)
        builder.add_edge(START, "ask").add_conditional_edges("ask", self._route, ["find", END]).add_edge("find", "ask")
        self._graph = builder.compile(checkpointer=getattr(saver, "saver", saver))
        self._left = 0

    def _ask(self, state: MessagesState) -> dict[str, Any]:
        number = len(state["messages"])
        if not self._left:
            return {"messages": [AIMessage("done", id=f"a{number}")]}
        call = {"id": f"c{number}", "name": "find", "args": {"word": f"w{number}"}}
        return {"messages": [AIMessage("", id=f"a{number}", tool_calls=[call])]}

    def _find(self, state: MessagesState) -> dict[str, Any]:
        self._left -= 1
        called = state["messages"][-1].tool_calls[0]["id"]  # type: ignore[union-attr]
        return {"messages": [ToolMessage("found " * 30, id=f"t{called}", tool_call_id=called)]}

    def _route(self, state: MessagesState) -> str:
        return "find" if state["messages"][-1].tool_calls else END  # type: ignore[union-attr]

    def turn(self, question: str, rounds: int = ROUNDS, durability: Any = "sync") -> list[Any]:
        """Run a turn; return the messages of the thread."""
        self._left = rounds
        given: Any = {"messages": [HumanMessage(question, id=question)]}
        if self._run is not None:
            return list(self._run(self._graph.ainvoke(given, THREAD, durability=durability))["messages"])
        return list(self._graph.invoke(given, THREAD, durability=durability)["messages"])


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_run_encodes_each_message_a_few_times_at_most(
    saver: Any, durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(saver)
    counts = Counts(monkeypatch, saver)
    messages = agent.turn("q", durability=durability)
    assert len(messages) == 2 * ROUNDS + 2
    # Encoded anew at every save, they would be about two thousand.
    assert counts.encoded <= 4 * len(messages)
    monkeypatch.undo()
    assert saver.get_tuple(THREAD).checkpoint["channel_values"]["messages"] == messages
    assert messages == Agent(InMemorySaver()).turn("q")


def test_a_process_that_goes_on_decodes_what_is_new(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(saver)
    first = agent.turn("q1")
    agent.turn("q2")
    counts = Counts(monkeypatch, saver)
    third = agent.turn("q3", 3)
    # The messages of the turn before are all that may not be known yet.
    assert counts.decoded <= len(first) + 4
    assert third[: len(first)] == first
    counts.decoded = 0
    fourth = agent.turn("q4", 3)
    assert fourth[: len(third)] == third
    assert len(fourth) > 130
    assert counts.decoded <= 12
