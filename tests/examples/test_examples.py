"""Every numbered example prints exactly what its docstring says."""

import runpy
from pathlib import Path

import pytest

from tests.examples.promises import promised

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NUMBERED = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))


def test_the_examples_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:2]) for path in NUMBERED] == list(range(1, len(NUMBERED) + 1))
    assert NUMBERED


#: Others that are whole programs, too.
NAMED = [EXAMPLES / f"{name}.py" for name in ("hello_agent",)]


@pytest.mark.parametrize("path", [*NUMBERED, *NAMED], ids=lambda path: path.stem)
def test_an_example_prints_what_it_promises(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if "STATEGRAPH_POSTGRES" in path.read_text():
        monkeypatch.setenv("STATEGRAPH_POSTGRES", request.getfixturevalue("postgres"))
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == promised(path)
