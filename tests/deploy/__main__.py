"""Hold everything in deploy/ against the tools of others and against the program that it starts: `make deploy-check`.

A check that cannot run here is named at the end, and fails nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests import postgres
from tests.deploy import compose, image, objects, rendering, starting
from tests.deploy.objects import World
from tests.deploy.rendering import UnavailableError

#: Secrets that an administrator makes, with their keys; none: any.
SECRETS = {
    "stategraph-database": ("url",),
    "stategraph-token": ("token",),
    "stategraph-nats": ("url",),
    "model-keys": (),
}

#: Metrics of the program that scalers use.
METRICS = ("stategraph_queue_oldest_seconds",)

TOKEN = "a-token-of-the-check"


class Report:
    """Prints what is checked, and remembers what is wrong and what could not run."""

    def __init__(self) -> None:
        self.failed = 0
        self.left_out: list[str] = []

    def check(self, what: str, find: Callable[[], Iterable[str]]) -> None:
        """Check something; `find` returns what is wrong."""
        try:
            wrong = list(find())
        except UnavailableError as error:
            self.left_out.append(f"{what}: {error}")
            return
        self.failed += bool(wrong)
        print(f"{'FAILED' if wrong else 'ok':<7}{what}", flush=True)
        for each in wrong:
            print(f"       {each}")


def main() -> int:
    """Run every check that can run; return 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="start no processes")
    arguments = parser.parse_args()
    report = Report()
    rendered = {}
    report.check("the chart: Helm's linter", rendering.lint)
    for name, values in rendering.cases().items():

        def install(name: str = name, values: dict[str, Any] = values) -> list[str]:
            rendered[f"chart with {name}"] = rendering.chart(values)
            return []

        report.check(f"chart with {name}: Helm installs it", install)
    for path in (rendering.KUSTOMIZE, *(rendering.KUSTOMIZE / "overlays" / each for each in rendering.OVERLAYS)):
        name = str(path.relative_to(rendering.ROOT))

        def build(name: str = name, path: Path = path) -> list[str]:
            rendered[name] = rendering.folder(path)
            return []

        report.check(f"{name}: kubectl builds it", build)
    for name, found in rendered.items():
        world = World(found, SECRETS, METRICS)
        report.check(
            f"{name}: {len(found)} objects, schemas of Kubernetes {objects.VERSION}", lambda f=found: objects.invalid(f)
        )
        report.check(f"{name}: everything that one names of another", lambda w=world: objects.broken(w))
    report.check("compose.yaml: schema, and Docker Compose reads it", lambda: with_secrets(compose.invalid))
    report.check("compose.yaml: everything that it names", lambda: compose.broken(compose.read()))
    report.check("Dockerfile: hadolint", image.lint)
    texts = (image.FILE.read_text(), image.IGNORED.read_text())
    report.check("Dockerfile: stages, user, hashes, files", lambda: image.broken(*texts))
    if not arguments.quick:
        with database() as store:
            for name, found in rendered.items():
                report.check(f"{name}: its commands start and answer their probes", lambda f=found: start(f, store()))
            report.check("compose.yaml: its commands start and answer", lambda: start_compose(store()))
    for each in report.left_out:
        print(f"not run: {each}")
    print("not shown here: an image that is built, a cluster, Docker; schemas of KEDA and of Prometheus's operator")
    return int(report.failed > 0)


def with_secrets(check: Callable[[Path], list[str]]) -> list[str]:
    """Check the compose file where its secrets are: beside a copy of it."""
    with tempfile.TemporaryDirectory() as folder:
        compose.made_secrets_in_copy(Path(folder))
        return check(Path(folder) / compose.FILE.name)


@contextmanager
def database() -> Iterator[Callable[[], str]]:
    """Yield what makes the address of an empty database: PostgreSQL where it can be run, else a file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            (folder / "postgres").mkdir()
            folder.chmod(0o711)
            server, address = postgres.serve_on_socket(folder / "postgres")
        except postgres.UnavailableError as error:
            print(f"in files, as PostgreSQL cannot be run here: {error}")
            numbers = iter(range(1000))
            yield lambda: f"sqlite:///{folder / f'{next(numbers)}.db'}"
            return
        try:
            yield lambda: address
        finally:
            postgres.stop(server)


def start(found: list[dict[str, Any]], store: str) -> list[str]:
    """Start what objects start, without NATS, which needs a server."""
    secrets = {
        ("stategraph-database", "url"): store,
        ("stategraph-token", "token"): TOKEN,
    }
    without = [starting.without(each, "STATEGRAPH_NATS") for each in found]
    files = {f"/app/{each.name}": each.read_text() for each in (compose.FOLDER / "app").iterdir() if each.is_file()}
    programs = [each for each in starting.programs_of(World(without), secrets, files) if "operator" not in each.command]
    with tempfile.TemporaryDirectory() as folder:
        return starting.wrong(programs, Path(folder)) if programs else []


def start_compose(store: str) -> list[str]:
    """Start what the compose file starts, without NATS."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        secrets = {**compose.made_secrets(place), "store": store, "nats": ""}
        return starting.wrong(compose.programs(compose.read(), secrets), place)


if __name__ == "__main__":
    sys.exit(main())
