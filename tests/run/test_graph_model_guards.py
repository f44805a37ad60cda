"""Hooks and gates around the models of graphs that the host made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from stategraph.agent.ports import Halt
from stategraph.constants import END, START
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from stategraph.graph.message import MessagesState
from stategraph.graph.state import StateGraph
from stategraph.run.graphs.model_guards import (
    UNGUARDED,
    ModelDeniedError,
    guard_model,
    guard_model_sync,
    run_model,
    run_model_sync,
)
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import THREAD, Host, ask

pytestmark = pytest.mark.anyio


def model_of(*replies: Any, **options: Any) -> ScriptedChatModel:
    return ScriptedChatModel(replies=list(replies), **options)


def node_of(model: Any, how: str) -> Any:
    """A node that calls a model within the gates, in each way there is."""

    async def own(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await run_model(model, state["messages"], config)]}

    def sync(state: MessagesState) -> dict[str, Any]:
        return {"messages": [run_model_sync(model, state["messages"])]}

    async def blocking(state: MessagesState) -> dict[str, Any]:
        return sync(state)

    async def middleware(state: MessagesState) -> dict[str, Any]:
        async def handler(request: Request) -> Response:
            sent = [*filter(None, [request.system_message]), *request.messages]
            return Response([await request.model.ainvoke(sent, **request.model_settings)])

        return taken(await guard_model(Request(model, list(state["messages"])), handler))

    def sync_middleware(state: MessagesState) -> dict[str, Any]:
        def handler(request: Request) -> Response:
            sent = [*filter(None, [request.system_message]), *request.messages]
            return Response([request.model.invoke(sent, **request.model_settings)])

        return taken(guard_model_sync(Request(model, list(state["messages"])), handler))

    def elsewhere(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return asyncio.run(own(state, config))

    ways: dict[str, Any] = {
        "own": own,
        "sync": sync,
        "blocking": blocking,
        "middleware": middleware,
        "sync_middleware": sync_middleware,
        "elsewhere": elsewhere,
    }
    return ways[how]


WAYS = ["own", "sync", "blocking", "middleware", "sync_middleware", "elsewhere"]


@dataclass(frozen=True)
class Request:
    """What LangChain's agents give a middleware."""

    model: Any
    messages: list[Any]
    system_message: Any = None
    model_settings: dict[str, Any] = field(default_factory=dict)

    def override(self, **changes: Any) -> Request:
        return replace(self, **changes)


@dataclass
class Response:
    """What their handlers return."""

    result: list[Any]
    structured_response: Any = None


def taken(given: Any) -> dict[str, Any]:
    return {"messages": [given] if isinstance(given, AIMessage) else given.result}


def graph_of(*nodes: Any, saver: Any = None) -> Any:
    builder = StateGraph(MessagesState)
    names = [f"node{number}" for number, _ in enumerate(nodes)]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node)
    for name, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(name, after)
    return builder.compile(checkpointer=saver)


def registry(**hooks: Any) -> HookRegistry:
    made = HookRegistry()
    for event, hook in hooks.items():
        given, how = hook if isinstance(hook, tuple) else (hook, {})
        made.register(event, given, **how)
    return made


def says(**output: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda happened: output


async def run_of(graph: Any, host: Host | None = None, **settings: Any) -> Run:
    handlers = {} if host is None else host.handlers()
    return await Run.create({"run_id": "r", "graph": graph, "custom_handlers": handlers, **settings})


def said(run: Run) -> list[Any]:
    return [message.content for message in run.get_run_messages()]


def texts(host: Host) -> list[Any]:
    return [part.get("text") for part in host.content.content_parts if part]


def deltas(host: Host) -> list[str]:
    return [data["delta"]["content"][0]["text"] for event, data in host.rows if event == "on_message_delta"]


@pytest.mark.parametrize("how", WAYS)
async def test_hooks_change_what_is_sent_and_the_answer_that_nobody_has_seen(how: str) -> None:
    seen: list[Any] = []

    def before(about: Mapping[str, Any]) -> dict[str, Any]:
        seen.append((about["agentId"], about["threadId"], [each.content for each in about["messages"]]))
        return {"updatedInput": {"messages": [SystemMessage("Be kind."), ("user", "***")], "options": {"seed": 7}}}

    def after(about: Mapping[str, Any]) -> dict[str, Any]:
        seen.append((about["text"], about["partial"]))
        return {"updatedOutput": "*"}

    model, host = model_of(script.reply("The code is 1234.", usage=(3, 4))), Host()
    run = await run_of(
        graph_of(node_of(model, how)), host, hooks=registry(BeforeModel=before, AfterModel=after), return_content=True
    )
    parts = await run.process_stream(ask("I am Ada"), THREAD)
    assert seen == [("node0", "t", ["I am Ada"]), ("The code is 1234.", False)]
    (request,) = model.requests
    assert [(each.type, each.content) for each in request.messages] == [("system", "Be kind."), ("human", "***")]
    assert request.options["seed"] == 7
    assert (said(run), deltas(host)) == (["*"], ["*"])
    assert texts(host) == ["*"] == [part["text"] for part in parts or ()]
    assert "1234" not in str(host.rows)
    assert (run.usage.total.total_tokens, run.usage.total.model_calls) == (7, 1)
    assert [data["outcome"] for event, data in host.rows if event == "on_guardrail"] == ["changed", "changed"]
    assert [message.content for message in run.graph.values["messages"]] == ["I am Ada", "*"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kept", [False, True])
async def test_a_denied_call_ends_the_turn(how: str, kept: bool) -> None:
    async def never(state: MessagesState) -> dict[str, Any]:
        raise AssertionError("the turn has ended")

    model, host, stops = model_of("Never."), Host(), list[Any]()
    hooks = registry(BeforeModel=says(decision="deny", reason="off topic"), Stop=stops.append)
    saver = in_memory_saver() if kept else None
    graph = graph_of(node_of(model, how), never, saver=saver)
    run = await run_of(graph, host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert model.requests == []
    assert (said(run), run.get_halt_reason()) == (["Blocked: off topic"], "model_call_denied")
    assert [each["stopReason"] for each in stops] == ["model_call_denied"]
    assert texts(host) == ["Blocked: off topic"]
    if kept:
        state = await graph.aget_state(THREAD)
        assert ([each.content for each in state.values["messages"]], state.next) == (["hi", "Blocked: off topic"], ())
        again = await run_of(graph_of(node_of(model_of("Fine."), how), saver=saver), run_id="r2")
        await again.process_stream(ask("and now"), THREAD)
        assert said(again) == ["Fine."]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("hold", ["answer", "sentence", "nothing"])
async def test_a_denied_answer_ends_the_turn_and_is_kept_nowhere(how: str, hold: str) -> None:
    reply = script.reply("Secret.", script.call("send", {"to": "ada"}, id="c"), usage=(3, 4))
    host, saver = Host(), in_memory_saver()
    graph = graph_of(node_of(model_of(reply), how), saver=saver)
    hooks = registry(AfterModel=(says(decision="deny", reason="leak"), {"hold": hold}))
    run = await run_of(graph, host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert (said(run), run.get_halt_reason()) == (["Blocked: leak"], "answer_denied")
    assert run.usage.total.total_tokens in ((7,) if hold != "sentence" else (0, 7))
    state = await graph.aget_state(THREAD)
    assert ([each.content for each in state.values["messages"]], state.next) == (["hi", "Blocked: leak"], ())
    if hold != "nothing":
        assert "Secret" not in str(host.rows)
        assert texts(host) == ["Blocked: leak"]
    assert not {"on_tool_start", "on_run_step_completed"} & {event for event, _ in host.rows}
    assert len([1 for event, _ in host.rows if event == "on_run_step"]) == len(
        [1 for event, _ in host.rows if event == "on_run_step_closed"]
    )


@pytest.mark.parametrize("how", ["own", "sync", "middleware", "elsewhere"])
async def test_sentences_are_told_once_each_is_approved(how: str) -> None:
    told: list[tuple[str, str]] = []

    def check(about: Mapping[str, Any]) -> dict[str, Any] | None:
        assert about["partial"]
        told.append((about["before"], about["text"]))
        return {"updated_output": "Nobody. "} if "Ada" in about["text"] else None

    host = Host()
    hooks = registry(AfterModel=(check, {"hold": "sentence"}))
    run = await run_of(graph_of(node_of(model_of("Hi there. I am Ada. And you"), how)), host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert told == [("", "Hi there. "), ("Hi there. ", "I am Ada. "), ("Hi there. Nobody. ", "And you")]
    assert deltas(host) == ["Hi there. ", "Nobody. ", "And you"]
    assert said(run) == ["Hi there. Nobody. And you"]
    assert "Ada" not in str(host.rows)


@pytest.mark.parametrize("text", ["Hi there. I am Ada. And so on. And on.", "Hi there. I am Ada"])
@pytest.mark.parametrize("how", ["own", "sync", "middleware", "elsewhere"])
async def test_a_denied_sentence_stops_the_graph(how: str, text: str) -> None:
    host, saver = Host(), in_memory_saver()
    deny = {"decision": "deny", "reason": "a name"}
    hooks = registry(AfterModel=(lambda told: deny if "Ada" in told["text"] else None, {"hold": "sentence"}))
    graph = graph_of(node_of(model_of(text), how), saver=saver)
    run = await run_of(graph, host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert deltas(host) == ["Hi there. ", "Blocked: a name"]
    assert (said(run), run.get_halt_reason()) == (["Hi there. Blocked: a name"], "answer_denied")
    assert texts(host) == ["Hi there. Blocked: a name"]
    assert [event for event, _ in host.rows].count("on_run_step_closed") == 1
    assert run.usage.total.model_calls == 1
    state = await graph.aget_state(THREAD)
    assert [each.content for each in state.values["messages"]] == ["hi", "Hi there. Blocked: a name"]


@pytest.mark.parametrize("how", WAYS)
async def test_an_approved_answer_is_told_in_the_pieces_that_came(how: str) -> None:
    plain, held = Host(), Host()
    reply = script.reply(script.Think("Hm."), "One two three.", script.call("send", {"to": "a"}, id="c"))
    await (await run_of(graph_of(node_of(model_of(reply), how)), plain)).process_stream(ask(), THREAD)
    for hold in ("answer", "sentence"):
        held = Host()
        run = await run_of(
            graph_of(node_of(model_of(reply), how)),
            held,
            hooks=registry(AfterModel=(says(decision="allow"), {"hold": hold})),
        )
        await run.process_stream(ask(), THREAD)
        assert held.content.content_parts == plain.content.content_parts
        if hold == "answer":
            assert held.steps() == plain.steps()


@pytest.mark.parametrize("how", WAYS)
async def test_gates_answer_in_the_model_s_place(how: str) -> None:
    order: list[str] = []

    class Gate:
        def __init__(self, name: str, answer: AIMessage | None = None) -> None:
            self.name, self.answer = name, answer

        def before(self, request: Any) -> Any:
            order.append(f"before {self.name}")
            return self.answer or request

        def after(self, request: Any, answer: AIMessage) -> Any:
            order.append(f"after {self.name}")
            return answer.model_copy(update={"content": f"{answer.content}!"})

    model, host = model_of(), Host()
    run = await run_of(
        graph_of(node_of(model, how)), host, model_gates=[Gate("outer"), Gate("inner", AIMessage("Cached"))]
    )
    await run.process_stream(ask(), THREAD)
    assert order == ["before outer", "before inner", "after inner", "after outer"]
    assert (said(run), deltas(host), model.requests) == (["Cached!!"], ["Cached!!"], [])


@pytest.mark.parametrize("way", ["await", "sync", "swallowed"])
async def test_a_model_that_is_called_past_the_gates_is_refused_before_it_is_asked(way: str) -> None:
    model = model_of("Never.")

    async def node(state: MessagesState) -> dict[str, Any]:
        if way == "swallowed":
            try:
                await model.ainvoke(state["messages"])
            except ConfigurationError:
                return {"messages": [AIMessage("Anyway.")]}
        return {"messages": [await model.ainvoke(state["messages"])]}

    def sync(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    hooks = registry(BeforeModel=says())
    run = await run_of(graph_of(sync if way == "sync" else node), hooks=hooks)
    with pytest.raises(
        ConfigurationError, match=r"in the node 'node0' past the hooks and gates of the run: .*run_model"
    ):
        await run.process_stream(ask(), THREAD)
    assert model.requests == []
    assert run.usage.total.model_calls == 0


async def test_a_model_that_says_so_is_called_without_the_gates() -> None:
    model = model_of("Fine.", tags=[UNGUARDED])

    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    run = await run_of(graph_of(node), hooks=registry(BeforeModel=says(decision="deny")))
    await run.process_stream(ask(), THREAD)
    assert said(run) == ["Fine."]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_call_off_the_record_is_refused_alone(when: str) -> None:
    router, model, host = model_of("Secret way."), model_of("Fine."), Host()

    async def node(state: MessagesState) -> dict[str, Any]:
        with pytest.raises(ModelDeniedError, match="no"):
            await run_model(router, state["messages"], off_record=True)
        return {"messages": [await run_model(model, state["messages"])]}

    class Gate:
        def before(self, request: Any) -> Any:
            return Halt("no") if request.off_record and when == "before" else request

        def after(self, request: Any, answer: AIMessage) -> Any:
            return Halt("no") if request.off_record and when == "after" else answer

        def hold(self, request: Any) -> str:
            return "sentence"

        async def piece(self, request: Any, text: str, before: str) -> str:
            return text

    run = await run_of(graph_of(node), host, model_gates=[Gate()])
    await run.process_stream(ask(), THREAD)
    assert (said(run), run.get_halt_reason()) == (["Fine."], None)
    assert "Secret" not in str([data for event, data in host.rows if event != "on_chat_model_end"])
    assert run.usage.total.model_calls == (1 if when == "before" else 2)


async def test_a_fallback_within_the_gates_is_one_call_to_them() -> None:
    seen: list[Any] = []
    broken = model_of(script.reply("Half", script.Fault("gone")))
    model = broken.with_fallbacks([model_of("Whole.")])
    host = Host()
    hooks = registry(
        BeforeModel=lambda about: seen.append("before"), AfterModel=lambda about: seen.append(about["text"])
    )
    run = await run_of(graph_of(node_of(model, "own")), host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert seen == ["before", "Whole."]
    assert (said(run), "".join(deltas(host))) == (["Whole."], "Whole.")


async def test_the_models_of_a_chain_are_one_call_to_the_gates_until_it_has_returned() -> None:
    prompt, model, late = model_of("A prompt."), model_of("Fine."), model_of("Never.")
    seen: list[Any] = []
    returned, begun = asyncio.Event(), list[asyncio.Future[Any]]()

    async def call_late() -> None:
        await returned.wait()
        await late.ainvoke("And now?")

    async def chain(messages: list[Any]) -> AIMessage:
        begun.append(asyncio.ensure_future(call_late()))
        return await model.ainvoke([await prompt.ainvoke(messages)])

    async def node(state: MessagesState) -> dict[str, Any]:
        answer = await run_model(RunnableLambda(chain), state["messages"])
        returned.set()
        await asyncio.gather(*begun, return_exceptions=True)
        return {"messages": [answer]}

    hooks = registry(AfterModel=lambda about: seen.append(about["text"]))
    run = await run_of(graph_of(node), hooks=hooks)
    with pytest.raises(ConfigurationError, match="past the hooks and gates of the run"):
        await run.process_stream(ask(), THREAD)
    assert seen == ["Fine."]
    assert (len(prompt.requests), len(model.requests), late.requests) == (1, 1, [])


async def test_one_branch_that_is_denied_ends_the_others() -> None:
    begun = asyncio.Event()

    async def slow(state: MessagesState) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async def denied(state: MessagesState) -> dict[str, Any]:
        await begun.wait()
        return {"messages": [await run_model(model_of("Never."), state["messages"])]}

    builder = StateGraph(MessagesState)
    for name, node in (("slow", slow), ("denied", denied)):
        builder.add_node(name, node)
        builder.add_edge(START, name)
    run = await run_of(
        builder.compile(checkpointer=in_memory_saver()), hooks=registry(BeforeModel=says(decision="deny"))
    )
    await asyncio.wait_for(run.process_stream(ask(), THREAD), 20)
    assert (said(run), run.get_halt_reason()) == (["Blocked: model_call_denied"], "model_call_denied")


async def test_a_denial_inside_of_a_nested_graph_ends_the_turn_on_the_thread() -> None:
    inner = graph_of(node_of(model_of("Never."), "own"))
    graph = graph_of(inner, saver=in_memory_saver())
    run = await run_of(graph, hooks=registry(BeforeModel=says(decision="deny", reason="no")))
    await run.process_stream(ask(), THREAD)
    assert said(run) == ["Blocked: no"]
    state = await graph.aget_state(THREAD)
    assert ([each.content for each in state.values["messages"]], state.next) == (["hi", "Blocked: no"], ())


async def test_an_abort_while_hooks_review_an_answer_tells_nothing_of_it_and_counts_it() -> None:
    host, reviewing = Host(), asyncio.Event()

    async def review(about: Mapping[str, Any]) -> None:
        reviewing.set()
        await asyncio.Event().wait()

    graph = graph_of(node_of(model_of(script.reply("Secret.", usage=(3, 4))), "own"), saver=in_memory_saver())
    run = await run_of(graph, host, hooks=registry(AfterModel=(review, {"timeout_s": 60})))
    task = run.start(ask(), THREAD)
    await asyncio.wait_for(reviewing.wait(), 20)
    run.abort("enough")
    with pytest.raises(Exception, match="enough"):
        await task
    assert (said(run), run.usage.total.total_tokens) == ([], 7)
    assert "Secret" not in str(host.rows)


async def test_a_gate_that_raises_fails_the_run_and_nothing_is_told() -> None:
    class Gate:
        def before(self, request: Any) -> Any:
            return request

        def after(self, request: Any, answer: AIMessage) -> Any:
            raise RuntimeError("broken gate")

        def hold(self, request: Any) -> str:
            return "answer"

        async def piece(self, request: Any, text: str, before: str) -> str:
            return text

    host = Host()
    run = await run_of(
        graph_of(node_of(model_of(script.reply("Secret.", usage=(3, 4))), "own")), host, model_gates=[Gate()]
    )
    with pytest.raises(RuntimeError, match="broken gate"):
        await run.process_stream(ask(), THREAD)
    assert (deltas(host), run.usage.total.total_tokens) == ([], 7)


async def test_what_is_no_message_is_refused() -> None:
    from langchain_core.output_parsers import StrOutputParser

    run = await run_of(
        graph_of(node_of(model_of("Hi.") | StrOutputParser(), "own")), hooks=registry(BeforeModel=says())
    )
    with pytest.raises(TypeError, match=r"answer is of type .*; expected a message"):
        await run.process_stream(ask(), THREAD)


@pytest.mark.parametrize("how", WAYS)
async def test_outside_of_a_run_and_without_gates_models_are_just_called(how: str) -> None:
    graph = graph_of(node_of(model_of("One.", "Two."), how))
    state = await graph.ainvoke(ask())
    assert state["messages"][-1].content == "One."
    run = await run_of(graph, hooks=registry(PreToolUse=says()))
    await run.process_stream(ask(), THREAD)
    assert said(run) == ["Two."]


async def test_a_structured_response_of_a_text_that_is_replaced_is_left_out() -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        async def handler(request: Request) -> Response:
            return Response([await request.model.ainvoke(request.messages)], {"secret": 1})

        given = await guard_model(Request(model_of('{"secret": 1}'), list(state["messages"])), handler)
        assert given.structured_response is None
        return taken(given)

    run = await run_of(graph_of(node), hooks=registry(AfterModel=says(updatedOutput="*")))
    await run.process_stream(ask(), THREAD)
    assert said(run) == ["*"]
