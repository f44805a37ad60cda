"""Databases and a NATS server for directories."""

from tests.workers.conftest import nats_running as nats_running
from tests.workers.conftest import nats_url as nats_url
from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server
from tests.workers.conftest import url as url
