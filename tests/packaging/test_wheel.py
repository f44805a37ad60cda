"""What a user installs: the wheel, built from the work tree and looked into."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from stategraph.dropin import METADATA_VERSION

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("stategraph-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel alone: unpacking is all that installing a pure wheel does."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return folder / "bin" / "python"


def test_the_wheel_holds_the_package_the_drop_in_and_the_hook_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"librechat_agents", "stategraph", "stategraph_compat", "stategraph.pth"}
    assert "stategraph/py.typed" in names
    assert "stategraph_compat/langgraph/STATEGRAPH.md" in names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_every_file_of_the_drop_in_is_in_the_wheel(wheel: Path) -> None:
    tree = ROOT / "compat" / "langgraph"
    wanted = {str(file.relative_to(tree)) for file in tree.rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name.removeprefix("stategraph_compat/langgraph/") for name in archive.namelist()}
    assert wanted - held == set()


def test_the_metadata_of_langgraph_stand_for_the_release_and_bring_no_file(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    folder = ROOT / "scripts" / "langgraph-metadata"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("langgraph-*.whl")
    with zipfile.ZipFile(built) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {f"langgraph-{METADATA_VERSION}.dist-info"}
        archive.extractall(tmp_path)
    code = f"""import sys; sys.path.append({str(tmp_path)!r})
import importlib.metadata as m, importlib.util as u
print(m.version('langgraph'), u.find_spec('langgraph').submodule_search_locations)"""
    done = subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(METADATA_VERSION)
    assert "stategraph_compat/langgraph" in done.stdout


def test_installed_the_drop_in_answers_for_langgraph_without_a_flag(installed: Path) -> None:
    code = "import importlib.util as u; print(u.find_spec('langgraph').submodule_search_locations)"
    done = subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert "stategraph_compat/langgraph" in done.stdout


def test_an_interpreter_without_the_flag_loads_nothing_of_ours(installed: Path) -> None:
    code = "import sys; print([m for m in sys.modules if m.startswith('stategraph')])"
    done = subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
