"""Endpoints as they are written down in a database or in NATS."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from stategraph.errors import ConfigurationError
from stategraph.fleet.endpoint import AgentEndpoint

logger = logging.getLogger("stategraph.fleet")


def written(endpoint: AgentEndpoint) -> str:
    """Return an endpoint as JSON."""
    return json.dumps(endpoint.to_json(), ensure_ascii=False, sort_keys=True)


def read(entries: Iterable[str | bytes], bad: set[str | bytes]) -> list[AgentEndpoint]:
    """Return the endpoints of entries; one that is none is left out, and told of once.

    Args:
        entries: What was written.
        bad: Entries that were told of; more are added.
    """
    found = []
    for entry in entries:
        try:
            found.append(AgentEndpoint.from_json(json.loads(entry)))
        except (ValueError, ConfigurationError) as error:
            if entry not in bad:
                bad.add(entry)
                logger.warning("An entry of the directory is left out: %s", error)
    return found
