"""``make frameworks``: an agent of each framework, as real processes with the real package, asked through a directory.

    python -m tests.frameworks                  all
    python -m tests.frameworks --only crewai    those with the word in their name
    python -m tests.frameworks --keep-logs DIR  what the processes printed

Each framework has an environment of its own, made from `requirements/framework-*.txt` (`packages.json` for Node). Its
agent is served by `stategraph agents serve` with two instances, and asked through the directory and the router, with a
model on this machine. The table says which ran, what it could do, and what could not run and why.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests import npm
from tests.frameworks import checks
from tests.frameworks.frame import AGENTS, ROOT, NotServedError, asking, served
from tests.frameworks.model import model

NODE_LOCK = Path(__file__).with_name("packages.json")
OLDEST_NODE = 22


class NoEnvironmentError(Exception):
    """The framework cannot be installed here; the message says why."""


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework.

    Attributes:
        name: For the command line of `stategraph agents serve`.
        shown: For people.
        package: Whose version is told.
        target: The agent.
        cannot: By check, why the framework cannot do it; the check is left out.
    """

    name: str
    shown: str
    package: str
    target: str
    cannot: dict[str, str] = field(default_factory=dict)


FRAMEWORKS = (
    Framework("langchain", "LangChain", "langchain", "langchain_agent:agent"),
    Framework("langgraph", "LangGraph", "langgraph", "langgraph_agent:agent"),
    Framework("autogen", "AutoGen", "autogen-agentchat", "autogen_agent:agent"),
    Framework("crewai", "CrewAI", "crewai", "crewai_agent:agent"),
    Framework("semantic_kernel", "Semantic Kernel", "semantic-kernel", "semantic_kernel_agent:agent"),
    Framework("mastra", "Mastra", "@mastra/core", "mastra_agent.mjs:agent"),
    Framework("adk", "Google ADK", "google-adk", "adk_agent:agent"),
    Framework("openai_agents", "OpenAI Agents SDK", "openai-agents", "openai_agents_agent:agent"),
)


@dataclass(slots=True)
class Row:
    """A row of the table.

    Attributes:
        framework: The framework.
        version: Its version; empty: it could not be installed.
        marks: By check, what is in the table.
        notes: What went wrong.
        took_s: Seconds.
    """

    framework: Framework
    version: str = ""
    marks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether all that the framework can do was done."""
        return bool(self.marks) and all(mark != "no" for mark in self.marks.values())


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve an agent of each framework and ask it.")
    parser.add_argument("--only", default="", help="frameworks with this word in their name")
    parser.add_argument("--keep-logs", type=Path, metavar="DIR", help="keep what the processes printed")
    options = parser.parse_args()
    chosen = [each for each in FRAMEWORKS if options.only in each.name]
    if not chosen:
        print(f"there is no framework '{options.only}'; there are {', '.join(each.name for each in FRAMEWORKS)}")
        return 2
    rows = []
    for each in chosen:
        began = time.monotonic()
        row = Row(each)
        rows.append(row)
        try:
            runtime, row.version = environment(each)
        except NoEnvironmentError as error:
            row.notes.append(f"could not be installed: {error}")
        else:
            asyncio.run(run(row, runtime, options.keep_logs))
        row.took_s = time.monotonic() - began
        marks = ", ".join(f"{name} {mark}" for name, mark in row.marks.items()) or "did not run"
        print(
            f"{each.shown} {row.version}: {marks} ({row.took_s:.0f} s)",
            flush=True,
        )
        for note in row.notes:
            print(f"    {note}", flush=True)
    print()
    print(table(rows))
    good = sum(row.is_good for row in rows)
    print(f"\n{good} of {len(rows)} frameworks ran and answered through the directory")
    return 0 if good == len(rows) else 1


async def run(row: Row, runtime: str, logs: Path | None) -> None:
    """Serve the agent of a framework, and hold it to the checks."""
    framework = row.framework
    with model() as fake, tempfile.TemporaryDirectory(prefix="stategraph-frameworks-") as scratch:
        folder = AGENTS if framework.name != "mastra" else node_folder()
        variables = {"MODEL_URL": fake.base_url, "MODEL_KEY": "sk-secret-of-the-model", **QUIET}
        try:
            async with (
                served(
                    framework.name,
                    framework.target,
                    runtime=runtime,
                    folder=folder,
                    variables=variables,
                    scratch=Path(scratch),
                ) as agent,
                asking(agent) as asks,
            ):
                for name, check in checks.CHECKS.items():
                    if name in framework.cannot:
                        row.marks[name] = "-"
                        row.notes.append(f"{name}: {framework.cannot[name]}")
                        continue
                    try:
                        await check(asks)
                    except Exception as error:
                        row.marks[name] = "no"
                        row.notes.append(f"{name}: {type(error).__name__}: {error}"[:700])
                    else:
                        row.marks[name] = "yes"
        except NotServedError as error:
            row.notes.append(str(error))
            row.marks.setdefault("answer", "no")
        finally:
            if logs is not None:
                keep(Path(scratch) / "agent.log", logs / f"{framework.name}.log")


def keep(log: Path, kept: Path) -> None:
    """Keep what was printed."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(log.read_bytes())


#: Frameworks that would tell their makers of each run, or ask for updates, are told not to.
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MASTRA_TELEMETRY_DISABLED": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}


def environment(framework: Framework) -> tuple[str, str]:
    """Make the environment of a framework, unless it is there; return its Python or Node, and the version.

    Raises:
        NoEnvironmentError: It cannot be made.
    """
    if framework.name == "mastra":
        return node_environment(framework)
    name = f"framework-{framework.name.replace('_', '-')}"
    folder = ROOT / f".venv-{name}"
    base = str(getattr(sys, "_base_executable", None) or sys.executable)
    command = [base, "scripts/environment.py", str(folder), f"requirements/{name}.txt", "--link"]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode:
        raise NoEnvironmentError(f"the packages of requirements/{name}.txt cannot be installed")
    python = str(folder / "bin" / "python")
    ask = f"from importlib.metadata import version; print(version({framework.package!r}))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoEnvironmentError(done.stderr[-500:])
    return python, done.stdout.strip()


def node_folder() -> Path:
    """Return the folder of Node's packages, in which the agent is."""
    return ROOT / ".venv-framework-mastra"


def node_environment(framework: Framework) -> tuple[str, str]:
    """Install the packages of Node, and put the agent beside them, where Node looks for them.

    Raises:
        NoEnvironmentError: They cannot be installed, or there is no Node that is new enough.
    """
    import json

    folder = node_folder()
    try:
        modules = npm.install(NODE_LOCK, folder)
        node = npm.node(modules, OLDEST_NODE)
    except npm.NpmError as error:
        raise NoEnvironmentError(str(error)) from error
    agent = AGENTS / framework.target.partition(":")[0]
    (folder / agent.name).write_bytes(agent.read_bytes())
    version = json.loads((modules / framework.package / "package.json").read_text(encoding="utf-8"))["version"]
    return node, str(version)


def table(rows: list[Row]) -> str:
    """Return the table."""
    head = ["framework", "version", *checks.CHECKS, "s"]
    body = [
        [
            row.framework.shown,
            row.version or "none",
            *(row.marks.get(name, "") for name in checks.CHECKS),
            f"{row.took_s:.0f}",
        ]
        for row in rows
    ]
    widths = [max(len(line[at]) for line in [head, *body]) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
