"""The demo: an agent written for LangGraph runs on this engine, over two processes.

`langgraph_agent.py` knows nothing of this project. Here it is started with
``STATEGRAPH_RUNTIME=true`` until it stops for approval, and started again to
continue from its SQLite checkpoint. The model is scripted and served over HTTP
by the test kit; with OPENAI_API_KEY set (and OPENAI_BASE_URL, OPENAI_MODEL if
you like) it is a real one. Afterwards both engines are measured side by side;
`make demo` sets up an environment with LangGraph for that.

The exit code is 0 only if everything that is promised here was seen to happen.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from stategraph import dropin  # noqa: E402 - a checkout can be run before it is installed
from stategraph.testing import FakeOpenAIServer, Gate, Hold, call, reply  # noqa: E402

AGENT = ROOT / "examples" / "langgraph_agent.py"
OVERHEAD = ROOT / "examples" / "demo_overhead.py"
QUESTION = "My order 1042 never arrived. What now?"
PROCESS_TIMEOUT_S = 120.0
TOKEN_GAP_S = 0.03
ROUNDS = 7

FIRST_HALF = "I am sorry: your desk lamp was lost"
SECOND_HALF = " in transit. I propose a full refund of 89.00 EUR."
FAREWELL = "Good news: your refund of 89.00 EUR is on its way."


class DemoError(Exception):
    """Something that the demo promises did not happen."""


class Style:
    """Terminal colours, or none: NO_COLOR, a dumb terminal and a pipe are respected."""

    def __init__(self) -> None:
        self.on = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text


style = Style()


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def headline(text: str) -> None:
    """Print the title of a part."""
    say("\n" + style("1", text))


@dataclass
class Model:
    """The model that the agent talks to.

    Attributes:
        note: What to tell the reader about it.
        environment: What the agent's process needs in order to find it.
        server: The scripted server; None for a real model.
        gate: Opened when the agent has shown the first half of an answer that is still being written.
    """

    note: str
    environment: dict[str, str]
    server: FakeOpenAIServer | None = None
    gate: Gate = field(default_factory=lambda: Gate("the middle of the answer"))


@contextlib.contextmanager
def open_model() -> Iterator[Model]:
    """The real model if a key is set, else the scripted one."""
    if os.environ.get("OPENAI_API_KEY"):
        yield Model(f"real, at {os.environ.get('OPENAI_BASE_URL') or 'https://api.openai.com/v1'}", {})
        return
    gate = Gate("the middle of the answer")
    script = [
        reply("Let me look that up. ", call("lookup_order", order_id="1042"), gap_s=TOKEN_GAP_S),
        reply(FIRST_HALF, Hold(gate), SECOND_HALF, gap_s=TOKEN_GAP_S),
        reply(FAREWELL, gap_s=TOKEN_GAP_S),
    ]
    with FakeOpenAIServer(script) as server:
        environment = {
            "OPENAI_API_KEY": "scripted",
            "OPENAI_BASE_URL": server.base_url,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "LANGSMITH_TRACING": "false",
            "LANGCHAIN_TRACING_V2": "false",
        }
        yield Model(f"scripted, served over HTTP at {server.base_url}", environment, server, gate)


def is_installed() -> bool:
    """Whether this environment has the start-up hook that acts on the flag."""
    return any((Path(entry) / "stategraph.pth").exists() for entry in sys.path if "-packages" in entry)


def engine_environment(engine: str, *, hook: bool) -> dict[str, str]:
    """The environment in which a child process gets `engine` behind ``langgraph``.

    With the start-up hook, ours is the flag and nothing else; without it, in a
    bare checkout or a foreign environment, the compat tree is named as well.
    """
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [entry for entry in inherited if entry and not dropin.is_compat(entry)]
    ours = engine == "stategraph"
    if ours and not hook:
        path = [*dict.fromkeys([dropin.compat_path(), str(ROOT), *path])]
    return {
        **{name: value for name, value in os.environ.items() if name not in dropin.VARIABLES},
        dropin.VARIABLES[0]: "true" if ours else "false",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
    }


def run_agent(arguments: list[str], engine: str, model: Model) -> str:
    """Run the agent's program, show its output as it comes and return it.

    Raises:
        DemoError: The program failed.
    """
    child = subprocess.Popen(
        [sys.executable, str(AGENT), *arguments],
        env={**engine_environment(engine, hook=is_installed()), **model.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    shown = ""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    try:
        assert child.stdout is not None
        while piece := os.read(child.stdout.fileno(), 4096):
            text = decode(piece)
            shown += text
            print(text, end="", flush=True)
            if FIRST_HALF in shown:
                model.gate.open()
        code = child.wait(PROCESS_TIMEOUT_S)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()
    if code != 0:
        raise DemoError(f"the agent's process ended with exit code {code}")
    return shown


def expect(condition: bool, what: str) -> None:
    """Tick off a promise.

    Raises:
        DemoError: It was not kept.
    """
    say(f"  {style('32', 'ok') if condition else style('31', 'NO')}  {what}")
    if not condition:
        raise DemoError(what)


def check(first: str, second: str, engine: str, model: Model) -> None:
    """Hold what the two processes showed against what the demo promises."""
    home = "stategraph." if engine == "stategraph" else "langgraph."
    served = [line for line in (first + second).splitlines() if "graph class from" in line]
    expect(len(served) == 2 and all(home in line for line in served), f"both processes ran on {engine}")
    expect(served[0].split(",")[0] != served[1].split(",")[0], "they were two processes")
    expect("waiting" in first and "next: approval" in first, "the first stopped for approval")
    expect("next: approval" in second and "finished" in second, "the second resumed from SQLite and finished")
    if model.server is None:
        return
    expect("lookup_order" in first and "lost in transit" in first, "the tool was called and its result shown")
    expect(FIRST_HALF + SECOND_HALF in first and FAREWELL in second, "every token of every answer arrived")
    requests = model.server.requests
    expect(all(r.body["stream"] for r in requests) and len(requests) == 3, "three requests, all of them streamed")
    expect(model.gate.reached and model.gate.is_open, "tokens were shown while the model was still writing")
    roles = [message["role"] for message in requests[2].messages]
    expect(
        roles == ["system", "user", "assistant", "tool", "assistant", "user"],
        "the second process sent the whole conversation from the checkpoint",
    )


class Meter:
    """A warm process that measures one engine on request."""

    def __init__(self, python: str, engine: str) -> None:
        self._child = subprocess.Popen(
            [python, str(OVERHEAD)],
            env=engine_environment(engine, hook=False),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self._line().get("engine", "")
        if not str(found).startswith(engine + "."):
            self.close()
            raise DemoError(f"wanted to measure {engine}, found {found}")

    def measure(self) -> dict[str, float]:
        """Microseconds a step, sync and async."""
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        return {name: float(figure) for name, figure in self._line().items()}

    def _line(self) -> dict[str, str]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise DemoError(f"the measuring process died with exit code {self._child.wait()}")
        answer: dict[str, str] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process and wait for it."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()


def langgraph_python(given: str | None) -> str | None:
    """An interpreter in which the real LangGraph is installed, or None."""
    if given:
        return given
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("langgraph")
        return sys.executable
    # `make demo` runs in the first; `make bench` makes the other.
    for name in (".venv-demo", ".venv-bench"):
        python = ROOT / name / "bin" / "python"
        if python.exists():
            return str(python)
    return None


def show_overhead(given: str | None) -> None:
    """Measure what a step costs, on both engines if both are there."""
    headline("Overhead of one step (a node that does nothing, microseconds of processor time)")
    other = langgraph_python(given)
    engines = ["stategraph"] if other is None else ["langgraph", "stategraph"]
    say(f"  measuring {' and '.join(engines)}, in turns ...")
    with contextlib.ExitStack() as stack:
        meters = {}
        for engine in engines:
            meters[engine] = Meter(other or sys.executable, engine)
            stack.callback(meters[engine].close)
        rounds = [{engine: meter.measure() for engine, meter in meters.items()} for _ in range(ROUNDS)]
    for name in ("sync", "async"):
        figures = {e: statistics.median(r[e][name] for r in rounds) for e in engines}
        line = "   ".join(f"{engine} {figure:7.1f}" for engine, figure in figures.items())
        if other is not None:
            ratio = statistics.median(r["langgraph"][name] / r["stategraph"][name] for r in rounds)
            line += f"   {style('1', f'{ratio:.0f}x less')}"
        say(f"  {name:>5}   {line}")
    if other is None:
        say("  LangGraph is not installed here, so there is nothing to compare with. `make demo` sets that up; or pass")
        say("  --langgraph-python PATH, a Python with LangGraph and what stategraph needs.")


def show_next() -> None:
    """Say what to try from here."""
    headline("Next")
    say("  make chat                        an agent in the browser, without a key")
    say("  OPENAI_API_KEY=... make demo     the same with a real model")
    say("  STATEGRAPH_RUNTIME=true python your_langgraph_program.py")
    say("                                   your own, where this package is installed (README.md says how)")


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description="An agent written for LangGraph, on this engine.")
    parser.add_argument("--engine", choices=["stategraph", "langgraph"], default="stategraph")
    parser.add_argument("--langgraph-python", metavar="PATH", help="an interpreter that has LangGraph, to compare with")
    parser.add_argument("--no-overhead", action="store_true", help="leave out the measurement")
    args = parser.parse_args()
    try:
        with open_model() as model, tempfile.TemporaryDirectory(prefix="stategraph-demo-") as directory:
            database = Path(directory) / "desk.sqlite"
            place = ["--db", str(database), "--thread", "demo"]
            say(f"program  {AGENT.relative_to(ROOT)}: written for LangGraph, unmodified")
            say(f"model    {model.note}")
            headline(f"Process 1: ask {QUESTION!r}")
            first = run_agent([*place, "ask", QUESTION], args.engine, model)
            headline(f"Process 2: decide 'yes', from the checkpoint ({database.stat().st_size:,} bytes of SQLite)")
            second = run_agent([*place, "decide", "yes"], args.engine, model)
            headline("Checked")
            check(first, second, args.engine, model)
        if not args.no_overhead:
            show_overhead(args.langgraph_python)
        show_next()
    except DemoError as error:
        say(style("31", f"\nThe demo failed: {error}."))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
