"""Fixtures for what is measured."""

from __future__ import annotations

import pytest

from tests.telemetry.spans_kit import Collected


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """What the test measures; content is off unless it asks for it."""
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)
    return Collected()
