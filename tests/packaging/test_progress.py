"""What a person sees while `make` sets up an environment."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from scripts import progress


def test_a_phase_is_told_by_what_lies_where_pip_puts_it(tmp_path: Path) -> None:
    folder, scratch = tmp_path / ".venv", tmp_path / ".venv.tmp"
    assert progress.state(folder, scratch, 3)[0] == "looking up"
    for number in range(2):
        wheel = scratch / f"pip-unpack-{number}" / "package.whl"
        wheel.parent.mkdir(parents=True)
        wheel.touch()
    assert progress.state(folder, scratch, 3) == ("downloading", "2 of up to 3 packages, each checked against its hash")
    for name in ("one", "two"):
        (folder / f"lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True)
    assert progress.state(folder, scratch, 3) == ("installing", "2 of up to 3 packages are there")


def test_where_lines_stay_one_is_printed_for_each_phase_and_after_a_while() -> None:
    out = io.StringIO()
    line = progress.Line(out, over=False)
    for elapsed_s, phase in ((2.0, "looking up"), (3.0, "looking up"), (4.0, "installing"), (30.0, "installing")):
        line.show(elapsed_s, phase, "some")
    line.end()
    assert out.getvalue().splitlines() == [
        "     2 s  looking up: some",
        "     4 s  installing: some",
        "    30 s  installing: some",
    ]


def test_on_a_terminal_one_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    line = progress.Line(out, over=True)
    line.show(2.0, "looking up", "x" * 100)
    line.show(3.0, "installing", "1 of 2")
    line.end()
    first, second = out.getvalue().removesuffix("\n").removeprefix("\r").split("\r")
    assert len(first) == len(second) == 39, "what is left of a longer line is blanked, and no line is wrapped"
    assert second.rstrip() == "     3 s  installing: 1 of 2"


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_that_is_done_at_once_says_nothing_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, code: int
) -> None:
    command = tmp_path / "command.py"
    command.write_text(f"import os, sys; assert os.path.isdir(os.environ['TMPDIR']); sys.exit({code})")
    monkeypatch.setattr(progress, "QUIET_S", 60.0)
    monkeypatch.setattr(sys, "argv", ["progress.py", str(command), str(tmp_path / ".venv")])
    assert progress.main() == code
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [command]


def test_nothing_is_said_of_an_environment_that_is_complete(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, looks = tmp_path / ".venv", tmp_path / "looked"
    folder.mkdir()
    (folder / progress.STAMP).touch()
    command = tmp_path / "command.py"
    command.write_text(f"import os, time\nwhile not os.path.exists({str(looks)!r}): time.sleep(0.01)")
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    exists = Path.exists

    def look(path: Path) -> bool:
        if path.name == progress.STAMP:
            looks.touch()
        return exists(path)

    monkeypatch.setattr(Path, "exists", look)
    monkeypatch.setattr(sys, "argv", ["progress.py", str(command), str(folder)])
    assert progress.main() == 0
    assert capfd.readouterr() == ("", "")
