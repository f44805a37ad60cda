"""The development server on a port of this machine."""

from __future__ import annotations

import socket
import threading
import webbrowser
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stategraph.dev import listening
from stategraph.errors import ConfigurationError, MissingPackageError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from stategraph.dev.console.console import Console

#: Where threads are kept, in the folder in which the server is started.
FOLDER = ".stategraph"
DATABASE = "threads.db"

PORT = 8123
#: Ports that are tried in turn if the first is in use.
_PORTS = 20

#: Seconds that open connections have to end when the server stops.
_GRACE_S = 3


def serve(
    target: Any = None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    store: str | None = None,
    files: Sequence[str] | None = None,
    allowed_hosts: Collection[str] = (),
    open_browser: bool = False,
    edit: bool = False,
    console: Callable[[str], Console] | None = None,
    say: Callable[[str], None] = print,
    make: Callable[..., Starlette] | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> None:
    """Serve the chat page until the process is told to stop (Ctrl-C, SIGTERM).

    Args:
        target: An agent, agents, a graph, settings of `create_run`, a function that returns one, or the import path of
            any of them, `package.module:name`. None: the embedded demo.
        host: The address to listen at. Whoever reaches it can run the agent: there are no users and no keys.
        port: The port; 0: a free one. None: 8123, or the next that is free.
        store: Address of the database that keeps the threads, such as `sqlite:///threads.db`; `memory` keeps them as
            long as the process lives. None: the `checkpointer` of the target's settings, else `.stategraph/threads.db`
            in this folder; a saver that a graph was compiled with is not used.
        files: Kinds of files that may be sent along, such as `image/*`; None: texts, and what the model's profile says.
        allowed_hosts: Names by which the server may be addressed, beside `localhost` and addresses.
        open_browser: Whether the page is opened.
        edit: Whether the inspector may change threads: branch, edit states, run again.
        console: Makes the console of resources, of the address of the database that keeps threads; None: there is none.
        say: Is told what a person should know, line by line.
        make: Makes the application of a loaded target, called as `stategraph.dev.application.application` is; None:
            that, with the page alone.
        sockets: A socket that listens, in place of `host` and `port`, for a server that is started again.

    Raises:
        ConfigurationError: The target cannot be used, the port is in use, or the host is not this machine.
        MissingPackageError: The extra `dev` is not installed.
    """
    try:
        import uvicorn

        from stategraph.dev import loading
        from stategraph.dev.application import application  # Starlette, the engine and LangChain: a second
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise MissingPackageError("stategraph[dev]", "The development server") from error

    is_local = listening.is_loopback(host)
    loaded = loading.load(target, files)
    kept = store_of(loaded.settings, store)
    shown = None if console is None else console(kept or "memory:")
    if shown is not None and not is_local:
        raise ConfigurationError(f"The console of resources is for this machine alone; others reach {host!r}")
    app = (make or application)(
        loaded, kept, allowed_hosts={*allowed_hosts, host}, tells_errors=is_local, edit=edit, console=shown
    )
    opened = sockets[0] if sockets else listen(host, port)
    address = listening.address_of(host, opened.getsockname()[1])

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.should_exit:
                return
            _tell(app, address, is_local, say)
            if open_browser:
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.changes.close()
            await super().shutdown(sockets)

    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S, server_header=False, ws="none"
    )
    with opened, suppress(KeyboardInterrupt):  # raised again once everything is closed
        Server(settings).run([opened])


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: The address.
        port: The port; 0: a free one. None: 8123, or the next that is free.

    Raises:
        ConfigurationError: The port is in use, or the host is not this machine.
    """
    return listening.listen(host, range(PORT, PORT + _PORTS) if port is None else (port,))


def _tell(app: Starlette, address: str, is_local: bool, say: Callable[[str], None]) -> None:
    say(f"{app.state.conversations.target.name} is ready: {address}")
    if app.state.console is not None:
        say(f"Its resources: {address}/#/resources?token={app.state.console.token}")
    if not is_local:
        may = "read and change its sessions" if app.state.inspector.edits else "read its sessions"
        say(f"Everyone who can reach this address can talk to the agent and {may}: there are no keys.")
    say("Ctrl-C stops the server.")


def store_of(settings: Mapping[str, Any], store: str | None) -> str | None:
    """Return where threads are kept; None: where the settings of the target say, else in memory."""
    if store == "memory":
        return None
    if store is not None:
        return store
    if settings.get("checkpointer") is not None:
        return None
    folder = Path(FOLDER)
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return f"sqlite:///{FOLDER}/{DATABASE}"
