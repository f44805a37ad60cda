"""`RunAgentInput` to a run of the service.

Rules
-----
* `runId` names the run: the same request again is the same run, so a client that lost its connection may repeat it.
* New messages are those that the thread has not, see `stategraph.server.turns.conversation`.
* Of `state` the graph is given what the client changed, and only values that its input has.
* Tools and context of the client are in the run's config, as `configurable["client_tools"]` (in the form that chat
  models bind) and `configurable["ag_ui"]`; and in the input as `tools` and `ag-ui`, for graphs whose input has these.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

from ag_ui.core import RunAgentInput
from langchain_core.messages import BaseMessage

from stategraph.server.agui import interrupts, messages, state
from stategraph.server.service.port import Caller, InvalidError, RunRequest, Service
from stategraph.server.turns import conversation, questions
from stategraph.server.turns.conversation import Turn
from stategraph.server.turns.forms import Fields, Json
from stategraph.types import StateSnapshot

#: What a run for a front end logs beside `messages`, `updates` and `custom`.
MODES: Final = ("values", "tasks")


def run_id_of(given: RunAgentInput) -> str:
    """Return the id that a client's run has here: its own if that is a UUID."""
    try:
        return str(uuid.UUID(given.run_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"ag-ui:{given.thread_id}:{given.run_id}"))


async def request_of(
    service: Service, caller: Caller, assistant_id: str, given: RunAgentInput, inputs: Collection[str]
) -> RunRequest:
    """Return the run that a client asks for.

    Args:
        service: Has the thread.
        caller: Who asks.
        assistant_id: The assistant.
        given: The request.
        inputs: The names of the graph's input.

    Raises:
        InvalidError: An answer fits no question of the thread, or `forwardedProps` have a wrong form.
    """
    props = given.forwarded_props if isinstance(given.forwarded_props, Mapping) else {}
    snapshot = await conversation.state_of(service, caller, given.thread_id)
    resumed = _resume(given, props, snapshot)
    configurable = {
        "client_tools": [_tool(each) for each in given.tools or ()],
        "ag_ui": {
            "context": [{"description": each.description, "value": each.value} for each in given.context or ()],
            "forwarded_props": {key: each for key, each in props.items() if key not in ("command", "config")},
        },
    }
    config = _mapping(props, "config")
    config = {**config, "configurable": {**_mapping(config, "configurable"), **configurable}}
    said = messages.read(given.messages)
    turn = None if resumed is not None else await conversation.turn(service, caller, given.thread_id, snapshot, said)
    return RunRequest(
        assistant_id=assistant_id,
        thread_id=given.thread_id,
        if_not_exists="create",
        input=None if turn is None else _input(given, turn, inputs, configurable),
        command=resumed or None,
        checkpoint=None if turn is None else turn.checkpoint,
        config=config,
        context=props.get("context"),
        metadata={"protocol": "ag-ui"},
        stream_modes=MODES,
        stream_subgraphs=True,
        stream_resumable=True,
        multitask_strategy="enqueue",
        on_disconnect="cancel" if props.get("onDisconnect") == "cancel" else "continue",
        run_id=run_id_of(given),
    )


def _resume(given: RunAgentInput, props: Fields, snapshot: StateSnapshot | None) -> Json | None:
    """Return the command that answers the thread's questions; empty: just go on; None: it is an ordinary turn."""
    if given.resume:
        asked = questions.open_questions(snapshot)
        by_id = {each.question_id: each for each in asked}
        answers = {each.interrupt_id: interrupts.answer_of(each, by_id.get(each.interrupt_id)) for each in given.resume}
        return questions.resume(asked, answers)
    command = _mapping(props, "command")
    return {"resume": command["resume"]} if command.get("resume") is not None else None


def _input(given: RunAgentInput, turn: Turn, inputs: Collection[str], configurable: Fields) -> Json | None:
    changed = state.changes(given.state, turn.values)
    found: Json = {key: each for key, each in changed.items() if key in inputs}
    if turn.messages or "messages" in inputs:
        found["messages"] = list[BaseMessage](turn.messages)
    if "tools" in inputs and given.tools is not None:
        found["tools"] = configurable["client_tools"]
    if "ag-ui" in inputs:
        found["ag-ui"] = {"tools": configurable["client_tools"], "context": configurable["ag_ui"]["context"]}
    return found


def _tool(given: Any) -> Json:
    """Return a tool of the client as chat models bind it."""
    parameters = given.parameters if isinstance(given.parameters, dict) else {"type": "object", "properties": {}}
    about = {"name": given.name, "description": given.description, "parameters": parameters}
    return {"type": "function", "function": about}


def _mapping(given: Fields, name: str) -> Json:
    found = given.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InvalidError(f"forwardedProps.{name} is {type(found).__name__}; expected an object")
    return dict(found)
