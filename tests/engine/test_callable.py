"""Calling what authors wrote: what is injected, what is reported, and how little happens when nobody listens."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Optional
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager, dispatch_custom_event
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel, RunnableSequence
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from stategraph.engine.compile.functions import (
    CallPlan,
    RunnableCallable,
    RunnableSeq,
    coerce_to_runnable,
    is_async_callable,
    is_async_generator,
    plan_call,
)
from stategraph.engine.config.context import get_config
from stategraph.engine.config.runtime import Runtime
from stategraph.errors import NodeError
from stategraph.policies import TracePolicy
from stategraph.types import StreamWriter

if TYPE_CHECKING:
    from tests.conftest import Driver

STORE = InMemoryStore()
WRITTEN: list[Any] = []
RUNTIME: Runtime[None] = Runtime(store=STORE, stream_writer=WRITTEN.append, previous="before")
FAILURE = NodeError("n", ValueError("x"))
CONFIG: RunnableConfig = {"configurable": {"__pregel_runtime": RUNTIME, "__pregel_node_error": FAILURE}, "tags": ["t"]}


def with_async_form(func: Callable[..., Any], **options: Any) -> RunnableCallable:
    """A runnable whose sync and async form do the same."""

    async def afunc(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return func(*args, **kwargs)

    return RunnableCallable(func, functools.wraps(func)(afunc), **options)


# --- injection ---


def wants_all(
    state: Any, config: RunnableConfig, *, runtime: Any, store: BaseStore, writer: StreamWriter, previous: int
):  # type: ignore[no-untyped-def]
    return config, runtime, store, writer, previous


def wants_all_untyped(state, config, runtime, store, writer, previous):  # type: ignore[no-untyped-def]
    return config, runtime, store, writer, previous


@pytest.mark.parametrize("func", [wants_all, wants_all_untyped])
@pytest.mark.parametrize("trace", [True, False])
def test_a_function_is_given_what_its_parameters_ask_for(driver: Driver, func: Any, trace: bool) -> None:
    config, *rest = driver.invoke(with_async_form(func, trace=trace), "state", CONFIG)
    assert config["tags"] == ["t"]
    assert rest == [RUNTIME, STORE, RUNTIME.stream_writer, "before"]


def test_an_argument_that_is_given_goes_before_an_injected_one(driver: Driver) -> None:
    def func(state: Any, store: BaseStore, fixed: str) -> Any:
        return store, fixed

    runnable = with_async_form(func, fixed="at construction")
    assert driver.invoke(runnable, "state", CONFIG, store=None) == (None, "at construction")


def test_what_only_a_graph_can_fill_in_is_an_error_outside_of_one(driver: Driver) -> None:
    for func in (lambda state, store: 0, lambda state, runtime: 0, lambda state, previous: 0):
        with pytest.raises(ValueError, match=r"only a running graph|pass \w+=\.\.\."):
            driver.invoke(with_async_form(func, name="node"), "state")


def test_what_may_be_missing_is_left_out_outside_of_a_graph(driver: Driver) -> None:
    def func(
        state: Any, config: RunnableConfig, writer: StreamWriter, error: NodeError, store: BaseStore | None
    ) -> Any:
        writer("ignored")
        return config["configurable"], error, store

    assert driver.invoke(with_async_form(func), "state") == ({}, None, None)


def test_an_error_handler_is_given_the_failure(driver: Driver) -> None:
    def func(state: Any, error: NodeError) -> Any:
        return error

    assert driver.invoke(with_async_form(func), "state", CONFIG) is FAILURE


def annotated(annotation: Any, name: str = "config") -> Callable[..., Any]:
    def func(state: Any, **kwargs: Any) -> Any:
        return kwargs

    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    func.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    return func


@pytest.mark.parametrize(
    "annotation",
    [
        *(RunnableConfig, Optional[RunnableConfig], RunnableConfig | None, inspect.Parameter.empty),  # noqa: UP045
        *("RunnableConfig", "Optional[RunnableConfig]", "typing.Optional[runnables.RunnableConfig]"),
        *("RunnableConfig | None", "None | RunnableConfig", "runnables.RunnableConfig"),
    ],
)
def test_a_config_parameter_may_be_spelled_in_many_ways(annotation: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [want.name for want in plan_call(annotated(annotation)).wants] == ["config"]  # type: ignore[union-attr]


@pytest.mark.parametrize("annotation", [dict, Any, "dict[str, Any]", "dict | RunnableConfig"])
def test_a_config_parameter_of_another_type_is_warned_about_and_left_alone(annotation: Any) -> None:
    with pytest.warns(UserWarning, match="The 'config' parameter should be typed as 'RunnableConfig'"):
        plan = plan_call(annotated(annotation))
    assert plan is not None
    assert plan.wants == ()


def test_a_parameter_that_merely_has_the_name_is_left_alone() -> None:
    for name, annotation in (("store", int), ("writer", str), ("error", Exception), ("error", inspect.Parameter.empty)):
        assert plan_call(annotated(annotation, name)).wants == ()  # type: ignore[union-attr]

    def positional(config: RunnableConfig, /, *runtime: Any, **store: Any) -> None:
        raise AssertionError

    assert plan_call(positional).wants == ()  # type: ignore[union-attr]
    assert plan_call(min).wants == ()  # type: ignore[union-attr]  # a builtin without a signature


# --- plans ---


def call(plan: CallPlan, input: Any) -> Any:
    assert plan.func is not None
    return plan.func(input, **plan.arguments(CONFIG))


def test_a_plan_says_how_to_call_a_function() -> None:
    def node(state: Any) -> Any:
        return state

    async def anode(state: Any, config: RunnableConfig) -> Any:
        return config

    plain, asynchronous = plan_call(node), plan_call(anode)
    assert plain == CallPlan(name="node", func=node, afunc=None)
    assert plain.is_plain
    assert not plain.is_async
    assert asynchronous is not None
    assert (asynchronous.func, asynchronous.afunc, asynchronous.is_async) == (None, anode, True)
    assert asynchronous.accepts_config
    assert not asynchronous.is_plain


def test_a_plan_of_a_runnable_calls_the_same_function_with_the_same_arguments() -> None:
    def node(state: Any, config: RunnableConfig, store: BaseStore, fixed: int) -> Any:
        return state, config["tags"], store, fixed

    runnable = coerce_to_runnable(functools.partial(node, fixed=7), name="named", trace=False)
    plan = plan_call(runnable)
    assert plan is not None
    assert (plan.name, plan.trace, plan.recurse, plan.explode, plan.tags) == ("named", False, True, False, ())
    assert plan.afunc is None, "a thread around the synchronous function is no async form"
    assert call(plan, "in") == runnable.invoke("in", CONFIG) == ("in", ["t"], STORE, 7)

    exploding = plan_call(RunnableCallable(node, tags=["x"], explode_args=True, recurse=False, fixed=8))
    assert exploding is not None
    assert exploding.arguments(CONFIG, {"fixed": 9, "store": None}) == {"fixed": 9, "store": None, "config": CONFIG}
    assert (exploding.explode, exploding.recurse, exploding.tags, exploding.kwargs) == (
        True,
        False,
        ("x",),
        {"fixed": 8},
    )


def generates(state: Any) -> Iterator[Any]:
    yield state


async def agenerates(state: Any) -> AsyncIterator[Any]:
    yield state


class Overrides(RunnableCallable):
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return "its own"


@pytest.mark.parametrize(
    "thing",
    [generates, agenerates, {}, RunnableLambda(str), RunnableSeq(str, str), Overrides(str), 7],
    ids=lambda thing: type(thing).__name__,
)
def test_what_has_no_plain_function_has_no_plan(thing: Any) -> None:
    assert plan_call(thing) is None


# --- kinds of callables ---


class AsyncObject:
    async def __call__(self, state: Any) -> Any:
        return state


class GeneratorObject:
    async def __call__(self, state: Any) -> AsyncIterator[Any]:
        yield state


async def a_coroutine_function(state: Any) -> Any:
    return state


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial, lambda f: functools.wraps(f)(f)])
def test_async_functions_and_generators_are_recognised_in_every_wrapping(wrap: Any) -> None:
    assert is_async_callable(wrap(a_coroutine_function))
    assert is_async_generator(wrap(agenerates))
    assert not is_async_callable(wrap(increment))
    assert not is_async_generator(wrap(generates))
    assert is_async_callable(AsyncObject())
    assert is_async_generator(GeneratorObject())


def test_everything_an_author_may_give_becomes_a_runnable(driver: Driver) -> None:
    def double(x: int) -> int:
        return x * 2

    lambda_ = RunnableLambda(double)
    assert coerce_to_runnable(lambda_, name="n", trace=True) is lambda_
    assert isinstance(coerce_to_runnable({"a": double}, name=None, trace=True), RunnableParallel)
    assert driver.invoke(coerce_to_runnable(double, name=None, trace=False), 2) == 4
    assert asyncio.run(coerce_to_runnable(a_coroutine_function, name=None, trace=False).ainvoke(2)) == 2
    assert driver.invoke(coerce_to_runnable({"a": double}, name=None, trace=True), 2) == {"a": 4}
    if driver.name == "sync":
        assert coerce_to_runnable(generates, name="g", trace=True).invoke(2) == 2
    with pytest.raises(TypeError, match="7 of type int"):
        coerce_to_runnable(7, name=None, trace=True)


def test_a_synchronous_function_runs_in_another_thread_when_it_is_awaited() -> None:
    runnable = coerce_to_runnable(lambda _: (threading.get_ident(), get_config()["tags"]), name=None, trace=True)
    (here, _), (elsewhere, tags) = runnable.invoke(0, CONFIG), asyncio.run(runnable.ainvoke(0, CONFIG))
    assert here == threading.get_ident() != elsewhere
    assert tags == ["t"]


# --- one function as a runnable ---


def test_names_come_from_the_function_unless_given() -> None:
    def func(x: Any) -> Any:
        return x

    assert RunnableCallable(func).get_name() == "func"
    assert RunnableCallable(None, a_coroutine_function).get_name() == "a_coroutine_function"
    assert RunnableCallable(func, name="given").get_name() == "given"
    assert RunnableCallable(lambda x: x).name is None
    assert RunnableCallable(lambda x: x).get_name() == "RunnableCallable"
    assert "func" in repr(RunnableCallable(func))


def test_a_function_is_needed() -> None:
    with pytest.raises(ValueError, match="afunc"):
        RunnableCallable(None)


def test_an_async_function_cannot_be_called_synchronously() -> None:
    with pytest.raises(TypeError, match='"a_coroutine_function" is async only'):
        RunnableCallable(None, a_coroutine_function).invoke(1)


def test_arguments_can_be_the_input(driver: Driver) -> None:
    def func(a: int, b: int, *, c: int, config: RunnableConfig) -> Any:
        return a, b, c, config["tags"]

    assert driver.invoke(with_async_form(func, explode_args=True, c=0), ((1, 2), {"c": 3}), CONFIG) == (1, 2, 3, ["t"])


def test_a_runnable_that_is_returned_is_invoked_in_place_of_the_result(driver: Driver) -> None:
    chosen = RunnableLambda(lambda x: x + 1)
    assert driver.invoke(with_async_form(lambda x: chosen), 1) == 2
    assert driver.invoke(with_async_form(lambda x: chosen, recurse=False), 1) is chosen


def test_only_a_traced_function_runs_in_a_context_of_its_own(driver: Driver) -> None:
    def running(_: Any) -> Any:
        try:
            return get_config()["tags"]
        except RuntimeError:
            return None

    assert driver.invoke(with_async_form(running, trace=True), 0, CONFIG) == ["t"]
    assert driver.invoke(with_async_form(running, trace=False), 0, CONFIG) is None


# --- what handlers hear ---


class Recorder(BaseCallbackHandler):
    """Notes what it is told, with run ids numbered in the order of their appearance."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.ids: dict[UUID, int] = {}

    def number(self, run_id: UUID | None) -> int | None:
        return None if run_id is None else self.ids.setdefault(run_id, len(self.ids))

    def on_chain_start(self, _: Any, inputs: Any, *, run_id: UUID, parent_run_id: Any = None, **about: Any) -> None:
        self.heard.append(("start", about["name"], inputs, self.number(run_id), self.number(parent_run_id)))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self.heard.append(("end", outputs, self.number(run_id)))

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.heard.append(("error", str(error), self.number(run_id)))


def increment(x: int) -> int:
    return x + 1


def nested(x: int) -> int:
    return RunnableLambda(increment, name="inner").invoke(x)


def fails(x: int) -> int:
    raise LookupError("broken")


def test_a_traced_function_is_one_run_and_parent_of_what_it_calls(driver: Driver) -> None:
    recorder = Recorder()
    run_id = UUID(int=9)
    config: RunnableConfig = {"callbacks": [recorder], "run_name": "outer", "run_id": run_id}
    assert driver.invoke(with_async_form(nested), 1, config) == 2
    assert recorder.heard == [
        ("start", "outer", 1, 0, None),
        ("start", "inner", 1, 1, 0),
        ("end", 2, 1),
        ("end", 2, 0),
    ]
    assert next(iter(recorder.ids)) == run_id
    assert config["run_id"] == run_id, "the caller's config is not changed"


def test_a_returned_runnable_does_not_reuse_the_id_of_the_run(driver: Driver) -> None:
    recorder, chosen = Recorder(), RunnableLambda(increment)
    driver.invoke(with_async_form(lambda x: chosen), 1, {"callbacks": [recorder], "run_id": UUID(int=9)})
    assert len(recorder.ids) == 2


def test_a_failure_is_reported_and_raised(driver: Driver) -> None:
    for runnable in (with_async_form(fails), RunnableSeq(with_async_form(fails, trace=False), increment, name="fails")):
        recorder = Recorder()
        with pytest.raises(LookupError, match="broken"):
            driver.invoke(runnable, 1, {"callbacks": [recorder]})
        assert recorder.heard == [("start", "fails", 1, 0, None), ("error", "broken", 0)]


def test_an_untraced_function_is_not_heard_of(driver: Driver) -> None:
    recorder = Recorder()
    assert driver.invoke(with_async_form(increment, trace=False), 1, {"callbacks": [recorder]}) == 2
    assert recorder.heard == []


def test_no_callback_manager_is_configured_when_nobody_listens(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def configured(*_: Any, **__: Any) -> None:
        raise AssertionError("configured a manager for nobody")

    for manager in (CallbackManager, AsyncCallbackManager):
        monkeypatch.setattr(manager, "configure", configured)
    assert driver.invoke(with_async_form(increment), 1) == 2
    assert driver.invoke(RunnableSeq(increment, with_async_form(increment)), 1) == 3
    with pytest.raises(AssertionError, match="for nobody"):
        driver.invoke(with_async_form(increment), 1, {"callbacks": [Recorder()]})


def test_within_a_run_only_the_handlers_of_the_run_listen(driver: Driver) -> None:
    manager = CallbackManager([]) if driver.name == "sync" else AsyncCallbackManager([])
    with collect_runs() as collector:
        driver.invoke(with_async_form(increment), 1, {"callbacks": manager})
        assert collector.traced_runs == []
        driver.invoke(with_async_form(increment), 1)
        assert [run.name for run in collector.traced_runs] == ["increment"]


def test_a_node_that_nobody_listens_to_can_still_send_custom_events(driver: Driver) -> None:
    def node(x: int) -> Any:
        dispatch_custom_event("ignored", x)
        manager = get_config()["callbacks"]
        assert isinstance(manager, CallbackManager if driver.name == "sync" else AsyncCallbackManager)
        return manager.parent_run_id

    assert driver.invoke(with_async_form(node), 1, {"run_id": UUID(int=3), "run_name": "n"}) != UUID(int=3)
    assert isinstance(driver.invoke(with_async_form(node), 1), UUID)


# --- sequences ---


def test_a_sequence_hands_each_output_to_the_next_step(driver: Driver) -> None:
    recorder = Recorder()
    sequence = RunnableSeq(with_async_form(nested, trace=False), increment, name="sequence")
    assert driver.invoke(sequence, 1) == 3
    assert driver.invoke(sequence, 1, {"callbacks": [recorder]}) == 3
    assert recorder.heard == [
        ("start", "sequence", 1, 0, None),
        ("start", "inner", 1, 1, 0),
        ("end", 2, 1),
        ("start", "increment", 2, 2, 0),
        ("end", 3, 2),
        ("end", 3, 0),
    ]


def test_only_the_first_step_runs_in_the_context_of_the_sequence(driver: Driver) -> None:
    def running(_: Any) -> Any:
        try:
            return get_config()["tags"]
        except RuntimeError:
            return None

    first = RunnableSeq(with_async_form(running, trace=False), with_async_form(lambda x: x, trace=False))
    second = RunnableSeq(with_async_form(lambda x: x, trace=False), with_async_form(running, trace=False))
    for callbacks in ([], [Recorder()]):
        assert driver.invoke(first, 0, {**CONFIG, "callbacks": callbacks}) == ["t"]
        assert driver.invoke(second, 0, {**CONFIG, "callbacks": callbacks}) is None


@pytest.mark.parametrize("listening", [False, True])
def test_a_streamed_sequence_yields_once_when_it_is_done(driver: Driver, listening: bool) -> None:
    done: list[int] = []
    recorder = Recorder()
    sequence = RunnableSeq(with_async_form(increment), with_async_form(done.append), name="sequence")
    assert driver.stream(sequence, 1, {"callbacks": [recorder] if listening else []}) == [None]
    assert done == [2]
    assert [entry[0] for entry in recorder.heard] == ["start", "start", "end", "start", "end", "end"] * listening

    with pytest.raises(LookupError, match="broken"):
        driver.stream(RunnableSeq(increment, fails), 1, {"callbacks": [recorder] if listening else []})


def test_what_a_step_does_while_it_is_streamed_is_not_within_what_calling_its_stream_has_opened(driver: Driver) -> None:
    opened = ContextVar("opened", default="nothing")
    seen: list[str] = []

    class Instrumented(RunnableCallable):
        def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            opened.set("a span")
            return super().stream(*args, **kwargs)

        def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            opened.set("a span")
            return super().astream(*args, **kwargs)

    sequence = RunnableSeq(Instrumented(lambda _: seen.append(opened.get())), with_async_form(lambda x: x))
    assert driver.stream(sequence, 1, {"callbacks": [Recorder()]}) == [None]
    assert seen == ["nothing"]


def test_handlers_that_tap_streams_see_the_chunks_of_every_node() -> None:
    sequence = RunnableSeq(RunnableLambda(agenerates), RunnableCallable(increment), name="node")

    async def events() -> list[Any]:
        outer = RunnableLambda(lambda x: x) | RunnableLambda(stream_inside, name="outer")
        return [(e["event"], e["name"]) async for e in outer.astream_events(1, version="v2")]

    async def stream_inside(x: int, config: RunnableConfig) -> None:
        async for _ in sequence.astream(x, config):
            pass

    seen = asyncio.run(events())
    assert ("on_chain_stream", "node") in seen


def test_sequences_join_flat_and_keep_a_name() -> None:
    def names(runnable: Any) -> list[str]:
        return [step.get_name() for step in runnable.steps]

    ours, theirs = RunnableSeq(increment, nested, name="ours"), RunnableLambda(increment) | RunnableLambda(nested)
    for joined in (ours | ours, ours | theirs, ours | (lambda x: x)):
        assert type(joined) is RunnableSeq
        assert joined.name == "ours"
    assert names(ours | theirs) == ["increment", "nested"] * 2
    assert isinstance(increment | ours, RunnableSequence)
    assert names(RunnableSeq(ours, theirs)) == ["increment", "nested"] * 2
    assert (increment | ours).invoke(1) == 4  # type: ignore[operator]
    assert isinstance(ours, Runnable)
    with pytest.raises(ValueError, match="got 1"):
        RunnableSeq(increment)


def test_tracers_record_what_the_policy_makes_and_other_handlers_see_the_truth(driver: Driver) -> None:
    policy = TracePolicy(process_inputs=lambda _: {"in": "-"}, process_outputs=lambda _: {"out": "-"})
    tracer, recorder = RunCollectorCallbackHandler(), Recorder()
    sequence = RunnableSeq(
        with_async_form(increment, trace=False),
        with_async_form(increment, trace=False),
        name="node",
        trace_inputs=lambda x: x * 100,
        trace_policy=policy,
    )
    assert driver.invoke(sequence, 1, {"callbacks": [recorder, tracer]}) == 3
    assert recorder.heard == [("start", "node", 100, 0, None), ("end", 3, 0)]
    (run,) = tracer.traced_runs
    assert (run.inputs, run.outputs, run.id) == ({"in": "-"}, {"out": "-"}, next(iter(recorder.ids)))


def test_a_trace_transform_that_fails_is_logged_and_changes_nothing(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    sequence = RunnableSeq(increment, increment, trace_policy=TracePolicy(process_inputs=fails, process_outputs=fails))
    assert driver.invoke(sequence, 1, {"callbacks": [recorder]}) == 3
    assert (recorder.heard[0][2], recorder.heard[-1][1]) == (1, 3)
    assert "recorded as it is" in caplog.text
