"""Our loader and the reference (`skills-ref`) on generated folders: they agree, but for what is stricter here."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import skills_ref
from hypothesis import given, settings
from hypothesis import strategies as st

from stategraph.governance.skills import loader

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "skills"
FOLDERS = 200
GOOD = ("pdf", "a" * 64)


@dataclass(frozen=True)
class Made:
    """A folder to be made: its name, its SKILL.md, and what of it only we refuse."""

    folder: str
    text: bytes
    file: str = "SKILL.md"
    stricter: bool = False


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
good_names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)
bad_names = st.one_of(
    st.sampled_from(["-pdf", "pdf-", "pdf--tools", "PDF", "pdf_tools", "pdf tools", "pdf.tools", "a" * 65, "-", "--"]),
    st.text(st.sampled_from(LETTERS + "-_.AB"), min_size=1, max_size=70),
)
foreign_names = st.sampled_from(["été", "данные", "naïve-bayes", "数据"])
words = st.text(st.sampled_from(LETTERS + " ,.;()'!?äß€"), min_size=1, max_size=60).map(str.strip).filter(bool)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


descriptions = st.one_of(
    words.map(quoted),
    words.map(lambda text: f"|\n  {text}\n  {text}"),
    st.sampled_from(["", '""', "'   '", "Plain words", "123", "yes", "x" * 1024, "x" * 1025, "~", "\n  - a\n  - b"]),
)
compatibilities = st.one_of(words.map(quoted), st.sampled_from(["x" * 500, "x" * 501, "\n  - a", '""']))
metadata = st.one_of(
    st.dictionaries(st.sampled_from(["version", "author", "title"]), words.map(quoted), min_size=1).map(
        lambda each: "\n" + "\n".join(f"  {name}: {value}" for name, value in each.items())
    ),
    st.just(""),
)
tools = st.sampled_from(["Read Write", "Bash(git:*) Read", '"find_invoice, other"', '""'])
spoiled = st.sampled_from(
    [
        "metadata: {version: 1}",  # flow style
        "license: [MIT, BSD]",
        "license: &x MIT",  # an anchor
        "license: !!str MIT",  # a tag
        "name: again",  # a key that stands twice
        "unknown: field",
        "Name: capital",
        "author: somebody",
        "broken: 'not closed",
        "\tindented: by a tab",
        "a: b: c",
        "- a list",
    ]
)
stricter_lines = st.sampled_from(
    ["license:\n  - MIT", "metadata: text", "allowed-tools:\n  - Read", "metadata:\n  - a"]
)


@st.composite
def folders(draw: st.DrawFn) -> Made:
    kind = draw(st.sampled_from(["valid", "valid", "name", "field", "spoiled", "stricter", "foreign", "shape"]))
    name = draw({"name": bad_names, "foreign": foreign_names}.get(kind, good_names))
    lines = [f"name: {name if kind != 'name' else quoted(name)}", f"description: {draw(descriptions)}"]
    lines += [f"license: {draw(words.map(quoted))}"] if draw(st.booleans()) else []
    lines += [f"compatibility: {draw(compatibilities)}"] if draw(st.booleans()) else []
    lines += [f"allowed-tools: {draw(tools)}"] if draw(st.booleans()) else []
    if draw(st.booleans()) and kind != "stricter":
        lines.append(f"metadata: {draw(metadata)}")
    if kind == "field":
        lines.pop(draw(st.integers(0, len(lines) - 1)))
    if kind in ("spoiled", "stricter"):
        line = draw(spoiled if kind == "spoiled" else stricter_lines)
        kept = [each for each in lines if each.partition(":")[0] != line.partition(":")[0] or kind == "spoiled"]
        lines = [*kept, line]
    lines = draw(st.permutations(lines))
    body = draw(st.sampled_from(["\n# How\n\nDo it.\n", "", "\n---\nmore\n", "\nname: other\n"]))
    text = "---\n" + "\n".join(lines) + f"\n---\n{body}"
    folder = name if draw(st.integers(0, 9)) else f"{name}x"
    if kind == "shape":
        text = draw(
            st.sampled_from(
                [
                    "",
                    "# No frontmatter\n",
                    f"---\nname: {name}\ndescription: never closed\n",
                    "---\n---\n",
                    "---\njust words\n---\n",
                    f"\n---\nname: {name}\ndescription: too late\n---\n",
                    f"\ufeff---\nname: {name}\ndescription: a mark before it\n---\n",
                    text.replace("\n", "\r\n"),
                    f"---\n# a comment\nname: {name} # another\ndescription: d\n---",
                ]
            )
        )
    usable = [each for each in folder if each in "/\0"]
    safe = "x" if usable or folder in (".", "..") or not folder.strip() else folder
    file = "skill.md" if draw(st.integers(0, 19)) == 0 else "SKILL.md"
    return Made(safe, text.encode(), file, stricter=kind in ("stricter", "foreign"))


SEEN = {"valid": 0, "invalid": 0, "stricter": 0}


def test_our_loader_and_the_reference_agree_on_two_hundred_folders() -> None:
    SEEN.update(valid=0, invalid=0, stricter=0)
    compare()
    print(f"skills: {sum(SEEN.values())} folders agree, {SEEN}")  # with `pytest -s`
    assert sum(SEEN.values()) >= FOLDERS
    assert min(SEEN.values()) >= 5, SEEN


@settings(max_examples=FOLDERS, deadline=None, derandomize=True, database=None)
@given(made=folders())
def compare(made: Made) -> None:
    place = Path(tempfile.mkdtemp(prefix="skills-"))
    try:
        folder = place / made.folder
        folder.mkdir()
        (folder / made.file).write_bytes(made.text)
        ours = loader.problems_of(folder)
        try:
            theirs = skills_ref.validate(folder)
        except Exception as error:  # it does not catch what its parser raises
            theirs = [repr(error)]
        shown = f"{made}\nours: {list(map(str, ours))}\ntheirs: {theirs}"
        if not ours:
            assert not theirs, shown
            assert skills_ref.read_properties(folder).description == loader.load(folder).description
            SEEN["valid"] += 1
        elif made.stricter and not theirs:
            SEEN["stricter"] += 1
        else:
            assert theirs, shown
            SEEN["invalid"] += 1
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    "name",
    ["pdf", "a", "a" * 64, "a" * 65, "-pdf", "pdf-", "pdf--tools", "Pdf", "pdf_tools", "pdf tools", "1", "other"],
)
def test_both_take_the_same_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / ("folder" if name == "other" else name)
    folder.mkdir()
    (folder / "SKILL.md").write_text(f"---\nname: '{name}'\ndescription: d\n---\n", encoding="utf-8")
    assert bool(loader.problems_of(folder)) is bool(skills_ref.validate(folder)) is (len(name) > 1 and name not in GOOD)


@pytest.mark.parametrize("folder", sorted(EXAMPLES.iterdir()), ids=lambda each: each.name)
def test_the_reference_takes_every_skill_that_ships(folder: Path) -> None:
    assert skills_ref.validate(folder) == [] and loader.problems_of(folder) == []
