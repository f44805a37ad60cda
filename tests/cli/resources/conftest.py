"""A folder with a database of resources, as an apply has left it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from stategraph.resources.loading import load
from stategraph.resources.model import Condition, Resource
from stategraph.resources.store.opening import open_store

#: The option that names the database.
STORE = ("--store", "sqlite:///app.db")

MANIFEST = """\
apiVersion: stategraph.dev/v1
kind: Model
metadata: {name: default, namespace: kitchen}
spec: {provider: openai, name: gpt-5-mini}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata:
  name: chef
  namespace: kitchen
  labels: {app: dinner}
spec:
  instructions: 推荐菜谱
  modelRef: default
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: suggest, namespace: kitchen}
spec:
  state:
    recipes: {type: array, merge: append}
  steps:
    - {id: ask, agent: chef, next: find}
    - {id: find, tool: finder}
"""


def condition(resource: Resource, type: str, reason: str, message: str = "") -> dict[str, object]:
    status = "False" if message else "True"
    generation, at = resource.metadata.generation, "2026-11-30T12:00:00+00:00"
    return Condition(type, status, reason, message, generation, at).to_dict()  # type: ignore[arg-type]


async def fill(folder: Path) -> None:
    """Store the manifest: the workflow lacks a tool, the agent has not been looked at yet."""
    store = open_store(f"sqlite:///{folder}/app.db")
    try:
        for each in await store.apply(load(folder / "app.yaml")):
            resource = each.resource
            if resource.kind == "Model":
                conditions = [condition(resource, "Ready", "Ready")]
            elif resource.kind == "Workflow":
                told = f"{resource.place(('spec', 'steps', 1, 'tool'))}: spec.steps[1].tool: there is no tool 'finder'"
                conditions = [
                    condition(resource, "ReferencesResolved", "NotFound", told),
                    condition(resource, "Ready", "NotFound", told),
                ]
            else:
                continue
            await store.put_status(replace(resource, status={"conditions": conditions}))
    finally:
        await store.close()


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.yaml").write_text(MANIFEST, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    asyncio.run(fill(Path()))
    return tmp_path
