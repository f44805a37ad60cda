"""The files of the page: whole, from nowhere else, and without what its content security policy forbids."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from scripts import vendor
from stategraph.dev.protection import CONTENT_SECURITY_POLICY
from stategraph.dev.routes.pages import STATIC
from tests.dev.serving import an_agent, serving

OWN = sorted(file for file in STATIC.rglob("*") if file.is_file() and "vendor" not in file.parts)
SCRIPTS = [file for file in STATIC.rglob("*") if file.suffix in (".js", ".mjs")]
_IMPORT = re.compile(r"""(?:from|import)\s*\(?["']([^"']+)["']""")


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.relative_to(STATIC).as_posix())
def test_a_module_imports_only_files_that_are_there(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("*", "//"))]
    for path in _IMPORT.findall("\n".join(lines)) if "vendor" not in file.parts or "lit-html" in file.parts else ():
        assert path.startswith("."), f"{path} is no file of the page"
        assert (file.parent / path).resolve().is_file(), f"{path} is missing"


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.relative_to(STATIC).as_posix())
def test_nothing_is_loaded_from_elsewhere_and_nothing_stands_inline(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    addresses = list(re.findall(r"(?:src|href)=\"([^\"$]+)\"", text))
    assert [each for each in addresses if not each.startswith(("/static/", "#"))] == []
    assert "@import" not in text and "url(" not in text
    if file.suffix == ".html":
        assert re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text) is None
    if file.suffix == ".js":
        # Styles and handlers as text are refused by the policy, and code made of text has no place here.
        found = (
            r"\sstyle=|\son(click|load|error)=\"|innerHTML|outerHTML|insertAdjacentHTML|document\.write|unsafe|\beval\("
        )
        assert re.search(found, text) is None


def test_the_files_of_others_are_those_that_were_fetched() -> None:
    packages = json.loads(vendor.LIST.read_text(encoding="utf-8"))
    assert packages and [each for name, package in packages.items() for each in vendor.differences(name, package)] == []
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-")
        assert (vendor.FOLDER / name / "LICENSE").is_file()


def test_a_file_of_others_that_has_changed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor, "FOLDER", tmp_path)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.js").write_text("changed")
    (tmp_path / "some" / "c.js").write_text("new")
    found = vendor.differences("some", {"sha256": {"a.js": "0" * 64, "b.js": "0" * 64}})
    assert found == ["some: b.js is missing", "some: c.js is not in vendor.json", "some: a.js has changed"]


@pytest.mark.anyio
async def test_the_files_come_with_their_types() -> None:
    async with serving(an_agent()) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        for path in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page.text):
            assert (await client.get(path)).status_code == 200, path
        types = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        for file in (
            SCRIPTS[0],
            STATIC / "vendor/dompurify/purify.mjs",
            STATIC / "styles/base.css",
            STATIC / "icon.svg",
        ):
            answer = await client.get(f"/static/{file.relative_to(STATIC).as_posix()}")
            assert answer.headers["content-type"].partition(";")[0] == types[file.suffix]
        told = (await client.get("/api/info")).json()
        assert (told["name"], told["agents"]) == ("Ada", [{"id": "ada", "name": "Ada"}])


def test_the_policy_names_no_other_place() -> None:
    assert re.search(r"https?:|\*|unsafe", CONTENT_SECURITY_POLICY) is None
