"""Every setting of runs and runtimes is looked at when it is given; what makes no sense is refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import pytest
from langgraph.store.memory import InMemoryStore

from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.agent.settings.validation import Settings, checked
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from stategraph.run import background_loop
from stategraph.run.config import RunConfig
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.run.runtime_settings import RuntimeSettings
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.workers.agents.backends import WorkerSettings
from stategraph.workers.agents.runtime import MultiProcessRuntime
from stategraph.workers.cluster.pool import ClusterSettings

OF_RUNS: list[tuple[dict[str, Any], str]] = [
    ({"store": 5}, "'store': a value of type int is no store, expected a store, such as InMemoryStore"),
    ({"checkpointer": 5}, "'checkpointer': a value of type int is no saver, expected a saver, such as InMemorySaver"),
    ({"checkpointer": True}, "'checkpointer': True is for nested graphs; expected a saver"),
    ({"custom_handlers": 5}, "'custom_handlers' is 5, expected an instance of EventHandlerRegistry or a mapping"),
    ({"custom_handlers": {"x": 5}}, "'custom_handlers': the handler of 'x' is of type int; expected a function of"),
    ({"edges": 5}, "'edges' is 5, expected a list"),
    ({"signal": 5}, "'signal' is 5, expected an instance of AbortSignal"),
    ({"token_counter": 5}, "'token_counter' is 5, expected a function"),
    ({"telemetry": 5}, "'telemetry' is 5, expected an object with measure, see stategraph.run.ports.RunTelemetry"),
    ({"clock": 5}, "'clock' is 5, expected an object with asleep, monotonic, sleep, time, see"),
    ({"tool_gates": [5]}, r"'tool_gates\[0\]' is 5, expected an object with after, before, finish, see"),
    ({"sticky_agents": "no"}, "'sticky_agents' is 'no', expected True or False"),
    ({"return_content": 1}, "'return_content' is 1, expected True or False"),
    ({"event_log_size": "5"}, "'event_log_size' is '5', expected a whole number"),
    ({"max_stop_continuations": True}, "'max_stop_continuations' is True, expected a whole number"),
    ({"calibration_ratio": "1"}, "'calibration_ratio' is '1', expected a number"),
    ({"limits": {"cost": float("inf")}}, "'limits.cost' is inf, expected a finite number"),
]


@pytest.mark.parametrize(("given", "said"), OF_RUNS)
@pytest.mark.parametrize("make", [AgentRuntime, MultiProcessRuntime])
def test_a_runtime_refuses_settings_of_its_runs_when_it_is_made(make: Any, given: Any, said: str) -> None:
    if make is MultiProcessRuntime and "store" in given:
        said = "'store' is a value of type int; here it is the address of the database"
    with pytest.raises(ConfigurationError, match=said):
        make(**given)


@pytest.mark.anyio
@pytest.mark.parametrize(("given", "said"), [*OF_RUNS, ({"models": 5}, "'models' is 5, expected an object with")])
async def test_a_run_refuses_the_same(given: Any, said: str) -> None:
    agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=[]))
    with pytest.raises(ConfigurationError, match=said):
        await create_run(run_id="r", agents=[agent], **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"models": 5}, "'models' is 5, expected an object with __len__, resolve, see .*ModelRegistry"),
        ({"runs_kept": -1}, "'runs_kept' is -1, expected greater than or equal to 0"),
        ({"runs_kept": "9"}, "'runs_kept' is '9', expected a whole number"),
        ({"thread_index": "yes"}, "'thread_index' is 'yes', expected True or False or an object with abandoned, "),
        ({"runs": 5}, "'runs' is 5, expected an object with __iter__, add, cancel, "),
        ({"event_log": 5}, "'event_log' is 5, expected a function"),
        ({"tool_sources": 5}, "'tool_sources' is 5, expected a list"),
        ({"mcp_servers": 5}, "MCP servers are given as a mapping"),
        ({"checkpointer": "runs.db"}, "'checkpointer': A store is an address such as sqlite:///runs.db"),
        ({"hook": 5}, "'hook' is not a setting of AgentRuntime; did you mean 'hooks'"),
        ({"run_id": "x"}, "'run_id' is not a setting of AgentRuntime"),
        ({"durability": "sync"}, "'durability' is not a setting of AgentRuntime; it goes into the config of a run"),
    ],
)
def test_a_runtime_refuses_wrong_settings_of_its_own(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AgentRuntime(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"store": "runs.db"}, "'store': A store is an address such as sqlite:///runs.db"),
        ({"workers": "4"}, "'workers' is '4', expected a whole number"),
        ({"backend": "threads"}, "'backend' is 'threads', expected 'inline', 'thread', 'process' or 'nats'"),
        ({"max_runs_per_worker": 0}, "'max_runs_per_worker' is 0, expected greater than 0"),
        ({"memory_limit_mb": "1G"}, "'memory_limit_mb' is '1G', expected a whole number"),
        ({"cluster": {}}, "'cluster' is empty, expected an instance of ClusterSettings"),
        ({"environment": ["KEY"]}, "'environment' is a value of type list, expected a mapping"),
        ({"allow": 5}, "'allow' is 5, with a value of type int; expected a list of names"),
        ({"preload": [5]}, r"'preload' is \[5\], with a value of type int; expected a list of names"),
        ({"work": 4}, "'work' is not a setting of MultiProcessRuntime; did you mean 'workers'"),
    ],
)
def test_a_runtime_of_workers_refuses_wrong_settings_of_its_own(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        MultiProcessRuntime(**given)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["agents", "edges"])
async def test_one_agent_or_edge_is_no_list(name: str) -> None:
    one = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=[]))
    given: dict[str, Any] = {"agents": [one], name: one if name == "agents" else GraphEdge(from_="a", to="b")}
    with pytest.raises(ConfigurationError, match=f"'{name}' is a value of type .*, expected a list"):
        await create_run(run_id="r", **given)


@pytest.mark.anyio
async def test_what_is_no_run_is_not_started() -> None:
    async with AgentRuntime() as runtime:
        no_run: Any = 5
        with pytest.raises(ConfigurationError, match=r"start\(\) was given a value of type int; expected a run"):
            runtime.start(no_run, {"messages": []})


@pytest.mark.anyio
async def test_what_makes_sense_is_taken_as_it_is() -> None:
    saver, store = in_memory_saver(), InMemoryStore()
    handlers = {"on_run_step": print}
    async with AgentRuntime(checkpointer=saver, store=store, custom_handlers=handlers, return_content=True) as runtime:
        agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=["Fine."]))
        run = await runtime.create_run(run_id="r", agents=[agent], return_content=None)
        assert run.graph.compiled.checkpointer is saver
        assert run.graph.compiled.store is store
        assert run.handler_registry.events == {"on_run_step"}
        assert not run.return_content


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"run_id": "x", "grap": 1}, "'grap' is not a field of RunConfig; did you mean 'graph'"),
        ({"run_id": "x", "graphConfi": {}}, "did you mean 'graphConfig'"),
        ({"runid": "x"}, "'runid' is not a field of RunConfig; did you mean 'run_id'"),
        ({"run_id": "x"}, "Graph config not provided"),
        ({}, "Run ID not provided"),
    ],
)
def test_a_misspelled_field_is_told_before_the_one_that_is_missing(config: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Run.create_sync(config)


@pytest.mark.parametrize("name", ["models", "log"])
def test_what_a_run_is_to_use_has_to_be_of_that_kind(name: str) -> None:
    config = {"run_id": "x", "graph_config": {"agents": [{"agent_id": "a", "model": ScriptedChatModel(replies=[])}]}}
    given: dict[str, Any] = {name: 5}
    with pytest.raises(ConfigurationError, match=f"'{name}' is 5, expected an object with .*, see stategraph"):
        Run.create_sync(config, **given)


def needs(a: Any) -> Any:
    return a


async def later() -> Any:
    raise AssertionError("is not awaited")


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (lambda: 5, "returned a value of type int; expected a compiled graph"),
        (needs, r"cannot be called without arguments \(missing a required argument: 'a'\); expected a compiled graph"),
        (later, "is async, and a run is made without waiting: give it what this returns"),
    ],
)
def test_a_function_that_makes_no_graph_is_refused(graph: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Run.create_sync({"run_id": "x", "graph": graph})


def test_what_cannot_even_be_called_is_raised_to_the_caller_that_waits() -> None:
    work: Any = lambda: create_run()  # type: ignore[call-arg]  # noqa: E731
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'run_id'"):
        background_loop.current().run(work)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("not a url", "has blanks in it"),
        ("localhost:11434", "does not begin with http:// or https://"),
        ("http://", "names no host"),
        ("http://u:secret@[::1", "cannot be read"),
        ("http://127.0.0.1:99999/", "cannot be read"),
        (5, "is a value of type int"),
    ],
)
def test_an_address_that_nothing_can_be_sent_to_is_refused_when_the_run_is_made(address: Any, said: str) -> None:
    model = {"provider": "openai", "client_options": {"model": "m", "apiKey": "k", "configuration": {}}}
    model["client_options"]["configuration"]["baseURL"] = address  # type: ignore[index]
    with pytest.raises(ConfigurationError, match=f"Agent 'a': the option 'base_url' .* {said}") as raised:
        Run.create_sync({"run_id": "x", "graph_config": {"agents": [{"agent_id": "a", **model}]}})
    assert "secret" not in str(raised.value)


class Unknown:
    def __init__(self, given: Any) -> None:
        self.given = given


def takes_unknown(given: Unknown) -> str:
    """Take something."""
    return str(given)


@pytest.mark.parametrize("settings", [{"output_type": Unknown}, {"output_type": list[Unknown]}])
def test_a_type_that_has_no_schema_is_refused_in_one_line(settings: Any) -> None:
    agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=[]), **settings)
    with pytest.raises(ConfigurationError, match="cannot be used: Unable to generate") as raised:
        Run.create_sync({"run_id": "x", "graph_config": {"agents": [agent]}})
    assert "\n" not in str(raised.value)
    assert "arbitrary_types" not in str(raised.value)


def test_a_tool_whose_parameters_have_no_schema_is_refused_in_one_line() -> None:
    agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=[]), tools=[takes_unknown])
    with pytest.raises(ConfigurationError, match=r"a tool cannot be described to a model: .*'takes_unknown'") as raised:
        Run.create_sync({"run_id": "x", "graph_config": {"agents": [agent]}})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", [{"timeout_s": "5"}, {"timeout_s": True}, {"max_result_chars": 1.5}, {"retry": 5}])
def test_policies_of_tools_take_no_other_types(given: Any) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} must be"):
        ToolPolicy(**given)


@pytest.mark.parametrize("name", ["ack_wait_s", "submit_s"])
def test_times_of_a_cluster_are_numbers(name: str) -> None:
    settings: Any = {name: "5"}
    with pytest.raises(ConfigurationError, match=f"{name} is '5'; expected a number of seconds"):
        ClusterSettings(**settings)


# -- every class of settings -------------------------------------------------


def classes(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("stategraph."):
            yield each
            yield from classes(each)


def scalars(annotation: Any) -> set[type]:
    """Return the numbers and truth values that a field takes, unless it takes texts as well."""
    if get_origin(annotation) in (Union, type(int | str)):
        found = [scalars(each) for each in get_args(annotation)]
        return set() if any(str in each for each in found) else set().union(*found)
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return {annotation} & {bool, int, float, str}


FIELDS = [
    (kind, name)
    for kind in {*classes(), RunConfig, RuntimeSettings, WorkerSettings}
    for name, field in kind.model_fields.items()
    if scalars(field.annotation) & {bool, int, float}
]


@pytest.mark.parametrize(("kind", "name"), sorted(FIELDS, key=str))
def test_no_setting_reads_a_number_or_a_truth_value_from_a_text(kind: type[Settings], name: str) -> None:
    alias = kind.model_fields[name].alias or name
    for text in ("1", "true"):
        with pytest.raises(ConfigurationError, match=f"'{alias}' is "):
            checked(kind, {alias: text})
    if bool not in scalars(kind.model_fields[name].annotation):
        with pytest.raises(ConfigurationError, match=f"'{alias}' is True"):
            checked(kind, {alias: True})


def test_there_are_many_such_settings() -> None:
    assert len(FIELDS) > 60
