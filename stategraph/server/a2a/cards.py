"""A card for each assistant, made of its graph: what it takes, what it is for, where it is reached.

Rules
-----
* The card that anybody may read names the assistant and its skill. The extended one, for callers with credentials, has
  the JSON schemas of input and output besides.
* A card is signed anew when it has changed; its ETag leaves the signature out, so that a kept card stays valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentProvider,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from a2a.utils.signing import ProtectedHeader, create_agent_card_signer
from google.protobuf.json_format import MessageToDict

from stategraph.server.a2a.messages import struct
from stategraph.server.a2a.settings import A2aSettings
from stategraph.server.service.port import Assistant, Caller, NotFoundError, Service
from stategraph.server.tasks.schemas import KnownSchemas

VERSION: Final = "1.0"

#: The extension by which a card has the schemas of a graph.
SCHEMAS: Final = "https://stategraph.dev/a2a/schemas/v1"

_BEARER: Final = "bearer"


@dataclass(frozen=True, slots=True)
class Described:
    """An assistant with the schemas of its graph."""

    assistant: Assistant
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]


class Cards:
    """Cards of assistants.

    Args:
        service: Has the assistants and graphs.
        settings: Of the protocol.
    """

    def __init__(self, service: Service, settings: A2aSettings) -> None:
        self._service = service
        self._settings = settings
        self._schemas = KnownSchemas(service)
        self._signers = [
            create_agent_card_signer(
                each.key, ProtectedHeader(kid=each.key_id, alg=each.algorithm, jku=each.jwks_url, typ="JOSE")
            )
            for each in settings.signing
        ]

    @property
    def default(self) -> str:
        """The assistant of requests that name none."""
        return self._settings.default or next(iter(self._service.graphs.ids()), "")

    async def describe(self, caller: Caller, assistant_id: str) -> Described:
        """Look at an assistant and its graph.

        Raises:
            NotFoundError: There is none.
        """
        assistant = await self._service.assistants.get(caller, assistant_id or self.default)
        schemas = await self._schemas.of(caller, assistant)
        return Described(assistant, schemas.input, schemas.output)

    async def card(
        self, caller: Caller, assistant_id: str, base_url: str, *, extended: bool = False, public: bool = False
    ) -> AgentCard:
        """Make the card of an assistant.

        Args:
            caller: Who asks.
            assistant_id: The assistant; empty: the default one.
            base_url: The address of the server as the client sees it.
            extended: Whether it has the schemas.
            public: Whether anybody may ask: then only assistants that stand for graphs have cards.

        Raises:
            NotFoundError: There is none.
        """
        described = await self.describe(caller, assistant_id)
        assistant, settings = described.assistant, self._settings
        if public:
            of_graph = await self._service.assistants.get(caller, assistant.graph_id)
            if of_graph.assistant_id != assistant.assistant_id:
                raise NotFoundError(f"There is no assistant '{assistant_id}'")
        about = assistant.description or self._service.graphs.description(assistant.graph_id)
        described_as = about or f"The graph '{assistant.graph_id}'"
        card = AgentCard(
            name=assistant.name or assistant.graph_id,
            description=described_as,
            version=f"{settings.version}+{assistant.version}",
            supported_interfaces=self._interfaces(assistant, base_url),
            capabilities=AgentCapabilities(
                streaming=True, push_notifications=settings.pushes, extended_agent_card=settings.needs_auth
            ),
            default_input_modes=settings.input_modes,
            default_output_modes=settings.output_modes,
            skills=[_skill(assistant, described_as)],
        )
        if settings.organization:
            card.provider.CopyFrom(AgentProvider(organization=settings.organization, url=settings.organization_url))
        if settings.documentation_url:
            card.documentation_url = settings.documentation_url
        if settings.needs_auth:
            scheme = HTTPAuthSecurityScheme(scheme="Bearer", description="A token or an API key of this server")
            card.security_schemes[_BEARER].CopyFrom(SecurityScheme(http_auth_security_scheme=scheme))
            card.security_requirements.append(SecurityRequirement(schemes={_BEARER: StringList()}))
        if extended:
            schemas = {"input": described.input_schema, "output": described.output_schema}
            card.capabilities.extensions.append(
                AgentExtension(uri=SCHEMAS, description="JSON schemas of the graph", params=struct(schemas))
            )
        for sign in self._signers:
            card = sign(card)
        return card

    def _interfaces(self, assistant: Assistant, base_url: str) -> list[AgentInterface]:
        url = f"{(self._settings.url or base_url).rstrip('/')}/a2a/{assistant.assistant_id}"
        found = [
            AgentInterface(url=url, protocol_binding=binding, protocol_version=VERSION)
            for binding in ("JSONRPC", "HTTP+JSON")
        ]
        if self._settings.grpc_url is not None:
            found.append(
                AgentInterface(
                    url=self._settings.grpc_url,
                    protocol_binding="GRPC",
                    protocol_version=VERSION,
                    tenant=assistant.assistant_id,
                )
            )
        return found


def _skill(assistant: Assistant, about: str) -> AgentSkill:
    tags = assistant.metadata.get("tags")
    return AgentSkill(
        id=assistant.graph_id,
        name=assistant.name or assistant.graph_id,
        description=about,
        tags=[str(each) for each in tags] if isinstance(tags, list) and tags else [assistant.graph_id],
    )


def as_body(card: AgentCard) -> tuple[bytes, str]:
    """Return a card as JSON, and its ETag, which is weak and leaves the signatures out."""
    found = MessageToDict(card)
    unsigned = {key: value for key, value in found.items() if key != "signatures"}
    digest = hashlib.sha256(json.dumps(unsigned, sort_keys=True).encode()).hexdigest()
    return json.dumps(found, ensure_ascii=False).encode(), f'W/"{digest[:32]}"'
