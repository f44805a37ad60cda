"""Fifty kinds of secrets that tools return and raise, and a search for them in every byte that a run leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException

from stategraph import create_run
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.capabilities.functions import Traits, offer
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.redaction import Redactor
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.governance.view import CapabilityGraph
from stategraph.savers import AsyncSqliteSaver
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.registry.runs import RunRegistry
from tests.governance.executing.kit import ASK, policy, session
from tests.governance.secrets import SECRETS

pytestmark = pytest.mark.anyio

PERSONAL = {"card", "IBAN", "e-mail"}
"""Kinds that stay in results, which policies hide."""

KINDS = [name for name in SECRETS if name not in PERSONAL]
THREAD: Any = {"configurable": {"thread_id": "t"}}


def tell(kind: str) -> str:
    """Return a text with a secret in it."""
    return SECRETS[kind][0]


def show(kind: str) -> dict[str, Any]:
    """Return a value with a secret in it."""
    return {"lines": [{"text": SECRETS[kind][0]}], "password": SECRETS[kind][1]}


def fail(kind: str) -> str:
    """Log a secret, as clients of services do, and raise an error with it."""
    logging.getLogger("a.client").warning("The service answered %s", SECRETS[kind][0])
    raise ToolException(SECRETS[kind][0])


def break_down(kind: str) -> str:
    """Raise an error that nobody expected."""
    raise RuntimeError(f"told by a client: {SECRETS[kind][0]}")


TOOLS = (tell, show, fail, break_down)
CALLS = [
    *((tool, kind) for tool in (tell, fail) for kind in KINDS),
    *((tool, kind) for tool in (show, break_down) for kind in KINDS[::6]),
]


async def run_in(folder: Path, redactor: Redactor | None) -> list[str]:
    """Have an agent call every tool with every kind, and keep all that can be kept; returns what the model is told."""
    given = {"redactor": redactor} if redactor is not None else {}
    with ExitStack() as stack:
        runs = RunRegistry.from_url(f"sqlite:///{folder / 'runs.db'}")
        stack.callback(runs.operations.close)
        runs.operations.set_up()
        log = stack.enter_context(AuditLog(f"sqlite:///{folder / 'audit.db'}", **given))
        registry = Registry(*(offer(each, Traits(source="office", risk="write")) for each in TOOLS))
        executor = ActionExecutor(registry, policy(ASK), ledger=EffectLedger(runs), audit=log, **given)
        tools = CapabilityGraph.build(registry, session()).tools(executor)
        calls = [script.call(tool.__name__, kind=kind) for tool, kind in CALLS]
        model = ScriptedChatModel(replies=[script.reply("", *calls), "Done."])
        async with AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver:
            run = await create_run(
                run_id="r",
                agents=[{"agent_id": "a", "model": model, "tools": tools}],
                checkpointer=saver,
                session=Session(session()),
                tool_gates=[ActionGate(executor)],
            )
            await run.process_stream({"messages": [("user", "go")]}, THREAD)
            told = [str(each.content) for each in run.get_run_messages() if isinstance(each, ToolMessage)]
            # A saver may pack what it keeps: it is unpacked beside the files.
            kept = [repr(each) async for each in saver.alist(THREAD)]
    (folder / "threads.txt").write_text("\n".join(kept), encoding="utf-8")
    return told


def found_in(folder: Path) -> set[str]:
    """Return the kinds of which something is in a file, also as JSON or Python would write it."""
    content = b"\n".join(each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file())
    found = set()
    for name in KINDS:
        secret = SECRETS[name][1]
        for part in [part for part in secret.splitlines() if len(part) > 5] or [secret]:
            written = {part, json.dumps(part)[1:-1], repr(part)[1:-1]}
            if any(each.encode() in content for each in written):
                found.add(name)
    return found


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[logging.Handler]:
    """All that anybody logs, in a file of the folder, with the redactor's filter if a test adds it."""
    handler = logging.FileHandler(tmp_path / "program.log", encoding="utf-8")
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)
    handler.close()


async def test_nothing_of_any_secret_is_in_any_byte_of_a_governed_run(tmp_path: Path, log_file: Any) -> None:
    redactor = Redactor(personal=False)
    log_file.addFilter(redactor.log_filter())
    told = await run_in(tmp_path, redactor)
    assert len(told) == len(CALLS) and len(SECRETS) >= 50
    assert all("[redacted" in each for each in told)
    for name in ("runs.db", "audit.db", "threads.db", "threads.txt", "program.log"):
        assert (tmp_path / name).stat().st_size > 0, name
    assert found_in(tmp_path) == set()


async def test_the_search_finds_what_is_not_hidden(tmp_path: Path) -> None:
    await run_in(tmp_path, None)
    assert found_in(tmp_path) == set(KINDS)
