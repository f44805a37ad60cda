"""Tool nodes, where langgraph-prebuilt's own tests do not look: both implementations, unless a test says so."""

import asyncio
import contextvars
import threading
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import InjectedToolArg, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.prebuilt.models import asking, call, model, plain, said

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    owner: str


def graph_of(node: Any, schema: Any = State, **options: Any) -> Any:
    return StateGraph(schema).add_node("tools", node).add_edge(START, "tools").compile(**options)


def answers(state: Any) -> list[tuple[Any, ...]]:
    return [plain(message)[:5] for message in state["messages"] if isinstance(message, ToolMessage)]


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def boom(kind: str) -> str:
    """Fail."""
    raise {"value": ValueError, "key": KeyError, "os": OSError}[kind]("boom")


# --- errors ---


def of_value(error: ValueError) -> str:
    return f"value: {error}"


def of_two(error: ValueError | KeyError) -> str:
    return f"one of two: {error}"


def of_any(error) -> str:  # type: ignore[no-untyped-def]
    return f"any: {type(error).__name__}"


class Handler:
    def handle(self, error: OSError) -> str:
        return f"os: {error}"


@pytest.mark.parametrize("kind", ["value", "key", "os"])
@pytest.mark.parametrize(
    "handling",
    [
        True,
        False,
        "",
        "never mind",
        ValueError,
        (KeyError, OSError),
        (),
        of_value,
        of_two,
        of_any,
        Handler().handle,
        None,
    ],
    ids=lambda each: getattr(each, "__name__", repr(each)),
)
def test_errors_are_handled_as_they_say(kind, handling, ours, theirs, driver):
    ends = []
    for prebuilt in (ours, theirs):
        options = {} if handling is None else {"handle_tool_errors": handling}
        node = graph_of(prebuilt.ToolNode([boom], **options))
        try:
            ends.append(answers(driver.invoke(node, {"messages": [asking(call("boom", kind=kind))]})))
        except Exception as error:
            ends.append([repr(error)])
    assert ends[0] == ends[1]


def test_a_handler_for_something_that_is_no_error_is_refused_when_it_is_asked(ours, theirs):
    def wrong(error: int) -> str:
        return "no"

    def wrong_union(error: int | ValueError) -> str:
        return "no"

    for handler in (wrong, wrong_union):
        said = []
        for prebuilt in (ours, theirs):
            node = graph_of(prebuilt.ToolNode([boom], handle_tool_errors=handler))
            with pytest.raises(ValueError) as refused:
                node.invoke({"messages": [asking(call("boom", kind="value"))]})
            said.append(str(refused.value))
        assert said[0] == said[1]


def test_errors_about_arguments_tell_only_what_the_model_filled(ours, theirs, driver):
    def make(prebuilt: Any) -> Any:
        def look(
            a: int,
            b: int,
            state: Annotated[dict[str, Any], prebuilt.InjectedState],
            owner: Annotated[int, prebuilt.InjectedState("owner")],
        ) -> str:
            """Look."""
            return "seen"

        return prebuilt.ToolNode([look])

    asked = {"messages": [asking(call("look", a="x", owner="forged"))], "owner": "nobody"}
    told = [answers(driver.invoke(graph_of(make(each)), asked)) for each in (ours, theirs)]
    assert told[0] == told[1]
    assert "owner" not in told[0][0][1].replace("'owner': 'forged'", "")
    assert told[0][0][4] == "error"


def test_input_without_calls_is_refused_in_the_same_words(ours, theirs):
    wrong: list[Any] = [{}, {"messages": []}, {"messages": [HumanMessage("?")]}, [HumanMessage("?")]]
    for given in wrong:
        said = []
        for prebuilt in (ours, theirs):
            with pytest.raises(ValueError) as refused:
                prebuilt.ToolNode([add]).func(given, config={}, runtime=None)
            said.append(str(refused.value))
        assert said[0] == said[1]


# --- injected arguments ---


def looking(prebuilt: Any, seen: dict[str, Any]) -> Any:
    runtime_class = prebuilt.ToolRuntime[Any, Any]

    def look(
        a: int,
        runtime: runtime_class,  # type: ignore[valid-type]
        state: Annotated[dict[str, Any], prebuilt.InjectedState],
        owner: Annotated[str, prebuilt.InjectedState("owner")],
        store: Annotated[Any, prebuilt.InjectedStore()],
        secret: Annotated[str, InjectedToolArg] = "own",
        missing: Annotated[str, prebuilt.InjectedState("missing")] = "by default",
    ) -> str:
        """Look.

        Args:
            a: A number.
        """
        seen.update(locals())
        return "seen"

    return StructuredTool.from_function(look)


def test_a_tool_gets_what_it_asks_for_and_its_model_sees_none_of_it(prebuilt, driver):
    seen: dict[str, Any] = {}
    looks = looking(prebuilt, seen)
    assert set(looks.tool_call_schema.model_json_schema()["properties"]) == {"a"}
    store = InMemoryStore()
    forged = call(
        "look", a=1, owner="Eve", state={"owner": "Eve"}, secret="told", runtime="mine", store=5, missing="made"
    )
    node = graph_of(prebuilt.ToolNode([looks]), store=store)
    driver.invoke(
        node, {"messages": [asking(forged)], "owner": "Ada"}, {"configurable": {"x": 1}}, context={"who": "Bo"}
    )
    assert (seen["owner"], seen["state"]["owner"], seen["store"]) == ("Ada", "Ada", store)
    assert (seen["secret"], seen["missing"]) == ("own", "by default")
    runtime = seen["runtime"]
    assert isinstance(runtime, prebuilt.ToolRuntime)
    assert (runtime.tool_call_id, runtime.context, runtime.store) == ("c1", {"who": "Bo"}, store)
    assert (runtime.state["owner"], runtime.config["configurable"]["x"]) == ("Ada", 1)
    assert [each.name for each in runtime.tools] == ["look"]
    assert runtime.execution_info.task_id
    assert runtime.server_info is None
    runtime.stream_writer("nobody reads this")
    runtime.emit_output_delta("nor this")


def test_without_a_store_the_error_says_what_is_missing(prebuilt, driver):
    node = graph_of(prebuilt.ToolNode([looking(prebuilt, {})], handle_tool_errors=True))
    with pytest.raises(ValueError, match="please compile your graph with a store"):
        driver.invoke(node, {"messages": [asking(call("look", a=1))], "owner": "Ada"})


def test_a_key_that_the_state_lacks_is_an_error_of_the_program(prebuilt, driver):
    node = graph_of(prebuilt.ToolNode([looking(prebuilt, {})], handle_tool_errors=True), store=InMemoryStore())
    with pytest.raises(KeyError, match="owner"):
        driver.invoke(node, {"messages": [asking(call("look", a=1))]})


def test_a_state_that_is_a_list_serves_tools_that_want_the_messages(ours, theirs, driver):
    told = []
    for prebuilt in (ours, theirs):
        seen: dict[str, Any] = {}

        def look(a: int, all_of_it: Annotated[Any, prebuilt.InjectedState("messages")], seen: Any = seen) -> str:
            """Look."""
            return f"{len(all_of_it)} messages"

        def want(a: int, owner: Annotated[str, prebuilt.InjectedState("owner")]) -> str:
            """Want."""
            return owner

        node = prebuilt.ToolNode([look, want])
        listed = graph_of(node, Annotated[list[AnyMessage], add_messages])
        driver.invoke(listed, [asking(call("look", a=1))])
        with pytest.raises(ValueError) as refused:
            driver.invoke(listed, [asking(call("want", a=1))])
        told.append(str(refused.value))
    assert told[0] == told[1]


def test_a_parameter_that_is_marked_twice_is_refused(prebuilt):
    def twice(a: Annotated[Any, prebuilt.InjectedState("x"), prebuilt.InjectedState("y")]) -> str:
        """Twice."""
        return ""

    with pytest.raises(ValueError, match="more than once"):
        prebuilt.ToolNode([twice])


def test_a_key_inside_of_an_optional_parameter_is_given(ours, driver):
    """Not the whole state, which langgraph-prebuilt gives."""

    def look(a: int, owner: Annotated[str, ours.InjectedState("owner")] | None = None) -> str:
        """Look."""
        return f"of {owner}"

    state = driver.invoke(graph_of(ours.ToolNode([look])), {"messages": [asking(call("look", a=1))], "owner": "Ada"})
    assert answers(state)[0][1] == "of Ada"


# --- where tools run ---


def test_a_sync_tool_of_an_async_run_leaves_the_loop_alone_and_sees_its_context(prebuilt):
    seen: list[Any] = []

    def look() -> str:
        """Look."""
        seen.append((threading.current_thread() is threading.main_thread(), COLOUR.get()))
        COLOUR.set("changed")
        return "seen"

    async def run() -> str:
        COLOUR.set("blue")
        await graph_of(prebuilt.ToolNode([look])).ainvoke({"messages": [asking(call("look"))]})
        return COLOUR.get()

    assert asyncio.run(run()) == "blue"
    assert seen == [(False, "blue")]


@pytest.mark.parametrize("number", [1, 2, 7])
def test_a_sync_run_gives_every_tool_the_context_and_keeps_what_they_set(number, prebuilt):
    seen: list[str] = []

    def look() -> str:
        """Look."""
        seen.append(COLOUR.get())
        COLOUR.set("changed")
        return "seen"

    def run() -> str:
        COLOUR.set("green")
        calls = [call("look", f"c{at}") for at in range(number)]
        graph_of(prebuilt.ToolNode([look])).invoke({"messages": [asking(*calls)]})
        return COLOUR.get()

    assert contextvars.copy_context().run(run) == "green"
    assert seen == ["green"] * number


@pytest.mark.parametrize("number", [1, 3])
def test_a_tool_may_run_a_loop_although_the_sync_run_stands_in_one(number, prebuilt):
    """As in a notebook."""

    def look() -> str:
        """Look."""

        async def inside() -> str:
            await asyncio.sleep(0)
            return "from a loop"

        return asyncio.run(inside())

    async def notebook() -> Any:
        calls = [call("look", f"c{at}") for at in range(number)]
        return graph_of(prebuilt.ToolNode([look])).invoke({"messages": [asking(*calls)]})

    assert [each[1] for each in answers(asyncio.run(notebook()))] == ["from a loop"] * number


def test_calls_of_one_message_run_beside_each_other(prebuilt, driver):
    everybody = threading.Barrier(3, timeout=10)

    def meet(n: int) -> str:
        """Meet."""
        everybody.wait()
        return f"met {n}"

    calls = [call("meet", f"c{n}", n=n) for n in range(3)]
    state = driver.invoke(graph_of(prebuilt.ToolNode([meet])), {"messages": [asking(*calls)]})
    assert [each[1] for each in answers(state)] == ["met 0", "met 1", "met 2"]


def test_no_more_calls_run_than_the_config_allows(prebuilt):
    running, most, lock = 0, 0, threading.Lock()
    some = threading.Event()

    def work(n: int) -> str:
        """Work."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        some.wait(0.01)
        with lock:
            running -= 1
        return str(n)

    calls = [call("work", f"c{n}", n=n) for n in range(8)]
    state = graph_of(prebuilt.ToolNode([work])).invoke({"messages": [asking(*calls)]}, {"max_concurrency": 2})
    assert [each[1] for each in answers(state)] == [str(n) for n in range(8)]
    assert most <= 2


def test_of_several_calls_that_fail_the_first_is_raised(prebuilt, driver):
    async def aboom(kind: str) -> str:
        return boom(kind)

    # With a coroutine of its own: functions of async runs are in threads, where either may be the first to fail.
    failing = StructuredTool.from_function(boom, coroutine=aboom)
    calls = [call("boom", "c1", kind="key"), call("boom", "c2", kind="value")]
    with pytest.raises(KeyError):
        driver.invoke(graph_of(prebuilt.ToolNode([failing])), {"messages": [asking(*calls)]})


def test_after_a_failure_no_call_goes_on(ours):
    """langgraph-prebuilt leaves the other one running, with nobody waiting for it."""
    ended: list[str] = []

    async def slow() -> str:
        """Wait."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")
        return ""

    async def fail() -> str:
        """Fail."""
        raise ValueError("boom")

    async def run() -> None:
        node = graph_of(ours.ToolNode([slow, fail]))
        with pytest.raises(ValueError, match="boom"):
            await node.ainvoke({"messages": [asking(call("slow", "c1"), call("fail", "c2"))]})
        assert ended == ["slow"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_that_is_cancelled_cancels_its_tools(number, prebuilt):
    begun, ended = asyncio.Event(), []

    async def slow() -> str:
        """Wait."""
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")
        return ""

    async def run() -> None:
        node = graph_of(prebuilt.ToolNode([slow], handle_tool_errors=True))
        calls = [call("slow", f"c{n}") for n in range(number)]
        task = asyncio.create_task(node.ainvoke({"messages": [asking(*calls)]}))
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["slow"] * number

    asyncio.run(run())


# --- questions and commands ---


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_tool_that_asks_goes_on_with_the_answer(version, prebuilt, driver):
    @tool
    def ask(what: str) -> str:
        """Ask."""
        return f"{what}: {interrupt(what)}"

    second: dict[str, Any] = {"what": "size"} if version == "v2" else {"a": 1, "b": 2}
    agent = prebuilt.create_react_agent(
        # In one task (v1) questions that are asked at the same time would be told apart by who comes first.
        model(asking(call("ask", what="colour"), call("ask" if version == "v2" else "add", "c2", **second)), "done"),
        [ask, add],
        version=version,
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "1"}}
    result = driver.invoke(agent, {"messages": [HumanMessage("?")]}, config)
    asked = [each.value for each in result["__interrupt__"]]
    while "__interrupt__" in result:
        replies = {each.id: f"{each.value}!" for each in result["__interrupt__"]}
        result = driver.invoke(agent, Command(resume=replies), config)
    assert set(asked) <= {"colour", "size"}
    assert [each[1] for each in answers(result)] == ["colour: colour!", "size: size!" if version == "v2" else "3"]


@pytest.mark.parametrize("handling", [True, "text", (Exception,)], ids=repr)
def test_a_question_is_no_error(handling, prebuilt, driver):
    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("?"))

    node = graph_of(prebuilt.ToolNode([ask], handle_tool_errors=handling), checkpointer=InMemorySaver())
    result = driver.invoke(node, {"messages": [asking(call("ask"))]}, {"configurable": {"thread_id": "1"}})
    assert [each.value for each in result["__interrupt__"]] == ["?"]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("as_send", [True, False])
def test_a_tool_hands_over_to_a_node_of_the_graph_around(as_send, version, ours, theirs, driver):
    told = []
    for prebuilt in (ours, theirs):

        @tool
        def hand_over(to: str) -> Command[Any]:
            """Hand over."""
            note = ToolMessage(f"over to {to}", tool_call_id="c1", name="hand_over")
            goto = [Send(to, {"messages": [note], "owner": to})] if as_send else to
            return Command(graph=Command.PARENT, goto=goto, update=None if as_send else {"messages": [note]})

        agent = prebuilt.create_react_agent(model(asking(call("hand_over", to="other"))), [hand_over], version=version)
        outer = StateGraph(State).add_node("agent", agent).add_edge(START, "agent")
        outer.add_node("other", lambda state: {"messages": [AIMessage("here", id="here")], "owner": "other"})
        told.append(driver.invoke(outer.compile(), {"messages": [HumanMessage("?", id="q")]}))
    assert said(told[0]) == said(told[1])
    assert told[0]["owner"] == told[1]["owner"] == "other"
    assert said(told[0])[-1][1] == "here"


def test_packets_of_several_calls_for_the_graph_around_leave_together(ours, theirs, driver):
    told = []
    for prebuilt in (ours, theirs):

        @tool
        def send(to: str) -> Command[Any]:
            """Send."""
            return Command(graph=Command.PARENT, goto=[Send(to, {"messages": []})])

        inner = StateGraph(State).add_node("tools", prebuilt.ToolNode([send])).add_edge(START, "tools").compile()
        outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner")
        for name in ("a", "b"):
            outer.add_node(name, lambda state, name=name: {"messages": [AIMessage(name, id=name)]})
        asked = {"messages": [asking(call("send", "c1", to="a"), call("send", "c2", to="b"))]}
        told.append(driver.invoke(outer.compile(), asked))
    assert said(told[0]) == said(told[1])
    assert [each[1] for each in said(told[0])[-2:]] == ["a", "b"]


def outputs_of() -> dict[str, Any]:
    def message(text: str = "ok", id: str = "c1") -> ToolMessage:
        return ToolMessage(text, tool_call_id=id)

    return {
        "update": lambda: Command(update={"messages": [message()], "owner": "tool"}),
        "goto": lambda: Command(update={"messages": [message()]}, goto=END),
        "no answer": lambda: Command(update={"owner": "tool"}),
        "answer to another": lambda: Command(update={"messages": [message(id="other")]}),
        "dicts": lambda: Command(update={"messages": [{"role": "tool", "content": "ok", "tool_call_id": "c1"}]}),
        "list for a state": lambda: Command(update=[message()]),
        "all removed": lambda: Command(update={"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]}),
        "no update": lambda: Command(goto=END),
        "several": lambda: [message(), Command(update={"owner": "tool"})],
        "several, in a command": lambda: [Command(update={"messages": [message()]}), Command(update={"owner": "tool"})],
        "several answers": lambda: [message(), message()],
        "several without": lambda: [Command(update={"owner": "tool"})],
        "mixed": lambda: [message(), "text"],
        "message": lambda: message("own"),
        "message with blocks": lambda: ToolMessage([{"type": "text", "text": "x"}], tool_call_id="c1"),
        "text": lambda: "plain",
        "number": lambda: 5,
        "nothing": lambda: None,
        "object": lambda: {"a": {1, 2}},
    }


@pytest.mark.parametrize("handling", [True, False])
@pytest.mark.parametrize("output", outputs_of())
def test_what_a_tool_may_return(output, handling, ours, theirs, driver):
    ends: list[Any] = []
    for prebuilt in (ours, theirs):

        def act() -> Any:
            """Act."""
            return outputs_of()[output]()

        node = graph_of(prebuilt.ToolNode([act], handle_tool_errors=handling))
        try:
            state = driver.invoke(node, {"messages": [asking(call("act"))], "owner": "me"})
            ends.append((said(state), state["owner"]))
        except Exception as error:
            ends.append((type(error).__name__, str(error)))
    assert ends[0] == ends[1]


def test_a_command_that_a_tool_returns_at_each_call_is_a_new_one_each_time(prebuilt, driver):
    always = Command(update={"messages": [ToolMessage("ok", tool_call_id="c1")]})

    def act() -> Any:
        """Act."""
        return always

    node = graph_of(prebuilt.ToolNode([act]))
    first, second = (driver.invoke(node, {"messages": [asking(call("act"))]}) for _ in range(2))
    assert first["messages"][-1].id != second["messages"][-1].id
    assert always.update["messages"][0].id is None


def test_messages_of_the_state_are_not_copied_into_a_command(ours, driver):
    @tool
    def hand_over(state: Annotated[dict[str, Any], ours.InjectedState]) -> Command[Any]:
        """Hand over."""
        note = ToolMessage("over", tool_call_id="c1")
        return Command(graph=Command.PARENT, goto="other", update={"messages": [*state["messages"], note]})

    inner = StateGraph(State).add_node("tools", ours.ToolNode([hand_over])).add_edge(START, "tools").compile()
    outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").add_node("other", lambda state: {})
    question = HumanMessage("?", id="q")
    state = driver.invoke(outer.compile(), {"messages": [question, asking(call("hand_over"))]})
    assert state["messages"][0] is question
    assert state["messages"][-1].content == "over"


# --- wrappers ---


def test_a_wrapper_may_change_answer_repeat_and_replace(ours, theirs, driver):
    told = []
    for prebuilt in (ours, theirs):

        @tool
        def other(a: int) -> str:
            """Be another."""
            return f"other {a}"

        def wrap(request: Any, execute: Any) -> Any:
            match request.tool_call["name"]:
                case "add":
                    changed = {**request.tool_call, "args": {"a": 10, "b": 20}}
                    return execute(request.override(tool_call=changed))
                case "cached":
                    return ToolMessage("from the cache", tool_call_id=request.tool_call["id"])
                case "boom":
                    assert execute(request).status == "error"
                    raise OSError("the wrapper itself")
                case "replaced":
                    return execute(request.override(tool=other))
            return execute(request)

        node = prebuilt.ToolNode([add, boom], wrap_tool_call=wrap, handle_tool_errors=ValueError)
        calls = [
            call("add", "c1", a=1, b=2),
            call("cached", "c2"),
            call("boom", "c3", kind="value"),
            call("replaced", "c4", a=7),
            call("unknown", "c5"),
        ]
        told.append([])
        for each in calls:
            try:
                told[-1].append(answers(driver.invoke(graph_of(node), {"messages": [asking(each)]})))
            except AssertionError:
                raise
            except BaseException as error:
                told[-1].append(repr(error))
    assert told[0] == told[1]
    assert [each[0][1] for each in told[0][:2]] == ["30", "from the cache"]
    assert "the wrapper itself" in repr(told[0][2])
    assert told[0][3][0][1] == "other 7"


def test_an_async_wrapper_is_for_async_runs_alone(prebuilt):
    async def wrap(request: Any, execute: Any) -> Any:
        answer = await execute(request)
        return answer.model_copy(update={"content": f"<{answer.content}>"})

    node = graph_of(prebuilt.ToolNode([add], awrap_tool_call=wrap))
    asked = {"messages": [asking(call("add", a=1, b=2))]}
    assert answers(node.invoke(asked))[0][1] == "3"
    assert answers(asyncio.run(node.ainvoke(asked)))[0][1] == "<3>"


def test_a_request_is_changed_by_override_and_warns_if_it_is_changed_in_place(prebuilt):
    request = prebuilt.tool_node.ToolCallRequest(call("add"), add, {"a": 1}, None)
    other = request.override(state={"a": 2})
    assert (request.state, other.state, other.tool_call) == ({"a": 1}, {"a": 2}, request.tool_call)
    assert request == prebuilt.tool_node.ToolCallRequest(tool_call=call("add"), tool=add, state={"a": 1}, runtime=None)
    with pytest.warns(DeprecationWarning, match="Setting attribute 'tool_call' on ToolCallRequest is deprecated"):
        request.tool_call = call("other")
    assert request.tool_call["name"] == "other"


class Proxy:
    """Stands for a method, equals it and has its attributes, as proxies of instrumentation libraries do."""

    def __init__(self, method: Any, seen: list[Any]) -> None:
        self.method, self.seen = method, seen

    def __get__(self, node: Any, kind: type) -> Any:
        return Proxy(self.method.__get__(node, kind), self.seen)

    def __call__(self, *args: Any) -> Any:
        self.seen.append(args[0])
        return self.method(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.method == other)

    __hash__ = object.__hash__


@pytest.mark.parametrize("method", ["_execute_tool_sync", "_run_one", "_inject_tool_args"])
def test_an_instrumentation_of_the_node_sees_every_call(method, prebuilt, monkeypatch):
    """Also one that would take the short way."""
    seen: list[Any] = []
    kind = prebuilt.ToolNode
    node = graph_of(kind([add]))
    monkeypatch.setattr(kind, method, Proxy(getattr(kind, method), seen))
    assert answers(node.invoke({"messages": [asking(call("add", a=1, b=2))]}))[0][1] == "3"
    assert len(seen) == 1


def test_an_instrumentation_of_async_calls_sees_them(prebuilt, monkeypatch):
    seen: list[Any] = []
    kind = prebuilt.ToolNode
    node = graph_of(kind([add]))
    for method in ("_arun_one", "_execute_tool_async"):
        monkeypatch.setattr(kind, method, Proxy(getattr(kind, method), seen))
    asyncio.run(node.ainvoke({"messages": [asking(call("add", a=1, b=2))]}))
    assert len(seen) == 2


# --- other forms ---


class Model(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages]
    owner: str = "nobody"


def test_a_state_may_be_a_pydantic_model_and_its_key_another(ours, theirs, driver):
    class Chat(TypedDict):
        chat: Annotated[list[AnyMessage], add_messages]

    told = []
    for prebuilt in (ours, theirs):

        def look(a: int, owner: Annotated[str, prebuilt.InjectedState("owner")]) -> str:
            """Look."""
            return owner

        asked = asking(call("look", a=1))
        node = graph_of(prebuilt.ToolNode([look]), Model)
        own_key = graph_of(prebuilt.ToolNode([add], messages_key="chat"), Chat)
        chat = driver.invoke(own_key, {"chat": [asking(call("add", a=1, b=2))]})
        told.append((said(driver.invoke(node, {"messages": [asked], "owner": "Ada"})), list(map(plain, chat["chat"]))))
    assert told[0] == told[1]
    assert told[0][0][-1][1] == "Ada"


def test_the_route_behind_a_model(ours, theirs):
    asked = asking(call("add"))
    states: list[Any] = [
        [asked],
        {"messages": [asked]},
        {"messages": [HumanMessage("?")]},
        Model(messages=[asked]),
        {"messages": [AIMessage("done")]},
    ]
    for state in states:
        assert ours.tools_condition(state) == theirs.tools_condition(state)
    assert ours.tools_condition({"chat": [asked]}, "chat") == "tools"
    for prebuilt in (ours, theirs):
        with pytest.raises(ValueError, match="No messages found in input state to tool_edge"):
            prebuilt.tools_condition({"messages": []})


def test_calls_are_checked_by_a_validation_node(ours, theirs, driver):
    class Pick(BaseModel):
        n: int

    def function(a: int) -> None:
        """Take."""

    told = []
    for prebuilt in (ours, theirs):
        calls = [
            call("Pick", "c1", n=1),
            call("Pick", "c2", n="x"),
            call("add", "c3", a=1, b="2"),
            call("function", "c4", a=3),
        ]
        node = graph_of(prebuilt.ValidationNode([Pick, add, function]))
        told.append(said(driver.invoke(node, {"messages": [asking(*calls)]})))
        with pytest.raises(ValueError, match="Unsupported input to ValidationNode"):
            prebuilt.ValidationNode([5])
        with pytest.raises(ValueError, match="Last message is not an AIMessage"):
            driver.invoke(node, {"messages": [HumanMessage("?")]})
    assert told[0] == told[1]


def test_questions_to_a_person_have_the_same_form(ours, theirs):
    for name in ("HumanInterrupt", "HumanInterruptConfig", "ActionRequest", "HumanResponse"):
        one, other = (getattr(prebuilt.interrupt, name) for prebuilt in (ours, theirs))
        assert one.__annotations__.keys() == other.__annotations__.keys()


def test_who_wraps_the_methods_of_tools_sees_a_complete_config(prebuilt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    invoke = StructuredTool.invoke

    def noting(self: Any, input: Any, config: Any = None, **more: Any) -> Any:
        seen.append((sorted(config), type(config["callbacks"]).__name__, config["metadata"]["checkpoint_ns"]))
        return invoke(self, input, config, **more)

    monkeypatch.setattr(StructuredTool, "invoke", noting)
    graph = graph_of(prebuilt.ToolNode([add]))
    for calls in ([call("add", a=1, b=2)], [call("add", a=1, b=2), call("add", "c2", a=3, b=4)]):
        graph.invoke({"messages": [asking(*calls)]})
    assert {kind for _, kind, _ in seen} == {"CallbackManager"}
    assert all(place.startswith("tools:") for _, _, place in seen)
    assert len({str(keys) for keys, _, _ in seen}) == 1 and "tags" in seen[0][0]
