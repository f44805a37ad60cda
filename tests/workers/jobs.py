"""What the jobs of the tests run, in whichever worker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from os import system  # noqa: F401 (a name that must not be reached through this module)
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage

from stategraph.errors import UnknownInterruptError
from stategraph.workers.execution import JobPort, current_port, job_target

HERE = "tests.workers.jobs"

tenant: ContextVar[str] = ContextVar("tenant")
NUMBER = 7


@dataclass(frozen=True)
class Parcel:
    weight: int
    label: str


class OddError(Exception):
    """Its constructor is not that of `Exception`."""

    def __init__(self, *, code: int, about: Any = None) -> None:
        super().__init__(f"odd {code}")
        self.code = code
        self.about = about


def double(given: int) -> int:
    return 2 * given


async def echo(given: Any) -> Any:
    return given


def answer_of(given: str) -> AIMessage:
    return AIMessage(content=given, id="a1", additional_kwargs={"n": 1})


def unsendable(given: Any) -> Any:
    return {"parcels": [Parcel(1, "a"), threading.Lock()]}


@job_target
async def counts(port: JobPort) -> int:
    for number in range(port.input):
        await port.emit("number", number, {"parity": number % 2})
    return port.input


def counts_in_a_thread(given: int) -> int:
    port = current_port()
    for number in range(given):
        port.emit_from_thread("number", number)
    return given


def grown(given: int) -> bytes:
    return b"x" * given


@job_target
async def tells_much(port: JobPort) -> None:
    await port.emit("much", b"x" * port.input)
    await asyncio.Event().wait()


@job_target
async def counts_then_waits(port: JobPort) -> None:
    for number in range(port.input):
        await port.emit("number", number)
    await asyncio.Event().wait()


@job_target
async def waits_for_the_host(port: JobPort) -> Any:
    """Tell that it has begun, and go on when the host says so."""
    await port.emit("begun")
    return await port.call("wait", port.input)


@job_target
async def cleans_up(port: JobPort) -> None:
    await port.emit("begun")
    try:
        await asyncio.Event().wait()
    finally:
        await port.emit("cleaned up", port.cancelled)


@job_target
async def will_not_end(port: JobPort) -> None:
    await port.emit("begun")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


@job_target
async def asks(port: JobPort) -> list[Any]:
    """Events and calls in turn, as handlers see them."""
    answers = []
    for number in range(port.input):
        await port.emit("before", number)
        answers.append(await port.call("double", number))
    return answers


@job_target
async def asks_in_vain(port: JobPort) -> Any:
    return await port.call(port.input)


@job_target
async def asks_in_vain_and_catches(port: JobPort) -> str:
    try:
        await port.call(port.input)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


@job_target
async def hears(port: JobPort) -> Any:
    heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    port.tells = lambda name, value: heard.set_result([name, value])
    await port.emit("begun")
    return await heard


async def nap(given: float) -> None:
    await asyncio.sleep(given)


def fails(given: str) -> None:
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError(given) from error


def fails_oddly(given: int) -> None:
    raise OddError(code=given, about=Parcel(given, "x"))


def fails_with_an_attribute_that_cannot_cross(given: int) -> None:
    raise OddError(code=given, about=threading.Lock())


def fails_with_what_cannot_cross(given: int) -> None:
    raise OSError(f"odd {given}", threading.Lock())


def fails_with_ours(given: Any) -> None:
    raise UnknownInterruptError("unknown", reason="ambiguous", pending_ids=["a", "b"])


def tells_its_tenant(given: Any) -> str:
    return tenant.get("nobody")


def tells_its_environment(given: Any) -> dict[str, str]:
    return dict(os.environ)


def tells_its_process(given: Any) -> int:
    return os.getpid()


def tells_its_descriptors(given: Any) -> list[str]:
    names = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            names.append(f"{each.name} {each.readlink()}")
        except OSError:  # the one that listed them
            continue
    return names


def is_killed(given: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(given: int) -> None:
    os._exit(given)


def loops_for_ever(given: Any) -> None:
    while True:
        pass


def ignores_sigterm(given: str) -> None:
    """Keep the interpreter's lock, so that no handler of the process runs, until SIGKILL."""
    Path(given).write_text(str(os.getpid()))
    sys.setswitchinterval(1e6)
    while True:
        pass


def grows(given: int) -> None:
    held = bytearray(given)
    held[::4096] = b"x" * len(held[::4096])
    current_port().emit_from_thread("grown", len(held))
    while True:
        time.sleep(60)


def keeps(given: int) -> int:
    held = bytearray(given)
    held[::4096] = b"x" * len(held[::4096])
    _kept.append(held)
    return os.getpid()


_kept: list[bytearray] = []


def burns(given: float) -> float:
    """Use the processor for so many seconds of its own time."""
    end = time.thread_time() + given
    while time.thread_time() < end:
        sum(range(500))
    return given
