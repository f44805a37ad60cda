"""Import paths: what they name is imported, and a wrong one is told in a sentence."""

import os.path

import pytest

from stategraph import import_paths
from stategraph.errors import ConfigurationError


def test_an_attribute_is_found_also_within_another() -> None:
    assert import_paths.imported("os:path", "The target") is os.path
    assert import_paths.imported("pathlib:Path.cwd", "The target")().is_dir()


@pytest.mark.parametrize("path", ["", "os", ":path", "os:", "os.path"])
def test_another_form_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="is no import path; expected"):
        import_paths.imported(path, "The target")


def test_whatever_a_module_raises_is_told_with_the_hint(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_fails.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyError, match=r"cannot be imported: ZeroDivisionError: .*\. Try another"):
        import_paths.imported("module_that_fails:x", "The target", KeyError, hint="Try another.")


def test_an_attribute_that_is_not_there_is_told() -> None:
    with pytest.raises(
        ConfigurationError, match=r"The target 'os:path\.nothing' was not found: the module 'os' has no"
    ):
        import_paths.imported("os:path.nothing", "The target")
