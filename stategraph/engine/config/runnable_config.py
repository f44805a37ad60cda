"""RunnableConfig: merging, completing, patching, and what callback managers are made of it.

The rules, in one place:

* A later config wins key by key. `tags` append, `metadata` and `configurable` overlay, `callbacks` combine, every other
  key replaces. Only `metadata["lc_versions"]` overlays one level deeper, because several packages each add their line.
* A config never changes in place: what comes out shares no container with what went in, one level deep.
* The default recursion limit is marked by its type, so that a limit that was asked for survives a merge
  even when it equals the default.
* The config of the surrounding run is inherited, except that a config which names its own place in checkpoint storage
  starts from an empty `configurable`: it must not write below the namespace of the task that happens to call it.

Merging and patching know nothing of a run; only `ensure_config` and `has_listeners` look at the current context.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from os import getenv
from types import FunctionType
from typing import Any, Final, TypeVar, cast

from langchain_core import globals as langchain_globals
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager, CallbackManager, Callbacks
from langchain_core.callbacks import base as callbacks_base
from langchain_core.callbacks import manager as callbacks_manager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import CONFIG_KEYS, COPIABLE_KEYS, var_child_runnable_config
from langchain_core.utils.env import env_var_is_set
from langsmith import utils as langsmith_utils

from stategraph.constants import (
    CHECKPOINT_COORDINATE_KEYS,
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    NS_END,
    NS_SEP,
)
from stategraph.engine.config.quiet_manager import Quiet

_ManagerT = TypeVar("_ManagerT", CallbackManager, AsyncCallbackManager)
_AddressT = TypeVar("_AddressT", RunnableConfig, RunnableConfig | None)


class DefaultRecursionLimit(int):
    """The limit that applies when no config names one.

    Only the type tells it apart from an equal limit that a caller wrote down, and unlike identity the type survives
    copying and pickling.
    """


DEFAULT_RECURSION_LIMIT: Final = DefaultRecursionLimit(getenv("LANGGRAPH_DEFAULT_RECURSION_LIMIT", "10007"))
"""Supersteps a run may take when no `recursion_limit` is given."""

DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT = int(getenv("LANGGRAPH_DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", "5000"))
"""Supersteps after which a delta channel stores its whole value again."""


_METADATA_FROM_CONFIGURABLE: Final = (
    "thread_id",
    "checkpoint_id",
    "checkpoint_ns",
    "task_id",
    "run_id",
    "assistant_id",
    "graph_id",
)
_SECRET_WORDS: Final = ("key", "token", "secret", "password", "auth")
_INTERNAL_TAG_PREFIX: Final = "seq:step"
_KNOWN_KEYS: Final = frozenset(CONFIG_KEYS)
_FORMS: Final = {"tags": Iterable, "metadata": Mapping, CONF: Mapping}
_USUAL: Final[dict[str, type]] = {"tags": list, "metadata": dict, CONF: dict}
"""What they mostly are, of which no abstract class need be asked."""
_CONTAINER_KEYS: Final = frozenset(COPIABLE_KEYS)


# --- checkpoint namespaces ---


def recast_checkpoint_ns(ns: str) -> str:
    """Name the subgraph that a namespace belongs to, whichever task ran it.

    Args:
        ns: A namespace such as `"outer:task-id|inner:task-id"`. Purely numeric levels tell apart repeated calls within
            one task and are dropped.

    Returns:
        The namespace of node names alone, such as `"outer|inner"`; empty for the root graph.
    """
    levels = (level for level in ns.split(NS_SEP) if not level.isdigit())
    return NS_SEP.join(level.partition(NS_END)[0] for level in levels)


# --- merging ---


_SCALARS: Final = frozenset((str, int, float, bool, tuple, type(None)))


_COLLECTIONS: Final = (list, tuple, dict)


def is_not_empty(value: object) -> bool:
    """Tell whether a config value says something: not None and, for a list, tuple or dict, not of length zero."""
    return bool(value) if isinstance(value, _COLLECTIONS) else value is not None


def _own(value: object) -> object:
    """Copy a mapping one level deep; everything else stays shared."""
    if type(value) in _SCALARS:
        return value
    return dict(value) if isinstance(value, Mapping) else value


def merge_metadata(base: Mapping[str, object] | None, new: Mapping[str, object] | None) -> dict[str, Any]:
    """Lay one metadata mapping over another.

    Args:
        base: The existing callbacks. None means none.
        new: What wins key by key. None means nothing.

    Returns:
        A new dict. Mappings below the first level are copies; deeper values are shared.
    """
    merged = {key: value if type(value) in _SCALARS else _own(value) for key, value in base.items()} if base else {}
    if not new:
        return merged
    versions = merged.get("lc_versions")
    merged.update((key, _own(value)) for key, value in new.items())
    if isinstance(versions, dict) and isinstance(merged["lc_versions"], dict):
        merged["lc_versions"] = versions | merged["lc_versions"]
    return merged


def merge_callbacks(base: Callbacks, new: Callbacks) -> Callbacks:
    """Combine two `callbacks` values so that the handlers of both are called.

    Args:
        base: A list of handlers, a callback manager, or None.
        new: The same.

    Returns:
        A list if both are lists, a manager if either one is, or the other one if one is None.

    Raises:
        NotImplementedError: If either is of another type.
    """
    if new is None:
        return base
    for side in (base, new):
        if not (side is None or isinstance(side, list | BaseCallbackManager)):
            raise NotImplementedError(
                f"`callbacks` is a {type(side).__name__}; expected a list of callback handlers or a callback manager"
            )
    if base is None:
        return new.copy()
    if isinstance(base, BaseCallbackManager) and isinstance(new, BaseCallbackManager):
        return base.merge(new)
    if isinstance(base, list) and isinstance(new, list):
        return [*base, *new]
    manager, handlers = (base, new) if isinstance(base, BaseCallbackManager) else (new, base)
    combined = cast(BaseCallbackManager, manager).copy()
    for handler in cast(list[Any], handlers):
        combined.add_handler(handler, inherit=True)
    return combined


def _append(base: Sequence[str] | None, new: Iterable[str]) -> list[str]:
    return [*base, *new] if base else list(new)


def _overlay(base: Mapping[str, object] | None, new: Mapping[str, object]) -> dict[str, object]:
    return {**base, **new} if base else dict(new)


_COMBINE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "tags": _append,
    "metadata": merge_metadata,
    "configurable": _overlay,
    "callbacks": merge_callbacks,
}


def merge_configs(*configs: RunnableConfig | None) -> RunnableConfig:
    """Merge configs into one that owes nothing to the current context.

    Args:
        *configs: Later ones win. None and falsy values say nothing, and neither does a defaulted recursion limit.

    Returns:
        The merged config. It always has a `configurable`.
    """
    merged: dict[str, object] = {}
    for config in configs:
        if config is None:
            continue
        for key, value in config.items():
            if not value or (key == "recursion_limit" and isinstance(value, DefaultRecursionLimit)):
                continue
            combine = _COMBINE.get(key)
            merged[key] = value if combine is None else combine(merged.get(key), value)
    merged.setdefault(CONF, {})
    return cast(RunnableConfig, merged)


def ensure_config(*configs: RunnableConfig | None) -> RunnableConfig:
    """Complete a config: defaults first, then what the surrounding run has, then the given configs.

    Values of `configurable` that identify the run are repeated in `metadata`, where tracers and savers look for them.
    Keys that no RunnableConfig has are moved into `configurable`.

    Args:
        *configs: Later ones win. None, and None or empty values, say nothing.

    Returns:
        A config with `tags`, `metadata`, `callbacks`, `recursion_limit` and `configurable`.

    Raises:
        TypeError: If a config, or its tags, metadata or `configurable`, are of another kind.
    """
    given = [config for config in configs if config]
    full: dict[str, Any] = {
        "tags": [],
        "metadata": {},
        "callbacks": None,
        "recursion_limit": DEFAULT_RECURSION_LIMIT,
        CONF: {},
    }
    ambient = var_child_runnable_config.get()
    inherited_tags: frozenset[str] = frozenset()
    if ambient:
        _inherit(full, ambient)
        if len(given) == 1 and given[0] is ambient and ambient.keys() <= _KNOWN_KEYS:
            # A graph that is called as a node is handed what it inherits anyway: overlaying it once more takes 15 us.
            full["metadata"] = merge_metadata(full["metadata"], None)
            _identify(full[CONF], full["metadata"])
            return cast(RunnableConfig, full)
        inherited_tags = frozenset(full["tags"])
        if full[CONF] and any(map(_names_a_checkpoint, given)):
            full["metadata"] = _without_place(full["metadata"], full[CONF])
            full[CONF] = {}
    for config in given:
        if type(config) is not dict and not isinstance(config, Mapping):
            raise TypeError(f"A config is a dict; found {config!r}, of type {type(config).__name__}")
        _lay_over(full, config, inherited_tags)
    _identify(full[CONF], full["metadata"])
    return cast(RunnableConfig, full)


def _inherit(full: dict[str, object], ambient: RunnableConfig) -> None:
    """Take over a surrounding config, its containers as copies."""
    for key, value in ambient.items():
        if is_not_empty(value):
            shared = key not in _CONTAINER_KEYS or isinstance(value, Quiet)
            full[key] = value if shared else cast(Any, value).copy()


def _lay_over(full: dict[str, Any], config: RunnableConfig, inherited_tags: frozenset[str]) -> None:
    """Lay a config over a complete one, in place.

    Raises:
        TypeError: If its tags, metadata or `configurable`, are of another kind.
    """
    strays: dict[str, object] = {}
    for key, value in config.items():
        if not is_not_empty(value):
            continue
        if key not in _KNOWN_KEYS:
            strays[key] = value
            continue
        usual = _USUAL.get(key)
        if usual is not None and type(value) is not usual and not _has_form(key, value):
            form = "a list of strings" if key == "tags" else "a dict"
            raise TypeError(f"config['{key}'] is {value!r}, of type {type(value).__name__}; expected {form}")
        if key == "tags" and inherited_tags:
            # A subgraph is handed its parent's config and also inherits it: without this the tags would double
            # at every level of nesting.
            value = [tag for tag in cast(list[str], value) if tag not in inherited_tags]
        combine = _COMBINE.get(key)
        full[key] = value if combine is None else combine(full.get(key), value)
    if strays:
        full[CONF].update(strays)


def _has_form(key: str, value: object) -> bool:
    return not isinstance(value, str) and isinstance(value, _FORMS[key])


def inherited_config(config: RunnableConfig) -> RunnableConfig:
    """Complete the config of a task for a graph that is its whole work.

    What `ensure_config` makes of it, for a config that is the surrounding one, and that the engine has just made.
    """
    full: dict[str, Any] = {**config, "metadata": config["metadata"].copy()}
    full.setdefault("tags", [])
    full.setdefault("recursion_limit", DEFAULT_RECURSION_LIMIT)
    # The only value of `configurable` that tells this run from that of the task, whose metadata has the others.
    if ns := full[CONF].get(CONFIG_KEY_CHECKPOINT_NS):
        full["metadata"].setdefault(CONFIG_KEY_CHECKPOINT_NS, ns)
    return cast(RunnableConfig, full)


def _names_a_checkpoint(config: RunnableConfig) -> bool:
    configurable = config.get(CONF) or {}
    return any(is_not_empty(configurable.get(key)) for key in CHECKPOINT_COORDINATE_KEYS)


def _without_place(metadata: Mapping[str, object], configurable: Mapping[str, object]) -> dict[str, object]:
    """Leave out what metadata repeats of a place in checkpoint storage."""
    return {
        key: value
        for key, value in metadata.items()
        if key not in CHECKPOINT_COORDINATE_KEYS or value != configurable.get(key)
    }


def _identify(configurable: Mapping[str, object], metadata: dict[str, object]) -> None:
    if not configurable:
        return
    for key in _METADATA_FROM_CONFIGURABLE:
        if key in configurable and key not in metadata and (value := configurable[key]):
            metadata[key] = value


# --- patching ---


def patch_config(
    config: RunnableConfig | None,
    *,
    callbacks: Callbacks = None,
    recursion_limit: int | None = None,
    max_concurrency: int | None = None,
    run_name: str | None = None,
    configurable: dict[str, Any] | None = None,
) -> RunnableConfig:
    """Copy a config with some of its values replaced.

    Args:
        config: The config to start from. None means an empty one.
        callbacks: Replaces the callbacks. The name and id of the run go with them: they belonged to the run that the
            old callbacks reported.
        recursion_limit: Replaces the limit of supersteps.
        max_concurrency: Replaces the number of tasks that may run at the same time.
        run_name: Replaces the name of the next run.
        configurable: Overlays `configurable`.

    Returns:
        A new config. None leaves the value as it is.
    """
    patched: dict[str, Any] = dict(config) if config else {}
    if callbacks is not None:
        patched["callbacks"] = callbacks
        patched.pop("run_name", None)
        patched.pop("run_id", None)
    replacements = (
        ("recursion_limit", recursion_limit),
        ("max_concurrency", max_concurrency),
        ("run_name", run_name),
    )
    patched.update((key, value) for key, value in replacements if value is not None)
    if configurable is not None:
        patched[CONF] = _overlay(patched.get(CONF), configurable)
    return cast(RunnableConfig, patched)


def patch_configurable(config: RunnableConfig | None, patch: dict[str, Any]) -> RunnableConfig:
    """Copy a config with `patch` laid over its `configurable`. None means an empty config."""
    patched: dict[str, Any] = dict(config) if config else {}
    patched[CONF] = _overlay(patched.get(CONF), patch)
    return cast(RunnableConfig, patched)


def patch_checkpoint_map(config: _AddressT, metadata: Mapping[str, Any] | None) -> _AddressT:
    """Copy a config so that it also says at which checkpoints its parent graphs stood.

    Args:
        config: The config of one checkpoint, with its namespace and id. None stays None.
        metadata: The metadata of that checkpoint; its `parents` map namespaces to checkpoint ids.

    Returns:
        The config itself if there are no parents, else a copy with a `checkpoint_map`.
    """
    parents = metadata.get("parents") if metadata else None
    if config is None or not parents:
        return config
    conf = config[CONF]
    own_place = {conf[CONFIG_KEY_CHECKPOINT_NS]: conf[CONFIG_KEY_CHECKPOINT_ID]}
    return patch_configurable(config, {CONFIG_KEY_CHECKPOINT_MAP: {**parents, **own_place}})


# --- callbacks ---


def filter_to_user_tags(tags: Sequence[str] | None) -> list[str] | None:
    """Keep the tags that people set: without the ones which number the steps of a sequence. None if none is left."""
    return [tag for tag in tags or () if not tag.startswith(_INTERNAL_TAG_PREFIX)] or None


def get_callback_manager_for_config(config: RunnableConfig, tags: Sequence[str] | None = None) -> CallbackManager:
    """Build the callback manager that a run under `config` reports to.

    Args:
        config: Its callbacks, tags and metadata go into the manager. A manager among them is copied, anything else is
            completed by the handlers that the environment asks for.
        tags: Further tags.

    Returns:
        A sync callback manager. The manager in `config` is not changed.
    """
    return _callback_manager(CallbackManager, config, tags)


def get_async_callback_manager_for_config(
    config: RunnableConfig, tags: Sequence[str] | None = None
) -> AsyncCallbackManager:
    """Build the callback manager that an async run under `config` reports to.

    Args:
        config: Its callbacks, tags and metadata go into the manager. An async manager among them is copied, anything
            else is completed by the handlers that the environment asks for.
        tags: Further tags.

    Returns:
        An async callback manager. The manager in `config` is not changed.
    """
    return _callback_manager(AsyncCallbackManager, config, tags)


def _callback_manager(kind: type[_ManagerT], config: RunnableConfig, tags: Sequence[str] | None) -> _ManagerT:
    all_tags = [*(config.get("tags") or ()), *(tags or ())]
    metadata = config.get("metadata")
    callbacks = config.get("callbacks")
    if type(callbacks) is kind:
        return _labelled(callbacks, all_tags, metadata)
    if isinstance(callbacks, kind):
        manager = callbacks.copy()
        if type(manager) is kind:
            return _labelled(manager, all_tags, metadata)
        if all_tags:
            manager.add_tags(all_tags)
        if metadata:
            manager.add_metadata(metadata)
        return manager
    return kind.configure(
        inheritable_callbacks=callbacks,
        inheritable_tags=all_tags or None,
        inheritable_metadata=metadata,
        langsmith_inheritable_metadata=_tracing_defaults(config),
    )


def _labelled(manager: _ManagerT, tags: list[str], metadata: Mapping[str, object] | None) -> _ManagerT:
    """Return a copy of a manager with tags and metadata added, for it and its children, in one step."""
    return type(manager)(
        handlers=manager.handlers.copy(),
        inheritable_handlers=manager.inheritable_handlers.copy(),
        parent_run_id=manager.parent_run_id,
        tags=[tag for tag in manager.tags if tag not in tags] + tags,
        inheritable_tags=[tag for tag in manager.inheritable_tags if tag not in tags] + tags,
        metadata=_overlay_metadata(manager.metadata, metadata),
        inheritable_metadata=_overlay_metadata(manager.inheritable_metadata, metadata),
    )


def _overlay_metadata(base: dict[str, object], new: Mapping[str, object] | None) -> dict[str, object]:
    if not new:
        return base.copy()
    if "lc_versions" in new and "lc_versions" in base:
        return merge_metadata(base, new)
    return {**base, **new}


def _tracing_defaults(config: RunnableConfig) -> dict[str, object] | None:
    """Return values of `configurable` that a tracer may record: plain ones that do not look like secrets."""
    configurable = config.get(CONF) or {}
    return {key: value for key, value in configurable.items() if _may_be_traced(key, value)} or None


def _may_be_traced(key: str, value: object) -> bool:
    if key.startswith("__") or not isinstance(value, str | int | float | bool):
        return False
    folded = key.casefold()
    return not any(word in folded for word in _SECRET_WORDS)


# --- are there listeners? ---


def has_listeners(config: RunnableConfig) -> bool:
    """Tell whether a callback manager configured for `config` could have a handler.

    Asked once per run, before anything is built for tracing. A false "yes" costs time and a false "no" loses events,
    so everything that cannot be known cheaply counts as yes: look at the `handlers` of the manager that is then built.

    Args:
        config: A complete config.

    Returns:
        False only if this run has no listener: no handlers in `config`, no tracing in the environment or the current
        context, no registered hook that yields a handler, no global debug output, no patched managers.
    """
    callbacks = config.get("callbacks")
    return (
        (callbacks is not None and _hold_handlers(callbacks))
        or langchain_globals.get_debug()
        or _managers_are_patched()
        or _tracing_in_context()
        or _retired_tracing_in_environment()
    )


def _hold_handlers(callbacks: object) -> bool:
    """Return whether the callbacks of a config have a handler."""
    if isinstance(callbacks, Quiet):
        return callbacks.is_heard
    if isinstance(callbacks, BaseCallbackManager):
        return bool(callbacks.handlers or callbacks.inheritable_handlers)
    return bool(callbacks)


def is_traced_inside() -> bool:
    """Return whether the code around is traced by LangSmith's own decorators: its tags and its run are taken over."""
    helpers = sys.modules.get("langsmith.run_helpers")
    if helpers is None:
        return False
    around = helpers.get_tracing_context()
    return around["parent"] is not None or bool(around["tags"])


def _managers_are_patched() -> bool:
    """Instrumentation libraries wrap the constructor of callback managers, or what configures them: to add handlers."""
    configure = getattr(callbacks_manager, "_configure", None)  # private: another version may not have it
    if BaseCallbackManager.__init__ is _CONSTRUCTOR and configure is _CONFIGURE:
        return _PATCHED_AT_IMPORT
    return _is_patched(BaseCallbackManager.__init__, configure)


def _is_patched(constructor: object, configure: object) -> bool:
    if type(constructor) is not FunctionType or constructor.__globals__ is not vars(callbacks_base):
        return True
    return configure is not None and (
        type(configure) is not FunctionType or configure.__globals__ is not vars(callbacks_manager)
    )


_CONSTRUCTOR: Final = BaseCallbackManager.__init__
_CONFIGURE: Final = getattr(callbacks_manager, "_configure", None)
_PATCHED_AT_IMPORT: Final = _is_patched(_CONSTRUCTOR, _CONFIGURE)


def _tracing_in_context() -> bool:
    # The modules that hold the context variables cost about 130 ms to import. As long as they are not imported,
    # the variables cannot have been set, and the environment decides alone.
    hooks = sys.modules.get("langchain_core.tracers.context")
    if hooks is not None:
        if hooks.tracing_v2_callback_var.get() is not None:
            return True
        for variable, _, handler_class, env_var in hooks._configure_hooks:
            if variable.get() is not None:
                return True
            if env_var is not None and handler_class is not None and env_var_is_set(env_var):
                return True
    if "langsmith.run_helpers" in sys.modules:
        return bool(langsmith_utils.tracing_is_enabled())
    return _tracing_in_environment()


def _tracing_in_environment() -> bool:
    # The same cached look-up that the tracer itself uses, so both see a change of the environment at the same time.
    setting = langsmith_utils.get_env_var("TRACING_V2") or langsmith_utils.get_env_var("TRACING")
    return setting == "true"


@cache
def _retired_tracing_in_environment() -> bool:
    """Check for settings of the first tracer, with which configuring a manager fails. Cached: 1 us each to look up."""
    return env_var_is_set("LANGCHAIN_TRACING") or env_var_is_set("LANGCHAIN_HANDLER")
