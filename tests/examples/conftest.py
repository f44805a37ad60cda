"""A PostgreSQL of our own, for the examples that need one."""

from __future__ import annotations

from tests.workers.conftest import postgres, server

__all__ = ["postgres", "server"]
