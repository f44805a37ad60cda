"""RunnableConfig: what survives merging, what a nested run inherits, and whether anybody listens."""

from __future__ import annotations

import copy
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from types import MappingProxyType
from typing import Any, cast
from unittest.mock import MagicMock
from uuid import UUID

import langsmith
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core import globals as langchain_globals
from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    dispatch_custom_event,
)
from langchain_core.callbacks import manager as callbacks_manager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers import context as tracer_context
from langsmith import utils as langsmith_utils

from stategraph.engine.config import runnable_config as run_config
from stategraph.engine.config.quiet_manager import AsyncQuietCallbackManager, Quiet, QuietCallbackManager
from stategraph.engine.config.runnable_config import (
    DEFAULT_RECURSION_LIMIT,
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    has_listeners,
    is_not_empty,
    merge_callbacks,
    merge_configs,
    merge_metadata,
    patch_checkpoint_map,
    patch_config,
    patch_configurable,
    recast_checkpoint_ns,
)


class Handler(BaseCallbackHandler):
    """Hears custom events."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.heard: list[tuple[str, UUID]] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_: Any) -> None:
        self.heard.append((name, run_id))


@contextmanager
def surrounding(config: RunnableConfig) -> Iterator[None]:
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


MERGERS = pytest.mark.parametrize("merge", [merge_configs, ensure_config])
Merge = Callable[..., RunnableConfig]


# --- merging ---


@MERGERS
def test_a_later_config_wins_key_by_key(merge: Merge) -> None:
    merged = merge(
        {"configurable": {"a": 1, "both": 1}, "metadata": {"m": 1, "both": 1}, "run_name": "first"},
        None,
        {"configurable": {"b": 2, "both": 2}, "metadata": {"n": 2, "both": 2}, "run_name": "second"},
    )
    assert merged["configurable"] == {"a": 1, "b": 2, "both": 2}
    assert merged["metadata"] == {"m": 1, "n": 2, "both": 2}
    assert merged["run_name"] == "second"


@MERGERS
def test_tags_append_in_order_and_keep_repetitions(merge: Merge) -> None:
    assert merge({"tags": ["x", "a"]}, {"tags": ["x", "b"]})["tags"] == ["x", "a", "x", "b"]


@MERGERS
def test_only_the_versions_of_packages_merge_one_level_deeper(merge: Merge) -> None:
    merged = merge(
        {"metadata": {"lc_versions": {"core": "1", "deep": {"a": 1}}, "other": {"a": 1}}},
        {"metadata": {"lc_versions": {"graph": "2", "deep": {"b": 2}}, "other": {"b": 2}}},
        {"metadata": {"lc_versions": {}}},
    )
    assert merged["metadata"]["lc_versions"] == {"core": "1", "graph": "2", "deep": {"b": 2}}
    assert merged["metadata"]["other"] == {"b": 2}


@MERGERS
@pytest.mark.parametrize("key", ["tags", "metadata", "configurable"])
def test_what_comes_out_shares_no_container_with_what_went_in(merge: Merge, key: str) -> None:
    given_config: Any = {"tags": ["t"], "metadata": {"m": {"inner": 1}}, "configurable": {"c": 1}}
    before = copy.deepcopy(given_config)
    merged: Any = merge(given_config)
    merged[key].clear()
    assert given_config == before


@MERGERS
def test_nested_metadata_is_a_copy(merge: Merge) -> None:
    versions = {"core": "1"}
    merge({"metadata": {"lc_versions": versions}})["metadata"]["lc_versions"]["core"] = "changed"
    assert versions == {"core": "1"}


configs = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.lists(st.sampled_from("abc"), max_size=3),
        "metadata": st.dictionaries(st.sampled_from("mn"), st.integers(), max_size=2),
        "configurable": st.dictionaries(st.sampled_from("xy"), st.integers(), max_size=2),
        "run_name": st.sampled_from(["", "one", "two"]),
        "recursion_limit": st.sampled_from([1, int(DEFAULT_RECURSION_LIMIT), DEFAULT_RECURSION_LIMIT]),
    },
)


@given(configs, configs, configs)
def test_merging_is_associative(a: Any, b: Any, c: Any) -> None:
    assert merge_configs(merge_configs(a, b), c) == merge_configs(a, merge_configs(b, c)) == merge_configs(a, b, c)


@pytest.mark.parametrize(
    "rebuilt", [lambda c: c, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["as is", "copied", "pickled"]
)
def test_the_default_limit_never_replaces_one_that_somebody_asked_for(
    rebuilt: Callable[[RunnableConfig], RunnableConfig],
) -> None:
    assert merge_configs({"recursion_limit": 50}, rebuilt(ensure_config()))["recursion_limit"] == 50


def test_a_limit_that_somebody_asked_for_counts_even_if_it_equals_the_default() -> None:
    asked_for = int(DEFAULT_RECURSION_LIMIT)
    assert merge_configs({"recursion_limit": 50}, {"recursion_limit": asked_for})["recursion_limit"] == asked_for


# --- callbacks ---

A, B = Handler("a"), Handler("b")


@pytest.mark.parametrize(
    ("base", "new"),
    [
        ([A], [B]),
        ([A], CallbackManager([B])),
        (CallbackManager([A]), [B]),
        (CallbackManager([A]), CallbackManager([B])),
        (CallbackManager([A]), AsyncCallbackManager([B])),
    ],
    ids=["lists", "list and manager", "manager and list", "managers", "sync and async"],
)
def test_merged_callbacks_call_the_handlers_of_both(base: Any, new: Any) -> None:
    merged: Any = merge_callbacks(base, new)
    handlers = merged.handlers if isinstance(merged, BaseCallbackManager) else merged
    assert set(handlers) == {A, B}
    assert getattr(base, "handlers", base) == [A]
    assert getattr(new, "handlers", new) == [B]


def test_callbacks_merged_with_none_stay() -> None:
    assert merge_callbacks(None, None) is None
    assert merge_callbacks([A], None) == [A]
    assert merge_callbacks(None, [A]) == [A]


def test_callbacks_of_another_type_are_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="Handler"):
        merge_callbacks(None, A)  # type: ignore[arg-type]


# --- completing ---


def test_an_empty_config_gets_every_default() -> None:
    assert ensure_config(None, {}) == {
        "tags": [],
        "metadata": {},
        "callbacks": None,
        "recursion_limit": DEFAULT_RECURSION_LIMIT,
        "configurable": {},
    }


@pytest.mark.parametrize("said", ["", 0, False, "text"])
def test_a_value_is_empty_only_if_it_is_none_or_has_no_items(said: Any) -> None:
    assert is_not_empty(said)
    assert not any(map(is_not_empty, [None, [], (), {}]))


def test_keys_that_no_config_has_move_into_configurable() -> None:
    stray: Any = {"thread_id": "t", "configurable": {"a": 1}}
    assert ensure_config(stray)["configurable"] == {"a": 1, "thread_id": "t"}


def test_identifying_values_are_repeated_in_metadata_and_nothing_else_is() -> None:
    full = ensure_config(
        {
            "configurable": {"thread_id": "t", "run_id": "r", "graph_id": "g", "model": "m", "api_key": "k"},
            "metadata": {"graph_id": "mine"},
        }
    )
    assert full["metadata"] == {"thread_id": "t", "run_id": "r", "graph_id": "mine"}


def test_a_nested_run_inherits_the_surrounding_config() -> None:
    with surrounding({"tags": ["outer"], "configurable": {"thread_id": "t", "checkpoint_ns": "p:1"}}):
        full = ensure_config({"tags": ["outer", "own"], "configurable": {"agent": "a"}})
    assert full["tags"] == ["outer", "own"]
    assert full["configurable"] == {"thread_id": "t", "checkpoint_ns": "p:1", "agent": "a"}


@pytest.mark.parametrize("place", [{"thread_id": "t"}, {"checkpoint_ns": ""}, {"checkpoint_map": {"": "c"}}])
def test_a_config_that_names_its_own_place_in_storage_inherits_none(place: dict[str, Any]) -> None:
    with surrounding({"configurable": {"thread_id": "t", "checkpoint_ns": "p:1", "checkpoint_id": "c"}}):
        full = ensure_config({"configurable": {"bound": 1}}, {"configurable": place})
    assert full["configurable"] == {"bound": 1, **place}


def test_inherited_containers_are_copies() -> None:
    outer: RunnableConfig = {"tags": ["t"], "metadata": {"m": 1}, "configurable": {"c": 1}, "callbacks": [A]}
    with surrounding(outer):
        inner: Any = ensure_config()
    for key in outer:
        inner[key].clear()
    assert outer == {"tags": ["t"], "metadata": {"m": 1}, "configurable": {"c": 1}, "callbacks": [A]}


# --- patching ---


def test_replacing_the_callbacks_drops_the_name_and_id_of_the_run_they_reported() -> None:
    patched = patch_config({"run_name": "n", "run_id": UUID(int=1), "tags": ["t"]}, callbacks=[A], run_name=None)
    assert patched == {"tags": ["t"], "callbacks": [A]}


def test_patching_leaves_the_original_alone() -> None:
    original: RunnableConfig = {"configurable": {"a": 1}, "recursion_limit": 3}
    assert patch_config(original, recursion_limit=9, max_concurrency=2, run_name="n", configurable={"b": 2}) == {
        "configurable": {"a": 1, "b": 2},
        "recursion_limit": 9,
        "max_concurrency": 2,
        "run_name": "n",
    }
    assert patch_configurable(original, {"a": 2}) == {"configurable": {"a": 2}, "recursion_limit": 3}
    assert original == {"configurable": {"a": 1}, "recursion_limit": 3}
    assert patch_configurable(None, {"a": 1}) == {"configurable": {"a": 1}}


def test_a_checkpoint_of_a_subgraph_knows_where_its_parents_stood() -> None:
    config: RunnableConfig = {"configurable": {"checkpoint_ns": "sub:1", "checkpoint_id": "c2"}}
    patched = patch_checkpoint_map(config, {"parents": {"": "c1"}})
    assert patched is not None
    assert patched["configurable"]["checkpoint_map"] == {"": "c1", "sub:1": "c2"}
    assert patch_checkpoint_map(config, {"parents": {}}) is config
    assert patch_checkpoint_map(None, {"parents": {"": "c1"}}) is None


@pytest.mark.parametrize(
    ("ns", "nodes"), [("", ""), ("a:1-2", "a"), ("a:1|b:2", "a|b"), ("a:1|1", "a"), ("a:1|7|b:2", "a|b"), ("a", "a")]
)
def test_a_namespace_without_its_tasks_names_the_subgraph(ns: str, nodes: str) -> None:
    assert recast_checkpoint_ns(ns) == nodes


# --- callback managers ---


@pytest.mark.parametrize("make", [get_callback_manager_for_config, get_async_callback_manager_for_config])
def test_a_new_manager_has_the_tags_and_metadata_of_the_config(make: Any) -> None:
    manager = make({"callbacks": [A], "tags": ["c"], "metadata": {"m": 1}}, ["further"])
    assert manager.handlers == [A]
    assert manager.inheritable_tags == ["c", "further"]
    assert manager.metadata == {"m": 1}
    assert manager.is_async == (make is get_async_callback_manager_for_config)


def test_a_manager_in_the_config_is_copied() -> None:
    manager = CallbackManager([A])
    get_callback_manager_for_config({"callbacks": manager}).set_handlers([B])
    assert manager.handlers == [A]
    extended = get_callback_manager_for_config({"callbacks": manager, "tags": ["t"], "metadata": {"m": 1}})
    assert (extended.handlers, extended.tags, extended.metadata) == ([A], ["t"], {"m": 1})
    assert (manager.tags, manager.metadata) == ([], {})


def test_a_manager_of_a_host_s_own_class_is_copied_with_the_tags_and_metadata_of_the_config() -> None:
    class Own(CallbackManager):
        pass

    manager = Own([A])
    config: Any = {"callbacks": manager, "tags": ["t"], "metadata": {"m": 1}}
    extended = get_callback_manager_for_config(config, ["further"])
    assert type(extended) is Own
    assert (extended.handlers, extended.tags, extended.metadata) == ([A], ["t", "further"], {"m": 1})
    assert (manager.tags, manager.metadata) == ([], {})


def test_a_tracer_gets_the_configurable_values_that_look_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(CallbackManager, "configure", lambda **options: asked.update(options) or CallbackManager([]))
    configurable = {"model": "m", "n": 1, "api_key": "k", "AuthUser": "u", "__internal": "i", "nested": {}}
    get_callback_manager_for_config({"configurable": configurable})
    assert asked["langsmith_inheritable_metadata"] == {"model": "m", "n": 1}


# --- does anybody listen? ---


@pytest.fixture(autouse=True)
def offline_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that is switched on reports to nobody."""
    monkeypatch.setattr("langchain_core.tracers.langchain.get_client", MagicMock)


@pytest.fixture(autouse=True)
def fresh_look_at_the_environment(own_environment: None) -> Iterator[None]:
    caches = (langsmith_utils.get_env_var, run_config._retired_tracing_in_environment)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def agrees_with_langchain(config: RunnableConfig) -> bool:
    """Ask both; return what they agree on."""
    heard = has_listeners(config)
    assert heard == bool(CallbackManager.configure(inheritable_callbacks=config.get("callbacks")).handlers)
    return heard


@pytest.mark.parametrize(
    "callbacks", [None, [], CallbackManager([]), QuietCallbackManager()], ids=["none", "empty", "manager", "quiet"]
)
def test_nobody_listens_without_handlers(callbacks: Any) -> None:
    assert not agrees_with_langchain({"callbacks": callbacks})


@pytest.mark.parametrize("callbacks", [[A], CallbackManager([A])], ids=["list", "manager"])
def test_handlers_in_the_config_listen(callbacks: Any) -> None:
    assert agrees_with_langchain({"callbacks": callbacks})


@pytest.mark.parametrize("name", ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING_V2"])
def test_tracing_in_the_environment_listens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "true")
    assert agrees_with_langchain({})
    with langsmith.tracing_context(enabled=False):
        assert not agrees_with_langchain({})


def test_tracing_switched_on_in_the_context_listens() -> None:
    with langsmith.tracing_context(enabled="local"):
        assert agrees_with_langchain({})


def test_a_collector_in_the_context_listens() -> None:
    with tracer_context.collect_runs():
        assert agrees_with_langchain({})


def test_a_hook_that_yields_a_handler_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: ContextVar[Handler | None] = ContextVar("hooked", default=None)
    monkeypatch.setattr(tracer_context, "_configure_hooks", [(hooked, True, Handler, "STATEGRAPH_TEST_HOOK")])
    assert not agrees_with_langchain({})
    monkeypatch.setenv("STATEGRAPH_TEST_HOOK", "1")
    assert agrees_with_langchain({})
    monkeypatch.delenv("STATEGRAPH_TEST_HOOK")
    token = hooked.set(Handler())
    try:
        assert agrees_with_langchain({})
    finally:
        hooked.reset(token)


def test_global_debug_output_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langchain_globals, "_debug", True)
    assert agrees_with_langchain({})


def test_an_instrumentation_that_wraps_every_manager_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    constructor = BaseCallbackManager.__init__

    def instrumented(self: BaseCallbackManager, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)
        self.add_handler(A)

    monkeypatch.setattr(BaseCallbackManager, "__init__", instrumented)
    assert agrees_with_langchain({})


def test_settings_of_the_retired_tracer_are_left_to_langchain_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGCHAIN_TRACING", "true")
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "false")
    with langsmith.tracing_context(enabled=False):
        assert has_listeners({})
        with pytest.raises(RuntimeError, match="LANGCHAIN_TRACING_V2"):
            CallbackManager.configure()


def test_libraries_that_wrap_what_configures_managers_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a library gives each manager a handler that is not inherited, so a quiet run would not show it."""
    configure = callbacks_manager._configure

    def adding(cls: Any, inheritable: Any = None, local: Any = None, *more: Any, **options: Any) -> Any:
        return configure(cls, inheritable, [*(local or ()), A], *more, **options)

    assert not has_listeners({"callbacks": QuietCallbackManager()})
    monkeypatch.setattr(callbacks_manager, "_configure", adding)
    assert agrees_with_langchain({})
    assert has_listeners({"callbacks": QuietCallbackManager()})


# --- the quiet manager ---


KINDS = pytest.mark.parametrize("kind", [QuietCallbackManager, AsyncQuietCallbackManager])


@KINDS
def test_the_quiet_manager_lets_a_node_attach_a_handler_for_itself_alone(kind: type[Quiet]) -> None:
    shared, handler = kind(), Handler()

    def node() -> None:
        shared.add_handler(handler)
        dispatch_custom_event("here", None, config={"callbacks": shared})

    copy_context().run(node)
    assert handler.heard == [("here", shared.parent_run_id)]
    assert shared.handlers == shared.inheritable_handlers == []


@KINDS
def test_the_quiet_manager_changes_handlers_as_an_ordinary_one_does(kind: type[Quiet]) -> None:
    def node(manager: BaseCallbackManager) -> list[Any]:
        seen: list[Any] = []
        manager.add_handler(A, inherit=False)
        manager.add_handler(B)
        manager.add_handler(B)
        seen.append((manager.handlers[:], manager.inheritable_handlers[:]))
        manager.remove_handler(B)
        seen.append((manager.handlers[:], manager.inheritable_handlers[:]))
        manager.set_handlers([B])
        seen.append((manager.handlers[:], manager.inheritable_handlers[:]))
        return seen

    quiet, ordinary = (copy_context().run(node, made) for made in (kind(), kind.ordinary([])))
    assert quiet == ordinary


@KINDS
def test_copies_of_the_quiet_manager_are_ordinary_and_of_the_same_run(kind: type[Quiet]) -> None:
    quiet, ordinary = kind(UUID(int=7)), cast(Any, kind.ordinary)
    for derived in (quiet.copy(), quiet.merge(CallbackManager([A])), ordinary.configure(quiet)):
        assert type(derived) is ordinary
        assert derived.parent_run_id == UUID(int=7)
    assert quiet.merge(quiet) is quiet
    assert kind().parent_run_id != kind().parent_run_id


def test_a_quiet_manager_of_the_other_kind_is_of_the_same_run_with_the_same_labels() -> None:
    quiet = QuietCallbackManager(None, ["tag"], {"key": "value"}, "step")
    twin = quiet.of_kind(AsyncQuietCallbackManager)
    assert (twin.is_async, quiet.is_async) == (True, False)
    for name in ("parent_run_id", "tags", "inheritable_tags", "metadata", "inheritable_metadata"):
        assert getattr(twin, name) == getattr(quiet, name)
    assert twin.of_kind(AsyncQuietCallbackManager) is twin


def test_a_nested_run_shares_the_quiet_manager_around_it() -> None:
    quiet = QuietCallbackManager()
    with surrounding({"callbacks": quiet}):
        assert ensure_config()["callbacks"] is quiet
        assert ensure_config({"callbacks": quiet})["callbacks"] is quiet


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"configurable": 5}, "config['configurable'] is 5, of type int; expected a dict"),
        ({"metadata": [1]}, "config['metadata'] is [1], of type list; expected a dict"),
        ({"tags": "abc"}, "config['tags'] is 'abc', of type str; expected a list of strings"),
        ("thread-1", "A config is a dict; found 'thread-1', of type str"),
    ],
)
def test_a_config_of_the_wrong_kind_is_refused_by_what_is_wrong_with_it(config: Any, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        ensure_config(config)


@pytest.mark.parametrize("kind", [QuietCallbackManager, AsyncQuietCallbackManager])
def test_a_handler_that_was_attached_to_the_quiet_manager_listens(kind: type[Quiet]) -> None:
    def attached() -> bool:
        quiet = kind()
        quiet.add_handler(A)
        return has_listeners({"callbacks": quiet})

    assert copy_context().run(attached)
    assert not has_listeners({"callbacks": kind()})


def test_a_tracer_of_the_context_listens() -> None:
    def tracing() -> bool:
        tracer_context.tracing_v2_callback_var.set(Handler())  # type: ignore[arg-type]
        return agrees_with_langchain({})

    assert copy_context().run(tracing)


@pytest.mark.parametrize("name", ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING_V2"])
@pytest.mark.parametrize(("value", "traced"), [("true", True), ("false", False), ("", False)])
def test_the_environment_decides_as_long_as_nothing_that_traces_is_imported(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, traced: bool
) -> None:
    monkeypatch.delitem(sys.modules, "langchain_core.tracers.context")
    monkeypatch.delitem(sys.modules, "langsmith.run_helpers")
    monkeypatch.setenv(name, value)
    assert has_listeners({}) is traced


def test_a_hook_without_a_handler_to_make_does_not_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hooked: ContextVar[Handler | None] = ContextVar("hooked", default=None)
    monkeypatch.setenv("STATEGRAPH_TEST_HOOK", "1")
    for hook in ((hooked, True, None, "STATEGRAPH_TEST_HOOK"), (hooked, True, Handler, None)):
        monkeypatch.setattr(tracer_context, "_configure_hooks", [hook])
        assert not agrees_with_langchain({})


SHARED = [1, 2]


@pytest.mark.parametrize(
    ("base", "new", "merged"),
    [
        (None, None, {}),
        ({}, {}, {}),
        (None, {"a": 1}, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1, "b": 1}, {"b": 2, "c": None}, {"a": 1, "b": 2, "c": None}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"lc_versions": {"x": 1, "y": 1}}, {"lc_versions": {"y": 2}}, {"lc_versions": {"x": 1, "y": 2}}),
        ({"lc_versions": {"x": 1}}, {"a": 1}, {"lc_versions": {"x": 1}, "a": 1}),
        ({"a": 1}, {"lc_versions": {"x": 1}}, {"lc_versions": {"x": 1}, "a": 1}),
    ],
)
def test_metadata_is_laid_over_key_by_key(base: Any, new: Any, merged: Any) -> None:
    assert merge_metadata(base, new) == merged


@pytest.mark.parametrize(
    "lay_over", [lambda given: merge_metadata(given, None), lambda given: merge_metadata(None, given)]
)
def test_merged_metadata_shares_no_mapping_with_what_was_given_and_all_else(lay_over: Callable[[Any], Any]) -> None:
    given = {"plain": {"x": 1}, "proxy": MappingProxyType({"x": 1}), "list": SHARED, "text": "t", "none": None}
    merged = lay_over(given)
    assert merged == {**given, "proxy": {"x": 1}}
    assert merged is not given
    assert merged["plain"] is not given["plain"]
    assert type(merged["proxy"]) is dict
    assert merged["list"] is SHARED


@pytest.mark.parametrize(
    ("base", "new", "merged"),
    [({"a": "1"}, "text", "text"), ("text", {"a": "1"}, {"a": "1"}), ({"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"})],
)
def test_versions_are_merged_only_if_both_are_mappings(base: Any, new: Any, merged: Any) -> None:
    assert merge_metadata({"lc_versions": base}, {"lc_versions": new}) == {"lc_versions": merged}
