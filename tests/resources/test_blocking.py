"""The runtime for callers that cannot await."""

from __future__ import annotations

import pytest

from stategraph.resources import BlockingRuntime, ManifestError, Runtime
from stategraph.resources.loading import dump
from tests.resources.kit import PART, Parts, part


def test_everything_can_be_called_without_an_event_loop() -> None:
    runtime = Runtime.from_url("memory:", environment={})
    runtime.define_kind(PART, Parts())
    with BlockingRuntime(runtime) as blocking:
        assert [each.action for each in blocking.apply([part("a", value=1)])] == ["created"]
        assert blocking.wait("part/a", timeout=60).is_ready
        (applied,) = blocking.load_from_string(dump(part("b", needs=["a"], value=2)))
        assert applied.action == "created"
        blocking.settled(60)
        assert blocking.compiled("part/b") == [2, 1]
        assert [each.name for each in blocking.list("part")] == ["a", "b"]
        found = blocking.get("pt/a")
        assert found is not None
        assert found.spec == {"value": 1}
        with pytest.raises(ManifestError, match="this is no YAML"):
            blocking.load_from_string("a: [\n")
        assert blocking.delete("part/b")
        blocking.wait("part/b", "Deleted", timeout=60)
        with pytest.raises(TimeoutError):
            blocking.wait("part/none", timeout=0.01)
