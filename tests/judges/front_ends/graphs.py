"""The graphs that the packages talk with, those of the tests."""

from __future__ import annotations

from tests.server.protocols import test_front_ends

for _name, _make in test_front_ends.GRAPHS.items():
    globals()[_name] = _make().compile(name=_name)
