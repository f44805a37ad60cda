"""The functional API: what the decorators make, keep and refuse."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache

from stategraph.constants import END, START
from stategraph.engine.compile.task_functions import SyncAsyncFuture, call, get_runnable_for_task, identifier
from stategraph.graph.func import TaskFunction, entrypoint, task
from stategraph.types import CachePolicy, RetryPolicy, TimeoutPolicy
from stategraph.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10
from tests.conftest import Driver


def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


async def double_later(x: int) -> int:
    return 2 * x


class Calculator:
    def triple(self, x: int) -> int:
        return 3 * x

    def __call__(self, x: int) -> int:
        return x


class Cache:
    """Remembers what it was told to forget."""

    def __init__(self) -> None:
        self.cleared: list[Any] = []

    def clear(self, namespaces: Any) -> None:
        self.cleared.extend(namespaces)

    async def aclear(self, namespaces: Any) -> None:
        self.cleared.extend(namespaces)


# --- tasks ---


def test_a_task_that_returns_a_runnable_returns_it_as_it_is(driver: Driver) -> None:
    inside = RunnableLambda(lambda _: "it was invoked")

    @task
    def make() -> Any:
        return inside

    @entrypoint()
    def graph(_: Any) -> Any:
        return [make().result()]

    assert driver.invoke(graph, 1) == [inside]


def test_a_task_keeps_the_functions_name_and_documentation() -> None:
    made = task(double)
    assert isinstance(made, TaskFunction)
    assert (made.__name__, made.__doc__) == ("double", "Twice as much.")  # type: ignore[attr-defined]


def test_a_renamed_task_of_a_method_leaves_the_method_alone() -> None:
    made = task(name="other")(Calculator().triple)
    assert made.func.__name__ == "other"
    assert Calculator.triple.__name__ == "triple"


def test_one_retry_policy_is_a_list_of_one() -> None:
    policy = RetryPolicy(max_attempts=2)
    assert task(retry_policy=policy)(double).retry_policy == (policy,)
    assert task(retry_policy=[policy, policy])(double).retry_policy == [policy, policy]
    assert task(double).retry_policy == ()


def test_a_timeout_needs_an_async_function() -> None:
    assert task(timeout=2)(double_later).timeout == TimeoutPolicy.coerce(2)
    with pytest.raises(ValueError, match=r"Task 'double'.*only supported for async nodes"):
        task(timeout=2)(double)


def test_a_task_called_outside_of_a_graph_says_so() -> None:
    with pytest.raises(RuntimeError, match="No node or task"):
        task(double)(1)
    with pytest.raises(RuntimeError, match="No node or task"):
        call(double, 1)


def test_the_cache_of_a_task_is_found_by_its_functions_name() -> None:
    cache: Any = Cache()
    task(cache_policy=CachePolicy())(double).clear_cache(cache)
    task(double).clear_cache(cache)  # without a policy nothing was cached
    assert cache.cleared == [("__pregel_ns_writes", f"{__name__}.double")]


@pytest.mark.parametrize("func", [double, double_later])
def test_a_task_function_is_inspected_once(func: Callable[..., Any]) -> None:
    assert get_runnable_for_task(func) is get_runnable_for_task(func)


def test_a_wrapper_does_not_inherit_the_runnable_of_what_it_wraps() -> None:
    inner = get_runnable_for_task(double)

    @functools.wraps(double)
    def wrapper(x: int) -> int:
        return double(x) + 1

    assert get_runnable_for_task(wrapper) is not inner
    method = Calculator().triple
    assert get_runnable_for_task(method) is not get_runnable_for_task(method)


def test_a_task_runs_its_function_with_the_arguments_and_writes_the_result() -> None:
    sent: list[Any] = []
    runnable = get_runnable_for_task(lambda x, *, y: x - y)
    runnable.invoke(((5,), {"y": 2}), {"configurable": {"__pregel_send": sent.extend}})
    assert sent == [("__return__", 3)]


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (double, f"{__name__}.double"),
        (Calculator.triple, f"{__name__}.Calculator.triple"),
        (functools.partial(double, 1), None),
        (Calculator(), None),
    ],
)
def test_code_is_identified_by_module_and_qualified_name(func: Any, name: str | None) -> None:
    assert identifier(func) == name


def test_a_future_that_nobody_completes_does_not_pretend_to_be_done() -> None:
    future: SyncAsyncFuture[int] = SyncAsyncFuture()
    assert not future.done()
    assert next(future.__await__()) is ...


# --- entrypoints ---


def test_an_entrypoint_is_a_graph_of_one_node() -> None:
    @entrypoint()
    def workflow(x: int) -> str:
        return str(x)

    assert list(workflow.nodes) == ["workflow"]
    assert (workflow.input_channels, workflow.output_channels, workflow.stream_mode) == (START, END, "updates")
    types = {name: workflow.channels[name].ValueType for name in (START, END, "__previous__")}  # type: ignore[union-attr]
    assert types == {START: int, END: str, "__previous__": str}


def test_an_answer_and_what_is_kept_can_differ() -> None:
    @entrypoint()
    def workflow(x: int) -> entrypoint.final[int, str]:
        return entrypoint.final(value=x, save=str(x))

    assert workflow.channels["__previous__"].ValueType is str  # type: ignore[union-attr]
    (writer,) = workflow.nodes["workflow"].writers
    pairs: Any = writer
    assert pairs.pairs(entrypoint.final(value=1, save="kept")) == [(END, 1), ("__previous__", "kept")]
    assert pairs.pairs(2) == [(END, 2), ("__previous__", 2)]


def test_types_that_are_not_said_are_any() -> None:
    @entrypoint()
    def untyped(x):  # type: ignore[no-untyped-def]
        return x

    @entrypoint()
    def bare(x: int) -> entrypoint.final:  # type: ignore[type-arg]
        return entrypoint.final(value=x, save=x)

    assert untyped.channels[START].ValueType is Any  # type: ignore[union-attr]
    assert bare.channels[END].ValueType is Any  # type: ignore[union-attr]


def test_a_task_that_is_called_where_no_graph_runs_says_where_it_can_be() -> None:
    with pytest.raises(RuntimeError, match="Task 'double' was called where no graph runs: call it in an entrypoint"):
        task(double)(1)


def test_what_cannot_be_an_entrypoint_is_refused() -> None:
    def generator(x: int) -> Any:
        yield x

    async def async_generator(x: int) -> Any:
        yield x

    for func in (generator, async_generator):
        with pytest.raises(NotImplementedError, match="is a generator"):
            entrypoint()(func)
    with pytest.raises(ValueError, match="takes no arguments"):
        entrypoint()(lambda: 1)


@pytest.mark.parametrize(
    ("build", "category"),
    [
        (lambda: task(retry=RetryPolicy())(double).retry_policy, LangGraphDeprecatedSinceV05),
        (lambda: (entrypoint(retry=RetryPolicy()).retry_policy,), LangGraphDeprecatedSinceV05),
        (lambda: (entrypoint(config_schema=RetryPolicy()).context_schema,), LangGraphDeprecatedSinceV10),
    ],
)
def test_arguments_under_old_names_work_and_warn_at_the_callers_line(
    build: Callable[[], Any], category: type[Warning]
) -> None:
    with pytest.warns(category) as caught:
        assert build() == (RetryPolicy(),)
    assert caught[0].filename == __file__


def test_a_future_gives_its_result_to_a_loop_that_is_none_of_asyncios() -> None:
    waiting = SyncAsyncFuture[int]().__await__()
    assert next(waiting) is ...
    with pytest.raises(StopIteration) as ended:
        waiting.send(5)
    assert ended.value.value == 5


def test_a_call_is_retried_and_cached_by_the_policies_it_is_given(driver: Driver) -> None:
    attempts: list[int] = []

    def flaky(x: int) -> int:
        attempts.append(x)
        if len(attempts) == 1:
            raise ConnectionError("not yet")
        return 2 * x

    again = [RetryPolicy(initial_interval=0, jitter=False)]

    @entrypoint(cache=InMemoryCache())
    def graph(x: int) -> list[int]:
        return [call(flaky, x, retry_policy=again, cache_policy=CachePolicy()).result() for _ in range(2)]

    assert driver.invoke(graph, 4) == [8, 8]
    assert attempts == [4, 4]


@pytest.mark.parametrize(("func", "words"), [(max, "no signature found"), (double, "no key")])
def test_a_call_that_cannot_be_planned_fails_its_caller(driver: Driver, func: Any, words: str) -> None:
    def no_key(*_: Any, **__: Any) -> str:
        raise ValueError("no key")

    @entrypoint(cache=InMemoryCache())
    def graph(x: int) -> Any:
        return call(func, x, cache_policy=CachePolicy(key_func=no_key)).result(timeout=20)

    with pytest.raises(ValueError, match=words):
        driver.invoke(graph, 4)


def test_a_call_with_a_timeout_needs_an_async_function() -> None:
    with pytest.raises(ValueError, match=r"^Task 'double' is synchronous and has a timeout"):
        call(double, 1, timeout=3.0)
