"""Conditional edges: what a router sees, what its answers become, and whether it has to be awaited."""

import threading
from collections.abc import Callable
from typing import Any, Literal

import anyio
import pytest
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnablePassthrough
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.compile.functions import RunnableCallable, coerce_to_runnable
from stategraph.engine.compile.write import BranchWriter, ChannelWrite, ChannelWriteEntry
from stategraph.errors import InvalidUpdateError
from stategraph.graph.branch import BranchSpec
from stategraph.graph.state import StateGraph
from stategraph.types import Send


class State(TypedDict):
    at: str


class Seen(TypedDict):
    at: str


class Scope:
    """A task whose state is given."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.writes: list[tuple[str, Any]] = []
        self.config: RunnableConfig = {"tags": ["of the task"]}
        self.reads: list[tuple[Any, bool]] = []

    def read(self, select: str | list[str], fresh: bool) -> Any:
        self.reads.append((select, fresh))
        return self.state


def writer(path: Any, path_map: Any = None, **options: Any) -> BranchWriter:
    spec = BranchSpec.from_path(coerce_to_runnable(path, name=None, trace=True), path_map)
    return spec.writer("node", options.get("select", ["at"]), options.get("mapper"))


def answered(path: Callable[..., Any], path_map: Any = None) -> list[tuple[str, Any]]:
    """What a router writes, the same for the inner loop and for a traced run."""
    scope = Scope({"at": "here"})
    writer(path, path_map).write_into(None, scope)
    sent: list[tuple[str, Any]] = []
    config: RunnableConfig = {"configurable": {"__pregel_send": sent.extend, "__pregel_read": scope.read}}
    assert writer(path, path_map).invoke("returned", config) == "returned"
    assert sent == scope.writes
    sent.clear()
    assert anyio.run(writer(path, path_map).ainvoke, "returned", config) == "returned"
    assert sent == scope.writes
    return scope.writes


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("a", [("branch:to:a", None)]),
        (["a", "b"], [("branch:to:a", None), ("branch:to:b", None)]),
        (("a", END), [("branch:to:a", None)]),
        (END, []),
        ([], []),
        ([Send("a", 1), "b"], [("__pregel_tasks", Send("a", 1)), ("branch:to:b", None)]),
    ],
)
def test_answers_become_triggers_in_order(answer: Any, expected: list[Any]) -> None:
    assert answered(lambda state: answer) == expected


def test_a_path_map_says_what_answers_mean_and_sends_pass_through_it() -> None:
    assert answered(lambda state: [True, Send("x", 1), False], {True: "a", False: END}) == [
        ("branch:to:a", None),
        ("__pregel_tasks", Send("x", 1)),
    ]


@pytest.mark.parametrize("ignored", ["node", ("a", "b"), {"a", "b"}])
def test_a_path_map_that_is_no_dict_and_no_list_gives_way_to_the_annotation(ignored: Any) -> None:
    def router(state: State) -> Literal["a", "c"]:
        return "c"

    assert answered(router, ignored) == [("branch:to:c", None)]
    spec = BranchSpec.from_path(coerce_to_runnable(router, name=None, trace=True), ignored)
    assert spec.ends == {"a": "a", "c": "c"}
    assert BranchSpec.from_path(coerce_to_runnable(lambda _: "b", name=None, trace=True), ignored).ends is None


def test_an_answer_that_the_path_map_lacks_is_an_error_that_names_the_router() -> None:
    def router(state: State) -> str:
        return "c"

    with pytest.raises(KeyError, match="Router 'router' of node 'node' answered 'c'"):
        answered(router, ["a", "b"])
    with pytest.raises(KeyError, match="Router of node 'node' answered 'c'"):
        answered(lambda state: "c", ["a", "b"])


@pytest.mark.parametrize(
    ("answer", "error"),
    [(None, ValueError), (START, ValueError), (["a", None], ValueError), (Send(END, 1), InvalidUpdateError)],
)
def test_answers_that_lead_nowhere_are_refused_and_nothing_is_written(answer: Any, error: type[Exception]) -> None:
    scope = Scope({"at": "here"})
    with pytest.raises(error):
        writer(lambda state: answer).write_into(None, scope)
    assert scope.writes == []


def test_a_router_sees_the_fresh_state_and_what_else_the_node_returned() -> None:
    seen: list[Any] = []

    def router(state: Any) -> str:
        seen.append(state)
        return END

    scope = Scope({"at": "fresh"})
    writer(router).write_into({"at": "stale", "extra": 1}, scope)
    assert seen == [{"at": "fresh", "extra": 1}]
    assert scope.reads == [(("at",), True)]


def test_a_router_with_a_schema_of_its_own_sees_that_alone() -> None:
    seen: list[Any] = []

    def router(state: Seen) -> str:
        seen.append(state)
        return END

    spec = BranchSpec.from_path(coerce_to_runnable(router, name=None, trace=True), None, infer_schema=True)
    assert spec.input_schema is Seen
    spec.writer("node", ["at"], None).write_into({"extra": 1}, Scope({"at": "fresh"}))
    assert seen == [{"at": "fresh"}]


def test_a_router_without_a_reader_sees_the_nodes_return_value() -> None:
    scope = Scope("nothing else is read")
    writer(lambda value: value["goto"], select=None).write_into({"goto": "a"}, scope)
    assert scope.writes == [("branch:to:a", None)]
    assert scope.reads == []


def test_a_literal_return_type_is_a_path_map() -> None:
    def router(state: State) -> Literal["a", "b"]:
        return "a"

    spec = BranchSpec.from_path(coerce_to_runnable(router, name=None, trace=True), None)
    assert spec.ends == {"a": "a", "b": "b"}
    assert ChannelWrite.get_static_writes(spec.writer("node", None, None)) == [
        ("branch:to:a", None, "a"),
        ("branch:to:b", None, "b"),
    ]


async def _async_router(state: State) -> str:
    await anyio.lowlevel.checkpoint()
    return "a"


def _sync_router(state: State) -> str:
    return "a"


@pytest.mark.parametrize(
    ("path", "needs_await"),
    [
        (_sync_router, False),
        (_async_router, True),
        (RunnableLambda(_sync_router), True),
        (RunnablePassthrough() | RunnableLambda(_sync_router), True),
    ],
)
def test_only_a_plain_function_is_called_without_awaiting(path: Any, needs_await: bool) -> None:
    branch = writer(path)
    assert branch.needs_await is needs_await
    scope = Scope({"at": "here"})
    anyio.run(branch.awrite_into, None, scope)
    assert scope.writes == [("branch:to:a", None)]


def test_a_router_that_is_sync_and_async_is_asked_the_way_that_its_graph_runs() -> None:
    async def there(state: State) -> str:
        return "b"

    branch = writer(RunnableCallable(_sync_router, there))
    assert branch.needs_await
    sync, awaited = Scope({"at": "here"}), Scope({"at": "here"})
    branch.write_into(None, sync)
    anyio.run(branch.awrite_into, None, awaited)
    assert (sync.writes, awaited.writes) == ([("branch:to:a", None)], [("branch:to:b", None)])


def test_an_async_router_cannot_be_asked_synchronously() -> None:
    with pytest.raises(TypeError, match="_async_router"):
        writer(_async_router).write_into(None, Scope({"at": "here"}))


def test_a_router_gets_the_config_of_its_task() -> None:
    seen: list[Any] = []

    def router(state: State, config: RunnableConfig) -> str:
        seen.append(config["tags"])
        return END

    writer(router).write_into(None, Scope({"at": "here"}))
    assert seen == [["of the task"]]


def test_a_runnable_that_a_router_returns_is_asked_in_its_place() -> None:
    assert answered(lambda state: RunnableLambda(lambda state: state["at"])) == [("branch:to:here", None)]


def test_a_runnable_that_an_async_router_returns_is_asked_in_its_place() -> None:
    async def router(state: State) -> Any:
        return RunnableLambda(lambda state: state["at"])

    scope = Scope({"at": "here"})
    anyio.run(writer(router).awrite_into, None, scope)
    assert scope.writes == [("branch:to:here", None)]


class Choice(Runnable[Any, Any]):
    """An answer that is a Runnable, and is not to be asked in turn."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        raise AssertionError("it was asked")


def test_a_router_that_is_taken_at_its_word_may_answer_with_a_runnable() -> None:
    choice, scope = Choice(), Scope({"at": "here"})

    async def router(state: State) -> Any:
        return choice

    for path in (RunnableCallable(lambda state: choice, recurse=False), RunnableCallable(None, router, recurse=False)):
        branch = writer(path, {choice: "a"})
        if path.func is not None:
            branch.write_into(None, scope)
        anyio.run(branch.awrite_into, None, scope)
    assert scope.writes == [("branch:to:a", None)] * 3


def test_what_a_runnable_that_an_async_router_returned_answers_is_remembered_for_no_other_answer() -> None:
    async def router(state: State) -> Any:
        return RunnableLambda(lambda state: state["at"])

    branch, scope = writer(router), Scope({"at": "here"})
    for at in ("here", "there", "here"):
        scope.state = {"at": at}
        anyio.run(branch.awrite_into, None, scope)
    assert [channel for channel, _ in scope.writes] == ["branch:to:here", "branch:to:there", "branch:to:here"]


def test_two_routers_of_a_node_need_two_names() -> None:
    builder = StateGraph(State).add_node("a", lambda state: None).add_conditional_edges("a", lambda state: END)
    with pytest.raises(ValueError, match="router called `condition`"):
        builder.add_conditional_edges("a", lambda state: "a")


def test_writers_are_reported_for_what_they_are() -> None:
    assert ChannelWrite.is_writer(writer(_sync_router))
    assert not ChannelWrite.is_writer(RunnablePassthrough())
    assert ChannelWrite.is_writer(ChannelWrite.register_writer(RunnablePassthrough()))


def traced_answer(path: Any, returned: Any = None, **options: Any) -> list[Any]:
    """What a router writes in an async run that is traced."""
    sent: list[Any] = []
    conf = {"__pregel_send": sent.extend, "__pregel_read": Scope({"at": "here"}).read}

    async def scenario() -> None:
        await writer(path, **options).ainvoke(returned, {"configurable": conf})

    anyio.run(scenario)
    return sent


def test_a_traced_router_that_is_a_plain_function_is_called_on_the_loop_and_an_async_one_is_awaited() -> None:
    threads: list[int] = []

    def router(state: State) -> str:
        threads.append(threading.get_ident())
        return "a"

    assert traced_answer(router) == traced_answer(_async_router) == [("branch:to:a", None)]
    assert threads == [threading.get_ident()]
    assert traced_answer(RunnableLambda(_sync_router)) == [("branch:to:a", None)]


def test_a_traced_router_is_given_the_return_value_if_it_reads_no_state() -> None:
    assert traced_answer(lambda value: value, "b", select=None) == [("branch:to:b", None)]
    assert traced_answer(lambda state: state["at"], "b") == [("branch:to:here", None)]


def test_a_router_sees_one_channel_bare_or_what_its_mapper_makes_of_several() -> None:
    scope = Scope("bare")
    writer(lambda state: state, select="at").write_into({"at": "stale", "extra": 1}, scope)
    assert scope.writes == [("branch:to:bare", None)]
    assert scope.reads == [("at", True)]
    assert traced_answer(lambda state: state, mapper=lambda state: state["at"] + "!") == [("branch:to:here!", None)]


class Answer(str):
    """A string that equals another and means something else to the path map."""

    __slots__ = ()

    def __hash__(self) -> int:
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and super().__eq__(other)


def test_an_answer_is_looked_up_by_what_it_is_and_remembered_if_it_is_a_plain_name() -> None:
    class Ends(dict[Any, str]):
        asked = 0

        def __getitem__(self, key: object) -> str:
            self.asked += 1
            return super().__getitem__(key)

    said: list[Any] = ["x", Answer("x"), "x", ["x"], Answer("x")]
    branch = writer(lambda state: said.pop(0), {"x": "a", Answer("x"): "b"})
    branch.ends = ends = Ends(branch.ends or {})
    scope = Scope({"at": "here"})
    for _ in range(5):
        branch.write_into(None, scope)
    assert [channel for channel, _ in scope.writes] == [f"branch:to:{end}" for end in "abaab"]
    assert ends.asked == 4


def test_a_router_that_makes_up_names_without_end_does_not_fill_the_memory() -> None:
    names = iter(range(1000))
    branch = writer(lambda state: str(next(names)))
    scope = Scope({"at": "here"})
    for _ in range(1000):
        branch.write_into(None, scope)
    assert [channel for channel, _ in scope.writes] == [f"branch:to:{number}" for number in range(1000)]
    assert len(branch._known) == 256


def test_a_router_is_named_in_traces_and_in_errors() -> None:
    assert writer(_sync_router).get_name() == "BranchWriter<_sync_router>"
    assert writer(_sync_router).get_name("Input") == "BranchWriter<_sync_router>Input"
    assert writer(_sync_router).get_name(name="given") == "given"
    path = coerce_to_runnable(lambda state: None, name=None, trace=True)
    for source, who in ((None, "Router answered"), (START, "Router after START answered"), ("n", "Router of node 'n'")):
        with pytest.raises(ValueError, match=f"^{who}.* None, which leads nowhere"):
            BranchWriter(path, None, select=None, source=source).write_into(None, Scope({}))


def test_a_list_of_channel_writes_is_written_in_an_async_run_as_in_a_sync_one() -> None:
    channel_write, scope, sent = ChannelWrite([ChannelWriteEntry("a"), ChannelWriteEntry("b", 2)]), Scope({}), []
    anyio.run(channel_write.awrite_into, 1, scope)
    config: RunnableConfig = {"configurable": {"__pregel_send": sent.extend}}
    assert anyio.run(channel_write.ainvoke, 1, config) == 1
    assert scope.writes == sent == [("a", 1), ("b", 2)]
