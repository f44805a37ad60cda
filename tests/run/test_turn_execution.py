"""One execution to its end, on a graph whose states are given: how it goes on, pauses, is stopped and fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage

from stategraph.agent.facts import ModelCall, ModelStarted, ModelStreamed, Place
from stategraph.agent.messages.compaction import FadingTier
from stategraph.agent.ports import AgentContext
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, HandlerError, mark_invalid_resume
from stategraph.run.abort import AbortController
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.listener import RunListener
from stategraph.run.events.run_log import RunLog
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.hooks.turn_hooks import TurnHooks
from stategraph.run.run import Run
from stategraph.run.turn.turn_execution import TurnExecution
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Interrupt, StateSnapshot

pytestmark = pytest.mark.anyio

HI = HumanMessage("hi", id="m0")
CONTEXT: Any = object()


def said(number: int, text: str = "", **about: Any) -> AIMessage:
    return AIMessage(text or f"answer {number}", id=f"m{number}", **about)


def waiting(*interrupts: Interrupt, next: tuple[str, ...] = ("a",)) -> StateSnapshot:
    config: Any = {"configurable": {"checkpoint_id": "c"}}
    return StateSnapshot({"messages": [HI]}, next, config, None, None, None, (), interrupts)


class Graph:
    """A compiled graph whose executions stream what they are given, raise it, or call it."""

    def __init__(self, *segments: list[Any], checkpointer: Any = None, state: StateSnapshot | None = None) -> None:
        self.calls: list[tuple[Any, Any, dict[str, Any]]] = []
        self.written: list[Any] = []
        self.checkpointer = checkpointer
        self.interrupt_before_nodes: Any = ()
        self.interrupt_after_nodes: Any = ()
        self._segments = list(segments)
        self._state = state

    async def astream(self, given: Any, config: Any, **options: Any) -> Any:
        self.calls.append((given, config, options))
        for each in self._segments.pop(0):
            if isinstance(each, BaseException):
                raise each
            if callable(each):
                await each()
            else:
                yield each

    async def aget_state(self, config: Any, **options: Any) -> StateSnapshot:
        assert self._state is not None
        return self._state

    async def aupdate_state(self, config: Any, values: Any, *, as_node: str) -> None:
        self.written.append((config, values))


class Turn:
    """An execution, and what became of it."""

    def __init__(self, graph: Graph, *, durability: Any = "exit", clean: bool = True, **hooks: Any) -> None:
        compiled: Any = graph
        agents: Any = [SimpleNamespace(id="a", name="Anna")]
        self.closed: list[str] = []
        handlers = EventHandlerRegistry({"on_run_step_closed": self._close})
        self.log = RunLog(100)
        self.graph = ExecutionGraph("r", compiled, handlers, agents, several_agents=False)
        self.listener = RunListener("r", self.graph, self.log)
        self.listener.begin([HI])
        registry = HookRegistry()
        for event, hook in hooks.items():
            registry.register(event, hook)
        around = TurnHooks("r", "a", registry, 8) if hooks else None
        self.config: Any = {"configurable": {"thread_id": "t"}}
        self.execution = TurnExecution(
            self.graph, self.listener, around, self.log, self.config, durability=durability, clean=clean
        )

    def _close(self, event: str, data: Any, metadata: Any, graph: Any) -> None:
        self.closed.append(data["status"])

    async def run(self, *signals: Any, given: Any = None) -> bool:
        return await self.execution.run({"messages": [HI]} if given is None else given, CONTEXT, signals)

    async def write(self, text: str = "Hel") -> None:
        """Let the model of an agent write a piece of an answer."""
        self.call = ModelCall(Place("a", "Anna", "agent=a", {}), "openai", "m", [HI], 1)
        await self.listener.hear(ModelStarted(self.call))
        await self.listener.hear(ModelStreamed(self.call, AIMessageChunk(content=text, id="m9")))

    @property
    def messages(self) -> list[AnyMessage]:
        return self.graph.get_run_messages()

    async def end(self) -> dict[str, Any]:
        """The last event."""
        *_, last = [event async for event in self.log.read(0)]
        assert last.event == "on_run_end"
        data: dict[str, Any] = last.data
        return data


# -- to its end ----------------------------------------------------------


@pytest.mark.parametrize(("checkpointer", "durability"), [(None, None), (object(), "sync")])
async def test_a_turn_brings_what_comes_after_what_went_in(checkpointer: Any, durability: Any) -> None:
    graph = Graph([{"messages": [HI]}, {"messages": [HI, said(1)]}], checkpointer=checkpointer)
    turn = Turn(graph, durability="sync")
    assert await turn.run()
    assert turn.messages == [said(1)]
    options = {"context": CONTEXT, "stream_mode": "values", "durability": durability}
    assert graph.calls == [({"messages": [HI]}, turn.config, options)]
    assert await turn.end() == {"status": "completed"}
    assert (turn.execution.paused, turn.execution.interrupts, turn.execution.halt_reason) == (False, (), None)


async def test_where_what_went_in_is_no_longer_in_the_state_a_turn_brings_what_was_told() -> None:
    turn = Turn(Graph([{"messages": [said(2)]}]))
    turn.listener.produced.extend([said(1), said(2)])
    await turn.run()
    assert turn.messages == [said(1), said(2)]


@pytest.mark.parametrize(("clean", "left"), [(True, 0), (False, 1)])
async def test_steps_are_closed_at_the_end_and_stay_only_if_the_host_wants_it(clean: bool, left: int) -> None:
    graph = Graph([{"messages": [HI, said(1)]}])
    turn = Turn(graph, clean=clean)
    await turn.write()
    await turn.run()
    assert turn.closed == ["completed"]
    assert len(turn.graph.get_run_steps()) == left


@pytest.mark.parametrize(
    ("values", "reason", "status"),
    [
        ({"messages": [HI, said(1)], "halt_reason": "enough"}, "enough", "cancelled"),
        ({"messages": [HI, said(1, response_metadata={"finish_reason": "length"})]}, "output_truncated", "completed"),
        ({"messages": [HI, said(1, response_metadata={"finish_reason": "content_filter"})]}, None, "completed"),
        ({"messages": [HI, said(1), HumanMessage("added", id="m2")]}, None, "completed"),
        ({"messages": [HI]}, None, "completed"),
    ],
)
async def test_a_turn_that_ended_early_says_why(values: Any, reason: str | None, status: str) -> None:
    turn = Turn(Graph([values]))
    await turn.write()
    assert await turn.run()
    assert turn.execution.halt_reason == reason
    assert turn.closed == [status]
    assert await turn.end() == {"status": status}


# -- hooks ---------------------------------------------------------------


async def test_a_turn_that_hooks_refuse_does_not_begin() -> None:
    graph = Graph()
    turn = Turn(graph, UserPromptSubmit=lambda happened: {"decision": "deny"})
    assert not await turn.run()
    assert (graph.calls, turn.messages, turn.execution.halt_reason) == ([], [], "prompt_denied")
    assert await turn.end() == {"status": "cancelled"}


async def test_what_hooks_add_goes_in_and_a_turn_that_is_resumed_asks_none() -> None:
    graph = Graph([{"messages": [HI, said(1)]}], [{"messages": [HI, said(1)]}])
    turn = Turn(graph, RunStart=lambda happened: {"additional_context": "known"})
    await turn.run(given={"messages": [HI], "memory": "m"})
    ((given, _, _),) = graph.calls
    assert (given["messages"][0], len(given["messages"]), given["memory"]) == (HI, 2, "m")
    assert turn.listener.last_input_id == given["messages"][-1].id != "m0"
    command: Any = object()
    await turn.run(given=command)
    assert graph.calls[1][0] is command


@pytest.mark.parametrize("saves", [True, False])
async def test_hooks_keep_a_turn_going_with_what_they_say(saves: bool) -> None:
    windows = {"a": {"x": 1}}
    first: Any = {"messages": [HI, said(1)], **({} if saves else {"windows": windows, "counts_2": {"a": {"y": 2}}})}
    graph = Graph([first], [{"messages": [HI, said(1), said(2)]}], checkpointer=object() if saves else None)
    counted: list[Any] = []

    def stop(happened: Any) -> Any:
        counted.append((happened["continuationCount"], len(happened["messages"])))
        more = {"decision": "block", "injected_messages": [{"role": "user", "content": "go on"}]}
        return more if len(counted) == 1 else None

    turn = Turn(graph, Stop=stop)
    assert await turn.run()
    assert counted == [(0, 1), (1, 2)]
    (again,) = [given for given, _, _ in graph.calls[1:]]
    *known, added = again["messages"]
    assert added.content == "go on"
    assert known == ([] if saves else [HI, said(1)])
    assert again.get("windows") == (None if saves else windows)
    assert again.get("counts_2") == (None if saves else {"a": {"y": 2}})
    assert turn.listener.produced == [added]
    assert turn.messages == [said(1), said(2)]


async def test_hooks_may_say_why_a_turn_ends_in_place_of_the_engine() -> None:
    values = {"messages": [HI, said(1)], "halt_reason": "of a tool"}
    turn = Turn(Graph([values]), Stop=lambda happened: {"prevent_continuation": True, "stop_reason": "of a hook"})
    await turn.run()
    assert turn.execution.halt_reason == "of a hook"
    turn = Turn(Graph([values]), Stop=lambda happened: None)
    await turn.run()
    assert turn.execution.halt_reason == "of a tool"


# -- pauses --------------------------------------------------------------


async def test_a_turn_that_waits_says_for_what_and_leaves_its_steps_open() -> None:
    state = waiting(Interrupt("ask?", id="i"))
    turn = Turn(Graph([{"messages": [HI]}, {"__interrupt__": ()}], checkpointer=object(), state=state))
    await turn.write()
    assert await turn.run()
    assert turn.execution.paused
    assert [(each.interrupt_id, each.thread_id) for each in turn.execution.interrupts] == [("i", "t")]
    assert turn.closed == []
    assert len(turn.graph.get_run_steps()) == 1
    assert await turn.end() == {"status": "interrupted", "interrupts": [{"interruptId": "i", "payload": "ask?"}]}


@pytest.mark.parametrize("where", ["interrupt_before_nodes", "interrupt_after_nodes"])
@pytest.mark.parametrize("there", [True, False])
async def test_a_turn_waits_at_a_breakpoint_if_it_is_there(where: str, there: bool) -> None:
    graph = Graph([{"messages": [HI, said(1)]}], checkpointer=object(), state=waiting(next=("a",) if there else ()))
    setattr(graph, where, ["a"])
    turn = Turn(graph)
    assert await turn.run()
    assert turn.execution.paused is there
    assert turn.execution.interrupts == ()
    assert (await turn.end())["status"] == ("interrupted" if there else "completed")


async def test_an_answer_that_does_not_fit_leaves_the_turn_waiting() -> None:
    error = ValueError("no answer")
    mark_invalid_resume(error)
    graph = Graph([error], checkpointer=object(), state=waiting(Interrupt("ask?", id="i")))
    turn = Turn(graph, StopFailure=lambda happened: pytest.fail("the turn has not failed"))
    with pytest.raises(ValueError, match="no answer"):
        await turn.run()
    assert turn.execution.paused
    assert [each.interrupt_id for each in turn.execution.interrupts] == ["i"]
    assert graph.written == []
    assert (await turn.end())["status"] == "interrupted"


# -- failures ------------------------------------------------------------


@pytest.mark.parametrize("saves", [True, False])
async def test_a_turn_that_fails_keeps_what_it_brought_here_and_on_its_thread(saves: bool) -> None:
    failed: list[Any] = []
    turn = Turn(Graph(), StopFailure=failed.append)

    async def bring() -> None:
        turn.listener.produced.append(said(1))
        await turn.write()

    graph = Graph(
        [{"messages": [HI, said(1)]}, bring, ValueError("mine")],
        checkpointer=object() if saves else None,
        state=waiting(next=()),
    )
    turn.graph.compiled = graph  # type: ignore[assignment]
    with pytest.raises(ValueError, match="mine") as raised:
        await turn.run()
    kept, cut = turn.messages
    assert (kept, cut.content, cut.additional_kwargs) == (said(1), "Hel", {"incomplete": "failed"})
    own: Any = {"configurable": {"thread_id": "t"}}
    assert graph.written == ([(own, {"messages": [kept, cut]})] if saves else [])
    (about,) = failed
    assert (about["exception"], about["lastAssistantMessage"], about["threadId"]) == (raised.value, cut, "t")
    assert turn.listener.partial == {}
    assert turn.closed == ["failed"]
    assert await turn.end() == {"status": "failed", "error": {"type": "ValueError"}}


async def test_a_turn_that_is_aborted_is_cancelled_and_waits_for_nothing() -> None:
    controller, failed = AbortController(), []
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    turn = Turn(Graph(), StopFailure=lambda happened: failed.append(happened["error"]))
    turn.graph.compiled = Graph([turn.write, hang])  # type: ignore[assignment]
    turn.execution.paused = True
    running = asyncio.ensure_future(turn.run(controller.signal))
    await asyncio.wait_for(begun.wait(), 10)
    controller.abort("enough")
    with pytest.raises(AbortError, match="enough"):
        await running
    (cut,) = turn.messages
    assert cut.additional_kwargs == {"incomplete": "aborted"}
    assert failed == ["enough"]
    assert turn.closed == ["cancelled"]
    assert not turn.execution.paused
    assert await turn.end() == {"status": "cancelled", "error": {"type": "AbortError", "message": "enough"}}


async def test_hooks_are_not_told_of_a_turn_whose_task_was_cancelled() -> None:
    failed: list[Any] = []
    turn = Turn(Graph([asyncio.CancelledError()]), StopFailure=failed.append)
    with pytest.raises(asyncio.CancelledError):
        await turn.run()
    assert failed == []
    assert (await turn.end())["status"] == "cancelled"


async def test_a_thread_that_cannot_be_mended_is_noted_on_the_error(caplog: pytest.LogCaptureFixture) -> None:
    turn = Turn(Graph([ValueError("mine")], checkpointer=object()))
    with pytest.raises(ValueError, match="mine") as raised:
        await turn.run()
    (note,) = raised.value.__notes__
    assert note.startswith("The thread 't' was left as it was: AssertionError")
    (record,) = caplog.records
    assert record.getMessage() == f"A run ended with ValueError. {note}"


async def test_a_handler_that_fails_while_steps_are_closed_does_not_keep_the_run_from_ending() -> None:
    turn = Turn(Graph([{"messages": [HI, said(1)]}]))
    await turn.write()

    async def fail(*about: Any) -> None:
        raise HandlerError("mine")

    turn.listener.sweep = fail  # type: ignore
    with pytest.raises(HandlerError, match="mine"):
        await turn.run()
    assert turn.graph.get_run_steps() == []
    assert (await turn.end())["status"] == "completed"


async def test_a_turn_whose_events_are_not_kept_ends_as_well() -> None:
    turn = Turn(Graph([{"messages": [HI, said(1)]}]))
    execution = TurnExecution(turn.graph, turn.listener, None, None, turn.config, durability="exit", clean=True)
    assert await execution.run({"messages": [HI]}, CONTEXT, [])
    assert turn.messages == [said(1)]


# -- a run ---------------------------------------------------------------


async def test_a_run_hands_its_nodes_what_the_host_said() -> None:
    gate = SimpleNamespace(before=print, after=print, finish=print)
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {"agents": [{"agent_id": "a", "model": ScriptedChatModel(replies=[])}]},
            "token_counter": lambda message: 5,
            "index_token_count_map": {0: 7},
            "calibration_ratio": 1.5,
            "fading_tiers": {"a": {"rung": 2, "masking": True}},
            "tool_gates": [gate],
        }
    )
    graph: Any = Graph([{"messages": [HI]}])
    run.graph.compiled = graph
    await run.process_stream({"messages": [HI]}, {"durability": "sync", "configurable": {"thread_id": "t"}})
    ((given, config, options),) = graph.calls
    assert given["messages"] == [HI]
    assert config["configurable"]["thread_id"] == "t"
    context: AgentContext = options["context"]
    assert context.token_counter is not None
    assert context.host is not None
    assert context.listener is not None
    assert context.token_counter(HI) == 5
    assert (context.run_id, context.token_counts, context.calibration_ratio) == ("r", {"m0": 7}, 1.5)
    assert context.fading_tiers == {"a": FadingTier(2, True)}
    assert list(context.gates) == [gate]


@pytest.mark.parametrize(
    ("settings", "limit", "counts"),
    [({}, None, False), ({"index_token_count_map": {0: 7}}, None, True), ({}, 1000, True)],
)
async def test_tokens_are_counted_where_the_host_counts_or_a_context_is_limited(
    settings: Any, limit: int | None, counts: bool
) -> None:
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=[]), "max_context_tokens": limit}
    run = await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, **settings})
    graph: Any = Graph([{"messages": [HI]}])
    run.graph.compiled = graph
    await run.process_stream({"messages": [HI]})
    ((_, _, options),) = graph.calls
    assert (options["context"].token_counter is not None) is counts


@pytest.mark.parametrize(
    ("settings", "number"),
    [({}, 0), ({"hooks": HookRegistry()}, 1), ({"human_in_the_loop": {"enabled": True}}, 1)],
)
async def test_calls_pass_the_gate_of_hooks_where_there_are_hooks_or_a_person(settings: Any, number: int) -> None:
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=[])}
    run = await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, **settings})
    graph: Any = Graph([{"messages": [HI]}])
    run.graph.compiled = graph
    await run.process_stream({"messages": [HI]})
    ((_, _, options),) = graph.calls
    assert len(options["context"].gates) == number


@pytest.mark.parametrize("saver", [None, in_memory_saver()])
async def test_a_run_stores_its_steps_where_its_thread_is_kept(saver: Any) -> None:
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=[])}
    described = {"agents": [agent], "compile_options": {"checkpointer": saver}}
    run = await Run.create({"run_id": "r", "graph_config": described})
    graph: Any = Graph([{"messages": [HI]}])
    run.graph.compiled = graph
    await run.process_stream({"messages": [HI]})
    ((_, _, options),) = graph.calls
    assert (options["context"].listener.memory() is not None) is (saver is not None)


@pytest.mark.parametrize("breakpoints", [{"interrupt_before": ("done",)}, {"interrupt_after": ("a",)}, {}])
async def test_a_run_is_compiled_with_its_breakpoints(breakpoints: Any) -> None:
    graph = {
        "agents": [{"agent_id": "a", "model": ScriptedChatModel(replies=[])}],
        "compile_options": {"checkpointer": in_memory_saver(), **breakpoints},
    }
    compiled = (await Run.create({"run_id": "r", "graph_config": graph})).graph.compiled
    assert tuple(compiled.interrupt_before_nodes or ()) == breakpoints.get("interrupt_before", ())
    assert tuple(compiled.interrupt_after_nodes or ()) == breakpoints.get("interrupt_after", ())
