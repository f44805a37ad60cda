"""What holds if a host says nothing, and the least and most that it may say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from stategraph.agent.settings.limits import RunLimits
from stategraph.errors import ConfigurationError
from stategraph.run.config import EagerEventToolExecution, FadingTierConfig, HumanInTheLoop, RunConfig
from stategraph.run.events import run_log
from stategraph.run.events.handlers import create_handlers
from stategraph.run.events.ids import new_id
from stategraph.run.hooks.hook_registry import HookOutput, HookRegistration
from stategraph.run.long_term import LongTermMemory
from stategraph.run.questions import MOST_QUESTIONS, Question
from stategraph.run.runtime import RUNS_KEPT, AgentRuntime
from stategraph.run.turn.turn_inputs import runnable_config
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.ids import CountedIds
from tests.run.hosting import ask


def config(**more: Any) -> RunConfig:
    graph = {"agents": [{"agent_id": "a", "model": ScriptedChatModel(replies=[])}]}
    return RunConfig.of({"run_id": "r", "graph_config": graph, **more})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("return_content", False),
        ("calibration_ratio", 1.0),
        ("custom_handlers", {}),
        ("fading_tiers", {}),
        ("tool_gates", ()),
        ("limits", RunLimits()),
        ("prices", None),
        ("model_gates", ()),
        ("sticky_agents", False),
        ("active_agent", None),
        ("max_stop_continuations", 8),
        ("skip_cleanup", False),
        ("event_log_size", 4096),
        ("human_in_the_loop", HumanInTheLoop(enabled=False)),
        ("eager_event_tool_execution", EagerEventToolExecution(enabled=False)),
    ],
)
def test_a_run_needs_no_more_than_a_name_and_agents(name: str, value: object) -> None:
    assert getattr(config(), name) == value


def test_limits_are_those_of_the_documentation() -> None:
    assert "recursion_limit" not in runnable_config({}, "r")
    assert config().limits == RunLimits(model_calls=100)
    assert (RUNS_KEPT, run_log.LAG, MOST_QUESTIONS) == (128, 64, 4)
    assert FadingTierConfig() == FadingTierConfig(rung=0, masking=False)
    assert HookRegistration(hooks=(print,)).limit_s == 30
    assert not HookRegistration(hooks=(print,)).once
    assert not HookOutput().detached
    assert HookOutput().halt is None
    assert not Question(question="?").multi_select


@pytest.mark.parametrize(
    ("least", "too_little"),
    [
        ({"run_id": "x"}, {"run_id": ""}),
        ({"calibration_ratio": 0.01}, {"calibration_ratio": 0}),
        ({"max_stop_continuations": 0}, {"max_stop_continuations": -1}),
        ({"event_log_size": 0}, {"event_log_size": -1}),
        ({"fading_tiers": {"a": {"rung": 0}}}, {"fading_tiers": {"a": {"rung": -1}}}),
    ],
)
def test_a_setting_may_be_as_small_as_it_makes_sense_and_no_smaller(least: Any, too_little: Any) -> None:
    assert config(**least)
    with pytest.raises(ConfigurationError):
        config(**too_little)


def test_an_empty_name_of_a_run_is_refused_in_a_configuration_that_is_a_value() -> None:
    with pytest.raises(ValueError, match="run_id"):
        RunConfig(run_id="", graph_config=config().graph_config)


def test_the_name_of_a_field_on_the_wire_is_understood() -> None:
    assert HookOutput.model_validate({"async": True}).detached


def test_what_is_shown_of_values_leaves_their_inner_parts_out() -> None:
    from langgraph.store.memory import InMemoryStore

    assert "_writing" not in repr(LongTermMemory(InMemoryStore(), ("memories",)))
    assert "ContentAggregator" not in repr(create_handlers())


@pytest.mark.anyio
async def test_a_run_is_watched_from_its_first_event() -> None:
    async with AgentRuntime() as runtime:
        described = {"agent_id": "a", "model": ScriptedChatModel(replies=[script.reply("Hello.")])}
        run = await runtime.create_run(run_id="r", agents=[described])
        await runtime.start(run, ask())
        for watched in (run.attach(), runtime.attach("r"), runtime.runs.events("r")):
            assert (await anext(watched)).seq == 1
            await watched.aclose()


class Numbered(CountedIds):
    """Ids that are one number."""

    number = 0

    def unique(self) -> UUID:
        return UUID(int=self.number)


def test_an_id_is_its_prefix_and_six_bits_of_a_number_for_each_character() -> None:
    from stategraph.engine.config import environment

    ids = Numbered()
    ids.number = sum(place << 6 * place for place in range(21)) + (1 << 126)
    with environment.replacing(None, ids):
        assert new_id("step_") == "step_UTSRQPONMLKJIHGFEDCBA"
        ids.number = (1 << 126) - 1
        assert new_id("") == "_" * 21
