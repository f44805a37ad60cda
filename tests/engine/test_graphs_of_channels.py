"""Graphs spelled channel by channel: reading, writing, what a node is made of, and which graphs are refused."""

from __future__ import annotations

import operator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel, RunnablePassthrough
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.constants import TASKS
from stategraph.core.channels import BinaryOperatorAggregate, LastValue, Topic
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.compile.node import DEFAULT_BOUND, ChannelRead, NodeBuilder, PregelNode
from stategraph.engine.compile.validate import validate_graph, validate_timeout_supported
from stategraph.engine.compile.write import (
    PASSTHROUGH,
    SKIP_WRITE,
    ChannelWrite,
    ChannelWriteEntry,
    ChannelWriteTupleEntry,
    assemble,
)
from stategraph.engine.engine import StateGraphEngine
from stategraph.errors import InvalidUpdateError
from stategraph.types import CachePolicy, RetryPolicy, Send, TimeoutPolicy

if TYPE_CHECKING:
    from tests.conftest import Driver


def graph(nodes: dict[str, Any], **options: Any) -> Any:
    channels = {
        "in": LastValue(int),
        "out": LastValue(int),
        "total": BinaryOperatorAggregate(int, operator.add),
        "log": Topic(str, accumulate=True),
    }
    given: dict[str, Any] = {"input_channels": "in", "output_channels": "out", "channels": channels} | options
    return StateGraphEngine(nodes=nodes, **given)


def add_one(value: int) -> int:
    return value + 1


# -- reading from inside -------------------------------------------------


@pytest.mark.parametrize("traced", [False, True], ids=["alone", "traced"])
@pytest.mark.parametrize("fresh", [False, True], ids=["as the step began", "with its own writes"])
def test_a_step_of_a_node_reads_the_state(driver: Driver, fresh: bool, traced: bool) -> None:
    first = ChannelWrite([ChannelWriteEntry("total", 5)])
    seen: list[Any] = []
    bare, mapped = ChannelRead("total", fresh=fresh), ChannelRead("total", fresh=fresh, mapper=lambda total: -total)
    several = ChannelRead(["total", "out"], fresh=fresh)
    work = RunnableLambda(lambda value: value) | first
    node = NodeBuilder().subscribe_only("in").do(work | bare | seen.append | mapped | seen.append | several)
    made = graph({"n": node.write_to(out=lambda found: found["total"])})
    config = {"callbacks": [BaseCallbackHandler()]} if traced else None
    expected = 5 if fresh else 0
    assert driver.invoke(made, 1, config) == expected
    assert seen == [expected, -expected]


def test_reading_and_writing_by_the_config_of_a_task(driver: Driver) -> None:
    found: list[Any] = []

    def work(value: int, config: RunnableConfig) -> int:
        ChannelWrite.do_write(config, [ChannelWriteEntry("total", value), ChannelWriteEntry("log", ["by hand"])])
        found.append(ChannelRead.do_read(config, select="total"))
        found.append(ChannelRead.do_read(config, select="total", fresh=True))
        found.append(
            ChannelRead.do_read(config, select=["total", "in"], fresh=True, mapper=lambda values: [*values.items()])
        )
        found.append(ChannelRead.do_read(config, select="out", fresh=True))
        return value

    made = graph({"n": NodeBuilder().subscribe_only("in").do(work).write_to("out")}, output_channels=["out", "log"])
    assert driver.invoke(made, 3) == {"out": 3, "log": ["by hand"]}
    assert found == [0, 3, [("total", 3), ("in", 3)], None]


def test_there_is_nothing_to_read_outside_of_a_run() -> None:
    with pytest.raises(RuntimeError, match="only inside a task of a running graph"):
        ChannelRead("in").invoke(None)


def test_steps_are_named_after_what_they_read_and_write() -> None:
    assert ChannelRead("in").get_name() == "ChannelRead<in>"
    assert ChannelRead(["in", "out"]).get_name() == "ChannelRead<in,out>"
    assert ChannelRead("in").get_name("Input") == "ChannelRead<in>Input"
    assert ChannelRead("in").get_name(name="mine") == "mine"
    entries: list[Any] = [ChannelWriteEntry("out"), Send("n", 1), ChannelWriteTupleEntry(lambda value: None)]
    assert ChannelWrite(entries).get_name() == "ChannelWrite<out,n,...>"
    assert ChannelWrite(entries).get_name(name="mine") == "mine"
    read = ChannelRead("in", fresh=True, mapper=add_one, tags=["t"])
    assert (read.channel, read.fresh, read.mapper, read.tags) == ("in", True, add_one, ["t"])


# -- writing -------------------------------------------------------------


def test_entries_write_what_was_returned_what_they_hold_or_what_their_mapper_says() -> None:
    entries = [
        ChannelWriteEntry("same"),
        ChannelWriteEntry("own", 1),
        ChannelWriteEntry("more", mapper=add_one),
        ChannelWriteEntry("left", mapper=lambda _: SKIP_WRITE),
        ChannelWriteEntry("none", None),
        ChannelWriteEntry("skipped", None, skip_none=True),
        Send("n", 7),
        ChannelWriteTupleEntry(lambda value: [("a", value), ("b", -value)]),
        ChannelWriteTupleEntry(lambda value: None, value=3),
    ]
    assert assemble(entries, 4) == [
        ("same", 4),
        ("own", 1),
        ("more", 5),
        ("none", None),
        (TASKS, Send("n", 7)),
        ("a", 4),
        ("b", -4),
    ]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match="write a Send instead"):
        assemble([ChannelWriteEntry(TASKS, 1)])
    with pytest.raises(ValueError, match=r"a ChannelWriteTupleEntry or a Send, not \('out', 1\)"):
        assemble([("out", 1)])  # type: ignore[list-item]


def test_a_write_by_hand_may_need_a_value_of_its_own() -> None:
    sent: list[Any] = []
    config: Any = {"configurable": {"__pregel_send": sent.extend}}
    with pytest.raises(InvalidUpdateError, match="Every write needs a value here"):
        ChannelWrite.do_write(config, [ChannelWriteEntry("a", 1), ChannelWriteEntry("b")], allow_passthrough=False)
    assert sent == []
    ChannelWrite.do_write(config, [ChannelWriteEntry("a", 1), Send("n", 2)], allow_passthrough=False)
    assert sent == [("a", 1), (TASKS, Send("n", 2))]
    ChannelWrite.do_write(config, [ChannelWriteEntry("b")])
    assert sent[2:] == [("b", PASSTHROUGH)]


def test_a_writer_of_another_class_says_what_it_may_write() -> None:
    marked: Any = ChannelWrite.register_writer(
        RunnablePassthrough(), [(ChannelWriteEntry("out", 1), "label"), (Send("n", 2), None)]
    )
    assert ChannelWrite.get_static_writes(marked) == [("out", 1, "label"), (TASKS, Send("n", 2), None)]
    left_out = [(ChannelWriteEntry("none", None, skip_none=True), "no"), (ChannelWriteEntry("out", 1), "label")]
    marked = ChannelWrite.register_writer(RunnablePassthrough(), left_out)  # type: ignore[arg-type]
    assert ChannelWrite.get_static_writes(marked) == [("out", 1, "label")]
    assert ChannelWrite.get_static_writes(ChannelWrite.register_writer(RunnablePassthrough())) is None
    assert ChannelWrite.get_static_writes(RunnablePassthrough()) is None
    assert ChannelWrite.get_static_writes(ChannelWrite([ChannelWriteEntry("out")])) is None
    entry = ChannelWriteTupleEntry(lambda _: None, static=[("out", 1, None)])
    assert ChannelWrite.get_static_writes(ChannelWrite([entry, ChannelWriteEntry("in")])) == [("out", 1, None)]


# -- nodes ---------------------------------------------------------------


def test_a_node_is_spelled_part_by_part() -> None:
    retries = [RetryPolicy(max_attempts=2), RetryPolicy(max_attempts=3)]
    cached: Any = CachePolicy(ttl=3)
    spelled = NodeBuilder().subscribe_to("in").read_from("total").do(add_one).write_to("out", ChannelWriteEntry("log"))
    spelled.meta("quick", kind="sum").add_retry_policies(*retries).add_cache_policy(cached).set_timeout(2.5)
    node = spelled.build()
    assert (node.channels, node.triggers) == (["in", "total"], ["in"])
    assert (node.tags, node.metadata) == (["quick"], {"kind": "sum"})
    assert (node.retry_policy, node.cache_policy) == (retries, cached)
    assert node.timeout == TimeoutPolicy.coerce(2.5)
    (writer,) = node.flat_writers
    assert isinstance(writer, ChannelWrite)
    assert writer.writes == [ChannelWriteEntry("out"), ChannelWriteEntry("log")]


def test_a_node_that_reads_nothing_does_nothing_and_has_no_limits() -> None:
    node = NodeBuilder().build()
    assert (node.channels, node.triggers, node.bound) == ([], [], DEFAULT_BOUND)
    assert (node.cache_policy, node.timeout, list(node.retry_policy or ())) == (None, None, [])


def test_a_node_may_start_on_channels_that_it_does_not_read() -> None:
    node = NodeBuilder().subscribe_to("in", read=False).subscribe_to("total").build()
    assert (node.channels, node.triggers) == (["total"], ["in", "total"])


def test_a_bare_value_has_no_room_for_others() -> None:
    with pytest.raises(ValueError, match=r"Cannot add \('total',\): the node gets the bare value of 'in'"):
        NodeBuilder().subscribe_only("in").read_from("total")
    with pytest.raises(ValueError, match=r"Cannot subscribe to 'in' only: the node already reads \['total'\]"):
        NodeBuilder().subscribe_to("total").subscribe_only("in")


def test_constants_and_functions_of_the_result_are_written(driver: Driver) -> None:
    node = NodeBuilder().subscribe_only("in").do(add_one).do(add_one).write_to("out", total=10, log=lambda n: [f"{n}"])
    made = graph({"n": node}, output_channels=["out", "total", "log"])
    assert driver.invoke(made, 1) == {"out": 3, "total": 10, "log": ["3"]}


@pytest.mark.anyio
async def test_the_work_of_a_node_is_done_with_its_tags_and_metadata_and_no_state() -> None:
    seen: list[Any] = []

    def work(value: int, config: RunnableConfig) -> int:
        seen.append((config["tags"], config["metadata"]))
        return value + 1

    node = PregelNode(
        channels="in",
        triggers=["in"],
        bound=RunnableLambda(work),
        writers=[ChannelWrite([ChannelWriteEntry("out")])],
        tags=["own"],
        metadata={"a": 1},
    )
    config: Any = {"tags": ["given"], "metadata": {"b": 2}}
    assert node.invoke(1, config) == 2
    assert await node.ainvoke(2, config) == 3
    assert list(node.stream(3, config)) == [4]
    assert [item async for item in node.astream(4, config)] == [5]
    assert [(sorted(tags), metadata) for tags, metadata in seen] == [(["given", "own"], {"a": 1, "b": 2})] * 4
    bare = PregelNode(channels="in", triggers=["in"], bound=RunnableLambda(add_one))
    assert bare.invoke(1) == 2


def test_a_copy_of_a_node_differs_in_what_was_named() -> None:
    below = graph({"n": NodeBuilder().subscribe_only("in").write_to("out")})
    node = PregelNode(channels=["in"], triggers=["in"], bound=RunnableLambda(add_one), timeout=timedelta(seconds=1))
    node.subgraphs = (below,)
    copy = node.copy({"tags": ["t"], "channels": "total"})
    assert (copy.channels, copy.triggers, copy.tags, copy.bound) == ("total", ["in"], ["t"], node.bound)
    assert copy.timeout == TimeoutPolicy.coerce(1)
    assert list(copy.subgraphs) == [below]
    assert (node.channels, node.tags) == (["in"], None)


def test_nodes_that_read_the_same_have_equal_input_keys() -> None:
    def key(channels: Any, mapper: Any = None) -> Any:
        return PregelNode(channels=channels, triggers=[], mapper=mapper).input_cache_key

    assert key(["in", "out"]) == (None, ("in", "out"))
    assert key("in") == (None, ("in",))
    assert key(["in"], add_one) == (add_one, ("in",)) != key(["in"])


def test_the_graphs_that_a_node_runs_are_found() -> None:
    below = graph({"n": NodeBuilder().subscribe_only("in").write_to("out")})
    assert list(PregelNode(channels="in", triggers=[], bound=below).subgraphs) == [below]
    assert list(PregelNode(channels="in", triggers=[]).subgraphs) == []
    assert list(PregelNode(channels="in", triggers=[], bound=RunnableLambda(add_one)).subgraphs) == []


# -- what is refused -----------------------------------------------------

FINE = NodeBuilder().subscribe_only("in").write_to("out")


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ({"__input__": FINE}, {}, "Node name '__input__' is reserved"),
        ({"n": FINE}, {"channels": {"__input__": LastValue(int)}}, "Channel name '__input__' is reserved"),
        ({"n": NodeBuilder().subscribe_only("lost")}, {}, "Node 'n' reads channel 'lost', which is not one of "),
        ({"n": NodeBuilder().subscribe_to("lost")}, {}, "Node 'n' reads channel 'lost', which is not one of "),
        (
            {"n": NodeBuilder().subscribe_to("lost", read=False)},
            {},
            "Node 'n' is triggered by channel 'lost', which is not one of ",
        ),
        ({"n": FINE}, {"input_channels": "lost"}, "The input goes to channel 'lost', which is not one of"),
        ({"n": FINE}, {"output_channels": ["out", "lost"]}, "The output is made of channel 'lost'"),
        ({"n": FINE}, {"stream_channels": ["lost"]}, "Streamed states are made of channel 'lost'"),
        ({"n": FINE}, {"input_channels": "total"}, r"none is triggered by any of \['total'\]"),
        ({"n": FINE}, {"interrupt_before_nodes": ["m"]}, r"The graph interrupts before node 'm', .* \['n'\]"),
        ({"n": FINE}, {"interrupt_after_nodes": ["m"]}, r"The graph interrupts after node 'm', .* \['n'\]"),
    ],
)
def test_a_graph_that_names_what_there_is_not_is_refused(nodes: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph(nodes, **options).validate()


def test_a_graph_may_interrupt_at_all_nodes() -> None:
    graph({"n": FINE}, interrupt_before_nodes="*", interrupt_after_nodes="*").validate()


def test_the_names_that_there_are_are_cut_short_in_messages() -> None:
    many = {f"channel-{number:04}": LastValue(int) for number in range(200)}
    with pytest.raises(ValueError, match=r"'lost', which is not one of .*'channel-0000', .*\.\.\.$") as refused:
        graph({"n": NodeBuilder().subscribe_only("lost")}, channels=many).validate()
    assert len(str(refused.value)) < 2_000


def test_keys_that_are_no_channels_are_refused(driver: Driver) -> None:
    with pytest.raises(ValueError, match="The keys name channel 'lost', which is not one of "):
        driver.invoke(graph({"n": FINE}), 1, output_keys=["out", "lost"])


async def a_add_one(value: int) -> int:
    return value + 1


NATIVE = RunnableLambda(a_add_one)


@pytest.mark.parametrize(
    "work",
    [
        NATIVE,
        NATIVE | NATIVE,
        RunnableParallel(a=NATIVE),
        NATIVE.with_config(tags=["t"]),
        NodeBuilder().do(a_add_one).do(a_add_one).build().bound,
        graph({"n": FINE}),
    ],
)
def test_a_limit_of_time_may_be_set_on_what_awaits(work: Any) -> None:
    validate_timeout_supported(work, name="n")


@pytest.mark.parametrize(
    "work",
    [
        RunnableLambda(add_one),
        NATIVE | RunnableLambda(add_one),
        RunnableParallel(a=NATIVE, b=RunnableLambda(add_one)),
        RunnableLambda(add_one).with_config(tags=["t"]),
        NodeBuilder().do(a_add_one).do(add_one).build().bound,
    ],
)
def test_a_limit_of_time_on_what_cannot_be_stopped_is_refused(work: Any) -> None:
    with pytest.raises(ValueError, match="Node 'n' is synchronous and has a timeout"):
        validate_timeout_supported(work, name="n")


def test_a_node_that_does_nothing_passes_its_input_on(driver: Driver) -> None:
    assert driver.invoke(PregelNode(channels="in", triggers=["in"]), 7) == 7


class Prickly:
    """Work with a property that raises."""

    @property
    def __self__(self) -> Any:
        raise LookupError("not now")

    def __call__(self, value: int) -> int:
        return value


PRICKLY = Prickly()


def test_a_node_whose_work_does_not_let_itself_be_looked_into_runs_no_graphs() -> None:
    def work(value: int) -> int:
        return PRICKLY(value)

    node = PregelNode(channels="in", triggers=["in"], bound=RunnableCallable(work))
    assert node.subgraphs == ()
    assert node.invoke(3) == 3


def test_a_function_may_capture_what_is_not_assigned_yet() -> None:
    def work(value: int) -> int:
        return later(value)

    node = PregelNode(channels="in", triggers=["in"], bound=RunnableCallable(work))
    assert list(node.subgraphs) == []
    later = graph({"n": FINE})
    assert list(PregelNode(channels="in", triggers=["in"], bound=RunnableCallable(work)).subgraphs) == [later]


def test_what_is_no_node_is_refused() -> None:
    with pytest.raises(TypeError, match="Node 'n' must be a PregelNode or a NodeBuilder, not function"):
        validate_graph({"n": add_one}, {}, {}, "in", "out", None, (), ())  # type: ignore[dict-item]


def test_an_edit_of_a_graph_of_one_node_is_that_nodes(driver: Driver) -> None:
    made = graph({"n": FINE}, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t"}}
    driver.update_state(made, thread, 4)
    assert driver.get_state(made, thread).values["out"] == 4


def test_a_root_graph_has_no_saver_to_inherit(driver: Driver) -> None:
    with pytest.raises(RuntimeError, match="checkpointer=True cannot be used for root graphs"):
        driver.invoke(graph({"n": FINE}, checkpointer=True), 1)


def test_a_task_is_shown_with_the_tags_and_metadata_that_are_its_users(driver: Driver) -> None:
    node = (
        NodeBuilder().subscribe_only("in").meta("of the node", "seq:step:9", kind="adder").do(add_one).write_to("out")
    )
    config = {"tags": ["of the run"], "metadata": {"user": "ada"}}
    started, ended = driver.stream(graph({"n": node}), 1, config, stream_mode="tasks")
    assert started["metadata"] == {"user": "ada", "kind": "adder", "tags": ["of the run", "of the node"]}
    assert ended["result"] == {"out": 2}
    (bare, _) = driver.stream(graph({"n": FINE}), 1, stream_mode="tasks")
    assert "metadata" not in bare


def test_a_node_finds_channels_and_managed_values_where_langgraphs_tool_node_looks_for_them(driver: Driver) -> None:
    seen: list[Any] = []

    def work(value: int, config: RunnableConfig) -> int:
        seen.append(config["configurable"]["__pregel_read"].args)
        return value

    made = graph({"n": NodeBuilder().subscribe_only("in").do(work).write_to("out")})
    driver.invoke(made, 1)
    ((task, channels, managed, again),) = seen
    assert task is again
    assert task.name == "n"
    assert set(made.channels) - set(channels) <= set(managed)
    assert {"in", "out", "total", "log"} <= set(channels)


def test_a_step_reads_the_state_as_it_was_when_its_task_began_unless_it_asks_for_more(driver: Driver) -> None:
    work = RunnableLambda(lambda value: value) | ChannelWrite([ChannelWriteEntry("total", 5)]) | ChannelRead("total")
    made = graph({"n": NodeBuilder().subscribe_only("in").do(work).write_to("out")})
    assert driver.invoke(made, 1) == 0
