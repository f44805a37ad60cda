"""A thread as messages of the user interface, for a page that is loaded again.

Rules
-----
* Messages of the user are as they were sent; what the assistant said until the next one is one message, each answer of
  a model a step, as in the stream.
* Calls that wait for a person have their approval requests; any other question is a part `data-interrupt`, at the end.
* What the run that goes on has said is left out: whoever resumes its stream is told it from its beginning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.messages.truncation import text_of
from stategraph.server.turns import conversation, questions
from stategraph.server.turns.forms import Fields, Json
from stategraph.server.turns.questions import Question
from stategraph.server.vercel.encoder import output, plain
from stategraph.types import StateSnapshot


def written(snapshot: StateSnapshot | None, told: Collection[str | None] | None = None) -> list[Json]:
    """Return the messages of a thread.

    Args:
        snapshot: Its newest state; None: nothing has run on it.
        told: Ids of the messages before the run that goes on; None: none does.
    """
    said = conversation.messages_of(conversation.values_of(snapshot))
    if told is None:
        return _written(said, questions.open_questions(snapshot))
    return _written([each for each in said if each.id in told or isinstance(each, HumanMessage)], ())


def _written(said: Sequence[BaseMessage], asked: Sequence[Question]) -> list[Json]:
    results = {each.tool_call_id: each for each in said if isinstance(each, ToolMessage)}
    waiting = {each.approval.call_id: each for each in asked if each.approval is not None and each.approval.call_id}
    found: list[Json] = []
    for each in said:
        if isinstance(each, HumanMessage | SystemMessage):
            role = "user" if isinstance(each, HumanMessage) else "system"
            found.append({"id": each.id, "role": role, "parts": list(_given(each.content))})
        elif isinstance(each, AIMessage):
            _answer(found, each)["parts"] += [{"type": "step-start"}, *_step(each, results, waiting)]
    if others := [_question(each) for each in asked if each not in waiting.values()]:
        _answer(found, AIMessage("", id=f"question-{others[0]['id']}"))["parts"] += others
    return found


def before(states: Sequence[StateSnapshot], run_id: str) -> set[str | None]:
    """Return the ids of the messages that a thread had before a run.

    Args:
        states: The newest states of the thread, the newest first.
        run_id: The run.
    """
    earlier = (each for each in states if (each.metadata or {}).get("run_id") != run_id)
    return {each.id for each in conversation.messages_of(conversation.values_of(next(earlier, None)))}


def _answer(found: list[Json], message: BaseMessage) -> Json:
    """Return the message of the assistant that one belongs to: the last, or a new one."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"id": message.id, "role": "assistant", "parts": []})
    return found[-1]


def _step(message: AIMessage, results: Mapping[str, ToolMessage], waiting: Mapping[str, Question]) -> Iterator[Json]:
    for block in message.content_blocks:
        if block["type"] == "reasoning" and block.get("reasoning"):
            yield {"type": "reasoning", "text": block["reasoning"], "state": "done"}
    if text := text_of(message.content):
        yield {"type": "text", "text": text, "state": "done"}
    for call in message.tool_calls:
        call_id = str(call["id"])
        part = {"type": f"tool-{call['name']}", "toolCallId": call_id, "input": plain(call["args"])}
        yield {**part, **_state(results.get(call_id), waiting.get(call_id))}


def _state(result: ToolMessage | None, question: Question | None) -> Json:
    if result is not None:
        if result.status == "error":
            return {"state": "output-error", "errorText": text_of(result.content) or "The tool failed."}
        return {"state": "output-available", "output": output(result.content)}
    if question is not None:
        return {"state": "approval-requested", "approval": {"id": question.question_id}}
    return {"state": "input-available"}


def _question(question: Question) -> Json:
    asked = {"id": question.question_id, "payload": plain(question.payload)}
    return {"type": "data-interrupt", "id": question.question_id or "breakpoint", "data": asked}


def _given(content: Any) -> Iterator[Json]:
    """Yield what a user sent, as parts."""
    for block in [content] if isinstance(content, str) else content:
        if isinstance(block, str):
            yield {"type": "text", "text": block}
        elif block.get("type") == "text":
            yield {"type": "text", "text": str(block.get("text") or "")}
        elif (url := _url(block)) is not None:
            yield {"type": "file", "mediaType": str(block.get("mime_type") or "application/octet-stream"), "url": url}


def _url(block: Fields) -> str | None:
    """Return the address of a file's block; None if it is none."""
    if isinstance(data := block.get("base64"), str):
        return f"data:{block.get('mime_type') or 'application/octet-stream'};base64,{data}"
    found = block.get("url")
    if isinstance(nested := block.get("image_url"), Mapping):
        found = nested.get("url")
    return found if isinstance(found, str) else None
