"""The worker's side of a node: calls the node's function with what it asks for, as the engine would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import CONF, CONFIG_KEY_RUNTIME, CONFIG_KEY_SCRATCHPAD, CONFIG_KEY_SEND
from stategraph.engine.compile.functions import CallPlan, plan_call
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.config.scratchpad import PregelScratchpad, new_counter
from stategraph.errors import TransferError
from stategraph.workers.execution import JobPort, current_port
from stategraph.workers.nodes import callback_relay

TARGET = f"{__name__}:run_node"


def run_node(given: Mapping[str, Any]) -> Any:
    """Run the function of a node.

    Args:
        given: What `stategraph.workers.nodes.executor` sent.

    Returns:
        What the function returned.

    Raises:
        GraphInterrupt: It waits for an answer.
        Exception: What the function raised.
    """
    port = current_port()
    plan = _plan_of(port, given["function"])
    config = _config(given, port)
    var_child_runnable_config.set(config)
    assert plan.func is not None
    return plan.func(given["state"], **plan.arguments(config))


def _plan_of(port: JobPort, target: str) -> CallPlan:
    """Return how a node's function is called; its signature is looked at once."""
    function = port.targets.load(target)
    known = _plans.get(target)
    if known is None or known.func is not function:
        known = plan_call(function)
        if known is None or known.func is None:
            raise TransferError(f"The target {target!r} is no sync function here")
        _plans[target] = known
    return known


_plans: dict[str, CallPlan] = {}


def _config(given: Mapping[str, Any], port: JobPort) -> Any:
    config = dict(given["config"])
    runtime: Runtime[Any] = Runtime(
        context=given["context"],
        stream_writer=lambda value: port.emit_from_thread("custom", value),
        previous=given["previous"],
        execution_info=given["execution_info"],
    )
    config[CONF] = {
        **config[CONF],
        CONFIG_KEY_RUNTIME: runtime,
        CONFIG_KEY_SCRATCHPAD: _scratchpad(given, port),
        CONFIG_KEY_SEND: lambda writes: port.call_from_thread("send", list(writes)),
    }
    if given["listens"] is not None:
        relay = callback_relay.StreamingRelay if given["listens"] == "streams" else callback_relay.Relay
        config["callbacks"] = [relay(port)]
    return config


def _scratchpad(given: Mapping[str, Any], port: JobPort) -> PregelScratchpad:
    open_answer = given["open_answer"]

    def take(consume: bool) -> object:
        nonlocal open_answer
        answer = open_answer
        if consume and answer is not None:
            # Another task may have taken it meanwhile: the host knows.
            answer, open_answer = port.call_from_thread("take_answer"), None
        return answer

    return PregelScratchpad(
        step=given["step"],
        stop=given["stop"],
        call_counter=new_counter(),
        interrupt_counter=new_counter(),
        get_null_resume=take,
        resume=list(given["resume"]),
        subgraph_counter=new_counter(),
    )
