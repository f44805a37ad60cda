"""Plug-ins of the tests: good ones, and ones that do what plug-ins must not do."""

# ruff: noqa: ASYNC220, ASYNC240, ASYNC251

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stategraph.resources.plugins import Plugin, PluginContext


class Settings(BaseModel):
    greeting: str = "hello"
    token: str = ""
    count: int = 1


class Greeter(Plugin):
    """Greets, counts and tells."""

    permissions = frozenset(("tools",))
    Config = Settings

    async def start(self, context: PluginContext) -> None:
        self.context = context
        self.heard: list[Any] = []
        context.add_tool(self.greet)
        context.add_tool(self.add)
        context.add_tool(self.fail)
        context.add_tool(self.tell_token)
        context.add_tool(self.where)
        context.add_tool(self.heard_so_far, description="What it has heard", parameters={"type": "object"})

    async def greet(self, name: str) -> dict[str, Any]:
        """Greet somebody."""
        return {"text": f"{self.context.config.greeting} {name}"}

    def add(self, a: int, b: int = 2) -> int:
        return a + b

    async def fail(self, text: str) -> None:
        raise ValueError(text)

    async def tell_token(self) -> None:
        print("the token is", self.context.config.token, flush=True)
        raise ValueError(f"bad token {self.context.config.token}")

    async def where(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "thread": threading.current_thread().name, "environment": dict(os.environ)}

    async def heard_so_far(self) -> list[Any]:
        return self.heard


class Hearing(Greeter):
    """Registers all but a hook."""

    permissions = frozenset(("tools", "controllers", "events:publish", "events:subscribe"))

    async def start(self, context: PluginContext) -> None:
        await super().start(context)
        context.add_controller("DataSource", self.reconcile, self.finalize)
        context.subscribe("agent.*", self.hear)
        context.add_tool(self.say)

    async def say(self, topic: str, text: str) -> None:
        self.context.publish(topic, {"text": text})

    async def hear(self, topic: str, event: dict[str, Any]) -> None:
        self.heard.append([topic, event])

    async def reconcile(self, resource: dict[str, Any]) -> dict[str, Any]:
        if resource["spec"].get("url") == "broken":
            raise ValueError("no such source")
        return {"status": {"seen": resource["metadata"]["name"], "rows": len(resource["spec"])}, "requeueAfter": 60}

    async def finalize(self, resource: dict[str, Any]) -> bool:
        return bool(resource)


class Everything(Hearing):
    """Registers one of each."""

    permissions = Hearing.permissions | {"hooks"}

    async def start(self, context: PluginContext) -> None:
        await super().start(context)
        context.add_hook("PreToolUse", self.before, pattern="danger.*")

    def before(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"decision": "deny", "reason": f"{given['tool_name']} is dangerous"}


class Rude(Plugin):
    """Does what takes a host down that runs it in its own process."""

    async def start(self, context: PluginContext) -> None:
        self.sick = False
        self.calls = 0
        for each in (
            self.block,
            self.hang,
            self.sleep,
            self.fill,
            self.spin,
            self.shout,
            self.leave,
            self.become_sick,
            self.huge,
            self.read,
            self.write,
            self.connect,
            self.spawn,
            self.soon,
        ):
            context.add_tool(each)

    async def health(self) -> None:
        if self.sick:
            raise RuntimeError("fever")

    async def block(self, seconds: float) -> None:
        time.sleep(seconds)

    async def hang(self) -> None:
        await asyncio.Event().wait()

    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    async def fill(self, mebibytes: int) -> int:
        kept = [bytearray(1024 * 1024) for _ in range(mebibytes)]
        return len(kept)

    async def spin(self) -> None:
        while True:
            pass

    async def shout(self, lines: int) -> None:
        for number in range(lines):
            print("x" * 200, number)
        print("last words", flush=True)

    async def leave(self, code: int) -> None:
        os._exit(code)

    async def become_sick(self, sick: bool = True) -> None:
        self.sick = sick

    async def huge(self, mebibytes: int) -> str:
        return "x" * (mebibytes * 1024 * 1024)

    async def read(self, path: str) -> str:
        return Path(path).read_text()

    async def write(self, path: str) -> None:
        Path(path).write_text("written")

    async def connect(self, port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return "connected"

    async def spawn(self) -> int:
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    async def soon(self) -> str:
        self.calls += 1
        return "now"


class DiesAtStart(Plugin):
    async def start(self, context: PluginContext) -> None:
        raise OSError("no disk")


class NeverStarts(Plugin):
    async def start(self, context: PluginContext) -> None:
        await asyncio.Event().wait()


class SickAtStart(Plugin):
    async def health(self) -> None:
        raise RuntimeError("born with a fever")


class Greedy(Plugin):
    permissions = frozenset(("tools", "network"))


class Sneaky(Plugin):
    """Says that it needs nothing, and registers a hook."""

    permissions = frozenset(())

    async def start(self, context: PluginContext) -> None:
        context.add_hook("PreToolUse", print)


class Liar(Sneaky):
    """Goes around the checks of its own process."""

    async def start(self, context: PluginContext) -> None:
        from stategraph.resources.plugins.api import HookOffer

        context._hooks["h"] = (HookOffer("h", "PreToolUse"), print)


class Gibberish(Plugin):
    """Sends bytes that are no message."""

    async def start(self, context: PluginContext) -> None:
        context.add_tool(self.babble)

    async def babble(self, head: bool) -> None:
        for number in range(3, 64):
            try:
                connection = socket.socket(fileno=os.dup(number))
                connection.getpeername()
                connection.send(b"\xff\xff\xff\xff" if head else b"\x00\x00\x00\x01\xc1")
            except OSError:
                continue


class NotAPlugin:
    pass
