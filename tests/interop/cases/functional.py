"""The functional API: tasks that are done stay done, and an entrypoint remembers what it returned."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from kit import HERE, Case, case, effect, first_time
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

# Long enough for the writes of a task that ended at once to reach the saver before its neighbour fails.
HEAD_START_S = 0.1


@task
def double(number: int) -> int:
    """A task that works."""
    effect(f"double {number}")
    return 2 * number


@task
async def adouble(number: int) -> int:
    """The same, as a coroutine."""
    effect(f"double {number}")
    return 2 * number


@task
def approve(number: int) -> str:
    """A task that asks."""
    effect(f"approve {number}")
    return f"{number} {interrupt({'approve': number})}"


@task
async def aapprove(number: int) -> str:
    """The same, as a coroutine."""
    effect(f"approve {number}")
    return f"{number} {interrupt({'approve': number})}"


@task
def shaky(number: int) -> int:
    """A task that fails the first time."""
    effect(f"shaky {number}")
    if first_time("shaky"):
        time.sleep(HEAD_START_S)
        raise ValueError("not yet")
    return -number


@task
async def ashaky(number: int) -> int:
    """The same, as a coroutine."""
    effect(f"shaky {number}")
    if first_time("shaky"):
        await asyncio.sleep(HEAD_START_S)
        raise ValueError("not yet")
    return -number


@case
def question_in_a_task() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(number: int) -> list[Any]:
            effect("flow")
            doubled = double(number).result()
            return [doubled, approve(doubled).result(), double(doubled).result()]

        @entrypoint(checkpointer=checkpointer)
        async def aflow(number: int) -> list[Any]:
            effect("flow")
            doubled = await adouble(number)
            return [doubled, await aapprove(doubled), await adouble(doubled)]

        return flow if HERE.mode == "sync" else aflow

    return Case(build, [lambda thread: thread.run(3), lambda thread: thread.run(Command(resume="approved"))])


@case
def questions_in_an_entrypoint() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(number: int) -> list[Any]:
            effect("flow")
            futures = [double(number), double(number + 1)]
            doubled = [future.result() for future in futures]
            return [*doubled, interrupt("first?"), double(9).result(), interrupt("second?")]

        @entrypoint(checkpointer=checkpointer)
        async def aflow(number: int) -> list[Any]:
            effect("flow")
            futures = [adouble(number), adouble(number + 1)]
            doubled = [await future for future in futures]
            return [*doubled, interrupt("first?"), await adouble(9), interrupt("second?")]

        return flow if HERE.mode == "sync" else aflow

    return Case(
        build,
        [
            lambda thread: thread.run(3),
            lambda thread: thread.run(Command(resume="one")),
            lambda thread: thread.run(Command(resume="two")),
        ],
    )


@case
def parallel_questions_in_tasks() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(number: int) -> list[Any]:
            effect("flow")
            futures = [approve(number), double(number), approve(number + 1)]
            return [future.result() for future in futures]

        @entrypoint(checkpointer=checkpointer)
        async def aflow(number: int) -> list[Any]:
            effect("flow")
            futures = [aapprove(number), adouble(number), aapprove(number + 1)]
            return [await future for future in futures]

        return flow if HERE.mode == "sync" else aflow

    def answer(thread: Any) -> Any:
        waiting = thread.state().interrupts
        return thread.run(Command(resume={i.id: f"ok {i.value['approve']}" for i in waiting}))

    return Case(build, [lambda thread: thread.run(5), answer, answer])


@case
def previous_of_an_entrypoint() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(number: int, *, previous: int | None = None) -> int:
            effect(f"flow after {previous}")
            return number + (previous or 0)

        return flow

    return Case(build, [lambda thread, n=n: thread.run(n) for n in (1, 10, 100)])


@case
def final_of_an_entrypoint() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(number: int, *, previous: Any = None) -> entrypoint.final[str, dict[str, Any]]:
            effect("flow")
            total = number + (previous or {"total": 0})["total"]
            return entrypoint.final(value=f"was {previous}", save={"total": total})

        return flow

    return Case(build, [lambda thread, n=n: thread.run(n) for n in (1, 10, 100)])


@case
def failure_after_finished_tasks() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(number: int) -> list[int]:
            effect("flow")
            first = double(number).result()
            futures = [double(first), shaky(first)]
            return [future.result() for future in futures]

        @entrypoint(checkpointer=checkpointer)
        async def aflow(number: int) -> list[int]:
            effect("flow")
            first = await adouble(number)
            futures = [adouble(first), ashaky(first)]
            return [await future for future in futures]

        return flow if HERE.mode == "sync" else aflow

    return Case(build, [lambda thread: thread.fails(3), lambda thread: thread.run(None)])


@case
def previous_across_a_question() -> Case:
    def build(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(word: str, *, previous: list[str] | None = None) -> list[str]:
            effect("flow")
            return [*(previous or []), f"{word} {interrupt(word)}"]

        return flow

    return Case(
        build,
        [
            lambda thread: thread.run("a"),
            lambda thread: thread.run(Command(resume="1")),
            lambda thread: thread.run("b"),
            lambda thread: thread.run(Command(resume="2")),
        ],
    )
