"""The functional API: from a function's parameters to the result of the graph that it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from stategraph import entrypoint, task


@dataclass
class Report:
    words: int


@task
def count(text: str, *, least: int = 0) -> int:
    return max(least, len(text.split()))


@task(name="named")
async def fetch(address: str) -> str:
    return address


@entrypoint()
def report(text: str) -> Report:
    assert_type(count(text).result(), int)
    count(1)  # E: [arg-type]
    count(text, most=1)  # E: [call-arg]
    return Report(count(text, least=1).result())


@entrypoint()
async def fetched(address: str, *, previous: str | None = None) -> list[str]:
    assert_type(await fetch(address), str)
    return [await fetch(address), previous or ""]


@entrypoint()
def counted(number: int) -> entrypoint.final[str, int]:
    return entrypoint.final(value=str(number), save=number)


assert_type(report.invoke("some words"), Report)
assert_type(report.invoke("some words").words, int)
assert_type(counted.invoke(1), str)
report.invoke(1)  # E: [call-overload]


async def asynchronous() -> None:
    assert_type(await fetched.ainvoke("here"), list[str])
