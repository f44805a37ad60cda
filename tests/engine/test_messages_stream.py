"""`stream_mode="messages"` and `stream_mode="tools"`: what models, nodes and tools show while they run."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel, FakeListChatModelError
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langsmith.run_helpers import tracing_context
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import PULL, PUSH, START, TAG_NOSTREAM
from stategraph.engine.runs import listeners
from stategraph.engine.streams.messages import StreamMessagesHandler, StreamMessagesHandlerV2
from stategraph.engine.streams.tools import StreamToolCallHandler
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.engine.tracing.stream_handler import graph_namespace
from stategraph.engine.tracing.tool_events import tool_call_writer
from stategraph.graph.func import entrypoint, task
from stategraph.graph.message import MessagesState, push_message
from stategraph.graph.state import StateGraph
from stategraph.testing import Gate, Hold, ScriptedChatModel, reply
from stategraph.types import Command

if TYPE_CHECKING:
    from tests.conftest import Driver

ASKED = {"messages": [HumanMessage("hi", id="asked")]}


def talker(answer: str = "hey", **attributes: Any) -> FakeListChatModel:
    return FakeListChatModel(responses=[answer], **attributes)


def graph_of(**nodes: Any) -> Any:
    """A chain of nodes over messages."""
    builder = StateGraph(MessagesState)
    before = START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile()


def asks(model: Any) -> Callable[[Any], Any]:
    return lambda state: {"messages": [model.invoke(state["messages"])]}


def texts(chunks: list[Any]) -> list[str]:
    return [message.content for message, _ in chunks]


# -- models ------------------------------------------------------------------


def test_pieces_arrive_while_the_model_still_talks() -> None:
    gate = Gate()
    model = ScriptedChatModel(replies=[reply("before ", Hold(gate), "after")])
    chunks = iter(graph_of(llm=asks(model)).stream(ASKED, stream_mode="messages"))
    assert next(chunks)[0].content == "before "
    assert not gate.is_open
    gate.open()
    assert "".join(texts(list(chunks))) == "after"


@pytest.mark.anyio
async def test_pieces_arrive_at_an_async_reader_while_the_model_still_talks() -> None:
    gate = Gate()
    model = ScriptedChatModel(replies=[reply("before ", Hold(gate), "after")])

    async def node(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    seen: list[str] = []
    async for message, _ in graph_of(llm=node).astream(ASKED, stream_mode="messages"):
        seen.append(message.content)
        gate.open()
    assert seen[0] == "before "
    assert "".join(seen) == "before after"


def test_a_models_answer_is_shown_in_pieces_and_not_again_as_a_whole(driver: Driver) -> None:
    chunks = driver.stream(graph_of(llm=asks(talker())), ASKED, stream_mode="messages")
    assert texts(chunks) == ["h", "e", "y"]
    assert len({message.id for message, _ in chunks}) == 1


def test_the_metadata_says_which_task_and_model_it_was(driver: Driver) -> None:
    config = {"tags": ["run"], "metadata": {"user": "u"}, "configurable": {"thread_id": "t"}}
    [(_, metadata), *_] = driver.stream(graph_of(llm=asks(talker())), ASKED, config, stream_mode="messages")
    expected = {
        "user": "u",
        "thread_id": "t",
        "langgraph_step": 1,
        "langgraph_node": "llm",
        "langgraph_triggers": ("branch:to:llm",),
        "langgraph_path": (PULL, "llm"),
        "ls_model_type": "chat",
        "tags": ["run"],
    }
    assert expected.items() <= metadata.items()
    assert metadata["langgraph_checkpoint_ns"].startswith("llm:")


def test_tags_of_the_run_are_not_written_into_the_metadata_that_others_see(driver: Driver) -> None:
    seen: list[dict[str, Any]] = []

    class Listener(BaseCallbackHandler):
        def on_chat_model_start(self, *_: Any, metadata: Any = None, **__: Any) -> None:
            seen.append(metadata)

    graph = graph_of(llm=asks(talker()))
    driver.stream(graph, ASKED, {"callbacks": [Listener()], "tags": ["run"]}, stream_mode="messages")
    assert [metadata.get("tags") for metadata in seen] == [None]


def test_a_model_tagged_nostream_is_left_out_until_its_node_returns(driver: Driver) -> None:
    quiet = talker("shh", tags=[TAG_NOSTREAM])
    chunks = driver.stream(graph_of(llm=asks(quiet)), ASKED, stream_mode="messages")
    assert texts(chunks) == ["shh"]
    assert "ls_model_type" not in chunks[0][1]


def test_a_model_that_cannot_stream_is_shown_whole(driver: Driver) -> None:
    whole = talker("hey", disable_streaming=True)
    assert texts(driver.stream(graph_of(llm=asks(whole)), ASKED, stream_mode="messages")) == ["hey"]


def test_a_model_outside_of_any_node_state_shows_the_calling_task_of_a_function(driver: Driver) -> None:
    @task
    def ask(text: str) -> str:
        return str(talker().invoke(text).content)

    @entrypoint()
    def workflow(text: str) -> str:
        return ask(text).result()

    chunks = driver.stream(workflow, "hi", stream_mode="messages", subgraphs=True)
    assert [(ns, message.content) for ns, (message, _) in chunks] == [((), "h"), ((), "e"), ((), "y")]
    assert {metadata["langgraph_node"] for _, (_, metadata) in chunks} == {"ask"}


def test_a_failing_model_shows_what_it_said_before() -> None:
    failing = FakeListChatModel(responses=["hey"], error_on_chunk_number=1)
    shown: list[Any] = []
    with pytest.raises(FakeListChatModelError):
        for chunk in graph_of(llm=asks(failing)).stream(ASKED, stream_mode="messages"):
            shown.append(chunk)
    assert texts(shown) == ["h"]


# -- nodes -------------------------------------------------------------------


@dataclass
class Answer:
    messages: list[BaseMessage]


class Model(BaseModel):
    messages: list[Any]


NEW = AIMessage("new", id="new")


@pytest.mark.parametrize(
    "returned",
    [
        {"messages": NEW},
        {"messages": [NEW]},
        {"messages": [NEW, NEW]},
        Answer([NEW]),
        Model(messages=[NEW]),
        Command(update={"messages": [NEW]}),
        [Command(update={"messages": [NEW]}), {"messages": [NEW]}],
    ],
    ids=["bare", "list", "twice", "dataclass", "model", "command", "commands"],
)
def test_a_message_that_a_node_returns_is_shown_once(driver: Driver, returned: Any) -> None:
    chunks = driver.stream(graph_of(node=lambda _: returned), ASKED, stream_mode="messages")
    assert texts(chunks) == ["new"]
    assert chunks[0][1]["langgraph_node"] == "node"


def test_messages_that_were_in_a_nodes_input_are_not_shown(driver: Driver) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [*state["messages"], AIMessage("new", id="new")]}

    assert texts(driver.stream(graph_of(a=node, b=node), ASKED, stream_mode="messages")) == ["new"]


class Kept(TypedDict):
    messages: list[Any]


def kept(**nodes: Any) -> Any:
    """A chain of nodes over a list that each of them may replace."""
    builder, before = StateGraph(Kept), START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile()


@pytest.mark.parametrize(
    "change",
    [
        lambda old, new: [*old, new],
        lambda old, new: [new, *old],
        lambda old, new: [*old[:1], new, *old[2:]],
        lambda old, new: [new],
        lambda old, new: [*old, "no message", new],
    ],
    ids=["behind", "before", "in place of one", "instead", "beside others"],
)
def test_messages_of_each_nodes_input_are_known_wherever_they_are_in_it(driver: Driver, change: Any) -> None:
    old, hidden = [AIMessage("old", id=f"old-{number}") for number in range(3)], AIMessage("hidden", id="hidden")

    def put(state: Kept) -> Any:
        # Behind the back of the stream: in the list that the state holds.
        state["messages"][:] = change(state["messages"].copy(), hidden)

    def show(_: Kept) -> Any:
        return {"messages": [*old, hidden, AIMessage("new", id="new")]}

    graph = kept(a=lambda _: None, b=put, c=lambda _: None, d=show)
    assert texts(driver.stream(graph, {"messages": old.copy()}, stream_mode="messages")) == ["new"]


def test_a_message_that_gets_its_id_later_is_known_by_it(driver: Driver) -> None:
    late = AIMessage("late")

    def name(_: Kept) -> None:
        late.id = "late"

    graph = kept(a=lambda _: None, b=name, c=lambda _: None, d=lambda _: {"messages": [late, AIMessage("new", id="n")]})
    assert texts(driver.stream(graph, {"messages": [HumanMessage("x", id="x"), late]}, stream_mode="messages")) == [
        "new"
    ]


def test_messages_that_cannot_be_compared_are_known(driver: Driver) -> None:
    class Odd(AIMessage):
        def __eq__(self, other: object) -> bool:
            raise TypeError("no comparison")

    def put(state: Kept) -> Any:
        return {"messages": [Odd("again", id=each.id) for each in state["messages"]]}

    graph = kept(a=lambda _: None, b=put, c=put)
    assert driver.stream(graph, {"messages": [Odd("old", id="o")]}, stream_mode="messages") == []


@pytest.mark.parametrize("tags", [None, ["around"]])
def test_a_run_without_other_listeners_is_told_of_the_same(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tags: list[str] | None
) -> None:
    graph = graph_of(answer=asks(talker("hey")))
    config: Any = {"tags": ["own"], "metadata": {"given": 1}, "run_name": "named"}

    def shown() -> list[Any]:
        with tracing_context(tags=tags, enabled=False):
            chunks = driver.stream(graph, ASKED, config, stream_mode="messages")
        changing = ("langgraph_checkpoint_ns", "checkpoint_ns")
        return [{k: v for k, v in metadata.items() if k not in changing} for _, metadata in chunks]

    alone = shown()
    monkeypatch.setattr(listeners, "start_unheard", lambda *_: None)
    assert alone == shown()
    assert alone[0]["given"] == 1
    assert set(alone[0]["tags"]) == {"own", *(tags or ())}


def test_a_message_without_an_id_gets_one_that_the_state_keeps(driver: Driver) -> None:
    graph = graph_of(node=lambda _: {"messages": [AIMessage("new")]})
    chunks = driver.stream(graph, ASKED, stream_mode=["messages", "values"])
    shown = [payload[0].id for mode, payload in chunks if mode == "messages"]
    final = [payload for mode, payload in chunks if mode == "values"][-1]
    assert shown == [final["messages"][-1].id]
    assert shown[0]


def test_a_node_whose_name_a_chain_in_it_shares_is_shown_once(driver: Driver) -> None:
    inner = RunnableLambda(lambda _: {"messages": [AIMessage("new", id="new")]}, name="node")
    assert texts(driver.stream(graph_of(node=inner), ASKED, stream_mode="messages")) == ["new"]


def test_pushing_a_message_shows_it_now_even_if_it_was_shown_before(driver: Driver) -> None:
    def node(_: Any) -> None:
        push_message(AIMessage("one", id="m"))
        push_message(AIMessage("two", id="m"))

    assert texts(driver.stream(graph_of(node=node), ASKED, stream_mode="messages")) == ["one", "two"]


# -- graphs within graphs ----------------------------------------------------


def nested() -> Any:
    return graph_of(outer=asks(talker("out")), sub=graph_of(inner=asks(talker("in"))))


def test_a_subgraphs_messages_are_shown_with_its_namespace_to_who_asks_for_subgraphs(driver: Driver) -> None:
    chunks = driver.stream(nested(), ASKED, stream_mode="messages", subgraphs=True)
    found = {(ns[0].split(":")[0] if ns else "", message.content) for ns, (message, _) in chunks}
    assert found == {("", "o"), ("", "u"), ("", "t"), ("sub", "i"), ("sub", "n")}


def test_a_subgraphs_messages_are_not_shown_otherwise_but_what_its_node_returns_is(driver: Driver) -> None:
    chunks = driver.stream(nested(), ASKED, stream_mode="messages")
    assert texts(chunks) == ["o", "u", "t", "in"]
    assert chunks[-1][1]["langgraph_node"] == "sub"


def test_a_node_that_streams_a_subgraph_itself_sees_its_messages() -> None:
    inner = graph_of(inner=asks(talker("in")))
    heard: list[str] = []

    def node(state: MessagesState) -> None:
        heard.extend(texts(list(inner.stream({"messages": state["messages"]}, stream_mode="messages"))))

    outside = list(graph_of(node=node).stream(ASKED, stream_mode="messages"))
    assert heard == ["i", "n"]
    assert outside == []


@pytest.mark.parametrize(
    ("ns", "path", "expected"),
    [
        ("a:1", (PULL, "a"), ()),
        ("a:1|b:2", (PULL, "b"), ("a:1",)),
        ("w:1|f:2", (PUSH, (PULL, "w"), 0, True), ()),
        ("w:1|f:2|g:3", (PUSH, (PUSH, (PULL, "w"), 0, True), 0, True), ()),
        ("a:1|w:2|f:3", (PUSH, (PULL, "w"), 0, True), ("a:1",)),
        ("a:1|n:2", (PUSH, 0, False), ("a:1",)),
    ],
)
def test_a_called_function_belongs_to_the_graph_of_its_caller(
    ns: str, path: tuple[Any, ...], expected: tuple[str, ...]
) -> None:
    assert graph_namespace({"langgraph_checkpoint_ns": ns, "langgraph_path": path}) == expected


# -- the variant for content blocks ---------------------------------------------


class Followed:
    """A handler that follows one run, and what it showed."""

    def __init__(self, kind: type[StreamMessagesHandler]) -> None:
        self.shown: list[Any] = []
        self.run_id = uuid4()
        self.handler = kind(lambda chunk: self.shown.append(chunk[2]), False)
        self.handler.metadata[self.run_id] = ((), {"langgraph_node": "n"})

    def end(self, message: BaseMessage) -> None:
        self.handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=self.run_id)


def test_pieces_are_shown_by_one_variant_and_events_by_the_other() -> None:
    piece = ChatGenerationChunk(message=AIMessageChunk("x", id="m"))
    plain, blocks = Followed(StreamMessagesHandler), Followed(StreamMessagesHandlerV2)
    for followed in (plain, blocks):
        followed.handler.on_llm_new_token("x", chunk=piece, run_id=followed.run_id)
    assert [message.content for message, _ in plain.shown] == ["x"]
    assert blocks.shown == []

    event = {"event": "message-start", "message_id": "m"}
    blocks.handler.on_stream_event(event, run_id=blocks.run_id)
    assert blocks.shown == [(event, {"langgraph_node": "n", "run_id": str(blocks.run_id)})]


def test_an_answer_told_in_events_is_not_shown_again_under_its_final_id() -> None:
    followed = Followed(StreamMessagesHandlerV2)
    followed.handler.on_stream_event({"event": "message-start", "message_id": "early"}, run_id=followed.run_id)
    followed.shown.clear()
    followed.end(AIMessage("x", id="final"))
    assert followed.shown == []
    assert followed.handler.seen == {"early", "final"}
    assert followed.handler.metadata == {}


def test_an_answer_without_events_is_shown_whole() -> None:
    followed = Followed(StreamMessagesHandlerV2)
    followed.end(AIMessage("x", id="m"))
    assert [message.content for message, _ in followed.shown] == ["x"]


def test_tool_results_are_no_part_of_a_conversation_told_in_events() -> None:
    plain, blocks = Followed(StreamMessagesHandler), Followed(StreamMessagesHandlerV2)
    for followed in (plain, blocks):
        result = {"messages": [ToolMessage("r", tool_call_id="c", id="r"), AIMessage("a", id="a")]}
        followed.handler.on_chain_end(result, run_id=followed.run_id)
    assert [message.content for message, _ in plain.shown] == ["r", "a"]
    assert [message.content for message, _ in blocks.shown] == ["a"]


def test_a_run_that_fails_is_forgotten() -> None:
    for kind in (StreamMessagesHandler, StreamMessagesHandlerV2):
        for event in ("on_llm_error", "on_chain_error"):
            followed = Followed(kind)
            getattr(followed.handler, event)(ValueError(), run_id=followed.run_id)
            assert followed.handler.metadata == {}


@pytest.mark.parametrize("failed", [False, True])
def test_pieces_that_come_after_the_end_of_their_run_are_not_shown(failed: bool) -> None:
    followed = Followed(StreamMessagesHandler)
    piece = ChatGenerationChunk(message=AIMessageChunk("x", id="m"))
    followed.handler.on_llm_new_token("x", chunk=piece, run_id=followed.run_id)
    if failed:
        followed.handler.on_llm_error(ValueError(), run_id=followed.run_id)
    else:
        followed.end(AIMessage("x", id="m"))
    followed.handler.on_llm_new_token("late", chunk=piece, run_id=followed.run_id)
    assert [message.content for message, _ in followed.shown] == ["x"]


def test_pieces_without_an_id_are_given_one() -> None:
    followed = Followed(StreamMessagesHandler)
    for text in "ab":
        piece = ChatGenerationChunk(message=AIMessageChunk(text))
        followed.handler.on_llm_new_token(text, chunk=piece, run_id=followed.run_id)
    ids = [message.id for message, _ in followed.shown]
    assert all(ids)
    assert set(ids) == followed.handler.seen


def test_events_of_a_run_that_is_not_followed_are_not_shown() -> None:
    followed = Followed(StreamMessagesHandlerV2)
    followed.handler.on_stream_event({"event": "message-start", "message_id": "m"}, run_id=uuid4())
    assert followed.shown == []
    assert followed.handler.seen == set()


# -- tools -------------------------------------------------------------------


class Calls(TypedDict):
    results: Annotated[list[Any], operator.add]


def calling(function: Any, **given: Any) -> Any:
    """A graph whose node calls a tool as an agent does."""

    def node(_: Calls) -> dict[str, Any]:
        call = {"type": "tool_call", "id": "call", "name": function.name, "args": given}
        return {"results": [function.invoke(call)]}

    return StateGraph(Calls).add_node("node", node).add_edge(START, "node").compile()


def test_a_tool_call_is_shown_from_start_to_end_with_what_it_emits(driver: Driver) -> None:
    @tool
    def count(to: int) -> str:
        """Count."""
        writer = tool_call_writer.get()
        assert writer is not None
        for number in range(to):
            writer(number)
        return "done"

    shown = driver.stream(calling(count, to=2), {"results": []}, stream_mode="tools")
    assert [event.pop("tool_call_id") for event in shown] == ["call"] * 4
    result = shown[-1].pop("output")
    assert shown == [
        {"event": "tool-started", "tool_name": "count", "input": {"to": 2}},
        {"event": "tool-output-delta", "delta": 0},
        {"event": "tool-output-delta", "delta": 1},
        {"event": "tool-finished"},
    ]
    assert result.content == "done"


def test_a_failing_tool_says_why() -> None:
    @tool
    def fail() -> str:
        """Fail."""
        raise ValueError("no")

    shown: list[Any] = []
    with pytest.raises(ValueError, match="no"):
        for event in calling(fail).stream({"results": []}, stream_mode="tools"):
            shown.append(event)
    assert [event["event"] for event in shown] == ["tool-started", "tool-error"]
    assert shown[-1]["message"] == "no"


def test_a_tool_that_asks_something_has_not_failed(driver: Driver) -> None:
    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("sure?"))

    graph = calling(ask)
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    first = driver.stream(graph, {"results": []}, config, stream_mode="tools")
    second = driver.stream(graph, Command(resume="yes"), config, stream_mode="tools")
    assert [event["event"] for event in first] == ["tool-started"]
    assert [event["event"] for event in second] == ["tool-started", "tool-finished"]


def test_the_writer_of_a_tool_call_is_gone_after_it_also_when_it_ends_elsewhere() -> None:
    shown: list[Any] = []
    handler = StreamToolCallHandler(shown.append, True)
    metadata = {"langgraph_checkpoint_ns": "a:1|b:2", "langgraph_path": (PULL, "b")}
    outer, inner = uuid4(), uuid4()
    for run_id in (outer, inner):
        handler.on_tool_start({"name": "t"}, "", run_id=run_id, metadata=metadata)
    handler.on_tool_end("r", run_id=inner)
    writer = tool_call_writer.get()
    assert writer is not None
    writer("late")
    copy_context().run(handler.on_tool_end, "r", run_id=outer)
    assert [chunk[2]["tool_call_id"] for chunk in shown[2:]] == [str(inner), str(outer), str(outer)]
    assert {chunk[0] for chunk in shown} == {("a:1",)}
    tool_call_writer.set(None)


def test_tools_of_other_graphs_and_tools_tagged_nostream_are_left_out() -> None:
    shown: list[Any] = []
    handler = StreamToolCallHandler(shown.append, False, parent_ns=("a:1",))
    deeper = {"langgraph_checkpoint_ns": "x:1|b:2", "langgraph_path": (PULL, "b")}
    own = {"langgraph_checkpoint_ns": "a:1|b:2", "langgraph_path": (PULL, "b")}
    handler.on_tool_start({}, "", run_id=uuid4(), metadata=None)
    handler.on_tool_start({}, "", run_id=uuid4(), metadata=deeper)
    handler.on_tool_start({}, "", run_id=uuid4(), metadata=own, tags=[TAG_NOSTREAM])
    assert shown == []
    handler.on_tool_start({}, "", run_id=uuid4(), metadata=own)
    assert [chunk[2]["event"] for chunk in shown] == ["tool-started"]
    tool_call_writer.set(None)
