"""`describe` after a real apply: of each planted fault it names file, line, column and field; the texts are golden.

All faults are applied at once, each to a namespace of its own: none of them holds up another. To write the texts anew,
run `python -m tests.cli.resources.test_described`, and read what has changed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.programs import stategraph, write
from tests.cli.resources.test_faults import FAULTS, UNREADABLE

APPLIED = FAULTS / "applied"
FILES = {
    **{each.stem: each for each in APPLIED.glob("*.yaml")},
    **{each.stem: each for each in FAULTS.glob("*.yaml") if each.stem not in UNREADABLE},
}

#: What the program gives controllers: models that need no key.
SERVICES = """
from stategraph.testing import ScriptedChatModel


def model_factory(request):
    return ScriptedChatModel(replies=["Soup."])


services = {"model_factory": model_factory}
"""


def described(folder: Path) -> dict[str, str]:
    """Apply all faults by a process, and return what another one says of what is not ready, by the file's name."""
    (folder / "app").mkdir()
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8").replace("kitchen", name).replace("hall", f"{name}-hall")
        (folder / "app" / f"{name}.yaml").write_text(text, encoding="utf-8")
    write(folder, program=SERVICES)
    applied = stategraph(folder, "apply", "-f", "app", "--services", "program:services", "--store", "sqlite:///app.db")
    assert applied.returncode == 1, applied.stdout + applied.stderr
    done = stategraph(folder, "describe", "all", "-A", "--store", "sqlite:///app.db")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, list[str]] = {name: [] for name in FILES}
    for section in done.stdout.rstrip("\n").split("\n\n\n"):
        place = re.search(r"^File: +app/([\w-]+)\.yaml:", section, re.MULTILINE)
        assert place is not None, section
        if "Why it is not ready:" in section:
            found[place[1]].append(without_times(section, place[1]))
    return {name: "\n\n\n".join(sections) + "\n" for name, sections in found.items()}


def without_times(text: str, name: str) -> str:
    text = re.sub(r"^(Created: +).*$", r"\1<time>", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S)( +)\d+ (?:s|min)( +)(\d+)$", r"\1<age>\2\3", text, flags=re.MULTILINE)
    return re.sub(r"<age> +", "<age>  ", text).replace(f"app/{name}.yaml", f"{name}.yaml")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return described(tmp_path_factory.mktemp("described"))


def test_there_are_twelve_and_more() -> None:
    assert len(FILES) >= 12


@pytest.mark.parametrize("name", sorted(FILES))
def test_describe_names_the_field_of_a_fault(name: str, told: dict[str, str]) -> None:
    assert told[name] == (APPLIED / f"{name}.txt").read_text(encoding="utf-8")
    why = told[name].partition("Why it is not ready:")[2]
    assert re.search(rf"{name}\.yaml:\d+:\d+: [\w\[\].]*\w", why), why


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, text in described(Path(folder)).items():
            (APPLIED / f"{name}.txt").write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name}\n")
