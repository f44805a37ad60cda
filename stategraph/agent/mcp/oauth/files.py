"""Tokens of users in files of this machine, safe for several processes.

- A document is replaced as a whole: a process that dies while it writes leaves the one before.
- A lock is one of the operating system (`flock`), which lets go of it when its process ends, however that happens.
- Files are readable by their owner alone, and named by digests: neither users nor servers are in the names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from stategraph.agent.mcp.oauth import TokenStorage
from stategraph.agent.mcp.oauth.users import TokensOf

logger = logging.getLogger("stategraph.agent.mcp")

LOCK_WAIT_S: Final = 120.0
"""Seconds that a refresh waits for that of another process."""

_POLL_S: Final = 0.02


class Cipher(Protocol):
    """Encrypts what is kept; `cryptography.fernet.Fernet` and `MultiFernet` are such."""

    def encrypt(self, data: bytes) -> bytes:
        """Return it encrypted."""

    def decrypt(self, token: bytes) -> bytes:
        """Return it decrypted, or raise if it is not of this key."""


def sealed(document: str, cipher: Cipher | None) -> bytes:
    """Return a document as it is kept."""
    raw = document.encode()
    return raw if cipher is None else cipher.encrypt(raw)


def opened(kept: bytes, cipher: Cipher | None) -> str | None:
    """Return a document that was kept; None, with a warning, if it was kept with another key."""
    try:
        return (kept if cipher is None else cipher.decrypt(kept)).decode()
    except Exception as error:
        logger.warning(
            "Tokens that are kept for an MCP server cannot be read (%s): is it another key?", type(error).__name__
        )
        return None


class FileTokens:
    """A `UserTokenStorage` in a folder of this machine, which several processes may use at once.

    Needs file locks as POSIX has them, so not on Windows; nor on network file systems that do not lock.

    Args:
        folder: The folder; made, for its owner alone, if it is not there.
        cipher: Encrypts the files; None: who can read the disk can read the tokens.
    """

    def __init__(self, folder: str | os.PathLike[str], *, cipher: Cipher | None = None) -> None:
        self._folder = Path(folder)
        self._cipher = cipher

    def __repr__(self) -> str:
        return f"<FileTokens in {str(self._folder)!r}>"

    def of(self, user: str) -> TokenStorage:
        """Return the tokens of one user, for a host with sessions of its own for each."""
        return TokensOf(self, user)

    async def load(self, user: str, server: str) -> str | None:
        """Return what was saved for a user and a server."""
        try:
            kept = await asyncio.to_thread(self._path(user, server).read_bytes)
        except FileNotFoundError:
            return None
        return opened(kept, self._cipher)

    async def save(self, user: str, server: str, document: str) -> None:
        """Keep a document in place of the one before."""
        await asyncio.to_thread(self._replace, self._path(user, server), sealed(document, self._cipher))

    async def forget(self, user: str, server: str) -> bool:
        """Delete what is kept for a user and a server; return whether there was anything."""
        try:
            await asyncio.to_thread(self._path(user, server).unlink)
        except FileNotFoundError:
            return False
        return True

    @asynccontextmanager
    async def lock(self, user: str, server: str) -> AsyncIterator[None]:
        """Keep other processes from refreshing what is kept for a user and a server while the block is open.

        Raises:
            TimeoutError: Another process has not let go of it for `LOCK_WAIT_S`.
        """
        self._make_folder()
        file = os.open(self._path(user, server).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                async with asyncio.timeout(LOCK_WAIT_S):
                    while True:
                        if _locked(file):
                            break
                        await asyncio.sleep(_POLL_S)
            except TimeoutError:
                raise TimeoutError(f"another process has refreshed these tokens for {LOCK_WAIT_S:g} s") from None
            yield
        finally:
            os.close(file)  # which lets go of the lock

    def _path(self, user: str, server: str) -> Path:
        return self._folder / f"{sha256(f'{len(user)} {user} {server}'.encode()).hexdigest()}.tokens"

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _replace(self, path: Path, kept: bytes) -> None:
        self._make_folder()
        number, name = tempfile.mkstemp(dir=self._folder, prefix=f"{path.stem}.")  # for its owner alone
        beside = Path(name)
        try:
            with open(number, "wb") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def _locked(file: int) -> bool:
    import fcntl  # not on Windows

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
