"""One attempt of a task that has listeners.

A node is a run with a child run for its work and one for each router, as if work and writers were a sequence of
Runnables. Here the steps are called directly; handlers are told the same.

Rules
-----
* The work runs in the context of its run: what it calls becomes a child. Writers only write its result down.
* A router that is a plain function is asked on the event loop, traced or not.
* Work that is a sequence itself is taken apart into its steps; that is left to the Runnable.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import Context
from typing import Any

from langchain_core.runnables import RunnableConfig

from stategraph.engine.compile.compiled_node import CompiledNode
from stategraph.engine.compile.functions import RunnableSeq, numbered, sequences_are_wrapped
from stategraph.engine.compile.write import BranchWriter, FastWriter
from stategraph.engine.config.context import await_in_context
from stategraph.engine.tasks.scope import TaskScope
from stategraph.engine.tracing import chain_run
from stategraph.engine.tracing.chain_run import ChainRun


def sequence_of(body: CompiledNode) -> RunnableSeq | None:
    """Return the sequence that a body stands for; None if its steps are not just the work and the writers.

    Nor is there one if the work is a function that is traced as a separate run, or if sequences have been wrapped.
    """
    whole, writers, plan = body.runnable, body.writers, body.plan
    if (
        type(whole) is not RunnableSeq
        or sequences_are_wrapped()
        or writers is None
        or (plan is not None and plan.trace)
    ):
        return None
    return whole if len(whole.steps) == len(writers) + (body.work is not None) else None


def run(
    body: CompiledNode,
    value: object,
    scope: TaskScope,
    work: Callable[[CompiledNode, Sequence[FastWriter], object, TaskScope], object],
) -> object:
    """Run an attempt and tell of it, if it can be told of step by step; else leave that to its Runnable.

    Args:
        body: What to run.
        value: The task's input.
        scope: The attempt's; its config becomes that of the work's run.
        work: Does the work, and what the writers given to it do, without a run around it.

    Returns:
        What the work returned.
    """
    sequence, config = sequence_of(body), scope.config
    begun = None if sequence is None else chain_run.start(config, **_described(sequence, value, config))
    if begun is None:
        return body.runnable.invoke(value, config)
    with begun:
        if body.work is not None:
            value = _enter_work(begun, scope).run(work, body, (), value, scope)
        for router, child in _write(body, value, scope, begun, config):
            router.invoke(value, child)
    return value


async def arun(
    body: CompiledNode,
    value: object,
    scope: TaskScope,
    work: Callable[[CompiledNode, Sequence[FastWriter], object, TaskScope], Coroutine[Any, Any, object]],
    *,
    takes_turns: bool = True,
) -> object:
    """Like :func:`run`, for async runs.

    Args:
        body: See :func:`run`.
        value: See :func:`run`.
        scope: See :func:`run`.
        work: See :func:`run`.
        takes_turns: Whether other tasks run beside this one.
    """
    sequence, config = sequence_of(body), scope.config
    begun = None
    if sequence is not None:
        begun = await chain_run.astart(config, **_described(sequence, value, config), takes_turns=takes_turns)
    if begun is None:
        return await body.runnable.ainvoke(value, config)
    try:
        if body.work is not None:
            value = await await_in_context(_enter_work(begun, scope), work(body, (), value, scope))
        for router, child in _write(body, value, scope, begun, config):
            await router.atraced(value, child, takes_turns=takes_turns)
    except BaseException as error:
        await begun.aend(error)
        raise
    await begun.aend(None)
    return value


def _described(sequence: RunnableSeq, value: object, config: RunnableConfig) -> dict[str, Any]:
    """Return how a run of the sequence is told of."""
    name = config.get("run_name") or sequence.get_name()
    return {"payload": sequence.reported(value), "name": name, "policy": sequence.trace_policy}


def _enter_work(begun: ChainRun[Any], scope: TaskScope) -> Context:
    """Make the config of the work's run that of the attempt, and return the context to run it in."""
    scope.config = begun.child_config(scope.config, "seq:step:1")
    return begun.context(scope.config)


def _write(
    body: CompiledNode, value: object, scope: TaskScope, begun: ChainRun[Any], config: RunnableConfig
) -> Iterator[tuple[BranchWriter, RunnableConfig]]:
    """Write the result down, and tell of it; yields the routers, each with the config of a run that asks it."""
    for number, writer in numbered(body.writers or (), 1 if body.work is None else 2):
        if isinstance(writer, BranchWriter):
            yield writer, begun.child_config(config, f"seq:step:{number}")
        else:
            writer.write_into(value, scope)
    begun.output = value
