"""Resources compiled by their controllers without a store or a loop: what a controller asks for is compiled at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.resources import refs
from stategraph.resources.controllers.agent import AgentController
from stategraph.resources.controllers.mcp_server import MCPServerController
from stategraph.resources.controllers.model import ModelController
from stategraph.resources.controllers.network import NetworkController
from stategraph.resources.controllers.policy import BudgetController, PolicyController
from stategraph.resources.controllers.skill import SkillController
from stategraph.resources.controllers.tool import ToolController
from stategraph.resources.controllers.workflow import WorkflowController
from stategraph.resources.errors import NotReady, UnresolvedReference
from stategraph.resources.kind_table import KINDS
from stategraph.resources.model import Metadata, Resource, ResourceKey
from stategraph.testing import ScriptedChatModel


class Scope:
    """Values by their keys, in memory."""

    def __init__(self, kept):
        self.kept = kept

    async def all(self):
        return dict(self.kept)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def delete(self, key):
        self.kept.pop(key, None)


class States:
    """The state of all scopes, in memory."""

    def __init__(self):
        self.kept = {}

    def scope(self, name):
        return Scope(self.kept.setdefault(name, {}))

    def network(self, network, *, persistence, ttl):
        return self.scope(str(network))


class World:
    """What controllers may look at.

    Args:
        text: Manifests.
        replies: Replies of scripted models, by the resource that uses them (`agent/default/a`).
        services: Further services.
    """

    def __init__(
        self, text: str = "", replies: Mapping[str, Any] | None = None, allow: Sequence[str] = (), **services: Any
    ) -> None:
        self.resources: dict[ResourceKey, Resource] = {}
        self.models: dict[str, ScriptedChatModel] = {}
        self.allow = tuple(allow)
        self.kinds = KINDS
        self.leads = True
        self.environment: Mapping[str, str] = {}
        self._replies = dict(replies or {})
        self.services: dict[str, Any] = {
            "saver": in_memory_saver(),
            "states": States(),
            "model_factory": self._model,
            **services,
        }
        controllers = (
            AgentController,
            ModelController,
            ToolController,
            MCPServerController,
            SkillController,
            WorkflowController,
            NetworkController,
            PolicyController,
            BudgetController,
        )
        self.controllers = {each.kind.lower(): each() for each in controllers}
        self._compiled: dict[ResourceKey, Any] = {}
        self._now: list[ResourceKey] = []
        self.add(text)

    def add(self, text: str) -> None:
        for document in yaml.safe_load_all(text):
            if document:
                kind = KINDS.get(document["kind"])
                meta = document["metadata"]
                metadata = Metadata(meta["name"], meta.get("namespace", "default"))
                resource = Resource(document["apiVersion"], kind.name, metadata, document.get("spec") or {})
                self.resources[resource.key] = resource
        self._compiled.clear()

    def _model(self, request: Any) -> ScriptedChatModel:
        if request.used_by not in self.models:
            replies = self._replies.get(request.used_by, ["ok"] * 50)
            self.models[request.used_by] = ScriptedChatModel(replies=replies, model_name=request.name)
        return self.models[request.used_by]

    # What `Ctx` has.

    def spec(self, resource: Resource) -> Mapping[str, Any]:
        return resource.spec

    def parsed(self, resource: Resource) -> Any:
        model = KINDS.get(resource.kind).model()
        return model.model_validate(resource.spec)

    async def get(self, key: ResourceKey) -> Resource | None:
        return self.resources.get(key)

    async def resolve(self, ref: Any, kind: str, *, path: Any = ()) -> Resource:
        reference = refs.parse(ref)
        key = reference.key(kind, self._now[-1].namespace if self._now else "default")
        if key not in self.resources:
            raise UnresolvedReference(f"there is no {key}", path=path)
        return self.resources[key]

    async def secret(self, ref: Any, key: str | None = None, *, path: Any = ()) -> str:
        return self.services["secrets"][ref.name]

    async def compiled(self, key: ResourceKey, *, path: Any = ()) -> Any:
        if key in self._now:
            raise NotReady(f"{key} waits for itself")
        if key not in self._compiled:
            self._now.append(key)
            try:
                self._compiled[key] = (await self.reconcile(key)).compiled
            finally:
                self._now.pop()
        return self._compiled[key]

    async def reconcile(self, key: ResourceKey | str) -> Any:
        key = ResourceKey.parse(key) if isinstance(key, str) else key
        resource = self.resources[key]
        return await self.controllers[key.kind].reconcile(resource, self)

    async def made(self, text: str) -> Any:
        """Return what a resource became, by its key as people write it."""
        return await self.compiled(ResourceKey.parse(text))
