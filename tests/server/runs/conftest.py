"""Databases of both kinds."""

from tests.workers.conftest import postgres, server, url

__all__ = ("postgres", "server", "url")
