"""JSON schemas of the graphs behind assistants."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stategraph.server.service.port import Assistant, Caller, Service

logger = logging.getLogger(__name__)

#: The schema of a graph whose types have none.
OPEN: Final[Mapping[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Schemas:
    """JSON schemas of a graph's input and output."""

    input: Mapping[str, Any]
    output: Mapping[str, Any]


class KnownSchemas:
    """Schemas of assistants, read from their graphs once for each version.

    Args:
        service: Has the graphs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[tuple[str, int], Schemas] = {}

    async def of(self, caller: Caller, assistant: Assistant) -> Schemas:
        """Return the schemas of an assistant; open ones if its types have no schema.

        Raises:
            NotFoundError: Its graph is not there.
        """
        key = (assistant.assistant_id, assistant.version)
        if key not in self._known:
            opened = self._service.graphs.open(
                assistant.graph_id, assistant.config, access="assistants.read", caller=caller
            )
            async with opened as graph:
                self._known[key] = Schemas(
                    _schema(assistant.graph_id, graph.get_input_jsonschema),
                    _schema(assistant.graph_id, graph.get_output_jsonschema),
                )
        return self._known[key]


def _schema(graph_id: str, read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return read()
    except Exception as error:  # whatever the types of a program raise
        logger.warning("The graph '%s' has types without a JSON schema: %s", graph_id, error)
        return OPEN
