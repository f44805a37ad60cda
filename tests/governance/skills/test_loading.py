"""Skills loaded and read: faults by file and field, versions, and nothing from outside of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.skills import loader, prompt, validation
from stategraph.governance.skills.registry import SkillRegistry
from stategraph.governance.skills.skill import SkillError
from tests.governance.skills.folders import put, skill


def faults(folder: Path) -> list[tuple[str, str | None, str]]:
    return [(each.file.name, each.field, each.message) for each in loader.problems_of(folder)]


def test_a_skill_is_loaded_with_all_that_it_says(tmp_path: Path) -> None:
    more = "license: MIT\ncompatibility: Python\nallowed-tools: Read Bash(git add:*) find_*\n"
    folder = skill(tmp_path, version="1.10", more=more, body="# How\n\nSee references/forms.md.")
    put(folder, "references/forms.md", "Forms.")
    put(folder, "scripts/fill.py", "print(1)")
    put(folder, ".git/config", "secret")
    put(folder, "scripts/__pycache__/fill.pyc", b"\0")
    found = loader.load(folder)
    assert (found.name, found.version, found.license, found.compatibility) == ("pdf", "1.10", "MIT", "Python")
    assert found.allowed_tools == ("Read", "Bash(git add:*)", "find_*")
    assert list(found.files) == ["SKILL.md", "references/forms.md", "scripts/fill.py"]
    assert found.scripts == ("scripts/fill.py",)
    assert prompt.instructions(found) == (
        "# How\n\nSee references/forms.md.\n\nFiles of this skill:\n- references/forms.md (6 bytes)\n"
        "- scripts/fill.py (8 bytes)"
    )
    before = found.digest
    put(folder, ".git/config", "another")
    assert loader.load(folder).digest == before
    put(folder, "references/forms.md", "Other.")
    assert loader.load(folder).digest != before


def test_every_fault_names_its_file_and_field(tmp_path: Path) -> None:
    folder = tmp_path / "pdf"
    text = "name: Pdf--\nlicence: MIT\ncompatibility: " + "x" * 501 + "\nmetadata:\n  version:\n    - 1\n"
    put(folder, "SKILL.md", f"---\n{text}---\nDo it.")
    assert [(file, field) for file, field, _ in faults(folder)] == [
        ("SKILL.md", "licence"),
        ("SKILL.md", "description"),
        ("SKILL.md", "name"),
        ("SKILL.md", "name"),
        ("SKILL.md", "name"),
        ("SKILL.md", "name"),
        ("SKILL.md", "compatibility"),
        ("SKILL.md", "metadata.version"),
    ]
    with pytest.raises(SkillError, match=r"pdf/SKILL\.md: licence: there is no such field") as caught:
        loader.load(folder)
    assert len(caught.value.problems) == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe", "is no UTF-8"),
        (b"---\nname: pdf\n", "not closed"),
        (b"---\nname: pdf\ndescription: a --- b\n---\n", "line 3 has '---'"),
        (b"---\nname: pdf\nlicense: &x MIT\n---\n", "line 3: anchors"),
        (b"---\nname: pdf\nmetadata: {version: 1}\n---\n", "line 3: values in {}"),
        (b"---\nname: pdf\nname: pdf\n---\n", "line 3: 'name' stands twice"),
        (b"---\nname: !!python/object/apply:os.system [id]\n---\n", "tags are not taken"),
        (b"---\nname: 'pdf\n---\n", "unexpected end"),
        (b"---\n" + b"".join(b" " * n + b"- \n" for n in range(40)) + b"---\n", "more than 16 levels"),
        (b"x" * (256 * 1024 + 1), "more than the 262,144 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, text: bytes, said: str) -> None:
    put(tmp_path, "pdf/SKILL.md", text)
    ((file, field, message),) = faults(tmp_path / "pdf")
    assert (file, field) == ("SKILL.md", None) and said in message


def test_folders_that_are_none_are_faults(tmp_path: Path) -> None:
    put(tmp_path, "file", "")
    (tmp_path / "empty").mkdir()
    assert "no such folder" in faults(tmp_path / "missing")[0][2]
    assert "no folder" in faults(tmp_path / "file")[0][2]
    assert "no file SKILL.md" in faults(tmp_path / "empty")[0][2]
    (tmp_path / "linked").mkdir()
    os.symlink("/etc/passwd", tmp_path / "linked" / "SKILL.md")
    assert "cannot be read" in faults(tmp_path / "linked")[0][2]
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "SKILL.md")  # it would wait for a writer
    assert "is no file" in faults(tmp_path / "pipe")[0][2]


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.txt", "a secret")
    folder = skill(tmp_path / "skills")
    os.symlink(secret, folder / "link.txt")
    os.symlink(tmp_path, folder / "up")
    found = loader.load(folder)
    assert found.left_out == ("link.txt: a link", "up: a link")
    for path in ("link.txt", "up/secret.txt", "../../secret.txt", "/etc/passwd", str(secret), "..", "", "SKILL.md/.."):
        with pytest.raises(SkillError, match="has no file"):
            prompt.file_text(found, path)
    assert prompt.file_text(found, "./SKILL.md") == "Do it."


def test_a_file_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    folder = skill(tmp_path)
    file = put(folder, "a.md", "Be kind.")
    put(folder, "b.bin", b"\xff")
    found = loader.load(folder)
    assert prompt.file_text(found, "a.md") == "Be kind."
    with pytest.raises(SkillError, match="is no text"):
        prompt.file_text(found, "b.bin")
    for change in (lambda: file.write_text("Be evil."), lambda: file.write_text("Be kind. And more."), file.unlink):
        change()
        with pytest.raises(SkillError, match="is not what it was"):
            prompt.file_text(found, "a.md")
    os.symlink(put(tmp_path, "elsewhere", "Be kind."), file)  # the same bytes, behind a link
    with pytest.raises(SkillError, match="is not what it was"):
        prompt.file_text(found, "a.md")


def test_a_folder_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = skill(tmp_path)
    monkeypatch.setattr(loader, "MOST_FILES", 2)
    for number in range(2):
        put(folder, f"{number}.md", "x" * 100)
    assert "more than 2 files" in faults(folder)[0][2]
    monkeypatch.setattr(loader, "MOST_FILES", 1000)
    monkeypatch.setattr(loader, "MOST_BYTES", 250)
    assert "bytes that are left" in faults(folder)[0][2]
    put(skill(tmp_path, "deep"), "a/" * 9 + "x.md", "")
    monkeypatch.setattr(loader, "MOST_BYTES", 10_000)
    assert "8 folders deep" in faults(tmp_path / "deep")[0][2]


def test_a_registry_has_the_newest_version_and_says_what_it_left_out(tmp_path: Path) -> None:
    for version in ("1.9", "1.10"):
        skill(tmp_path / version, version=version, body=f"Version {version}.")
    skill(tmp_path / "1.9", "seo")
    put(tmp_path / "1.9", "broken/SKILL.md", "nothing")
    os.symlink(tmp_path / "1.10" / "pdf", tmp_path / "1.9" / "other")
    skills = SkillRegistry(tmp_path / "1.9", tmp_path / "1.10" / "pdf")
    assert [(each.name, each.version) for each in skills] == [("pdf", "1.10"), ("seo", "1.0")]
    assert skills.read("pdf", version="1.9") == "Version 1.9." and skills.read("pdf") == "Version 1.10."
    assert [each.file.parent.name for each in skills.problems] == ["broken", "1.9"]
    with pytest.raises(SkillError, match=r"no version '2'; it has: 1\.9, 1\.10"):
        skills.get("pdf", "2")
    with pytest.raises(SkillError, match="no skill 'xls'; there are: pdf, seo"):
        skills.get("xls")
    skill(tmp_path / "1.10", version="2.0")
    skills.reload()
    assert skills.get("pdf").version == "2.0"
    skill(tmp_path / "copy", version="2.0", body="Something else.")
    with pytest.raises(ConfigurationError, match=r"'pdf' in version 2\.0 is in .* and they differ"):
        SkillRegistry(tmp_path / "1.10", tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="There is no folder"):
        SkillRegistry(tmp_path / "missing")


def test_a_model_is_told_names_and_descriptions_first(tmp_path: Path) -> None:
    folder = skill(tmp_path, "pdf")
    text = (folder / "SKILL.md").read_text(encoding="utf-8").replace("Works with pdf.", "Fills </skill> & more.")
    put(folder, "SKILL.md", text)
    skills = SkillRegistry(tmp_path)
    told = skills.prompt()
    assert told.startswith(
        "<available_skills>\n<skill>\n<name>\npdf\n</name>\n<description>\nFills &lt;/skill&gt; &amp;"
    )
    assert "Do it." not in told and told.endswith("follow its instructions.")
    assert skills.prompt([]) == ""


def test_tools_are_read_with_what_belongs_to_them() -> None:
    assert validation.tools_in("Read, Write  Bash(git add:*)") == ("Read", "Write", "Bash(git add:*)")
    assert validation.tools_in("") == ()
