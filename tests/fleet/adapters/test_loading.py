"""From a name and an import path to an adapter; conversations that the host remembers; errors as clients read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import ClassVar

import pytest

from stategraph.fleet.adapters import loading
from stategraph.fleet.adapters.history import Remembered, messages_of
from stategraph.fleet.adapters.launching import Asked, launch
from stategraph.fleet.adapters.masking import MOST, masked
from stategraph.fleet.adapters.port import AdapterError, Fact, Reasoning, Said, Turn, Usage
from stategraph.fleet.adapters.pump import Telling, told
from stategraph.fleet.messages import Message, Text, ToolCall, ToolResult

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def speak(turn: Turn) -> AsyncGenerator[Fact | str]:
    """Say it again.

    And nothing else.
    """
    yield turn.message.text


class Whole:
    """An adapter without a base class."""

    framework, version, description = "own", "3", "Does things"
    skills: ClassVar = {"things": ""}

    async def open(self, context_id: str) -> Remembered:
        return Remembered(context_id, speak)

    async def close(self) -> None:
        pass


made, nothing = Whole(), 3


def said(*facts: Fact) -> Message:
    return messages_of(facts)[0]


@pytest.mark.parametrize("name", ["Whole", "made"])
def test_an_object_with_the_methods_is_an_adapter(name: str) -> None:
    assert loading.load("custom", f"{__name__}:{name}").framework == "own"


def test_a_function_is_an_adapter() -> None:
    adapter = loading.load("custom", f"{__name__}:speak")
    assert (adapter.framework, adapter.description) == ("custom", "Say it again.")


@pytest.mark.parametrize(
    ("framework", "target", "told"),
    [
        ("nonsense", "a:b", "There is no adapter for 'nonsense'; expected one of adk, autogen, crewai"),
        ("custom", "nonsense", "is no import path; expected 'package.module:attribute'"),
        ("custom", "no_such_module:x", "cannot be imported: ModuleNotFoundError"),
        ("custom", f"{__name__}:missing", "has no attribute 'missing'"),
        ("custom", f"{__name__}:nothing", "is int; expected an async generator function"),
        ("crewai", f"{__name__}:made", "'crewai' is not installed in"),
        ("langchain", f"{__name__}:made", "LangChain runs a Runnable; this is Whole"),
    ],
)
def test_what_cannot_be_served_is_said(framework: str, target: str, told: str) -> None:
    with pytest.raises(AdapterError) as caught:
        loading.load(framework, target)
    assert told in str(caught.value)


def test_a_host_is_started_with_the_program_of_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    asked = Asked(
        framework="crewai", target="a:b", name="n", runtime=str(program), url="https://a.example", token="t" * 20
    )
    started = launch(asked)
    assert started.command[:5] == [str(program), "-m", "stategraph.fleet.adapters", "crewai", "a:b"]
    assert "t" * 20 not in " ".join(started.command)
    node = launch(Asked(framework="mastra", target="a.mjs:b", name="n", runtime=str(program)))
    assert Path(node.command[1]).name == "host.mjs"
    assert Path(node.command[1]).is_file()
    with pytest.raises(AdapterError, match="'/no/such/python' that runs the agent was not found"):
        launch(Asked(framework="crewai", target="a:b", name="n", runtime="/no/such/python"))
    with pytest.raises(AdapterError, match="There is no adapter for 'nonsense'"):
        launch(Asked(framework="nonsense", target="a:b", name="n"))


def test_facts_are_remembered_as_messages() -> None:
    call, result = ToolCall("c", "weather", {}), ToolResult("c", "sunny", "weather")
    facts = [Reasoning("hm"), Said("I "), Said("look"), call, Usage(1, 1), result, Said("sunny")]
    assert messages_of(facts) == [
        Message("assistant", (Reasoning("hm"), Text("I look"), call)),
        Message("tool", (result,)),
        Message("assistant", (Text("sunny"),)),
    ]


async def test_the_oldest_messages_are_forgotten_and_the_first_stays_a_users() -> None:
    seen: list[list[str]] = []

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        seen.append([f"{each.role} {each.text}" for each in turn.history])
        yield f"re {turn.message.text}"

    remembered = Remembered("c", answer, most=3)
    for text in "abc":
        async for _ in remembered.ask(Message("user", (Text(text),))):
            pass
    assert seen == [[], ["user a", "assistant re a"], ["user b", "assistant re b"]]


def test_secrets_are_masked() -> None:
    variables = {"OPENAI_API_KEY": "abcdef123456", "SHORT_KEY": "no", "HOME": "/home/ada"}
    assert masked("key abcdef123456 no /home/ada", variables) == "key *** no /home/ada"
    assert masked("Authorization: Bearer abc.def", {}) == "Authorization: Bearer ***"
    assert masked("x" * (MOST + 1), {}) == "x" * MOST + " ..."


async def test_what_is_told_before_an_error_comes_before_it() -> None:
    async def work(tell: Telling) -> None:
        tell(Said("one"))
        await asyncio.to_thread(tell, Said("two"))
        raise ValueError("three")

    heard: list[Fact] = []
    with pytest.raises(ValueError, match="three"):
        async for fact in told(work):
            heard.append(fact)
    assert heard == [Said("one"), Said("two")]


async def test_work_is_cancelled_when_nobody_listens_any_more() -> None:
    ended = asyncio.Event()

    async def work(tell: Telling) -> None:
        tell(Said("one"))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    facts = told(work)
    assert await anext(facts) == Said("one")
    await facts.aclose()
    assert ended.is_set()
