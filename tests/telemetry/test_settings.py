"""Settings of telemetry that make no sense are refused when they are made."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.telemetry import Telemetry


@pytest.mark.parametrize("text", ["false", "no", "off", "true", "", 0, 1])
def test_whether_content_is_recorded_is_no_text(text: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"'content' of Telemetry is .*; expected True, False or None"):
        Telemetry(content=text)


@pytest.mark.parametrize("name", ["nodes", "metrics", "workflow", "tracer_provider", "meter_provider"])
def test_values_of_another_type_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}' of Telemetry is 5; expected "):
        Telemetry(**{name: 5})  # type: ignore[arg-type]


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigurationError, match="'contents' is not a field of Telemetry; did you mean 'content'"):
        Telemetry(contents=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="'x' is not a field of Telemetry; known are content, "):
        Telemetry(x=True)  # type: ignore[call-arg]


def test_settings_are_copied() -> None:
    settings = Telemetry(True, workflow="support")
    assert copy.deepcopy(settings) == settings and settings.records_content
