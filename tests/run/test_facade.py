"""Runs for callers that cannot await: in scripts, in notebooks, in the face of Ctrl-C and of forks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stategraph import interrupt
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from stategraph.run import background_loop
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

ASK = {"messages": [("user", "hi")]}
THREAD = {"configurable": {"thread_id": "t"}}
SCRIPT_S = 60


def settings(*replies: Any, **more: Any) -> dict[str, Any]:
    agents = [{"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}]
    options = {"checkpointer": more.pop("checkpointer", None)}
    return {"run_id": "r", "graph_config": {"agents": agents, "compile_options": options}, **more}


def held() -> Any:
    """A reply that stops in its middle."""
    return script.Reply((script.Text("one "), script.Hold(script.Gate()), script.Text("two")))


def messages_of(saver: Any) -> list[Any]:
    run = Run.create_sync(settings("unused", checkpointer=saver))
    return background_loop.current().run(lambda: run.graph.compiled.aget_state(THREAD)).values["messages"]


def test_a_script_runs_a_turn() -> None:
    run = Run.create_sync(settings("Hello.", return_content=True))
    assert run.run_sync(ASK) == [{"type": "text", "text": "Hello."}]


@pytest.mark.anyio
async def test_a_notebook_runs_a_turn_inside_of_its_loop() -> None:
    run = await Run.create(settings("Hello.", return_content=True))
    assert run.run_sync(ASK) == [{"type": "text", "text": "Hello."}]


def test_all_calls_use_one_loop() -> None:
    loops: set[Any] = set()
    handlers = {"on_message_delta": lambda *_: loops.add(asyncio.get_running_loop())}
    for _ in range(2):
        Run.create_sync(settings("Hello.", custom_handlers=handlers)).run_sync(ASK)
    assert len(loops) == 1
    assert [each.name for each in threading.enumerate()].count("stategraph-loop") == 1


def test_context_variables_of_the_caller_reach_the_handlers() -> None:
    person: ContextVar[str] = ContextVar("person", default="nobody")
    seen: list[str] = []
    handlers = {"on_message_delta": lambda *_: seen.append(person.get())}
    run = Run.create_sync(settings("Hello.", custom_handlers=handlers))
    person.set("ada")
    run.run_sync(ASK)
    assert set(seen) == {"ada"}


def test_what_a_run_raises_is_raised_here() -> None:
    run = Run.create_sync(settings(script.Reply((script.Fault("broken"),))))
    with pytest.raises(script.ScriptedModelError, match="broken"):
        run.run_sync(ASK)


def test_events_are_read_as_they_come() -> None:
    run = Run.create_sync(settings("Hello."))
    events = list(run.stream_sync(ASK))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "on_run_end"
    assert events[-1].data["status"] == "completed"


def test_a_reader_that_leaves_ends_the_run() -> None:
    saver = in_memory_saver()
    run = Run.create_sync(settings(held(), checkpointer=saver))
    for event in run.stream_sync(ASK, THREAD):
        if event.event == "on_message_delta":
            break
    assert not run.running
    answer = messages_of(saver)[-1]
    assert isinstance(answer, AIMessage)
    assert answer.content == "one "
    assert answer.additional_kwargs["incomplete"] == "aborted"


@pytest.mark.parametrize("streams", [False, True])
def test_ctrl_c_ends_the_run_and_leaves_a_valid_thread(streams: bool) -> None:
    saver = in_memory_saver()
    main = threading.main_thread().ident
    assert main is not None
    handlers = {"on_message_delta": lambda *_: signal.pthread_kill(main, signal.SIGINT)}
    run = Run.create_sync(settings(held(), checkpointer=saver, custom_handlers=handlers))
    with pytest.raises(KeyboardInterrupt):
        if streams:
            list(run.stream_sync(ASK, THREAD))
        else:
            run.run_sync(ASK, THREAD)
    assert not run.running
    assert [message.type for message in messages_of(saver)] == ["human", "ai"]
    later = Run.create_sync(settings("Again.", checkpointer=saver, return_content=True))
    assert later.run_sync(ASK, THREAD) == [{"type": "text", "text": "Again."}]


def test_a_handler_cannot_wait_for_its_own_loop() -> None:
    other = Run.create_sync(settings("unused"))
    run = Run.create_sync(settings("Hello.", custom_handlers={"on_message_delta": lambda *_: other.run_sync(ASK)}))
    with pytest.raises(Exception, match="on_message_delta") as raised:
        run.run_sync(ASK)
    assert isinstance(raised.value.__cause__, ConfigurationError)
    assert "await the async method there" in str(raised.value.__cause__)


def test_a_run_that_waits_goes_on() -> None:
    def weather() -> str:
        """Tell the weather."""
        return f"It is {interrupt('which?')}"

    saver = in_memory_saver()
    given = settings(script.reply(script.call("weather")), "Sunny.", checkpointer=saver, return_content=True)
    given["graph_config"]["agents"][0]["tools"] = [weather]
    run = Run.create_sync(given)
    run.run_sync(ASK, THREAD)
    assert [each.payload for each in run.get_interrupts()] == ["which?"]
    parts = run.resume_sync("sunny", THREAD)
    assert parts is not None
    assert parts[-1] == {"type": "text", "text": "Sunny."}
    assert parts[-2]["tool_call"]["output"] == "It is sunny"


def test_a_runtime_is_shared_by_sync_calls() -> None:
    with AgentRuntime(checkpointer=in_memory_saver(), return_content=True) as runtime:
        for text in ("One.", "Two."):
            agent = {"agent_id": "a", "model": ScriptedChatModel(replies=[text])}
            run = runtime.create_run_sync(run_id=text, agents=[agent])
            assert run.run_sync(ASK, THREAD) == [{"type": "text", "text": text}]
    with pytest.raises(ConfigurationError, match="closed"):
        runtime.create_run_sync(run_id="late", agents=[{"agent_id": "a", "model": ScriptedChatModel(replies=["x"])}])


def test_runs_of_a_runtime_for_sync_calls_are_not_awaited_elsewhere() -> None:
    with AgentRuntime(checkpointer=in_memory_saver(), return_content=True) as runtime:
        agent = {"agent_id": "a", "model": ScriptedChatModel(replies=["Hello."])}
        run = runtime.create_run_sync(run_id="r", agents=[agent])

        async def elsewhere() -> None:
            with pytest.raises(ConfigurationError, match=r"call run_sync\(\), stream_sync\(\) or resume_sync\(\)"):
                await run.process_stream(ASK, THREAD)
            with pytest.raises(ConfigurationError, match=r"open the runtime by 'async with'"):
                run.start(ASK, THREAD)

        asyncio.run(elsewhere())
        assert run.run_sync(ASK, THREAD) == [{"type": "text", "text": "Hello."}]


IN_A_SCRIPT = """
import os, sys, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of fork beside threads, since Python 3.12
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

def make(*replies):
    agents = [{"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}]
    return Run.create_sync({"run_id": "r", "return_content": True, "graph_config": {"agents": agents}})

ask = {"messages": [("user", "hi")]}
"""


def scripted(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IN_A_SCRIPT + text], capture_output=True, text=True, timeout=SCRIPT_S, check=False
    )


def test_a_script_that_ends_in_the_middle_of_a_run_ends() -> None:
    done = scripted(
        """
held = script.Reply((script.Text("one "), script.Hold(script.Gate())))
events = make(held).stream_sync(ask)
while next(events).event != "on_message_delta":
    pass
print("leaving")
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_forked_process_has_a_loop_of_its_own_and_is_told_what_is_not_its() -> None:
    done = scripted(
        """
used = make("One.", "Two.")
print(used.run_sync(ask)[0]["text"], flush=True)
events = make("One.").stream_sync(ask)
next(events)
child = os.fork()
if child == 0:
    try:
        print(make("Child.").run_sync(ask)[0]["text"])
        try:
            next(events)
        except ValueError as error:
            print(error)
        try:
            used.run_sync(ask)
        except ValueError as error:
            print("another event loop" in str(error))
    finally:
        sys.stdout.flush()
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(used.run_sync(ask)[0]["text"], [event.event for event in events][-1])
"""
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[:2] == ["One.", "Child."]
    assert "from which this one was forked" in lines[2]
    assert lines[3:] == ["True", "Two. on_run_end"]
