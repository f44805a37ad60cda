"""What mypy finds in programs that use graphs rightly and wrongly; `make types` has pyright find the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.graph.typed.expected_errors import EXAMPLES, PROGRAMS, differences, expected

api = pytest.importorskip("mypy.api", reason="mypy is in the environment of development alone")

ROOT = Path(__file__).resolve().parents[3]

_FOUND = re.compile(r"([\w./-]+\.py):(\d+): error: .*\[([\w-]+)\]$")


def test_mypy_follows_types_from_the_state_to_the_result() -> None:
    """mypy is called once for all, with the cache that `make check` fills."""
    told, problems, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), *map(str, EXAMPLES + PROGRAMS)])
    assert not problems
    found = [match.groups() for line in told.splitlines() if (match := _FOUND.match(line))]
    assert differences({(Path(name).name, int(line), code) for name, line, code in found}, expected()) == []
    assert len(expected()) > 15 and len(EXAMPLES) > 30
