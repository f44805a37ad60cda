"""Tokens of many users: whose they are, where files keep them, and who refreshes them."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ValidationError

pytest.importorskip("mcp")

from examples.loopback_authority import Authority, serving
from stategraph.agent.mcp import (
    AuthorizationCode,
    ClientCredentials,
    FileTokens,
    HttpServer,
    McpSessions,
    McpUnauthorized,
    MemoryTokens,
)
from stategraph.agent.mcp.oauth import TokenStorage, UserTokenStorage, files
from stategraph.errors import ConfigurationError
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.mcp.authorities import BACK, People, SlowAuthority, described, race, server
from tests.agent.mcp.conftest import failing
from tests.agent.mcp.test_mcp_oauth import Person

pytestmark = pytest.mark.anyio


@pytest.fixture
def authority() -> Iterator[Authority]:
    with serving(SlowAuthority(), server) as started:
        yield started


@pytest.fixture
def kept(tmp_path: Path) -> FileTokens:
    return FileTokens(tmp_path / "tokens")


# Whose tokens.


async def bearer(sessions: McpSessions, user: str) -> str:
    with sessions.acting_for(user):
        return str((await sessions.call_tool("one", "bearer", {}))[0])


async def test_each_user_is_asked_once_and_has_a_session_with_tokens_of_its_own(
    authority: Authority, kept: FileTokens
) -> None:
    people = People()
    async with McpSessions({"one": described(authority, people, kept)}) as sessions:
        ada, bob = await asyncio.gather(bearer(sessions, "ada"), bearer(sessions, "bob"))
        assert ada != bob and {ada, bob} == set(authority.granted)
        assert await bearer(sessions, "ada") == ada
        assert sorted(people.asked) == ["ada", "bob"]
        await sessions.end_user("ada")
        assert len(sessions._slots) == 1
    async with McpSessions({"one": described(authority, people, kept)}) as sessions:
        assert [await bearer(sessions, "bob"), await bearer(sessions, "ada")] == [bob, ada]
        assert sorted(people.asked) == ["ada", "bob"]


async def test_the_user_of_a_run_decides_whose_tokens_its_calls_have(authority: Authority, kept: FileTokens) -> None:
    people = People()
    sessions = McpSessions({"one": described(authority, people, kept)})
    async with AgentRuntime(checkpointer=InMemorySaver(), mcp_servers=sessions) as runtime:
        with runtime.mcp.acting_for("ada"):
            tools = await runtime.tools()

        async def token_of(user: str | None) -> str:
            model = ScriptedChatModel(replies=[script.reply(script.call("bearer", {}, id="c1")), "Done."])
            run = await runtime.create_run(
                run_id=f"r-{user}", agents=[{"agent_id": "a", "model": model, "tools": tools}]
            )
            of_run = {"thread_id": f"t-{user}"} | ({} if user is None else {"user_id": user})
            await run.process_stream({"messages": [HumanMessage("go")]}, {"configurable": of_run})
            return next(str(each.content) for each in run.get_run_messages() if isinstance(each, ToolMessage))

        ada, bob = await asyncio.gather(token_of("ada"), token_of("bob"))
        assert ada != bob and {ada, bob} == set(authority.granted)
        assert "has a session for each user, and nobody is named" in await token_of(None)


async def test_two_users_of_one_thread_share_no_session(authority: Authority, kept: FileTokens) -> None:
    people = People()
    async with McpSessions({"one": described(authority, people, kept, session="thread")}) as sessions:
        assert await bearer(sessions, "ada") != await bearer(sessions, "bob")
        with failing(McpUnauthorized, "nobody is named"):
            await sessions.call_tool("one", "look", {})


def code(**more: Any) -> AuthorizationCode:
    return AuthorizationCode(authorize=People(), redirect_uri=BACK, **more)


def test_descriptions_that_would_give_one_user_the_tokens_of_another_are_refused(kept: FileTokens) -> None:
    url = "https://mcp.example.com/mcp"
    with pytest.raises(ConfigurationError, match="either `storage`, for one user, or `user_storage`"):
        code(storage=MemoryTokens(), user_storage=kept)
    with pytest.raises(ValidationError, match="would give all of them the tokens of the first"):
        HttpServer(url=url, session="user", oauth=code())
    program = ClientCredentials(client_id="c", client_secret="s", issuer="https://login.example.com", user_storage=kept)
    for oauth in (code(user_storage=kept), program):
        with pytest.raises(ValidationError, match="needs session='user' or 'thread'"):
            HttpServer(url=url, oauth=oauth)
    alone = ClientCredentials(client_id="c", client_secret="s", issuer="https://login.example.com")
    assert HttpServer(url=url, session="user", oauth=alone).of_user("ada").oauth is alone
    assert isinstance(kept, UserTokenStorage) and isinstance(kept.of("ada"), TokenStorage)


# Files.


class Backwards:
    """A cipher of tests."""

    def encrypt(self, data: bytes) -> bytes:
        return b"sealed" + data[::-1]

    def decrypt(self, token: bytes) -> bytes:
        if not token.startswith(b"sealed"):
            raise ValueError(token)
        return token[:5:-1]


async def test_files_keep_documents_by_user_and_server_for_their_owner_alone(kept: FileTokens, tmp_path: Path) -> None:
    assert await kept.load("ada", "https://a") is None
    await kept.save("ada", "https://a", "one")
    await kept.save("ada", "https://a", "two")
    await kept.save("ada https://a", "", "another")
    await kept.of("bob").save("https://a", "three")
    assert await kept.of("ada").load("https://a") == "two"
    assert await kept.load("bob", "https://a") == "three"
    folder = tmp_path / "tokens"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 3
    assert await kept.forget("ada", "https://a") and not await kept.forget("ada", "https://a")
    assert await kept.load("ada", "https://a") is None
    assert "ada" not in repr(kept.of("ada"))


def files_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.tokens"))


async def test_files_may_be_encrypted_and_those_of_another_key_are_as_if_there_were_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = FileTokens(tmp_path, cipher=Backwards())
    await sealed.save("ada", "https://a", "grüße")
    assert await sealed.load("ada", "https://a") == "grüße"
    (file,) = files_in(tmp_path)
    assert b"sealed" in file.read_bytes() and "grüße".encode() not in file.read_bytes()
    file.write_bytes(b"secret-of-another-key")
    assert await sealed.load("ada", "https://a") is None
    assert "(ValueError)" in caplog.text and "secret-of-another-key" not in caplog.text


async def test_a_file_that_could_not_be_replaced_is_as_it_was(
    kept: FileTokens, monkeypatch: Any, tmp_path: Path
) -> None:
    await kept.save("ada", "https://a", "one")

    def full(file: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        await kept.save("ada", "https://a", "two")
    assert await kept.load("ada", "https://a") == "one"
    assert len(list((tmp_path / "tokens").iterdir())) == 1


# Who refreshes.


async def test_of_several_processes_one_refreshes_and_the_others_read_its_result(
    authority: Authority, kept: FileTokens, tmp_path: Path
) -> None:
    assert await race(authority, kept, str(tmp_path / "tokens")) == ["seen"] * 3
    assert authority.asked["refresh_token"] == 1
    assert authority.asked["page"] == 1


HOLDER = """
import asyncio, sys
from stategraph.agent.mcp import FileTokens
async def main():
    async with FileTokens(sys.argv[1]).lock('ada', 'https://a'):
        print('held', flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of ada's tokens."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "tokens")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


async def test_a_lock_keeps_others_out_and_is_let_go_of_by_a_process_that_is_killed(
    kept: FileTokens, monkeypatch: pytest.MonkeyPatch, holder: subprocess.Popen[str]
) -> None:
    async with asyncio.timeout(60):
        async with kept.lock("ada", "https://b"), kept.lock("bob", "https://a"):
            pass
        with monkeypatch.context() as soon, pytest.raises(TimeoutError, match="another process has refreshed"):
            soon.setattr(files, "LOCK_WAIT_S", 0.05)
            async with kept.lock("ada", "https://a"):
                raise AssertionError("it is held")
        holder.kill()
        async with kept.lock("ada", "https://a"):
            pass


async def test_a_refresh_that_another_process_holds_up_for_long_is_an_error_of_the_call(
    authority: Authority, kept: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People()
    async with McpSessions({"one": described(authority, people, kept)}) as sessions:
        await bearer(sessions, "ada")
        authority.revoke()
        monkeypatch.setattr(files, "LOCK_WAIT_S", 0.05)
        async with kept.lock("ada", authority.url):
            with failing(McpUnauthorized, "another process has refreshed these tokens"):
                await bearer(sessions, "ada")
        await bearer(sessions, "ada")
    assert (authority.asked["refresh_token"], people.asked) == (1, ["ada"])


class Failing(MemoryTokens):
    """A storage that fails in the ways of `wrong`."""

    wrong: tuple[str, ...] = ()

    async def load(self, server: str) -> str | None:
        if "load" in self.wrong:
            raise OSError("the disk is gone")
        return await super().load(server)

    async def save(self, server: str, document: str) -> None:
        if "save" in self.wrong:
            raise OSError("the disk is full")
        await super().save(server, document)

    @asynccontextmanager
    async def lock(self, server: str) -> AsyncIterator[None]:
        if "lock" in self.wrong:
            raise OSError("the disk is away")
        yield


@asynccontextmanager
async def with_failing(authority: Authority) -> AsyncIterator[tuple[McpSessions, Failing, Person]]:
    person, failing_tokens = Person(), Failing()
    oauth = AuthorizationCode(authorize=person, redirect_uri=BACK, storage=failing_tokens)
    async with McpSessions({"one": HttpServer(url=authority.url, oauth=oauth)}) as sessions:
        yield sessions, failing_tokens, person


@pytest.mark.parametrize(("wrong", "said"), [("load", "the disk is gone"), ("lock", "the disk is away")])
async def test_a_storage_that_fails_costs_one_call_and_no_session(authority: Authority, wrong: str, said: str) -> None:
    async with with_failing(authority) as (sessions, stored, person):
        await sessions.call_tool("one", "look", {})
        (session,) = [slot._connection for slot in sessions._slots._slots.values()]
        authority.revoke()
        stored.wrong = (wrong,)
        with failing(McpUnauthorized, f"the host's storage of tokens failed: OSError: {said}"):
            await sessions.call_tool("one", "look", {})
        stored.wrong = ()
        assert (await sessions.call_tool("one", "look", {}))[0] == "seen"
        assert [slot._connection for slot in sessions._slots._slots.values()] == [session]
        assert (len(person.asked), authority.asked["refresh_token"]) == (1, 1)


async def test_tokens_that_cannot_be_stored_are_kept_and_stored_later(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_failing(authority) as (sessions, stored, person):
        await sessions.call_tool("one", "look", {})
        before = await stored.load(authority.url)
        stored.wrong = ("save",)
        for _ in range(2):
            authority.revoke()
            assert (await sessions.call_tool("one", "look", {}))[0] == "seen"
        assert await stored.load(authority.url) == before
        stored.wrong = ()
        authority.revoke()
        assert (await sessions.call_tool("one", "look", {}))[0] == "seen"
        assert (len(person.asked), authority.asked["refresh_token"]) == (1, 3)
        document = json.loads(await stored.load(authority.url) or "")
        assert document["tokens"]["access_token"] in authority.granted
    assert "is not stored, and kept in memory: the host's storage of tokens failed: OSError" in caplog.text
    assert document["tokens"]["access_token"] not in caplog.text
