"""A pytest plugin: tests that name the server's default address in their code are told where it really is."""

from __future__ import annotations

import os
from typing import Any

DEFAULT = "http://localhost:2024"


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put the running server's address in the place of the default one."""
    for module in {item.module for item in items}:
        for name, value in list(vars(module).items()):
            if value == DEFAULT:
                setattr(module, name, os.environ["LANGGRAPH_INTEGRATION_URL"])
