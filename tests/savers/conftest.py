"""A PostgreSQL of our own, and savers on it, sync and async behind one face."""

from __future__ import annotations

from tests.workers.conftest import postgres, server

__all__ = ["postgres", "server"]
