"""A target, made of what a program names: an agent, a graph, settings, or the import path of one of these."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stategraph import import_paths
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.dev.target import TEXTS, Target
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.run.graphs import loading
from stategraph.run.runtime_settings import RunKeywords

_EXPECTED = (
    "an AgentInputs, a list of them, a compiled graph, a mapping of settings of create_run such as {'agents': [...], "
    "'hooks': ...}, or a function without arguments that returns one of these"
)

#: Fields of a mapping beside the keywords of `create_run`.
_OWN = ("config",)


def load(given: Any, files: Sequence[str] | None = None) -> Target:
    """Return the target that a program names.

    Args:
        given: An agent, agents, a graph, settings, a function that returns one of these, or the import path of any of
            them as `package.module:name`. A `Target` is returned as it is. None: the embedded demo.
        files: Kinds of files that it takes; None: texts, and what the profile of its model says.

    Raises:
        ConfigurationError: It is something else, cannot be imported, holds no conversation, or is the path of a
            function that fails.
    """
    if given is None:
        from stategraph.dev import demo  # a scripted model, which no other target needs

        return demo.target()
    if isinstance(given, Target):
        return given
    found, name = given, ""
    if isinstance(given, str):
        hint = "Start the server in the folder of the module, or install it"
        found, name = import_paths.imported(given, "The target", hint=hint), given
    if _is_maker(found):
        found = _made(found, name)
        if inspect.iscoroutine(found):
            found.close()
            raise ConfigurationError(
                f"The target {name!r} is async, and the server does not wait for it; name {_EXPECTED}"
            )
    settings = _settings(found, f"The target {name!r}" if name else "The target")
    config = dict(settings.pop("config", None) or {})
    graph, agents = settings.get("graph"), _agents(settings.get("agents") or ())
    if graph is not None:
        graph = settings["graph"] = _conversing(graph, name)
    elif not agents:
        raise ConfigurationError(f"The target {name!r} has neither agents nor a graph; expected {_EXPECTED}")
    return Target(
        name=_title(graph, agents, name),
        settings=settings,
        config=config,
        agents={each.agent_id: each.name or each.agent_id for each in agents},
        accepts=tuple(files) if files is not None else _accepted(agents),
    )


def _conversing(given: Any, name: str) -> Any:
    """Return a compiled graph that holds a conversation.

    Raises:
        ConfigurationError: It is none, or does not.
    """
    graph = loading.load(given)
    if not loading.takes_messages(graph):
        raise ConfigurationError(
            f"The graph {name or '(without a name)'!r} has no 'messages' in its state that a reducer merges, so it "
            "holds no conversation: add messages: Annotated[list, add_messages] to its state"
        )
    return graph


def _is_maker(found: Any) -> bool:
    """Return whether this is a function that makes a target."""
    return callable(found) and not isinstance(found, type) and not hasattr(found, "astream")


def _made(make: Callable[[], Any], name: str) -> Any:
    """Return what a function makes; for one that was named by its path, an error of its own is told in a sentence."""
    try:
        return make()
    except (ConfigurationError, MissingPackageError):
        raise
    except Exception as error:
        if not name:  # who passes a function catches its errors
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigurationError(
            f"The target {name!r} failed when it was called: {type(error).__name__}: {error} ({last.filename}, line "
            f"{last.lineno})"
        ) from error


def _settings(found: Any, name: str) -> dict[str, Any]:
    match found:
        case AgentInputs():
            return {"agents": [found]}
        case Mapping() if "agents" in found or "graph" in found:
            known = {*RunKeywords.model_fields, *_OWN} - {"run_id"}
            if unknown := [str(each) for each in found if each not in known]:
                raise ConfigurationError(f"{name} has unknown settings: {', '.join(unknown)}")
            return dict(found)
        case Mapping() if found:
            return {"agents": [AgentInputs(**found)]}
        case list() | tuple() if found:
            return {"agents": list(found)}
    if hasattr(found, "astream") or hasattr(found, "compile"):
        return {"graph": found}
    raise ConfigurationError(f"{name} is of type {type(found).__name__}; expected {_EXPECTED}")


def _agents(given: Iterable[Any]) -> list[AgentInputs]:
    return [each if isinstance(each, AgentInputs) else AgentInputs(**each) for each in given]


def _title(graph: Any, agents: Sequence[AgentInputs], name: str) -> str:
    named = getattr(graph, "name", "") if graph is not None else agents[0].name or agents[0].agent_id
    return name.partition(":")[2] or name or "Graph" if not named or named == "LangGraph" else str(named)


def _accepted(agents: Sequence[AgentInputs]) -> tuple[str, ...]:
    profiles = [getattr(each.model, "profile", None) or {} for each in agents]
    kinds = {"image/*": "image_inputs", "application/pdf": "pdf_inputs", "audio/*": "audio_inputs"}
    return (TEXTS, *(kind for kind, key in kinds.items() if any(each.get(key) for each in profiles)))
