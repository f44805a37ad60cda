"""Foreign documents in a folder: in files of YAML and JSON, in fenced blocks of texts, and in literals of programs."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stategraph.resources.convert.conversion import format_of

_FENCED = re.compile(
    r"^([ \t]*)```+[ \t]*(?:ya?ml|json)\b[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE | re.IGNORECASE
)
_QUOTED = re.compile(r'"""\\?\n?(.*?)"""', re.DOTALL)
_LARGEST = 1024 * 1024


def documents(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the documents of a known format, each once, with the file that has it."""
    seen: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.stat().st_size > _LARGEST or ".git" in path.parts:
            continue
        for text in _texts(path):
            for document in _parsed(text):
                if isinstance(document, Mapping) and format_of(document) is not None:
                    told = json.dumps(document, sort_keys=True, default=str)
                    if told not in seen:
                        seen.add(told)
                        yield path, document


def _texts(path: Path) -> Iterator[str]:
    if path.suffix in (".yaml", ".yml", ".json"):
        yield path.read_text(encoding="utf-8", errors="replace")
    elif path.suffix in (".md", ".mdx"):
        yield from (textwrap.dedent(found[2]) for found in _FENCED.finditer(path.read_text(errors="replace")))
    elif path.suffix == ".py":
        yield from (textwrap.dedent(found[1]) for found in _QUOTED.finditer(path.read_text(errors="replace")))


def _parsed(text: str) -> list[Any]:
    if "apiVersion" not in text and "crewai.flow/" not in text:
        return []
    try:
        return list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, TypeError):  # a template of Helm or of a generator, or no YAML at all
        return []
