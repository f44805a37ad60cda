"""Folders of skills that tests make."""

from __future__ import annotations

from pathlib import Path


def skill(root: Path, name: str = "pdf", *, version: str = "1.0", body: str = "Do it.", more: str = "") -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    head = f"name: {name}\ndescription: Works with {name}.\nmetadata:\n  version: '{version}'\n{more}"
    (folder / "SKILL.md").write_text(f"---\n{head}---\n{body}\n", encoding="utf-8")
    return folder


def put(folder: Path, path: str, content: str | bytes) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file
