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
from typing import Any

from stategraph.engine.compile.compiled_node import CompiledNode
from stategraph.engine.compile.functions import RunnableSeq, numbered, sequences_are_wrapped
from stategraph.engine.compile.write import BranchWriter, FastWriter
from stategraph.engine.config.context import await_in_context
from stategraph.engine.tasks.scope import TaskScope
from stategraph.engine.tracing import chain_run


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
    sequence: RunnableSeq,
    value: Any,
    scope: TaskScope,
    work: Callable[[CompiledNode, Sequence[FastWriter], Any, TaskScope], Any],
) -> Any:
    """Run an attempt and tell of it.

    Args:
        body: What to run.
        sequence: The sequence it stands for; says how to tell of it.
        value: The task's input.
        scope: The attempt's; its config becomes that of the work's run.
        work: Does the work, and what the writers given to it do, without a run around it.

    Returns:
        What the work returned.
    """
    config = scope.config
    begun = chain_run.start(config, sequence.reported(value), name=sequence.get_name(), policy=sequence.trace_policy)
    if begun is None:
        return sequence.invoke(value, config)
    with begun:
        if body.work is not None:
            scope.config = begun.child_config(config, "seq:step:1")
            value = begun.context(scope.config).run(work, body, (), value, scope)
        for writer, tag in _writers(body):
            if isinstance(writer, BranchWriter):
                writer.invoke(value, begun.child_config(config, tag))
            else:
                writer.write_into(value, scope)
        begun.output = value
    return value


def _writers(body: CompiledNode) -> Iterator[tuple[FastWriter, str]]:
    """Yield the writers with the tags of their runs."""
    for number, writer in numbered(body.writers or (), 1 if body.work is None else 2):
        yield writer, f"seq:step:{number}"


async def arun(
    body: CompiledNode,
    sequence: RunnableSeq,
    value: object,
    scope: TaskScope,
    work: Callable[[CompiledNode, Sequence[FastWriter], Any, TaskScope], Coroutine[Any, Any, object]],
) -> object:
    """Like :func:`run`, for async runs."""
    config = scope.config
    begun = await chain_run.astart(
        config, sequence.reported(value), name=sequence.get_name(), policy=sequence.trace_policy
    )
    if begun is None:
        return await sequence.ainvoke(value, config)
    async with begun:
        if body.work is not None:
            scope.config = begun.child_config(config, "seq:step:1")
            value = await await_in_context(begun.context(scope.config), work(body, (), value, scope))
        for writer, tag in _writers(body):
            if isinstance(writer, BranchWriter):
                await writer.ainvoke(value, begun.child_config(config, tag))
            elif writer.needs_await:
                await writer.awrite_into(value, scope)
            else:
                writer.write_into(value, scope)
        begun.output = value
    return value
