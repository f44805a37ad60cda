"""The programs for people who come from another framework print what their docstrings say, and use what tools say."""

import importlib.util
from pathlib import Path

import pytest

from tests.coming_from.after import run
from tests.examples.promises import promised

PROGRAMS = sorted((Path(__file__).resolve().parents[2] / "examples" / "coming_from").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_what_it_promises(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if path.stem == "from_langchain" and importlib.util.find_spec("langchain") is None:
        pytest.skip("langchain is not installed here; `make coming-from` runs this program")
    assert run(path) == []  # Texts that the model has to be sent, such as the results of tools.
    assert capsys.readouterr().out == promised(path)
