"""Names for JSON objects, as requests bring them and events carry them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object that is made here."""

Fields: TypeAlias = Mapping[str, Any]
"""A JSON object that is only read."""
