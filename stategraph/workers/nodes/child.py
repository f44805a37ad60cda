"""The worker's side of a node: calls the node's function with what it asks for, as the engine would."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import CONF, CONFIG_KEY_RUNTIME, CONFIG_KEY_SCRATCHPAD, CONFIG_KEY_SEND
from stategraph.engine.compile.functions import CallPlan, plan_call
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.config.scratchpad import PregelScratchpad, new_counter
from stategraph.errors import TransferError
from stategraph.workers import carrying
from stategraph.workers.nodes import callback_relay
from stategraph.workers.nodes.port import NodePort
from stategraph.workers.process.limits import Stopped
from stategraph.workers.wire import encode


def run_attempt(port: NodePort, worker: str, name: str, trace: str | None, content: bytes) -> None:
    """Run an attempt of a node, and send what came of it.

    Args:
        port: The way to the process of the run.
        worker: The worker's name.
        name: The attempt's.
        trace: The trace that it belongs to; None: none.
        content: What `stategraph.workers.nodes.attempt` sent.

    Raises:
        Stopped: The worker is to end.
    """
    try:
        with carrying.restored(b"", trace, port.targets, port.codec):
            result = _run_node(port.codec.decode(content, f"The input of job '{name}'"), port)
        port.end(("done", encode(result, f"The result of job '{name}'")))
    except Stopped:
        raise
    except BaseException as error:  # also a result that is too large
        port.end(("failed", _described(error, port, worker)))


def _described(error: BaseException, port: NodePort, worker: str) -> dict[str, object]:
    record = port.codec.describe(error, f"worker '{worker}'")
    return record | {"reply": getattr(error, "_stategraph_reply", None)}


def _run_node(given: Mapping[str, Any], port: NodePort) -> Any:
    """Run the function of a node, and return what it returns."""
    plan = _plan_of(port, given["function"])
    config = _config(given, port)
    var_child_runnable_config.set(config)
    assert plan.func is not None
    result = plan.func(given["state"], **plan.arguments(config))
    return asyncio.run(_outcome(result)) if inspect.isawaitable(result) else result


async def _outcome(result: Awaitable[Any]) -> Any:
    return await result


def _plan_of(port: NodePort, target: str) -> CallPlan:
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


def _config(given: Mapping[str, Any], port: NodePort) -> Any:
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


def _scratchpad(given: Mapping[str, Any], port: NodePort) -> PregelScratchpad:
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
