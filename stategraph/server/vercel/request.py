"""Messages of the user interface to a run of the service.

Rules
-----
* The chat is the thread. A client may send all of its messages or the last alone: the graph is not given again what
  the thread has.
* The message of a run has an id that the thread does not know. Of the client's answers only the last matters, for the
  approvals and results of tools in it; if the thread is empty, all are taken, as the conversation began elsewhere.
* `regenerate-message` begins at the checkpoint before the user's last message.
* Beside `messages` the body may have `tools` (of the client: `{name: {description, inputSchema}}`), `resume` (answers
  to `data-interrupt`, by their ids), `config`, `context`, and `onDisconnect: "cancel"`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.messages.truncation import compact_json
from stategraph.server.projection.pauses import Decision
from stategraph.server.service.port import Caller, InvalidError, RunRequest, Service
from stategraph.server.turns import conversation, questions
from stategraph.server.turns.forms import Fields, Json
from stategraph.types import StateSnapshot

#: What the metadata of a run keeps for readers that come back.
KEPT: Final = "vercel"

_ROLES: Final = ("user", "assistant", "system")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The body of a request, checked.

    Attributes:
        chat_id: The chat, which is the thread.
        messages: The messages, each with `id`, `role` and `parts`.
        body: All of it.
    """

    chat_id: str
    messages: Sequence[Fields]
    body: Fields


def read(body: Any) -> ChatRequest:
    """Check the body of a request.

    Raises:
        InvalidError: It has not the form that `DefaultChatTransport` sends.
    """
    if not isinstance(body, Mapping):
        raise InvalidError("The body is no JSON object; expected {id, messages}")
    chat_id = body.get("id")
    if not isinstance(chat_id, str) or not chat_id:
        raise InvalidError("The body has no 'id' of the chat")
    last = body.get("message")
    messages = body.get("messages", [last] if last is not None else None)
    if not isinstance(messages, list):
        raise InvalidError("The body has no list 'messages'")
    for number, each in enumerate(messages):
        if not isinstance(each, Mapping) or each.get("role") not in _ROLES or not isinstance(each.get("parts"), list):
            raise InvalidError(
                f"messages[{number}] is no message of the user interface; expected id, a role of "
                f"{', '.join(_ROLES)}, and parts"
            )
        if not all(isinstance(part, Mapping) for part in each["parts"]):
            raise InvalidError(f"messages[{number}].parts has something that is no object")
    return ChatRequest(chat_id, messages, body)


async def request_of(
    service: Service, caller: Caller, assistant_id: str, given: ChatRequest, inputs: Collection[str]
) -> RunRequest:
    """Return the run that a client asks for.

    Args:
        service: Has the thread.
        caller: Who asks.
        assistant_id: The assistant.
        given: The request.
        inputs: The names of the graph's input.

    Raises:
        InvalidError: An answer fits no question of the thread, or a field has a wrong form.
    """
    snapshot = await conversation.state_of(service, caller, given.chat_id)
    last = given.messages[-1] if given.messages else {}
    answer = last if last.get("role") == "assistant" else {}
    asked = questions.open_questions(snapshot)
    resumed, denied = _resume(given, answer, asked)
    said = [] if resumed is not None else _messages(given, answer, snapshot)
    turn = None
    if resumed is None:
        turn = await conversation.turn(service, caller, given.chat_id, snapshot, said)
    config = _mapping(given.body, "config")
    own = {"client_tools": [_tool(*each) for each in _mapping(given.body, "tools").items()]}
    is_continued = bool(answer)
    message_id = str(answer.get("id") or "") or f"msg-{uuid4()}"
    kept = {"message_id": message_id, "is_continued": is_continued, "denied": denied}
    new = None if turn is None else {"messages": turn.messages}
    if turn is not None and not turn.messages and "messages" not in inputs:
        new = {}
    return RunRequest(
        assistant_id=assistant_id,
        thread_id=given.chat_id,
        if_not_exists="create",
        input=new,
        command=resumed or None,
        checkpoint=None if turn is None else turn.checkpoint,
        config={**config, "configurable": {**_mapping(config, "configurable"), **own}},
        context=given.body.get("context"),
        metadata={"protocol": "vercel", KEPT: kept},
        stream_modes=(),
        stream_subgraphs=True,
        stream_resumable=True,
        multitask_strategy="enqueue",
        on_disconnect="cancel" if given.body.get("onDisconnect") == "cancel" else "continue",
    )


def _resume(given: ChatRequest, answer: Fields, asked: Sequence[questions.Question]) -> tuple[Json | None, list[str]]:
    """Return the command that answers the thread's questions, None without one, and the calls that are rejected."""
    open_ids = {each.question_id for each in asked}
    answers: Json = {}
    denied = []
    for part in answer.get("parts", ()):
        approval = part.get("approval")
        if part.get("state") != "approval-responded" or not isinstance(approval, Mapping):
            continue
        if approval.get("id") not in open_ids:
            continue
        is_approved, reason = bool(approval.get("approved")), str(approval.get("reason") or "")
        answers[approval["id"]] = Decision("approve" if is_approved else "reject", "" if is_approved else reason)
        if not is_approved:
            denied.append(str(part.get("toolCallId")))
    answers.update(_mapping(given.body, "resume"))
    return (questions.resume(asked, answers) if answers else None), denied


def _messages(given: ChatRequest, answer: Fields, snapshot: StateSnapshot | None) -> list[BaseMessage]:
    """Return the messages that the thread may not have."""
    known = conversation.messages_of(conversation.values_of(snapshot))
    if not known:
        return [each for message in given.messages for each in _all(message)]
    found = [each for message in given.messages if message["role"] != "assistant" for each in _all(message)]
    waiting = questions.unanswered(known)
    return [*found, *(each for each in _results(answer) if each.tool_call_id in waiting)]


def _all(message: Fields) -> Iterator[BaseMessage]:
    """Yield a message of the user interface as messages of LangChain; an answer with tools is several."""
    message_id, parts = message.get("id"), message["parts"]
    match message["role"]:
        case "user":
            yield HumanMessage(_content(parts), id=message_id)
        case "system":
            yield SystemMessage(_text(parts), id=message_id)
        case _:
            yield from _answer(message_id, parts)


def _answer(message_id: Any, parts: Sequence[Fields]) -> Iterator[BaseMessage]:
    steps: list[list[Fields]] = [[]]
    for part in parts:
        if part.get("type") == "step-start":
            steps.append([])
        else:
            steps[-1].append(part)
    for number, step in enumerate(filter(None, steps)):
        results = list(_results({"parts": step}))
        answered = {each.tool_call_id for each in results}
        calls = [_call(each) for each in step if each.get("toolCallId") in answered]
        if calls or _text(step):
            yield AIMessage(_text(step), id=f"{message_id}-{number}", tool_calls=calls)
        yield from results


def _call(part: Fields) -> Any:
    args = part.get("input")
    return {"name": _tool_name(part), "args": args if isinstance(args, dict) else {}, "id": part["toolCallId"]}


def _results(answer: Fields) -> Iterator[ToolMessage]:
    """Yield the results of tools in an answer of the user interface."""
    for part in answer.get("parts", ()):
        call_id = part.get("toolCallId")
        if not isinstance(call_id, str):
            continue
        match part.get("state"):
            case "output-available":
                output = part.get("output")
                content = output if isinstance(output, str) else compact_json(output)
                yield ToolMessage(content, tool_call_id=call_id, name=_tool_name(part))
            case "output-error":
                error = str(part.get("errorText") or "The tool failed.")
                yield ToolMessage(error, tool_call_id=call_id, name=_tool_name(part), status="error")


def _tool_name(part: Fields) -> str:
    kind = str(part.get("type") or "")
    return str(part.get("toolName") or "") if kind == "dynamic-tool" else kind.removeprefix("tool-")


def _text(parts: Sequence[Fields]) -> str:
    return "".join(str(each.get("text") or "") for each in parts if each.get("type") == "text")


def _content(parts: Sequence[Fields]) -> Any:
    """Return what a user sent in LangChain's blocks; texts alone are a text."""
    files = [each for each in parts if each.get("type") == "file"]
    if not files:
        return _text(parts)
    blocks: list[Json] = []
    for each in parts:
        if each.get("type") == "text":
            blocks.append({"type": "text", "text": str(each.get("text") or "")})
        elif each.get("type") == "file":
            blocks.append(_file(each))
    return blocks


def _file(part: Fields) -> Json:
    media, url = str(part.get("mediaType") or ""), str(part.get("url") or "")
    kind = media.partition("/")[0]
    block: Json = {"type": kind if kind in ("image", "audio", "video") else "file", "mime_type": media}
    if url.startswith("data:"):
        block["base64"] = url.partition(",")[2]
    else:
        block["url"] = url
    return block


def _tool(name: str, about: Any) -> Json:
    """Return a tool of the client as chat models bind it."""
    given = about if isinstance(about, Mapping) else {}
    schema = given.get("inputSchema")
    parameters = schema if isinstance(schema, Mapping) else {"type": "object", "properties": {}}
    function = {"name": name, "description": str(given.get("description") or ""), "parameters": dict(parameters)}
    return {"type": "function", "function": function}


def _mapping(given: Fields, name: str) -> Json:
    found = given.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InvalidError(f"'{name}' is {type(found).__name__}; expected an object")
    return dict(found)
