"""Our prebuilt agents and nodes beside langgraph-prebuilt's: the same results, and the same events to handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import StructuredTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from tests.prebuilt.models import Scripted, asking, call, model, plain, said

QUESTION = {"messages": [HumanMessage("?", id="q")]}


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(return_direct=True)
def final(text: str) -> str:
    """Answer."""
    return text.upper()


@tool(response_format="content_and_artifact")
def chart(of: str) -> tuple[str, dict[str, str]]:
    """Draw."""
    return f"a chart of {of}", {"svg": of}


@tool
def listing(n: int) -> list[Any]:
    """List."""
    return [{"type": "text", "text": str(n)}] if n else [{"n": n}, None]


@tool
def fails(how: str) -> str:
    """Fail."""
    raise ToolException(how) if how == "gently" else ValueError(how)


fails.handle_tool_error = "it failed"


@tool
async def later(a: int) -> str:
    """Wait."""
    return f"{a} later"


def nothing(a: int) -> None:
    """Return nothing."""


class Both(BaseModel):
    x: int
    y: int = 2


of_schema = StructuredTool.from_function(lambda x, y=2: x * y, name="times", description="Multiply.", args_schema=Both)

ADDS = asking(call("add", a=1, b=2))
TWO = asking(call("add", a=1, b=2), call("chart", "c2", of="y"))


def react(tools: list[Any], *answers: Any, **options: Any) -> Callable[[Any], Any]:
    """What makes an agent of either implementation."""
    return lambda prebuilt: prebuilt.create_react_agent(model(*answers), tools, **options)


def later_prompt(state: Any) -> Any:
    return [SystemMessage("be late"), *state["messages"]]


AGENTS = {
    "plain": react([add], ADDS, "3"),
    "named": react([add], ADDS, "3", name="adder"),
    "v1": react([add, chart], TWO, "done", version="v1"),
    "v2": react([add, chart], TWO, "done"),
    "text prompt": react([add], ADDS, "3", prompt="be brief"),
    "message prompt": react([add], ADDS, "3", prompt=SystemMessage("be brief", id="s")),
    "function prompt": react([add], ADDS, "3", prompt=later_prompt),
    "template prompt": react(
        [add], ADDS, "3", prompt=ChatPromptTemplate([("system", "hi"), ("placeholder", "{messages}")])
    ),
    "artifact": react([chart], asking(call("chart", of="x")), "drawn"),
    "blocks": react([listing], asking(call("listing", n=1)), "listed"),
    "json": react([listing], asking(call("listing", n=0)), "listed"),
    "none": react([nothing], asking(call("nothing", a=1)), "nothing"),
    "schema": react([of_schema], asking(call("times", x="7")), "14"),
    "handled by the tool": react([fails], asking(call("fails", how="gently")), "sorry"),
    "bad arguments": react([add], asking(call("add", a="one", b=2)), "sorry"),
    "unknown tool": react([add], asking(call("subtract", a=1, b=2)), "sorry"),
    "return direct": react([final, add], asking(call("final", text="so"))),
    "return direct beside": react([final, add], asking(call("add", a=1, b=1), call("final", "c2", text="so"))),
    "structured": react([add], ADDS, "3", response_format=Both),
    "structured with prompt": react([add], ADDS, "3", response_format=("say it", Both)),
    "no tools": react([], "hello"),
    "before": react([add], ADDS, "3", pre_model_hook=lambda s: {"llm_input_messages": s["messages"][-1:] * 2}),
    "after": react([add, chart], TWO, "3", post_model_hook=lambda s: {"messages": []}),
    "chosen": lambda prebuilt: prebuilt.create_react_agent(_choosing(model(ADDS, "3")), [add], prompt="be brief"),
    "bound": lambda prebuilt: prebuilt.create_react_agent(model(ADDS, "3").bind(stop=["x"]), [add]),
}


def _choosing(one: Scripted) -> Callable[[Any, Any], Any]:
    return lambda state, runtime: one


class Listening(BaseCallbackHandler):
    """Notes what it is told: the event, the name, the tags, how deep it is, and what goes in and out."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._depth: dict[UUID, int] = {}

    def _start(self, event: str, name: Any, run_id: UUID, parent_run_id: UUID | None, tags: Any, given: Any) -> None:
        depth = self._depth.get(parent_run_id, 0) + 1 if parent_run_id else 0
        self._depth[run_id] = depth
        self.told.append((event, name, depth, sorted(tags or []), shown(given)))

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self._start("chain", kw.get("name"), run_id, parent_run_id, kw.get("tags"), inputs)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self._start("model", kw.get("name"), run_id, parent_run_id, kw.get("tags"), messages)

    def on_tool_start(self, serialized: Any, text: str, *, run_id: UUID, parent_run_id: Any = None, **kw: Any) -> None:
        self._start("tool", kw.get("name"), run_id, parent_run_id, kw.get("tags"), kw.get("inputs"))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kw: Any) -> None:
        self.told.append(("chain ended", self._depth[run_id], shown(outputs)))

    def on_llm_end(self, response: Any, *, run_id: UUID, **kw: Any) -> None:
        self.told.append(("model ended", self._depth[run_id]))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kw: Any) -> None:
        self.told.append(("tool ended", self._depth[run_id], shown(output)))

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kw: Any) -> None:
        self.told.append(("tool failed", self._depth[run_id], repr(error)))

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kw: Any) -> None:
        self.told.append(("chain failed", self._depth[run_id], type(error).__name__))


def shown(value: Any) -> Any:
    """A value that can be compared: messages by content, everything else by its kind."""
    if isinstance(value, AIMessage | HumanMessage | ToolMessage | SystemMessage):
        return plain(value)
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items() if key != "remaining_steps"}
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    return value if isinstance(value, str | int | None) else type(value).__name__


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_says_the_same(name, ours, theirs, driver):
    one, other = (driver.invoke(AGENTS[name](prebuilt), QUESTION) for prebuilt in (ours, theirs))
    assert said(one) == said(other)
    assert len(said(one)) > 1
    assert shown({**one, "messages": []}) == shown({**other, "messages": []})


@pytest.mark.parametrize("mode", ["values", "updates", "tasks"])
@pytest.mark.parametrize("name", ["plain", "v1", "v2", "structured", "before", "after"])
def test_a_stream_shows_the_same(name, mode, ours, theirs, driver):
    one, other = (driver.stream(AGENTS[name](each), QUESTION, stream_mode=mode) for each in (ours, theirs))
    ids = ("id", "triggers", "interrupts")
    one, other = ([{k: v for k, v in part.items() if k not in ids} for part in stream] for stream in (one, other))
    if mode == "tasks" or name in ("v2", "after"):  # tasks of one step end in any order
        one, other = sorted(map(repr, map(shown, one))), sorted(map(repr, map(shown, other)))
    assert shown(one) == shown(other)


@pytest.mark.parametrize("name", sorted(AGENTS.keys() - {"v1", "v2", "return direct beside", "after"}))
def test_messages_and_tools_are_streamed_alike(name, ours, theirs, driver):
    shows = []
    for prebuilt in (ours, theirs):
        parts = driver.stream(AGENTS[name](prebuilt), QUESTION, stream_mode=["messages", "tools", "custom"])
        labels = ("langgraph_node", "langgraph_step", "ls_provider", "tags")
        shows.append(
            [
                (mode, shown(part[0]), {key: part[1].get(key) for key in labels})
                if mode == "messages"
                else (mode, {key: shown(each) for key, each in part.items() if key != "tool_call_id"})
                for mode, part in parts
            ]
        )
    assert shows[0] == shows[1]
    assert {"messages"} <= {each[0] for each in shows[0]}


@pytest.mark.parametrize("name", sorted(AGENTS.keys() - {"v1", "v2", "return direct beside", "after"}))
def test_a_handler_is_told_the_same(name, ours, theirs, driver):
    told = []
    for prebuilt in (ours, theirs):
        listening = Listening()
        driver.invoke(AGENTS[name](prebuilt), QUESTION, {"callbacks": [listening]})
        told.append(listening.told)
    assert told[0] == told[1]
    assert any(event[0] == "model" for event in told[0])


@pytest.mark.parametrize("name", ["v1", "v2", "after"])
def test_a_handler_is_told_the_same_of_calls_beside_each_other(name, ours, theirs, driver):
    told = []
    for prebuilt in (ours, theirs):
        listening = Listening()
        driver.invoke(AGENTS[name](prebuilt), QUESTION, {"callbacks": [listening]})
        told.append(sorted(map(repr, listening.told)))
    assert told[0] == told[1]


@pytest.mark.parametrize("where", ["model", "tool", "prompt"])
def test_a_handler_of_one_part_is_told_the_same(where, ours, theirs, driver):
    """Nobody listens to the run, so it takes the short way; the part with a handler must not."""
    told = []
    for prebuilt in (ours, theirs):
        listening = Listening()
        one, own, prompt = model(ADDS, "3"), add.model_copy(), None
        if where == "model":
            one.callbacks = [listening]
        elif where == "tool":
            own.callbacks = [listening]
        else:
            template = ChatPromptTemplate([("system", "hi"), ("placeholder", "{messages}")])
            prompt = template.with_config(callbacks=[listening])
        driver.invoke(prebuilt.create_react_agent(one, [own], prompt=prompt), QUESTION)
        told.append(listening.told)
    assert told[0] == told[1] != []


@pytest.mark.parametrize("name", ["plain", "v1", "before", "structured"])
def test_threads_are_stored_alike(name, ours, theirs, driver):
    kept = []
    for prebuilt in (ours, theirs):
        saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}
        agent = AGENTS[name](prebuilt)
        agent.checkpointer = saver
        driver.invoke(agent, QUESTION, config)
        history = driver.history(agent, config)
        kept.append([(each.next, shown(each.values), each.metadata["step"], len(each.tasks)) for each in history])
    assert kept[0] == kept[1]


@pytest.mark.parametrize("name", AGENTS)
def test_the_graphs_are_drawn_alike(name, ours, theirs):
    one, other = (AGENTS[name](prebuilt).get_graph() for prebuilt in (ours, theirs))
    assert one.to_json() == other.to_json()
    assert one.draw_mermaid() == other.draw_mermaid()


@pytest.mark.parametrize("name", ["plain", "structured", "before", "no tools"])
def test_the_schemas_are_the_same(name, ours, theirs):
    one, other = (AGENTS[name](prebuilt) for prebuilt in (ours, theirs))
    assert one.get_input_jsonschema() == other.get_input_jsonschema()
    assert one.get_output_jsonschema() == other.get_output_jsonschema()


@pytest.mark.parametrize("steps", range(1, 6))
def test_an_agent_that_runs_out_of_steps_says_so_at_the_same_point(steps, ours, theirs, driver):
    ends = []
    for prebuilt in (ours, theirs):
        try:
            ends.append(said(driver.invoke(AGENTS["plain"](prebuilt), QUESTION, {"recursion_limit": steps})))
        except Exception as error:
            ends.append(type(error).__name__)
    assert ends[0] == ends[1]


def test_a_model_with_tools_is_bound_to_them_once(prebuilt):
    one = model("hi")
    prebuilt.create_react_agent(one, [add, {"type": "web_search"}])
    assert [getattr(each, "name", each) for each in one.tools] == ["add", {"type": "web_search"}]
    bound = one.bind(tools=[{"type": "function", "function": {"name": "add"}}])
    prebuilt.create_react_agent(bound, [add])
    assert len(one.tools) == 2
    with pytest.raises(ValueError, match="Number of tools"):
        prebuilt.create_react_agent(bound, [add, chart])
    with pytest.raises(ValueError, match="Missing tools"):
        prebuilt.create_react_agent(bound, [chart])


def test_what_is_given_wrongly_is_refused_in_the_same_words(ours, theirs):
    class Lacking(BaseModel):
        messages: list[Any]

    wrong: list[dict[str, Any]] = [
        {"version": "v3"},
        {"state_schema": Lacking},
        {"prompt": 5},
        {"colour": "blue"},
    ]
    for options in wrong:
        said = []
        for prebuilt in (ours, theirs):
            with pytest.raises((ValueError, TypeError)) as refused:
                prebuilt.create_react_agent(model("hi"), [add], **options)
            said.append((type(refused.value), str(refused.value)))
        assert said[0] == said[1]


def test_a_history_with_a_call_that_has_no_result_is_refused_in_the_same_words(ours, theirs, driver):
    said = []
    for prebuilt in (ours, theirs):
        with pytest.raises(ValueError) as refused:
            driver.invoke(AGENTS["plain"](prebuilt), {"messages": [HumanMessage("?"), ADDS, HumanMessage("well?")]})
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert "INVALID_CHAT_HISTORY" in said[0]


def test_a_model_that_is_chosen_by_an_async_function_needs_an_async_run(prebuilt):
    one = model("hi")

    async def choose(state: Any, runtime: Any) -> Scripted:
        return one

    with pytest.raises(RuntimeError, match="Async model callable provided but agent invoked synchronously"):
        prebuilt.create_react_agent(choose, [add]).invoke(QUESTION)
