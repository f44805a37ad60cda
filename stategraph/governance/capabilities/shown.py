"""Tools as a model is shown them: their calls go to an executor of actions, and never to the function behind.

Such a tool holds no function, session or graph. It makes an `ActionRequest` with the digest of the view that the model
was shown, and returns what comes back. Without an executor it can be bound to a model, and every call is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, ToolException
from pydantic import PrivateAttr

from stategraph.constants import CONF, CONFIG_KEY_THREAD_ID
from stategraph.governance import session
from stategraph.governance.actions import ActionOutcome, ActionRequest, Reason, RunRef
from stategraph.governance.capability import Capability
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.errors import CapabilityDenied

READ_SKILL: Final = "read_skill"
"""The tool with which a model reads skills: one for all of a view."""

_CALL_ID: Final = "\0call_id"
"""Stands among the arguments for the id of the call: no model gives one of this name."""


class Actor(Protocol):
    """Carries out what a model asks for: `stategraph.governance.executor.ActionExecutor` is one."""

    async def act(self, request: ActionRequest, /) -> ActionOutcome:
        """Carry out an action, or say why not."""

    def act_sync(self, request: ActionRequest, /) -> ActionOutcome:
        """Carry out an action in a thread without an event loop."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The executor that calls of tools go to, and the caller for whom they are made.

    Attributes:
        actor: Carries them out.
        context: Who acts; None: as the session says that is active where a call is made.
        run: The run; None: that of the active session, or what the config of the call says.
    """

    actor: Actor
    context: RuntimeSessionContext | None = None
    run: RunRef | None = None


class CapabilityTool(BaseTool):
    """A capability as a tool for a model; `CapabilityView.tools` makes them.

    What is refused or fails is a result with the status `error`, in words for the model.

    Attributes:
        capability: The id of the capability, with its version; None: the argument `skill` names it.
        view_digest: The digest of the view that the model is shown.
    """

    capability: str | None
    view_digest: str
    handle_tool_error: bool = True
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    _session: Bound | None = PrivateAttr(default=None)

    # The parameters are those of the capability, under any names: so none may be named here.

    def _run(self, /, **arguments: Any) -> tuple[Any, Any]:
        return _told(self._bound().actor.act_sync(self._request(arguments)))

    async def _arun(self, /, **arguments: Any) -> tuple[Any, Any]:
        return _told(await self._bound().actor.act(self._request(arguments)))

    def _to_args_and_kwargs(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> Any:
        # LangChain tells the id of the call here alone, to a tool whose parameters are not named.
        positional, named = super()._to_args_and_kwargs(tool_input, tool_call_id)
        return positional, {**named, _CALL_ID: tool_call_id}

    def _bound(self) -> Bound:
        if self._session is None:
            raise CapabilityDenied(
                f"The tool {self.name!r} was called, and its view has no executor of actions: make the tools with "
                "view.tools(executor). Without one they can be shown to a model, and do nothing",
                Reason.CAPABILITY_UNKNOWN,
            )
        return self._session

    def _request(self, arguments: dict[str, Any]) -> ActionRequest:
        bound, call_id, active = self._bound(), arguments.pop(_CALL_ID, None), session.current_or_none()
        return ActionRequest(
            capability=self.capability or self.name,
            arguments=arguments,
            call_id=call_id or uuid.uuid4().hex,
            run=bound.run or _run_of(active),
            context=bound.context or session.current().context,
            view_digest=self.view_digest,
        )


def _run_of(active: session.ActiveSession | None) -> RunRef:
    """Return the run that is calling: that of the session, or as far as the config says."""
    config = ensure_config()
    settings = config.get(CONF) or {}
    found = settings.get(CONFIG_KEY_THREAD_ID)
    thread = None if found is None else str(found)
    if active is not None:
        run = active.run
        return run if run.thread_id is not None or thread is None else replace(run, thread_id=thread)
    run_id = config.get("run_id") or (config.get("metadata") or {}).get("run_id") or settings.get("run_id")
    return RunRef(str(run_id or thread or uuid.uuid4().hex), thread)


def _told(outcome: ActionOutcome) -> tuple[Any, Any]:
    """Return an outcome as LangChain has it.

    Raises:
        ToolException: It was not completed, in words for the model.
    """
    if outcome.status in ("completed", "answered"):
        return outcome.content, outcome.artifact
    content = outcome.content
    raise ToolException(content if isinstance(content, str) else f"{outcome.reason or outcome.status}: {content}")


def tool_of(name: str, capability: Capability, view_digest: str, bound: Bound | None) -> CapabilityTool:
    """Make the tool of a capability."""
    made = CapabilityTool(
        name=name,
        description=capability.description or capability.title or capability.name,
        args_schema={"type": "object", "properties": {}, **capability.input_schema},
        metadata={"capability": {"id": capability.id, "digest": capability.digest, "risk": capability.risk}},
        capability=capability.id,
        view_digest=view_digest,
    )
    made._session = bound
    return made


def skill_tool(names: Sequence[str], view_digest: str, bound: Bound | None) -> CapabilityTool:
    """Make the tool that reads skills.

    Args:
        names: The names of the skills.
        view_digest: The digest of the view.
        bound: Whom its calls go to.
    """
    path = "A file of the skill that its instructions name, such as references/forms.md. Leave it out to read these."
    properties = {
        "skill": {"type": "string", "enum": list(names), "description": "The skill."},
        "path": {"type": "string", "description": path},
    }
    made = CapabilityTool(
        name=READ_SKILL,
        description="Read the instructions of a skill before you do what it is for, or a file that they name.",
        args_schema={"type": "object", "properties": properties, "required": ["skill"]},
        capability=None,
        view_digest=view_digest,
    )
    made._session = bound
    return made
