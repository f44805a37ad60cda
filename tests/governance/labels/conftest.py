"""Databases for the tests of labels: SQLite in a file, and a PostgreSQL of our own."""

from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server
from tests.workers.conftest import url as url
