"""The extension point for stream projections: queues, transformers, and following nested runs."""

import asyncio
import logging

import pytest

from stategraph.engine.config import environment
from stategraph.engine.streams.events.envelope import enveloped
from stategraph.engine.streams.events.nested import NestedRunTransformer
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import StreamTransformer, transformer_requires_async
from stategraph.errors import GraphDrained, GraphInterrupt
from stategraph.testing import FakeClock


def channel(items=(), *, is_async=False, error=None, **options):
    """A bound queue that gets one of `items` each time its reader asks for more, and is closed or failed after them."""
    queue = StreamChannel(**options)
    queue._bind(is_async=is_async)
    rest = list(items)

    def more():
        if rest:
            queue.push(rest.pop(0))
        elif error is None:
            queue.close()
        else:
            queue.fail(error)
        return True

    async def amore():
        return more()

    queue._request_more, queue._arequest_more = more, amore
    return queue


async def collect(source):
    return [item async for item in source]


def test_a_reader_gets_what_comes_in_order():
    assert list(channel([1, 2, 3])) == [1, 2, 3]
    assert asyncio.run(collect(channel([1, 2, 3], is_async=True))) == [1, 2, 3]


def test_a_reader_pulls_one_item_at_a_time():
    queue = channel([1, 2, 3])
    reader = iter(queue)
    assert next(reader) == 1
    assert len(queue._items) == 0


def test_what_is_pushed_before_a_reader_comes_is_not_kept_but_is_an_event():
    seen = []
    queue = channel([2], name="ticks")
    queue._wire(seen.append)
    queue.push(1)
    assert list(queue) == [2]
    assert seen == [1, 2]


def test_items_carry_the_number_that_the_run_gives_them():
    class Numbers:
        def _next_push_seq(self):
            return 7

    queue = channel()
    queue._bind_mux(Numbers())
    reader = iter(queue)
    queue.push("x")
    assert list(queue._items) == [(7, "x")]
    assert next(reader) == "x"


def test_a_failed_run_reaches_the_reader_after_the_last_item():
    reader = iter(channel([1], error=KeyError("gone")))
    assert next(reader) == 1
    with pytest.raises(KeyError, match="gone"):
        next(reader)


def test_a_reader_stops_when_the_run_has_nothing_more():
    queue = StreamChannel()
    queue._bind(is_async=False)
    assert list(queue) == []
    other = StreamChannel()
    other._bind(is_async=False)
    other._request_more = lambda: False
    assert list(other) == []


@pytest.mark.parametrize(
    ("is_async", "read"),
    [(None, iter), (None, aiter), (True, iter), (False, aiter), (True, StreamChannel.tee), (False, StreamChannel.atee)],
)
def test_a_queue_is_read_as_it_was_bound(is_async, read):
    queue = StreamChannel()
    if is_async is not None:
        queue._bind(is_async=is_async)
    with pytest.raises(TypeError, match="bound"):
        read(queue)


def test_a_queue_has_one_reader_and_is_bound_once():
    queue = channel([1])
    iter(queue)
    with pytest.raises(RuntimeError, match="tee"):
        iter(queue)
    with pytest.raises(RuntimeError, match="already bound"):
        queue._bind(is_async=True)


def test_pushing_to_a_closed_queue_is_refused_while_somebody_reads_it():
    queue = channel(name="ticks")
    queue.close()
    queue.push(1)
    assert list(queue) == []
    with pytest.raises(RuntimeError, match="closed StreamChannel: ticks"):
        queue.push(2)


@pytest.mark.parametrize("maxlen", [0, -1])
def test_a_queue_of_no_length_is_refused(maxlen):
    with pytest.raises(ValueError, match=str(maxlen)):
        StreamChannel(maxlen=maxlen)


def test_tee_gives_every_reader_everything():
    first, second = channel([1, 2, 3]).tee()
    assert [next(first), next(second), next(second)] == [1, 1, 2]
    assert (list(first), list(second)) == ([2, 3], [3])
    with pytest.raises(ValueError, match="not 0"):
        channel().tee(0)
    assert [list(reader) for reader in channel([1, 2]).tee(1)] == [[1, 2]]


def test_a_queue_of_one_item_or_of_any_number_holds_all_that_is_not_read_yet():
    for maxlen in (1, None):
        queue = StreamChannel(maxlen=maxlen)
        queue._bind(is_async=False)
        reader = iter(queue)
        for number in (1, 2, 3):
            queue.push(number)
        queue.close()
        assert list(reader) == [1, 2, 3]


def test_tee_gives_every_reader_the_error():
    for reader in channel([1], error=KeyError("gone")).tee(2):
        assert next(reader) == 1
        with pytest.raises(KeyError, match="gone"):
            next(reader)


def test_atee_gives_concurrent_readers_everything():
    async def read():
        return await asyncio.gather(*map(collect, channel([1, 2, 3], is_async=True).atee(3)))

    assert asyncio.run(read()) == [[1, 2, 3]] * 3


def test_a_queue_is_split_in_two_unless_told_otherwise():
    assert (len(channel().tee()), len(channel(is_async=True).atee())) == (2, 2)


def test_atee_gives_every_reader_the_error():
    async def read():
        readers = channel([1], is_async=True, error=KeyError("gone")).atee(2)
        return await asyncio.gather(*map(collect, readers), return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(read())] == [KeyError, KeyError]


def test_a_reader_of_a_split_queue_that_is_cancelled_leaves_the_others_to_read_on():
    async def read():
        queue, asked, answer = channel(is_async=True), asyncio.Event(), asyncio.Event()

        async def more():
            asked.set()
            await answer.wait()
            queue.push("late")
            queue.close()
            return True

        queue._arequest_more = more
        first, second = map(collect, queue.atee(2))
        leaving = asyncio.create_task(first)
        await asked.wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        answer.set()
        return await second

    assert asyncio.run(read()) == ["late"]


def test_what_was_left_in_a_queue_is_shared_too():
    queue = channel([2])
    queue._subscribe(is_async=False)
    queue.push(1)
    queue._unsubscribe()
    assert [list(reader) for reader in queue.tee()] == [[1, 2], [1, 2]]


class Silent(StreamTransformer):
    def init(self):
        return {}


def test_a_transformer_without_process_says_so():
    for call in (lambda: Silent().process({}), lambda: asyncio.run(Silent().aprocess({}))):
        with pytest.raises(NotImplementedError, match="Silent overrides neither"):
            call()


def test_the_asynchronous_hooks_stand_for_the_others():
    class Twin(Silent):
        def __init__(self):
            self.calls = []  # and no call of the base's constructor

        def process(self, event):
            self.calls.append(event)
            return False

        def finalize(self):
            self.calls.append("finalize")

        def fail(self, err):
            self.calls.append(err)

    async def drive(twin):
        assert await twin.aprocess("event") is False
        await twin.afinalize()
        await twin.afail("error")

    twin = Twin()
    asyncio.run(drive(twin))
    assert twin.calls == ["event", "finalize", "error"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, False),
        ({"requires_async": True}, True),
        ({"aprocess": Silent.init}, True),
        ({"afail": Silent.init}, True),
        ({"afinalize": Silent.init, "supports_sync": True}, False),
        ({"requires_async": True, "supports_sync": True}, True),
    ],
)
def test_which_transformers_a_synchronous_run_refuses(attributes, expected):
    assert transformer_requires_async(type("Some", (Silent,), attributes)()) is expected


def test_scheduled_work_is_kept_until_it_is_done_and_its_errors_are_reported(caplog):
    async def fail():
        raise KeyError("lost")

    async def run():
        transformer = Silent()
        tasks = [transformer.schedule(fail()), transformer.schedule(fail(), on_error="raise")]
        assert transformer._scheduled_task_set() == set(tasks)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        assert transformer._scheduled_task_set() == {tasks[1]}, "what failed early still has to fail the run"
        return outcomes

    with caplog.at_level(logging.ERROR):
        quiet, loud = asyncio.run(run())
    assert quiet is None
    assert isinstance(loud, KeyError)
    assert len(caplog.records) == 1


def test_nothing_can_be_scheduled_without_an_event_loop():
    async def work():
        raise AssertionError("it must not run")

    with pytest.raises(RuntimeError, match="requires_async = True"):
        Silent().schedule(work())


class Follower(NestedRunTransformer):
    def __init__(self, scope=()):
        super().__init__(scope)
        self.told = []

    def init(self):
        return {}

    def _should_track(self, ns):
        return len(ns) > len(self.scope)

    def _on_started(self, ns, graph_name, trigger_call_id):
        self.told.append(("started", ns, graph_name, trigger_call_id, self._pending_cause))

    def _on_terminal(self, ns, status, error):
        self.told.append((status, ns, error))


def task(*namespace, **data):
    return {"type": "event", "method": "tasks", "params": {"namespace": list(namespace), "timestamp": 0, "data": data}}


def test_a_nested_run_is_told_of_once_when_its_first_task_shows_it():
    follower = Follower()
    assert follower.process(task("agent:1", id="2", name="inner", input={})) is False
    follower.process(task("agent:1", id="3", name="inner", input={}))
    assert follower.told == [("started", ("agent:1",), "agent", "1", None)]


@pytest.mark.parametrize(
    ("name", "graph", "task_id"),
    [("agent:1", "agent", "1"), ("agent", "agent", None), (":1", None, "1"), ("a:b:1", "a", "b:1")],
)
def test_a_nested_run_is_named_by_its_node_and_the_task_that_runs_it(name, graph, task_id):
    follower = Follower()
    follower.process(task(name, id="2"))
    assert follower.told == [("started", (name,), graph, task_id, None)]


def test_other_events_pass():
    assert Follower().process({"type": "event", "method": "values", "params": {}}) is True


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({}, ("completed", ("agent:1",), None)),
        ({"error": ValueError("no")}, ("failed", ("agent:1",), "no")),
        ({"error": "no", "interrupts": [1]}, ("interrupted", ("agent:1",), None)),
    ],
)
def test_a_nested_run_ends_with_the_task_that_runs_it(result, told):
    follower = Follower()
    follower.process(task("agent:1", id="2"))
    follower.process(task("agent:1", id="1", result={}))
    follower.process(task(id="9", result={}))
    assert len(follower.told) == 1
    follower.process(task(id="1", result={}, **result))
    follower.finalize()
    assert follower.told[1:] == [told]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [(GraphDrained(), "drained", None), (GraphInterrupt(), "interrupted", None), (KeyError(1), "failed", "1")],
)
def test_what_still_runs_ends_with_the_run_around_it(error, status, text):
    follower = Follower()
    follower.process(task("a:1", id="2"))
    follower.process(task("a:1", "b:2", id="3"))
    follower.fail(error)
    assert follower.told[2:] == [(status, ("a:1",), text), (status, ("a:1", "b:2"), text)]
    follower.finalize()
    assert len(follower.told) == 4


@pytest.mark.parametrize("input", [{"tool_call": {"id": "call"}}, [{"id": None}, "x", {"id": "call"}, {"id": "other"}]])
def test_an_agent_that_a_tool_call_started_knows_the_call(input):
    follower = Follower()
    follower.process(task(id="1", name="tools", input=input))
    follower.process(task("tools:1", id="2", metadata={"lc_agent_name": "helper"}))
    assert follower.told == [
        ("started", ("tools:1",), "helper", "1", {"type": "toolCall", "tool_call_id": "call"}),
    ]
    assert follower._lc_by_ns == {(): None, ("tools:1",): "helper"}
    follower.process(task(id="1", name="tools", result={}))
    assert follower._pending_tool_calls == {}, "calls are not kept when they are done"


def test_a_subclass_that_does_not_say_what_to_do_is_told_so():
    class Bare(NestedRunTransformer):
        def init(self):
            return {}

    bare = Bare()
    for call in (lambda: bare._should_track(()), lambda: bare._on_started((), None, None)):
        with pytest.raises(NotImplementedError, match="Bare does not say"):
            call()
    with pytest.raises(NotImplementedError, match="Bare does not say"):
        bare._on_terminal((), "completed", None)


def test_an_event_is_timed_by_the_clock_of_the_run_in_milliseconds():
    with environment.use(environment.SYSTEM._replace(clock=FakeClock(1_700_000_000.25))):
        assert enveloped("custom", 1, ["a"]) == {
            "type": "event",
            "method": "custom",
            "params": {"namespace": ["a"], "timestamp": 1_700_000_000_250, "data": 1},
        }


def test_a_run_that_is_no_agents_is_not_said_to_be_started_by_a_tool_call():
    follower = Follower()
    follower.process(task(id="1", name="tools", input={"tool_call": {"id": "call"}}))
    follower.process(task("tools:1", id="2", name="plain"))
    follower.process(task("odd", id="3", metadata={"lc_agent_name": "helper"}))
    assert follower.told == [("started", ("tools:1",), "tools", "1", None), ("started", ("odd",), "helper", None, None)]
