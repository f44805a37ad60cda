"""New versions of a workflow while threads wait on an old one."""

from __future__ import annotations

import asyncio

import pytest

from stategraph.resources import ResourceError, Runtime
from stategraph.resources.compile.rollout import VersionInUseError, VersionRemovedError
from stategraph.testing import ScriptedChatModel, call, reply
from stategraph.types import Command

pytestmark = pytest.mark.anyio

FIRST = """
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: flow}
spec:
  state: {seen: {type: array, merge: append}}
  steps:
    - {id: begin, set: {seen: began}, next: ask}
    - {id: ask, interrupt: {prompt: Go on?}, output: {seen: "${{ 'asked ' + result.text }}"}, next: finish}
    - {id: finish, set: {seen: "finished as v1"}}
"""
SECOND = (
    FIRST.replace("id: ask", "id: question")
    .replace("next: ask", "next: question")
    .replace("append}}", "append}, extra: {default: new}}")
    .replace('seen: "finished as v1"', "seen: \"${{ 'finished with ' + state.extra }}\"")
)
THREADS = 30


async def test_waiting_threads_finish_on_their_version_also_in_another_process(tmp_path):
    url = f"sqlite:///{tmp_path}/app.db"
    async with Runtime.from_url(url) as runtime:
        await runtime.load_from_string(FIRST)
        for number in range(THREADS):
            waiting = await runtime.get_workflow("flow").execute(thread_id=f"t{number}")
            assert waiting.status == "waiting"
        await runtime.load_from_string(SECOND)
        flow = runtime.get_workflow("flow")
        assert list(map(str, await flow.versions())) == ["0 threads on v2, 0 waiting", "30 threads on v1, 30 waiting"]
        status = (await runtime.get("workflow/flow")).status
        assert status["threads"] == "0 threads on v2, 0 waiting; 30 threads on v1, 30 waiting"
        assert (await flow.graph.aget_state({"configurable": {"thread_id": "t0"}})).next == ("ask",)
        for number in range(THREADS // 2):
            done = await flow.resume(f"t{number}", "yes")
            assert done.output["seen"] == ["began", "asked yes", "finished as v1"]
    async with Runtime.from_url(url) as runtime:
        await runtime.settled()
        flow = runtime.get_workflow("flow")
        for number in range(THREADS // 2, THREADS):
            done = await flow.resume(f"t{number}", "yes")
            assert done.output["seen"] == ["began", "asked yes", "finished as v1"]
        fresh = await flow.execute(thread_id="new")
        assert [each.step for each in fresh.history] == ["begin", "question"]
        assert (await flow.resume("new", "yes")).output["seen"][-1] == "finished with new"
        again = await flow.execute(thread_id="t0")
        assert [each.step for each in again.history] == ["begin", "question"], "an ended thread takes the newest"


async def test_a_version_with_waiting_threads_is_removed_with_force_only():
    async with Runtime.from_url("memory:") as runtime:
        await runtime.load_from_string(FIRST)
        for number in range(3):
            await runtime.get_workflow("flow").execute(thread_id=f"t{number}")
        await runtime.get_workflow("flow").resume("t0", "yes")
        await runtime.load_from_string(SECOND)
        flow = runtime.get_workflow("flow")
        with pytest.raises(VersionInUseError, match="2 threads wait on v1"):
            await flow.remove_version("v1")
        assert (await flow.resume("t1", "yes")).output["seen"][-1] == "finished as v1"
        removed = await flow.remove_version("v1", force=True)
        assert (removed.threads, removed.waiting) == (3, 1)
        with pytest.raises(VersionRemovedError, match="error: version_removed: thread 't2'"):
            await flow.resume("t2", "yes")
        assert (await flow.execute(thread_id="t0")).status == "waiting", "what had ended may begin again"
        with pytest.raises(ResourceError, match="has no old version 'v2'"):
            await flow.remove_version("v2")


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_version_that_another_process_removed_is_known_here_at_once_and_after_a_start(tmp_path, in_thread):
    url = f"sqlite:///{tmp_path}/app.db"

    async def resumed(runtime, thread):
        flow = runtime.get_workflow("flow")
        if in_thread:
            config = {"configurable": {"thread_id": thread}}
            await asyncio.to_thread(flow.graph.invoke, Command(resume="yes"), config)
        else:
            await flow.resume(thread, "yes")

    async with Runtime.from_url(url) as here, Runtime.from_url(url) as other:
        await here.load_from_string(FIRST)
        for number in range(3):
            await here.get_workflow("flow").execute(thread_id=f"t{number}")
        await here.load_from_string(SECOND)
        await other.settled()
        await resumed(here, "t0")
        await other.get_workflow("flow").remove_version("v1", force=True)
        with pytest.raises(VersionRemovedError, match="error: version_removed: thread 't1' began on a version"):
            await resumed(here, "t1")
    async with Runtime.from_url(url) as later:
        await later.settled()
        with pytest.raises(VersionRemovedError, match="error: version_removed: thread 't2' began on a version"):
            await resumed(later, "t2")
        with pytest.raises(ResourceError, match="has no old version 'v1'; old versions: none"):
            await later.get_workflow("flow").remove_version("v1")
        await later.load_from_string(FIRST)  # what is declared again is a version again
        await resumed(later, "t2")


def test_sync_runs_find_their_version_too():
    from stategraph.resources import BlockingRuntime

    with BlockingRuntime(Runtime.from_url("memory:")) as runtime:
        runtime.load_from_string(FIRST)
        config = {"configurable": {"thread_id": "t"}}
        runtime.graph("workflow/flow").invoke({"input": None}, config)
        runtime.load_from_string(SECOND)
        graph = runtime.graph("workflow/flow")
        assert graph.get_state(config).next == ("ask",)
        assert graph.invoke(Command(resume="yes"), config)["seen"][-1] == "finished as v1"


AGENT = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: clerk}
spec: {instructions: Be old., model: "openai:gpt", tools: [ask]}
"""


def ask(question: str) -> str:
    """Ask a person."""
    from stategraph.engine.tasks.interrupts import interrupt

    return f"{question}: {interrupt(question)}"


async def test_waiting_threads_of_an_agent_finish_on_their_version_also_in_another_process(tmp_path):
    url = f"sqlite:///{tmp_path}/app.db"
    asks = reply("", call("ask", {"question": "really"}))
    model = ScriptedChatModel(replies=[asks, asks, asks, "done", asks, "done", asks])
    settings = {"model_factory": lambda request: model, "tools": {"ask": ask}}

    def told():
        return [each.messages[0].text for each in model.requests]

    async with Runtime.from_url(url, **settings) as runtime:
        await runtime.load_from_string(AGENT)
        for number in range(3):
            assert (await runtime.agent("clerk").generate("go", thread_id=f"t{number}")).interrupts
        await runtime.load_from_string(AGENT.replace("old", "new"))
        clerk = runtime.agent("clerk")
        assert list(map(str, await clerk.versions())) == ["0 threads on v2, 0 waiting", "3 threads on v1, 3 waiting"]
        status = (await runtime.get("agent/clerk")).status
        assert status["threads"] == "0 threads on v2, 0 waiting; 3 threads on v1, 3 waiting"
        assert (await clerk.resume("t0", "yes")).text == "done"
        assert (await clerk.generate("go", thread_id="fresh")).interrupts
        assert told() == ["Be old."] * 4 + ["Be new."]
    async with Runtime.from_url(url, **settings) as runtime:
        await runtime.settled()
        clerk = runtime.agent("clerk")
        answer = await clerk.resume("t1", "yes")
        assert [each.text for each in answer.messages if each.type == "tool"] == ["really: yes"]
        with pytest.raises(VersionInUseError, match="1 thread waits on v1 of the agent default/clerk"):
            await clerk.remove_version("v1")
        await clerk.remove_version("v1", force=True)
        with pytest.raises(VersionRemovedError, match="began on a version of the agent default/clerk"):
            await clerk.resume("t2", "yes")
        await clerk.generate("go", thread_id="t1")
        assert told()[5:] == ["Be old.", "Be new."], "an ended thread takes the newest"
