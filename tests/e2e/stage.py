"""What a scene is played on: the server in a thread, a proxy that can be cut, a browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Browser, Page, Playwright, expect

from stategraph.dev.application import create_app
from tests.e2e import target

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
TIMEOUT_MS = 10_000

expect.set_options(timeout=TIMEOUT_MS)


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Proxy:
    """Passes connections on to a port, until it is cut: then all break, and new ones are refused."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()


@dataclass
class Stage:
    """What a scene gets.

    Attributes:
        browser: Chromium.
        address: The page behind the proxy.
        direct: The page itself.
        pages: The pages that were opened, to be closed.
        complaints: Errors of the page, which fail the scene.
    """

    browser: Browser
    loop: Loop
    server: Server
    pages: list[Page] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(
        self,
        path: str = "/",
        *,
        like: Page | None = None,
        direct: bool = True,
        of: Server | None = None,
        **options: Any,
    ) -> Page:
        """Open the page in a context of its own, or in that of another page; of another server than the usual one."""
        server = of or self.server
        address = server.address if direct else server.proxied
        context = like.context if like else self.browser.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)
        self.pages.append(page)
        page.goto(address + path)
        tab = next((each for each in ("inspector", "resources") if f"#/{each}" in path), None)
        expect(page.locator(f"#{tab}").first if tab else page.get_by_label("Message Ada")).to_be_visible()
        return page

    @contextlib.contextmanager
    def serving(self, other: Any, *, edit: bool = True, console: Any = None) -> Iterator[Server]:
        """Serve another target, or with a console of resources."""
        server = Server(self.loop, None, other, edit=edit, console=console)
        try:
            yield server
        finally:
            server.end()

    def _hear(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def close(self) -> None:
        for page in self.pages:
            page.context.close()
        self.pages.clear()
        self.complaints.clear()


class Server:
    """The development server, in a loop of its own thread, that can be started again."""

    def __init__(
        self, loop: Loop, store: str | None, served: Any = None, *, edit: bool = True, console: Any = None
    ) -> None:
        self._loop, self._store, self._served = loop, store, served or target.target()
        self._console = console
        self._edit = edit
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.proxy = Proxy(self.port)
        self.start()
        loop.run(self.proxy.open())

    @property
    def proxied(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def start(self) -> None:
        options = {"edit": self._edit, "console": self._console}
        self._app = create_app(self._served, store=self._store, files=("text/*", "image/*"), **options)
        config = uvicorn.Config(self._app, port=self.port, log_level="critical", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._task = asyncio.run_coroutine_threadsafe(self._server.serve(), self._loop.loop)
        while not self._server.started:
            if self._task.done():
                self._task.result()
            threading.Event().wait(0.02)

    def stop(self) -> None:
        self._loop.loop.call_soon_threadsafe(self._app.state.changes.close)
        self._server.should_exit = True
        self._task.result(30)

    def end(self) -> None:
        self.stop()
        self._loop.run(self.proxy.cut())

    def call(self, work: Callable[[Any], Any]) -> Any:
        """Do something with the runtime, in its loop."""
        return self._loop.run(work(self._app.state.conversations.runtime))


def launch(playwright: Playwright) -> Browser:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("There is no Chromium: install it (Debian: apt-get install chromium), or name it: CHROMIUM=")
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])


@contextlib.contextmanager
def staged(playwright: Playwright, folder: Path) -> Iterator[Stage]:
    loop = Loop()
    try:
        server = Server(loop, f"sqlite:///{folder}/threads.db")
        browser = launch(playwright)
        try:
            yield Stage(browser, loop, server)
        finally:
            browser.close()
            server.end()
    finally:
        loop.close()


Scene = Callable[[Stage], None]
SCENES: dict[str, Scene] = {}


def scene(name: str) -> Callable[[Scene], Scene]:
    """Add a scene to the list, by a sentence that says what is seen."""

    def add(play: Scene) -> Scene:
        SCENES[name] = play
        return play

    return add


def send(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message Ada").fill(text)
    page.keyboard.press("Enter")


def answer(page: Page, number: int = -1) -> Any:
    """The answer of this number; the last."""
    answers = page.get_by_role("article", name="Answer")
    return answers.last if number == -1 else answers.nth(number)
