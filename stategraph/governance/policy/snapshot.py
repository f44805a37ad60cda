"""Snapshots: the facts of one moment as JSON, for each intervention point.

A snapshot holds what a policy may depend on and nothing else. Ids of runs and calls are not in it, so that an action
that is asked for again, by a resumed run or under another call id, has the same identity.

| point | fields beside `principal`, `agent`, `session`, `ifc`, `resource` | policy target |
|---|---|---|
| `agent_startup` | `startup` (`capabilities`, `view_digest`) | `startup` |
| `input` | `input` | `input` |
| `pre_model_call` | `request` (`model`, `messages`, `tools`) | `request` |
| `post_model_call` | `request`, `response` (`text` or `content`, `tool_calls`) | `response` |
| `pre_tool_call` | `tool`, `args` | `args` |
| `post_tool_call` | `tool`, `args`, `result` | `result` |
| `output` | `output` | `output` |
| `agent_shutdown` | `shutdown` (`status`, `error`) | `shutdown` |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from stategraph.governance.actions import ActionRequest
from stategraph.governance.capability import Capability
from stategraph.governance.context import Principal, RuntimeSessionContext
from stategraph.governance.policy.reasons import DecisionFailed, RuntimeReason
from stategraph.governance.policy.verdict import InterventionPoint

Facts: TypeAlias = Mapping[str, Any]

COMMON: Final = ("principal", "agent", "session", "ifc", "resource")

FIELDS: Final[Mapping[InterventionPoint, tuple[str, ...]]] = {
    InterventionPoint.AGENT_STARTUP: ("startup",),
    InterventionPoint.INPUT: ("input",),
    InterventionPoint.PRE_MODEL_CALL: ("request",),
    InterventionPoint.POST_MODEL_CALL: ("request", "response"),
    InterventionPoint.PRE_TOOL_CALL: ("tool", "args"),
    InterventionPoint.POST_TOOL_CALL: ("tool", "args", "result"),
    InterventionPoint.OUTPUT: ("output",),
    InterventionPoint.AGENT_SHUTDOWN: ("shutdown",),
}
"""The fields of each point, beside those that all have (`COMMON`); the last one is the policy target."""

TARGETS: Final[Mapping[InterventionPoint, str]] = {
    point: "args" if point is InterventionPoint.PRE_TOOL_CALL else fields[-1] for point, fields in FIELDS.items()
}
"""The field of each point that goes on, and that a transform may change."""

TOOL_POINTS: Final = (InterventionPoint.PRE_TOOL_CALL, InterventionPoint.POST_TOOL_CALL)
"""The points that are about a tool."""


_LEVELS: Final = 128


def tool_call_snapshot(
    request: ActionRequest, capability: Capability, *, arguments: Facts | None = None, resource: Facts | None = None
) -> dict[str, Any]:
    """Return the snapshot of `pre_tool_call`.

    Args:
        request: The action that is asked for.
        capability: What it was resolved to.
        arguments: Its arguments as JSON, once they are validated and completed; None: those of the request.
        resource: Facts that the host knows about what is acted on, such as lists of known recipients; None: none.
    """
    return {
        **_common(request.context, request.labels, resource),
        "tool": tool_facts(capability),
        "args": plain(request.arguments if arguments is None else arguments),
    }


def tool_result_snapshot(
    request: ActionRequest,
    capability: Capability,
    content: Any,
    *,
    failed: bool = False,
    arguments: Facts | None = None,
    resource: Facts | None = None,
    writes: Sequence[Any] = (),
) -> dict[str, Any]:
    """Return the snapshot of `post_tool_call`.

    Args:
        request: The action that was asked for.
        capability: What it was resolved to.
        content: The result for the model: a text, or blocks of content.
        failed: Whether the tool ended with an error.
        arguments: As of `tool_call_snapshot`.
        resource: As of `tool_call_snapshot`.
        writes: What commands of the tool write beside the result, as JSON: `writes` of the result, if there are any.
    """
    before = tool_call_snapshot(request, capability, arguments=arguments, resource=resource)
    result = {**content_facts(content), "status": "error" if failed else "success"}
    return {**before, "result": {**result, "writes": list(writes)} if writes else result}


def text_snapshot(
    point: InterventionPoint,
    context: RuntimeSessionContext,
    content: Any,
    *,
    labels: Iterable[str] = (),
    resource: Facts | None = None,
) -> dict[str, Any]:
    """Return the snapshot of `input` or `output`.

    Args:
        point: `input`, what a user sends, or `output`, what the user is shown at the end.
        context: Who acts.
        content: A text, or blocks of content.
        labels: Labels of information flow of what it was made of.
        resource: As of `tool_call_snapshot`.

    Raises:
        ValueError: Another point.
    """
    if point not in (InterventionPoint.INPUT, InterventionPoint.OUTPUT):
        raise ValueError(f"{point.value} has no text of its own; expected input or output")
    return {**_common(context, labels, resource), TARGETS[point]: content_facts(content)}


def model_request_snapshot(
    context: RuntimeSessionContext,
    messages: Sequence[Facts],
    *,
    model: str,
    tools: Iterable[str] = (),
    labels: Iterable[str] = (),
    resource: Facts | None = None,
) -> dict[str, Any]:
    """Return the snapshot of `pre_model_call`.

    Args:
        context: Who acts.
        messages: The messages as JSON, each with `role` and `content`.
        model: The model that is called.
        tools: Names of the tools that it is shown.
        labels: Labels of information flow of the messages.
        resource: As of `tool_call_snapshot`.
    """
    request = {"model": model, "messages": plain(messages), "tools": list(tools)}
    return {**_common(context, labels, resource), "request": request}


def model_response_snapshot(before: Facts, content: Any, tool_calls: Sequence[Facts] = ()) -> dict[str, Any]:
    """Return the snapshot of `post_model_call`.

    Args:
        before: The snapshot of the call.
        content: What the model wrote: a text, or blocks of content.
        tool_calls: Its calls of tools, each with `name` and `args`.
    """
    calls = [{"name": each["name"], "args": plain(each["args"])} for each in tool_calls]
    return {**before, "response": {**content_facts(content), "tool_calls": calls}}


def startup_snapshot(
    context: RuntimeSessionContext, capabilities: Iterable[str], view_digest: str, *, resource: Facts | None = None
) -> dict[str, Any]:
    """Return the snapshot of `agent_startup`, with the ids of the capabilities that the agent may use."""
    startup = {"capabilities": sorted(capabilities), "view_digest": view_digest}
    return {**_common(context, (), resource), "startup": startup}


def shutdown_snapshot(
    context: RuntimeSessionContext,
    status: str,
    *,
    error: str | None = None,
    labels: Iterable[str] = (),
    resource: Facts | None = None,
) -> dict[str, Any]:
    """Return the snapshot of `agent_shutdown`, with the status of the run and the type of its error, if it failed."""
    return {**_common(context, labels, resource), "shutdown": {"status": status, "error": error}}


def tool_facts(capability: Capability) -> dict[str, Any]:
    """Return what policies may ask of a capability."""
    return {
        "id": capability.id,
        "name": capability.name,
        "kind": capability.kind,
        "source": capability.source,
        "version": capability.version,
        "risk": capability.risk,
        "trust": capability.trust,
        "idempotent": capability.idempotent,
        "digest": capability.digest,
    }


def tool_key(snapshot: Facts) -> tuple[str, str, str]:
    """Return the id, name and risk of the tool of a snapshot.

    Raises:
        DecisionFailed: One of them is not there, or is no text.
    """
    tool = snapshot.get("tool")
    if isinstance(tool, Mapping):
        id, name, risk = tool.get("id"), tool.get("name"), tool.get("risk")
        if isinstance(id, str) and isinstance(name, str) and isinstance(risk, str):
            return id, name, risk
    raise DecisionFailed(RuntimeReason.PATH_MISSING, "tool: expected an object with the texts id, name and risk")


def content_facts(content: Any) -> dict[str, Any]:
    """Return content as facts: `text` for a text, `content` for anything else."""
    return {"text": content} if isinstance(content, str) else {"content": plain(content)}


def content_of(facts: Facts) -> Any:
    """Return the content that `content_facts` was given, as a transform may have changed it."""
    return facts["text"] if "text" in facts else facts["content"]


def plain(value: Any, levels: int = _LEVELS) -> Any:
    """Return JSON with plain dicts and lists in place of other mappings and sequences.

    Args:
        value: Mappings, sequences, and what is in them.
        levels: So many levels are copied. What is deeper stays as it is: no snapshot that is decided on is so deep.
    """
    if levels == 0:
        return value
    if isinstance(value, Mapping):
        return {key: plain(each, levels - 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, levels - 1) for each in value]
    return value


def _common(context: RuntimeSessionContext, labels: Iterable[str], resource: Facts | None) -> dict[str, Any]:
    first, *others = [_principal(each) for each in context.principal.chain()]
    return {
        "principal": {**first, "on_behalf_of": others},
        "agent": {"id": context.agent.id, "version": context.agent.version},
        "session": {"id": context.session_id, "locale": context.locale},
        "ifc": {"labels": sorted(labels)},
        "resource": plain(resource or {}),
    }


def _principal(principal: Principal) -> dict[str, Any]:
    return {
        "org_id": principal.org_id,
        "user_id": principal.user_id,
        "roles": sorted(principal.roles),
        "claims": plain(principal.claims),
    }
