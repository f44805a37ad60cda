"""Names that programs import from `stategraph.governance`: all there, and loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys

from stategraph import governance


def test_every_name_is_there_and_says_where_it_is_from() -> None:
    for name in governance.__all__:
        found = getattr(governance, name)
        assert getattr(found, "__module__", "stategraph.governance").partition(".")[0] in ("stategraph", "typing")


def test_importing_the_package_loads_none_of_its_parts() -> None:
    program = "import sys, stategraph.governance; print([n for n in sys.modules if n.startswith('stategraph.gov')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['stategraph.governance']"


def test_a_name_that_is_not_there_is_an_error() -> None:
    try:
        _ = governance.Nothing  # type: ignore[attr-defined]
    except AttributeError as error:
        assert "'stategraph.governance' has no attribute 'Nothing'" in str(error)
    else:
        raise AssertionError("there is no such name")
