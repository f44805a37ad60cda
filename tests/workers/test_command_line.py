"""`python -m stategraph worker` and `runs`, as operators use them: real processes, signals, and what they print."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from stategraph.cli import main
from stategraph.cli.fleet import Fleet
from stategraph.cli.output import Output, expected, masked
from stategraph.cli.progress import Progress
from stategraph.cli.stopping import drain_at_eof
from stategraph.errors import ConfigurationError
from stategraph.workers.registry.runs import RunRegistry
from tests.workers.nats_server import serving

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60
PASSWORD = "a-pass-word"


class Program:
    """A worker's process, and the lines that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str, **facts: Any) -> dict[str, Any]:
        """Read lines up to one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event and facts.items() <= self.lines[-1].items():
                return self.lines[-1]
        raise AssertionError(f"it ended without {event!r}: {self.lines}")

    def end(self) -> int:
        assert self.process.stdout is not None
        self.lines += [json.loads(line) for line in self.process.stdout]
        return self.process.wait(LIMIT_S)


class Site:
    """A database in a file, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'runs.db'}"
        self._environment = {**os.environ, "STATEGRAPH_STORE": self.url}

    def submit(self, graph: str, **options: Any) -> str:
        async def act() -> str:
            registry = RunRegistry.from_url(self.url, bus=options.pop("bus", None))
            given = {"done": [], "folder": str(self.folder)}
            try:
                return await registry.submit(options.pop("thread", "t"), given, target=graph, **options)
            finally:
                await registry.aclose()

        return asyncio.run(act())

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[Program]:
        command = [sys.executable, "-m", "stategraph", "worker", "--json", "--allow", "tests.workers", "--poll", "0.05"]
        with subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Program(process)
            finally:
                process.kill()

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run `stategraph runs` in this process, which saves the time that it takes to start."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            found = main(["runs", *self._with_store(arguments)])
        assert found == code, printed.getvalue()
        return printed.getvalue()

    def _with_store(self, arguments: tuple[str, ...]) -> list[str]:
        return [arguments[0], "--store", self.url, *arguments[1:]]

    def ran(self, node: str) -> int:
        file = self.folder / "ran"
        return file.read_text().split().count(node) if file.exists() else 0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def until(fact: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_survives_its_worker_and_is_seen_answered_and_stopped_from_outside(site: Site) -> None:
    run_id = site.submit("tests.workers.app:dying")
    quick = ("--lease", "5", "--heartbeat", "0.5")
    with site.worker(*quick) as doomed:
        assert doomed.until("claimed")["run_id"] == run_id
        until(lambda: site.ran("stuck"))
        assert "running" in site.run("list")
        doomed.process.kill()
        assert doomed.end() == -signal.SIGKILL
    with site.worker(*quick) as program:
        owner = program.until("ready")["owner"]
        assert program.until("claimed")["attempt"] == 2
        listed = json.loads(site.run("workers", "--json"))
        assert [(each["pid"], each["gone"]) for each in listed] == [
            (doomed.process.pid, False),
            (program.process.pid, False),
        ]
        assert listed[1]["worker_id"] == owner
        assert owner in site.run("workers")
        ended = program.until("ended", run_id=run_id)
        assert (ended["status"], ended["thread_id"]) == ("success", "t")
        followed = site.run("show", run_id, "--follow", "--json").splitlines()
        assert [json.loads(line)["seq"] for line in followed] == list(range(1, len(followed) + 1))
        assert json.loads(followed[-1])["data"] == {"status": "success", "error": None}

        asks = site.submit("tests.workers.app:asking", thread="u")
        program.until("ended", status="interrupted")
        assert 'waits for    ["well?"]' in site.run("show", asks)
        assert "quotes of its own" in site.run("resume", asks, "--answer", "yes", code=2)
        new = json.loads(site.run("resume", asks, "--answer", '"yes"', "--json"))["run_id"]
        assert program.until("ended", run_id=new)["status"] == "success"
        assert '{"done":["answer yes"]}' in site.run("show", new, "--events")

        endless = site.submit("tests.workers.app:endless", thread="v")
        until(lambda: site.ran("stuck") == 3)
        assert "was asked to stop" in site.run("cancel", endless, "--reason", "enough")
        assert program.until("ended", run_id=endless)["error"] == "AbortError: enough"
        assert "has ended already: cancelled" in site.run("cancel", endless, code=1)
        assert endless in site.run("list", "--status", "cancelled", "--thread", "v")
    assert (site.ran("one"), site.ran("three")) == (2, 2)


def test_a_run_that_kills_its_workers_is_dead_until_it_gets_new_attempts(site: Site) -> None:
    run_id = site.submit("tests.workers.app:deadly")
    assert site.run("dead") == "No dead runs.\n"
    # The processes are replaced as often as they die.
    with site.worker("--lease", "2", "--heartbeat", "0.3", "--workers", "2") as fleet:
        until(lambda: json.loads(site.run("dead", "--json")))
        assert fleet.until("replaced")["code"] == -signal.SIGKILL
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.end() == 0
    assert 1 <= site.ran("deadly") <= 3
    assert run_id in site.run("dead")
    assert "has no run 'nothing'" in site.run("dead", "requeue", run_id, "nothing", code=2)
    assert "give --all" in site.run("dead", "requeue", code=2)
    assert site.run("dead", "requeue", run_id) == f"Run '{run_id}' has new attempts.\n"
    assert json.loads(site.run("dead", "requeue", run_id, "--json", code=1)) == [{"run_id": run_id, "requeued": False}]
    command = [sys.executable, "-m", "stategraph", "runs", "list", "--store", site.url, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, json.loads(done.stdout)[0]["status"]) == (0, "pending"), done.stderr


def test_the_first_signal_waits_for_runs_and_the_second_gives_them_back(site: Site) -> None:
    run_id = site.submit("tests.workers.app:endless")
    for number, signals in enumerate((("TERM", "INT"), ("INT", "TERM")), 1):
        with site.worker() as program:
            until(lambda number=number: site.ran("stuck") == number)
            for name, event in zip(signals, ("draining", "stopping"), strict=True):
                program.process.send_signal(signal.Signals[f"SIG{name}"])
                program.until(event)
            assert program.end() == 0
            assert [line["event"] for line in program.lines][-2:] == ["returned", "stopped"]
    shown = json.loads(site.run("show", run_id, "--json"))
    assert (shown["status"], shown["attempt"]) == ("pending", 0)


@pytest.mark.anyio
async def test_a_worker_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = anyio.open_process
    refusals = [OSError(errno.EAGAIN, "Resource temporarily unavailable")]
    progress = Progress(Output(as_json=False, store=""))
    workers = Fleet([sys.executable, "-c", "input()"], {}, 1, progress)

    async def start_the_second(*arguments: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        workers.drain()
        return await start(*arguments, **options)

    monkeypatch.setattr(anyio, "open_process", start_the_second)
    monkeypatch.setattr("stategraph.cli.fleet.FIRST_PAUSE_S", 0.01)
    with anyio.fail_after(LIMIT_S):
        await workers.run()
    assert not refusals
    assert f"a worker could not be started: [Errno {errno.EAGAIN}] " in capsys.readouterr().out


def test_workers_of_a_parent_that_is_gone_end(site: Site) -> None:
    with site.worker("--workers", "2") as fleet:
        owners = [fleet.until("ready")["owner"] for _ in range(2)]
        fleet.process.kill()
    pids = [int(owner.split(":")[1]) for owner in owners]
    until(lambda: not any(map(lives, pids)))


def lives(pid: int) -> bool:
    """Whether a process that is not this one's child runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_may_not_be_imported_is_left_to_others_and_said(site: Site) -> None:
    site.submit("json:dumps")
    with site.worker() as program:
        assert "may not import" in program.until("returned")["error"]
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("runs list", "No database was named"),
        ("runs list --store mysql://u:a-pass-word@h/db", "the scheme 'mysql'"),
        ("runs list --store sqlite:///{}/none.db", "There is no database"),
        ("runs list --store sqlite:///{}/other.db", "There is no registry of runs in this database"),
        ("runs show r --follow --store sqlite:///{}/other.db", "There is no registry of runs in this database"),
        ("runs dead requeue --all --store sqlite:///{}/other.db", "There is no registry of runs in this database"),
        ("runs workers --store sqlite:///{}/other.db", "There is no registry of runs in this database"),
        ("runs show nothing --store {url}", "The registry has no run 'nothing'"),
        ("runs cancel nothing --store {url}", "The registry has no run 'nothing'"),
        ("runs resume nothing --answer 1 --store {url}", "The registry has no run 'nothing'"),
        ("runs list --store postgresql://u:a-pass-word@127.0.0.1:1/db", "PostgreSQL cannot be reached"),
        ("runs list --store postgresql://u:a-pass-word@127.0.0.1/db?colour=a-pass-word", "libpq can read"),
        ("worker --allow json --store postgresql://u:a-pass-word@127.0.0.1:1/db", "PostgreSQL cannot be reached"),
        ("worker --allow json --store sqlite:///:memory:", "in memory"),
        ("worker --allow json --store sqlite:////no/such/folder/runs.db", "unable to open database file"),
        ("worker --store {url}", "--allow my_app"),
        ("worker --allow not_there --store {url}", "There is no module 'not_there'"),
        ("worker --allow json.not.there --store {url}", "cannot be found"),
        ("worker --allow json --store {url} --lease 8 --heartbeat 4", "less than half"),
        ("worker --allow json --store {url} --tenant a --pass-environment B", "--tenant and --pass-environment would"),
        ("worker --allow json --store {url} --memory-limit 9 --max-jobs 9", "--memory-limit and --max-jobs would have"),
        ("worker --allow json --nats nats://127.0.0.1:1 --poll 1", "--poll would have no effect"),
        ("worker --allow json --nats nats://127.0.0.1:1 --heartbeat 5", "there is no --store"),
        ("worker --allow json --nats nats://127.0.0.1:1 --graph-version 7", "--graph-version would have no effect"),
        ("worker --allow json --store {url} --poll 0", "poll_s is 0.0"),
        ("worker --allow json --store {url} --poll nan", "poll_s is nan"),
        ("worker --allow json --store {url} --drain -1", "drain_s is -1.0"),
        ("runs list --store sqlite:///{}/text", "is no SQLite database"),
        ("worker --allow json --store sqlite:///{}/text", "is no SQLite database"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(
    site: Site, arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "postgresql" in arguments:
        pytest.importorskip("psycopg")
    site.submit("tests.workers.app:steps")
    (site.folder / "text").write_text("no database" * 100)
    (site.folder / "other.db").touch()
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = arguments.replace("{url}", site.url).replace("{}", str(site.folder)).split()
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("stategraph: ")
    assert said in captured.err
    assert PASSWORD not in captured.err
    assert main([*words, "--json"]) == 2
    captured = capsys.readouterr()
    assert said in json.loads(captured.out)["error"]["message"]
    assert PASSWORD not in captured.out


@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["runs", "list", "--status", "odd"],
        ["runs", "list", "--limit", "-1"],
        ["runs", "dead", "--limit", "0"],
        ["runs", "resume", "r"],
        ["worker", "--workers", "0"],
        ["worker", "--capacity", "x"],
    ],
)
def test_arguments_that_cannot_be_read_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "error: " in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_that_takes_nothing_is_named_and_one_that_is_closed_is_left_alone(site: Site) -> None:
    site.submit("tests.workers.app:steps")
    for words in ("doctor", f"runs list --store {site.url}"):
        command = [sys.executable, "-m", "stategraph", *words.split()]
        with open("/dev/full", "w") as full:
            ended = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S)
        said = "stategraph: The output cannot be written: No space left on device. Send it elsewhere\n"
        assert (ended.returncode, ended.stderr) == (2, said)
        ended = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S
        )
        assert ended.returncode < 2
        assert ended.stderr == ""


def test_a_fault_among_mistakes_keeps_its_traceback() -> None:
    mistake, fault = ConfigurationError("a mistake"), ValueError("a fault")
    assert expected(ExceptionGroup("all known", [mistake, ExceptionGroup("inner", [mistake])])) is mistake
    assert expected(ExceptionGroup("one is not", [mistake, ExceptionGroup("inner", [fault])])) is None
    assert expected(sqlite3.ProgrammingError("a closed database")) is None


@pytest.mark.parametrize("stdin", ["missing", "broken"])
@pytest.mark.anyio
async def test_a_standard_input_that_cannot_be_read_has_ended(stdin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drained = asyncio.Event()

    class Drained:
        drain = stop = drained.set

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stdin", None if stdin == "missing" else SimpleNamespace(fileno=lambda: 0))
    monkeypatch.setattr(os, "read", fail)
    drain_at_eof(Drained())
    async with asyncio.timeout(LIMIT_S):
        await drained.wait()


def test_a_password_is_not_shown() -> None:
    assert masked("postgresql://me:secret@host:1/db?sslmode=require") == "postgresql://me:***@host:1/db?sslmode=require"
    assert masked("postgresql://host/db?password=secret&user=me") == "postgresql://host/db?password=***&user=me"
    assert masked("postgresql://me@host/db") == "postgresql://me@host/db"
    assert masked("sqlite:////var/lib/a@b:c.db") == "sqlite:////var/lib/a@b:c.db"


@pytest.mark.parametrize("password", ["hush#hush", "hush?hush", "hush/hush", "hush[hush", "hush@hush", "hush:hush"])
def test_a_password_of_any_letters_is_not_shown(password: str) -> None:
    url = f"postgresql://me:{password}@host/db?sslmode=require"
    assert masked(url) == "postgresql://me:***@host/db?sslmode=require"
    output = Output(as_json=False, store=url)
    assert "hush" not in output.store
    assert "hush" not in output.clean(f"cannot reach {url}: {password} is wrong")


@pytest.mark.parametrize("where", ["/db?user=me&", "host:5432/db?", "me@host/db?", "me:other@host/db?ssl"])
def test_a_password_with_an_at_sign_in_the_query_is_not_shown(where: str) -> None:
    url = f"postgresql://{where}password=hush@hush&sslmode=require"
    assert "hush" not in masked(url)
    output = Output(as_json=False, store=url)
    assert "hush" not in output.store
    assert "hush" not in output.clean(f"cannot reach {url}: hush@hush is wrong")


def test_help_loads_no_engine() -> None:
    program = (
        "import sys; from stategraph.cli import main\n"
        "try: main(['runs', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'anyio', 'asyncio', 'langchain_core', 'pydantic', 'stategraph.workers', 'stategraph.doctor'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_workers_are_woken_over_nats_and_nobody_sees_its_token(site: Site, tmp_path: Path) -> None:
    token = "s3cret-t0ken"
    with serving("--auth", token) as server:
        address = server.url.replace("nats://", f"nats://{token}@")
        for given in ((address, 0), (address.replace(token, "wrong-t0ken"), 1)):
            run_id = site.submit("tests.workers.app:steps", thread=str(given[1]), bus=given[0])
            with site.worker("--nats", given[0], "--workers", "2", "--poll", "0.5") as program:
                program.until("ended", run_id=run_id)
                program.process.terminate()
                program.end()
            assert "t0ken" not in json.dumps(program.lines)
        assert "t0ken" not in site.run("cancel", run_id, "--nats", address, code=1)
    with pytest.raises(SystemExit):
        main(["worker", "--nats"])


def test_an_address_of_nats_that_cannot_be_used_is_a_sentence(site: Site) -> None:
    site.submit("tests.workers.app:steps")

    said = site.run("list", "--nats", "nats://far.example.com", code=2)

    assert "is on another machine, and the address holds no proof" in said
