"""Whatever a model or a tool says: no run ends by it, and what is told, returned and stored is the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from pydantic import PrivateAttr

from stategraph.agent.messages import history
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.run.run import Run
from stategraph.types import Command
from tests.run.hosting import THREAD, Host, ask

pytestmark = pytest.mark.anyio

EMOJI = "\N{GRINNING FACE}"
HIGH, LOW = "\ud83d", "\ude00"


class PieceModel(BaseChatModel):
    """Streams the pieces of its next answer as they are, and keeps what it was sent."""

    answers: list[list[Any]]
    streams: bool = True
    _sent: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def sent(self) -> list[list[BaseMessage]]:
        return self._sent

    @property
    def _llm_type(self) -> str:
        return "pieces"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[], **kwargs)

    def _next(self, messages: Sequence[BaseMessage]) -> list[Any]:
        self._sent.append(list(messages))
        # A provider puts what it is sent into JSON, and refuses a history that is not sound.
        for message in messages:
            calls = getattr(message, "tool_calls", ())
            json.dumps([message.text, [*calls]], ensure_ascii=False, allow_nan=False).encode()
            if isinstance(message, ToolMessage):
                json.dumps(message.content, ensure_ascii=False, allow_nan=False).encode()
        assert history.repair(messages) is messages  # type: ignore[arg-type]
        return self.answers[min(len(self._sent), len(self.answers)) - 1]

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        (message,) = self._next(messages)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._next(messages):
            yield ChatGenerationChunk(message=piece.model_copy())


def text(content: Any = "", **fields: Any) -> AIMessageChunk:
    return AIMessageChunk(content=content, **fields)


def part(name: str | None, args: str | None, id: str | None, index: Any = 0) -> AIMessageChunk:
    piece = {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}
    return AIMessageChunk(content="", tool_call_chunks=[piece])


def whole(*calls: dict[str, Any], invalid: Sequence[dict[str, Any]] = (), **fields: Any) -> AIMessage:
    made = [{"type": "tool_call", "name": "note", "args": {}, "id": "c1", **each} for each in calls]
    broken = [{"type": "invalid_tool_call", "error": None, **each} for each in invalid]
    return AIMessage(content=fields.pop("content", ""), tool_calls=made, invalid_tool_calls=broken, **fields)


class Unprintable(Exception):
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Unprintables:
    """A value that cannot be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def endless() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def deep(levels: int) -> Any:
    made: Any = 0
    for _ in range(levels):
        made = [made]
    return made


RETURNS: dict[str, Callable[[], Any]] = {
    "half a pair": lambda: f"file {HIGH}.txt",
    "half a pair in JSON": lambda: {"name": HIGH, LOW: [HIGH]},
    "half a pair in blocks": lambda: [{"type": "text", "text": HIGH}],
    "not a number": lambda: {"n": float("nan")},
    "a large number": lambda: {"n": 10**5000},
    "a circle": endless,
    "a deep list": lambda: deep(5000),
    "keys that are no texts": lambda: {(1, 2): "x"},
    "a value without words": Unprintables,
    "a value of bytes": lambda: [{"type": "image", "data": b"\xff\x00"}],
    "a list of anything": lambda: [object(), 1, None],
    "nothing": lambda: None,
    "a class": lambda: Unprintable,
    "another call's result": lambda: ToolMessage("for another", tool_call_id="other"),
    "its result twice": lambda: [ToolMessage("one", tool_call_id="c1"), ToolMessage("two", tool_call_id="c1")],
    "a command without anything": lambda: Command(),
    "a command for nobody": lambda: Command(goto="nobody"),
    "a command for no key": lambda: Command(update={"unknown": 1}),
}

RAISES: dict[str, Callable[[], BaseException]] = {
    "an error without words": Unprintable,
    "a group of them": lambda: ExceptionGroup("several", [Unprintable()]),
    "half a pair": lambda: ValueError(HIGH),
    "the end of an iteration": StopIteration,
    "the end of an async one": StopAsyncIteration,
    "too deep a recursion": RecursionError,
    "no memory": MemoryError,
    "a very long text": lambda: ValueError("x" * 3_000_000),
    "what has no text": KeyError,
}


@tool
async def note(n: Any = None) -> str:
    """Notes."""
    return f"noted {n!r:.20}"


@tool
async def give(what: str) -> Any:
    """Returns something."""
    return RETURNS[what]()


@tool
async def fail(what: str) -> str:
    """Raises something."""
    raise RAISES[what]()


@tool(response_format="content_and_artifact")
async def keep(what: str) -> tuple[str, Any]:
    """Has an artifact."""
    return "kept", {"lambda": lambda: 1, "object": object(), "half": HIGH, "large": 10**30}[what]


OK = part("note", "{}", "c1")
ANSWERS: dict[str, list[Any]] = {
    "5,000 digits": [part("note", '{"n": ' + "9" * 5000 + "}", "c1")],
    "30 digits": [part("note", '{"n": ' + "9" * 30 + "}", "c1")],
    "20,000 levels": [part("note", '{"n": ' + "[" * 20000 + "]" * 20000 + "}", "c1")],
    "400 levels": [part("note", '{"n": ' + "[" * 400 + "]" * 400 + "}", "c1")],
    "NaN": [part("note", '{"n": NaN}', "c1")],
    "infinite": [part("note", '{"n": 1e999}', "c1")],
    "half a pair in an argument": [part("note", '{"n": "\\ud83d"}', "c1")],
    "half a pair in a key": [part("note", '{"\\ud83d": 1}', "c1")],
    "half a pair, raw": [part("note", '{"n": "' + HIGH + '"}', "c1")],
    "a pair in two pieces": [part("note", '{"n": "' + HIGH, "c1"), part(None, LOW + '"}', None)],
    "no object": [part("note", "[1]", "c1")],
    "no JSON": [part("note", "n = 1", "c1")],
    "null": [part("note", "null", "c1")],
    "blank": [part("note", "  ", "c1")],
    "no arguments": [part("note", None, "c1")],
    "cut off": [part("note", '{"n": "a', "c1")],
    "no id": [part("note", "{}", None)],
    "an empty id": [part("note", "{}", "")],
    "one id for two": [part("note", "{}", "c1"), part("note", '{"n": 2}', "c1", 1)],
    "one index for two": [part("note", "{}", "c1"), part("note", "", "c2"), part(None, '{"n": 2}', None)],
    "no index": [part("note", "{}", "c1", None), part("note", "{}", "c2", None)],
    "neither index nor id": [part("note", "{}", None, None), part("note", "{}", None, None)],
    "no name": [part(None, "{}", "c1")],
    "the name later": [part(None, None, "c1"), part("note", "{}", None)],
    "the name in every piece": [part("note", '{"n"', "c1"), part("note", ": 1}", "c1")],
    "the id later": [part("note", "{", None), part(None, "}", "c9")],
    "arguments before a name": [part(None, '{"n": 1', None), part("note", "}", "c1")],
    "an unknown tool": [part("nope", "{}", "c1")],
    "a name with half a pair": [part(f"no{HIGH}te", "{}", "c1")],
    "the wrong type": [part("give", '{"what": 5}', "c1")],
    "unknown arguments": [part("note", '{"m": 5, "config": {}, "self": 1}', "c1")],
    "half a pair at the end": [text("Hi " + HIGH), OK],
    "an emoji in two pieces": [text("Hi "), text(HIGH), text(LOW), OK],
    "a half that is never joined": [text(HIGH), text("x"), OK],
    "an emoji of reasoning": [
        text(additional_kwargs={"reasoning_content": HIGH}),
        text(additional_kwargs={"reasoning_content": LOW}),
        OK,
    ],
    "an emoji of reasoning under the other name": [
        text(additional_kwargs={"reasoning": HIGH}),
        text(additional_kwargs={"reasoning": LOW}),
        OK,
    ],
    "blocks with halves": [
        text([{"type": "text", "text": HIGH, "index": 0}]),
        text([{"type": "text", "text": LOW, "index": 0}]),
        OK,
    ],
    "nothing but an end": [text("", response_metadata={"finish_reason": "length"}), OK],
    "an empty answer": [text("")],
    "metadata that no saver takes": [text(response_metadata={"a": object(), "b": 10**30}), OK],
    "usage that no saver takes": [
        text(usage_metadata={"input_tokens": 10**30, "output_tokens": 1, "total_tokens": 1}),
        OK,
    ],
    "content that no saver takes": [text([{"type": "text", "text": "Hi", "extra": object()}]), OK],
    "whole, without an id": [whole({"id": None}, {"id": None})],
    "whole, one id": [whole({"id": "c1"}, {"id": "c1"})],
    "whole, NaN": [whole({"args": {"n": float("nan")}})],
    "whole, no JSON": [whole({"args": {"n": object()}})],
    "whole, deep": [whole({"args": {"n": deep(3000)}})],
    "whole, unreadable": [whole(invalid=[{"name": None, "args": None, "id": None}])],
    "whole, half a pair": [whole({}, content=f"{HIGH} {HIGH}{LOW}")],
    "whole, cut off": [whole({}, response_metadata={"stop_reason": "max_tokens"})],
}
ANSWERS |= {f"returns {what}": [part("give", json.dumps({"what": what}), "c1")] for what in RETURNS}
ANSWERS |= {f"raises {what}": [part("fail", json.dumps({"what": what}), "c1")] for what in RAISES}
ANSWERS |= {
    f"artifact: {what}": [part("keep", json.dumps({"what": what}), "c1")]
    for what in ("lambda", "object", "half", "large")
}


@pytest.mark.parametrize("saved", [False, True], ids=["", "saved"])
@pytest.mark.parametrize("what", ANSWERS)
async def test_no_run_ends_by_what_a_model_or_a_tool_says(what: str, saved: bool) -> None:
    answer = ANSWERS[what]
    model = PieceModel(answers=[answer, [text("Fine.", id="last")]], disable_streaming=type(answer[0]) is AIMessage)
    saver = in_memory_saver() if saved else None
    host = Host()
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {
                "agents": [{"agent_id": "a", "model": model, "tools": [note, give, fail, keep]}],
                "compile_options": {"checkpointer": saver},
            },
            "custom_handlers": host.handlers(),
            "return_content": True,
        }
    )
    parts = await run.process_stream(ask(), {**THREAD, "recursion_limit": 10})
    check(run, host, parts)
    if saver is not None:
        state = await run.graph.compiled.aget_state(THREAD)
        assert state.next == ()
        stored = [(message.type, message.content, message.id) for message in state.values["messages"][1:]]
        assert stored == [(message.type, message.content, message.id) for message in run.get_run_messages()]


def check(run: Run, host: Host, parts: Any) -> None:
    """What was told, what was returned and what is kept say the same, and can be stored."""
    messages = run.get_run_messages()
    for kept in (host.content.content_parts, parts, [message.text for message in messages]):
        json.dumps(kept, ensure_ascii=False, allow_nan=False, default=str).encode()
    assert history.repair(messages) is messages or list(history.repair(messages)) == messages
    opened = [data["id"] for event, data in host.rows if event == "on_run_step"]
    closed = [data["id"] for event, data in host.rows if event == "on_run_step_closed"]
    assert Counter(opened) == Counter(closed)
    assert set(Counter(opened).values()) <= {1}
    told = [data["result"] for event, data in host.rows if event == "on_run_step_completed"]
    results = [message.tool_call_id for message in messages if isinstance(message, ToolMessage)]
    assert [each["tool_call"]["id"] for each in told] == results
    assert {each["id"] for each in told} <= set(opened)
    aggregated = [each["tool_call"] for each in host.content.content_parts if each and each["type"] == "tool_call"]
    assert [each["id"] for each in aggregated] == results
    assert all(each["progress"] == 1 and each["name"] for each in aggregated)
    shown = "".join(each["text"] for each in host.content.content_parts if each and each["type"] == "text")
    assert shown == "".join(map(_text, messages))


def _text(message: AnyMessage) -> str:
    return str(message.text) if isinstance(message, AIMessage) else ""


async def test_an_agent_without_tools_whose_model_calls_one_is_told_so_and_goes_on() -> None:
    model = PieceModel(answers=[[text("Hm."), part("note", "{}", "c1")], [text("Fine.")]])
    host = Host()
    graph = {"agents": [{"agent_id": "a", "model": model}]}
    run = await Run.create(
        {"run_id": "r", "graph_config": graph, "custom_handlers": host.handlers(), "return_content": True}
    )
    parts = await run.process_stream(ask())
    check(run, host, parts)
    assert [message.type for message in run.get_run_messages()] == ["ai", "tool", "ai"]
    # Its provider would refuse calls and results where no tools are offered.
    assert [message.type for message in model.sent[1]] == ["human", "ai", "human"]
    assert 'Tool "note" not found.' in str(model.sent[1][2].content)


@pytest.mark.parametrize(
    "result",
    [
        {"content": f"{HIGH}"},
        {"content": [{"type": "text", "text": HIGH}, {"type": "x", "data": b"x"}]},
        {"content": {"a": HIGH}},
        {"content": None},
        {"content": "x", "artifact": object()},
        {"content": "", "status": "error", "errorMessage": HIGH},
        {"content": "", "status": "error", "errorMessage": {"code": 5}},
        {"content": "x", "injectedMessages": [{"role": "user", "content": HIGH}]},
    ],
)
async def test_no_run_ends_by_what_a_host_s_tool_says(result: dict[str, Any]) -> None:
    model = PieceModel(answers=[[part("get", "{}", None), part("get", "{}", None, 1)], [text("Fine.")]])
    host = Host(
        on_tool_execute=lambda data: data.resolve([{"toolCallId": each["id"], **result} for each in data["toolCalls"]])
    )
    graph = {
        "agents": [{"agent_id": "a", "model": model, "tool_definitions": [{"name": "get"}]}],
        "compile_options": {"checkpointer": in_memory_saver()},
    }
    run = await Run.create(
        {"run_id": "r", "graph_config": graph, "custom_handlers": host.handlers(), "return_content": True}
    )
    parts = await run.process_stream(ask(), THREAD)
    check(run, host, parts)


@pytest.mark.parametrize("names", [("note", "note", "note"), ("no", "te", None)], ids=["whole", "in pieces"])
async def test_a_call_whose_pieces_repeat_its_id_and_name_is_one_step(names: Sequence[str | None]) -> None:
    args = ('{"te', 'xt": ', '"x"}')
    pieces = [part(name, piece, "c1") for name, piece in zip(names, args, strict=True)]
    model = PieceModel(answers=[pieces, [text("Fine.")]])
    host = Host()
    graph = {"agents": [{"agent_id": "a", "model": model, "tools": [note]}]}
    run = await Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": host.handlers()})
    await run.process_stream(ask())
    opened = [data["stepDetails"].get("tool_calls") for event, data in host.rows if event == "on_run_step"]
    assert [[call["id"] for call in calls] for calls in opened if calls] == [["c1"]]
    check(run, host, None)
    answer = run.get_run_messages()[0]
    assert isinstance(answer, AIMessage)
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("note", {"text": "x"})]
