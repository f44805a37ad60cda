"""Submissions to the registry, as requests ask for them.

The config of a run has the assistant's and the request's, and in `configurable` the run's ids and who asked for it, by
the names that LangGraph's server gives them: graphs read them there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from langchain_core.utils.uuid import uuid7

from stategraph.server.service.port import Assistant, Caller, InvalidError, RunRecord, RunRequest
from stategraph.server.service.runs.sessions import REFERENCE
from stategraph.types import Command, Send
from stategraph.workers.hosted.options import Nodes, RunOptions
from stategraph.workers.registry.values import LONGEST_S

#: Modes that each run logs, whatever its request names, so that any protocol can be attached to it.
ALWAYS_LOGGED: Final = ("messages", "updates", "custom")

MODES: Final = ("values", "messages", "updates", "custom", "checkpoints", "tasks", "debug", "events", "tools")

#: The mode `messages`, by the name under which LangGraph's clients ask for its parts as they are.
TUPLES: Final = "messages-tuple"

#: Seconds for which the thread of a stateless run is kept after its end, so that its readers can read to the end.
KEPT_S: Final = 60.0

#: Parts of a checkpoint's name that may be given.
_PLACE: Final = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of a run to be."""

    run_id: str
    thread_id: str


def is_temporary(request: RunRequest) -> bool:
    """Return whether the thread of a run is deleted after its end."""
    return request.thread_id is None and request.on_completion == "delete"


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def ids_of(request: RunRequest) -> Ids:
    """Return the ids of a run: those of the request, or new ones."""
    return Ids(request.run_id or str(uuid7()), request.thread_id or str(uuid7()))


def check(request: RunRequest) -> None:
    """Check what can be checked without the graph.

    Raises:
        InvalidError: Something in the request makes no sense.
    """
    if unknown := [mode for mode in request.stream_modes if mode not in (*MODES, TUPLES)]:
        raise InvalidError(f"There is no stream mode {unknown[0]!r}; expected one of: {', '.join(MODES)}")
    check_config(request.config)
    check_checkpoint(request.checkpoint or {}, "checkpoint")
    if request.context is not None and request.config.get("configurable"):
        raise InvalidError("A run has a context or a 'configurable', not both; prefer the context")
    if not 0 <= request.after_seconds <= LONGEST_S:
        raise InvalidError(f"after_seconds is {request.after_seconds!r:.40}; expected 0 to {LONGEST_S:.0f} seconds")


def check_config(config: Any) -> None:
    """Check the settings of runs that this package reads; graphs and callbacks read others.

    Raises:
        InvalidError: One of them makes no sense.
    """
    if not isinstance(config, Mapping):
        raise InvalidError(f"'config' is of type {type(config).__name__}; expected an object")
    for name, (fits, expected) in _SETTINGS.items():
        if (value := config.get(name)) is not None and not fits(value):
            raise InvalidError(f"The config's {name} is {value!r:.100}; expected {expected}")
    check_checkpoint(config.get("configurable") or {}, "config's configurable")


def check_checkpoint(named: Mapping[str, Any], where: str) -> None:
    """Check the parts of a checkpoint's name.

    Raises:
        InvalidError: One of them is of a wrong type.
    """
    for name in _PLACE:
        kind, expected = (Mapping, "an object") if name == "checkpoint_map" else (str, "a text")
        if (value := named.get(name)) is not None and not isinstance(value, kind):
            raise InvalidError(f"The {name} of the {where} is {value!r:.100}; expected {expected}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _are_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


#: By the name of a setting, what says whether a value fits, and what is expected.
_SETTINGS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "tags": (_are_texts, "a list of texts"),
    "recursion_limit": (_is_count, "a whole number of 1 or more"),
    "max_concurrency": (_is_count, "a whole number of 1 or more"),
    "run_name": (lambda value: isinstance(value, str), "a text"),
    "configurable": (_is_object, "an object"),
    "metadata": (_is_object, "an object"),
}


def checkpoint_of(request: RunRequest) -> dict[str, Any]:
    """Return the name of the checkpoint that a run begins at; without an id, it begins at the newest."""
    return {name: value for name in _PLACE if (value := (request.checkpoint or {}).get(name)) is not None}


def given_to(request: RunRequest) -> Any:
    """Return the input of the graph.

    Raises:
        InvalidError: The command is none.
    """
    return command_of(request.command) if request.command else request.input


def command_of(given: Mapping[str, Any]) -> Command[Any]:
    """Return a command from its JSON form.

    Raises:
        InvalidError: It has an unknown field, or one of a wrong type.
    """
    if unknown := sorted(set(given) - {"resume", "update", "goto"}):
        raise InvalidError(f"The command has an unknown field {unknown[0]!r}; it has resume, update and goto")
    update, goto = given.get("update"), given.get("goto")
    options: dict[str, Any] = {}
    if isinstance(update, list) and all(isinstance(each, list) and len(each) == 2 for each in update):
        update = [(name, value) for name, value in update]
    if goto is not None:
        options["goto"] = [_goto(each) for each in goto] if isinstance(goto, list) else _goto(goto)
    return Command(resume=given.get("resume"), update=update, **options)


def _goto(given: Any) -> Any:
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping) and isinstance(node := given.get("node"), str):
        return Send(node, given.get("input"))
    raise InvalidError(f"A command's goto is {given!r}; expected a node's name, or {{'node': ..., 'input': ...}}")


def options_of(request: RunRequest, session: str | None = None) -> RunOptions:
    """Return how the run is executed, in the session of a reference if there is one."""
    return RunOptions(
        stream_modes=tuple(dict.fromkeys((*ALWAYS_LOGGED, *map(_engines, request.stream_modes)))),
        subgraphs=request.stream_subgraphs,
        interrupt_before=_nodes(request.interrupt_before),
        interrupt_after=_nodes(request.interrupt_after),
        durability=request.durability,
        checkpoint=checkpoint_of(request) or None,
        erases_rollback=True,
        session=session,
    )


def _engines(mode: str) -> str:
    return "messages" if mode == TUPLES else mode


def _nodes(given: Sequence[str] | None) -> Nodes | None:
    return given if given is None or given == "*" else tuple(given)


def metadata_of(request: RunRequest, assistant: Assistant) -> dict[str, Any]:
    """Return the metadata of the run."""
    named = {} if request.thread_id is None else {"graph_id": assistant.graph_id}
    return {**assistant.metadata, **named, "assistant_id": assistant.assistant_id, **request.metadata}


def settings_of(
    request: RunRequest, assistant: Assistant, caller: Caller, ids: Ids, metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], Any]:
    """Return config and context of the run.

    What is in the context is in `configurable` too, and the other way round: graphs look at either.
    """
    given = {**assistant.config, **request.config}
    chosen = {**(assistant.config.get("configurable") or {}), **(request.config.get("configurable") or {})}
    context = request.context
    if context is None:
        context = {**_mapping(assistant.context), **chosen} if isinstance(assistant.context, Mapping) else chosen
    elif isinstance(context, Mapping):
        context = {**_mapping(assistant.context), **context}
    configurable = {
        **chosen,
        **_mapping(context),
        "langgraph_auth_user": dict(caller.user) or None,
        "langgraph_auth_user_id": caller.identity,
        "langgraph_auth_permissions": list(caller.permissions),
        "langgraph_request_id": str(uuid7()),
        "__after_seconds__": int(request.after_seconds),
        "run_id": ids.run_id,
        "thread_id": ids.thread_id,
        "graph_id": assistant.graph_id,
        "assistant_id": assistant.assistant_id,
        "user_id": caller.identity,
    }
    return {**given, "configurable": configurable, "metadata": {**(given.get("metadata") or {}), **metadata}}, context


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def record_of(
    request: RunRequest, assistant: Assistant, ids: Ids, metadata: Mapping[str, Any], settings: tuple[Any, Any]
) -> RunRecord:
    """Return the record of a run that was just submitted."""
    labels, now = labels_of(request, assistant, metadata), datetime.now(UTC)
    config, context = settings
    given = None if request.command else request.input
    kwargs = {"input": given, **labels["kwargs"], "config": config, "context": context or {}}
    return RunRecord(
        ids.run_id,
        ids.thread_id,
        assistant.assistant_id,
        "pending",
        now,
        now,
        metadata,
        kwargs,
        request.multitask_strategy,
    )


def labels_of(
    request: RunRequest, assistant: Assistant, metadata: Mapping[str, Any], session: str | None = None
) -> dict[str, Any]:
    """Return what is kept with the run for records of it; its input, config and context are kept anyway."""
    durability = request.durability or "async"
    return {
        "assistant_id": assistant.assistant_id,
        "metadata": dict(metadata),
        "strategy": request.multitask_strategy,
        **({} if session is None else {REFERENCE: session}),
        "kwargs": {
            "command": None if request.command is None else dict(request.command),
            "stream_mode": list(request.stream_modes),
            "interrupt_before": _listed(request.interrupt_before),
            "interrupt_after": _listed(request.interrupt_after),
            "webhook": request.webhook,
            "feedback_keys": list(request.feedback_keys) or None,
            "temporary": is_temporary(request),
            "subgraphs": request.stream_subgraphs,
            "resumable": request.stream_resumable,
            "checkpoint_during": durability != "exit",
            "durability": durability,
        },
    }


def _listed(nodes: Sequence[str] | None) -> Any:
    return nodes if nodes is None or nodes == "*" else list(nodes)
