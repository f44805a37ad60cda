"""Throw-away environments into which the real wheel is unpacked, with or without a LangGraph beside it."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPAT = ROOT / "compat"

LANGGRAPH = {
    "langgraph/graph/__init__.py": "",
    "langgraph/pregel/__init__.py": "",
    "langgraph/func/__init__.py": "",
    "langgraph/types.py": "",
}
"""Enough of a LangGraph to be found by, at the places where the real one has them."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of its own."""

    home: Path

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def packages(self) -> Path:
        (packages,) = self.home.glob("lib/python3*/site-packages")
        return packages

    def add_langgraph(self, version: str = "1.2.22", **files: str) -> None:
        """Install something that looks like LangGraph; `files` are further modules of it, by name."""
        contents = LANGGRAPH | {f"langgraph/{name}.py": text for name, text in files.items()}
        for name, text in contents.items():
            file = self.packages / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        info = self.packages / f"langgraph-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: langgraph\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in contents))

    def add_dependencies(self) -> None:
        """Let it import the packages that this interpreter has installed."""
        folders = [entry for entry in sys.path if entry.endswith("-packages")]
        (self.packages / "aa_dependencies.pth").write_text("\n".join(folders) + "\n")

    def run(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter with nothing of this process's environment but `variables`."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.home,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def origin(self, module: str = "langgraph.types", **variables: str) -> str:
        """Whose `module` a program in it gets: `ours`, `theirs` or `nobody's`."""
        code = f"import importlib.util as u; s = u.find_spec({module!r}); print(s and s.origin)"
        done = self.run("-c", code, **variables)
        assert done.returncode == 0, done.stderr
        return whose(done.stdout.strip())

    def doctor(self, **variables: str) -> tuple[dict[str, object], int]:
        done = self.run("-m", "stategraph", "doctor", "--json", **variables)
        return json.loads(done.stdout), done.returncode


def whose(file: str) -> str:
    return "nobody's" if file == "None" else "ours" if "compat/langgraph/" in file else "theirs"


@pytest.fixture(scope="session")
def build() -> object:
    return pytest.importorskip("hatchling.build", reason="the wheel is built with hatchling")


@pytest.fixture(scope="session")
def wheels(build: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel that users install, and the one behind `pip install -e`."""
    folder = tmp_path_factory.mktemp("wheels")
    code = (
        "import sys; from hatchling import build; d = sys.argv[1];"
        "print(build.build_wheel(d + '/standard')); print(build.build_editable(d + '/editable'))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {kind: next((folder / kind).glob("*.whl")) for kind in ("standard", "editable")}


@pytest.fixture
def make(wheels: dict[str, Path], tmp_path: Path) -> Callable[..., Environment]:
    """`make(kind, langgraph)`: a new environment with stategraph in it, and a LangGraph of that version or None."""

    def make_environment(kind: str = "standard", langgraph: str | None = None) -> Environment:
        home = tmp_path / f"env{len(list(tmp_path.iterdir()))}"
        venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
        environment = Environment(home)
        with zipfile.ZipFile(wheels[kind]) as wheel:
            wheel.extractall(environment.packages)
        if langgraph is not None:
            environment.add_langgraph(langgraph)
        return environment

    return make_environment


@pytest.fixture(scope="module")
def ours_on_the_path() -> Iterator[None]:
    """`langgraph` comes from the work tree in this process."""
    served = {file.stem for file in (COMPAT / "langgraph").iterdir()}
    loaded = [name for name in sys.modules if name.startswith("langgraph.") and name.split(".")[1] in served]
    foreign = [name for name in loaded if not str(getattr(sys.modules[name], "__file__", "")).startswith(str(COMPAT))]
    assert foreign == [], "another LangGraph is in this process"
    sys.path.insert(0, str(COMPAT))
    yield
    sys.path.remove(str(COMPAT))
