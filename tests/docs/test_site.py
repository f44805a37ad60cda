"""The site has a place for every page and for every public name."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from scripts import docsite

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted({package for _, packages in docsite.REFERENCE.values() for package in packages})


def pages() -> list[str]:
    own = [file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")]
    return [*own, *docsite.ROOT_PAGES.values(), *(f"reference/{name}.md" for name in docsite.REFERENCE)]


def test_every_page_is_in_the_navigation() -> None:
    docsite.navigation(pages())


def test_a_page_that_is_not_in_the_navigation_is_named() -> None:
    with pytest.raises(docsite.SiteError, match=r"not in the navigation of zensical\.toml: new\.md"):
        docsite.navigation([*pages(), "new.md"])
    with pytest.raises(docsite.SiteError, match=r"no page: index\.md"):
        docsite.navigation([page for page in pages() if page != "index.md"])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference_once(package: str) -> None:
    told = [
        name
        for _, packages in docsite.REFERENCE.values()
        for name in docsite.grouped({package: packages[package]} if package in packages else {}).get(package, [])
    ]
    assert sorted(told) == sorted(set(import_module(package).__all__) - {"__version__"})


def test_links_to_pages_are_moved_and_links_to_other_files_become_text() -> None:
    places = {ROOT / "docs" / "storage.md": "storage.md", ROOT / "examples" / "13_testing.py": "examples/13_testing.md"}
    text = "[a](docs/storage.md#b) [c](stategraph/errors.py) `[e](f)` `examples/13_testing.py` [d](https://example.com)"
    linked = docsite._linked(text, ROOT / "README.md", "index.md", places)
    assert (
        linked
        == "[a](storage.md#b) c `[e](f)` [`examples/13_testing.py`](examples/13_testing.md) [d](https://example.com)"
    )


def test_what_a_page_loads_and_links_to_is_seen() -> None:
    found = docsite.Page('<a href="x.html#y" id="z"></a><script src="https://e.com/s.js"></script><link href="s.css">')
    assert (found.links, found.loaded, found.anchors) == ({"x.html#y"}, {"https://e.com/s.js", "s.css"}, {"z"})


def test_the_site_is_built_from_what_the_repository_pins() -> None:
    theme = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["theme"]
    assert theme["font"] is False, "fonts would come from elsewhere"
    assert re.search(r"^zensical==", (ROOT / "requirements" / "docs.txt").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("script", ["diagram", "figures", "pictures", "settings", "terminal"])
def test_what_scripts_write_is_current(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--check"])
    assert import_module(f"scripts.{script}").main() == 0, capsys.readouterr().err
