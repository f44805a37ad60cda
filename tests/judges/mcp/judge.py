"""The conformance suite of the Model Context Protocol, on both revisions of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.judges.frame import ROOT, Asked, Judge, JudgeError, Verdict
from tests.mcp_conformance import packages, servers
from tests.server.serving import HOST

FOLDER = ROOT / ".cache" / "mcp-conformance"


def judge(asked: Asked) -> Sequence[Verdict]:
    """Play the scenarios of servers: those that a revision requires, and the others."""
    try:
        suite, node = packages.installed(FOLDER)
    except SystemExit as error:
        raise JudgeError(str(error)) from error
    port = urlsplit(asked.url).port
    if port is None:
        raise JudgeError(f"the address {asked.url} has no port")
    found: list[Verdict] = []
    for revision in servers.REVISIONS:
        played = list(servers.measure(suite, node, port, servers.scenarios(suite, revision), revision))
        for name, is_required in ((f"mcp {revision}", True), (f"mcp {revision}, not required", False)):
            group = [each for each in played if each.is_required is is_required]
            notes = [f"{each.scenario}: {'; '.join(each.problems)}" for each in group if each.problems]
            good = len(group) - len(notes)
            found.append(Verdict(name, good, len(group), wanted=None if is_required else 0, notes=notes))
    return found


@contextmanager
def server(folder: Path, python: Path) -> Iterator[str]:
    """Run a server with the tools that the suite calls, which `tests.mcp_conformance.served` has."""
    folder.mkdir(parents=True)
    port = servers.free_port()
    with (
        (folder / "server.log").open("wb") as log,
        servers.server(f"{python} -m tests.mcp_conformance.served", port, log),
    ):
        yield f"http://{HOST}:{port}"


JUDGES = [Judge(name="mcp", judge=judge, server=server)]
