"""What a run hands to its nodes."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from operator import attrgetter
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from stategraph.core.task import Task
from stategraph.engine.config import context as run_context
from stategraph.engine.config.runtime import (
    DEFAULT_RUNTIME,
    BaseUser,
    ExecutionInfo,
    RunControl,
    RunFacts,
    Runtime,
    ServerInfo,
    adopt_runtime,
    attempt_runtime,
    coerce_context,
    get_runtime,
    new_runtime,
    run_runtime,
    server_info_from,
)

TASK = Task("t", "n", None, ("n",), (), "n:t", 1, 9)
TASK.attempt = 2
INFO = ExecutionInfo(checkpoint_id="c", checkpoint_ns="n:t", task_id="t")


def full_runtime() -> Runtime[Any]:
    return Runtime(
        context={"user": "u"},
        store=InMemoryStore(),
        stream_writer=[].append,
        heartbeat=[].clear,
        previous="before",
        execution_info=INFO,
        server_info=ServerInfo("a", "g"),
        control=RunControl(),
    )


def values(runtime: Runtime[Any]) -> dict[str, Any]:
    return {field.name: getattr(runtime, field.name) for field in fields(runtime)}


def test_an_empty_runtime_is_harmless_to_use() -> None:
    assert values(Runtime()) == values(DEFAULT_RUNTIME)
    DEFAULT_RUNTIME.stream_writer("ignored")
    DEFAULT_RUNTIME.heartbeat()
    assert not DEFAULT_RUNTIME.drain_requested
    assert DEFAULT_RUNTIME.drain_reason is None


def test_values_cannot_be_changed() -> None:
    for value, name in ((Runtime(), "store"), (INFO, "thread_id"), (ServerInfo("a", "g"), "user")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "changed")


def test_merging_keeps_what_the_other_has_nothing_to_say_about() -> None:
    full = full_runtime()
    assert values(full.merge(Runtime())) == values(full)
    assert values(Runtime().merge(full)) == values(full)
    other = full_runtime()
    assert values(full.merge(other)) == values(other)


def test_overriding_replaces_also_by_none() -> None:
    full = full_runtime()
    changed = full.override(previous=None, control=None)
    assert values(changed) == {**values(full), "previous": None, "control": None}


def test_execution_info_is_patched_in_a_copy() -> None:
    patched = Runtime(execution_info=INFO).patch_execution_info(node_attempt=2, thread_id="th")
    assert patched.execution_info == ExecutionInfo("c", "n:t", "t", thread_id="th", node_attempt=2)
    assert (INFO.node_attempt, INFO.thread_id, INFO.node_first_attempt_time) == (1, None, None)
    with pytest.raises(RuntimeError, match="node_attempt"):
        Runtime().patch_execution_info(node_attempt=2)


def test_a_drain_requested_in_another_thread_is_seen() -> None:
    control = RunControl()
    runtime: Runtime[None] = Runtime(control=control)
    assert (runtime.drain_requested, runtime.drain_reason) == (False, None)
    requester = threading.Thread(target=control.request_drain, args=("sigterm",))
    requester.start()
    requester.join()
    assert (runtime.drain_requested, runtime.drain_reason) == (True, "sigterm")
    control.request_drain()
    assert control.drain_reason == "shutdown"


def test_the_running_node_finds_its_runtime() -> None:
    runtime = full_runtime()
    config: Any = {"configurable": {"__pregel_runtime": runtime}}
    assert run_context.run_in_context(config, get_runtime) is runtime
    with pytest.raises(RuntimeError, match="No node or task"):
        get_runtime()


def test_a_task_gets_the_runtime_of_its_run_with_its_own_fields() -> None:
    run, writer = full_runtime(), [].append
    made = attempt_runtime(RunFacts(run, "thread", None, "saved"), TASK, 2, "c", 1.5, writer)
    assert isinstance(made, Runtime)
    info = ExecutionInfo("c", "n:t", "t", "thread", None, 2, 1.5)
    assert values(made) == values(run.override(execution_info=info, stream_writer=writer, previous="saved"))
    assert type(made) is Runtime


def test_what_is_made_for_a_task_is_as_immutable_and_copyable_as_any() -> None:
    runtime = attempt_runtime(RunFacts(full_runtime(), "thread", None, None), TASK, 2, "c", 1.5, [].append)
    info = runtime.execution_info
    assert info == ExecutionInfo("c", "n:t", "t", "thread", None, 2, 1.5)
    for value, name in ((info, "task_id"), (runtime, "previous")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "changed")
    assert type(info) is ExecutionInfo
    assert pickle.loads(pickle.dumps(info)) == copy.deepcopy(info) == info
    assert copy.copy(runtime) == runtime
    assert runtime.patch_execution_info(node_attempt=3).execution_info == info.patch(node_attempt=3)


READS: dict[str, Callable[[Runtime[Any]], Any]] = {
    "a field": lambda runtime: runtime.execution_info,
    "a property": lambda runtime: runtime.drain_requested,
    "a comparison": lambda runtime: runtime == Runtime(),
    "a repr": repr,
    "a copy": copy.copy,
    "a replacement": lambda runtime: replace(runtime, previous=None),
    "a merge": lambda runtime: Runtime().merge(runtime),
    "getattr in C": lambda runtime: attrgetter("store", "control")(runtime),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whatever_first_reads_the_runtime_of_an_attempt_finds_all_of_it(read: Callable[[Runtime[Any]], Any]) -> None:
    facts = RunFacts(full_runtime(), "thread", "run", "saved")
    eager = facts.runtime.override(
        execution_info=ExecutionInfo("c", "n:t", "t", "thread", "run", 2, 1.5), previous="saved"
    )
    made = attempt_runtime(facts, TASK, 2, "c", 1.5, None)
    assert repr(read(made)) == repr(read(eager))
    assert values(made) == values(eager)
    assert made == eager


def test_threads_that_read_a_runtime_at_once_find_the_same() -> None:
    barrier = threading.Barrier(4)
    made = attempt_runtime(RunFacts(full_runtime(), None, None, None), TASK, 1, "c", 1.5, None)

    def look(name: str) -> Any:
        barrier.wait(10)
        return getattr(made, name)

    with ThreadPoolExecutor(4) as pool:
        seen = [future.result() for future in [pool.submit(look, "execution_info") for _ in range(4)]]
    assert seen == [made.execution_info] * 4


def test_a_runtime_has_no_other_attributes() -> None:
    for runtime in (Runtime(), attempt_runtime(RunFacts(Runtime(), None, None, None), TASK, 1, "c", 1.5, None)):
        assert not hasattr(runtime, "config")
        with pytest.raises(AttributeError, match="'Runtime' object has no attribute 'state'"):
            getattr(runtime, "state")  # noqa: B009  a type checker would refuse it


def test_what_a_server_seeds_in_place_of_a_runtime_is_read_for_its_context() -> None:
    class Seed:
        context = "from the server"

    runtime = full_runtime()
    assert adopt_runtime(runtime) is runtime
    assert adopt_runtime(None) is DEFAULT_RUNTIME
    assert values(adopt_runtime(Seed())) == values(Runtime(context="from the server"))
    assert values(adopt_runtime(object())) == values(DEFAULT_RUNTIME)


class Proxy:
    """A user whose attributes are all forwarded, so that it does not look like the protocol."""

    def __getattr__(self, name: str) -> Any:
        return {"identity": "me"}[name]


class User(Proxy):
    """A user with everything the protocol asks for."""

    is_authenticated = True
    display_name = identity = "me"
    permissions = ()

    def __getitem__(self, key: str) -> Any:
        return self.identity

    def __contains__(self, key: str) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())


def test_server_info_is_read_from_configurable() -> None:
    def read(**configurable: Any) -> ServerInfo | None:
        return server_info_from({"configurable": configurable})

    user, proxy = User(), Proxy()
    assert isinstance(user, BaseUser)
    assert read() is None
    assert server_info_from({}) is None
    assert read(assistant_id="a", graph_id="g") == ServerInfo("a", "g", None)
    assert read(graph_id=7) == ServerInfo("", "7", None)
    assert read(langgraph_auth_user=proxy) == ServerInfo("", "", proxy)  # type: ignore[arg-type]
    assert read(assistant_id="a", langgraph_auth_user={"identity": "a dict has no attributes"}) == ServerInfo("a", "")


@dataclass
class AsDataclass:
    key: str
    timeout: int = 30


class AsModel(BaseModel):
    key: str
    timeout: int = 30


class AsDict(TypedDict):
    key: str


def test_a_dict_takes_the_form_of_the_context_schema() -> None:
    assert coerce_context(AsDataclass, {"key": "k"}) == AsDataclass("k", 30)
    assert coerce_context(AsModel, {"key": "k", "timeout": 1}) == AsModel(key="k", timeout=1)
    for schema in (AsDict, None):
        assert coerce_context(schema, {"key": "k"}) == {"key": "k"}
    for value in (None, AsDataclass("k"), "text"):
        assert coerce_context(AsDataclass, value) is value


def test_a_dict_that_does_not_fit_the_context_schema_is_refused() -> None:
    for wrong in ({}, {"key": "k", "unknown": 1}):
        with pytest.raises(TypeError):
            coerce_context(AsDataclass, wrong)
    with pytest.raises(ValidationError):
        coerce_context(AsModel, {"key": "k", "timeout": "soon"})


def test_pydantic_can_resolve_every_annotation() -> None:
    class Arguments(BaseModel, arbitrary_types_allowed=True):
        server: ServerInfo
        execution: ExecutionInfo
        runtime: Runtime[Any]

    server, runtime = ServerInfo("a", "g"), full_runtime()
    arguments = Arguments(server=server, execution=INFO, runtime=runtime)
    assert (arguments.server, arguments.execution, arguments.runtime) == (server, INFO, runtime)


def test_a_run_has_its_own_values_before_those_of_the_run_around_it() -> None:
    outer, written = full_runtime(), [].append
    bare = run_runtime(outer, context=None, store=None, stream_writer=written, server_info=None, control=None)
    assert values(bare) == {**values(outer), "stream_writer": written}
    own = {
        "context": {"user": "v"},
        "store": InMemoryStore(),
        "server_info": ServerInfo("b", "h"),
        "control": RunControl(),
        "stream_writer": written,
    }
    assert values(run_runtime(outer, **own)) == {**values(outer), **own}
    alone = run_runtime(Runtime(), context=None, store=None, stream_writer=written, server_info=None, control=None)
    assert isinstance(alone.control, RunControl)


def test_a_run_with_nothing_around_it_has_the_runtime_that_merging_makes() -> None:
    store, written, info = InMemoryStore(), print, ServerInfo("assistant", "graph")
    own: dict[str, Any] = {"store": store, "stream_writer": written, "server_info": info}
    merged, made = run_runtime(DEFAULT_RUNTIME, context=None, control=None, **own), new_runtime(store, written, info)
    made_control = made.control
    assert isinstance(made_control, RunControl)
    assert replace(made, control=merged.control) == merged
    assert made.control is made_control
    assert new_runtime(None, written, None).control is not made_control
