"""Scripts of skills: capabilities of their own, in a sandbox unless somebody answers for them."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

from stategraph.errors import ConfigurationError
from stategraph.governance.actions import RunRef
from stategraph.governance.capabilities import skills as capabilities
from stategraph.governance.capabilities.port import CapabilityCall, Offer
from stategraph.governance.executor import ActionExecutor, current_action
from stategraph.governance.registry import Registry
from stategraph.governance.skills.registry import SkillRegistry
from stategraph.governance.skills.sandbox import Limits, Sandbox, SandboxUnavailable
from stategraph.governance.skills.skill import SkillError
from stategraph.governance.view import CapabilityGraph
from tests.governance.capabilities.given import Acting, context
from tests.governance.skills.folders import put, skill

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "skills"


def _allowed() -> bool:
    """Return whether bubblewrap itself works here; that ours does is for the tests to find out."""
    program = shutil.which("bwrap")
    command = [program or "", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return program is not None and subprocess.run(command, capture_output=True, timeout=60).returncode == 0


sandboxed = pytest.mark.skipif(not _allowed(), reason="bubblewrap is not installed, or must not be used here")


def made(folder: Path, *, trust: Any = "public", **more: Any) -> dict[str, Offer]:
    offers = capabilities.offers(SkillRegistry(folder, trust=trust), **more)
    return {each.capability.id: each for each in offers}


def script(tmp_path: Path, text: str, *, name: str = "run.py", **more: Any) -> Offer:
    put(skill(tmp_path), f"scripts/{name}", text)
    return made(tmp_path, **more)[f"skill:skills/pdf/scripts/{name}@1.0"]


def called(offer: Offer, **arguments: Any) -> CapabilityCall:
    return CapabilityCall(offer.capability, arguments, "c", RunRef("r"), context())


def run(offer: Offer, **arguments: Any) -> str:
    return offer.executor.execute_sync(called(offer, **arguments)).content


def test_skills_are_read_and_their_scripts_are_capabilities_of_their_own(tmp_path: Path) -> None:
    folder = skill(tmp_path)
    for name in ("scripts/fill.py", "scripts/list.sh", "scripts/data.csv", "helper.py"):
        put(folder, name, "")
    skill(tmp_path / "old", version="0.9")
    skills = SkillRegistry(tmp_path, tmp_path / "old", trust="verified")
    offers = capabilities.offers(skills, risks={"pdf/scripts/f*": "destructive"})
    assert {each.capability.id: each.capability.risk for each in offers} == {
        "skill:skills/pdf@0.9": "read",
        "skill:skills/pdf@1.0": "read",
        "skill:skills/pdf/scripts/fill.py@1.0": "destructive",
        "skill:skills/pdf/scripts/list.sh@1.0": "write",
    }
    assert {each.capability.trust for each in offers} == {"verified"}
    assert made(tmp_path, trust="trusted")["skill:skills/pdf/scripts/list.sh@1.0"].capability.risk == "external"
    with pytest.raises(ConfigurationError, match="risk of '\\*' is 'none'"):
        capabilities.offers(skills, risks={"*": "none"})  # type: ignore[dict-item]


async def test_a_model_reads_a_skill_with_one_tool(tmp_path: Path) -> None:
    put(skill(tmp_path, body="Use the forms."), "references/forms.md", "Forms.")
    skill(tmp_path, "seo")
    registry = Registry(*capabilities.offers(SkillRegistry(tmp_path)))
    acting = Acting(registry)
    (read,) = CapabilityGraph.build(registry, context()).tools(acting, context())
    assert "Use the forms." in await read.ainvoke({"skill": "pdf"})
    assert await read.ainvoke({"skill": "pdf", "path": "references/forms.md"}) == "Forms."
    with pytest.raises(SkillError, match="has no file"):
        await read.ainvoke({"skill": "pdf", "path": "../seo/SKILL.md"})


def test_without_bubblewrap_a_script_that_nobody_answers_for_is_refused(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    text = f"open({str(ran)!r}, 'w')"
    offer = script(tmp_path / "skills", text, sandbox=Sandbox(program="no-such-bwrap"))
    with pytest.raises(SandboxUnavailable, match=r"no program 'no-such-bwrap': install it .*apt install bubblewrap"):
        run(offer)
    assert not ran.exists()


def test_a_trusted_script_runs_without_secrets_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "s3cret")
    text = "import os, sys, json\nprint(json.dumps([sys.argv[1:], sys.stdin.read(), sorted(os.environ), os.getcwd()]))"
    offer = script(tmp_path, text, trust="internal", sandbox=Sandbox(program="no-such-bwrap"))
    arguments, stdin, names, place = json.loads(run(offer, arguments=["a b", "{skill}", "$HOME"], input="héllo"))
    assert (arguments, stdin) == (["a b", "{skill}", "$HOME"], "héllo")
    assert "API_KEY" not in names and not Path(place).exists()


@sandboxed
async def test_the_shipped_skill_adds_up_an_invoice_in_the_sandbox() -> None:
    offer = made(EXAMPLES)["skill:skills/invoice-totals/scripts/total.py@1.2"]
    lines = json.dumps([{"net": 1050, "tax": 19}, {"net": 333, "tax": 7}])
    result = await offer.executor.execute(called(offer, input=lines))
    assert json.loads(result.content) == {"net": 1383, "tax": 223, "gross": 1606}


async def test_a_script_is_started_by_an_action_that_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting: list[str | None] = []
    begin = subprocess.Popen

    def noting(*args: Any, **more: Any) -> Any:
        action = current_action()
        acting.append(None if action is None else action.capability.id)
        return begin(*args, **more)

    offer = script(tmp_path, "print(1)", trust="trusted")
    registry = Registry(offer)
    (tool,) = CapabilityGraph.build(registry, context()).tools(ActionExecutor(registry), context())
    monkeypatch.setattr(subprocess, "Popen", noting)
    assert (await tool.ainvoke({}), await asyncio.to_thread(tool.invoke, {})) == ("1\n", "1\n")
    assert acting == [offer.capability.id] * 2


@sandboxed
def test_a_script_sees_its_skill_and_a_scratch_folder_and_no_more(tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.txt", "a secret")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = f"""
import json, os, pathlib, socket
import helper
def tried(what):
    try:
        return what() or "done"
    except OSError as error:
        return type(error).__name__
print(json.dumps({{
    "helper": helper.SAID,
    "secret": tried(lambda: open({str(secret)!r}).read()),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "own": tried(lambda: open("/skill/scripts/new", "w").close()),
    "root": tried(lambda: open("/new", "w").close()),
    "usr": tried(lambda: open("/usr/new", "w").close()),
    "work": tried(lambda: open("new", "w").close()),
    "net": tried(lambda: socket.create_connection(("127.0.0.1", {listening.getsockname()[1]}), 5).close()),
    "user": os.getuid(),
    "environment": sorted(set(os.environ) - {{"LC_CTYPE", "PWD"}}),
    "processes": len([each for each in os.listdir("/proc") if each.isdecimal()]),
}}))
"""
        put(skill(tmp_path / "skills"), "scripts/helper.py", "SAID = 'hello'")
        found = json.loads(run(script(tmp_path / "skills", text)))
    assert found.pop("processes") <= 3
    assert found == {
        "helper": "hello",
        "secret": "FileNotFoundError",
        "shadow": "FileNotFoundError",
        "own": "OSError",
        "root": "OSError",
        "usr": "OSError",
        "work": "done",
        "net": "ConnectionRefusedError",
        "user": 65534,
        "environment": ["HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR"],
    }


@sandboxed
@pytest.mark.parametrize(
    ("text", "said", "wall_s"),
    [
        ("import time\ntime.sleep(600)", "was ended after 0.5 s.", 0.5),
        ("import os, time\nos.closerange(0, 3)\ntime.sleep(600)", "was ended after 0.5 s.", 0.5),
        ("while True: print('x' * 1000)", "wrote more than 65,536 bytes", 120.0),
        ("x = bytearray(900 * 1024 * 1024)", "exit code 1.\nTraceback (most recent call last)", 120.0),
        ("open('big', 'wb').write(bytes(32 * 1024 * 1024))", "failed with exit code", 120.0),
        ("import sys\nsys.exit('no such form')", "failed with exit code 1.\nno such form", 120.0),
    ],
)
def test_limits_end_a_script(tmp_path: Path, text: str, said: str, wall_s: float) -> None:
    offer = script(tmp_path, text, sandbox=Sandbox(Limits(wall_s=wall_s, output_bytes=65_536)))
    with pytest.raises(ToolException) as caught:
        run(offer)
    assert said in str(caught.value)


@sandboxed
def test_what_a_script_leaves_running_ends_with_it(tmp_path: Path) -> None:
    text = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)"
    assert run(script(tmp_path, text, sandbox=Sandbox(Limits(wall_s=500.0)))) == ""


@sandboxed
async def test_cancelling_a_call_ends_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: started.append(begin(*args, **more)) or started[-1])
    offer = script(tmp_path, "import time\ntime.sleep(600)", sandbox=Sandbox(Limits(wall_s=500.0)))
    task = asyncio.ensure_future(offer.executor.execute(called(offer)))
    async with asyncio.timeout(60):
        while not started:  # noqa: ASYNC110 - another thread starts it
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert started[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "value", [0, -1, True, float("nan"), float("inf"), 2**40 + 1, 10**5000, "5"], ids=list("abcdefgh")
)
def test_limits_that_make_no_sense_are_refused(value: Any) -> None:
    for each in fields(Limits):
        with pytest.raises(ConfigurationError, match=f"Limits: {each.name} is .*; it must be a"):
            Limits(**{each.name: value})
    with pytest.raises(ConfigurationError, match=r"Limits: cpu_s is 1\.5; it must be a whole number above 0"):
        Limits(cpu_s=1.5)  # type: ignore[arg-type]
    assert Limits(wall_s=0.1).wall_s == 0.1


@sandboxed
def test_a_sandbox_that_works_is_found_to_work() -> None:
    Sandbox().check()
    with pytest.raises(SandboxUnavailable, match="bubblewrap does not work here"):
        Sandbox(read_only=["/no/such/folder"]).check()


@sandboxed
def test_what_runs_is_what_was_loaded(tmp_path: Path) -> None:
    offer = script(tmp_path, "print('kind')")
    assert run(offer) == "kind\n"
    put(tmp_path, "pdf/scripts/run.py", "print('evil')")
    with pytest.raises(SkillError, match="is not what it was"):
        run(offer)


@sandboxed
def test_a_shell_script_gets_arguments_as_they_are(tmp_path: Path) -> None:
    offer = script(tmp_path, 'printf "%s|" "$@"; cat', name="list.sh")
    assert run(offer, arguments=["a b", "$(id)", "; rm -rf /"], input="in") == "a b|$(id)|; rm -rf /|in"
