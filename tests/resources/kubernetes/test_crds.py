"""Definitions of the kinds for Kubernetes: nothing that their models say is lost, and Kubernetes takes them."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stategraph.resources.crds import definition, definitions
from stategraph.resources.kind_table import KINDS, Kind
from stategraph.resources.schema import spec_schema
from tests.resources.kubernetes.api_server import ApiServer, serving

Fact = tuple[tuple[str, ...], str, Any]


def said(
    schema: Mapping[str, Any], known: Mapping[str, Any], way: tuple[str, ...], around: tuple[str, ...]
) -> Iterator[Fact]:
    """Yield what a schema of a model says: required fields, enums, defaults, each with its path.

    Fields that take several types are left out with what is in them: Kubernetes has no schema for those.
    """
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        if name not in around:
            merged = {**known[name], **{key: value for key, value in schema.items() if key != "$ref"}}
            yield from said(merged, known, way, (*around, name))
        return
    if schema.get("default") is not None:
        yield way, "default", json.dumps(schema["default"], sort_keys=True)
    others = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(others) > 1:
        return
    if others:
        yield from said(others[0], known, way, around)
    if "enum" in schema or "const" in schema:
        yield way, "enum", tuple(schema.get("enum", [schema.get("const")]))
    for each in schema.get("required", ()):
        yield way, "required", each
    for field, each in (schema.get("properties") or {}).items():
        yield from said(each, known, (*way, field), around)
    if isinstance(schema.get("items"), Mapping):
        yield from said(schema["items"], known, (*way, "[]"), around)
    if isinstance(schema.get("additionalProperties"), Mapping) and not schema.get("properties"):
        yield from said(schema["additionalProperties"], known, (*way, "{}"), around)


def kept(schema: Mapping[str, Any], way: tuple[str, ...] = ()) -> Iterator[Fact]:
    """Yield what a structural schema says, in the same form."""
    if "default" in schema:
        yield way, "default", json.dumps(schema["default"], sort_keys=True)
    if "enum" in schema:
        yield way, "enum", tuple(schema["enum"])
    for each in schema.get("required", ()):
        yield way, "required", each
    for field, each in (schema.get("properties") or {}).items():
        yield from kept(each, (*way, field))
    for word, part in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(word), Mapping):
            yield from kept(schema[word], (*way, part))


def spec_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the spec in a definition."""
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = schema["properties"]["spec"]
    return found


def lost(kind: Kind, document: Mapping[str, Any]) -> list[Fact]:
    """Return what a model says and a definition does not."""
    schema = spec_schema(kind)
    there = set(kept(spec_of(document)))
    return [each for each in said(schema, schema.get("$defs", {}), (), ()) if each not in there]


@pytest.mark.parametrize("kind", list(KINDS), ids=lambda each: each.name)
def test_required_fields_enums_and_defaults_are_kept(kind: Kind) -> None:
    assert lost(kind, definition(kind)) == []


def _cuts(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Yield each place of a fact: the schema, the word, and the member of `required`."""
    for word in ("default", "enum"):
        if word in schema:
            yield schema, word, None
    for each in list(schema.get("required", ())):
        yield schema, "required", each
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for each in inner:
        if isinstance(each, dict):
            yield from _cuts(each)


@pytest.mark.parametrize("kind", list(KINDS), ids=lambda each: each.name)
def test_each_single_loss_is_noticed(kind: Kind) -> None:
    whole = definition(kind)
    number = len(list(_cuts(spec_of(whole))))
    for index in range(number):
        cut = copy.deepcopy(whole)
        schema, word, member = list(_cuts(spec_of(cut)))[index]
        if word == "required":
            schema["required"].remove(member)
        else:
            del schema[word]
        assert lost(kind, cut), (index, word, member)
    assert number > 0 or kind.name in ("Budget", "Skill"), f"nothing is said of {kind.name}"


@pytest.mark.parametrize("kind", list(KINDS), ids=lambda each: each.name)
def test_a_definition_is_valid_and_structural(kind: Kind) -> None:
    document = json.loads(json.dumps(definition(kind)))
    kubernetes_validate.validate(document, "1.37", strict=True)
    for each in _nodes(spec_of(document)):
        free = each.get("x-kubernetes-preserve-unknown-fields") or each.get("x-kubernetes-int-or-string")
        assert "type" in each or free, each
        assert not {"$ref", "anyOf", "oneOf", "const", "title", "$defs"} & set(each), each
        assert not ("properties" in each and "additionalProperties" in each)
        assert each.get("type") != "array" or "items" in each
        assert isinstance(each.get("exclusiveMinimum", True), bool)


def test_what_is_no_definition_is_refused() -> None:
    document = json.loads(json.dumps(definition(next(iter(KINDS)))))
    document["spec"]["versions"][0]["served"] = "yes"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.37", strict=True)


def _nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for each in [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]:
        if isinstance(each, dict):
            yield from _nodes(each)


@pytest.mark.anyio
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
async def test_kubectl_creates_them_and_resources_of_them_without_a_cluster(tmp_path: Path) -> None:
    documents = json.loads(json.dumps(definitions()))
    file = tmp_path / "crds.yaml"
    await asyncio.to_thread(file.write_text, yaml.safe_dump_all(documents))
    agent = {
        "apiVersion": "stategraph.dev/v1",
        "kind": "Agent",
        "metadata": {"name": "a"},
        "spec": {"instructions": "x"},
    }
    one = tmp_path / "agent.json"
    await asyncio.to_thread(one.write_text, json.dumps(agent))
    async with serving(ApiServer(definitions())) as address:
        for path, number in ((file, len(documents)), (one, 1)):
            process = await asyncio.create_subprocess_exec(
                *("kubectl", "--server", address, "create", "--dry-run=client", "--validate=false", "-f", str(path)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "HOME": str(tmp_path), "KUBECONFIG": ""},
            )
            out, errors = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, errors.decode()
            assert out.decode().count("created (dry run)") == number
