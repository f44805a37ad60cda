"""What runs share, and the one call that a backend makes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool

from stategraph.agent.tools.tool_sources import FunctionTools
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.openai_server import FakeOpenAIServer

pytestmark = pytest.mark.anyio

ASK = {"messages": [HumanMessage("hi")]}


def agent(*replies: Any) -> dict[str, Any]:
    return {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}


def held() -> tuple[script.Gate, dict[str, Any]]:
    gate = script.Gate()
    return gate, agent(script.Reply((script.Text("one "), script.Hold(gate), script.Text("two"))))


async def test_one_call_makes_a_run() -> None:
    run = await create_run(run_id="r", agents=[agent("Hello.")], return_content=True)
    assert await run.process_stream(ASK) == [{"type": "text", "text": "Hello."}]


async def test_a_field_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"'custom_handler' is not a field.*signal|'custom_handler'"):
        await create_run(run_id="r", agents=[agent("Hello.")], custom_handler={})


async def test_runs_share_the_saver_and_the_handlers() -> None:
    heard: list[str] = []
    handlers = {"on_message_delta": lambda event, data, metadata, graph: heard.append(metadata["run_id"])}
    async with AgentRuntime(checkpointer=in_memory_saver(), custom_handlers=handlers) as runtime:
        config = {"configurable": {"thread_id": "t"}}
        first = await runtime.create_run(run_id="one", agents=[agent("First.")])
        await first.process_stream(ASK, config)
        model = ScriptedChatModel(replies=["Second."])
        second = await runtime.create_run(run_id="two", agents=[{"agent_id": "a", "model": model}])
        await second.process_stream({"messages": [HumanMessage("more")]}, config)
    assert heard == ["one", "two"]
    assert [message.content for message in model.requests[0].messages] == ["hi", "First.", "more"]


async def test_models_with_the_same_settings_are_made_once() -> None:
    async with AgentRuntime() as runtime, FakeOpenAIServer() as server:
        server.script("m", ["One.", "Two."])
        options = {"model": "m", "apiKey": "key", "configuration": {"baseURL": server.base_url}}
        for number in range(2):
            described = {"agentId": "a", "provider": "openAI", "clientOptions": options}
            run = await runtime.create_run(run_id=str(number), agents=[described])
            await run.process_stream(ASK)
        assert runtime.statistics().models == 1


class OneModel:
    """A registry that knows one model by any name."""

    def __init__(self, model: ScriptedChatModel) -> None:
        self._model = model
        self.asked: list[Any] = []

    def resolve(self, provider: str, client_options: Any = None, reasoning_key: str | None = None) -> ScriptedChatModel:
        self.asked.append((provider, client_options, reasoning_key))
        return self._model

    def __len__(self) -> int:
        return 1


async def test_a_registry_of_the_hosts_own_makes_the_models_of_all_runs() -> None:
    registry = OneModel(ScriptedChatModel(replies=["One.", "Two."]))
    runtime = AgentRuntime(models=registry)
    described = {"agent_id": "a", "provider": "ours", "client_options": {"model": "big"}}
    for number in range(2):
        async with runtime:  # opened again, it is the same registry
            run = await runtime.create_run(run_id=str(number), agents=[described])
            await run.process_stream(ASK)
            assert runtime.statistics().models == 1
    assert registry.asked == [("ours", {"model": "big"}, "reasoning_content")] * 2


class Source:
    """A source of tools that notes its life, and fails to open or close when told to."""

    def __init__(self, name: str, life: list[str], *, fails: str = "") -> None:
        self._name, self._life, self._fails = name, life, fails

    @property
    def names(self) -> tuple[str, ...]:
        return (self._name,)

    async def open(self) -> None:
        self._note("open")

    async def aclose(self) -> None:
        self._note("close")

    def _note(self, what: str) -> None:
        self._life.append(f"{what} {self._name}")
        if what == self._fails:
            raise OSError(f"{self._name} cannot {what}")

    async def tools(self, *names: str) -> list[BaseTool]:
        self._life.append(f"list {self._name}")
        return [StructuredTool.from_function(lambda: self._name, name=f"of_{self._name}", description="Says whose.")]


def twice(x: int) -> int:
    """Doubles."""
    return 2 * x


async def test_sources_of_tools_live_as_long_as_the_runtime_and_are_chosen_by_name() -> None:
    life: list[str] = []
    sources = [Source("one", life), Source("two", life), FunctionTools({"sums": [twice]})]
    runtime = AgentRuntime(tool_sources=sources)
    async with runtime:
        assert [tool.name for tool in await runtime.tools()] == ["of_one", "of_two", "twice"]
        assert [tool.name for tool in await runtime.tools("two", "sums")] == ["of_two", "twice"]
        with pytest.raises(ValueError, match="no source of tools 'three'; there are: one, two, sums"):
            await runtime.tools("three")
        model = ScriptedChatModel(replies=[script.reply(script.call("of_two")), "Done."])
        described = {"agent_id": "a", "model": model, "tools": await runtime.tools("two")}
        await (await runtime.create_run(run_id="r", agents=[described])).process_stream(ASK)
        assert model.requests[1].messages[-1].content == "two"
    assert [each for each in life if not each.startswith("list")] == ["open one", "open two", "close two", "close one"]


class Nameless(Source):
    """A source whose tools cannot be chosen by a name."""

    names = ()


async def test_a_source_without_names_is_asked_when_all_sources_are() -> None:
    life: list[str] = []
    async with AgentRuntime(tool_sources=[Nameless("one", life), Source("two", life)]) as runtime:
        assert [tool.name for tool in await runtime.tools()] == ["of_one", "of_two"]
        assert [tool.name for tool in await runtime.tools("two")] == ["of_two"]
        with pytest.raises(ValueError, match="no source of tools 'one'; there are: two"):
            await runtime.tools("one")


async def test_a_source_that_does_not_open_leaves_none_open_and_one_that_does_not_close_no_other_open() -> None:
    life: list[str] = []
    with pytest.raises(OSError, match="two cannot open"):
        await AgentRuntime(tool_sources=[Source("one", life), Source("two", life, fails="open")]).__aenter__()
    assert life == ["open one", "open two", "close one"]
    life.clear()
    with pytest.raises(OSError, match="two cannot close"):
        async with AgentRuntime(tool_sources=[Source("one", life), Source("two", life, fails="close")]):
            pass
    assert life == ["open one", "open two", "close two", "close one"]


def test_a_source_without_all_that_sources_have_is_refused_before_it_is_opened() -> None:
    class Unclosable:
        names = ("mine",)

        async def open(self) -> None:
            pytest.fail("opened")

        async def tools(self, *names: str) -> list[BaseTool]:
            return []

    with pytest.raises(ConfigurationError, match="of type Unclosable without 'aclose'; expected an object with aclose"):
        AgentRuntime(tool_sources=[Unclosable()])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="of type function without 'aclose', 'names', 'open', 'tools'"):
        AgentRuntime(tool_sources=[twice])  # type: ignore[list-item]


def test_two_sources_of_one_name_are_refused() -> None:
    servers = {"one": {"url": "http://127.0.0.1:1/mcp"}}
    with pytest.raises(ConfigurationError, match="Two sources of tools are called 'one': rename one of them"):
        AgentRuntime(mcp_servers=servers, tool_sources=[Source("one", [])])


async def test_a_run_is_stopped_by_its_id() -> None:
    gate, described = held()
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[described])
        work = asyncio.create_task(run.process_stream(ASK))
        await gate.wait_reached_async()
        assert runtime.statistics().runs_going == 1
        assert runtime.abort("r", "the person left")
        with pytest.raises(AbortError, match="the person left"):
            await work
        assert not runtime.abort("r")
        assert not runtime.abort("unknown")


async def test_closing_stops_every_run_that_goes_on() -> None:
    gate, described = held()
    runtime = AgentRuntime()
    async with runtime:
        run = await runtime.create_run(run_id="r", agents=[described])
        work = asyncio.create_task(run.process_stream(ASK))
        await gate.wait_reached_async()
    assert not run.running
    with pytest.raises(AbortError):
        await work


async def test_a_run_is_watched_by_its_id() -> None:
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        await run.process_stream(ASK)
        events = [event.event async for event in runtime.attach("r")]
        assert events[-1] == "on_run_end"
        with pytest.raises(LookupError, match="unknown"):
            async for _ in runtime.attach("unknown"):
                pass


async def test_a_run_is_executed_once_at_a_time() -> None:
    gate, described = held()
    run = await create_run(run_id="r", agents=[described])
    work = asyncio.create_task(run.process_stream(ASK))
    await gate.wait_reached_async()
    with pytest.raises(ConfigurationError, match="being executed already"):
        await run.process_stream(ASK)
    gate.open()
    await work
    assert isinstance(run.get_run_messages()[0], AIMessage)


async def test_a_title_is_made_of_the_first_exchange() -> None:
    async with FakeOpenAIServer() as server:
        server.script("t", ['"A Friendly Greeting"'])
        run = await create_run(run_id="r", agents=[agent("Hello.")])
        title = await run.generate_title(
            provider="openAI",
            input_text="hi",
            content_parts=[None, {"type": "text", "text": "Hello."}],
            title_method="completion",
            client_options={"model": "t", "apiKey": "key", "configuration": {"baseURL": server.base_url}},
        )
        assert title == {"title": "A Friendly Greeting"}
        (request,) = server.requests
        assert request.messages[0]["content"].endswith("Conversation:\nUser: hi\nAI: Hello.")


async def test_a_title_is_asked_for_in_the_host_s_words() -> None:
    async with FakeOpenAIServer() as server:
        server.script("t", ["A Greeting"])
        run = await create_run(run_id="r", agents=[agent("Hello.")])
        await run.generate_title(
            provider="openAI",
            input_text="hi",
            content_parts=[{"type": "text", "text": "Hello."}],
            title_method="completion",
            title_prompt="Name this: {convo}",
            title_prompt_template="{input} -> {output}",
            client_options={"model": "t", "apiKey": "key", "configuration": {"baseURL": server.base_url}},
        )
        (request,) = server.requests
        assert request.messages[0]["content"] == "Name this: hi -> Hello."


async def test_a_title_needs_no_language_where_the_host_says_so() -> None:
    async with FakeOpenAIServer() as server:
        for name, skip in (("with", False), ("without", True)):
            server.script(name, ['{"title": "A Greeting", "language": "English"}'])
            run = await create_run(run_id="r", agents=[agent("Hello.")])
            await run.generate_title(
                provider="openAI",
                input_text="hi",
                content_parts=[{"type": "text", "text": "Hello."}],
                skip_language=skip,
                client_options={"model": name, "apiKey": "key", "configuration": {"baseURL": server.base_url}},
            )
        asked = ["language" in json.dumps(request.body) for request in server.requests]
        assert asked == [True, False]


async def test_a_template_without_its_places_is_refused() -> None:
    run = await create_run(run_id="r", agents=[agent("Hello.")])
    with pytest.raises(ConfigurationError, match=r"lacks \{output\}"):
        await run.generate_title(
            provider="openAI:m",
            input_text="hi",
            content_parts=[],
            client_options={"api_key": "key"},
            title_prompt_template="User: {input}",
        )


async def test_two_runs_on_one_thread_wait_for_each_other_by_the_hosts_word() -> None:
    gate, described = held()
    config = {"configurable": {"thread_id": "t"}}
    async with AgentRuntime(checkpointer=in_memory_saver()) as runtime:
        first = await runtime.create_run(run_id="one", agents=[described])
        work = runtime.start(first, ASK, config)
        await gate.wait_reached_async()
        second = await runtime.create_run(run_id="two", agents=[agent("Hello.")])
        with pytest.raises(ConfigurationError, match="thread 't': run 'one' is being executed on it"):
            await second.process_stream(ASK, config)
        gate.open()
        await work
        await second.process_stream(ASK, config)
        assert second.get_run_messages()[-1].content == "Hello."


async def test_what_is_refused_before_it_begins_ends_with_an_event() -> None:
    run = await create_run(run_id="r", agents=[agent("Hello.")])
    with pytest.raises(ConfigurationError):
        await run.process_stream({})
    (end,) = [event async for event in run.attach()]
    assert (end.event, end.data) == ("on_run_end", {"status": "failed", "error": {"type": "ConfigurationError"}})


async def test_a_host_may_return_the_results_of_its_tools() -> None:
    asks = script.reply(script.call("look", {"at": "x"}, id="c"))
    described = agent(asks, "Seen.") | {"tool_definitions": [{"name": "look"}]}

    async def execute(event: str, data: Any, metadata: Any, graph: Any) -> Any:
        return [{"toolCallId": call["id"], "content": "a thing"} for call in data["toolCalls"]]

    run = await create_run(run_id="r", agents=[described], custom_handlers={"on_tool_execute": execute})
    await asyncio.wait_for(run.process_stream(ASK), 10)
    assert [message.content for message in run.get_run_messages()] == ["", "a thing", "Seen."]


async def test_agents_and_edges_given_to_the_one_call_make_a_graph_that_follows_the_edges() -> None:
    second = ScriptedChatModel(replies=["Second."])
    agents = [agent("First."), {"agent_id": "b", "model": second}]
    edges = [{"from": "a", "to": "b", "edgeType": "direct"}]
    run = await create_run(run_id="r", agents=agents, edges=edges)
    await run.process_stream(ASK)
    assert [message.content for message in run.get_run_messages()] == ["First.", "Second."]
    assert [message.content for message in second.requests[0].messages] == ["hi", "First."]


async def test_the_edges_of_one_agent_are_looked_at_as_well() -> None:
    with pytest.raises(ConfigurationError, match=r'not present in agents: \["b"\]'):
        await create_run(run_id="r", agents=[agent("First.")], edges=[{"from": "a", "to": "b"}])


async def test_agents_without_edges_all_answer() -> None:
    agents = [{"agent_id": name, "model": ScriptedChatModel(replies=[name])} for name in ("a", "b")]
    run = await create_run(run_id="r", agents=agents)
    await run.process_stream(ASK)
    assert sorted(message.content for message in run.get_run_messages()) == ["a", "b"]
